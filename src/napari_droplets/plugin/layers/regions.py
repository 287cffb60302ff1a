"""A region of an image that the user drew: a Shapes or a Labels layer as a box or a mask."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from ...images.region import Region, checked_region
from .place import Place, plane_shape

CORNERS = 64
"""Of the polygon that an ellipse is taken for."""
STRAIGHT = 1e-3
"""Pixels by which the sides of a rectangle may lean and still be a box."""
AREAS = ("rectangle", "ellipse", "polygon")


def region_layers(viewer: Any) -> list[Any]:
    """The layers of a viewer that can be a region."""
    from napari.layers import Labels, Shapes

    return [layer for layer in viewer.layers if isinstance(layer, (Labels, Shapes))]


def region_of(layer: Any, image: Any, place: Place) -> Region | None:
    """What a layer encloses of the plane of an image layer: a box, or a mask, as `Settings` holds them.

    Parameters
    ----------
    layer : napari Shapes or Labels layer, or None
        Shapes may lie anywhere; labels must have the size of the image.
    image : napari Image layer
    place : Place
        Says which plane of a stack.

    Raises
    ------
    InputError
        Nothing is drawn, none of it in the image, or labels of another size.
    """
    from napari.layers import Labels

    if layer is None:
        return None
    shape = plane_shape(image)
    inside = _labelled(layer, place, shape) if isinstance(layer, Labels) else _drawn(layer, image, place, shape)
    if isinstance(inside, np.ndarray) and not inside.any():
        h, w = shape
        raise InputError(f"{layer.name}: nothing of it is in {image.name} ({w} x {h} pixels); draw the region there")
    return checked_region(inside)


def _labelled(layer: Any, place: Place, shape: tuple[int, int]) -> np.ndarray:
    data = np.asarray(layer.data[place.plane[-(layer.ndim - 2) :]] if layer.ndim > 2 else layer.data)
    if data.shape != shape:
        (h, w), (rows, columns) = shape, data.shape[-2:]
        raise InputError(f"{layer.name}: labels of {columns} x {rows} pixels, but the image has {w} x {h}")
    if not data.any():
        raise InputError(f"{layer.name}: no labels; paint the region, or choose the whole image")
    return data != 0


def _drawn(layer: Any, image: Any, place: Place, shape: tuple[int, int]) -> tuple[float, ...] | np.ndarray:
    """All shapes with an area together."""
    from skimage.draw import polygon

    outlines = [
        _in_pixels(_outline(np.asarray(corners), kind), layer, image)
        for corners, kind in zip(layer.data, layer.shape_type, strict=True)
        if kind in AREAS and _on_plane(np.asarray(corners), place)
    ]
    if not outlines:
        raise InputError(
            f"{layer.name}: no region is drawn here; draw a rectangle, ellipse or polygon, or choose the whole image"
        )
    inside = np.zeros(shape, bool)
    for y, x in outlines:
        inside[polygon(y, x, shape)] = True
    if len(outlines) == 1 and layer.shape_type[0] == "rectangle" and inside.any():
        y, x = outlines[0]
        if all(np.minimum(side - side.min(), side.max() - side).max() < STRAIGHT for side in (x, y)):
            return _box(x, y, shape)
    return inside


def _box(x: np.ndarray, y: np.ndarray, shape: tuple[int, int]) -> tuple[float, ...]:
    """The pixels whose centers an upright rectangle holds, as a box within the image."""
    h, w = shape
    low = (max(0, int(np.ceil(side.min()))) for side in (x, y))
    high = (min(n, int(np.floor(side.max())) + 1) for side, n in ((x, w), (y, h)))
    return tuple(float(side) for side in (*low, *high))


def _outline(corners: np.ndarray, kind: str) -> np.ndarray:
    """Corners (N, D) of a polygon; of an ellipse the corners of the box around it are given."""
    if kind != "ellipse":
        return corners
    middle = corners.mean(0)
    across, down = (corners[1] - corners[0]) / 2, (corners[3] - corners[0]) / 2
    angle = np.linspace(0, 2 * np.pi, CORNERS, endpoint=False)[:, None]
    return middle + across * np.cos(angle) + down * np.sin(angle)


def _on_plane(corners: np.ndarray, place: Place) -> bool:
    """Whether a shape is on the plane of a stack; one without leading axes is on all."""
    leading = corners.shape[1] - 2
    return not leading or np.array_equal(np.rint(corners[0, :leading]).astype(int), place.plane[-leading:])


def _in_pixels(corners: np.ndarray, layer: Any, image: Any) -> np.ndarray:
    """Rows and columns (2, N) of corners in pixels of the image, which may be placed and scaled otherwise."""
    pixels = []
    for corner in corners:
        world = np.asarray(layer.data_to_world(corner), float)
        missing = image.ndim - len(world)
        world = np.concatenate([np.zeros(max(0, missing)), world])[-image.ndim :]
        pixels.append(np.asarray(image.world_to_data(world), float)[-2:])
    return np.array(pixels).T
