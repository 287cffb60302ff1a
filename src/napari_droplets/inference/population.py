"""Which of the candidates are droplets: who enters a fit, who joins or leaves it by what the ELBO says, and how sure.

The recognition network proposes whatever a fit starts from (its own droplets, blobs, a user's points), so that the
answer does not depend on the start: points that mean a droplet of the network take its place, and those it alone sees
join. What looks unlikely waits outside, and gets its chance once the optics are learned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import logit

from ..compare import match
from ..droplets import Droplets
from .calibration import Trial
from .laplace import Belief, Evidence
from .svi import Problem

LIKELY = 0.3
"""Candidates at least as probable take part from the beginning; the others wait …"""
GIANT = 4.0
"""… as do those larger than this, in typical radii, unless they are ASSERTED or as probable: one of them can take the
ground for its body while the background is learned."""
POSSIBLE = 0.05
"""Less probable ones are left out."""
ASSERTED = 0.5
"""Probability of a point that a user gave, before the pixels are asked …"""
BLOB = 0.05
"""… and of a blob that the recognition network does not see."""
FURTHEST = 1 - 1e-4
"""Probabilities are kept from 0 and 1 by as much."""
DUPLICATE = 0.7
"""A center nearer than this to that of a larger droplet, in its radii, may be on it: liquid there would have merged."""


def gathered(given: Droplets | None, recognized: Droplets, *, asserted: bool) -> Droplets:
    """All candidates of a fit with their prior probability `p_present`; NaN deviations where nothing is known.

    Parameters
    ----------
    given : Droplets, optional
        Points to start from; first in the result, in their order.
    recognized : Droplets
        Candidates of the recognition network with p_present.
    asserted : bool
        A user gave the points; else they are blobs.
    """
    assert recognized.p_present is not None
    recognized = recognized[recognized.p_present >= POSSIBLE]
    if given is None:
        return recognized
    n = len(given)
    i, j = match(given, recognized)
    pinned = pinned_rows(given)
    mine, its = i[~pinned[i]], j[~pinned[i]]

    def column(name: str, own: np.ndarray) -> np.ndarray:
        values = np.array(own, float)
        values[mine] = getattr(recognized, name)[its]
        return values

    unknown = np.full(n, np.nan)
    deviations = {name: column(name, own if (own := getattr(given, name)) is not None else unknown) for name in SDS}
    p = np.full(n, ASSERTED if asserted else BLOB) if given.p_present is None else np.array(given.p_present)
    told = np.asarray(recognized.p_present)[its]
    p[mine] = np.maximum(p[mine], told) if asserted and given.p_present is None else told
    p[pinned] = 1
    places = {name: column(name, getattr(given, name)) for name in ("x", "y", "radius")}
    start = replace(given, **places, **deviations, p_present=p, composition_sd=None)
    others = np.setdiff1d(np.arange(len(recognized)), j)
    return _joined(start, recognized[others])


def likely(candidates: Droplets) -> np.ndarray:
    """(N,) bool, those that take part in a fit from the beginning."""
    assert candidates.p_present is not None
    p, radius = np.asarray(candidates.p_present), candidates.radius
    found = p >= LIKELY
    if not found.any():
        return found
    return found & ((p >= ASSERTED) | (radius <= GIANT * np.median(radius[found])))


SDS = ("x_sd", "y_sd", "radius_sd")


def _joined(first: Droplets, second: Droplets) -> Droplets:
    """The rows of both; what only the first knows is empty in the second."""
    n = len(second)
    values = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("x", "y", "radius", *SDS, "p_present")
    }
    if first.composition is not None:
        values["composition"] = np.concatenate([first.composition, np.full((n, first.types), np.nan)])
    labels = {}
    for name, label in first.labels.items():
        label = np.asarray(label)
        if name == "pinned":
            empty = np.zeros(n, bool)
        elif label.dtype.kind in "iuf":
            empty = np.full(n, np.nan)
        else:
            label, empty = label.astype(object), np.full(n, None)
        labels[name] = np.concatenate([label, empty])
    return replace(first, **values, labels=labels)


def pinned_rows(droplets: Droplets) -> np.ndarray:
    """(N,) bool, the column `pinned`; missing values false."""
    if "pinned" not in droplets.labels:
        return np.zeros(len(droplets), bool)
    return np.array([str(v).lower() in ("true", "1", "1.0") for v in droplets.labels["pinned"]])


def duplicates(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Mark droplets whose center lies on a larger one that is not itself marked.

    Parameters
    ----------
    x, y, radius : ndarray
        (N,) pixels.

    Returns
    -------
    ndarray
        (N,) bool. Cost O(N log N) where droplets are of similar size.
    """
    marked = np.zeros(len(x), bool)
    if len(x) < 2:
        return marked
    points = np.stack([x, y], -1)
    near = cKDTree(points).query_ball_point(points, DUPLICATE * radius)
    order = np.argsort(-radius, kind="stable")
    rank = np.empty(len(x), int)
    rank[order] = np.arange(len(x))
    for i in order:
        if not marked[i]:
            others = np.asarray(near[i])
            marked[others[rank[others] > rank[i]]] = True
    return marked


