"""Droplets that move, grow, merge and split by stated laws: the truth of simulated movies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..simulate import place

MARGIN = 4.0
"""Droplets live on a field this much wider than the image on each side, in typical radii, and come back on the other
side of it as new droplets: that is how they enter and leave."""
LOWEST = 0.25
"""A droplet smaller than this, in typical radii, has evaporated."""
APART = 1.02
"""Halves of a split droplet lie so far from each other, in sums of their radii."""
SPLIT_FROM = 1.0
"""Droplets at least so large, in typical radii, can split."""
SPLIT_SHARE = (0.3, 0.7)
"""Part of the volume that one of the two gets."""
COOLING = 3
"""Frames in which droplets that came out of one do not merge again: they move apart."""
LANES = 0.5
"""Flow is that of a channel along the image: fastest in the middle, this part of it slower on average at the edges."""


@dataclass(frozen=True)
class Laws:
    """How droplets change from one frame to the next; lengths in pixels."""

    drift: tuple[float, float] = (0.0, 0.0)
    drift_jitter: float = 0.0
    brownian: float = 0.5
    flow: float = 0.0
    growth: float = 0.0
    growth_spread: float = 0.2
    coalescence: bool = True
    splitting: float = 0.0
    exponent: float = 3.0
    persistence: float = 0.0


@dataclass
class World:
    """All droplets on the field; arrays of one length."""

    height: int
    width: int
    typical: float
    laws: Laws
    rng: np.random.Generator
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    composition: np.ndarray
    rate: np.ndarray
    """Change of the squared radius, pixels² a frame."""
    track_id: np.ndarray
    own: np.ndarray
    """(N, 2) of the last displacement what was not common, pixels."""
    young: np.ndarray
    """Frames left in which it does not merge."""
    events: list[dict[str, Any]] = field(default_factory=list)
    frame: int = 0
    next_id: int = 0

    @classmethod
    def of(
        cls,
        shape: tuple[int, int],
        n: int,
        types: int,
        radius: float,
        spread: float,
        laws: Laws,
        simplex: bool,
        rng: np.random.Generator,
    ) -> World:
        """A field with n droplets to the area of the image, that do not touch."""
        (height, width), margin = shape, int(np.ceil(MARGIN * radius))
        tall, wide = height + 2 * margin, width + 2 * margin
        total = round(n * tall * wide / (height * width))
        radii = radius * np.exp(spread * rng.standard_normal(total))
        x, y = place(radii, tall, wide, 0.0, rng)
        made = rng.dirichlet(np.full(types, 0.5), total) if simplex else rng.random((total, types))
        rate = laws.growth * (1 + laws.growth_spread * rng.standard_normal(total))
        ids = np.arange(total)
        young = np.zeros(total, int)
        own = np.zeros((total, 2))
        if laws.persistence:  # as if they had moved before
            own = laws.brownian * np.sqrt(radius / radii)[:, None] * rng.standard_normal((total, 2))
        return cls(
            height, width, radius, laws, rng, x - margin, y - margin, radii, made, rate, ids, own, young, next_id=total
        )

    @property
    def margin(self) -> int:
        """Pixels of the field beyond the image."""
        return int(np.ceil(MARGIN * self.typical))

    @property
    def seen(self) -> np.ndarray:
        """Which droplets have their center in the image."""
        return (np.abs(self.x - (self.width - 1) / 2) <= self.width / 2) & (
            np.abs(self.y - (self.height - 1) / 2) <= self.height / 2
        )

    def step(self) -> None:
        """Go on to the next frame."""
        before = set(self.track_id[self.seen])
        self.frame += 1
        self.young = np.maximum(self.young - 1, 0)
        self._move()
        self._grow()
        if self.laws.splitting:
            self._split(before)
        if self.laws.coalescence:
            self._merge(before)

    def _move(self) -> None:
        laws, n = self.laws, len(self.x)
        jitter = laws.drift_jitter * self.rng.standard_normal(2)
        across = np.clip((self.y - (self.height - 1) / 2) / (self.height / 2 + self.margin), -1, 1)
        self.x = self.x + laws.drift[0] + jitter[0] + laws.flow * (1 - LANES * across**2)
        self.y = self.y + laws.drift[1] + jitter[1]
        # small droplets diffuse faster: Stokes and Einstein
        spread = laws.brownian * np.sqrt(self.typical / self.radius)
        news = spread * np.stack([self.rng.standard_normal(n), self.rng.standard_normal(n)])
        self.own = laws.persistence * self.own + np.sqrt(1 - laws.persistence**2) * news.T
        self.x, self.y = self.x + self.own[:, 0], self.y + self.own[:, 1]
        self._return()

    def _return(self) -> None:
        """Droplets that leave the field come back on its other side, as others."""
        for name, side in (("x", self.width), ("y", self.height)):
            value, length = getattr(self, name), side + 2 * self.margin
            left = (value < -self.margin) | (value >= length - self.margin)
            setattr(self, name, np.where(left, (value + self.margin) % length - self.margin, value))
            self.track_id[left] = self._ids(int(left.sum()))

    def _grow(self) -> None:
        squared = self.radius**2 + self.rate
        self._keep(squared > (LOWEST * self.typical) ** 2)
        self.radius = np.sqrt(squared[squared > (LOWEST * self.typical) ** 2])

    def _split(self, before: set[int]) -> None:
        chosen = (self.rng.random(len(self.x)) < self.laws.splitting) & (self.radius > SPLIT_FROM * self.typical)
        chosen &= self.young == 0
        power = self.laws.exponent
        for i in np.flatnonzero(chosen):
            share = self.rng.uniform(*SPLIT_SHARE)
            radii = self.radius[i] * np.array([share, 1 - share]) ** (1 / power)
            angle, apart = self.rng.uniform(0, 2 * np.pi), APART * radii.sum()
            weight = np.array([1 - share, -share])  # the center of mass stays
            ids = self._ids(2)
            for radius, away, new in zip(radii, weight, ids, strict=True):
                x, y = self.x[i] + away * apart * np.cos(angle), self.y[i] + away * apart * np.sin(angle)
                self._add(x, y, radius, self.composition[i], self.rate[i], new, self.own[i], COOLING)
            if self.track_id[i] in before:
                self.events += [self._event("split", int(k), [int(self.track_id[i])]) for k in ids]
        self._keep(np.append(~chosen, np.ones(len(self.x) - len(chosen), bool)))

    def _merge(self, before: set[int]) -> None:
        """Droplets that overlap become one, with the volume of all and the mean composition; so do chains of them."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components
        from scipy.spatial import cKDTree

        if len(self.x) < 2:
            return
        points = np.stack([self.x, self.y], 1)
        pairs = cKDTree(points).query_pairs(2 * self.radius.max(), output_type="ndarray")
        i, j = pairs.T
        touching = np.hypot(*(points[i] - points[j]).T) < self.radius[i] + self.radius[j]
        touching &= (self.young[i] == 0) | (self.young[j] == 0)
        i, j = i[touching], j[touching]
        graph = coo_array((np.ones(len(i)), (i, j)), shape=(len(self.x),) * 2)
        _, label = connected_components(graph, directed=False)
        gone = np.zeros(len(self.x), bool)
        for one in np.flatnonzero(np.bincount(label) > 1):
            parts = np.flatnonzero(label == one)
            volume = self.radius[parts] ** self.laws.exponent
            weight = volume / volume.sum()
            made, new = weight @ self.composition[parts], int(self._ids(1)[0])
            radius = volume.sum() ** (1 / self.laws.exponent)
            x, y, rate, own = (weight @ a[parts] for a in (self.x, self.y, self.rate, self.own))
            self._add(x, y, radius, made, rate, new, own, 0)
            gone[parts] = True
            known = [int(k) for k in self.track_id[parts] if k in before]
            if len(known) > 1:
                self.events.append(self._event("merge", new, known))
        self._keep(np.append(~gone, np.ones(len(self.x) - len(gone), bool)))

    def _event(self, kind: str, track_id: int, parents: list[int]) -> dict[str, Any]:
        return {"frame": self.frame, "kind": kind, "track_id": track_id, "parent_ids": " ".join(map(str, parents))}

    def _ids(self, n: int) -> np.ndarray:
        self.next_id += n
        return np.arange(self.next_id - n, self.next_id)

    def _add(
        self,
        x: float,
        y: float,
        radius: float,
        made: np.ndarray,
        rate: float,
        track_id: int,
        own: np.ndarray,
        young: int,
    ) -> None:
        self.x, self.y = np.append(self.x, x), np.append(self.y, y)
        self.radius = np.append(self.radius, radius)
        self.composition = np.concatenate([self.composition, made[None]])
        self.rate, self.track_id = np.append(self.rate, rate), np.append(self.track_id, track_id)
        self.own = np.concatenate([self.own, own[None]])
        self.young = np.append(self.young, young)

    def _keep(self, rows: np.ndarray) -> None:
        for name in ("x", "y", "radius", "composition", "rate", "track_id", "own", "young"):
            setattr(self, name, getattr(self, name)[rows])
