"""Where a step of a fit looks: which tiles, and which droplets each of them may see."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array

from ..model.assignment import Tiles
from . import posterior, svi

EMPTY_IMPORTANCE = 8
"""Of the tiles that see no droplet only one in so many is looked at, with that weight."""
PART = 1024
"""Tiles that questions about the image as a whole are settled by."""


def look(located: dict[str, np.ndarray], present: np.ndarray, tiles: Tiles, total: int, number: int) -> svi.View:
    """Decide what each tile may see, and which tiles to look at: all with droplets, few of the empty ones.

    `number` seeds the draw of the empty ones. Where pixels stand for several (their weight), tiles do.
    """
    n = len(tiles.corner)
    found = posterior.assign(located, present, tiles, total)
    dummy = len(present) - 1  # padded: far outside of the image
    seen = found < len(present)
    degree = np.bincount(found[seen], minlength=len(present))
    share = np.where(seen, 1 / np.maximum(degree, 1)[np.minimum(found, dummy)], 0).astype(np.float32)
    empty = np.flatnonzero(~seen[:n].any(1))
    sample = np.random.default_rng(number).permutation(empty)[: -(-len(empty) // EMPTY_IMPORTANCE)]
    visited = np.concatenate([np.flatnonzero(seen[:n].any(1)), sample])
    stands_for = max(1.0, float(tiles.weight.max()))
    importance = np.full(total, stands_for, np.float32)
    importance[sample] *= len(empty) / max(1, len(sample))
    filled = svi.pad(visited.astype(np.int32), total)
    return svi.View(
        np.minimum(found, dummy), share / np.float32(stands_for), filled, importance, np.int32(len(visited))
    )


def part_of(problem: svi.Problem) -> tuple[svi.Problem, np.ndarray]:
    """The problem with `PART` of its tiles at most, and which droplets (N,) are seen in these alone."""
    view = problem.view
    candidates, share = np.asarray(view.candidates), np.array(view.share) > 0
    share[~np.asarray(problem.weight).any(1)] = False
    n, total = len(problem.anchor), len(candidates)
    rank = np.random.default_rng(0).permutation(n)
    first = np.where(share, rank[candidates], n).min(1)
    chosen = np.argsort(first, kind="stable")[: min(PART, int((first < n).sum()))]
    degree, seen = (np.bincount(candidates[t][share[t]], minlength=n) for t in (slice(None), chosen))

    def some(array: Array) -> np.ndarray:
        return svi.pad(np.asarray(array)[chosen], total)

    few = view._replace(candidates=some(view.candidates), share=some(view.share))
    parts = {name: some(getattr(problem, name)) for name in ("corner", "values", "weight")}
    return jax.device_put(problem._replace(view=few, **parts)), (seen > 0) & (seen == degree)
