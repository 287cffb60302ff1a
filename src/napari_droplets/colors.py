"""Colors of droplets, from what they are made of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from .droplets import Droplets

UNKNOWN_COLOR = (1.0, 0.85, 0.2)  # amber: seen on dark and on bright images, and no pure component has it
IMPROBABLE_COLOR = (0.75, 0.3, 1.0)  # violet, as far from amber as from most images


def droplet_colors(droplets: Droplets) -> Float[np.ndarray, "N 3"]:
    """Color each droplet by its composition, else by the probability that it is there, else all alike.

    Returns
    -------
    ndarray
        (N, 3) RGB in 0..1.
    """
    if droplets.composition is not None:
        return composition_colors(droplets.composition)
    if droplets.p_present is not None:
        return presence_colors(droplets.p_present)
    return np.tile(np.array(UNKNOWN_COLOR), (len(droplets), 1))


def presence_colors(p_present: Float[np.ndarray, " N"]) -> Float[np.ndarray, "N 3"]:
    """From violet, 0, to amber, 1; the color of the unknown where it is NaN.

    Returns
    -------
    ndarray
        (N, 3) RGB in 0..1.
    """
    p = np.clip(np.nan_to_num(np.asarray(p_present, float), nan=1.0), 0, 1)[:, None]
    return p * np.array(UNKNOWN_COLOR) + (1 - p) * np.array(IMPROBABLE_COLOR)


def composition_colors(composition: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N 3"]:
    """Color each droplet by its composition.

    One component is read off the viridis colormap. Three components are red, green and blue. Any other number
    of components gets as many evenly spaced hues, added in proportion and dimmed where the sum is too bright.

    Parameters
    ----------
    composition : ndarray
        (N, K) components in 0..1. A row with NaN, and every row where K is 0, has the color of the unknown.

    Returns
    -------
    ndarray
        (N, 3) RGB in 0..1.

    Examples
    --------
    >>> composition_colors(np.array([[1.0, 0.0, 0.0], [0.2, 0.4, 0.6]]))
    array([[1. , 0. , 0. ],
           [0.2, 0.4, 0.6]])
    """
    composition = np.asarray(composition, float)
    n, k = composition.shape
    known = np.isfinite(composition).all(axis=1) & (k > 0)
    colors = np.tile(np.array(UNKNOWN_COLOR), (n, 1))
    if not known.any():
        return colors
    weights = np.clip(composition[known], 0, 1)
    if k == 1:
        from matplotlib import colormaps

        colors[known] = colormaps["viridis"](weights[:, 0])[:, :3]
    else:
        from matplotlib.colors import hsv_to_rgb

        hues = hsv_to_rgb(np.column_stack([np.arange(k) / k, np.ones(k), np.ones(k)]))
        mixed = weights @ hues
        colors[known] = mixed / np.maximum(1, mixed.max(axis=1, keepdims=True))
    return colors
