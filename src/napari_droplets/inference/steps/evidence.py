"""What the pixels say of all droplets: of those listed in one pass, of a large image block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...compiling import tracing
from ...lazy import blocks
from ...model.assignment import Pixels, covered_pixels, edge_reach
from ...model.problem import LEAST_DROPLETS, LEAST_ROWS, MOST_ROWS, Form, Rows, bucket, pad, rows_of, some_rows
from ...model.rendering import Shared
from ..state import Setup, State, circles
from .gauss_newton import Evidence, Seen, Sums, anchors_of, blocks_of, measure, white_noise

NOISE_LISTED = 100_000
"""Pixels from which the noise is read, at most."""
SIDE = 2048
"""Of the blocks in which all pixels are looked at: their rows of pixels fill the arrays of an everyday image."""


def look(setup: Setup, state: State, some: np.ndarray | None = None, *, noise: bool = False) -> tuple[Evidence, Seen]:
    """One pass over the pixels listed, or over those of `some` droplets (N,).

    The others are then as last seen, and so is the noise, unless `noise` is asked for, too.
    """
    again = some is not None and state.seen is not None and state.evidence is not None
    seen = (_look_by_blocks if state.rows is None else _look_at_list)(setup, state, some if again else None)
    told = state.noise if setup.noise is None else setup.noise
    if seen.lines is not None and (noise or not again):  # there are none where the noise is given
        told = seen.lines.noise(told)
    return Evidence.of(seen.sums, told, seen.squares.sum(), setup.form.channels), seen


def _look_at_list(setup: Setup, state: State, some: np.ndarray | None) -> Seen:
    raw = padded(len(setup.anchor), state.mean)
    pixels, rows = state.pixels, state.rows
    assert rows is not None
    used, ends = len(pixels.row), (pixels.crowded, pixels.within)
    values = rows.values if used > MOST_ROWS else np.asarray(rows.values)
    if some is None:
        sums, colors = pass_over_all(raw, setup.anchor, state.shared, rows, used, ends, setup.form)
        lines = _lines(setup, state)
        squares = np.bincount(pixels.row, _left(pixels, values, colors, lines), setup.size)
        return Seen(Sums(*(s[: setup.size] for s in sums)), colors, squares, _pairs(pixels, setup.size), lines)
    seen = state.seen
    assert seen is not None
    chosen = np.flatnonzero(some[pixels.row])
    ends = int(np.searchsorted(chosen, ends[0])), int(np.searchsorted(chosen, ends[1]))
    sums, drawn = pass_over_all(raw, setup.anchor, state.shared, rows, used, ends, setup.form, chosen)
    anew = np.bincount(pixels.row[chosen], _left(pixels, values, drawn, seen.lines, chosen), setup.size)
    seen.colors[chosen] = drawn
    found = seen.with_(some, Sums(*(s[: setup.size] for s in sums)))
    return seen._replace(sums=found, squares=np.where(some, anew, seen.squares))


def _look_by_blocks(setup: Setup, state: State, some: np.ndarray | None) -> Seen:
    """The same over all pixels of a large image.

    Each droplet is looked at in the block that owns it, with all droplets around the block that reach over its pixels.
    """
    assert state.listed_at is not None
    x, y, radius = circles(setup, state.listed_at)
    d = setup.form.dimensions
    found = Sums(*(np.zeros((setup.size, *s)) for s in ((d, d), (d,), (), (), (), (), ())))
    reach = edge_reach(radius, state.blur, setup.reach)
    seen = state.seen if some is not None else None
    lines = _lines(setup, state) if seen is None else seen.lines
    squares, pairs = np.zeros(setup.size), []
    wanted = state.present if some is None else state.present & some
    for block in blocks(setup.image.shape, SIDE):
        own = wanted & block.owns(x, y, setup.image.shape)
        if not own.any():
            continue
        near = np.flatnonzero(state.present & block.around(own, x, y, reach))
        none, total = len(near), bucket(len(near) + 1, LEAST_DROPLETS)
        there, shape = (x[near], y[near], radius[near]), (setup.image.shape[0], setup.image.shape[1])
        pixels = covered_pixels(*there, shape, blur=state.blur, reach=setup.reach, wanted=own[near])
        pixels = counted(setup, alone(pixels, none) if setup.renderer == "nearest" else pixels)
        rows = rows_of(pixels, setup.image, state.ground.field, total)
        anchor, used = anchors_of(*setup.anchor[near].T, total), len(pixels.row)
        raw, ends = padded(total, state.mean[near]), (pixels.crowded, pixels.within)
        sums, drawn = pass_over_all(raw, anchor, state.shared, rows, used, ends, setup.form)
        for whole, part in zip(found, sums, strict=True):
            whole[near[own[near]]] = part[:none][own[near]]
        values = rows.values if used > MOST_ROWS else np.asarray(rows.values)
        squares[near] += np.bincount(pixels.row, _left(pixels, values, drawn, lines), none)
        pairs.append(near[_pairs(pixels, none)])
    if seen is not None and some is not None:
        return seen._replace(sums=seen.with_(some, found), squares=np.where(some, squares, seen.squares))
    nothing = np.zeros((0, 0, setup.form.channels), np.float32)
    return Seen(found, nothing, squares, np.concatenate([np.zeros((0, 2), int), *pairs]), lines)


def _left(
    pixels: Pixels, values: Any, drawn: np.ndarray, lines: Lines | None, chosen: np.ndarray | None = None
) -> np.ndarray:
    """Sums of the squares that are left in rows of pixels, all or those `chosen`, each pixel counted once.

    What is on the lines is noted. `drawn` (R, S, C) is of these rows alone.
    """
    left = np.empty(len(drawn))
    for begin in range(0, len(left), LEAST_ROWS):  # of all at once indices and residuals would take too much memory
        now = slice(begin, min(begin + LEAST_ROWS, len(left)))
        rows = now if chosen is None else chosen[now]
        part = Pixels(*(a[rows] for a in pixels[:-2]), 0, 0)
        residual = values[rows] - drawn[now]
        left[now] = ((residual**2).sum(-1) * part.own * part.weight).sum(1)
        if lines is not None:
            lines.note(part, residual)
    return left


def _pairs(pixels: Pixels, none: int) -> np.ndarray:
    """(M, 2) droplets, and others seen in their pixels, the same ones perhaps more than once; `none` is no droplet."""
    other = pixels.other[: pixels.crowded].ravel()
    one = np.repeat(pixels.row[: pixels.crowded], pixels.other.shape[1])
    new = np.flatnonzero((np.diff(other, prepend=-1) != 0) | (np.diff(one, prepend=-1) != 0))
    new = new[other[new] < none]
    return np.stack([one[new], other[new]], -1)


def alone(pixels: Pixels, none: int) -> Pixels:
    """A pixel sees one droplet alone; `none` is the number that stands for no other."""
    return pixels._replace(other=np.full_like(pixels.other, none), weight=pixels.weight * pixels.own, crowded=0)


def counted(setup: Setup, pixels: Pixels) -> Pixels:
    """Pixels where there is no picture weigh nothing."""
    if setup.counted is None:
        return pixels
    return pixels._replace(weight=pixels.weight * setup.counted[pixels.y, pixels.x])


def padded(total: int, mean: np.ndarray) -> np.ndarray:
    """The guide's means for arrays of the padded size, float32."""
    return pad(mean.astype(np.float32), total)


