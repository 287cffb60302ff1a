"""Show the points of a layer that pass the filters; the others wait beside it, so that nothing takes them for shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ...workbench.filters import Filters, passes
from .correction import KEYS, differs, places
from .points import NUMBERS, TAG, is_edited, point_state, set_points, writing

TABLES = ("features", "feature_defaults")

# Points.shown would be the way, but napari 0.9 draws all points of a layer of two dimensions, whatever it says.


def show_filtered(points: Any, filters: Filters) -> None:
    """Show the points of a layer of ours that pass the filters, and take the others out; they wait in its metadata."""
    tag = points.metadata[TAG]
    state = _joined(point_state(points), tag.get("hidden"))
    shown = _shown(filters, state, tag["place"].shape)
    tag["filters"] = filters
    if shown[: len(points.data)].all() and shown.sum() == len(points.data):
        return
    tag |= {"edited": is_edited(points), "hidden": _picked(state, ~shown)}
    with writing(points), points.block_update_properties():
        selected = tag[NUMBERS][list(points.selected_data)] if NUMBERS in state else ()
        set_points(points, _picked(state, shown))
        if len(selected):
            points.selected_data = set(np.flatnonzero(np.isin(tag[NUMBERS], selected)).tolist())
    tag["drawn"] = (points.data.copy(), points.size.copy(), points.features.copy())


def show_probable(points: Any, least: float) -> None:
    """Show points that are at least so probable, and otherwise go by the filters that are on."""
    show_filtered(points, replace(filters_of(points), min_probability=least))


def filters_of(points: Any) -> Filters:
    """The filters that are on in a layer of ours."""
    return points.metadata[TAG].get("filters") or Filters()


def n_hidden(points: Any) -> int:
    """How many points wait beside a layer of ours."""
    hidden = points.metadata[TAG].get("hidden")
    return 0 if hidden is None else len(hidden["data"])


def _shown(filters: Filters, state: dict[str, Any], shape: tuple[int, int] | None) -> np.ndarray:
    """Which points pass; what they are is told by themselves, what else is known of them by their features."""
    now = places(state["data"], state["size"])
    table = state["features"].reset_index(drop=True)
    if set(KEYS) <= set(table):  # moved, resized or added, of which the features say nothing yet
        moved, resized = differs(now, table[KEYS].to_numpy(float))
        by_hand = moved | resized
        if "pinned" in table:
            by_hand |= table["pinned"].eq(True).to_numpy(bool)
        table = table.assign(pinned=by_hand)
    return passes(filters, table.assign(**dict(zip(KEYS, now.T, strict=True))), shape)


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
