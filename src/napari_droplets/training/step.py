"""One update of the weights: AdamW with its learning rate given from outside, and a moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ..inference.network import Params, init, read_weights
from .loss import Targets, loss

CLIP = 1.0  # longest gradient
WEIGHT_DECAY = 1e-4  # per step and unit of rate, of kernels alone


class State(NamedTuple):
    """Everything a step changes."""

    params: Params
    average: Params
    """Exponential moving average of the weights: what is validated and kept."""
    moments: Any


def _optimizer() -> Any:
    """AdamW but for the learning rate, which changes from step to step."""

    def kernels(params: Params) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    return optax.chain(
        optax.clip_by_global_norm(CLIP),
        optax.scale_by_adam(),
        optax.add_decayed_weights(WEIGHT_DECAY, mask=kernels),
    )


def updater() -> Callable[..., tuple[State, Any]]:
    """One step, compiled once: `(state, inputs, truth, rate, keep) -> state, loss`; the state given is used up.

    Where the gradient is not finite the state stays as it is and the loss is NaN.
    """
    optimizer = _optimizer()

    @partial(jax.jit, donate_argnums=0)
    def update(state: State, inputs: Any, truth: Targets, rate: float, keep: float) -> tuple[State, Any]:
        value, gradient = jax.value_and_grad(loss)(state.params, inputs, truth)
        change, moments = optimizer.update(gradient, state.moments, state.params)
        params = jax.tree.map(lambda p, c: p - rate * c, state.params, change)
        average = jax.tree.map(lambda a, p: keep * a + (1 - keep) * p, state.average, params)
        finite = jnp.isfinite(value) & jnp.isfinite(optax.global_norm(gradient))
        new = jax.tree.map(partial(jnp.where, finite), State(params, average, moments), state)
        return new, jnp.where(finite, value, jnp.nan)

    return update


def fresh(seed: int, start: str | Path | None) -> State:
    """The state before the first step, from new weights or those of a file."""
    params = jax.jit(init)(seed) if start is None else read_weights(start)[0]
    params = jax.tree.map(jnp.array, params)  # copies: the state is used up by each step
    return State(params, jax.tree.map(jnp.array, params), _optimizer().init(params))
