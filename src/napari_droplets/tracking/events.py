"""Merging judged by physics: whether volume and composition of what is there after are those of what was before.

At each proposed event the states of the droplets before and after, with their errors, are weighed against the other
explanation: that one droplet is gone, or missed, and the other what it was. Splitting is merging with time reversed.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree
from scipy.special import ndtr

from .linking import either, inside_by, log_t, over_border
from .paths import End, Paths
from .together import chosen_together

GEOMETRIES = {"sphere": 3.0, "cap": 3.0, "disc": 2.0}
"""What volume goes with: the radius to this power."""
REACH = 3.0
"""Standard deviations of a displacement by which droplets may have been apart in the frame before they merge."""
MOST_PARENTS = 3
"""Droplets that may merge into one in a step."""
PINNED = 0.5
"""Error of the center of a merged droplet, as a part of how far it is from the largest parent: droplets on a surface
stay where the largest one was."""
VOLUME_ERROR = 0.01
"""Relative error of a radius that is systematic: focus, evaporation between two frames."""
COMPOSITION_ERROR = 0.03
"""Likewise of a composition: mixing that is not linear in the components."""
VANISHED, VANISHED_WEIGHT = 0.003, 30.0
"""First guess of the probability to be gone in a step, and the number of droplets that it counts like ..."""
FLASH, FLASH_WEIGHT = 0.3, 5.0
"""... and for what was seen once, and not in the first frame: it may have been no droplet."""
WIDTH = 0.25
"""Radii are alike, in what they say of vanishing, within this difference of their logarithms."""
MERGING, SPLITTING = 0.1, 0.0005
"""First guess of the probability that two droplets in contact merge in a step, and that a droplet splits ..."""
SEEN_ANEW = 0.003
"""... and, in parts of these, of what is neither: that one droplet is seen as two, or two as one ..."""
ANY_SIZE = 0.25
"""... with log radii that agree only so far ..."""
PRIOR_WEIGHT = 3.0
"""... and the number of events that it counts like."""
ROUNDS = 3
"""Of judging all proposals and of learning these probabilities from the judgment."""


@dataclass(frozen=True)
class Event:
    """What became one (or, of splits, came of one)."""

    one: int
    """Row of the droplet after a merge in its first frame; of the droplet before a split in its last one."""
    several: tuple[int, ...]
    """Rows of those that merge in their last frames; of those that came of a split in their first ones."""
    continued: int
    """Which of these was linked to `one` as if it were the same droplet; -1 for none."""
    p: float
    volume_residual: float
    """Relative: of the one against the sum of the several."""
    volume_residual_sd: float
    composition_residual: float
    """Largest difference of a component; NaN where compositions are not known."""
    composition_residual_sd: float


@dataclass(frozen=True)
class _Proposal:
    one: int
    several: tuple[int, ...]
    continued: int
    event: float
    """Log density of what is seen if it merged, its prior probability left out ..."""
    other: float
    """... if the other is what it was, the probability that the ended ones are gone left out ..."""
    anew: float
    """... and if both are seen in another way than before, its prior probability left out."""
    residuals: tuple[float, float, float, float]

    @property
    def ended(self) -> tuple[int, ...]:
        """Those of the several that end in it."""
        return tuple(row for row in self.several if row != self.continued)


def merges(paths: Paths, max_gap: int, exponent: float, missed: float, *, splitting: bool = False) -> list[Event]:
    """Events that are more probable than not; with `splitting` the paths run backward."""
    proposals = _proposals(paths, max_gap, exponent, missed)
    if not proposals:
        return []
    opportunities = len(paths.when) if splitting else _contacts(paths)
    prior = SPLITTING if splitting else MERGING
    weight = PRIOR_WEIGHT
    p, seen_anew = np.zeros(len(proposals)), 0.0
    first, anew = prior, SEEN_ANEW * prior
    vanishing = _Vanishing.of(paths, missed)
    gone = vanishing.probability(np.zeros(len(vanishing.ends)))
    for _ in range(ROUNDS):
        p, seen_anew = _probabilities(proposals, prior, anew, gone)
        gone = vanishing.probability(_explained(proposals, p, vanishing.ends))
        prior = float(np.clip((p[p >= 0.5].sum() + weight * first) / (opportunities + weight), 1e-6, 0.9))
        anew = float(np.clip((seen_anew + weight * SEEN_ANEW * first) / (opportunities + weight), 1e-8, 0.9))
    # of proposals that exclude one another at most one is more probable than not
    sure = [(q, float(p[k])) for k, q in enumerate(proposals) if p[k] > 0.5]
    return [Event(q.one, q.several, q.continued, likely, *q.residuals) for q, likely in sure]


def _probabilities(
    proposals: Sequence[_Proposal], prior: float, anew: float, gone: dict[int, float]
) -> tuple[np.ndarray, float]:
    """Of each proposal, over all ways to explain the droplets together; how many are seen anew.

    A droplet ends in one event and comes of one. Sets of proposals that agree in that are weighed against one another,
    so that two merges that follow each other are one explanation, and the three that they make of four another one.
    """
    more = np.array([len(q.several) - 1 for q in proposals])
    other = np.array([q.other + sum(np.log(gone[row]) for row in q.ended) for q in proposals])
    event = np.array([q.event for q in proposals]) + more * np.log(prior) - other
    loose = np.array([q.anew for q in proposals]) + more * np.log(anew) - other
    used: list[set[Hashable]] = [{("one", q.one)} | {("end", row) for row in q.ended} for q in proposals]
    weight = np.logaddexp(event, loose)
    p = chosen_together(weight, used)
    share = np.exp(loose - weight)
    return p * (1 - share), float(p @ share)


def _proposals(paths: Paths, max_gap: int, exponent: float, missed: float) -> list[_Proposal]:
    """Sets of paths that end where another droplet is in the next frame."""
    ends = paths.ends
    if not len(ends):
        return []
    found = []
    last = len(paths.by_frame) - 1
    by_frame: dict[int, list[int]] = {}
    for row in ends:
        for frame in range(paths.when[row] + 1, min(paths.when[row] + 1 + max_gap, last) + 1):
            by_frame.setdefault(frame, []).append(int(row))
    for frame, rows in by_frame.items():
        there = paths.by_frame[frame]
        expected = {row: paths.expected(row, frame) for row in rows}
        tree = cKDTree(paths.place[there])
        near: dict[int, list[int]] = {}
        for row, end in expected.items():
            largest = paths.radius[there].max()
            for k in tree.query_ball_point(end.place, end.radius + largest + REACH * end.place_sd):
                one = int(there[k])
                reach = end.radius + paths.radius[one] + REACH * end.place_sd
                if np.hypot(*(end.place - paths.place[one])) < reach:
                    near.setdefault(one, []).append(row)
        for one, several in near.items():
            found += _for(paths, one, several, expected, frame, exponent, max_gap, missed)
    return found


def _for(
    paths: Paths,
    one: int,
    ended: list[int],
    expected: dict[int, End],
    frame: int,
    exponent: float,
    max_gap: int,
    missed: float,
) -> list[_Proposal]:
    """All proposals for a droplet and the paths that ended near it."""
    continued = int(paths.before[one])
    if continued >= 0 and paths.when[continued] < frame - 1 - max_gap:
        return []
    new = paths.begun(one)
    states = {row: expected[row] for row in ended}
    if continued >= 0:
        states[continued] = paths.expected(continued, frame)
    found = []
    ended = sorted(ended, key=lambda r: np.hypot(*(states[r].place - new.place)))[:4]
    for count in range(1 if continued >= 0 else 2, MOST_PARENTS + (continued < 0)):
        for chosen in combinations(ended, count):
            several = (*chosen, continued) if continued >= 0 else chosen
            parts = [states[r] for r in several]
            volume, rest, residuals = _merged(new, parts, exponent)
            # they merged once the last of them had been seen: before that the others were missed, and from then on it
            latest = max(paths.when[r] for r in several)
            rest += (sum(latest - paths.when[r] for r in several) + frame - 1 - latest) * np.log(missed)
            if continued >= 0:
                other = _same(new, states[continued], paths) + (frame - 1 - paths.when[continued]) * np.log(missed)
            else:
                other = _born(new, paths, float(paths.relative[one]))
            far = np.log(new.radius / max(p.radius for p in parts)) / ANY_SIZE
            anew = rest + log_t(far**2, 1) - np.log(ANY_SIZE)
            found.append(_Proposal(one, several, continued, volume + rest, other, anew, residuals))
    return found


def _merged(new: End, parts: Sequence[End], exponent: float) -> tuple[float, float, tuple[float, float, float, float]]:
    """Log density of what is there if it is made of these parts: of its volume, of all else; the residuals."""
    radii = np.array([p.radius for p in parts])
    volumes = radii**exponent
    share = volumes / volumes.sum()
    places = np.stack([p.place for p in parts])
    motion = np.array([p.place_sd for p in parts])
    radius_sd = np.array([p.log_radius_sd for p in parts])
    # volume
    expected = volumes.sum() ** (1 / exponent)
    sd = np.sqrt(new.log_radius_sd**2 + np.sum((share * radius_sd) ** 2) + 2 * VOLUME_ERROR**2)
    z = np.log(new.radius / expected) / sd
    volume = log_t(z**2, 1) - np.log(sd)
    # contact: the nearest two of them met within the step
    reached = 0.0
    for k in range(len(parts)):
        others = [m for m in range(len(parts)) if m != k]
        gaps = [np.hypot(*(places[k] - places[m])) - radii[k] - radii[m] for m in others]
        sds = [np.hypot(motion[k], motion[m]) + 0.1 * min(radii[k], radii[m]) for m in others]
        reached += min(0.0, max(np.log(2 * ndtr(-g / s) + 1e-12) for g, s in zip(gaps, sds, strict=True)))
    value = reached / len(parts) * (len(parts) - 1)
    # center
    center = share @ places
    moved = np.hypot(*(center - places[np.argmax(volumes)]))
    center_sd = np.sqrt(np.sum((share * motion) ** 2) + (PINNED * moved) ** 2)
    value += log_t(np.sum((new.place - center) ** 2) / center_sd**2, 2) - 2 * np.log(center_sd)
    made, made_sd = float("nan"), float("nan")
    if len(new.composition):
        mixed = share @ np.stack([p.composition for p in parts])
        mixed_sd = np.sqrt(
            new.composition_sd**2
            + np.sum((share[:, None] * np.stack([p.composition_sd for p in parts])) ** 2, 0)
            + COMPOSITION_ERROR**2
        )
        value += _composition(new.composition - mixed, mixed_sd)
        worst = int(np.argmax(np.abs(new.composition - mixed) / mixed_sd))
        made, made_sd = float((new.composition - mixed)[worst]), float(mixed_sd[worst])
    residual = (new.radius / expected) ** exponent - 1
    return float(volume), float(value), (float(residual), float(exponent * sd), made, made_sd)


def _same(new: End, old: End, paths: Paths) -> float:
    """Log density of what is there if it is the old droplet."""
    sd = np.sqrt(new.log_radius_sd**2 + old.log_radius_sd**2 + 2 * VOLUME_ERROR**2)
    value = log_t((np.log(new.radius / old.radius) / sd) ** 2, 1) - np.log(sd)
    motion = old.place_sd
    value += log_t(np.sum((new.place - old.place) ** 2) / motion**2, 2) - 2 * np.log(motion)
    if len(new.composition):
        made_sd = np.sqrt(new.composition_sd**2 + old.composition_sd**2 + COMPOSITION_ERROR**2)
        value += _composition(new.composition - old.composition, made_sd)
    return float(value)


def _born(new: End, paths: Paths, relative: float) -> float:
    """Log density of what is there if it is new: any place, radius and composition of the movie."""
    log_radius = np.log(paths.radius)
    sd = max(float(log_radius.std()), 0.1)
    z = (np.log(new.radius) - np.median(log_radius)) / sd
    crossed = over_border(new.place[None], float(np.median(paths.spread)) * relative, paths.shape)[0]
    rate = len(paths.when) / len(paths.by_frame) / (paths.shape[0] * paths.shape[1]) * either(VANISHED, crossed)
    value = np.log(rate) - 0.5 * z**2 - np.log(sd) - 0.919
    if len(new.composition):
        spread = np.maximum(paths.composition.std(0), 0.02)
        value += _composition(new.composition - paths.composition.mean(0), spread)
    return float(value)


def _composition(away: np.ndarray, sd: np.ndarray) -> float:
    k = len(away)
    return float(max(k - 1, 1) / k * np.sum(log_t((away / sd) ** 2, 1) - np.log(sd)))


def _explained(proposals: Sequence[_Proposal], p: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(E,) probability of each end of a path that its droplet merged."""
    total = dict.fromkeys(map(int, ends), 0.0)
    for q, likely in zip(proposals, p, strict=True):
        for row in q.ended:
            total[row] += float(likely)
    return np.minimum(list(total.values()), 1)


