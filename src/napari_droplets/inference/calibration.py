"""What a fit says made true: places, error bars, presence and counts as they hold on simulated images.

Laplace's error bars know the noise and nothing else. What they miss is the error of a model that is nearly right:
optics that all droplets share, outlines that are not quite circles. It grows with what the model leaves unexplained,
and with how hard the droplet was to place for the recognition network, whose own error bars are calibrated. The
numbers in `calibration.json` were fitted by `training.fit_calibration` to errors on simulated images.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from ..model.generative import Prior
from .laplace import Belief, Evidence

FILE = Path(__file__).with_name("calibration.json")
FURTHEST = 1e-3
"""Probabilities are kept from 0 and 1 by as much."""
SURE = 0.5
"""Candidates at least as probable tell how much of an image is doubtful."""
DISCREPANCY = 2.5
"""Scatter of the radius that optics fill about that of a droplet's outline, in units of the standard deviation of the
network's proposal, where optics leave all unexplained; it grows with the square root of the part that they leave."""


class Reported(NamedTuple):
    """What is told of droplets, unconstrained: means (N, D) and Cholesky factors of the covariances (N, D, D)."""

    mean: np.ndarray
    tril: np.ndarray


@cache
def numbers() -> dict[str, list[float]]:
    """The calibration's numbers by name."""
    table: dict[str, list[float]] = json.loads(FILE.read_text())
    return table


def image_misfit(seen: Evidence, present: np.ndarray) -> float:
    """Root mean square residual over the noise in the bodies of droplets, at least 1; see `Evidence.mean_square`."""
    return max(1.0, float(np.sqrt(seen.mean_square(np.flatnonzero(present)))))


def reported(belief: Belief, seen: Evidence, prior: Prior, anchor: np.ndarray) -> Reported:
    """Means and covariances to tell: the fit's, radii drawn to the network's proposals where the model is wrong.

    The circle that optics fill is the outline with a scatter b = DISCREPANCY * sqrt(unexplained), in units of a
    proposal's standard deviation; so the outline's posterior mean lies 1 / (1 + b^2) of the way from there to the fit.
    """
    wrong = np.sqrt(seen.unexplained)
    proposal, sd, told = proposals(prior, anchor)
    way = np.where(told, way_to_fit(wrong), 1)
    mean = belief.mean.copy()
    mean[:, 2] = proposal[:, 2] + way * (mean[:, 2] - proposal[:, 2])
    covariance = belief.covariance
    laplace = np.sqrt(np.einsum("nii->ni", covariance))
    wanted = np.empty_like(laplace)
    for columns, name in ((slice(0, 2), "place"), (slice(2, 3), "radius")):
        wanted[:, columns] = deviations(laplace[:, columns], sd[:, columns], wrong, numbers()[name])
    factor, floor, growth = numbers()["composition"]
    wanted[:, 3:] = np.hypot(factor * laplace[:, 3:], floor + growth * wrong)
    stretch = wanted / laplace
    return Reported(mean, np.linalg.cholesky(covariance) * stretch[..., None])


def way_to_fit(wrong: float | np.ndarray) -> np.ndarray:
    """Part of the way from a proposed radius to the fit's, from the root of what is left unexplained."""
    return np.asarray(1 / (1 + (DISCREPANCY * wrong) ** 2))


def deviations(laplace: np.ndarray, proposed: np.ndarray, wrong: float | np.ndarray, terms: list[float]) -> np.ndarray:
    """Standard deviations that hold, from Laplace's and those of the proposals, all in units of the radius.

    The floor is what droplets of an image err together, as where its light comes from is not quite known. `wrong` is
    the square root of the part of what droplets change that is left unexplained: an amplitude, as an error is.
    """
    factor, floor, growth = terms
    return np.sqrt((factor * laplace) ** 2 + floor**2 + (growth * wrong * proposed) ** 2)


UNTOLD_SD = 0.1
"""Standard deviation, in radii, that stands for that of a proposal where there is none."""


def proposals(prior: Prior, anchor: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation (N, 3) of the network's proposals in units of the anchors, and whose are told."""
    x0, y0, r0 = anchor.astype(float).T
    place_sd = np.asarray(prior.position_sd, float) / r0
    told = place_sd < 1
    mean = np.stack([(prior.x - x0) / r0, (prior.y - y0) / r0, prior.log_radius - np.log(r0)], -1).astype(float)
    sd = np.stack([place_sd, place_sd, np.asarray(prior.log_radius_sd, float)], -1)
    return mean, np.where(told[:, None], sd, UNTOLD_SD), told


class Trial(NamedTuple):
    """What the fit saw of each candidate, present or tried: arrays of N.

    `worth` nats that the ELBO gains by it, `brightness` log of 1 + the nats per pixel that its own pixels gain, `moved`
    the distance in radii between proposal and fit.
    """

    worth: np.ndarray
    brightness: np.ndarray
    moved: np.ndarray


def presence(probability: np.ndarray, trial: Trial, misfit: float) -> np.ndarray:
    """(N,) calibrated probability that each candidate is a droplet.

    Parameters
    ----------
    probability : ndarray
        (N,) before the fit; 0 for none, and 1 for what stays whatever the pixels say.
    trial : Trial
        What the fit saw.
    misfit : float
        Of the image, see `image_misfit`.
    """
    told = expit(np.clip(presence_features(probability, trial, misfit) @ np.asarray(numbers()["presence"]), -9, 9))
    return np.where(probability <= 0, 0, np.where(probability >= 1, 1, told))


def presence_features(probability: np.ndarray, trial: Trial, misfit: float) -> np.ndarray:
    """(N, F) what probabilities of presence are a logistic regression of; the first is constant."""
    told = logit(np.clip(probability, FURTHEST, 1 - FURTHEST))
    evidence = np.sign(trial.worth) * np.log1p(np.abs(trial.worth))
    candidates = probability[(probability > 0) & (probability < 1)]
    sure = float(np.mean(candidates >= SURE)) if len(candidates) else 1.0
    ones, wrong = np.ones(len(probability)), float(np.log(misfit))
    terms = [ones, told, evidence, wrong * ones, wrong * told]
    terms += [trial.brightness, trial.brightness * told, trial.moved, sure * ones, sure * told]
    return np.stack(terms, -1)


def count(p: np.ndarray, misfit: float) -> tuple[float, float]:
    """Mean and standard deviation of the number of droplets among candidates with these probabilities."""
    return float(p.sum()), float(count_sd(np.sum(p * (1 - p)), misfit, numbers()["count"]))


def count_sd(variance: np.ndarray, misfit: np.ndarray | float, terms: list[float]) -> np.ndarray:
    """Standard deviation of a number that has this variance where candidates are independent.

    Where the model is wrong probabilities are all too large or too small together; a common shift of their logits
    changes the sum of p by as much as the sum of p (1 - p), the variance.
    """
    factor, shift = terms
    return np.hypot(factor * np.sqrt(variance), shift * np.log(misfit) * variance)
