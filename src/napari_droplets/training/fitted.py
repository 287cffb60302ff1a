"""Training images in the look of one's own micrographs, drawn from the generative model as it was fitted to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.spatial import cKDTree

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..image_statistics import weighted_median
from ..images import resampled
from ..inference.prepare import shared_of
from ..model.assignment import covered_pixels
from ..model.background import SplineGrid
from ..model.picture import draw
from ..model.rendering import Droplet, Shared, layer
from ..results.files import read, read_table
from .feed import Drawn
from .micrographs import CORRECTED
from .scenes import RADII
from .scenes.kinds.any_look import place
from .scenes.visible import octant, rim, visible

FEWEST = 10  # droplets in a fit, to know how large they are
DRAWN = 1.5  # of the working radius; where the typical droplet is larger, images are drawn smaller than the fitted one
NEAREST, FARTHEST = 1.4, 0.7  # factors of the network's working radius that the typical radius lies within
CLOSENESS_SD = 0.2  # … and the standard deviation of their logarithm
CROWDING_SD = 0.4  # of the logarithm of the number of droplets per area, around that of the fit
RADIUS_SD = 0.05  # of the logarithm of a radius around the fitted one
COMPOSITION_SD = 0.03  # of a component around the fitted one
QUIETEST = 1e-3  # standard deviation of noise, intensity 0..1
USUAL = 0.8  # share of the droplets, or more, that overlap no further in the fit than any may in an image drawn
LOOSEST = -0.2  # overlap in radii of the smaller droplet: so much must stay free between two, at most
ATTEMPTS = 20  # places tried for a droplet
PLACED, MORE_ROOM = 0.95, 0.2  # where fewer of the droplets find room, they may overlap by so much more …
TOUCHING = 0.2  # … up to the deepest overlap in the fit, or this
RIM_POINTS = 48  # of the outer part of a disc, where its contrast is computed
_TURN = np.arange(RIM_POINTS) * np.pi * (3 - np.sqrt(5))  # the golden angle spreads them evenly
RIM_DIRECTION = np.stack([np.cos(_TURN), np.sin(_TURN)], -1)
RIM_OCTANT = octant(*RIM_DIRECTION.T)
TOGETHER = 256  # droplets whose contrast is computed at a time, by one program


@dataclass(frozen=True)
class FittedScenes:
    """Scenes as `scenes.scene`, each in the look of one of the fits.

    Attributes
    ----------
    looks : list of Look
        See `FittedScenes.of`.
    """

    looks: list[Look]

    @classmethod
    def of(cls, fits: Iterable[Fit | str | Path]) -> FittedScenes:
        """Scenes of fits, or of the folders they were saved in, or of folders of such folders.

        Raises
        ------
        InputError
            None given, not the folder of a fit, or too few droplets in it.
        """
        looks = [Look.of(*given) for given in _read(fits)]
        if not looks:
            raise InputError("from_fit: no fits given; name result folders of `napari-droplets fit`")
        return cls(looks)

    @property
    def sha256(self) -> str:
        """Tells whether two trainings are on the same fits."""
        content = hashlib.sha256()
        for look in self.looks:
            for values in (*jax.tree.leaves(look.shared), look.background, look.radius):
                content.update(np.ascontiguousarray(values).tobytes())
            content.update(str(look.noise).encode())
        return content.hexdigest()

    def __call__(self, rng: np.random.Generator, side: int) -> Drawn:
        """Draw one image, (side, side, 3) float32 in 0..1, and its droplets, (N, 3) x, y, radius with centers in it."""
        return self.looks[rng.integers(len(self.looks))].draw(rng, side)


class Crowd(NamedTuple):
    """Droplets of one image."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    composition: np.ndarray


