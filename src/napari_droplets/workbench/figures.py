"""What the plots of a session show: droplets that pass the filters, as `nd.plot` takes them, and as tables to save."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..droplets import Droplets
from ..measures.size_statistics import known_of
from .filters import Filters, class_words, passes
from .session import Session
from .sheet import Sheet

DRAWS, MANY, FEWER_DRAWS = 60, 2000, 30
"""Draws from the posterior for the bands of a plot that is drawn while droplets are corrected; of more droplets than so
many fewer will do, as bands are narrow."""
KINDS = {"sizes": "Sizes by number", "volume": "Sizes by volume", "simplex": "Composition", "proportions": "Classes"}
"""What can be shown."""


class Shown(NamedTuple):
    """The droplets of a sheet that are shown."""

    numbers: np.ndarray
    """(N,) of the droplets: the index of the table."""
    droplets: Droplets
    filters: str
    """Which filters are on, in words."""
    options: dict[str, Any]
    """For `nd.statistics` and `nd.plot.sizes`."""

    @property
    def sizes(self) -> Droplets:
        """The droplets without classes, which would be counted one by one."""
        labels = {name: label for name, label in self.droplets.labels.items() if name not in ("class", "class_p")}
        return replace(self.droplets, labels=labels)


def shown(session: Session) -> Shown | None:
    """The droplets of the sheet worked on that pass the filters; None where there are none."""
    sheet = session.sheet
    if sheet is None or not len(sheet.table):
        return None
    filters = Filters.of(session.filters)
    mask = passes(filters, sheet.table, sheet.image.shape)
    if not mask.any():
        return None
    table = sheet.table[mask]
    hidden = not mask.all()
    droplets, options = Droplets.from_dataframe(table), _options(sheet, int(mask.sum()))
    return Shown(table.index.to_numpy(), droplets, filters_text(sheet, filters, hidden), options)


def filters_text(sheet: Sheet, filters: Filters, hidden: bool = True) -> str:
    """The filters in words, diameters in micrometres where the size of a pixel is known; empty if nothing is hidden."""
    from ..images.pixel_size import mean_side

    if not hidden:
        return ""
    pixel = Droplets.from_dataframe(sheet.table).pixel_size_um
    return filters.text(None if pixel is None else mean_side(pixel))


def _options(sheet: Sheet, n: int) -> dict[str, Any]:
    """What a fit knows besides its droplets."""
    options: dict[str, Any] = {"shape": sheet.image.shape, "draws": DRAWS if n <= MANY else FEWER_DRAWS}
    if (fit := sheet.fit_of()) is not None:
        known = known_of(fit.summary)
        options |= {name: known[name] for name in ("radius_percent", "region", "visible") if name in known}
    return options


def sizes_between(shown: Shown, low: float, high: float) -> np.ndarray:
    """Numbers of the droplets with a diameter in this range, in the unit of the plot."""
    diameter = diameters(shown.droplets)
    return shown.numbers[(diameter >= low) & (diameter <= high)]


def of_class(shown: Shown, word: str) -> np.ndarray:
    """Numbers of the droplets of a class."""
    return shown.numbers[class_words(pd.Series(shown.droplets.labels["class"])) == word]


def inside(shown: Shown, xy: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """Numbers of the droplets whose places (N, 2) in a plot are inside of a closed line (V, 2)."""
    from matplotlib.path import Path

    known = np.isfinite(xy).all(axis=1)
    found = np.zeros(len(xy), bool)
    if len(outline) > 2:
        found[known] = Path(outline).contains_points(xy[known])
    return shown.numbers[found]


def in_triangle(composition: np.ndarray) -> np.ndarray:
    """(N, 2) places of compositions (N, 3) in the triangle that `nd.plot.simplex` draws."""
    from ..plot.simplex import CORNERS

    return composition / np.maximum(composition.sum(1, keepdims=True), 1e-9) @ CORNERS


def data_of(shown: Shown, kind: str) -> pd.DataFrame:
    """The numbers behind a plot.

    Parameters
    ----------
    shown : Shown
    kind : str
        One of `KINDS`.
    """
    if kind in ("sizes", "volume"):
        from ..plot.sizes import histogram

        found = histogram(shown.sizes, weight="number" if kind == "sizes" else "volume", **shown.options)
        columns = {
            f"from_{found.unit}": found.edges[:-1],
            f"to_{found.unit}": found.edges[1:],
            "density": found.density,
            "low": found.low,
            "high": found.high,
        }
        table = pd.DataFrame({name.replace("µm", "um"): values for name, values in columns.items()})
    elif kind == "simplex":
        table = shown.droplets.to_dataframe().filter(regex=r"^(composition_\d+(_sd)?|class|class_p)$")
        table.insert(0, "droplet", shown.numbers)
    else:
        from ..plot.proportions import counted

        table = counted(shown.droplets)
    return table.assign(filter=shown.filters) if shown.filters else table


def statistics_of(shown: Shown) -> pd.DataFrame:
    """All statistics of the sizes, a row for each."""
    from ..measures.size_statistics import statistics

    table = statistics(shown.droplets, **shown.options).table.rename_axis("quantity").reset_index()
    return table.assign(filter=shown.filters) if shown.filters else table


def free_class(table: pd.DataFrame) -> int | str:
    """What a further class can be called in a table: the next number, or a word where classes have words."""
    before = table["class"] if "class" in table else pd.Series(dtype=float)
    numbers = pd.to_numeric(before, errors="coerce")
    if numbers.isna().all() and before.notna().any():
        taken = set(before.astype(str))
        return next(name for i in range(1, len(taken) + 2) if (name := f"group {i}") not in taken)
    return int(max(numbers.max(), -1)) + 1 if numbers.notna().any() else 0


def diameters(droplets: Droplets) -> np.ndarray:
    from ..images.pixel_size import mean_side

    side = 1.0 if droplets.pixel_size_um is None else mean_side(droplets.pixel_size_um)
    return 2 * side * droplets.radius
