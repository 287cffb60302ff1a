"""Foams, dry or wet, dark or bright walls, gaps that are no bubbles; and bubbles with dark rings in several depths."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from ..camera import Sketch, sketched
from ..discs import placed
from ..ground import add_specks, clouds
from ..looks import Array

RINGED = 0.4  # of the images show bubbles apart or over each other, with dark rings
LONGEST = 2.2  # long over short axis; a more elongated cell is not marked by a circle
GRAY = 0.8  # of the images are gray
SMALLEST = 1.2  # pixels as the network sees them
BEYOND = 26.0  # pixels as the network sees them; cells that reach further beyond the border are not in the truth
WALL_HALF = math.sqrt(math.log(2))  # widths from the middle of a wall to where its light is half that of the inside
ALIKE = 0.3  # of the contrast between wall and inside; ground less different from the wall is not told from it
TRIES = 500  # places tried in a packing
BLURRED = 0.5  # radii; a bubble out of focus by more is not to be found
DIM = 0.3  # of the light; a bubble whose center has less is beside the window, and not to be found
LEAST = 0.2  # of the median radius; among larger bubbles smaller ones are specks to whoever measures


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw bubbles, see `any_look.sketch` for the parameters."""
    return (_ringed if rng.random() < RINGED else _packed)(rng, side, scale, noise)


