"""The run of one fit: chunks of steps until the loss has settled, droplets and optics in turns."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import NamedTuple

import numpy as np

from ..droplets import Droplets
from ..errors import InputError
from ..model.generative import Form
from ..progress import Clock, Progress
from ..settings import Settings
from . import svi
from .calibration import Trial
from .estimate import Estimate
from .laplace import Belief, Evidence
from .prepare import Setup

REFRESH = 4
"""Chunks between two searches for candidates: droplets move by small parts of a radius in a hundred steps."""
LEARNING_RATE = 0.02
"""Of compositions and background; see `estimate` for the others."""
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
    now = Estimate(setup, settings.seed)
    schedule = Schedule(settings.steps, clock)
    losses: Losses = []
    chunks: list[float] = []
    nan = float("nan")
    count = int(np.sum(now.present))

    def progress(stage: str, loss: float, left: float) -> Progress:
        end = max(schedule.end, now.step)
        return Progress(stage, now.step, end, loss, left, count, partial(snapshot, now.parameters, now.present))

    def outcome(stopped: str) -> Outcome:
        short = stopped in ("cancelled", "loss not finite")
        final, belief, seen, p, trial = now.finish(stopped_short=short, compare=stopped != "time")
        return Outcome(
            final, now.present, losses, stopped, now.values, now.form, belief, seen, p, trial, now.probability
        )

    reply = yield progress("compile", nan, nan)
    if reply is not False and now.learning:
        now.begin()
        clock.lap("fit")
    while now.step < schedule.end:
        if reply is False:
            return outcome("cancelled")
        if now.step % (REFRESH * svi.STEPS_PER_CHUNK) == 0:
            now.refresh()
        loss = now.advance(schedule.rate(now.step))
        chunks.append(clock.lap("fit"))
        if not np.isfinite(loss):
            if not losses:
                raise InputError(f"{name}: the loss is not finite; are these intensities of an image?")
            return outcome("loss not finite")
        losses.append((now.step, loss, clock.total))
        if len(chunks) == 2:  # the first chunk was compiled as well
            clock.move(max(chunks[0] - chunks[1], 0), "fit", "compile")
        per_chunk = float(np.median(chunks[1:][-10:] or chunks))
        if len(chunks) > 1:
            schedule.observe(now.step, losses, per_chunk, now.values)
        left = max(0, schedule.end - now.step) / svi.STEPS_PER_CHUNK * per_chunk if len(chunks) > 1 else nan
        reply = yield progress("fit", loss, left)
    return outcome(schedule.stopped)
