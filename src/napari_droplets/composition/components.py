"""Components that the light absorbed by droplets is made of: where compositions start, and what ties them to known.

Optics cannot tell one affine map of all compositions from another: the network's first layer reads either. A choice is
made here. Without known compositions free components are principal axes, and species are the corners of the smallest
simplex that holds all droplets; known compositions decide as much as they can.
"""

from __future__ import annotations

from math import factorial

import numpy as np
from scipy.optimize import linear_sum_assignment, minimize, nnls
from scipy.spatial import cKDTree
from scipy.special import log_ndtr

from ..model.problem import Form

TAILS = 0.02
"""Part of the droplets whose composition may lie outside of what the range of components is made for."""
MARGIN = 0.1
"""Of the range of a component, left free at both ends."""
FAINT_AXIS = 0.1
"""Weights of components beyond the channels, which start equal for all droplets."""
EDGE = 0.02
"""Compositions start at least so far from 0 and 1."""
LEAST_SCATTER = 0.02
"""Standard deviation of absorbed light that is noise, at least."""
PASSES = ((2.0, 1e-20), (1.0, 1e-6), (0.5, 1e-3))
"""How corners are sought: factors of the scatter, and parts of the droplets that may lie outside of the simplex. A wide
scatter has fewer maxima; in the end what is no droplet must not move the corners."""
CORNERED = 600
"""Droplets by which the corners are found, at most."""
LOOSE = 0.02
"""Known droplets' worth that the unsupervised components count, so that they decide what known ones leave open."""


def compositions_of(absorbed: np.ndarray, form: Form, seed: int, known: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Compositions (N, K) of droplets from the light that they absorb, (N, C).

    What components stand for is decided by the `sure` (N,) ones, and by `known` compositions (N, K), NaN in rows where
    they are not known; what nothing tells apart is decided by the seed.
    """
    rng = np.random.default_rng(seed)
    found_in = _species if form.composition == "simplex" else _principal_axes
    axes, origin = found_in(absorbed[sure], form.types, rng)
    composition = _composition(absorbed, axes, origin, form)
    rows = np.isfinite(known).all(1)
    if not rows.any():
        return composition
    axes, origin = _tied(axes, origin, composition[rows], absorbed[rows], known[rows], form)
    return np.where(rows[:, None], known, _composition(absorbed, axes, origin, form))


def _principal(absorbed: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Center (C,), axes (D, C) and scores (N, D); the signs of axes are such that more is absorbed."""
    center = np.median(absorbed, 0)
    axes = np.linalg.svd(absorbed - center, full_matrices=False)[2]
    axes = axes * np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    return center, axes, (absorbed - center) @ axes.T


def _principal_axes(absorbed: np.ndarray, types: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Principal axes (K, C), scaled to their range, and origin (C,)."""
    center, principal, scores = _principal(absorbed)
    dims = min(types, len(principal))
    low, high = np.quantile(scores[:, :dims], [TAILS, 1 - TAILS], axis=0)
    width = np.maximum(high - low, 0.05) / (1 - 2 * MARGIN)
    middle = (low + high) / 2
    axes = FAINT_AXIS * rng.standard_normal((types, absorbed.shape[1]))
    axes[:dims] = width[:, None] * principal[:dims]
    return axes, center + middle @ principal[:dims] - 0.5 * axes.sum(0)


def _species(absorbed: np.ndarray, types: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Corners (K, C) of the smallest simplex around the droplets, from an origin (C,)."""
    center, principal, scores = _principal(absorbed)
    dims = min(types - 1, len(principal))
    points = scores[:, :dims]
    off = np.abs(points - np.median(points, 0))
    usual = (off <= np.quantile(off, 1 - TAILS / 2, axis=0)).all(1)
    cloud = points[usual] if usual.sum() >= types else points
    corners = _extremes(cloud, types)
    if np.ptp(corners, axis=0).min() < LEAST_SCATTER:  # droplets that are all alike have no corners
        corners = corners.mean(0) + LEAST_SCATTER * rng.standard_normal(corners.shape)
    if dims == types - 1:
        beyond = scores[:, dims:]
        scatter = float(np.median(np.abs(beyond)) / 0.6745) if beyond.size else 0.0
        chosen = np.linspace(0, len(points) - 1, min(len(points), CORNERED)).astype(int)
        corners = _smallest(points[chosen], corners, max(scatter, LEAST_SCATTER))
    vertices = np.zeros((types, len(principal)))
    vertices[:, :dims] = corners
    return vertices @ principal, center


def _extremes(points: np.ndarray, k: int) -> np.ndarray:
    """K of the points (N, D), each the farthest from what those before span, or from the nearest of them."""
    dims = points.shape[1]
    chosen = [points[np.argmax(np.linalg.norm(points - points.mean(0), axis=1))]]
    while len(chosen) < k:
        base = np.array(chosen)
        if len(chosen) <= dims:
            span = np.linalg.qr((base[1:] - base[0]).T)[0] if len(chosen) > 1 else np.zeros((dims, 0))
            rest = (points - base[0]) - (points - base[0]) @ span @ span.T
            chosen.append(points[np.argmax(np.linalg.norm(rest, axis=1))])
        else:
            chosen.append(points[np.argmax(cKDTree(base).query(points)[0])])
    return np.array(chosen)


def _smallest(points: np.ndarray, corners: np.ndarray, scatter: float) -> np.ndarray:
    """Corners (D + 1, D) of the simplex in which points (N, D), uniform in it but for a scatter, are most likely.

    The likelihood of minimum-volume simplex fitting: a point has the density 1 / volume times the probability that none
    of its fractions was below 0 before the scatter; or it is one of a few that lie anywhere. The volume is that with
    the scatter around it, or the simplex would collapse.
    """
    k, d = corners.shape
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], 1)
    box = np.log(np.ptp(points, axis=0) + scatter).sum()
    shape = 0.5 * (np.log(k) + d * np.log(k * (k + 1))) - np.log(float(factorial(d)))  # volume of unit covariance

    def cost(flat: np.ndarray, scatter: float, anywhere: float) -> float:
        vertices = flat.reshape(k, d)
        inverse = np.linalg.pinv(np.concatenate([vertices, np.ones((k, 1))], 1))
        inside = log_ndtr(homogeneous @ inverse / (scatter * np.linalg.norm(inverse[:-1], axis=0))).sum(1)
        # beyond a sharp corner a point is near all sides, but farther from the center than any point of a simplex
        spread = np.cov(vertices, rowvar=False, bias=True).reshape(d, d) / (k + 1) + scatter**2 * np.eye(d)
        off = points - vertices.mean(0)
        beyond = np.maximum(np.einsum("ni,ij,nj->n", off, np.linalg.inv(spread), off) - d * (d + 2), 0)
        volume = shape + 0.5 * np.linalg.slogdet(spread)[1]
        return float(-np.logaddexp(inside - 0.5 * beyond - volume, np.log(anywhere) - box).sum())

    for blur, anywhere in PASSES:
        corners = minimize(
            cost, corners.ravel(), (blur * scatter, anywhere), method="L-BFGS-B", options={"maxiter": 50}
        ).x.reshape(k, d)
    return corners


