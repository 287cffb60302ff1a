"""What the user does to the droplets selected, and undo: what the buttons do and scripts call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..workbench.corrections import classified, merged, pinned, split
from ..workbench.journal import Journal
from ..workbench.replay import read_journal, replay
from ..workbench.session import Session
from ..workbench.sheet import Sheet
from .controls.words import step_text
from .layers.linking import read_now

Change = Callable[[Sheet, tuple[int, ...]], Any]


class Corrections:
    """Corrections of the droplets selected in a session.

    Parameters
    ----------
    session : Session
    points : callable
        The Points layer that is worked on, or None.
    say : callable
        Takes what was done, and a level where it could not be.
    """

    def __init__(self, session: Session, points: Callable[[], Any], say: Callable[..., None]) -> None:
        self._session, self._points, self._say = session, points, say

    @property
    def journal(self) -> Journal:
        """What was done to the droplets that are worked on."""
        return Journal() if self._session.sheet is None else self._session.sheet.journal

    def undo(self) -> bool:
        """Take back the last edit; whether there was one."""
        steps = self.journal.to_undo()
        done = self._session.undo()
        self._say(f"Undone: {step_text(steps[-1])}" if done else "There is nothing to undo")
        return done

    def redo(self) -> bool:
        """Do again what was undone last; whether there was something."""
        steps = self.journal.to_redo()
        done = self._session.redo()
        self._say(f"Redone: {step_text(steps[0])}" if done else "There is nothing to redo")
        return done

    def merge(self) -> None:
        """Make one of those selected."""
        self._do("merge", lambda sheet, chosen: merged(sheet.table, chosen, sheet.image.shape))

    def split(self) -> None:
        """Make two of each one selected."""

        def halved(sheet: Sheet, chosen: tuple[int, ...]) -> Any:
            table = sheet.table
            for number, second in zip(chosen, sheet.new_numbers(len(chosen)), strict=True):
                table = split(table, number, int(second), sheet.image.shape)
            return table

        self._do("split", halved)

    def classify(self, name: Any) -> None:
        """Sort those selected into a class."""
        self._do("class", lambda sheet, chosen: classified(sheet.table, chosen, name))

    def pin(self, pin: bool = True) -> None:
        """Keep those selected in their places, or no longer."""
        self._do("pin", lambda sheet, chosen: pinned(sheet.table, chosen, pin=pin))

    def replay(self, journal: str | Path | None = None) -> None:
        """Repeat the edits of a file, or of other droplets of the same image."""
        sheet = self._session.sheet
        try:
            if sheet is None:
                raise InputError("nothing to correct: press Run first")
            if journal is not None:
                steps = read_journal(journal)
            else:
                others = [s for s in self._session.sheets if s is not sheet and s.image.name == sheet.image.name]
                edited = [s for s in others if s.journal.edits and s.image.plane == sheet.image.plane]
                if not edited:
                    raise InputError(f"no other droplets of {sheet.image.name} were edited; give the file of a journal")
                steps = edited[-1].journal.edits
            found = replay(steps, sheet)
            lost = f"; not found here: {', '.join(found.lost)}" if found.lost else ""
            self._say(f"Repeated {found.done:,} edits{lost}", "warning" if lost else "")
        except InputError as error:
            self._say(str(error), "warning")

    def _do(self, kind: str, change: Change) -> None:
        sheet, points = self._session.sheet, self._points()
        try:
            if sheet is None or points is None or not self._session.selected:
                raise InputError("select droplets first, with the arrow tool of their layer")
            read_now(points)
            step = sheet.edit(change(sheet, self._session.selected), kind)
            self._say("Nothing to change" if step is None else f"Done: {step_text(step)}")
        except InputError as error:
            self._say(str(error), "warning")
