"""Which droplet of a frame is which of the next: the links that are together most probable.

Each possible link is weighed by how probable its displacement, change of radius and change of composition are for one
droplet, against how probable it is that the one is gone (or missed) and the other new. Droplets that were missed go on
where they were predicted, and can be found again some frames later.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from .frames import Frame, Frames
from .motion import LEAST_MOTION, LEAST_SPREAD, Motion, Step, grown, spread_of

TAILS = (6.0, 12.0, 30.0)
"""Degrees of freedom of Student's t, of which the likeliest are taken: outliers of a measurement may be more frequent
than a Gaussian's. The first is the first guess."""
GATE = 8.0
"""Links farther than this, in standard deviations of a displacement, are not thought of."""
CLOSE = 0.5
"""... but of those that are farther than so many radii."""
MISSED = 0.02
"""First guess: probability that a droplet is not found in a frame where it is, or is gone in it."""
BORN = 0.02
"""First guess: droplets that are new in a frame, over all."""
AT_BORDER = 0.3
"""Probability to leave, and new over all, for droplets that the next displacement may take over the border."""
LEAST_GAIN = 0.35
"""Weight of a new observation in what is known of a droplet's radius and composition; 1 / n of its first ones."""
JUMP = 0.1
"""A relative change of the squared radius beyond this is no trend: droplets merged, or a measurement was bad."""
SLOWER_FROM = 100.0
"""Links that count as much as the guess that displacements have nothing to do with the radius."""
SIZE_SPREAD = 0.3
"""Usual standard deviation of log radii."""
LEARNED_FROM = 20
"""Links that say how wide changes scatter, at least."""
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
    tails: float = TAILS[0]
    """Of displacements ..."""
    radius_tails: float = TAILS[0]
    slower: float = 0.0
    """Displacements go with the radius to the power of less this: 0.5 for diffusion."""


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
    z, radius_z, sizes = [np.zeros(0)], [np.zeros(0)], [np.zeros(0)]
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
        sizes.append(np.log(open_.radius[i][seen]))
        inner, new = inside_by(predicted, step.spread, frames.shape), np.ones(len(b), bool)
        new[j] = False
        lost_rows = np.ones(len(open_.row), bool)
        lost_rows[i] = False
        lost += int((lost_rows & inner & (open_.missed == 0)).sum())
        stayed += int((inner & (open_.missed == 0)).sum())
        born += int((new & inside_by(b.place, step.spread, frames.shape)).sum())
        known += len(b)
        open_ = _next(open_, b, i, j, lost_rows, predicted, radius, step, length, max_gap)
    all_z, all_radius_z = np.concatenate(z), np.concatenate(radius_z)
    enough = len(all_z) > LEARNED_FROM
    rates = replace(
        rates,
        missed=float(np.clip((lost + 1) / (stayed + 20), 0.002, 0.3)),
        born=float(np.clip((born + 1) / (known + 20), 0.002, 0.3)),
        # the median of the length of a vector of two unit normals is 1.1774
        scale=rates.scale * float(np.clip(np.median(all_z) / 1.1774, 0.2, 2)) if enough else rates.scale,
        radius_scale=rates.radius_scale * float(np.clip(spread_of(all_radius_z), 0.2, 2))
        if enough
        else rates.radius_scale,
        tails=_likeliest(all_z, 2) if enough else rates.tails,
        radius_tails=_likeliest(all_radius_z, 1) if enough else rates.radius_tails,
        slower=rates.slower + _slower(all_z, np.concatenate(sizes)) if enough else rates.slower,
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
    by_size = np.exp(rates.slower * (population.log_radius - np.log(radius)))[:, None]
    sd = np.maximum(np.sqrt(rates.scale**2 * ((by_size * step.spread) ** 2 * length * steps + extra)), least)
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
    value = log_t(d**2, 2, rates.tails) - 2 * np.log(sd)
    value = value + log_t(radius_z**2, 1, rates.radius_tails) - np.log(radius_sd)
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
    leaving = ~inside_by(predicted, step.spread, shape)
    coming = ~inside_by(b.place, step.spread, shape)
    gone = np.where(leaving, AT_BORDER, rates.missed)[:, None]
    new = np.where(coming, AT_BORDER, rates.born) * len(b) / (shape[0] * shape[1])
    missed = rates.missed ** (steps - 1.0)
    value = value + np.log(1 - gone) + np.log(missed) - np.log(gone) - null - np.log(new)
    near = (d < GATE) | (away < CLOSE * b.radius)
    return np.where(near, np.maximum(value, 0), 0), d, radius_z


def log_t(squared: np.ndarray, dimensions: int, tails: float = TAILS[0]) -> np.ndarray:
    """Log density of Student's t of so many dimensions and degrees of freedom, and unit scale."""
    constant = gammaln((tails + dimensions) / 2) - gammaln(tails / 2) - dimensions / 2 * np.log(tails * np.pi)
    return constant - (tails + dimensions) / 2 * np.log1p(squared / tails)


def _likeliest(z: np.ndarray, dimensions: int) -> float:
    """The degrees of freedom under which lengths, in standard deviations of their bulk, are the most probable."""
    unit = np.median(np.abs(z)) / (1.1774 if dimensions == 2 else 0.6745)
    score = [log_t((z / max(unit, 1e-9)) ** 2, dimensions, tails).sum() for tails in TAILS]
    return TAILS[int(np.argmax(score))]


def _slower(z: np.ndarray, log_radius: np.ndarray) -> float:
    """By what power of the radius large droplets move less than they are thought to."""
    away, size = np.log(np.maximum(z, 1e-3)), log_radius - log_radius.mean()
    square = float(size @ size)
    power = -float(size @ away) / max(square, 1e-9)
    return float(np.clip(power, -1, 1) * square / (square + SLOWER_FROM * SIZE_SPREAD**2))


def _typical_sd(open_: _Open, b: Frame) -> float:
    sds = np.concatenate([open_.place_sd, b.place_sd])
    return float(np.median(sds)) if len(sds) else 0.0


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
