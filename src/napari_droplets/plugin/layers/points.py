"""The Points layers of ours: our notes on them, what was drawn, and all points replaced at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import numpy as np
import pandas as pd

from ...plot.colors import UNKNOWN_COLOR, readable, readable_around
from .ground import Ground

TAG = "napari_droplets"  # key in layer.metadata of the layers we made
NUMBERS = "numbers"
"""In our notes on a layer: the number of the droplet that each point is, which it keeps through edits and refits; the
index of the table in the notes."""
ADDED = -1
"""In place of a number: points added that nobody has numbered yet."""
FACE_OPACITY = 0.15  # the droplet stays visible below its disc
RING_SATURATION = 0.8
POINT_STATE = ("features", "feature_defaults", "size", "border_width", "face_color", "border_color")
RING_WIDTHS = (0.1, 0.3)
"""Least and most width of a ring, as a share of the diameter."""
LEAST_RING = 1.5
"""Pixels that a ring is wide where its share of the diameter is less: thinner ones are hardly seen."""
THIN_RING = 0.8
"""Pixels that a ring is wide at least whose width shows an uncertainty."""
UNCERTAIN_WIDTHS = (0.03, 0.6)
"""The same of them as shares: more would hide the droplet."""

_written: WeakSet[Any] = WeakSet()


def tag_of(layer: Any, kind: str) -> Any:
    """Our notes on a layer that we made, None on any other; kind is 'droplets' or 'reconstruction'."""
    tag = layer.metadata.get(TAG) if layer is not None else None
    return tag if isinstance(tag, dict) and tag.get("kind") == kind else None


def is_edited(points: Any) -> bool:
    """Whether a Points layer of ours differs from what was drawn."""
    tag = tag_of(points, "droplets") or {}
    if "drawn" not in tag:
        return False
    if tag.get("edited"):  # before some points were hidden
        return True
    data, size, features = tag["drawn"]
    same = np.array_equal(data, points.data) and np.array_equal(size, points.size)
    return not (same and features.equals(points.features))


@contextmanager
def writing(points: Any) -> Iterator[None]:
    """While we change the points of a layer ourselves, which is no edit."""
    before = points in _written
    _written.add(points)
    try:
        yield
    finally:
        if not before:
            _written.discard(points)


def is_written(points: Any) -> bool:
    """Whether we are changing the points of a layer ourselves."""
    return points in _written


def looks(
    colors: np.ndarray,
    *,
    exact: bool = False,
    ground: Ground | None = None,
    where: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Colors (N, 4) of faces and of borders; these are brighter than the given ones (N, 3), or exactly so.

    Where the ground behind them is known, borders are such that they stand out from it: from that of the image, and
    from their own surroundings, where their x, y, radius (N, 3) are given.
    """
    n = len(colors)
    border = np.asarray(colors if exact else _ring(colors), float)
    if ground is not None and where is not None and n:
        border = readable_around(border, ground.median, ground.around(*where.T))
    elif ground is not None:
        border = readable(border, ground.median)
    return np.column_stack([colors, np.full(n, FACE_OPACITY)]), np.column_stack([border, np.ones(n)])


def ring_width(diameter: np.ndarray) -> np.ndarray:
    """Widths of rings (N,) as shares of diameters in pixels."""
    return np.clip(LEAST_RING / np.maximum(diameter, 1e-9), *RING_WIDTHS)


def uncertain_width(diameter: np.ndarray, radius_sd: np.ndarray) -> np.ndarray:
    """Widths of rings (N,), as shares of diameters in pixels, that hold the rim with 95 % probability.

    Where nothing is known of the error the ring is as wide as usual.
    """
    width = np.maximum(2 * 1.96 * radius_sd, THIN_RING) / np.maximum(diameter, 1e-9)
    return np.where(np.isfinite(radius_sd), np.clip(width, *UNCERTAIN_WIDTHS), ring_width(diameter))


