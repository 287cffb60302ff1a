"""Droplets of microfluidics: nearly equal, packed or loose, in channels; small ones between and inside of large."""

from __future__ import annotations

import math

import numpy as np

from ..camera import Sketch, sketched
from ..clutter import add_clutter
from ..discs import placed
from ..ground import clouds
from ..looks import Array

RADII = (2.5, 22.0)  # typical ones, pixels as the network sees them
SMALLEST = 2.0  # pixels of the camera
SPREADS = (0.015, 0.1)  # standard deviation of the logarithm of the radius
SMALL = (0.12, 0.5)  # radii of satellites and of droplets inside of droplets, in those of the large
CLUTTERED = 0.2  # of the images hold captions and the like, beside those of all kinds
CHANNEL = 0.4  # of the images show the walls of a channel


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw a monolayer, see `any_look.sketch` for the parameters."""
    typical = max(scale * math.exp(rng.uniform(*np.log(RADII))), SMALLEST)
    circles = _lattice(rng, side, typical) if rng.random() < 0.6 else _loose(rng, side, typical)
    v, u = np.mgrid[:side, :side].astype(np.float32)
    tint = rng.uniform(0.4, 0.95) * (np.ones(3) if rng.random() < 0.6 else 1 - 0.3 * rng.random(3))
    ground = tint * (1 + rng.choice([0, 0.03, 0.1]) * np.clip(clouds(rng, side, 0.5 * side), -2, 2))[..., None]
    if rng.random() < CHANNEL:
        channel = _Channel(rng, side, typical)
        circles, ground = circles[channel.holds(circles)], ground * channel.light(rng, u, v)[..., None]
    else:
        channel = None
    n = len(circles)
    small = np.zeros((0, 3))
    if rng.random() < 0.45:
        small = np.concatenate([_between(rng, circles, side, typical, scale), _within(rng, circles)])
        if channel is not None:
            small = small[channel.holds(small)]
    dyed = rng.choice([0.0, rng.uniform(0.1, 1.2)]) * (np.ones(3) if rng.random() < 0.4 else rng.random(3))
    look = _Look(rng, typical)
    kinds = np.where(rng.random(n) < rng.choice([0, 0.3, 0.5]), 0.0, 1.0)
    light = ground.copy()
    for i, (x, y, r) in enumerate(np.concatenate([circles, small]).tolist()):
        y0, y1 = max(0, math.floor(y - 1.3 * r - 2)), max(0, min(side, math.ceil(y + 1.3 * r + 3)))
        x0, x1 = max(0, math.floor(x - 1.3 * r - 2)), max(0, min(side, math.ceil(x + 1.3 * r + 3)))
        if y0 >= y1 or x0 >= x1:
            continue
        dx, dy = u[y0:y1, x0:x1] - x, v[y0:y1, x0:x1] - y
        change = look(dx / r, dy / r, r)[..., None] - (kinds[i] if i < n else 0.3) * dyed * look.inside(dx, dy, r)
        light[y0:y1, x0:x1] *= np.exp(change)
    everything = np.concatenate([circles, small])
    blur = min(rng.gamma(1.5, 0.4), 0.2 + 0.12 * typical)
    drawn = sketched(rng, light, ground, everything, noise, blur=blur, gray=0.5)
    if rng.random() < CLUTTERED:
        return Sketch(*add_clutter(rng, drawn.light, drawn.truth))
    return drawn


class _Look:
    """Natural-log change of the light over the offset from a droplet's middle, drawn once for an image."""

    def __init__(self, rng: np.random.Generator, typical: float) -> None:
        self.width = max(rng.uniform(0.04, 0.2), 0.5 / typical)
        self.rim = -rng.uniform(0.25, 2.0) if rng.random() < 0.85 else rng.uniform(0.2, 0.6)
        self.inner = rng.choice([0.0, rng.uniform(-0.4, 0.4)])
        self.spot = rng.choice([0.0, rng.uniform(0.1, 1.0)], p=[0.4, 0.6])
        self.spot_width = rng.uniform(0.1, 0.5)
        self.outer = rng.choice([0.0, rng.uniform(0.05, 0.4)], p=[0.6, 0.4])  # a bright line around the dark one
        self.second = rng.choice([0.0, rng.uniform(-0.6, 0.6)], p=[0.6, 0.4])
        self.second_at = rng.uniform(0.4, 0.8)
        turn = rng.uniform(0, 2 * np.pi)
        lean = rng.choice([0.0, rng.uniform(0.1, 0.6)], p=[0.6, 0.4])
        self.lean = lean * math.cos(turn), lean * math.sin(turn)

    def __call__(self, a: Array, b: Array, r: float) -> Array:
        d = np.hypot(a, b)
        width = max(self.width, 0.45 / r)
        change = self.rim * np.exp(-0.5 * ((d - 1 + 1.2 * width) / (0.6 * width)) ** 2)
        change *= 1 + self.lean[0] * a + self.lean[1] * b
        change += self.outer * np.exp(-0.5 * ((d - 1 - 0.5 * width) / (0.5 * width)) ** 2)
        change += self.second * np.exp(-0.5 * ((d - self.second_at) / width) ** 2)
        change += self.spot * np.exp(-0.5 * (d / self.spot_width) ** 2)
        return change + self.inner * (d < 1)

    def inside(self, dx: Array, dy: Array, r: float) -> Array:
        """(h, w, 1) share of each pixel in the disc."""
        return np.clip(0.5 + r - np.hypot(dx, dy), 0, 1)[..., None]


