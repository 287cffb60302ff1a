"""Plain discs of exact radius, and what other images of circles need: crowds of them, ground, camera, contrast."""

from __future__ import annotations

import math

import numpy as np
from scipy.fft import dctn, idctn
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from ...droplets import Droplets
from .ground import clouds
from .looks import Array
from .visible import octant

ROUNDS = 12  # of tries to find room for circles
MOST = 900 / 256**2  # circles per square pixel
FEWEST = 5
COMMON = 14.0  # pixels; most images hold many droplets of typical radii up to this
OUTSIDE = 0.5  # radii by which a center may lie outside of the image
FINE = 4  # samples along the side of a pixel of a plain disc
NOISE = (0.002, 0.06)  # standard deviation of the camera's noise, intensity 0..1
RIM = 0.1  # radii inside of the outline, by which an eye tells how large a droplet is
CLEAR = 3.0  # standard deviations of the noise by which a large droplet stands out at least …
LARGE = 5.0  # … from this radius, pixels; a smaller one has fewer pixels to be seen by, and stands out further
SHARED = 0.6  # of the noise, where neighbors share it: averaging over a droplet makes it no smaller
BLOCK = 8  # pixels along the side of a block of JPEG


def disc_image(rng: np.random.Generator, height: int, width: int) -> tuple[Array, Droplets]:
    """Draw flat discs on even ground: white on black, dark on bright, faint, or colored; sharp or blurred.

    Parameters
    ----------
    rng : Generator
        Where all randomness comes from.
    height, width : int
        Pixels.

    Returns
    -------
    image : ndarray
        (H, W, 1 or 3) float32 in 0..1, as a camera would give it.
    truth : Droplets
        x, y and radius of all discs, 1.5 to 60 pixels; no composition. Centers may lie outside by half a radius.
    """
    x, y, radius = crowd(rng, height, width, (1.5, 60.0))
    channels = 1 if rng.random() < 0.5 else 3
    kind = rng.choice(["white", "dark", "faint", "colored"])
    contrast = rng.uniform(0.15, 0.6)
    tint = rng.uniform(-1, 1, channels) if kind == "colored" else np.ones(channels)
    tint /= np.abs(tint).max()
    if kind == "white":
        ground = np.full(channels, rng.uniform(0.0, 0.1))
        contrast = rng.uniform(0.4, 0.9)
    elif kind == "dark":
        ground = rng.uniform(0.7, 0.98) * rng.uniform(0.85, 1, channels)
        contrast = -min(contrast, 0.9 * float(ground.min()))
    elif kind == "faint":
        ground = rng.uniform(0.2, 0.8) * rng.uniform(0.85, 1.15, channels)
        contrast = rng.choice([-1, 1]) * rng.uniform(0.01 * max(1.0, math.sqrt(LARGE / radius.min())), 0.05)
    else:
        ground = np.full(channels, rng.uniform(0.35, 0.65))
        contrast = min(contrast, 0.34)
    cover = disc_cover(x, y, radius, height, width)
    image = ground + cover[..., None] * contrast * tint
    blur = rng.uniform(0.0, 3.0) * (rng.random() < 0.7)
    blur = min(blur, 0.35 * float(radius.min(initial=math.inf)))
    image = gaussian_filter(image, (blur, blur, 0), mode="nearest").astype(np.float32)
    strength, _ = outline_contrast(image, np.broadcast_to(ground, image.shape), x, y, radius)
    noise = noise_level(rng, strength, radius)
    return camera(rng, image, noise, eight_bit=bool(rng.random() < 0.5)), Droplets(x, y, radius)


def disc_cover(x: Array, y: Array, radius: Array, height: int, width: int) -> Array:
    """(H, W) share of each pixel that lies in any of the discs, right to a thousandth or so."""
    cover = np.zeros((height * FINE, width * FINE), np.float32)
    for at_x, at_y, r in zip(x, y, radius, strict=True):
        patch, u, v = around(at_x, at_y, r + 1, height, width, FINE)
        cover[patch] = np.maximum(cover[patch], np.clip(0.5 + (r - np.hypot(u, v)) * FINE, 0, 1))
    return averaged(cover, FINE)


def around(
    x: float, y: float, reach: float, height: int, width: int, fine: int
) -> tuple[tuple[slice, slice], Array, Array]:
    """Part of a grid of `fine` samples a pixel, within `reach` of a point; offsets (1, w), (h, 1) from it in pixels."""

    def part(at: float, size: int) -> tuple[slice, Array]:
        low = max(math.floor((at - reach + 0.5) * fine), 0)
        high = max(low, min(math.ceil((at + reach + 0.5) * fine), size * fine))
        return slice(low, high), ((np.arange(low, high) + 0.5) / fine - 0.5 - at).astype(np.float32)

    columns, u = part(x, width)
    rows, v = part(y, height)
    return (rows, columns), u[None], v[:, None]


