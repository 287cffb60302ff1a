"""Tracks as curves: radius and composition of droplets against time, with intervals; which point of them was meant."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..inspection import Z
from ..sheet import Sheet

MOST = 8
"""Tracks that are drawn at once; more would hide one another."""


class Line(NamedTuple):
    """A quantity of a droplet in its frames."""

    name: str
    value: np.ndarray
    low: np.ndarray
    """Of the 95 % interval; NaN where it is not known."""
    high: np.ndarray


class Curve(NamedTuple):
    """A track."""

    track_id: int
    numbers: np.ndarray
    """(n,) of its droplets."""
    frame: np.ndarray
    time: np.ndarray
    """Seconds where times are known, else frames."""
    radius: Line
    composition: tuple[Line, ...]


def curves_of(sheet: Sheet, numbers: Iterable[int]) -> list[Curve]:
    """The tracks that droplets are of, in the order of their numbers, `MOST` of them."""
    table = sheet.table
    if "track_id" not in table:
        return []
    ids = table["track_id"].loc[table.index.intersection(list(numbers))].dropna().unique()
    return [_curve(table[table["track_id"] == i]) for i in sorted(ids)[:MOST]]


def units_of(sheet: Sheet) -> tuple[str, str]:
    """Of time and of radii."""
    table = sheet.table
    return ("s" if _known(table, "time_s") else "frame"), ("µm" if _known(table, "radius_um") else "px")


def nearest(curves: list[Curve], time: float, value: float, span: tuple[float, float], of: str) -> int | None:
    """The droplet whose point on a curve is nearest.

    Parameters
    ----------
    curves : list of Curve
    time, value : float
        A place in the plot.
    span : (float, float)
        What its axes span, so that both count alike.
    of : str
        'radius' or 'composition'.
    """
    best: tuple[float, int | None] = (np.inf, None)
    for curve in curves:
        for line in (curve.radius,) if of == "radius" else curve.composition:
            away = np.hypot((curve.time - time) / span[0], (line.value - value) / span[1])
            away = np.where(np.isfinite(away), away, np.inf)
            k = int(away.argmin())
            best = min(best, (float(away[k]), int(curve.numbers[k])), key=lambda b: b[0])
    return best[1]


def _curve(rows: pd.DataFrame) -> Curve:
    rows = rows.sort_values("frame")
    radius = "radius_um" if _known(rows, "radius_um") else "radius"
    scale = 1.0 if radius == "radius" else float((rows["radius_um"] / rows["radius"]).median())
    components = [c for c in rows if str(c).removeprefix("composition_").isdigit()]
    time = rows["time_s" if _known(rows, "time_s") else "frame"].to_numpy(float)
    return Curve(
        int(rows["track_id"].iloc[0]),
        rows.index.to_numpy(),
        rows["frame"].to_numpy(int),
        time,
        _line(rows, radius, "radius_sd", scale),
        tuple(_line(rows, str(c), f"{c}_sd", 1.0) for c in components),
    )


def _line(rows: pd.DataFrame, name: str, sd_name: str, scale: float) -> Line:
    value = rows[name].to_numpy(float)
    sd = rows[sd_name].to_numpy(float) * scale if sd_name in rows else np.full(len(rows), np.nan)
    return Line(name, value, value - Z * sd, value + Z * sd)


def _known(table: pd.DataFrame, column: str) -> bool:
    return column in table and bool(np.isfinite(table[column].to_numpy(float)).any())