def show_uncertainty(points: Any, on: bool) -> None:
    """Make the rings of a layer of ours as wide as the rim is uncertain, those that are hidden too; or as usual."""
    tag = points.metadata[TAG]
    if tag.get("uncertain", False) == on:
        return
    tag["uncertain"] = on
    hidden = tag.get("hidden")
    if len(points.data):
        points.border_width = ring_widths(points.features, points.size, uncertain=on)
    if hidden is not None:
        tag["hidden"] = hidden | {"border_width": ring_widths(hidden["features"], hidden["size"], uncertain=on)}


def ring_widths(features: Any, diameter: np.ndarray, *, uncertain: bool) -> np.ndarray:
    """Widths of the rings (N,) of droplets with these features, as shares of their diameters."""
    if not uncertain or "radius_sd" not in features:
        return ring_width(diameter)
    return uncertain_width(diameter, features["radius_sd"].to_numpy(float))


def _ring(colors: np.ndarray) -> np.ndarray:
    """The hues of colors, bright enough to be seen on the dark droplets that they circle."""
    hues = (colors + 0.05) / (colors + 0.05).max(axis=1, keepdims=True)  # next to black, grey
    return 1 - RING_SATURATION * (1 - hues)


def defaults_of(table: pd.DataFrame) -> dict[Any, list[Any]]:
    """What is known of a point added by hand: that it is there, as far as the types of the columns can say so."""
    if not len(table):
        return {str(column): [] for column in table}
    own = {str(column): [np.nan if table[column].dtype.kind == "f" else table[column].iloc[-1]] for column in table}
    return own | ({"p_present": [1.0]} if "p_present" in table else {})


def point_state(points: Any) -> dict[str, Any]:
    """All that `set_points` sets, copied."""
    state = {name: getattr(points, name) for name in ("data", *POINT_STATE)}
    numbers = points.metadata[TAG].get(NUMBERS)
    if numbers is not None and len(numbers) == len(points.data):
        state[NUMBERS] = numbers
    return {name: value.copy() for name, value in state.items()}


def set_points(points: Any, state: dict[str, Any]) -> None:
    """Replace all points; not told as an edit, and in the order that napari can follow."""
    events = points.events
    with writing(points), events.data.blocker():
        points.selected_data = set()
        if NUMBERS in state:
            points.metadata[TAG][NUMBERS] = state[NUMBERS]
        with ExitStack() as quiet:
            for drawn in (events.set_data, events.border_width, events.border_color, events.face_color):
                quiet.enter_context(drawn.blocker())  # else all points are drawn for each of these
            points.data = state["data"]
            for name in POINT_STATE:
                if name in state and (len(points.data) or name == "features"):
                    value = state[name]
                    setattr(points, name, _for_all(value, points.features) if name == "feature_defaults" else value)
        points.refresh()


def _for_all(defaults: pd.DataFrame, features: pd.DataFrame) -> pd.DataFrame:
    """Defaults for all features: other plugins add columns in place, of which napari knows no default yet."""
    missing = [column for column in features if column not in defaults]
    return defaults.assign(**{str(k): v for k, v in defaults_of(features[missing]).items()}) if missing else defaults


def remember(points: Any, table: Any = None) -> None:
    """Note what is drawn, so that edits can be told, and the looks of points that the user will add.

    With a table it is what was drawn from that, one row per point; without, the points as they are now.
    """
    tag = points.metadata[TAG]
    drawn = (points.data.copy(), points.size.copy(), points.features.copy())
    tag |= {"drawn": drawn, "edited": False}
    if table is not None:
        tag |= {"table": table, NUMBERS: table.index.to_numpy()}
    if len(tag["table"]):
        with points.block_update_properties():  # or selected points would change, too
            points.current_size = 2 * float(np.median(tag["table"]["radius"]))
            points.current_face_color = (*UNKNOWN_COLOR, FACE_OPACITY)
            points.current_border_color = looks(np.array([UNKNOWN_COLOR]), exact=True, ground=tag["place"].ground)[1][0]
