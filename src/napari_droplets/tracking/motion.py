"""How droplets move and change from frame to frame, learned from first links that LapTrack makes.

All of them together (a drift, a flow, evaporation) and each on its own (diffusion, the errors of its measurement): the
costs of the links that count are in units of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..errors import InputError
from .frames import Frame, Frames

LEAST_SPREAD = 0.03
"""Of displacements, in radii: where most droplets stand still, one that moves is still the same."""
SEARCH = 4.0
"""A drift is looked for up to this far, in distances to the nearest neighbor (median) ..."""
LEAST_SEARCH = 30.0
"""... but at least so many pixels."""
BIN = 0.25
"""Width of the bins in which shifts are counted, in distances to the nearest neighbor."""
ALIKE = 0.15
"""Difference of log radii within which a pair counts for a shift."""
CUTOFF = 4.0
"""LapTrack's first links are no longer than so many standard deviations."""
LEAST_MOTION = 0.02
"""Pixels; and relative of radii: below this nobody measures."""
FIELD_FROM = 24
"""Links from which on a field with twelve coefficients is tried."""
COMMON_FROM = 6
"""Links from which on their median change of size is one of all droplets."""
BETTER = 0.85
"""A field is used where it leaves so much less spread than a shift of all."""
SLOWING_ERROR = 0.5
"""Prior standard deviation of the power of the radius by which large droplets move less; 0.5 for diffusion."""
MOST_SLOWER = 3.0
"""Droplets are thought to move at most so many times less, or more, than one of median radius."""
ROUNDS = 3
"""Rounds of first links for a pair of frames: motion, then links by it."""


@dataclass(frozen=True)
class Step:
    """What happens between two frames."""

    shift: np.ndarray
    """(6, 2) coefficients of the common motion in 1, x, y, x², xy, y² of places over 100 pixels."""
    spread: float
    """Standard deviation of a droplet's own displacement, in x and in y, errors of measurement included; pixels."""
    growth: float
    """Change of the squared radius that all have in common, pixels²."""

    def moved(self, place: np.ndarray) -> np.ndarray:
        """(n, 2), where places go with all."""
        return place + _terms(place) @ self.shift


@dataclass(frozen=True)
class Motion:
    """What first links say of a whole movie."""

    steps: tuple[Step, ...]
    persistence: float
    """Part of a droplet's own displacement that goes on in the next frame: 0 for diffusion, 1 for straight paths."""
    radius_spread: float
    """Standard deviation of the change of the log radius; errors of measurement included."""
    composition_spread: float
    links: tuple[np.ndarray, ...]
    """For each step (L, 2): droplets of a frame and of the next."""
    slowing: float = 0.0
    """Own displacements go with the radius to the power of minus this."""
    typical: float = 1.0
    """Median radius, pixels."""

    def relative(self, radius: np.ndarray) -> np.ndarray:
        """Standard deviation of own displacements of droplets of such radii, in that of all."""
        return np.clip((radius / self.typical) ** -self.slowing, 1 / MOST_SLOWER, MOST_SLOWER)


def learn_motion(frames: Frames) -> Motion:
    """Link frame to frame, and learn from these links how droplets move.

    Raises
    ------
    InputError
        LapTrack is not installed.
    """
    steps: list[Step] = []
    all_links: list[np.ndarray] = []
    radius_spread, composition_spread, persistence = 0.05, 0.1, 0.0
    changes: list[np.ndarray] = []
    mixes: list[np.ndarray] = []
    products = np.zeros(2)  # of a droplet's own displacement with the next one, and with itself
    own = np.zeros((len(frames.frames[0]), 2))
    before: Step | None = None
    for a, b in zip(frames.frames[:-1], frames.frames[1:], strict=True):
        step, links = _first_links(a, b, own * persistence, before, radius_spread, composition_spread)
        steps.append(step)
        all_links.append(links)
        i, j = links.T
        rest = b.place[j] - step.moved(a.place[i])
        persistent = np.isfinite(own[i]).all(1) & (own[i] != 0).any(1)
        if persistent.any():
            now, then = _clipped(rest[persistent]), _clipped(own[i][persistent])
            products += np.sum(now * then), np.sum(then**2)
            persistence = float(np.clip(products[0] / (products[1] + step.spread**2), 0, 1))
        own = np.zeros((len(b), 2))
        own[j] = rest
        if len(links):
            changes.append(_log_change(a, b, links, step.growth))
            radius_spread = max(spread_of(np.concatenate(changes[-10:])), LEAST_MOTION)
            mixes.append((b.composition[j] - a.composition[i]).ravel())
            if mixes[-1].size:
                composition_spread = max(spread_of(np.concatenate(mixes[-10:])), LEAST_MOTION)
        before = step
    if changes:
        radius_spread = max(spread_of(np.concatenate(changes)), LEAST_MOTION)
    if mixes and mixes[0].size:
        composition_spread = max(spread_of(np.concatenate(mixes)), LEAST_MOTION)
    typical = float(np.median(np.concatenate([f.radius for f in frames.frames])))
    slowing = _slowing(frames, steps, all_links, typical)
    return Motion(tuple(steps), persistence, radius_spread, composition_spread, tuple(all_links), slowing, typical)


