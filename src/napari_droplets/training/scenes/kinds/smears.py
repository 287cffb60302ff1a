"""Cells over each other as in smears of blood: flat, paler in the middle or ring-shaped, translucent or not."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from ..camera import Sketch, sketched
from ..discs import placed
from ..ground import clouds
from ..looks import Array, outline

RADII = (3.0, 22.0)  # typical ones, pixels as the network sees them
SMALLEST = 2.5  # pixels of the camera; overlap of smaller ones is not seen
DEEPEST = 1.1  # overlap in radii
CHAINED = 0.25  # of the images hold chains, as of coins
PALE = (0.06, 0.5)  # of the dye's absorbance, in the body of such a cell
LARGE_BODIES = 0.75  # of the images hold some larger cells with a nucleus


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw cells, see `any_look.sketch` for the parameters."""
    typical = max(scale * math.exp(rng.uniform(*np.log(RADII))), SMALLEST)
    circles = _circles(rng, side, typical)
    n = len(circles)
    large = np.zeros(n, bool)
    if rng.random() < LARGE_BODIES:
        large = rng.random(n) < max(0.06, 1.2 / max(n, 1))
        circles[large, 2] *= rng.uniform(1.4, 2.2, int(large.sum()))
        large &= _apart_from_large(circles, large)
    elongation = np.exp(np.abs(rng.normal(0, rng.choice([0.02, 0.08, 0.15]), n))).clip(1, 1.4)
    waves = rng.normal(0, 1, (n, 3, 2)) * rng.choice([0.0, 0.01, 0.025]) * np.array([1, 1, 0.8])[:, None]
    color = rng.random() < 0.8
    ground = _ground(rng, side, color)
    dye = (0.12 + rng.gamma(2, 0.3)) * (rng.dirichlet(np.full(3, 1.5)) * 3 if color else np.ones(3))
    other = (0.12 + rng.gamma(2, 0.3)) * (rng.dirichlet(np.full(3, 1.5)) * 3 if color else np.ones(3))
    profile = _Profile(rng)
    manner = rng.choice(["adding", "upper", "densest"], p=[0.5, 0.35, 0.15])
    opacity = rng.uniform(0.45, 0.9)
    absorbance = np.zeros((side, side, 3))
    variety = rng.choice([0.03, 0.1, 0.25])
    second = rng.random(n) < rng.choice([0.0, 0.3])
    soft = rng.uniform(0.5, 1.2) + rng.choice([0.0, 0.08]) * typical
    for i, (x, y, r) in enumerate(circles.tolist()):
        part, u, v = _around(x, y, 1.5 * r + 3 * soft, side)
        if not u.size or not v.size:
            continue
        turn = rng.uniform(0, np.pi)
        a = (math.cos(turn) * u + math.sin(turn) * v) / r / math.sqrt(elongation[i])
        b = (-math.sin(turn) * u + math.cos(turn) * v) / r * math.sqrt(elongation[i])
        d = outline(a[None], b[None], waves[i : i + 1])[0]
        cover = 1 / (1 + np.exp(np.clip((d - 1) * r / (0.35 * soft), -30, 30)))
        tint = (other if second[i] else dye) * math.exp(rng.normal(0, variety))
        if large[i]:
            own = _nucleated(rng, d, a, b, r, tint if rng.random() < 0.4 else other)
        else:
            own = profile(d, r)[..., None] * tint
        before = absorbance[part]
        if manner == "adding" and not large[i]:
            after = before + cover[..., None] * own
        elif manner == "densest" and not large[i]:
            after = np.maximum(before, cover[..., None] * own)
        else:
            hidden = 0.95 if large[i] else opacity
            after = before * (1 - hidden * cover[..., None]) + cover[..., None] * own
        absorbance[part] = after
    absorbance = np.clip(absorbance, -3, 4)
    light = ground * np.exp(-absorbance)
    seen = np.ones(n, bool)
    for k in np.flatnonzero(large):  # cells under a large one are hidden
        apart = np.hypot(*(circles[:, :2] - circles[k, :2]).T)
        seen &= large | (apart + 0.3 * circles[:, 2] > circles[k, 2])
    blur = min(rng.gamma(1.5, 0.5), 0.2 + 0.15 * typical)
    return sketched(rng, light, ground, circles[seen], noise, blur=blur)


