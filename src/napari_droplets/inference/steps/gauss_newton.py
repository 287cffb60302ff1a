"""One pass over the pixels: what they say of every droplet, given all that droplets share.

Given optics, background and its neighbors a droplet is seen by its own pixels only. One pass gives the gradient of the
log likelihood and the Gauss-Newton information matrix (Fisher, D x D) of every droplet. It costs one evaluation of the
optics network and one derivative per channel for each listed pixel, three evaluations where two droplets meet, none
where only the glow of one is seen, whatever the number of droplets.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ...compiling import jit
from ...image_statistics import weighted_median
from ...model.problem import BLOCK, FAR, Form, Rows, columns, placed, spread
from ...model.rendering import Shared, beyond, color, layer

if TYPE_CHECKING:
    from .evidence import Lines

MISFIT_PIXELS = 100.0
"""Pixels' worth of the image's usual misfit, its median, that a droplet's misfit is drawn to; small ones have few."""
LEAST_NOISE = 0.002
"""Of the intensities: half a step of 8 bits."""
LEAST_DIFFERENCES = 300
"""That noise is read from; its standard error is then 6 %."""


class Sums(NamedTuple):
    """Sums over the pixels of each droplet, with noise of variance 1; arrays of N."""

    information: Float[Array, "N D D"]
    gradient: Float[Array, "N D"]
    squares: Float[Array, " N"]
    """Squared residuals …"""
    removed: Float[Array, " N"]
    """… and what they would be without the droplet."""
    blocks: Float[Array, " N"]
    """Squares of the residuals' sums over each row of pixels …"""
    listed: Float[Array, " N"]
    """… and the number of intensities that these are of."""
    weight: Float[Array, " N"]
    """Intensities that those listed stand for."""


