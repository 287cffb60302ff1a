"""Droplets and reconstructions as napari layers: made, placed where the image is, updated in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..colors import composition_colors
from ..droplets import Droplets, Fit
from ..errors import InputError
from ..images import Image, as_image

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    LayerData = tuple[np.ndarray, dict[str, Any], str]

TAG = "napari_droplets"  # key in layer.metadata of the layers we made
FACE_OPACITY = 0.15  # the droplet stays visible below its disc
POINT_STYLE = {"border_width": 0.12, "border_width_is_relative": True, "symbol": "disc"}
DEFAULT_DIAMETER = 10.0  # pixels; of points added by hand where no droplet was found


@dataclass(frozen=True)
class Place:
    """Where results belong: the image layer (and its plane, in a stack) as it was when the work began.

    Attributes
    ----------
    name : str
        Of the image layer.
    plane : tuple of int
        Index of the plane along the leading axes of a stack; empty for a single image.
    transform : dict
        Scale, translate, rotate, shear, affine, units, axis_labels of the layer, for `Layer.create`.
    plane_translate : sequence of float, optional
        Translation that puts a single plane where it is in the stack.
    layer_id : str, optional
        Of the image layer in this session.
    """

    name: str = "image"
    plane: tuple[int, ...] = ()
    transform: Mapping[str, Any] = field(default_factory=dict)
    plane_translate: Sequence[float] | None = None
    layer_id: str | None = None


def place_of(layer: Any, point: Sequence[float] = ()) -> Place:
    """Place of an image layer, and of the plane of it that is shown at `point` (world coordinates).

    Raises
    ------
    InputError
        The layer has fewer than two dimensions.
    """
    if layer.ndim < 2:
        raise InputError(f"{layer.name}: {layer.ndim} dimension; give an image, (H, W) or (H, W, 3)")
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    transform = {name: getattr(layer, name) for name in names}
    leading = layer.ndim - 2
    if not leading:
        return Place(layer.name, (), transform, layer_id=str(layer.unique_id))
    at = np.zeros(layer.ndim) if len(point) < layer.ndim else layer.world_to_data(point)
    last = np.array(_finest(layer).shape[:leading]) - 1
    plane = tuple(int(i) for i in np.clip(np.round(at[:leading]), 0, last))
    translate = layer.affine.inverse(layer.data_to_world((*plane, 0, 0)))
    return Place(layer.name, plane, transform, translate, str(layer.unique_id))


def plane_of(layer: Any, place: Place) -> Any:
    """The pixels to work on, (H, W) or (H, W, 3|4); not yet read where the layer is lazy."""
    return _finest(layer)[place.plane]


def pixel_size_um(layer: Any) -> float | None:
    """Side of a pixel in micrometres, where the layer's units are lengths and its pixels are square."""
    height, width = (
        float(unit.units_to_um * scale) if unit.units_to_um else 0.0
        for unit, scale in ((_Unit(u), s) for u, s in zip(layer.units[-2:], layer.scale[-2:], strict=True))
    )
    return width if width > 0 and np.isclose(width, height, rtol=0.01) else None
