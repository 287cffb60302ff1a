"""Which of the droplets drawn an eye could find, so that they have to be found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .looks import Array

UNHIDDEN = 0.4  # of a droplet's disc; one that is hidden further is not to be found
RIM = 0.6  # radii, where the outer part of a disc begins, by which an eye tells how large it is
SHOWN = 0.5  # of the directions; a droplet whose outer part stands out in fewer is not to be found
NOISES = 1.5  # standard deviations of the noise by which a pixel has to differ to stand out …
FAINT = 0.08  # … and the share of the contrast of the strongest droplets of the scene


def octant(u: Array, v: Array) -> Array:
    """Direction from a droplet's center in eighths of a turn, 0 to 7 in no order, for offsets in radii."""
    return (u > 0) + 2 * (v > 0) + 4 * (np.abs(u) > np.abs(v))


def visible(contrast: Sequence[Array], direction: Sequence[Array], unhidden: Array, noise: float) -> Array:
    """Tell which droplets of a scene can be seen.

    Parameters
    ----------
    contrast : sequence of ndarray
        Of each of N droplets, by how much it alone changes the ground, at pixels or points spread evenly over the
        outer part of its disc, from `RIM` radii on: absolute, intensity 0..1, of the channel that changes most. May be
        empty where that part is not in the image.
    direction : sequence of ndarray
        The `octant` of each of these points. A droplet stands out in a direction if any point there does: a thin rim
        is as good as a disc.
    unhidden : ndarray
        (N,) share of the disc over which no other droplet lies.
    noise : float
        Standard deviation, intensity 0..1.

    Returns
    -------
    ndarray
        (N,) bool.
    """
    means = [float(np.mean(values)) for values in contrast if len(values)]
    strongest = float(np.quantile(means, 0.9)) if means else 0.0
    level = max(NOISES * noise, FAINT * strongest)
    shown = [_share(values > level, where) for values, where in zip(contrast, direction, strict=True)]
    return (np.array(shown) >= SHOWN) & (unhidden >= UNHIDDEN)


def _share(stands_out: Array, direction: Array) -> float:
    return len(np.unique(direction[stands_out])) / max(1, len(np.unique(direction)))
