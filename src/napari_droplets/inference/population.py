"""Which of the proposals are droplets: for now, of two on one droplet the smaller one goes."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

DUPLICATE = 0.7
"""A center nearer than this to that of a larger droplet, in its radii, lies on it: liquid there would have merged."""


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
