"""A sheet: the droplets of an image, or of planes of a stack, what was done to them, the fits they come from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import numpy as np
import pandas as pd
from psygnal import Signal

from ..droplets import Fit
from .fits import Change, FitChange, Fits, NewFits, Numbered
from .journal import EDITS, TYING, Journal, Step
from .movies.ties import TieChange, Ties
from .rows import NUMBER, changed_rows, numbered

PLACE = ["x", "y", "radius"]
OF_TRACKS = ("track_id", "time_s")
"""Columns that following a movie fills."""
AT_ONCE = 1.0
"""Seconds within which sizes of the same droplets that are set again count as one step: a slider sets many."""

Plane = tuple[int, ...]


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
        Of the pixels that were fitted, where it is of one plane and known.
    shape : (int, int), optional
        Height and width, pixels.
    plane : tuple of int
        The plane of a stack that was worked on, along its leading axes; empty for a single image and for
        several planes.
    axes : tuple of str
        Of a stack, the columns of the table that say on which plane a droplet is.
    """

    name: str = "image"
    path: str | None = None
    sha256: str | None = None
    shape: tuple[int, int] | None = None
    plane: Plane = ()
    axes: tuple[str, ...] = ()


class Snapshot(NamedTuple):
    """Droplets of a plane as they were when a refit began."""

    plane: Plane
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
    detected : bool
        Whether the droplets were only detected.
    journal : Journal
    fits : dict
        The fit of each plane, `Numbered`, as the last refit left it; empty where droplets were detected or opened.
    ties : Ties, optional
        Of droplets that are followed through a movie: how, and their merges and splits; see `movie.py`.
    changed : psygnal Signal
        Emits the sheet and the numbers of droplets that are others now.
    """

    name: str
    table: pd.DataFrame
    image: ImageReference = field(default_factory=ImageReference)
    detected: bool = False
    journal: Journal = field(default_factory=Journal)
    fits: Fits = field(default_factory=dict)
    next_number: int = 0
    ties: Ties | None = None
    _before: tuple[pd.DataFrame, Fits, bool] | None = None

    changed: ClassVar[Signal] = Signal(object, object)

    def __post_init__(self) -> None:
        if self.table.index.name != NUMBER:
            self.table = numbered(self.table)
        self.next_number = max(self.next_number, int(self.table.index.max()) + 1 if len(self.table) else 0)

    @property
    def fit(self) -> Fit | None:
        """The fit of the only plane; None where there is none, or one of each of several planes (`fit_of`)."""
        fits = list(self.fits.values())
        return fits[0].fit if len(fits) == 1 else None

    def fit_of(self, plane: Plane | None = None) -> Fit | None:
        """The fit of a plane; by default that of the sheet's own."""
        found = self.fits.get(self.image.plane if plane is None else plane)
        return None if found is None else found.fit

    @property
    def running(self) -> bool:
        """Whether the droplets are those of work that goes on."""
        return self._before is not None

    def on(self, plane: Plane, table: pd.DataFrame | None = None) -> pd.DataFrame:
        """The rows of a plane."""
        table = self.table if table is None else table
        here = np.ones(len(table), bool)
        for column, index in zip(self.image.axes, plane, strict=False):
            here &= table[column].to_numpy(float) == index
        return table[here]

    def new_numbers(self, n: int) -> np.ndarray:
        """Numbers (n,) for droplets that are added."""
        numbers = np.arange(self.next_number, self.next_number + n)
        self.next_number += n
        return numbers

    def preview(self, table: pd.DataFrame) -> None:
        """Show droplets of work that goes on; `begin` makes them last, and `revert` gives back what was before."""
        if self._before is None:
            self._before = self.table, self.fits, self.detected
        self._replace(table, {}, self.detected)

    def begin(self, table: pd.DataFrame, fits: dict[Plane, Fit] | None = None, *, detected: bool = False) -> None:
        """Other droplets take the place of all: those of a run.

        The journal begins anew. Where something was edited it goes on, so that the run can be undone with the edit
        before it.
        """
        before = self._before or (self.table, self.fits, self.detected)
        ties = TieChange.between(self.ties, None)
        self._before = self.ties = None
        self._replace(table, fits or {}, detected)
        if self.journal.edits:
            self.journal.add(Step("refit", before[0], self.table, fit=NewFits(before[1], self.fits), ties=ties))
        else:
            self.journal.clear()

    def revert(self) -> None:
        """Give back what was before the preview, if there was one."""
        if self._before is not None:
            gone = self.table.index
            self.table, self.fits, self.detected = self._before
            self._before = None
            self.changed.emit(self, gone.union(self.table.index))

    def _replace(self, table: pd.DataFrame, fits: dict[Plane, Fit], detected: bool) -> None:
        gone = self.table.index
        if not self.journal.edits:
            self.next_number = 0
        self.table, self.detected = numbered(table, self.new_numbers(len(table))), detected
        self.fits = {plane: Numbered(fit, self.on(plane).index.to_numpy()) for plane, fit in fits.items()}
        self.changed.emit(self, gone.union(self.table.index))

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
        if self._before is not None:  # what is edited is what the work has found so far
            self.journal.add(Step("refit", self._before[0], self.table, fit=NewFits(self._before[1], self.fits)))
            self._before = None
        last = self.journal[-1] if len(self.journal) else None
        if last is not None and _goes_on(last, step):
            step = Step(step.kind, last.before, step.after, step.when)
            self.journal.replace_last(step)
        else:
            self.journal.add(step)
        self.table = step.forth(self.table)
        self.next_number = max(self.next_number, int(self.table.index.max()) + 1 if len(self.table) else 0)
        self.changed.emit(self, step.numbers)
        return step

    def tie(self, table: pd.DataFrame, ties: Ties, kind: str) -> Step | None:
        """Take other tracks of the same droplets, what ties them included; None where the user changes nothing.

        Parameters
        ----------
        table : DataFrame
            All droplets by number, with other `track_id`.
        ties : Ties
        kind : str
            One of `TYING`; 'relink' where it follows from an edit. Where nothing was edited that is no step.
        """
        step = step_between(self.table, table, kind)
        if step is None and ties == self.ties and kind != "relink":  # which says that all is linked
            return None
        rows = self.table.iloc[:0] if step is None else step.before, self.table.iloc[:0] if step is None else step.after
        step = Step(kind, *rows, ties=TieChange.between(self.ties, ties))
        self.table, self.ties = step.forth(self.table), ties
        if kind != "relink" or self.journal.edits:
            self.journal.add(step)
        self.changed.emit(self, step.numbers)
        return step

    def take_rows(self, rows: pd.DataFrame, since: pd.DataFrame) -> Step | None:
        """Take over droplets that were fitted again without a fit that is kept, but for those touched meanwhile.

        Parameters
        ----------
        rows : DataFrame
            By number, as refitted.
        since : DataFrame
            The droplets when that began, by number.

        Returns
        -------
        Step or None
            None where nothing differs.
        """
        here = rows.index.intersection(self.table.index)
        here = here.difference(changed_rows(since.loc[here, PLACE], self.table.loc[here, PLACE]))
        columns = [str(c) for c in rows if c not in (*OF_TRACKS, "frame")]
        new = self.table.loc[here].assign(**{c: rows.loc[here, c] for c in columns})
        different = changed_rows(self.table.loc[here], new)
        if not len(different):
            return None
        step = Step("refit", self.table.loc[different], new.loc[different])
        self.journal.add(step)
        self.table = step.forth(self.table)
        self.changed.emit(self, step.numbers)
        return step

    def resort(self, table: pd.DataFrame, change: FitChange) -> Step | None:
        """Take other classes of the droplets of a plane, and its fit with them; None where no row is another.

        Parameters
        ----------
        table : DataFrame
            All droplets by number.
        change : FitChange
        """
        step = step_between(self.table, table, "class")
        if step is None:
            return None
        step = replace(step, fit=change)
        self.journal.add(step)
        self.table, self.fits = step.forth(self.table), change.forth(self.fits)
        self.changed.emit(self, step.numbers)
        return step

    def rescale(self, table: pd.DataFrame, fits: Fits) -> None:
        """Take droplets and fits that say the same in further units, as the size of a pixel is known; it is no edit."""
        self.table, self.fits = table, fits
        self.changed.emit(self, table.index)

    def undo(self) -> bool:
        """Take back the last edit, and what was refitted since; whether there was one."""
        steps = self.journal.to_undo()
        for step in steps:
            self.table = step.back(self.table)
            if step.fit is not None:
                self.fits = step.fit.back(self.fits)
            if step.ties is not None:
                self.ties = step.ties.back(self.ties)
        return self._went(steps, -len(steps))

    def redo(self) -> bool:
        """Do again what was undone last; whether there was something."""
        steps = self.journal.to_redo()
        for step in steps:
            self.table = step.forth(self.table)
            if step.fit is not None:
                self.fits = step.fit.forth(self.fits)
            if step.ties is not None:
                self.ties = step.ties.forth(self.ties)
        return self._went(steps, len(steps))

    def _went(self, steps: list[Step], by: int) -> bool:
        self.journal.done += by
        if steps:
            numbers = steps[0].numbers
            for step in steps[1:]:
                numbers = numbers.union(step.numbers)
            self.changed.emit(self, numbers)
        return bool(steps)

    # refits

    def unfitted(self, plane: Plane) -> pd.Index:
        """Numbers of droplets that the fit does not know as they are: added, moved, resized, deleted since."""
        if plane not in self.fits:
            return self.table.index[:0]
        fitted, now = self.fits[plane].table[PLACE], self.on(plane)[PLACE]
        return fitted.index.symmetric_difference(now.index).union(changed_rows(fitted, now))

    def to_refit(self) -> list[Plane]:
        """Planes with droplets that their fit does not know as they are."""
        return [plane for plane in self.fits if len(self.unfitted(plane))]

    def snapshot(self, plane: Plane) -> Snapshot:
        """A plane as it is, for a refit in another thread."""
        last = self.journal[-1] if len(self.journal) else None
        return Snapshot(plane, self.on(plane), self.fits[plane], last)

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
        plane = since.plane
        if self.fits.get(plane) is not since.fit:
            return False
        if since.last is not None and all(step is not since.last for step in self.journal):
            return False
        now = self.on(plane)
        touched = changed_rows(since.table, now).union(since.table.index.symmetric_difference(now.index))
        new = table.loc[table.index.difference(touched)]
        different = changed_rows(self.table, new)
        fits = FitChange(plane, change)
        step = Step("refit", self.table.loc[different], new.loc[different], fit=fits)
        self.journal.add(step)
        self.table = step.forth(self.table)
        self.fits = fits.forth(self.fits)
        self.changed.emit(self, step.numbers)
        return True


def step_between(before: pd.DataFrame, after: pd.DataFrame, kind: str | None = None) -> Step | None:
    """What was done from one table to the next; None where nothing was."""
    added, deleted = after.index.difference(before.index), before.index.difference(after.index)
    differ = changed_rows(before, after)
    if not len(added) and not len(deleted) and not len(differ):
        return None
    kind = kind or _kind(before.loc[differ], after.loc[differ], bool(len(added)), bool(len(deleted)))
    if kind not in (*EDITS, *TYING):
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
    if found & {"move", "resize"}:  # what is moved is pinned by that, and its class is unknown
        found -= {"pin", "class"}
    if "class" in found:
        found.discard("pin")
    return found.pop() if len(found) == 1 else "change"


def _goes_on(last: Step, step: Step) -> bool:
    same = last.kind == step.kind == "resize" and last.numbers.equals(step.numbers)
    return same and step.when - last.when < AT_ONCE
