"""A journal repeated on another fit of the same image: what was corrected there is corrected here, told by place."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..errors import InputError
from .encoding import steps_of
from .journal import EDITS, TYING, Journal, Step
from .rows import MARKS, changed_rows, with_rows
from .sheet import PLACE, Sheet
from .storing import journal_text

CLOSE = 0.5
"""Radii within which the center of another droplet lies for it to be the same …"""
ALIKE = 2.0
"""… and the most that one of their radii is larger by."""


class Replayed(NamedTuple):
    """What came of a journal that was repeated."""

    done: int
    lost: list[str]
    """Edits of droplets that are not there, in words."""


def replay(steps: Iterable[Step], sheet: Sheet) -> Replayed:
    """Repeat the edits among some steps on the droplets of another sheet, each as a step that can be undone.

    A droplet is known again by its place: its center within half a radius, its radius within a factor of two. What was
    added where there is a droplet now moves that one.

    Parameters
    ----------
    steps : iterable of Step
        A `Journal`, or steps of it; refits among them are left out.
    sheet : Sheet
        Of the same image.
    """
    known: dict[int, int] = {}
    done, lost = 0, []
    for step in steps:
        if not step.is_edit or step.kind in TYING:  # tracks of another run have other numbers
            continue
        table = sheet.table
        gone, rows = [], []
        for number in step.numbers:
            before = step.before.loc[[number]] if number in step.before.index else None
            after = step.after.loc[[number]] if number in step.after.index else None
            there = known.get(number)
            if there is None or there not in table.index:
                there = _same(table, before if before is not None else after)
            if there is None and before is not None:
                x, y = before[["x", "y"]].iloc[0]
                lost.append(f"{step.kind} at x {x:.1f}, y {y:.1f}")
            elif after is None:
                assert there is not None
                gone.append(there)
            else:
                there = int(sheet.new_numbers(1)[0]) if there is None else there
                known[number] = there
                rows.append(_edited(table, there, before, after))
        if gone or rows:
            new = with_rows(table, pd.concat(rows) if rows else table.iloc[:0], gone)
            done += sheet.edit(new, step.kind) is not None
    return Replayed(done, lost)


def save_journal(journal: Journal, path: Path) -> None:
    """Write a journal as JSON: what holds of it."""
    from ..storage.atomic import write_whole

    text = journal_text(tuple(journal), len(journal))
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))


def read_journal(path: str | Path) -> list[Step]:
    """The edits of a journal that `save_journal` wrote, to be replayed.

    Raises
    ------
    InputError
        It is none.
    """
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        edits = [one | {"fit": None} for one in record["steps"] if one["kind"] in EDITS]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a journal ({error})") from None
    return steps_of(edits, {}, len(edits), str(path))[0]


def _same(table: pd.DataFrame, row: pd.DataFrame | None) -> int | None:
    """The number of the droplet at the place of a row."""
    if row is None or not len(table):
        return None
    x, y, radius = row[PLACE].iloc[0].astype(float)
    there = table[PLACE].to_numpy(float)
    apart = np.hypot(there[:, 0] - x, there[:, 1] - y)
    for axis in ("frame", *(c for c in table if str(c).startswith("axis_"))):
        if axis in table and axis in row:
            apart[table[axis].to_numpy() != row[axis].iloc[0]] = np.inf
    larger = np.maximum(there[:, 2], radius) / np.minimum(there[:, 2], radius)
    apart[larger > ALIKE] = np.inf
    nearest = int(apart.argmin())
    return int(table.index[nearest]) if apart[nearest] <= CLOSE * radius else None


def _edited(table: pd.DataFrame, number: int, before: pd.DataFrame | None, after: pd.DataFrame) -> pd.DataFrame:
    """The row of a droplet with what an edit changed."""
    if before is None or number not in table.index:
        row = after.reindex(columns=list(dict.fromkeys([*table, *(c for c in after if c in MARKS)])))
        return row.set_axis(pd.Index([number], name=table.index.name), axis=0)
    row = table.loc[[number]].copy()
    for column in after:
        one = before[[column]] if column in before else before[[]]
        if len(changed_rows(one, after[[column]])):
            value = after[column].iloc[0]
            row[column] = pd.Series([value], row.index, dtype=object).infer_objects()
    return row
