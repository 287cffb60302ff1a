"""How many components an image needs: short fits with few and more of them, judged by pixels that they have not seen.

Colors of C channels tell at most C free components apart, or C + 1 species: more are not tried.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..composition.anchors import anchored
from ..droplets import Droplets, Optics
from ..images import Image
from ..model.assignment import cut
from ..model.generative import Form
from ..progress import Clock, Progress
from ..settings import AUTO, Settings
from . import posterior, svi
from .laplace import LEAST_NOISE
from .optimize import RESERVE, Outcome, iterate_chunks
from .prepare import Setup, form_of, prepare, sighted, typical_radius
from .start import Start, starting_point

STEPS = 200
"""Of a trial; half of what lowers the loss is reached by then, from the same start for all."""
HELD_OUT = 0.25
"""Part of the pixels that is held out …"""
BLOCK = 16
"""… in every other block of so many pixels a side; blocks are also what the error of a comparison is counted over."""
ABSENT = -12.0
"""Logit of the fraction of a species that does not take part."""
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
    image: Image, start: Droplets, optics: Optics | None, settings: Settings, clock: Clock
) -> Generator[Progress, bool | None, tuple[Settings, list[dict[str, Any]] | None]]:
    """Settings with the number of components, and what was tried where it had to be found out; see `choose_types`."""
    if settings.types != AUTO:
        return settings, None
    if (told := optics.types if optics else anchored(start)) is not None:
        return replace(settings, types=told), None
    types, tried = yield from choose_types(image, start, settings, clock)
    return replace(settings, types=types), tried


def choose_types(
    image: Image, start: Droplets, settings: Settings, clock: Clock, counted: np.ndarray | None = None
) -> Generator[Progress, bool | None, tuple[int, list[dict[str, Any]]]]:
    """Find the smallest number of components that is as good as the best.

    As good is what lacks no more than a standard error, or than `WORTH` of what the best one leaves unexplained.

    Parameters
    ----------
    image, start : Image, Droplets
        Pixels and droplets to start from, in pixels of the image.
    settings : Settings
        Of the fit to come.
    clock : Clock
        Its time limit, if any, is kept.
    counted : ndarray, optional
        (H, W), 0 for pixels of the resized image that do not count.

    Returns
    -------
    int, list of dict
        The number, and for each one tried `types`, `log_likelihood` per held-out intensity, what it lacks to the best
        one (`short`) and the standard error of that (`short_error`), from paired differences of blocks.
    """
    work, begin = image.rescaled(settings.scale), start.scaled(settings.scale)
    tried = candidates(work.shape[2], settings.composition)
    limit = clock.left / (2 * len(tried)) + RESERVE if np.isfinite(clock.left) else None
    wide = replace(settings, types=tried[-1], steps=min(STEPS, settings.steps), learn_optics=True, max_seconds=None)
    if wide.renderer == AUTO:
        wide = replace(wide, renderer="nearest")
    seen_pixels, judged = _split(work.shape[:2], settings.seed)
    if counted is not None:
        seen_pixels, judged = seen_pixels & (counted > 0), judged & (counted > 0)
    sight = sighted(work, begin, wide, seen_pixels)
    length = typical_radius(begin)
    trials: list[Trial] = []
    for types in tried:
        form = form_of(work.shape[2], replace(settings, types=types))
        point = starting_point(work, begin, None, form, length, settings.seed, sight)
        setup = prepare(work, begin, None, wide, widened(point, form, tried[-1]), seen_pixels)._replace(
            probability=None
        )
        fitting = iterate_chunks(setup, wide, Clock(limit), image.name, _nothing)
        reply: bool | None = None
        while True:
            try:
                reply = yield fitting.send(reply)._replace(stage="types")
            except StopIteration as end:
                outcome = end.value
                break
        trials.append(_judged(types, work, setup, outcome, settings, judged))
        if outcome.stopped == "cancelled":
            break
    clock.lap("fit")
    table = compared(trials)
    return chosen(trials, table), [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


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


def widened(point: Start, form: Form, most: int) -> Start:
    """The same start for a program with more components, the first of which do not take part."""
    more = most - form.types
    n, inputs = len(point.composition), form.channels + 3
    simplex = form.composition == "simplex"
    held = np.zeros(point.composition.shape, bool) if point.held is None else point.held

    def wide(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kernel = weights["Dense_0.kernel"]
        rows = np.zeros((more, kernel.shape[1]), kernel.dtype)
        return weights | {"Dense_0.kernel": np.concatenate([kernel[:inputs], rows, kernel[inputs:]])}

    return point._replace(
        composition=np.concatenate([np.full((n, more), ABSENT if simplex else 0.0), point.composition], 1),
        weights=wide(point.weights),
        sharper=[wide(w) for w in point.sharper],
        softer=[wide(w) for w in point.softer],
        held=np.concatenate([np.ones((n, more), bool), held], 1),
    )


def _judged(types: int, work: Image, setup: Setup, outcome: Outcome, settings: Settings, judged: np.ndarray) -> Trial:
    """Log likelihood of the pixels that were held out, at the posterior's mean."""
    form, parameters = outcome.form, outcome.parameters
    latents = posterior.mean_latents(parameters, setup.anchor, form)
    prior = setup.prior._replace(present=outcome.present)
    residual = work.pixels - posterior.render_image(latents, cut(work.pixels), prior, form)
    noise = settings.noise or float(np.exp(svi.unpack(parameters.mean.shared, form).log_noise))
    log_p = -0.5 * (residual / noise) ** 2 - np.log(noise) - 0.5 * np.log(2 * np.pi)
    least = max(noise if outcome.evidence is None else min(noise, outcome.evidence.noise), LEAST_NOISE)
    v, u = np.indices(judged.shape) // BLOCK
    block = (v * (u.max() + 1) + u)[judged]
    sums = np.bincount(block, log_p[judged].sum(-1))
    possible = -0.5 - np.log(least) - 0.5 * np.log(2 * np.pi)
    return Trial(types, sums[np.unique(block)], float(judged.sum() * form.channels), float(possible))


def compared(trials: list[Trial]) -> pd.DataFrame:
    """A row for each number of components: see `choose_types`."""
    best = trials[int(np.argmax([t.blocks.sum() for t in trials]))]
    rows = []
    for t in trials:
        short = best.blocks - t.blocks
        rows.append(
            {
                "types": t.types,
                "log_likelihood": float(t.blocks.sum() / t.values),
                "short": float(short.sum() / t.values),
                "short_error": float(np.sqrt(len(short)) * short.std() / t.values),
            }
        )
    return pd.DataFrame(rows)


def chosen(trials: list[Trial], table: pd.DataFrame) -> int:
    """The smallest number of components that is as good as the best."""
    best = int(table["log_likelihood"].argmax())
    unexplained = max(0.0, trials[best].possible - float(table["log_likelihood"].iloc[best]))
    return int(table.loc[table["short"] <= np.maximum(table["short_error"], WORTH * unexplained), "types"].min())
