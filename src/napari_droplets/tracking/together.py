"""Which of many explanations that exclude one another hold: the probability of each, over all sets that agree."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

NEGLIGIBLE = -8.0
"""Log odds, against nothing, of explanations that are left out: they change no probability by more than 0.0004."""
MOST = 24
"""Explanations that are weighed exactly together; where more exclude one another, the best of them."""


def chosen_together(weight: np.ndarray, used: Sequence[set[Hashable]]) -> np.ndarray:
    """(N,) probability that each explanation is among those that hold.

    Parameters
    ----------
    weight : ndarray
        (N,) log odds of each, alone, against nothing.
    used : sequence of set
        What each explains; two that explain the same exclude one another.

    Returns
    -------
    ndarray
        Sums over all sets of explanations that exclude no other of the set; its weight is the product of theirs.

    Examples
    --------
    Two that together outweigh a third, which excludes both:

    >>> chosen_together(np.log([30.0, 30.0, 60.0]), [{"a"}, {"b"}, {"a", "b"}]).round(2)
    array([0.91, 0.91, 0.06])
    """
    p = np.zeros(len(weight))
    for group in _groups(weight, used):
        rivals = [frozenset(m for m, other in enumerate(group) if used[int(other)] & used[int(k)]) for k in group]
        p[group] = _marginal(weight[group], rivals)
    return p


def _marginal(weight: np.ndarray, rivals: Sequence[frozenset[int]]) -> np.ndarray:
    """(n,) the same for a few; `rivals` are those that each excludes, itself among them."""

    @cache
    def total(left: frozenset[int]) -> float:
        """Log of the sum of the weights of all sets of these."""
        if not left:
            return 0.0
        k = max(left, key=lambda m: (len(rivals[m] & left), m))
        return float(np.logaddexp(total(left - {k}), weight[k] + total(left - rivals[k])))

    every = frozenset(range(len(rivals)))
    return np.array([np.exp(weight[k] + total(every - rivals[k]) - total(every)) for k in every])


def _groups(weight: np.ndarray, used: Sequence[set[Hashable]]) -> list[np.ndarray]:
    """Explanations that are not negligible, those together that exclude one another, directly or by others."""
    rows = np.flatnonzero(weight > NEGLIGIBLE)
    numbers: dict[Hashable, int] = {}
    pairs = [(k, numbers.setdefault(what, len(numbers))) for k, row in enumerate(rows) for what in used[int(row)]]
    if not pairs:
        return []
    i, j = np.array(pairs).T
    n = len(rows) + len(numbers)
    graph = coo_array((np.ones(len(i)), (i, len(rows) + j)), shape=(n, n))
    label = connected_components(graph, directed=False)[1][: len(rows)]
    order = np.argsort(label, kind="stable")
    groups = np.split(rows[order], np.flatnonzero(np.diff(label[order])) + 1)
    return [g[np.argsort(-weight[g], kind="stable")[:MOST]] for g in groups]
