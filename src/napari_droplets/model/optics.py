"""Neural optics: one small network that says how any droplet changes the color of a pixel."""

from __future__ import annotations

import itertools
from functools import cache

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

HIDDEN = (32, 16, 8)
OUTPUT_SCALE = 0.1
EPSILON = 1e-6


class Dense(nn.Module):
    """Linear map of columns (F, P), as `flax.linen.Dense` of rows; `centered` takes the mean out of its outputs."""

    features: int
    centered: bool = False

    @nn.compact
    def __call__(self, inputs: Float[Array, "F P"]) -> Float[Array, "G P"]:
        """Map every column."""
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (inputs.shape[0], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if self.centered:  # in the weights, which are few, not in the outputs
            kernel, bias = kernel - kernel.mean(1, keepdims=True), bias - bias.mean()
        return kernel.T @ inputs + bias[:, None]


class LayerNorm(nn.Module):
    """As `flax.linen.LayerNorm`, of columns (F, P) whose means are zero."""

    @nn.compact
    def __call__(self, inputs: Float[Array, "F P"]) -> Float[Array, "F P"]:
        """Normalize every column."""
        scale = self.param("scale", nn.initializers.ones, (inputs.shape[0],))
        bias = self.param("bias", nn.initializers.zeros, (inputs.shape[0],))
        inverse = jax.lax.rsqrt(jnp.mean(inputs**2, 0) + EPSILON)
        return inputs * inverse * scale[:, None] + bias[:, None]


class OpticsNetwork(nn.Module):
    """Hidden layers 32-16-8, each Dense -> LayerNorm -> ReLU; the output is a color change in logit space.

    With C = 3 channels and K = 10 components it has 1,347 parameters. Pixels come last inside: on a CPU the
    derivatives are computed three times as fast as with features last.
    """

    channels: int
    hidden: tuple[int, ...] = HIDDEN

    @nn.compact
    def __call__(self, inputs: Float[Array, "... F"]) -> Float[Array, "... C"]:
        """Color change for inputs (background color, dx/r, dy/r, r/length, composition), F = C + 3 + K."""
        columns = inputs.reshape(-1, inputs.shape[-1]).T
        for width in self.hidden:
            columns = nn.relu(LayerNorm()(Dense(width, centered=True)(columns)))
        return Dense(self.channels)(columns).T.reshape(*inputs.shape[:-1], self.channels)


def input_size(channels: int, types: int) -> int:
    """Length F of the network's input."""
    return channels + 3 + types


def initial_weights(seed: int, channels: int, types: int) -> dict[str, np.ndarray]:
    """Weights as flax initialises them, by flat names as `Dense_0.kernel`; all zeros would stay stuck.

    Kernels are normal with variance 1 / inputs (LeCun), biases 0, scales 1; drawn with NumPy, for which nothing needs
    to be compiled. The last kernel is a tenth of that: droplets start nearly invisible rather than in random colors,
    from which they would flee by shrinking.
    """
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
    """Shapes of the weights by flat names, without asking flax, whose answer takes half a second at first."""
    widths = (input_size(channels, types), *HIDDEN, channels)
    shapes: dict[str, tuple[int, ...]] = {}
    for i, shape in enumerate(itertools.pairwise(widths)):
        shapes |= {f"Dense_{i}.bias": shape[1:], f"Dense_{i}.kernel": shape}
    for i, width in enumerate(HIDDEN):
        shapes |= {f"LayerNorm_{i}.bias": (width,), f"LayerNorm_{i}.scale": (width,)}
    return shapes


def flatten(params: dict[str, dict[str, Array]]) -> dict[str, Array]:
    """Nested flax parameters by flat names, in a fixed order."""
    return {f"{layer}.{name}": params[layer][name] for layer in sorted(params) for name in sorted(params[layer])}


def unflatten(weights: dict[str, Array]) -> dict[str, dict[str, Array]]:
    """The inverse of `flatten`."""
    params: dict[str, dict[str, Array]] = {}
    for name, value in weights.items():
        layer, leaf = name.split(".")
        params.setdefault(layer, {})[leaf] = value
    return params
