"""Sort droplets into classes by composition: a Gaussian mixture that knows how well each composition is known.

Compositions scatter for two reasons: droplets of a class differ, and pixels leave compositions uncertain. The mixture
is of the first kind alone ("extreme deconvolution": Bovy, Hogg and Roweis 2011, Annals of Applied Statistics 5, 1657):
class g has mean m_g and covariance C_g, and the posterior mean of droplet n was drawn from N(m_g, C_g + S_n), S_n being
the covariance of its posterior less what the prior knew. So a droplet that is badly known counts less and belongs less
surely to a class.

Compositions are taken as they are, without the last component where they sum to one, and not as log-ratios: optics
determine them up to an affine map, which changes nothing where they are well known; their prior is flat there; and
log-ratios make much of what no pixel shows, as the difference of 0.001 and 0.0001.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import betaincinv, logsumexp, xlogy

from ..errors import InputError
from .matrices import at_least, inverse

MAX_CLASSES = 6
"""Most classes tried where their number is not given."""
RESOLUTION = 1e-3
"""Differences of composition that mean nothing: a scale where all droplets are alike."""
FLOOR = 0.05
"""Variance, relative to that of all droplets, of the one pretended droplet that keeps a class from becoming a point."""
MOST_KNOWN_BEFORE = 0.97
"""Variance of a posterior relative to the prior's, at most: beyond, pixels have said nothing."""
TINY = 1e-9
"""Droplets in an empty class, against division by zero."""
HALF = 0.5
"""Jeffreys' prior: half a droplet in every class."""
HALF_CENTER = np.sqrt(2 / np.pi)
"""Mean of the half of a standard normal distribution, where a class is split."""
PATIENCE = 2
"""So many times classes may be split to no avail before their number is taken as found."""
TRIAL_STEPS, STEPS = 8, 200
"""Most steps of expectation maximization, to see which class to split and afterwards …"""
TOLERANCE = 1e-4
"""… unless a step gains less log-likelihood per droplet."""


class Classes(NamedTuple):
    """Classes of N droplets: G of them, numbered from the most frequent on, or as in the image they were learned on."""

    label: Int[np.ndarray, " N"]
    """The most probable class of each droplet; -1 where the composition is NaN."""
    p: Float[np.ndarray, " N"]
    """Probability of that class, given that there is a droplet; NaN where the composition is."""
    probabilities: Float[np.ndarray, "N G"]
    """Probability of every class."""
    proportions: list[dict[str, Any]]
    """For each class: its number `class`, its `proportion` among the droplets of such a slide with the 95 % interval
    `low` to `high`, the mean `composition` (K) and its standard deviation among droplets, `composition_sd` (K)."""
    parameters: dict[str, list]
    """What `same_classes` needs: `weight` (G), `mean` (G, K) and `covariance` (G, K, K) of the mixture, and
    `names` (G) where classes have some."""
    weight_sd: Float[np.ndarray, " G"]
    """Standard deviations of the proportions, symmetric, for those who combine them."""

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """What a table says: `class` and `class_p`; of classes with names also `class_p_<name>` of each."""
        names = self.parameters.get("names")
        if names is None:
            return {"class": self.label, "class_p": self.p}
        label = np.array([*names, None], object)[self.label]
        every = {f"class_p_{name}": self.probabilities[:, g] for g, name in enumerate(names)}
        return {"class": label, "class_p": self.p} | every


def classify(measured: Measured, classes: int | None = None) -> Classes:
    """Sort droplets, of one image or of many, into so many classes by composition.

    There are never more than droplets of different composition. By default the number, up to 6, is the one with the
    best integrated completed likelihood (Biernacki, Celeux and Govaert 2000): as many as can be told apart. BIC would
    also add classes where one is not quite Gaussian.
    """
    if classes is not None and (isinstance(classes, bool) or not isinstance(classes, (int, np.integer)) or classes < 1):
        raise InputError(f"classes={classes!r}: must be a whole number, at least 1, or None to choose it")
    y, s, weight = measured.data
    d, n = y.shape
    if n == 0:
        nothing = np.zeros(0)
        return _result(measured, _Mixture(nothing, np.zeros((d, 0)), np.zeros((d, d, 0))), np.zeros((0, 0)), nothing)

    # in units in which all droplets have mean 0 and covariance 1
    share = (weight + TINY) / (weight + TINY).sum()
    center = y @ share
    offset = y - center[:, None]
    unit = np.linalg.cholesky((offset * share) @ offset.T + RESOLUTION**2 * np.eye(d))
    to_unit = np.linalg.inv(unit)
    data = Data(to_unit @ offset, np.einsum("ij,jkn,lk->iln", to_unit, s, to_unit, optimize=True), weight)

    found = _best(data, classes).mixture
    order = np.argsort(-found.weight, kind="stable")
    found = _Mixture(*(part[..., order] for part in found))
    e = _expect(data, found)
    mean, covariance = unit @ found.mean + center[:, None], np.einsum("ij,jkg,lk->ilg", unit, found.covariance, unit)
    return _result(measured, _Mixture(found.weight, mean, covariance), e.responsibility, _weight_sd(data, found, e))


