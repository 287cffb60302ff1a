"""The images of a viewer as something to learn from: which are corrected, and what their droplets are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd

from ..images import as_image
from ..workbench.filters import Filters, passes
from ..workbench.sheet import Sheet
from ..workbench.training.learning_job import LearningImage, Role
from .jobs.refitting import layer_of
from .layers.linking import sheet_of
from .layers.place import Place, Plane, place_of, transform_of
from .layers.points import TAG
from .layers.presence import filters_of
from .layers.results import image_layers

COLORS = {"newly found": "#0072b2", "no more found": "#d55e00"}
"""Blue and vermilion, which color-blind people can tell apart."""
READING = ("channels", "intensity_range")
"""Settings that say how a layer is read."""


def learning_images(viewer: Any, settings: dict[str, Any]) -> list[LearningImage]:
    """What there is to learn from, the corrected ones first, and to look at before and after.

    Parameters
    ----------
    viewer : napari viewer
    settings : dict
        Of the form.
    """
    reading = {name: settings[name] for name in READING if settings.get(name) is not None}
    found, with_droplets = [], set()
    for points in viewer.layers:
        sheet = sheet_of(points)
        if sheet is None or sheet.running:
            continue
        place = points.metadata[TAG]["place"]
        layer = layer_of(viewer, place)
        if layer is None:
            continue
        with_droplets.add(layer)
        for plane, table in _planes(sheet, place):
            # what is hidden by its size, class or region is there; what is improbable is not
            likely = Filters(min_probability=filters_of(points).min_probability)
            droplets = table[passes(likely, table)]
            role: Role = "learn" if _corrected(sheet, table) else "compare"
            where = replace(place, plane=plane, leading=0)
            found.append(LearningImage(_name(layer, plane), _reader(layer, where, reading), droplets, role))
    for layer in image_layers(viewer):
        if layer not in with_droplets and layer.ndim == 2:
            place = place_of(layer)
            found.append(LearningImage(layer.name, _reader(layer, place, reading), None, "compare"))
    return sorted(found, key=lambda image: image.role != "learn")


def show_learned(viewer: Any, image: Any, new: pd.DataFrame, gone: pd.DataFrame) -> None:
    """Show droplets that are found newly in an image layer, and those that are not found any more."""
    transform = transform_of(image)
    for words, droplets in (("newly found", new), ("no more found", gone)):
        name = f"{image.name} {words}"
        data = droplets[["y", "x"]].to_numpy(float).reshape(-1, 2)
        size = 2 * droplets["radius"].to_numpy(float) if len(droplets) else 1.0
        if name in viewer.layers:
            viewer.layers.remove(name)
        viewer.add_points(
            data,
            name=name,
            size=size,
            face_color="transparent",
            border_color=COLORS[words],
            border_width=0.15,
            symbol="disc",
            **transform,
        )


def n_edited(image: LearningImage) -> int:
    """How many of its droplets somebody has added, moved or changed."""
    droplets = image.droplets
    return 0 if droplets is None or "edited" not in droplets else int(droplets["edited"].eq(True).sum())


def _planes(sheet: Sheet, place: Place) -> Iterator[tuple[tuple[int, ...], pd.DataFrame]]:
    """Planes with their droplets; of a whole stack those that were corrected."""
    if not sheet.image.axes:
        yield place.plane, sheet.table
        return
    axes = list(sheet.image.axes)
    touched = sheet.table[sheet.table["edited"].eq(True)] if "edited" in sheet.table else sheet.table[:0]
    for plane in sorted({tuple(int(i) for i in row) for row in touched[axes].to_numpy()}):
        yield plane, sheet.on(plane)


def _corrected(sheet: Sheet, table: pd.DataFrame) -> bool:
    return bool(sheet.journal.edits) or bool("edited" in table and table["edited"].eq(True).any())


def _reader(layer: Any, place: Place, reading: dict[str, Any]) -> Any:
    def read() -> Any:
        return as_image(plane, **reading)

    plane = Plane.of(layer, place)
    return read


def _name(layer: Any, plane: tuple[int, ...]) -> str:
    return f"{layer.name} {', '.join(map(str, plane))}" if plane else str(layer.name)
