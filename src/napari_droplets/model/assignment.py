"""Which droplet each pixel tells of: lists of the pixels that droplets cover, in rows of one droplet each."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..lazy import blocks
from .outline import PIXEL_VARIANCE

ROW = 16
"""Pixels of one row: small enough that little of a small droplet's last row is empty."""
REACH = 1.1
"""Radii from a center up to which pixels are looked at, so that an outline has room to move …"""
LOOKED_AT = 2.0
"""… and standard deviations of the blur beyond the outline, where 2 % of a droplet is left."""
SEEN = 2.0
"""Standard deviations of the blur beyond an outline up to which another droplet is seen: 2 % is left there."""


AT_ONCE = 1_000_000
"""Pixels that are listed at a time: each takes some 200 bytes while they are sorted."""
LISTED_SIDE = 1024
"""Pixels; side of the blocks by which more of them are listed."""


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
    return np.maximum(reach * radius, radius + LOOKED_AT * edge)


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
    """List the pixels within `reach` radii of each droplet.

    Cost O(P log P) for P pixels listed; many are listed block by block, which gives the same list.

    Parameters
    ----------
    x, y, radius : ndarray
        (N,) pixels.
    shape : (int, int)
        Height and width of the image.
    reach : float
        Radii; the blurred edge is looked at in any case.
    blur : float
        Standard deviation of the image's blur, pixels.
    wanted : ndarray, optional
        (N,) bool, droplets whose pixels are listed; the others are only seen beside them. All by default.
    most : float
        Of larger droplets, one pixel of so many rows and columns, that each stand for more than one.
    """
    far = edge_reach(radius, blur, reach)
    if np.pi * np.sum(far**2) <= AT_ONCE or max(shape) <= LISTED_SIDE:
        return _listed(x, y, radius, shape, blur, reach, wanted, most)
    n, parts = len(x), []
    for block in blocks(shape, LISTED_SIDE):
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
    if not keep.all():  # of pixels that no row will have nothing more needs to be known
        left, top = px.min(), py.min()
        listed = np.zeros((py.max() - top + 1, px.max() - left + 1), bool)
        listed[py[keep] - top, px[keep] - left] = True
        some = listed[py - top, px - left]
        subject, px, py, keep = subject[some], px[some], py[some], keep[some]
    distance = np.hypot(px - x[subject], py - y[subject])
    place = distance / radius[subject]
    # for each pixel the two nearest droplets
    order = np.lexsort((place, py * shape[1] + px))
    subject, px, py, distance, keep = (a[order] for a in (subject, px, py, distance, keep))
    seen = distance < radius[subject] + SEEN * edge
    key = py * shape[1] + px
    first = np.r_[True, key[1:] != key[:-1]] if len(key) else np.zeros(0, bool)
    start = np.flatnonzero(first)
    group = np.cumsum(first) - 1
    leader = start[group]
    follows = np.flatnonzero(~first & (np.arange(len(key)) == leader + 1))
    second = np.full(len(key), -1)
    second[leader[follows]] = follows
    second = second[leader]
    partner = np.where(first, second, leader)
    other = np.where((partner >= 0) & seen[partner], subject[partner], n)
    rows = _in_rows(subject[keep], other[keep], n)
    weight = (step.astype(np.float32) ** 2)[subject[keep]]

    def laid(values: np.ndarray, empty: float, kind: type) -> np.ndarray:
        out: np.ndarray = np.full(rows.total * ROW, empty, kind)
        out[rows.slot] = values
        return out.reshape(-1, ROW)

    return Pixels(
        rows.of,
        laid(other[keep], n, np.int32),
        laid(px[keep], 0, np.int32),
        laid(py[keep], 0, np.int32),
        laid(weight, 0, np.float32),
        laid(first[keep], 0, np.float32),
        rows.crowded,
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


class _Rows(NamedTuple):
    of: np.ndarray
    slot: np.ndarray
    total: int
    crowded: int


def _in_rows(subject: np.ndarray, other: np.ndarray, n: int) -> _Rows:
    """Where each pixel goes: rows of ROW pixels of one droplet, those with others first."""
    key = np.where(other < n, 0, n) + subject
    order = np.argsort(key, kind="stable")
    count = np.bincount(key, minlength=2 * n)
    rows = -(-count // ROW)
    begin, first = np.cumsum(rows) - rows, np.cumsum(count) - count
    rank = np.arange(len(key)) - first[key[order]]
    slot = np.empty(len(key), int)
    slot[order] = begin[key[order]] * ROW + rank
    of = np.repeat(np.arange(2 * n) % max(n, 1), rows).astype(np.int32)
    return _Rows(of, slot, int(rows.sum()), int(rows[:n].sum()))


def _discs(
    x: np.ndarray, y: np.ndarray, reach: np.ndarray, shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Droplet, x and y of all pixels of the image within each droplet's reach."""
    size = np.ceil(reach).astype(int)
    parts = []
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
    if not parts:
        nothing = np.zeros(0, int)
        return nothing, nothing, nothing
    droplet, u, v = (np.concatenate(p) for p in zip(*parts, strict=True))
    return droplet, u, v
