"""The Tracks layer of a movie: trails of its droplets, with the graph of merges and splits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...tracking.tracks import Tracks
from ..layers.place import Place
from ..layers.points import TAG, tag_of

KIND = "tracks"
NEAR = 12.0
"""Pixels of the image from which a trail is not meant by a click."""
TAIL = 10
"""Frames that a trail is long at first; napari's slider changes it."""


def draw_trails(viewer: Any, place: Place, tracks: Tracks, clicked: Callable[[Any, Any], None]) -> Any:
    """Add the Tracks layer of a movie, or show other tracks in it.

    Parameters
    ----------
    viewer : napari viewer
    place : Place
        Of the movie's image layer.
    tracks : Tracks
    clicked : callable
        Called with the layer and the event when the mouse is pressed on it.
    """
    table = tracks.droplets
    order = np.lexsort((table["frame"].to_numpy(), table["track_id"].to_numpy()))
    lines = table.iloc[order][["track_id", "frame", "y", "x"]].to_numpy(float)
    features = {c: table[c].to_numpy(float)[order] for c in ("radius", "time_s") if c in table}
    layer = find_trails(viewer, place)
    if layer is not None:
        layer.graph = {}  # of tracks that may be gone
        layer.data = lines
        layer.features = features
        layer.graph = tracks.graph()
        return layer
    from napari.layers import Tracks as TracksLayer

    name = f"{place.name} tracks"
    tag = {"kind": KIND, "name": name, "place": place}
    selected = set(viewer.layers.selection)
    layer = viewer.add_layer(
        TracksLayer(
            lines,
            name=name,
            graph=tracks.graph(),
            features=features,
            tail_length=TAIL,
            metadata={TAG: tag},
            **place.transform,
        )
    )
    layer.mouse_drag_callbacks.append(clicked)
    if selected:
        viewer.layers.selection = selected
    return layer


def find_trails(viewer: Any, place: Place) -> Any:
    """The Tracks layer of a movie, None where there is none."""
    for layer in reversed(viewer.layers):
        tag = tag_of(layer, KIND)
        if tag is not None and tag["place"].layer_id == place.layer_id:
            return layer
    return None


def track_at(layer: Any, position: Any) -> int | None:
    """The track whose trail, as it is shown, is nearest to a place in world coordinates; None where none is near."""
    frame, y, x = layer.world_to_data(position)[-3:]
    lines = np.asarray(layer.data)
    age = frame - lines[:, 1]
    away = np.hypot(lines[:, 2] - y, lines[:, 3] - x)
    away[(age < -0.5) | (age > max(layer.tail_length, 1))] = np.inf
    if not len(away) or away.min() > NEAR:
        return None
    return int(lines[int(away.argmin()), 0])
