"""Colors of points by what is known of them: what they are made of, and how well the fit explains them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count, takewhile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from ...plot.colors import SAFE_COLORS, UNKNOWN_COLOR, composition_colors, presence_colors, readable
from ...workbench.doubtful import poor_from
from .correction import places
from .ground import Ground
from .points import TAG, looks

COMPOSITION, OWN = "composition", "own"
CHOICES = {
    COMPOSITION: "Composition",
    OWN: "Own color",
    "class": "Class",
    "p_present": "Probability",
    "misfit": "Misfit",
    "radius": "Diameter",
}
"""What points can be colored by: columns of a droplets table, or the color that each has in the image; in words."""
CLASS_COLORS = SAFE_COLORS
"""As many as classes are found at most where nobody says how many; further ones are paler."""
PALER = 0.4
POOR_COLOR = (1.0, 0.15, 0.1)
MISFIT_COLORS = np.array([(0.2, 0.45, 0.85), (0.25, 0.75, 0.75), (0.95, 0.95, 0.6)])
RADIUS_COLORS = np.array([(0.35, 0.3, 0.85), (0.1, 0.7, 0.6), (1.0, 0.95, 0.3)])
INSIDE = (0.35, 0.7)
"""Radii of the circles on which the color of a droplet is read off, relative to its own."""
RANGE = (2, 98)
"""Percentiles of the diameter between which the colors change."""


Legend = list[tuple[tuple[float, ...] | None, str]]
"""Colors with what they mean, in order; no color goes with words about all of them."""


class Scale(NamedTuple):
    """Which number has which color, for a color bar."""

    low: float
    high: float
    stops: Float[np.ndarray, "S 3"]
    """Colors in even steps from low to high."""


class Coloring(NamedTuple):
    """Colors (N, 3) of points."""

    colors: Float[np.ndarray, "N 3"]
    legend: Legend
    scale: Scale | None = None
    """Where a number decides."""


def recolor(
    points: Any, by: str, picture: np.ndarray | None = None, name: Callable[[str], str] = "class {}".format
) -> Legend:
    """Color the points of a layer of ours, those that are hidden too; returns the legend, in the colors of the rings.

    Where a number decides, napari's color bar shows which.

    Parameters
    ----------
    points : napari.layers.Points
        Colors change, nothing else: it is no edit.
    by : str
        One of `CHOICES`.
    picture : ndarray, optional
        (H, W, C) of 0 to 1, the image that droplets have their own color in.
    name : callable
        What a class is called.
    """
    tag, n = points.metadata[TAG], len(points.data)
    hidden, ground = tag.get("hidden"), tag["place"].ground
    table, where = points.features, places(points.data, points.size)
    if hidden is not None:
        table = pd.concat([table, hidden["features"]], ignore_index=True)
        where = np.concatenate([where, places(hidden["data"], hidden["size"])])
    if by == OWN and picture is not None:
        found, told = _own(picture, where), OWN
    else:
        found, told = coloring(table, by, tag["table"], name), by if by in table else COMPOSITION
    if told != tag.get("color_by", COMPOSITION):  # else the user may have chosen other colors
        face, border = looks(found.colors, exact=told not in (COMPOSITION, OWN), ground=ground, where=where)
        if n:
            points.face_color, points.border_color = face[:n], border[:n]
        if hidden is not None:
            tag["hidden"] = hidden | {"face_color": face[n:], "border_color": border[n:]}
        tag |= {"color_by": told, "picture": picture if told == OWN else None}
    _show_scale(points, found.scale)
    colors = [None if color is None else _seen(np.array([color]), ground)[0] for color, _ in found.legend]
    words = [word for _, word in found.legend]
    return [(None if c is None else tuple(map(float, c)), word) for c, word in zip(colors, words, strict=True)]


def drawn_colors(tag: Any, table: pd.DataFrame, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colors (N, 4) of the faces and rings of droplets as the others of their layer are colored now.

    Parameters
    ----------
    tag : dict
        Our notes on the layer.
    table : DataFrame
        The droplets.
    where : ndarray
        (N, 3) their x, y, radius, pixels.
    """
    by, ground = tag.get("color_by", COMPOSITION), tag["place"].ground
    if by == OWN and tag.get("picture") is not None:
        return looks(_own(tag["picture"], where).colors, ground=ground, where=where)
    colors = coloring(table, by, tag["table"]).colors
    face, border = looks(colors, exact=by not in (COMPOSITION, OWN), ground=ground, where=where)
    unknown = (colors == UNKNOWN_COLOR).all(axis=1)
    border[unknown] = looks(colors[unknown], exact=True, ground=ground, where=where[unknown])[1]
    return face, border


