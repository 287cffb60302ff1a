"""A movie fitted and followed with live results: a generator of Progress, as a fit is; stopped, it goes on later."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..droplets import Droplets
from ..errors import InputError
from ..inference.api import waiting
from ..progress import Progress
from ..settings import Settings
from ..tracking.tracks import Tracks
from .footage import Footage
from .movie import FrameResult, Moment, MovieFit, frame_steps
from .runs import Plan, decided, linker, tracked
from .store import FrameStore, record_of

TRACKING_SHARE = 0.2
"""Most of the time that following the frames so far may take while others are fitted."""
LOOKED_AT = 3
"""Frames over the movie whose pixels tell it from others."""
OLDEST = 30 * 24 * 3600.0
"""Seconds after which frames of a run that nobody has gone on with are removed."""


@dataclass
class Followed:
    """What has been found of a movie."""

    tracks: Tracks | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    frames: int = 0
    """Done."""
    of: int = 0
    went_on: int = 0
    """Frames that an earlier run had done."""
    errors: dict[int, Exception] = field(default_factory=dict)
    state: MovieFit | None = None
    """What edited frames are fitted again with."""


def follow(
    begin: Callable[[], MovieFit], plan: Plan, kept: Path | None = None
) -> Generator[Progress, bool | None, Followed]:
    """Fit the frames of a movie and follow its droplets; where it is stopped, what was done by then is followed.

    Parameters
    ----------
    begin : callable
        Makes the movie ready, in the thread that goes on with it.
    plan : Plan
    kept : Path, optional
        Folder in which each frame is kept as soon as it is done; a run of the same movie and settings goes on from
        there.

    Yields
    ------
    Progress
        Its snapshot has the droplets of all frames so far, with `frame` and, where they are followed, `track_id`.

    Raises
    ------
    InputError
        The movie cannot be read, LapTrack is missing, or no frame could be used.
    """
    yield waiting("detect", Settings())
    linker()
    state = begin()
    found = Followed(of=len(state.footage))
    live = _Live(state, plan, found)
    store = None if kept is None else _store(kept, state)
    steps, reply = frame_steps(state, store), None
    began = time.perf_counter()
    while True:
        try:
            event = steps.send(reply)
        except StopIteration:
            break
        reply = None
        if isinstance(event, Moment):
            reply = yield live.progress(event)
            continue
        live.add(event)
    found.errors, found.state = dict(state.errors), state
    if not state.tables:
        if state.stopped:
            raise InputError(f"{state.footage.name}: stopped before the first frame was done; nothing was changed")
        number, error = next(iter(state.errors.items()))
        raise InputError(f"{state.footage.name}: no frame could be used; frame {number}: {error}") from error
    yield live.progress(Moment(state.footage.numbers[-1], None))._replace(stage="tracks")
    found.tracks, found.summary = tracked(state, plan, time.perf_counter() - began)
    return found


class _Live:
    """The frames so far, followed from time to time."""

    def __init__(self, state: MovieFit, plan: Plan, found: Followed) -> None:
        self.state, self.plan, self.found = state, plan, found
        self.least = state.settings.min_probability
        self.next_tracking = 0.0
        self.followed_frames: set[int] = set()

    def add(self, result: FrameResult) -> None:
        self.found.frames += result.droplets is not None
        self.found.went_on += result.skipped

    def progress(self, moment: Moment) -> Progress:
        """Where a frame is, as where the movie is."""
        number, of = self.state.footage.numbers.index(moment.number) + 1, len(self.state.footage)
        inner = moment.progress or waiting("detect", self.state.settings)
        n = sum(len(table) for table in self.state.tables.values())
        if self.state.optics is None:  # of a picture put together from several frames
            return inner._replace(stage="optics", n_droplets=0, part="Before the first frame")
        snapshot = partial(self.snapshot, inner, moment.number)
        return inner._replace(n_droplets=n, snapshot=snapshot, part=f"Frame {number} of {of}")

    def snapshot(self, inner: Progress, number: int) -> tuple[Droplets, None]:
        """The droplets of all frames; while the first one is fitted, its droplets so far."""
        tables = self.state.tables
        if not tables:
            table = inner.snapshot()[0].to_dataframe().assign(frame=number)
            return Droplets.from_dataframe(table), None
        new = {n: t for n, t in tables.items() if n not in self.followed_frames}
        if new and time.monotonic() >= self.next_tracking:
            began = time.monotonic()
            with suppress(InputError):  # too few droplets yet
                self.found.tracks = decided(self.state.table(), self._plan(), self.least)
                self.followed_frames, new = set(tables), {}
            now = time.monotonic()
            self.next_tracking = now + (now - began) * (1 / TRACKING_SHARE - 1)
        parts = [] if self.found.tracks is None else [self.found.tracks.droplets]
        parts += [t[t["p_present"] >= self.least] if "p_present" in t else t for t in new.values()]
        return Droplets.from_dataframe(pd.concat(parts, ignore_index=True)), None

    def _plan(self) -> Plan:
        shape = None if self.state.carried is None else self.state.carried.shape
        interval = self.plan.interval_s or self.state.footage.interval_s
        return replace(self.plan, shape=self.plan.shape or shape, interval_s=interval)


def _store(kept: Path, state: MovieFit) -> FrameStore:
    """The store of a run, by what it is of; those that are old are removed."""
    record = record_of(state, _looks(state.footage))
    name = hashlib.sha256(repr(record).encode()).hexdigest()[:24]
    store = FrameStore(kept / name, record)
    if not store.matches():
        store.clear()
    store.about.touch()
    with suppress(OSError):
        for folder in kept.iterdir():
            about = folder / "frames" / "run.json"
            if about.is_file() and time.time() - about.stat().st_mtime > OLDEST:
                shutil.rmtree(folder, ignore_errors=True)
    return store


def _looks(footage: Footage) -> list[Any]:
    """What tells a movie from others: its frames, and the pixels of some."""
    picked = np.unique(np.linspace(0, len(footage) - 1, min(LOOKED_AT, len(footage))).round().astype(int))
    seen: list[Any] = [footage.name, len(footage)]
    for k in picked:
        try:
            pixels = footage.load(footage.numbers[int(k)]).pixels
            seen.append(hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest())
        except Exception as error:
            seen.append(str(error))
    return seen
