"""What a fit is of, and where it is: the records that its steps take and give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..lazy import LazyPixels
from ..lazy import Pixels as Image
from ..model.assignment import REACH, Pixels
from ..model.background import SplineGrid
from ..model.outline import GLOW_REACH
from ..model.problem import PLACE, Form, Rows
from ..model.rendering import Shared
from ..model.tiles import TiledGrid
from .start import Ground
from .steps import optics_step
from .steps.droplet_step import Guide, Prior
from .steps.gauss_newton import Evidence, Seen


class Setup(NamedTuple):
    """What a fit is of, in pixels of the resized image; N candidates."""

    image: Image
    """(H, W, C) float32; of a large image read by parts, and worked on in blocks."""
    counted: np.ndarray | None
    """(H, W) bool, pixels that count; None for all."""
    form: Form
    anchor: np.ndarray
    """(padded N, 3) x, y, radius where droplets were proposed."""
    prior: Prior
    probability: np.ndarray | None
    """(N,) that a candidate is a droplet, before the fit; None where all are taken for granted."""
    free: np.ndarray
    """(N, D) bool, what may change."""
    grid: SplineGrid | TiledGrid
    learning: bool
    """Whether what droplets share is learned."""
    noise: float | None
    """Where it is given."""
    light: float
    """Light outside of droplets over what they change inside, NaN where it cannot be seen; see `outline_trust`."""
    glow: bool
    """Whether light outside of droplets is drawn."""
    seed: int
    moving: np.ndarray | None = None
    """(N,) bool, droplets whose pixels are looked at; None for all."""
    given: bool = True
    """Whether optics are known from the beginning: droplets find their places before these are learned on."""
    renderer: str = "layered"
    """See `Settings`."""

    @property
    def size(self) -> int:
        """Candidates N."""
        return len(self.free)

    def doubt(self, some: np.ndarray) -> np.ndarray:
        """(2,) deviations in radii that the proposals among `some` droplets (N,) typically bring of their x and y."""
        sd = self.prior.sd[some & self.prior.recognized, :2]
        return np.median(sd, 0) if len(sd) else np.zeros(2)

    @property
    def in_blocks(self) -> bool:
        """Whether the image is read by parts."""
        return isinstance(self.image, LazyPixels)

    @property
    def reach(self) -> float:
        """Radii up to which pixels are looked at."""
        return GLOW_REACH if self.glow else REACH


class State(NamedTuple):
    """Where a fit is."""

    mean: np.ndarray
    """(N, D) of the guide."""
    present: np.ndarray
    """(N,) bool."""
    optics: optics_step.State
    ground: Ground
    pixels: Pixels
    rows: Rows | None
    """The pixels listed, with their intensities; None where all are looked at, block by block."""
    noise: float
    guide: Guide | None = None
    evidence: Evidence | None = None
    """What the pixels said when the droplets were last moved …"""
    seen: Seen | None = None
    """… and what it is made of, as long as the list of pixels is the same."""
    move: np.ndarray | None = None
    """(N, D) the last step of the droplets."""
    common: np.ndarray = np.zeros(PLACE)
    trust: float = 0.0
    """How far the pixels decide on the common error of all proposals, 0 to 1; see `outline_trust` …"""
    offset: np.ndarray = np.zeros(PLACE)
    """… and what it is otherwise: none, or what it was found to be with the optics that were given."""
    asymmetry: np.ndarray = np.zeros(2)
    """How much looks differ from side to side, see `loop.asymmetry`."""
    step: int = 0
    """Stochastic steps done."""
    listed: float = 0.0
    """Pixels of droplets that those listed stand for."""
    listed_at: np.ndarray | None = None
    """(N, D) the means with which pixels were listed, where that is done block by block."""

    @property
    def shared(self) -> Shared:
        """What droplets share."""
        return self.optics.learned.shared

    @property
    def blur(self) -> float:
        """Standard deviation, pixels."""
        return float(np.exp(self.shared.log_blur))


def circles(setup: Setup, mean: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and radius (N,) in pixels."""
    x, y, r = setup.anchor[: setup.size].astype(float).T
    return x + r * mean[:, 0], y + r * mean[:, 1], r * np.exp(mean[:, 2])