class _Profile:
    """Absorbance of a cell over the distance from its middle, drawn once for an image."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.kind = rng.choice(["flat", "biconcave", "ring", "sphere"], p=[0.35, 0.4, 0.1, 0.15])
        self.pale, self.wide = rng.uniform(0.15, 0.95), rng.uniform(0.3, 0.65)
        self.rim, self.rim_width = rng.choice([0.0, rng.uniform(0.2, 1.5)]), rng.uniform(0.05, 0.15)
        self.sign = rng.choice([1, -1], p=[0.85, 0.15])

    def __call__(self, d: Array, r: float) -> Array:
        if self.kind == "biconcave":
            inside = 1 - self.pale * np.exp(-0.5 * (d / self.wide) ** 2)
        elif self.kind == "ring":
            inside = 0.15 + np.exp(-0.5 * ((d - 0.8) / 0.15) ** 2)
        elif self.kind == "sphere":
            inside = 0.2 + 1.2 * np.sqrt(np.maximum(1 - d * d, 0))
        else:
            inside = np.ones_like(d)
        width = max(self.rim_width, 0.6 / r)
        return inside + self.sign * self.rim * np.exp(-0.5 * ((d - 1 + width) / width) ** 2)


def _nucleated(rng: np.random.Generator, d: Array, a: Array, b: Array, r: float, tint: Array) -> Array:
    """(h, w, 3) absorbance of a pale body with a dark nucleus of one to four lobes."""
    body = math.exp(rng.uniform(*np.log(PALE)))  # much paler than its nucleus, and than most other cells
    speckles = gaussian_filter(rng.standard_normal(d.shape), max(0.5, 0.06 * r))
    speckles /= max(float(speckles.std()), 1e-6)
    nucleus = np.zeros(d.shape)
    lobes = int(rng.integers(1, 5))
    size = rng.uniform(0.5, 0.8) if lobes == 1 else rng.uniform(0.25, 0.4)
    start = rng.uniform(0, 2 * np.pi)
    for k in range(lobes):
        turn = start + k * rng.uniform(0.7, 1.3)
        away = rng.uniform(0, 0.25) if lobes == 1 else rng.uniform(0.25, 0.6)
        distance = np.hypot(a - away * math.cos(turn), (b - away * math.sin(turn)) * rng.uniform(0.8, 1.2))
        nucleus = np.maximum(nucleus, 1 / (1 + np.exp(np.clip((distance - size) / (0.04 + 0.4 / r), -30, 30))))
    nucleus *= d < 0.95
    texture = 1 + 0.15 * np.clip(speckles, -2, 2)
    shade = body * texture * (1 - nucleus) + rng.uniform(1.2, 2.5) * nucleus
    return shade[..., None] * tint


def _circles(rng: np.random.Generator, side: int, typical: float) -> Array:
    """(N, 3) cells of nearly the same size, in pairs, clumps or chains."""
    overlap = float(rng.choice([0.0, rng.uniform(0.3, DEEPEST)], p=[0.12, 0.88]))
    covered = rng.uniform(0.1, 0.8)
    n = max(3, min(int(covered * side**2 / (np.pi * typical**2)), 200))
    spread = rng.uniform(0.03, 0.15) if rng.random() < 0.85 else rng.uniform(0.15, 0.35)
    radius = typical * np.exp(spread * rng.standard_normal(n))
    if rng.random() < CHAINED:
        circles = _chains(rng, side, radius, rng.uniform(0.1, DEEPEST))
    else:
        circles = np.stack(placed(rng, radius, side, side, overlap, rng.uniform(0.2, 0.95), rng.uniform(0, 0.8)), -1)
    return circles[rng.permutation(len(circles))]


def _chains(rng: np.random.Generator, side: int, radius: Array, overlap: float) -> Array:
    """Rows in which each cell lies over the one before; rows keep off each other."""
    done = np.zeros((0, 3))
    left = radius.tolist()
    tries = 0
    while left and tries < 60:
        tries += 1
        at, turn = rng.uniform(0, side, 2), rng.uniform(0, 2 * np.pi)
        chain: list[tuple[float, float, float]] = []
        for r in left[: int(rng.integers(2, 9))]:
            if chain:
                step = chain[-1][2] + r - overlap * rng.uniform(0.7, 1) * min(r, chain[-1][2])
                at = at + step * np.array([math.cos(turn), math.sin(turn)])
                turn += rng.normal(0, 0.25)
            chain.append((float(at[0]), float(at[1]), r))
        row = np.array(chain)
        if len(done):
            apart = np.hypot(*(row[:, None, :2] - done[None, :, :2]).transpose(2, 0, 1))
            fits = (apart > 0.98 * (row[:, None, 2] + done[None, :, 2])).all(1)
            row = row[: int(np.argmin(fits))] if not fits.all() else row
        outside = np.abs(row[:, :2] - (side - 1) / 2).max(1) - side / 2 > 0.5 * row[:, 2]
        done = np.concatenate([done, row[~outside]])
        left = left[max(len(row), 0) :]
    return done


def _apart_from_large(circles: Array, large: Array) -> Array:
    """Of large cells, the first of those that lie over each other."""
    kept = large.copy()
    for i in np.flatnonzero(large):
        for j in np.flatnonzero(large[:i]):
            gap = math.hypot(*(circles[i, :2] - circles[j, :2])) - circles[i, 2] - circles[j, 2]
            kept[i] &= not (kept[j] and gap < 0)
    return kept


def _around(x: float, y: float, reach: float, side: int) -> tuple[tuple[slice, slice], Array, Array]:
    y0, y1 = max(0, math.floor(y - reach)), max(0, min(side, math.ceil(y + reach) + 1))
    x0, x1 = max(0, math.floor(x - reach)), max(0, min(side, math.ceil(x + reach) + 1))
    u, v = np.meshgrid(np.arange(x0, x1) - x, np.arange(y0, y1) - y)
    return (slice(y0, y1), slice(x0, x1)), u.astype(np.float32), v.astype(np.float32)


def _ground(rng: np.random.Generator, side: int, color: bool) -> Array:
    bright = rng.uniform(0.5, 1.0) * (np.clip(1 - 0.25 * rng.random(3), 0, 1) if color else np.ones(3))
    uneven = 1 + rng.choice([0.0, 0.03, 0.1]) * np.clip(clouds(rng, side, rng.uniform(0.2, 1) * side), -2, 2)
    return (bright * uneven[..., None]).astype(np.float32)
