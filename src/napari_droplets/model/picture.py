"""Whole images drawn by the forward model, without their noise."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from ..lazy import Block, LazyPixels
from .assignment import REACH, covered_pixels, edge_reach
from .background import SplineGrid
from .outline import GLOW_REACH
from .problem import FAR
from .rendering import Droplet, Shared, color

BATCH = 2**14
"""Pixels drawn at a time."""


@jax.jit
def _colors(first: Droplet, second: Droplet, ground: Array, position: Array, shared: Shared) -> Array:
    return color(first, second, ground, position, shared)[0]


def draw(
    x: Float[np.ndarray, " N"],
    y: Float[np.ndarray, " N"],
    radius: Float[np.ndarray, " N"],
    composition: Float[np.ndarray, "N K"],
    ground: Float[np.ndarray, "H W C"],
    shared: Shared,
) -> Float[np.ndarray, "H W C"]:
    """Draw droplets, in pixels, over the empty slide; float32 in 0..1."""
    picture = np.array(ground, np.float32)
    if not len(x):
        return picture
    reach = GLOW_REACH if np.any(np.asarray(shared.glow)) else REACH
    pixels = covered_pixels(x, y, radius, ground.shape[:2], blur=float(np.exp(shared.log_blur)), reach=reach)
    own = (pixels.own > 0) & (pixels.weight > 0)
    px, py = pixels.x[own], pixels.y[own]
    first = np.broadcast_to(pixels.row[:, None], own.shape)[own]
    second = pixels.other[own]
    columns = np.concatenate([np.stack([x, y, radius]), np.asarray(composition).T]).astype(np.float32)
    none = np.concatenate([[FAR, FAR, 1.0], np.full(len(columns) - 3, 0.5)]).astype(np.float32)
    columns = np.concatenate([columns, none[:, None]], 1)
    for begin in range(0, len(px), BATCH):
        some = np.arange(begin, begin + BATCH) % len(px)
        of = [Droplet(*columns[:3, which[some]], columns[3:, which[some]]) for which in (first, second)]
        at = py[some], px[some]
        position = np.stack([px[some], py[some]]).astype(np.float32)
        drawn = np.asarray(_colors(*of, ground[at].T, position, shared)).T
        last = min(BATCH, len(px) - begin)
        picture[at[0][:last], at[1][:last]] = drawn[:last]
    return np.clip(picture, 0, 1)


class Drawing(NamedTuple):
    """What a large image shows, of which a block is drawn when it is asked for."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    """(N,) pixels."""
    composition: np.ndarray
    """(N, K)."""
    grid: SplineGrid
    coefficients: np.ndarray
    """(A, B, C) of the empty slide."""
    shared: Shared

    def part(self, block: Block) -> np.ndarray:
        """The pixels (h, w, C) of a block."""
        reach = GLOW_REACH if np.any(np.asarray(self.shared.glow)) else REACH
        far = edge_reach(self.radius, float(np.exp(self.shared.log_blur)), reach)
        near = block.reached(self.x, self.y, far)
        place = self.x[near] - block.left, self.y[near] - block.top, self.radius[near]
        ground = self.grid.lazy_field(self.coefficients)[block.slices]
        return draw(*place, self.composition[near], ground, self.shared)

    def pixels(self) -> LazyPixels:
        """All of it, as pixels read by parts."""
        shape = len(self.grid.rows), len(self.grid.columns), self.coefficients.shape[-1]
        return LazyPixels(shape, self.part)


def with_noise(picture: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """The same image with white noise."""
    return picture + noise * np.random.default_rng(seed).standard_normal(picture.shape, np.float32)
