"""Colors of droplets, from what they are made of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from ..droplets import Droplets

UNKNOWN_COLOR = (1.0, 0.85, 0.2)  # amber: seen on dark and on bright images, and no pure component has it
IMPROBABLE_COLOR = (0.75, 0.3, 1.0)  # violet, as far from amber as from most images

SAFE_COLORS = (
    np.array([(86, 180, 233), (213, 94, 0), (0, 158, 115), (204, 121, 167), (0, 114, 178), (136, 34, 85)]) / 255
)
"""Told apart with any color vision: those of Okabe and Ito but for the ones near the amber of the unknown, and a wine
red of Tol's."""
CONTRAST = 3.0
"""Least contrast of a ring to what lies behind it, as WCAG 2.1 (1.4.11) asks of graphics."""
LEAST_CONTRAST = 2.0
"""Contrast to its own surroundings from which a ring keeps the brightness of the others."""
BRIGHT = 0.18
"""Luminance of a ground from which rings are dark: black and white have the same contrast to it."""


def luminance(colors: Float[np.ndarray, "*any 3"]) -> Float[np.ndarray, "*any"]:
    """Relative luminance of sRGB colors, 0 to 1."""
    colors = np.asarray(colors, float)
    linear = np.where(colors > 0.04045, ((colors + 0.055) / 1.055) ** 2.4, colors / 12.92)
    return linear @ np.array([0.2126, 0.7152, 0.0722])


def readable(colors: Float[np.ndarray, "N 3"], ground: float | None) -> Float[np.ndarray, "N 3"]:
    """Colors made darker on bright ground, or brighter on dark ground, where they would not stand out from it.

    Parameters
    ----------
    colors : ndarray
        (N, 3) sRGB in 0..1.
    ground : float, optional
        Luminance of what lies behind; colors stay as they are where it is not known.

    Returns
    -------
    ndarray
        (N, 3), of a contrast of at least `CONTRAST`.

    Examples
    --------
    >>> readable(np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.3]]), 1.0).round(2)
    array([[0.6, 0.6, 0. ],
           [0. , 0. , 0.3]])
    """
    colors = np.asarray(colors, float)
    if ground is None:
        return colors
    linear = np.where(colors > 0.04045, ((colors + 0.055) / 1.055) ** 2.4, colors / 12.92)
    now = luminance(colors)
    if ground > BRIGHT:
        most = max(0.0, (ground + 0.05) / CONTRAST - 0.05)
        linear = linear * np.minimum(1, most / np.maximum(now, 1e-9))[:, None]
    else:
        least = (ground + 0.05) * CONTRAST - 0.05
        linear = linear + (1 - linear) * np.clip((least - now) / np.maximum(1 - now, 1e-9), 0, 1)[:, None]
    return np.where(linear > 0.0031308, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055, 12.92 * linear)


def contrast(first: Float[np.ndarray, "*any"], second: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Contrast of luminances as WCAG 2.1 defines it, 1 to 21."""
    return (np.maximum(first, second) + 0.05) / (np.minimum(first, second) + 0.05)


def readable_around(
    colors: Float[np.ndarray, "N 3"], ground: float, around: Float[np.ndarray, " N"]
) -> Float[np.ndarray, "N 3"]:
    """`readable` on an image, and where its own surroundings are of another brightness, on these.

    Rings of an image are alike, dark or bright, as long as they are seen: colors mean something.
    """
    found = readable(colors, ground)
    for i in np.flatnonzero(contrast(luminance(found), around) < LEAST_CONTRAST):
        found[i] = readable(np.asarray(colors, float)[i : i + 1], float(around[i]))[0]
    return found


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

    One component is read off the viridis colormap. Two to six components have a color of `SAFE_COLORS` each, more have
    evenly spaced hues; they are added in proportion and dimmed where the sum is too bright.

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
    >>> composition_colors(np.array([[1.0, 0.0, 0.0], [0.2, 0.4, 0.6]])).round(2)
    array([[0.34, 0.71, 0.91],
           [0.4 , 0.66, 0.45]])
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
        mixed = weights @ _component_colors(k)
        colors[known] = mixed / np.maximum(1, mixed.max(axis=1, keepdims=True))
    return colors


def _component_colors(k: int) -> Float[np.ndarray, "K 3"]:
    """What each of two or more pure components looks like."""
    if k <= len(SAFE_COLORS):
        return SAFE_COLORS[:k]
    from matplotlib.colors import hsv_to_rgb

    return np.asarray(hsv_to_rgb(np.column_stack([np.arange(k) / k, np.ones(k), np.ones(k)])))
