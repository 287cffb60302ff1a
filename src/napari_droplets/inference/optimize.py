"""The run of one fit: chunks of steps until the loss has settled, droplets and optics in turns."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from ..droplets import Droplets
from ..errors import InputError
from ..model.assignment import TILE
from ..model.generative import Form
from . import posterior, svi
from .calibration import Trial, image_misfit, presence
from .clock import Clock
from .fit import Progress
from .gauge import Tie, regauge, trust, unexplained, wanted
from .laplace import Belief, Evidence, polish, prior_belief
from .population import POSSIBLE, reconsidered
from .prepare import NOISE_RANGE, Setup
from .propose import pixel_noise
from .retie import retied
from .settings import Settings
from .thinning import spacing, thinned
from .view import look, part_of

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
MOST_POLISH = 6
"""Those after them, at most, as long as more than MOVING of the droplets still move by more than STILL of their
standard deviations: where a candidate on top of a droplet has left, that has far to go."""
MOVING, STILL = 0.01, 0.5
WHOLE_POLISH = 1
"""Those with all pixels of a large image, after some with part of them."""
ENDING_POLISH = 2
"""Gauss-Newton steps by which renderers are compared, on part of the image."""
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
PROMISING = 0.2
"""Optics that leave no larger part unexplained at first sight, with droplets where proposed, are looked at again once
these have moved, and other blurs are tried; the others have to be learned first."""

Losses = list[tuple[float, float, float]]


class Outcome(NamedTuple):
    """Where a run ended: parameters (NumPy), droplets left, (step, loss, seconds) of each chunk, why it stopped."""

    parameters: svi.Variational
    present: np.ndarray
    losses: Losses
    stopped: str
    values: float
    """Intensities that the loss counts; after a local refit not those of the whole image."""
    form: Form
    """With the renderer that the run ended with."""
    belief: Belief | None = None
    """What is believed of each droplet in the end; None where the run was stopped before."""
    evidence: Evidence | None = None
    probability: np.ndarray | None = None
    """(N,) that a candidate is a droplet."""
    trial: Trial | None = None
    """What was seen of each candidate."""
    proposed: np.ndarray | None = None
    """(N,) that a candidate is a droplet, before the fit."""


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
    form, problem, prior, anchor, tiles, state, free, probability, looks, at, endings = setup
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
        view = look(located, present, tiles, len(problem.corner), settings.seed + step)
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
        nonlocal at
        shared = svi.unpack(parameters.mean.shared, form)
        begun = at
        for way in (-1, 1):
            while at * way >= begun * way and 0 <= at + way < len(looks):
                other = svi.pack(shared._replace(optics=looks[at + way]))
                tried, fit = polish(belief.mean, other, problem, noise, form, free.droplets, 2)
                if fit.left(seen.plain) >= seen.left(seen.plain):
                    break
                parameters = _with_belief(parameters, tried, free.droplets)
                parameters = parameters._replace(mean=parameters.mean._replace(shared=other))
                belief, seen = tried, fit
                at += way
        return parameters, belief, seen

    def ended() -> None:
        """Go on with the renderer that explains the image best from where the steps have led."""
        nonlocal form, parameters, tie
        mean, begun = parameters.mean, form
        if len(endings) > 1:
            some, whole = part_of(problem)
            others, move = [form._replace(renderer=name) for name in endings], free.droplets * whole[:, None]
            seen = [polish(mean.droplets, mean.shared, some, noise, other, move, ENDING_POLISH)[1] for other in others]
            plain = np.all([one.plain for one in seen], 0)
            form = others[int(np.argmin([one.left(plain) for one in seen]))]
        else:
            form = form._replace(renderer=endings[0])
        if form != begun:
            parameters = polished(1)[0]
        if tie is not None and tie.trust > 0:
            tie = retied(tie, looks, at, problem, noise, form, free.droplets)
            parameters = tied(parameters)

    def outcome(stopped: str, steps: int) -> Outcome:
        nonlocal parameters, problem, prior, anchor, tiles, form
        parameters = tied(parameters)
        p, trial = probability, None
        if steps > 1 and (stopped != "time" or len(endings) == 1):
            ended()
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
            steps = WHOLE_POLISH
        problem = viewed(parameters.mean.droplets, prior.present)
        final, belief, seen = polished(steps)
        for _ in range(MOST_POLISH - steps if steps == LAST_POLISH and trial is not None else 0):
            if not _moving(belief, parameters, prior.present & (free.droplets[:, :3] > 0).any(1)):
                break
            parameters = final
            final, belief, seen = polished(1)
        if trial is not None:
            p = presence(probability, trial, image_misfit(seen, prior.present))
        return Outcome(final, prior.present, losses, stopped, values, form, belief, seen, p, trial, probability)

    reply = yield Progress("compile", 0, schedule.end, nan, nan, count, partial(snapshot, parameters, prior.present))
    if reply is not False and learning:
        parameters, belief, seen = polished(1)
        tie = Tie(belief.mean, parameters.mean.shared, trust(seen))
        if unexplained(seen) < PROMISING:  # droplets may be the matter
            before = parameters
            parameters, belief, seen = polished(FIRST_POLISH if len(looks) > 1 else 1)
            parameters, belief, seen = focused(parameters, belief, seen)
            if trust(seen) > 0:
                tie = Tie(belief.mean, parameters.mean.shared, trust(seen))
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


def _moving(belief: Belief, before: svi.Variational, here: np.ndarray) -> bool:
    """Whether too many of the droplets that are `here` were not yet where they are believed to be."""
    if not here.any():
        return False
    sd = np.sqrt(np.einsum("nii->ni", belief.covariance[here]))
    step = np.abs(belief.mean[here] - before.mean.droplets[here]) / sd
    return bool(np.mean((step > STILL).any(1)) > MOVING)


def _with_belief(parameters: svi.Variational, belief: Belief, free: np.ndarray) -> svi.Variational:
    """Parameters with means and deviations of what is believed, where droplets may move."""
    mean, log_sd = parameters
    sd = 0.5 * np.log(np.einsum("nii->ni", belief.covariance))
    return svi.Variational(
        mean._replace(droplets=np.where(free > 0, belief.mean, mean.droplets).astype(np.float32)),
        log_sd._replace(droplets=np.where(free > 0, sd, log_sd.droplets).astype(np.float32)),
    )
