"""Natural-gradient steps of the droplets: a Gaussian for each, moved by what its pixels and its prior say.

The guide of a droplet is a Gaussian block of its unconstrained numbers. The natural gradient of the ELBO with respect
to such a Gaussian is a Newton step of its mean, with the precision "information plus prior"; with the Gauss-Newton
information in place of the Hessian it needs first derivatives alone (Khan and Rue, JMLR 24:281 (2023)).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from ...image_statistics import weighted_median
from ...model.priors import COMMON_SD
from ...model.problem import PLACE, Form
from ...transforms import constrained, log_density
from .. import calibration
from .gauss_newton import Evidence

LONGEST = np.array([0.2, 0.2, 0.15])
"""Longest step in x and y (radii of the anchor) and log radius; steps are cut to it …"""
LONGEST_LOGIT = 1.0
"""… and in each unconstrained number of a composition."""
LEAST_CURVATURE = 0.02
"""Of the log prior of a composition: far out it is flat."""
HELD = 1e8
"""Precision of what is held."""
UNKNOWN_PLACE_SD, UNKNOWN_RADIUS_SD = 1.0, 0.5
"""Prior deviations of place (radii) and log radius of droplets that bring none; that of the radius as published."""


class Prior(NamedTuple):
    """What is known of circles before the pixels: means and deviations (N, 3), in radii of the anchors and log radius.

    `recognized` (N,) are those whose errors have a part in common, as the network's proposals of one image have.
    """

    mean: np.ndarray
    sd: np.ndarray
    recognized: np.ndarray


class Guide(NamedTuple):
    """The variational posterior of N droplets: a Gaussian each."""

    mean: np.ndarray
    """(N, D)."""
    precision: np.ndarray
    """(N, D, D)."""
    covariance: np.ndarray
    """Its inverse."""


def prior_of(
    radius: np.ndarray,
    sd: tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None],
    recognized: np.ndarray,
) -> Prior:
    """The prior of droplets anchored where they are proposed, from deviations in pixels, NaN or None where unknown."""
    own = np.stack([np.full(len(radius), np.nan) if s is None else np.asarray(s, float) / radius for s in sd], -1)
    unknown = ~np.isfinite(own)
    mean = np.zeros((len(radius), PLACE))
    mean[unknown[:, 2], 2] = np.log(np.median(radius) / radius[unknown[:, 2]]) if len(radius) else 0
    usual = np.array([UNKNOWN_PLACE_SD, UNKNOWN_PLACE_SD, UNKNOWN_RADIUS_SD])
    return Prior(mean, np.where(unknown, usual, own), recognized & ~unknown.any(1))


def composition_prior(raw: np.ndarray, form: Form) -> tuple[np.ndarray, np.ndarray]:
    """Gradient and curvature (N, d) of the log density of unconstrained compositions, uniform once constrained.

    A stick that is broken off before m others has the distribution Beta(1, m), and a free component Beta(1, 1).
    """
    n, d = raw.shape
    after = np.arange(d, 0, -1) if form.composition == "simplex" else np.ones(d)
    broken = constrained((raw - np.log(after)).reshape(-1), "free").reshape(n, d)
    return 1 - (1 + after) * broken, np.maximum((1 + after) * broken * (1 - broken), LEAST_CURVATURE)


def tempered(evidence: Evidence, *, learned: bool) -> tuple[np.ndarray, np.ndarray]:
    """Information (N, D, D) and gradient (N, D) as they count.

    Neighboring pixels that err together count less, see `Evidence.inflation`. And the circle that pixels show is that
    of the droplet with a scatter d = `calibration.discrepancy() * sqrt(unexplained)`, in radii: a droplet that leaves
    much unexplained is none of the circles that the model draws. The likelihood L(z) becomes that of z + Normal(0,
    d^2). That counts once optics are `learned`: before, all is unexplained.
    """
    information = evidence.information / evidence.inflation[:, None, None]
    gradient = evidence.gradient / evidence.inflation[:, None]
    if not learned:
        return information, gradient
    n, d = gradient.shape
    scatter = np.zeros((n, d))
    scatter[:, :PLACE] = calibration.discrepancy() ** 2 * evidence.unexplained[:, None]
    wider = np.eye(d) + information * scatter[:, None, :]
    solved = np.linalg.solve(wider, np.concatenate([information, gradient[..., None]], -1))
    both = solved[..., :-1]
    return 0.5 * (both + both.transpose(0, 2, 1)), solved[..., -1]


def precision_of(information: np.ndarray, mean: np.ndarray, prior: Prior, free: np.ndarray, form: Form) -> np.ndarray:
    """Precision (N, D, D) of the guide at `mean`: information and prior; what is not `free` (N, D) is known."""
    precision = information.copy()
    diagonal = np.concatenate([prior.sd**-2, composition_prior(mean[:, PLACE:], form)[1]], -1)
    diagonal = np.where(free, diagonal, HELD)
    index = np.arange(mean.shape[1])
    precision[:, index, index] += diagonal
    return precision


def step(
    mean: np.ndarray,
    evidence: Evidence,
    prior: Prior,
    free: np.ndarray,
    form: Form,
    damping: float,
    *,
    learned: bool = True,
) -> tuple[Guide, np.ndarray]:
    """Move all droplets from `mean` (N, D), where `evidence` is of, and find what their proposals have in common.

    `free` (N, D) may change; `damping` is the part of the information that is added on its diagonal (Levenberg,
    Marquardt); whether optics are `learned` see `tempered`. Returns the new means with the precision at the old ones,
    and the common error (3,): it is integrated out exactly, by elimination of the droplets (Schur complement).
    """
    n, d = mean.shape
    sound = np.isfinite(evidence.information).all((1, 2)) & np.isfinite(evidence.gradient).all(1)
    if not sound.all():  # a droplet without numbers stays where it is, and the others go on
        evidence = evidence._replace(
            information=np.where(sound[:, None, None], evidence.information, 0),
            gradient=np.where(sound[:, None], evidence.gradient, 0),
            inflation=np.where(sound, evidence.inflation, 1),
            unexplained=np.where(sound, evidence.unexplained, 0),
        )
        free = free & sound[:, None]
    information, gradient = tempered(evidence, learned=learned)
    precision = precision_of(information, mean, prior, free, form)
    pull = gradient.copy()
    weight = prior.sd**-2
    off = mean[:, :PLACE] - prior.mean
    pull[:, :PLACE] -= weight * off
    pull[:, PLACE:] += composition_prior(mean[:, PLACE:], form)[0]
    pull = np.where(free, pull, 0)
    index = np.arange(d)
    damped = precision.copy()
    damped[:, index, index] += damping * information[:, index, index]
    towards = np.zeros((n, d, PLACE))
    towards[:, np.arange(PLACE), np.arange(PLACE)] = np.where(prior.recognized[:, None], weight, 0)
    towards *= free[..., None]
    solved = np.linalg.solve(damped, np.concatenate([pull[..., None], towards], -1))
    own, shared = solved[..., 0], solved[..., 1:]
    left = np.diag(np.array(COMMON_SD) ** -2.0)
    left += np.einsum("nij->ij", towards[:, :PLACE]) - np.einsum("nki,nkj->ij", towards, shared)
    right = np.einsum("nij,ni->j", towards[:, :PLACE], off + own[:, :PLACE])
    common = np.linalg.solve(left, right)
    longest = np.concatenate([LONGEST, np.full(d - PLACE, LONGEST_LOGIT)])
    move = np.clip(own + shared @ common, -longest, longest)
    move = np.where(np.isfinite(move) & free, move, 0)
    return Guide(mean + move, precision, np.linalg.inv(precision)), common


def common_offset(mean: np.ndarray, prior: Prior) -> np.ndarray:
    """Shift in radii and log factor (3,) of all droplets against their proposals: weighted medians."""
    if not prior.recognized.any():
        return np.zeros(PLACE)
    chosen = prior.recognized
    off = (mean[chosen, :PLACE] - prior.mean[chosen]) / _lengths(mean[chosen])
    return np.array([weighted_median(o, s**-2) for o, s in zip(off.T, prior.sd[chosen].T, strict=True)])


def moved(mean: np.ndarray, common: np.ndarray, free: np.ndarray) -> np.ndarray:
    """All droplets that may move, by a shift in their own radii and a factor of their radii."""
    change = np.zeros_like(mean)
    change[:, :PLACE] = common * _lengths(mean)
    return mean + change * free


def _lengths(mean: np.ndarray) -> np.ndarray:
    """(N, 3) what a shift in a droplet's own radii, and a log factor, are in its unconstrained numbers."""
    relative = np.exp(mean[:, 2])
    return np.stack([relative, relative, np.ones_like(relative)], -1)


def divergence(guide: Guide, prior: Prior, form: Form) -> np.ndarray:
    """(N,) nats: KL divergence of each droplet's Gaussian from its prior, the common error aside."""
    mean = guide.mean
    curvature = composition_prior(mean[:, PLACE:], form)[1]
    diagonal = np.concatenate([prior.sd**-2, curvature], -1)
    off = mean[:, :PLACE] - prior.mean
    spread = np.einsum("nii,ni->n", guide.covariance, diagonal)
    log_prior = log_density(mean[:, PLACE:].T, form.composition)
    if form.composition == "simplex":
        log_prior = log_prior + gammaln(form.types)  # of even fractions
    stretch = -np.linalg.slogdet(guide.precision)[1] - np.sum(2 * np.log(prior.sd), 1)
    d = mean.shape[1]
    gaussian = 0.5 * (spread - d + np.sum((off / prior.sd) ** 2, 1) - stretch)
    return gaussian - log_prior - 0.5 * (d - PLACE) * np.log(2 * np.pi)
