"""The run of one fit: rounds until the ELBO has settled, population, and last steps until droplets are still."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np

from ..droplets import Droplets
from ..errors import InputError
from ..lazy import Pixels
from ..progress import Clock, Progress
from ..settings import Settings
from . import loop
from .population import Census, judged, reconsidered
from .state import Setup, State
from .steps.evidence import look
from .steps.optics_step import STEPS

BACK, AFTERWARDS, FOLLOWING = 0.9, 2, 0.25
"""Where less than this part of the trust in outlines is left once optics are learned, droplets go back to their
proposals on the whole, and optics follow in so many rounds, at this part of the learning rate."""
KNOWN = 0.08
"""Of the learning rate, where optics are known already: what they lose by random steps is then less than what they gain
where they were right."""
LAST_PASSES = 10
"""Steps of droplets at most in the end; after the first only those that still move are looked at."""
RESERVE = 1.0
"""Seconds of a time limit kept for the posterior at the end."""

Losses = list[tuple[float, float, float]]


class Outcome(NamedTuple):
    """Where a run ended."""

    setup: Setup
    state: State
    losses: Losses
    """(step, loss, seconds) of each round."""
    stopped: str
    """'settled', 'steps', 'time', 'cancelled' or 'not finite'."""
    values: float
    """Intensities that the loss counts; after a local refit not those of the whole image."""
    census: Census | None


Snapshot = Callable[[Setup, State], tuple[Droplets, Pixels]]


def iterate_rounds(
    setup: Setup,
    state: State,
    settings: Settings,
    clock: Clock,
    name: str,
    snapshot: Snapshot,
    most_passes: int = loop.MOST_PASSES,
) -> Generator[Progress, bool | None, Outcome]:
    """Run rounds until settled, out of steps or time, or told to stop; the last sound state is kept.

    `most_passes` over the pixels precede the decision who is a droplet, where optics are held; with none of them all
    candidates are tried at once. A loss that is not finite at the start is an `InputError`.
    """
    losses: Losses = []
    rate = (KNOWN if setup.given else 1) * loop.LEARNING_RATE
    schedule = loop.Schedule(rate, min(loop.CYCLE, max(1, settings.steps // (loop.CHUNKS * STEPS))))
    nan = float("nan")
    stopped = "steps"

    def progress(stage: str, loss: float, left: float, end: int) -> Progress:
        def picture() -> tuple[Droplets, Pixels]:
            return snapshot(setup, state)

        return Progress(stage, state.step, max(end, state.step), loss, left, int(state.present.sum()), picture)

    reply = yield progress("compile", nan, nan, settings.steps)
    cancelled = reply is False
    info: loop.Info | None = None
    passes = 0
    if setup.learning or most_passes > 0:
        state, info = loop.move_droplets(setup, state, loop.DAMPING[0])
        if not np.isfinite(info.loss):
            raise _not_finite(name)
        clock.lap("compile")
        passes = 1
        losses.append((state.step, info.loss, clock.total))
    rounds, began, sound, settling = 0, clock.total, state, setup.given
    while not cancelled:
        moving = info.moving if info is not None and settling and passes < most_passes else None
        settling = moving is not None and bool(moving.any())
        if not settling and (not setup.learning or state.step >= settings.steps):
            stopped = "steps" if setup.learning else "settled"
            break
        if not settling:
            if setup.given and schedule.round == 0:  # these optics say where droplets are
                state = state._replace(offset=loop.offset(setup, state.mean, state.present))
            if info is not None:
                schedule.begin(state, info.loss)
            for _ in range(loop.CHUNKS):
                state = loop.learn_shared(setup, state, schedule.rate)
        if passes == 1 or (not settling and schedule.round % loop.RELIST == 0):
            state = loop.grounded(setup, state) if setup.moving is None else state
            state = loop.listed(setup, state, complete=False)
        damping, some = (loop.DAMPING[1], moving) if settling else (loop.DAMPING[0], None)
        state, info = loop.move_droplets(setup, state, damping, some=some)
        passes, rounds = passes + 1, rounds + 1
        clock.lap("fit")
        if not np.isfinite(info.loss):
            stopped = "not finite"
            state = sound._replace(seen=None)  # what it shows may hold the colors of the step that failed
            break
        sound = state
        losses.append((state.step if setup.learning else passes, info.loss, clock.total))
        per_round = (clock.total - began) / rounds
        left = per_round * max(0, settings.steps - state.step) / (loop.CHUNKS * STEPS)
        reply = yield progress("fit", info.loss, left, settings.steps)
        settled = False
        if not settling:
            state, settled = schedule.observe(setup, state, info.settling, info.loss)
        if reply is False:
            cancelled = True
        elif settled:
            stopped = "settled"
            break
        elif clock.left < RESERVE + 3 * per_round:
            stopped = "time"
            break
    stopped = "cancelled" if cancelled else stopped
    if setup.learning and not cancelled:
        before = state.trust
        assert state.evidence is not None
        left = state.evidence.unexplained_of(state.present)
        state = state._replace(trust=loop.outline_trust(setup.light, left))  # once: what goes back is explained worse
        state, info = loop.move_droplets(setup, state, loop.DAMPING[1], learned=True)
        for part in range(AFTERWARDS if state.trust < BACK * before and stopped != "time" else 0):
            for _ in range(loop.CHUNKS):
                state = loop.learn_shared(setup, state, FOLLOWING * loop.LEARNING_RATE * (1 - part / AFTERWARDS))
            state, info = loop.move_droplets(setup, state, loop.DAMPING[1], learned=True)
    census = None
    if setup.probability is not None and not cancelled:
        state, census = reconsidered(setup, state, settled=passes > 0)
    state = state._replace(asymmetry=loop.asymmetry(setup, state))
    state = loop.grounded(setup, state) if setup.moving is None and not cancelled else state
    del schedule, sound  # and with them the backgrounds of earlier states: the list of all pixels takes their memory
    state = loop.listed(setup, state, complete=True)
    state, info = _still(setup, state, clock, 1 if cancelled else LAST_PASSES)
    if not losses and not np.isfinite(info.loss):
        raise _not_finite(name)
    last = judged(setup, state)
    if census is not None:
        census = Census(*(np.where(state.present, a, b) for a, b in zip(last, census, strict=True)))
    else:
        census = last
    losses.append((losses[-1][0] if losses else state.step, info.loss, clock.total))
    clock.lap("fit")
    return Outcome(setup, state, losses, stopped, loop.intensities(setup, state), census)


def _still(setup: Setup, state: State, clock: Clock, most: int) -> tuple[State, loop.Info]:
    """Steps of droplets, `most` or until they are still, and what the pixels say of them then.

    After the first step only those that still move are looked at; in the end those of which a neighbor moved since, and
    the noise.
    """
    moving: np.ndarray | None = None
    outdated = np.zeros(setup.size, bool)
    again = False
    for _ in range(most):
        sound = state
        state, info = loop.move_droplets(setup, state, loop.DAMPING[1], learned=True, some=moving)
        if again := not np.isfinite(info.loss):
            state = sound
            break
        looked_at = state.present if moving is None else moving
        moving = info.moving
        assert state.seen is not None
        outdated = (outdated & ~looked_at) | state.seen.beside(moving)
        if not moving.any() or clock.left < RESERVE:
            break
    # what was drawn in a step that failed is not kept
    evidence, seen = look(setup, state, None if again else state.present & (outdated | info.moving), noise=True)
    if np.isfinite(evidence.squares):
        state = state._replace(evidence=evidence, seen=seen, noise=evidence.noise)
    return state, info


def _not_finite(name: str) -> InputError:
    return InputError(f"{name}: the loss is not finite; are these intensities of an image?")
