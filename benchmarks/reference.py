"""The published algorithm of 2025, unchanged: the yardstick that every comparison of this project uses.

Nothing is imported from the package, so that no later change of ours moves the yardstick. Everything that makes the
algorithm slow is part of it: every step renders every pixel and compares it with every droplet.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import random_flax_module
from numpyro.infer import SVI, Predictive, Trace_ELBO
from numpyro.infer.autoguide import AutoNormal

N_DROPLETS = 800
TYPES = 3
NOISE_SD = 0.05
LEARNING_RATE = 0.01
POSTERIOR_SAMPLES = 100

PUBLISHED_STEPS = 100_000
PUBLISHED_FIRST_LOSS = 6_371_727
PUBLISHED_LOSS = -854_501
"""Mean of the last 5,000 of 100,000 steps on the 507 x 380 image."""


class Optics(nn.Module):
    """The network that knows how a droplet looks: (..., C + 3 + K) to (..., C)."""

    channels: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        for width in (32, 16, 8):
            inputs = nn.relu(nn.LayerNorm()(nn.Dense(width)(inputs)))
        return nn.Dense(self.channels)(inputs)


def render(
    shape: tuple[int, int],
    background: jax.Array,
    x: jax.Array,
    y: jax.Array,
    radius: jax.Array,
    composition: jax.Array,
    network: Callable[[jax.Array], jax.Array],
) -> jax.Array:
    """Render an image in which every pixel shows its nearest droplet.

    Parameters
    ----------
    shape : tuple of int
        Height and width in pixels.
    background : Array
        (C,) color, 0..1.
    x, y, radius : Array
        (N,) pixels.
    composition : Array
        (N, K), 0..1.
    network : callable
        (..., C + 3 + K) to (..., C): background color, dx / r, dy / r, r and composition to a change of color.

    Returns
    -------
    Array
        (H, W, C) in 0..1.
    """
    v, u = jnp.mgrid[: shape[0], : shape[1]].astype(float)
    distance2 = ((u[..., None] - x) ** 2 + (v[..., None] - y) ** 2) / radius**2  # (H, W, N)
    nearest = distance2.argmin(-1)
    r = radius[nearest]
    features = [
        jnp.broadcast_to(background, (*shape, len(background))),
        ((u - x[nearest]) / r)[..., None],
        ((v - y[nearest]) / r)[..., None],
        r[..., None],
        composition[nearest],
    ]
    # the background enters as it is, no logit: faithful to what was published
    return jax.nn.sigmoid(background + network(jnp.concatenate(features, -1))).clip(0, 1)


def model(image: jax.Array, n_droplets: int = N_DROPLETS, types: int = TYPES) -> None:
    """Generative model of an (H, W, C) image with values in 0..1."""
    h, w, channels = image.shape
    background = numpyro.sample("background", dist.Uniform(0, 1).expand([channels]).to_event(1))
    with numpyro.plate("droplets", n_droplets):
        x = numpyro.sample("x", dist.Uniform(0, w))
        y = numpyro.sample("y", dist.Uniform(0, h))
        radius = numpyro.sample("radius", dist.LogNormal(0, 0.5))
        composition = numpyro.sample("composition", dist.Uniform(0, 1).expand([types]).to_event(1))
    network = random_flax_module("optics", Optics(channels), dist.Normal(0, 1), input_shape=(channels + 3 + types,))
    rendering = render((h, w), background, x, y, radius, composition, network)
    numpyro.deterministic("rendering", rendering)
    numpyro.sample("residual", dist.Normal(0, NOISE_SD).expand(image.shape).to_event(3), obs=image - rendering)


class Posterior(NamedTuple):
    """Means over posterior samples: the rendering (H, W, C), x, y, radius (N,) in pixels, composition (N, K)."""

    rendering: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    composition: np.ndarray


class Result(NamedTuple):
    """What a run recorded."""

    losses: np.ndarray
    """(S, 3): step, seconds since the start, negative ELBO of that step."""
    evaluations: np.ndarray
    """(E, 5): mark, step, seconds, loss and RMSE at the marks that were reached."""
    posterior: Posterior
    """After the last step."""
    rmse: float
    """Of the final posterior rendering."""

    @property
    def seconds_per_step(self) -> float:
        """Median, the first step (which compiles) left out."""
        return float(np.median(np.diff(self.losses[:, 1]))) if len(self.losses) > 1 else float("nan")


class Marks:
    """Tells at which steps to look: at the last one that should end before each mark, in seconds."""

    def __init__(self, marks: Iterable[float]) -> None:
        self.left = sorted(marks)
        self.last: float | None = None

    def due(self, seconds: float) -> float | None:
        """The mark that the state reached after `seconds` stands for; None where there is none."""
        duration = 0.0 if self.last is None else seconds - self.last  # the first step compiles: says nothing
        self.last = seconds
        passed = [mark for mark in self.left if mark < seconds + duration]
        self.left = self.left[len(passed) :]
        # marks that went by while the first step compiled, or within one long step, stay without a value
        return passed[-1] if passed and passed[-1] >= seconds - duration and duration else None


def rmse(image: np.ndarray, rendering: np.ndarray) -> float:
    """Root of the mean squared difference over all pixels and channels."""
    return float(np.sqrt(np.mean((np.asarray(image) - np.asarray(rendering)) ** 2)))


def run(
    image: np.ndarray,
    n_droplets: int = N_DROPLETS,
    steps: int = PUBLISHED_STEPS,
    seconds: float | None = None,
    seed: int = 0,
    callback: Callable[[int, float, float], bool | None] | None = None,
    *,
    types: int = TYPES,
    marks: Iterable[float] = (),
    mark_samples: int = 10,
    final_samples: int = POSTERIOR_SAMPLES,
) -> Result:
    """Fit an image by the published algorithm.

    Parameters
    ----------
    image : ndarray
        (H, W, C) in 0..1.
    n_droplets, types : int
        N and K.
    steps : int
        Optimisation steps.
    seconds : float, optional
        Stop after this many seconds even so.
    seed : int
        Of all random numbers.
    callback : callable, optional
        Called with step, seconds and loss after every step; the run stops when it returns False.
    marks : iterable of float
        Seconds at which the reconstruction is compared with the image.
    mark_samples, final_samples : int
        Posterior samples to average at the marks and at the end.

    Returns
    -------
    Result
        Its seconds include initialisation and compilation, not the callback or the evaluation at marks.
    """
    image = jnp.asarray(image, jnp.float32)
    start = time.perf_counter()
    guide = AutoNormal(model)
    svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), Trace_ELBO())
    key = jax.random.key(seed)
    # the initialisation is compiled too: operation by operation it would hold several (H, W, N) arrays at once
    state = jax.jit(lambda k, data: svi.init(k, data, n_droplets, types))(key, image)
    update = jax.jit(lambda state, data: svi.update(state, data, n_droplets, types))

    @jax.jit
    def draw(key: jax.Array, params: dict, data: jax.Array) -> dict[str, jax.Array]:
        sites = Predictive(model, guide=guide, params=params, num_samples=1, return_sites=Posterior._fields)
        return {name: value[0] for name, value in sites(key, data, n_droplets, types).items()}

    def posterior(samples: int) -> Posterior:
        params = svi.get_params(state)
        total: dict[str, np.ndarray] = dict.fromkeys(Posterior._fields, np.zeros(()))
        for draw_key in jax.random.split(key, samples):  # one by one: all at once would need gigabytes
            drawn = draw(draw_key, params, image)
            total = {name: value + np.asarray(drawn[name], float) for name, value in total.items()}
        return Posterior(**{name: value / samples for name, value in total.items()})

    due, losses, evaluations = Marks(marks), [], []
    paused = 0.0
    for step in range(1, steps + 1):
        state, loss_array = update(state, image)
        loss = float(loss_array)  # waits for the step
        stopped = time.perf_counter()
        elapsed = stopped - start - paused
        losses.append((step, elapsed, loss))
        mark = due.due(elapsed)
        if mark is not None:
            evaluations.append((mark, step, elapsed, loss, rmse(image, posterior(mark_samples).rendering)))
        go_on = callback(step, elapsed, loss) if callback else None
        paused += time.perf_counter() - stopped
        if go_on is False or (seconds is not None and elapsed >= seconds):
            break
    final = posterior(final_samples)
    return Result(
        np.array(losses).reshape(-1, 3),
        np.array(evaluations).reshape(-1, 5),
        final,
        rmse(image, final.rendering),
    )