def averaged(grid: Array, fine: int) -> Array:
    """Mean of the `fine` x `fine` samples of each pixel, over the last two axes."""
    *rest, rows, columns = grid.shape
    return grid.reshape(*rest, rows // fine, fine, columns // fine, fine).mean((-3, -1))


def crowd(
    rng: np.random.Generator, height: int, width: int, radii: tuple[float, float], *, common: float = COMMON
) -> tuple[Array, Array, Array]:
    """Draw circles: log-normal or bimodal sizes, 3 to 50 % of the image covered, apart, touching or overlapping.

    Typical radii are mostly up to `common`, pixels.

    Returns
    -------
    x, y, radius : ndarray
        (N,) pixels; radii within the range given.
    """
    low, high = radii
    high = min(high, min(height, width) / 3)
    typical = math.exp(rng.uniform(math.log(low), math.log(min(high, common) if rng.random() < 0.75 else high)))
    modes = np.ones(4096)
    if rng.random() < 0.2:
        modes[rng.random(4096) < rng.uniform(0.2, 0.8)] = rng.uniform(0.25, 0.6)
    sizes = typical * modes * np.exp(rng.uniform(0.05, 0.5) * rng.standard_normal(4096))
    sizes = sizes[(sizes >= low) & (sizes <= high)]
    covered = rng.uniform(0.1, 0.5) if rng.random() < 0.5 else math.exp(rng.uniform(math.log(0.03), math.log(0.3)))
    n = min(round(covered * height * width / float(np.mean(np.pi * sizes**2))), int(MOST * height * width), 4096)
    sizes = np.sort(sizes[: max(n, FEWEST)])[::-1]
    manner = rng.choice(["apart", "touching", "overlapping"], p=[0.4, 0.3, 0.3])
    overlap = {"apart": -rng.uniform(0, 0.4), "touching": 0.0, "overlapping": rng.uniform(0.1, 0.6)}[manner]
    joined = 0.0 if manner == "apart" else rng.uniform(0.2, 0.9)
    x, y, radius = placed(rng, sizes, height, width, overlap, joined)
    order = rng.permutation(len(x))
    return x[order], y[order], radius[order]


def placed(
    rng: np.random.Generator,
    radius: Array,
    height: int,
    width: int,
    overlap: float,
    joined: float,
    shallowest: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Circles that overlap by at most `overlap` radii of the smaller.

    A share `joined` is put onto others, each as deep as a share from `shallowest` to 1 of the overlap.
    """
    done, left = np.zeros((0, 3)), radius
    middle = np.array([width - 1, height - 1]) / 2
    for _ in range(ROUNDS):
        at = middle + rng.uniform(-1, 1, (len(left), 2)) * (middle + 0.5 + OUTSIDE * left[:, None])
        if len(done):
            host, turn = done[rng.integers(0, len(done), len(left))], rng.uniform(0, 2 * np.pi, len(left))
            depth = rng.uniform(shallowest * max(overlap, 0), max(overlap, 0), len(left)) * np.minimum(left, host[:, 2])
            contact = host[:, :2] + (left + host[:, 2] - depth)[:, None] * np.c_[np.cos(turn), np.sin(turn)]
            outside = np.abs(contact - middle) - middle - 0.5
            joins = (outside < OUTSIDE * left[:, None]).all(1)
            joins &= rng.random(len(left)) < joined
            at = np.where(joins[:, None], contact, at)
        circles = np.concatenate([done, np.c_[at, left]])
        pairs = cKDTree(circles[:, :2]).query_pairs(2.5 * float(circles[:, 2].max()), output_type="ndarray")
        (x, y, r), (x2, y2, r2) = circles[pairs[:, 0]].T, circles[pairs[:, 1]].T
        near = np.hypot(x - x2, y - y2) < (r + r2 - overlap * np.minimum(r, r2)) * (1 - 1e-9)
        free = np.ones(len(circles), bool)
        free[pairs[near].max(1)] = False  # those placed before come first
        done, left = circles[free], circles[~free][:, 2]
        if not len(left):
            break
    return done[:, 0], done[:, 1], done[:, 2]


def outline_contrast(image: Array, empty: Array, x: Array, y: Array, radius: Array) -> tuple[Array, Array]:
    """How far droplets stand out from the ground.

    Parameters
    ----------
    image, empty : ndarray
        (H, W, C) without noise, with and without droplets.
    x, y, radius : ndarray
        (N,) pixels.

    Returns
    -------
    outline, whole : ndarray
        (N,) changes of intensity: what half of the directions reach close to the outline, and what a tenth of the disc
        exceeds.
    """
    height, width = image.shape[:2]
    change = np.abs(image - empty).max(-1)
    outline, whole = np.zeros((2, len(x)))
    for i, (at_x, at_y, r) in enumerate(zip(x, y, radius, strict=True)):
        patch, u, v = around(at_x, at_y, r, height, width, 1)
        d = np.hypot(u, v)
        rim = (d <= r) & (d >= r - max(RIM * r, 1.2))
        if rim.any():
            most = np.full(8, -1.0)
            np.maximum.at(most, octant(u, v)[rim], change[patch][rim])
            outline[i] = np.median(most[most >= 0])
            whole[i] = np.quantile(change[patch][d <= r], 0.9)
    return outline, whole


def noise_level(rng: np.random.Generator, strength: Array, radius: Array) -> float:
    """Standard deviation of the noise, no more than lets the faintest droplets be seen, given `outline_contrast`."""
    seen = strength * np.sqrt(np.minimum(radius / LARGE, 1)) / CLEAR
    most = min(NOISE[1], float(np.quantile(seen, 0.02))) if len(seen) else NOISE[1]
    return math.exp(rng.uniform(math.log(NOISE[0]), math.log(max(most, NOISE[0]))))


def uneven_ground(rng: np.random.Generator, height: int, width: int, channels: int) -> Array:
    """Draw the empty slide, (H, W, C) float32: color, fall-off and tilt of the lamp, clouds, dust."""
    v, u = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    u0, v0 = rng.normal(0, 0.4, 2)
    shade = -rng.gamma(1.0, 0.06) * ((u - u0) ** 2 + (v - v0) ** 2)
    shade += rng.normal(0, 0.06) * u + rng.normal(0, 0.06) * v
    side = max(height, width)
    if rng.random() < 0.4:
        field = clouds(rng, side, math.exp(rng.uniform(math.log(10), math.log(max(side / 2, 10)))))
        shade += min(rng.gamma(1.0, 0.015), 0.03) * np.clip(field[:height, :width], -3, 3)
    if rng.random() < 0.35:
        shade -= _dust(rng, height, width)
    color = 1 - rng.choice([0.03, 0.15, 0.4]) * rng.random(channels)
    drift = rng.normal(0, 0.02, channels) * u[..., None]
    return (color * np.exp(np.clip(shade, -0.9, 0.5)[..., None] + drift)).astype(np.float32)


def _dust(rng: np.random.Generator, height: int, width: int) -> Array:
    """Shade of grains, each a crooked row of specks: nothing round."""
    grains, specks = 1 + int(rng.uniform(0, 9) * height * width / 256**2), 24
    steps = rng.normal(0, 0.7, (grains, 1, 2)) + rng.normal(0, 0.6, (grains, specks, 2))
    at = rng.uniform(0, [height, width], (grains, 1, 2)) + np.cumsum(steps * rng.uniform(0.2, 1, (grains, 1, 1)), 1)
    rows, columns = np.rint(at.reshape(-1, 2)).astype(int).T
    kept = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    shade = np.zeros((height, width))
    shade[rows[kept], columns[kept]] = rng.uniform(0.2, 1.5)
    return gaussian_filter(shade, rng.uniform(0.5, 1.2))


def camera(rng: np.random.Generator, light: Array, noise: float, *, eight_bit: bool) -> Array:
    """What a camera makes of (H, W, C) blurred light: noise, sometimes shared by neighbors, JPEG, 8 bits; 0..1."""
    grain = rng.standard_normal(light.shape, dtype=np.float32)
    if rng.random() < 0.3:
        spread = rng.uniform(0.4, 1.2)
        grain = gaussian_filter(grain, (spread, spread, 0), mode="wrap")
        grain *= SHARED / grain.std()
    image = np.clip(light + noise * grain, 0, 1)
    if rng.random() < 0.2:
        image = np.clip(jpeg_like(image, rng.uniform(0.5, 2) * noise), 0, 1)
    if eight_bit:
        image = np.round(image * 255) / 255
    return image.astype(np.float32)


def jpeg_like(image: Array, step: float) -> Array:
    """(H, W, C) after rounding the waves of its blocks, the finer ones to coarser steps, as JPEG does."""
    height, width, channels = image.shape
    padded = np.pad(image, ((0, -height % BLOCK), (0, -width % BLOCK), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, -1, BLOCK, channels)
    waves = dctn(blocks, axes=(1, 3), norm="ortho")
    order = np.arange(BLOCK)
    steps = step * (0.5 + 0.35 * (order[:, None] + order))[:, None, :, None]
    rounded = idctn(np.round(waves / steps) * steps, axes=(1, 3), norm="ortho")
    return rounded.reshape(padded.shape)[:height, :width]
