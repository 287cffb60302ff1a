"""Tables of droplets whose rows have numbers: compared, put back, taken away."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

NUMBER = "droplet"
"""Name of the index: a droplet keeps its number through edits, undo and refits, and no other gets it."""
MARKS = ("edited", "pinned")
"""Columns of truth values, false where nothing is said."""


def numbered(table: pd.DataFrame, numbers: Any = None) -> pd.DataFrame:
    """A table with the numbers of its droplets as index; 0, 1, … by default."""
    n = np.arange(len(table)) if numbers is None else np.asarray(numbers, int)
    return table.set_axis(pd.Index(n, name=NUMBER), axis=0)


def changed_rows(before: pd.DataFrame, after: pd.DataFrame) -> pd.Index:
    """Numbers of droplets in both tables whose rows differ in a column; two that are unknown are the same.

    A column that one of them lacks is unknown there, and a mark that is missing is false.
    """
    both, one, other = before.index, before, after
    if not before.index.equals(after.index):
        both = before.index.intersection(after.index)
        one, other = before.loc[both], after.loc[both]
    differs = np.zeros(len(both), bool)
    for column in dict.fromkeys([*before, *after]):
        differs |= ~_same(_column(one, column), _column(other, column))
    return both[differs]


def with_rows(table: pd.DataFrame, rows: pd.DataFrame, without: Any = ()) -> pd.DataFrame:
    """A table with some rows in place of those of their numbers, or added, and others taken away; by number."""
    gone = table.index.isin(rows.index.union(pd.Index(without, dtype=table.index.dtype)))
    left = table[~gone]
    if not len(rows):
        return left.copy()
    columns = [*table, *(c for c in rows if c not in table)]
    parts = {}
    for column in columns:
        one, other = _column(left, column), _column(rows, column)
        parts[column] = _joined(one, other, column)
    index = left.index.append(rows.index)
    return pd.DataFrame(parts, index=pd.Index(index, name=NUMBER)).sort_index()


def as_like(table: pd.DataFrame, like: pd.DataFrame) -> pd.DataFrame:
    """The columns that another table has, in its types where the values can be of them."""
    table = table[[c for c in table if c in like]]
    wanted = {}
    for column in table:
        kind, values = like[column].dtype, table[column]
        if values.dtype == kind or (kind.kind in "biu" and values.isna().any()):
            continue
        wanted[column] = kind
    return table.astype(wanted) if wanted else table


def _column(table: pd.DataFrame, column: Any) -> np.ndarray:
    if column in table:
        return table[column].to_numpy()
    return np.zeros(len(table), bool) if column in MARKS else np.full(len(table), np.nan)


def _joined(one: np.ndarray, other: np.ndarray, column: Any) -> np.ndarray:
    """Two columns as one, of the first one's type where it can hold all."""
    if column in MARKS:
        return np.concatenate([_marks(one), _marks(other)])
    if not len(one):
        return other.copy()
    numbers = one.dtype.kind in "biuf" and all(isinstance(v, (bool, int, float, np.number)) for v in other)
    if numbers and not pd.isna(other).any() and (other.astype(one.dtype) == other).all():
        return np.concatenate([one, other.astype(one.dtype)])
    if {one.dtype.kind, other.dtype.kind} == {"b", "f"}:  # numpy would make numbers of truth values
        return np.concatenate([one.astype(object), other.astype(object)])
    return np.concatenate([one, other])


def _marks(values: np.ndarray) -> np.ndarray:
    return pd.Series(values, dtype=object).eq(True).to_numpy(bool)


def _same(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.dtype.kind in "biuf" and other.dtype.kind in "biuf":
        same = one == other
        if one.dtype.kind == other.dtype.kind == "f":
            same |= np.isnan(one) & np.isnan(other)
        return same
    first, second = pd.Series(one, dtype=object), pd.Series(other, dtype=object)
    return ((first == second) | (first.isna() & second.isna())).to_numpy(bool)
