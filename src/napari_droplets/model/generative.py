"""The generative model of a droplet image in NumPyro: the forward model with its priors.

It draws new images, and its density is what every density written by hand in `inference` is compared with in tests.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float

from .optics import weight_shapes
from .outline import GLOW_TERMS
from .priors import BLUR_LOG_SD, BLUR_MEDIAN, COMMON_SD, GLOW_SD, PLAIN_PIXELS, WEIGHT_SD
from .problem import Form, Rows, columns
from .rendering import Droplet, Shared, color


class Prior(NamedTuple):
    """What is known before the pixels, for N droplets.

    `anchor` (N, 3) are proposed x, y and radius in pixels, `sd` (N, 3) the deviations of each one's own error in radii
    of the anchor and in log radius, `present` (N,) those that are there. `noise` is the prior median of the noise.
    """

    anchor: Float[Array, "N 3"]
    sd: Float[Array, "N 3"]
    present: Bool[Array, " N"]
    length: Float[Array, ""]
    noise: Float[Array, ""]


def model(rows: Rows, prior: Prior, form: Form, *, observed: bool = True) -> None:
    """NumPyro model: sites common, circle, composition, blur, glow, noise, optics/*, image; deterministic rendering.

    The pixels are those of `rows`, each counted where its droplet is the nearest one, with the background there.
    """
    n = len(prior.anchor)
    common = numpyro.sample("common", dist.Normal(0.0, jnp.array(COMMON_SD)).to_event(1))
    with numpyro.plate("droplets", n), numpyro.handlers.mask(mask=prior.present):
        circle = numpyro.sample("circle", dist.Normal(common, prior.sd).to_event(1))
        if form.composition == "simplex":
            even: dist.Distribution = dist.Dirichlet(jnp.ones(form.types))
        else:
            even = dist.Uniform(0, 1).expand([form.types]).to_event(1)
        composition = numpyro.sample("composition", even)
    log_blur = jnp.log(numpyro.sample("blur", dist.LogNormal(jnp.log(BLUR_MEDIAN), BLUR_LOG_SD)))
    seen = jnp.maximum(prior.present.sum(dtype=jnp.float32), 1) * PLAIN_PIXELS
    glow_sd = GLOW_SD * jnp.sqrt(GLOW_TERMS / seen)
    glow = numpyro.sample("glow", dist.Normal(0.0, glow_sd).expand([GLOW_TERMS, form.channels]).to_event(2))
    noise = numpyro.sample("noise", dist.LogNormal(jnp.log(prior.noise), 1))
    optics = {
        name: numpyro.sample(f"optics/{name}", dist.Normal(0.0, WEIGHT_SD).expand(shape).to_event(len(shape)))
        for name, shape in weight_shapes(form.channels, form.types).items()
    }
    x0, y0, r0 = prior.anchor.T
    placed = [x0 + r0 * circle[:, 0], y0 + r0 * circle[:, 1], r0 * jnp.exp(circle[:, 2])]
    shared = Shared(optics, glow, log_blur, prior.length)
    first = jnp.repeat(rows.row, rows.x.shape[1])
    second = rows.other.reshape(-1)
    both = [Droplet(*(a[i] for a in placed), composition[i].T) for i in (first, second)]
    position = jnp.stack([rows.x.reshape(-1), rows.y.reshape(-1)])
    rendering = color(*both, columns(rows.ground), position, shared)[0]
    numpyro.deterministic("rendering", rendering)
    weight = (rows.own * rows.weight).reshape(-1)
    with numpyro.handlers.mask(mask=weight > 0), numpyro.handlers.scale(scale=jnp.where(weight > 0, weight, 1)):
        numpyro.sample("image", dist.Normal(rendering, noise), obs=columns(rows.values) if observed else None)
