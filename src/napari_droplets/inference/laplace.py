"""Gauss-Newton steps for all droplets at once, and the Gaussian approximation of each one's posterior (Laplace).

Given optics and background a pixel depends on its own droplet only, or nearly so: one pass over the image gives the
gradient and the information matrix (Fisher, D x D) of every droplet. Per pixel a pass costs two evaluations of the
network (three under `layered`) and one derivative for each channel, whatever the number of droplets.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions.transforms import SigmoidTransform, StickBreakingTransform
from scipy.special import expit

from ..image_statistics import pixel_noise
from ..model.assignment import TILE
from ..model.generative import Form, pixel_positions, surface_basis
from ..model.optics import OpticsNetwork, unflatten
from ..model.rendering import REACH, Local, change, logits
from .svi import Problem, unpack

BLOCK = 128
"""Tiles at a time, which bounds the memory of a pass."""
BODY = 1.1
"""Radii around a center that tell how well the model explains a droplet."""
FARTHEST = 1e6
"""Squared radii, or pixels, that stand for nowhere."""
TEMPER = 4.0
"""What a misfit costs in information: variances are larger by 1 + TEMPER (misfit^2 - 1), see `Evidence.variance`."""
DAMPING = 0.1
"""Part of the information that is added on its diagonal in a step (Levenberg, Marquardt)."""
LONGEST = (0.2, 0.2, 0.15, 1.0)
"""Longest step in x and y (radii of the anchor), log radius, and each unconstrained component."""
LEAST_NOISE = 0.002
"""Of the intensities; images that were smoothed or stored in few levels may have less."""
LEAST_CURVATURE = 0.02
"""Of the log prior in a logit: far out it is flat."""
KNOWN = 1e8
"""Precision of what is held."""
NOISE_TILES = 8000
"""Tiles from which the noise is read, at most."""
ODD = 0.01
"""Part of the droplets, at most, that make the image worse than it would be without them: they are none, or none of
that look, and must not outweigh all others where optics are judged."""
SETTLED_PIXELS = 12.0
"""Pixels' worth of the image's own misfit that a droplet's misfit is drawn to; small ones have few pixels."""

MOST_PIXELS = 10.0
"""Pixels for which a droplet counts in the image's misfit, at most, in those of a typical one: a bubble that the model
does not describe says nothing of the droplets beside it."""


class Evidence(NamedTuple):
    """What the pixels say of each droplet, before any prior; arrays of N, in units of the noise's variance.

    `information` (N, D, D) and `gradient` (N, D) of the log likelihood, `squares` the sum over the body's pixels of
    the mean square residual of a pixel, `pixels` their number, `gain` the log likelihood that its pixels lose without
    it.
    """

    information: np.ndarray
    gradient: np.ndarray
    squares: np.ndarray
    pixels: np.ndarray
    gain: np.ndarray
    tiles: np.ndarray
    """(T,) sum of the squared residuals of each tile."""
    shared: np.ndarray
    """(T,) what of these sums neighboring pixels have in common: misfit, not noise."""
    odd: np.ndarray
    """(N,) bool, droplets that make the image worse than it would be without them, see `ODD` …"""
    plain: np.ndarray
    """(T,) bool … and the tiles that have none of them among their candidates."""
    unit: float
    """Standard deviation of the noise that residuals are measured in."""
    noise: float
    """… and of what changes from pixel to pixel in the residual."""

    def left(self, some: np.ndarray) -> float:
        """Sum of the squared residuals of some tiles (T,)."""
        return float(self.tiles[some].sum() * self.unit**2)

    @property
    def misfit(self) -> np.ndarray:
        """(N,) root mean square residual of a droplet's body over the noise, about 1 where the model is right."""
        return np.sqrt(self.squares / np.maximum(self.pixels, 1e-6))

    @property
    def unexplained(self) -> float:
        """Part of what droplets change in the image that is left, above the noise; the odd ones do not count."""
        left = max(0.0, float(self.shared[self.plain].sum()))
        gain = float(self.gain[~self.odd].sum())
        return left / max(2 * gain + left, 1e-9)

    def mean_square(self, droplets: np.ndarray | slice = slice(None)) -> float:
        """Of the residual in the bodies of these droplets (indices), where no droplet counts for many."""
        squares, pixels = self.squares[droplets], self.pixels[droplets]
        seen = pixels > 0
        if not seen.any():
            return 0.0
        share = np.minimum(1, MOST_PIXELS * np.median(pixels[seen]) / np.maximum(pixels, 1e-6))
        return float((share * squares).sum() / (share * pixels).sum())

    @property
    def variance(self) -> np.ndarray:
        """(N,) by what the noise's variance counts as larger: residuals of a wrong model agree among neighbors."""
        own = (self.squares + SETTLED_PIXELS * self.mean_square()) / (self.pixels + SETTLED_PIXELS)
        return 1 + TEMPER * np.maximum(own - 1, 0)

    def lost_with(self, other: Evidence, problem: Problem, droplets: np.ndarray) -> np.ndarray:
        """Nats that the tiles around some droplets (n,) have lost in other evidence, weighed by the misfit."""
        candidates, share = np.asarray(problem.view.candidates), np.asarray(problem.view.share)
        worse = 0.5 * (other.tiles * (other.unit / self.unit) ** 2 - self.tiles)
        around = [((candidates == i) & (share > 0)).any(1) for i in droplets]
        return np.array([worse[tiles].sum() / self.variance[i] for tiles, i in zip(around, droplets, strict=True)])


