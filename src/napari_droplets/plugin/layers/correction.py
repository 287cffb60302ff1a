"""What a user changed in a Points layer of ours: droplets added, moved, resized, deleted."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...droplets import Droplets, cut_by_border
from ...images.pixel_size import mean_side, width_height

KEYS = ["x", "y", "radius"]
UM_COLUMNS = ["x_um", "y_um", "radius_um"]
OF_OUTLINE = ("x_sd", "y_sd", "radius_sd", "misfit")
"""Columns that hold for the circle that was fitted alone."""
OF_PLACE = re.compile(r"composition_\d+(_sd)?|class|class_p")
"""Columns that were read off the pixels of a place."""
TOLERANCE = 1e-4  # pixels; napari may keep sizes in single precision


class Corrected(NamedTuple):
    """A droplets table with a user's corrections, and how many there were."""

    table: pd.DataFrame
    """The table that `refit` takes: corrected rows are `pinned`, what the correction made obsolete is NaN."""
    added: int
    changed: int
    """Moved or resized."""
    deleted: int
    hidden: int
    """Not in the table, as they are hidden."""

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)


def corrected(
    drawn: pd.DataFrame,
    features: pd.DataFrame,
    data: np.ndarray,
    size: np.ndarray,
    hidden: int = 0,
    shape: tuple[int, int] | None = None,
    numbers: np.ndarray | None = None,
) -> Corrected:
    """Compare the points of a layer with the table that was drawn.

    Parameters
    ----------
    drawn : DataFrame
        The droplets table the layer was made from.
    features : DataFrame
        The layer's features now, one row per point.
    data : ndarray
        (N, D) point coordinates now, (..., y, x) in pixels.
    size : ndarray
        (N,) diameters now, pixels.
    hidden : int
        How many drawn points are not among these because they are hidden, not deleted.
    shape : (int, int), optional
        Height and width of the image: whether its border cuts what was edited is not known without.
    numbers : ndarray, optional
        (N,) int: the number of each point, in the index of `drawn` or of a droplet added since. By default the x, y,
        radius among the features tell: napari moves a point's row along with it when other points are deleted.
    """
    n = len(data)
    own = set(KEYS) <= set(features)
    if numbers is not None:
        rows = drawn.index.get_indexer(pd.Index(numbers))
    else:
        rows = told_rows(drawn, features) if own else np.full(n, -1)
    now = places(data, size)
    new = rows < 0
    before = np.full((n, 3), np.nan)
    before[~new] = drawn[KEYS].to_numpy(float)[rows[~new]]
    # -1 is in no index of the table, so added droplets get rows of NaN
    table = features if own else drawn.reset_index(drop=True).reindex(rows)
    moved, resized = differs(now, before)
    table = edited_table(table.reset_index(drop=True), now, moved, resized, new, shape)
    pixel = Droplets.from_dataframe(drawn).pixel_size_um
    if pixel is not None:
        table[UM_COLUMNS] = in_micrometres(now, pixel)
    table = table.drop(columns=[c for c in ("class", "class_p") if c in table and table[c].isna().all()])
    changed = (moved | resized) & ~new
    return Corrected(table, int(new.sum()), int(changed.sum()), len(drawn) - int((~new).sum()) - hidden, hidden)


def told_rows(drawn: pd.DataFrame, features: pd.DataFrame) -> np.ndarray:
    """(N,) rows of a table that features repeat; -1 where they say nothing, or what an earlier one said."""
    lookup = {row: i for i, row in enumerate(drawn[KEYS].itertuples(index=False, name=None))}
    told = features[KEYS].itertuples(index=False, name=None)
    return np.array([lookup.pop(key, -1) for key in told], int).reshape(len(features))


def places(data: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(N, 3) x, y, radius of points (N, D) with diameters (N,)."""
    data = np.asarray(data, float)
    return np.column_stack([data[:, -1], data[:, -2], np.asarray(size, float) / 2]).reshape(len(data), 3)


def differs(now: np.ndarray, before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which droplets (N,) were moved, and which resized; both where nothing was known."""
    same = np.abs(now - before) <= TOLERANCE  # NaN is not
    return ~same[:, :2].all(axis=1), ~same[:, 2]


def edited_table(
    table: pd.DataFrame,
    now: np.ndarray,
    moved: np.ndarray,
    resized: np.ndarray,
    new: np.ndarray,
    shape: tuple[int, int] | None = None,
) -> pd.DataFrame:
    """A table that says of edited droplets where they are, and nothing that was found of them elsewhere.

    Parameters
    ----------
    table : DataFrame
        As it was before.
    now : ndarray
        (N, 3) x, y, radius.
    moved, resized, new : ndarray
        (N,) bool. Of what was resized composition and class stay; of what is new all is unknown but that it is there.
    shape : (int, int), optional
        Height and width of the image.
    """
    table = table.copy()
    edited = moved | resized | new
    if not edited.any():
        return table
    for column in table:
        name = str(column)
        if column in KEYS or name in ("p_present", "pinned", "edited", "cut_by_border"):
            continue
        lost = new.copy()
        if OF_PLACE.fullmatch(name):
            lost |= moved
        elif name in OF_OUTLINE:
            lost |= edited
        if lost.any():
            table[column] = _without(table[column], lost)
    table.loc[edited, KEYS] = now[edited]
    if "p_present" in table:
        table.loc[edited, "p_present"] = 1.0  # somebody has looked
    for mark in ("pinned", "edited"):
        marked = table[mark].eq(True).to_numpy() if mark in table else np.zeros(len(table), bool)
        table[mark] = marked | edited
    if "cut_by_border" in table:
        cut = cut_by_border(Droplets(*now.T), shape) if shape else np.full(len(table), None)
        cut = np.where(edited, cut, table["cut_by_border"].to_numpy(object))
        table["cut_by_border"] = cut if pd.isna(cut).any() else cut.astype(bool)
    return table


def in_micrometres(now: np.ndarray, pixel: Any) -> np.ndarray:
    """(N, 3) x_um, y_um, radius_um."""
    return now * np.array([*width_height(pixel), mean_side(pixel)])


def _without(column: pd.Series, lost: np.ndarray) -> pd.Series:
    """A column that says nothing in some rows."""
    if column.dtype.kind in "iu":
        column = column.astype(float)
    elif column.dtype.kind == "b":
        column = column.astype(object)
    return column.mask(lost)
