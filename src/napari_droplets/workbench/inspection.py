"""One droplet looked at: its piece of the pictures, and what is known of it in words with intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from ..lazy import Pixels

Z = 1.96
"""Standard deviations on either side that hold 95 %."""
AROUND = 2.2
"""Half of the side of a piece, in radii …"""
LEAST_HALF = 6
"""… and pixels, at least."""
RESIDUAL_SHOWN = 5.0
"""Noise deviations at which the color of a residual ends: fewer than one pixel in a million is noise beyond."""


class Piece(NamedTuple):
    """A square of a picture around a droplet."""

    pixels: Float[np.ndarray, "side side C"]
    """NaN beyond the border of the picture."""
    x: float
    """Of the droplet in the piece, pixels."""
    y: float


class Part(NamedTuple):
    """Of a component: its share and half of the interval."""

    name: str
    share: float
    error: float | None


def half_side(radius: float) -> int:
    """Half of the side of the piece around a droplet, pixels."""
    return max(LEAST_HALF, round(AROUND * radius))


def piece(picture: Pixels, x: float, y: float, half: int) -> Piece:
    """Cut a square of 2 half + 1 pixels around a place out of a picture (H, W, C)."""
    column, row = round(x), round(y)
    h, w = picture.shape[:2]
    side = 2 * half + 1
    pixels = np.full((side, side, picture.shape[2]), np.nan, np.float32)
    top, left = max(0, row - half), max(0, column - half)
    bottom, right = min(h, row + half + 1), min(w, column + half + 1)
    if top < bottom and left < right:
        inside = slice(top - row + half, bottom - row + half), slice(left - column + half, right - column + half)
        pixels[inside] = picture[top:bottom, left:right]
    return Piece(pixels, x - column + half, y - row + half)


def signed_residual(residual: np.ndarray, noise: float) -> np.ndarray:
    """(H, W) mean of the channels in noise deviations: above 0 where the image is brighter than the model."""
    channels = residual.shape[-1]
    return residual.mean(-1) * np.sqrt(channels) / max(noise, 1e-6)


def facts(row: pd.Series, pixel_um: float | None = None) -> list[tuple[str, str]]:
    """What is known of a droplet: names and values in words; ± is half of the 95 % interval.

    Parameters
    ----------
    row : Series
        Of a droplets table.
    pixel_um : float, optional
        Mean side of a pixel, for the diameter in micrometres.
    """
    unit, side = ("px", 1.0) if pixel_um is None else ("µm", pixel_um)
    told = [("Diameter", f"{_with_error(2 * side * row['radius'], 2 * side * _number(row, 'radius_sd'))} {unit}")]
    if pixel_um is not None:
        told[0] = ("Diameter", f"{told[0][1]} ({2 * row['radius']:.3g} px)")
    for name in ("x", "y"):
        told.append((name, f"{_with_error(row[name], _number(row, f'{name}_sd'))} px"))
    if np.isfinite(p := _number(row, "p_present")):
        told.append(("Probability", f"{p:.3g}"))
    if np.isfinite(misfit := _number(row, "misfit")):
        told.append(("Misfit", f"{misfit:.2g}"))
    if "class" in row and pd.notna(row["class"]) and str(row["class"]) != "-1":
        sure = _number(row, "class_p")
        name = f"{row['class']:g}" if isinstance(row["class"], (int, float, np.number)) else str(row["class"])
        told.append(("Class", name + (f" ({sure:.0%} sure)" if np.isfinite(sure) else "")))
    marks = {"cut_by_border": "cut by the border", "edited": "edited", "pinned": "corrected or confirmed"}
    said = [words for column, words in marks.items() if column in row and row[column] in (True, 1)]
    if said:
        told.append(("", ", ".join(said)))
    return told


def parts(row: pd.Series) -> list[Part]:
    """The composition of a droplet, component by component; empty where it is not known."""
    found: list[Part] = []
    while f"composition_{len(found)}" in row and np.isfinite(share := _number(row, f"composition_{len(found)}")):
        sd = _number(row, f"composition_{len(found)}_sd")
        found.append(Part(f"component {len(found) + 1}", share, Z * sd if np.isfinite(sd) else None))
    return found


def _number(row: pd.Series, column: str) -> float:
    value: Any = row.get(column, np.nan)
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _with_error(value: float, sd: float) -> str:
    if not np.isfinite(sd):
        return f"{value:.1f}"
    error = Z * sd
    decimals = int(np.clip(1 - np.floor(np.log10(max(error, 1e-3))), 0, 3))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
