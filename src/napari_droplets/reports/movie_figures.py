"""The figures of a movie's report, and the numbers behind each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..tracking import plots
from ..tracking.tracks import Tracks
from .figures import Drawn

WIDE = (8.0, 4.0)
"""Inches."""
TELLING = ("frame", "time_s", "track_id")


def movie_figures(tracks: Tracks) -> Iterator[Drawn]:
    """All figures that these tracks have."""
    yield _one("radius", "Radius against time", plots.plot_radius, tracks, _of_droplets(tracks, "radius"), ABOUT_LINES)
    if any(str(c).removeprefix("composition_").isdigit() for c in tracks.droplets):
        yield _composition(tracks)
    about = "Number of droplets of each radius in each frame (shade), and the radii that 10, 50 and 90 % are below."
    yield _one("size_distribution", "Sizes over time", plots.plot_sizes, tracks, _sizes(tracks), about)
    about = "Part of the droplets that are still there so long after they were first seen (Kaplan-Meier)."
    yield _one("survival", "Survival", plots.plot_survival, tracks, plots.survival(tracks), about)
    yield _events(tracks)


ABOUT_LINES = "A line for each droplet, in the color of its composition; the table of numbers has the deviations."


def _one(
    name: str, title: str, draw: Callable[[Tracks, Any], Any], tracks: Tracks, numbers: pd.DataFrame, about: str
) -> Drawn:
    figure = Figure(figsize=WIDE, layout="constrained")
    draw(tracks, figure.subplots()).set_title("")
    return Drawn(name, title, about, figure, numbers)


def _composition(tracks: Tracks) -> Drawn:
    components = sorted(
        int(c.removeprefix("composition_"))
        for c in map(str, tracks.droplets)
        if c.removeprefix("composition_").isdigit()
    )
    figure = Figure(figsize=(WIDE[0], 2.4 * len(components)), layout="constrained")
    axes = figure.subplots(len(components), 1, squeeze=False, sharex=True).ravel()
    for ax, k in zip(axes, components, strict=True):
        plots.plot_composition(tracks, ax, k).set_title("")
    for ax in axes[:-1]:
        ax.set_xlabel("")
    return Drawn("composition", "Composition against time", ABOUT_LINES, figure, _of_droplets(tracks, "composition_"))


def _events(tracks: Tracks) -> Drawn:
    """Events of each frame, and how many there are for each droplet and unit of time."""
    numbers = plots.event_rate(tracks)
    figure = Figure(figsize=WIDE, layout="constrained")
    left, right = figure.subplots(1, 2)
    plots.plot_events(tracks, left).set_title("in each frame", fontsize=10)
    plots.plot_event_rate(tracks, right).set_title("of a droplet, with its 95 % interval", fontsize=10)
    about = "Merges and splits. The rate is that of a tenth of the movie: events over droplets and time."
    return Drawn("events", "Merges and splits", about, figure, numbers)


def _of_droplets(tracks: Tracks, prefix: str) -> pd.DataFrame:
    table = tracks.droplets
    return table[[c for c in table if c in TELLING or str(c).startswith(prefix)]]


def _sizes(tracks: Tracks) -> pd.DataFrame:
    table = tracks.droplets
    by = [c for c in ("frame", "time_s") if c in table]
    groups = table.groupby(by)["radius"]
    numbers = (
        groups.quantile(np.array([0.1, 0.5, 0.9])).unstack().set_axis(["radius_10", "radius_50", "radius_90"], axis=1)
    )
    return numbers.assign(droplets=groups.size(), mean=groups.mean(), sd=groups.std()).reset_index()


def number_text(value: Any) -> str:
    """A number of a table on the page."""
    if isinstance(value, str):
        return value
    return "" if value is None or not np.isfinite(value) else f"{value:.4g}"
