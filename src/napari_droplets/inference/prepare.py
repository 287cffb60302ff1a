"""A fit made ready to run: the problem padded to buckets, the prior, and where the guide starts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import expit

from ..composition.anchors import anchored
from ..droplets import Droplets, Optics
from ..errors import InputError
from ..image_statistics import contrast, pixel_noise
from ..images import Image
from ..model.assignment import Tiles, cut
from ..model.generative import FAR, Form, Prior
from ..settings import AUTO, Settings
from . import posterior, svi
from .laplace import polish
from .population import likely, pinned_rows
from .start import Seen, Start, first_sight, starting_point
from .view import look

SHARED_SD, PLACE_SD, COMPOSITION_SD = 3e-4, 0.01, 0.1
"""Standard deviations to start from: of what droplets share, places and log radii, unconstrained compositions …"""
HELD_SD = 1e-3
"""… and of those that are held."""
SIGHT_POLISH = 3
"""Gauss-Newton steps that measure what droplets absorb: then two from the same color agree to a few percent."""
LEAST_DROPLETS, LEAST_TILES = 8192, 4096
"""Sizes of arrays at least, so that most images are fitted by the same compiled program."""
RADIUS_SPREAD = 0.5
"""Prior standard deviation of the log radius, as published, where proposals bring no uncertainty of their own."""
NOISE_RANGE = (0.002, 0.2)
"""Bounds of the noise read off the pixels, where its prior is centered."""


class Setup(NamedTuple):
    """A fit ready to run, in pixels of the resized image."""

    form: Form
    problem: svi.Problem
    prior: Prior
    anchor: np.ndarray
    tiles: Tiles
    state: svi.State
    free: svi.Guide
    """1 for what may change, 0 for what is held; broadcasts against the guide's means."""
    probability: np.ndarray | None = None
    """(N,) that a candidate is a droplet, before the fit; None where all of them are taken for granted."""
    looks: tuple[dict[str, np.ndarray], ...] = ()
    """Optics of sharp to blurred images, where others may be tried than those that the fit starts from …"""
    at: int = 0
    """… and which of them these are."""
    endings: tuple[str, ...] = ("nearest",)
    """Renderers of which the one that explains the image best is used in the end; steps use that of the form."""


def form_of(channels: int, settings: Settings) -> Form:
    """The shape of the program for an image and settings."""
    renderer = "nearest" if settings.renderer == AUTO else settings.renderer
    learn_noise = settings.noise is None
    return Form(channels, settings.components, settings.composition, settings.background, renderer, learn_noise)


def endings_of(settings: Settings, optics: Optics | None) -> tuple[str, ...]:
    """Renderers that a fit may end with; optics that are held belong to theirs."""
    if settings.renderer != AUTO:
        return (settings.renderer,)
    if optics is not None and not settings.learn_optics:
        return (optics.renderer,)
    return ("nearest", "layered")


def check_optics(optics: Optics, form: Form, image: Image) -> None:
    """Optics of an earlier image must be of the same kind.

    Raises
    ------
    InputError
        They differ in types, channels or the kind of composition.
    """
    for name, want in (("types", form.types), ("channels", form.channels), ("composition", form.composition)):
        if (have := getattr(optics, name)) != want:
            raise InputError(f"optics: learned with {name}={have}, but {image.name} is fitted with {name}={want}")


def prepare(
    work: Image,
    start: Droplets,
    optics: Optics | None,
    settings: Settings,
    point: Start | None = None,
    counted: np.ndarray | None = None,
) -> Setup:
    """Pad everything to buckets and set the guide's starting point; `work` and `start` at the working scale.

    `point` is where to start, found from the image by default. `counted` (H, W) is 0 for pixels that do not count.
    """
    form = form_of(work.shape[2], settings)
    if optics is not None:
        check_optics(optics, form, work)
    tiles = cut(work.pixels)
    if counted is not None:
        tiles = tiles._replace(weight=cut(counted[..., None].astype(np.float32)).values[..., 0])
    n = len(start)
    padded, total = svi.bucket(n + 1, LEAST_DROPLETS), svi.bucket(len(tiles.corner), LEAST_TILES)
    noise = settings.noise or float(np.clip(contrast(work.pixels)[1], *NOISE_RANGE))
    length = optics.length * settings.scale if optics else typical_radius(start)
    if point is None:
        seen = None if optics else sighted(work, start, settings, counted)
        point = starting_point(work, start, optics, form, length, settings.seed, seen)
    prior = _prior(start, padded, work, length, noise)._replace(optics=point.weights)
    probability = None if start.p_present is None else svi.pad(start.p_present, padded)
    if probability is not None:
        prior = prior._replace(present=svi.pad(likely(start), padded, False))
    anchor = svi.pad(np.stack([start.x, start.y, start.radius], -1), padded, FAR).astype(np.float32)
    anchor[n:, 2] = 1
    state = _initial_state(point, padded, settings)
    located = posterior.mean_latents(jax.device_get(state.parameters), anchor, form)
    view = look(located, prior.present, tiles, total, settings.seed)
    problem = svi.Problem(*(svi.pad(a, total) for a in tiles), view, prior, anchor)
    free = svi.all_free(padded, form)
    free.droplets[np.flatnonzero(pinned_rows(start)), :3] = 0
    if point.held is not None:
        free.droplets[:n, 3:][point.held] = 0
    if not settings.learn_optics:
        free.shared[svi.optics_part(form)] = 0
    return Setup(
        form,
        jax.device_put(problem),
        prior,
        anchor,
        tiles,
        state,
        free,
        probability,
        (*point.sharper[::-1], point.weights, *point.softer),
        len(point.sharper),
        endings_of(settings, optics),
    )


