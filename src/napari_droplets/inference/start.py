"""Where a fit starts: optics nearest to the image, compositions from the colors of droplets, background and noise."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import expit, logit

from ..composition.anchors import known_compositions
from ..composition.components import components, in_components
from ..droplets import Droplets, Optics
from ..files import read_optics
from ..image_statistics import background_surface
from ..images import Image
from ..model.generative import Form, surface_basis
from ..model.optics import OpticsNetwork, unflatten
from .posterior import stick_breaking, stick_breaking_logits

LOOKS = Path(__file__).with_name("optics")
"""Shipped optics, see `training.prior_optics`: `dyed` lit from above, from sharp to blurred, and `plain` discs."""
LIGHTS = 16
"""Directions of light that are tried."""
REFINED = 5
"""Times that the step between directions is halved."""
JUDGED = 96
"""Droplets that looks and lights are judged by."""
SURE = 0.5
"""… if they are as probable."""
PALETTE = 512
"""Compositions tried, at each of SIZES radii."""
SIZES = 4
BLOCK = 2**14
"""Places and droplets that the network is asked about at a time."""
INITIAL_NOISE = 0.05  # as in the published form; a larger start than the truth is the safe side
DISC = 0.6  # radii around the center whose mean color is taken
VIEW = 1.4  # … and within which looks are judged
KNOWN_EDGE = 1e-3  # known compositions are so far from 0 and 1, whose logits are infinite


class Start(NamedTuple):
    """Unconstrained compositions (N, D), background coefficients (B, C) in logit space, noise, and optics weights.

    `sharper` and `softer` are weights for images less and more blurred, nearest first, where there are any. `held`
    (N, D) bool tells what of the compositions must not change; nothing where it is None.
    """

    composition: np.ndarray
    background: np.ndarray
    noise: float
    weights: dict[str, np.ndarray]
    sharper: list[dict[str, np.ndarray]]
    softer: list[dict[str, np.ndarray]]
    held: np.ndarray | None = None


class Seen(NamedTuple):
    """What is seen through shipped optics: what each droplet absorbs (N, C), as a typical radius of liquid does.

    `looks` are lists of weights: those that come nearest to the image, sharper and softer ones under the same light.
    `surface` (H, W, C) is the empty slide, `scatter` (N,) the standard deviation of what is absorbed, None where it is
    not known.
    """

    looks: list[list[dict[str, np.ndarray]]]
    absorbed: np.ndarray
    surface: np.ndarray
    scatter: np.ndarray | None = None


Measure = Callable[[Start], tuple[np.ndarray, np.ndarray]]
"""Measures what droplets absorb, and its standard deviation, from a rough start with a component for each channel."""


def first_sight(image: Image, droplets: Droplets, form: Form, length: float, measure: Measure | None = None) -> Seen:
    """What droplets absorb by the shipped optics that come nearest, read off their mean colors or measured."""
    colors, size = _colors(image, droplets), droplets.radius / length
    surface = background_surface(image.pixels)
    looks, absorbed = _shipped(image, droplets, colors, np.median(surface, (0, 1)), size)
    if measure is None:
        return Seen(looks, absorbed, surface)
    rough = Start(logit(np.clip(absorbed, 0.01, 0.99)), _background(surface, form), INITIAL_NOISE, looks[0][0], [], [])
    absorbed, scatter = measure(rough)
    return Seen(looks, absorbed, surface, scatter)


def starting_point(
    image: Image,
    droplets: Droplets,
    optics: Optics | None,
    form: Form,
    length: float,
    seed: int,
    seen: Seen | None = None,
) -> Start:
    """Start from optics learned before, else from the shipped ones that come nearest, and from what droplets bring."""
    known = known_compositions(droplets, form.types, form.composition)
    if optics is not None:
        looks = [[optics.weights], [], []]
        surface = background_surface(image.pixels)
        ground = np.median(surface, (0, 1))
        palette = _unconstrained_palette(form, seed)
        look = _constrained(palette, form)
        size = droplets.radius / length
        composition = palette[_nearest_look(optics.weights, look, ground, _colors(image, droplets), size)]
    else:
        seen = seen or first_sight(image, droplets, form, length)
        surface = seen.surface
        found = components(seen.absorbed, form, seed, known, seen.scatter)
        looks = [[in_components(weights, found) for weights in some] for some in seen.looks]
        composition = _unconstrained(found.composition, form)
    if droplets.composition is not None and droplets.types == form.types:
        told = np.isfinite(droplets.composition).all(1)
        composition[told] = _unconstrained(droplets.composition[told], form)
    held = np.isfinite(known).all(1)
    composition[held] = _unconstrained(known[held], form, KNOWN_EDGE)
    noise = optics.noise_sd if optics else INITIAL_NOISE
    fixed = np.repeat(held[:, None], composition.shape[1], 1)
    return Start(composition, _background(surface, form), noise, looks[0][0], *looks[1:], fixed)


def _unconstrained(composition: np.ndarray, form: Form, edge: float = 0.01) -> np.ndarray:
    if form.composition == "simplex":
        return stick_breaking_logits(composition)
    return logit(np.clip(composition, edge, 1 - edge))


def _constrained(logits: np.ndarray, form: Form) -> np.ndarray:
    return stick_breaking(logits) if form.composition == "simplex" else expit(logits)


def _unconstrained_palette(form: Form, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 1.5 * rng.standard_normal((PALETTE, form.types - (form.composition == "simplex")))


def _background(surface: np.ndarray, form: Form) -> np.ndarray:
    """Coefficients (B, C) of the background's logits."""
    h, w, c = surface.shape
    v, u = np.mgrid[0 : h : max(1, h // 64), 0 : w : max(1, w // 64)]
    basis = surface_basis(np.stack([u.ravel(), v.ravel()], -1), np.array([w, h]), form)
    return np.linalg.lstsq(basis, logit(np.clip(surface[v, u], 0.004, 0.996)).reshape(-1, c), rcond=None)[0]


def _colors(image: Image, droplets: Droplets) -> np.ndarray:
    """Mean color (N, C) of the inner disc of each droplet, by smoothing at a few sizes and looking up the centers."""
    h, w, c = image.shape
    colors = np.zeros((len(droplets), c))
    level = np.round(np.log2(np.maximum(DISC * droplets.radius, 0.5)))
    for k in np.unique(level):
        at = level == k
        side = max(1, int(2 * np.floor(2.0**k) + 1))
        smooth = ndimage.uniform_filter(image.pixels, (side, side, 0))
        row = np.clip(np.round(droplets.y[at]).astype(int), 0, h - 1)
        column = np.clip(np.round(droplets.x[at]).astype(int), 0, w - 1)
        colors[at] = smooth[row, column]
    return colors


@cache
def _look(name: str, channels: int) -> Optics:
    return read_optics(LOOKS / f"{name}_{channels}.safetensors")


def _shipped(
    image: Image, droplets: Droplets, colors: np.ndarray, ground: np.ndarray, size: np.ndarray
) -> tuple[list[list[dict[str, np.ndarray]]], np.ndarray]:
    """The look and light that come nearest to the image, and each droplet's composition (N, C) in it.

    Returns lists of weights: of that look, of sharper and of softer ones under the same light.
    """
    channels = len(ground)
    p = droplets.p_present
    sure = np.arange(len(droplets)) if p is None or p.max() < SURE else np.flatnonzero(p >= SURE)
    judged = sure[np.linspace(0, len(sure) - 1, min(JUDGED, len(sure))).astype(int)]
    offset = _grid(VIEW, 7)
    at = [
        c[judged, None] + droplets.radius[judged, None] * d
        for c, d in zip((droplets.y, droplets.x), offset.T[::-1], strict=True)
    ]
    seen = np.stack(
        [ndimage.map_coordinates(image.pixels[..., c], at, order=1, mode="nearest") for c in range(channels)], -1
    )
    palette = np.random.default_rng(0).random((PALETTE, channels))
    best = np.inf
    names = sorted({path.stem.rsplit("_", 1)[0] for path in LOOKS.glob("*.safetensors")})
    for name in names:
        upright = _look(name, channels).weights
        composition = palette[_nearest_look(upright, palette, ground, colors, size, size[sure])]

        def errors_of(
            some: list[float], weights: dict[str, np.ndarray] = upright, made_of: np.ndarray = composition
        ) -> dict[float, float]:
            """By angle of the light, all at once: turning the light is turning the places that are looked at."""
            places = np.concatenate([offset @ _turn(angle) for angle in some])
            rendered = _rendered(weights, ground, places, size[judged], made_of[judged])
            off = (rendered.reshape(len(judged), len(some), *seen.shape[1:]) - seen[:, None]) ** 2
            return dict(zip(some, np.median(np.mean(off, (2, 3)), 0).tolist(), strict=True))

        turn = 2 * np.pi / LIGHTS
        angles = [0.0] if name == "plain" else [k * turn for k in range(LIGHTS)]
        errors = errors_of(angles)
        if min(errors.values()) < best:
            angle = min(errors, key=errors.__getitem__)
            for _ in range(REFINED if len(angles) > 1 else 0):  # a light off by 10 degrees moves all centers
                turn /= 2
                errors |= errors_of([angle - turn, angle + turn])
                angle = min(errors, key=errors.__getitem__)
            best, chosen, light, absorbed = errors[angle], name, angle, composition
    dyed = [name for name in names if name != "plain"]  # from sharp to soft
    order = [[chosen], [], []]
    if chosen in dyed:
        place = dyed.index(chosen)
        order = [[chosen], dyed[:place][::-1], dyed[place + 1 :]]
    return [[turned(_look(name, channels).weights, light, channels) for name in some] for some in order], absorbed


def _grid(reach: float, n: int) -> np.ndarray:
    """Places (G, 2) in radii, x and y, on a square grid within a disc."""
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-reach, reach, n)]), -1).reshape(-1, 2)
    return grid[np.hypot(*grid.T) <= reach]


