"""Three renderers behind one interface: colors of pixels, given the candidate droplets of their tile.

All work in logit space on top of the background, see a droplet only within `REACH` radii of its center (beyond it a
pixel is background, which makes the background identifiable), and cost a fixed number of network evaluations per
pixel whatever the number of droplets: `nearest` 1, `layered` 2, `blended` `BLEND`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

REACH = 3.0
"""Radii from its center at which a droplet's light has faded to nothing; fading begins at half of it."""
BLEND = 4
"""Droplets that `blended` mixes at each pixel."""
SHARPNESS = 4.0
"""Weights of `blended` are softmax(-SHARPNESS * squared distance in radii)."""


class Local(NamedTuple):
    """Candidate droplets of T tiles: x, y, radius (T, M) in pixels, composition (T, M, K)."""

    x: Float[Array, "T M"]
    y: Float[Array, "T M"]
    radius: Float[Array, "T M"]
    composition: Float[Array, "T M K"]


Network = Callable[[Array], Array]


def render(
    renderer: str,
    network: Network,
    local: Local,
    position: Float[Array, "T P 2"],
    background: Float[Array, "T P C"],
    length: Float[Array, ""],
) -> Float[Array, "T P C"]:
    """Colors in 0..1 of the pixels at `position` (x, y); see `logits`."""
    return jax.nn.sigmoid(logits(renderer, network, local, position, background, length))


def logits(
    renderer: str,
    network: Network,
    local: Local,
    position: Float[Array, "T P 2"],
    background: Float[Array, "T P C"],
    length: Float[Array, ""],
) -> Float[Array, "T P C"]:
    """Colors, in logit space, of the pixels at `position` (x, y).

    Parameters
    ----------
    renderer : {'nearest', 'blended', 'layered'}
        Which droplets a pixel sees.
    network : callable
        (..., C + 3 + K) -> (..., C), color change in logit space.
    local : Local
        Candidate droplets of each tile.
    position : Array
        (T, P, 2) pixel coordinates.
    background : Array
        (T, P, C) background in logit space.
    length : Array
        Radius that the network's radius input is measured in, pixels.
    """
    features = jnp.concatenate([(local.radius / length)[..., None], local.composition], -1)
    dx = (position[:, :, None, 0] - local.x[:, None]) / local.radius[:, None]
    dy = (position[:, :, None, 1] - local.y[:, None]) / local.radius[:, None]
    draw = {"nearest": _nearest, "blended": _blended, "layered": _layered}[renderer]
    return draw(network, features, dx, dy, background)


def fade(square: Array) -> Array:
    """Weight of a droplet at a squared distance in radii: 1 up to REACH / 2, smoothly 0 at REACH."""
    t = jnp.clip(2 - jnp.sqrt(jnp.maximum(square, 1e-6)) * (2 / REACH), 0, 1)
    return t * t * (3 - 2 * t)


def change(network: Network, color: Array, dx: Array, dy: Array, features: Array) -> Array:
    """Change, in logit space, that one droplet per pixel makes of a color; dx, dy (T, P), features (T, P, F)."""
    offset = jnp.clip(jnp.stack([dx, dy], -1), -REACH, REACH)
    return network(jnp.concatenate([color, offset, features], -1)) * fade(dx**2 + dy**2)[..., None]


def _chosen(hot: Array, dx: Array, dy: Array, features: Array) -> tuple[Array, Array, Array]:
    """Quantities of the candidate that is hot at each pixel; sums are cheaper than gathers and their gradients."""
    return jnp.sum(hot * dx, -1), jnp.sum(hot * dy, -1), jnp.einsum("tpm,tmf->tpf", hot, features)


def _nearest(network: Network, features: Array, dx: Array, dy: Array, background: Array) -> Array:
    hot = jax.nn.one_hot(jnp.argmin(dx**2 + dy**2, -1), dx.shape[-1], dtype=dx.dtype)
    return background + change(network, jax.nn.sigmoid(background), *_chosen(hot, dx, dy, features))


def _blended(network: Network, features: Array, dx: Array, dy: Array, background: Array) -> Array:
    square = dx**2 + dy**2
    color = jax.nn.sigmoid(background)
    count = min(BLEND, dx.shape[-1])

    def near(left: Array, _: None) -> tuple[Array, Array]:
        hot = jax.nn.one_hot(jnp.argmin(left, -1), left.shape[-1], dtype=dx.dtype)
        return jnp.where(hot > 0, jnp.inf, left), hot

    _, hots = jax.lax.scan(near, jax.lax.stop_gradient(square), None, length=count)
    weights = jax.nn.softmax(-SHARPNESS * jnp.einsum("btpm,tpm->btp", hots, square), 0)

    @jax.checkpoint
    def add(total: Array, part: tuple[Array, Array]) -> tuple[Array, None]:
        hot, weight = part
        return total + weight[..., None] * change(network, color, *_chosen(hot, dx, dy, features)), None

    return jax.lax.scan(add, background, (hots, weights))[0]


def _layered(network: Network, features: Array, dx: Array, dy: Array, background: Array) -> Array:
    """The two nearest droplets, the smaller one over the larger, changing the color of what lies beneath."""
    square = jax.lax.stop_gradient(dx**2 + dy**2)
    hot = jax.nn.one_hot(jnp.argmin(square, -1), dx.shape[-1], dtype=dx.dtype)
    first = _chosen(hot, dx, dy, features)
    if dx.shape[-1] == 1:
        return background + change(network, jax.nn.sigmoid(background), *first)
    left = jnp.where(hot > 0, jnp.inf, square)
    second = _chosen(jax.nn.one_hot(jnp.argmin(left, -1), dx.shape[-1], dtype=dx.dtype), dx, dy, features)
    larger = first[2][..., 0] >= second[2][..., 0]

    def of(either: Array, a: tuple[Array, ...], b: tuple[Array, ...]) -> list[Array]:
        return [jnp.where(jnp.expand_dims(either, tuple(range(2, u.ndim))), u, v) for u, v in zip(a, b, strict=True)]

    below = background
    for layer in (of(larger, first, second), of(~larger, first, second)):
        below = below + change(network, jax.nn.sigmoid(below), *layer)
    return below
