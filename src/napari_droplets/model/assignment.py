"""Which droplets a pixel may see: the image cut into tiles, and the few candidate droplets of each."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

TILE = 8
"""Side of a tile in pixels: small enough that a few candidates serve all its pixels."""


class Tiles(NamedTuple):
    """An image cut into T tiles of P = TILE x TILE pixels, tiles at the border filled up with zero weight.

    `corner` (T, 2) is the (x, y) of a tile's first pixel, `values` (T, P, C) its intensities, `weight` (T, P) 1 for
    pixels of the image and 0 for filling.
    """

    corner: np.ndarray
    values: np.ndarray
    weight: np.ndarray


def cut(pixels: np.ndarray) -> Tiles:
    """Cut an image (H, W, C) float32 into tiles."""
    h, w, c = pixels.shape
    ny, nx = -(-h // TILE), -(-w // TILE)
    inside = np.zeros((ny * TILE, nx * TILE), np.float32)
    inside[:h, :w] = 1
    full = np.zeros((ny * TILE, nx * TILE, c), np.float32)
    full[:h, :w] = pixels

    def tiled(a: np.ndarray) -> np.ndarray:
        return a.reshape(ny, TILE, nx, TILE, -1).swapaxes(1, 2).reshape(ny * nx, TILE * TILE, -1)

    y, x = np.mgrid[:ny, :nx] * TILE
    return Tiles(np.stack([x.ravel(), y.ravel()], -1).astype(np.float32), tiled(full), tiled(inside)[..., 0])


def join(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Tiles (T, P, C) back to an image (H, W, C)."""
    h, w = shape
    ny, nx = -(-h // TILE), -(-w // TILE)
    grid = values[: ny * nx].reshape(ny, nx, TILE, TILE, -1).swapaxes(1, 2)
    return grid.reshape(ny * TILE, nx * TILE, -1)[:h, :w]


def candidates(
    x: np.ndarray, y: np.ndarray, radius: np.ndarray, corner: np.ndarray, count: int, reach: float
) -> np.ndarray:
    """Find up to `count` droplets that come nearest to each tile, distances measured in radii.

    The distance of a droplet to a tile is that to the circle around the tile divided by the radius: a lower bound
    of the distance to any of its pixels. One k-d tree per half-octave of radius makes Euclidean neighbors nearly
    sorted by it; cost O((T + N) log N).

    Parameters
    ----------
    x, y, radius : ndarray
        (N,) pixels.
    corner : ndarray
        (T, 2) first pixels of the tiles, as in `Tiles`.
    count : int
        Candidates M per tile.
    reach : float
        Radii beyond which a droplet does not matter.

    Returns
    -------
    ndarray
        (T, M) int32 indices of droplets, nearest first; N where there are fewer than M within reach.
    """
    center = corner + (TILE - 1) / 2
    half = (TILE - 1) / 2**0.5  # from a tile's center to those of its corner pixels
    octave = np.floor(2 * np.log2(radius)).astype(int)
    found = [np.full((len(corner), count), len(x))]
    bound = [np.full((len(corner), count), np.inf)]
    for level in np.unique(octave):
        members = np.flatnonzero(octave == level)
        tree = cKDTree(np.stack([x[members], y[members]], -1))
        k = np.arange(1, min(count, len(members)) + 1)
        distance, near = tree.query(center, k=k, distance_upper_bound=half + reach * radius[members].max(), workers=-1)
        index = np.append(members, len(x))[near]
        size = np.append(radius, 1)[index]
        found.append(index)
        # inside the circle the bound is zero for all; the nearest center then comes first
        bound.append((np.maximum(distance - half, 0) + 1e-3 * distance) / size)
    index, score = np.concatenate(found, 1), np.concatenate(bound, 1)
    best = np.argpartition(score, count - 1, 1)[:, :count]
    best = np.take_along_axis(best, np.argsort(np.take_along_axis(score, best, 1), 1), 1)
    return np.take_along_axis(index, best, 1).astype(np.int32)
