"""The size distribution, with the error band that the posterior gives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..measures.size_draws import Sizes, drawn_sizes
from ..measures.size_statistics import LEVEL, Statistics, known_of
from ..measures.size_statistics import statistics as computed
from .style import BAND, BLUE, INK, droplets_of, new_axes, nothing, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WEIGHTS = {"number": 0, "area": 2, "volume": 3}
"""How distributions are weighted: powers of the diameter."""
IMAGE_DRAWS = 200
"""From the posterior of each of many images."""
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
        edges = edges_of(sizes.diameter, float(sizes.p.sum()))
    counts, totals = _counted(sizes, edges, WEIGHTS[weight])
    return _histogram(counts, totals, edges, level, sizes.frame.unit)


def histogram_of_images(
    images: Iterable[tuple[Droplets, Mapping[str, Any]]],
    edges: np.ndarray,
    *,
    weight: str = "number",
    level: float = LEVEL,
    draws: int = IMAGE_DRAWS,
    seed: int = 0,
) -> Histogram | None:
    """Distribution of diameters of the droplets of many images, whose differences widen the band.

    Besides the posterior of each image the draws are of the images (Bayesian bootstrap: Rubin 1981), each counting as
    often as an exponential number says.

    Parameters
    ----------
    images : iterable of (Droplets, mapping)
        The droplets of each image, and its options for `statistics`. Images without droplets are left out.
    edges : ndarray
        (B + 1,) ends of the bins.
    weight, level : optional
        As of `histogram`.
    draws : int
        From the posterior of each image.
    seed : int
        Of the draws.

    Returns
    -------
    Histogram or None
        None where no image has droplets.
    """
    rng = np.random.default_rng(seed)
    all_counts, all_totals, unit = np.zeros((draws, len(edges) - 1)), np.zeros(draws), ""
    for i, (droplets, options) in enumerate(images):
        try:
            sizes = drawn_sizes(droplets, **{**options, "draws": draws, "population": True, "seed": seed + i})
        except InputError:
            continue
        counts, totals = _counted(sizes, edges, WEIGHTS[weight])
        often = rng.exponential(size=draws)
        chosen = np.arange(draws) % len(totals)  # there are fewer draws of very many droplets
        all_counts += often[:, None] * counts[chosen]
        all_totals += often * totals[chosen]
        unit = sizes.frame.unit
    return _histogram(all_counts, all_totals, edges, level, unit) if all_totals.any() else None


def edges_of(diameter: np.ndarray, n: float) -> np.ndarray:
    """Bins for the diameters of about n droplets."""
    return np.linspace(0, 1.02 * float(diameter.max()), int(np.clip(np.sqrt(n), *BINS)) + 1)


def _counted(sizes: Sizes, edges: np.ndarray, power: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, B) what is in each bin of each draw, and (S,) in all of them."""
    counts, totals = [], []
    for diameter, present in sizes.draws:
        share = present * sizes.weigh(diameter) * diameter**power
        counts.append(np.histogram(diameter, edges, weights=share)[0])
        totals.append(share.sum())
    return np.array(counts), np.array(totals)


def _histogram(counts: np.ndarray, totals: np.ndarray, edges: np.ndarray, level: float, unit: str) -> Histogram:
    some = totals > 0
    if not some.any():
        raise InputError("sizes: no droplet is probable enough to have a size")
    rows = counts[some] / totals[some, None] / np.diff(edges)
    low, high = np.quantile(rows, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Histogram(np.asarray(edges, float), rows.mean(0), low, high, unit)


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
    if not len(droplets_of(droplets)):
        return nothing(ax)
    found = histogram(droplets, weight=weight, edges=edges, level=level, **options)
    if statistics is None:
        statistics = computed(droplets, level=level, **options)
    return draw(ax, found, statistics, label=label, color=color, weight=weight)


def draw(
    ax: Axes, found: Histogram, statistics: Statistics | None, *, label: str | None, color: Any, weight: str = "number"
) -> Axes:
    """Draw a distribution that has been computed, and tell its statistics."""
    plain(ax)
    ax.stairs(found.high, found.edges, baseline=found.low, fill=True, color=color, alpha=BAND, linewidth=0)
    told = [] if statistics is None else _told(statistics, found.unit, intervals=label is None)
    line = ax.stairs(found.density, found.edges, color=color, linewidth=1.6)
    if label is not None:
        line.set_label(f"{label}\n{', '.join(told)}".strip())
        ax.legend(frameon=False, fontsize=8, labelcolor=INK)
    elif statistics is not None:
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
        if name not in statistics.table.index:  # of one droplet there is no CV
            continue
        factor, of = (100, " %") if name == "cv" else (1, f" {unit}")
        row = statistics.table.loc[name, ["value", "low", "high"]].to_numpy(float)
        value, low, high = (f"{factor * number:.3g}" for number in row)
        lines.append(f"{said} {value} ({low} to {high}){of}" if intervals else f"{said} {value}{of}")
    return lines
