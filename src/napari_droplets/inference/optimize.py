"""The run of one fit: the problem padded, the guide initialised, chunks of steps until the loss has settled."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ..droplets import Droplets, Optics
from ..errors import InputError
from ..images import Image
from ..model.assignment import Tiles, cut
from ..model.generative import Form, Prior
from ..model.optics import initial_weights
from . import posterior, svi
from .clock import Clock
from .fit import Progress
from .gauge import expected, outline, regauge
from .population import duplicates
from .propose import contrast
from .settings import Settings
from .start import Start, starting_point

REFRESH = 2
"""Chunks between two searches for candidates: droplets move by small parts of a radius in a hundred steps."""
LEARNING_RATE = 0.02
WARM_UP = 100
"""Steps for which droplets stay where they are: they would only flee from optics that are still wrong."""
TIDY = (250, 400, 550, 700, 900, 1100, 1400)
"""Steps after which droplets are tied to their outlines and duplicates go, and once more when half cooled."""
FINAL_RATE = 0.05
"""Fraction of the learning rate at the end of the cooling."""
COOLING = 0.3
"""Fraction of the steps over which the learning rate falls, which takes the noise out of the solution."""
SETTLED_CHUNKS = 8
"""The loss has settled when these chunks are no better than the same number before them …"""
SETTLED_GAIN = 1e-3
"""… by this many nats per value of the image."""
RESERVE = 4.0
"""Seconds of a time limit kept for the posterior at the end; compiling it takes most of them."""
RADIUS_SPREAD = 0.5
"""Prior standard deviation of the log radius, as published, where proposals bring no uncertainty of their own."""
NOISE_RANGE = (0.002, 0.2)
"""Bounds of the noise read off the pixels, where its prior is centered."""

Losses = list[tuple[float, float, float]]


class Setup(NamedTuple):
    """A fit ready to run, in pixels of the resized image."""

    form: Form
    problem: svi.Problem
    prior: Prior
    anchor: np.ndarray
    tiles: Tiles
    state: svi.State
    rates: svi.Guide


class Outcome(NamedTuple):
    """Where a run ended: parameters (NumPy), droplets left, (step, loss, seconds) of each chunk, why it stopped."""

    parameters: svi.Variational
    present: np.ndarray
    losses: Losses
    stopped: str
    values: float
    """Intensities that the loss counts; after a local refit not those of the whole image."""


def form_of(channels: int, settings: Settings) -> Form:
    """The shape of the program for an image and settings."""
    learn_noise = settings.noise is None
    return Form(channels, settings.types, settings.composition, settings.background, settings.renderer, learn_noise)


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


def prepare(work: Image, start: Droplets, optics: Optics | None, settings: Settings) -> Setup:
    """Pad everything to buckets and set the guide's starting point; `work` and `start` at the working scale."""
    form = form_of(work.shape[2], settings)
    if optics is not None:
        check_optics(optics, form, work)
    tiles = cut(work.pixels)
    n = len(start)
    padded, total = svi.bucket(n, 256), posterior.padded_tiles(len(tiles.corner))
    noise = settings.noise or float(np.clip(contrast(work.pixels)[1], *NOISE_RANGE))
    length = optics.length * settings.scale if optics else float(np.median(start.radius))
    prior = _prior(start, padded, work, length, noise)
    anchor = svi.pad(np.stack([start.x, start.y, start.radius], -1), padded, 1).astype(np.float32)
    point = starting_point(work, start, optics, form, length)
    if optics:
        weights: dict[str, Any] = optics.weights
    else:
        weights = initial_weights(settings.seed, form.channels, form.types)
    state = _initial_state(point, padded, weights, settings)
    filled = Tiles(*(svi.pad(a, total) for a in tiles))
    located = posterior.mean_latents(jax.device_get(state.parameters), anchor, form)
    assigned = posterior.assign(located, prior.present, tiles, form, total)
    problem = svi.Problem(*filled, assigned, np.int32(len(tiles.corner)), prior, anchor)
    return Setup(form, jax.device_put(problem), prior, anchor, tiles, state, svi.unit_rates(padded, form))


