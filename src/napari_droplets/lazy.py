"""Images that are read by parts, of any size and never whole in memory, and the blocks that they are worked on in."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

LARGE = 32_000_000
"""Pixels from which images are read and worked on in blocks: whole, one needs some 180 bytes per pixel …"""
SIDE = 1024
"""… and the side of a block, in pixels: a usual chunk of OME-Zarr; 12 MB in color."""
KEPT = 8
"""Thinned copies of an image that are kept, since they are asked for again and again …"""
KEPT_SIZE = 4_000_000
"""… unless they hold more intensities."""
BY_ROWS = 8
"""Step from which the rows of a thinned copy are read one by one."""


class Block(NamedTuple):
    """Some rows and columns of an image: the first, and one beyond the last."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """For an array (H, W, …)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def common(self, other: Block) -> Block | None:
        """What two blocks of an image have in common; None for nothing."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Block(top, bottom, left, right) if bottom > top and right > left else None

    def within(self, other: Block) -> Block:
        """The block counted from the first row and column of another one."""
        return Block(self.top - other.top, self.bottom - other.top, self.left - other.left, self.right - other.left)

    def owns(self, x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """(N,) bool, the droplets of this block: those whose center is nearest to one of its pixels.

        The one rule by which the blocks of an image of `shape` divide its droplets, each to exactly one block: centers
        beyond the border belong to the nearest pixel of the image.
        """
        column = np.clip(np.rint(x), 0, shape[1] - 1)
        row = np.clip(np.rint(y), 0, shape[0] - 1)
        return (column >= self.left) & (column < self.right) & (row >= self.top) & (row < self.bottom)

    def reached(self, x: np.ndarray, y: np.ndarray, reach: np.ndarray | float) -> np.ndarray:
        """(N,) bool, the droplets that lie within `reach` pixels of this block, across and down."""
        return self._away(x, y) <= reach

    def around(self, own: np.ndarray, x: np.ndarray, y: np.ndarray, reach: np.ndarray) -> np.ndarray:
        """(N,) bool, the droplets that may share pixels with `own` ones (N,) of this block; each with its `reach`."""
        farthest = (np.maximum(self._away(x[own], y[own]), 0) + reach[own]).max(initial=0)
        return self.reached(x, y, farthest + reach)

    def _away(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(N,) pixels between places and this block, across or down, whichever is more; negative within."""
        across = np.maximum(self.left - x, x - (self.right - 1))
        down = np.maximum(self.top - y, y - (self.bottom - 1))
        return np.maximum(across, down)


def blocks(shape: tuple[int, ...], side: int = SIDE) -> Iterator[Block]:
    """The blocks of an image (H, W, …), row by row."""
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            yield Block(top, min(top + side, shape[0]), left, min(left + side, shape[1]))