@dataclass(frozen=True)
class Look:
    """What a fit says of its image; arrays alone, for worker processes. Lengths in pixels of the images drawn."""

    shared: Shared
    renderer: str
    composition_kind: str
    background: np.ndarray
    """(A, B, C) coefficients of the B-spline surface."""
    size: tuple[float, float]
    """Width and height of the image fitted."""
    scale: float
    """Pixels drawn per pixel of the image fitted."""
    noise: tuple[float, float]
    """Standard deviation, least and most: the noise of single pixels, and all that the model leaves unexplained."""
    radius: np.ndarray
    composition: np.ndarray
    """(N, K)"""
    chance: np.ndarray
    """(N,) shares of the fitted droplets among those drawn."""
    density: float
    """Droplets per square pixel."""
    overlap: np.ndarray
    """(N,) how far each droplet reaches into a neighbor, in radii of the smaller one; negative where it does not."""

    @classmethod
    def of(cls, fit: Fit, name: str, corrected: Droplets | None = None) -> Look:
        """Learn the look of a fit; how large its droplets are, how many, how near, from the corrected ones if given."""
        from ..detection.scales import WORKING_RADIUS

        fitted, optics = fit.droplets if corrected is None else _composed(corrected, fit.droplets), fit.optics
        n = len(fitted)
        if n < FEWEST or fitted.composition is None:
            raise InputError(f"{name}: a fit of {n} droplets; at least {FEWEST} are needed to draw more like them")
        typical = _typical(fitted.radius)
        worked = float(fit.summary.get("settings", {}).get("scale", 1.0))  # the noise is that of the image so resized
        scale = min(worked, DRAWN * WORKING_RADIUS / typical)
        droplets = fitted.scaled(scale)
        present = np.ones(n) if droplets.p_present is None else droplets.p_present
        rows, columns = fit.reconstruction.shape[:2]
        area = rows * columns
        if region := fit.summary.get("region"):  # the background is of the part that was fitted
            left, top, right, bottom = region["part"]
            rows, columns, area = bottom - top, right - left, region["area_px"]
        height, width = rows * scale, columns * scale
        noise = max(optics.noise_sd * scale / worked, QUIETEST)
        unexplained = float(fit.summary.get("rmse", 0.0)) * scale
        return cls(
            shared=shared_of(optics, scale),
            renderer=optics.renderer,
            composition_kind=optics.composition,
            background=np.asarray(fit.guide["background"], np.float32),
            size=(width, height),
            scale=scale,
            noise=(noise, max(noise, unexplained)),
            radius=droplets.radius,
            composition=fitted.composition,
            chance=present / present.sum(),
            density=float(present.sum()) / (area * scale**2),
            overlap=_overlap(droplets),
        )

    @property
    def typical(self) -> float:
        """The radius that decides at which scale an image is looked at."""
        return _typical(self.radius)

    def draw(self, rng: np.random.Generator, side: int) -> Drawn:
        """Draw one image and its droplets, see `FittedScenes`."""
        from ..detection.scales import FINEST, WORKING_RADIUS

        largest = FINEST / self.scale  # images are not enlarged further when droplets are looked for

        def factor(closeness: float) -> float:
            return min(closeness * WORKING_RADIUS / self.typical, largest)

        closer = factor(float(np.clip(np.exp(CLOSENESS_SD * rng.standard_normal()), FARTHEST, NEAREST)))
        part = int(np.ceil(side / closer))
        crowd = self._crowd(rng, part)
        ground = self._ground(rng, part)
        image = draw(*crowd, ground, self.shared, self.renderer)
        noise = float(np.exp(rng.uniform(*np.log(self.noise))))
        image = np.clip(image + noise * rng.standard_normal(image.shape, np.float32), 0, 1)
        contrast = _contrast(crowd, ground, self.shared)
        seen = visible(
            list(contrast), [RIM_OCTANT] * len(contrast), _unhidden(crowd, part, self.shared), noise, crowd.radius
        )
        image = resampled(image, closer)[:side, :side]
        truth = np.stack([(crowd.x + 0.5) * closer - 0.5, (crowd.y + 0.5) * closer - 0.5, crowd.radius * closer], -1)
        inside = ((truth[:, :2] >= -0.5) & (truth[:, :2] < side - 0.5)).all(1)
        sized = (truth[:, 2] >= RADII[0]) & (truth[:, 2] <= RADII[1])
        truth = truth[seen & inside & sized].astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(image, (side, side, 3))), truth

    def _crowd(self, rng: np.random.Generator, side: int) -> Crowd:
        """Droplets in and around a part of so many pixels a side."""
        margin = 2 * float(np.quantile(self.radius, 0.95))
        usual = self.density * (side + 2 * margin) ** 2
        n = rng.poisson(usual * np.exp(CROWDING_SD * rng.standard_normal()))
        chosen = rng.choice(len(self.radius), n, p=self.chance)
        radius = self.radius[chosen] * np.exp(RADIUS_SD * rng.standard_normal(n))
        order = np.argsort(-radius, kind="stable")  # the large ones find their place first
        chosen, radius = chosen[order], radius[order]
        room = float(np.clip(np.quantile(self.overlap, rng.uniform(USUAL, 1)), LOOSEST, 1))
        deepest = max(float(self.overlap.max()), TOUCHING)
        while True:
            x, y, kept = place(rng, radius, side, margin, room, ATTEMPTS)
            if kept.sum() >= PLACED * n or room >= deepest:
                break
            room = min(room + MORE_ROOM, deepest)
        composition = self.composition[chosen]
        composition = np.clip(composition + COMPOSITION_SD * rng.standard_normal(composition.shape), 1e-4, 1)
        if self.composition_kind == "simplex":
            composition /= composition.sum(-1, keepdims=True)
        return Crowd(x, y, radius[kept], composition[kept])

    def _ground(self, rng: np.random.Generator, side: int) -> np.ndarray:
        """The empty slide (side, side, C) somewhere in the image fitted, which is stretched where it is smaller."""
        width, height = (max(round(length), side) for length in self.size)
        x, y = rng.integers(0, [width - side + 1, height - side + 1])
        rows, columns = SplineGrid.for_coefficients(height, width, self.background)
        return SplineGrid(rows[y : y + side], columns[x : x + side]).field(self.background)


