"""Which droplet of a frame is which of the next: the links that are together most probable.

Each possible link is weighed by how probable its displacement, change of radius and change of composition are for one
droplet, against how probable it is that the one is gone (or missed) and the other new. Droplets that were missed go on
where they were predicted, and can be found again some frames later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln, ndtr

from .frames import Frame, Frames
from .motion import LEAST_MOTION, LEAST_SPREAD, Motion, Step, grown, spread_of

TAILS = 6.0
"""Degrees of freedom of Student's t: outliers of a measurement are more frequent than a Gaussian's."""
GATE = 8.0
"""Links farther than this, in standard deviations of a displacement, are not thought of."""
CLOSE = 0.5
"""... but of those that are farther than so many radii."""
MISSED = 0.02
"""First guess: probability that a droplet is not found in a frame where it is, or is gone in it."""
BORN = 0.02
"""First guess: droplets that are new in a frame, over all."""
MOST_LEAVING = 0.9
"""Probability to leave, at most: droplets are found a little beyond the border, too."""
LEAST_GAIN = 0.35
"""Weight of a new observation in what is known of a droplet's radius and composition; 1 / n of its first ones."""
JUMP = 0.1
"""A relative change of the squared radius beyond this is no trend: droplets merged, or a measurement was bad."""
SWEEPS = 2
"""Through the movie after the first one, with what is known of droplets by their later frames."""
TREND_GAIN, TREND_FROM = 0.1, 5
"""Weight of a new observation in its own change of radius, and the observations from which on it counts."""


@dataclass(frozen=True)
class Rates:
    """What decides besides the displacement; learned from links, for the next sweep."""

    missed: float = MISSED
    born: float = BORN
    scale: float = 1.0
    """Of the standard deviations of displacements."""
    radius_scale: float = 1.0


@dataclass
class _Open:
    """Tracks that may go on; arrays of one length."""

    row: np.ndarray
    place: np.ndarray
    """Where it was, or was predicted."""
    radius: np.ndarray
    place_sd: np.ndarray
    radius_sd: np.ndarray
    composition: np.ndarray
    composition_sd: np.ndarray
    own: np.ndarray
    """Its own displacement in the last step."""
    trend: np.ndarray
    """Its own change of the squared radius in a step, besides that of all."""
    missed: np.ndarray
    """Steps since it was seen."""
    count: np.ndarray
    """How often it was seen."""

    @property
    def uncertainty(self) -> np.ndarray:
        """Variance of the expected radius and composition, in those of one observation."""
        return _uncertainty(self.count)

    def some(self, index: np.ndarray) -> _Open:
        return _Open(**{name: value[index] for name, value in vars(self).items()})


@dataclass(frozen=True)
class _Later:
    """What droplets are like by their later observations; by rows of the table of all."""

    radius: np.ndarray
    composition: np.ndarray
    uncertainty: np.ndarray
    """Variance, in those of one observation."""


def link(frames: Frames, motion: Motion, max_gap: int) -> np.ndarray:
    """(L, 2) rows of the table of all: a droplet, and the same one in the next frame in which it is seen."""
    links, rates = _sweep(frames, motion, max_gap, Rates())
    for _ in range(SWEEPS):
        links, rates = _sweep(frames, motion, max_gap, rates, _later(frames, motion, links))
    return links


def _later(frames: Frames, motion: Motion, links: np.ndarray) -> _Later:
    """Radius and composition of each droplet from the path that it begins, a filter that runs backward in time."""
    n, k = len(frames.table), frames.frames[0].composition.shape[1]
    radius, made, count = np.zeros(n), np.zeros((n, k)), np.ones(n)
    after, when = np.full(n, -1), np.zeros(n, int)
    after[links[:, 0]] = links[:, 1]
    grown_by = np.concatenate([[0.0], np.cumsum([s.growth for s in motion.steps])])
    for number, frame in enumerate(frames.frames):
        when[frame.rows] = number
    for frame in reversed(frames.frames):
        rows = frame.rows
        radius[rows], made[rows] = frame.radius, frame.composition
        on = after[rows] >= 0
        here, there = rows[on], after[rows[on]]
        count[here] = count[there] + 1
        gain = np.maximum(1 / count[here], LEAST_GAIN)
        squared = radius[there] ** 2 - (grown_by[when[there]] - grown_by[when[here]])
        own = radius[here] ** 2
        news = np.clip(own - squared, -JUMP * own, JUMP * own)
        radius[here] = np.sqrt(own - (1 - gain) * news)
        made[here] = made[there] + gain[:, None] * (made[here] - made[there])
    return _Later(radius, made, _uncertainty(count))


def _uncertainty(count: np.ndarray) -> np.ndarray:
    """Variance of what is known after so many observations, in those of one."""
    return np.maximum(1 / count, LEAST_GAIN / (2 - LEAST_GAIN))


