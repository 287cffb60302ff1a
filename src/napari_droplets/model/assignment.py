"""Which droplet each pixel tells of: lists of the pixels that droplets cover, in rows of one droplet each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..lazy import SIDE, Block, blocks
from .outline import PIXEL_VARIANCE

ROW = 16
"""Pixels of one row: small enough that little of a small droplet's last row is empty."""
REACH = 1.1
"""Radii from a center up to which pixels are looked at, so that an outline has room to move …"""
SEEN = 2.0
"""… and standard deviations of the blur beyond the outline, where 2 % of a droplet is left to be seen …"""
FADED = 3.5
"""… or 0.02 %: less than any noise."""
AT_ONCE = 1_000_000
"""Pixels that are listed at a time: each takes some 200 bytes meanwhile."""
MOST_OF_ONE = 1_000_000
"""Pixels that are listed of one droplet at most: that is one of a radius of 560 pixels."""
WIDE = 512
"""Pixels; droplets that reach further are listed one by one, and not pixel by pixel."""


class Pixels(NamedTuple):
    """The pixels that droplets may cover, in R rows of ROW pixels, each row of one droplet.

    A pixel near two droplets is listed with each of them, and `other` is the one of the two that the row is not of.
    With more than two the nearest ones count, distances measured in radii. Rows with others come first, rows of pixels
    that nothing but the glow of their droplet reaches come last.
    """

    row: Int[np.ndarray, " R"]
    """Droplet of each row."""
    other: Int[np.ndarray, "R S"]
    """The other droplet seen there; N where there is none."""
    x: Int[np.ndarray, "R S"]
    y: Int[np.ndarray, "R S"]
    weight: Float[np.ndarray, "R S"]
    """Pixels that each stands for; 0 fills up the last row of a droplet."""
    own: Float[np.ndarray, "R S"]
    """1 where the row's droplet is the nearest, so that the pixel is counted there, else 0."""
    crowded: int
    """Rows with others …"""
    within: int
    """… and rows but for those that nothing but a glow reaches."""


def edge_reach(radius: np.ndarray, blur: float, reach: float = REACH, spread: float = SEEN) -> np.ndarray:
    """(N,) pixels from a center that are looked at: so many radii, or deviations of the blur beyond the outline."""
    edge = float(np.hypot(blur, PIXEL_VARIANCE**0.5))
    return np.maximum(reach * radius, radius + spread * edge)


def covered_pixels(
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
    shape: tuple[int, int],
    *,
    blur: float,
    reach: float = REACH,
    wanted: np.ndarray | None = None,
    most: float = np.inf,
) -> Pixels:
    """List the pixels within `reach` radii of each droplet; an edge with this blur is looked at in any case.

    Pixels of the `wanted` (N,) droplets are listed, the others are only seen beside them. Of droplets with more than
    `most` pixels, one pixel of so many rows and columns is listed, and stands for more than one. Cost O(P) for P
    pixels listed; many are listed block by block, which gives the same list.
    """
    far, n, most = edge_reach(radius, blur, reach), len(x), min(most, MOST_OF_ONE)
    wide = far > WIDE
    if not wide.any() and (np.pi * np.sum(far**2) <= AT_ONCE or max(shape) <= SIDE):
        return _listed(x, y, radius, shape, blur, reach, wanted, most)
    some = np.ones(n, bool) if wanted is None else wanted
    parts = []

    def add(near: np.ndarray, own: np.ndarray, every: int = 1) -> None:
        found = _listed(x[near], y[near], radius[near], shape, blur, reach, own[near], most, every)
        numbers = np.append(near, n).astype(np.int32)
        parts.append(found._replace(row=numbers[found.row], other=numbers[found.other]))

    for i in np.flatnonzero(some & wide):
        near = np.flatnonzero(np.hypot(x - x[i], y - y[i]) < far + far[i])
        add(near, np.arange(n) == i, int(_step(radius[i], most)))
    for block in blocks(shape, SIDE):
        own = some & ~wide & block.owns(x, y, shape)
        if own.any():
            add(np.flatnonzero(block.around(own, x, y, far)), own)
    return _together(parts)


