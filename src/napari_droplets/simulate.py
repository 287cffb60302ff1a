"""Simulated micrographs of dyed droplets with known truth: sample data, training and tests."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from .droplets import Droplets
from .errors import InputError
from .images import MIN_SIDE

MAX_TYPES = 16
PLACING_TRIES = (16, 64, 256, 1024, 4096, 16384)  # random places for a droplet; the next only if the last had no room

# The camera sees red, green and blue light; each dye absorbs in a band of the spectrum.
CHANNELS_NM = np.array([625.0, 540.0, 455.0])
DYES_NM = (440.0, 610.0)  # the absorption peaks of the first and the last dye: yellow … blue
BAND_NM = 48.0  # standard deviation of an absorption band
ABSORBANCE = 1.4  # natural-log absorbance at the peak, through one typical radius of liquid

# A droplet is a cap of a sphere: it absorbs, and its tilted surface refracts oblique light to or past the camera.
SPHERE = 1 / math.sin(math.radians(78))  # radius of the sphere over that of the footprint: contact angle of 78 degrees
LEAN = 0.15  # how far, in radii, oblique light moves between entering a droplet and leaving it
SHADOW = np.array([0.68, 0.66, 0.34])  # part of the light lost in the dark cap; blue is refracted the most
GLEAM = np.array([0.95, 0.88, 0.30])  # light won in the bright crescent
GLOW = np.array([0.30, 0.27, 0.05])  # light around the droplet, at its edge
GLOW_LENGTH = 0.24  # radii in which the glow falls to 1/e
HIDING = 0.65  # how much of a droplet disappears behind the one over it
STRAY = 0.06  # part of the light that lenses scatter over the image: the darkest droplets are not black
GROUND = np.array([0.665, 0.670, 0.600])  # color of the empty slide
LUMA = np.array([0.30, 0.59, 0.11])


def simulate(
    shape: tuple[int, int],
    n: int,
    *,
    types: int = 3,
    radius: float = 4.0,
    radius_spread: float = 0.4,
    seed: int = 0,
    gray: bool = False,
    overlap: float = 0.3,
    noise: float = 0.02,
    blur: float | None = None,
    unevenness: float = 0.1,
    light_angle: float = 90.0,
    composition: str = "simplex",
    pixel_size_um: float | None = None,
) -> tuple[np.ndarray, Droplets]:
    """Simulate a photograph of dyed droplets on an unevenly lit slide under oblique light.

    Each droplet is a cap of a sphere. Its dyes absorb their own parts of the spectrum (Beer-Lambert law); light from
    one side leaves it a dark cap, a bright crescent and a faint glow. Droplets later in the table lie over earlier
    ones. The same arguments give the same image.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the image in pixels, at least 16 each.
    n : int
        Number of droplets. Their centers are in the image; those near the border are cut by it.
    types : int
        Number of dyes, 1 to 16.
    radius : float
        Median radius, pixels.
    radius_spread : float
        Standard deviation of the logarithm of the radius.
    seed : int
        Of all random numbers.
    gray : bool
        Make a gray image.
    overlap : float
        How far two droplets may overlap, in radii of the smaller one: 0 may touch, 2 may lie anywhere.
    noise : float
        Standard deviation of the camera's noise where the intensity is 0.5; half its variance there is shot noise,
        proportional to the intensity, and half is read noise, the same everywhere.
    blur : float, optional
        Standard deviation of the camera's blur, pixels; 0.3 + 0.1 `radius` by default.
    unevenness : float
        Relative strength of the uneven illumination, 0 to 1; 0 is even.
    light_angle : float
        Where in a droplet the bright crescent lies, degrees: 0 right, 90 below, 180 left.
    composition : {'simplex', 'free'}
        Fractions of the dyes that sum to one (mostly of one or two dyes), or each uniform in 0..1.
    pixel_size_um : float, optional
        Side of a pixel in micrometres, to be noted in the truth.

    Returns
    -------
    image : ndarray
        (H, W, 3) float32 in 0..1; (H, W) with `gray`.
    truth : Droplets
        x, y, radius and composition of the n droplets.

    Raises
    ------
    InputError
        An argument cannot be used, or `n` droplets do not fit.

    Examples
    --------
    >>> image, truth = simulate((120, 160), 40, seed=1)
    >>> image.shape, len(truth), truth.types
    ((120, 160, 3), 40, 3)
    """
    height, width = checked_shape(shape)
    check("n", n, 0, 10_000_000, whole=True)
    check("types", types, 1, MAX_TYPES, whole=True)
    check("radius", radius, 0.5, max(height, width))
    check("radius_spread", radius_spread, 0, 2)
    check("seed", seed, 0, 2**32 - 1, whole=True)
    check("overlap", overlap, 0, 2)
    check("noise", noise, 0, 1)
    if blur is not None:
        check("blur", blur, 0, max(height, width))
    check("unevenness", unevenness, 0, 1)
    check("light_angle", light_angle, -360, 360)
    if composition not in ("simplex", "free"):
        raise InputError(f"composition={composition!r}: must be 'simplex' or 'free'")
    if composition == "simplex" and types < 2:
        raise InputError(f"types={types}: must be at least 2 for a simplex; one dye needs composition='free'")
    if pixel_size_um is not None:
        check("pixel_size_um", pixel_size_um, 1e-9, 1e9)

    # one stream each, so that, say, another noise leaves the droplets where they are
    radii_rng, place_rng, dye_rng, light_rng, noise_rng = np.random.default_rng(seed).spawn(5)
    radii = radius * np.exp(radius_spread * radii_rng.standard_normal(n))
    x, y = place(radii, height, width, overlap, place_rng)
    simplex = composition == "simplex"
    fractions = dye_rng.dirichlet(np.full(types, 0.5), n) if simplex else dye_rng.random((n, types))
    truth = Droplets(x, y, radii, composition=fractions, pixel_size_um=pixel_size_um)

    image = illumination(height, width, unevenness, light_rng)
    sd = 0.3 + 0.1 * radius if blur is None else blur
    absorbance = absorbances(truth, radius)
    return photograph(image, truth, absorbance, sd, noise, noise_rng, light_angle=light_angle, gray=gray), truth


def absorbances(droplets: Droplets, radius: float) -> np.ndarray:
    """(N, 3) of droplets made of dyes, through their thickest part; `radius` is the typical one, pixels."""
    assert droplets.composition is not None
    return ABSORBANCE * droplets.composition @ spectra(droplets.types) * (droplets.radius / radius)[:, None]


def photograph(
    slide: np.ndarray,
    droplets: Droplets,
    absorbance: np.ndarray,
    blur: float,
    noise: float,
    rng: np.random.Generator,
    *,
    light_angle: float = 90.0,
    gray: bool = False,
) -> np.ndarray:
    """The (H, W, 3) float32 empty `slide` with droplets on it, blurred and noisy; (H, W) with `gray`."""
    image = slide.copy()
    _draw(image, droplets, absorbance.astype(np.float32), math.radians(light_angle))
    image = gaussian_filter(image, (blur, blur, 0), mode="nearest")
    if gray:
        image = image @ LUMA.astype(np.float32)
    strength = noise * np.sqrt(0.5 + np.clip(image, 0, 1))
    image += strength * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image, 0, 1)


def sample() -> tuple[np.ndarray, Droplets]:
    """The sample of the package: an image, (300, 400, 3) float32 in 0..1, and the truth about its 300 droplets."""
    return simulate((300, 400), 300, radius=4.5, radius_spread=0.4, noise=0.012, unevenness=0.1, seed=7)


def check(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    kind = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        what = "a whole number" if whole else "a number"
        raise InputError(f"{name}={value!r}: must be {what} from {low:g} to {high:g}")


def checked_shape(shape: Any) -> tuple[int, int]:
    try:
        height, width = shape
    except (TypeError, ValueError):
        raise InputError(f"shape={shape!r}: must be two whole numbers, (height, width)") from None
    for side in (height, width):
        check("shape", side, MIN_SIDE, 100_000, whole=True)
    return int(height), int(width)


def place(
    radii: np.ndarray, height: int, width: int, overlap: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centers x, y of droplets that overlap no more than allowed: random places, the largest droplets first."""
    if overlap == 2:
        return rng.uniform(-0.5, width - 0.5, len(radii)), rng.uniform(-0.5, height - 0.5, len(radii))
    order = np.argsort(-radii, kind="stable")
    sizes, x, y = radii[order], np.empty(len(radii)), np.empty(len(radii))
    gap = np.full((height, width), np.inf, np.float32)  # from each pixel to the nearest droplet's edge
    for i, r in enumerate(sizes):
        need = (1 - overlap) * r  # between this center and the edge of any droplet so far, which are no smaller
        apart2 = (sizes[:i] + need) ** 2
        for tries in PLACING_TRIES:
            u, v = rng.uniform(-0.5, width - 0.5, tries), rng.uniform(-0.5, height - 0.5, tries)
            pixels = np.rint(v).astype(int).clip(0, height - 1), np.rint(u).astype(int).clip(0, width - 1)
            likely = np.flatnonzero(gap[pixels] >= need - 0.72)[: tries // 5]  # 0.72: a point is off its pixel
            clear = (u[likely, None] - x[:i]) ** 2 + (v[likely, None] - y[:i]) ** 2 >= apart2
            free = likely[clear.all(1)]
            if len(free):
                break
        else:
            raise InputError(
                f"n={len(radii)}: only {i} droplets fit into {width} x {height} pixels; "
                f"use fewer or smaller droplets, a larger image, or overlap above {overlap:g}"
            )
        x[i], y[i] = u[free[0]], v[free[0]]
        patch, du, dv = _around(x[i], y[i], r + need + 1, gap)
        gap[patch] = np.minimum(gap[patch], np.hypot(du, dv) - r)
    back = np.argsort(order)
    return x[back], y[back]


def _around(x: float, y: float, reach: float, image: np.ndarray) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
    """The patch of an image within `reach` of a point, and its pixels' (1, w) and (h, 1) float32 distances from it."""
    top, left = max(math.ceil(y - reach), 0), max(math.ceil(x - reach), 0)
    bottom, right = min(math.floor(y + reach) + 1, image.shape[0]), min(math.floor(x + reach) + 1, image.shape[1])
    u, v = np.arange(left, right) - x, np.arange(top, bottom) - y
    return (slice(top, bottom), slice(left, right)), u.astype(np.float32)[None], v.astype(np.float32)[:, None]


def spectra(types: int) -> np.ndarray:
    """(types, 3) absorption of each dye for red, green and blue light, the peak 1."""
    peaks = np.linspace(*DYES_NM, types) if types > 1 else np.array([np.mean(DYES_NM)])
    return np.exp(-0.5 * ((CHANNELS_NM - peaks[:, None]) / BAND_NM) ** 2)


def illumination(height: int, width: int, unevenness: float, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) float32: the empty slide, a quadratic surface whose color drifts a little."""
    v, u = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
    terms = [u, v, u * v, u**2 - 1 / 3, v**2 - 1 / 3]
    weights = rng.normal(0, 0.5, (len(terms), 1)) + rng.normal(0, 0.12, (len(terms), 3))
    surface = sum(w * t for w, t in zip(weights, terms, strict=True))
    return (GROUND * np.exp(unevenness * surface)).astype(np.float32)


def _draw(image: np.ndarray, droplets: Droplets, absorbance: np.ndarray, light_angle: float) -> None:
    """Draw the droplets, one after another, into the (H, W, 3) image; each touches only its surroundings."""
    empty = image.copy()
    light = math.cos(light_angle), math.sin(light_angle)
    places = np.stack([droplets.x, droplets.y, droplets.radius], axis=1).tolist()
    for (x, y, r), density in zip(places, absorbance, strict=True):
        patch, u, v = _around(x, y, (1 + 4 * GLOW_LENGTH) * r + 1, image)
        cover, gain = _look(u / r, v / r, r, density, light)
        image[patch] += (HIDING * cover)[..., None] * (empty[patch] - image[patch])
        image[patch] *= gain
    image += STRAY * (empty - image)


def _look(
    u: np.ndarray, v: np.ndarray, radius: float, density: np.ndarray, light: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel a droplet covers (h, w), and what it makes of the light (h, w, 3); u, v in radii."""
    d2 = u**2 + v**2
    distance = np.sqrt(d2)
    along = u * light[0] + v * light[1]  # toward the crescent
    cover = np.clip(0.5 + (1 - distance) * radius, 0, 1)
    tilt = along / np.sqrt(SPHERE**2 - np.minimum(d2, 1))  # slope of the surface in the direction of the light
    shifted = d2 - 2 * LEAN * along + LEAN**2
    path = np.sqrt(SPHERE**2 - np.minimum(shifted, 1)) - math.sqrt(SPHERE**2 - 1)
    shade = 1 - _step(-tilt, 0.50, 0.35)[..., None] * SHADOW_32 + _step(tilt, 0.65, 0.40)[..., None] * GLEAM_32
    inside = np.exp(-path[..., None] * density) * shade
    # the glow is light that came through the droplet, so it carries some of its color
    toward = 0.35 + 0.65 * np.maximum(along, 0) / np.maximum(distance, 1e-6)
    fade = np.exp((1 - np.maximum(distance, 1)) / GLOW_LENGTH) * toward
    outside = 1 + fade[..., None] * GLOW_32 * np.exp(-0.3 * density)
    return cover, outside + cover[..., None] * (inside - outside)


def _step(value: np.ndarray, at: float, width: float) -> np.ndarray:
    """A smooth step from 0 to 1."""
    return 0.5 + 0.5 * np.tanh((value - at) / width)


SHADOW_32, GLEAM_32, GLOW_32 = (a.astype(np.float32) for a in (SHADOW, GLEAM, GLOW))
