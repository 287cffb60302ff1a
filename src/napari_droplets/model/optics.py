"""Neural optics: one small network that says how any droplet changes the color of a pixel.

How strongly a droplet changes colors goes with a power of its radius; what it looks like depends on its size weakly.
With the radius as an input like any other, as published, looks make up for radii that were proposed too large for small
droplets and too small for large ones, and these stay so.
"""

from __future__ import annotations

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

HIDDEN = (32, 16, 16)
"""Widths of the hidden layers; as published but for the last, of 8 there: all looks are mixed from its outputs."""
OUTPUT_SCALE = 0.1
"""Of the last kernel at the start: droplets start nearly invisible rather than in random colors."""
SIZE_INPUT = 0.3
"""Of the log radius as an input of the network. At 1 looks follow whatever sizes were proposed; at 0 small and large
droplets look alike, which those of the published photograph do not."""
EPSILON = 1e-6
"""Added to the variance that a layer is normalized by."""

Weights = dict[str, Array]


def color_change(
    weights: Weights, inputs: Float[Array, "F P"], composition: Float[Array, "K P"]
) -> Float[Array, "C P"]:
    """Change of color, in logit space, that droplets make at P pixels.

    The network gives the look of a droplet without dyes, and what each component adds to it; components add up as
    absorbances of dyes do (Beer-Lambert law), and all of it grows with a power of the radius, as the way of light does.
    Hidden layers 32-16-16, each Dense -> LayerNorm -> ReLU; its weights have flat names, see `weight_shapes`. Inputs
    (C + 3, P) are background color, dx/r, dy/r and r/length. Pixels come last: on a CPU derivatives are computed three
    times as fast as with features last.
    """
    radius = inputs[-1]
    columns = jnp.concatenate([inputs[:-1], SIZE_INPUT * jnp.log(radius)[None]])
    for i in range(len(HIDDEN)):
        kernel, bias = weights[f"Dense_{i}.kernel"], weights[f"Dense_{i}.bias"]
        # the mean that LayerNorm takes out of the outputs is taken out of the weights, which are few
        kernel, bias = kernel - kernel.mean(1, keepdims=True), bias - bias.mean()
        columns = kernel.T @ columns + bias[:, None]
        columns = normalized(columns)
        columns = columns * weights[f"LayerNorm_{i}.scale"][:, None] + weights[f"LayerNorm_{i}.bias"][:, None]
        columns = jax.nn.relu(columns)
    last = len(HIDDEN)
    looks = weights[f"Dense_{last}.kernel"].T @ columns + weights[f"Dense_{last}.bias"][:, None]
    bare, *parts = jnp.split(looks, len(composition) + 1)
    look = bare + sum(part * fraction for part, fraction in zip(parts, composition, strict=True))
    return look * radius ** weights["thickness"]


@jax.custom_vjp
def normalized(columns: Float[Array, "F P"]) -> Float[Array, "F P"]:
    """Columns divided by the root of their mean square.

    Its derivative is written here because it halves what a pass over the pixels takes: sums over features are products
    with a row of ones, forwards and backwards, which a CPU does several times as fast as sums over the first axis.
    """
    return _normalized(columns)[0]


def _normalized(columns: Array) -> tuple[Array, tuple[Array, Array]]:
    factor = jax.lax.rsqrt(_mean(columns * columns) + EPSILON)
    return columns * factor, (columns * factor, factor)


def _normalized_backward(kept: tuple[Array, Array], slope: Array) -> tuple[Array]:
    columns, factor = kept
    return (factor * (slope - columns * _mean(slope * columns)),)


normalized.defvjp(_normalized, _normalized_backward)


def _mean(columns: Array) -> Array:
    return jnp.full((1, len(columns)), 1 / len(columns), columns.dtype) @ columns


def initial_weights(seed: int, channels: int, types: int) -> dict[str, np.ndarray]:
    """Random weights by flat names: kernels normal with variance 1 / inputs (LeCun), scales 1, all else 0."""
    rng = np.random.default_rng(seed)
    last = f"Dense_{len(HIDDEN)}.kernel"
    weights = {}
    for name, shape in weight_shapes(channels, types).items():
        value = np.full(shape, float(name.endswith("scale")))
        if name.endswith("kernel"):
            value = OUTPUT_SCALE ** (name == last) * rng.standard_normal(shape) / np.sqrt(shape[0])
        weights[name] = value.astype(np.float32)
    return weights


@cache
def weight_shapes(channels: int, types: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by flat names, sorted."""
    widths = (channels + 3, *HIDDEN, channels * (1 + types))  # a look without dyes, then one for each component
    shapes: dict[str, tuple[int, ...]] = {"thickness": (1,)}
    for i, shape in enumerate(itertools.pairwise(widths)):
        shapes |= {f"Dense_{i}.bias": shape[1:], f"Dense_{i}.kernel": shape}
    for i, width in enumerate(HIDDEN):
        shapes |= {f"LayerNorm_{i}.bias": (width,), f"LayerNorm_{i}.scale": (width,)}
    return dict(sorted(shapes.items()))