@partial(jax.jit, static_argnames="form")
def _pass(
    droplets: Float[Array, "N D"],
    shared: Array,
    problem: Problem,
    noise: Array,
    blocks: Array,
    layered: Array,
    form: Form,
) -> tuple[tuple[Array, ...], Array]:
    background, _, weights = unpack(shared, form)
    n, d = droplets.shape
    transform = StickBreakingTransform() if form.composition == "simplex" else SigmoidTransform()

    def network(inputs: Array) -> Array:
        return OpticsNetwork(form.channels).apply({"params": unflatten(weights)}, inputs)

    def placed(z: Array, anchor: Array) -> tuple[Array, Array, Array]:
        x = anchor[..., 0] + anchor[..., 2] * z[..., 0]
        y = anchor[..., 1] + anchor[..., 2] * z[..., 1]
        return x, y, anchor[..., 2] * jnp.exp(z[..., 2])

    def block(sums: tuple[Array, ...], part: tuple[Array, ...]) -> tuple[tuple[Array, ...], Array]:
        corner, candidates, share, values, weight = part
        position = pixel_positions(corner)
        base = surface_basis(position, problem.prior.size, form) @ background
        z, anchor = droplets[candidates], problem.anchor[candidates]
        x, y, radius = placed(z, anchor)
        square = (position[:, :, None, 0] - x[:, None]) ** 2 + (position[:, :, None, 1] - y[:, None]) ** 2
        square = jnp.where(share[:, None] > 0, square / radius[:, None] ** 2, FARTHEST)
        slot = jnp.arange(square.shape[-1])
        own = jnp.argmin(square, -1)  # (T, P)
        others = jnp.where(slot == own[..., None], FARTHEST, square)
        second = jnp.argmin(others, -1)

        def of(slots: Array) -> tuple[Array, Array]:
            """Parameters and anchors (T, P, ...) of these candidates."""
            parameters, anchors = (jnp.take_along_axis(a[:, None], slots[..., None, None], 2) for a in (z, anchor))
            return parameters[:, :, 0], anchors[:, :, 0]

        def laid(beneath: Array, raw: Array, anchors: Array, there: Array) -> Array:
            """Logits (T, P, C) with one droplet at each pixel over what lies beneath."""
            u, v, r = placed(raw, anchors)
            features = jnp.concatenate([(r / problem.prior.length)[..., None], transform(raw[..., 3:])], -1)
            du, dv = ((position[..., k] - at) / r for k, at in enumerate((u, v)))
            return beneath + there[..., None] * change(network, jax.nn.sigmoid(beneath), du, dv, features)

        (first, first_anchor), next_ = of(own), (*of(second), jnp.min(others, -1) < FARTHEST)
        seen = jnp.min(square, -1) < FARTHEST
        # without its own droplet a pixel sees the next one, or the empty slide
        without = laid(base, *next_)

        def blend(first: Array) -> Array:
            """Logits with all candidates, the first in the place of the nearest."""
            rest = [jnp.broadcast_to(a[:, None], (*square.shape, a.shape[-1])) for a in (z, anchor)]
            here = [seen[..., None], others < FARTHEST]
            together = [
                jnp.concatenate([a[:, :, None], b], 2) for a, b in zip((first, first_anchor), rest, strict=True)
            ]
            there = jnp.concatenate(here, 2).reshape(-1, 1 + square.shape[-1])
            raw, anchors = (a.reshape(-1, *a.shape[2:]) for a in together)
            u, v, r = placed(raw, anchors)
            local = Local(jnp.where(there, u, FARTHEST), v, r, transform(raw[..., 3:]))
            at, ground = position.reshape(-1, 1, 2), base.reshape(-1, 1, form.channels)
            return logits("blended", network, local, at, ground, problem.prior.length).reshape(values.shape)

        # under `layered` the own droplet lies over the next one, or beneath it; that the color of one on top depends
        # on it is left out of its slopes
        lower = (placed(first, first_anchor)[2] >= placed(*next_[:2])[2])[..., None]
        beneath = jnp.where(layered & ~lower, without, base)
        draw = blend if form.renderer == "blended" else lambda first: laid(beneath, first, first_anchor, seen)
        # a pixel has fewer channels than a droplet parameters: derivatives backwards are the cheaper ones
        drawn, pull = jax.vjp(draw, first)
        drawn = jax.lax.cond(layered, lambda: jnp.where(lower, laid(drawn, *next_), drawn), lambda: drawn)
        rendering = jax.nn.sigmoid(drawn)
        # (one after the other: as one batch they take three times as long)
        steep = rendering * (1 - rendering)
        slopes = jnp.stack([pull(e * steep)[0] for e in jnp.eye(form.channels)])  # (C, T, P, D)

        residual = (values - rendering) / noise
        weighted = weight[..., None] * residual
        gain = 0.5 * jnp.sum(weight[..., None] * (((values - jax.nn.sigmoid(without)) / noise) ** 2 - residual**2), -1)
        nearest_square = jnp.min(square, -1)
        mine = (slot == own[..., None]) * (nearest_square < REACH**2)[..., None]
        body = mine * (weight * (nearest_square < BODY**2))[..., None]
        found = (
            jnp.einsum("ctpa,ctpb,tp,tpm->tmab", slopes, slopes, weight, mine) / noise**2,
            jnp.einsum("ctpa,tpc,tpm->tma", slopes, weighted, mine) / noise,
            jnp.einsum("tp,tpm->tm", jnp.mean(residual**2, -1), body),
            jnp.sum(body, 1),
            jnp.einsum("tp,tpm->tm", gain, mine),
        )
        return tuple(s.at[candidates].add(f) for s, f in zip(sums, found, strict=True)), rendering

    view = problem.view
    parts = (problem.corner, view.candidates, view.share, problem.values, problem.weight)

    def next_block(i: Array, carry: tuple[tuple[Array, ...], Array]) -> tuple[tuple[Array, ...], Array]:
        sums, rendering = carry
        part = tuple(jax.lax.dynamic_slice_in_dim(a, i * BLOCK, BLOCK) for a in parts)
        sums, colors = block(sums, part)
        return sums, jax.lax.dynamic_update_slice_in_dim(rendering, colors, i * BLOCK, 0)

    start = tuple(jnp.zeros((n, *shape)) for shape in ((d, d), (d,), (), (), ()))
    return jax.lax.fori_loop(0, blocks, next_block, (start, jnp.zeros_like(problem.values)))