def worth(seen: Evidence, belief: Belief, prior_mean: np.ndarray, prior_precision: np.ndarray) -> np.ndarray:
    """(N,) nats that the ELBO gains by each droplet: what its pixels gain less what its parameters cost (Laplace).

    Log likelihoods are weighed as in the belief, by the misfit.
    """
    off = belief.mean - prior_mean
    stretch = np.linalg.slogdet(belief.precision)[1] - np.linalg.slogdet(prior_precision)[1]
    return seen.gain / seen.variance - 0.5 * np.einsum("ni,nij,nj->n", off, prior_precision, off) - 0.5 * stretch


class Census(NamedTuple):
    """Who is there: `present` (N,) bool, droplets (N, D), and what was seen of each."""

    present: np.ndarray
    droplets: np.ndarray
    trial: Trial


Polish = Callable[[np.ndarray, Problem, int], tuple[Belief, Evidence]]


def reconsidered(
    droplets: np.ndarray,
    present: np.ndarray,
    probability: np.ndarray,
    waiting: np.ndarray,
    viewed: Callable[[np.ndarray, np.ndarray], Problem],
    polish: Polish,
    prior: Callable[[np.ndarray, Problem], tuple[np.ndarray, np.ndarray]],
) -> Census:
    """Let droplets leave and candidates join, each accepted by what it does to the ELBO; four passes over the image.

    Parameters
    ----------
    droplets, present, probability : ndarray
        (N, D), (N,) bool, (N,): parameters, who takes part, and how probable each one was before; 1 stays whatever
        happens.
    waiting : ndarray
        (N,) bool, candidates that may join.
    viewed, polish, prior : callable
        The problem with these droplets present, Gauss-Newton steps, and the mean and precision of the prior.
    """
    odds = logit(np.clip(probability, 1 - FURTHEST, FURTHEST))
    certain = probability >= 1
    problem = viewed(droplets, present)
    belief, before = polish(droplets, problem, 1)
    first = _tried(before, belief, *prior(droplets, problem))
    value = np.where(present, first.worth, 0)
    twin = np.zeros(len(present), bool)
    here = np.flatnonzero(present)
    anchor = np.asarray(problem.anchor)[here]
    x, y = (anchor[:, k] + anchor[:, 2] * droplets[here, k] for k in (0, 1))
    twin[here] = duplicates(x, y, anchor[:, 2] * np.exp(droplets[here, 2])) & ~certain[here]
    leaving = present & ~certain & (value + odds < 0)
    trial = (present & ~leaving & ~twin) | waiting
    belief2, after = polish(droplets, viewed(droplets, trial), 2)
    second = _tried(after, belief2, *prior(belief2.mean, problem))
    joining = waiting & (second.worth + odds > 0)
    # where the pixels around a twin fare worse without it by more than its parameters cost, it was a droplet
    lost = before.lost_with(after, problem, np.flatnonzero(twin))
    cost = (before.gain / before.variance - value)[twin]
    stays = np.flatnonzero(twin)[lost > cost - odds[twin]]
    present = trial & ~(waiting & ~joining)
    present[stays] = True
    back = np.zeros(len(present), bool)
    back[stays] = True
    trial_of = Trial(
        *(np.where(waiting, b, np.where(present | leaving | twin, a, 0)) for a, b in zip(first, second, strict=True))
    )
    return Census(present, np.where((trial & ~back)[:, None], belief2.mean, droplets), trial_of)


def _tried(seen: Evidence, belief: Belief, prior_mean: np.ndarray, prior_precision: np.ndarray) -> Trial:
    per_pixel = np.maximum(seen.gain, 0) / np.maximum(seen.pixels, 1) / seen.variance
    moved = np.hypot(*(belief.mean - prior_mean)[:, :2].T)
    return Trial(worth(seen, belief, prior_mean, prior_precision), np.log1p(per_pixel), moved)
