"""The size distribution, with the error band that the posterior gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..size_draws import drawn_sizes
from ..size_statistics import LEVEL, Statistics, known_of
from ..size_statistics import statistics as computed
from .style import BAND, BLUE, INK, droplets_of, new_axes, nothing, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WEIGHTS = {"number": 0, "area": 2, "volume": 3}
"""How distributions are weighted: powers of the diameter."""
BINS = 8, 60  # least and most
TELL = {"D50": "D50", "D32": "D[3,2]", "cv": "CV"}


class Histogram(NamedTuple):
    """A size distribution of B bins."""

    edges: np.ndarray
    """(B + 1,) diameters."""
    density: np.ndarray
    """(B,) part of the droplets, or of their volume, per unit of diameter."""
    low: np.ndarray
    """(B,) ends of its interval …"""
    high: np.ndarray
    """(B,) …"""
    unit: str
    """Of the diameters: µm or px."""


def histogram(
    droplets: Droplets | pd.DataFrame | Fit,
    *,
    weight: str = "number",
    edges: np.ndarray | None = None,
    level: float = LEVEL,
    **options: Any,
) -> Histogram:
    """Distribution of diameters: expected from the posterior, with the interval of its draws.

    Parameters
    ----------
    droplets : Droplets, DataFrame or Fit
        Of one image, or of images of one size.
    weight : {'number', 'area', 'volume'}
        What is distributed: droplets, the area they cover or their volume.
    edges : ndarray, optional
        (B + 1,) ends of the bins, in the unit of the diameters; what is larger or smaller is left out.
    level : float
        Of the interval.
    **options
        Of `statistics`: shape, region, border, radius_percent, population, draws, seed …

    Raises
    ------
    InputError
        No droplets, or a choice that there is not.
    """
    if weight not in WEIGHTS:
        raise InputError(f"weight={weight!r}: must be {' or '.join(map(repr, WEIGHTS))}")
    if isinstance(droplets, Fit):
        known = known_of(droplets.summary)
        del known["count"]
        options = known | options
    sizes = drawn_sizes(droplets_of(droplets), **options)
    if edges is None:
        bins = int(np.clip(np.sqrt(sizes.p.sum()), *BINS))
        edges = np.linspace(0, 1.02 * float(sizes.diameter.max()), bins + 1)
    power, rows = WEIGHTS[weight], []
    for diameter, present in sizes.draws:
        share = present * sizes.weigh(diameter) * diameter**power
        if share.sum() > 0:
            rows.append(np.histogram(diameter, edges, weights=share)[0] / share.sum() / np.diff(edges))
    if not rows:
        raise InputError("sizes: no droplet is probable enough to have a size")
    low, high = np.quantile(rows, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Histogram(edges, np.mean(rows, 0), low, high, sizes.frame.unit)


def sizes(
    droplets: Droplets | pd.DataFrame | Fit,
    statistics: Statistics | None = None,
    ax: Axes | None = None,
    *,
    weight: str = "number",
    edges: np.ndarray | None = None,
    label: str | None = None,
    color: Any = BLUE,
    level: float = LEVEL,
    **options: Any,
) -> Axes:
    """Draw the size distribution with its error band, and tell D50, D[3,2] and CV.

    Call it again with the same axes and other droplets to compare: give each a `label` and a `color`, and all the
    same `edges`.

    Parameters
    ----------
    droplets : Droplets, DataFrame or Fit
        Diameters are in micrometres where the pixel size is known, else in pixels.
    statistics : Statistics, optional
        What is told of the sizes; by default `nd.statistics` of the droplets.
    ax : Axes, optional
        Where to draw; by default axes of a new figure, `ax.figure`.
    weight : {'number', 'area', 'volume'}
        What is distributed: droplets, the area they cover or their volume.
    edges : ndarray, optional
        (B + 1,) ends of the bins.
    label : str, optional
        For the legend, in which D50, D[3,2] and CV are then told.
    color : color of matplotlib
        Of the line and its band.
    level : float
        Of the band and the intervals.
    **options
        Of `statistics`: shape, region, border, radius_percent, population, draws, seed …

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        A choice that there is not.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> droplets = nd.Droplets(x=[9.0, 30.0], y=[9.0, 30.0], radius=[4.0, 5.0], radius_sd=[0.2, 0.2])
    >>> ax = nd.plot.sizes(droplets)
    >>> ax.get_xlabel()
    'diameter (px)'
    """
    ax = new_axes(ax)
    plain(ax)
    if not len(droplets_of(droplets)):
        return nothing(ax)
    found = histogram(droplets, weight=weight, edges=edges, level=level, **options)
    if statistics is None:
        statistics = computed(droplets, level=level, **options)
    ax.stairs(found.high, found.edges, baseline=found.low, fill=True, color=color, alpha=BAND, linewidth=0)
    told = _told(statistics, found.unit, intervals=label is None)
    line = ax.stairs(found.density, found.edges, color=color, linewidth=1.6)
    if label is not None:
        line.set_label(f"{label}\n{', '.join(told)}")
        ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    else:
        ax.axvline(statistics["D50"], color=INK, linewidth=1, linestyle="--")
        ax.text(0.98, 0.98, "\n".join(told), transform=ax.transAxes, ha="right", va="top", color=INK, fontsize=9)
    ax.set_xlabel(f"diameter ({found.unit})")
    ax.set_ylabel(f"part of the {'droplets' if weight == 'number' else weight} per {found.unit}")
    ax.set_ylim(bottom=0)
    return ax


def _told(statistics: Statistics, unit: str, intervals: bool) -> list[str]:
    """D50, D[3,2] and CV in words."""
    lines = []
    for name, said in TELL.items():
        factor, of = (100, " %") if name == "cv" else (1, f" {unit}")
        row = statistics.table.loc[name, ["value", "low", "high"]].to_numpy(float)
        value, low, high = (f"{factor * number:.3g}" for number in row)
        lines.append(f"{said} {value} ({low} to {high}){of}" if intervals else f"{said} {value}{of}")
    return lines
