"""Droplets followed by links: their rows in the order of time, and where they are expected before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .frames import Frames
from .motion import LEAST_MOTION, Motion

LOOK = 6
"""Frames from which the state of a droplet at an end of its path is judged."""
TREND_FROM = 4
"""Observations from which on its own change of radius counts, beside that of all."""


class End(NamedTuple):
    """What is expected of a droplet at a frame before its first or after its last observation."""

    place: np.ndarray
    radius: float
    log_radius_sd: float
    place_sd: float
    composition: np.ndarray
    composition_sd: np.ndarray


@dataclass(frozen=True)
class Paths:
    """The movie as rows of one table, and links among them; time may run backward."""

    when: np.ndarray
    """(R,) place of each row's frame in the order of time."""
    place: np.ndarray
    radius: np.ndarray
    composition: np.ndarray
    composition_sd: np.ndarray
    before: np.ndarray
    """(R,) row that is linked to it from the past, -1 for none."""
    after: np.ndarray
    by_frame: tuple[np.ndarray, ...]
    shifts: tuple[np.ndarray, ...]
    """For each step the coefficients of the common motion, toward the future."""
    growth: np.ndarray
    """For each step the common change of the squared radius."""
    spread: np.ndarray
    """For each step the standard deviation of a droplet's own displacement."""
    relative: np.ndarray
    """(R,) the same of each droplet by its radius, in that of all."""
    persistence: float
    """Part of a droplet's own displacement that goes on in the next frame."""
    log_radius_sd: float
    """Error of one log radius."""
    composition_error: float
    shape: tuple[int, int]

    @classmethod
    def of(cls, frames: Frames, motion: Motion, links: np.ndarray) -> Paths:
        """Paths of a movie by its links."""
        n = len(frames.table)
        when = np.zeros(n, int)
        for k, frame in enumerate(frames.frames):
            when[frame.rows] = k
        order = np.concatenate([f.rows for f in frames.frames])

        def column(name: str) -> np.ndarray:
            values = np.concatenate([getattr(f, name) for f in frames.frames])
            result = np.empty_like(values)
            result[order] = values
            return result

        before, after = np.full(n, -1), np.full(n, -1)
        before[links[:, 1]] = links[:, 0]
        after[links[:, 0]] = links[:, 1]
        return cls(
            when,
            column("place"),
            column("radius"),
            column("composition"),
            column("composition_sd"),
            before,
            after,
            tuple(f.rows for f in frames.frames),
            tuple(s.shift for s in motion.steps),
            np.array([s.growth for s in motion.steps]),
            np.array([s.spread for s in motion.steps]),
            motion.relative(column("radius")),
            motion.persistence,
            motion.radius_spread / np.sqrt(2),
            motion.composition_spread / np.sqrt(2),
            frames.shape,
        )

    def backward(self) -> Paths:
        """The same movie with time running backward: what splits is then what merges."""
        last = len(self.by_frame) - 1
        return Paths(
            last - self.when,
            self.place,
            self.radius,
            self.composition,
            self.composition_sd,
            self.after,
            self.before,
            self.by_frame[::-1],
            tuple(-s for s in self.shifts[::-1]),
            -self.growth[::-1],
            self.spread[::-1],
            self.relative,
            self.persistence,
            self.log_radius_sd,
            self.composition_error,
            self.shape,
        )

    @property
    def ends(self) -> np.ndarray:
        """Rows after which a path does not go on, but those of the last frame."""
        return np.flatnonzero((self.after < 0) & (self.when < len(self.by_frame) - 1))

    def past(self, row: int, most: int = LOOK) -> np.ndarray:
        """Rows of a path up to and with this one, the latest first."""
        rows = [row]
        while len(rows) < most and self.before[rows[-1]] >= 0:
            rows.append(int(self.before[rows[-1]]))
        return np.array(rows)

    def future(self, row: int, most: int = LOOK) -> np.ndarray:
        """Rows of a path from this one on."""
        rows = [row]
        while len(rows) < most and self.after[rows[-1]] >= 0:
            rows.append(int(self.after[rows[-1]]))
        return np.array(rows)

    def expected(self, row: int, frame: int) -> End:
        """A path's droplet at a later frame, from its observations up to `row`."""
        rows = self.past(row)
        place, spread, own = self.place[row], 0.0, self._own(row)
        new = 1.0 if own is None else 1 - self.persistence**2  # part of the variance that the last step does not tell
        for k in range(self.when[row], frame):
            place = self._moved(place, k)
            if own is not None:
                own = self.persistence * own
                place = place + own
            spread += new * (self.relative[row] * self.spread[k]) ** 2
        radius, sd = self._radius(rows, frame)
        made, made_sd = self._made(rows)
        return End(place, radius, sd, float(np.sqrt(max(spread, LEAST_MOTION**2))), made, made_sd)

    def begun(self, row: int) -> End:
        """A path's droplet at the frame of `row`, from its observations from there on."""
        rows = self.future(row)
        radius, sd = self._radius(rows, int(self.when[row]))
        made, made_sd = self._made(rows)
        return End(self.place[row], radius, sd, 0.0, made, made_sd)

    def _own(self, row: int) -> np.ndarray | None:
        """(2,) of its last displacement what was not common; None before a droplet's second frame."""
        before = int(self.before[row])
        if before < 0:
            return None
        place = self.place[before]
        for k in range(self.when[before], self.when[row]):
            place = self._moved(place, k)
        return (self.place[row] - place) / (self.when[row] - self.when[before])

    def _moved(self, place: np.ndarray, k: int) -> np.ndarray:
        x, y = place / 100
        return place + np.array([1, x, y, x**2, x * y, y**2]) @ self.shifts[k]

    def _radius(self, rows: np.ndarray, frame: int) -> tuple[float, float]:
        """Radius at a frame, and the error of its logarithm, from observations near it."""
        when = self.when[rows]
        # bring all to the frame by what all droplets do, then average, or go on along the own line
        common = np.concatenate([[0.0], np.cumsum(self.growth)])
        squared = self.radius[rows] ** 2 + common[frame] - common[when]
        n, away = len(rows), when - frame
        if n < TREND_FROM:
            at = np.median(squared) if n > 2 else squared.mean()
            sd = self.log_radius_sd / np.sqrt(n)
        else:
            centered = away - away.mean()
            slope = centered @ squared / (centered @ centered)
            at = squared.mean() - slope * away.mean()
            sd = self.log_radius_sd * np.sqrt(1 / n + away.mean() ** 2 / (centered @ centered))
        lowest = 0.3 * self.radius[rows[0]]
        return float(np.sqrt(max(at, lowest**2))), float(sd)

    def _made(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sd = np.sqrt(np.mean(self.composition_sd[rows] ** 2, 0) + self.composition_error**2) / np.sqrt(len(rows))
        return self.composition[rows].mean(0), sd


def track_numbers(n: int, links: np.ndarray) -> np.ndarray:
    """(n,) for each row the number of its track: 0, 1, ... in the order of their first rows."""
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1]


def inserted(
    links: np.ndarray, frame: np.ndarray, place: np.ndarray, radius: np.ndarray, new: np.ndarray
) -> np.ndarray:
    """Links with droplets put into gaps: where a link leads over the frame of one, and past its place, it leads there.

    Parameters
    ----------
    links : ndarray
        (L, 2) rows.
    frame, place, radius : ndarray
        Of all rows; (R,), (R, 2), (R,).
    new : ndarray
        Rows that are in no link.
    """
    found = [(int(a), int(b)) for a, b in links]
    for row in new:
        over = [(a, b) for a, b in found if frame[a] < frame[row] < frame[b]]
        away = []
        for a, b in over:
            share = (frame[row] - frame[a]) / (frame[b] - frame[a])
            expected = (1 - share) * place[a] + share * place[b]
            away.append(np.hypot(*(expected - place[row])) / radius[row])
        if away and min(away) < 1:
            a, b = over[int(np.argmin(away))]
            found.remove((a, b))
            found += [(a, int(row)), (int(row), b)]
    return np.array(found, int).reshape(-1, 2)
