"""Which of the candidates are droplets: who leaves and who joins a fit by what the ELBO says."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import logit

from ..model.problem import PLACE
from .candidates import POSSIBLE
from .loop import DAMPING, listed, move_droplets
from .state import Setup, State, circles
from .steps.droplet_step import divergence

FURTHEST = 1e-4
"""Probabilities are kept from 0 and 1 by as much."""
TRIAL_STEPS = 2
"""Steps of droplets that candidates get to find their place before they are judged."""
MOST_JUDGEMENTS = 8
"""Times that candidates are judged, each time without those that left before."""


class Census(NamedTuple):
    """What the pixels said of each candidate, present or tried: arrays of N."""

    worth: np.ndarray
    """Nats that the ELBO gains by it, what its pixels gain less what its parameters cost; 0 where it was not tried."""
    explained: np.ndarray
    """Part of what it changes in its pixels that it explains, 0 to 1."""
    misfit: np.ndarray
    """See `Evidence.misfit`."""
    moved: np.ndarray
    """Distance in radii between proposal and fit."""
    tried: np.ndarray
    """Bool."""


def judged(setup: Setup, state: State) -> Census:
    """What the pixels say of the candidates present."""
    evidence, guide = state.evidence, state.guide
    assert evidence is not None
    assert guide is not None
    worth = evidence.gain / evidence.inflation - divergence(guide, setup.prior, setup.form)
    off = state.mean[:, :PLACE] - setup.prior.mean
    return Census(
        np.where(state.present, worth, 0),
        np.clip(evidence.gain / np.maximum(evidence.removed, 1e-9), 0, 1),
        evidence.misfit,
        np.hypot(off[:, 0], off[:, 1]),
        state.present,
    )


def reconsidered(setup: Setup, state: State, *, settled: bool = True) -> tuple[State, Census]:
    """Let candidates that wait join, and droplets leave that the pixels do not want.

    All candidates are tried together; where those present have not `settled` yet, they find their places with them.
    Those that one lay on that leaves go back, and are tried again without it: of two that could stand for each other
    one goes, and droplets that a large candidate painted over stay.
    """
    assert setup.probability is not None
    p = np.asarray(setup.probability)
    odds = logit(np.clip(p, FURTHEST, 1 - FURTHEST))
    waiting = ~state.present & (p >= POSSIBLE)
    trial = listed(setup, state._replace(present=state.present | waiting), complete=False)
    moving = None
    for _ in range(TRIAL_STEPS if waiting.any() or not settled else 1):
        trial, (*_, moving) = move_droplets(setup, trial, DAMPING[1], learned=True, some=moving)
    seen, present, mean = judged(setup, trial), trial.present, trial.mean
    for _ in range(MOST_JUDGEMENTS):
        unwanted = present & (seen.worth + odds < 0) & (p < 1)
        leaving, touched = _leaving(unwanted, seen.worth + odds, *circles(setup, mean))
        present, touched = present & ~leaving, touched & present & ~leaving
        if not (unwanted & touched).any():
            break
        local = setup._replace(moving=touched)
        mean = np.where(touched[:, None], state.mean, mean)
        now = listed(local, trial._replace(present=present, mean=mean), complete=False)
        for _ in range(TRIAL_STEPS):
            now, _ = move_droplets(local, now, DAMPING[1], learned=True)
        mean = now.mean
        seen = Census(*(np.where(touched, a, b) for a, b in zip(judged(local, now), seen, strict=True)))
    mean = np.where(present[:, None], mean, state.mean)
    return trial._replace(present=present, mean=mean), seen


def _leaving(
    unwanted: np.ndarray, value: np.ndarray, x: np.ndarray, y: np.ndarray, r: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Who leaves (N,): of those that are unwanted and lie on one another the least wanted; and all that it lies on.

    Of two circles one lies on the other where the center of either is inside of the larger.
    """
    place, value = np.stack([x, y], -1), np.where(unwanted, value, np.inf)
    inside = cKDTree(place).query_ball_point(place, r)
    i, j = np.repeat(np.arange(len(r)), [len(some) for some in inside]), np.concatenate([*inside, []]).astype(int)
    i, j = np.append(i, j), np.append(j, i)
    least = np.array(value)
    np.minimum.at(least, i, value[j])
    leaving = unwanted & (value <= least)
    touched = np.zeros(len(r), bool)
    touched[j[leaving[i]]] = True
    return leaving, touched
