"""Droplets of any look, size and crowding under any light, with all that is not a droplet."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ..camera import RADII, Sketch, exposed
from ..ground import add_specks, clouds, draw_ground
from ..looks import SHAPE_WAVES, Array, Look, change, draw_look, outline
from ..visible import octant, rim, visible

LARGE = 4.5  # pixels; typical radius from which specks beside the droplets are told from them
MOST = 45_000 / 2**20  # droplets per square pixel
DEFOCUSED = 0.5  # radii; a droplet out of focus further than this is part of the background …
BLURRED = 1.0  # … and one that all blur together, the camera's too, has spread further than this
CONVEX = 1.3  # the amplitude of n lobes is at most this over n^2 + 1: a waist would make two droplets of one
BEHIND, FOCUS, DEBRIS = range(3)  # layers of droplets, drawn in this order; only those in focus are to be found
CLASSES = 1.3 ** np.arange(3, 24)  # half widths of patches, pixels: droplets of one class are computed together


@dataclass
class Crowd:
    """Droplets of one scene, in the order in which they are drawn."""

    x: Array
    y: Array
    radius: Array
    waves: Array  # (n, 3, 2) of the outline
    edge: Array  # blur of the outline, pixels
    mixture: Array
    vigor: Array
    layer: Array  # BEHIND, FOCUS or DEBRIS

    def __len__(self) -> int:
        return len(self.x)


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw droplets of any look on any ground.

    Parameters
    ----------
    rng : Generator
        Where all randomness comes from.
    side : int
        Pixels.
    scale : float
        Pixels of this image for each that the network sees.
    noise : float
        Standard deviation of the noise that will be added; droplets that it hides are not in the truth.

    Returns
    -------
    Sketch
        Light and droplets to be found.
    """
    look = draw_look(rng)
    hiding = 0.0 if look.additive else float(rng.choice([0.0, rng.uniform(0, 1), 1.0], p=[0.4, 0.35, 0.25]))
    crowd = _crowd(rng, look, side, scale, opaque=hiding > 0.3)
    ground = draw_ground(rng, look, side)
    if len(crowd) > 4 and _typical(crowd) > LARGE * scale and rng.random() < 0.2:
        ground = add_specks(rng, ground, _typical(crowd))
    texture = clouds(rng, side, max(1.0, 0.3 * _typical(crowd))) if look.texture else ground[..., 0]
    image, contrast, direction, unhidden = _draw(rng, ground, look, crowd, texture, hiding)
    blur = min(rng.gamma(1.5, 0.5), 0.2 + 0.35 * _typical(crowd)) * rng.choice([0.0, 1.0], p=[0.2, 0.8])
    focus = crowd.layer == FOCUS
    found = focus & (crowd.edge < DEFOCUSED * crowd.radius) & (np.hypot(crowd.edge, blur) < BLURRED * crowd.radius)
    in_focus = list(compress(contrast, focus)), list(compress(direction, focus))
    found[focus] &= visible(*in_focus, unhidden[focus], noise, crowd.radius[focus])
    truth = np.stack([crowd.x, crowd.y, crowd.radius], -1)[found]
    return Sketch(exposed(rng, image, blur), truth)


def _typical(crowd: Crowd) -> float:
    return float(np.median(crowd.radius)) if len(crowd) else 4.0


