"""The empty slide: a smooth field of color, cubic B-splines on a coarse grid, or one color."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.interpolate import BSpline
from scipy.linalg import cho_solve_banded, cholesky_banded
from scipy.sparse import csr_array

from ..lazy import SIDE, Block, LazyPixels
from ..lazy import Pixels as Image

BEND_SD = 0.02
"""Prior standard deviation of the bend (second difference) of the field from knot to knot, intensities 0..1."""
LEVEL_SD = 1.0
"""Prior standard deviation of its coefficients about the middle of the range: nearly none, intensities 0..1."""
REACH = 3
"""Cubic splines that one meets before and after itself."""
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
        functions = (3 + max(1, round(n / spacing)) if np.isfinite(spacing) else 1 for n in (height, width))
        return cls(*map(_basis, (height, width), functions))

    @classmethod
    def for_coefficients(cls, height: int, width: int, coefficients: np.ndarray) -> SplineGrid:
        """The grid on which coefficients (A, B, C) give a field of this size."""
        return cls(*map(_basis, (height, width), coefficients.shape))

    def field(self, coefficients: Float[np.ndarray, "A B C"]) -> Float[np.ndarray, "H W C"]:
        """Color of the empty slide at every pixel, float32."""
        return _field(self.rows, self.columns, coefficients)

    def lazy_field(self, coefficients: Float[np.ndarray, "A B C"]) -> LazyPixels:
        """The same, made where it is asked for."""

        def part(block: Block) -> np.ndarray:
            return _field(self.rows[block.top : block.bottom], self.columns[block.left : block.right], coefficients)

        return LazyPixels((len(self.rows), len(self.columns), coefficients.shape[-1]), part)

    def fit(
        self, values: Image, weight: Float[np.ndarray, "H W"] | LazyPixels, noise: float
    ) -> tuple[Float[np.ndarray, "A B C"], Float[np.ndarray, "A B"]]:
        """Posterior mean of the coefficients, and their standard deviations, from pixels with white noise.

        `noise` is the standard deviation of a pixel of weight 1; pixels have weight 1 where the slide is seen, 0 where
        a droplet covers it. Weights that are read by parts have a last axis, (H, W, 1).

        Least squares on averages over cells a quarter of the knot spacing wide, with the smoothness prior: O(H W) for
        the averages, and O(A^2 B^3) for the solution, as a spline meets but three others in either direction.
        """
        (h, a), (w, b) = self.rows.shape, self.columns.shape
        cuts_y, cuts_x = (np.linspace(0, n, CELLS * max(k - 3, 1) + 1).astype(int)[:-1] for n, k in ((h, a), (w, b)))
        share, total = _sums(values, weight, [*cuts_y, h], [*cuts_x, w])
        at_y, at_x = (np.add.reduceat(m, cuts, 0) / np.diff([*cuts, len(m)])[:, None]
                      for m, cuts in ((self.rows, cuts_y), (self.columns, cuts_x)))  # fmt: skip
        precision = _overlaps(at_y, at_x, share / noise**2) + _smoothness(a, b)
        middle = total.sum((0, 1)) / max(share.sum(), 1e-9)
        pull = np.einsum("ya,yxc,xb->abc", at_y, total - share[..., None] * middle, at_x, optimize=True) / noise**2
        root = cholesky_banded(precision, lower=True)
        found = cho_solve_banded((root, True), pull.reshape(a * b, -1)) + middle
        variance = np.diag(cho_solve_banded((root, True), np.eye(a * b)))
        return found.reshape(a, b, -1), np.sqrt(variance).reshape(a, b)


def _field(rows: np.ndarray, columns: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """Color at these rows and columns, which is the same to the last bit whatever else is asked for.

    A product of dense matrices is not: how it adds up depends on their sizes. That of sparse ones works row by row.
    """
    a, b, c = coefficients.shape
    along = _sparse(columns) @ coefficients.astype(np.float32).transpose(1, 0, 2).reshape(b, a * c)
    field = _sparse(rows) @ along.reshape(-1, a, c).transpose(1, 0, 2).reshape(a, -1)
    return np.clip(field, 0, 1, out=field).reshape(len(rows), len(columns), c)


def _sparse(basis: np.ndarray) -> csr_array:
    """Of the functions of each place four are not zero."""
    return csr_array(basis.astype(np.float32))


def _sums(
    values: Image, weight: np.ndarray | LazyPixels, edges_y: list[int], edges_x: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Sums over cells of the weight (Y, X) and of the weighted values (Y, X, C), float64, some cells at a time."""
    sums = np.zeros((1 + values.shape[2], len(edges_y) - 1, len(edges_x) - 1))
    for down, across in itertools.product(_groups(edges_y), _groups(edges_x)):
        block = Block(edges_y[down.start], edges_y[down.stop], edges_x[across.start], edges_x[across.stop])
        cuts_y, cuts_x = np.array(edges_y[down]) - block.top, np.array(edges_x[across]) - block.left
        share, part = np.asarray(weight[block.slices]).reshape(block.shape), values[block.slices]
        weighted = (share, *(part[..., c] * share for c in range(part.shape[2])))
        for total, array in zip(sums, weighted, strict=True):
            total[down, across] = np.add.reduceat(np.add.reduceat(array.astype(np.float64), cuts_y, 0), cuts_x, 1)
    return sums[0], np.ascontiguousarray(np.moveaxis(sums[1:], 0, -1))


