"""The journal: what was done to the droplets of one image, step by step, to be undone, redone, saved and read.

A `Step` holds the rows it has changed as they were and as they became, by the number of the droplet, so that it can be
taken back exactly however many steps lie between. Local refits are steps, too, but no stops: `undo` takes back the last
edit with whatever was refitted since.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pandas as pd

from .fits import FitChange, NewFits
from .movies.ties import TieChange
from .rows import as_like, with_rows

EditKind = Literal[
    "add", "move", "resize", "delete", "merge", "split", "class", "pin", "change", "link", "cut", "event"
]
"""What a user may do; `change` is any other column that was set, or several of these at once. The last three tie
droplets of different frames: they are the same one, they are not, some become another."""
Kind = Literal[EditKind, "refit", "relink"]
"""What follows from edits: surroundings fitted again, droplets of other frames linked anew."""
EDITS: tuple[str, ...] = get_args(EditKind)
TYING = ("link", "cut", "event", "relink")
"""Steps after which tracks are what they should be."""


@dataclass(frozen=True, eq=False)
class Step:
    """One thing that was done.

    Attributes
    ----------
    kind : str
        One of `EDITS`, 'refit' or 'relink'.
    before, after : DataFrame
        Rows that it changed, by number; what was added is in `after` alone, what was deleted in `before`. Columns and
        their types are those of the whole table then, even where there are no rows.
    when : float
        Seconds since 1970.
    fit : FitChange or NewFits, optional
        Of a refit: what it changed of the fits.
    ties : TieChange, optional
        What it changed of the ties of a movie's droplets.
    """

    kind: str
    before: pd.DataFrame
    after: pd.DataFrame
    when: float = field(default_factory=time.time)
    fit: FitChange | NewFits | None = None
    ties: TieChange | None = None

    @property
    def is_edit(self) -> bool:
        """Whether the user did it, and it does not follow from what was done."""
        return self.kind in EDITS

    @property
    def stops(self) -> bool:
        """Whether undo and redo stop here: at edits, and at a run that took the place of all droplets."""
        return self.is_edit or isinstance(self.fit, NewFits)

    @property
    def numbers(self) -> pd.Index:
        """Of the droplets concerned."""
        return self.before.index.union(self.after.index)

    def forth(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table with it done."""
        return as_like(with_rows(table, self.after, self.before.index.difference(self.after.index)), self.after)

    def back(self, table: pd.DataFrame) -> pd.DataFrame:
        """The table as it was before."""
        return as_like(with_rows(table, self.before, self.after.index.difference(self.before.index)), self.before)


class Journal:
    """Steps in their order, and how many of them hold now: those after were undone and can be redone."""

    def __init__(self, steps: Any = (), done: int | None = None) -> None:
        self._steps: list[Step] = list(steps)
        self.done = len(self._steps) if done is None else done

    def __len__(self) -> int:
        return self.done

    def __iter__(self) -> Iterator[Step]:
        """Steps that hold."""
        return iter(self._steps[: self.done])

    def __getitem__(self, index: int) -> Step:
        return self._steps[: self.done][index]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All, those that were undone, too."""
        return tuple(self._steps)

    @property
    def edits(self) -> list[Step]:
        """What the user did and has not undone."""
        return [step for step in self if step.is_edit]

    def add(self, step: Step) -> None:
        """Something was done; what was undone before can no longer be redone."""
        del self._steps[self.done :]
        self._steps.append(step)
        self.done += 1

    def replace_last(self, step: Step) -> None:
        """The last step went on."""
        self.done -= 1
        self.add(step)

    def to_undo(self) -> list[Step]:
        """The last edit and the refits since, in the order in which to take them back; empty where there is none."""
        for first in range(self.done - 1, -1, -1):
            if self._steps[first].stops:
                return self._steps[first : self.done][::-1]
        return []

    def to_redo(self) -> list[Step]:
        """The next edit and the refits that followed it, in their order; empty where there is none."""
        following = self._steps[self.done :]
        last = next((i for i, step in enumerate(following[1:], 1) if step.stops), len(following))
        return following[:last]

    def clear(self) -> None:
        """Forget all: the droplets are others now."""
        self._steps, self.done = [], 0