def _packing(rng: np.random.Generator, side: int, margin: float, smallest: float, largest: float) -> Array:
    """(N, 3) circles that touch their neighbors, each as large as there is room for, within limits."""
    done = np.zeros((TRIES, 3))
    n = 0
    at = rng.uniform(-margin, side + margin, (TRIES, 2))
    steep = rng.choice([0.3, 0.7, 1.5])
    wanted = smallest * (largest / smallest) ** (rng.random(TRIES) ** steep)
    wanted[: TRIES // 2] = np.sort(wanted[: TRIES // 2])[::-1]
    area, full = 0.0, 0.92 * (side + 2 * margin) ** 2
    for (x, y), most in zip(at.tolist(), wanted.tolist(), strict=True):
        others = done[:n]
        room = float((np.hypot(others[:, 0] - x, others[:, 1] - y) - others[:, 2]).min()) if n else most
        if room < smallest:
            continue
        r = min(room, most)
        done[n] = x, y, r
        n += 1
        area += math.pi * r * r
        if area > full:
            break
    return done[:n]


def _packed(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """A foam seen from above."""
    typical = scale * math.exp(rng.uniform(math.log(3), math.log(16)))
    ratio = rng.choice([rng.uniform(1.3, 3), rng.uniform(3, 12)])
    largest, smallest = typical * math.sqrt(ratio), max(typical / math.sqrt(ratio), SMALLEST * scale)
    margin = min(1.5 * largest, 30 * scale)
    circles = _packing(rng, side, margin, smallest, largest)
    dry = rng.random() < 0.5
    # growth of each bubble beyond its circle: none in a wet foam; where it is dry, until walls meet everywhere
    growth = rng.uniform(0.3, 1.2) if dry else rng.uniform(0, 0.12)
    pad = math.ceil(min(largest, BEYOND * scale))  # cells cut by the border are drawn further, for their truth
    first, second, owner = _additive_distances(circles, growth, pad, side + 2 * pad)
    # inside of the middle of the wall
    depth = np.minimum(0.5 * (second - first), (growth * circles[:, 2]).astype(np.float32)[owner] - first)
    depth = np.maximum(depth, -typical)  # no farther than matters for the next line
    soft = rng.uniform(0.0, 0.12) * typical if dry else 0.0
    if soft > 0.3:  # corners of cells are round
        depth = gaussian_filter(depth, soft)
    owner = np.where(depth > 0, owner, -1)
    truth = _cells(owner, len(circles))
    truth[:, :2] -= pad
    inner = slice(pad, pad + side)
    owner, depth = owner[inner, inner], depth[inner, inner]
    light, ground, inset = _foam_light(rng, depth, owner, circles, typical, dry)
    truth[:, 2] -= inset
    truth = truth[truth[:, 2] > 0.5]
    color = np.ones(3) if rng.random() < GRAY else 1 - 0.4 * rng.random(3)
    light, ground = light[..., None] * color, ground * color
    blur = min(rng.gamma(1.5, 0.4), 0.2 + 0.12 * typical)
    return sketched(rng, light, np.broadcast_to(ground, light.shape), truth, noise, blur=blur, gray=GRAY)


def _additive_distances(circles: Array, growth: float, pad: int, size: int) -> tuple[Array, Array, Array]:
    """Of each pixel of a padded image the distance to the nearest and second nearest circle, and which is the nearest.

    Distances are negative inside; where no circle is near enough to own the pixel, they are larger than the image.
    """
    first = np.full((size, size), 2.0 * size, np.float32)
    second, owner = first.copy(), np.zeros((size, size), int)
    usual = float(np.median(circles[:, 2]))
    for i, (x, y, r) in enumerate((circles + np.array([pad, pad, 0])).tolist()):
        reach = r + growth * (r + usual) + 2
        y0, y1 = max(0, math.floor(y - reach)), max(0, min(size, math.ceil(y + reach) + 1))
        x0, x1 = max(0, math.floor(x - reach)), max(0, min(size, math.ceil(x + reach) + 1))
        if y0 >= y1 or x0 >= x1:
            continue
        u, v = np.arange(x0, x1, dtype=np.float32) - x, np.arange(y0, y1, dtype=np.float32)[:, None] - y
        d = np.sqrt(u * u + v * v) - np.float32(r)
        f, s = first[y0:y1, x0:x1], second[y0:y1, x0:x1]  # views
        owner[y0:y1, x0:x1][d < f] = i
        np.minimum(s, np.maximum(f, d), out=s)
        np.minimum(f, d, out=f)
    return first, second, owner


def _cells(owner: Array, n: int) -> Array:
    """(N, 3) circles of the area of each cell, at its centroid, for those that the border does not cut."""
    inside = owner >= 0
    which = owner[inside]
    v, u = np.nonzero(inside)
    area = np.bincount(which, minlength=n)
    safe = np.maximum(area, 1)
    x, y = np.bincount(which, u, n) / safe, np.bincount(which, v, n) / safe
    dx, dy = u - x[which], v - y[which]
    xx, yy, xy = (np.bincount(which, q, n) / safe + c for q, c in ((dx * dx, 0.08), (dy * dy, 0.08), (dx * dy, 0)))
    gap = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    elongation = np.sqrt((xx + yy + gap) / np.maximum(xx + yy - gap, 1e-6))
    edge = np.zeros(n, bool)
    for line in (owner[0], owner[-1], owner[:, 0], owner[:, -1]):
        edge[line[line >= 0]] = True
    radius = np.sqrt(area / np.pi)
    return np.stack([x, y, radius], -1)[(area > 2) & (elongation < LONGEST) & ~edge]


def _foam_light(
    rng: np.random.Generator, depth: Array, owner: Array, circles: Array, typical: float, dry: bool
) -> tuple[Array, Array, float]:
    """(H, W) light, what bubbles have to differ from, and by how much they look smaller than their outlines."""
    radius = np.where(owner >= 0, circles[owner, 2], typical)
    manner = rng.choice(["dark walls", "bright walls", "thick rings", "shaded"], p=[0.35, 0.2, 0.25, 0.2])
    interior = rng.uniform(0.5, 0.95)
    wall = interior * rng.uniform(0.05, 0.6)
    if manner == "bright walls":
        interior, wall = rng.uniform(0.02, 0.4), rng.uniform(0.5, 1.0)
    width = np.exp(rng.uniform(np.log(0.02), np.log(0.15))) * typical * np.ones_like(depth)
    if manner == "thick rings":
        width = rng.uniform(0.12, 0.22 if dry else 0.45) * radius
    width = np.maximum(width, 0.5)
    own = np.exp(rng.normal(0, rng.choice([0.03, 0.15, 0.35]), len(circles)))
    white = rng.random(len(circles)) < rng.choice([0.0, 0.15], p=[0.7, 0.3])
    own[white] = np.maximum(own[white], 0.95 / interior)
    inner = np.where(owner >= 0, interior * np.minimum(own[owner], 1.0 / interior), interior)
    if manner == "shaded" or rng.random() < 0.3:  # bubbles are domes, lit from one side
        turn = rng.uniform(0, 2 * np.pi)
        v, u = np.mgrid[: len(depth), : len(depth)]
        dx, dy = (u - circles[owner, 0]) / radius, (v - circles[owner, 1]) / radius
        slope = np.clip(math.cos(turn) * dx + math.sin(turn) * dy, -1.3, 1.3)
        inner = inner * (1 + np.where(owner >= 0, rng.uniform(0.1, 0.5) * slope, 0))
        inner *= 1 - np.where(owner >= 0, rng.uniform(0, 0.3) * np.clip(dx**2 + dy**2, 0, 1.5), 0)
    shape = (
        np.exp(-((np.maximum(depth, 0) / width) ** 2))
        if manner != "thick rings"
        else 1 / (1 + np.exp(np.clip((depth - width) / np.maximum(0.15 * width, 0.3), -20, 20)))
    )
    gap = rng.choice([wall, interior, rng.uniform(0, 1)], p=[0.55, 0.3, 0.15])  # between bubbles
    if manner == "thick rings" and abs(gap - wall) < 0.25:  # a ring on ground as dark looks smaller than it is
        gap = interior
    if abs(gap - interior) < 0.1 and manner in ("dark walls", "bright walls"):
        outside = wall + (gap - wall) * np.clip(-depth / np.maximum(width, 0.7), 0, 1)
    else:
        outside = np.full_like(depth, gap)
    light = outside + (inner + (wall - inner) * shape - outside) * np.clip(depth + 0.5, 0, 1)
    if rng.random() < 0.5:  # reflections of lamps
        v, u = np.mgrid[: len(depth), : len(depth)]
        for _ in range(int(rng.integers(1, 4))):
            ax, ay = rng.uniform(-0.5, 0.5, 2)
            size = rng.uniform(0.04, 0.15)
            square = ((u - circles[owner, 0]) / radius - ax) ** 2 + ((v - circles[owner, 1]) / radius - ay) ** 2
            sharpness = np.exp(-square / (2 * np.maximum(size, 0.4 / radius) ** 2))
            light = light + rng.uniform(0.2, 0.7) * sharpness * (depth > 0)
    light *= 1 + rng.choice([0.0, 0.05, 0.15]) * np.clip(clouds(rng, len(depth), 0.4 * len(depth)), -2, 2)
    # where round bubbles lie on ground like their walls, they end where their bright middle does
    merged = not dry and manner != "thick rings" and abs(gap - wall) < ALIKE * abs(interior - wall)
    inset = WALL_HALF * float(width.flat[0]) if merged else 0.0
    return np.clip(light, 0, 1.2), np.full(3, interior if manner == "thick rings" else wall), inset


def _ringed(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Bubbles in liquid before a bright window: dark rings with a bright middle, sharp or blurred, over each other."""
    typical = scale * math.exp(rng.uniform(math.log(2.2), math.log(12)))
    spread = rng.uniform(0.3, 1.0)
    radius = np.clip(typical * np.exp(spread * rng.standard_normal(600)), SMALLEST * scale, 40 * scale)
    covered = rng.uniform(0.15, 0.85)
    n = max(4, min(int(covered * side**2 / float(np.mean(np.pi * radius**2))), 350))
    radius = np.sort(radius[:n])[::-1]
    x, y, radius = placed(rng, radius, side, side, rng.choice([0.0, 0.2, 0.5]), rng.choice([0.0, 0.4, 0.8]))
    n = len(x)
    depth = rng.choice([0.0, 0.3], p=[0.5, 0.5]) * np.abs(rng.standard_normal(n))  # blur of the outline, radii
    order = np.argsort(-depth, kind="stable")  # the blurred ones first
    circles, depth = np.stack([x, y, radius], -1)[order], depth[order]
    base = rng.uniform(0.5, 1.0)
    ground = base * (1 + rng.choice([0.0, 0.08, 0.2]) * np.clip(clouds(rng, side, rng.uniform(3, 60)), -2, 2))
    if rng.random() < 0.5:  # specks of all kinds, far smaller
        dots = (rng.random((side, side)) < rng.uniform(0.002, 0.02)) * rng.uniform(0, 1, (side, side))
        ground = ground * (1 - np.clip(6 * gaussian_filter(dots, rng.uniform(0.6, 1.0)), 0, 0.6) * rng.uniform(0.2, 1))
    if rng.random() < 0.4:
        ground = add_specks(rng, ground[..., None], typical)[..., 0]
    light = ground.copy()
    black = rng.uniform(0.0, 0.45)
    window = rng.uniform(0.15, 0.85)  # radius of the bright middle, radii
    bright = rng.uniform(0.4, 1.2) if rng.random() < 0.8 else black
    tilt = rng.normal(0, 0.12, 2)
    sharp = rng.uniform(0.02, 0.15)  # radii over which its outline is blurred
    uneven = rng.choice([0.0, 0.12])  # of its radius, by which its outline waves
    top = np.full((side, side), -1)
    for i, (cx, cy, r) in enumerate(circles.tolist()):
        blur = max(0.5, depth[i] * r)
        reach = r + 2.5 * blur + 2
        y0, y1 = max(0, math.floor(cy - reach)), max(0, min(side, math.ceil(cy + reach) + 1))
        x0, x1 = max(0, math.floor(cx - reach)), max(0, min(side, math.ceil(cx + reach) + 1))
        if y0 >= y1 or x0 >= x1:
            continue
        u, v = np.arange(x0, x1)[None] - cx, np.arange(y0, y1)[:, None] - cy
        d = np.hypot(u, v)
        cover = 1 / (1 + np.exp(np.clip((d - r) / (0.4 * blur), -30, 30)))
        own = window * math.exp(rng.normal(0, 0.15))
        wave = sum(uneven * rng.normal() * np.cos(k * np.arctan2(v, u) + rng.uniform(0, 6)) for k in (2, 3, 4))
        middle = np.hypot(u / r - tilt[0], v / r - tilt[1]) / own * (1 + np.clip(wave, -0.3, 0.3))
        inside = black + (bright * ground[y0:y1, x0:x1] - black) / (
            1 + np.exp(np.clip((middle - 1) * own * r / (0.5 * blur + sharp * r), -30, 30))
        )
        light[y0:y1, x0:x1] += cover * (inside - light[y0:y1, x0:x1]) * rng.uniform(0.85, 1)
        top[y0:y1, x0:x1][d < r] = i
    counts = np.bincount(top[top >= 0], minlength=n)
    shown = np.array([max(1.0, _inside(cx, cy, r, side)) for cx, cy, r in circles.tolist()])
    unhidden = np.minimum(counts / shown, 1)
    unhidden[(depth >= BLURRED) | (circles[:, 2] < LEAST * np.median(circles[:, 2]))] = 0
    color = np.ones(3) if rng.random() < GRAY else 1 - 0.4 * rng.random(3)
    blur = min(rng.gamma(1.5, 0.4), 0.2 + 0.15 * typical)
    if rng.random() < 0.35:
        lit = _lit(rng, side)
        color = color * lit[..., None]
        columns, rows = np.rint(circles[:, :2]).astype(int).clip(0, side - 1).T
        unhidden[lit[rows, columns] < DIM] = 0
    light, ground = light[..., None] * color, ground[..., None] * color
    return sketched(rng, light, ground, circles, noise, blur=blur, gray=GRAY, unhidden=unhidden)


def _lit(rng: np.random.Generator, side: int) -> Array:
    """Share of the light that is left: all of it in the window, next to none beside it but what shines there."""
    v, u = np.mgrid[:side, :side].astype(np.float32) / side - 0.5
    turn, soft = rng.uniform(0, 2 * np.pi), rng.uniform(0.005, 0.05)
    beyond = np.full((side, side), -10.0, np.float32)
    for _ in range(int(rng.integers(1, 3))):
        beyond = np.maximum(beyond, math.cos(turn) * u + math.sin(turn) * v - rng.uniform(0.05, 0.5))
        turn += rng.choice([0.8, np.pi / 2])
    dark = 1 / (1 + np.exp(-np.clip(beyond / soft, -30, 30)))
    dots = (rng.random((side, side)) < rng.uniform(0, 0.003)) * rng.uniform(0, 1, (side, side))
    size = rng.uniform(0.7, 3.0)
    glints = np.clip(6 * size**2 * gaussian_filter(dots, size), 0, 1)
    return 1 - dark * (1 - rng.uniform(0, 0.1) - 0.5 * rng.random() * glints)


def _inside(x: float, y: float, r: float, side: int) -> float:
    """Pixels of a disc that are in the image, roughly: the disc is taken for its square."""
    wide, high = (max(0.0, min(p + r, side - 0.5) - max(p - r, -0.5)) / (2 * r) for p in (x, y))
    return math.pi * r * r * wide * high
