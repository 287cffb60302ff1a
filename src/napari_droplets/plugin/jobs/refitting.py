"""What Refit does of the points as they are now: which are used, on which pixels, and whether it can be done at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, cast

import numpy as np

from ...errors import InputError
from ...workbench.filters import Filters
from ...workbench.rows import changed_rows
from ...workbench.sheet import Sheet, Snapshot
from ..controls.form import DEFAULTS, LABELS
from ..layers.correction import KEYS, Corrected, corrected
from ..layers.linking import link, read_now
from ..layers.place import Place, Plane, check_shown, place_of, plane_shape
from ..layers.points import NUMBERS, TAG, tag_of
from ..layers.presence import filters_of, n_hidden, show_filtered
from ..layers.regions import region_of
from . import work


class Refit(NamedTuple):
    """A refit that can be started."""

    steps: Callable[[], work.Steps]
    place: Place
    text: str
    """What is said of it."""
    since: Snapshot | None = None
    """Of a local refit: what is refitted …"""
    sheet: Sheet | None = None
    """… and which droplets it is of."""


def refit_of(
    points: Any,
    viewer: Any,
    image_of: Callable[[Place], Any],
    settings_of: Callable[[Any], dict[str, Any]],
    region: Any,
) -> Refit:
    """Prepare a refit of a Points layer of ours.

    Parameters
    ----------
    points : napari Points layer
    viewer : napari viewer
    image_of : callable
        The image layer that a place is of, else the one chosen.
    settings_of : callable
        The settings of the panel for an image layer, or for None.
    region : napari layer, optional
        Where a fit of the whole image looks for droplets.

    Raises
    ------
    InputError
        There is nothing to refit, or the points are not all on one plane, or the image is not the one fitted.
    """
    tag = tag_of(points, "droplets")
    place = tag["place"]
    read_now(points)
    sheet = link(points)
    if sheet is not None and place.leading and sheet.fits:
        layer = image_of(place)
        shown = place_of(layer, viewer.dims.point).plane
        if shown not in sheet.fits:
            raise InputError(
                f"{points.name}: plane {', '.join(map(str, shown))} was not fitted; show another, or press Run"
            )
        return _local(points, sheet, shown, viewer, image_of, settings_of)
    check_planes(points, place)
    if sheet is not None and sheet.image.plane in sheet.fits:
        return _local(points, sheet, sheet.image.plane, viewer, image_of, settings_of)
    show_filtered(points, Filters(filters_of(points).min_probability))  # what is hidden by its size is there, too
    now = points.features, points.data, points.size
    correction = corrected(tag["table"], *now, n_hidden(points), place.shape, tag[NUMBERS])
    if correction.hidden and not len(correction.table):
        raise InputError(f"{points.name}: all points are hidden; set '{LABELS['min_probability']}' lower")
    if not len(correction.table):
        raise InputError(f"{points.name}: no points are left; add some, or press Run")
    edits = _edits_text(correction)
    layer = image_of(place)
    here = _place_on(layer, place, viewer)
    settings = settings_of(layer) | {"region": region_of(region, layer, here)}
    start = correction.table
    if not tag.get("detected"):  # a fit's own uncertainties as the prior would count the pixels twice
        start = start.drop(columns=["x_sd", "y_sd", "radius_sd"], errors="ignore")
    steps = partial(work.fit_from, start, Plane.of(layer, here), settings)
    return Refit(steps, place, f"Fit from these points, which may move: {edits}")


def _local(
    points: Any,
    sheet: Sheet,
    plane_index: tuple[int, ...],
    viewer: Any,
    image_of: Callable[[Place], Any],
    settings_of: Callable[[Any], dict[str, Any]],
) -> Refit:
    """A refit around what was edited since the fit, hidden or not; the rest of the fit stays."""
    place = replace(points.metadata[TAG]["place"], plane=plane_index)
    since = sheet.snapshot(plane_index)
    if not len(since.table):
        raise InputError(f"{points.name}: no points are left; add some, or press Run")
    # what a fit is made of stays; how long to go on is asked anew, where it is asked at all
    settings, plane = settings_of(None), cast(Any, None)
    if since.fit.fit.image is None:
        layer = image_of(place)
        settings, plane = settings_of(layer), Plane.of(layer, _place_on(layer, place, viewer))
    elif (layer := layer_of(viewer, place)) is not None:
        plane = Plane.of(layer, _place_on(layer, place, viewer))
    limits = {"max_seconds": settings["max_seconds"]}
    if settings["steps"] != DEFAULTS["steps"]:
        limits["steps"] = settings["steps"]
    steps = partial(work.refit, since, plane, settings["pixel_size_um"], limits)
    before, now = since.fit.table.index, since.table.index
    edits = Corrected(
        since.table,
        len(now.difference(before)),
        len(changed_rows(since.fit.table[KEYS], since.table[KEYS])),
        len(before.difference(now)),
        0,
    )
    return Refit(steps, place, f"Refit: {_edits_text(edits)}", since, sheet)


def check_planes(points: Any, place: Place) -> None:
    """Refuse points of other planes than the one that a place is of, and select them.

    Raises
    ------
    InputError
        There are some.
    """
    if points.ndim != 2 + len(place.plane):
        raise InputError(f"{points.name}: points of several frames; refit those of one image at a time")
    planes = np.rint(points.data[:, :-2]).astype(int)
    elsewhere = (planes != np.array(place.plane, int)).any(axis=1)
    if elsewhere.any():
        points.selected_data = set(np.flatnonzero(elsewhere).tolist())
        where = ", ".join(map(str, place.plane))
        count = f"{elsewhere.sum():,} points are" if elsewhere.sum() > 1 else "1 point is"
        raise InputError(
            f"{points.name}: {count} on another plane than the one fitted ({where}), and selected now; "
            "delete what is selected, or move it there"
        )


def layer_of(viewer: Any, place: Place) -> Any:
    """The image layer that a place is of, None where it is gone."""
    return next((layer for layer in viewer.layers if str(layer.unique_id) == place.layer_id), None)


def _place_on(layer: Any, place: Place, viewer: Any) -> Place:
    """The place where it is of the layer, else the plane of the layer that is shown."""
    if place.layer_id != str(layer.unique_id):
        check_shown(layer, viewer.dims)
        return place_of(layer, viewer.dims.point)
    flat = 1 if place.channels else 0
    if layer.ndim != 2 + len(place.plane) + flat or (place.shape and plane_shape(layer) != tuple(place.shape)):
        h, w = place.shape or (0, 0)
        raise InputError(
            f"{layer.name}: the image has changed since the droplets were found (it was {w} x {h} pixels); press Run"
        )
    return place


def _edits_text(correction: Corrected) -> str:
    text = f"{correction.added} added, {correction.changed} changed, {correction.deleted} deleted"
    return text + (f", {correction.hidden:,} hidden and left out" if correction.hidden else "")