def _slowing(frames: Frames, steps: list[Step], links: list[np.ndarray], typical: float) -> float:
    """By which power of the radius own displacements become less: a line through their logarithms."""
    size, moved = [np.zeros(0)], [np.zeros(0)]
    for a, b, step, pairs in zip(frames.frames[:-1], frames.frames[1:], steps, links, strict=True):
        i, j = pairs.T
        away = (b.place[j] - step.moved(a.place[i])) / step.spread
        size.append(np.log(a.radius[i] / typical))
        moved.append(np.log(np.hypot(*away.T) + LEAST_SPREAD))
    x, y = np.concatenate(size), np.concatenate(moved)
    if len(x) < COMMON_FROM:
        return 0.0
    x, y = x - x.mean(), y - y.mean()
    # a line by least squares, with a prior around none; pi² / 24 is the variance of the log length of Gaussian vectors
    return float(-(x @ y) / (x @ x + max(y.var(), np.pi**2 / 24) / SLOWING_ERROR**2))


def spread_of(values: np.ndarray) -> float:
    """Standard deviation of the bulk of values around 0, whatever their tails: from the median of their sizes."""
    return float(np.median(np.abs(values)) / 0.6745) if len(values) else 0.0


def grown(radius: np.ndarray, growth: np.ndarray | float) -> np.ndarray:
    """Radii after a change of their squares; never to less than a third."""
    return np.sqrt(np.maximum(radius**2 + growth, (radius / 3) ** 2))


def _first_links(
    a: Frame, b: Frame, own: np.ndarray, before: Step | None, radius_spread: float, composition_spread: float
) -> tuple[Step, np.ndarray]:
    step = common_step(a, b, before)
    links = np.zeros((0, 2), int)
    for round_ in range(ROUNDS):
        predicted = step.moved(a.place) + (own if round_ else 0)
        links = _laptrack(
            np.column_stack([predicted / step.spread, *_marks(a, step.growth, radius_spread, composition_spread)]),
            np.column_stack([b.place / step.spread, *_marks(b, 0.0, radius_spread, composition_spread)]),
        )
        if len(links) < 3:
            return step, links
        step = _step_of(a, b, links)
    return step, links


def _marks(frame: Frame, growth: float, radius_spread: float, composition_spread: float) -> list[np.ndarray]:
    marks = [np.log(grown(frame.radius, growth)) / radius_spread]
    if frame.composition.shape[1]:
        marks.append(frame.composition / composition_spread)
    return marks