def _prior(start: Droplets, padded: int, work: Image, length: float, noise: float) -> Prior:
    n = len(start)
    h, w, _ = work.shape

    def full(values: Any, value: float) -> np.ndarray:
        return svi.pad(np.broadcast_to(values, n), padded, value).astype(np.float32)

    position_sd: Any = None
    log_radius: Any = np.log(np.median(start.radius))
    log_radius_sd: Any = RADIUS_SPREAD
    if start.x_sd is not None and start.radius_sd is not None:
        known = np.isfinite(start.x_sd) & np.isfinite(start.radius_sd)
        position_sd = full(np.where(known, start.x_sd, max(h, w)), 1)
        log_radius = np.where(known, np.log(start.radius), log_radius)
        log_radius_sd = np.where(known, start.radius_sd / start.radius, RADIUS_SPREAD)
    return Prior(
        x=full(start.x, 0),
        y=full(start.y, 0),
        position_sd=position_sd,
        log_radius=full(log_radius, 0),
        log_radius_sd=full(log_radius_sd, 1),
        present=np.arange(padded) < n,
        size=np.array([w, h], np.float32),
        length=np.float32(length),
        noise=np.float32(noise),
    )


def _initial_state(point: Start, padded: int, weights: dict[str, Any], settings: Settings) -> svi.State:
    n, d = point.composition.shape
    droplets = svi.pad(np.concatenate([np.zeros((n, 3)), point.composition], -1), padded)
    droplets_sd = np.concatenate([np.full((padded, 3), 0.1), np.full((padded, d), 0.2)], -1)
    log_noise = np.log(settings.noise or point.noise)
    shared = svi.pack(svi.Shared(point.background, log_noise, weights))
    return svi.init(svi.Guide(droplets, shared), svi.Guide(droplets_sd, np.full(shared.shape, 0.01)))


class Schedule:
    """Learning rate and end of a run: constant until the loss settles or the budget nears its end, then cooling."""

    def __init__(self, steps: int, clock: Clock) -> None:
        self.end, self.clock = steps, clock
        self.cooling_from = self._cooling(steps)
        self.stopped = "steps"

    @staticmethod
    def _cooling(end: float) -> int:
        return int(end * (1 - COOLING))

    @property
    def halfway(self) -> float:
        """Step in the middle of the cooling."""
        return (self.cooling_from + self.end) / 2

    def rate(self, step: int) -> float:
        """Learning rate at a step."""
        cooled = max(0.0, step - self.cooling_from) / max(1, self.end - self.cooling_from)
        return LEARNING_RATE * FINAL_RATE ** min(1.0, cooled)

    def observe(self, step: int, losses: Losses, per_chunk: float, values: float) -> None:
        """Bring the end forward when time is short or the loss has settled."""
        by_time = step + max(0.0, self.clock.left - RESERVE) / per_chunk * svi.STEPS_PER_CHUNK
        if by_time < self.end:
            self.end, self.stopped = int(by_time), "time"
            self.cooling_from = min(self.cooling_from, max(step, self._cooling(self.end)))
        if step < self.cooling_from and _settled(losses, values):
            self.cooling_from, self.stopped = step, "settled"
            self.end = min(self.end, int(step / (1 - COOLING)))


def _tidied(parameters: svi.Variational, prior: Prior, anchor: np.ndarray, form: Form) -> tuple[svi.Variational, Prior]:
    """Tie droplets to their outlines, or to what proposals say of them, and take duplicates out."""
    if prior.position_sd is not None:
        parameters = regauge(parameters, expected(parameters, anchor, prior, form), form)
    else:
        circle = outline(parameters, anchor, prior, form)
        parameters = regauge(parameters, circle, form)
        prior = prior._replace(log_radius=prior.log_radius + np.float32(np.log(circle.radius)))
    located = posterior.mean_latents(parameters, anchor, form)
    here = np.flatnonzero(prior.present)
    gone = here[duplicates(*(located[name][here] for name in ("x", "y", "radius")))]
    present = prior.present.copy()
    present[gone] = False
    return parameters, prior._replace(present=present)


