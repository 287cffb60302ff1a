"""Compositions or class probabilities of droplets: a ternary plot of three, else a scatter matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit
from ..errors import InputError
from .style import INK, class_names, color, droplets_of, marker, new_axes, nothing, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
"""Of an equilateral triangle: component 0 left, 1 right, 2 above."""
ALIGNED = ("left", "top"), ("right", "top"), ("center", "bottom")
MOST_POINTS = 20_000
"""Droplets drawn, at most: more are one blot, and slow."""
AREA = 20_000  # square points that all markers together cover, at most …
MARKER = 4.0, 30.0  # … with so many each, at least and at most
BINS = 20


def simplex(
    droplets: Droplets | pd.DataFrame | Fit,
    classes: Sequence[dict[str, Any]] | None = None,
    ax: Axes | None = None,
    *,
    of: str = "composition",
    probabilities: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    seed: int = 0,
) -> Axes:
    """Draw each droplet where its composition, or its class probabilities, lie.

    Three quantities that sum to one are a point in a triangle; free components, which do not, are shown in it relative
    to their sum. Other numbers of them are a matrix of scatter plots, in insets of the axes.

    Parameters
    ----------
    droplets : Droplets, DataFrame or Fit
        Colored by their class, where they have one.
    classes : sequence of dict, optional
        `Fit.summary["classes"]`: mean compositions are marked with crosses. A fit knows its own.
    ax : Axes, optional
        Where to draw; by default axes of a new figure, `ax.figure`.
    of : {'composition', 'classes'}
        What is shown.
    probabilities : ndarray, optional
        (N, G) probability of each class; by default columns `class_p_0` … or `class_p_<name>`.
    names : sequence of str, optional
        Of the components.
    class_names : sequence of str, optional
        Of the classes.
    seed : int
        For which droplets are drawn where there are more than 20,000.

    Returns
    -------
    Axes

    Raises
    ------
    InputError
        There are no compositions, or no class probabilities.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> image, droplets = nd.simulate((64, 64), 9, types=3, seed=1)
    >>> nd.plot.simplex(droplets, names=["acid", "base", "product"]).get_title(loc="left")
    'composition'
    """
    ax = new_axes(ax)
    found = droplets_of(droplets)
    if classes is None and isinstance(droplets, Fit):
        classes = droplets.summary.get("classes")
    if not len(found):
        return nothing(ax)
    values, labels, title = _values(found, of, probabilities, names, class_names)
    means = None
    if of == "composition" and classes:
        means = np.array([c["composition"] for c in classes], float)
    known = np.flatnonzero(np.isfinite(values).all(1))
    if not len(known):
        return nothing(ax, "no compositions")
    if len(known) > MOST_POINTS:
        known = np.random.default_rng(seed).choice(known, MOST_POINTS, replace=False)
    groups = _groups(found, known, class_names)
    if values.shape[1] == 3:
        if not np.allclose(values[known].sum(1), 1, atol=1e-3):
            title += ", relative"
        _ternary(ax, values, groups, labels, means)
    else:
        _matrix(ax, values, groups, labels, means)
    ax.set_title(title, fontsize=10, color=INK, loc="left")
    if len(groups) > 1:
        handles, said = _legend(groups)
        ax.legend(handles, said, frameon=False, fontsize=8, labelcolor=INK, loc="upper right")
    return ax


def _values(
    droplets: Droplets,
    of: str,
    probabilities: np.ndarray | None,
    names: Sequence[str] | None,
    classes: Sequence[str] | None,
) -> tuple[np.ndarray, list[str], str]:
    """(N, D) what is shown, what each column is called, and the title."""
    if of == "composition":
        if droplets.composition is None:
            raise InputError("simplex: the droplets have no composition; a fit gives them one, a detection does not")
        values = np.asarray(droplets.composition)
        labels = [f"component {k}" for k in range(droplets.types)] if names is None else [str(n) for n in names]
    elif of == "classes":
        columns = [c for c in droplets.labels if str(c).startswith("class_p_")]
        if probabilities is None and not columns:
            raise InputError(
                "simplex: no class probabilities; give probabilities=(N, G), or a table with a column class_p_… for "
                "each class, as `napari-droplets batch` writes it"
            )
        if probabilities is not None:
            values = np.asarray(probabilities, float)
            labels = [f"class {g}" for g in range(values.shape[-1])]
        else:
            values = np.stack([np.asarray(droplets.labels[c], float) for c in columns], 1)
            rest = [c.removeprefix("class_p_") for c in columns]
            labels = [f"class {c}" if c.isdecimal() else c for c in rest]
        labels = labels if classes is None else [str(c) for c in classes]
    else:
        raise InputError(f"of={of!r}: must be 'composition' or 'classes'")
    if values.shape != (len(droplets), len(labels)):
        raise InputError(f"simplex: {len(labels)} names for {len(droplets)} droplets with values of {values.shape}")
    return values, labels, "composition" if of == "composition" else "class probability"


def _groups(
    droplets: Droplets, rows: np.ndarray, names: Sequence[str] | None
) -> list[tuple[str, np.ndarray, Any, str]]:
    """Name, rows, color and marker of the droplets of each class; of those of none in gray."""
    if "class" not in droplets.labels:
        return [("droplets", rows, color(4), "o")]
    values, said = class_names(droplets, names)
    label, pairs = np.asarray(droplets.labels["class"])[rows], zip(values, said, strict=True)
    found = [(text, rows[label == value], color(i), marker(i)) for i, (value, text) in enumerate(pairs)]
    none = rows[~np.isin(label, values)]
    return found + ([("no class", none, (0.6, 0.6, 0.6), ".")] if len(none) else [])


def _legend(groups: list[tuple[str, np.ndarray, Any, str]]) -> tuple[list[Any], list[str]]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], linestyle="none", marker=shape, color=shade, markersize=6) for _, _, shade, shape in groups
    ]
    return handles, [f"{name} ({len(rows):,})" for name, rows, _, _ in groups]


def _scatter(ax: Axes, xy: np.ndarray, groups: list[tuple[str, np.ndarray, Any, str]], part: float = 1.0) -> None:
    n = sum(len(rows) for _, rows, _, _ in groups)
    size = part * float(np.clip(AREA / max(n, 1), *MARKER))
    for _, rows, shade, shape in groups:
        # thousands of points as vectors make figures that no program opens
        x, y = xy[rows].T
        ax.scatter(x, y, s=size, color=[shade], marker=shape, alpha=0.6, linewidths=0, rasterized=True)


def _ternary(ax: Axes, values: np.ndarray, groups: Any, labels: list[str], means: np.ndarray | None) -> None:
    share = values / np.maximum(values.sum(1, keepdims=True), 1e-9)
    ax.plot(*np.vstack([CORNERS, CORNERS[:1]]).T, color=INK, linewidth=1)
    for part in (0.2, 0.4, 0.6, 0.8):  # lines along which one component is the same
        for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            ends = part * CORNERS[a] + (1 - part) * CORNERS[[b, c]]
            ax.plot(*ends.T, color="#cccccc", linewidth=0.5, zorder=0)
    _scatter(ax, share @ CORNERS, groups)
    if means is not None:
        middle = means / np.maximum(means.sum(1, keepdims=True), 1e-9) @ CORNERS
        ax.plot(*middle.T, linestyle="none", marker="x", color=INK, markersize=9, markeredgewidth=2)
    for corner, text, (ha, va) in zip(CORNERS, labels, ALIGNED, strict=True):
        ax.annotate(text, corner, (0, -4 if va == "top" else 4), textcoords="offset points", ha=ha, va=va, color=INK)
    ax.set_aspect("equal")
    ax.set_xlim(-0.05, 1.05)
    ax.set_ylim(-0.1, 0.97)
    ax.axis("off")


def _matrix(ax: Axes, values: np.ndarray, groups: Any, labels: list[str], means: np.ndarray | None) -> None:
    """Histograms on the diagonal of insets, scatter plots of two below it."""
    ax.axis("off")
    k, gap = values.shape[1], 0.03
    side = (1 - gap * (k - 1)) / k
    for i in range(k):
        for j in range(i + 1):
            inset = ax.inset_axes((j * (side + gap), 1 - side - i * (side + gap), side, side))
            plain(inset)
            inset.set_xlim(-0.02, 1.02)
            if i == j:
                inset.hist(
                    [values[rows, i] for _, rows, _, _ in groups],
                    bins=np.linspace(0, 1, BINS + 1).tolist(),
                    color=[shade for _, _, shade, _ in groups],
                    stacked=True,
                )
                inset.set_yticks([])
            else:
                _scatter(inset, values[:, [j, i]], groups, 1 / k)
                inset.set_ylim(-0.02, 1.02)
                if means is not None:
                    inset.plot(means[:, j], means[:, i], linestyle="none", marker="x", color=INK, markeredgewidth=1.5)
            if i == k - 1:
                inset.set_xlabel(labels[j], fontsize=9, color=INK)
            else:
                inset.set_xticklabels([])
            if j == 0:
                inset.set_ylabel(labels[i], fontsize=9, color=INK)
            else:
                inset.set_yticklabels([])
