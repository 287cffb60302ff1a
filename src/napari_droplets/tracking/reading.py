"""Tracks read again from the tables that `Tracks.save` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .events import Event
from .frames import table_of
from .tracks import TABLE_FILES, Tracks


def has_tracks(folder: str | Path) -> bool:
    """Whether a folder holds the tables of a movie."""
    return all((Path(folder) / name).is_file() for name in TABLE_FILES)


def read_tracks(folder: str | Path) -> Tracks:
    """Read the tracks of a movie: droplets.csv, tracks.csv and events.csv of a folder of `track`.

    Parameters
    ----------
    folder : path

    Returns
    -------
    Tracks
        With the tables as they are in the files.

    Raises
    ------
    InputError
        The tables are not there, or are not those of tracks.

    Examples
    --------
    >>> import napari_droplets as nd, tempfile
    >>> movie = nd.simulate_movie((96, 128), 20, frames=5, seed=2, pictures=False)
    >>> found = nd.track(movie.droplets[["frame", "x", "y", "radius"]])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     again = nd.read_tracks(found.save(folder))
    >>> len(again) == len(found)
    True
    """
    folder = Path(folder)
    if not has_tracks(folder):
        raise InputError(f"{folder}: no {', '.join(TABLE_FILES)}; give a folder that `track` wrote")
    try:
        droplets, tracks, events = (pd.read_csv(folder / name) for name in TABLE_FILES)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: tables cannot be read ({error})") from error
    wanted = {"x", "y", "radius", "frame", "track_id"}
    if missing := sorted(wanted - set(droplets)):
        raise InputError(f"{folder / TABLE_FILES[0]}: no column {', '.join(missing)}")
    droplets = table_of(droplets)
    summary = _summary(folder)
    shape = summary.get("shape")
    options = {
        "shape": tuple(shape) if shape else None,
        "max_gap": summary.get("max_gap", 2),
        "geometry": summary.get("geometry", "sphere"),
        "interval_s": summary.get("interval_s"),
    }
    ids, frame = droplets["track_id"].to_numpy(), droplets["frame"].to_numpy()
    order = np.lexsort((frame, ids))
    same = ids[order[1:]] == ids[order[:-1]]
    links = np.column_stack([order[:-1][same], order[1:][same]])
    merges, splits = _events(events, ids[order], order)
    found = Tracks(droplets, links, merges, splits, options)
    found.__dict__["tracks"], found.__dict__["events"] = tracks, _parents_as_text(events)
    return found


def _events(events: pd.DataFrame, ids: np.ndarray, order: np.ndarray) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """Merges and splits by rows: the last ones of parents, the first ones of what came of them."""
    first = {int(i): int(order[k]) for k, i in reversed(list(enumerate(ids)))}
    last = {int(i): int(order[k]) for k, i in enumerate(ids)}
    merges: list[Event] = []
    splits: dict[int, list[tuple[int, pd.Series]]] = {}
    for _, row in events.iterrows():
        child = first.get(int(row["track_id"]))
        parents = [last[int(p)] for p in str(row["parent_ids"]).split() if int(p) in last]
        if child is None or not parents:
            continue
        if row["kind"] == "merge":
            merges.append(_event(child, tuple(parents), row, "p_merge"))
        else:
            splits.setdefault(parents[0], []).append((child, row))
    found = [_event(one, tuple(c for c, _ in several), several[0][1], "p_split") for one, several in splits.items()]
    return tuple(merges), tuple(found)


def _event(one: int, several: tuple[int, ...], row: pd.Series, p: str) -> Event:
    names = ("volume_residual", "volume_residual_sd", "composition_residual", "composition_residual_sd")
    return Event(one, several, -1, float(row[p]), *(float(row.get(name, np.nan)) for name in names))


def _parents_as_text(events: pd.DataFrame) -> pd.DataFrame:
    return events.assign(parent_ids=events["parent_ids"].astype(str))


def _summary(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
