"""Tracks corrected by hand: links set and cut, merges told, a corrected frame linked anew; ids stay.

Everything returns new `Tracks`, so that what was before can be put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.optimize import linear_sum_assignment

from ..droplets import Droplets
from ..errors import InputError
from .api import judged
from .events import GEOMETRIES, Event
from .frames import frames_of
from .motion import learn_motion
from .paths import Paths, inserted
from .tracks import Tracks, with_ids

SAME = 1e-3
"""Pixels within which a position and a radius are unchanged; tables lose digits when written."""
MOVED = 1.0
"""A droplet given nearer than so many radii to one that is gone is that one, corrected."""
AROUND = 8
"""Frames on either side of a corrected one, besides the longest gap, that say how droplets move and are at events: more
than `paths.LOOK`."""
GATE = 4.0
"""Standard deviations within which an added droplet is linked to the end of a track."""
ALIKE = 0.35
"""Difference of log radii within which it is."""


def set_link(tracks: Tracks, earlier: int, later: int) -> Tracks:
    """Say that two rows of `droplets` are the same droplet; what they were linked to instead is cut.

    Raises
    ------
    InputError
        No such rows, or not one after the other.
    """
    _check(tracks, earlier, later)
    links = tracks.links[(tracks.links[:, 0] != earlier) & (tracks.links[:, 1] != later)]
    links = np.concatenate([links, [[earlier, later]]])
    merges, splits = _events_of(tracks, lambda e, kind: _ends(e, kind, earlier) or _begins(e, kind, later))
    fixed = _fixed(tracks, linked=(earlier, later), cut=None)
    return _renamed(replace(tracks, links=links, fixed=fixed, merges=merges, splits=splits), tracks)


def cut_link(tracks: Tracks, earlier: int, later: int) -> Tracks:
    """Say that two rows that are linked are two droplets, or that an event which joins them is none.

    Raises
    ------
    InputError
        No such rows, or they are neither linked nor joined.
    """
    _check(tracks, earlier, later)
    here = (tracks.links == (earlier, later)).all(1)
    merges, splits = _events_of(tracks, lambda e, kind: _ends(e, kind, earlier) and _begins(e, kind, later))
    if not here.any() and len(merges) + len(splits) == len(tracks.merges) + len(tracks.splits):
        raise InputError(f"cut: rows {earlier} and {later} are not linked")
    fixed = _fixed(tracks, linked=None, cut=(earlier, later))
    return _renamed(replace(tracks, links=tracks.links[~here], fixed=fixed, merges=merges, splits=splits), tracks)


def set_merge(tracks: Tracks, parents: Iterable[int], new: int) -> Tracks:
    """Say that droplets (rows of their last frames) merge into one (row of its first frame); its `p_merge` is 1.

    Raises
    ------
    InputError
        Fewer than two parents, no such rows, or the new droplet is not after all of them.
    """
    several = tuple(sorted({int(p) for p in parents}))
    if len(several) < 2:
        raise InputError("merge: give the rows of at least two droplets that merge")
    for row in several:
        _check(tracks, row, new)
    ended = np.isin(tracks.links[:, 0], several) | (tracks.links[:, 1] == new)
    merges, splits = _events_of(
        tracks, lambda e, kind: _begins(e, kind, new) or any(_ends(e, kind, row) for row in several)
    )
    table = tracks.droplets
    power = GEOMETRIES[tracks.options.get("geometry", "sphere")]
    whole, parts = table["radius"].iloc[new] ** power, (table["radius"].iloc[list(several)] ** power).sum()
    event = Event(new, several, -1, 1.0, float(whole / parts - 1), float("nan"), float("nan"), float("nan"))
    changed = replace(tracks, links=tracks.links[~ended], merges=(*merges, event), splits=splits)
    return _renamed(changed, tracks)


def relink(tracks: Tracks, frame: int, corrected: Droplets | pd.DataFrame, *, same: np.ndarray | None = None) -> Tracks:
    """Put the corrected droplets of a frame in place of those it had, and link what that touches.

    Droplets that are as they were keep links and ids; those that were moved or resized take the links they had;
    those that are new are linked to tracks that end before or begin after; where one was deleted, its track goes on if
    the gap is short enough. Events with droplets that changed are judged anew.

    Parameters
    ----------
    tracks : Tracks
    frame : int
    corrected : Droplets or DataFrame
        All droplets of the frame, in pixels.
    same : ndarray, optional
        (M,) which of the frame's droplets, by its place among them, each one given is; -1 for a new one. By default
        the nearest tell.

    Returns
    -------
    Tracks
        With rows in the order of frames.

    Raises
    ------
    InputError
        A table that cannot be used.
    """
    given = corrected.to_dataframe() if isinstance(corrected, Droplets) else corrected.reset_index(drop=True)
    Droplets.from_dataframe(given, name="corrected")
    table = tracks.droplets
    old = np.flatnonzero(table["frame"].to_numpy() == frame)
    same = _matches(table.iloc[old], given) if same is None else np.asarray(same, int)
    new_rows = given.drop(columns=["frame", "track_id", "time_s"], errors="ignore").assign(frame=frame)
    if "time_s" in table:
        new_rows["time_s"] = table["time_s"].iloc[old[0]] if len(old) else _time_of(tracks, frame)
    # the new row of each old one, -1 for none
    kept = np.setdiff1d(np.arange(len(table)), old)
    joined = pd.concat([table.iloc[kept], new_rows], ignore_index=True)[
        [*table.columns, *(c for c in new_rows if c not in table)]
    ]
    order = np.argsort(joined["frame"].to_numpy(), kind="stable")
    place = np.empty(len(order), int)
    place[order] = np.arange(len(order))
    moved = np.full(len(table), -1)
    moved[kept] = place[: len(kept)]
    inherited = same >= 0
    moved[old[same[inherited]]] = place[len(kept) + np.flatnonzero(inherited)]
    ids = np.full(len(joined), -1)
    ids[moved[moved >= 0]] = table["track_id"].to_numpy()[moved >= 0]
    joined = joined.iloc[order].reset_index(drop=True)
    added = place[len(kept) + np.flatnonzero(~inherited)]
    links = _bridged(tracks, moved, table["frame"].to_numpy())
    merges, splits = _carried(tracks.merges, moved), _carried(tracks.splits, moved)
    fixed = {
        name: tuple((int(moved[a]), int(moved[b])) for a, b in pairs if moved[a] >= 0 and moved[b] >= 0)
        for name, pairs in tracks.fixed.items()
    }
    changed = replace(tracks, droplets=joined, links=links, fixed=fixed, merges=merges, splits=splits)
    touched = {int(r) for r in added}
    changed_places = np.flatnonzero(inherited & (_distance(table.iloc[old], given, same) > SAME))
    touched |= {int(place[len(kept) + k]) for k in changed_places}
    if len(joined):
        changed = _linked(changed, added, touched, frame)
    return with_ids(changed, ids)


def _linked(tracks: Tracks, added: np.ndarray, touched: set[int], frame: int) -> Tracks:
    """Link anew what a corrected frame touches: that takes the frames around it alone."""
    away = np.abs(tracks.droplets["frame"].to_numpy() - frame)
    rows = np.flatnonzero(away <= AROUND + tracks.options.get("max_gap", 2))
    at = np.full(len(away), -1)
    at[rows] = np.arange(len(rows))
    inside = (at[tracks.links] >= 0).all(1)
    part = replace(
        tracks,
        droplets=tracks.droplets.iloc[rows].reset_index(drop=True),
        links=at[tracks.links[inside]],
        merges=_carried(tracks.merges, at),
        splits=_carried(tracks.splits, at),
        fixed={k: tuple((int(at[a]), int(at[b])) for a, b in pairs) for k, pairs in tracks.fixed.items()},
    )
    found = _linked_near(part, at[added], {int(at[r]) for r in touched}, frame)

    def all_of(events: Sequence[Event], near: Sequence[Event]) -> tuple[Event, ...]:
        elsewhere = tuple(e for e in events if min(at[[e.one, *e.several]]) < 0)
        return (*elsewhere, *_carried(near, rows))

    return replace(
        tracks,
        links=np.concatenate([tracks.links[~inside], rows[found.links].reshape(-1, 2)]),
        merges=all_of(tracks.merges, found.merges),
        splits=all_of(tracks.splits, found.splits),
    )


def _linked_near(tracks: Tracks, added: np.ndarray, touched: set[int], frame: int) -> Tracks:
    """Link added droplets to tracks that end before, or begin after; judge events that they take part in."""
    max_gap = tracks.options.get("max_gap", 2)
    exponent = GEOMETRIES[tracks.options.get("geometry", "sphere")]
    frames = frames_of(tracks.droplets, tracks.options.get("shape"))
    if len(frames.frames) < 2:
        return tracks
    motion = learn_motion(frames)
    busy = {row for e in tracks.merges for row in e.several} | {e.one for e in tracks.splits}
    born = {e.one for e in tracks.merges} | {row for e in tracks.splits for row in e.several}
    cut = set(tracks.fixed.get("cut", ()))
    table = tracks.droplets
    place, radius = table[["x", "y"]].to_numpy(float), table["radius"].to_numpy(float)
    links = inserted(tracks.links, table["frame"].to_numpy(), place, radius, added)
    tracks, added = replace(tracks, links=links), added[~np.isin(added, links)]
    for backward in (False, True):
        paths = Paths.of(frames, motion, tracks.links)
        paths = paths.backward() if backward else paths
        at = int(paths.when[added[0]]) if len(added) else 0
        taken = born if backward else busy
        ends = [r for r in paths.ends if at - 1 - max_gap <= paths.when[r] < at and int(r) not in taken]
        if not len(added) or not ends:
            continue
        expected = [paths.expected(int(r), at) for r in ends]
        cost = np.full((len(ends), len(added)), GATE**2)
        for i, end in enumerate(expected):
            sd = np.hypot(end.place_sd, 0.1 * end.radius)
            d = np.hypot(*(paths.place[added] - end.place).T) / sd
            alike = np.abs(np.log(paths.radius[added] / end.radius)) / (ALIKE / GATE)
            pairs = [(int(r), int(ends[i])) if backward else (int(ends[i]), int(r)) for r in added]
            allowed = np.array([pair not in cut for pair in pairs])
            cost[i] = np.where(allowed & (alike < GATE), np.minimum(d**2, GATE**2), GATE**2)
        old, new = linear_sum_assignment(cost)
        good = cost[old, new] < GATE**2
        found = np.stack([np.asarray(ends)[old[good]], added[new[good]]], 1)
        tracks = replace(tracks, links=np.concatenate([tracks.links, found[:, ::-1] if backward else found]))
    _, merged, split = judged(frames, motion, tracks.links, max_gap, exponent)
    pinned = {tuple(pair) for pair in tracks.fixed.get("linked", ())}

    def fresh(event: Event, known: Sequence[Event]) -> bool:
        rows = {event.one, *event.several}
        near = bool(rows & touched) and not any(rows & {e.one, *e.several} for e in known)
        through = {(event.continued, event.one), (event.one, event.continued)}
        return near and not (through & pinned)

    more = [e for e in merged if fresh(e, tracks.merges)], [e for e in split if fresh(e, tracks.splits)]
    through = {(e.continued, e.one) for e in more[0]} | {(e.one, e.continued) for e in more[1]}
    stays = np.array([(int(a), int(b)) not in through for a, b in tracks.links], bool)
    return replace(
        tracks,
        links=tracks.links[stays] if len(stays) else tracks.links,
        merges=(*tracks.merges, *more[0]),
        splits=(*tracks.splits, *more[1]),
    )


def _matches(old: pd.DataFrame, given: pd.DataFrame) -> np.ndarray:
    """(M,) for each droplet given which of the old ones it is, -1 for none."""
    if not len(old) or not len(given):
        return np.full(len(given), -1)
    away = np.hypot(
        given["x"].to_numpy(float)[:, None] - old["x"].to_numpy(float),
        given["y"].to_numpy(float)[:, None] - old["y"].to_numpy(float),
    )
    reach = MOVED * old["radius"].to_numpy(float)
    cost = np.where(away <= reach, away, 1e6)
    i, j = linear_sum_assignment(cost)
    found = np.full(len(given), -1)
    near = cost[i, j] < 1e6
    found[i[near]] = j[near]
    return found


def _distance(old: pd.DataFrame, given: pd.DataFrame, same: np.ndarray) -> np.ndarray:
    """(M,) how much position or radius changed."""
    if not len(old):
        return np.zeros(len(given))
    here = old.iloc[np.maximum(same, 0)]
    parts = [np.abs(given[c].to_numpy(float) - here[c].to_numpy(float)) for c in ("x", "y", "radius")]
    return np.max(parts, axis=0) if len(given) else np.zeros(0)


def _bridged(tracks: Tracks, moved: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Links by new rows; over droplets that are gone tracks go on where the gap is short enough."""
    after = {int(a): int(b) for a, b in tracks.links}
    most = tracks.options.get("max_gap", 2) + 1
    links = []
    for a, b in tracks.links:
        if moved[a] < 0:
            continue
        end: int | None = int(b)
        while end is not None and moved[end] < 0:
            end = after.get(end)
        if end is not None and (end == b or frame[end] - frame[a] <= most):
            links.append((moved[a], moved[end]))
    return np.array(links, int).reshape(-1, 2)


