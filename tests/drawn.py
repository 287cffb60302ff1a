"""Images whose truth is known: plain discs counted on a fine grid, and images that the model itself draws."""

from typing import NamedTuple

import numpy as np

import napari_droplets as nd
from napari_droplets.inference.steps import gauss_newton
from napari_droplets.model.assignment import REACH, Pixels, covered_pixels
from napari_droplets.model.optics import initial_weights
from napari_droplets.model.outline import GLOW_TERMS
from napari_droplets.model.picture import draw
from napari_droplets.model.problem import LEAST_DROPLETS, PLACE, Form, Rows, rows_of
from napari_droplets.model.rendering import Shared
from napari_droplets.transforms import constrained

FORM = Form(3, 3)
NOISE = 0.02
BLUR = 0.8


def disc(x, y, radius, shape, fine=16):
    """Share of each pixel inside of a circle, counted on `fine` x `fine` points of each pixel."""
    v, u = (((np.arange(n * fine) + 0.5) / fine - 0.5) for n in shape)
    inside = np.hypot(u - x, v[:, None] - y) <= radius
    return inside.reshape(shape[0], fine, shape[1], fine).mean((1, 3))


def discs(x, y, radius, shape, inside, outside, noise=0.0, seed=0):
    """Image (H, W, 3) float32 of plain discs that do not overlap, of one intensity on another."""
    cover = np.zeros(shape)
    for a, b, r in zip(x, y, radius, strict=True):
        left, top = (max(int(c - r) - 2, 0) for c in (a, b))
        box = (slice(top, int(b + r) + 3), slice(left, int(a + r) + 3))
        cover[box] += disc(a - left, b - top, r, cover[box].shape)
    image = outside + (inside - outside) * cover
    image = np.repeat(image[..., None], 3, 2) + noise * np.random.default_rng(seed).standard_normal((*shape, 3))
    return np.clip(image, 0, 1).astype(np.float32)


def lattice(shape, radii, seed=0, gap=1.6):
    """Droplets near the points of a square lattice, off it by a part of a pixel; radii in turn of those given."""
    step = 2 * gap * max(radii)
    x, y = (a.ravel() for a in np.meshgrid(*(np.arange(step / 2, n - step / 4, step) for n in shape[::-1])))
    rng = np.random.default_rng(seed)
    x, y = x + rng.uniform(-0.5, 0.5, len(x)), y + rng.uniform(-0.5, 0.5, len(y))
    return nd.Droplets(x, y, np.resize(np.asarray(radii, float), len(x)))


def vacant(droplets, shape, margin=6):
    """x, y of the pixel farthest from all droplets, not near the border."""
    v, u = (a.ravel() for a in np.mgrid[margin : shape[0] - margin, margin : shape[1] - margin])
    away = np.min(np.hypot(u[:, None] - droplets.x, v[:, None] - droplets.y) - droplets.radius, 1)
    return float(u[away.argmax()]), float(v[away.argmax()])


class Scene(NamedTuple):
    """An image drawn by the model, and what it was drawn with; arrays of droplets padded but for x, y and radius."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    raw: np.ndarray
    anchor: np.ndarray
    shared: Shared
    ground: np.ndarray
    clean: np.ndarray
    image: np.ndarray
    pixels: Pixels
    rows: Rows

    @property
    def size(self):
        return len(self.x)


def optics(seed=0, form=FORM, glow=0.0):
    """Random optics that droplets are well seen with."""
    rng = np.random.default_rng(seed)
    weights = initial_weights(seed, form.channels, form.types)
    weights["Dense_3.kernel"] = weights["Dense_3.kernel"] * 8
    weights["Dense_3.bias"] = weights["Dense_3.bias"] - np.float32(1)
    shine = glow * rng.standard_normal((GLOW_TERMS, form.channels))
    return Shared(weights, shine.astype(np.float32), np.float32(np.log(BLUR)), np.float32(5))


def scene(x, y, radius, shape=(48, 64), noise=NOISE, seed=0, form=FORM, glow=0.0, reach=REACH):
    """Droplets of random compositions, drawn by the model."""
    rng = np.random.default_rng(seed)
    x, y, radius = (np.asarray(a, float) for a in (x, y, radius))
    raw = np.zeros((LEAST_DROPLETS, form.dimensions), np.float32)
    raw[: len(x), PLACE:] = rng.normal(0, 1, (len(x), form.dimensions - PLACE))
    shared = optics(seed, form, glow)
    ground = np.full((*shape, form.channels), [0.66, 0.67, 0.6][: form.channels], np.float32)
    ground += 0.05 * np.linspace(0, 1, shape[1], dtype=np.float32)[:, None]
    composition = constrained(raw[: len(x), PLACE:].T, form.composition).T
    clean = draw(x, y, radius, composition, ground, shared)
    image = clean + noise * np.random.default_rng(seed).standard_normal(clean.shape, np.float32)
    pixels = covered_pixels(x, y, radius, shape, blur=BLUR, reach=reach)
    rows = rows_of(pixels, image, ground, LEAST_DROPLETS)
    anchor = gauss_newton.anchors_of(x, y, radius, LEAST_DROPLETS)
    return Scene(x, y, radius, raw, anchor, shared, ground, clean, image, pixels, rows)


def apart(**changes):
    """Six droplets that do not touch."""
    return scene([10, 31, 52, 11, 30.5, 53], [11, 12.3, 10, 35, 36, 34.6], [5, 6, 4, 7, 5.5, 3], **changes)


def crowd(**changes):
    """Droplets that lie over one another, some of them three deep, and one that is cut by the border."""
    return scene([14, 20.2, 17, 40, 46.3, 62], [15, 18, 22, 30, 31, 20], [7, 5, 3, 8, 4, 6], **changes)


def sums_of(scene, raw=None, shared=None):
    """Sums of `gauss_newton.measure`, and the colors drawn."""
    raw = scene.raw if raw is None else raw
    ends = len(scene.pixels.row), scene.pixels.crowded, scene.pixels.within
    shared = scene.shared if shared is None else shared
    found, drawn = gauss_newton.measure(raw, scene.anchor, shared, scene.rows, *map(gauss_newton.blocks_of, ends), FORM)
    return gauss_newton.Sums(*(np.asarray(a, float)[: scene.size] for a in found)), np.asarray(drawn)
