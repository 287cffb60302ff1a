"""One update of the weights: AdamW with its learning rate given from outside, and a moving average of the weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..detection.network import Params, init, read_weights
from .loss import Targets, loss

CLIP = 3.0  # longest gradient, in units of the usual length: one odd batch must not throw the weights about
USUAL = 0.99  # share of the usual length that a step leaves
TINY = 1e-30  # a gradient of zero has no direction
WEIGHT_DECAY = 1e-4  # per step and unit of rate, of kernels alone


class State(NamedTuple):
    """Everything a step changes."""

    params: Params
    average: Params
    """Exponential moving average of the weights: what is validated and kept."""
    moments: Any
    length: Any
    """Usual length of the gradient."""


def _optimizer() -> Any:
    """AdamW but for the learning rate, which changes from step to step."""

    def kernels(params: Params) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    return optax.chain(optax.scale_by_adam(), optax.add_decayed_weights(WEIGHT_DECAY, mask=kernels))


@partial(jax.jit, donate_argnums=0)
def update(state: State, inputs: Any, truth: Targets, rate: float, keep: float) -> tuple[State, Any]:
    """One step, compiled once; the state given is used up.

    Parameters
    ----------
    state : State
    inputs : array
        (B, side, side, 3) normalized images.
    truth : Targets
    rate : float
        Learning rate.
    keep : float
        Share of the average of the weights that is left.

    Returns
    -------
    state : State
        The one given where the gradient is not finite.
    loss : array
        A number, NaN where the gradient is not finite.
    """
    value, gradient = jax.value_and_grad(loss)(state.params, inputs, truth)
    length = jnp.sqrt(sum(jnp.sum(g * g) for g in jax.tree.leaves(gradient)))
    known = state.length > 0
    longest = jnp.where(known, CLIP * state.length, length)
    gradient = jax.tree.map(lambda g: g * jnp.minimum(1, longest / jnp.maximum(length, TINY)), gradient)
    usual = jnp.where(known, USUAL * state.length + (1 - USUAL) * jnp.minimum(length, longest), length)
    change, moments = _optimizer().update(gradient, state.moments, state.params)
    params = jax.tree.map(lambda p, c: p - rate * c, state.params, change)
    average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, state.average, params)
    finite = jnp.isfinite(value) & jnp.isfinite(length)
    new = jax.tree.map(partial(jnp.where, finite), State(params, average, moments, usual), state)
    return new, jnp.where(finite, value, jnp.nan)


def fresh(seed: int, start: str | Path | None) -> State:
    """The state before the first step, from new weights or those of a file."""
    params = init(seed) if start is None else read_weights(start)[0]
    params = jax.tree.map(jnp.array, params)  # copies: the state is used up by each step
    return State(params, jax.tree.map(jnp.array, params), _optimizer().init(params), jnp.zeros(()))
