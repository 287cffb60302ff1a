"""The generative model of a droplet image, for inference and for drawing new images."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float, Int
from numpyro.contrib.module import random_flax_module

from .assignment import TILE
from .optics import OpticsNetwork, input_size
from .rendering import Local, render

FAR = -1e4
"""Coordinate, in pixels, of what is in no image."""
SURFACE_DEGREE = 3
"""Degree of the smooth background: ten coefficients per channel follow vignetting and a slanted lamp."""
OPTICS_SD = 1.0
"""Prior standard deviation of the network's weights, as published."""
SURFACE_SD = 0.5
"""Prior standard deviation of its coefficients beyond the constant, logit units."""


class Form(NamedTuple):
    """What decides the shape of the program; hashable, so that one compiled program serves one form."""

    channels: int
    types: int
    composition: str = "free"
    background: str = "smooth"
    renderer: str = "nearest"
    learn_noise: bool = True

    @property
    def background_terms(self) -> int:
        """Coefficients of the background surface per channel."""
        return len(_powers(SURFACE_DEGREE if self.background == "smooth" else 0))


class Prior(NamedTuple):
    """What is known before looking at the pixels, for N droplets (padded ones are not present).

    With `position_sd` the position is Normal around (x, y), else uniform over the image; the radius is log-normal.
    `size` is (width, height) in pixels, `length` the network's unit of radius, `noise` the noise's prior median, or
    its value where it is not learned, `optics` the means of the network's weights by flat name (None: zeros), of
    standard deviation `OPTICS_SD`.
    """

    x: Float[Array, " N"]
    y: Float[Array, " N"]
    position_sd: Float[Array, " N"] | None
    log_radius: Float[Array, " N"]
    log_radius_sd: Float[Array, " N"]
    present: Bool[Array, " N"]
    size: Float[Array, " 2"]
    length: Float[Array, ""]
    noise: Float[Array, ""]
    optics: dict[str, Array] | None = None


class Batch(NamedTuple):
    """Tiles of an image and their candidates; `values` None to generate. `scale` weighs tiles up to the image.

    `share` None: the droplets of the prior are all droplets, and `candidates` are indices of them. Otherwise they are
    those of the tiles alone, (T, M), and `share` (T, M) is the part of a droplet's own density that a tile answers for.
    """

    corner: Float[Array, "T 2"]
    candidates: Int[Array, "T M"] | None
    values: Float[Array, "T P C"] | None
    weight: Float[Array, "T P"]
    scale: Float[Array, " T"] | Float[Array, ""]
    share: Float[Array, "T M"] | None = None


