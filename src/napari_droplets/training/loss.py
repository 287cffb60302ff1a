"""What the network is trained on: the log score of the true droplets under its posterior.

Cells are independent. A cell holds the centre of a droplet with probability p, and if so its centre and log radius are
Gaussian: the negative log density of the truth is a proper score, least in the mean for the true posterior, so p and
the standard deviations mean what they say (for a likelihood of counts in tiles see Liu et al., "Variational inference
for deblending crowded starfields", JMLR 24, 2023).
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..detection.network import CELL, Params, apply
from ..detection.scales import RING
from ..droplets import beyond_border

SEEN_BEYOND = 0.8  # radii beyond the border up to which a center is to be told of; of others only a sliver is left


class Targets(NamedTuple):
    """The truth of a batch, one entry per droplet, padded."""

    cell: np.ndarray
    """(B, N) int32: index of the cell in the flattened grid; 0 where padded."""
    place: np.ndarray
    """(B, N, 3) float32: offset x, y from the cell's centre, pixels, and log radius."""
    present: np.ndarray
    """(B, N) float32: 1 for droplets, 0 for padding."""


def targets(truths: list[np.ndarray], side: int, most: int | None = None) -> Targets:
    """Cells of the droplets of a batch of square images.

    Parameters
    ----------
    truths : list of (n, 3) arrays
        x, y, radius in pixels. Of several in one cell the largest counts. Centres beyond the border of what is shown,
        up to `SEEN_BEYOND` radii, go to the nearest cell of the ring around it.
    side : int
        Pixels, with the ring in which the border is repeated.
    most : int, optional
        N to pad to; a quarter of the cells by default. Only as many droplets, the largest, are kept.
    """
    grid = side // CELL
    most = most or grid * grid // 4
    result = Targets(
        np.zeros((len(truths), most), np.int32),
        np.zeros((len(truths), most, 3), np.float32),
        np.zeros((len(truths), most), np.float32),
    )
    for b, truth in enumerate(truths):
        truth = np.asarray(truth, float).reshape(-1, 3)
        column, row = np.clip(np.floor((truth[:, :2].T + 0.5) / CELL).astype(int), 0, grid - 1)
        shown = side - 2 * RING, side - 2 * RING
        seen = beyond_border(truth[:, 0] - RING, truth[:, 1] - RING, shown) < SEEN_BEYOND * truth[:, 2]
        order = np.flatnonzero(seen)[np.argsort(-truth[seen, 2], kind="stable")]
        cell = row[order] * grid + column[order]
        _, first = np.unique(cell, return_index=True)
        kept = order[np.sort(first)][:most]
        n = len(kept)
        result.cell[b, :n] = row[kept] * grid + column[kept]
        center = CELL * np.stack([column[kept], row[kept]], -1) + (CELL - 1) / 2
        result.place[b, :n, :2] = truth[kept, :2] - center
        result.place[b, :n, 2] = np.log(truth[kept, 2])
        result.present[b, :n] = 1
    return result


def loss(params: Params, images: Float[Array, "b h w 3"], truth: Targets) -> Float[Array, ""]:
    """Mean negative log density of the truth per 1,000 cells; images normalized."""
    return score(apply(params, images), truth)


def score(outputs: Float[Array, "b h w 7"], truth: Targets) -> Float[Array, ""]:
    """The same, of the network's outputs."""
    b, h, w, _ = outputs.shape
    outputs = outputs.reshape(b, h * w, -1)
    own = jnp.take_along_axis(outputs, truth.cell[..., None], 1)
    logit, place, log_sd = own[..., 0], own[..., 1:4], own[..., 4:7]
    # log p of the occupied cells, log(1 - p) of all others
    empty = jax.nn.softplus(outputs[..., 0]).sum()
    occupied = -(logit * truth.present).sum()
    density = 0.5 * ((truth.place - place) * jnp.exp(-log_sd)) ** 2 + log_sd + 0.5 * jnp.log(2 * jnp.pi)
    located = (density.sum(-1) * truth.present).sum()
    return (empty + occupied + located) * (1000 / (b * h * w))
