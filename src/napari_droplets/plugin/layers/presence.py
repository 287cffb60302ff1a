"""Show the probable points of a layer; the others wait beside it, so that nothing that reads the layer takes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .correction import TOLERANCE
from .points import TAG, is_edited, point_state, set_points

TABLES = ("features", "feature_defaults")

# Points.shown would be the way, but napari 0.9 draws all points of a layer of two dimensions, whatever it says.


def show_probable(points: Any, least: float) -> None:
    """Show the points of a layer of ours that are `probable`, and take the others out; they wait in its metadata."""
    tag = points.metadata[TAG]
    state = _joined(point_state(points), tag.get("hidden"))
    shown = probable(state["features"], state["data"], state["size"], least)
    if shown[: len(points.data)].all() and shown.sum() == len(points.data):
        return
    tag |= {"edited": is_edited(points), "hidden": _picked(state, ~shown)}
    set_points(points, _picked(state, shown))
    tag["drawn"] = (points.data.copy(), points.size.copy(), points.features.copy())


def n_hidden(points: Any) -> int:
    """How many points wait beside a layer of ours."""
    hidden = points.metadata[TAG].get("hidden")
    return 0 if hidden is None else len(hidden["data"])


def probable(features: pd.DataFrame, data: np.ndarray, size: np.ndarray, least: float) -> np.ndarray:
    """Points with p_present of at least `least`, or unknown, and all that were set by hand.

    Parameters
    ----------
    features : DataFrame
        One row per point, with the x, y, radius, p_present that it was drawn from.
    data : ndarray
        (N, D) point coordinates now, (..., y, x) in pixels.
    size : ndarray
        (N,) diameters now, pixels.
    least : float
        Between 0 and 1.

    Returns
    -------
    ndarray
        (N,) bool.
    """
    n = len(data)
    if "p_present" not in features:
        return np.ones(n, bool)
    shown = ~(features["p_present"].to_numpy(float) < least)
    if {"x", "y", "radius"} <= set(features):
        now = np.column_stack([data[:, -1], data[:, -2], np.asarray(size, float) / 2]).reshape(n, 3)
        drawn = features[["x", "y", "radius"]].to_numpy(float)
        shown |= ~(np.abs(now - drawn) <= TOLERANCE).all(axis=1)  # moved, resized or added, which has no numbers
    if "pinned" in features:
        shown |= features["pinned"].eq(True).to_numpy()
    return shown


def _joined(first: dict[str, Any], second: dict[str, Any] | None) -> dict[str, Any]:
    if second is None or not len(second["data"]):
        return first
    if not len(first["data"]):
        return second
    features = pd.concat([first["features"], second["features"]], ignore_index=True)
    return {name: np.concatenate([value, second[name]]) for name, value in first.items() if name not in TABLES} | {
        "features": features,
        "feature_defaults": first["feature_defaults"],
    }


def _picked(state: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    return {name: value[mask] for name, value in state.items() if name not in TABLES} | {
        "features": state["features"][mask].reset_index(drop=True),
        "feature_defaults": state["feature_defaults"],
    }
