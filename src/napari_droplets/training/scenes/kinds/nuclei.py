"""Nuclei of cells and other long blobs that emit light: long or bent, textured, touching, of different brightness."""

from __future__ import annotations

import math

import numpy as np

from ..camera import Sketch, sketched
from ..discs import placed
from ..ground import clouds
from ..looks import outline

RADII = (3.0, 18.0)  # typical ones, of circles of the same area; pixels as the network sees them
LONGEST = 2.4  # long over short axis
BENT = 0.5  # how far the long ones curve: standard deviation, per unit of elongation beyond 1
BRIGHTEST = 0.95
UNCOVERED = 0.5  # of a nucleus; one that lies further over others is not told from them


def sketch(rng: np.random.Generator, side: int, scale: float, noise: float) -> Sketch:
    """Draw nuclei, see `any_look.sketch` for the parameters. The truth are circles of equal area."""
    typical = scale * math.exp(rng.uniform(*np.log(RADII)))
    covered = math.exp(rng.uniform(math.log(0.04), math.log(0.55)))
    n = max(2, min(int(covered * side**2 / (np.pi * typical**2)), 250))
    radius = typical * np.exp(rng.uniform(0.05, 0.35) * rng.standard_normal(n))
    # rooms for the circles of equal area; those of long ones overlap where they lie side by side
    x, y, radius = placed(rng, radius, side, side, rng.choice([-0.2, 0.0, 0.15]), rng.choice([0.2, 0.5, 0.9]))
    circles, n = np.stack([x, y, radius], -1), len(x)
    elongation = 1 + (LONGEST - 1) * rng.beta(1.5, rng.choice([1.5, 3.0]), n)
    bend = (rng.choice([0.0, BENT]) * (elongation - 1) * rng.standard_normal(n)).clip(-1, 1)
    light = np.full((side, side), rng.choice([0.0, rng.uniform(0, 0.15)]))
    light += rng.choice([0.0, 0.02, 0.05]) * np.clip(1 + clouds(rng, side, rng.uniform(0.15, 1) * side), 0, 3)
    ground = light.copy()
    brightness = rng.uniform(0.15, 0.7) * np.exp(rng.uniform(0.05, 0.6) * rng.standard_normal(n))
    brightness = np.minimum(brightness, BRIGHTEST)
    grain = clouds(rng, side, max(1.0, rng.uniform(0.1, 0.4) * typical))
    texture = np.clip(1 + rng.choice([0.0, 0.1, 0.25]) * grain, 0.3, 2)
    dome = rng.choice([0.0, 0.3, 0.7], p=[0.5, 0.3, 0.2])
    soft = rng.uniform(0.5, 1.0) + rng.choice([0.0, 0.1]) * typical
    waves = rng.normal(0, 1, (n, 3, 2)) * rng.choice([0.0, 0.03, 0.05]) * np.array([1, 0.6, 0.3])[:, None]
    unhidden = np.ones(n)
    owner = np.full((side, side), -1)
    ordered = rng.random() < 0.7  # nuclei side by side press each other flat; else their light adds
    turns = rng.uniform(0, np.pi, n)
    for i, (cx, cy, r) in enumerate(circles.tolist()):
        long = math.sqrt(elongation[i])
        reach = 1.2 * r * long + 3 * soft
        y0, y1 = max(0, math.floor(cy - reach)), max(0, min(side, math.ceil(cy + reach) + 1))
        x0, x1 = max(0, math.floor(cx - reach)), max(0, min(side, math.ceil(cx + reach) + 1))
        if y0 >= y1 or x0 >= x1:
            continue
        part = slice(y0, y1), slice(x0, x1)
        u, v = np.meshgrid(np.arange(x0, x1) - cx, np.arange(y0, y1) - cy)
        a = (math.cos(turns[i]) * u + math.sin(turns[i]) * v) / (r * long)
        b = (-math.sin(turns[i]) * u + math.cos(turns[i]) * v) / r * long
        b = b + bend[i] * (a**2 - 0.25)  # a shear: area and middle stay
        d = outline(a[None].astype(np.float32), b[None].astype(np.float32), waves[i : i + 1])[0]
        cover = 1 / (1 + np.exp(np.clip((d - 1) * r / (0.4 * soft), -30, 30)))
        own = brightness[i] * texture[part] * cover * (1 - dome * np.clip(d, 0, 1.2) ** 2)
        inside = d < 1
        hidden = inside & (owner[part] >= 0)
        unhidden[i] = 1 - hidden.sum() / max(1, inside.sum())
        owner[part][inside & (owner[part] < 0)] = i
        light[part] = np.maximum(light[part], ground[part] + own) if ordered else light[part] + own
    color = np.ones(3) if rng.random() < 0.7 else rng.dirichlet(np.ones(3)) * 2
    blur = min(rng.gamma(1.5, 0.6), 0.2 + 0.15 * typical)
    light, ground = light[..., None] * color, ground[..., None] * color
    return sketched(rng, light, ground, circles[unhidden > UNCOVERED], noise, blur=blur, gray=0.7)