def _groups(edges: list[int]) -> list[slice]:
    """Cells next to each other that reach over the side of a block, or single ones that are longer."""
    groups, begin = [], 0
    for i in range(1, len(edges)):
        if i == len(edges) - 1 or edges[i + 1] - edges[begin] > SIDE:
            groups.append(slice(begin, i))
            begin = i
    return groups


def _basis(n: int, functions: int) -> np.ndarray:
    """Cubic B-splines (n, functions) at the middles of n pixels; a single one is constant."""
    if functions == 1:
        return np.ones((n, 1))
    knots = np.r_[[0.0] * 3, np.linspace(0, n, functions - 2), [float(n)] * 3]
    return BSpline.design_matrix(np.arange(n) + 0.5, knots, 3).toarray()


def _overlaps(rows: np.ndarray, columns: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of splines on cells, rows (Y, A) and columns (X, B), their weighted products, see `_lower`; weight (Y, X)."""
    along, across = _products(rows), _products(columns)
    together = np.einsum("yai,yx,xbj->iajb", along[..., REACH:], weight, across, optimize=True)
    return _lower(together)


def _smoothness(a: int, b: int) -> np.ndarray:
    """Precision of the prior of the coefficients, see `_lower`."""
    together = np.zeros((REACH + 1, a, 2 * REACH + 1, b))
    bend_a, bend_b = (second.T @ second / BEND_SD**2 for second in (np.diff(np.eye(n), 2, axis=0) for n in (a, b)))
    for k in range(min(REACH + 1, a)):
        together[k, : a - k, REACH] += np.diag(bend_a, k)[:, None]
    for k in range(min(REACH + 1, b)):
        together[0, :, REACH + k, : b - k] += np.diag(bend_b, k)
    together[0, :, REACH] += LEVEL_SD**-2
    return _lower(together)


def _products(basis: np.ndarray) -> np.ndarray:
    """Of each spline with those up to `REACH` before and after it: (n, functions, 2 REACH + 1)."""
    padded = np.pad(basis, ((0, 0), (REACH, REACH)))
    return np.stack([basis * padded[:, k : k + basis.shape[1]] for k in range(2 * REACH + 1)], -1)


def _lower(together: np.ndarray) -> np.ndarray:
    """The bands of a symmetric matrix (A B, A B) on its diagonal and below, as LAPACK wants them.

    `together` [i, a, REACH + j, b] is what coefficient (a, b) has with (a + i, b + j), 0 where there is none.
    """
    further, a, _, b = together.shape
    bands = np.zeros((further * b + further, a * b))
    for i, j in itertools.product(range(further), range(-REACH, further)):
        if i * b + j >= 0 and (i > 0 or j >= 0):
            bands[i * b + j] += together[i, :, REACH + j].ravel()
    return bands[: a * b]
