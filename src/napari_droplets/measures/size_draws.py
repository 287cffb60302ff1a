"""Diameters of the droplets of an image as they are drawn from the posterior, and how often each counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..droplets import Droplets, cut_by_border, marked
from ..errors import InputError
from ..images.pixel_size import mean_side, width_height
from ..images.region import centers_in, checked_region, region_mask

DRAWS = 400  # from the posterior, fewer where there are many droplets: their intervals are narrow anyway …
MOST_VALUES = 4_000_000  # … so that all draws together are no more than this
BORDERS = ("corrected", "left out", "kept")


class Frame(NamedTuple):
    """Where droplets were counted, lengths in the unit of the result."""

    width: float
    height: float
    visible: float
    depth: float | None
    unit: str

    @property
    def area(self) -> float:
        return self.width * self.height * self.visible


class Sizes(NamedTuple):
    """Droplets whose sizes count, and draws of them from the posterior."""

    droplets: Droplets
    """Those N that count."""
    diameter: np.ndarray
    """(N,) posterior means in the unit of the frame."""
    p: np.ndarray
    """(N,) p_present."""
    number: tuple[float, float]
    """Expected number of droplets, those that the border cuts with them, and its standard deviation."""
    weigh: Callable[[np.ndarray], np.ndarray]
    """How often a droplet of a diameter counts, as the border cuts large ones more often."""
    draws: list[tuple[np.ndarray, np.ndarray]]
    """Diameters (N,) and presence (N,) of each draw."""
    frame: Frame
    border: str
    """What was done with droplets that the border cuts."""


def drawn_sizes(
    droplets: Droplets,
    *,
    shape: tuple[int, int] | None = None,
    region: Any = None,
    border: str = "corrected",
    radius_percent: float = 0.0,
    depth_um: float | None = None,
    visible: float = 1.0,
    population: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> Sizes:
    """Draw the sizes of droplets; the parameters are those of `statistics`.

    Raises
    ------
    InputError
        No droplets, a choice that there is not, or a region that cannot be used.
    """
    if border not in BORDERS:
        raise InputError(f"border={border!r}: must be {' or '.join(map(repr, BORDERS))}")
    inside = None if region is None else _inside(region, shape)
    if inside is not None:
        droplets = droplets[centers_in(inside, droplets.x, droplets.y)]
        visible *= float(inside.mean())
    frame, side = _frame(droplets, shape, depth_um, visible)
    whole, said = _whole(droplets, shape, border)
    if not whole.any():
        where = " in the region" if inside is not None and not len(droplets) else ""
        raise InputError(f"statistics: no droplets{' that the border does not cut' if len(droplets) else where}")
    kept = droplets[whole]
    weigh = _weigher(frame, border if shape is not None else "kept", inside, side)
    p = presence(kept)
    sample = _drawn(kept, side, p, radius_percent, population, draws, np.random.default_rng(seed))
    every = presence(droplets)
    number = float(every.sum()), float(np.sqrt((every * (1 - every)).sum()))
    return Sizes(kept, 2 * kept.radius * side, p, number, weigh, sample, frame, said)


def presence(droplets: Droplets) -> np.ndarray:
    """(N,) p_present in 0..1, 1 where it is not known: droplets that a user set."""
    p = droplets.p_present
    return np.ones(len(droplets)) if p is None else np.clip(np.nan_to_num(p, nan=1.0), 0, 1)


def _frame(
    droplets: Droplets, shape: tuple[int, int] | None, depth: float | None, visible: float
) -> tuple[Frame, float]:
    size = droplets.pixel_size_um
    width, height = (1.0, 1.0) if size is None else width_height(size)
    h, w = shape or (np.nan, np.nan)
    unit = "px" if size is None else "µm"
    return Frame(
        w * width, h * height, visible, None if size is None else depth, unit
    ), 1.0 if size is None else mean_side(size)


def _whole(droplets: Droplets, shape: tuple[int, int] | None, border: str) -> tuple[np.ndarray, str]:
    """Which droplets the border does not cut, and what is done with the others."""
    every = np.ones(len(droplets), bool)
    if border == "kept":
        return every, "droplets that the border cuts are kept as they are"
    if shape is None:
        if "cut_by_border" not in droplets.labels:
            return every, "the size of the image is not known: droplets that the border may cut are kept as they are"
        cut = marked(droplets, "cut_by_border")
        return ~cut, f"{int(cut.sum())} droplets that the border cuts are left out"
    cut = cut_by_border(droplets, shape)
    said = f"{int(cut.sum())} droplets that the border cuts are left out"
    if border == "corrected":
        said += "; the others count more the larger they are, as large ones are cut more often"
    return ~cut, said


def _inside(region: Any, shape: tuple[int, int] | None) -> np.ndarray:
    """The pixels (H, W) of a region."""
    if shape is None:
        raise InputError("statistics: a region without the shape of its image; give shape=(height, width)")
    chosen = checked_region(region)
    assert chosen is not None
    return region_mask(chosen, shape)


def _weigher(frame: Frame, border: str, region: np.ndarray | None = None, side: float = 1.0) -> Any:
    """How often a droplet of a diameter counts; `side` is that of a pixel."""
    if border != "corrected":
        return lambda d: np.ones(np.shape(d))
    if region is not None:
        return _weigher_in(region, side)

    def weigh(d: np.ndarray) -> np.ndarray:
        inside = np.maximum(frame.width - d, d * 0.05) * np.maximum(frame.height - d, d * 0.05)
        return frame.width * frame.height / inside

    return weigh


def _weigher_in(region: np.ndarray, side: float) -> Any:
    """The same in a region: its pixels over those of them from which the border is at least a radius away."""
    h, w = region.shape
    rows, columns = (np.minimum(np.arange(n), np.arange(n)[::-1]) for n in (h, w))
    away = np.minimum(rows[:, None], columns)[region]  # whole pixels between a pixel and the border
    further = np.append(np.cumsum(np.bincount(away)[::-1])[::-1], 0).astype(float)  # pixels with so many or more

    def weigh(d: np.ndarray) -> np.ndarray:
        possible = np.interp(np.asarray(d) / (2 * side), np.arange(len(further)), further)
        return further[0] / np.maximum(possible, 0.05 * further[0])

    return weigh


def _drawn(
    droplets: Droplets,
    side: float,
    p: np.ndarray,
    percent: float,
    population: bool,
    draws: int,
    rng: np.random.Generator,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Diameters and weights of all droplets, drawn from what is known of them."""
    n = len(droplets)
    sd = np.zeros(n) if droplets.radius_sd is None else np.nan_to_num(droplets.radius_sd)
    shared = np.minimum(percent / 100 * droplets.radius, sd)
    own = np.sqrt(np.maximum(sd**2 - shared**2, 0))
    drawn = []
    for _ in range(min(draws, max(50, MOST_VALUES // max(n, 1)))):
        radius = droplets.radius + own * rng.normal(size=n) + shared * rng.normal()
        weight = (rng.random(n) < p).astype(float)
        if population:
            weight *= rng.exponential(size=n)
        drawn.append((2 * side * np.maximum(radius, 0.05 * droplets.radius), weight))
    return drawn
