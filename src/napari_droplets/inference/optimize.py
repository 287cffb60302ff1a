"""The run of one fit: the problem padded, the guide initialised, chunks of steps until the loss has settled."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.special import expit

from ..droplets import Droplets, Optics
from ..errors import InputError
from ..images import Image
from ..model.assignment import TILE, Tiles, cut
from ..model.generative import FAR, Form, Prior
from . import posterior, svi
from .anchors import anchored
from .calibration import Trial, image_misfit, presence
from .clock import Clock
from .fit import Progress
from .gauge import Tie, regauge, trust, unexplained, wanted
from .laplace import Belief, Evidence, polish, prior_belief
from .population import LIKELY, POSSIBLE, pinned_rows, reconsidered
from .propose import contrast, pixel_noise
from .settings import Settings
from .start import Seen, Start, first_sight, starting_point
from .thinning import spacing, thinned
from .view import look

SHARED_SD, PLACE_SD, COMPOSITION_SD = 3e-4, 0.01, 0.1
"""Standard deviations to start from: of what droplets share, places and log radii, unconstrained compositions …"""
HELD_SD = 1e-3
"""… and of those that are held."""
REFRESH = 4
"""Chunks between two searches for candidates: droplets move by small parts of a radius in a hundred steps."""
LEARNING_RATE = 0.02
"""Of compositions and background …"""
PLACE_RATE, OPTICS_RATE = 0.0, 0.1
"""… and parts of it for places and radii, and for the optics, which start near where they belong: the noise of faster
steps would move droplets along with their optics, and make them shrink."""
FIRST_POLISH, LAST_POLISH = 2, 2
"""Gauss-Newton steps before the stochastic ones, after a first one that judges the optics (with those of an earlier
image one is enough), and after them."""
SIGHT_POLISH = 3
"""Gauss-Newton steps that measure what droplets absorb: then two from the same color agree to a few percent."""
FINAL_RATE = 0.05
"""Fraction of the learning rate at the end of the cooling."""
COOLING = 0.3
"""Fraction of the steps over which the learning rate falls, which takes the noise out of the solution."""
SETTLED_CHUNKS = 16
"""The loss has settled when these chunks are no better than the same number before them …"""
SETTLED_GAIN = 1e-3
"""… by this many nats per value of the image."""
RESERVE = 4.0
"""Seconds of a time limit kept for the posterior at the end; compiling it takes most of them."""
LEAST_DROPLETS, LEAST_TILES = 8192, 4096
"""Sizes of arrays at least, so that most images are fitted by the same compiled program."""
PROMISING = 0.4
"""Optics that leave no larger part unexplained at first sight, with droplets where proposed, are looked at again once
these have moved, and other blurs are tried; the others have to be learned first."""
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
    free: svi.Guide
    """1 for what may change, 0 for what is held; broadcasts against the guide's means."""
    probability: np.ndarray | None = None
    """(N,) that a candidate is a droplet, before the fit; None where all of them are taken for granted."""
    blurs: tuple[list[dict[str, np.ndarray]], ...] = ()
    """Optics for sharper images than those that the fit starts from, and for softer ones, nearest first."""


class Outcome(NamedTuple):
    """Where a run ended: parameters (NumPy), droplets left, (step, loss, seconds) of each chunk, why it stopped."""

    parameters: svi.Variational
    present: np.ndarray
    losses: Losses
    stopped: str
    values: float
    """Intensities that the loss counts; after a local refit not those of the whole image."""
    belief: Belief | None = None
    """What is believed of each droplet in the end; None where the run was stopped before."""
    evidence: Evidence | None = None
    probability: np.ndarray | None = None
    """(N,) that a candidate is a droplet."""
    trial: Trial | None = None
    """What was seen of each candidate."""
    proposed: np.ndarray | None = None
    """(N,) that a candidate is a droplet, before the fit."""


