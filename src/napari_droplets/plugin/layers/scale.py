"""The size of a pixel told by hand: all layers scaled alike, results in micrometres, nothing moved on the screen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ...droplets import Droplets, Fit
from ...errors import InputError
from ...images.pixel_size import PixelSize, of_layer
from .correction import KEYS, UM_COLUMNS, in_micrometres
from .linking import link
from .place import Place, transform_of
from .points import TAG, tag_of

MICROMETRE = "um"


def line_length(layer: Any) -> float:
    """Length of the last line drawn in a Shapes layer, in units of the world.

    Raises
    ------
    InputError
        There is none, or it has no length.
    """
    lines = [c for c, kind in zip(layer.data, layer.shape_type, strict=True) if kind in ("line", "path")]
    if not lines:
        raise InputError("no line is drawn yet: drag one along the scale bar, from end to end")
    ends = [np.asarray(layer.data_to_world(corner), float)[-2:] for corner in np.asarray(lines[-1])[[0, -1]]]
    length = float(np.linalg.norm(ends[1] - ends[0]))
    if length <= 0:
        raise InputError("the line has no length: drag one along the scale bar, from end to end")
    return length


def calibrate(viewer: Any, image: Any, world_length: float, length_um: float) -> PixelSize:
    """Tell how long something is, so that the world is in micrometres from now on.

    All layers with the units of the image are scaled alike, as they lie on one another. What is seen stays where it is.
    Droplets already found get columns in micrometres.

    Parameters
    ----------
    viewer : napari viewer
    image : napari Image layer
    world_length : float
        How long it is in units of the world now.
    length_um : float
        How long it is, micrometres.

    Returns
    -------
    float or (float, float)
        Size of a pixel of the image in micrometres.

    Raises
    ------
    InputError
        A length that is none.
    """
    if not (np.isfinite(length_um) and length_um > 0):
        raise InputError(f"{length_um:g} µm: must be a positive length")
    factor = length_um / world_length
    before = tuple(map(str, image.units[-2:]))
    alike = [layer for layer in viewer.layers if tuple(map(str, layer.units[-2:])) == before]
    camera = camera_of(viewer)
    zoom, center = camera.zoom, camera.center
    for layer in alike:
        _rescale(layer, factor)
    camera.center = (*center[:-2], *(factor * c for c in center[-2:]))
    camera.zoom = zoom / factor
    size = of_layer(image)
    assert size is not None
    for layer in alike:
        tag = layer.metadata.get(TAG)
        if isinstance(tag, dict) and "place" in tag:
            tag["place"] = _moved(tag["place"], layer, image)
            if tag_of(layer, "droplets") is not None and tag["place"].layer_id == str(image.unique_id):
                in_pixels_of(layer, size)
    return size


def camera_of(viewer: Any) -> Any:
    """The camera of a viewer, which is that of its scene since napari 0.9."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera


def in_pixels_of(points: Any, size: PixelSize) -> None:
    """Give the droplets of a Points layer of ours the size of a pixel, and with it columns in micrometres."""
    sheet = link(points)
    if sheet is None:  # a layer whose features are no droplets any more
        return
    fits = {plane: one._replace(fit=fit_with_size(one.fit, size)) for plane, one in sheet.fits.items()}
    sheet.rescale(with_size(sheet.table, size), fits)


def with_size(table: pd.DataFrame, size: PixelSize) -> pd.DataFrame:
    """A droplets table in pixels of a size: with columns in micrometres, in their place if it has them."""
    values = in_micrometres(table[KEYS].to_numpy(float), size)
    return table.assign(**dict(zip(UM_COLUMNS, values.T, strict=True)))


def fit_with_size(fit: Fit, size: PixelSize) -> Fit:
    """A fit of pixels of a size."""
    droplets: Droplets = replace(fit.droplets, pixel_size_um=size)
    image = None if fit.image is None else replace(fit.image, pixel_size_um=size)
    return replace(fit, droplets=droplets, image=image)


def _rescale(layer: Any, factor: float) -> None:
    from napari.utils.transforms import Affine

    n = layer.ndim
    factors = np.ones(n)
    factors[-2:] = factor
    affine = layer.affine
    if np.any(affine.translate):
        layer.affine = Affine(linear_matrix=affine.linear_matrix, translate=np.asarray(affine.translate) * factors)
    layer.scale = np.asarray(layer.scale) * factors
    layer.translate = np.asarray(layer.translate) * factors
    layer.units = (*map(str, layer.units[:-2]), MICROMETRE, MICROMETRE)


def _moved(place: Place, layer: Any, image: Any) -> Place:
    """The place of results after their layer was scaled."""
    if place.layer_id != str(image.unique_id):
        return replace(place, transform=transform_of(layer))
    transform = transform_of(image)
    if place.plane_translate is None:
        return replace(place, transform=transform)
    translate = transform["affine"].inverse(image.data_to_world((*place.plane, 0, 0)))
    return replace(place, transform=transform, plane_translate=translate)
