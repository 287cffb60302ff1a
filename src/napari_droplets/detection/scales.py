"""Droplets read off an image by the recognition network, at the scales that its droplets ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..compiling import jit
from ..compiling.disk import keep_compiled
from ..droplets import Droplets, beyond_border
from ..errors import InputError
from ..image_statistics import weighted_median
from ..images import Image, as_image, resampled
from ..lazy import Block, Pixels
from .cells import CERTAIN, Cells, Marginal, calibrated, cells_of, merged, without_repeats
from .network import CELL, STRIDE, Params, apply, normalized, read_weights

WEIGHTS = Path(__file__).with_name("weights.safetensors")
WORKING_RADIUS = 7.0  # pixels; the typical droplet is shown to the network at about this radius
HANDOVER = 18.0  # pixels; droplets that look larger are left to the next coarser scale …
SHARED = 1.2  # … with this much overlap
STEP = 4.0  # between the scales at which the whole image is seen
TRIED = (1.0, 0.5, 0.25, 0.125)  # scales tried to find out how large droplets are
FINEST = 2.0  # images are not enlarged further
RUNGS = 8  # scales to choose from per factor of 2; see `_finest_scale`
COARSEST_SIDE = 32  # pixels; no coarser scale has its longer side below
PROBE = 256  # pixels; side of the part of an image on which scales are tried
EVENTFUL = 0.75  # quantile, over the parts of an image, of the contrast of the part tried
SURE = 0.8  # probability, not yet calibrated, of the droplets that tell how large they are
ENOUGH = 0.8  # share of the most droplets seen at any scale with which a coarser one is fine enough
TILE = 1792  # pixels; larger images are worked on in tiles of this side …
OVERLAP = 64  # … that see this far into their neighbors
BUCKET = 128  # pixels; sides are padded to multiples of it, so that few sizes are compiled …
SMALLEST = 256  # … and to this at least
RING = CELL  # pixels; the border is repeated so far, and cells there tell of centers beyond it; see `_canvas`


def detect_droplets(image: Image, diameter: float | None = None, weights: str | Path | None = None) -> Droplets:
    """Droplets with p_present, and standard deviations of x, y and radius, by the recognition network alone.

    Parameters
    ----------
    image : Image
    diameter : float, optional
        Typical diameter in pixels; by default the scales are found from what the network sees at coarser ones.
    weights : path, optional
        Those of the package by default.

    Returns
    -------
    Droplets
        All with p_present >= `cells.FAINT`, brightest evidence first left to the caller to cut; N may be 0.

    Raises
    ------
    InputError
        The weights cannot be read.
    """
    params, about = read_weights(weights or WEIGHTS)
    found = calibrated(candidates(image.pixels, params, diameter, image.region), Marginal.of(about))
    places = found.x, found.y, found.radius, found.x_sd, found.y_sd, found.radius_sd
    return Droplets(*places, p_present=found.p, pixel_size_um=image.pixel_size_um)


def count_sd(p: np.ndarray, weights: str | Path | None = None) -> float:
    """Standard deviation of the number of droplets among all candidates of an image, from their p_present."""
    return Marginal.of(read_weights(weights or WEIGHTS)[1]).count_sd(p)


def candidates(
    pixels: Pixels, params: Params, diameter: float | None = None, region: np.ndarray | None = None
) -> Cells:
    """All in the image (H, W, C) that may be droplets, in its pixels; probabilities are not calibrated yet.

    Contrast and scale are those of the `region` (H, W), by default of the whole image.
    """
    typical = _typical_radius(pixels, params, region) if diameter is None else diameter / 2
    finest = 1.0 if typical is None else _finest_scale(typical)
    found = _together([_Level.of(pixels, scale, params, region) for scale in _scales(pixels.shape, finest)])
    return found[within(found, pixels)]


def within(droplets: Cells | Droplets, pixels: Pixels) -> np.ndarray:
    """Which of them have a part in the image (H, W, C); their centers may lie up to one radius beyond it."""
    return beyond_border(droplets.x, droplets.y, pixels.shape) < droplets.radius


def estimate_diameter(image: Any, weights: str | Path | None = None) -> float:
    """Typical droplet diameter in pixels of the image: the median of the droplets that the network finds.

    Parameters
    ----------
    image : array-like, path, napari Image layer or Image
        See `as_image`.
    weights : path, optional
        Those of the package by default.

    Raises
    ------
    InputError
        There is no droplet.
    """
    image = as_image(image)
    found = detect_droplets(image, weights=weights)
    sure = np.asarray(found.p_present) > CERTAIN
    if not sure.any():
        raise InputError(f"{image.name}: no droplets found to estimate a diameter from; give diameter=... in pixels")
    return 2 * float(np.median(found.radius[sure]))


def typical_radius(image: Image, weights: str | Path | None = None) -> float | None:
    """Median radius in pixels of the droplets that the network finds in a part of the image; None without any."""
    return _typical_radius(image.pixels, read_weights(weights or WEIGHTS)[0], image.region)


@dataclass(frozen=True)
class _Level:
    """What the network saw at one scale: droplets in pixels of the rescaled image."""

    scale: float
    droplets: Cells

    @classmethod
    def of(cls, pixels: Pixels, scale: float, params: Params, region: np.ndarray | None = None) -> _Level:
        view = pixels if scale == 1 else resampled(pixels, scale)
        if region is not None and scale != 1:
            h, w = region.shape
            rows, columns = (np.arange(n) / scale for n in view.shape[:2])
            region = region[np.ix_(np.minimum(rows, h - 1).astype(int), np.minimum(columns, w - 1).astype(int))]
        return cls(scale, merged(_cells(normalized(view, region), params)))


def _finest_scale(typical: float) -> float:
    """Scale at which droplets of the `typical` radius in pixels have about the working radius, one of a fixed ladder.

    The network's errors depend on where droplets lie between the pixels that it sees. Were the scale free, the least
    change of the typical radius would move that of all droplets, and what is found by some hundredths of a pixel.
    """
    finest = min(FINEST, WORKING_RADIUS / typical)
    return float(2 ** (np.round(RUNGS * np.log2(finest)) / RUNGS))


def _scales(shape: tuple[int, ...], finest: float) -> list[float]:
    """Scales at which the whole image is seen, from the finest to the coarsest."""
    scales = [finest]
    while max(shape[:2]) * scales[-1] / STEP >= COARSEST_SIDE:
        scales.append(scales[-1] / STEP)
    return scales


def _typical_radius(pixels: Pixels, params: Params, region: np.ndarray | None = None) -> float | None:
    """Median radius in pixels, droplets weighted by radius, found by trying scales on a part; None without droplets.

    Too coarse a scale shows few of the droplets, or groups of them as one; too fine a one shows parts of them, and
    specks beside them. So droplets are weighted by their radius, and of the scales that show nearly as much of them per
    area as any, the coarsest tells how large they are.
    """
    crowds, radii = [], []
    for scale in TRIED:
        if scale < 1 and max(pixels.shape[:2]) * scale < COARSEST_SIDE:
            break
        rows, columns = eventful(pixels, PROBE / scale, region)
        part, its_region = pixels[rows, columns], None if region is None else region[rows, columns]
        found = _Level.of(part, scale, params, its_region).droplets
        sure = found.p > SURE
        size = found.radius[sure] / scale
        crowds.append(size.sum() / np.prod(part.shape[:2]))
        radii.append(weighted_median(size, size) if sure.any() else np.nan)
    if not any(crowds):
        return None
    chosen = max(i for i, crowd in enumerate(crowds) if crowd and crowd >= ENOUGH * max(crowds))
    return radii[chosen]


def eventful(pixels: Pixels, side: float, region: np.ndarray | None = None) -> tuple[slice, slice]:
    """A square part with more contrast than most, but not the most: that may be dirt; the whole of a small image.

    Contrast is that of the `region` (H, W), where there is one.
    """
    h, w, _ = pixels.shape
    side = int(side)
    parts = [
        (slice(top, top + side), slice(left, left + side))
        for top in np.linspace(0, max(0, h - side), 1 + (h > side) * 3).astype(int)
        for left in np.linspace(0, max(0, w - side), 1 + (w > side) * 3).astype(int)
    ]
    step = max(1, side // 64)

    def contrast(part: tuple[slice, slice]) -> float:
        some = pixels[part][::step, ::step]
        if region is None:
            return float(some.std((0, 1)).sum())
        inside = region[part][::step, ::step]
        return float(some[inside].std(0).sum() * inside.mean()) if inside.any() else 0.0

    order = np.argsort([contrast(part) for part in parts])
    return parts[int(order[round(EVENTFUL * (len(parts) - 1))])]


def _together(levels: list[_Level]) -> Cells:
    """Droplets of all levels, in pixels of the image, each from the level that sees it best."""
    parts = []
    for i, level in enumerate(levels):
        r = level.droplets.radius
        low = 0.0 if i == 0 else HANDOVER * level.scale / levels[i - 1].scale / SHARED
        high = np.inf if i == len(levels) - 1 else HANDOVER * SHARED
        parts.append(level.droplets[(r >= low) & (r < high)].scaled(1 / level.scale))
    return without_repeats(Cells.together(parts), np.repeat(np.arange(len(parts)), [len(p) for p in parts]))


@jit
def _outputs(params: Params, images: Any, inside: Any) -> Any:
    return apply(params, images, inside)


def _cells(view: Pixels, params: Params) -> Cells:
    """Cells that may hold a droplet, of a whole normalized view (H, W, 3) and a ring around it, tile by tile."""
    keep_compiled()
    h, w, _ = view.shape
    parts = []
    for top, bottom in _spans(h):
        for left, right in _spans(w):
            y0, y1 = max(0, top - OVERLAP), min(h, bottom + OVERLAP)
            x0, x1 = max(0, left - OVERLAP), min(w, right + OVERLAP)
            outputs = np.asarray(_outputs(params, *_canvas(view[y0:y1, x0:x1])))[0]
            part = cells_of(outputs).moved(x0 - STRIDE, y0 - STRIDE)
            off_x, off_y = np.abs(part.cell_x - (w - 1) / 2), np.abs(part.cell_y - (h - 1) / 2)
            seen = (off_x <= w / 2 + RING) & (off_y <= h / 2 + RING)
            parts.append(part[seen & Block(top, bottom, left, right).owns(part.cell_x, part.cell_y, view.shape)])
    return Cells.together(parts)


def _canvas(tile: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A tile (H, W, 3) as the network takes it, and which pixels are seen; the tile begins at STRIDE, STRIDE.

    Around it lies a ring in which the border is repeated, and then nothing. The cells of the ring are where centers
    beyond the border are told of. A wider ring shows false droplets in its stripes. At the coarse levels of the network
    the tile lies as if it had no ring.
    """
    h, w, _ = tile.shape
    # the bucket's sides have room for the ring, so that a side of a full bucket does not fall into the next one
    shape = tuple(max(SMALLEST, -(-(n + RING - STRIDE) // BUCKET) * BUCKET) + 2 * STRIDE for n in (h, w))
    canvas, inside = np.zeros((1, *shape, 3), np.float32), np.zeros((1, *shape, 1), np.float32)
    ring = np.s_[0, STRIDE - RING : STRIDE + h + RING, STRIDE - RING : STRIDE + w + RING]
    canvas[ring] = np.pad(tile, [(RING, RING), (RING, RING), (0, 0)], mode="edge")
    inside[ring] = 1
    return canvas, inside


def _spans(side: int) -> list[tuple[int, int]]:
    """The parts of a side that tiles are responsible for; starts are even, so that cells are the same everywhere."""
    if side <= TILE:
        return [(0, side)]
    core = TILE - 2 * OVERLAP
    count = -(-side // core)
    core = -(-side // count // CELL) * CELL
    return [(start, min(start + core, side)) for start in range(0, side, core)]
