"""The forward model: colors of pixels from the droplets that cover them, what droplets share, and the empty slide.

Every part of the package that draws, compares or differentiates an image uses `color` here: steps of droplets, steps of
optics, the reconstruction, and the NumPyro model.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .optics import Weights, color_change
from .outline import coverage, glow_basis
from .priors import BRIGHTEST

EDGE = 0.002
"""Colors are kept so far from 0 and 1 before droplets change them: half a step of 8 bits."""
FARTHEST_INPUT = 1.3
"""Radii from the center up to which the optics network is asked; beyond a blurred outline nothing is seen of it."""


class Droplet(NamedTuple):
    """The droplet seen by each of P pixels: center and radius (P,) in pixels, composition (K, P)."""

    x: Float[Array, " P"]
    y: Float[Array, " P"]
    radius: Float[Array, " P"]
    composition: Float[Array, "K P"]


class Shared(NamedTuple):
    """What all droplets of an image share.

    `optics` are the network's weights, `glow` (G, C) the coefficients of the light around droplets, in intensities,
    `log_blur` the logarithm of the standard deviation of the blur in pixels, `length` the radius in pixels that
    radii are measured in where thickness follows from them.
    """

    optics: Weights
    glow: Float[Array, "G C"]
    log_blur: Float[Array, ""]
    length: Float[Array, ""]


def layer(
    beneath: Float[Array, "C P"], droplet: Droplet, position: Float[Array, "2 P"], shared: Shared
) -> Float[Array, "C P"]:
    """Colors with one droplet at each pixel laid over what lies beneath."""
    dx, dy = (position[0] - droplet.x) / droplet.radius, (position[1] - droplet.y) / droplet.radius
    far = jnp.sqrt(dx**2 + dy**2 + 1e-12)
    covered = coverage((far * droplet.radius) ** 2, droplet.radius, jnp.exp(shared.log_blur))
    within = jnp.minimum(1, FARTHEST_INPUT / far)
    inputs = [beneath, (dx * within)[None], (dy * within)[None], (droplet.radius / shared.length)[None]]
    change = color_change(shared.optics, jnp.concatenate(inputs), droplet.composition)
    part = jnp.clip(beneath, EDGE, 1 - EDGE) / BRIGHTEST
    inside = BRIGHTEST * jax.nn.sigmoid(jax.scipy.special.logit(part) + change)
    return beneath + covered * (inside - beneath) + (1 - covered) * _glow(dx, dy, shared)


def beyond(
    beneath: Float[Array, "C P"], droplet: Droplet, position: Float[Array, "2 P"], shared: Shared
) -> Float[Array, "C P"]:
    """The same where the blurred outline does not reach: nothing but the glow is seen."""
    dx, dy = (position[0] - droplet.x) / droplet.radius, (position[1] - droplet.y) / droplet.radius
    return beneath + _glow(dx, dy, shared)


def _glow(dx: Float[Array, " P"], dy: Float[Array, " P"], shared: Shared) -> Float[Array, "C P"]:
    return jnp.einsum("gc,gp->cp", shared.glow, glow_basis(dx, dy))


def color(
    first: Droplet,
    second: Droplet,
    ground: Float[Array, "C P"],
    position: Float[Array, "2 P"],
    shared: Shared,
) -> tuple[Float[Array, "C P"], Float[Array, "C P"]]:
    """Colors of pixels that two droplets may cover, and what they would be without the first.

    The smaller of the two lies over the larger. A droplet far away leaves no trace.
    """
    alone = layer(ground, second, position, shared)
    over = first.radius <= second.radius
    with_first = layer(jnp.where(over, alone, ground), first, position, shared)
    return jnp.where(over, with_first, layer(with_first, second, position, shared)), alone