def same_classes(previous: Mapping[str, Any], measured: Measured) -> Classes:
    """Sort droplets into the classes of another image that was fitted with the same optics.

    Classes, `Classes.parameters` of the other image, keep their numbers, means and covariances, which intervals of the
    proportions take as known; how frequent they are is found anew. A droplet that fits none is put into the nearest.
    """
    mean, covariance = np.asarray(previous["mean"], float), np.asarray(previous["covariance"], float)
    if mean.shape[1] != measured.components:
        raise InputError(
            f"classes: learned with {mean.shape[1]} components, the droplets have {measured.components}; "
            f"use the optics that the classes were learned with"
        )
    d = len(measured.data.y)
    start = _Mixture(np.asarray(previous["weight"], float), mean.T[:d], np.moveaxis(covariance, 0, -1)[:d, :d])
    mixture, e, _ = _ascend(measured.data, start, weights_only=True)
    sd = _weight_sd(measured.data, mixture, e, weights_only=True)
    return named(_result(measured, mixture, e.responsibility, sd), previous.get("names"))


def named(classes: Classes, names: Sequence[str] | None) -> Classes:
    """The classes with names of their own, in the order of their numbers."""
    if names is None:
        return classes
    rows = [{"class": row["class"], "name": name} | row for row, name in zip(classes.proportions, names, strict=True)]
    return classes._replace(proportions=rows, parameters=classes.parameters | {"names": list(names)})


class Data(NamedTuple):
    """What is known of the compositions of N droplets in D coordinates."""

    y: np.ndarray  # (D, N) posterior means of the compositions
    s: np.ndarray  # (D, D, N) and the covariances of their errors
    weight: np.ndarray  # (N,) p_present


class Measured(NamedTuple):
    """Compositions as `classify` takes them, made of draws by `measured_of`."""

    data: Data  # of the droplets with a composition
    known: np.ndarray  # (N,) which these are
    simplex: bool  # the compositions sum to one, and the last component is left out

    @property
    def components(self) -> int:
        """Number of components K."""
        return len(self.data.y) + self.simplex


class _Mixture(NamedTuple):
    weight: np.ndarray  # (G,)
    mean: np.ndarray  # (D, G)
    covariance: np.ndarray  # (D, D, G)


class _Expectation(NamedTuple):
    responsibility: np.ndarray  # (G, N)
    log_likelihood: np.ndarray  # (N,)
    precision: np.ndarray  # (D, D, G, N) inverse of C_g + S_n
    pull: np.ndarray  # (D, G, N) precision times y_n - m_g


class _Fitted(NamedTuple):
    mixture: _Mixture
    expectation: _Expectation
    value: float  # log-likelihood, droplets weighted with p_present


def _expect(data: Data, mixture: _Mixture) -> _Expectation:
    precision, log_det = inverse(mixture.covariance[..., None] + data.s[:, :, None])
    offset = data.y[:, None] - mixture.mean[..., None]
    pull = (precision * offset).sum(1)
    log_p = np.log(mixture.weight)[:, None] - 0.5 * ((offset * pull).sum(0) + log_det + len(offset) * np.log(2 * np.pi))
    total = logsumexp(log_p, axis=0)
    return _Expectation(np.exp(log_p - total), total, precision, pull)


