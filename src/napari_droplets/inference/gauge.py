"""Tie positions and radii to the outlines of the droplets.

The likelihood leaves a gauge free: droplets of half the radius, or all shifted to one side, give the same image under
optics drawn twice as wide, or shifted back. It is fixed by a definition: the outline of a droplet is the circle with
the center and area of the convex hull of where its optics change the color by at least `LEVEL` of the greatest
change (root mean square over channels, averaged over droplets). Where places and radii have a prior of their own, as
those of the recognition network, it is the circle that this prior expects. A few times in a fit the droplets and the
first layer of the network are moved to that circle, which leaves the rendering as it was (but for the fading far out).
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.special import logit

from ..model.generative import Form, Prior
from ..model.optics import OpticsNetwork, unflatten
from ..model.rendering import REACH, fade
from .posterior import mean_latents
from .svi import Guide, Variational, pack, unpack

SAMPLED = 64
"""Droplets averaged over: the larger half, where blur is small against the radius."""
GRID = np.linspace(-REACH, REACH, 61, dtype=np.float32)
LEVEL = 0.3
"""Chosen on simulated dyed droplets of radius 2.5, 4 and 8 px, for least bias of the radius."""
BOUNDS = (0.5, 2.0)
"""Largest change of the radius at a time: an outline beyond is a failure of the optics, not an edge."""


class Outline(NamedTuple):
    """Circle that a droplet fills, in units of its radius: center relative to its own, and radius."""

    x: float
    y: float
    radius: float


@partial(jax.jit, static_argnames="form")
def color_change(
    weights: dict[str, Array], background: Array, size: Float[Array, " N"], composition: Float[Array, "N K"], form: Form
) -> Float[Array, "G G"]:
    """Mean color change over droplets on GRID (y, x), root mean square over channels.

    `size` is the radius over the network's length, `background` the (C,) logits of the background color.
    """
    offset = jnp.stack(jnp.meshgrid(jnp.asarray(GRID), jnp.asarray(GRID)), -1)
    shape = (len(size), *offset.shape[:2])
    inputs = [
        jnp.broadcast_to(jax.nn.sigmoid(background), (*shape, form.channels)),
        jnp.broadcast_to(offset, (*shape, 2)),
        jnp.broadcast_to(size[:, None, None, None], (*shape, 1)),
        jnp.broadcast_to(composition[:, None, None], (*shape, form.types)),
    ]
    change = OpticsNetwork(form.channels).apply({"params": unflatten(weights)}, jnp.concatenate(inputs, -1))
    change = change * fade(jnp.sum(offset**2, -1))[..., None]
    difference = jax.nn.sigmoid(background + change) - jax.nn.sigmoid(background)
    return jnp.mean(jnp.sqrt(jnp.mean(difference**2, -1)), 0)


def outline(parameters: Variational, anchor: np.ndarray, prior: Prior, form: Form) -> Outline:
    """Find the circle that the optics fill."""
    from skimage.morphology import convex_hull_image

    latents = mean_latents(parameters, anchor, form)
    here = np.flatnonzero(prior.present)
    radius = latents["radius"]
    larger = here[np.argsort(radius[here])][len(here) // 2 :]
    chosen = larger[np.linspace(0, len(larger) - 1, SAMPLED).astype(int)]
    weights = unpack(parameters.mean.shared, form).optics
    background = logit(latents["background_color"])
    size, composition = radius[chosen] / prior.length, latents["composition"][chosen]
    change = np.asarray(color_change(weights, background, size, composition, form))
    inside = convex_hull_image(change >= LEVEL * change.max())
    row, column = np.nonzero(inside)
    filled = np.sqrt(len(row) / np.pi) * (GRID[1] - GRID[0])
    return Outline(float(GRID[column].mean()), float(GRID[row].mean()), float(np.clip(filled, *BOUNDS)))


def expected(parameters: Variational, anchor: np.ndarray, prior: Prior, form: Form) -> Outline:
    """Find the circle that the prior of places and radii expects: the means over droplets, weighted by its precision.

    The likelihood does not change with the gauge, so moving all droplets there is what raises the ELBO the most.
    """
    latents = mean_latents(parameters, anchor, form)
    here = np.asarray(prior.present)
    x, y, radius = (np.asarray(latents[name])[here] for name in ("x", "y", "radius"))
    place_weight = (radius / np.asarray(prior.position_sd)[here]) ** 2
    size_weight = np.asarray(prior.log_radius_sd)[here] ** -2.0
    larger = np.average(np.asarray(prior.log_radius)[here] - np.log(radius), weights=size_weight)
    return Outline(
        float(np.average((np.asarray(prior.x)[here] - x) / radius, weights=place_weight)),
        float(np.average((np.asarray(prior.y)[here] - y) / radius, weights=place_weight)),
        float(np.clip(np.exp(larger), *BOUNDS)),
    )


def regauge(parameters: Variational, circle: Outline, form: Form) -> Variational:
    """Move every droplet to its outline, and let the network read the new units as it read the old ones."""
    first = form.channels  # rows of the first kernel: background, dx/r, dy/r, r, composition
    rows = np.ones(form.channels + 3 + form.types, np.float32)
    rows[first : first + 2] = circle.radius  # dx/r and dy/r have become smaller …
    rows[first + 2] = 1 / circle.radius  # … and r larger

    mean = unpack(parameters.mean.shared, form)
    kernel, bias = mean.optics["Dense_0.kernel"], mean.optics["Dense_0.bias"]
    bias = bias + circle.x * kernel[first] + circle.y * kernel[first + 1]
    moved = {"Dense_0.kernel": kernel * rows[:, None], "Dense_0.bias": bias}
    log_sd = unpack(parameters.log_sd.shared, form)
    spread = {"Dense_0.kernel": log_sd.optics["Dense_0.kernel"] + np.log(rows)[:, None]}

    droplets = parameters.mean.droplets.copy()
    relative = np.exp(droplets[:, 2:3])  # radius over the anchor's, the unit of the offsets
    droplets[:, :2] += relative * np.array([circle.x, circle.y], np.float32)
    droplets[:, 2] += np.float32(np.log(circle.radius))
    return Variational(
        Guide(droplets, pack(mean._replace(optics=mean.optics | moved))),
        Guide(parameters.log_sd.droplets, pack(log_sd._replace(optics=log_sd.optics | spread))),
    )