def _settled(losses: Losses, values: float) -> bool:
    if len(losses) < 2 * SETTLED_CHUNKS:
        return False
    recent = np.asarray(losses)[-2 * SETTLED_CHUNKS :, 1]
    return float(recent[:SETTLED_CHUNKS].mean() - recent[SETTLED_CHUNKS:].mean()) < SETTLED_GAIN * values


def iterate_chunks(
    setup: Setup,
    settings: Settings,
    clock: Clock,
    name: str,
    snapshot: Callable[[svi.Variational, np.ndarray], tuple[Droplets, np.ndarray]],
) -> Generator[Progress, bool | None, Outcome]:
    """Run chunks until settled, out of steps or time, or told to stop; the last sound parameters are kept.

    Raises
    ------
    InputError
        The loss is not finite in the first chunk.
    """
    form, problem, prior, anchor, tiles, state, rates = setup
    schedule = Schedule(settings.steps, clock)
    values = float(np.sum(tiles.weight)) * form.channels
    losses: Losses = []
    chunks: list[float] = []
    parameters = jax.device_get(state.parameters)
    learn_optics, tidied = bool(np.any(rates.shared)), False
    still = rates._replace(droplets=np.where(np.arange(rates.droplets.shape[1]) < 3, 0, rates.droplets))
    step, nan = 0, float("nan")
    count = int(np.sum(prior.present))
    reply = yield Progress("compile", 0, schedule.end, nan, nan, count, partial(snapshot, parameters, prior.present))
    while step < schedule.end:
        if reply is False:
            return Outcome(parameters, prior.present, losses, "cancelled", values)
        if step and step % (REFRESH * svi.STEPS_PER_CHUNK) == 0:
            located = posterior.mean_latents(parameters, anchor, form)
            assigned = posterior.assign(located, prior.present, tiles, form, len(problem.corner))
            problem = problem._replace(candidates=jax.device_put(assigned))
        rate = np.float32(schedule.rate(step))
        moving = still if learn_optics and step < WARM_UP else rates
        state, chunk_losses = svi.chunk(state, problem, moving, rate, np.uint32(settings.seed), np.uint32(step), form)
        loss = float(np.mean(chunk_losses))
        chunks.append(clock.lap("fit"))
        if not np.isfinite(loss):
            if not losses:
                raise InputError(f"{name}: the loss is not finite; are these intensities of an image?")
            return Outcome(parameters, prior.present, losses, "loss not finite", values)
        parameters = jax.device_get(state.parameters)
        step += svi.STEPS_PER_CHUNK
        if learn_optics and (step in TIDY or (step > schedule.halfway and not tidied)):
            tidied = step > schedule.halfway
            parameters, prior = _tidied(parameters, prior, anchor, form)
            problem = problem._replace(prior=jax.device_put(prior))
            state = state._replace(parameters=jax.device_put(parameters))
        losses.append((step, loss, clock.total))
        if len(chunks) == 2:  # the first chunk was compiled as well
            clock.move(max(chunks[0] - chunks[1], 0), "fit", "compile")
        per_chunk = float(np.median(chunks[1:][-10:] or chunks))
        if len(chunks) > 1:
            schedule.observe(step, losses, per_chunk, values)
        left = max(0, schedule.end - step) / svi.STEPS_PER_CHUNK * per_chunk if len(chunks) > 1 else nan
        count = int(np.sum(prior.present))
        reply = yield Progress(
            "fit", step, max(schedule.end, step), loss, left, count, partial(snapshot, parameters, prior.present)
        )
    return Outcome(parameters, prior.present, losses, schedule.stopped, values)
