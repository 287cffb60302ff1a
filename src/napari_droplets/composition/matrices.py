"""Many small symmetric matrices at once."""

from __future__ import annotations

import numpy as np


def at_least(covariance: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Covariances (D, D, G) with no variance below `least` (G,) along any axis: rounding can make it negative."""
    matrices = np.moveaxis(covariance, -1, 0)
    variance, axes = np.linalg.eigh(0.5 * (matrices + matrices.transpose(0, 2, 1)))
    variance = np.maximum(variance, least[:, None])
    return np.moveaxis(np.einsum("gij,gj,gkj->gik", axes, variance, axes), 0, -1)


def inverse(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Inverses and log determinants of many small symmetric matrices (D, D, …), by D sweeps over all at once."""
    a, log_det = a.copy(), np.zeros(a.shape[2:])
    for j in range(len(a)):
        pivot = a[j, j].copy()
        row = a[j] / pivot
        a -= a[:, j, None] * row
        a[j] = a[:, j] = row
        a[j, j] = -1 / pivot
        log_det += np.log(pivot)
    return -a, log_det
