"""Movies in the panel: what Follow and the corrections of tracks do, and what follows edits of points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication, QFileDialog

from ...droplets import Droplets
from ...errors import InputError
from ...movies.corrected import refit_frame
from ...movies.live import Followed, follow
from ...movies.movie import MovieFit, movie_fit
from ...movies.runs import Plan, summary_of, write_results
from ...workbench.autosave import data_folder
from ...workbench.movies import movie, refits
from ...workbench.session import Session
from ...workbench.sheet import Sheet
from ..controls.panel import Panel
from ..desk import Desk
from ..jobs.computing import Computing
from ..jobs.job import Job, Outcome
from ..layers import Output
from ..layers.linking import sheet_of
from ..layers.place import check_shown, whole_of
from ..layers.regions import region_of
from .footage import interval_of, movie_of
from .trails import draw_trails, find_trails, track_at
from .view import MovieBox

SOON_MS = 250
"""How long an edit has to be the last one before its frame is linked anew."""
LOOK_MS = 50
"""Between looks whether the mouse is still pressed, or something else computed."""
TITLE = "Movie"
KEPT_IN = "movies"
"""Folder of the user's data in which frames are kept that are done."""


class MovieControl:
    """The movies of a panel.

    Parameters
    ----------
    panel : Panel
        Gets the tab.
    session : Session
    desk : Desk
    computing : Computing
        Does the work.

    Attributes
    ----------
    view : MovieBox
    """

    def __init__(self, panel: Panel, session: Session, desk: Desk, computing: Computing) -> None:
        self._panel, self._session, self._desk, self._computing = panel, session, desk, computing
        self._viewer = desk.viewer
        self._first: tuple[Sheet | None, tuple[int, ...]] = (None, ())
        self._job: Job | None = None
        self._failed: Any = None
        self._tried: dict[int, Any] = {}  # by frame the edits that were fitted again, well or not
        self._states: dict[str, MovieFit] = {}
        actions = (self.follow, self.link, self.cut, self.merge, self._ask_and_save)
        self.view = MovieBox(
            session,
            dict(zip(("Follow", "Link", "Cut", "Merge", "Save tables…"), actions, strict=True)),
            self.go_to,
            self._frame,
        )
        self._tab = panel.tabs.count()
        panel.add_tab(self.view, TITLE)
        self._soon = QTimer(panel, singleShot=True)
        self._soon.timeout.connect(self._next)
        session.table_changed.connect(self._changed)
        session.sheet_changed.connect(self._changed)
        session.selection_changed.connect(self._selected)
        self._viewer.dims.events.current_step.connect(self._on_frame)
        panel.image.changed.connect(self._offer_interval)
        self._offer_interval(panel.image.value)

    @property
    def linking(self) -> bool:
        """Whether edits are being linked anew or fitted again, or will be soon."""
        return self._job is not None or self._soon.isActive()

    def show(self) -> None:
        """Show the tab."""
        self._panel.tabs.setCurrentIndex(self._tab)

    def follow(self) -> None:
        """Fit all frames of the movie and follow its droplets."""
        self.show()
        seconds = float(self.view.interval.value()) or None
        plan = Plan(seconds, self.view.geometry.currentData(), self.view.max_gap.value())
        self._computing.on_layer(partial(self._begun, plan))

    def link(self) -> None:
        """Say that the two droplets selected, or the one remembered and the one selected, are the same."""
        self._correct("Link", 2, lambda sheet, chosen: movie.link(sheet, *chosen))

    def cut(self) -> None:
        """Say that droplets are not the same; see `workbench.movie.cut`."""
        self._told(self._cut)

    def merge(self) -> None:
        """Say that the droplets selected merge into the one of the latest frame."""
        self._correct("Merge", 3, movie.join)

    def save(self, folder: str | Path) -> None:
        """Write droplets.csv, tracks.csv, events.csv and summary.json.

        Raises
        ------
        InputError
            Nothing is followed, or the folder cannot be written to.
        """
        sheet = self._sheet()
        tracks = movie.saved_tracks(sheet)
        about = {"movie": sheet.image.path, "edits": len(sheet.journal.edits)}
        write_results(tracks, Path(folder), summary_of(tracks) | about)
        self._say(f"Saved {len(tracks):,} tracks to {folder}")

    def go_to(self, number: int) -> None:
        """Show the frame of a droplet, and select it."""
        sheet, place = self._session.sheet, self._desk.place_of(self._session.sheet)
        points = self._desk.layer_of(sheet)
        if sheet is None or points is None or place is None or number not in sheet.table.index:
            return
        row = sheet.table.loc[number]
        world = points.data_to_world((row["frame"], row["y"], row["x"]))
        self._viewer.dims.set_point(self._viewer.dims.ndim - len(world), float(world[0]))
        self._session.select([number])

    def close(self) -> None:
        """Stop; nobody sees the panel any more."""
        self._soon.stop()
        if self._job is not None:
            self._job.abandon()
            self._job = None
        for signal, slot in (
            (self._session.table_changed, self._changed),
            (self._session.sheet_changed, self._changed),
            (self._session.selection_changed, self._selected),
        ):
            signal.disconnect(slot, missing_ok=True)
        self._viewer.dims.events.current_step.disconnect(self._on_frame)
        self._panel.image.changed.disconnect(self._offer_interval, missing_ok=True)

    def _begun(self, plan: Plan, layer: Any, settings: dict[str, Any]) -> tuple[Any, Output, Any]:
        """The steps that follow a movie, where they are shown, and what is done in the end."""
        footage = movie_of(layer)
        check_shown(layer, self._viewer.dims)
        place = whole_of(layer)
        settings["region"] = region_of(self._panel.region.value, layer, place)
        output = Output(self._viewer, place)
        steps = partial(follow, partial(movie_fit, footage, **settings), plan, data_folder(KEPT_IN))
        return steps, output, partial(self._on_followed, output, settings["pixel_size_um"])

    # what follows edits

    def _changed(self, _: Any = None) -> None:
        sheet = self._session.sheet
        if sheet is not None and (sheet.ties is not None or "track_id" in sheet.table):
            self._soon.start(SOON_MS)

    def _next(self) -> None:
        """Link what was edited in a thread; then draw."""
        sheet = self._session.sheet
        if QApplication.mouseButtons() != Qt.NoButton or self._job is not None:
            self._soon.start(LOOK_MS)
        elif sheet is not None:
            edited = movie.pending(sheet)
            if edited is None or edited.now is self._failed:
                self._refit(sheet)
                self._draw(sheet)
                return

            def steps() -> Any:
                yield from ()
                return movie.relinked(edited)

            self._job = Job(steps, lambda _: None, partial(self._linked, sheet, edited))
            self._job.start()

    def _linked(self, sheet: Sheet, edited: movie.Edited, outcome: Outcome) -> None:
        self._job = None
        if outcome.error is not None:
            self._failed = edited.now
            self._say(f"Not linked after the edit: {outcome.error}")
        else:
            movie.take(sheet, edited, outcome.result)
        self._soon.start(0)

    def _refit(self, sheet: Sheet) -> None:
        """Fit what was edited, or lies around it or around what was deleted, again in a thread: one frame at a time."""
        place = self._desk.place_of(sheet)
        if place is None or self._computing.busy or not self._computing.nearby.on:
            return
        unfitted = refits.to_refit(sheet)
        self._tried = {a.frame: self._tried[a.frame] for a in unfitted if a.frame in self._tried}
        asked = next((a for a in unfitted if self._tried.get(a.frame) != a.key), None)
        if asked is None:
            return
        state = self._states.get(place.layer_id)
        if state is None or state.optics is None:
            self.view.say("Press Follow once, and what you edit is fitted again; frames that are done are kept.")
            return
        self._tried[asked.frame] = asked.key
        of_frame = asked.frame, asked.table, asked.edited, asked.gone
        steps = partial(refit_frame, state.footage, state.optics, state.settings, *of_frame)
        self._job = Job(steps, lambda _: None, partial(self._refitted, sheet, asked))
        self._job.start()

    def _refitted(self, sheet: Sheet, asked: refits.Unfitted, outcome: Outcome) -> None:
        self._job = None
        if outcome.error is not None:
            self._say(f"Not fitted again after the edit: {outcome.error}")
        elif not refits.take(sheet, asked, outcome.result):
            self._tried.pop(asked.frame, None)
        self._soon.start(0)

    def _draw(self, sheet: Sheet) -> None:
        place = self._desk.place_of(sheet)
        if place is None:
            return
        if movie.is_followed(sheet) and sheet.ties is not None and len(sheet.table):
            with self._computing.runner.results():
                draw_trails(self._viewer, place, movie.tracks_of(sheet.table, sheet.ties), self._clicked)
        elif not sheet.running and (layer := find_trails(self._viewer, place)) is not None and sheet.ties is None:
            layer.visible = False  # of droplets that are no longer there
        self.view.draw()

    def _on_followed(self, output: Output, size: Any, found: Followed, cancelled: bool) -> None:
        """All frames are done, or as many as were until it was stopped."""
        assert found.tracks is not None
        assert found.state is not None
        self._states[output.place.layer_id] = found.state
        self._tried.clear()
        droplets = Droplets.from_dataframe(found.tracks.droplets)
        self._computing.result = droplets = replace(droplets, pixel_size_um=droplets.pixel_size_um or size)
        with self._computing.runner.results():
            output.show(droplets)
        self._desk.update()
        sheet = sheet_of(output.points)
        if sheet is not None:
            movie.follow(sheet, found.tracks)
            self._draw(sheet)
        self._say(followed_text(found, cancelled=cancelled))
        left_out = [f"frame {n}: {error}" for n, error in found.errors.items()]
        self.view.say("Left out: " + "; ".join(left_out[:3]) if left_out else "")

    # selection, frames, clicks

    def _selected(self, _: Any = None) -> None:
        self.view.draw()

    def _on_frame(self, _: Any = None) -> None:
        if self.view.isVisible():
            self.view.mark_frame()

    def _frame(self) -> int | None:
        points = self._desk.layer_of(self._session.sheet)
        if points is None or points.ndim != 3:
            return None
        point = self._viewer.dims.point
        return round(float(points.world_to_data(point[-3:])[0])) if len(point) >= 3 else None

    def _clicked(self, layer: Any, event: Any) -> None:
        """A trail was clicked: select its droplet, that of the frame shown where it is seen there."""
        track_id, sheet, frame = track_at(layer, event.position), self._session.sheet, self._frame()
        if track_id is None or sheet is None or frame is None:
            return
        rows = sheet.table[sheet.table["track_id"] == track_id]
        if len(rows):
            away = np.abs(rows["frame"].to_numpy(float) - frame)
            number = int(rows.index.to_numpy()[away.argmin()])
            self.show()
            self._session.select([number])

    def _offer_interval(self, layer: Any) -> None:
        seconds = interval_of(layer)
        if seconds is not None:
            self.view.interval.setValue(seconds)

    # corrections

    def _correct(self, name: str, least: int, change: Callable[[Sheet, tuple[int, ...]], None]) -> None:
        """Of the droplets selected and those remembered; where they are too few, remember them."""

        def do() -> None:
            sheet = self._sheet()
            before = self._first[1] if self._first[0] is sheet else ()
            chosen = tuple(n for n in dict.fromkeys((*before, *self._session.selected)) if n in sheet.table.index)
            frames = sheet.table["frame"].loc[list(chosen)].nunique()
            if not chosen:
                raise InputError(f"{name}: select a droplet first")
            if len(chosen) < least or frames < 2:
                self._first = sheet, chosen
                self.view.say(f"{len(chosen)} remembered: go to the other frame, select there, press {name} again")
                return
            self._first = None, ()
            change(sheet, chosen)
            self.view.say("")
            self._say(f"{name}: done; Ctrl-Z takes it back")

        self._told(do)

    def _cut(self) -> None:
        sheet, chosen = self._sheet(), self._session.selected
        if not 1 <= len(chosen) <= 2:
            raise InputError("Cut: select one droplet, whose track begins anew there, or two that are not the same")
        movie.cut(sheet, *chosen)
        self._say("Cut: done; Ctrl-Z takes it back")

    def _sheet(self) -> Sheet:
        sheet = self._session.sheet
        if sheet is None or not movie.is_followed(sheet):
            raise InputError("no droplets of a movie that are followed: press Follow first")
        return sheet

    def _told(self, action: Callable[[], None]) -> None:
        try:
            action()
        except InputError as error:
            self._first = None, ()
            self._say(str(error), "warning")

    def _ask_and_save(self) -> None:
        def do() -> None:
            self._sheet()
            folder = QFileDialog.getExistingDirectory(self.view, "Folder for the tables")
            if folder:
                self.save(folder)

        self._told(do)

    def _say(self, text: str, level: str = "") -> None:
        self._panel.say(text, level)


def followed_text(found: Followed, *, cancelled: bool) -> str:
    """What was found in a movie, in a line."""
    tracks = found.tracks
    assert tracks is not None
    parts = [f"{found.frames} of {found.of} frames", f"{len(tracks):,} tracks", f"{len(tracks.merges)} merges"]
    parts += [f"{len(tracks.splits)} splits"] * bool(tracks.splits)
    parts += [f"{found.went_on} frames were there already"] * bool(found.went_on)
    parts += [f"{len(found.errors)} frames could not be used"] * bool(found.errors)
    return ("Stopped: press Follow to go on. " if cancelled else "") + " · ".join(parts)
