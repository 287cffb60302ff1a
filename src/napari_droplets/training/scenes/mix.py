"""Which kinds of scenes there are, and how often each is drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .camera import STRONG_SHARE, DrawSketch, photographed
from .kinds import any_look, empty, foam, monolayer, nuclei, plain_discs, refracting, smears
from .looks import Array


@dataclass(frozen=True)
class Kind:
    """One kind of scenes: `kind(rng, side) -> (image, truth)`, see `scene`."""

    draw: DrawSketch
    empty: bool = False  # holds no droplets

    def __call__(self, rng: np.random.Generator, side: int, strong: float = STRONG_SHARE) -> tuple[Array, Array]:
        """Draw one image and its droplets; `strong` as of `photographed`."""
        return photographed(rng, side, self.draw, empty=self.empty, strong=strong)


KINDS: dict[str, tuple[float, Kind]] = {
    "any": (0.28, Kind(any_look.sketch)),
    "physical": (0.13, Kind(refracting.sketch)),
    "discs": (0.10, Kind(plain_discs.sketch)),
    "smears": (0.15, Kind(smears.sketch)),
    "foam": (0.09, Kind(foam.sketch)),
    "nuclei": (0.06, Kind(nuclei.sketch)),
    "monolayer": (0.06, Kind(monolayer.sketch)),
    "empty": (0.13, Kind(empty.sketch, empty=True)),
}
"""By name: share of the scenes, and what draws them."""


def scene(rng: np.random.Generator, side: int) -> tuple[Array, Array]:
    """Draw one training image of any kind.

    Parameters
    ----------
    rng : Generator
        Where all randomness comes from.
    side : int
        Pixels.

    Returns
    -------
    image : ndarray
        (side, side, 3) float32 in 0..1, as a camera would give it.
    truth : ndarray
        (N, 3) float32: x, y, radius in pixels of the droplets to be found; centers may lie just outside.
    """
    shares = np.array([share for share, _ in KINDS.values()])
    kind = list(KINDS.values())[rng.choice(len(shares), p=shares / shares.sum())][1]
    return kind(rng, side)
