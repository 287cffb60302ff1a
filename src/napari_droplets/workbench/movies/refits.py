"""Frames of a movie that are to be fitted again after edits, and what is taken over of that."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd

from ..journal import TYING, Step
from ..rows import NUMBER
from ..sheet import PLACE, Sheet
from .movie import is_followed


class Unfitted(NamedTuple):
    """A frame with edits that no fit knows yet."""

    frame: int
    table: pd.DataFrame
    """Its droplets as they are, by number."""
    edited: pd.Index
    """Those of them that were added, moved or resized."""
    gone: pd.DataFrame
    """Those that were deleted, as they were when the frame was fitted last."""
    last: Step | None
    """The last step that was done."""

    @property
    def key(self) -> tuple[Any, ...]:
        """The same for the same edits."""
        return tuple(self.table.loc[self.edited, PLACE].itertuples(name=None)), tuple(self.gone.index)


def to_refit(sheet: Sheet) -> list[Unfitted]:
    """The frames, in their order; none without droplets, where there is nothing to fit."""
    if not is_followed(sheet):
        return []
    table, gone = sheet.table, _deleted(sheet)
    edited = table.loc[_edited(table)]
    last = sheet.journal[-1] if len(sheet.journal) else None
    found = []
    for frame in sorted({*edited["frame"].astype(int), *gone["frame"].astype(int)}):
        here = table[table["frame"] == frame]
        if len(here):
            own = edited.index[edited["frame"] == frame], gone[gone["frame"] == frame]
            found.append(Unfitted(frame, here, *own, last))
    return found


def take(sheet: Sheet, asked: Unfitted, rows: pd.DataFrame) -> bool:
    """Take over rows of a frame that was fitted again, but for droplets that were touched meanwhile.

    False where they are of no use: what was fitted has been undone, or droplets were deleted meanwhile, and the others
    are fitted as if these were still there.
    """
    if asked.last is not None and all(step is not asked.last for step in sheet.journal):
        return False
    if len(asked.table.index.difference(sheet.table.index)):
        return False
    sheet.take_rows(rows, asked.table)
    return True


def _edited(table: pd.DataFrame) -> pd.Series:
    """(N,) bool, droplets that were added, moved or resized and not fitted since."""
    told = [c for c in ("composition_0", "misfit") if c in table]  # an edit takes one of these, or both
    if "pinned" not in table or not told:
        return pd.Series(False, table.index)
    return table[told].isna().any(axis=1) & table["pinned"].eq(True)


def _deleted(sheet: Sheet) -> pd.DataFrame:
    """Droplets that were deleted since their frame was fitted, as they were then, by number."""
    columns = ["frame", *PLACE]
    gone: dict[int, Any] = {}
    fitted: set[int] = set()  # frames that were fitted after the steps that are looked at
    for step in reversed(list(sheet.journal)):
        if step.kind in TYING:
            continue
        if step.kind == "refit":
            if step.stops:  # a run: what was before is of other droplets
                break
            fitted |= set(step.after["frame"].astype(int))
            continue
        left = set(step.after.index)
        for number, *row in step.before[columns].itertuples(name=None):
            if (number in gone or number not in left) and int(row[0]) not in fitted:
                gone[number] = row
        for number in left.difference(step.before.index):  # no fit has known it
            gone.pop(number, None)
    index = pd.Index(list(gone), name=NUMBER, dtype=sheet.table.index.dtype)
    return pd.DataFrame(list(gone.values()), index, columns, dtype=float)