class LazyPixels:
    """Pixels (H, W, C) float32 that are read, or made, where they are asked for.

    Slices and pairs of index arrays give NumPy arrays, as of an array; `numpy.asarray` gives all of it.

    Parameters
    ----------
    shape : (int, int, int)
    read : callable
        The pixels (h, w, C) float32 of a `Block`; the same ones whatever else is in the block.
    side : int
        Of the squares in which they are read or made: each of them is looked at once for a thinned copy.
    """

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(
        self, shape: tuple[int, int, int], read: Callable[[Block], np.ndarray], side: int | None = None
    ) -> None:
        self.shape = shape
        self.read = read
        self.side = SIDE if side is None else side
        self.sha256 = ""
        """Hash of all pixels, once it has been computed."""
        self.coarser: list[Any] = []
        """The same at a half, a quarter … of the size, where they are at hand: what a window shows of it."""
        self._kept: dict[tuple[int, ...], np.ndarray] = {}

    @property
    def size(self) -> int:
        """Number of intensities."""
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getitem__(self, key: Any) -> np.ndarray:
        key = _expanded(key if isinstance(key, tuple) else (key,))
        if any(isinstance(k, np.ndarray) for k in key[:2]):
            return self._gathered(*key[:2])[(..., *key[2:])]
        spans = [_span(k, n) for k, n in zip(key[:2], self.shape[:2], strict=True)]
        part = self._thinned(*spans)
        alone = [0 if isinstance(k, (int, np.integer)) else slice(None) for k in key[:2]]
        return part[(*alone, *key[2:])]

    def map(self, change: Callable[[np.ndarray], np.ndarray], channels: int | None = None) -> LazyPixels:
        """The same with each block changed, pixel by pixel."""
        shape = (*self.shape[:2], channels or self.shape[2])
        return LazyPixels(shape, lambda block: change(self.read(block)), self.side)

    def _thinned(self, rows: range, columns: range) -> np.ndarray:
        """Every so many rows and columns."""
        if not len(rows) or not len(columns):
            return np.zeros((len(rows), len(columns), self.shape[2]), np.float32)
        if rows.step == columns.step == 1:
            return self.read(Block(rows[0], rows[-1] + 1, columns[0], columns[-1] + 1))
        key = (rows.start, rows.stop, rows.step, columns.start, columns.stop, columns.step)
        if key in self._kept:
            return self._kept[key]
        out = np.empty((len(rows), len(columns), self.shape[2]), np.float32)
        for down, across in itertools.product(_runs(rows, self.side), _runs(columns, self.side)):
            u = columns[across]
            alone = (slice(i, i + 1) for i in range(down.start, down.stop))
            for some in alone if rows.step >= BY_ROWS else [down]:
                v = rows[some]
                part = self.read(Block(v[0], v[-1] + 1, u[0], u[-1] + 1))
                out[some, across] = part[:: rows.step, :: columns.step]
        if out.size <= KEPT_SIZE:
            if len(self._kept) >= KEPT:
                self._kept.clear()
            self._kept[key] = out
        return out

    def _gathered(self, y: Any, x: Any) -> np.ndarray:
        """Pixels (..., C) at rows and columns."""
        h, w, c = self.shape
        y, x = np.broadcast_arrays(y, x)
        out = np.empty((*y.shape, c), np.float32)
        row, column, flat = y.ravel(), x.ravel(), out.reshape(-1, c)
        number = (row // SIDE) * -(-w // SIDE) + column // SIDE
        order = np.argsort(number, kind="stable")
        cuts = np.flatnonzero(np.diff(number[order])) + 1
        for some in np.split(order, cuts) if len(order) else ():
            v, u = row[some], column[some]
            if v.min() < 0 or u.min() < 0 or v.max() >= h or u.max() >= w:
                raise IndexError(f"pixel outside of an image of {w} x {h} pixels")
            block = Block(int(v.min()), int(v.max()) + 1, int(u.min()), int(u.max()) + 1)
            flat[some] = self.read(block)[v - block.top, u - block.left]
        return out


def in_pieces(shape: tuple[int, int, int], make: Callable[[Block], np.ndarray], side: int, kept: int = 4) -> LazyPixels:
    """Pixels that are always made in the same squares, of `side` pixels, the last `kept` of which are at hand."""
    side = max(1, side)

    @lru_cache(maxsize=kept)
    def piece(top: int, left: int) -> np.ndarray:
        return make(Block(top, min(top + side, shape[0]), left, min(left + side, shape[1])))

    def read(block: Block) -> np.ndarray:
        out = np.empty((*block.shape, shape[2]), np.float32)
        for y in range(block.top // side * side, block.bottom, side):
            for x in range(block.left // side * side, block.right, side):
                square = Block(y, y + side, x, x + side)
                common = block.common(square)
                assert common is not None
                out[common.within(block).slices] = piece(y, x)[common.within(square).slices]
        return out

    return LazyPixels(shape, read, side)


Pixels = np.ndarray | LazyPixels
"""Pixels (H, W, C) float32, in memory or read by parts."""


def is_large(shape: tuple[int, ...]) -> bool:
    """Whether an image (H, W, …) is worked on in blocks."""
    return shape[0] * shape[1] > LARGE


def means(pixels: Pixels, step: int) -> np.ndarray:
    """Means (H // step, W // step, C) float32 of squares of `step` pixels; what is left over is dropped."""
    height, width = (side // step for side in pixels.shape[:2])
    out = np.empty((height, width, pixels.shape[2]), np.float32)
    for block in blocks((height, width), max(1, SIDE // step)):
        h, w = block.shape
        part = pixels[block.top * step : block.bottom * step, block.left * step : block.right * step]
        out[block.slices] = part.reshape(h, step, w, step, -1).mean((1, 3))
    return out


def _expanded(key: tuple[Any, ...]) -> tuple[Any, ...]:
    """A key for all three axes."""
    if Ellipsis in [k for k in key if not isinstance(k, np.ndarray)]:
        at = next(i for i, k in enumerate(key) if k is Ellipsis)
        key = (*key[:at], *[slice(None)] * (4 - len(key)), *key[at + 1 :])
    key = (*key, *[slice(None)] * (3 - len(key)))
    if len(key) > 3:
        raise IndexError(f"{len(key)} indices of an image with 3 axes")
    return key


def _span(key: Any, n: int) -> range:
    if isinstance(key, (int, np.integer)):
        number = int(key) + (n if key < 0 else 0)
        if not 0 <= number < n:
            raise IndexError(f"index {key} of an axis of {n}")
        return range(number, number + 1)
    if isinstance(key, slice):
        span = range(*key.indices(n))
        if span.step > 0:
            return span
    raise IndexError(f"{key!r}: pixels that are read by parts take numbers, slices and pairs of index arrays")


def _runs(span: range, side: int) -> Iterator[slice]:
    """The parts of a span that lie in one square of this side each."""
    cuts = np.flatnonzero(np.diff(np.asarray(span) // side)) + 1
    yield from (slice(a, b) for a, b in itertools.pairwise([0, *cuts.tolist(), len(span)]))
