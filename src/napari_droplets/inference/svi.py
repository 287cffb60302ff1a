"""Stochastic variational inference of the droplet model: a mean-field guide, driven in compiled chunks of steps.

Every shape is padded to a bucket and nothing image-dependent is a constant of the program, so one compiled chunk
serves all images of a bucket. A step sees `TILES_PER_STEP` tiles drawn without replacement and draws random numbers for
their few candidate droplets only: its cost does not depend on the size of the image, and on the number of droplets
only by the Adam update of their parameters (benchmarks/fit.py --only step).
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import optax
from jaxtyping import Array, Float
from numpyro.distributions.transforms import SigmoidTransform, StickBreakingTransform
from numpyro.handlers import block, replay, substitute
from numpyro.infer.util import log_density

from ..compiling.disk import keep_compiled
from ..model.generative import OPTICS_SD, Batch, Form, Prior, model
from ..model.optics import unflatten, weight_shapes

keep_compiled()

TILES_PER_STEP = 128
"""8,192 pixels."""
STEPS_PER_CHUNK = 25
"""Some 0.15 s on two cores: the pace of progress reports and of cancelling."""
ADAM = optax.scale_by_adam(b1=0.9, b2=0.99)


class Guide(NamedTuple):
    """One number for each parameter of the mean-field guide, in unconstrained space.

    `droplets` columns: offset of x, of y (in units of the anchor's radius), log radius relative to the anchor's, then
    the composition (logits, or stick-breaking logits of a simplex). `shared` holds what all droplets share, one vector
    so that the program stays small: see `unpack`.
    """

    droplets: Float[Array, "N D"]
    shared: Float[Array, " S"]


class Shared(NamedTuple):
    """Background coefficients (B, C) in logit space, log of the noise, optics weights by flat name."""

    background: Array
    log_noise: Array
    optics: dict[str, Array]


class Variational(NamedTuple):
    """Mean and log standard deviation of every parameter."""

    mean: Guide
    log_sd: Guide


class State(NamedTuple):
    """What a chunk takes and returns."""

    parameters: Variational
    adam: optax.OptState


class View(NamedTuple):
    """Which tiles are looked at and what they may see; changes as droplets move.

    `candidates` (T, M) are indices of droplets, `share` (T, M) one over the number of tiles that a candidate is one of,
    0 where there is none. The first `n_tiles` of `visited` (T,) are the tiles to draw from, each standing for
    `importance` (T,) tiles.
    """

    candidates: Array
    share: Array
    visited: Array
    importance: Array
    n_tiles: Array


class Problem(NamedTuple):
    """One padded image to be explained: its tiles, what they see, the prior, and the anchors (N, 3) x, y, radius."""

    corner: Array
    values: Array
    weight: Array
    view: View
    prior: Prior
    anchor: Array


def composition_size(form: Form) -> int:
    """Unconstrained numbers per composition."""
    return form.types - 1 if form.composition == "simplex" else form.types


def pack(shared: Shared) -> np.ndarray:
    """One vector of all shared parameters."""
    parts = [shared.background, shared.log_noise, *(shared.optics[name] for name in sorted(shared.optics))]
    return np.concatenate([np.ravel(p) for p in parts]).astype(np.float32)


def unpack(vector: Array, form: Form) -> Shared:
    """The inverse of `pack`."""
    shapes = weight_shapes(form.channels, form.types)
    blocks = [(form.background_terms, form.channels), (), *(shapes[name] for name in sorted(shapes))]
    sizes = [int(np.prod(shape)) for shape in blocks]
    split = np.split(vector, np.cumsum(sizes)[:-1]) if isinstance(vector, np.ndarray) else jax.lax.split(vector, sizes)
    parts = [part.reshape(shape) for part, shape in zip(split, blocks, strict=True)]
    return Shared(parts[0], parts[1], dict(zip(sorted(shapes), parts[2:], strict=True)))


class Given(dist.Delta):
    """A value computed from another site, with the log density that the change of variables adds.

    `Delta` compares values with itself; here they are always the same, and a hundred comparisons need not be compiled.
    """

    def log_prob(self, value: Array) -> Array:
        """The change of variables alone."""
        return jnp.broadcast_to(self.log_density, self.batch_shape)


def guide(parameters: Variational, anchor: Array, form: Form, present: Array, weight: Array | float = 1.0) -> None:
    """NumPyro guide with the latent sites of the model, all computed from two Gaussian draws.

    Means and log standard deviations of droplets are of any shape (..., D), as `anchor` (..., 3), `present` and
    `weight` (...): all droplets, or those of the tiles of a batch.
    """
    mean, log_sd = parameters
    x0, y0, r0 = jnp.moveaxis(anchor, -1, 0)
    with numpyro.handlers.scale(scale=weight), numpyro.handlers.mask(mask=present):
        each = dist.Normal(mean.droplets, jnp.exp(log_sd.droplets)).to_event(1)
        raw = numpyro.sample("each", each, infer={"is_auxiliary": True})
        numpyro.sample("x", Given(x0 + r0 * raw[..., 0], -jnp.log(r0)))
        numpyro.sample("y", Given(y0 + r0 * raw[..., 1], -jnp.log(r0)))
        numpyro.sample("radius", Given(r0 * jnp.exp(raw[..., 2]), -jnp.log(r0) - raw[..., 2]))
        transform = StickBreakingTransform() if form.composition == "simplex" else SigmoidTransform()
        composition = transform(raw[..., 3:])
        stretch = transform.log_abs_det_jacobian(raw[..., 3:], composition)
        if form.composition != "simplex":
            stretch = stretch.sum(-1)
        numpyro.sample("composition", Given(composition, -stretch, event_dim=1))
    shared = dist.Normal(mean.shared, jnp.exp(log_sd.shared)).to_event(1)
    background, log_noise, optics = unpack(numpyro.sample("shared", shared, infer={"is_auxiliary": True}), form)
    stretch = SigmoidTransform().log_abs_det_jacobian(background[0], None).sum()
    numpyro.sample("background_color", Given(jax.nn.sigmoid(background[0]), -stretch, event_dim=1))
    if form.background_terms > 1:
        numpyro.sample("background_shape", Given(background[1:], event_dim=2))
    if form.learn_noise:
        numpyro.sample("noise", Given(jnp.exp(log_noise), -log_noise))
    for name, weights in optics.items():
        numpyro.sample(f"optics/{name}", Given(weights, event_dim=weights.ndim))


@cache
def network_template(form: Form) -> dict[str, dict[str, Any]]:
    """Zeros in the shapes of the network's weights; spares NumPyro from initialising the network in every trace."""
    shapes = weight_shapes(form.channels, form.types)
    zeros: dict[str, Any] = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return unflatten(zeros)


def negative_elbo(
    normal: Guide, parameters: Variational, tiles: Array, scale: Array | float, problem: Problem, form: Form
) -> Array:
    """Single-sample estimate of the negative ELBO of the whole image from some of its tiles.

    `normal` are standard normal numbers, one for each parameter of the candidates of these tiles (T, M, D) and each
    shared one (S,); they are drawn for many steps at once, with keys for none of the sites.

    Not NumPyro's `Trace_ELBO`: that adds up the sites in the order of a set, which differs from process to process, so
    that compiled programs could not be kept on disk.
    """
    view = problem.view
    index, share = view.candidates[tiles], view.share[tiles]
    batch = Batch(
        problem.corner[tiles],
        None,
        problem.values[tiles],
        problem.weight[tiles],
        scale * view.importance[tiles],
        share,
    )
    local = _of_droplets(parameters, index)
    prior = problem.prior
    here = {name: getattr(prior, name)[index] for name in PER_DROPLET if getattr(prior, name) is not None}
    here["present"] = share > 0
    weight = share * batch.scale[:, None]
    mean, log_sd = local
    drawn = {"each": mean.droplets + jnp.exp(log_sd.droplets) * normal.droplets}
    drawn["shared"] = mean.shared + jnp.exp(log_sd.shared) * normal.shared
    optics = unpack(drawn["shared"], form).optics
    held = {f"optics/{name}": value for name, value in optics.items()} | {"optics$params": network_template(form)}
    there = (local, problem.anchor[index], form, here["present"], weight)
    log_guide, draws = log_density(block(substitute(guide, data=drawn | held), hide_fn=_of_optics), there, {}, {})
    known = block(substitute(replay(model, draws), data=held), hide_fn=_of_optics)
    log_model, _ = log_density(known, (batch, prior._replace(**here), form), {}, {})
    return log_guide - log_model - _log_prior(drawn["shared"][optics_part(form)], prior)


def _of_optics(site: dict[str, Any]) -> bool:
    return str(site.get("name")).startswith("optics/")


def _log_prior(weights: Array, prior: Prior) -> Array:
    """Log density of all weights of the optics at once: site by site it would be a fifth of the program."""
    start = prior.optics or {}
    center = jnp.concatenate([jnp.ravel(start[name]) for name in sorted(start)]) if start else 0.0
    return jnp.sum(dist.Normal(center, OPTICS_SD).log_prob(weights))


PER_DROPLET = ("x", "y", "position_sd", "log_radius", "log_radius_sd", "present")
"""Fields of the prior with one value per droplet."""


def _of_droplets(parameters: Variational, index: Array) -> Variational:
    mean, log_sd = parameters
    return Variational(mean._replace(droplets=mean.droplets[index]), log_sd._replace(droplets=log_sd.droplets[index]))


def init(mean: Guide, sd: Guide) -> State:
    """State from initial means and standard deviations."""
    parameters = jax.device_put(Variational(_single(mean), _single(jax.tree.map(np.log, sd))))
    return State(parameters, ADAM.init(parameters))


def _single(tree: Guide) -> Guide:
    return jax.tree.map(lambda a: np.array(a, np.float32), tree)


@partial(jax.jit, static_argnames="form", donate_argnums=0)
def chunk(
    state: State, problem: Problem, rates: Guide, rate: Array, seed: Array, first: Array, form: Form
) -> tuple[State, Float[Array, " S"]]:
    """Run STEPS_PER_CHUNK updates; returns the state and the loss of each step.

    `rates` broadcasts against the guide's means and multiplies the learning rate `rate`: 0 holds a parameter. `first`
    is the number of the first step: with `seed` it decides all random numbers.
    """
    # hardware-friendly generator: fewer instructions to compile and to run than the default one
    key = jax.random.fold_in(jax.random.key(seed, impl="rbg"), first)
    key_order, key_droplets, key_shared = jax.random.split(key, 3)
    mean = state.parameters.mean
    each = (STEPS_PER_CHUNK, TILES_PER_STEP, problem.view.candidates.shape[1], mean.droplets.shape[1])
    shared = (STEPS_PER_CHUNK, *mean.shared.shape)
    normal = Guide(jax.random.normal(key_droplets, each), jax.random.normal(key_shared, shared))
    n_tiles, visited = problem.view.n_tiles, problem.view.visited
    # tiles to visit in random order, the others last, so that the first n_tiles are a permutation
    random = jax.random.uniform(key_order, visited.shape)
    order = visited[jnp.argsort(jnp.where(jnp.arange(len(random)) < n_tiles, random, 2.0))]
    scale = n_tiles / TILES_PER_STEP

    def step(state: State, draw: tuple[Array, Guide]) -> tuple[State, Array]:
        i, normal = draw
        tiles = order[(i * TILES_PER_STEP + jnp.arange(TILES_PER_STEP)) % n_tiles]
        loss, gradient = jax.value_and_grad(negative_elbo, argnums=1)(
            normal, state.parameters, tiles, scale, problem, form
        )
        updates, adam = ADAM.update(gradient, state.adam)
        moved = jax.tree.map(lambda p, u, r: p - rate * r * u, state.parameters, updates, Variational(rates, rates))
        return State(moved, adam), loss

    return jax.lax.scan(step, state, (jnp.arange(STEPS_PER_CHUNK), normal))


def optics_part(form: Form) -> slice:
    """Where the weights of the optics are in the vector of what droplets share."""
    return slice(form.background_terms * form.channels + 1, None)


def all_free(n: int, form: Form) -> Guide:
    """One for every parameter."""
    sizes = [np.prod(shape) for shape in weight_shapes(form.channels, form.types).values()]
    shared = optics_part(form).start + int(sum(sizes))
    return Guide(np.ones((n, 3 + composition_size(form)), np.float32), np.ones(shared, np.float32))


def bucket(n: int, smallest: int) -> int:
    """The next larger size in steps of a factor of two, for padding: costs memory, but little time."""
    return max(smallest, 2 ** (n - 1).bit_length())


def pad(array: np.ndarray, n: int, value: float = 0) -> np.ndarray:
    """Fill the first axis up to n."""
    return np.pad(array, [(0, n - len(array))] + [(0, 0)] * (array.ndim - 1), constant_values=value)
