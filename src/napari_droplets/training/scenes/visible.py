"""Which of the droplets drawn a careful person could find, so that they have to be found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .looks import Array

UNHIDDEN = 0.4  # of a droplet's disc; one that is hidden further is not to be found
RIM = 0.6  # radii, where the outer part of a disc begins, by which an eye tells how large it is …
RESOLVED = 2.0  # pixels; … and it is at least so wide: of a smaller droplet nobody sees more than that it is there
SHOWN = 0.5  # of the directions; a droplet whose outer part stands out in fewer is not to be found
DETECTED = 5.0  # signal over noise from which an eye is sure, over the whole outer part (Rose criterion)
FAINT = 0.08  # of the contrast of the strongest droplets of the scene; beside them an eye passes over fainter ones
DIRECTIONS = 8


def octant(u: Array, v: Array) -> Array:
    """Direction from a droplet's center in eighths of a turn, 0 to 7 in no order, for offsets in radii."""
    return (u > 0) + 2 * (v > 0) + 4 * (np.abs(u) > np.abs(v))


def rim(radius: Array) -> Array:
    """Where the outer part of a disc begins, in radii, for radii in pixels: at its center for the smallest."""
    return np.clip(1 - RESOLVED / np.maximum(radius, RESOLVED), 0, RIM)


def visible(
    contrast: Sequence[Array], direction: Sequence[Array], unhidden: Array, noise: float, radius: Array
) -> Array:
    """Tell which droplets of a scene can be seen.

    A droplet stands out in a direction where the noise, averaged over that eighth of the outer part of its disc, is
    small against its contrast: root-mean-square contrast times the root of the number of pixels, over the noise, is at
    least `DETECTED` / root 8. A flat disc of radius 2.5 is seen from a contrast of 1.2 standard deviations of the noise
    on, one of radius 7 from 0.5 on, one of radius 20 from 0.2 on; a thin rim, if it is as much stronger as it is
    smaller in area. Somewhere in that direction the contrast must also reach `FAINT` of the strongest droplets'.

    Parameters
    ----------
    contrast : sequence of ndarray
        Of each of N droplets, by how much it alone changes the ground, at pixels or points spread evenly over the
        outer part of its disc, from `rim` on: absolute, intensity 0..1, of the channel that changes most. May be
        empty where that part is not in the image.
    direction : sequence of ndarray
        The `octant` of each of these points.
    unhidden : ndarray
        (N,) share of the disc over which no other droplet lies.
    noise : float
        Standard deviation of a pixel, intensity 0..1; where neighbors share noise, that of white noise which would be
        as strong after averaging over many pixels.
    radius : ndarray
        (N,) pixels.

    Returns
    -------
    ndarray
        (N,) bool.

    References
    ----------
    A. Rose, The sensitivity performance of the human eye on an absolute scale, J. Opt. Soc. Am. 38 (1948) 196.
    """
    means = [float(np.mean(values)) for values in contrast if len(values)]
    least = FAINT * float(np.quantile(means, 0.9)) if means else 0.0
    pixels = np.pi * np.asarray(radius, float) ** 2 * (1 - rim(radius) ** 2) / DIRECTIONS
    power = (DETECTED * noise) ** 2 / DIRECTIONS / np.maximum(pixels, 1e-9)  # least mean square contrast
    droplets = zip(contrast, direction, power.tolist(), strict=True)
    shown = [_share(values, where, least_power, least) for values, where, least_power in droplets]
    return (np.array(shown) >= SHOWN) & (np.asarray(unhidden) >= UNHIDDEN)


def _share(contrast: Array, direction: Array, power: float, least: float) -> float:
    """Of the directions, how many a droplet stands out in."""
    if not len(contrast):
        return 0.0
    count = np.bincount(direction, minlength=DIRECTIONS)
    mean_square = np.bincount(direction, contrast * contrast, DIRECTIONS) / np.maximum(count, 1)
    strong = np.bincount(direction[contrast > least], minlength=DIRECTIONS) > 0
    return float(np.sum(strong & (mean_square > power)) / max(1, int(np.sum(count > 0))))


def stands_out(light: Array, ground: Array, circles: Array, noise: float, unhidden: Array | None = None) -> Array:
    """Tell which circles can be seen, from the image with and without all that is drawn.

    Parameters
    ----------
    light, ground : ndarray
        (H, W, C) without noise.
    circles : ndarray
        (N, 3) x, y, radius in pixels.
    noise, unhidden
        As of `visible`; nothing hidden by default.

    Returns
    -------
    ndarray
        (N,) bool.
    """
    height, width = light.shape[:2]
    brightest = max(1.0, float(np.quantile(light, 0.995)))  # beyond, cameras saturate
    change = np.abs(np.minimum(light, brightest) - np.minimum(ground, brightest)).max(-1)
    contrast, direction = [], []
    for x, y, r in np.asarray(circles, float).reshape(-1, 3).tolist():
        y0, y1 = max(0, math.floor(y - r)), min(height, math.ceil(y + r) + 1)
        x0, x1 = max(0, math.floor(x - r)), min(width, math.ceil(x + r) + 1)
        u = (np.arange(x0, x1) - x)[None] / r
        v = (np.arange(y0, y1) - y)[:, None] / r
        square = u * u + v * v
        outer = (square >= rim(r) ** 2) & (square <= 1)
        contrast.append(change[y0:y1, x0:x1][outer] if outer.size else np.zeros(0))
        direction.append(np.broadcast_to(octant(u, v), outer.shape)[outer] if outer.size else np.zeros(0, int))
    hidden_none = np.ones(len(contrast)) if unhidden is None else unhidden
    return visible(contrast, direction, hidden_none, noise, np.asarray(circles, float).reshape(-1, 3)[:, 2])
