"""What lies behind the rings: how bright an image is as it is shown, as a whole and around each droplet."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...plot.colors import luminance

PIXELS = 250_000
"""About as many pixels tell how bright an image is: few enough to be looked at in a few hundredths of a second."""
AROUND = 1.25
"""Radii from the center at which the ground of a droplet is looked at: beyond its rim …"""
BESIDE = 1.5
"""… by at least so many pixels."""
DIRECTIONS = 16


class Ground(NamedTuple):
    """How bright an image is as it is shown: luminance, 0 to 1."""

    median: float
    luminance: np.ndarray
    """(h, w) of every `step`th pixel."""
    step: int

    def around(self, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
        """(N,) mean luminance around droplets, pixels of the image."""
        angle = np.linspace(0, 2 * np.pi, DIRECTIONS, endpoint=False)[:, None]
        reach = np.maximum(AROUND * radius, radius + BESIDE)
        h, w = self.luminance.shape
        column = np.clip(np.rint((x + reach * np.cos(angle)) / self.step), 0, w - 1).astype(int)
        row = np.clip(np.rint((y + reach * np.sin(angle)) / self.step), 0, h - 1).astype(int)
        return self.luminance[row, column].astype(float).mean(0)


def ground_of(layer: Any, plane: tuple[int, ...] = ()) -> Ground | None:
    """The ground of a plane of an image layer; None where its pixels are not in memory."""
    data = layer.data[-1] if layer.multiscale else layer.data
    if not isinstance(data, np.ndarray) or data.ndim - layer.rgb < 2 + len(plane) or data.size == 0:
        return None
    first = (0,) * (data.ndim - layer.rgb - 2)  # of a pyramid, whose coarsest level may have fewer planes, too
    pixels = data[plane if len(plane) == len(first) and not layer.multiscale else first]
    height = (layer.data[0] if layer.multiscale else layer.data).shape[-2 - layer.rgb]
    level = max(1, round(height / pixels.shape[0]))
    step = max(1, int(np.sqrt(pixels.shape[0] * pixels.shape[1] / PIXELS)))
    pixels = pixels[::step, ::step]
    if layer.rgb:
        whole = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
        colors = np.clip(pixels[..., :3] / whole, 0, 1)
    else:
        low, high = layer.contrast_limits
        shades = np.clip((pixels.astype(float) - low) / max(high - low, 1e-12), 0, 1) ** layer.gamma
        colors = np.asarray(layer.colormap.map(np.nan_to_num(shades).ravel()))[:, :3].reshape(*shades.shape, 3)
    found = luminance(colors)
    if not np.isfinite(found).any():
        return None
    median = float(np.nanmedian(found))
    return Ground(median, np.nan_to_num(found, nan=median).astype(np.float16), step * level)
