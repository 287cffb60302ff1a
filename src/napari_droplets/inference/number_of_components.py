"""How many components an image needs: short fits with few and more of them, judged by pixels that they have not seen.

Colors of C channels tell at most C free components apart, or C + 1 species: more are not tried.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..composition.anchors import anchored
from ..droplets import Droplets, Optics
from ..images import Image
from ..lazy import Block, LazyPixels, blocks
from ..model.picture import draw
from ..model.problem import PLACE
from ..progress import Clock, Progress, retold
from ..settings import AUTO, Settings
from ..transforms import constrained
from .prepare import prepare
from .run import Outcome, iterate_rounds
from .state import circles

STEPS = 200
"""Of a trial; half of what lowers the loss is reached by then, from the same start for all."""
HELD_OUT = 0.25
"""Part of the pixels that is held out …"""
BLOCK = 16
"""… in every other block of so many pixels a side; blocks are also what the error of a comparison is counted over."""
SIDE = 3072
"""Pixels; of a large image the trials are of a block of this side."""
WORTH = 0.03
"""A component more has to explain at least this part of what the best trial leaves unexplained above the noise: it
explains some of any image that is not quite as the model thinks."""


class Trial(NamedTuple):
    """Log likelihood of held-out intensities by block (B,), how many there are, and what noise alone would give."""

    types: int
    blocks: np.ndarray
    values: float
    possible: float


def resolved(
    image: Image,
    start: Droplets,
    optics: Optics | None,
    settings: Settings,
    clock: Clock,
    tiles: tuple[Block, ...] = (),
) -> Generator[Progress, bool | None, tuple[Settings, list[dict[str, Any]] | None]]:
    """Settings with the number of components, and what was tried where it had to be found out; see `choose_types`."""
    if settings.types != AUTO:
        return settings, None
    if (told := optics.types if optics else anchored(start)) is not None:
        return replace(settings, types=told), None
    if isinstance(image.pixels, LazyPixels):
        image, start = crowded_part(image, start)
    types, tried = yield from choose_types(image, start, settings, clock, tiles)
    return replace(settings, types=types), tried


def crowded_part(image: Image, start: Droplets) -> tuple[Image, Droplets]:
    """The block of a large image that holds most candidates, as an image of its own, and these."""
    parts = list(blocks(image.shape, SIDE))
    own = [part.owns(start.x, start.y, image.shape) for part in parts]
    most = int(np.argmax([some.sum() for some in own]))
    part, some = parts[most], start[own[most]]
    return image.cropped(part.slices), replace(some, x=some.x - part.left, y=some.y - part.top)


def choose_types(
    image: Image, start: Droplets, settings: Settings, clock: Clock, tiles: tuple[Block, ...] = ()
) -> Generator[Progress, bool | None, tuple[int, list[dict[str, Any]]]]:
    """Find the smallest number of components that is as good as the best.

    As good is what lacks no more than a standard error, or than `WORTH` of what the best one leaves unexplained.
    Returned are the number, and for each one tried `types`, `log_likelihood` per held-out intensity, what it lacks to
    the best one (`short`) and the standard error of that (`short_error`), from paired differences of blocks.
    """
    work, begin = image.rescaled(settings.scale), start.scaled(settings.scale)
    tried = candidates(work.shape[2], settings.composition)
    limit = clock.left / (2 * len(tried)) if np.isfinite(clock.left) else None
    seen, judged = _split(work.shape[:2], settings.seed)
    if work.hidden is not None:
        judged &= ~work.hidden
    trials: list[Trial] = []
    for types in tried:
        some = replace(settings, types=types, steps=min(STEPS, settings.steps), learn_optics=True, max_seconds=None)
        setup, state = prepare(work, begin, None, some, seen, tiles=tiles)
        setup = setup._replace(probability=None)
        fitting = iterate_rounds(setup, state, some, Clock(limit), image.name, _nothing)
        outcome = yield from retold(fitting, lambda progress: progress._replace(stage="types"))
        trials.append(_judged(types, outcome, judged))
        if outcome.stopped == "cancelled":
            break
    clock.lap("fit")
    return compared(trials)


def candidates(channels: int, composition: str) -> list[int]:
    """Numbers of components that colors can tell apart."""
    return list(range(2, channels + 2)) if composition == "simplex" else list(range(1, channels + 1))


def _nothing(*_: Any) -> tuple[Droplets, np.ndarray]:
    raise RuntimeError("there is no snapshot while the number of components is looked for")


def _split(shape: tuple[int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels to fit and pixels to judge by, (H, W) bool; blocks in between stay whole, the noise is read from them."""
    v, u = np.indices(shape) // BLOCK
    held = ((v + u) % 2 == 0) & (np.random.default_rng(seed).random(shape) < HELD_OUT)
    return ~held, held


def _judged(types: int, outcome: Outcome, judged: np.ndarray) -> Trial:
    """Log likelihood of the pixels that were held out, at the posterior's mean."""
    state, form = outcome.state, outcome.setup.form
    here = state.present
    x, y, radius = (a[here] for a in circles(outcome.setup, state.mean))
    composition = constrained(state.mean[here, PLACE:].T, form.composition).T
    picture = draw(x, y, radius, composition, state.ground.field, state.shared, outcome.setup.renderer)
    noise = state.noise
    log_p = -0.5 * ((outcome.setup.image - picture) / noise) ** 2 - np.log(noise) - 0.5 * np.log(2 * np.pi)
    v, u = np.indices(judged.shape) // BLOCK
    block = (v * (u.max() + 1) + u)[judged]
    sums = np.bincount(block, log_p[judged].sum(-1))
    possible = -0.5 - np.log(noise) - 0.5 * np.log(2 * np.pi)
    return Trial(types, sums[np.unique(block)], float(judged.sum() * form.channels), float(possible))


def compared(trials: list[Trial]) -> tuple[int, list[dict[str, Any]]]:
    """The smallest number of components that is as good as the best, and a row for each; see `choose_types`."""
    best = max(trials, key=lambda trial: trial.blocks.sum())
    rows: list[dict[str, Any]] = []
    for trial in trials:
        short = best.blocks - trial.blocks
        rows.append(
            {
                "types": trial.types,
                "log_likelihood": float(trial.blocks.sum() / trial.values),
                "short": float(short.sum() / trial.values),
                "short_error": float(np.sqrt(len(short)) * short.std() / trial.values),
            }
        )
    unexplained = max(0.0, best.possible - best.blocks.sum() / best.values)
    good = [row["types"] for row in rows if row["short"] <= max(row["short_error"], WORTH * unexplained)]
    return min(good), rows