def pass_over(
    raw: np.ndarray, anchor: np.ndarray, shared: Shared, rows: Rows, used: int, ends: tuple[int, int], form: Form
) -> tuple[Sums, Any]:
    """`gauss_newton.measure` over so many rows; `ends` are those of crowded rows and of rows within outlines."""
    with tracing(("measure", form, len(raw), len(rows.row))):
        return measure(raw, anchor, shared, rows, blocks_of(used), *map(blocks_of, ends), form)


def pass_over_all(
    raw: np.ndarray,
    anchor: np.ndarray,
    shared: Shared,
    rows: Rows,
    used: int,
    ends: tuple[int, int],
    form: Form,
    chosen: np.ndarray | None = None,
) -> tuple[Sums, np.ndarray]:
    """`pass_over` so many rows, or those `chosen` (indices); in parts where there are many. Colors are of these."""
    count = used if chosen is None else len(chosen)
    many = used > MOST_ROWS
    at_once = LEAST_ROWS if many else max(count, 1)
    if chosen is not None and not many:
        rows = Rows(*(np.asarray(a) for a in rows))
    colors = np.empty((count, *rows.values.shape[1:]), np.float32)
    total: list[np.ndarray] = []
    for begin in range(0, max(count, 1), at_once):
        end, part = min(begin + at_once, count), rows
        if many or chosen is not None:
            part = some_rows(rows, slice(begin, end) if chosen is None else chosen[begin:end], len(raw))
        crowded, within = (int(np.clip(last - begin, 0, end - begin)) for last in ends)
        sums, drawn = pass_over(raw, anchor, shared, part, end - begin, (crowded, within), form)
        colors[begin:end] = np.asarray(drawn)[: end - begin]
        found = [np.asarray(s, float) for s in sums]
        total = [a + b for a, b in zip(total, found, strict=True)] if total else found
    return Sums(*total), colors


def _lines(setup: Setup, state: State) -> Lines | None:
    """Lines on which nothing but the empty slide was seen, where the noise is to be read off them."""
    return None if setup.noise is not None else Lines(setup, state)


class Lines:
    """What is left on some lines of the image, from which the noise is read."""

    def __init__(self, setup: Setup, state: State) -> None:
        h, w = setup.image.shape[:2]
        self.every = max(1, h * w // NOISE_LISTED)
        self.left = setup.image[:: self.every] - state.ground.field[:: self.every]
        self.known = state.ground.empty[:: self.every].copy()

    def note(self, pixels: Pixels, residual: np.ndarray) -> None:
        """Take what is left (R, S, C) of rows of pixels where they are on the lines."""
        at = (pixels.own * pixels.weight > 0) & (pixels.y % self.every == 0)
        line, x = pixels.y[at] // self.every, pixels.x[at]
        self.left[line, x], self.known[line, x] = residual[at], True

    def noise(self, default: float) -> float:
        """White noise."""
        return white_noise(np.where(self.known[..., None], self.left, np.nan), default=default)