def _crowd(rng: np.random.Generator, look: Look, side: int, scale: float, opaque: bool) -> Crowd:
    """Where droplets are, how large, and what distinguishes one from the other."""
    typical = np.exp(rng.normal(np.log(5.5), 0.4) if rng.random() < 0.4 else rng.uniform(np.log(1.6), np.log(20)))
    spread = rng.choice([rng.uniform(0.03, 0.2), rng.uniform(0.2, 0.6), rng.uniform(0.6, 0.9)], p=[0.3, 0.5, 0.2])
    log_covered = rng.uniform(np.log(0.003), np.log(0.15))
    covered = rng.choice([0.0, np.exp(log_covered), rng.uniform(0.1, 0.75)], p=[0.09, 0.3, 0.61])

    margin = min(2 * typical * np.exp(spread), 30.0)  # droplets from outside reach into the image
    area = (side / scale + 2 * margin) ** 2
    radii = typical * np.exp(spread * rng.standard_normal(4096))
    radii = np.clip(radii, RADII[0], None)[radii < 40]
    if len(radii) < 100:
        radii = np.full(4096, typical)
    n = int(min(covered * area / np.mean(np.pi * radii**2), MOST * area, len(radii)))
    if covered and n == 0:
        n = 1
    radii = radii[:n]
    if rng.random() < 0.06:  # something far larger than the rest
        radii = np.append(radii, rng.uniform(30, 70))
    if rng.random() < 0.7:
        radii = np.sort(radii)[::-1]  # the large ones find their place first, small ones fill the gaps
    radii = radii * scale
    overlap = rng.choice([rng.uniform(-0.3, 0.15), rng.uniform(0.1, 0.6), 2.0], p=[0.55, 0.3, 0.15])
    if opaque and covered > 0.3:  # a heap of opaque droplets tells nobody how many they are
        overlap = min(overlap, 0.4)
    x, y, kept = place(rng, radii, side, margin * scale, float(overlap))
    radii = radii[kept]
    if rng.random() < 0.35:
        x, y = _in_contact(rng, x, y, radii, rng.uniform(0, 0.3 if opaque else 0.8))
    order = rng.permutation(len(radii))
    x, y, radii = x[order], y[order], radii[order]
    n = len(radii)

    waves = np.zeros((n, len(SHAPE_WAVES), 2), np.float32)
    if rng.random() < 0.4:
        size = rng.uniform(0.01, 0.3) * np.array([1.0, 0.35, 0.2])[:, None]
        waves += rng.normal(0, 1, waves.shape) * size * rng.gamma(2, 0.5, (n, 1, 1))
        most = CONVEX / (np.array(SHAPE_WAVES)[:, None] ** 2 + 1)
        waves *= np.minimum(1, most / np.maximum(np.hypot(waves[..., :1], waves[..., 1:]), 1e-6))
    concentration = np.exp(rng.uniform(np.log(0.1), np.log(2)))
    mixture = rng.dirichlet(np.full(len(look.dyes), concentration), n) if n else np.zeros((0, len(look.dyes)))
    layer = np.full(n, FOCUS)
    edge = np.full(n, 0.5)
    if rng.random() < 0.35:  # some out of focus, a little or so far that they are background
        depth = rng.random(n) < rng.uniform(0, 0.5)
        edge = np.where(depth, edge + rng.gamma(2, 0.15, n) * radii, edge)
        if rng.random() < 0.3:
            layer[rng.random(n) < rng.uniform(0, 0.4)] = BEHIND
    vigor = np.exp(rng.normal(0, rng.choice([0.05, 0.15, 0.4]), n))
    if rng.random() < 0.15:  # specks far fainter, smaller and less sharp than the droplets
        layer[rng.random(n) < rng.uniform(0.1, 0.8)] = DEBRIS
        specks = layer == DEBRIS
        radii[specks] *= rng.uniform(0.2, 0.8)
        edge[specks] = 0.5 + rng.uniform(0.1, 0.5) * radii[specks]
        vigor[specks] *= rng.uniform(0.08, 0.35)
    order = np.argsort(layer, kind="stable")
    return Crowd(*(np.asarray(a[order], np.float32) for a in (x, y, radii, waves, edge, mixture, vigor, layer)))


def place(
    rng: np.random.Generator, radii: Array, side: int, margin: float, overlap: float, attempts: int = 4
) -> tuple[Array, Array, Array]:
    """Centres of as many of the droplets as find room, and which these are."""
    n = len(radii)
    low, high = -0.5 - margin, side - 0.5 + margin
    points = rng.uniform(low, high, (n, 2))
    if rng.random() < 0.3 and n > 3:  # in swarms
        hubs = rng.uniform(low, high, (max(1, round(n * rng.uniform(0.02, 0.2))), 2))
        swarm = rng.random(n) < rng.uniform(0.5, 1)
        reach = np.sqrt(n / len(hubs)) * float(np.mean(radii)) * rng.uniform(0.7, 2)
        near = hubs[rng.integers(0, len(hubs), n)] + rng.normal(0, reach, (n, 2))
        points = np.where(swarm[:, None] & ((near > low) & (near < high)).all(-1, keepdims=True), near, points)
    kept = np.ones(n, bool)
    if overlap < 1 and n > 1:
        for attempt in range(attempts):  # those without room try other places
            pairs = cKDTree(points).query_pairs(2 * float(np.quantile(radii, 0.98)) * 1.05, output_type="ndarray")
            first, second = pairs.min(1), pairs.max(1)
            apart = np.hypot(*(points[first] - points[second]).T)
            room = radii[first] + radii[second] - overlap * np.minimum(radii[first], radii[second])
            clash = apart < room
            kept[:] = True
            order = np.argsort(second[clash], kind="stable")
            for i, j in zip(first[clash][order].tolist(), second[clash][order].tolist(), strict=True):
                if kept[i]:
                    kept[j] = False
            if kept.all() or attempt == attempts - 1:
                break
            points[~kept] = rng.uniform(low, high, (int((~kept).sum()), 2))
    return points[kept, 0], points[kept, 1], kept


