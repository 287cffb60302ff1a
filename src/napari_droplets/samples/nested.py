"""Means of samples and conditions from images that differ: a normal model of images in samples in groups.

A quantity is taken where it is about normal (logs of sizes and densities, logits of proportions). Image i of sample s
in group g was measured as y_i with the variance v_i, which is that of its droplets alone: y_i ~ N(mu_s, v_i +
tau_image^2), mu_s ~ N(mu_g, tau_sample^2). How much images of a sample differ, and samples of a group, is the same in
the whole series; both are averaged over with a half-normal prior, on a grid, and everything else is in closed form
(Gelman, Bayesian Analysis 1 (2006) 515; Roever, Journal of Statistical Software 93 (2020) 6).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

STEPS = 32
"""Of the grid for either standard deviation, denser towards 0 …"""
MOST = 4.0
"""… up to so many of its scale."""
DRAWS = 4000
LEAST_VARIANCE = 1e-10
"""Of an image: below, weights overflow."""


class Means(NamedTuple):
    """Draws of the posterior."""

    sample: np.ndarray
    """(draws, S) mean of each sample."""
    group: np.ndarray
    """(draws, G) mean of each group."""
    tau_image: np.ndarray
    """(draws,) standard deviation between images of a sample; 0 where no sample has two."""
    tau_sample: np.ndarray
    """(draws,) … between samples of a group; 0 where no group has two."""


def nested_means(
    y: np.ndarray,
    variance: np.ndarray,
    sample: np.ndarray,
    group: np.ndarray,
    *,
    scale: float,
    shared_variance: float = 0.0,
    draws: int = DRAWS,
    seed: int = 0,
) -> Means:
    """Means of samples and of groups of them.

    Parameters
    ----------
    y, variance : ndarray
        (I,) value of each image and the variance of its measurement.
    sample : ndarray
        (I,) int, which of the S samples it is of.
    group : ndarray
        (S,) int, which of the G groups each sample is of.
    scale : float
        Standard deviation of the half-normal prior of what images, and samples, differ by.
    shared_variance : float
        Of an error that all images have in common: it widens means, and cancels in differences.
    draws : int
        From the posterior.
    seed : int
        Of the draws.
    """
    y, v = np.asarray(y, float), np.maximum(np.asarray(variance, float), LEAST_VARIANCE)
    n_samples, n_groups = len(group), int(group.max()) + 1
    tau_image = _grid(scale if np.bincount(sample).max() > 1 else 0.0)
    tau_sample = _grid(scale if np.bincount(group).max() > 1 else 0.0)
    center = y.mean()  # a flat prior of the means does not feel it, rounding does

    def below(values: np.ndarray, variances: np.ndarray, member: np.ndarray, n: int) -> tuple[Any, Any, float]:
        """Mean and variance of each of n parents, and the log-likelihood with these integrated out."""
        w = 1 / variances
        total = np.bincount(member, w, n)
        mean = np.bincount(member, w * values, n) / total
        log = 0.5 * (np.log(w).sum() - np.log(total).sum() - (w * (values - mean[member]) ** 2).sum())
        return mean, 1 / total, log

    shape = len(tau_image), len(tau_sample)
    log = np.empty(shape)
    means, variances = np.empty((2, *shape, n_groups))
    of_sample, sample_variance = np.empty((2, len(tau_image), n_samples))
    for i, a in enumerate(tau_image):
        of_sample[i], sample_variance[i], first = below(y - center, v + a**2, sample, n_samples)
        for j, b in enumerate(tau_sample):
            means[i, j], variances[i, j], second = below(of_sample[i], sample_variance[i] + b**2, group, n_groups)
            log[i, j] = first + second
    prior = _log_prior(tau_image, scale)[:, None] + _log_prior(tau_sample, scale)
    weight = np.exp(log + prior - (log + prior).max())
    rng = np.random.default_rng(seed)
    chosen = np.unravel_index(rng.choice(weight.size, draws, p=(weight / weight.sum()).ravel()), shape)
    common = center + np.sqrt(shared_variance) * rng.normal(size=(draws, 1))
    return Means(
        of_sample[chosen[0]] + np.sqrt(sample_variance[chosen[0]]) * rng.normal(size=(draws, n_samples)) + common,
        means[chosen] + np.sqrt(variances[chosen]) * rng.normal(size=(draws, n_groups)) + common,
        tau_image[chosen[0]],
        tau_sample[chosen[1]],
    )


def _grid(scale: float) -> np.ndarray:
    """Standard deviations that are tried; 0 alone where nothing in the series tells them."""
    return MOST * scale * np.linspace(0.5 / STEPS, 1, STEPS) ** 2 if scale else np.zeros(1)


def _log_prior(tau: np.ndarray, scale: float) -> np.ndarray:
    """Half-normal, times the width of each step of the grid."""
    return np.log(np.gradient(tau)) - 0.5 * (tau / scale) ** 2 if len(tau) > 1 else np.zeros(1)