def _seen(colors: np.ndarray, ground: Ground | None) -> np.ndarray:
    """Colors (N, 3) as rings have them."""
    return colors if ground is None else readable(colors, ground.median)


def _show_scale(points: Any, scale: Scale | None) -> None:
    """Show napari's color bar for a scale, in the colors of the rings; hide it without one."""
    bar = getattr(points, "border_colorbar", None)  # since napari 0.7
    if bar is None or (scale is None and not bar.visible):
        return
    if scale is not None:
        from napari.utils.colormaps import Colormap

        points.border_colormap = Colormap(_seen(scale.stops, points.metadata[TAG]["place"].ground), name="droplets")
        points.border_contrast_limits = (scale.low, max(scale.high, scale.low + 1e-9))
    bar.visible = scale is not None


def coloring(
    table: pd.DataFrame,
    by: str,
    image: pd.DataFrame | None = None,
    name: Callable[[str], str] = "class {}".format,
) -> Coloring:
    """Color the droplets of a table, or of points that were edited, whose new rows are empty.

    Parameters
    ----------
    table : DataFrame
        The features of the points. Where the column asked for is missing, points are colored by composition.
    by : str
        One of `CHOICES`.
    image : DataFrame, optional
        All droplets of the image as they were found, for scales that edits leave alone; `table` by default.
    name : callable
        What a class is called.
    """
    image = table if image is None or by not in image else image
    scale = None
    if by == COMPOSITION:
        colors, legend, _ = _by_composition(table)
    elif by not in table:
        colors, legend, _ = _by_composition(table)
        legend = [(None, f"{CHOICES[by]}: not known of these points"), *legend]
    elif by == "class":
        colors, legend, _ = _by_class(table["class"], name)
    elif by == "radius":
        colors, legend, scale = _by_radius(table, image)
    elif by == "misfit":
        colors, legend, scale = _by_misfit(_numbers(table[by]), poor_from(_numbers(image[by])))
    else:
        colors, legend, scale = _by_probability(_numbers(table[by]))
    if "x" in table:  # a point added by hand has what napari copies from others, but no place that it was found at
        colors = np.where(table["x"].isna().to_numpy()[:, None], UNKNOWN_COLOR, colors)
    return Coloring(colors, legend, scale)


def _own(picture: np.ndarray, where: np.ndarray) -> Coloring:
    """The mean colors of droplets in a picture, at x, y, radius (N, 3)."""
    angle = np.linspace(0, 2 * np.pi, 8, endpoint=False)
    u = np.concatenate([[0.0], *(part * np.cos(angle) for part in INSIDE)])
    v = np.concatenate([[0.0], *(part * np.sin(angle) for part in INSIDE)])
    h, w = picture.shape[:2]
    x, y, radius = where.T[..., None]
    column = np.clip(np.rint(x + radius * u), 0, w - 1).astype(int)
    row = np.clip(np.rint(y + radius * v), 0, h - 1).astype(int)
    colors = np.asarray(picture[row, column], float).mean(1)
    colors = np.repeat(colors, 3, axis=1) if colors.shape[1] < 3 else colors[:, :3]
    return Coloring(np.clip(colors, 0, 1), [(None, "each in the color that it has in the image")])


