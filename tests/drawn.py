"""Images drawn from the model itself, whose truth is the starting point of a prepared fit."""

from dataclasses import replace

import jax
import numpy as np

import napari_droplets as nd
from napari_droplets.files import read_optics
from napari_droplets.inference import posterior, prepare, svi
from napari_droplets.inference.start import LOOKS
from napari_droplets.model.assignment import cut
from napari_droplets.settings import Settings

NOISE = 0.02


def placed(seed=0, shape=(48, 64), n=6, radius=5.0, apart=2.6):
    """Droplets whose centers lie at least so many mean radii apart, all of them in the image."""
    rng = np.random.default_rng(seed)
    h, w = shape
    x, y, radii = [], [], radius * rng.uniform(0.8, 1.2, n)
    while len(x) < n:
        u, v = rng.uniform(radius, w - radius), rng.uniform(radius, h - radius)
        if all(np.hypot(u - a, v - b) > apart * radius for a, b in zip(x, y, strict=True)):
            x, y = [*x, u], [*y, v]
    composition = rng.uniform(0.2, 0.9, (n, 3))
    return nd.Droplets(x, y, radii, composition=composition / composition.sum(1, keepdims=True))


def vacant(droplets, shape=(48, 64), margin=6):
    """x, y of the pixel farthest from all droplets, not near the border."""
    v, u = (a.ravel() for a in np.mgrid[margin : shape[0] - margin, margin : shape[1] - margin])
    away = np.min(np.hypot(u[:, None] - droplets.x, v[:, None] - droplets.y) - droplets.radius, 1)
    return float(u[away.argmax()]), float(v[away.argmax()])


def prepared(droplets, shape=(48, 64), noise=NOISE, seed=0, look="dyed1", **settings):
    """A fit ready to run of an image drawn with these droplets (compositions that sum to one) as the model has them.

    Returns the setup, whose parameters are the truth, and the image (H, W, 3).
    """
    chosen = Settings(**settings)
    optics = replace(read_optics(LOOKS / f"{look}_3.safetensors"), composition=chosen.composition, length=5.0)
    slide = np.broadcast_to(np.float32([0.66, 0.67, 0.6]), (*shape, 3)).copy()
    slide[0, 0] += 0.01  # a constant image is refused
    setup = prepare.prepare(nd.Image(slide), droplets, optics, chosen)
    clean = posterior.render_image(located(setup), setup.tiles, setup.prior, setup.form)
    return showing(setup, clean, noise, seed), clean


def located(setup):
    """Where the droplets of a setup start, and all else that the model draws."""
    return posterior.mean_latents(jax.device_get(setup.state.parameters), setup.anchor, setup.form)


def showing(setup, clean, noise=NOISE, seed=0):
    """The same setup with another image: a clean one and fresh noise."""
    image = clean + noise * np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
    tiles = cut(np.float32(image))
    values = svi.pad(tiles.values, len(setup.problem.corner))
    return setup._replace(tiles=tiles, problem=setup.problem._replace(values=values))


def truth(setup):
    """Parameters of droplets (N, D) and of what they share, in the guide's unconstrained space."""
    mean = jax.device_get(setup.state.parameters.mean)
    return mean.droplets, mean.shared
