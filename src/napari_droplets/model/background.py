"""The empty slide: a smooth field of color, cubic B-splines on a coarse grid, or one color."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import BSpline

BEND_SD = 0.02
"""Prior standard deviation of the bend (second difference) of the field from knot to knot, intensities 0..1."""
LEVEL_SD = 1.0
"""Prior standard deviation of its coefficients about the middle of the range: nearly none, intensities 0..1."""
CELLS = 4
"""Averages of pixels per knot spacing, in each direction, that the field is fitted to."""


class SplineGrid(NamedTuple):
    """B-spline bases of the rows (H, A) and columns (W, B) of an image; the field is `rows @ coefficients @ columns.T`.

    One basis function each where the background is one color.
    """

    rows: Float[np.ndarray, "H A"]
    columns: Float[np.ndarray, "W B"]

    @classmethod
    def of(cls, height: int, width: int, spacing: float) -> SplineGrid:
        """Knots about so many pixels apart; an infinite spacing gives one color."""
        if not np.isfinite(spacing):
            return cls(np.ones((height, 1)), np.ones((width, 1)))
        return cls.pieces(height, width, max(1, round(height / spacing)), max(1, round(width / spacing)))

    @classmethod
    def pieces(cls, height: int, width: int, rows: int, columns: int) -> SplineGrid:
        """So many pieces of a cubic in each direction; three functions more."""
        return cls(_basis(height, rows), _basis(width, columns))

    @classmethod
    def of_coefficients(cls, height: int, width: int, coefficients: np.ndarray) -> SplineGrid:
        """The grid of an image of these sides that has so many coefficients (A, B, ...)."""
        rows, columns = coefficients.shape[:2]
        if rows == columns == 1:
            return cls.of(height, width, np.inf)
        return cls.pieces(height, width, rows - 3, columns - 3)

    def field(self, coefficients: Float[np.ndarray, "A B C"]) -> Float[np.ndarray, "H W C"]:
        """Color of the empty slide at every pixel, float32."""
        rows, columns = self.rows.astype(np.float32), self.columns.astype(np.float32)
        mixed = np.einsum("ha,abc->hbc", rows, coefficients.astype(np.float32))
        return np.clip(np.einsum("hbc,wb->hwc", mixed, columns, optimize=True), 0, 1)

    def fit(
        self, values: Float[np.ndarray, "H W C"], weight: Float[np.ndarray, "H W"], noise: float
    ) -> tuple[Float[np.ndarray, "A B C"], Float[np.ndarray, "A B"]]:
        """Posterior mean of the coefficients, and their standard deviations, from pixels with white noise.

        Parameters
        ----------
        values, weight : ndarray
            Intensities, and how much each pixel counts: 1 where the slide is seen, 0 where a droplet covers it.
        noise : float
            Standard deviation of a pixel of weight 1.

        Notes
        -----
        Least squares on averages over cells a quarter of the knot spacing wide, with the smoothness prior; cost
        O(H W) for the averages and O((A B)^3) for the solution, a few hundred unknowns at most.
        """
        (h, a), (w, b) = self.rows.shape, self.columns.shape
        cuts_y, cuts_x = (np.linspace(0, n, CELLS * max(k - 3, 1) + 1).astype(int)[:-1] for n, k in ((h, a), (w, b)))

        def cells(array: np.ndarray) -> np.ndarray:
            return np.add.reduceat(np.add.reduceat(array, cuts_y, 0), cuts_x, 1)

        share = cells(weight.astype(np.float64))
        total = np.stack([cells((values[..., c] * weight).astype(np.float64)) for c in range(values.shape[2])], -1)
        at_y, at_x = (np.add.reduceat(m, cuts, 0) / np.diff([*cuts, len(m)])[:, None]
                      for m, cuts in ((self.rows, cuts_y), (self.columns, cuts_x)))  # fmt: skip
        design = np.einsum("ya,xb->yxab", at_y, at_x).reshape(share.size, a * b)
        precision = (design * share.reshape(-1, 1)).T @ design / noise**2 + _smoothness(a, b)
        middle = total.sum((0, 1)) / max(share.sum(), 1e-9)
        pull = design.T @ (total - share[..., None] * middle).reshape(share.size, -1) / noise**2
        covariance = np.linalg.inv(precision)
        found = (covariance @ pull + middle).reshape(a, b, -1)
        return found, np.sqrt(np.diag(covariance)).reshape(a, b)


def _basis(n: int, pieces: int) -> np.ndarray:
    knots = np.r_[[0.0] * 3, np.linspace(0, n, pieces + 1), [float(n)] * 3]
    return BSpline.design_matrix(np.arange(n) + 0.5, knots, 3).toarray()


def _smoothness(a: int, b: int) -> np.ndarray:
    """Precision of the prior of the coefficients (A B, A B)."""

    def bend(n: int) -> np.ndarray:
        second = np.diff(np.eye(n), 2, axis=0) if n > 2 else np.zeros((0, n))
        return second.T @ second

    bends = np.kron(bend(a), np.eye(b)) + np.kron(np.eye(a), bend(b))
    return bends / BEND_SD**2 + np.eye(a * b) / LEVEL_SD**2
