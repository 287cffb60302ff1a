"""From the guide to results: droplets with standard deviations, samples, and images drawn from the model."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.handlers import seed, substitute, trace
from scipy.special import expit

from ..droplets import Droplets
from ..model.assignment import Tiles, candidates, join
from ..model.generative import Batch, Form, Prior, model
from ..model.rendering import REACH
from .svi import Guide, Variational, network_template, pad, unpack

CANDIDATES = 8
"""Droplets that a tile's pixels choose from."""
BLOCK = 128
"""Tiles rendered at a time, whose pixels stay in the fast memory of a processor: 512 take more than twice as long."""
NODES = 20
"""Gauss-Hermite nodes: moments of a logit-normal to float32 precision at the widths met here."""
DRAWS = 400
"""Samples for the moments of a simplex, which have no such rule: a standard error of 1/20 of the deviation."""
SAMPLED_PIXELS = 1e6
"""Pixels rendered for a mean reconstruction; the number of samples follows, at most 16, and none for large images."""

Latents = dict[str, Array]


def droplets(guide: dict[str, np.ndarray], composition: str, pixel_size_um: float | None = None) -> Droplets:
    """Posterior means and standard deviations from the guide's arrays (see `Fit.guide`); NaN for what is pinned."""
    x0, y0, r0 = guide["anchor"].T
    mean = guide["droplets_told"].astype(float)
    tril = guide["droplets_tril"].astype(float)
    sd = np.sqrt(np.sum(tril**2, -1))
    doubt = np.where(sd > 0, sd, np.nan)
    radius = r0 * np.exp(mean[:, 2] + sd[:, 2] ** 2 / 2)
    fractions, fractions_sd = _composition_moments(mean[:, 3:], tril[:, 3:], composition)
    return Droplets(
        x=x0 + r0 * mean[:, 0],
        y=y0 + r0 * mean[:, 1],
        radius=radius,
        x_sd=r0 * doubt[:, 0],
        y_sd=r0 * doubt[:, 1],
        radius_sd=radius * np.sqrt(np.expm1(doubt[:, 2] ** 2)),
        composition=fractions,
        composition_sd=fractions_sd,
        pixel_size_um=pixel_size_um,
    )


def droplets_at(unconstrained: np.ndarray, anchor: np.ndarray, composition: str) -> Droplets:
    """Droplets of unconstrained parameters (N, D), without standard deviations."""
    x0, y0, r0 = anchor.astype(float).T
    raw = unconstrained.astype(float)
    fractions = stick_breaking(raw[:, 3:]) if composition == "simplex" else expit(raw[:, 3:])
    x, y = x0 + r0 * raw[:, 0], y0 + r0 * raw[:, 1]
    return Droplets(x, y, r0 * np.exp(raw[:, 2]), composition=fractions)


