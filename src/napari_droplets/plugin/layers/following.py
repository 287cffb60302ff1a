"""Features that always say what the points are: kept in step while the user adds, moves, resizes and deletes points."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import numpy as np

from ...droplets import Droplets
from .coloring import drawn_colors
from .correction import KEYS, UM_COLUMNS, differs, edited_table, in_micrometres, places, told_rows
from .points import ADDED, NUMBERS, TAG, is_written, tag_of, writing

_followed: WeakSet[Any] = WeakSet()


def follow(points: Any) -> None:
    """From now on, keep the features of a Points layer of ours in step with its points."""
    tag = tag_of(points, "droplets")
    before = points in _followed
    if tag is None or (before and NUMBERS in tag):  # without numbers they are other droplets in the same layer
        return
    _followed.add(points)
    points.metadata[TAG] = tag = dict(tag)  # a duplicate of a layer shares it
    if NUMBERS not in tag or len(tag[NUMBERS]) != len(points.data):
        tag[NUMBERS] = _numbers_of(tag, points.features)
    if tag.get("hidden") is not None and NUMBERS not in tag["hidden"]:
        tag["hidden"] = tag["hidden"] | {NUMBERS: _numbers_of(tag, tag["hidden"]["features"])}
    if not before:
        points.events.data.connect(_on_data)
        for event in (points.events.size, points.events.set_data):  # pasted points are told by set_data alone
            event.connect(_on_change)
    in_step(points)


def in_step(points: Any) -> None:
    """Make the features of a followed layer say what the points are.

    Where a droplet was moved, they no longer say what was found at its old place; what was added claims nothing. Both
    are colored as unknown.
    """
    tag, n = points.metadata[TAG], len(points.data)
    features = points.features
    if not set(KEYS) <= set(features) or len(features) != n or len(points.size) != n:
        return
    numbers = tag[NUMBERS] = np.append(tag[NUMBERS], np.full(max(0, n - len(tag[NUMBERS])), ADDED))[:n]
    now = places(points.data, points.size)
    moved, resized = differs(now, features[KEYS].to_numpy(float))
    new = numbers == ADDED
    edited = moved | resized | new
    if not edited.any() or not np.isfinite(now).all():
        return
    place = tag["place"]
    table = edited_table(features, now, moved, resized, new, place.shape)
    pixel = Droplets.from_dataframe(tag["table"]).pixel_size_um
    if pixel is not None:
        table.loc[edited, UM_COLUMNS] = in_micrometres(now, pixel)[edited]
    numbers[new] = new_numbers(tag, int(new.sum()))
    face, border = drawn_colors(tag, table[edited], now[edited])
    with writing(points):
        points.features = table
        faces, borders = points.face_color, points.border_color
        faces[edited], borders[edited] = face, border
        points.face_color, points.border_color = faces, borders


def new_numbers(tag: dict[str, Any], n: int) -> np.ndarray:
    """Numbers (n,) that no droplet of a layer has, or had; `tag` are our notes on it."""
    known = [tag["table"].index, tag.get(NUMBERS, ()), (tag.get("hidden") or {}).get(NUMBERS, ())]
    first = max([tag.get("next", 0), *(int(np.max(some)) + 1 for some in known if len(some))])
    tag["next"] = first + n
    return np.arange(first, first + n)


def _numbers_of(tag: dict[str, Any], features: Any) -> np.ndarray:
    rows = told_rows(tag["table"], features) if set(KEYS) <= set(features) else np.full(len(features), -1)
    numbers = np.where(rows < 0, ADDED, tag["table"].index.to_numpy()[rows] if len(tag["table"]) else ADDED)
    numbers[numbers == ADDED] = new_numbers(tag, int((numbers == ADDED).sum()))
    return numbers


def _on_data(event: Any) -> None:
    points = event.source
    if is_written(points):
        return
    if event.action == "removing":  # they are still there
        tag = points.metadata[TAG]
        tag[NUMBERS] = np.delete(tag[NUMBERS], list(event.data_indices))
    else:
        in_step(points)


def _on_change(event: Any) -> None:
    if not is_written(event.source):
        in_step(event.source)