@dataclass(frozen=True)
class _Vanishing:
    """How often droplets are gone without having merged: by their radius, and whether they were seen once alone."""

    ends: np.ndarray
    """(E,) rows after which paths do not go on."""
    log_radius: np.ndarray
    """(R,) of all rows."""
    once: np.ndarray
    """(R,) seen once, and not in the first frame."""
    counted: np.ndarray
    """(R,) rows from which a droplet could have gone on, well inside of the image."""
    otherwise: np.ndarray
    """(E,) probability that it went over the border, or that it was missed in all frames that are left."""

    @classmethod
    def of(cls, paths: Paths, missed: float) -> _Vanishing:
        ends, when, last = paths.ends, paths.when, len(paths.by_frame) - 1
        inner = inside_by(paths.place, float(np.median(paths.spread)), paths.shape)
        sd = paths.spread[when[ends]] * paths.relative[ends]
        left = over_border(paths.place[ends], sd, paths.shape)
        once = (paths.before < 0) & (when > 0)
        return cls(ends, np.log(paths.radius), once, inner & (when < last), either(left, missed ** (last - when[ends])))

    def probability(self, explained: np.ndarray) -> dict[int, float]:
        """For each end that its droplet is gone, where so much of each end is explained by merging."""
        p = np.zeros(len(self.ends))
        for once, guess, weight in ((False, VANISHED, VANISHED_WEIGHT), (True, FLASH, FLASH_WEIGHT)):
            like = self.once == once
            mine = like[self.ends]
            inner = mine & self.counted[self.ends]
            radius = self.log_radius[self.ends]
            gone = _smoothed(radius[inner], (1 - explained)[inner], radius[mine])
            all_ = _smoothed(self.log_radius[like & self.counted], None, radius[mine])
            p[mine] = (gone + guess * weight) / (all_ + weight)
        return dict(zip(self.ends.tolist(), either(np.minimum(p, 1), self.otherwise).tolist(), strict=True))


