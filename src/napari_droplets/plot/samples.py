"""Quantities of conditions, samples and images side by side, and the differences between conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import InputError
from .style import BLUE, INK, new_axes, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ..samples.compare import Comparison

SAID = {"D32": "D[3,2]", "D43": "D[4,3]", "DV50": "D50 by volume", "cv": "CV", "area_fraction": "area fraction"}
SPREAD = 0.25
"""Half of the width over which the dots of images are spread."""
MANY_LETTERS = 40
"""Of labels, from which on they are slanted."""


def samples(comparison: Comparison, quantity: str = "D50", ax: Axes | None = None) -> Axes:
    """Draw a quantity of each condition or sample with its interval, over a dot for each image.

    Parameters
    ----------
    comparison : Comparison
        Of `compare_samples`.
    quantity : str
        One of those in its table: density, D50, D32 …
    ax : Axes, optional
        Where to draw; by default axes of a new figure, `ax.figure`.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        The quantity is not in the table, as a density where nobody knows the size of the images.
    """
    ax = new_axes(ax)
    plain(ax)
    table = comparison.table[(comparison.table["quantity"] == quantity) & (comparison.table["class"] == "")]
    if table.empty:
        known = ", ".join(q for q in pd.unique(comparison.table["quantity"]) if q != "proportion")
        raise InputError(f"quantity={quantity!r}: not known of these images; there are {known or 'none'}")
    top = table[table["level"] == comparison.top]
    names = top[comparison.top].tolist()
    images = table[table["level"] == "image"]
    rng = np.random.default_rng(0)
    for i, name in enumerate(names):
        values = images.loc[images[comparison.top] == name, "value"].to_numpy(float)
        at = i + SPREAD * rng.uniform(-1, 1, len(values))
        ax.plot(at, values, linestyle="none", marker="o", color="#999999", alpha=0.6, markersize=4, rasterized=True)
    value, low, high = (top[c].to_numpy(float) for c in ("value", "low", "high"))
    error: Any = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
    ax.errorbar(range(len(names)), value, error, linestyle="none", marker="D", color=BLUE, capsize=6, markersize=7)
    slanted = sum(map(len, names)) > MANY_LETTERS
    ax.set_xticks(range(len(names)), names, rotation=30 if slanted else 0, ha="right" if slanted else "center")
    ax.set_xlim(-0.6, len(names) - 0.4)
    unit = str(top["unit"].iloc[0] or "")
    ax.set_ylabel(f"{SAID.get(quantity, quantity)}{f' ({unit})' if unit else ''}")
    ax.set_ylim(bottom=0)
    return ax


def differences(comparison: Comparison, ax: Axes | None = None, *, quantities: tuple[str, ...] = ()) -> Axes:
    """Draw by which factor conditions differ, with intervals.

    Parameters
    ----------
    comparison : Comparison
        Of `compare_samples`.
    ax : Axes, optional
        Where to draw; by default axes of a new figure, `ax.figure`.
    quantities : tuple of str
        By default density, D50, D32 and proportions.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There is only one condition or sample.
    """
    ax = new_axes(ax)
    plain(ax)
    table = comparison.differences
    if table.empty:
        raise InputError("differences: there is only one sample; tell samples or conditions with groups=")
    table = table[table["quantity"].isin(quantities or ("density", "D50", "D32", "proportion"))]
    labels = [
        f"{SAID.get(row['quantity'], row['quantity'])} {row['class']}".strip()
        + f": {row['group']} / {row['reference']}"
        for row in table.to_dict("records")
    ]
    ratio, low, high = (table[c].to_numpy(float) for c in ("ratio", "ratio_low", "ratio_high"))
    at = np.arange(len(table))[::-1]
    error: Any = [ratio - low, high - ratio]
    ax.errorbar(ratio, at, xerr=error, linestyle="none", marker="D", color=BLUE, capsize=4, markersize=6)
    ax.axvline(1, color=INK, linewidth=1, linestyle="--")
    ax.set_yticks(at, labels, fontsize=8)
    ax.set_ylim(-0.7, len(table) - 0.3)
    ax.set_xscale("log")
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    ax.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("ratio")
    return ax
