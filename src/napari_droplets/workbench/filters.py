"""Which droplets are shown: filters by what their table says, in words, and as a record that can be saved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from ..droplets import Droplets, cut_by_border
from ..errors import InputError
from ..images.region import Region, centers_in, checked_region, region_mask

NO_CLASS = "none"
"""In place of a class that a droplet does not have, or is not known."""


@dataclass(frozen=True)
class Filters:
    """What droplets must be to be shown; those that are not are hidden, never deleted.

    A droplet of which nothing is known that a filter asks for is shown.

    Attributes
    ----------
    min_probability : float
        Least `p_present`. Droplets that somebody added, moved, resized or confirmed are shown whatever it is.
    min_diameter, max_diameter : float, optional
        Pixels.
    hidden_classes : tuple of str
        Classes, as text, that are not shown; "none" for droplets without one.
    max_misfit : float, optional
        Largest residual over the noise.
    cut_by_border : bool
        Whether droplets are shown that the border of the image cuts.
    region : box or mask, optional
        As of `napari_droplets.Settings`: where the centers of droplets are.
    region_name : str
        What the region is called.
    """

    min_probability: float = 0.0
    min_diameter: float | None = None
    max_diameter: float | None = None
    hidden_classes: tuple[str, ...] = ()
    max_misfit: float | None = None
    cut_by_border: bool = True
    region: Region | None = None
    region_name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden_classes", tuple(map(str, self.hidden_classes)))
        object.__setattr__(self, "region", checked_region(self.region))

    def record(self) -> dict[str, Any]:
        """What differs from showing all, as JSON holds it."""
        usual = asdict(Filters())
        return {name: value for name, value in asdict(self).items() if value != usual[name]}

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Filters:
        """From a `record`; names that there are not are passed over, as another version may have written them."""
        known = {f.name for f in fields(cls)}
        return cls(**{name: value for name, value in record.items() if name in known})

    def text(self, pixel_um: float | None = None) -> str:
        """In words; empty where all is shown.

        Parameters
        ----------
        pixel_um : float, optional
            Side of a pixel, for diameters in micrometres.
        """
        parts = [f"probability ≥ {self.min_probability:g}"] if self.min_probability > 0 else []
        unit, side = ("px", 1.0) if pixel_um is None else ("µm", pixel_um)
        low, high = (None if d is None else f"{d * side:.4g}" for d in (self.min_diameter, self.max_diameter))
        if low is not None and high is not None:
            parts.append(f"diameter {low} to {high} {unit}")
        elif low is not None or high is not None:
            parts.append(f"diameter {'≥' if low is not None else '≤'} {low or high} {unit}")
        if self.hidden_classes:
            parts.append(f"without class {', '.join(self.hidden_classes)}")
        if self.max_misfit is not None:
            parts.append(f"misfit ≤ {self.max_misfit:.3g}")
        if not self.cut_by_border:
            parts.append("not cut by the border")
        if self.region is not None:
            parts.append(f"in {self.region_name or 'a region'}")
        return "; ".join(parts)


def passes(filters: Filters, table: pd.DataFrame, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Which droplets of a table are shown.

    Parameters
    ----------
    filters : Filters
    table : DataFrame
        With x, y, radius in pixels as they are now; p_present, pinned, class, misfit, cut_by_border where known.
    shape : (int, int), optional
        Height and width of the image: for the region, and the border where the table does not tell.

    Returns
    -------
    ndarray
        (N,) bool.

    Raises
    ------
    InputError
        There is a region but no `shape`, or the region does not fit it.
    """
    x, y, radius = table[["x", "y", "radius"]].to_numpy(float).reshape(len(table), 3).T
    shown = np.ones(len(table), bool)
    if "p_present" in table and filters.min_probability > 0:
        shown &= ~(_numbers(table["p_present"]) < filters.min_probability) | by_hand(table)
    if filters.min_diameter is not None:
        shown &= ~(2 * radius < filters.min_diameter)
    if filters.max_diameter is not None:
        shown &= ~(2 * radius > filters.max_diameter)
    if "class" in table and filters.hidden_classes:
        shown &= ~np.isin(class_words(table["class"]), filters.hidden_classes)
    if "misfit" in table and filters.max_misfit is not None:
        shown &= ~(_numbers(table["misfit"]) > filters.max_misfit)
    if not filters.cut_by_border:
        shown &= ~_cut(table, Droplets(x, y, radius), shape)
    if filters.region is not None:
        if shape is None:
            raise InputError("region: the image of these droplets is not known; open it first")
        shown &= centers_in(_mask(filters.region, tuple(shape)), x, y)
    return shown


def by_hand(table: pd.DataFrame) -> np.ndarray:
    """(N,) bool: droplets that somebody has looked at, and added, changed or confirmed."""
    n = len(table)
    return table["pinned"].eq(True).to_numpy(bool) if "pinned" in table else np.zeros(n, bool)


def class_words(column: pd.Series) -> np.ndarray:
    """(N,) classes as text: numbers without decimals, `NO_CLASS` where there is none."""
    numbers = _numbers(column)
    if np.isnan(numbers).all() and column.notna().any():
        return column.astype(object).where(column.notna(), NO_CLASS).astype(str).to_numpy()
    words = np.full(len(column), NO_CLASS, object)
    known = numbers >= 0
    codes, inverse = np.unique(numbers[known], return_inverse=True)
    words[known] = np.array([f"{code:g}" for code in codes], object)[inverse]
    return words


def classes_of(table: pd.DataFrame) -> list[str]:
    """The classes in a table in their order, `NO_CLASS` last; none where there is at most one."""
    if "class" not in table:
        return []
    found = sorted(set(class_words(table["class"])), key=lambda w: (w == NO_CLASS, len(w), w))
    return found if len(found) > 1 else []


def _cut(table: pd.DataFrame, droplets: Droplets, shape: tuple[int, int] | None) -> np.ndarray:
    if shape is not None:
        return cut_by_border(droplets, shape)
    if "cut_by_border" in table:
        return table["cut_by_border"].eq(True).to_numpy(bool)
    return np.zeros(len(table), bool)


def _numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


@lru_cache(maxsize=2)
def _mask(region: Region, shape: tuple[int, int]) -> np.ndarray:
    """Kept, as a filter is asked for at every move of a slider."""
    return region_mask(region, shape)
