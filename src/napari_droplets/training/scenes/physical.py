"""Droplets seen through a microscope in transmitted light, from the laws of refraction and absorption.

A vertical ray meets the droplet's surface at a slope that its shape gives, and Snell's law bends it. The lamp is a disc
of directions, and so is what the objective accepts: a bent ray is as bright as these two discs, moved apart by its
deflection, still overlap. Dyes absorb along the path (Beer-Lambert law), and where the camera's focus is not in the
plane of the droplets, bent rays land elsewhere.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from ...droplets import Droplets
from .discs import around, averaged, camera, crowd, noise_level, outline_contrast, uneven_ground
from .looks import Array

RADII = (2.0, 40.0)  # pixels
TRIES = 20  # until all droplets can be seen
FAINT = 0.04  # intensity 0..1; droplets that stand out less are not for a person to see
WEAKEST = 0.1  # of the strongest droplets' contrast
OUTLINED = 0.3  # of a droplet's own contrast, at its outline; one that fades away there looks smaller than it is
LOST = 20.0  # natural-log absorbance of a ray that is totally reflected
FOCUSED = 0.1  # pixels that rays move aside at most where the focus is as good as exact
DARK = 0.03  # of the brightest; an empty slide darker than this is a dark field
STEPS = 1024  # of the table of brightness over deflection
LAMP_RINGS = (0.6, 0.8, 1.0, 1.2)  # a lamp with a soft edge is a mean of discs; radii in units of its own


class Look(NamedTuple):
    """One microscope and one liquid."""

    shape: Literal["cap", "sphere", "slab"]
    contact_angle: float
    """Of a cap, radians."""
    rim: float
    """Radius of curvature of a slab's rim, pixels: half of the height of its channel."""
    index_ratio: float
    """Refractive index of the droplets over that of what surrounds them."""
    dispersion: Array
    """(C,) factors on the deflection."""
    lamp: float
    """Half angle of the condenser's cone, radians."""
    objective: float
    """Half angle that the objective accepts, radians."""
    tilt: tuple[float, float]
    """Direction of the lamp's middle, radians; (0, 0) is straight."""
    defocus: float
    """Pixels that a ray moves aside per radian of deflection."""
    dyes: Array
    """(K, C) natural-log absorbance per pixel of path at concentration 1."""
    medium: Array
    """(C,) the same of what surrounds the droplets."""
    stray: float
    """Share of the light that is scattered over the whole image."""


def physical_image(rng: np.random.Generator, height: int, width: int) -> tuple[Array, Droplets]:
    """Draw a transmitted-light micrograph of liquid droplets.

    Parameters
    ----------
    rng : Generator
        Where all randomness comes from.
    height, width : int
        Pixels.

    Returns
    -------
    image : ndarray
        (H, W, 3 or 1) float32 in 0..1, as a camera would give it.
    truth : Droplets
        x, y, radius in pixels of all that a person could see; radii 2 to 40, centers outside by at most half a radius.
        Composition (N, K) holds concentrations 0..1 of K dyes, and is None where droplets are clear.

    Examples
    --------
    >>> image, truth = physical_image(np.random.default_rng(1), 64, 64)
    >>> image.shape[:2], len(truth) > 0
    ((64, 64), True)
    """
    for _ in range(TRIES):
        light, strength, seen, truth = physical_light(rng, crowd(rng, height, width, RADII), height, width)
        if seen.all():
            break
    noise = noise_level(rng, strength[seen], truth.radius[seen])
    return camera(rng, light, noise, eight_bit=bool(rng.random() < 0.5)), truth[seen]