def _step(radius: np.ndarray, most: float) -> np.ndarray:
    """Of so many rows and columns one pixel is listed."""
    return np.ceil(np.sqrt(np.maximum(np.pi * radius**2 / most, 1))).astype(int)


def _together(parts: list[Pixels]) -> Pixels:
    """One list in the order of one that is made at once: by kind of rows, and by droplet."""
    if not parts:
        return Pixels(np.zeros(0, np.int32), *np.zeros((5, 0, ROW)), 0, 0)
    kind = np.concatenate([np.searchsorted([p.crowded, p.within], np.arange(len(p.row)), "right") for p in parts])
    order = np.lexsort((np.concatenate([p.row for p in parts]), kind))  # stable
    columns = (np.concatenate(column)[order] for column in zip(*(p[:-2] for p in parts), strict=True))
    return Pixels(*columns, int((kind < 1).sum()), int((kind < 2).sum()))


def _listed(
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
    shape: tuple[int, int],
    blur: float,
    reach: float,
    wanted: np.ndarray | None,
    most: float,
    every: int = 1,
) -> Pixels:
    n, far, window = len(x), edge_reach(radius, blur, reach), _window(shape)
    if wanted is not None and wanted.any():
        window = _window(shape, *((c[wanted], far[wanted]) for c in (y, x)))
    parts = [3 * (np.zeros(0, int),), *_discs(x, y, far, window, every)]
    subject, px, py = (np.concatenate(part) for part in zip(*parts, strict=True))
    step = _step(radius, most)
    keep = (px % step[subject] == 0) & (py % step[subject] == 0)
    if wanted is not None:
        keep &= wanted[subject]
    top, _, left, right = window
    place = (py - top) * (right - left) + px - left
    here = np.zeros(window.shape[0] * window.shape[1], bool)
    here[place[keep]] = True
    some = here[place]  # of pixels that no row will have nothing more needs to be known
    subject, px, py, place, keep = (a[some] for a in (subject, px, py, place, keep))
    distance = np.hypot(px - x[subject], py - y[subject])
    first, partner = _two_nearest(place, distance / radius[subject], len(here))
    lonely = (partner < 0) | (distance >= edge_reach(radius, blur, 1)[subject])[partner]
    other = np.where(lonely, n, subject[partner])
    edge = edge_reach(radius, blur, spread=FADED)
    kind = np.where(other < n, 0, np.where(distance < edge[subject], 1, 2))
    kept = np.flatnonzero(keep)
    group = (kind * n + subject)[kept]
    order = np.argsort(group, kind="stable")
    kept, group = kept[order], group[order]
    count = np.bincount(group, minlength=3 * n)
    rows = -(-count // ROW)
    empty = rows * ROW - count
    slot = np.arange(len(group)) + (np.cumsum(empty) - empty)[group]

    def laid(values: np.ndarray, nothing: float, kind: type) -> np.ndarray:
        out: np.ndarray = np.full(int(rows.sum()) * ROW, nothing, kind)
        out[slot] = values[kept]
        return out.reshape(-1, ROW)

    return Pixels(
        np.repeat(np.arange(3 * n) % max(n, 1), rows).astype(np.int32),
        laid(other, n, np.int32),
        laid(px, 0, np.int32),
        laid(py, 0, np.int32),
        laid(step[subject] ** 2, 0, np.float32),
        laid(first, 0, np.float32),
        int(rows[:n].sum()),
        int(rows[: 2 * n].sum()),
    )


def _two_nearest(place: np.ndarray, distance: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether each entry of a list is the nearest of those of its `place`, 0 to `size`; and the number of its partner.

    That is the nearest entry there, of the nearest one the second nearest, -1 where there is none. Of entries that are
    as near the one listed first counts as nearer. Cost O(P): a minimum for each place, where sorting takes ten times
    as long.
    """
    number = np.arange(len(place), dtype=np.uint64)
    # bits of floats that are not negative have the order of these floats
    key = (distance.astype(np.float32).view(np.uint32).astype(np.uint64) << np.uint64(32)) | number
    nothing = np.iinfo(np.uint64).max
    nearest = np.full(size, nothing)
    np.minimum.at(nearest, place, key)
    first = nearest[place] == key
    second = np.full(size, nothing)
    np.minimum.at(second, place[~first], key[~first])
    partner = np.where(first, second[place], nearest[place])
    return first, np.where(partner == nothing, -1, (partner & np.uint64(0xFFFFFFFF)).astype(np.int64))


def covered(
    x: np.ndarray, y: np.ndarray, radius: np.ndarray, shape: tuple[int, int], blur: float, reach: float = REACH
) -> np.ndarray:
    """(H, W) bool, the pixels within reach of any droplet; arguments as of `covered_pixels`."""
    mask = np.zeros(shape, bool)
    for _, px, py in _discs(x, y, edge_reach(radius, blur, reach), _window(shape)):
        mask[py, px] = True
    return mask


def touching(x: np.ndarray, y: np.ndarray, radius: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,) bool, the droplets that cover a pixel of the mask (H, W)."""
    found = np.zeros(len(x), bool)
    for droplet, px, py in _discs(x, y, radius, _window((mask.shape[0], mask.shape[1]))):
        found[droplet[mask[py, px]]] = True
    return found


def _window(shape: tuple[int, int], *reached: tuple[np.ndarray, np.ndarray]) -> Block:
    """The image, or the part of it that discs reach: centers and reach of rows, and of columns."""
    spans = reached or 2 * ((np.array([-np.inf, np.inf]), np.array(0.0)),)
    edges = (
        (int(np.clip(np.floor((c - r).min()), 0, n)), int(np.clip(np.ceil((c + r).max()) + 1, 0, n)))
        for (c, r), n in zip(spans, shape, strict=True)
    )
    return Block(*itertools.chain(*edges))


def _discs(
    x: np.ndarray, y: np.ndarray, reach: np.ndarray, window: Block, every: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Droplet, x and y of pixels of the window within each droplet's reach, so many at a time.

    Of `every` so many rows and columns there is one.
    """
    size = np.ceil(reach).astype(int)
    top, bottom, left, right = window
    for i in np.flatnonzero(size > WIDE):
        columns, rows = (
            np.arange(max(a, int(np.floor(c - reach[i]))), min(b, int(np.ceil(c + reach[i])) + 1))
            for a, b, c in ((left, right, x[i]), (top, bottom, y[i]))
        )
        columns, rows = columns[columns % every == 0], rows[rows % every == 0]
        for some in _batches(rows, len(columns)):
            v, u = np.nonzero((columns - x[i]) ** 2 + (some[:, None] - y[i]) ** 2 <= reach[i] ** 2)
            yield np.full(len(u), i), columns[u], some[v]
    for k in np.unique(size[size <= WIDE]):
        alike = np.flatnonzero(size == k)
        v, u = np.mgrid[-k : k + 1, -k : k + 1].reshape(2, -1)
        inside = np.hypot(u, v) <= k + 0.8  # of the grid around the nearest pixel
        u, v = u[inside], v[inside]
        for members in _batches(alike, len(u)):
            px = np.rint(x[members]).astype(int)[:, None] + u
            py = np.rint(y[members]).astype(int)[:, None] + v
            near = (px - x[members, None]) ** 2 + (py - y[members, None]) ** 2 <= reach[members, None] ** 2
            near &= (px >= left) & (px < right) & (py >= top) & (py < bottom)
            if every > 1:
                near &= (px % every == 0) & (py % every == 0)
            member, j = np.nonzero(near)
            yield members[member], px[member, j], py[member, j]


def _batches(numbers: np.ndarray, pixels: int) -> list[np.ndarray]:
    """Parts of an array, each of whose numbers stands for so many pixels, that can be listed at a time."""
    size = max(1, AT_ONCE // max(pixels, 1))
    return np.split(numbers, range(size, len(numbers), size))
