"""Found droplets against true ones: which belong together, and how good the finding was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from .droplets import Droplets

REACH = 0.5  # a found centre this many true radii away still means the same droplet …
MIN_REACH = 1.0  # … or this many pixels, where droplets are tiny


@dataclass(frozen=True)
class Comparison:
    """How well droplets were found; errors are of matched pairs, NaN where there is none.

    Attributes
    ----------
    n_true, n_found, n_matched : int
        Numbers of droplets, and of pairs.
    precision, recall, f1 : float
        Matched share of the found, of the true, and their harmonic mean.
    center_error : float
        Median distance of the centres in units of the true radius.
    radius_bias : float
        Median of found / true radius, minus 1.
    """

    n_true: int
    n_found: int
    n_matched: int
    precision: float
    recall: float
    f1: float
    center_error: float
    radius_bias: float


def compare(truth: Droplets, found: Droplets) -> Comparison:
    """Match found to true droplets and measure the agreement."""
    i, j = match(truth, found)
    n = len(i)
    error = np.hypot(truth.x[i] - found.x[j], truth.y[i] - found.y[j]) / truth.radius[i]
    log_ratio = np.log(found.radius[j] / truth.radius[i])
    return Comparison(
        n_true=len(truth),
        n_found=len(found),
        n_matched=n,
        precision=n / max(len(found), 1),
        recall=n / max(len(truth), 1),
        f1=2 * n / max(len(truth) + len(found), 1),
        center_error=float(np.median(error)) if n else float("nan"),
        radius_bias=float(np.expm1(np.median(log_ratio))) if n else float("nan"),
    )


def match(truth: Droplets, found: Droplets) -> tuple[np.ndarray, np.ndarray]:
    """Pair droplets one to one, as many as possible and then as close as possible.

    A pair may form where the centres lie within max(0.5 true radii, 1 pixel).

    Returns
    -------
    i, j : ndarray
        (M,) indices into `truth` and `found`, ordered by i.
    """
    nothing = np.empty(0, int), np.empty(0, int)
    if not len(truth) or not len(found):
        return nothing
    reach = np.maximum(REACH * truth.radius, MIN_REACH)
    near = cKDTree(np.c_[found.x, found.y]).query_ball_point(np.c_[truth.x, truth.y], reach)
    i = np.repeat(np.arange(len(truth)), [len(js) for js in near])
    j = np.concatenate([np.asarray(js, int) for js in near])
    if not len(i):
        return nothing
    distance = np.hypot(truth.x[i] - found.x[j], truth.y[i] - found.y[j]) / reach[i]
    gain = 2 - distance  # between 1 and 2: two pairs are always worth more than one
    # a table of all against all would need gigabytes for 10,000 droplets: solve each group of neighbors by itself
    n = len(truth) + len(found)
    group = connected_components(coo_array((np.ones(len(i)), (i, j + len(truth))), shape=(n, n)), directed=False)[1][i]
    order = np.argsort(group, kind="stable")
    pairs = []
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        ti, t = np.unique(i[rows], return_inverse=True)
        fj, f = np.unique(j[rows], return_inverse=True)
        table = np.zeros((len(ti), len(fj)))
        table[t, f] = gain[rows]
        a, b = linear_sum_assignment(table, maximize=True)
        pairs += [(ti[k], fj[m]) for k, m in zip(a, b, strict=True) if table[k, m] > 0]
    matched = np.array(sorted(pairs))
    return matched[:, 0], matched[:, 1]