def _sweep(
    frames: Frames, motion: Motion, max_gap: int, rates: Rates, later: _Later | None = None
) -> tuple[np.ndarray, Rates]:
    """Go through the movie once; the links, and what they say of the rates."""
    open_ = _opened(frames.frames[0], np.arange(len(frames.frames[0])))
    links: list[np.ndarray] = []
    z, radius_z = [np.zeros(0)], [np.zeros(0)]
    lost = stayed = born = known = 0
    populations = _Population.of(frames)
    for step, length, b in zip(motion.steps, frames.steps, frames.frames[1:], strict=True):
        predicted = step.moved(open_.place) + motion.persistence * open_.own
        radius = grown(open_.radius, step.growth + open_.trend)
        gain, d, change = _gains(
            open_, predicted, radius, b, step, length, motion, rates, populations, frames.shape, later
        )
        i, j = linear_sum_assignment(gain, maximize=True) if gain.size else (np.zeros(0, int),) * 2
        sure = gain[i, j] > 0
        i, j = i[sure], j[sure]
        links.append(np.stack([open_.row[i], b.rows[j]], 1))
        seen = open_.missed[i] == 0
        z.append(d[i, j][seen])
        radius_z.append(change[i, j][seen])
        inner, new = inside_by(predicted, step.spread, frames.shape), np.ones(len(b), bool)
        new[j] = False
        lost_rows = np.ones(len(open_.row), bool)
        lost_rows[i] = False
        lost += int((lost_rows & inner & (open_.missed == 0)).sum())
        stayed += int((inner & (open_.missed == 0)).sum())
        born += int((new & inside_by(b.place, step.spread, frames.shape)).sum())
        known += len(b)
        open_ = _next(open_, b, i, j, lost_rows, predicted, radius, step, length, max_gap)
    rates = replace(
        rates,
        missed=float(np.clip((lost + 1) / (stayed + 20), 0.002, 0.3)),
        born=float(np.clip((born + 1) / (known + 20), 0.002, 0.3)),
        # the median of the length of a vector of two unit normals is 1.1774
        scale=rates.scale * float(np.clip(np.median(np.concatenate(z) if len(links) else 1.1774) / 1.1774, 0.2, 2))
        if sum(map(len, z)) > 20
        else rates.scale,
        radius_scale=rates.radius_scale * float(np.clip(spread_of(np.concatenate(radius_z)), 0.2, 2))
        if sum(map(len, z)) > 20
        else rates.radius_scale,
    )
    return np.concatenate(links) if links else np.zeros((0, 2), int), rates


@dataclass(frozen=True)
class _Population:
    """Radii and compositions of droplets that have nothing to do with one another."""

    log_radius: float
    log_radius_sd: float
    composition: np.ndarray
    composition_sd: np.ndarray

    @classmethod
    def of(cls, frames: Frames) -> _Population:
        radius = np.log(np.concatenate([f.radius for f in frames.frames]))
        made = np.concatenate([f.composition for f in frames.frames])
        return cls(float(np.median(radius)), max(float(radius.std()), 0.1), made.mean(0), np.maximum(made.std(0), 0.02))


