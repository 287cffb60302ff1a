"""Optics to start from, taught once how droplets of known place, size and composition look.

    python -m napari_droplets.training.prior_optics FOLDER

Droplets of the simulator, dyed and lit from above, in images from sharp to blurred, and plain discs of one color, for
all that looks otherwise.
The composition of dyed ones is the absorbance of a typical radius of liquid in each channel: a fit that starts there
reports compositions that are close to affine in concentrations (Beer-Lambert law), whatever the size of a droplet.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array
from scipy.special import expit, logit

from ..droplets import Optics
from ..files import save_optics
from ..image_statistics import background_surface
from ..model.optics import OpticsNetwork, flatten, initial_weights, unflatten
from ..model.rendering import REACH, fade
from ..simulate import ABSORBANCE, LUMA, simulate, spectra

SCENES = 200
SIDE = 256
COVERED = 0.3  # of the image
RADII = (2.0, 12.0)  # typical ones, pixels
SPREAD = 0.4  # standard deviation of the logarithm of the radii
BLURS = (0.08, 0.11, 0.16, 0.23, 0.33, 0.47)  # standard deviations in typical radii …
BLUR_RANGE = 1.2  # … each from this factor below to this factor above
DARKEST = 2.0  # natural-log absorbance of a typical radius of liquid that composition 1 stands for
LOGITS = 8.0  # between compositions 0 and 1 of plain discs
STEPS = 8_000
PIXELS = 8192  # in a step
RATE = 5e-3
NOISE = 0.02  # of the intensities, in the loss
CRESCENT = (0.0, 1.0)  # direction of the bright crescent in `simulate`: below
OFF_CENTER = 0.008  # radii by which fits with dyed looks place droplets away from it, as fits of other images show

Samples = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Inputs of the network (n, F), background (n, C) in logit space, intensities (n, C)."""


def dyed(seed: int, channels: int, blur: float) -> Samples:
    """Pixels of a simulated image of dyed droplets, each with what is known of its nearest droplet."""
    rng = np.random.default_rng(seed)
    radius = float(np.exp(rng.uniform(*np.log(RADII))))
    types = int(rng.integers(2, 6))
    image, truth = simulate(
        (SIDE, SIDE),
        int(COVERED * SIDE**2 / (np.pi * radius**2 * np.exp(2 * SPREAD**2))),
        types=types,
        radius=radius,
        radius_spread=SPREAD,
        seed=seed,
        gray=channels == 1,
        noise=0.0,
        blur=blur * radius * float(np.exp(rng.uniform(-1, 1) * np.log(BLUR_RANGE))),
        unevenness=rng.uniform(0, 0.2),
        composition=str(rng.choice(["simplex", "free"], p=[0.8, 0.2])),
    )
    image = image.reshape(SIDE, SIDE, channels)
    assert truth.composition is not None
    unit = ABSORBANCE / DARKEST * truth.composition @ spectra(types)  # (N, 3)
    unit = unit @ LUMA[:, None] if channels == 1 else unit
    nearest, dx, dy = _nearest(truth.x, truth.y, truth.radius)
    seen = np.flatnonzero(nearest >= 0)
    k = nearest[seen]
    ground = background_surface(image).reshape(-1, channels)[seen]
    inputs = np.concatenate([ground, np.stack([dx[seen], dy[seen], truth.radius[k] / radius], -1), unit[k]], -1)
    return inputs, logit(np.clip(ground, 0.004, 0.996)), image.reshape(-1, channels)[seen]


def plain(seed: int, channels: int) -> Samples:
    """Places in and around discs of one color each, with soft edges, before grounds of any color."""
    rng = np.random.default_rng(seed)
    n = 16_000
    offset = rng.uniform(-REACH, REACH, (n, 2))
    size = np.exp(SPREAD * rng.standard_normal((n, 1)))
    composition = rng.random((n, channels))
    ground = rng.uniform(0.02, 0.95, (n, channels))
    inside = expit((1 - np.hypot(*offset.T)[:, None]) * 10)
    change = LOGITS * (composition - 0.5) * inside
    inputs = np.concatenate([ground, offset, size, composition], -1)
    return inputs, logit(ground), expit(logit(ground) + change)


def _nearest(x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each pixel the nearest droplet in radii, -1 if none is within reach, and the offset from it in radii."""
    v, u = np.mgrid[:SIDE, :SIDE].reshape(2, -1)
    best = np.full(u.shape, REACH**2)
    nearest = np.full(u.shape, -1)
    for i in range(len(x)):
        square = ((u - x[i]) ** 2 + (v - y[i]) ** 2) / radius[i] ** 2
        closer = square < best
        best[closer], nearest[closer] = square[closer], i
    return nearest, (u - x[nearest]) / radius[nearest], (v - y[nearest]) / radius[nearest]


def learn(name: str, look: Callable[[int, int], Samples], channels: int, seed: int = 0) -> Optics:
    """Fit the network to the pixels of many images by least squares; some two minutes."""
    parts = [look(seed * SCENES + i, channels) for i in range(SCENES)]
    inputs, ground, values = (jnp.asarray(np.concatenate(p), jnp.float32) for p in zip(*parts, strict=True))
    start: dict[str, Any] = initial_weights(seed, channels, channels)
    weights = unflatten(start)
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, STEPS))
    network = OpticsNetwork(channels)

    def loss(weights: dict, index: Array) -> Array:
        offset = inputs[index, channels : channels + 2]
        change = network.apply({"params": weights}, inputs[index]) * fade(jnp.sum(offset**2, -1))[:, None]
        return jnp.mean((jax.nn.sigmoid(ground[index] + change) - values[index]) ** 2)

    @jax.jit
    def chunk(weights: dict, state: optax.OptState, key: Array) -> tuple[dict, optax.OptState, Array]:
        def step(carry: tuple, key: Array) -> tuple[tuple, Array]:
            weights, state = carry
            index = jax.random.randint(key, (PIXELS,), 0, len(inputs))
            error, gradient = jax.value_and_grad(loss)(weights, index)
            updates, state = optimizer.update(gradient, state, weights)
            return (optax.apply_updates(weights, updates), state), error

        (weights, state), errors = jax.lax.scan(step, (weights, state), jax.random.split(key, 500))
        return weights, state, errors.mean()

    state = optimizer.init(weights)
    for i in range(STEPS // 500):
        weights, state, error = chunk(weights, state, jax.random.fold_in(jax.random.key(seed), i))
        print(f"{name}, {channels} channels, step {500 * (i + 1)}: rms error {float(error) ** 0.5:.4f}", flush=True)
    flat = {name: np.asarray(w, np.float32) for name, w in flatten(weights).items()}
    if name != "plain":
        kernel = flat["Dense_0.kernel"][channels : channels + 2]
        shift = np.float32(OFF_CENTER) * np.asarray(CRESCENT, np.float32)
        flat["Dense_0.bias"] = np.asarray(flat["Dense_0.bias"] + shift @ kernel, np.float32)
    spread = {name: np.full(w.shape, 0.01, np.float32) for name, w in flat.items()}
    return Optics(flat, spread, channels, channels, 1.0, "free", "nearest", NOISE)


def all_looks() -> dict[str, Callable[[int, int], Samples]]:
    """Ways of looking by name."""
    return {f"dyed{i}": partial(dyed, blur=blur) for i, blur in enumerate(BLURS)} | {"plain": plain}


if __name__ == "__main__":
    for name, look in all_looks().items():
        for channels in (1, 3):
            save_optics(learn(name, look, channels), Path(sys.argv[1]) / f"{name}_{channels}.safetensors")
