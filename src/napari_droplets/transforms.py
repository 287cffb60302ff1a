"""Between compositions and the unconstrained numbers that inference works with; for NumPy and JAX arrays alike."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
from scipy.special import expit, logit

PLACE = 3
"""Unconstrained numbers of a droplet's circle, which come before those of its composition."""
LEAST_FRACTION = 1e-3
"""Fractions are kept off 0 by as much, and free components off 0 and 1, before they are made unconstrained."""


def unconstrained_size(types: int, composition: str) -> int:
    """Unconstrained numbers of one composition: a simplex of K fractions has K - 1."""
    return types - 1 if composition == "simplex" else types


def constrained(raw: Any, composition: str, xp: ModuleType = np) -> Any:
    """Compositions (K, ...) of unconstrained numbers (d, ...): sigmoids, or broken sticks of a simplex.

    `xp` is the array module, `numpy` or `jax.numpy`. The sticks are those of Stan's reference manual, with equal
    fractions at zero.
    """
    if composition != "simplex":
        return 1 / (1 + xp.exp(-raw))
    k = raw.shape[0] + 1
    shift = xp.log(xp.arange(k - 1, 0, -1)).reshape(-1, *[1] * (raw.ndim - 1)).astype(raw.dtype)
    broken = 1 / (1 + xp.exp(shift - raw))
    one = xp.ones((1, *raw.shape[1:]), raw.dtype)
    left = xp.concatenate([one, xp.cumprod(1 - broken, 0)])
    return left * xp.concatenate([broken, one])


def unconstrained(fractions: np.ndarray, composition: str, least: float = LEAST_FRACTION) -> np.ndarray:
    """The inverse of `constrained`, for compositions (N, K); (N, d)."""
    if composition != "simplex":
        return logit(np.clip(fractions, least, 1 - least))
    fractions = np.clip(fractions, least, None)
    fractions = fractions / fractions.sum(-1, keepdims=True)
    k = fractions.shape[-1]
    before = np.concatenate([np.zeros((*fractions.shape[:-1], 1)), np.cumsum(fractions, -1)[..., :-2]], -1)
    return logit(fractions[..., :-1] / (1 - before)) + np.log(np.arange(k - 1, 0, -1))


def log_density(raw: Any, composition: str, xp: ModuleType = np) -> Any:
    """Log density (...) of unconstrained numbers (d, ...) where compositions are uniform, up to a constant."""
    fractions = constrained(raw, composition, xp)
    if composition == "simplex":  # the volume that the sticks stretch: the product of all fractions
        return xp.log(fractions).sum(0)
    return (xp.log(fractions) + xp.log(1 - fractions)).sum(0)


def sigmoid_moments(mean: np.ndarray, sd: np.ndarray, nodes: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of the sigmoid of a normal variable, by Gauss-Hermite quadrature."""
    at, weights = np.polynomial.hermite_e.hermegauss(nodes)
    values = expit(mean[..., None] + sd[..., None] * at)
    weights = weights / weights.sum()
    first = values @ weights
    return first, np.sqrt(np.maximum((values - first[..., None]) ** 2 @ weights, 0))
