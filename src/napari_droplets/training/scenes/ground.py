"""What training images show behind their droplets: light, uneven or cloudy, and all that is not a droplet."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from .looks import Array, Look


def draw_ground(rng: np.random.Generator, look: Look, side: int) -> Array:
    """Draw the image without droplets, (side, side, 3) float32."""
    if look.additive:
        color = rng.uniform(0.0, 0.12) * np.ones(3)
    else:
        color = rng.beta(3, 2) * np.exp(rng.normal(0, rng.choice([0.02, 0.12, 0.3]), 3))
        color = np.clip(color, 0.08, 1.0)
    v, u = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j].astype(np.float32)
    terms = np.stack([u, v, u * v, u * u, v * v], -1)
    uneven = rng.gamma(1, 0.08) * rng.normal(0, 1, (5, 1)) + rng.gamma(1, 0.03) * rng.normal(0, 1, (5, 3))
    ground = color * np.exp(np.clip(terms @ uneven, -1, 1)) + (0.02 * rng.random() if look.additive else 0)
    if rng.random() < 0.35:
        grain = clouds(rng, side, np.exp(rng.uniform(np.log(2), np.log(side / 3))))
        ground = ground * np.exp(rng.gamma(1, 0.06) * np.clip(grain, -3, 3))[..., None]
    if rng.random() < 0.06:  # the edge of a window or of the slide
        angle, at = rng.uniform(0, 2 * np.pi), rng.uniform(-0.9, 0.9)
        beyond = np.cos(angle) * u + np.sin(angle) * v > at
        ground[beyond] *= rng.uniform(0.0, 0.7)
    ground = ground.astype(np.float32)
    for add, p in ((_dust, 0.3), (_fibers, 0.12), (_patches, 0.12)):
        if rng.random() < p:
            ground = add(rng, ground)
    return ground


def add_specks(rng: np.random.Generator, ground: Array, typical: float) -> Array:
    """Add many blurred dots, far smaller than the droplets: grains, plankton, droplets nobody would measure."""
    side = len(ground)
    sign = rng.choice([-1.0, 1.0], p=[0.8, 0.2])
    shade = np.zeros((side, side), np.float32)
    for _ in range(3):
        size = max(0.5, typical * rng.uniform(0.05, 0.28))
        n = rng.poisson(side**2 * np.exp(rng.uniform(np.log(0.0005), np.log(0.005))) / size**2)
        dots = np.zeros((side, side), np.float32)
        dots[tuple(rng.integers(0, side, (2, n)))] = rng.gamma(2, 0.5, n)
        shade += rng.uniform(0.1, 0.6) * 2 * np.pi * size**2 * gaussian_filter(dots, size)
    return (ground * np.exp(sign * np.clip(shade, 0, 1.5))[..., None]).astype(np.float32)


def clouds(rng: np.random.Generator, side: int, length: float) -> Array:
    """Draw smooth noise (side, side), standard deviation 1, that changes over `length` pixels."""
    few = max(3, int(np.ceil(side / length)) + 2)
    field = zoom(
        rng.standard_normal((few, few)).astype(np.float32), side / (few - 2) * 1.05, order=1 if few > 40 else 3
    )
    field = field[:side, :side]
    return (field - field.mean()) / max(float(field.std()), 1e-6)


def _dust(rng: np.random.Generator, ground: Array) -> Array:
    """Specks with ragged outlines."""
    side = len(ground)
    shade = np.zeros((side, side), np.float32)
    v, u = np.mgrid[:side, :side].astype(np.float32)
    for _ in range(rng.integers(1, 8)):
        x, y = rng.uniform(0, side, 2)
        size = np.exp(rng.uniform(np.log(0.7), np.log(7)))
        half = int(6 * size) + 2
        part = (slice(max(0, int(y) - half), int(y) + half), slice(max(0, int(x) - half), int(x) + half))
        angle = rng.uniform(0, np.pi)
        du, dv = u[part] - x, v[part] - y
        long = rng.uniform(1.5, 4.5)
        a = (np.cos(angle) * du + np.sin(angle) * dv) / long
        b = -np.sin(angle) * du + np.cos(angle) * dv + rng.uniform(-0.4, 0.4) * a * np.abs(a) / size
        turn = np.arctan2(b, a)
        ragged = 1 + 0.35 * np.cos(3 * turn + rng.uniform(0, 6)) + 0.25 * np.cos(5 * turn + rng.uniform(0, 6))
        shade[part] += rng.normal(-0.8, 0.5) / (1 + np.exp(np.clip((np.hypot(a, b) / ragged - size) / 0.5, -20, 20)))
    return ground * np.exp(np.clip(shade, -3, 1))[..., None]


def _fibers(rng: np.random.Generator, ground: Array) -> Array:
    """Curved threads and scratches."""
    side = len(ground)
    line = np.zeros((side, side), np.float32)
    for _ in range(rng.integers(1, 4)):
        t = np.linspace(0, 1, 4 * side)[:, None]
        a, b, c = rng.uniform(-0.3 * side, 1.3 * side, (3, 2))
        x, y = np.rint((1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c).astype(int).T
        inside = (x >= 0) & (x < side) & (y >= 0) & (y < side)
        line[y[inside], x[inside]] = 1
    width = rng.uniform(0.4, 2.0)
    line = gaussian_filter(line, width)
    line /= max(float(line.max()), 1e-6)
    return ground * np.exp(rng.normal(0, 0.8) * line)[..., None]


def _patches(rng: np.random.Generator, ground: Array) -> Array:
    """Puddles and smears: anything but round."""
    field = clouds(rng, len(ground), rng.uniform(6, 50))
    level = rng.uniform(0.3, 2.0)
    inside = 1 / (1 + np.exp(-np.clip((field - level) / rng.uniform(0.03, 0.3), -20, 20)))
    rim = np.exp(-0.5 * ((field - level) / rng.uniform(0.05, 0.3)) ** 2) * rng.normal(0, 0.5)
    tint = rng.normal(0, 0.5) * (1 + rng.normal(0, 0.4, 3))
    return (ground * np.exp(inside[..., None] * tint + rim[..., None])).astype(np.float32)