def _carried(events: Sequence[Event], moved: np.ndarray) -> tuple[Event, ...]:
    """Events by new rows, those of which a droplet is gone left out."""
    found = []
    for e in events:
        rows = [int(moved[r]) for r in (e.one, *e.several)]
        if min(rows) >= 0:
            continued = int(moved[e.continued]) if e.continued >= 0 else -1
            found.append(replace(e, one=rows[0], several=tuple(rows[1:]), continued=continued))
    return tuple(found)


def _time_of(tracks: Tracks, frame: int) -> float:
    known = tracks.droplets.drop_duplicates("frame")
    return float(np.interp(frame, known["frame"], known["time_s"]))


def _renamed(changed: Tracks, before: Tracks) -> Tracks:
    return with_ids(changed, before.droplets["track_id"].to_numpy())


def _check(tracks: Tracks, earlier: int, later: int) -> None:
    n, frame = len(tracks.droplets), tracks.droplets["frame"].to_numpy()
    for row in (earlier, later):
        if not 0 <= row < n:
            raise InputError(f"row {row}: there are {n} droplets, counted from 0")
    if frame[earlier] >= frame[later]:
        raise InputError(
            f"rows {earlier} and {later} are in frames {frame[earlier]} and {frame[later]}: give the earlier one first"
        )


def _ends(event: Event, kind: str, row: int) -> bool:
    """Whether a path ends with this row in the event."""
    return row in event.several if kind == "merge" else row == event.one


def _begins(event: Event, kind: str, row: int) -> bool:
    return row == event.one if kind == "merge" else row in event.several


def _events_of(tracks: Tracks, gone: Any) -> tuple[tuple[Event, ...], tuple[Event, ...]]:
    """Merges and splits without those that are gone."""
    merges = tuple(e for e in tracks.merges if not gone(e, "merge"))
    return merges, tuple(e for e in tracks.splits if not gone(e, "split"))


def _fixed(
    tracks: Tracks, linked: tuple[int, int] | None, cut: tuple[int, int] | None
) -> dict[str, tuple[tuple[int, int], ...]]:
    kept = {name: [p for p in tracks.fixed.get(name, ()) if p not in (linked, cut)] for name in ("linked", "cut")}
    for name, pair in (("linked", linked), ("cut", cut)):
        if pair is not None:
            kept[name].append((int(pair[0]), int(pair[1])))
    return {name: tuple(pairs) for name, pairs in kept.items()}
