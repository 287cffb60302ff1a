"""Images that hold nothing to be found: grounds, gradients, clumps of beads, dust far out of focus."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from ..camera import Sketch, exposed
from ..ground import draw_ground
from ..looks import Array, draw_look


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw an image without droplets, see `any_look.sketch` for the parameters."""
    if rng.random() < 0.4:  # even, as slides are
        light = np.full((side, side, 3), rng.choice([0.0, 1.0, rng.random()], p=[0.15, 0.15, 0.7]))
        light *= np.ones(3) if rng.random() < 0.5 else 1 - 0.3 * rng.random(3)
    else:
        light = draw_ground(rng, draw_look(rng), side).astype(float)
    if rng.random() < 0.3:
        light = _vignetted(rng, light)
    if rng.random() < 0.25:
        light = _clump(rng, light, scale)
    if rng.random() < 0.25:
        light = _far_out_of_focus(rng, light, scale)
    return Sketch(exposed(rng, light, rng.gamma(1.5, 0.5)), np.zeros((0, 3)))


def _vignetted(rng: np.random.Generator, light: Array) -> Array:
    """The lamp's light falls off from a point, in a small picture of the whole slide much of the way."""
    side = len(light)
    v, u = np.mgrid[:side, :side].astype(np.float32)
    x, y = rng.uniform(-0.1, 1.1, 2) * side
    reach = side * math.exp(rng.uniform(math.log(0.4), math.log(1.5)))
    distance = np.hypot(u - x, (v - y) * rng.uniform(0.7, 1.4)) / reach
    return light * np.exp(-rng.gamma(1.5, 0.3) * distance ** rng.uniform(1.5, 4) / (1 + distance))[..., None]


def _clump(rng: np.random.Generator, light: Array, scale: float) -> Array:
    """Heaps of grains much too small and too close to be told apart."""
    side = len(light)
    for _ in range(int(rng.integers(1, 4))):
        size = scale * rng.uniform(3, 14)
        n = int(rng.uniform(0.5, 2) * (size / scale) ** 2) + 5
        at = rng.uniform(0, side, 2) + size * 0.5 * rng.standard_normal((n, 2)) * [1, rng.uniform(0.4, 1)]
        rows, columns = np.rint(at).astype(int).T
        kept = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
        grains = np.zeros((side, side))
        np.add.at(grains, (rows[kept], columns[kept]), rng.uniform(0.3, 1.5, int(kept.sum())))
        soft = gaussian_filter(grains, rng.uniform(0.5, 0.9) * scale)
        light = light * np.exp(rng.choice([-1, 1], p=[0.8, 0.2]) * np.clip(4 * soft, 0, 2))[..., None]
    return light


def _far_out_of_focus(rng: np.random.Generator, light: Array, scale: float) -> Array:
    """Shadows without outlines."""
    side = len(light)
    shade = np.zeros((side, side))
    for _ in range(int(rng.integers(1, 6))):
        dot = np.zeros((side, side))
        dot[tuple(rng.integers(0, side, 2))] = 1
        soft = scale * math.exp(rng.uniform(math.log(8), math.log(30)))
        dot = gaussian_filter(dot, soft, mode="constant")
        shade += rng.normal(0, 0.15) * dot / dot.max()
    return light * np.exp(shade)[..., None]
