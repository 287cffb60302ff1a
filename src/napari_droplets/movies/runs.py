"""A movie or a table in, a folder of results out; what was found stays when a run is stopped or fails."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import __version__
from ..errors import InputError
from ..images import IMAGE_SUFFIXES
from ..images.readers.formats import is_zarr
from ..results.files import save_summary, writable_folder
from ..tracking.api import track
from ..tracking.events import GEOMETRIES, Event
from ..tracking.frames import frames_of
from ..tracking.paths import Paths, inserted
from ..tracking.tracks import Tracks, with_ids
from .carry import SURE, filled, flashes
from .movie import FrameResult, MovieFit, Watch, fit_frames
from .store import FrameStore, record_of, sources

TABLES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx")
MISSED = 0.02
"""Probability that a droplet is not there in a frame, although it is in the ones before and after."""


@dataclass(frozen=True)
class Plan:
    """How droplets are followed."""

    interval_s: float | None = None
    geometry: str = "sphere"
    max_gap: int = 2
    shape: tuple[int, int] | None = None
    exports: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """As `track` takes them."""
        return {k: getattr(self, k) for k in ("interval_s", "geometry", "max_gap", "shape")}


@dataclass
class MovieOutcome:
    """What became of a movie or a table."""

    folder: Path
    tracks: Tracks | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    unreadable: dict[int, Exception] = field(default_factory=dict)


def is_table(path: str | Path) -> bool:
    """Whether a file is a table by its name."""
    return Path(path).suffix.lower() in TABLES


def stem_of(path: str | Path) -> str:
    """Name of the result folder of a movie or table."""
    path = Path(path)
    whole = path.is_dir() and not is_zarr(path)
    name = path.resolve().name if whole else Path(str(path).split("*")[0]).stem
    return name.removesuffix(".ome") or "movie"


def track_table_file(path: Path, folder: Path, plan: Plan) -> MovieOutcome:
    """Follow the droplets of a table, and write the results.

    Raises
    ------
    InputError
        It cannot be read or used.
    """
    from ..tables import read_frame

    began = time.perf_counter()
    table = read_frame(path).drop(columns="track_id", errors="ignore")
    try:
        tracks = track(table, **plan.options())
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    summary = summary_of(tracks, time.perf_counter() - began) | {"table": str(path)}
    write_results(tracks, folder, summary, plan.exports)
    return MovieOutcome(folder, tracks, summary)


def track_movie(
    state: MovieFit,
    folder: Path,
    plan: Plan,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    seen: Callable[[FrameResult], None] | None = None,
) -> MovieOutcome:
    """Fit the frames of a movie, follow its droplets, and write the results.

    Each frame's droplets are kept in `folder`/frames as soon as they are found: with `resume` a run goes on from there.

    Parameters
    ----------
    state : MovieFit
    folder : Path
    plan : Plan
    resume : bool
    watch : callable, optional
        Sees the progress, and may stop it: what was found by then is tracked and written.
    seen : callable, optional
        Told of each frame that is done.

    Raises
    ------
    InputError
        No frame could be used, or the folder cannot be written to.
    """
    began = time.perf_counter()
    linker()
    store = FrameStore(writable_folder(folder), record_of(state, sources(state.footage.path)))
    (folder / "summary.json").unlink(missing_ok=True)  # a folder that has it is complete
    if not (resume and store.matches()):
        store.clear()
    for result in fit_frames(state, watch, store):
        if seen is not None:
            seen(result)
    if not state.tables:
        if state.stopped:
            return MovieOutcome(folder, None, {"stopped": "cancelled"})
        number, error = next(iter(state.errors.items()))
        raise InputError(f"{state.footage.name}: no frame could be used; frame {number}: {error}") from error
    tracks, summary = tracked(state, plan, time.perf_counter() - began)
    write_results(tracks, folder, summary, plan.exports)
    return MovieOutcome(folder, tracks, summary, dict(state.errors))


def tracked(state: MovieFit, plan: Plan, seconds: float = 0.0) -> tuple[Tracks, dict[str, Any]]:
    """Follow the droplets of all frames so far; the tracks, and what is said of the run.

    Raises
    ------
    InputError
        No droplet is sure enough.
    """
    shape = plan.shape or _shape(state)
    interval = plan.interval_s or state.footage.interval_s
    tracks = decided(state.table(), replace(plan, shape=shape, interval_s=interval), state.settings.min_probability)
    summary = summary_of(tracks, seconds)
    return tracks, summary | {
        "settings": json.loads(json.dumps(vars(state.settings))),
        "movie": state.footage.path,
        "frames": len(state.footage),
        "interval_s": interval,
        "unreadable": {str(n): str(e) for n, e in state.errors.items()},
        "stopped": "cancelled" if state.stopped else None,
    }


def linker() -> None:
    """See that LapTrack is there before hours of work depend on it; it is loaded while optics are learned."""
    if find_spec("laptrack") is None:
        raise InputError("track: needs LapTrack; pip install 'napari-droplets[tracking]'")
    threading.Thread(target=import_module, args=("laptrack",), daemon=True).start()


def decided(table: pd.DataFrame, plan: Plan, least: float = SURE) -> Tracks:
    """Follow the sure droplets; of the unsure ones those join that fill a gap, and brief ones that are unsure leave.

    Parameters
    ----------
    table : DataFrame
        Droplets of all frames, with p_present.
    plan : Plan
    least : float
        Droplets at least so probable are sure.
    """
    p = table["p_present"].to_numpy(float) if "p_present" in table else np.ones(len(table))
    sure, unsure = table[p >= least].reset_index(drop=True), table[p < least].reset_index(drop=True)
    if not len(sure):
        raise InputError("no droplet is sure enough to be followed; use a lower min_probability")
    tracks = track(sure, **plan.options())
    tracks = _without(tracks, flashes(tracks.droplets, tracks.droplets["track_id"].to_numpy(), _in_events(tracks)))
    if len(unsure):
        tracks = _filled(tracks, unsure, plan)
    return tracks


def _filled(tracks: Tracks, unsure: pd.DataFrame, plan: Plan) -> Tracks:
    from ..tracking.motion import learn_motion

    frames = frames_of(tracks.droplets, plan.shape)
    if len(frames.frames) < 3:
        return tracks
    paths = Paths.of(frames, learn_motion(frames), tracks.links)
    rows = filled(tracks.droplets, unsure, paths, plan.max_gap)
    if not len(rows):
        return tracks
    more = unsure.loc[rows].copy()
    p = more["p_present"].to_numpy(float)
    more["p_present"] = p * (1 - MISSED) / (p * (1 - MISSED) + (1 - p) * MISSED)
    if "time_s" in tracks.droplets:
        by_frame = tracks.droplets.drop_duplicates("frame").set_index("frame")["time_s"]
        more["time_s"] = more["frame"].map(by_frame)
    joined = pd.concat([tracks.droplets, more.assign(track_id=-1)], ignore_index=True)
    frame = joined["frame"].to_numpy()
    place, radius = joined[["x", "y"]].to_numpy(float), joined["radius"].to_numpy(float)
    links = inserted(tracks.links, frame, place, radius, np.arange(len(tracks.droplets), len(joined)))
    whole = replace(tracks, droplets=joined, links=links)
    lone = (np.arange(len(joined)) >= len(tracks.droplets)) & ~np.isin(np.arange(len(joined)), links)
    return _without(whole, lone)


def _in_events(tracks: Tracks) -> set[int]:
    return {row for e in (*tracks.merges, *tracks.splits) for row in (e.one, *e.several)}


def _without(tracks: Tracks, gone: np.ndarray) -> Tracks:
    """The tracks without some rows, in the order of frames, numbered anew."""
    frame = tracks.droplets["frame"].to_numpy()
    order = np.argsort(frame, kind="stable")
    order = order[~gone[order]]
    place = np.full(len(frame), -1)
    place[order] = np.arange(len(order))

    def moved(events: Sequence[Event]) -> tuple[Event, ...]:
        return tuple(
            replace(
                e,
                one=int(place[e.one]),
                several=tuple(int(place[r]) for r in e.several),
                continued=int(place[e.continued]) if e.continued >= 0 else -1,
            )
            for e in events
        )

    links = place[tracks.links]
    table = tracks.droplets.iloc[order].reset_index(drop=True)
    kept = replace(
        tracks,
        droplets=table,
        links=links[(links >= 0).all(1)],
        merges=moved(tracks.merges),
        splits=moved(tracks.splits),
    )
    return with_ids(kept)


def summary_of(tracks: Tracks, seconds: float = 0.0) -> dict[str, Any]:
    """What `summary.json` says of tracks."""
    geometry = tracks.options.get("geometry", "sphere")
    return {
        "n_droplets": len(tracks.droplets),
        "n_tracks": len(tracks),
        "n_frames": int(tracks.droplets["frame"].nunique()),
        "n_merges": len(tracks.merges),
        "n_splits": len(tracks.splits),
        "time_unit": "s" if "time_s" in tracks.droplets else "frame",
        "shape": tracks.options.get("shape"),
        "geometry": geometry,
        "exponent": GEOMETRIES[geometry],
        "max_gap": tracks.options.get("max_gap"),
        "seconds": {"total": round(seconds, 3)},
        "version": __version__,
    }


def write_results(tracks: Tracks, folder: Path, summary: dict[str, Any], exports: Sequence[str] = ()) -> None:
    """Write droplets.csv, tracks.csv, events.csv and, last, summary.json: a folder that has it is complete.

    Raises
    ------
    InputError
        The folder cannot be written to.
    """
    tracks.save(folder, exports=exports)
    save_summary(summary, folder / "summary.json")


def _shape(state: MovieFit) -> tuple[int, int] | None:
    if state.carried is not None:
        return state.carried.shape
    for number in state.footage.numbers:
        try:
            return state.footage.load(number).shape[:2]
        except Exception:
            continue
    return None


def is_movie(path: str | Path) -> bool:
    """Whether a path is a stack, a folder or a pattern of images, by its name."""
    one = Path(path)
    return one.is_dir() or one.suffix.lower() in IMAGE_SUFFIXES or "*" in str(path)
