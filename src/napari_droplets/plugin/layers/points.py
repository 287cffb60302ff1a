"""The Points layers of ours: our notes on them, what was drawn, and all points replaced at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakSet

import numpy as np
import pandas as pd

from ...colors import UNKNOWN_COLOR, readable

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


def looks(colors: np.ndarray, *, exact: bool = False, ground: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Colors (N, 4) of faces and of borders; these are brighter than the given ones (N, 3), or exactly so.

    Where the luminance of the ground behind them is known, borders are such that they stand out from it.
    """
    n = len(colors)
    border = readable(colors if exact else _ring(colors), ground)
    return np.column_stack([colors, np.full(n, FACE_OPACITY)]), np.column_stack([border, np.ones(n)])


def ring_width(diameter: np.ndarray) -> np.ndarray:
    """Widths of rings (N,) as shares of diameters in pixels."""
    return np.clip(LEAST_RING / np.maximum(diameter, 1e-9), *RING_WIDTHS)


def _ring(colors: np.ndarray) -> np.ndarray:
    """The hues of colors, bright enough to be seen on the dark droplets that they circle."""
    hues = (colors + 0.05) / (colors + 0.05).max(axis=1, keepdims=True)  # next to black, grey
    return 1 - RING_SATURATION * (1 - hues)


def defaults_of(table: pd.DataFrame) -> dict[Any, list[Any]]:
    """What is known of a point added by hand: that it is there, as far as the types of the columns can say so."""
    if not len(table):
        return {column: [] for column in table}
    own = {column: [np.nan if table[column].dtype.kind == "f" else table[column].iloc[-1]] for column in table}
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
    with writing(points), points.events.data.blocker():
        points.selected_data = set()
        if NUMBERS in state:
            points.metadata[TAG][NUMBERS] = state[NUMBERS]
        points.data = state["data"]
        for name in POINT_STATE:
            if name in state and (len(points.data) or name == "features"):
                setattr(points, name, state[name])


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