@jax.jit
def _residuals(values: Array, rendering: Array, weight: Array) -> tuple[Array, Array]:
    """Sum of squares of each tile (T,), and what of it neighbors share, as white noise does not."""
    residual = ((values - rendering) * jnp.sqrt(weight)[..., None]).reshape(-1, TILE, TILE, values.shape[-1])
    right = jnp.sum(residual[:, :, 1:] * residual[:, :, :-1], (1, 2, 3))
    down = jnp.sum(residual[:, 1:] * residual[:, :-1], (1, 2, 3))
    shared = 0.5 * (right + down) * TILE / (TILE - 1)
    return jnp.sum(residual**2, (1, 2, 3)), shared


def evidence(droplets: np.ndarray, optics: np.ndarray, problem: Problem, noise: float, form: Form) -> Evidence:
    """What the pixels say at these parameters of droplets (N, D) and optics, with white noise of this deviation."""
    weight = np.asarray(problem.weight)
    used = np.flatnonzero(weight.any(1))
    blocks = np.int32(used.max(initial=0) // BLOCK + 1)
    layered = form.renderer == "layered"
    form = form._replace(renderer="nearest") if layered else form  # one program for both
    moved = np.float32(droplets), np.float32(optics)
    sums, rendering = _pass(*moved, problem, np.float32(noise), blocks, np.bool_(layered), form)
    squares, shared = (np.asarray(a, float) / noise**2 for a in _residuals(problem.values, rendering, problem.weight))
    whole = np.flatnonzero(weight.all(1))
    some = whole[:: -(-len(whole) // NOISE_TILES) or 1]  # none where few tiles are left, in the corner of an image
    values, rendering = np.asarray(problem.values), np.asarray(rendering)
    residual = (values[some] - rendering[some]).reshape(-1, TILE, form.channels)
    own = pixel_noise(residual) if len(residual) else noise
    sums = tuple(np.asarray(a, float) for a in sums)
    odd = _odd(sums[4], sums[3])
    view = problem.view
    plain = ~(odd[np.asarray(view.candidates)] & (np.asarray(view.share) > 0)).any(1)
    return Evidence(*sums, squares, shared, odd, plain, noise, own)


def _odd(gain: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    worst = np.argsort(gain)[: int(np.ceil(ODD * np.count_nonzero(pixels)))]
    odd = np.zeros(len(gain), bool)
    odd[worst] = gain[worst] < 0
    return odd


class Belief(NamedTuple):
    """A Gaussian per droplet: mean (N, D) and precision (N, D, D), unconstrained."""

    mean: np.ndarray
    precision: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """(N, D, D)."""
        return np.linalg.inv(self.precision)


def prior_belief(
    problem: Problem, droplets: np.ndarray, form: Form, free: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, D) and precision (N, D, D) of the prior as a Gaussian at `droplets`, in the guide's unconstrained space.

    What is held of a droplet of which other parameters are free (N, D) is known.
    """
    x0, y0, r0 = np.asarray(problem.anchor, float).T
    prior = problem.prior
    n, d = droplets.shape
    sd = np.full(n, 1e3) if prior.position_sd is None else np.asarray(prior.position_sd, float) / r0
    wanted = np.stack(
        [(np.asarray(prior.x) - x0) / r0, (np.asarray(prior.y) - y0) / r0, np.asarray(prior.log_radius) - np.log(r0)],
        -1,
    )
    precision = np.stack([sd**-2, sd**-2, np.asarray(prior.log_radius_sd, float) ** -2], -1)
    mean, curvature = droplets.astype(float), np.zeros((n, d))
    mean[:, :3], curvature[:, :3] = wanted, precision
    # the uniform density of a composition, seen in logits: that of a Beta for each (broken) fraction
    left = np.arange(d - 3, 0, -1.0) if form.composition == "simplex" else np.ones(d - 3)
    share = expit(droplets[:, 3:] - np.log(left))
    curvature[:, 3:] = np.maximum((1 + left) * share * (1 - share), LEAST_CURVATURE)
    mean[:, 3:] += (1 - (1 + left) * share) / curvature[:, 3:]
    if free is not None:
        held = (free == 0) & (free > 0).any(1, keepdims=True)
        mean, curvature = np.where(held, droplets, mean), np.where(held, KNOWN, curvature)
    return mean, curvature[:, :, None] * np.eye(d)


def polish(
    droplets: np.ndarray, shared: np.ndarray, problem: Problem, noise: float, form: Form, free: np.ndarray, steps: int
) -> tuple[Belief, Evidence]:
    """Take Gauss-Newton steps towards the mode of each droplet's posterior.

    `free` (N, D) is 1 for parameters that may move. Returns what is believed of droplets, and the evidence of the
    last pass, before its step; each pass takes the noise from the residual of the one before.
    """
    longest = np.array([*LONGEST[:3], *[LONGEST[3]] * (droplets.shape[1] - 3)])
    for _ in range(steps):
        seen = evidence(droplets, shared, problem, noise, form)
        noise = max(seen.noise, LEAST_NOISE)
        mean, prior = prior_belief(problem, droplets, form, free)
        precision = seen.information / seen.variance[:, None, None] + prior
        slope = np.einsum("nij,nj->ni", prior, mean - droplets) + seen.gradient / seen.variance[:, None]
        damped = precision * (1 + DAMPING * np.eye(droplets.shape[1]))
        step = np.linalg.solve(damped, slope[..., None])[..., 0]
        droplets = droplets + free * np.clip(step, -longest, longest)
    return Belief(droplets, precision), seen
