"""From light to an image as a camera gives it: exposure, noise, compression, scale."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter, median_filter, uniform_filter, zoom

from ...images import resampled
from .clutter import add_clutter
from .looks import Array
from .visible import stands_out

ROUGH = 2.0  # the ground's own texture hides as much as white noise that is so much stronger: neighbors share it
EVEN = 4.0  # pixels over which the ground is taken for even
RADII = (1.0, 28.0)  # pixels; larger discs are drawn, but are no droplets at this scale …
SURELY_TRUE = 0.8 * RADII[1]  # … and what is found of nearly their size is neither right nor wrong
SCALES = (0.5, 0.7, 1.0, 1.4, 2.0)  # pixels of the camera for each that the network sees …
SCALE_SHARES = (0.3, 0.12, 0.36, 0.14, 0.08)  # … and how often: photographs are resized before the network sees them
LEVELS = (0.002, 0.06)  # standard deviation of the noise at intensity 0.5 …
STRONG = 0.02  # from this level on noise hides small droplets; it is drawn evenly there …
STRONG_SHARE = 0.4  # … in so many of the images, and evenly in its logarithm in the others
EMPTY_LEVEL = 0.12  # … and its largest value in images that hold nothing else
SHARED = 0.4  # of the images have noise that neighbors share
CLUTTERED = 0.2  # of the images hold letters, frames and the like over whatever they show
WHITE_ALIKE = 2.2  # of white noise as strong over a few pixels, per pixel of the filter's deviation; 3.5 over many
COMPRESSED = 0.35  # of the images went through JPEG


class Sketch(NamedTuple):
    """What a camera is shown, and the droplets in it."""

    light: Array  # (side, side, 3), or 1 channel for a gray camera; intensity 0..1, without noise
    truth: Array  # (N, 3) x, y, radius in pixels; those a careful person would mark in spite of the noise announced


class Noise(NamedTuple):
    """The camera's noise, of standard deviation `level` at intensity 0.5."""

    manner: Literal["white", "blurred", "demosaiced", "denoised", "enlarged"]
    level: float
    reach: float  # pixels over which neighbors share it: standard deviation of a Gaussian filter, or as if
    shot: float  # share of its variance that grows with the light

    @property
    def alike(self) -> float:
        """Standard deviation of white noise that is as strong when averaged over a droplet."""
        return self.level * (1.0 if self.manner == "white" else max(1.0, WHITE_ALIKE * self.reach))


DrawSketch = Callable[[np.random.Generator, int, float, float], Sketch]


def photographed(
    rng: np.random.Generator, side: int, draw: DrawSketch, *, empty: bool = False, strong: float = STRONG_SHARE
) -> tuple[Array, Array]:
    """Draw one training image.

    Parameters
    ----------
    rng : Generator
        Where all randomness comes from.
    side : int
        Pixels.
    draw : callable
        `draw(rng, side, scale, noise) -> Sketch`, see `any_look.sketch`.
    empty : bool
        They hold no droplets: clutter and strong noise are more frequent.
    strong : float
        Share of the images in which noise is strong.

    Returns
    -------
    image : ndarray
        (side, side, 3) float32 in 0..1.
    truth : ndarray
        (N, 3) float32: x, y, radius in pixels of the droplets to be found; centers may lie just outside.
    """
    drawn = round(side * float(rng.choice(SCALES, p=SCALE_SHARES)))
    scale = drawn / side
    noise = draw_noise(rng, EMPTY_LEVEL if empty else LEVELS[1], strong)
    light, truth = draw(rng, drawn, scale, noise.alike)
    light, truth = light.astype(np.float32), np.asarray(truth, float).reshape(-1, 3)
    if rng.random() < (0.6 if empty else CLUTTERED):
        light, truth = add_clutter(rng, light, truth)
    image = recorded(rng, light, noise)
    if drawn != side:
        image = resampled(image, side / drawn)
    half = np.array([0.5, 0.5, 0.0])  # a pixel's center in its corner's coordinates
    truth = (truth + half) / scale - half
    x, y, radius = truth.T
    near = (np.minimum(x, y) > -0.5 - radius) & (np.maximum(x, y) < side - 0.5 + radius)
    truth = truth[near & (radius >= RADII[0]) & (radius <= RADII[1])]
    if image.shape[-1] == 1:
        image = np.repeat(image, 3, -1)
    elif rng.random() < 0.3:
        image = image[..., rng.permutation(3)]
    return np.ascontiguousarray(image, np.float32), truth.astype(np.float32)


