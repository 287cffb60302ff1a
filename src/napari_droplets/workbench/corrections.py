"""What a user can do to droplets of a table: merge, split, sort into a class, pin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..droplets import Droplets, cut_by_border
from ..errors import InputError
from .rows import NUMBER, with_rows

PLACE = ["x", "y", "radius"]
KEPT = ("p_present", "pinned", "edited", "frame", "plane")
"""Columns that hold for a droplet put in place of others: they are looked at, and on the same plane."""
APART = 0.7
"""Radii from the middle at which the two halves of a split droplet are put, with radii smaller by 1 / sqrt 2."""


def merged(table: pd.DataFrame, numbers: Sequence[int], shape: tuple[int, int] | None = None) -> pd.DataFrame:
    """Several droplets as one of the same area, in their middle weighted by area; it has the first one's number.

    With the `shape` of the image (height and width) it is known whether the border cuts it.

    Raises
    ------
    InputError
        Fewer than two, or not of one plane.
    """
    rows = table.loc[list(numbers)]
    if len(rows) < 2:
        raise InputError("merge: select two or more droplets")
    for axis in ("frame", "plane", *(c for c in table if str(c).startswith("axis_"))):
        if axis in rows and rows[axis].nunique() > 1:
            raise InputError("merge: the droplets selected are on several planes; select those of one")
    area = rows["radius"] ** 2
    first = rows.index[0]
    one = _unknown(rows.loc[[first]])
    middle = [np.average(rows["x"], weights=area), np.average(rows["y"], weights=area), np.sqrt(area.sum())]
    one.loc[first, PLACE] = middle
    return with_rows(table, _measured(one, table, shape), rows.index.difference([first]))


def split(
    table: pd.DataFrame, number: int, second: int, shape: tuple[int, int] | None = None, angle: float = 0.0
) -> pd.DataFrame:
    """One droplet as two that touch, each of half its area; the second one gets the number given for it.

    Parameters
    ----------
    shape : (int, int), optional
        Height and width of the image: without it is not known whether the border cuts them.
    angle : float
        Direction from one to the other, radians.
    """
    x, y, radius = table.loc[[number], PLACE].to_numpy(float)[0]
    two = _unknown(table.loc[[number, number]]).set_axis(pd.Index([number, second], name=NUMBER), axis=0)
    off = APART * radius * np.array([np.cos(angle), np.sin(angle)])
    two[PLACE] = [[x - off[0], y - off[1], radius / np.sqrt(2)], [x + off[0], y + off[1], radius / np.sqrt(2)]]
    return with_rows(table, _measured(two, table, shape))


def classified(table: pd.DataFrame, numbers: Sequence[int], name: Any) -> pd.DataFrame:
    """Droplets sorted into a class by hand, which is certain then."""
    rows = table.loc[list(numbers)].copy()
    kind = table["class"].dtype if "class" in table else np.dtype(object)
    rows["class"] = pd.Series([name] * len(rows), rows.index, dtype=kind if isinstance(name, int) else object)
    rows["class_p"] = 1.0
    rows["edited"] = True
    return with_rows(table, rows)


def pinned(table: pd.DataFrame, numbers: Sequence[int], *, pin: bool = True) -> pd.DataFrame:
    """Droplets that refits leave in their places, or no longer."""
    rows = table.loc[list(numbers)].copy()
    rows["pinned"] = pin
    return with_rows(table, rows)


def _measured(rows: pd.DataFrame, table: pd.DataFrame, shape: tuple[int, int] | None) -> pd.DataFrame:
    """Rows with what follows from their places: micrometres, and whether the border of the image cuts them."""
    size = Droplets.from_dataframe(table).pixel_size_um
    places = replace(Droplets(*rows[PLACE].to_numpy(float).T), pixel_size_um=size)
    rows = rows.assign(**places.in_micrometres())
    if "cut_by_border" in rows and shape is not None:
        rows["cut_by_border"] = cut_by_border(places, shape)
    return rows


def _unknown(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of droplets that nobody has fitted yet, but that somebody has looked at."""
    rows = rows.copy()
    for column in rows:
        if column not in (*PLACE, *KEPT) and not str(column).startswith("axis_"):
            values = rows[column]
            rows[column] = values.astype(float if values.dtype.kind in "iuf" else object).mask(np.ones(len(rows), bool))
    if "p_present" in rows:
        rows["p_present"] = 1.0
    rows["pinned"] = rows["edited"] = True
    return rows