class Seen(NamedTuple):
    """What was seen of droplets when each was last looked at."""

    sums: Sums
    colors: np.ndarray
    """Drawn before they moved, (R, S, C) for the pixels listed."""
    squares: np.ndarray
    """(N,) squared residuals of the pixels listed with each, every pixel counted once."""
    pairs: np.ndarray
    """(M, 2) droplets, and others seen in their pixels."""
    lines: Lines | None
    """What is left on some lines of the image; None where the noise is given."""

    def with_(self, some: np.ndarray, sums: Sums) -> Sums:
        """The sums of `some` droplets (N,), and of the others as they were."""
        new = (np.where(some.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(sums, self.sums, strict=True))
        return Sums(*new)

    def moved(self, change: np.ndarray) -> Seen:
        """As if droplets had been looked at after a `change` (N, D) of their numbers: to first order in gradients."""
        left = self.sums.gradient - np.einsum("nij,nj->ni", self.sums.information, change)
        return self._replace(sums=self.sums._replace(gradient=left))

    def beside(self, some: np.ndarray) -> np.ndarray:
        """(N,) bool, droplets that have any of `some` (N,) in their pixels."""
        found = np.zeros(len(some), bool)
        found[self.pairs[some[self.pairs[:, 1]], 0]] = True
        return found


@partial(jit, static_argnames="form")
def measure(
    raw: Float[Array, "N D"],
    anchor: Float[Array, "N 3"],
    shared: Shared,
    rows: Rows,
    blocks: Array,
    crowded: Array,
    within: Array,
    form: Form,
) -> tuple[Sums, Float[Array, "R S C"]]:
    """Pass over the first `blocks` blocks of rows.

    Of these the first `crowded` have pixels of two droplets, and those after the first `within` pixels that nothing but
    the glow of one reaches. Returns the sums and the colors drawn.
    """
    n, d = raw.shape

    def one(drawn: Callable[..., Array], part: Rows, subject: Array, anchors: Array) -> tuple[Array, Array, Array]:
        ground, position = columns(part.ground), jnp.stack([part.x.reshape(-1), part.y.reshape(-1)])

        def draw(subject: Array) -> Array:
            return drawn(ground, placed(subject, anchors, form), position, shared)

        colors, pull = jax.vjp(draw, subject)
        return colors, ground, _slopes(pull, colors)

    def beside(part: Rows, subject: Array, anchors: Array) -> tuple[Array, Array, Array]:
        ground, position = columns(part.ground), jnp.stack([part.x.reshape(-1), part.y.reshape(-1)])
        other = placed(columns(raw[part.other]), columns(anchor[part.other]), form)

        def draw(subject: Array) -> tuple[Array, Array]:
            return color(placed(subject, anchors, form), other, ground, position, shared)

        colors, pull, without = jax.vjp(draw, subject, has_aux=True)
        return colors, without, _slopes(pull, colors)

    kinds = beside, partial(one, layer), partial(one, beyond)

    def add(i: Array, carry: tuple[Sums, Array]) -> tuple[Sums, Array]:
        sums, image = carry
        part = Rows(*(jax.lax.dynamic_slice_in_dim(a, i * BLOCK, BLOCK) for a in rows))
        subject, anchors = spread(raw[part.row]), spread(anchor[part.row])
        kind = (i >= crowded).astype(jnp.int32) + (i >= jnp.maximum(crowded, within)).astype(jnp.int32)
        colors, without, slopes = jax.lax.switch(kind, kinds, part, subject, anchors)
        values, weight = columns(part.values), part.weight.reshape(-1)
        residual, removed = values - colors, values - without

        def by_row(array: Array) -> Array:
            return array.reshape(*array.shape[:-1], BLOCK, -1)

        slopes = by_row(slopes).transpose(2, 1, 0, 3).reshape(BLOCK, d, -1)  # rows, dimensions, channels and pixels
        weighted = jnp.tile(part.weight, (1, residual.shape[0]))[:, None] * slopes
        listed = (part.weight > 0).astype(weight.dtype)
        found = Sums(
            jnp.matmul(weighted, slopes.transpose(0, 2, 1)),
            jnp.matmul(weighted, by_row(residual).transpose(1, 0, 2).reshape(BLOCK, -1, 1))[..., 0],
            by_row(weight * jnp.sum(residual**2, 0)).sum(-1),
            by_row(weight * jnp.sum(removed**2, 0)).sum(-1),
            jnp.sum((by_row(residual) * listed).sum(-1) ** 2, 0),
            residual.shape[0] * listed.sum(-1),
            residual.shape[0] * part.weight.sum(-1),
        )
        sums = Sums(*(s.at[part.row].add(f) for s, f in zip(sums, found, strict=True)))
        drawn_here = jnp.moveaxis(by_row(colors), 0, -1)
        return sums, jax.lax.dynamic_update_slice_in_dim(image, drawn_here, i * BLOCK, 0)

    start = Sums(*(jnp.zeros((n, *shape)) for shape in ((d, d), (d,), (), (), (), (), ())))
    return jax.lax.fori_loop(0, blocks, add, (start, jnp.zeros_like(rows.values)))


def _slopes(pull: jax.tree_util.Partial, colors: Float[Array, "C P"]) -> Float[Array, "C D P"]:
    """Derivative of each channel; one after the other: as one batch they take three times as long."""
    return jnp.stack([pull(jnp.zeros_like(colors).at[c].set(1.0))[0] for c in range(colors.shape[0])])


def blocks_of(rows: int) -> np.int32:
    """Blocks that hold so many rows."""
    return np.int32(-(-rows // BLOCK))


def anchors_of(x: np.ndarray, y: np.ndarray, radius: np.ndarray, total: int) -> np.ndarray:
    """Anchors (total, 3), float32; what is padded lies in no image."""
    anchor = np.full((total, 3), FAR, np.float32)
    anchor[:, 2] = 1
    anchor[: len(x)] = np.stack([x, y, radius], -1)
    return anchor


class Evidence(NamedTuple):
    """What the pixels say of each droplet, in nats; arrays of N.

    `information` and `gradient` are of the log likelihood with white noise; what they count for is `1 / inflation` of
    it: see `inflation`.
    """

    information: np.ndarray
    gradient: np.ndarray
    gain: np.ndarray
    """Log likelihood that the pixels lose without the droplet."""
    removed: np.ndarray
    """Half the sum of squares that they would leave without it."""
    misfit: np.ndarray
    """Root mean square residual over the noise, about 1 where the model is right."""
    inflation: np.ndarray
    """How much the variance of a mean over 16 neighboring pixels exceeds that of white noise, at least 1.

    The variance of averages over blocks tells how much data that are not independent count (Flyvbjerg and Petersen,
    J. Chem. Phys. 91, 461 (1989)). It holds noise that neighbors share as well as what the model draws wrong.
    """
    unexplained: np.ndarray
    """Part of what it changes in its pixels that is left, above white noise, 0 to 1."""
    noise: float
    squares: float
    """Sum of all squared residuals of the pixels listed, each counted once."""

    @classmethod
    def of(cls, sums: Sums, noise: float, squares: float, channels: int) -> Evidence:
        """From the sums of a pass and the noise's standard deviation."""
        total: Any = Sums(*(np.asarray(a, float) for a in sums))
        variance = noise**2
        blocks, listed = total.blocks / variance, total.listed
        usual = weighted_median(blocks / np.maximum(listed, 1), listed) if listed.any() else 1.0
        intensities = MISFIT_PIXELS * channels
        inflation = np.maximum((blocks + usual * intensities) / (listed + intensities), 1)
        return cls(
            total.information / variance,
            total.gradient / variance,
            (total.removed - total.squares) / (2 * variance),
            total.removed / (2 * variance),
            np.sqrt(total.squares / np.maximum(total.weight, 1) / variance),
            inflation,
            np.clip((total.squares / variance - total.weight) / np.maximum(total.removed / variance, 1e-9), 0, 1),
            noise,
            squares,
        )

    def unexplained_of(self, some: np.ndarray) -> float:
        """Part of what these droplets (N,) change in the image that is left, all together."""
        change = self.removed[some]
        return float(np.sum(self.unexplained[some] * change) / max(np.sum(change), 1e-9))


def white_noise(residual: np.ndarray, default: float = LEAST_NOISE) -> float:
    """Standard deviation of what changes from pixel to pixel along the rows of an image (H, W, C), NaN left out.

    Second differences, without those beyond three standard deviations: what the model draws wrong counts little. The
    default where hardly three neighbors are known.
    """
    second = residual[:, 1:-1] - (residual[:, :-2] + residual[:, 2:]) / 2
    second = second[np.isfinite(second)] / np.sqrt(1.5)
    if len(second) < LEAST_DIFFERENCES:
        return default
    sd = 1.4826 * float(np.median(np.abs(second)))
    for _ in range(5):  # a normal variable cut at three deviations has 0.9733 of its variance
        inner = second[np.abs(second) <= 3 * sd]
        sd = float(np.sqrt(np.mean(inner**2) / 0.9733)) if sd > 0 else 0.0
    return max(sd, LEAST_NOISE)