def _fractions(points: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """(N, K) fractions of the vertices nearest to each point, by least squares with fractions that sum to one."""
    heavy = 1e2 * max(1.0, float(np.abs(vertices).max()))
    matrix = np.concatenate([vertices.T, np.full((1, len(vertices)), heavy)])
    targets = np.concatenate([points, np.full((len(points), 1), heavy)], 1)
    fractions = np.array([nnls(matrix, target)[0] for target in targets])
    fractions = np.maximum(fractions, EDGE)
    return fractions / fractions.sum(1, keepdims=True)


def _composition(absorbed: np.ndarray, axes: np.ndarray, origin: np.ndarray, form: Form) -> np.ndarray:
    """(N, K) compositions that come nearest to what is absorbed; where several do, the nearest to one half."""
    if form.composition == "simplex":
        return _fractions(absorbed - origin, axes)
    return np.clip(0.5 + (absorbed - origin - 0.5 * axes.sum(0)) @ np.linalg.pinv(axes), EDGE, 1 - EDGE)


def _tied(
    axes: np.ndarray, origin: np.ndarray, found: np.ndarray, absorbed: np.ndarray, known: np.ndarray, form: Form
) -> tuple[np.ndarray, np.ndarray]:
    """Axes and origin that make what is absorbed of known compositions; what they leave open stays near those given."""
    # which of the components found is which of the known ones
    if form.composition == "simplex":
        alike = known.T @ found
    else:
        alike = np.abs((known - known.mean(0)).T @ (found - found.mean(0)))
    order = linear_sum_assignment(alike, maximize=True)[1]
    first = np.vstack([axes[order], origin])
    design = np.column_stack([known, np.ones(len(known))])
    gain = design.T @ design + LOOSE * np.eye(len(first))
    solved = first + np.linalg.solve(gain, design.T @ (absorbed - design @ first))
    return solved[:-1], solved[-1]