def _maximize(data: Data, mixture: _Mixture, e: _Expectation) -> _Mixture:
    share = e.responsibility * data.weight
    n, c = share.sum(1) + TINY, mixture.covariance
    shift = np.einsum("ijg,jg->ig", c, (e.pull * share).sum(-1)) / n
    curve = np.einsum("ign,jgn->ijg", e.pull * share, e.pull) - (e.precision * share).sum(-1)
    scatter = n * (c + np.einsum("ijg,jkg,klg->ilg", c, curve / n, c) - shift[:, None] * shift)
    floor = FLOOR * np.eye(len(c))[..., None]
    return _Mixture(_frequency(n), mixture.mean + shift, at_least((scatter + floor) / (n + 1), FLOOR / (n + 1)))


def _ascend(data: Data, mixture: _Mixture, steps: int = STEPS, *, weights_only: bool = False) -> _Fitted:
    """Maximize the likelihood by the mixture, or by its weights alone."""
    e = _expect(data, mixture)
    value = float(data.weight @ e.log_likelihood)
    for _ in range(steps):
        if weights_only:
            mixture = mixture._replace(weight=_frequency(e.responsibility @ data.weight))
        else:
            mixture = _maximize(data, mixture, e)
        before, e = value, _expect(data, mixture)
        value = float(data.weight @ e.log_likelihood)
        if value - before <= TOLERANCE * data.weight.sum():
            break
    return _Fitted(mixture, e, value)


def _best(data: Data, classes: int | None) -> _Fitted:
    """Fit as many classes as asked for, or as many as can be told apart, from one class on by splitting the best."""
    d = len(data.y)
    most = min(classes or MAX_CLASSES, len(np.unique(data.y.round(6), axis=1).T))
    fitted = best = _ascend(data, _Mixture(np.ones(1), np.zeros((d, 1)), np.eye(d)[..., None]))
    since = 0
    while len(fitted.mixture.weight) < most and since < PATIENCE:
        halves = (_split(fitted.mixture, g) for g in range(len(fitted.mixture.weight)))
        tried = max((_ascend(data, start, TRIAL_STEPS) for start in halves), key=lambda trial: trial.value)
        fitted = _ascend(data, tried.mixture)
        if classes or _icl(data, fitted) < _icl(data, best):
            best, since = fitted, 0
        else:
            since += 1
    return best


def _split(mixture: _Mixture, g: int) -> _Mixture:
    """Replace class g by its two halves, to either side of its center along its longest axis."""
    variance, axis = np.linalg.eigh(mixture.covariance[..., g])
    half = HALF_CENTER * np.sqrt(variance[-1]) * axis[:, -1]
    weight, mean, covariance = (np.concatenate([part, part[..., g : g + 1]], -1) for part in mixture)
    mean[:, g] -= half
    mean[:, -1] += half
    for one in (g, -1):
        weight[one] /= 2
        covariance[..., one] -= np.outer(half, half)
    return _Mixture(weight, mean, covariance)


def _icl(data: Data, fitted: _Fitted) -> float:
    """Integrated completed likelihood, on the scale of BIC: that, and twice the entropy of who belongs to what."""
    d, g = fitted.mixture.mean.shape
    r = fitted.expectation.responsibility
    entropy = -float(xlogy(r, r).sum(0) @ data.weight)
    parameters = g - 1 + g * d + g * d * (d + 1) / 2
    return parameters * np.log(max(data.weight.sum(), 1)) - 2 * fitted.value + 2 * entropy


def _weight_sd(data: Data, mixture: _Mixture, e: _Expectation, *, weights_only: bool = False) -> np.ndarray:
    """Standard deviations (G,) of the weights, with all that is uncertain about the mixture.

    The information of the sample is the sum over droplets of the outer products of their scores, the derivatives of
    their log-likelihoods: by the logits of the weights and, in units of each class, by its mean and covariance.
    """
    r, w = e.responsibility, mixture.weight
    scores = [r - w[:, None]]
    if not weights_only:
        unit = np.linalg.cholesky(np.moveaxis(mixture.covariance, -1, 0))
        pull = np.einsum("gij,ign->jgn", unit, e.pull)
        precision = np.einsum("gij,ikgn,gkl->jlgn", unit, e.precision, unit, optimize=True)
        i, j = np.tril_indices(len(pull))
        by_covariance = (pull[i] * pull[j] - precision[i, j]) * np.where(i == j, 0.5, 1)[:, None, None]
        scores += [(r * score).reshape(-1, r.shape[1]) for score in (pull, by_covariance)]
    s = np.concatenate(scores)
    information = (s * data.weight) @ s.T + HALF * np.eye(len(s))
    by_logit = np.diag(w) - np.outer(w, w)
    g = len(w)
    return np.sqrt(np.diag(by_logit @ np.linalg.inv(information)[:g, :g] @ by_logit))


