"""What a refit changes of a fit: few of its rows and a piece of its picture, to be done and taken back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..droplets import GUIDE_BY_ROW, Droplets, Fit
from ..lazy import LazyPixels
from .rows import changed_rows, numbered, with_rows

MOST_PIXELS = 4_000_000
"""Values of a picture that are kept for undo; where a refit draws more anew, undo leaves the picture to the next."""


class Numbered(NamedTuple):
    """A fit, and the numbers of its droplets."""

    fit: Fit
    numbers: np.ndarray

    @property
    def table(self) -> pd.DataFrame:
        """Its droplets by number."""
        return numbered(self.fit.table, self.numbers)


class Side(NamedTuple):
    """What there is on one side of a change."""

    rows: pd.DataFrame
    guide: dict[str, np.ndarray]
    picture: np.ndarray | None
    rest: dict[str, Any]
    """Fields of the fit that have no rows."""


class Change(NamedTuple):
    """From one fit to the next."""

    before: Side
    after: Side
    box: tuple[slice, slice] | None

    @classmethod
    def between(cls, old: Numbered, new: Numbered) -> Change:
        """What differs; takes some tenths of a second for large pictures, so that it belongs into a thread."""
        one, other = old.table, new.table
        common = one.index.intersection(other.index)
        differs = np.zeros(len(common), bool)
        at, to = one.index.get_indexer(common), other.index.get_indexer(common)
        for name in GUIDE_BY_ROW:
            if name in old.fit.guide and name in new.fit.guide:
                a, b = old.fit.guide[name][at], new.fit.guide[name][to]
                differs |= (a != b).any(axis=tuple(range(1, a.ndim)))
        touched = common[differs].union(changed_rows(one, other))
        one_picture, other_picture = old.fit.reconstruction, new.fit.reconstruction
        lazy = isinstance(one_picture, LazyPixels) or isinstance(other_picture, LazyPixels)
        box = None if lazy else _differing(np.asarray(one_picture), np.asarray(other_picture))
        gone = one.index.difference(other.index).union(touched)
        come = other.index.difference(one.index).union(touched)
        return cls(_side(old, gone, box), _side(new, come, box), box)

    def forth(self, fit: Numbered) -> Numbered:
        """The fit with it done."""
        return _swapped(fit, self.before, self.after, self.box)

    def back(self, fit: Numbered) -> Numbered:
        """The fit as it was before."""
        return _swapped(fit, self.after, self.before, self.box)


Fits = dict[tuple[int, ...], Numbered]
"""The fit of each plane."""


class FitChange(NamedTuple):
    """A change of the fit of one plane of a sheet."""

    plane: tuple[int, ...]
    change: Change

    def forth(self, fits: Fits) -> Fits:
        """The fits with it done."""
        return fits | {self.plane: self.change.forth(fits[self.plane])}

    def back(self, fits: Fits) -> Fits:
        """The fits as they were before."""
        return fits | {self.plane: self.change.back(fits[self.plane])}


class NewFits(NamedTuple):
    """Other fits in place of all."""

    before: Fits
    after: Fits

    def forth(self, fits: Fits) -> Fits:
        """The fits with it done."""
        return self.after

    def back(self, fits: Fits) -> Fits:
        """The fits as they were before."""
        return self.before


def _side(fit: Numbered, numbers: pd.Index, box: tuple[slice, slice] | None) -> Side:
    at = pd.Index(fit.numbers).get_indexer(numbers)
    guide = {name: fit.fit.guide[name][at].copy() for name in GUIDE_BY_ROW if name in fit.fit.guide}
    picture = None if box is None else np.array(fit.fit.reconstruction[box])
    rest = {"summary": fit.fit.summary, "losses": fit.fit.losses, "optics": fit.fit.optics}
    if isinstance(fit.fit.reconstruction, LazyPixels):  # takes no room: it is drawn where it is looked at
        rest["reconstruction"] = fit.fit.reconstruction
    return Side(fit.table.loc[numbers], guide, picture, rest)


def _swapped(fit: Numbered, gone: Side, come: Side, box: tuple[slice, slice] | None) -> Numbered:
    table = with_rows(fit.table, come.rows, gone.rows.index.difference(come.rows.index))
    numbers, before = table.index, pd.Index(fit.numbers)
    at, fresh = before.get_indexer(numbers), come.rows.index.get_indexer(numbers)
    guide = dict(fit.fit.guide)
    for name, rows in come.guide.items():
        kept = guide[name]
        guide[name] = np.empty((len(numbers), *rows.shape[1:]), kept.dtype)
        guide[name][fresh < 0] = kept[at[fresh < 0]]
        guide[name][fresh >= 0] = rows[fresh[fresh >= 0]]
    picture = fit.fit.reconstruction
    if box is not None and come.picture is not None:
        picture = np.array(picture)
        picture[box] = come.picture
    size = fit.fit.droplets.pixel_size_um
    droplets = replace(Droplets.from_dataframe(table.rename_axis(None)), pixel_size_um=size)
    new = replace(fit.fit, droplets=droplets, guide=guide, **{"reconstruction": picture} | come.rest)
    return Numbered(new, numbers.to_numpy())


def _differing(one: np.ndarray, other: np.ndarray) -> tuple[slice, slice] | None:
    """The box in which two pictures differ; None where they do not, or all over."""
    if one is other or one.shape != other.shape:
        return None
    differs = (one != other).any(axis=2)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    if not len(rows):
        return None
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    size = (rows[-1] + 1 - rows[0]) * (columns[-1] + 1 - columns[0]) * one.shape[2]
    return box if size <= MOST_PIXELS else None