def physical_light(
    rng: np.random.Generator, circles: tuple[Array, Array, Array], height: int, width: int
) -> tuple[Array, Array, Array, Droplets]:
    """Draw what a microscope of any kind shows of droplets at x, y of a radius, without noise.

    Returns
    -------
    light : ndarray
        (H, W, 3 or 1).
    strength : ndarray
        (N,) contrast of each droplet's outline, see `outline_contrast`.
    seen : ndarray
        (N,) bool: the outline can be seen, and is where the truth says.
    truth : Droplets
        All of them.
    """
    x, y, radius = circles
    channels = 1 if rng.random() < 1 / 3 else 3
    blur = min(rng.uniform(0.3, 2.0), 0.45 * float(np.quantile(radius, 0.1)))
    ground = uneven_ground(rng, height, width, channels)
    look = draw_look(rng, channels, float(np.median(radius)))
    fractions = _concentrations(rng, len(x), len(look.dyes))
    light = render(look, x, y, radius, fractions, height, width)
    image, empty = (gaussian_filter(a, (blur, blur, 0), mode="nearest") for a in (light * ground, ground))
    gain = rng.uniform(0.6, 0.97) if rng.random() > 0.08 else rng.uniform(0.98, 1.03)
    # exposed for the ground, and for droplets brighter than it; their highlights may saturate
    gain /= max(float(np.quantile(empty, 0.995)), 0.8 * float(np.quantile(image, 0.98)), 0.15 * float(image.max()))
    image, empty = image * gain, empty * gain
    strength, whole = outline_contrast(np.minimum(image, 1), np.minimum(empty, 1), x, y, radius)
    seen = (strength > max(FAINT, WEAKEST * float(np.quantile(strength, 0.9)))) & (strength > OUTLINED * whole)
    return image, strength, seen, Droplets(x, y, radius, composition=fractions if look.dyes.any() else None)


def draw_look(rng: np.random.Generator, channels: int, typical: float) -> Look:
    """Draw a microscope and a liquid for droplets of a typical radius, pixels."""
    shape = rng.choice(["cap", "sphere", "slab"], p=[0.4, 0.35, 0.25])
    clear = rng.random() < 0.3
    in_air = shape == "cap" and rng.random() < 0.7
    index_ratio = rng.uniform(1.3, 1.45) if in_air else 1 + rng.uniform(-0.15, 0.2) * (1 if clear else 0.5)
    # dyes are seen where most of the light gets through: wide cones, or liquids that bend it little
    objective = math.exp(rng.uniform(math.log(0.06 if clear else 0.15), math.log(0.5)))
    lamp = objective * rng.uniform(0.15 if clear else 0.4, 1.3)
    manner = rng.choice(["straight", "oblique", "dark field"], p=[0.47, 0.45, 0.08])
    away = {"straight": 0.0, "oblique": rng.uniform(0.15, 0.8), "dark field": rng.uniform(1.1, 1.4)}[manner]
    away, turn = away * (lamp + objective), rng.uniform(0, 2 * np.pi)
    moved = rng.choice([0.0, rng.uniform(0, 0.6), -rng.uniform(0, 0.12)], p=[0.4, 0.4, 0.2])  # inward, radii
    inward = 1 if index_ratio > 1 else -1
    dyes = np.zeros((1, channels))
    if not clear:
        dyes = rng.beta(0.6, 0.9, (int(rng.integers(1, 5)) if channels > 1 else 1, channels))
        dyes /= dyes.max(1, keepdims=True)
        dyes *= math.exp(rng.uniform(math.log(0.2), math.log(1.4))) / typical
    medium = rng.uniform(0, 1, channels) * rng.uniform(0.3, 1) / typical if not clear and rng.random() < 0.15 else 0
    return Look(
        shape=shape,
        contact_angle=math.radians(rng.uniform(20, 120)),
        rim=typical * rng.uniform(0.1, 0.6),
        index_ratio=index_ratio,
        dispersion=1 + rng.uniform(-0.08, 0.08) * np.linspace(-1, 1, channels) if channels > 1 else np.ones(1),
        lamp=lamp,
        objective=objective,
        tilt=(away * math.cos(turn), away * math.sin(turn)),
        defocus=inward * moved * typical / (objective + lamp),
        dyes=dyes,
        medium=np.broadcast_to(medium, (channels,)),
        stray=rng.uniform(0.0, 0.12) + 0.08 * (manner == "dark field"),
    )


