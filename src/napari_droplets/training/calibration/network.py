"""Probabilities and standard deviations that hold: measured on simulated images that training never saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression, minimize
from scipy.special import expit

from ...compare import match
from ...detection.cells import UNCHANGED, Cells, Marginal, calibrated, count_sd, doubt, logits
from ...detection.network import read_weights, write_weights
from ...detection.scales import candidates, within
from ...droplets import Droplets
from ...errors import InputError
from ..feed import Scene
from ..scenes import SURELY_TRUE

SEED = 7_301_224_558  # of the images calibrated on: neither trained nor tested on
SIDE = 256  # pixels
SURE = 0.5  # probability from which a droplet counts for the standard deviations
KNOTS = 24  # of the map of probabilities
ONE, TWO = 0.6827, 0.9545  # shares of a normal distribution within one and two standard deviations
FREEDOM = 4.0  # of the t distribution taken for the errors of counts: a few images are out of all proportion
LEAST = 0.05  # droplets; where all is certain the standard deviation of a count is no less, for numbers' sake


class Evidence(NamedTuple):
    """Droplets read off images, before calibration, beside the truth.

    `found` are all candidates; `right` tells which are droplets; `error` (n, 3) is found minus true x, y and radius,
    NaN where wrong; `image` the number of each one's image; `n_true` the number of droplets in each image.
    """

    found: Cells
    right: np.ndarray
    error: np.ndarray
    image: np.ndarray
    n_true: np.ndarray


def gather(params: dict, scenes: list[tuple[np.ndarray, np.ndarray]], largest: float = np.inf) -> Evidence:
    """Let the network read scenes as it reads any image, its scale found by itself, and compare.

    Larger candidates, in pixels, that match nothing are neither right nor wrong.
    """
    parts, counts = [], []
    for image, truth in scenes:
        found = candidates(image, params)
        true = Droplets(*np.asarray(truth, float).reshape(-1, 3).T)
        order = np.argsort(-found.p, kind="stable")
        found = found[order]
        counts.append(int(within(true, image).sum()))
        error = np.full((len(found), 3), np.nan)
        for tier in (found.p > SURE, found.p <= SURE):  # faint candidates may not take a droplet from sure ones
            some = np.flatnonzero(tier)
            i, j = match(true, Droplets(found.x[some], found.y[some], found.radius[some]))
            j = some[j]
            error[j] = np.stack([found.x[j] - true.x[i], found.y[j] - true.y[i], found.radius[j] - true.radius[i]], -1)
            left = np.ones(len(true), bool)
            left[i] = False
            true = true[left]
        judged = (found.radius <= largest) | np.isfinite(error[:, 0])
        parts.append((found[judged], error[judged]))
    errors = np.concatenate([error for _, error in parts])
    return Evidence(
        Cells.together([found for found, _ in parts]),
        np.isfinite(errors[:, 0]),
        errors,
        np.repeat(np.arange(len(parts)), [len(found) for found, _ in parts]),
        np.array(counts),
    )


def fitted(evidence: Evidence) -> Marginal:
    """Logits by logistic regression, then isotonic; factors for the standard deviations of x, y, radius and count.

    Images count by the root of the number of their candidates, in which a few crowded ones would outnumber all others.

    The factor is the one that makes the intervals of one and of two standard deviations both right as nearly as
    possible (the geometric mean of the factors that make one of them right).
    """
    found, right, error, image, _ = evidence
    weight = np.bincount(image)[image] ** -0.5
    result = replace(Marginal.of({}), logit=_logit(found.p, right, image, weight))
    p = calibrated(found, result, image).p
    knots, place = np.unique(p, return_inverse=True)  # many are certain
    total = np.bincount(place, weight)
    share = isotonic_regression(np.bincount(place, weight * right) / total, weights=total).x
    cuts = np.searchsorted(np.cumsum(total), np.linspace(0, total.sum(), KNOTS))
    cuts = np.unique(np.append(np.minimum(cuts, len(knots) - 1), len(knots) - 1))
    curve = np.concatenate([[[0.0, 0.0]], np.stack([knots[cuts], share[cuts]], -1), [[1.0, share[-1]]]])
    result = replace(result, p=np.maximum.accumulate(curve, 0))
    p = calibrated(found, result, image).p
    sure = right & (p > SURE)
    sd = np.stack([found.x_sd, found.y_sd, found.radius_sd], -1)[sure]
    z = np.abs(error[sure]) / sd
    return replace(result, sd=_factor(z), count=_count(evidence, p))


def _logit(p: np.ndarray, right: np.ndarray, image: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """`Marginal.logit` of greatest likelihood."""
    own, unsure = logits(p), doubt(p, image)
    features = np.stack([np.ones_like(own), own, unsure, own * unsure], -1)
    share = weight / weight.sum()

    def surprise(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        z = features @ coefficients
        return float(share @ np.logaddexp(0, np.where(right, -z, z))), features.T @ (share * (expit(z) - right))

    return minimize(surprise, np.array(UNCHANGED["logit"], float), jac=True).x


def _factor(z: np.ndarray) -> np.ndarray:
    """What standard deviations are to be multiplied by, from absolute errors (n, ...) in units of them."""
    return np.sqrt(np.quantile(z, ONE, 0) * np.quantile(z, TWO, 0) / 2)


def _count(evidence: Evidence, p: np.ndarray) -> np.ndarray:
    """`Marginal.count` of greatest likelihood, then with intervals made right, from calibrated probabilities."""
    images = len(evidence.n_true)
    expected, variance = (np.bincount(evidence.image, w, images) for w in (p, p * (1 - p)))
    error = np.abs(evidence.n_true - expected)

    def surprise(log_count: np.ndarray) -> float:
        sd = np.hypot(count_sd(variance, np.exp(log_count)), LEAST)
        return float(np.mean(np.log(sd) + (FREEDOM + 1) / 2 * np.log1p((error / sd) ** 2 / FREEDOM)))

    count = np.exp(minimize(surprise, np.log([1.0, 0.3]), method="Nelder-Mead").x)
    return count * _factor(error / np.hypot(count_sd(variance, count), LEAST))


def calibrate(weights: str | Path, n: int = 300, scene: Scene | None = None, *, largest: float = np.inf) -> Marginal:
    """Calibrate weights on `n` new scenes and note the result in their file.

    Parameters
    ----------
    weights : path
        Written by `train`.
    n : int
        Images, 256 x 256 pixels.
    scene : callable, optional
        Where they come from, as in `train`.
    largest : float
        Radius in pixels up to which all droplets of these scenes are in their truth.

    Raises
    ------
    InputError
        The weights cannot be read, or find too little on the scenes to be calibrated.
    """
    if scene is None:
        from ..scenes import scene as scene_of_all_kinds

        scene, largest = scene_of_all_kinds, SURELY_TRUE
    params, about = read_weights(weights)
    evidence = gather(params, [scene(np.random.default_rng([SEED, i]), SIDE) for i in range(n)], largest)
    if (evidence.right & (evidence.found.p > SURE)).sum() < 100:
        raise InputError(f"{weights}: finds too few of the droplets of {n} scenes to be calibrated; train longer")
    marginal = fitted(evidence)
    write_weights(params, weights, about | {"calibration": marginal.text(), "calibrated_on": str(n)})
    return marginal
