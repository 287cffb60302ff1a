"""Training images in the look of one's own micrographs, drawn from the generative model as it was fitted to them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..files import read
from ..image_statistics import pixel_noise, weighted_median
from ..images import resampled
from ..model.assignment import TILE, Tiles
from .feed import Drawn
from .scenes import RADII, place
from .visible import RIM, octant, visible

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
RIM_OFFSET = np.sqrt(np.linspace(RIM**2, 1, RIM_POINTS))[:, None] * np.stack([np.cos(_TURN), np.sin(_TURN)], -1)
RIM_OCTANT = octant(*RIM_OFFSET.T)


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
        looks = [Look.of(fit, name) for fit, name in _read(fits)]
        if not looks:
            raise InputError("from_fit: no fits given; name result folders of `napari-droplets fit`")
        return cls(looks)

    @property
    def sha256(self) -> str:
        """Tells whether two trainings are on the same fits."""
        content = hashlib.sha256()
        for look in self.looks:
            for name, values in sorted(look.weights.items()):
                content.update(name.encode() + np.ascontiguousarray(values).tobytes())
            content.update(look.background.tobytes() + look.radius.tobytes() + str(look.noise).encode())
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

    channels: int
    types: int
    composition_kind: str
    renderer: str
    weights: dict[str, np.ndarray]
    weights_sd: dict[str, np.ndarray]
    length: float
    background: np.ndarray
    """(B, C) coefficients of the surface in logit space."""
    size: tuple[float, float]
    """Width and height of the image fitted."""
    scale: float
    """Pixels drawn per pixel of the image fitted."""
    noise: tuple[float, float]
    """Standard deviation, least and most. The noise fitted is all that the model leaves unexplained; what changes from
    pixel to pixel is less."""
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
    def of(cls, fit: Fit, name: str) -> Look:
        """Learn the look of a fit."""
        from ..detection.scales import WORKING_RADIUS

        n, optics = len(fit.droplets), fit.optics
        if n < FEWEST or fit.droplets.composition is None:
            raise InputError(f"{name}: a fit of {n} droplets; at least {FEWEST} are needed to draw more like them")
        typical = _typical(fit.droplets.radius)
        worked = float(fit.summary.get("settings", {}).get("scale", 1.0))  # the noise is that of the image so resized
        scale = min(worked, DRAWN * WORKING_RADIUS / typical)
        droplets = fit.droplets.scaled(scale)
        present = np.ones(n) if droplets.p_present is None else droplets.p_present
        height, width = (side * scale for side in fit.reconstruction.shape[:2])
        unexplained = optics.noise_sd * scale / worked
        seen = unexplained if fit.image is None else max(pixel_noise(fit.residual) * scale, QUIETEST)
        return cls(
            channels=optics.channels,
            types=optics.types,
            composition_kind=optics.composition,
            renderer=optics.renderer,
            weights=optics.weights,
            weights_sd=optics.weights_sd,
            length=optics.length * scale,
            background=np.asarray(fit.guide["background"], np.float32),
            size=(width, height),
            scale=scale,
            noise=(min(seen, unexplained), unexplained),
            radius=droplets.radius,
            composition=fit.droplets.composition,
            chance=present / present.sum(),
            density=float(present.sum()) / (width * height),
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

        # one size of piece for all, so that one program draws them
        piece = int(np.ceil(side / factor(FARTHEST) / TILE)) * TILE
        closer = factor(float(np.clip(np.exp(CLOSENESS_SD * rng.standard_normal()), FARTHEST, NEAREST)))
        width, height = np.maximum(self.size, piece)
        corner = np.array([rng.uniform(0, width - piece), rng.uniform(0, height - piece)])
        crowd, most = self._crowd(rng, piece)
        noise = float(np.exp(rng.uniform(*np.log(self.noise))))
        image, contrast, unhidden = self._picture(rng, crowd, most, corner, (width, height), piece)
        image = np.clip(image + noise * rng.standard_normal(image.shape, np.float32), 0, 1)
        averaged = noise * min(closer, 1)  # by what shrinks
        seen = visible(list(contrast), [RIM_OCTANT] * len(contrast), unhidden, averaged)
        part = int(np.ceil(side / closer))
        image = resampled(image[:part, :part], closer)[:side, :side]
        truth = np.stack([(crowd.x + 0.5) * closer - 0.5, (crowd.y + 0.5) * closer - 0.5, crowd.radius * closer], -1)
        inside = ((truth[:, :2] >= -0.5) & (truth[:, :2] < side - 0.5)).all(1)
        sized = (truth[:, 2] >= RADII[0]) & (truth[:, 2] <= RADII[1])
        truth = truth[seen & inside & sized].astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(image, (side, side, 3))), truth

    def _crowd(self, rng: np.random.Generator, piece: int) -> tuple[Crowd, int]:
        """Droplets in and around a piece, and how many there can be in any."""
        margin = 2 * float(np.quantile(self.radius, 0.95))
        usual = self.density * (piece + 2 * margin) ** 2
        most = int(np.ceil(usual * np.exp(3 * CROWDING_SD) / 64)) * 64
        n = min(rng.poisson(usual * np.exp(CROWDING_SD * rng.standard_normal())), most)
        chosen = rng.choice(len(self.radius), n, p=self.chance)
        radius = self.radius[chosen] * np.exp(RADIUS_SD * rng.standard_normal(n))
        order = np.argsort(-radius, kind="stable")  # the large ones find their place first
        chosen, radius = chosen[order], radius[order]
        room = float(np.clip(np.quantile(self.overlap, rng.uniform(USUAL, 1)), LOOSEST, 1))
        deepest = max(float(self.overlap.max()), TOUCHING)
        while True:
            x, y, kept = place(rng, radius, piece, margin, room, ATTEMPTS)
            if kept.sum() >= PLACED * n or room >= deepest:
                break
            room = min(room + MORE_ROOM, deepest)
        jitter = COMPOSITION_SD * rng.standard_normal((n, self.types))
        composition = np.clip(self.composition[chosen] + jitter, 1e-4, 1)
        if self.composition_kind == "simplex":
            composition /= composition.sum(-1, keepdims=True)
        return Crowd(x, y, radius[kept], composition[kept]), most

    def _picture(
        self,
        rng: np.random.Generator,
        crowd: Crowd,
        most: int,
        corner: np.ndarray,
        size: tuple[float, float],
        piece: int,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The noise-free image (piece, piece, C); of each droplet contrast and share not hidden, see `visible`."""
        from ..inference.posterior import BLOCK, assign, render_latents
        from ..inference.svi import pad
        from ..model.assignment import join
        from ..model.generative import Form, Prior, surface_basis

        def single(values: Any) -> Any:
            return np.asarray(values, np.float32)

        kind = "smooth" if len(self.background) > 1 else "uniform"
        form = Form(self.channels, self.types, self.composition_kind, kind, self.renderer, learn_noise=False)
        n = len(crowd.x)
        latents = {
            "x": pad(crowd.x + corner[0], most),
            "y": pad(crowd.y + corner[1], most),
            "radius": pad(crowd.radius, most, 1),
            "composition": pad(crowd.composition, most, 0.5),
            "background_color": expit(self.background[0]),
            "background_shape": self.background[1:],
        } | {
            f"optics/{name}": value + self.weights_sd.get(name, 0) * rng.standard_normal(value.shape)
            for name, value in self.weights.items()
        }
        latents = {name: single(value) for name, value in latents.items()}
        one: Any = single(np.ones(most))
        present: Any = np.arange(most) < n
        whole, length, unused = single(size), single(self.length), single(1)
        prior = Prior(one, one, None, one, one, present, whole, length, unused)
        row, column = np.mgrid[0:piece:TILE, 0:piece:TILE].reshape(2, -1)
        corners = (np.stack([column, row], -1) + corner).astype(np.float32)
        total = -(-len(corners) // BLOCK) * BLOCK
        candidates = assign(latents, present, Tiles(corners, corners, corners), total)
        values = np.asarray(render_latents(latents, pad(corners, total), candidates, prior, form))[: len(corners)]

        step = np.mgrid[:TILE, :TILE].reshape(2, -1).T[:, ::-1].astype(np.float32)
        unhidden = _unhidden(latents, candidates[: len(corners)], corners[:, None] + step, self.renderer)
        places: Any = np.stack([latents["x"], latents["y"]], -1)
        ground: Any = surface_basis(places, whole, form) @ self.background
        contrast = _contrast(latents, ground, self.length)
        return join(values, (piece, piece)), contrast[:n], unhidden[:n]


def _contrast(latents: dict[str, np.ndarray], ground: np.ndarray, length: float) -> np.ndarray:
    """By how much each droplet alone changes the ground (N, C logits), at points of the outer part of its disc."""
    from ..model.optics import OpticsNetwork, unflatten

    each = np.concatenate([(latents["radius"] / length)[:, None], latents["composition"]], -1)
    shape = len(ground), RIM_POINTS
    color = expit(ground)[:, None]
    parts = color, RIM_OFFSET[None], each[:, None]
    inputs = np.concatenate([np.broadcast_to(part, (*shape, part.shape[-1])) for part in parts], -1, dtype=np.float32)
    weights: Any = {name.removeprefix("optics/"): a for name, a in latents.items() if name.startswith("optics/")}
    change = OpticsNetwork(ground.shape[-1]).apply({"params": unflatten(weights)}, inputs)
    return np.abs(expit(ground[:, None] + change) - color).max(-1)


def _unhidden(latents: dict[str, np.ndarray], candidates: np.ndarray, pixels: np.ndarray, renderer: str) -> np.ndarray:
    """Share of the pixels (T, P, 2) in each disc that show the droplet.

    They show the droplet whose center is nearest in radii, or the smallest where droplets are laid one over the other.
    """
    x, y, radius = (np.append(latents[name], 1) for name in ("x", "y", "radius"))
    n = len(x) - 1
    dx, dy = (
        (pixels[:, :, None, axis] - place[candidates][:, None]) / radius[candidates][:, None]
        for axis, place in enumerate((x, y))
    )
    square = dx * dx + dy * dy
    within = (square < 1) & (candidates < n)[:, None]
    first = np.broadcast_to(radius[candidates][:, None], square.shape) if renderer == "layered" else square
    top = np.take_along_axis(candidates, np.where(within, first, np.inf).argmin(-1), 1)
    shown = np.bincount(top[within.any(-1)], minlength=n)[:n]
    disc = np.bincount(np.broadcast_to(candidates[:, None], square.shape)[within], minlength=n)[:n]
    return shown / np.maximum(disc, 1)


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


def _read(fits: Iterable[Fit | str | Path]) -> Sequence[tuple[Fit, str]]:
    """Fits and what to call them."""
    found: list[tuple[Fit, str]] = []
    for given in fits:
        if isinstance(given, Fit):
            found.append((given, "fit"))
            continue
        folder = Path(given)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; give the result folder of a fit")
        inside = sorted(path.parent for path in folder.glob("*/summary.json"))  # of several images
        for part in [folder] if (folder / "summary.json").exists() or not inside else inside:
            fit = read(part)
            if not isinstance(fit, Fit):
                raise InputError(f"{part}: droplets without a fit (of --detect-only); fit the image first")
            found.append((fit, str(part)))
    return found