def form_of(channels: int, settings: Settings) -> Form:
    """The shape of the program for an image and settings."""
    learn_noise = settings.noise is None
    return Form(
        channels, settings.components, settings.composition, settings.background, settings.renderer, learn_noise
    )


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
        prior = prior._replace(present=probability >= LIKELY)
    anchor = svi.pad(np.stack([start.x, start.y, start.radius], -1), padded, FAR).astype(np.float32)
    anchor[n:, 2] = 1
    state = _initial_state(point, padded, settings)
    located = posterior.mean_latents(jax.device_get(state.parameters), anchor, form)
    view = look(located, prior.present, tiles, form, total, settings.seed)
    problem = svi.Problem(*(svi.pad(a, total) for a in tiles), view, prior, anchor)
    free = svi.all_free(padded, form)
    free.droplets[np.flatnonzero(pinned_rows(start)), :3] = 0
    if point.held is not None:
        free.droplets[:n, 3:][point.held] = 0
    if not settings.learn_optics:
        free.shared[svi.optics_part(form)] = 0
    return Setup(
        form, jax.device_put(problem), prior, anchor, tiles, state, free, probability, (point.sharper, point.softer)
    )


def typical_radius(start: Droplets) -> float:
    """Median radius of the droplets that take part from the beginning: the others depend on what found them."""
    p = start.p_present
    likely = None if p is None else p >= LIKELY
    return float(np.median(start.radius if likely is None or not likely.any() else start.radius[likely]))


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
    whole = setup
    if (every := spacing(setup)) > 1:
        setup = thinned(setup, every, settings.seed)
    form, problem, prior, anchor, tiles, state, free, probability, blurs = setup
    schedule = Schedule(settings.steps, clock)
    values = float(np.sum(tiles.weight)) * form.channels
    losses: Losses = []
    chunks: list[float] = []
    parameters = jax.device_get(state.parameters)
    noise = float(np.clip(pixel_noise(tiles.values.reshape(-1, TILE, form.channels)), *NOISE_RANGE))
    learning = bool(np.any(free.shared[svi.optics_part(form)]))
    moving = learning or bool(np.any(free.shared))
    pace = np.where(np.arange(free.droplets.shape[1]) < 3, PLACE_RATE, 1).astype(np.float32)
    rates = svi.Guide(free.droplets * pace, free.shared * np.float32(OPTICS_RATE))
    tie: Tie | None = None
    step, nan = 0, float("nan")
    count = int(np.sum(prior.present))

    def viewed(droplets: np.ndarray, present: np.ndarray) -> svi.Problem:
        there = parameters._replace(mean=parameters.mean._replace(droplets=droplets))
        located = posterior.mean_latents(there, anchor, form)
        view = look(located, present, tiles, form, len(problem.corner), settings.seed + step)
        return problem._replace(view=jax.device_put(view))

    def polish_of(droplets: np.ndarray, problem: svi.Problem, steps: int) -> tuple[Belief, Evidence]:
        return polish(droplets, parameters.mean.shared, problem, noise, form, free.droplets, steps)

    def polished(steps: int) -> tuple[svi.Variational, Belief, Evidence]:
        belief, seen = polish_of(parameters.mean.droplets, problem, steps)
        return _with_belief(parameters, belief, free.droplets), belief, seen

    def tied(parameters: svi.Variational) -> svi.Variational:
        if tie is None:
            return parameters
        moved = regauge(parameters, wanted(parameters, anchor, prior, tie), form)
        droplets = np.where(free.droplets > 0, moved.mean.droplets, parameters.mean.droplets)
        return moved._replace(mean=moved.mean._replace(droplets=droplets))

    def focused(
        parameters: svi.Variational, belief: Belief, seen: Evidence
    ) -> tuple[svi.Variational, Belief, Evidence]:
        """Optics of another blur where they explain the image better: proposals off center look like blur."""
        shared = svi.unpack(parameters.mean.shared, form)
        for looks in blurs:
            for weights in looks:
                other = svi.pack(shared._replace(optics=weights))
                tried, fit = polish(belief.mean, other, problem, noise, form, free.droplets, 2)
                if fit.tiles.sum() / seen.tiles.sum() * (fit.unit / seen.unit) ** 2 >= 1:
                    break
                parameters = _with_belief(parameters, tried, free.droplets)
                parameters = parameters._replace(mean=parameters.mean._replace(shared=other))
                belief, seen = tried, fit
        return parameters, belief, seen

    def outcome(stopped: str, steps: int) -> Outcome:
        nonlocal parameters, problem, prior, anchor, tiles
        parameters = tied(parameters)
        p, trial = probability, None
        if p is not None and steps > 1:
            waiting = ~prior.present & (p >= POSSIBLE)
            told = partial(prior_belief, form=form, free=free.droplets)
            census = reconsidered(
                parameters.mean.droplets,
                prior.present,
                p,
                waiting,
                viewed,
                polish_of,
                lambda z, problem: told(problem, z),
            )
            prior = prior._replace(present=census.present)
            mean = parameters.mean._replace(droplets=census.droplets.astype(np.float32))
            parameters = parameters._replace(mean=mean)
            trial = census.trial
        if steps > 1 and whole is not setup:
            prior = whole.prior._replace(present=prior.present)
            problem, anchor, tiles = whole.problem, whole.anchor, whole.tiles
        problem = viewed(parameters.mean.droplets, prior.present)
        final, belief, seen = polished(steps)
        if trial is not None:
            p = presence(probability, trial, image_misfit(seen, prior.present))
        return Outcome(final, prior.present, losses, stopped, values, belief, seen, p, trial, probability)

    reply = yield Progress("compile", 0, schedule.end, nan, nan, count, partial(snapshot, parameters, prior.present))
    if reply is not False and learning:
        parameters, belief, seen = polished(1)
        tie = Tie(belief.mean, trust(seen))
        if unexplained(seen) < PROMISING:  # droplets may be the matter
            before = parameters
            parameters, belief, seen = polished(FIRST_POLISH if any(blurs) else 1)
            parameters, belief, seen = focused(parameters, belief, seen)
            if trust(seen) > 0:
                tie = Tie(belief.mean, trust(seen))
            else:  # the optics have to be learned first
                parameters = before
        parameters = tied(parameters)
        state = state._replace(parameters=jax.device_put(parameters))
        clock.lap("fit")
    while step < schedule.end:
        if reply is False:
            return outcome("cancelled", 1)
        if step % (REFRESH * svi.STEPS_PER_CHUNK) == 0:
            if step and moving:
                parameters = tied(polished(1)[0])
                state = state._replace(parameters=jax.device_put(parameters))
            problem = viewed(parameters.mean.droplets, prior.present)
        rate = np.float32(schedule.rate(step))
        state, chunk_losses = svi.chunk(state, problem, rates, rate, np.uint32(settings.seed), np.uint32(step), form)
        loss = float(np.mean(np.asarray(chunk_losses)))
        chunks.append(clock.lap("fit"))
        if not np.isfinite(loss):
            if not losses:
                raise InputError(f"{name}: the loss is not finite; are these intensities of an image?")
            return outcome("loss not finite", 1)
        parameters = jax.device_get(state.parameters)
        step += svi.STEPS_PER_CHUNK
        losses.append((step, loss, clock.total))
        if len(chunks) == 2:  # the first chunk was compiled as well
            clock.move(max(chunks[0] - chunks[1], 0), "fit", "compile")
        per_chunk = float(np.median(chunks[1:][-10:] or chunks))
        if len(chunks) > 1:
            schedule.observe(step, losses, per_chunk, values)
        left = max(0, schedule.end - step) / svi.STEPS_PER_CHUNK * per_chunk if len(chunks) > 1 else nan
        reply = yield Progress(
            "fit", step, max(schedule.end, step), loss, left, count, partial(snapshot, parameters, prior.present)
        )
    return outcome(schedule.stopped, LAST_POLISH)


def _with_belief(parameters: svi.Variational, belief: Belief, free: np.ndarray) -> svi.Variational:
    """Parameters with means and deviations of what is believed, where droplets may move."""
    mean, log_sd = parameters
    sd = 0.5 * np.log(np.einsum("nii->ni", belief.covariance))
    return svi.Variational(
        mean._replace(droplets=np.where(free > 0, belief.mean, mean.droplets).astype(np.float32)),
        log_sd._replace(droplets=np.where(free > 0, sd, log_sd.droplets).astype(np.float32)),
    )
