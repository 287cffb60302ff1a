"""Proposals without a network: blobs of |image - background|, dark and bright alike, at the droplets' scale."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from scipy import ndimage

from ..droplets import Droplets
from ..errors import InputError
from ..image_statistics import contrast, weighted_median
from ..images import Image, as_image, resampled

WORKING_RADIUS = 4.0  # pixels; images with larger droplets are shrunk to it first, which loses nothing a blob needs
SIZE_RANGE = 3.0  # droplets up to this factor smaller or larger than the typical one are looked for
NOISE_LEVEL = 6.0  # blobs must stand out of the noise by this many standard deviations …
RELATIVE_LEVEL = 0.12  # … and have this fraction of the response of strong ones
OVERLAP = 0.5  # of two blobs that share more of their area than this the weaker one goes
CROP = 512  # pixels; the part of an image from which the typical size is read


def estimate_diameter(image: Any) -> float:
    """Typical droplet diameter in pixels of the image: the median over its blobs, large and strong ones counting more.

    Parameters
    ----------
    image : array-like, path, napari Image layer or Image
        See `as_image`.

    Raises
    ------
    InputError
        No blob stands out of the noise.
    """
    image = as_image(image)
    found: list[np.ndarray] = []
    factor = 1.0
    while True:
        view = image.pixels if factor == 1 else resampled(image.pixels, factor)
        if min(view.shape[:2]) < 24 and found:
            break
        h, w = view.shape[:2]
        top, left = max(0, (h - CROP) // 2), max(0, (w - CROP) // 2)
        blobs = _blobs(view[top : top + CROP, left : left + CROP], 1.0, 5.0)
        found.append(blobs[:, 2:] / [factor, 1])
        factor /= 4
        if min(image.pixels.shape[:2]) * factor < 24:
            break
    radius, strength = np.concatenate(found).T
    if not len(radius):
        raise InputError(f"{image.name}: no droplets found to estimate a diameter from; give diameter=... in pixels")
    strong = strength > 0.3 * np.quantile(strength, 0.95)
    return 2 * weighted_median(radius[strong], (radius * strength**2)[strong])


def detect_blobs(image: Image, diameter: float | None = None) -> Droplets:
    """Laplacian-of-Gaussian blobs as droplets: x, y, radius.

    Parameters
    ----------
    image : Image
        Droplets darker or brighter than their surroundings, or of another color.
    diameter : float, optional
        Typical diameter in pixels; estimated by default. Droplets of a third to three times it are looked for.

    Returns
    -------
    Droplets
        N may be 0.

    References
    ----------
    Lindeberg, T. Feature detection with automatic scale selection. IJCV 30, 79-116 (1998).
    """
    if diameter is None:
        try:
            diameter = estimate_diameter(image)
        except InputError:
            return Droplets(*np.zeros((3, 0)))
    factor = min(1.0, 2 * WORKING_RADIUS / diameter)
    radius = diameter / 2 * factor
    pixels = image.pixels if factor == 1 else resampled(image.pixels, factor)
    y, x, r, _ = _blobs(np.asarray(pixels), max(radius / SIZE_RANGE, 1.0), radius * SIZE_RANGE).T
    return replace(Droplets(x, y, r).scaled(1 / factor), pixel_size_um=image.pixel_size_um)


def _blobs(pixels: np.ndarray, smallest: float, largest: float) -> np.ndarray:
    """Blobs (y, x, radius, response) with radii in a range, pixels; (N, 4)."""
    from skimage.feature import blob_log

    height, noise = contrast(pixels)
    low, high = smallest / np.sqrt(2), largest / np.sqrt(2)
    # the response to white noise of deviation s has deviation s / (sigma sqrt(2 pi)); most at the smallest scale
    floor = NOISE_LEVEL * noise / (low * np.sqrt(2 * np.pi))
    count = int(np.ceil(3 * np.log2(high / low))) + 1
    blobs = blob_log(height, low, high, count, threshold=floor, overlap=OVERLAP, log_scale=True)
    if not len(blobs):
        return np.zeros((0, 4))
    y, x, sigma = blobs.T
    response = np.zeros(len(blobs))
    for level in np.unique(sigma):
        at = sigma == level
        smooth = -(level**2) * ndimage.gaussian_laplace(height, level)
        response[at] = smooth[y[at].astype(int), x[at].astype(int)]
    keep = response > RELATIVE_LEVEL * np.quantile(response, 0.95)
    return np.stack([y, x, sigma * np.sqrt(2), response], -1)[keep]
