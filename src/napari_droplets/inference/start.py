"""Where a fit starts: compositions from the colors of the droplets, background and noise from the pixels."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.special import expit, logit

from ..droplets import Droplets, Optics
from ..images import Image
from ..model.generative import Form, surface_basis
from ..model.optics import OpticsNetwork, unflatten
from .posterior import stick_breaking, stick_breaking_logits
from .propose import background_surface

PALETTE = 1024  # compositions tried when the optics are known
INITIAL_NOISE = 0.05  # as in the published form; a larger start than the truth is the safe side
DISC = 0.6  # radii around the center whose mean color is taken


class Start(NamedTuple):
    """Unconstrained compositions (N, D), background coefficients (B, C) in logit space, and noise."""

    composition: np.ndarray
    background: np.ndarray
    noise: float


def starting_point(image: Image, droplets: Droplets, optics: Optics | None, form: Form, length: float) -> Start:
    """Start from what the droplets bring, else from optics learned before, else from the principal colors."""
    if optics is not None:
        composition = _nearest_look(image, droplets, optics, form, length)
    else:
        composition = _principal_colors(_colors(image, droplets), form)
    if droplets.composition is not None and droplets.types == form.types:
        known = np.isfinite(droplets.composition).all(1)
        composition[known] = _unconstrained(droplets.composition[known], form)
    return Start(composition, _background(image, form), optics.noise_sd if optics else INITIAL_NOISE)


def _unconstrained(composition: np.ndarray, form: Form) -> np.ndarray:
    if form.composition == "simplex":
        return stick_breaking_logits(composition)
    return logit(np.clip(composition, 0.01, 0.99))


def _background(image: Image, form: Form) -> np.ndarray:
    h, w, _ = image.shape
    surface = logit(np.clip(background_surface(image.pixels), 0.004, 0.996))
    v, u = np.mgrid[0 : h : max(1, h // 64), 0 : w : max(1, w // 64)]
    basis = surface_basis(np.stack([u.ravel(), v.ravel()], -1), np.array([w, h]), form)
    return np.linalg.lstsq(basis, surface[v, u].reshape(len(basis), -1), rcond=None)[0]


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


def _principal_colors(colors: np.ndarray, form: Form) -> np.ndarray:
    """Scores on the principal axes of color, unit variance; components beyond the channels start equal."""
    dims = form.types - 1 if form.composition == "simplex" else form.types
    _, _, axes = np.linalg.svd(colors - colors.mean(0), full_matrices=False)
    scores = (colors - colors.mean(0)) @ axes.T
    scores /= np.maximum(scores.std(0), 1e-6)
    out = np.zeros((len(colors), dims))
    k = min(dims, scores.shape[1])
    out[:, :k] = scores[:, :k]
    return np.clip(out, -3, 3)


def _nearest_look(image: Image, droplets: Droplets, optics: Optics, form: Form, length: float) -> np.ndarray:
    """Of many compositions, the one whose inner disc comes out nearest in color at the typical radius."""
    rng = np.random.default_rng(0)
    logits = 1.5 * rng.standard_normal((PALETTE, form.types - (form.composition == "simplex")))
    palette = stick_breaking(logits) if form.composition == "simplex" else expit(logits)
    grid = np.mgrid[-DISC:DISC:5j, -DISC:DISC:5j].reshape(2, -1).T
    grid = grid[np.hypot(*grid.T) <= DISC]
    base = np.median(background_surface(image.pixels), (0, 1))
    size = float(np.median(droplets.radius)) / length
    shape = (PALETTE, len(grid))
    inputs = np.concatenate(
        [
            np.broadcast_to(base, (*shape, form.channels)),
            np.broadcast_to(grid, (*shape, 2)),
            np.full((*shape, 1), size),
            np.broadcast_to(palette[:, None], (*shape, form.types)),
        ],
        -1,
    )
    network = OpticsNetwork(form.channels)
    change = jax.jit(network.apply)({"params": unflatten(optics.weights)}, inputs.astype(np.float32))
    look = expit(logit(base) + np.asarray(change)).mean(1)
    nearest = cKDTree(look).query(_colors(image, droplets))[1]
    return logits[nearest]