def _in_contact(rng: np.random.Generator, x: Array, y: Array, radii: Array, overlap: float) -> tuple[Array, Array]:
    """Some droplets moved to their nearest neighbors until they touch, or `overlap` in radii of the smaller one."""
    if len(x) < 2:
        return x, y
    points = np.stack([x, y], -1)
    apart, near = (np.asarray(a)[:, 1] for a in cKDTree(points).query(points, 2))
    moved = rng.random(len(x)) < rng.uniform(0.2, 0.8)
    moved &= ~moved[near] & (apart > 0) & (apart < 3 * (radii + radii[near]))
    wanted = radii + radii[near] - overlap * np.minimum(radii, radii[near])
    step = np.where(moved, 1 - wanted / np.maximum(apart, 1e-6), 0)[:, None]
    return tuple((points + step * (points[near] - points)).T)


def _draw(
    rng: np.random.Generator,
    ground: Array,
    look: Look,
    crowd: Crowd,
    texture: Array,
    hiding: float,
) -> tuple[Array, list[Array], list[Array], Array]:
    """The scene as light; of each droplet contrast, directions, and the share not hidden by others, see `visible`."""
    side = len(ground)
    image = ground.copy()
    n = len(crowd)
    contrast, direction, unhidden = [np.zeros(0)] * n, [np.zeros(0, int)] * n, np.ones(n, np.float32)
    top = np.full((side, side), -1, np.int32)
    half = crowd.radius * look.reach + 2 * crowd.edge + 2
    size_class = np.searchsorted(CLASSES, half).clip(0, len(CLASSES) - 1)
    patches: dict[int, list[Array]] = {}
    base_x, base_y = np.rint(crowd.x).astype(int), np.rint(crowd.y).astype(int)
    for k in np.unique(size_class):
        some = np.flatnonzero(size_class == k)
        reach = int(np.ceil(CLASSES[k]))
        span = np.arange(-reach, reach + 1, dtype=np.float32)
        for block in np.array_split(some, max(1, len(some) * len(span) ** 2 // 60_000)):
            r = crowd.radius[block]
            u = (span[None, None, :] + (base_x[block] - crowd.x[block])[:, None, None]) / r[:, None, None]
            v = (span[None, :, None] + (base_y[block] - crowd.y[block])[:, None, None]) / r[:, None, None]
            u, v = np.broadcast_arrays(u, v)
            d = outline(u, v, crowd.waves[block])
            rows = (base_y[block, None, None] + span[None, :, None].astype(int)) % side
            columns = (base_x[block, None, None] + span[None, None, :].astype(int)) % side
            cover, light = change(
                look,
                u,
                v,
                d,
                r,
                crowd.edge[block] / r,
                crowd.mixture[block],
                crowd.vigor[block],
                texture[rows, columns],
            )
            if not look.additive:
                light = np.exp(light)
            where = np.where((d >= rim(r)[:, None, None]) & (d <= 1), octant(u, v), -1)
            for i, *patch in zip(block.tolist(), cover, light, where, strict=True):
                patches[i] = patch
    blurred = not bool(np.any(crowd.layer == BEHIND))
    gone = rng.uniform(0.6, 1.6) * _typical(crowd)
    for i in range(n):
        if not blurred and crowd.layer[i] == FOCUS:  # what came before is out of focus
            image = gaussian_filter(image, (gone, gone, 0), mode="nearest")
            blurred = True
        cover, light, where = patches.pop(i)
        reach = len(cover) // 2
        top_y, left = base_y[i] - reach, base_x[i] - reach
        y0, y1 = max(0, top_y), min(side, top_y + len(cover))
        x0, x1 = max(0, left), min(side, left + len(cover))
        if y0 >= y1 or x0 >= x1:
            continue
        part = slice(y0, y1), slice(x0, x1)
        own = slice(y0 - top_y, y1 - top_y), slice(x0 - left, x1 - left)
        c, li = cover[own], light[own]
        before = image[part]
        if look.additive:
            after = before + li
        else:
            after = before
            if hiding:
                after = before + (hiding * c)[..., None] * (ground[part] - before)
            after = after * li
        top[part][c > 0.5] = i
        outer = where[own] >= 0
        direction[i] = where[own][outer]
        contrast[i] = np.abs(li[outer] if look.additive else ground[part][outer] * (li[outer] - 1)).max(-1)
        image[part] = after
    if hiding > 0.5:
        on_top = np.bincount(top[top >= 0], minlength=n)
        inside = _area_inside(crowd, side)
        unhidden = np.minimum(on_top / np.maximum(inside, 1), 1).astype(np.float32)
    return image, contrast, direction, unhidden


def _area_inside(crowd: Crowd, side: int) -> Array:
    """Pixels of each disc that are in the image, roughly: a disc is taken for its square."""
    a, b = (
        (np.minimum(p + crowd.radius, side - 0.5) - np.maximum(p - crowd.radius, -0.5)).clip(0) / (2 * crowd.radius)
        for p in (crowd.x, crowd.y)
    )
    return np.pi * crowd.radius**2 * a * b
