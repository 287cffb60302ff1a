"""Plain discs of exact radius on even ground: white on black, dark, faint or colored; sharp or blurred."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import gaussian_filter

from ..camera import Sketch
from ..discs import crowd, disc_cover
from ..looks import Array
from ..visible import stands_out

RADII = (1.3, 45.0)  # pixels as the network sees them; beyond 28 drawn, not to be found
SHARP = 0.4  # of the images are not blurred at all
TINY = 0.25  # of the images hold discs of at most `TINY_RADIUS` pixels of the camera: their edges are a few pixels
TINY_RADIUS = 4.0


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw discs, see `any_look.sketch` for the parameters. Where discs overlap they are one area of one color."""
    largest, common = RADII[1] * scale, 12.0 * scale
    if rng.random() < TINY:
        largest = common = max(TINY_RADIUS, 2 * RADII[0] * scale)
    x, y, radius = crowd(rng, side, side, (RADII[0] * scale, largest), common=common)
    circles = np.stack([x, y, radius], -1)
    if len(circles) > 1 and rng.random() < 0.1:  # one alone
        circles = circles[:1]
    channels = 1 if rng.random() < 0.6 else 3
    ground, contrast = _colors(rng, channels)
    cover = disc_cover(circles[:, 0], circles[:, 1], circles[:, 2], side, side)
    blur = 0.0 if rng.random() < SHARP else rng.uniform(0.2, 3.0)
    blur = min(blur, 0.35 * float(circles[:, 2].min()))
    if blur:
        cover = gaussian_filter(cover, blur, mode="nearest")
    light = ground + cover[..., None] * contrast
    seen = stands_out(light, np.broadcast_to(ground, light.shape), circles, noise)
    return Sketch(light, circles[seen])


def _colors(rng: np.random.Generator, channels: int) -> tuple[Array, Array]:
    """(C,) intensity of the ground, and by how much that of discs differs."""
    kind = rng.choice(["white", "gray", "dark", "faint", "colored"], p=[0.3, 0.15, 0.2, 0.2, 0.15])
    if kind == "white":
        ground = np.full(channels, rng.choice([0.0, rng.uniform(0, 0.1)]))
        return ground, np.full(channels, rng.choice([1.0, rng.uniform(0.5, 1)])) - ground
    if kind == "gray":
        ground = np.full(channels, rng.uniform(0.05, 0.6))
        return ground, rng.uniform(0.1, 1) * (1 - ground)
    if kind == "dark":
        ground = rng.choice([1.0, rng.uniform(0.6, 1)]) * rng.uniform(0.85, 1, channels)
        return ground, -rng.choice([1.0, rng.uniform(0.15, 0.9)]) * ground
    if kind == "faint":
        ground = rng.uniform(0.2, 0.8) * rng.uniform(0.85, 1.15, channels)
        contrast = rng.choice([-1, 1]) * math.exp(rng.uniform(math.log(0.01), math.log(0.08)))
        return ground, np.full(channels, contrast)
    ground = rng.uniform(0, 1, channels)
    return ground, rng.uniform(0, 1, channels) - ground
