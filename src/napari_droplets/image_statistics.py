"""What pixels say before any model: the ground behind droplets, the noise, robust averages."""

from __future__ import annotations

import numpy as np
from numpy.polynomial.polynomial import polygrid2d, polyvander2d

from .lazy import Pixels

NOISE_PIXELS = 4_000_000
"""That tell the noise, about: of larger images some of the rows."""


def background_surface(pixels: np.ndarray) -> np.ndarray:
    """Smooth background color, (H, W, C) float32: a bicubic surface fitted to the pixels that agree with it.

    Least squares with the pixels further off than 2.5 robust standard deviations left out, again and again; good
    where droplets cover less than half of the image.
    """
    h, w, c = pixels.shape
    step = max(1, int(np.sqrt(h * w / 40_000)))  # a cubic needs no more points than these
    y, x = np.linspace(-1, 1, h), np.linspace(-1, 1, w)
    values = pixels[::step, ::step].reshape(-1, c)
    v, u = (a.ravel() for a in np.meshgrid(y[::step], x[::step], indexing="ij"))
    basis = polyvander2d(v, u, [3, 3])
    coefficients = np.zeros((basis.shape[1], c))
    coefficients[0] = np.median(values, 0)
    keep = np.ones(len(values), bool)
    for _ in range(8):
        off = np.linalg.norm(values - basis @ coefficients, axis=-1)
        keep = off <= 2.5 * max(1.4826 * np.median(off[keep]) / np.sqrt(c), 1e-3)
        if keep.sum() < 5 * basis.shape[1]:
            break
        kept = basis[keep]
        # normal equations: 16 x 16, well conditioned on -1..1, and far cheaper than a decomposition of all points
        coefficients = np.linalg.solve(kept.T @ kept, kept.T @ values[keep])
    surface = polygrid2d(y, x, coefficients.reshape(4, 4, c))
    return np.clip(np.moveaxis(surface, 0, -1), 0, 1).astype(np.float32)


def contrast(pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Distance of each pixel's color from the background (H, W), and the standard deviation of its noise."""
    difference = pixels - background_surface(pixels)
    return np.linalg.norm(difference, axis=-1), pixel_noise(difference)


def pixel_noise(pixels: Pixels, counted: np.ndarray | None = None) -> float:
    """Standard deviation of what changes from pixel to pixel, in most of the image (H, W, C), where it is `counted`."""
    every = max(1, pixels.shape[0] * pixels.shape[1] // NOISE_PIXELS)
    rows = pixels[::every]
    # a pixel minus the mean of its left and right neighbor has 1.5 times the noise's variance
    second = rows[:, 1:-1] - (rows[:, :-2] + rows[:, 2:]) / 2
    if counted is not None and counted[::every, 1:-1].any():
        second = second[counted[::every, 1:-1]][None]
    return float(np.sqrt(np.sum((1.4826 * np.median(np.abs(second), (0, 1))) ** 2 / 1.5) / pixels.shape[-1]))


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """The value below which lies half of all weight."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])
