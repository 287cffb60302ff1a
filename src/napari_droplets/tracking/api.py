"""Tables of droplets in, tracks and events out: what `track` does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .events import GEOMETRIES, Event, merges
from .frames import Frames, Tables, frames_of
from .linking import link
from .motion import Motion, learn_motion
from .paths import Paths
from .tracks import Tracks, with_ids


def track(
    tables: Tables,
    *,
    shape: tuple[int, int] | None = None,
    max_gap: int = 2,
    geometry: str = "sphere",
    interval_s: float | None = None,
    times_s: Sequence[float] | None = None,
) -> Tracks:
    """Follow droplets through the frames of a movie: which is which, which merge, which split.

    Droplets are linked by position, radius and composition, each in units of its error; what all do together (a drift,
    a flow, evaporation), how far each moves on its own, and how often droplets are missed, is learned from the movie.
    Where droplets may have merged, their volume and composition say how probable that is.

    Parameters
    ----------
    tables : DataFrame, or list of DataFrame, Droplets or Fit
        A table with a column `frame`, or one for each frame. Needed are x, y, radius in pixels; deviations (x_sd, y_sd,
        radius_sd) and compositions are used where they are there.
    shape : (int, int), optional
        Height and width of the images in pixels, where droplets enter and leave; by default what the droplets cover.
    max_gap : int
        Frames in which a droplet may be missed and still be the same.
    geometry : {'sphere', 'cap', 'disc'}
        How volume goes with the radius: 'disc' for droplets pressed flat in a channel, r²; else r³.
    interval_s : float, optional
        Seconds from frame to frame, where the tables do not say `time_s`.
    times_s : sequence of float, optional
        Instead, the time of each frame in seconds, by its number.

    Returns
    -------
    Tracks

    Raises
    ------
    InputError
        No droplets, frames or columns that cannot be used, or LapTrack is not installed.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> movie = nd.simulate_movie((96, 128), 20, frames=5, seed=2, pictures=False)
    >>> found = nd.track(movie.droplets[["frame", "x", "y", "radius"]])
    >>> len(found) == movie.droplets["track_id"].nunique()
    True
    """
    if geometry not in GEOMETRIES:
        raise InputError(f"geometry={geometry!r}: must be {', '.join(map(repr, GEOMETRIES))}")
    if isinstance(max_gap, bool) or not isinstance(max_gap, (int, np.integer)) or max_gap < 0:
        raise InputError(f"max_gap={max_gap!r}: must be a whole number of frames, 0 or more")
    frames = frames_of(tables, shape)
    options: dict[str, Any] = {"shape": shape, "max_gap": int(max_gap), "geometry": geometry}
    options |= {"interval_s": interval_s, "times_s": None if times_s is None else [float(t) for t in times_s]}
    links, merged, split = solve(frames, int(max_gap), GEOMETRIES[geometry])
    table = with_times(frames.table, interval_s, times_s)
    return with_ids(Tracks(table, links, tuple(merged), tuple(split), options))


def solve(frames: Frames, max_gap: int, exponent: float) -> tuple[np.ndarray, list[Event], list[Event]]:
    """Links, merges and splits of a movie; what merged or split is not linked on."""
    if len(frames.frames) < 2:
        return np.zeros((0, 2), int), [], []
    motion = learn_motion(frames)
    links = link(frames, motion, max_gap)
    return judged(frames, motion, links, max_gap, exponent)


def judged(
    frames: Frames, motion: Motion, links: np.ndarray, max_gap: int, exponent: float
) -> tuple[np.ndarray, list[Event], list[Event]]:
    """Events that the links leave room for, and the links without those that run through events."""
    paths = Paths.of(frames, motion, links)
    over = paths.when[links[:, 1]] - paths.when[links[:, 0]] > 1
    missed = float((over.sum() + 1) / (len(links) + 50))
    merged = merges(paths, max_gap, exponent, missed)
    split = merges(paths.backward(), max_gap, exponent, missed, splitting=True)
    # a link cannot end in a merge and begin in a split at once: the more probable event counts
    claimed = {(e.continued, e.one): e for e in merged if e.continued >= 0}
    kept = []
    for e in split:
        rival = claimed.get((e.one, e.continued))
        if rival is not None and rival.p >= e.p:
            continue
        if rival is not None:
            merged.remove(rival)
        kept.append(e)
    through = {(e.continued, e.one) for e in merged} | {(e.one, e.continued) for e in kept}
    stays = [(int(a), int(b)) not in through for a, b in links]
    return links[np.array(stays, bool)], merged, kept


def with_times(table: pd.DataFrame, interval_s: float | None, times_s: Sequence[float] | None) -> pd.DataFrame:
    """The table with a column `time_s`, where times are known.

    Raises
    ------
    InputError
        An interval that is not positive, or no time for a frame.
    """
    rest = [c for c in table.columns if c not in ("frame", "time_s")]
    frame = table["frame"]
    if interval_s is not None:
        if not np.isfinite(interval_s) or interval_s <= 0:
            raise InputError(f"interval_s={interval_s!r}: must be a positive number of seconds")
        time = frame * float(interval_s)
    elif times_s is not None:
        known = np.asarray(times_s, float)
        if frame.min() < 0 or frame.max() >= len(known):
            raise InputError(f"times_s: {len(known)} times, but frames from {frame.min()} to {frame.max()}")
        if not (np.diff(known) > 0).all():
            raise InputError("times_s: must grow from frame to frame")
        time = pd.Series(known[frame], index=frame.index)
    elif "time_s" in table:
        time = table["time_s"]
    else:
        return table[["frame", *rest]]
    return table[rest].assign(frame=frame, time_s=time)[["frame", "time_s", *rest]]