def render(look: Look, x: Array, y: Array, radius: Array, fractions: Array, height: int, width: int) -> Array:
    """(H, W, C) float32 light that comes through droplets, in units of the ground's, without blur and noise.

    `fractions` (N, K) are the concentrations of the dyes. Where droplets overlap, deflections and absorbances add.
    """
    fine = 4 if np.median(radius) < 4 else 3
    shape = height * fine, width * fine
    bend = np.zeros((2, *shape), np.float32)
    density = (fractions @ look.dyes - look.medium).astype(np.float32)
    absorbance = np.zeros((density.shape[1], *shape), np.float32)
    touched = np.zeros(shape, bool)
    for at_x, at_y, r, dense in zip(x.tolist(), y.tolist(), radius.tolist(), density, strict=True):
        patch, u, v = around(at_x, at_y, r, height, width, fine)
        d = np.hypot(u, v) / r
        inside = d < 1
        d = np.minimum(d, 1 - 1 / (fine * r))  # samples in the last ring are alike: a finer one would be speckled
        sine, path, both = profile(look, d, r)
        angle, lost = deflection(sine, look.index_ratio, both)
        angle *= inside / np.maximum(d * r, 1e-6)
        bend[:, *patch] -= angle * u, angle * v
        absorbance[:, *patch] += dense[:, None, None] * (path * r * inside) + LOST * (lost & inside)
        touched[patch] |= inside
    table_at, table = brightness(look)
    empty = float(np.interp(math.hypot(*look.tilt), table_at, table))
    through = np.full((len(density.T), *shape), empty, np.float32)
    du, dv = bend[:, touched]
    for c, factor in enumerate(look.dispersion.tolist()):
        apart = np.hypot(factor * du - look.tilt[0], factor * dv - look.tilt[1])
        through[c, touched] = np.interp(apart, table_at, table) * np.exp(-absorbance[c, touched])
    if abs(look.defocus) * (look.lamp + look.objective) > FOCUSED:
        through = refocus(through, touched, look.defocus * fine * du, look.defocus * fine * dv)
        soft = min(0.25 * abs(look.defocus) * look.lamp, 0.1 * float(np.median(radius))) * fine
        through = gaussian_filter(through, (0, soft, soft), mode="nearest")
    light = np.moveaxis(averaged(through, fine), 0, -1)
    return ((1 - look.stray) * light + look.stray) / ((1 - look.stray) * empty + look.stray)


def profile(look: Look, d: Array, radius: float) -> tuple[Array, Array, Array]:
    """Shape of a droplet: `slab_profile` for the look's shape, with d in radii and radius in pixels."""
    if look.shape == "slab":
        return slab_profile(d, min(look.rim / radius, 1.0))
    return cap_profile(d, look.contact_angle if look.shape == "cap" else math.pi)


def cap_profile(d: Array, contact_angle: float) -> tuple[Array, Array, Array]:
    """Slope and thickness of a cap of a sphere on a flat base; a contact angle of pi makes it a whole sphere.

    Parameters
    ----------
    d : ndarray
        Distance from the axis in radii of the outline: of the base, or of the equator beyond 90 degrees.
    contact_angle : float
        Radians.

    Returns
    -------
    sine : ndarray
        Of the angle between a vertical ray and the normal of the surface.
    thickness : ndarray
        Length of the vertical path, radii of the outline.
    both : ndarray
        Bool: the ray enters through the curved surface too, not through the base.
    """
    sphere = 1 / math.sin(min(contact_angle, math.pi / 2))
    height = np.sqrt(np.maximum(sphere**2 - d * d, 0))
    base = sphere * math.sin(contact_angle)
    both = d > base if contact_angle > math.pi / 2 else np.zeros(d.shape, bool)
    thickness = np.where(both, 2 * height, height - sphere * math.cos(contact_angle))
    return d / sphere, np.maximum(thickness, 0), both