def turned(weights: dict[str, np.ndarray], angle: float, channels: int) -> dict[str, np.ndarray]:
    """Optics under light from a direction turned by an angle."""
    kernel = weights["Dense_0.kernel"].copy()
    kernel[channels : channels + 2] = _turn(angle) @ kernel[channels : channels + 2]
    return weights | {"Dense_0.kernel": kernel}


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)


@jax.jit
def _change(weights: dict[str, Array], inputs: Array) -> Array:
    channels = weights["Dense_3.bias"].shape[0]
    return OpticsNetwork(channels).apply({"params": unflatten(weights)}, inputs)


def _rendered(
    weights: dict[str, np.ndarray], ground: np.ndarray, offset: np.ndarray, size: np.ndarray, composition: np.ndarray
) -> np.ndarray:
    """Colors (N, G, C) of droplets at places (G, 2) in radii, before a ground (C,)."""
    shape = (len(size), len(offset))
    inputs = [
        np.broadcast_to(ground, (*shape, len(ground))),
        np.broadcast_to(offset, (*shape, 2)),
        np.broadcast_to(size[:, None, None], (*shape, 1)),
        np.broadcast_to(composition[:, None], (*shape, composition.shape[1])),
    ]
    rows = np.concatenate(inputs, -1, dtype=np.float32).reshape(shape[0] * shape[1], -1)
    filled = np.pad(rows, ((0, -len(rows) % BLOCK), (0, 0)))
    change = np.concatenate([np.asarray(_change(weights, part)) for part in np.split(filled, len(filled) // BLOCK)])
    return expit(logit(ground) + change[: len(rows)].reshape(*shape, -1))


def _nearest_look(
    weights: dict[str, np.ndarray],
    palette: np.ndarray,
    ground: np.ndarray,
    colors: np.ndarray,
    size: np.ndarray,
    typical: np.ndarray | None = None,
) -> np.ndarray:
    """(N,) index of the composition in the palette (P, K) whose disc comes nearest in color at about that size.

    Sizes are told apart as those that are `typical` want, by default all.
    """
    typical = size if typical is None else typical
    edges = np.quantile(typical, np.linspace(0, 1, SIZES + 1))

    def class_of(sizes: np.ndarray) -> np.ndarray:
        return np.clip(np.searchsorted(edges, sizes, side="right") - 1, 0, SIZES - 1)

    class_, of_typical = class_of(size), class_of(typical)
    nearest = np.zeros(len(size), int)
    for k in np.unique(class_):
        here = class_ == k
        some = typical[of_typical == k]
        middle = np.full(len(palette), np.median(some if len(some) else size[here]))
        look = _rendered(weights, ground, _grid(DISC, 5), middle, palette).mean(1)
        nearest[here] = cKDTree(look).query(colors[here])[1]
    return nearest