def _composition_moments(mean: np.ndarray, tril: np.ndarray, composition: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations from logits (N, d) and their rows (N, d, D) of Cholesky factors."""
    if composition == "simplex":
        normal = np.random.default_rng(0).standard_normal((DRAWS, len(mean), tril.shape[-1]))
        draws = stick_breaking(mean + np.einsum("nij,snj->sni", tril, normal))
        return draws.mean(0), draws.std(0)
    sd = np.sqrt(np.sum(tril**2, -1))
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    values = expit(mean[..., None] + sd[..., None] * nodes)
    weights = weights / weights.sum()
    first = values @ weights
    return first, np.sqrt(np.maximum((values - first[..., None]) ** 2 @ weights, 0))


def stick_breaking(logits: np.ndarray) -> np.ndarray:
    """Fractions (..., K) from (..., K - 1) logits, as NumPyro's StickBreakingTransform."""
    k = logits.shape[-1] + 1
    broken = expit(logits - np.log(np.arange(k - 1, 0, -1)))
    left = np.concatenate([np.ones((*broken.shape[:-1], 1)), np.cumprod(1 - broken, -1)], -1)
    return left * np.concatenate([broken, np.ones((*broken.shape[:-1], 1))], -1)


def stick_breaking_logits(fractions: np.ndarray) -> np.ndarray:
    """The inverse of `stick_breaking`; fractions are kept off the border by 1e-3."""
    fractions = np.clip(fractions, 1e-3, None)
    fractions = fractions / fractions.sum(-1, keepdims=True)
    k = fractions.shape[-1]
    left = 1 - np.concatenate([np.zeros((*fractions.shape[:-1], 1)), np.cumsum(fractions, -1)[..., :-2]], -1)
    broken = fractions[..., :-1] / left
    return np.log(broken) - np.log1p(-broken) + np.log(np.arange(k - 1, 0, -1))


def sample_droplets(guide: dict[str, np.ndarray], composition: str, n: int, seed: int) -> dict[str, np.ndarray]:
    """Draw n joint samples of all droplets from the guide: x, y, radius (n, N), composition (n, N, K)."""
    x0, y0, r0 = guide["anchor"].T
    shape = (n, *guide["droplets"].shape)
    normal = np.random.default_rng(seed).standard_normal(shape)
    draw = guide["droplets_told"] + np.einsum("nij,snj->sni", guide["droplets_tril"], normal)
    return {
        "x": x0 + r0 * draw[..., 0],
        "y": y0 + r0 * draw[..., 1],
        "radius": r0 * np.exp(draw[..., 2]),
        "composition": stick_breaking(draw[..., 3:]) if composition == "simplex" else expit(draw[..., 3:]),
    }


def mean_latents(parameters: Variational, anchor: np.ndarray, form: Form) -> dict[str, np.ndarray]:
    """Every latent site at the guide's means (medians where it is skewed)."""
    droplets, shared = parameters.mean.droplets, unpack(parameters.mean.shared, form)
    composition = stick_breaking(droplets[:, 3:]) if form.composition == "simplex" else expit(droplets[:, 3:])
    latents = {
        "x": anchor[:, 0] + anchor[:, 2] * droplets[:, 0],
        "y": anchor[:, 1] + anchor[:, 2] * droplets[:, 1],
        "radius": anchor[:, 2] * np.exp(droplets[:, 2]),
        "composition": composition,
        "background_color": expit(shared.background[0]),
    }
    if form.background_terms > 1:
        latents["background_shape"] = shared.background[1:]
    if form.learn_noise:
        latents["noise"] = np.exp(shared.log_noise)
    latents |= {f"optics/{name}": weight for name, weight in shared.optics.items()}
    return {name: np.asarray(value, np.float32) for name, value in latents.items()}


def sample_latents(number: int, parameters: Variational, anchor: np.ndarray, form: Form) -> dict[str, np.ndarray]:
    """Sample every latent site from the guide; `number` seeds the draw."""
    rng = np.random.default_rng(number)
    mean, log_sd = parameters
    drawn = (m + np.exp(s) * rng.standard_normal(np.shape(m), np.float32) for m, s in zip(mean, log_sd, strict=True))
    return mean_latents(parameters._replace(mean=Guide(*drawn)), anchor, form)


@partial(jax.jit, static_argnames="form")
def sample_prior(number: int, prior: Prior, form: Form) -> Latents:
    """Sample every latent site from the prior; `number` seeds the draw."""
    nothing = Batch(jnp.zeros((1, 2)), jnp.zeros((1, 1), int), None, jnp.ones((1, 1)), jnp.ones(()))
    sites = trace(seed(model, jax.random.key(number, impl="rbg"))).get_trace(nothing, prior, form)
    return {name: s["value"] for name, s in sites.items() if s["type"] == "sample" and name != "image"}


@partial(jax.jit, static_argnames="form")
def render_latents(latents: Latents, corner: Array, candidates: Array, prior: Prior, form: Form) -> Array:
    """Noise-free colors (T, P, C) of tiles with their candidates."""
    fixed = substitute(model, data={**latents, "optics$params": network_template(form)})
    batch = Batch(corner, candidates, None, jnp.ones((1, 1)), jnp.ones(()))
    return trace(seed(fixed, 0)).get_trace(batch, prior, form)["rendering"]["value"]


def assign(latents: dict[str, Any], present: Any, tiles: Tiles, total: int) -> np.ndarray:
    """Candidates (T padded to `total`, M) of the present droplets; absent slots hold the padded N."""
    here = np.flatnonzero(present)
    x, y, radius = (np.asarray(latents[name])[here] for name in ("x", "y", "radius"))
    found = candidates(x, y, radius, tiles.corner, CANDIDATES, REACH)
    return pad(np.append(here, len(present)).astype(np.int32)[found], total, len(present))


def generate(
    number: int,
    tiles: Tiles,
    prior: Prior,
    form: Form,
    guide: tuple[Variational, np.ndarray] | None = None,
    *,
    noise: bool = True,
) -> tuple[Float[np.ndarray, "H W C"], Latents]:
    """Draw an image: from the prior, or from the posterior where the guide's parameters and anchors are given.

    `number` seeds the draw. Returns the image and its latents; without `noise` the image is the noise-free rendering.
    """
    latents: Any = sample_prior(number, prior, form) if guide is None else sample_latents(number, *guide, form)
    image = render_image(latents, tiles, prior, form)
    if noise:
        sd = float(latents.get("noise", prior.noise))
        image = image + sd * np.random.default_rng(number).standard_normal(image.shape, np.float32)
    return image, latents


def render_image(latents: Latents, tiles: Tiles, prior: Prior, form: Form) -> np.ndarray:
    """Noise-free image (H, W, C) float32 of the given latents."""
    total = -(-len(tiles.corner) // BLOCK) * BLOCK
    assigned = assign(latents, prior.present, tiles, total)
    corner = pad(tiles.corner, total)
    parts = [slice(i, i + BLOCK) for i in range(0, total, BLOCK)]  # bounds the memory, and serves images of all sizes
    values = [np.asarray(render_latents(latents, corner[p], assigned[p], prior, form)) for p in parts]
    width, height = (int(s) for s in prior.size)
    return join(np.concatenate(values), (height, width))


def mean_reconstruction(
    number: int, parameters: Variational, anchor: np.ndarray, tiles: Tiles, prior: Prior, form: Form
) -> np.ndarray:
    """Posterior mean of the noise-free image, (H, W, C) float32, over 2 to 16 samples as pixels allow.

    Images for which there would be fewer are rendered once, at the posterior's mean.
    """
    n = int(min(SAMPLED_PIXELS / np.prod(prior.size), 16))
    if n < 2:
        return render_image(mean_latents(parameters, anchor, form), tiles, prior, form).astype(np.float32)
    total: Any = 0.0
    for i in range(n):
        total = total + generate(number + i, tiles, prior, form, (parameters, anchor), noise=False)[0]
    return (total / n).astype(np.float32)