def _laptrack(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(L, 2) links of two frames, coordinates in standard deviations."""
    try:
        from laptrack import LapTrack
    except ImportError as error:
        raise InputError("track: needs LapTrack; pip install 'napari-droplets[tracking]'") from error
    if not len(a) or not len(b):
        return np.zeros((0, 2), int)
    cutoff = CUTOFF**2 * a.shape[1]
    tracker = LapTrack(
        cutoff=cutoff,
        gap_closing_cutoff=False,
        splitting_cutoff=False,
        merging_cutoff=False,
        track_start_cost=cutoff / 2,
        track_end_cost=cutoff / 2,
    )
    edges = tracker.predict([a, b]).edges
    return np.array([(i[1], j[1]) for i, j in edges], int).reshape(-1, 2)


def _step_of(a: Frame, b: Frame, links: np.ndarray) -> Step:
    i, j = links.T
    away = b.place[j] - a.place[i]
    shift = np.zeros((6, 2))
    shift[0] = np.median(away, 0)
    left = away - shift[0]
    if len(links) >= FIELD_FROM:
        field = _field(a.place[i], away)
        rest = away - _terms(a.place[i]) @ field
        if spread_of(rest.ravel()) * np.sqrt(len(i) / (len(i) - 6)) < BETTER * spread_of(left.ravel()):
            shift, left = field, rest
    # of few droplets a change is their own: they may have merged
    growth = float(np.median(b.radius[j] ** 2 - a.radius[i] ** 2)) if len(links) >= COMMON_FROM else 0.0
    least = max(LEAST_MOTION, LEAST_SPREAD * float(np.median(a.radius)))
    return Step(shift, max(spread_of(left.ravel()), least), growth)


def _field(place: np.ndarray, away: np.ndarray) -> np.ndarray:
    """Coefficients (6, 2) of a smooth motion, by least squares in which outliers count little."""
    terms = _terms(place)
    weight = np.ones(len(place))
    field = np.zeros((6, 2))
    for _ in range(5):
        root = np.sqrt(weight)[:, None]
        field = np.linalg.lstsq(terms * root, away * root, rcond=None)[0]
        rest = np.hypot(*(away - terms @ field).T)
        weight = 1 / (1 + (rest / max(np.median(rest), 1e-9)) ** 2)
    return field


def _terms(place: np.ndarray) -> np.ndarray:
    x, y = place.T / 100
    return np.stack([np.ones_like(x), x, y, x**2, x * y, y**2], 1)


def common_step(a: Frame, b: Frame, before: Step | None) -> Step:
    """The common motion that most pairs of alike droplets agree on: none, that of the step before, or another shift."""
    spacing = _spacing(a, b)
    candidates = [np.zeros((6, 2))]
    if before is not None:
        candidates.append(before.shift)
    voted = np.zeros((6, 2))
    voted[0] = _voted_shift(a, b, spacing)
    candidates.append(voted)
    tree = cKDTree(b.place)
    scores, near = [], []
    for shift in candidates:
        moved = a.place + _terms(a.place) @ shift
        d, k = (np.asarray(a) for a in tree.query(moved))
        alike = np.abs(np.log(b.radius[k] / a.radius)) < ALIKE
        scores.append(np.sum(alike * np.exp(-0.5 * (d / (BIN * spacing)) ** 2)))
        near.append(d[alike] if alike.any() else d)
    best = int(np.argmax(np.array(scores) - [1e-9 * k for k in range(len(scores))]))
    if scores[best] < 1.2 * scores[0] + 1:  # a shift that few agree on is chance
        best = 0
    spread = float(np.clip(np.median(near[best]), LEAST_MOTION, spacing / 2)) if len(a) else spacing / 2
    return Step(candidates[best], spread, 0.0 if before is None else before.growth)


def _spacing(a: Frame, b: Frame) -> float:
    """Median distance to the nearest neighbor; pixels."""
    larger = a if len(a) >= len(b) else b
    if len(larger) < 2:
        return LEAST_SEARCH
    distance = np.asarray(cKDTree(larger.place).query(larger.place, k=2)[0])
    return float(max(np.median(distance[:, 1]), 1e-3))


def _voted_shift(a: Frame, b: Frame, spacing: float) -> np.ndarray:
    """The shift on which most pairs of droplets of like radius agree."""
    reach = max(SEARCH * spacing, LEAST_SEARCH)
    pairs = cKDTree(a.place).query_ball_tree(cKDTree(b.place), reach)
    i = np.repeat(np.arange(len(a)), [len(p) for p in pairs])
    j = np.concatenate([np.array(p, int) for p in pairs]) if len(i) else np.zeros(0, int)
    away, unlike = b.place[j] - a.place[i], np.abs(np.log(b.radius[j] / a.radius[i]))
    away = away[unlike < ALIKE]
    if not len(away):
        return np.zeros(2)
    width = BIN * spacing
    tree = cKDTree(away)
    count = tree.query_ball_point(away, width, return_length=True)
    peak = away[int(np.argmax(count))]
    return np.median(away[tree.query_ball_point(peak, width)], 0)


def _log_change(a: Frame, b: Frame, links: np.ndarray, growth: float) -> np.ndarray:
    i, j = links.T
    return np.log(b.radius[j] / grown(a.radius[i], growth))


def _clipped(values: np.ndarray) -> np.ndarray:
    """Values with those beyond three standard deviations of the bulk pulled in: wrong links do not rule."""
    limit = 3 * max(spread_of(values.ravel()), LEAST_MOTION)
    return np.clip(values, -limit, limit)
