"""Droplets by the laws of refraction and absorption as training scenes: few or dense, apart or overlapping."""

from __future__ import annotations

import math

import numpy as np

from ..camera import Sketch
from ..discs import crowd, placed
from ..looks import Array
from ..physical import physical_light
from ..visible import stands_out

RADII = (1.8, 34.0)  # pixels as the network sees them …
SMALLEST = 1.5  # … and of the camera at least
TRIES = 2  # until most can be seen; afterwards those unseen are left out of the truth
DENSE = 0.3  # of the images are full of droplets that look alike
DENSE_RADII = (2.2, 9.0)  # typical ones of these, pixels
DENSE_COVER = (0.25, 0.65)


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw refracting droplets, see `any_look.sketch` for the parameters."""
    radii = max(RADII[0] * scale, SMALLEST), RADII[1] * scale
    for _ in range(TRIES):
        dense = rng.random() < DENSE
        circles = _dense(rng, side, scale, radii) if dense else crowd(rng, side, side, radii)
        light, _, outlined, _ = physical_light(rng, circles, side, side)
        if outlined.mean() > 0.8:
            break
    light = np.minimum(light, 1)
    ground = np.median(light, (0, 1), keepdims=True)
    truth = np.stack(circles, -1)
    # the outline was compared with the empty slide already; here only with the noise
    truth = truth[outlined]
    seen = stands_out(light, np.broadcast_to(ground, light.shape), truth, noise)
    return Sketch(light, truth[seen])


def _dense(rng: np.random.Generator, side: int, scale: float, radii: tuple[float, float]) -> tuple[Array, Array, Array]:
    typical = scale * math.exp(rng.uniform(*np.log(DENSE_RADII)))
    radius = typical * np.exp(rng.uniform(0.02, 0.35) * rng.standard_normal(2000))
    radius = np.clip(radius, *radii)
    count = int(rng.uniform(*DENSE_COVER) * side**2 / float(np.mean(np.pi * radius**2)))
    overlap = rng.choice([-0.2, 0.0, 0.25])
    return placed(rng, np.sort(radius[: max(count, 5)])[::-1], side, side, overlap, rng.choice([0.0, 0.5]))