def _frequency(n: np.ndarray) -> np.ndarray:
    return (n + HALF) / (n + HALF).sum()


def measured_of(draws: Float[np.ndarray, "S N K"], p_present: Float[np.ndarray, " N"] | None = None) -> Measured:
    """Means and covariances of joint posterior samples of composition, without what the prior knew; S of 200 is plenty.

    Droplets count by `p_present`, the probability that they are there; NaN counts as 1.
    """
    draws = np.asarray(draws, float)
    if draws.ndim != 3 or 0 in (draws.shape[0], draws.shape[2]):
        raise InputError(f"draws of compositions have shape {draws.shape}; (samples, droplets, components) expected")
    n, k = draws.shape[1:]
    weight = np.ones(n) if p_present is None else np.clip(np.nan_to_num(np.asarray(p_present, float), nan=1), 0, 1)
    if weight.shape != (n,):
        raise InputError(f"p_present has shape {weight.shape}; {n} droplets expected")
    known = np.isfinite(draws).all((0, 2))
    draws = draws[:, known]
    simplex = k > 1 and np.allclose(draws.sum(-1), 1, atol=1e-3)
    if simplex:
        draws = draws[..., :-1]
    y = draws.mean(0)
    s = np.einsum("sni,snj->ijn", draws - y, draws - y) / max(len(draws) - 1, 1)
    return Measured(Data(y.T, _without_prior(s, k), weight[known]), known, simplex)


def _without_prior(s: np.ndarray, k: int) -> np.ndarray:
    """Covariances (D, D, N) of what pixels say, of posterior ones: precisions less that of the prior, flat on 0..1.

    A component of which the pixels say nothing has the prior's mean, about 1/2, and standard deviation, 0.29, and would
    else speak for the classes in the middle. Means stay: moving them in proportion made class probabilities of badly
    known droplets too large in simulations, since posteriors at the border of 0..1 are not Gaussian.
    """
    d = len(s)
    prior = np.eye(d) / 12 if d == k else (np.eye(d) / k - 1 / k**2) / (k + 1)  # uniform, or Dirichlet less one
    unit = np.linalg.cholesky(prior)
    to_unit = np.linalg.inv(unit)
    ratio, axes = np.linalg.eigh(np.einsum("ij,jkn,lk->nil", to_unit, s, to_unit, optimize=True))
    ratio = np.clip(ratio, 0, MOST_KNOWN_BEFORE)
    axes = unit @ axes
    return np.einsum("nij,nj,nkj->ikn", axes, ratio / (1 - ratio), axes, optimize=True)


def _result(measured: Measured, mixture: _Mixture, responsibility: np.ndarray, sd: np.ndarray) -> Classes:
    (d, g), w = mixture.mean.shape, mixture.weight
    probabilities = np.full((len(measured.known), g), np.nan)
    probabilities[measured.known] = responsibility.T
    label = np.full(len(measured.known), -1)
    if g:
        label[measured.known] = responsibility.argmax(0)

    to_all, constant = np.eye(d), np.zeros(d)
    if measured.simplex:  # the last component is what the others leave
        to_all, constant = np.vstack([to_all, -np.ones(d)]), np.append(constant, 1)
    mean = mixture.mean.T @ to_all.T + constant
    covariance = np.einsum("ij,jkg,lk->gil", to_all, mixture.covariance, to_all)
    spread = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))

    interval = np.ones((2, g))
    if g > 1:  # as if droplets had been counted, as many as give this standard deviation; at least those of the prior
        counted = np.maximum(w * (1 - w) / sd**2 - 1, HALF * g)
        interval = np.asarray(betaincinv(counted * w, counted * (1 - w), [[0.025], [0.975]]))
    names = ("class", "proportion", "low", "high", "composition", "composition_sd")
    rows = zip(range(g), w.tolist(), *interval.tolist(), mean.tolist(), spread.tolist(), strict=True)
    return Classes(
        label,
        probabilities.max(1) if g else np.full(len(label), np.nan),
        probabilities,
        [dict(zip(names, row, strict=True)) for row in rows],
        {"weight": w.tolist(), "mean": mean.tolist(), "covariance": covariance.tolist()},
        sd,
    )
