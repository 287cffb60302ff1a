"""Arithmetic of the benchmarks of a fit: affine maps, explained variance, agreement of classes."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import comb

import napari_droplets as nd

NEAR = 2.0  # pixels between edges beyond which gaps are not told apart


def affine(source: np.ndarray, target: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(F + 1, T) least-squares map from features (M, F) to targets (M, T); the constant comes last."""
    root = np.ones((len(source), 1)) if weights is None else np.sqrt(weights)[:, None]
    return np.linalg.lstsq(root * _with_one(source), root * target, rcond=None)[0]


def mapped(transform: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Apply such a map to features (..., F)."""
    return _with_one(source) @ transform


def _with_one(source: np.ndarray) -> np.ndarray:
    return np.concatenate([source, np.ones((*source.shape[:-1], 1))], -1)


def through_map(
    composition: np.ndarray, sd: np.ndarray, samples: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bring estimated compositions to the true species by one affine map, standard deviations by joint samples.

    Parameters
    ----------
    composition, sd : ndarray
        (M, K) estimates. Uncertain ones count less for the map, certain ones no more than twice the median one.
    samples : ndarray
        (S, M, K) joint samples of the posterior.
    truth : ndarray
        (M, T) true compositions.

    Returns
    -------
    transform, estimate, sd : ndarray
        The (K + 1, T) map; (M, T) mapped estimates and their standard deviations.
    """
    variance = np.square(sd).mean(1)
    transform = affine(composition, truth, 1 / (variance + np.median(variance) + 1e-12))
    return transform, mapped(transform, composition), mapped(transform, samples).std(0)


def r2(truth: np.ndarray, estimate: np.ndarray) -> float:
    """Share of the variance of (M, T) explained, all columns together."""
    total = np.sum((truth - truth.mean(0)) ** 2)
    return float(1 - np.sum((truth - estimate) ** 2) / total) if total > 0 else float("nan")


def adjusted_rand(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two partitions corrected for chance: 1 the same, about 0 unrelated (Hubert and Arabie, 1985)."""
    if len(a) < 2:
        return float("nan")
    table = contingency(a, b)
    n = comb(table.sum(), 2)
    together, rows, columns = comb(table, 2).sum(), comb(table.sum(1), 2).sum(), comb(table.sum(0), 2).sum()
    chance = rows * columns / n
    most = (rows + columns) / 2
    return float((together - chance) / (most - chance)) if most != chance else 1.0


def contingency(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many have each pair of labels; rows are the sorted labels of `a`, columns those of `b`."""
    rows, i = np.unique(a, return_inverse=True)
    columns, j = np.unique(b, return_inverse=True)
    table = np.zeros((len(rows), len(columns)), int)
    np.add.at(table, (i, j), 1)
    return table


def gaps(droplets: nd.Droplets) -> np.ndarray:
    """(N,) pixels between the edge of each droplet and the nearest other edge; negative where they overlap."""
    nearest = np.full(len(droplets), np.inf)
    points = np.column_stack([droplets.x, droplets.y])
    within = 2 * droplets.radius.max() + NEAR if len(droplets) else 0.0
    i, j = cKDTree(points).query_pairs(within, output_type="ndarray").T
    gap = np.hypot(*(points[i] - points[j]).T) - droplets.radius[i] - droplets.radius[j]
    for index in (i, j):
        np.minimum.at(nearest, index, gap)
    return nearest


def jittered(droplets: nd.Droplets, by: float, rng: np.random.Generator) -> nd.Droplets:
    """Points as a hand sets them: centers off by `by` radii (root mean square), radii by as much, no error bars."""
    n = len(droplets)
    dx, dy = by / np.sqrt(2) * droplets.radius * rng.standard_normal((2, n))
    radius = droplets.radius * np.exp(by * rng.standard_normal(n))
    return nd.Droplets(droplets.x + dx, droplets.y + dy, radius)
