"""Which droplet each pixel tells of: lists of the pixels that droplets cover, in rows of one droplet each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..lazy import SIDE, blocks
from .outline import PIXEL_VARIANCE

ROW = 16
"""Pixels of one row: small enough that little of a small droplet's last row is empty."""
REACH = 1.1
"""Radii from a center up to which pixels are looked at, so that an outline has room to move …"""
SEEN = 2.0
"""… and standard deviations of the blur beyond the outline, where 2 % of a droplet is left to be seen."""
AT_ONCE = 1_000_000
"""Pixels that are listed at a time: each takes some 200 bytes while they are sorted."""


class Pixels(NamedTuple):
    """The pixels that droplets may cover, in R rows of ROW pixels, each row of one droplet.

    A pixel near two droplets is listed with each of them, and `other` is the one of the two that the row is not of.
    With more than two the nearest ones count, distances measured in radii. Rows with others come first.
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
    """Rows with others."""


def edge_reach(radius: np.ndarray, blur: float, reach: float = REACH) -> np.ndarray:
    """(N,) pixels from a center that are looked at."""
    edge = float(np.hypot(blur, PIXEL_VARIANCE**0.5))
    return np.maximum(reach * radius, radius + SEEN * edge)


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
    `most` pixels, one pixel of so many rows and columns is listed, and stands for more than one. Cost O(P log P) for P
    pixels listed; many are listed block by block, which gives the same list.
    """
    far = edge_reach(radius, blur, reach)
    if np.pi * np.sum(far**2) <= AT_ONCE or max(shape) <= SIDE:
        return _listed(x, y, radius, shape, blur, reach, wanted, most)
    n, parts = len(x), []
    for block in blocks(shape, SIDE):
        own = block.owns(x, y, shape) if wanted is None else wanted & block.owns(x, y, shape)
        if own.any():
            near = np.flatnonzero(block.around(own, x, y, far))
            found = _listed(x[near], y[near], radius[near], shape, blur, reach, own[near], most)
            numbers = np.append(near, n).astype(np.int32)
            parts.append(found._replace(row=numbers[found.row], other=numbers[found.other]))
    return _together(parts)


def _together(parts: list[Pixels]) -> Pixels:
    """One list in the order of one that is made at once: rows with others first, and by droplet."""
    if not parts:
        return Pixels(np.zeros(0, np.int32), *np.zeros((5, 0, ROW)), 0)
    lonely = np.concatenate([np.arange(len(p.row)) >= p.crowded for p in parts])
    order = np.lexsort((np.concatenate([p.row for p in parts]), lonely))  # stable
    columns = (np.concatenate(column)[order] for column in zip(*(p[:-1] for p in parts), strict=True))
    return Pixels(*columns, int((~lonely).sum()))


def _listed(
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
    shape: tuple[int, int],
    blur: float,
    reach: float,
    wanted: np.ndarray | None,
    most: float,
) -> Pixels:
    n, edge = len(x), float(np.hypot(blur, PIXEL_VARIANCE**0.5))
    subject, px, py = _discs(x, y, edge_reach(radius, blur, reach), shape)
    step = np.ceil(np.sqrt(np.maximum(np.pi * radius**2 / most, 1))).astype(int)
    keep = (px % step[subject] == 0) & (py % step[subject] == 0)
    if wanted is not None:
        keep &= wanted[subject]
    place = py * shape[1] + px
    some = np.isin(place, place[keep])  # of pixels that no row will have nothing more needs to be known
    subject, px, py, place, keep = (a[some] for a in (subject, px, py, place, keep))
    distance = np.hypot(px - x[subject], py - y[subject])
    # for each pixel the two nearest droplets
    order = np.lexsort((distance / radius[subject], place))
    subject, px, py, place, keep, distance = (a[order] for a in (subject, px, py, place, keep, distance))
    number, first = np.arange(len(place)), np.diff(place, prepend=-1) > 0
    nearest = np.maximum.accumulate(np.where(first, number, 0))
    partner = np.where(first, number + 1, nearest) % max(len(place), 1)
    lonely = (first & np.roll(first, -1)) | (distance >= radius[subject] + SEEN * edge)[partner]
    other = np.where(lonely, n, subject[partner])
    # rows of one droplet, those with others first
    kept = np.flatnonzero(keep)
    group = (np.where(other < n, 0, n) + subject)[kept]
    order = np.argsort(group, kind="stable")
    kept, group = kept[order], group[order]
    count = np.bincount(group, minlength=2 * n)
    rows = -(-count // ROW)
    empty = rows * ROW - count
    slot = np.arange(len(group)) + (np.cumsum(empty) - empty)[group]

    def laid(values: np.ndarray, nothing: float, kind: type) -> np.ndarray:
        out: np.ndarray = np.full(int(rows.sum()) * ROW, nothing, kind)
        out[slot] = values[kept]
        return out.reshape(-1, ROW)

    return Pixels(
        np.repeat(np.arange(2 * n) % max(n, 1), rows).astype(np.int32),
        laid(other, n, np.int32),
        laid(px, 0, np.int32),
        laid(py, 0, np.int32),
        laid(step[subject] ** 2, 0, np.float32),
        laid(first, 0, np.float32),
        int(rows[:n].sum()),
    )


def covered(
    x: np.ndarray, y: np.ndarray, radius: np.ndarray, shape: tuple[int, int], blur: float, reach: float = REACH
) -> np.ndarray:
    """(H, W) bool, the pixels within reach of any droplet; arguments as of `covered_pixels`."""
    far = edge_reach(radius, blur, reach)
    mask = np.zeros(shape, bool)
    for some in _batches(far):
        _, px, py = _discs(x[some], y[some], far[some], shape)
        mask[py, px] = True
    return mask


def touching(x: np.ndarray, y: np.ndarray, radius: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(N,) bool, the droplets that cover a pixel of the mask (H, W)."""
    found = np.zeros(len(x), bool)
    for some in _batches(radius):
        subject, px, py = _discs(x[some], y[some], radius[some], mask.shape)
        found[some] = np.bincount(subject, mask[py, px], len(x[some])) > 0
    return found


def _batches(reach: np.ndarray) -> Iterator[slice]:
    """Droplets next to each other in the table with about as many pixels together as are listed at a time."""
    number = (np.cumsum(np.pi * reach**2) // AT_ONCE).astype(int)
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(reach)]
    yield from (slice(a, b) for a, b in itertools.pairwise(edges) if b > a)


def _discs(
    x: np.ndarray, y: np.ndarray, reach: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Droplet, x and y of all pixels of the image within each droplet's reach."""
    size = np.ceil(reach).astype(int)
    parts = [3 * (np.zeros(0, int),)]
    for k in np.unique(size):
        members = np.flatnonzero(size == k)
        v, u = np.mgrid[-k : k + 1, -k : k + 1].reshape(2, -1)
        inside = np.hypot(u, v) <= k + 0.8  # of the grid around the nearest pixel
        u, v = u[inside], v[inside]
        px = np.rint(x[members]).astype(int)[:, None] + u
        py = np.rint(y[members]).astype(int)[:, None] + v
        near = (px - x[members, None]) ** 2 + (py - y[members, None]) ** 2 <= reach[members, None] ** 2
        near &= (px >= 0) & (px < shape[1]) & (py >= 0) & (py < shape[0])
        i, j = np.nonzero(near)
        parts.append((members[i], px[i, j], py[i, j]))
    droplet, u, v = (np.concatenate(p) for p in zip(*parts, strict=True))
    return droplet, u, v
