"""Large pictures in the window: as pyramids of which only what is seen is read or drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...lazy import SIDE, LazyPixels, Pixels, blocks
from ...results.pyramid import halved

STEPS = 255
"""Smaller copies are kept in 8 bits: they are for looking at."""


def levels(pixels: LazyPixels, leading: int = 0) -> list[Any]:
    """The picture as data of a multiscale layer, finest first; a gray one (H, W), after so many leading axes of one."""
    import dask.array as da

    made_ready(pixels)
    found = []
    for level in (pixels, *pixels.coarser):
        array = da.from_array(level, chunks=(SIDE, SIDE, -1), name=False)
        array = array if level.shape[-1] == 3 else array[..., 0]
        found.append(array[(None,) * leading])
    return found


def made_ready(pixels: Pixels) -> None:
    """Make the smaller copies of a large picture, which takes as long as drawing or reading all of it."""
    if not isinstance(pixels, LazyPixels) or pixels.coarser:
        return
    h, w, c = pixels.shape
    below: LazyPixels = pixels
    while max(h, w) > SIDE:
        h, w = -(-h // 2), -(-w // 2)
        smaller = np.empty((h, w, c), np.uint8)
        for block in blocks((h, w), SIDE):
            rows, columns = (slice(2 * s.start, 2 * s.stop) for s in block.slices)
            smaller[block.slices] = np.rint(STEPS * np.clip(halved(below[rows, columns]), 0, 1))
        below = _shades(smaller)
        pixels.coarser.append(below)


def shape_of_data(data: Any) -> tuple[int, ...]:
    """Shape of the data of an image layer, that of the finest level of a pyramid; with the number of levels."""
    several = isinstance(data, list) or type(data).__name__ == "MultiScaleData"
    return (*(data[0] if several else data).shape, len(data) if several else 0)


def _shades(values: np.ndarray) -> LazyPixels:
    h, w, c = values.shape
    return LazyPixels((h, w, c), lambda block: values[block.slices].astype(np.float32) / STEPS)