def slab_profile(d: Array, rim: float) -> tuple[Array, Array, Array]:
    """The same as `cap_profile` of a flat disc whose edge is a half circle of radius `rim`, radii of the outline."""
    sine = np.clip((d - (1 - rim)) / rim, 0, 1)
    return sine, 2 * rim * np.sqrt(1 - sine * sine), np.ones(d.shape, bool)


def deflection(sine: Array, index: float, both: Array) -> tuple[Array, Array]:
    """Snell's law at one or two surfaces.

    Parameters
    ----------
    sine : ndarray
        Of the angle between the ray and the normal of the surface.
    index : float
        Refractive index inside over outside.
    both : ndarray
        The ray enters and leaves through surfaces of this slope; else it only leaves.

    Returns
    -------
    angle : ndarray
        Radians toward the axis.
    lost : ndarray
        Bool: total reflection.
    """
    entered, left = sine / index, sine * index
    straight = np.arcsin(sine)
    twice = 2 * (straight - np.arcsin(np.minimum(entered, 1)))
    once = np.arcsin(np.minimum(left, 1)) - straight
    return np.where(both, twice, once), np.where(both, entered, left) > 1


def disc_overlap(distance: Array, a: float, b: float) -> Array:
    """Area that two discs of radii a and b share, their centers at a distance."""
    d = np.clip(distance, max(abs(a - b), 1e-9), a + b)
    first = np.arccos(np.clip((d * d + a * a - b * b) / (2 * d * a), -1, 1))
    second = np.arccos(np.clip((d * d + b * b - a * a) / (2 * d * b), -1, 1))
    return a * a * (first - np.sin(2 * first) / 2) + b * b * (second - np.sin(2 * second) / 2)


def brightness(look: Look) -> tuple[Array, Array]:
    """Table of a ray's light over the angle between it and the lamp's middle, radians; 1 is that of an empty slide.

    In a dark field an empty slide sends nothing; there the unit is a third of the brightest.
    """
    angle = np.linspace(0, look.objective + look.lamp * LAMP_RINGS[-1], STEPS)
    table = np.mean([disc_overlap(angle, look.lamp * k, look.objective) for k in LAMP_RINGS], axis=0)
    empty = float(np.interp(math.hypot(*look.tilt), angle, table))
    return angle, table / (empty if empty > DARK * table[0] else table[0] / 3)


def refocus(light: Array, moving: Array, du: Array, dv: Array) -> Array:
    """Light (C, H, W) with the rays of the pixels `moving` landing du, dv pixels aside; the sum stays the same."""
    rows, columns = moving.shape
    v, u = np.nonzero(moving)
    # a ray that leaves the image lands on its border: there are few
    u, v = (u + du).clip(0, columns - 1), (v + dv).clip(0, rows - 1)
    left, top = np.minimum(u.astype(int), columns - 2), np.minimum(v.astype(int), rows - 2)
    right_part, low_part = u - left, v - top
    moved = np.where(moving, 0, light).reshape(len(light), -1)
    for down, weight_v in ((0, 1 - low_part), (1, low_part)):
        for aside, weight_u in ((0, 1 - right_part), (1, right_part)):
            at, weight = (top + down) * columns + left + aside, weight_u * weight_v
            for c, channel in enumerate(light[:, moving]):
                moved[c] += np.bincount(at, channel * weight, rows * columns)
    return moved.reshape(light.shape)


def _concentrations(rng: np.random.Generator, n: int, dyes: int) -> Array:
    """(N, K) concentrations 0..1: free, fractions of a whole, or of a few kinds of droplets; none nearly empty."""
    manner = rng.choice(["free", "fractions", "kinds"])
    if manner == "fractions" and dyes > 1:
        return rng.dirichlet(np.full(dyes, rng.uniform(0.3, 2)), n)
    values = rng.random((n, dyes))
    if manner == "kinds":
        kinds = rng.random((int(rng.integers(1, 5)), dyes))
        values = np.clip(kinds[rng.integers(0, len(kinds), n)] + rng.normal(0, 0.03, (n, dyes)), 0, 1)
    return 0.15 + 0.85 * values