class SoftUniform(dist.Distribution):
    """Uniform on (low, high) with Gaussian edges: droplets cut by the border may have their centers outside."""

    support = dist.constraints.real

    def __init__(self, low: Array, high: Array, edge: Array) -> None:
        self.low, self.high, self.edge = low, high, edge
        super().__init__(jnp.shape(low))

    def sample(self, key: Array, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw from the uniform part; the edges hold little."""
        return jax.random.uniform(key, sample_shape + self.batch_shape, minval=self.low, maxval=self.high)

    def log_prob(self, value: Array) -> Array:
        """Constant inside, falling off with standard deviation `edge` outside."""
        beyond = jnp.maximum(self.low - value, 0) + jnp.maximum(value - self.high, 0)
        area = self.high - self.low + jnp.sqrt(2 * jnp.pi) * self.edge
        return -0.5 * (beyond / self.edge) ** 2 - jnp.log(area)


def model(batch: Batch, prior: Prior, form: Form) -> None:
    """NumPyro model: sites x, y, radius, composition, background_color, background_shape, noise, optics/*, image.

    For inference the droplets are those that the tiles of a batch may see, one site value for each tile and candidate:
    the cost does not depend on the number of droplets. A droplet seen by several tiles of a batch has a value for each;
    gradients of the ELBO need no joint sample of tiles, for their log likelihoods add up.
    """
    width, height = prior.size
    weight = 1.0 if batch.share is None else batch.share * jnp.reshape(batch.scale, (-1, 1))
    with numpyro.handlers.scale(scale=weight), numpyro.handlers.mask(mask=prior.present):
        if prior.position_sd is None:
            corner = jnp.full(prior.x.shape, -0.5)
            x = numpyro.sample("x", SoftUniform(corner, width - 0.5, prior.length))
            y = numpyro.sample("y", SoftUniform(corner, height - 0.5, prior.length))
        else:
            x = numpyro.sample("x", dist.Normal(prior.x, prior.position_sd))
            y = numpyro.sample("y", dist.Normal(prior.y, prior.position_sd))
        radius = numpyro.sample("radius", dist.LogNormal(prior.log_radius, prior.log_radius_sd))
        if form.composition == "simplex":
            even: dist.Distribution = dist.Dirichlet(jnp.ones(form.types))
            even = even.expand(prior.x.shape)
        else:
            even = dist.Uniform(0, 1).expand([*prior.x.shape, form.types]).to_event(1)
        composition = numpyro.sample("composition", even)
    color = numpyro.sample("background_color", dist.Uniform(0, 1).expand([form.channels]).to_event(1))
    coefficients = jax.scipy.special.logit(color)[None]
    if form.background_terms > 1:
        shape = [form.background_terms - 1, form.channels]
        surface = numpyro.sample("background_shape", dist.Normal(0, SURFACE_SD).expand(shape).to_event(2))
        coefficients = jnp.concatenate([coefficients, surface])
    noise = numpyro.sample("noise", dist.LogNormal(jnp.log(prior.noise), 1)) if form.learn_noise else prior.noise
    inputs = (input_size(form.channels, form.types),)
    weights_prior = _optics_prior(prior)
    network = random_flax_module("optics", OpticsNetwork(form.channels), prior=weights_prior, input_shape=inputs)
    if batch.share is None:
        # one dummy droplet, far outside, stands where a tile has fewer candidates; one gather fetches all of each
        table = jnp.concatenate([jnp.stack([x, y, radius], -1), composition], -1)
        table = jnp.concatenate([table, jnp.array([[FAR, FAR, 1.0] + [0.0] * form.types])])
        chosen = table.at[batch.candidates].get(mode="promise_in_bounds")
        local = Local(*jnp.moveaxis(chosen[..., :2], -1, 0), chosen[..., 2], chosen[..., 3:])
    else:
        local = Local(x, y, radius, composition)
    position = pixel_positions(batch.corner)
    basis = surface_basis(position, prior.size, form)
    rendering = render(form.renderer, network, local, position, basis @ coefficients, prior.length)
    numpyro.deterministic("rendering", rendering)
    scale = jnp.reshape(batch.scale, (-1, 1, 1))
    with numpyro.handlers.scale(scale=scale), numpyro.handlers.mask(mask=batch.weight[..., None] > 0):
        numpyro.sample("image", dist.Normal(rendering, noise), obs=batch.values)


def _optics_prior(prior: Prior) -> dist.Distribution | dict[str, dist.Distribution]:
    if prior.optics is None:
        return dist.Normal(0, OPTICS_SD)
    return {name: dist.Normal(prior.optics[name], OPTICS_SD) for name in prior.optics}


def pixel_positions(corner: Float[Array, "T 2"]) -> Float[Array, "T P 2"]:
    """(x, y) of the pixels of tiles with these first pixels."""
    step = jnp.arange(TILE, dtype=corner.dtype)
    inside = jnp.stack(jnp.meshgrid(step, step), -1).reshape(-1, 2)
    return corner[:, None] + inside


def surface_basis(position: Float[Array, "... 2"], size: Float[Array, " 2"], form: Form) -> Float[Array, "... B"]:
    """Monomials of the position scaled to -1..1, constant first; the same at any resolution of an image.

    Takes and gives NumPy arrays as well.
    """
    scaled = (position + 0.5) / size * 2 - 1
    u, v = scaled[..., 0], scaled[..., 1]
    stack = np.stack if isinstance(position, np.ndarray) else jnp.stack
    return stack([u**i * v**j for i, j in _powers(SURFACE_DEGREE if form.background == "smooth" else 0)], -1)


def _powers(degree: int) -> list[tuple[int, int]]:
    return [(i, total - i) for total in range(degree + 1) for i in range(total + 1)]
