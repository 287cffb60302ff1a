"""Stochastic steps of what all droplets share: optics, glow, blur, and the common error of their proposals.

Droplets stay where they are, but for a shift and a factor common to all: without these the optics would hold all
circles where they are proposed.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from ...compiling import jit
from ...model.priors import BLUR_LOG_SD, BLUR_MEDIAN, COMMON_SD, GLOW_SD, PLAIN_PIXELS, WEIGHT_SD
from ...model.problem import Form, Rows, columns, placed, spread
from ...model.rendering import Shared, layer

STEPS = 25
"""Of one call: what a progress bar and a cancel wait for."""
ROWS_PER_STEP = 512
"""Rows of pixels that a step looks at, 8,192 pixels."""


class Learned(NamedTuple):
    """What steps change: `shared`, and `common` (3,), shift in radii and log factor of all circles."""

    shared: Shared
    common: Float[Array, " 3"]


class State(NamedTuple):
    """Where the steps are."""

    learned: Learned
    adam: optax.OptState


ADAM = optax.scale_by_adam(b2=0.99)


def init(shared: Shared) -> State:
    """State at the first step."""
    learned = Learned(jax.tree.map(jnp.asarray, shared), jnp.zeros(3))
    return State(learned, ADAM.init(learned))


def log_prior(learned: Learned, droplets: Array) -> Array:
    """Log density of what is shared, up to a constant, of NumPy or JAX arrays; the glow's counts for each droplet."""
    shared, common = learned
    weights = sum((w**2).sum() for w in shared.optics.values()) / WEIGHT_SD**2
    glow = droplets * PLAIN_PIXELS * ((shared.glow / GLOW_SD) ** 2).sum() / shared.glow.shape[0]
    blur = ((shared.log_blur - np.log(BLUR_MEDIAN)) / BLUR_LOG_SD) ** 2
    return -0.5 * (weights + glow + blur + ((common / np.array(COMMON_SD, np.float32)) ** 2).sum())


@partial(jit, static_argnames="form")
def chunk(
    state: State,
    rates: Learned,
    rate: Float[Array, " T"],
    order: Int[Array, "T R"],
    raw: Float[Array, "N D"],
    anchor: Float[Array, "N 3"],
    rows: Rows,
    precision: Float[Array, " N"],
    total: Array,
    droplets: Array,
    form: Form,
) -> tuple[State, Float[Array, " T"]]:
    """Run a step for each row of `order`, which names the rows of pixels that it looks at.

    `rates` multiply the learning rate `rate` of each step; 0 holds what it stands for. `precision` is the inverse
    variance of a pixel of each droplet, `total` the pixels that those of a step stand for, over their number, and
    `droplets` how many there are. Returns the losses, too: negative log posterior densities up to a constant.
    """

    def loss(learned: Learned, chosen: Array) -> Array:
        part = Rows(*(a[chosen] for a in rows))
        moved, anchors = spread(raw[part.row]), spread(anchor[part.row])
        relative = jnp.exp(moved[2])  # radius over the anchor's
        common = learned.common
        shift = jnp.stack([common[0] * relative, common[1] * relative, jnp.broadcast_to(common[2], relative.shape)])
        moved = moved.at[:3].add(shift)
        position = jnp.stack([part.x.reshape(-1), part.y.reshape(-1)])
        drawn = layer(columns(part.ground), placed(moved, anchors, form), position, learned.shared)
        weight = part.weight * precision[part.row][:, None]
        squares = jnp.sum(weight.reshape(-1) * (columns(part.values) - drawn) ** 2)
        return 0.5 * total * squares - log_prior(learned, droplets)

    def step(state: State, now: tuple[Array, Array]) -> tuple[State, Array]:
        rate, chosen = now
        value, gradient = jax.value_and_grad(loss)(state.learned, chosen)
        updates, adam = ADAM.update(gradient, state.adam)
        learned = jax.tree.map(lambda p, u, r: p - rate * r * u, state.learned, updates, rates)
        return State(learned, adam), value

    return jax.lax.scan(step, state, (rate, order))
