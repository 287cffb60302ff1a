"""Proportions of classes with their intervals, of one image or side by side of samples and conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..measures.size_draws import presence
from .style import INK, class_names, color, droplets_of, marker, new_axes, nothing, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HALF = 0.5
"""Jeffreys' prior: half a droplet in every class."""
WIDTH = 0.7
"""Of a group, between neighbors."""


def proportions(
    droplets: Droplets | pd.DataFrame | Fit | None,
    classes: Sequence[dict[str, Any]] | pd.DataFrame | None = None,
    ax: Axes | None = None,
    *,
    names: Sequence[str] | None = None,
) -> Axes:
    """Draw the proportion of each class with its interval.

    Parameters
    ----------
    droplets : Droplets, DataFrame or Fit, optional
        With a column `class`; not needed where `classes` is given.
    classes : sequence of dict, or DataFrame, optional
        `class`, `proportion`, `low` and `high` of each class: `Fit.summary["classes"]`, or a table that also has a
        column `group` to put samples or conditions side by side. A fit knows its own. By default they are counted
        among the droplets.
    ax : Axes, optional
        Where to draw; by default axes of a new figure, `ax.figure`.
    names : sequence of str, optional
        Of classes that have only numbers.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There are no classes.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> classes = [{"class": 0, "proportion": 0.7, "low": 0.6, "high": 0.8}]
    >>> nd.plot.proportions(None, classes, names=["acid"]).get_ylabel()
    'part of the droplets'
    """
    ax = new_axes(ax)
    plain(ax)
    if classes is None and isinstance(droplets, Fit):
        classes = droplets.summary.get("classes")
    if classes is None and droplets is not None:
        if not len(droplets_of(droplets)):
            return nothing(ax)
        classes = counted(droplets_of(droplets), names)
    table = pd.DataFrame(classes)
    if table.empty or not {"class", "proportion", "low", "high"} <= set(table):
        raise InputError("proportions: no classes; a fit finds them, a detection does not")
    labels = table["class"] if names is None else [_name(c, names) for c in table["class"]]
    table = table.assign(**{"class": [f"class {c}" if isinstance(c, (int, np.integer)) else str(c) for c in labels]})
    kinds = list(pd.unique(table["class"]))
    groups = list(pd.unique(table["group"])) if "group" in table else [None]
    for i, kind in enumerate(kinds):
        rows = table[table["class"] == kind]
        at = np.array([i]) if groups == [None] else np.array([groups.index(g) for g in rows["group"]], float)
        if groups != [None]:
            at = at + WIDTH * ((i + 0.5) / len(kinds) - 0.5)
        value, low, high = (rows[c].to_numpy(float) for c in ("proportion", "low", "high"))
        error = [np.maximum(value - low, 0), np.maximum(high - value, 0)]
        ax.errorbar(
            at, value, error, linestyle="none", marker=marker(i), color=color(i), capsize=4, markersize=7, label=kind
        )
    ticks = kinds if groups == [None] else [str(g) for g in groups]
    long = sum(map(len, ticks)) > 40
    ax.set_xticks(range(len(ticks)), ticks, rotation=30 if long else 0, ha="right" if long else "center")
    ax.set_xlim(-0.6, len(ticks) - 0.4)
    ax.set_ylim(0, max(1.02, float(np.nanmax(table["high"].to_numpy(float)))))
    ax.set_ylabel("part of the droplets")
    if groups != [None]:
        ax.legend(frameon=False, fontsize=9, labelcolor=INK)
    return ax


def counted(droplets: Droplets, names: Sequence[str] | None = None) -> pd.DataFrame:
    """Proportions of the classes among droplets: class, proportion, low, high.

    Intervals of 95 % hold that the droplets are a sample, and how sure each is there and of its class: the information
    of a mixture about its weights, as of `classify`, which is that of counting where all classes are certain.
    """
    from scipy.stats import beta

    values, said = class_names(droplets, names)
    if not values:
        raise InputError("proportions: the droplets have no classes; a fit finds them, a detection does not")
    p, member = presence(droplets), memberships(droplets, values)
    some = np.isfinite(member).all(1)
    p, member = p[some], member[some]
    share = (p @ member + HALF) / (p.sum() + HALF * len(values))
    interval = np.ones((2, len(values)))
    if len(values) > 1:
        variance = (share * (1 - share)) ** 2 / (p @ (member - share) ** 2 + HALF)
        size = np.maximum(share * (1 - share) / variance - 1, HALF * len(values))
        interval = np.asarray(beta.ppf([[0.025], [0.975]], size * share, size * (1 - share)))
    return pd.DataFrame({"class": said, "proportion": share, "low": interval[0], "high": interval[1]})


def memberships(droplets: Droplets, values: Sequence[Any]) -> np.ndarray:
    """(N, G) probability of each class; NaN of droplets that have none.

    From columns `class_p_<class>` where these are, else from `class_p`, what it leaves evenly among the others.
    """
    columns = [f"class_p_{value}" for value in values]
    if all(c in droplets.labels for c in columns):
        return np.stack([np.asarray(droplets.labels[c], float) for c in columns], 1)
    own = np.asarray(droplets.labels["class"])[:, None] == np.asarray(values, object)
    sure = np.asarray(droplets.labels.get("class_p", np.ones(len(droplets))), float)[:, None]
    member = np.where(own, sure, (1 - sure) / max(len(values) - 1, 1))
    return np.where(own.any(1, keepdims=True), member, np.nan)


def _name(value: Any, names: Sequence[str]) -> str:
    return str(names[int(value)]) if isinstance(value, (int, np.integer)) and 0 <= value < len(names) else str(value)
