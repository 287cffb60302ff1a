"""A sheet whose droplets are followed through a movie: its tracks, and corrections of them as steps of its journal.

The sheet is all there is: links follow from the column `track_id`, merges and splits are its `ties`. After an edit
(`pending`) the frames that it touched are linked anew, which `take` adds to the journal as what follows from the edit:
undo takes both back. `relinked` may run in another thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...errors import InputError
from ...tracking.editing import cut_link, relink, set_link, set_merge
from ...tracking.events import Event
from ...tracking.tracks import Tracks
from ..journal import TYING, Step
from ..rows import NUMBER, changed_rows, numbered
from ..sheet import OF_TRACKS, PLACE, Sheet
from .ties import OPTIONS, Tie, Ties

RESIDUALS = ("volume_residual", "volume_residual_sd", "composition_residual", "composition_residual_sd")


class Edited(NamedTuple):
    """A movie in which frames were edited and not yet linked anew."""

    before: pd.DataFrame
    now: pd.DataFrame
    ties: Ties
    last: Step


class Found(NamedTuple):
    """A movie as it is linked."""

    table: pd.DataFrame
    """Its droplets by number."""
    ties: Ties


def is_followed(sheet: Sheet | None) -> bool:
    """Whether the droplets of a sheet have tracks."""
    return sheet is not None and sheet.ties is not None and not sheet.running


def follow(sheet: Sheet, tracks: Tracks) -> None:
    """Take what tracking has found of the droplets of a sheet, whose rows are in the same order."""
    table = tracks.droplets.set_axis(sheet.table.index, axis=0).assign(**{NUMBER: sheet.table.index})
    found = found_of(sheet.table, replace(tracks, droplets=table))
    sheet.tie(found.table, found.ties, "relink")


def tracks_of(table: pd.DataFrame, ties: Ties) -> Tracks:
    """The tracks of a movie; its droplets have a column `droplet` with their numbers."""
    table = table.rename_axis(None).assign(**{NUMBER: table.index})
    table = table.sort_values("frame", kind="stable", ignore_index=True)
    ids = pd.to_numeric(table["track_id"], errors="coerce").to_numpy(float)
    unknown = ~np.isfinite(ids)
    ids[unknown] = np.nanmax(ids, initial=-1) + 1 + np.arange(unknown.sum())
    table["track_id"] = ids.astype(int)
    table["frame"] = table["frame"].astype(int)
    order = np.lexsort((np.arange(len(table)), ids))
    same = ids[order[1:]] == ids[order[:-1]]
    links = np.column_stack([order[:-1][same], order[1:][same]])
    row_of = dict(zip(table[NUMBER].tolist(), range(len(table)), strict=True))
    known = [t for t in sorted(ties.all, key=str) if {t.one, *t.several} <= set(row_of)]
    events: dict[str, list[Event]] = {"merge": [], "split": []}
    fixed: dict[str, list[tuple[int, int]]] = {"linked": [], "cut": []}
    for tie in known:
        one, several = row_of[tie.one], tuple(row_of[n] for n in tie.several)
        if tie.kind in fixed:
            fixed[tie.kind].append((one, several[0]))
        else:
            continued = -1 if tie.continued is None else row_of.get(tie.continued, -1)
            numbers = [np.nan if v is None else v for v in (tie.p, *(getattr(tie, name) for name in RESIDUALS))]
            events[tie.kind].append(Event(one, several, continued, *numbers))
    return Tracks(
        table,
        links,
        tuple(events["merge"]),
        tuple(events["split"]),
        dict(ties.options),
        {name: tuple(pairs) for name, pairs in fixed.items()},
    )


def found_of(table: pd.DataFrame, tracks: Tracks) -> Found:
    """A table with the track numbers of its droplets, and what ties them."""
    told = numbered(tracks.droplets, tracks.droplets[NUMBER])
    columns = [c for c in OF_TRACKS if c in told]
    number = told.index.to_numpy()
    ties = {
        Tie(
            kind,
            int(number[e.one]),
            tuple(int(n) for n in number[list(e.several)]),
            int(number[e.continued]) if e.continued >= 0 else None,
            *(None if np.isnan(v) else float(v) for v in (e.p, *(getattr(e, name) for name in RESIDUALS))),
        )
        for kind, events in (("merge", tracks.merges), ("split", tracks.splits))
        for e in events
    }
    ties |= {Tie(kind, int(number[a]), (int(number[b]),)) for kind, pairs in tracks.fixed.items() for a, b in pairs}
    options = {name: tracks.options.get(name) for name in OPTIONS}
    new = table.assign(**{c: told[c].reindex(table.index) for c in columns})
    return Found(new, Ties(options, frozenset(ties)))


# edits of droplets


def pending(sheet: Sheet) -> Edited | None:
    """What was edited since the droplets were linked last; None where nothing was."""
    if not is_followed(sheet):
        return None
    assert sheet.ties is not None
    before, edited = sheet.table, None
    for step in reversed(list(sheet.journal)):
        if step.kind in TYING:
            break
        edited = edited or step
        before = step.back(before)
    if edited is None or not len(_touched(before, sheet.table)):
        return None
    return Edited(before, sheet.table, sheet.ties, edited)


def relinked(edited: Edited) -> Found:
    """Link the frames that were edited; all other tracks stay as they are."""
    tracks = tracks_of(edited.before, edited.ties)
    touched = _touched(edited.before, edited.now)
    frames: set[int] = set()
    for table in (edited.before, edited.now):
        frames |= set(table["frame"].loc[table.index.intersection(touched)].astype(int))
    now = _compositions_filled(edited.now, edited.before)
    for frame in sorted(frames):
        given = now[now["frame"] == frame]
        given = given.rename_axis(None).assign(**{NUMBER: given.index}).reset_index(drop=True)
        old = tracks.droplets[NUMBER][tracks.droplets["frame"] == frame]
        tracks = relink(tracks, frame, given, same=pd.Index(old).get_indexer(given[NUMBER]))
    return found_of(edited.now, tracks)


def take(sheet: Sheet, edited: Edited, found: Found) -> bool:
    """Take over new links; False where the droplets have changed since."""
    if sheet.table is not edited.now or sheet.ties != edited.ties:
        return False
    sheet.tie(found.table, found.ties, "relink")
    return True


def catch_up(sheet: Sheet) -> None:
    """Link what was edited, at once."""
    edited = pending(sheet)
    if edited is not None:
        take(sheet, edited, relinked(edited))


# corrections of links


def link(sheet: Sheet, one: int, other: int) -> None:
    """Say that two droplets of different frames are the same one.

    Raises
    ------
    InputError
        They are of the same frame, or droplets are not followed.
    """
    _corrected(sheet, [one, other], "link", lambda tracks, rows: set_link(tracks, *rows))


def cut(sheet: Sheet, one: int, other: int | None = None) -> None:
    """Say that two droplets are not the same one, or that one of them did not merge into or come of the other.

    With one droplet alone its track begins anew there.

    Raises
    ------
    InputError
        They are not linked, or droplets are not followed.
    """
    if other is None:
        tracks = _tracks(sheet)
        row = int(np.flatnonzero(tracks.droplets[NUMBER] == one)[0])
        before = tracks.links[tracks.links[:, 1] == row, 0]
        if not len(before):
            raise InputError("cut: the track of this droplet begins here already")
        other = int(tracks.droplets[NUMBER].iloc[before[0]])
    _corrected(sheet, [one, other], "cut", lambda tracks, rows: cut_link(tracks, *rows))


def join(sheet: Sheet, numbers: Iterable[int]) -> None:
    """Say that droplets merge: the one of the latest frame is what the others become.

    Raises
    ------
    InputError
        Fewer than three, several of the latest frame, or droplets are not followed.
    """
    _corrected(sheet, list(numbers), "event", lambda tracks, rows: set_merge(tracks, rows[:-1], rows[-1]))


def _corrected(sheet: Sheet, numbers: list[int], kind: str, change: Callable[[Tracks, list[int]], Tracks]) -> None:
    tracks = _tracks(sheet)
    rows = [int(r) for r in np.flatnonzero(tracks.droplets[NUMBER].isin(numbers))]  # in the order of frames
    frames = tracks.droplets["frame"].iloc[rows].tolist()
    if len(rows) < 2 or (kind != "event" and len(rows) != 2):
        raise InputError(f"{kind}: select two droplets of different frames")
    if frames[-1] == frames[-2]:
        raise InputError(f"{kind}: both droplets are in frame {frames[-1]}; select one of each of two frames")
    found = found_of(sheet.table, change(tracks, rows))
    sheet.tie(found.table, found.ties, kind)


def _tracks(sheet: Sheet) -> Tracks:
    if not is_followed(sheet):
        raise InputError("the droplets are not followed yet: press Follow first")
    catch_up(sheet)
    assert sheet.ties is not None
    return tracks_of(sheet.table, sheet.ties)


def saved_tracks(sheet: Sheet) -> Tracks:
    """The tracks of a sheet as they are written to files.

    Raises
    ------
    InputError
        Its droplets are not followed.
    """
    tracks = _tracks(sheet)
    return replace(tracks, droplets=tracks.droplets.drop(columns=NUMBER))


def _touched(before: pd.DataFrame, now: pd.DataFrame) -> pd.Index:
    columns = [*PLACE, "frame"]
    return changed_rows(before[columns], now[columns]).union(before.index.symmetric_difference(now.index))


def _compositions_filled(now: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """What was edited has no composition until it is fitted; for linking it has the one it had, or that of most.

    Were it left open, compositions would help to tell no droplets apart.
    """
    filled: dict[str, Any] = {}
    for column in now:
        if str(column).startswith("composition_") and now[column].isna().any() and column in before:
            filled[str(column)] = now[column].fillna(before[column]).fillna(before[column].median())
    return now.assign(**filled)