def _by_composition(table: pd.DataFrame) -> Coloring:
    names = list(takewhile(table.__contains__, (f"composition_{k}" for k in count())))
    if names:
        k = len(names)
        pure = composition_colors(np.array([[0.0], [1.0]]) if k == 1 else np.eye(k))
        words = ["0", "1"] if k == 1 else [f"component {i + 1}" for i in range(k)]
        return Coloring(composition_colors(table[names].to_numpy(float)), _legend(pure, words))
    if "p_present" in table:
        return _by_probability(_numbers(table["p_present"]))
    return Coloring(np.tile(np.array(UNKNOWN_COLOR), (len(table), 1)), [])


def _by_class(column: pd.Series, name: Callable[[str], str] = "class {}".format) -> Coloring:
    """Classes that are numbers have the same color in every image; others are counted in their order."""
    numbers = _numbers(column)
    if column.notna().any() and np.isnan(numbers).all():
        codes, names = pd.factorize(column, sort=True)
    else:
        codes = np.where(numbers >= 0, np.nan_to_num(numbers), -1).astype(int)
        names = pd.RangeIndex(codes.max(initial=-1) + 1)
    colors = np.where(codes[:, None] >= 0, class_colors(codes), UNKNOWN_COLOR)
    seen = np.unique(codes[codes >= 0])
    return Coloring(colors, _legend(class_colors(seen), [name(str(names[k])) for k in seen]))


def class_colors(number: np.ndarray) -> Float[np.ndarray, "N 3"]:
    """Colors of classes (N,), from 0 on."""
    again, k = np.divmod(number, len(CLASS_COLORS))
    return 1 - (1 - CLASS_COLORS[k]) * (1 - PALER) ** np.maximum(again, 0)[:, None]


def _by_probability(p: np.ndarray) -> Coloring:
    marks = np.array([0, 0.5, 1])
    shades = presence_colors(marks)
    return Coloring(presence_colors(p), _legend(shades, ["probability 0", "0.5", "1"]), Scale(0, 1, shades))


def _by_misfit(misfit: np.ndarray, limit: float) -> Coloring:
    """From 1, where the model explains all but the noise, to the limit from which it explains poorly."""
    marks = np.array([1, (1 + limit) / 2, limit])
    colors = _gradient(misfit, 1, limit, MISFIT_COLORS)
    poor = misfit > limit
    colors[poor] = POOR_COLOR
    words = [f"misfit {marks[0]:g}", *(f"{m:.2g}" for m in marks[1:]), f"poorly explained: {poor.sum():,}"]
    shades = _gradient(marks, 1, limit, MISFIT_COLORS)
    return Coloring(colors, _legend([*shades, POOR_COLOR], words), Scale(1, limit, shades))


def _by_radius(table: pd.DataFrame, image: pd.DataFrame) -> Coloring:
    unit = "radius_um" if "radius_um" in table and "radius_um" in image else "radius"
    radius, known = 2 * _numbers(table[unit]), 2 * _numbers(image[unit])
    known = known[np.isfinite(known)]
    low, high = np.percentile(known, RANGE) if len(known) else (0, 1)
    marks = np.array([low, (low + high) / 2, high])
    words = [f"{m:.3g} {'µm' if unit == 'radius_um' else 'px'}" for m in marks if len(known)]
    shades = _gradient(marks, low, high, RADIUS_COLORS)
    scale = Scale(low, high, shades) if len(known) else None
    return Coloring(_gradient(radius, low, high, RADIUS_COLORS), _legend(shades[: len(words)], words), scale)


def _numbers(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column, errors="coerce").to_numpy(float)


def _gradient(values: np.ndarray, low: float, high: float, stops: np.ndarray) -> np.ndarray:
    """(N, 3) colors between evenly spaced stops; the color of the unknown where values are NaN."""
    at = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * (len(stops) - 1)
    colors = np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in stops.T], -1)
    return np.where(np.isnan(values)[:, None], UNKNOWN_COLOR, colors)


def _legend(colors: Any, words: list[str]) -> Legend:
    return [(tuple(map(float, color)), word) for color, word in zip(colors, words, strict=True)]
