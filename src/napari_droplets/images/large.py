"""Large images: looked through once, block by block, and then read by parts on one scale of intensities."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..lazy import SIDE, Block, LazyPixels, blocks
from ..storage.memory import check_memory
from . import intensities
from .intensities import Levels, Range
from .stored import Raster, Stored

HELD = 2**28
"""Bytes of blocks as they are stored that are held: the next look at a block need not decompress it."""

NOTED = 2
"""Bytes for each pixel that a fit keeps of a large image: whether there is a picture, and whether a droplet is."""

Load = Callable[[Block], Raster]


class Seen(NamedTuple):
    """What one look at all pixels showed."""

    levels: Levels
    lowest: float
    highest: float
    """Of all channels."""
    hidden: np.ndarray | None
    """(H, W) bool, where there is no picture …"""
    bad: int
    """… and how many of these pixels are not transparent."""
    typical: np.ndarray
    """(C,) median color, where there is one."""
    constant: bool


class Large(NamedTuple):
    """An image read by parts."""

    pixels: LazyPixels
    hidden: np.ndarray | None
    scale: Range
    notes: tuple[str, ...]


def loader(stored: Stored, index: tuple[int, ...], numbers: list[int] | None) -> tuple[Load, tuple[int, int]]:
    """What reads a block of a picture, and its height and width.

    A file that is read whole or not at all is held as it is stored.
    """
    assert stored.shape is not None
    shape = stored.shape
    if stored.part is None:
        whole = stored.load(index)
        shape = whole.values.shape[0], whole.values.shape[1]

        def load(block: Block) -> Raster:
            hidden = None if whole.hidden is None else whole.hidden[block.slices]
            return Raster(whole.values[block.slices], hidden)
    else:
        part = stored.part

        def load(block: Block) -> Raster:
            return part(index, block)

    def chosen(block: Block) -> Raster:
        raster = load(block)
        return raster if numbers is None else raster._replace(values=raster.values[..., numbers])

    return chosen, shape


def levels_of(load: Load, shape: tuple[int, int], nodata: float | None) -> Levels:
    """Lowest and highest value of an image that are not of isolated pixels."""
    return _looked_through(load, shape, nodata).levels


def opened_large(load: Load, shape: tuple[int, int], stored: Stored, scale: Range | None) -> Large:
    """Look through an image once, and make it ready to be read by parts.

    What is no picture takes the typical color, isolated faulty pixels the median of their neighbors.

    Parameters
    ----------
    load : callable
        The values (h, w, C) of a block as they are stored.
    shape : (int, int)
    stored : Stored
        For its name, and what it states.
    scale : (float, float), optional
        What 0 and 1 are in these values, where it is known.

    Raises
    ------
    InputError
        It is constant, or more than half of it is missing.
    """
    name = stored.name
    check_memory(shape, np.dtype(bool), name, what="what is noted of each of its pixels", more=NOTED - 1)
    seen = _looked_through(load, shape, stored.nodata)
    if seen.constant:
        value = ", ".join(f"{v:g}" for v in seen.typical)
        raise InputError(f"{name}: constant, every pixel is {value}; is this the right channel or plane?")
    notes = []
    if seen.hidden is not None:
        count = int(seen.hidden.sum())
        if count > seen.hidden.size / 2:
            raise InputError(f"{name}: {count} pixels of {seen.hidden.size} hold no picture; crop it first")
        notes += [f"{seen.bad} pixels NaN, infinite or of no data: filled in"] if seen.bad else []
    sample = load(Block(0, 1, 0, 1)).values
    unit = sample.dtype.kind == "f" and seen.lowest >= 0 and seen.highest <= 1
    scale = scale or intensities.stated(stored.dtype, stored.bits)
    if scale is None:
        bright = unit and seen.levels.high > intensities.DIM
        scale = (0.0, 1.0) if bright else intensities.range_of(stored.dtype, seen.levels)
    mend = sample.dtype != np.uint8 and not unit
    held = max(4, HELD // (SIDE * SIDE * sample.shape[-1] * sample.dtype.itemsize))

    @lru_cache(maxsize=held)
    def stored_block(block: Block) -> np.ndarray:
        values = load(block).values
        if seen.hidden is not None and (gone := seen.hidden[block.slices]).any():
            values = np.where(gone[..., None], _as(seen.typical, values.dtype), values)
        return intensities.without_faulty(values, seen.levels)[0] if mend else values

    def read(block: Block) -> np.ndarray:
        out = np.empty((*block.shape, sample.shape[-1]), np.float32)
        for top in range(block.top // SIDE * SIDE, block.bottom, SIDE):
            for left in range(block.left // SIDE * SIDE, block.right, SIDE):
                square = Block(top, min(top + SIDE, shape[0]), left, min(left + SIDE, shape[1]))
                common = block.common(square)
                assert common is not None
                values = stored_block(square)[common.within(square).slices]
                out[common.within(block).slices] = intensities.unit_floats(values, scale)
        return out

    return Large(LazyPixels((*shape, sample.shape[-1]), read), seen.hidden, scale, tuple(notes))


def _looked_through(load: Load, shape: tuple[int, int], nodata: float | None) -> Seen:
    """Levels, extremes and what is no picture, block by block."""
    levels: Levels | None = None
    hidden: np.ndarray | None = None
    least, most, some, bad = [], [], [], 0
    for block in blocks(shape):
        values, transparent = load(block)
        missing = np.zeros(block.shape, bool) if transparent is None else transparent.copy()
        if values.dtype.kind == "f":
            missing |= ~np.isfinite(values).all(-1)
        if nodata is not None:
            missing |= (values == nodata).all(-1)
        if missing.any():
            hidden = np.zeros(shape, bool) if hidden is None else hidden
            hidden[block.slices] = missing
            bad += int(missing.sum() if transparent is None else (missing & ~transparent).sum())
            if missing.all():
                continue
            values = np.where(missing[..., None], _as(np.median(values[~missing], 0), values.dtype), values)
        if values.dtype != np.uint8:
            here = intensities.levels(values)
            levels = here if levels is None else levels.joined(here)
        least.append(values.min((0, 1)))
        most.append(values.max((0, 1)))
        step = max(1, min(block.shape) // 16)
        some.append(values[::step, ::step].reshape(-1, values.shape[-1]))
    if not some:
        return Seen(Levels(0, 0), 0, 0, None, bad, np.zeros(1), True)
    lowest, highest = np.min(least, 0), np.max(most, 0)
    low, high = float(lowest.min()), float(highest.max())
    typical, constant = np.median(np.concatenate(some), 0), bool((lowest == highest).all())
    return Seen(levels or Levels(low, high), low, high, hidden, bad, typical, constant)


def _as(color: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    return (np.rint(color) if dtype.kind in "ui" else color).astype(dtype)