_layer = jax.jit(layer)


def _contrast(crowd: Crowd, ground: np.ndarray, shared: Shared) -> np.ndarray:
    """By how much each droplet alone changes the ground, (N, `RIM_POINTS`), at points of the outer part of its disc."""
    n, side = len(crowd.x), len(ground)
    contrast = np.empty((n, RIM_POINTS))
    for begin in range(0, n, TOGETHER):
        some = np.arange(begin, begin + TOGETHER) % n  # one program serves any number
        of = np.repeat(some, RIM_POINTS)
        x, y, radius, composition = (a[of].T.astype(np.float32) for a in crowd)
        inner = rim(crowd.radius[some])[:, None] ** 2
        offset = np.sqrt(inner + (1 - inner) * np.linspace(0, 1, RIM_POINTS))[..., None] * RIM_DIRECTION
        position = np.stack([x, y]) + radius * offset.reshape(-1, 2).T.astype(np.float32)
        column, row = (np.rint(a[some]).astype(int).clip(0, side - 1) for a in (crowd.x, crowd.y))
        beneath = np.repeat(ground[row, column], RIM_POINTS, 0).T
        alone: Any = Droplet(x, y, radius, composition)  # type: ignore[arg-type]
        change = np.asarray(_layer(beneath, alone, position, shared)) - beneath
        last = min(n, begin + TOGETHER)
        contrast[begin:last] = np.abs(change).max(0).reshape(TOGETHER, RIM_POINTS)[: last - begin]
    return contrast


def _unhidden(crowd: Crowd, side: int, shared: Shared) -> np.ndarray:
    """Share of the pixels in each disc (N,) that show the droplet: of the two nearest the smaller one lies on top."""
    n, radius = len(crowd.x), np.append(crowd.radius, np.inf)
    pixels = covered_pixels(crowd.x, crowd.y, crowd.radius, (side, side), blur=float(np.exp(shared.log_blur)))
    x, y, own, other = (a[pixels.weight > 0] for a in (pixels.x, pixels.y, pixels.own > 0, pixels.other))
    first = np.broadcast_to(pixels.row[:, None], pixels.x.shape)[pixels.weight > 0]

    def within(which: np.ndarray) -> np.ndarray:
        at_x, at_y = (np.append(a, np.inf)[which] for a in (crowd.x, crowd.y))
        return np.hypot(x - at_x, y - at_y) < np.where(which < n, radius[which], 0)

    in_first, in_other = within(first), within(other)
    top = np.where(in_other & (radius[other] < radius[first]), other, first)
    shown = np.bincount(top[own & in_first], minlength=n)
    return shown / np.maximum(np.bincount(first[in_first], minlength=n), 1)


def _typical(radius: np.ndarray) -> float:
    """Median radius, large droplets counting more, as in the encoder."""
    return weighted_median(radius, radius)


def _overlap(droplets: Droplets) -> np.ndarray:
    """How far each droplet reaches into any other, in radii of the smaller one, at least -1."""
    places, radius = np.stack([droplets.x, droplets.y], -1), droplets.radius
    farthest = np.full(len(radius), -1.0)
    order = np.argsort(-radius)  # each with those that are smaller, so that few lie far beyond its reach
    trees = cKDTree(places)
    for i in order:
        near = np.array([j for j in trees.query_ball_point(places[i], 3 * radius[i]) if j != i], int)
        near = near[radius[near] <= radius[i]]
        depth = (radius[i] + radius[near] - np.hypot(*(places[near] - places[i]).T)) / radius[near]
        np.maximum.at(farthest, near, depth)
        farthest[i] = max(farthest[i], depth.max(initial=-1))
    return farthest


def _composed(corrected: Droplets, fitted: Droplets) -> Droplets:
    """Corrected droplets, certain to be there, of the composition of the fitted droplet most like each."""
    if not len(fitted) or not len(corrected) or fitted.composition is None:
        return corrected
    places = [np.stack([np.asarray(d.x), d.y, 4 * d.radius], -1) for d in (fitted, corrected)]
    nearest = cKDTree(places[0]).query(places[1])[1]
    return Droplets(corrected.x, corrected.y, corrected.radius, composition=fitted.composition[nearest])


def _read(fits: Iterable[Fit | str | Path]) -> Sequence[tuple[Fit, str, Droplets | None]]:
    """Fits, what to call them, and their droplets as corrected where a table says so."""
    found: list[tuple[Fit, str, Droplets | None]] = []
    for given in fits:
        if isinstance(given, Fit):
            found.append((given, "fit", None))
            continue
        folder = Path(given)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the result folder of a fit")
        inside = sorted(path.parent for path in folder.glob("*/summary.json"))  # of several images
        for part in [folder] if (folder / "summary.json").exists() or not inside else inside:
            fit = read(part)
            if not isinstance(fit, Fit):
                raise InputError(f"{part}: droplets without a fit (of --detect-only); fit the image first")
            table = part / CORRECTED
            found.append((fit, str(part), read_table(table) if table.exists() else None))
    return found
