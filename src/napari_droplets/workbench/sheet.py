"""A sheet: the droplets of one image, what was done to them, and the fit that they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pandas as pd
from psygnal import Signal

from ..droplets import Fit
from .fits import Change, Numbered
from .journal import EDITS, Journal, Step
from .rows import changed_rows, numbered

PLACE = ["x", "y", "radius"]
AT_ONCE = 1.0
"""Seconds within which the sizes of the same droplets that are set again count as one step: a slider sets many."""


@dataclass(frozen=True)
class ImageReference:
    """Which image a sheet is of.

    Attributes
    ----------
    name : str
        Of the layer.
    path : str, optional
        Of its file.
    sha256 : str, optional
        Of its pixels, once known.
    shape : (int, int), optional
        Height and width, pixels.
    plane : tuple of int
        Along the leading axes of a stack; empty for a single image, and for a sheet of several planes.
    """

    name: str = "image"
    path: str | None = None
    sha256: str | None = None
    shape: tuple[int, int] | None = None
    plane: tuple[int, ...] = ()


class Snapshot(NamedTuple):
    """A sheet as it was when a refit began."""

    table: pd.DataFrame
    fit: Numbered
    last: Step | None
    """The last step that was done then."""


@dataclass(eq=False)
class Sheet:
    """The droplets of one image.

    Attributes
    ----------
    name : str
        Of its layer.
    table : DataFrame
        The droplets table as it is now, edits and hidden droplets included; its index are the droplets' numbers.
        Not to be changed in place: `edit` takes a new one.
    image : ImageReference
    journal : Journal
    detected : bool
        Whether the droplets were only detected.
    changed : psygnal Signal
        Emits the sheet and the numbers of droplets that are others now.
    """

    name: str
    table: pd.DataFrame
    image: ImageReference = field(default_factory=ImageReference)
    detected: bool = False
    journal: Journal = field(default_factory=Journal)
    numbered_fit: Numbered | None = None
    next_number: int = 0

    changed = Signal(object, object)

    def __post_init__(self) -> None:
        if self.table.index.name != numbered(self.table[:0]).index.name:
            self.table = numbered(self.table)
        self.next_number = max(self.next_number, int(self.table.index.max()) + 1 if len(self.table) else 0)

    @property
    def fit(self) -> Fit | None:
        """What the droplets come from, as the last refit left it; None where they were detected or opened."""
        return None if self.numbered_fit is None else self.numbered_fit.fit

    def new_numbers(self, n: int) -> np.ndarray:
        """Numbers (n,) for droplets that are added."""
        numbers = np.arange(self.next_number, self.next_number + n)
        self.next_number += n
        return numbers

    def begin(self, table: pd.DataFrame, fit: Fit | None = None, *, detected: bool = False) -> None:
        """Other droplets take the place of all: those of a run. The journal begins anew."""
        before = self.table.index
        self.table = numbered(table)
        self.next_number = len(table)
        self.numbered_fit = None if fit is None else Numbered(fit, self.table.index.to_numpy())
        self.detected = detected
        self.journal.clear()
        self.changed.emit(self, before.union(self.table.index))

    def edit(self, table: pd.DataFrame, kind: str | None = None) -> Step | None:
        """The user did something: note what, and go on from there.

        Parameters
        ----------
        table : DataFrame
            All droplets as they are now, by number.
        kind : str, optional
            One of `EDITS`; by default told from what differs.

        Returns
        -------
        Step or None
            None where nothing differs.
        """
        step = step_between(self.table, table, kind)
        if step is None:
            return None
        last = self.journal[-1] if len(self.journal) else None
        if last is not None and _goes_on(last, step):
            step = Step(step.kind, last.before, step.after, step.when)
            self.journal.replace_last(step)
        else:
            self.journal.add(step)
        self.table = step.forth(self.table)
        self.changed.emit(self, step.numbers)
        return step

    def undo(self) -> bool:
        """Take back the last edit, and what was refitted since; whether there was one."""
        steps = self.journal.to_undo()
        for step in steps:
            self.table = step.back(self.table)
            if step.fit is not None and self.numbered_fit is not None:
                self.numbered_fit = step.fit.back(self.numbered_fit)
        return self._moved(steps, -len(steps))

    def redo(self) -> bool:
        """Do again what was undone last; whether there was something."""
        steps = self.journal.to_redo()
        for step in steps:
            self.table = step.forth(self.table)
            if step.fit is not None and self.numbered_fit is not None:
                self.numbered_fit = step.fit.forth(self.numbered_fit)
        return self._moved(steps, len(steps))

    def _moved(self, steps: list[Step], by: int) -> bool:
        self.journal.done += by
        if steps:
            numbers = steps[0].numbers
            for step in steps[1:]:
                numbers = numbers.union(step.numbers)
            self.changed.emit(self, numbers)
        return bool(steps)

    # refits

    def unfitted(self) -> pd.Index:
        """Numbers of droplets that the fit does not know as they are: added, moved, resized, deleted since."""
        if self.numbered_fit is None:
            return self.table.index[:0]
        of_fit = self.numbered_fit.table
        gone = of_fit.index.symmetric_difference(self.table.index)
        return gone.union(changed_rows(of_fit[PLACE], self.table[PLACE]))

    def snapshot(self) -> Snapshot:
        """The sheet as it is, for a refit in another thread."""
        assert self.numbered_fit is not None
        last = self.journal[-1] if len(self.journal) else None
        return Snapshot(self.table, self.numbered_fit, last)

    def take(self, change: Change, table: pd.DataFrame, since: Snapshot) -> bool:
        """Take over what a refit has found, but for droplets that the user has touched meanwhile.

        Parameters
        ----------
        change : Change
            Of the fit.
        table : DataFrame
            The droplets as refitted, by number.
        since : Snapshot
            What was refitted.

        Returns
        -------
        bool
            False where it is of no use any more, as what was refitted has been undone or replaced.
        """
        if self.numbered_fit is not since.fit:
            return False
        if since.last is not None and all(step is not since.last for step in self.journal):
            return False
        touched = changed_rows(since.table, self.table).union(since.table.index.symmetric_difference(self.table.index))
        new = table.loc[table.index.difference(touched)]
        different = changed_rows(self.table, new)
        step = Step("refit", self.table.loc[different], new.loc[different], fit=change)
        self.journal.add(step)
        self.table = step.forth(self.table)
        self.numbered_fit = change.forth(self.numbered_fit)
        self.changed.emit(self, step.numbers)
        return True


def step_between(before: pd.DataFrame, after: pd.DataFrame, kind: str | None = None) -> Step | None:
    """What was done from one table to the next; None where nothing was."""
    added, deleted = after.index.difference(before.index), before.index.difference(after.index)
    differ = changed_rows(before, after)
    if not len(added) and not len(deleted) and not len(differ):
        return None
    kind = kind or _kind(before.loc[differ], after.loc[differ], bool(len(added)), bool(len(deleted)))
    if kind not in EDITS:
        raise ValueError(f"{kind!r} is none of {', '.join(EDITS)}")
    return Step(kind, before.loc[deleted.union(differ)], after.loc[added.union(differ)])


def _kind(before: pd.DataFrame, after: pd.DataFrame, added: bool, deleted: bool) -> str:
    found = {"add"} if added else set()
    if deleted:
        found.add("delete")
    for kind, columns in (("move", ["x", "y"]), ("resize", ["radius"]), ("class", ["class"]), ("pin", ["pinned"])):
        there = [c for c in columns if c in before or c in after]
        if there and len(changed_rows(before.reindex(columns=there), after.reindex(columns=there))):
            found.add(kind)
    if found & {"move", "resize", "class"}:  # what is corrected is pinned, too
        found.discard("pin")
    return found.pop() if len(found) == 1 else "change"


def _goes_on(last: Step, step: Step) -> bool:
    same = last.kind == step.kind == "resize" and last.numbers.equals(step.numbers)
    return same and step.when - last.when < AT_ONCE
