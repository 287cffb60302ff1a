"""What 0 and 1 are in the values of a file: said by it or by its type, else estimated robustly, for a whole series.

Full scale is a property of a file or a series, never of the brightest pixel of a frame: isolated hot, cold and dead
pixels do not count and are filled in, as are values that are not finite or stand for no data.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError

DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras have
TAIL = 1e-3  # share of the pixels, at either end, that are looked at as perhaps isolated
CROWD = 0.01  # a larger share of pixels beyond the tail is no heap of single pixels
FAR = 0.5  # isolated pixels this far outside of the rest, in units of its range, are hot or dead
SAMPLE = 250_000  # pixels from which tails are read
SENTINEL = 10.0  # an extreme value this many ranges away from all others stands for no data
DIM = 1 / 32  # share of full scale: floats that use less of 0 to 1 are on a scale of their own
OFFSET_16 = 32768  # where unsigned 16-bit files that hold signed values have their zero, as those of scanR
THIN = 3  # pixels; frames are no thinner
NEAR = 3  # pixels; gaps are filled from their edges this far, beyond with the ground …
BLOCKS = 6  # … as seen in blocks of which so many lie along the shorter side

Range = tuple[float, float]


class Levels(NamedTuple):
    """The lowest and highest value that is not of isolated pixels."""

    low: float
    high: float

    def joined(self, other: Levels) -> Levels:
        """Of both together."""
        return Levels(min(self.low, other.low), max(self.high, other.high))


def stated(dtype: np.dtype[Any], bits: int | None) -> Range | None:
    """The range that the type or the stated bit depth says; None where the values must be looked at."""
    if dtype == np.uint8 and not bits:
        return 0.0, 255.0
    if dtype == np.int8:
        return -128.0, 127.0
    if bits and dtype.kind == "u" and bits < 8 * dtype.itemsize:
        return 0.0, 2.0**bits - 1
    return None


def levels(values: np.ndarray) -> Levels:
    """Lowest and highest of the values (H, W, C), those of isolated pixels and of no data left out."""
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        values = _plugged(values)
        low, high = values.min(), values.max()
    tails = np.quantile(_sample(values), [TAIL, 1 - TAIL], method="nearest")
    found = Levels(-_without_isolated(values, tails[0], low, -1), _without_isolated(values, tails[1], high, 1))
    return found if found.high > found.low else Levels(float(low), float(high))  # nothing but single pixels


def range_in(values: np.ndarray) -> Range:
    """`range_of` the levels of the values (H, W, C), without looking at every pixel where floats are in 0 to 1."""
    unit = values.dtype.kind == "f" and values.min() >= 0 and values.max() <= 1
    if unit and np.quantile(_sample(values), 1 - TAIL, method="nearest") > DIM:
        return 0.0, 1.0
    return range_of(values.dtype, levels(values))


def range_of(dtype: np.dtype[Any], seen: Levels) -> Range:
    """Zero and full scale of values that nothing else is known of.

    Integers: the smallest of the usual bit depths that holds them; zero is 0, a power of two below for signed values,
    32768 where all unsigned ones are above. Floats: 0 to 1 where they fit and use some of it, else from 0 or a negative
    power of two to a power of two (minus one where values are large, as 255 and 4095 are).
    """
    low, high = seen
    if dtype.kind in "ui":
        zero = 0.0
        if dtype.kind == "u" and dtype.itemsize == 2 and low >= OFFSET_16:
            zero = float(OFFSET_16)
        elif low < 0:
            zero = -_power(-low)
        above = high - max(zero, 0.0)
        depth = next((b for b in DEPTHS if above < 2**b), None)
        full = 2.0**depth - 1 if depth else _power(above + 1) - 1
        return zero, min(full + max(zero, 0.0), float(np.iinfo(dtype).max))
    if -DIM * high <= low and DIM < high <= 1:
        return 0.0, 1.0
    zero = 0.0 if low >= -DIM * abs(high) else -_power(-low)
    full = 0.0 if high <= 0 else _power(high + 1) - 1 if high > 2 else _power(high)
    if high - low < DIM * (full - zero) and high > low:  # far from zero: start from where the values are
        unit = _power(high - low) / 4
        zero, full = math.floor(low / unit) * unit, math.ceil(high / unit) * unit
    return zero, full if full > zero else zero + 1


class Mended(NamedTuple):
    """Values whose faulty pixels are filled in."""

    values: np.ndarray
    hidden: np.ndarray | None
    """(H, W) bool: where there was nothing to see."""
    notes: tuple[str, ...]


def mended(values: np.ndarray, hidden: np.ndarray | None, nodata: float | None, name: str) -> Mended:
    """Fill in what is no picture: values not finite or of no data, transparent and isolated faulty pixels.

    Raises
    ------
    InputError
        More than half of all pixels are missing.
    """
    notes: list[str] = []
    missing = np.zeros(values.shape[:2], bool) if hidden is None else hidden.copy()
    if missing.all():  # nothing to see at all: transparency is not meant
        missing[:] = False
    low, high = values.min(), values.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = ~np.isfinite(values).all(-1)
        notes.append(f"{_pixels(bad)} NaN or infinite: filled in")
        missing |= bad
    if nodata is not None or (values.dtype.kind in "fi" and (low < 0 or high > 1)):
        gone = _no_data(values, missing, nodata)
        if gone.any():
            notes.append(f"{_pixels(gone)} of no data: filled in")
            missing |= gone
    if missing.mean() > 0.5 and hidden is None:
        raise InputError(
            f"{name}: {_pixels(missing)} of {missing.size} are NaN, infinite or of no data; replace them first"
        )
    frame = _frame(values, missing, (low, high))
    if frame.any():
        notes.append(f"{_pixels(frame)} of a black or white frame: left out")
        missing |= frame
    if missing.any():
        values = _filled(values, missing)
        low, high = values.min(), values.max()
    inside = values.dtype.kind == "f" and low >= 0 and high <= 1
    if values.dtype != np.uint8 and not inside:
        values, count = without_faulty(values, levels(values))
        if count:
            notes.append(f"{count} isolated pixel{'' if count == 1 else 's'} far too bright or dark: filled in")
    return Mended(values, missing if missing.any() else None, tuple(notes))


def is_constant(values: np.ndarray) -> bool:
    """Whether all pixels (H, W, C) have one color."""
    return bool((_sample(values) == values[:1, :1]).all() and (values == values[:1, :1]).all())


def unit_floats(values: np.ndarray, scale: Range) -> np.ndarray:
    """float32 in 0..1."""
    zero, full = scale
    if values.dtype in (np.uint8, np.uint16):  # few values: a table is faster than arithmetic, and as exact
        table = (np.arange(np.iinfo(values.dtype).max + 1, dtype=np.float64) - zero) / (full - zero)
        return table.clip(0, 1).astype(np.float32)[values]
    if scale == (0, 1) and values.dtype.kind == "f":
        return values.astype(np.float32).clip(0, 1)
    return ((values.astype(np.float64) - zero) / (full - zero)).clip(0, 1).astype(np.float32)


def checked_range(value: Any) -> Range:
    """An intensity range as the user gave it.

    Raises
    ------
    InputError
        Not two finite numbers, the first one smaller.
    """
    try:
        low, high = (float(v) for v in value)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"intensity_range={value!r}: give two numbers, the value for 0 and the larger one for 1")
    return low, high


def _power(value: float) -> float:
    """The smallest power of two that is not smaller."""
    return 2.0 ** min(math.ceil(math.log2(value)), 1023)


def _pixels(where: np.ndarray) -> str:
    count = int(where.sum())
    return f"{count} pixel{'' if count == 1 else 's'}"


def _without_isolated(values: np.ndarray, tail: Any, extreme: Any, sign: int) -> float:
    """The highest value (the lowest, negated, for sign -1) that a pixel shares with its neighbors."""
    beyond = values > tail if sign > 0 else values < tail
    count = np.count_nonzero(beyond)
    if count == 0 or count > CROWD * values.size:
        return sign * float(extreme)
    at = np.nonzero(beyond)
    own, around = sign * values[at].astype(np.float64), np.median(sign * _neighbors(values, at), axis=0)
    return max(float(np.minimum(own, around).max()), sign * float(tail))


def _neighbors(values: np.ndarray, at: tuple[np.ndarray, ...]) -> np.ndarray:
    """(8, N) values around those at the indices (rows, columns, channels), repeated beyond the border."""
    y, x, c = at
    h, w = values.shape[:2]
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    return np.stack([values[(y + dy).clip(0, h - 1), (x + dx).clip(0, w - 1), c] for dy, dx in around]).astype(float)


def without_faulty(values: np.ndarray, seen: Levels) -> tuple[np.ndarray, int]:
    """Isolated pixels far outside of the levels seen take the median of their neighbors; how many there were."""
    low, high = seen
    reach = FAR * (high - low)
    if reach <= 0:
        return values, 0
    if values.dtype.kind == "f":  # a bound beyond what the numbers can hold excludes none of them
        most = float(np.finfo(values.dtype).max)
        low, high = max(low, reach - most), min(high, most - reach)
        if reach > most:
            return values, 0
    at = np.nonzero((values > high + reach) | (values < low - reach))
    if not len(at[0]):
        return values, 0
    values = values.copy()
    values[at] = np.median(_neighbors(values, at), axis=0).astype(values.dtype)
    return values, len(set(zip(at[0].tolist(), at[1].tolist(), strict=True)))


def _no_data(values: np.ndarray, missing: np.ndarray, nodata: float | None) -> np.ndarray:
    """Pixels of the stated value for no data, or of an extreme value far away from all others that many have."""
    if nodata is not None:
        return ((values == nodata).all(-1) | (np.isnan(nodata) & np.isnan(values).all(-1))) & ~missing
    gone = np.zeros(missing.shape, bool)
    known = _sample(values)[~_sample(missing)]
    if not known.size:
        return gone
    for extreme in (known.min(), known.max()):
        same = known == extreme
        if same.mean() < TAIL or same.all():  # single pixels are found by their neighbors
            continue
        rest = known[~same]
        spread = float(rest.max()) - float(rest.min())
        if np.abs(np.array([rest.min(), rest.max()], float) - float(extreme)).min() > SENTINEL * spread > 0:
            gone |= (values == extreme).all(-1)
    return gone & ~missing


def _sample(values: np.ndarray) -> np.ndarray:
    """Enough of the pixels, on a grid."""
    step = max(1, math.isqrt(values.shape[0] * values.shape[1] // SAMPLE))
    return values[::step, ::step]


def _frame(values: np.ndarray, missing: np.ndarray, extremes: tuple[Any, Any]) -> np.ndarray:
    """Rows and columns at the border, of nothing but the darkest and the brightest value: frames, bars with a scale.

    Where most of the picture has that value too, it is the ground of the picture.
    """
    found = np.zeros(missing.shape, bool)

    def thickness(lines: np.ndarray) -> int:
        for i, line in enumerate(lines):
            if not ((line == extremes[0]) | (line == extremes[1])).all():
                return i
        return 0

    across = values.swapaxes(0, 1)
    for lines, view in ((values, found), (values[::-1], found[::-1]), (across, found.T), (across[::-1], found.T[::-1])):
        if np.isin(lines[:THIN], extremes).all() and (n := thickness(lines)) >= THIN:
            view[:n] = True
    inside = ~found & ~missing
    if not found.any() or inside.mean() < 0.25:
        return np.zeros_like(found)
    typical = np.median(_sample(values)[_sample(inside)], axis=0)
    same = (typical == np.median(values[found], axis=0)).all()
    return np.zeros_like(found) if same else found & ~missing


def _plugged(values: np.ndarray) -> np.ndarray:
    """The median in the place of what is not finite."""
    finite = np.isfinite(values)
    return np.where(finite, values, np.median(values[finite]) if finite.any() else 0)


def _filled(values: np.ndarray, missing: np.ndarray) -> np.ndarray:
    """Missing pixels from the nearest others; far from any the ground that is seen in the blocks next to them."""
    from scipy.ndimage import distance_transform_edt, zoom

    away, (row, column) = distance_transform_edt(missing, return_indices=True)
    filled = values[row, column]
    far = away > NEAR
    if not far.any():
        return filled
    h, w, n = values.shape
    side = max(16, min(h, w) // BLOCKS)
    tall, wide = -(-h // side), -(-w // side)
    padded = np.full((tall * side, wide * side, n), np.nan)
    padded[:h, :w] = np.where(missing[..., None], np.nan, values)
    blocks = np.moveaxis(padded.reshape(tall, side, wide, side, n), 2, 1).reshape(tall, wide, -1, n)
    empty = np.isnan(blocks[..., 0]).mean(-1) > 0.5  # few pixels may be those of one droplet
    if empty.all():
        empty = np.isnan(blocks[..., 0]).all(-1)
    blocks[empty, 0] = 0
    ground = np.nanmedian(blocks, axis=2)
    row, column = distance_transform_edt(empty, return_distances=False, return_indices=True)
    smooth = [zoom(c, side, order=1, grid_mode=True, mode="nearest") for c in np.moveaxis(ground[row, column], -1, 0)]
    # with the noise of the picture: an edge between noise and none looks like one of a droplet
    second = np.where(missing, np.nan, values[..., 0])
    second = second[:, 1:-1] - (second[:, :-2] + second[:, 2:]) / 2
    noise = 1.4826 / np.sqrt(1.5) * np.nanmedian(np.abs(second)) * np.random.default_rng(0).normal(size=(h, w, n))
    made = np.moveaxis(np.stack(smooth), 0, -1)[:h, :w] + np.nan_to_num(noise)
    low, high = values[~missing].min(), values[~missing].max()
    made = made[far].clip(low, high)
    filled[far] = (made if values.dtype.kind == "f" else np.rint(made)).astype(values.dtype)
    return filled
