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

    All candidates are tried together; where those present have not `settled` yet, they find their places with them. Of
    those that lie on one another, and of which each could stand for the other, one goes.
    """
    assert setup.probability is not None
    p = np.asarray(setup.probability)
    odds = logit(np.clip(p, FURTHEST, 1 - FURTHEST))
    waiting = ~state.present & (p >= POSSIBLE)
    trial = listed(setup, state._replace(present=state.present | waiting), complete=False)
    moving = None
    for _ in range(TRIAL_STEPS if waiting.any() or not settled else 1):
        trial, (*_, moving) = move_droplets(setup, trial, DAMPING[1], learned=True, some=moving)
    seen = judged(setup, trial)
    unwanted = trial.present & (seen.worth + odds < 0) & (p < 1)
    leaving = _one_by_one(unwanted, seen.worth + odds, *circles(setup, trial.mean))
    mean = np.where((trial.present & ~leaving)[:, None], trial.mean, state.mean)
    return trial._replace(present=trial.present & ~leaving, mean=mean), seen


def _one_by_one(unwanted: np.ndarray, value: np.ndarray, x: np.ndarray, y: np.ndarray, r: np.ndarray) -> np.ndarray:
    """Those that leave, the least wanted first: none of which one that overlaps it has left already."""
    rows = np.flatnonzero(unwanted)
    leaving = np.zeros(len(unwanted), bool)
    if not len(rows):
        return leaving
    place = np.stack([x[rows], y[rows]], -1)
    near = cKDTree(place).query_ball_point(place, r[rows] + r[rows].max())
    for k in np.argsort(value[rows]):
        i, others = rows[k], rows[np.asarray(near[k])]
        others = others[leaving[others]]
        if not (np.hypot(x[others] - x[i], y[others] - y[i]) < np.maximum(r[others], r[i])).any():
            leaving[i] = True
    return leaving
