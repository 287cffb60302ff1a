"""What a user changed in a Points layer of ours: droplets added, moved, resized, deleted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from ..droplets import Droplets, cut_by_border
from ..images.pixel_size import mean_side, width_height

UM_COLUMNS = ["x_um", "y_um", "radius_um"]
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
) -> Corrected:
    """Compare the points of a layer with the table that was drawn.

    napari moves a point's row of features along with it when other points are deleted, so the x, y, radius among the
    features tell which droplet a point was drawn for; a row that says nothing, or what an earlier one said, is new.

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
    """
    n = len(data)
    keys = ["x", "y", "radius"]
    lookup = {row: i for i, row in enumerate(drawn[keys].itertuples(index=False, name=None))}
    told = list(features[keys].itertuples(index=False, name=None)) if set(keys) <= set(features) else [()] * n
    rows = np.array([lookup.pop(key, -1) for key in told], int).reshape(n)

    now = np.column_stack([data[:, -1], data[:, -2], np.asarray(size, float) / 2]).reshape(n, 3)
    new = rows < 0
    before = np.full((n, 3), np.inf)
    before[~new] = drawn[keys].to_numpy(float)[rows[~new]]
    edited = np.abs(now - before).max(axis=1, initial=0) > TOLERANCE

    # -1 is in no index of the table, so added droplets get rows of NaN
    table = drawn.reset_index(drop=True).drop(columns=UM_COLUMNS, errors="ignore").reindex(rows).reset_index(drop=True)
    pinned = table["pinned"].eq(True).to_numpy() if "pinned" in table else np.zeros(n, bool)
    table.loc[edited, keys] = now[edited]
    table.loc[edited, [c for c in ("x_sd", "y_sd", "radius_sd") if c in table]] = np.nan
    if "p_present" in table:
        table.loc[edited, "p_present"] = 1.0  # somebody has looked
    if edited.any() or "pinned" in table:
        table["pinned"] = pinned | edited
    if "cut_by_border" in table and edited.any():
        cut = cut_by_border(Droplets(*now.T), shape) if shape else np.full(n, None)
        column = np.where(edited, cut, table["cut_by_border"].to_numpy(object))
        table["cut_by_border"] = column if pd.isna(column).any() else column.astype(bool)
    pixel = Droplets.from_dataframe(drawn).pixel_size_um
    if pixel is not None:
        table[UM_COLUMNS] = table[keys].to_numpy(float) * np.array([*width_height(pixel), mean_side(pixel)])
    return Corrected(table, int(new.sum()), int((edited & ~new).sum()), len(lookup) - hidden, hidden)
