"""The empty slides of several pictures laid side by side in one image, each with a light of its own."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..lazy import Block, LazyPixels
from .background import SplineGrid


class TiledGrid(NamedTuple):
    """One grid for each of T tiles of one size; stands for a `SplineGrid` of the whole image (H, W)."""

    grid: SplineGrid
    tiles: tuple[Block, ...]
    shape: tuple[int, int]

    def fit(
        self, values: np.ndarray, weight: np.ndarray | LazyPixels, noise: float
    ) -> tuple[Float[np.ndarray, "TA B C"], Float[np.ndarray, "TA B"]]:
        """Coefficients and their deviations, those of one tile after another; see `SplineGrid.fit`."""
        fitted = [self.grid.fit(values[t.slices], weight[t.slices], noise) for t in self.tiles]
        coefficients, deviations = (np.concatenate(part) for part in zip(*fitted, strict=True))
        return coefficients, deviations

    def field(self, coefficients: Float[np.ndarray, "TA B C"]) -> Float[np.ndarray, "H W C"]:
        """Color of the empty slides at every pixel, float32; nothing beyond the tiles."""
        out = np.zeros((*self.shape, coefficients.shape[-1]), np.float32)
        for tile, own in zip(self.tiles, np.split(coefficients, len(self.tiles)), strict=True):
            out[tile.slices] = self.grid.field(own)
        return out
