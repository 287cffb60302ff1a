"""What all figures share: axes, colors that anyone can tell apart, and whose droplets they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit
from .colors import SAFE_COLORS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = (5.0, 3.8)  # inches of a figure that is made here
INK = "#222222"
BLUE = tuple(SAFE_COLORS[4].tolist())
MARKERS = "osD^vP*X"
"""Classes have a shape besides a color."""
BAND = 0.3  # opacity of error bands


def new_axes(ax: Axes | None) -> Axes:
    """The axes given, or those of a figure of their own, which knows no pyplot and needs no window."""
    if ax is not None:
        return ax
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots()


def plain(ax: Axes) -> None:
    """Two spines, in the color of the text."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=9, colors=INK)


def nothing(ax: Axes, text: str = "no droplets") -> Axes:
    """Say that there is nothing to show."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=INK)
    ax.set_xticks([])
    ax.set_yticks([])
    return ax


def color(i: int) -> tuple[float, float, float]:
    """The color of class, component or condition i."""
    r, g, b = SAFE_COLORS[i % len(SAFE_COLORS)].tolist()
    return r, g, b


def marker(i: int) -> str:
    """The marker of class i."""
    return MARKERS[i % len(MARKERS)]


def droplets_of(found: Droplets | pd.DataFrame | Fit) -> Droplets:
    """Droplets of whatever holds them."""
    if isinstance(found, Fit):
        return found.droplets
    return Droplets.from_dataframe(found) if isinstance(found, pd.DataFrame) else found


def class_names(droplets: Droplets, names: Sequence[str] | None = None) -> tuple[list[Any], list[str]]:
    """Classes among droplets in their order, and what each is called.

    Numbers are called by `names` where these are given; -1 and missing values are no class.
    """
    labels = pd.Series(np.asarray(droplets.labels.get("class", []), object)).dropna()
    found = [c for c in pd.unique(labels) if not _number(c, -1)]
    if names is not None:
        if all(_number(c) for c in found):
            return list(range(len(names))), [str(name) for name in names]
        return list(names), [str(name) for name in names]
    numbers = all(_number(c) for c in found)
    found.sort(key=float if numbers else str)
    return found, [f"class {int(float(c))}" if numbers else str(c) for c in found]


def _number(value: Any, which: int | None = None) -> bool:
    try:
        return float(value).is_integer() and (which is None or float(value) == which)
    except (TypeError, ValueError):
        return False
