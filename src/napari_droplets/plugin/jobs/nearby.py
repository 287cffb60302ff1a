"""Refits around what was edited, in the background, while the user goes on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QApplication

from ...workbench.session import Session
from ...workbench.sheet import Sheet, Snapshot
from . import work
from .job import Job, Outcome

CALM_MS = 250
"""How long an edit has to be the last one before its surroundings are refitted."""
LOOK_MS = 50
"""Between looks whether the mouse is still pressed, or something else still computed."""

PlaneOf = Callable[[Sheet, tuple[int, ...]], Any]


class NearbyRefits:
    """After an edit, the droplets around it are fitted again; what is found comes when the mouse is released.

    One refit at a time: what is edited meanwhile is refitted next. Foreground work goes first.

    Parameters
    ----------
    session : Session
    busy : callable
        Whether something else is computed that the user waits for.
    plane_of : callable
        Pixels, of a plane of a sheet, that have to be compared with those fitted; None where nothing has to be.
    said : callable
        Takes what there is to say where it cannot be done.
    """

    def __init__(
        self, parent: Any, session: Session, busy: Callable[[], bool], plane_of: PlaneOf, said: Callable[[str], None]
    ) -> None:
        self.session, self._busy, self._plane_of, self._said = session, busy, plane_of, said
        self._on = True
        self._job: Job | None = None
        self._failed: Any = None  # the table that cannot be refitted, so that it is not tried again and again
        self._timer = QTimer(parent, singleShot=True)
        self._timer.timeout.connect(self._next)
        self._found: tuple[Sheet, Snapshot, work.Refitted] | None = None
        session.stepped.connect(self.soon)

    @property
    def on(self) -> bool:
        """Whether surroundings are refitted; it can be set."""
        return self._on

    @on.setter
    def on(self, value: bool) -> None:
        self._on = value
        if value:
            self.soon()
        else:
            self.stop()

    @property
    def busy(self) -> bool:
        """Whether something is being refitted, or will be soon."""
        return self._job is not None or self._found is not None or self._timer.isActive()

    def soon(self, sheet: Sheet | None = None) -> None:
        """Something may have been edited."""
        if self._on and (sheet is None or sheet.to_refit()):
            self._timer.start(CALM_MS)

    def stop(self) -> None:
        """Forget what is being refitted; it is done again when something is edited, or `soon` is called."""
        self._timer.stop()
        self._found = None
        if self._job is not None:
            self._job.abandon()
            self._job = None

    def close(self) -> None:
        """Stop for good."""
        self._on = False
        with suppress(RuntimeError):  # the timer may be gone with the window
            self.stop()
        self.session.stepped.disconnect(self.soon, missing_ok=True)

    def _next(self) -> None:
        if self._busy() or QApplication.mouseButtons() != Qt.NoButton:
            self._timer.start(LOOK_MS)
        elif self._found is not None:
            self._take()
        elif self._job is None:
            for sheet in sorted(self.session.sheets, key=lambda s: s is not self.session.sheet):
                for plane in sheet.to_refit():
                    if len(sheet.on(plane)) and sheet.table is not self._failed:
                        return self._start(sheet, plane)

    def _start(self, sheet: Sheet, plane: tuple[int, ...]) -> None:
        since = sheet.snapshot(plane)
        pixels = self._plane_of(sheet, plane)
        if since.fit.fit.image is None and pixels is None:
            return
        steps = partial(work.refit, since, pixels, None, {}, proportions=False)
        self._job = Job(steps, lambda _: None, partial(self._end, sheet, since, sheet.table))
        self._job.start()

    def _end(self, sheet: Sheet, since: Snapshot, table: Any, outcome: Outcome) -> None:
        self._job = None
        if outcome.error is not None:
            self._failed = table
            self._said(f"Not refitted around the edit: {outcome.error}")
        else:
            self._found = sheet, since, outcome.result
        self._next()

    def _take(self) -> None:
        assert self._found is not None
        sheet, since, found = self._found
        self._found = None
        sheet.take(found.change, found.table, since)
        self.soon(sheet)
