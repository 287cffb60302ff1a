"""One image in, droplets and reconstruction out: the code path of Python, command line and napari."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit, Optics
from ..errors import InputError

MAX_TYPES = 16
MIN_DIAMETER = 1.5  # pixels


@dataclass(frozen=True)
class Settings:
    """All that decides the result of a fit besides the image; saved with it in `summary.json`.

    Attributes
    ----------
    types : int
        Number of composition components K, 1 to 16.
    diameter : float, optional
        Typical droplet diameter in pixels of the image given; estimated by default.
    seed : int
        Of all random numbers.
    composition : {'free', 'simplex'}
        Components independent in 0..1, or fractions of K species that sum to one (K >= 2).
    background : {'smooth', 'uniform'}
        A low-order surface, or one color.
    renderer : {'nearest', 'blended', 'layered'}
        Which droplets a pixel sees.
    noise : float, optional
        Standard deviation of the noise (intensities 0..1); learned by default.
    steps : int
        Most optimisation steps; the fit stops sooner when the loss has settled.
    max_seconds : float, optional
        Most seconds for the whole fit; the result is what was reached by then.
    scale : float
        Work on the image resized by this factor; results stay in pixels of the image given.
    pixel_size_um : float, optional
        Side of a pixel in micrometres.
    channels : list of int, optional
        Which one or three channels of the image to use.
    """

    types: int = 3
    diameter: float | None = None
    seed: int = 0
    composition: str = "free"
    background: str = "smooth"
    renderer: str = "nearest"
    noise: float | None = None
    steps: int = 3000
    max_seconds: float | None = None
    scale: float = 1.0
    pixel_size_um: float | None = None
    channels: list[int] | None = None

    def __post_init__(self) -> None:
        def check(ok: bool, name: str, want: str) -> None:
            if not ok:
                raise InputError(f"{name}={getattr(self, name)!r}: must be {want}")

        def number(value: Any, low: float, high: float, *, whole: bool = False, strict: bool = False) -> bool:
            kind = (int, np.integer) if whole else (int, float, np.integer, np.floating)
            ok = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
            return bool(ok and not (strict and value == low))

        inf = float("inf")
        check(number(self.types, 1, MAX_TYPES, whole=True), "types", f"a whole number from 1 to {MAX_TYPES}")
        check(
            self.diameter is None or number(self.diameter, MIN_DIAMETER, 1e5),
            "diameter",
            f"pixels, at least {MIN_DIAMETER}, or None to estimate it",
        )
        check(number(self.seed, 0, 2**32 - 1, whole=True), "seed", "a whole number from 0 to 4294967295")
        check(self.composition in ("free", "simplex"), "composition", "'free' or 'simplex'")
        check(not (self.composition == "simplex" and self.types < 2), "types", "at least 2 for a simplex")
        check(self.background in ("smooth", "uniform"), "background", "'smooth' or 'uniform'")
        check(
            self.renderer in ("nearest", "blended", "layered"),
            "renderer",
            "'nearest', 'blended' or 'layered'",
        )
        check(self.noise is None or number(self.noise, 0, 1, strict=True), "noise", "between 0 and 1, or None")
        check(number(self.steps, 1, 10_000_000, whole=True), "steps", "a whole number, at least 1")
        check(
            self.max_seconds is None or number(self.max_seconds, 0, inf, strict=True),
            "max_seconds",
            "positive",
        )
        check(number(self.scale, 0, 8, strict=True), "scale", "positive, at most 8")
        check(
            self.pixel_size_um is None or number(self.pixel_size_um, 0, 1e9, strict=True),
            "pixel_size_um",
            "a positive number of micrometres",
        )


class Progress(NamedTuple):
    """Where a running fit is; one per chunk of steps, and one at the start of each stage."""

    stage: str
    """'detect', 'compile', 'fit' or 'posterior'."""
    step: int
    steps: int
    """Planned steps; the fit may settle and stop sooner."""
    loss: float
    """Negative ELBO, mean of the last chunk; NaN before the first."""
    seconds_left: float
    """At most, estimated from the last chunks; NaN while unknown."""
    n_droplets: int
    """0 while detecting."""
    snapshot: Callable[[], tuple[Droplets, np.ndarray]]
    """Droplets and (H, W, C) reconstruction at this moment, computed when called, from the thread that runs the
    fit (not during 'detect'); takes some tenths of a second."""


Callback = Callable[[Progress], bool | None]


def detect(image: Any, **settings: Any) -> Droplets:
    """Find droplets without fitting."""
    raise NotImplementedError


def iterate(
    image: Any, droplets: Droplets | pd.DataFrame | None = None, optics: Optics | None = None, **settings: Any
) -> Generator[Progress, bool | None, Fit]:
    """`fit` as a generator: yields Progress, returns the Fit; `send(False)` stops after the current chunk."""
    raise NotImplementedError
    yield


def fit(
    image: Any,
    droplets: Droplets | pd.DataFrame | None = None,
    optics: Optics | None = None,
    *,
    callback: Callback | None = None,
    **settings: Any,
) -> Fit:
    """Fit the generative model to an image; a callback that returns False stops it, keeping what was reached."""
    return run(iterate(image, droplets, optics, **settings), callback)


def refit(
    fit: Fit,
    edited_table: pd.DataFrame,
    region: tuple[float, float, float, float] | None = None,
    *,
    callback: Callback | None = None,
    **settings: Any,
) -> Fit:
    """Refit after manual correction: rows with `pinned` true keep position and radius as given.

    `edited_table` is the droplets table with rows added, moved or removed; `region` (x0, y0, x1, y1) limits what
    may change. Settings given override those of `fit`.
    """
    return run(iterate_refit(fit, edited_table, region, **settings), callback)


def iterate_refit(
    fit: Fit,
    edited_table: pd.DataFrame,
    region: tuple[float, float, float, float] | None = None,
    **settings: Any,
) -> Generator[Progress, bool | None, Fit]:
    """`refit` as a generator, as `iterate`."""
    raise NotImplementedError
    yield


def run(steps: Generator[Progress, bool | None, Fit], callback: Callback | None) -> Fit:
    """Drive a generator of `iterate` or `iterate_refit` to its end."""
    reply: bool | None = None
    while True:
        try:
            progress = steps.send(reply)
        except StopIteration as end:
            return end.value
        reply = callback(progress) if callback else None