def _radii(rng: np.random.Generator, n: int, typical: float) -> Array:
    return typical * np.exp(math.exp(rng.uniform(*np.log(SPREADS))) * rng.standard_normal(n))


def _lattice(rng: np.random.Generator, side: int, typical: float) -> Array:
    """(N, 3) circles in a hexagonal lattice that is turned, disturbed and has holes."""
    pitch = 2 * typical * rng.uniform(1.0, 1.25)
    few = math.ceil(side / pitch) + 4
    row, column = np.mgrid[-few:few, -few:few].reshape(2, -1)
    a, b = pitch * (column + 0.5 * (row % 2)), pitch * math.sqrt(0.75) * row
    turn, middle = rng.uniform(0, np.pi), rng.uniform(0, side, 2)
    x = math.cos(turn) * a - math.sin(turn) * b + middle[0]
    y = math.sin(turn) * a + math.cos(turn) * b + middle[1]
    radius = _radii(rng, len(x), typical)
    free = max(pitch - 2 * typical, 0.02 * typical)
    x, y = x + rng.normal(0, 0.4 * free, len(x)), y + rng.normal(0, 0.4 * free, len(x))
    near = (np.abs(x - side / 2) < side / 2 + typical) & (np.abs(y - side / 2) < side / 2 + typical)
    near &= rng.random(len(x)) >= rng.choice([0.0, 0.05, 0.3])
    return np.stack([x, y, radius], -1)[near]


def _loose(rng: np.random.Generator, side: int, typical: float) -> Array:
    n = max(2, int(rng.uniform(0.05, 0.6) * side**2 / (np.pi * typical**2)))
    radius = _radii(rng, min(n, 500), typical)
    overlap = rng.choice([-0.2, 0.0, 0.1])
    return np.stack(placed(rng, radius, side, side, overlap, rng.choice([0.0, 0.5])), -1)


class _Channel:
    """Two parallel walls."""

    def __init__(self, rng: np.random.Generator, side: int, typical: float) -> None:
        turn = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
        self.normal = math.cos(turn), math.sin(turn)
        self.middle = rng.uniform(0.3, 0.7) * side * (self.normal[0] + self.normal[1])
        self.half = max(1.2 * typical, rng.uniform(0.15, 0.6) * side)
        self.width = max(0.6, rng.uniform(0.02, 0.2) * typical)

    def across(self, x: Array, y: Array) -> Array:
        """Distance from the middle."""
        return np.abs(self.normal[0] * x + self.normal[1] * y - self.middle)

    def holds(self, circles: Array) -> Array:
        """(N,) bool: between the walls."""
        return self.across(*circles[:, :2].T) + 0.9 * circles[:, 2] < self.half

    def light(self, rng: np.random.Generator, u: Array, v: Array) -> Array:
        """(H, W) factors on the light: lines, and another shade beyond."""
        off = self.across(u, v)
        line = np.exp(-0.5 * ((off - self.half) / self.width) ** 2)
        beyond = 1 / (1 + np.exp(np.clip((self.half - off) / (0.5 * self.width), -20, 20)))
        return np.exp(rng.uniform(-1.5, 0.5) * line + rng.choice([0.0, rng.uniform(-1.2, 0.2)]) * beyond)


def _between(rng: np.random.Generator, circles: Array, side: int, typical: float, scale: float) -> Array:
    """(M, 3) satellites in the gaps."""
    count = int(rng.uniform(0, 0.6) * len(circles)) + 2
    at = rng.uniform(0, side, (20 * count, 2))
    wanted = typical * np.exp(rng.uniform(math.log(SMALL[0]), math.log(SMALL[1]), 20 * count))
    done = circles
    n = len(circles)
    for (x, y), r in zip(at.tolist(), wanted.tolist(), strict=True):
        room = float((np.hypot(done[:, 0] - x, done[:, 1] - y) - done[:, 2]).min()) if len(done) else r
        r = min(r, room)
        if r > 1.2 * scale and r > 0.08 * typical:
            done = np.concatenate([done, [[x, y, r]]])
        if len(done) >= n + count:
            break
    return done[n:]


def _within(rng: np.random.Generator, circles: Array) -> Array:
    """(M, 3) small droplets inside of some."""
    hosts = circles[rng.random(len(circles)) < rng.choice([0.0, 0.15, 0.5])]
    hosts = hosts[hosts[:, 2] > 6]
    r = hosts[:, 2] * rng.uniform(0.2, 0.55, len(hosts))
    away = rng.random(len(hosts)) * (0.85 * hosts[:, 2] - r)
    turn = rng.uniform(0, 2 * np.pi, len(hosts))
    return np.stack([hosts[:, 0] + away * np.cos(turn), hosts[:, 1] + away * np.sin(turn), r], -1)
