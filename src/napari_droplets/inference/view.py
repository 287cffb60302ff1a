"""Where a step of a fit looks: which tiles, and which droplets each of them may see."""

from __future__ import annotations

import numpy as np

from ..model.assignment import Tiles
from ..model.generative import Form
from . import posterior, svi

EMPTY_IMPORTANCE = 8
"""Of the tiles that see no droplet only one in so many is looked at, with that weight."""


def look(
    located: dict[str, np.ndarray], present: np.ndarray, tiles: Tiles, form: Form, total: int, number: int
) -> svi.View:
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
