"""Plots of tracks: size and composition against time, survival, events, sizes; matplotlib axes in, axes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..droplets import Droplets
from ..plot.colors import droplet_colors, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .tracks import Tracks

SIZE = (16, 9)  # inches: a slide
MOST_LINES = 400  # tracks drawn; more only make a plot slow and black
BINS = 24
LEVELS = (0.1, 0.5, 0.9)
EVENT_COLORS = {"merge": "#1f6f8b", "split": "#d98032"}


def plot_radius(tracks: Tracks, ax: Axes, *, most: int = MOST_LINES) -> Axes:
    """Radius of each track against time, the longest tracks; in the color of its composition."""
    _lines(tracks, ax, "radius", most)
    ax.set(xlabel=_time_label(tracks), ylabel="radius (px)", title="Radius")
    return ax


def plot_composition(tracks: Tracks, ax: Axes, component: int = 0, *, most: int = MOST_LINES) -> Axes:
    """A component of the composition of each track against time; says so where compositions are not known."""
    name = f"composition_{component}"
    if name in tracks.droplets:
        _lines(tracks, ax, name, most)
    else:
        _nothing(ax, "compositions are not known")
    ax.set(xlabel=_time_label(tracks), ylabel=f"component {component}", title="Composition")
    return ax


def survival(tracks: Tracks) -> pd.DataFrame:
    """Part of the droplets that are still there so long after they were first seen (Kaplan-Meier).

    Those that leave over the border, or are there in the last frame, are not counted as gone.

    Returns
    -------
    DataFrame
        `age` in seconds where times are known, else in frames; `part` from there on; how many were `at_risk` and
        `gone` at that age. The last row is the longest time that a droplet was seen.
    """
    table = tracks.tracks
    begin, end = ("birth_s", "death_s") if "birth_s" in table else ("birth", "death")
    life = (table[end] - table[begin]).to_numpy(float)
    gone = table["fate"].isin(["merge", "split", "vanished"]).to_numpy()
    times = np.unique(life[gone])
    at_risk = np.array([(life >= t).sum() for t in times], int)
    ended = np.array([(gone & (life == t)).sum() for t in times], int)
    left = np.cumprod(1 - ended / at_risk) if len(times) else np.zeros(0)
    longest = life.max() if len(life) else 1.0
    last = left[-1] if len(left) else 1.0
    return pd.DataFrame(
        {
            "age": np.r_[0.0, times, longest],
            "part": np.r_[1.0, left, last],
            "at_risk": np.r_[len(life), at_risk, (life >= longest).sum()].astype(int),
            "gone": np.r_[0, ended, 0].astype(int),
        }
    )


def plot_survival(tracks: Tracks, ax: Axes) -> Axes:
    """What `survival` says."""
    found = survival(tracks)
    ax.step(found["age"], found["part"], where="post", color="#1f6f8b")
    ax.set(xlabel=f"age ({_unit(tracks)})", ylabel="part still there", title="Survival", ylim=(0, 1.02))
    return ax


def event_rate(tracks: Tracks, parts: int = 10) -> pd.DataFrame:
    """How often droplets merge and split: events over the time that all droplets were seen in, for parts of the movie.

    Parameters
    ----------
    tracks : Tracks
    parts : int
        Of equal numbers of frames; no more than there are steps.

    Returns
    -------
    DataFrame
        For each part and kind of event: first and last `frame`, mean `time`, number of `events`, the `rate` for a
        droplet and second (or frame), and its 95 % interval (Garwood's, of a Poisson number).
    """
    from scipy.stats import chi2

    table, events = tracks.droplets, tracks.events
    time = pd.Series(_times(tracks)).groupby(table["frame"].to_numpy()).first()
    count = table.groupby("frame").size()
    frames = time.index.to_numpy()
    split = events[events["kind"] == "split"].drop_duplicates(["frame", "parent_ids"])
    kinds = {"merge": events[events["kind"] == "merge"], "split": split}
    rows = []
    for part in np.array_split(np.arange(1, len(frames)), max(1, min(parts, len(frames) - 1))):
        if not len(part):
            continue
        # a droplet of the frame before is at risk for the length of the step
        exposed = float((count.to_numpy()[part - 1] * np.diff(time.to_numpy())[part - 1]).sum())
        for kind, of_kind in kinds.items():
            n = int(of_kind["frame"].isin(frames[part]).sum())
            low = chi2.ppf(0.025, 2 * n) / 2 if n else 0.0
            rows.append(
                {
                    "first_frame": frames[part[0]],
                    "last_frame": frames[part[-1]],
                    "time": float(time.to_numpy()[part].mean()),
                    "kind": kind,
                    "events": n,
                    "rate": n / exposed,
                    "low": low / exposed,
                    "high": chi2.ppf(0.975, 2 * n + 2) / 2 / exposed,
                }
            )
    columns = ["first_frame", "last_frame", "time", "kind", "events", "rate", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def plot_event_rate(tracks: Tracks, ax: Axes) -> Axes:
    """What `event_rate` says."""
    found = event_rate(tracks)
    for kind, color in EVENT_COLORS.items():
        part = found[found["kind"] == kind]
        if kind == "split" and not part["events"].any():
            continue
        ax.fill_between(part["time"], part["low"], part["high"], color=color, alpha=0.2, lw=0)
        ax.plot(part["time"], part["rate"], color=color, marker="o", ms=3, label=kind)
    per = "s" if "time_s" in tracks.droplets else "frame"
    ax.set(xlabel=_time_label(tracks), ylabel=f"rate (1/{per})", title="Event rate", ylim=(0, None))
    ax.legend(frameon=False)
    return ax


def plot_events(tracks: Tracks, ax: Axes) -> Axes:
    """Merges and splits a frame."""
    frames = np.arange(tracks.droplets["frame"].min(), tracks.droplets["frame"].max() + 1)
    events = tracks.events
    bottom = np.zeros(len(frames))
    for kind, color in EVENT_COLORS.items():
        part = events[events["kind"] == kind]
        if kind == "split":
            part = part.drop_duplicates(["frame", "parent_ids"])
        count = np.array([(part["frame"] == f).sum() for f in frames])
        ax.bar(frames, count, bottom=bottom, color=color, label=f"{kind} ({len(part)})")
        bottom = bottom + count
    ax.set(xlabel="frame", ylabel="events", title="Merges and splits", ylim=(0, 1.05 * max(1, bottom.max(initial=0))))
    ax.legend(frameon=False)
    return ax


def plot_sizes(tracks: Tracks, ax: Axes) -> Axes:
    """How radii are distributed in each frame: the number at each radius, and the 10, 50 and 90 % quantiles."""
    table = tracks.droplets
    time = _times(tracks)
    radius = table["radius"].to_numpy(float)
    frames = np.unique(time)
    edges = _edges(frames)
    bins = np.linspace(0, np.quantile(radius, 0.995) * 1.05, BINS + 1)
    count = np.histogram2d(time, radius, bins=[edges, bins])[0]
    ax.pcolormesh(edges, bins, count.T, cmap="Blues", rasterized=True)
    quantiles = np.array([np.quantile(radius[time == t], LEVELS) for t in frames])
    for k, level in enumerate(LEVELS):
        ax.plot(frames, quantiles[:, k], color="#222222", lw=1.5 if level == 0.5 else 0.8)
    ax.set(xlabel=_time_label(tracks), ylabel="radius (px)", title="Sizes (10, 50, 90 %)")
    return ax


def plot_number(tracks: Tracks, ax: Axes) -> Axes:
    """Droplets in each frame."""
    time = _times(tracks)
    frames, count = np.unique(time, return_counts=True)
    ax.plot(frames, count, color="#1f6f8b")
    ax.set(xlabel=_time_label(tracks), ylabel="droplets", title="Number", ylim=(0, None))
    return ax


def overview(tracks: Tracks) -> Figure:
    """All plots on one slide. Matplotlib's object interface only: safe in any thread, leaves no global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots(2, 3)
    plot_radius(tracks, axes[0, 0])
    plot_composition(tracks, axes[0, 1])
    plot_sizes(tracks, axes[0, 2])
    plot_survival(tracks, axes[1, 0])
    plot_events(tracks, axes[1, 1])
    plot_number(tracks, axes[1, 2])
    figure.suptitle(
        f"{len(tracks)} tracks, {len(tracks.merges)} merges, {len(tracks.splits)} splits "
        f"in {tracks.droplets['frame'].nunique()} frames"
    )
    return figure


def _lines(tracks: Tracks, ax: Axes, column: str, most: int) -> None:
    from matplotlib.collections import LineCollection

    table, time = tracks.droplets, _times(tracks)
    length = table["track_id"].value_counts()
    chosen = length.index[:most]
    order = np.lexsort((time, table["track_id"].to_numpy()))
    rows = order[table["track_id"].isin(chosen).to_numpy()[order]]
    ids = table["track_id"].to_numpy()[rows]
    parts = np.split(rows, np.flatnonzero(np.diff(ids)) + 1) if len(rows) else []
    values = table[column].to_numpy(float)
    colors = readable(droplet_colors(Droplets.from_dataframe(table))[:, :3], ground=1.0)
    ax.add_collection(
        LineCollection(
            [np.column_stack([time[p], values[p]]) for p in parts],
            colors=[colors[p[0]] for p in parts],
            lw=0.8,
            alpha=0.7,
        )
    )
    ax.autoscale()
    ax.set_ylim(0, None)
    if len(length) > most:
        ax.text(0.99, 0.98, f"the {most} longest of {len(length)}", transform=ax.transAxes, ha="right", va="top")


def _nothing(ax: Axes, text: str) -> None:
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")


def _edges(values: np.ndarray) -> np.ndarray:
    if len(values) == 1:
        return np.array([values[0] - 0.5, values[0] + 0.5])
    middle = (values[1:] + values[:-1]) / 2
    return np.r_[2 * values[0] - middle[0], middle, 2 * values[-1] - middle[-1]]


def _times(tracks: Tracks) -> np.ndarray:
    table = tracks.droplets
    return table["time_s" if "time_s" in table else "frame"].to_numpy(float)


def _unit(tracks: Tracks) -> str:
    return "s" if "time_s" in tracks.droplets else "frames"


def _time_label(tracks: Tracks) -> str:
    return "time (s)" if "time_s" in tracks.droplets else "frame"


PLOTS: dict[str, Any] = {
    "radius": plot_radius,
    "composition": plot_composition,
    "survival": plot_survival,
    "events": plot_events,
    "event_rate": plot_event_rate,
    "sizes": plot_sizes,
    "number": plot_number,
}