def _gains(
    open_: _Open,
    predicted: np.ndarray,
    radius: np.ndarray,
    b: Frame,
    step: Step,
    length: float,
    motion: Motion,
    rates: Rates,
    population: _Population,
    shape: tuple[int, int],
    later: _Later | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(M, N) nats by which each link is better than none, at least 0; displacements and changes of radius in sds."""
    steps = (open_.missed + 1)[:, None]
    typical = _typical_sd(open_, b)
    extra = np.maximum(open_.place_sd[:, None] ** 2 + b.place_sd**2 - 2 * typical**2, 0)
    least = LEAST_SPREAD * float(np.median(b.radius)) if len(b) else LEAST_MOTION
    spread = step.spread * motion.relative(open_.radius)
    sd = np.maximum(np.sqrt(rates.scale**2 * (spread[:, None] ** 2 * length * steps + extra)), least)
    away = np.hypot(*np.moveaxis(predicted[:, None] - b.place, -1, 0))
    d = away / sd
    there, made, known = b.radius, b.composition, np.ones(len(b))
    if later is not None:
        there, made, known = later.radius[b.rows], later.composition[b.rows], later.uncertainty[b.rows]
    change = np.log(there / radius[:, None])
    error = (open_.radius_sd / open_.radius)[:, None] ** 2 + (b.radius_sd / b.radius) ** 2
    usual = float(np.median(error)) if error.size else 0.0
    radius_sd = rates.radius_scale * np.sqrt(
        motion.radius_spread**2 / 2 * (known + open_.uncertainty[:, None] + length * steps - 1)
        + np.maximum(error - usual, 0) * (known + open_.uncertainty[:, None]) / 2
    )
    radius_z = change / radius_sd
    value = log_t(d**2, 2) - 2 * np.log(sd) + log_t(radius_z**2, 1) - np.log(radius_sd)
    other = (np.log(there) - population.log_radius) / population.log_radius_sd
    null = -0.5 * other**2 - np.log(population.log_radius_sd) - 0.919
    k = b.composition.shape[1]
    if k:
        made_sd = np.sqrt(
            motion.composition_spread**2 / 2 * (known[:, None] + open_.uncertainty[:, None, None])
            + open_.composition_sd[:, None] ** 2 * open_.uncertainty[:, None, None]
            + b.composition_sd**2 * known[:, None]
        )
        made_z = (open_.composition[:, None] - made) / made_sd
        share = max(k - 1, 1) / k  # of a simplex one is not free
        value = value + share * (log_t(made_z**2, 1) - np.log(made_sd)).sum(-1)
        free = (made - population.composition) / population.composition_sd
        null = null + share * (-0.5 * free**2 - np.log(population.composition_sd) - 0.919).sum(-1)
    leaving = np.maximum(rates.scale * spread * np.sqrt(length * steps[:, 0]), least)
    coming = np.maximum(rates.scale * step.spread * motion.relative(b.radius) * np.sqrt(length), least)
    gone = either(rates.missed, over_border(predicted, leaving, shape))[:, None]
    new = either(rates.born, over_border(b.place, coming, shape)) * len(b) / (shape[0] * shape[1])
    missed = rates.missed ** (steps - 1.0)
    value = value + np.log(1 - gone) + np.log(missed) - np.log(gone) - null - np.log(new)
    near = (d < GATE) | (away < CLOSE * b.radius)
    return np.where(near, np.maximum(value, 0), 0), d, radius_z


def log_t(squared: np.ndarray, dimensions: int) -> np.ndarray:
    """Log density of Student's t of so many dimensions and unit scale."""
    constant = gammaln((TAILS + dimensions) / 2) - gammaln(TAILS / 2) - dimensions / 2 * np.log(TAILS * np.pi)
    return constant - (TAILS + dimensions) / 2 * np.log1p(squared / TAILS)


def _typical_sd(open_: _Open, b: Frame) -> float:
    sds = np.concatenate([open_.place_sd, b.place_sd])
    return float(np.median(sds)) if len(sds) else 0.0


def over_border(place: np.ndarray, sd: np.ndarray | float, shape: tuple[int, int]) -> np.ndarray:
    """(n,) probability that a displacement of so many pixels in x and in y leads from these places over the border."""
    size = np.array(shape[::-1])
    z = np.stack([place + 0.5, size - 0.5 - place]) / np.reshape(sd, (-1, 1))
    return np.minimum(1 - ndtr(z).prod((0, 2)), MOST_LEAVING)


def either(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """Probability that one or both of two independent things happen."""
    return 1 - (1 - np.asarray(a)) * (1 - np.asarray(b))


def inside_by(place: np.ndarray, spread: float, shape: tuple[int, int]) -> np.ndarray:
    """Which places are farther from the border than a droplet may go in a step."""
    x, y = place.T
    reach = 2 * spread + 1
    return (x > reach) & (y > reach) & (x < shape[1] - 1 - reach) & (y < shape[0] - 1 - reach)


def _opened(frame: Frame, which: np.ndarray) -> _Open:
    n = len(which)
    return _Open(
        frame.rows[which],
        frame.place[which],
        frame.radius[which],
        frame.place_sd[which],
        frame.radius_sd[which],
        frame.composition[which],
        frame.composition_sd[which],
        np.zeros((n, 2)),
        np.zeros(n),
        np.zeros(n, int),
        np.ones(n, int),
    )


def _next(
    open_: _Open,
    b: Frame,
    i: np.ndarray,
    j: np.ndarray,
    lost: np.ndarray,
    predicted: np.ndarray,
    radius: np.ndarray,
    step: Step,
    length: float,
    max_gap: int,
) -> _Open:
    """Tracks that may go on after this step: all droplets of its frame, and those that were missed."""
    seen = _opened(b, np.arange(len(b)))
    steps = open_.missed[i] + 1
    seen.own[j] = (b.place[j] - step.moved(open_.place[i])) / steps[:, None]
    seen.count[j] = open_.count[i] + 1
    gain = np.maximum(1 / seen.count[j], LEAST_GAIN)
    news = b.radius[j] ** 2 - radius[i] ** 2
    news = np.clip(news, -JUMP * b.radius[j] ** 2, JUMP * b.radius[j] ** 2)
    seen.radius[j] = np.sqrt(b.radius[j] ** 2 - (1 - gain) * news)
    seen.trend[j] = np.where(seen.count[j] >= TREND_FROM, open_.trend[i] + TREND_GAIN * news / steps, 0)
    seen.composition[j] = open_.composition[i] + gain[:, None] * (b.composition[j] - open_.composition[i])
    coasting = open_.some(lost & (open_.missed + length <= max_gap))
    if len(coasting.row):
        kept = np.flatnonzero(lost & (open_.missed + length <= max_gap))
        coasting.place, coasting.radius = predicted[kept], radius[kept]
        coasting.missed = coasting.missed + 1
    return _Open(**{name: np.concatenate([value, getattr(coasting, name)]) for name, value in vars(seen).items()})
