"""Neural optics: one small network that says how any droplet changes the color of a pixel."""

from __future__ import annotations

from functools import cache

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float

HIDDEN = (32, 16, 8)
OUTPUT_SCALE = 0.1


class OpticsNetwork(nn.Module):
    """Hidden layers 32-16-8, each Dense -> LayerNorm -> ReLU; the output is a color change in logit space.

    With C = 3 channels and K = 10 components it has 1,347 parameters.
    """

    channels: int
    hidden: tuple[int, ...] = HIDDEN

    @nn.compact
    def __call__(self, inputs: Float[Array, "... F"]) -> Float[Array, "... C"]:
        """Color change for inputs (background color, dx/r, dy/r, r/length, composition), F = C + 3 + K."""
        for width in self.hidden:
            inputs = nn.relu(nn.LayerNorm()(nn.Dense(width)(inputs)))
        return nn.Dense(self.channels)(inputs)


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
    """Shapes of the weights by flat names, without computing any."""
    inputs = jax.ShapeDtypeStruct((input_size(channels, types),), np.float32)
    shapes = jax.eval_shape(OpticsNetwork(channels).init, jax.random.key(0), inputs)
    return {name: leaf.shape for name, leaf in flatten(shapes["params"]).items()}


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
