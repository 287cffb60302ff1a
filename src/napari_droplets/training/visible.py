"""Which of the droplets drawn an eye could find, so that they have to be found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .looks import Array

UNHIDDEN = 0.4  # of a droplet's disc; one that is hidden further is not to be found
RIM = 0.6  # radii, where the outer part of a disc begins, by which an eye tells how large it is
SHOWN = 0.5  # of that part; a droplet of which less stands out from the ground is not to be found
NOISES = 1.5  # standard deviations of the noise by which a pixel has to differ to stand out …
FAINT = 0.08  # … and the share of the contrast of the strongest droplets of the scene


def visible(contrast: Sequence[Array], unhidden: Array, noise: float) -> Array:
    """Tell which droplets of a scene can be seen.

    Parameters
    ----------
    contrast : sequence of ndarray
        Of each of N droplets, by how much it alone changes the ground, at pixels or points spread evenly over the
        outer part of its disc, from `RIM` radii on: absolute, intensity 0..1, of the channel that changes most. May be
        empty where that part is not in the image.
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
    shown = np.array([float(np.mean(values > level)) if len(values) else 0.0 for values in contrast])
    return (shown >= SHOWN) & (unhidden >= UNHIDDEN)