def typical_radius(start: Droplets) -> float:
    """Median radius of the droplets that take part from the beginning: the others depend on what found them."""
    found = np.ones(len(start), bool) if start.p_present is None else likely(start)
    return float(np.median(start.radius[found] if found.any() else start.radius))


def sighted(work: Image, start: Droplets, settings: Settings, counted: np.ndarray | None = None) -> Seen:
    """What droplets absorb, by shipped optics with a component for each channel; measured where components need it.

    Free components as many as channels need not be, for they can become any others while the fit runs.
    """
    channels = work.shape[2]
    plain = replace(settings, types=channels, composition="free", renderer="nearest", learn_optics=True)
    form = form_of(channels, plain)
    known = anchored(start) is not None
    rough = settings.types == channels and settings.composition == "free" and not known

    def measure(point: Start) -> tuple[np.ndarray, np.ndarray]:
        bare = replace(start, labels={}, composition=None)
        setup = prepare(work, bare, None, plain, point, counted)
        mean, n = jax.device_get(setup.state.parameters.mean), len(start)
        noise = float(np.clip(pixel_noise(work.pixels), *NOISE_RANGE))
        belief, _ = polish(mean.droplets, mean.shared, setup.problem, noise, form, setup.free.droplets, SIGHT_POLISH)
        absorbed = expit(belief.mean[:n, 3:])
        variance = np.einsum("nii->ni", belief.covariance)[:n, 3:] * (absorbed * (1 - absorbed)) ** 2
        return absorbed, np.sqrt(variance.mean(1))

    return first_sight(work, start, form, typical_radius(start), None if rough else measure)


def _prior(start: Droplets, padded: int, work: Image, length: float, noise: float) -> Prior:
    n = len(start)
    h, w, _ = work.shape

    def full(values: Any, value: float) -> np.ndarray:
        return svi.pad(np.broadcast_to(values, n), padded, value).astype(np.float32)

    unknown = np.full(n, np.nan)
    x_sd, radius_sd = (unknown if sd is None else sd for sd in (start.x_sd, start.radius_sd))
    known = np.isfinite(x_sd) & np.isfinite(radius_sd)
    log_radius = np.where(known, np.log(start.radius), np.log(typical_radius(start)))
    log_radius_sd = np.where(known, radius_sd / start.radius, RADIUS_SPREAD)
    return Prior(
        x=full(start.x, 0),
        y=full(start.y, 0),
        position_sd=full(np.where(known, x_sd, max(h, w)), 1),
        log_radius=full(log_radius, 0),
        log_radius_sd=full(log_radius_sd, 1),
        present=np.arange(padded) < n,
        size=np.array([w, h], np.float32),
        length=np.float32(length),
        noise=np.float32(noise),
    )


def _initial_state(point: Start, padded: int, settings: Settings) -> svi.State:
    n, d = point.composition.shape
    droplets = svi.pad(np.concatenate([np.zeros((n, 3)), point.composition], -1), padded)
    droplets_sd = np.concatenate([np.full((padded, 3), PLACE_SD), np.full((padded, d), COMPOSITION_SD)], -1)
    if point.held is not None:
        droplets_sd[:n, 3:][point.held] = HELD_SD
    log_noise = np.log(settings.noise or point.noise)
    shared = svi.pack(svi.Shared(point.background, log_noise, point.weights))
    return svi.init(svi.Guide(droplets, shared), svi.Guide(droplets_sd, np.full(shared.shape, SHARED_SD)))
