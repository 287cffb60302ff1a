"""The outline of a droplet: how much of each pixel its circle covers, and the weak glow around it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PIXEL_VARIANCE = 1 / 12
"""Variance of a place within a pixel, pixels squared: a pixel averages over its area."""
GLOW_RANGES = (0.12, 0.4)
"""Distances from the outline, in radii, over which the two parts of a glow fade by a factor of e."""
GLOW_REACH = 1.9
"""Radii from the center at which a glow has faded to nothing."""
GLOW_TERMS = 5 * len(GLOW_RANGES)
"""Coefficients of a glow per channel: an even part and two that change sign across, for each range."""


def coverage(square: Float[Array, "*P"], radius: Float[Array, "*P"], blur: Float[Array, ""]) -> Float[Array, "*P"]:
    """Part of a pixel that a blurred disc of this radius covers, 0 to 1.

    `square` is the squared distance from the pixel's middle to the disc's center, `blur` the standard deviation of the
    image's Gaussian blur, all in pixels; the pixel's own area adds to it.

    A disc blurred by a Gaussian of variance v has the value P(X <= radius^2 / v) where X is noncentral chi-square with
    two degrees of freedom and noncentrality square / v. Its distribution is nearly normal once raised to a power
    (Sankaran, Biometrika 50, 199-204 (1963)): here within 0.007 where the radius is at least the edge's deviation
    sqrt(blur^2 + 1/12), within 0.001 from 4.5 of them on.
    """
    variance = blur**2 + PIXEL_VARIANCE
    x, off = radius**2 / variance, square / variance
    one, two = 2 + off, 2 + 2 * off
    power = 1 - 2 * one * (2 + 3 * off) / (3 * two**2)
    p = two / one**2
    m = (power - 1) * (1 - 3 * power)
    mean = 1 + power * p * (power - 1 - 0.5 * (2 - power) * m * p)
    deviation = power * jnp.sqrt(2 * p) * (1 + 0.5 * m * p)
    return jax.scipy.special.ndtr((jnp.exp(power * jnp.log(x / one)) - mean) / deviation)


def glow_basis(dx: Float[Array, "*P"], dy: Float[Array, "*P"]) -> Float[Array, G * P]:
    """What a glow is a sum of, at offsets in radii: light that fades from the outline on, even or to one side."""
    distance = jnp.sqrt(dx**2 + dy**2 + 1e-6)
    beyond = jnp.maximum(distance - 1, 0)
    t = jnp.clip((GLOW_REACH - distance) / (GLOW_REACH - 1), 0, 1)
    fade = t * t * (3 - 2 * t)
    c, s = dx / distance, dy / distance
    rays = (jnp.ones_like(distance), c, s, c * c - s * s, 2 * c * s)
    return jnp.stack([ray * fade * jnp.exp(-beyond / reach) for reach in GLOW_RANGES for ray in rays])
