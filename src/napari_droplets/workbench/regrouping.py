"""Droplets of a sheet sorted into another number of classes, as a step that can be undone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..composition.regroup import regroup, tells_of_class
from ..errors import InputError
from .fits import Change, FitChange, Numbered
from .sheet import Sheet, Snapshot


class Regrouped(NamedTuple):
    """Other classes of the droplets of a plane."""

    since: Snapshot
    fit: Numbered
    change: Change


def to_regroup(sheet: Sheet | None) -> Snapshot:
    """What is sorted anew.

    Raises
    ------
    InputError
        There is no fit, or one of each of several planes.
    """
    if sheet is None or not sheet.fits:
        raise InputError("classes: these droplets have no fit, and so no compositions; press Run first")
    if len(sheet.fits) > 1:
        raise InputError(
            "classes: these are several planes, each with a fit of its own; set Classes under Find > Advanced, and "
            "press Run"
        )
    if sheet.running:
        raise InputError("classes: work on these droplets goes on; wait for its end, or press Cancel")
    return sheet.snapshot(next(iter(sheet.fits)))


def regrouped(since: Snapshot, classes: int | None = None, names: Sequence[str] | None = None) -> Regrouped:
    """Sort the droplets of a plane into classes, as `napari_droplets.regroup`; takes a second or so."""
    new = since.fit._replace(fit=regroup(since.fit.fit, classes, names=names))
    return Regrouped(since, new, Change.between(since.fit, new))


def take(sheet: Sheet, found: Regrouped) -> int | None:
    """Take over other classes; those that were set by hand stay.

    Returns
    -------
    int or None
        How many stay as they were set by hand; None where the fit is another one by now.
    """
    plane, before = found.since.plane, found.since.fit
    if sheet.fits.get(plane) is not before:
        return None
    table, old, new = sheet.table, before.table, found.fit.table
    here = table.index.intersection(new.index)
    by_hand = np.zeros(len(here), bool)
    if "class" in table and "class" in old:
        by_hand = (table.loc[here, "class"].astype(str) != old.loc[here, "class"].astype(str)).to_numpy()
    sorted_anew = here[~by_hand]
    sheet.resort(_with_classes(table, new, sorted_anew), FitChange(plane, found.change))
    return int(by_hand.sum())


def _with_classes(table: pd.DataFrame, new: pd.DataFrame, numbers: pd.Index) -> pd.DataFrame:
    """A table with classes of another one, for the droplets of these numbers."""
    left = table.index.difference(numbers)
    columns = {}
    for column in (str(c) for c in new if tells_of_class(str(c))):
        values = new[column].reindex(table.index)
        if len(left):
            values = values.astype(object)
            values[left] = table.loc[left, column] if column in table else np.nan
            values = values.infer_objects()
        if values.notna().all() and new[column].dtype.kind in "iu" and values.dtype.kind == "f":
            values = values.astype(int)
        columns[column] = values
    told = table.drop(columns=[c for c in table if tells_of_class(str(c))]).assign(**columns)
    return told[[*(c for c in table if c in told), *(c for c in told if c not in table)]]
