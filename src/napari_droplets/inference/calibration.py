"""What a fit says made true: error bars, presence and counts as they hold on simulated images.

A Gaussian of each droplet knows the noise. What it misses are errors of a model that is nearly right: each droplet's
own are larger by a factor, and there is the error that all droplets of the image share. Both are told. The numbers in
`calibration.json` were learned by `training.calibration.fits`; the file says from what.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit, ndtr

FILE = Path(__file__).with_name("calibration.json")
FURTHEST = 1e-3
"""Probabilities are kept from 0 and 1 by as much."""
MOST_LOGIT = 9.0
"""Logits are cut there, at odds of 8,000."""


@cache
def numbers() -> dict[str, Any]:
    """The calibration's numbers by name."""
    table: dict[str, Any] = json.loads(FILE.read_text())
    return table


def systematic(
    trust: float,
    unexplained: float,
    radius: float,
    doubt: Sequence[float],
    asymmetry: Sequence[float] = (0.0, 0.0),
    given: Sequence[float] | None = None,
    terms: dict[str, Any] | None = None,
) -> np.ndarray:
    """Deviations (3,) of what all droplets of an image err together: x and y in radii, and log radius.

    Parameters
    ----------
    trust : float
        How far the pixels decide on the common error, else the proposals do; each errs in its own way.
    unexplained : float
        Part that is left unexplained: what the pixels show is off by more, as its root.
    radius : float
        Typical, pixels: the proposals' radii are off in common by a part of their own, and by a part of a pixel.
    doubt : (float, float)
        Typical deviations that the proposals bring of their own x and y, in radii: where the network is unsure of each
        center, it is wrong in common by a part of that.
    asymmetry : (float, float)
        How much the looks of droplets differ from side to side, see `loop.asymmetry`: with light from one side neither
        pixels nor proposals know where the center is. It counts in proportion to the doubt.
    given : sequence of float, optional
        Common error (3,) of the optics of an earlier fit, which take the place of the proposals then.
    terms : dict, optional
        Instead of the numbers of the package.
    """
    known = numbers()["systematic"] if terms is None else terms
    growth, proposed, sided = known["shift"]
    radius_growth, radius_proposed, part_of_pixel = known["radius"]
    growths = np.array([growth, growth, radius_growth])
    others = np.array([*proposed * np.asarray(doubt), np.hypot(radius_proposed, part_of_pixel / radius)])
    others = others if given is None else np.array(given)
    sides = sided * np.array([*np.multiply(asymmetry, doubt), 0.0]) * (1 if given is None else trust)
    shown = trust * growths * np.sqrt(max(unexplained, 0))
    return np.sqrt(shown**2 + ((1 - trust) * others) ** 2 + sides**2)


def discrepancy() -> float:
    """Scatter, in radii, of the circles that pixels show of droplets of which nothing is explained."""
    return float(numbers()["discrepancy"])


def calibrated(covariance: np.ndarray) -> np.ndarray:
    """Cholesky factors (N, D, D) of the covariances to tell, from those of the guide, without the common error."""
    laplace = np.sqrt(np.einsum("nii->ni", covariance))
    factor = np.empty_like(laplace)
    factor[:, :2], factor[:, 2] = numbers()["place"], numbers()["radius"]
    some, floor = numbers()["composition"]
    factor[:, 3:] = np.hypot(some, floor / laplace[:, 3:])
    return np.linalg.cholesky(covariance) * factor[..., None]


def presence_features(
    probability: np.ndarray, worth: np.ndarray, explained: np.ndarray, misfit: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    """(N, F) what probabilities of presence are a logistic regression of; the first is constant.

    `probability` is the network's, `worth` the nats that the ELBO gains by a droplet, `explained` the part of what it
    changes that it explains, `misfit` its residual over the noise, `moved` how far it moved, in radii.
    """
    told = logit(np.clip(probability, FURTHEST, 1 - FURTHEST))
    evidence = np.sign(worth) * np.log1p(np.abs(worth))
    return np.stack([np.ones_like(told), told, evidence, explained, np.log(np.maximum(misfit, 0.3)), moved], -1)


def presence(probability: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(N,) calibrated probability that each candidate is a droplet; 0 and 1 before the fit stay."""
    told = expit(np.clip(features @ np.asarray(numbers()["presence"]), -MOST_LOGIT, MOST_LOGIT))
    return np.where(probability <= 0, 0, np.where(probability >= 1, 1, told))


def within(x: np.ndarray, y: np.ndarray, x_sd: np.ndarray, y_sd: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N,) probability that a center lies in an image of this shape (H, W, ...), from its deviations in pixels."""
    h, w = shape[:2]
    inside = 1.0
    for at, sd, side in ((x, x_sd, w), (y, y_sd, h)):
        sd = np.maximum(sd, 1e-9)
        inside = inside * (ndtr((side - 0.5 - at) / sd) - ndtr((-0.5 - at) / sd))
    return np.asarray(inside)


def count(p: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the number of droplets among candidates with these probabilities."""
    return float(p.sum()), float(count_sd(np.sum(p * (1 - p)), numbers()["count"]))


def count_sd(variance: np.ndarray, terms: list[float]) -> np.ndarray:
    """Standard deviation of a number that has this variance where candidates are independent.

    Probabilities of an image may all be too large or too small; a common shift of their logits changes the sum of p by
    as much as the sum of p (1 - p), the variance.
    """
    factor, shift = terms
    return np.hypot(factor * np.sqrt(variance), shift * variance)
