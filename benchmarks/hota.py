"""HOTA, the higher order tracking accuracy, by its definition: detection and identity in one number.

Luiten et al. 2021, HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 129:548-578; the matching is
that of their TrackEval (trackeval/metrics/hota.py). Droplets are discs, so that the similarity of two is the overlap of
their discs over what both cover.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

ALPHAS = np.arange(1, 20) / 20
"""Least similarities of a match, 0.05 to 0.95: HOTA is the mean over them."""
EPS = 1e-9
"""So that a similarity of 0.5 is at least 0.5."""


class Hota(NamedTuple):
    """Means over `ALPHAS`."""

    hota: float
    detection: float
    """DetA: matches over matches, misses and false droplets."""
    association: float
    """AssA: how far the tracks of a match agree, mean over matches."""
    location: float
    """LocA: similarity of matches."""


def hota(truth: pd.DataFrame, found: pd.DataFrame, ids: np.ndarray) -> Hota:
    """How well tracks are those of the truth.

    Parameters
    ----------
    truth : DataFrame
        frame, track_id, x, y, radius.
    found : DataFrame
        frame, x, y, radius.
    ids : ndarray
        (R,) track of each row of `found`.
    """
    true_ids, true = np.unique(truth["track_id"].to_numpy(), return_inverse=True)
    own_ids, own = np.unique(ids, return_inverse=True)
    if not len(true) or not len(own):
        return Hota(float(len(true) == len(own)), *[float(len(true) == len(own))] * 3)
    of_true, of_own = np.bincount(true)[:, None], np.bincount(own)[None, :]
    frames = []
    potential = np.zeros((len(true_ids), len(own_ids)))
    for number in np.union1d(truth["frame"], found["frame"]):
        i = np.flatnonzero(truth["frame"].to_numpy() == number)
        j = np.flatnonzero(found["frame"].to_numpy() == number)
        alike = overlaps(_discs(truth, i), _discs(found, j))
        total = alike.sum(0)[None, :] + alike.sum(1)[:, None] - alike
        potential[np.ix_(true[i], own[j])] += np.where(total > EPS, alike / np.maximum(total, EPS), 0)
        frames.append((true[i], own[j], alike))
    # who is whom in most frames decides who is matched where several could be
    aligned = potential / (of_true + of_own - potential)
    counts = np.zeros((len(ALPHAS), len(true_ids), len(own_ids)))
    similar = np.zeros(len(ALPHAS))
    for a, b, alike in frames:
        rows, columns = linear_sum_assignment(-aligned[np.ix_(a, b)] * alike)
        for k, alpha in enumerate(ALPHAS):
            good = alike[rows, columns] >= alpha - EPS
            counts[k, a[rows[good]], b[columns[good]]] += 1
            similar[k] += alike[rows[good], columns[good]].sum()
    matches = counts.sum((1, 2))
    detection = matches / (len(true) + len(own) - matches)
    association = (counts * counts / (of_true + of_own - counts)).sum((1, 2)) / np.maximum(matches, 1)
    location = np.where(matches > 0, similar / np.maximum(matches, 1), 1)
    means = (np.sqrt(detection * association), detection, association, location)
    return Hota(*(float(values.mean()) for values in means))


def overlaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, m) common area over joint area of discs (n, 3) and (m, 3) of x, y, radius."""
    x, y, r = (one[:, None, k] for k in range(3))
    u, v, s = (other[None, :, k] for k in range(3))
    d = np.hypot(x - u, y - v)
    small = np.minimum(r, s)
    inside = np.pi * small**2
    apart = np.clip(d, np.abs(r - s) + EPS, r + s - EPS)  # where circles cross; the other cases follow
    one_angle = np.arccos(np.clip((apart**2 + r**2 - s**2) / (2 * apart * r), -1, 1))
    other_angle = np.arccos(np.clip((apart**2 + s**2 - r**2) / (2 * apart * s), -1, 1))
    kite = np.sqrt(np.maximum((-apart + r + s) * (apart + r - s) * (apart - r + s) * (apart + r + s), 0)) / 2
    lens = r**2 * one_angle + s**2 * other_angle - kite
    common = np.where(d >= r + s, 0.0, np.where(d <= np.abs(r - s), inside, lens))
    return common / (np.pi * (r**2 + s**2) - common)


def _discs(table: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    return table[["x", "y", "radius"]].to_numpy(float)[rows]