def draw_noise(rng: np.random.Generator, most: float = LEVELS[1], strong: float = STRONG_SHARE) -> Noise:
    """Draw level and manner of the noise."""
    if rng.random() < strong:
        level = rng.uniform(STRONG, most)
    else:
        level = math.exp(rng.uniform(math.log(LEVELS[0]), math.log(most)))
    if rng.random() >= SHARED:
        return Noise("white", level, 0.0, rng.random())
    manner = rng.choice(["blurred", "demosaiced", "denoised", "enlarged"])
    reach = {"blurred": rng.uniform(0.4, 1.4), "demosaiced": 0.57, "denoised": 0.75, "enlarged": rng.uniform(0.5, 1.2)}
    return Noise(manner, level, float(reach[manner]), rng.random())


def grain(rng: np.random.Generator, shape: tuple[int, ...], noise: Noise) -> Array:
    """(H, W, C) noise of standard deviation 1."""
    height, width, channels = shape
    white = rng.standard_normal(shape, dtype=np.float32)
    if noise.manner == "white":
        return white
    if noise.manner == "blurred":  # as after smoothing
        field = gaussian_filter(white, (noise.reach, noise.reach, 0), mode="wrap")
    elif noise.manner == "demosaiced":  # each pixel has one color, the others are means of neighbors
        v, u = np.mgrid[:height, :width]
        color = np.where((u + v) % 2 == 0, 1, np.where(v % 2 == 0, 0, 2)) % channels
        field = np.empty(shape, np.float32)
        for c in range(channels):
            own = (color == c).astype(np.float32)
            weight = uniform_filter(own, 3, mode="wrap")
            field[..., c] = np.where(
                own > 0, white[..., c], uniform_filter(white[..., c] * own, 3, mode="wrap") / weight
            )
    elif noise.manner == "denoised":  # as phones do: medians leave patches
        field = median_filter(white, (3, 3, 1), mode="wrap")
    else:
        factor = 1 + 1.5 * noise.reach
        few = math.ceil(height / factor) + 2
        field = np.stack(
            [zoom(white[:few, :few, c], factor * 1.05, order=1)[:height, :width] for c in range(channels)], -1
        )
        if field.shape != shape:
            field = np.pad(field, [(0, n - m) for n, m in zip(shape, field.shape, strict=True)], mode="wrap")
    return field / max(float(field.std()), 1e-6)


def recorded(rng: np.random.Generator, light: Array, noise: Noise) -> Array:
    """Add noise to (H, W, C) light, in steps of 8 bits and through JPEG sometimes."""
    level = noise.level * np.sqrt(1 - noise.shot + noise.shot * 2 * np.clip(light, 0, 1))
    image = np.clip(light + level * grain(rng, light.shape, noise), 0, 1)
    eight = (image * 255 + 0.5).astype(np.uint8)
    if rng.random() < COMPRESSED:
        file = io.BytesIO()
        quality = int(rng.integers(30, 97))
        Picture.fromarray(eight[..., 0] if light.shape[-1] == 1 else eight).save(file, "JPEG", quality=quality)
        return np.asarray(Picture.open(file)).reshape(eight.shape) / np.float32(255)
    if rng.random() < 0.5:
        return eight / np.float32(255)
    return image


def exposed(rng: np.random.Generator, light: Array, blur: float, *, gray: float = 0.3) -> Array:
    """What reaches the camera's chip of (H, W, 3) light: blurred, exposed, sometimes negative, other gamma or gray.

    `gray` is the share of images with one channel.
    """
    if blur > 0.15:
        light = gaussian_filter(light, (blur, blur, 0), mode="nearest")
    if (peak := np.quantile(light, 0.995)) > 1:  # exposure; the brightest may saturate
        light = light * (rng.uniform(0.9, 1.1) / peak)
    if rng.random() < 0.1:
        light = 1 - np.clip(light, 0, 1)
    if rng.random() < 0.3:
        light = np.clip(light, 0, None) ** rng.uniform(0.6, 1.6)
    if rng.random() < gray and light.shape[-1] == 3:
        light = (light @ rng.dirichlet(np.ones(3)).astype(np.float32))[..., None]
    return light


def sketched(
    rng: np.random.Generator,
    light: Array,
    ground: Array,
    circles: Array,
    noise: float,
    *,
    blur: float,
    gray: float = 0.3,
    unhidden: Array | None = None,
) -> Sketch:
    """A sketch of (H, W, C) light before (H, W, C) ground; of the circles (N, 3) those that can be seen when blurred.

    `blur` is a standard deviation in pixels, `gray` the share of images with one channel, `unhidden` as of `visible`.
    """
    if blur > 0.15:
        light, ground = (gaussian_filter(a, (blur, blur, 0), mode="nearest") for a in (light, ground))
    texture = np.abs(ground - gaussian_filter(ground, (EVEN, EVEN, 0), mode="nearest"))
    rough = 1.48 * float(np.median(texture))  # of normal numbers the standard deviation
    seen = stands_out(light, ground, circles, math.hypot(noise, ROUGH * rough), unhidden)
    return Sketch(exposed(rng, light, 0.0, gray=gray), circles[seen])
