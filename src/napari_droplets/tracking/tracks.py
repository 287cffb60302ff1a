"""Tracks: the droplets of a movie with their identities, a table of tracks, and a table of events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..droplets import Droplets
from ..errors import InputError
from ..storage.atomic import writable_folder, write_whole
from .events import Event
from .paths import track_numbers

EVENT_COLUMNS = [
    "frame",
    "kind",
    "track_id",
    "parent_ids",
    "p_merge",
    "p_split",
    "volume_residual",
    "volume_residual_sd",
    "composition_residual",
    "composition_residual_sd",
]
TABLE_FILES = ("droplets.csv", "tracks.csv", "events.csv")


@dataclass(frozen=True)
class Tracks:
    """What `track` found.

    Attributes
    ----------
    droplets : DataFrame
        All droplets of all frames, one row each, with `frame`, `time_s` where times are known, and `track_id`.
    links : ndarray
        (L, 2) rows of `droplets`: a droplet, and the same one in the next frame in which it is seen.
    merges, splits : tuple of Event
        By rows of `droplets`.
    options : dict
        What `track` was called with: shape, max_gap, exponent, interval_s.
    fixed : dict
        Links set and cut by hand, by rows: they stay when frames are linked anew.
    """

    droplets: pd.DataFrame
    links: np.ndarray
    merges: tuple[Event, ...] = ()
    splits: tuple[Event, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    fixed: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        """Number of tracks."""
        return int(self.droplets["track_id"].nunique())

    def __repr__(self) -> str:
        what = f"{len(self)} of {len(self.droplets)} droplets in {self.droplets['frame'].nunique()} frames"
        return f"Tracks({what}, {len(self.merges)} merges, {len(self.splits)} splits)"

    @property
    def table(self) -> pd.DataFrame:
        """The droplets, as of a `Fit`."""
        return self.droplets

    @cached_property
    def events(self) -> pd.DataFrame:
        """Merges and splits, a row for each droplet that came of one, in the order of time.

        `frame` in which it is first there, `kind` (merge or split), its `track_id`, `parent_ids` separated by spaces,
        `p_merge` (of merges) and `p_split`, the relative residual of the volume with its standard deviation, and the
        residual of the component of the composition that fits worst, with its own.
        """
        ids, frames = self.droplets["track_id"].to_numpy(), self.droplets["frame"].to_numpy()
        rows: list[dict[str, Any]] = []
        for kind, events in (("merge", self.merges), ("split", self.splits)):
            for e in events:
                after = (e.one,) if kind == "merge" else e.several
                parents = e.several if kind == "merge" else (e.one,)
                for row in after:
                    rows.append(
                        {
                            "frame": frames[row],
                            "kind": kind,
                            "track_id": ids[row],
                            "parent_ids": " ".join(str(i) for i in sorted(ids[list(parents)])),
                            f"p_{kind}": e.p,
                            "volume_residual": e.volume_residual,
                            "volume_residual_sd": e.volume_residual_sd,
                            "composition_residual": e.composition_residual,
                            "composition_residual_sd": e.composition_residual_sd,
                        }
                    )
        table = pd.DataFrame(rows, columns=EVENT_COLUMNS).sort_values(["frame", "kind", "track_id"], ignore_index=True)
        if not len(table) or table["composition_residual"].isna().all():
            table = table.drop(columns=["composition_residual", "composition_residual_sd"])
        return table

    @cached_property
    def tracks(self) -> pd.DataFrame:
        """A row for each track: first and last frame, size, rates with 95 % intervals, how it began and ended."""
        from .rates import track_table

        return track_table(self)

    def graph(self) -> dict[int, list[int]]:
        """Parents of each track that came of others, as a Tracks layer of napari takes them."""
        found: dict[int, list[int]] = {}
        for child, parents in zip(self.events["track_id"], self.events["parent_ids"], strict=True):
            found.setdefault(int(child), []).extend(int(p) for p in parents.split())
        return found

    def save(self, folder: str | Path, *, exports: Iterable[str] = ()) -> Path:
        """Write droplets.csv, tracks.csv and events.csv, each whole or not at all.

        Parameters
        ----------
        folder : path
        exports : iterable of str
            What is written besides: 'geff' (tracks.geff), 'trackmate' (tracks.xml), 'plots' (tracks.png).

        Raises
        ------
        InputError
            The folder cannot be written to, or an export needs a library that is not installed.
        """
        from .export import EXPORTS, export

        exports = tuple(exports)
        if unknown := sorted(set(exports) - set(EXPORTS)):
            raise InputError(f"exports: {', '.join(unknown)}: there are {', '.join(EXPORTS)}")
        folder = writable_folder(folder)
        for name, table in zip(TABLE_FILES, (self.droplets, self.tracks, self.events), strict=True):
            write_whole(folder / name, partial(table.to_csv, index=False))
        for kind in exports:
            export(self, folder / EXPORTS[kind])
        return folder

    def frame(self, number: int) -> Droplets:
        """The droplets of a frame.

        Raises
        ------
        InputError
            It has none.
        """
        part = self.droplets[self.droplets["frame"] == number]
        if not len(part):
            raise InputError(f"frame {number}: no droplets in it; there are {_ranges(self.droplets['frame'])}")
        return Droplets.from_dataframe(part.reset_index(drop=True))

    def track(self, track_id: int) -> pd.DataFrame:
        """The droplets of a track, in the order of time.

        Raises
        ------
        InputError
            There is no such track.
        """
        part = self.droplets[self.droplets["track_id"] == track_id]
        if not len(part):
            raise InputError(f"track_id={track_id}: no such track; there are {len(self)}, see `.tracks`")
        return part.sort_values("frame")


def with_ids(tracks: Tracks, before: np.ndarray | None = None) -> Tracks:
    """The same with `track_id` by its links; tracks keep the ids that their droplets had before (-1 for none)."""
    table = tracks.droplets.drop(columns="track_id", errors="ignore")
    n = len(table)
    frame = table["frame"].to_numpy()
    number = track_numbers(n, tracks.links)
    order = np.lexsort((np.arange(n), frame))
    firsts = pd.Series(order).groupby(number[order], sort=False).first()  # of each track its first row
    ids = pd.Series(-1, index=firsts.index)
    if before is not None:
        # the id that most of a track's droplets had, the longest tracks first
        known = pd.DataFrame({"track": number, "id": before})
        votes = known[known["id"] >= 0].groupby(["track", "id"]).size().sort_values(ascending=False, kind="stable")
        taken: set[int] = set()
        for track, old in votes.index:
            if ids[track] < 0 and old not in taken:
                ids[track] = old
                taken.add(old)
    fresh = 0 if before is None or not len(before) else int(before.max()) + 1
    unnamed = ids < 0
    ids[unnamed] = np.arange(fresh, fresh + int(unnamed.sum()))
    place = 1 + list(table.columns).index("time_s" if "time_s" in table else "frame")
    table.insert(place, "track_id", ids.reindex(number).to_numpy())
    return replace(tracks, droplets=table)


def _ranges(frames: pd.Series) -> str:
    return f"{frames.min()} to {frames.max()}"