def _smoothed(values: np.ndarray, weights: np.ndarray | None, at: np.ndarray) -> np.ndarray:
    """Sums of weights of what has about such a value: a Gaussian of deviation WIDTH and height 1."""
    if not len(values) or not len(at):
        return np.zeros(len(at))
    low, high = min(values.min(), at.min()), max(values.max(), at.max())
    step = WIDTH / 8
    bins = int(np.ceil((high - low) / step)) + 1
    sums = np.histogram(values, bins, (low, low + bins * step), weights=weights)[0].astype(float)
    smooth = gaussian_filter1d(sums, WIDTH / step, mode="constant") * np.sqrt(2 * np.pi) * WIDTH / step
    return np.interp(at, low + step * (np.arange(bins) + 0.5), smooth)


def _contacts(paths: Paths) -> float:
    """How many pairs of droplets could have merged in all steps."""
    total = 0.0
    for k, rows in enumerate(paths.by_frame[:-1]):
        i, j, gap = _pairs(paths, k, rows)
        motion = paths.spread[k] * np.hypot(paths.relative[rows[i]], paths.relative[rows[j]])
        sd = motion + 0.1 * np.minimum(paths.radius[rows[i]], paths.radius[rows[j]])
        total += float(np.minimum(2 * ndtr(-gap / sd), 1).sum())
    return total


def _pairs(paths: Paths, k: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Droplets of a frame near to one another, and the gaps between their outlines."""
    if len(rows) < 2:
        empty = np.zeros(0, int)
        return empty, empty, np.zeros(0)
    place, radius = paths.place[rows], paths.radius[rows]
    reach = 2 * radius.max() + 2 * REACH * paths.spread[min(k, len(paths.spread) - 1)]
    i, j = cKDTree(place).query_pairs(reach, output_type="ndarray").T
    return i, j, np.hypot(*(place[i] - place[j]).T) - radius[i] - radius[j]
