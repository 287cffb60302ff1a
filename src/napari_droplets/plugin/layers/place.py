"""Where an image layer is, which plane of it is shown, and its pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np

from ...errors import InputError
from ...images.pixel_size import PixelSize, of_layer, pixel_steps
from ...images.readers.arrays import FILE, facts_of
from ...images.scenes import converted_in, size_in_file
from .ground import Ground, ground_of

CHANNELS = 3
"""Entries of an axis that may be the channels of a picture: other numbers of them are no picture for a fit."""
PLANE_LABELS = ("t", "z", "time", "frame", "plane", "slice", "depth")
"""Labels of axes along which there are planes."""
STRETCH = 0.02
"""Relative difference of the sides of a pixel from which circles are seen not to lie on droplets."""


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
    layer_id : str
        Of the image layer in this session; where there is none, one that the results share.
    shape : (int, int), optional
        Height and width of the image in pixels.
    ground : Ground, optional
        How bright the image is as it is shown: what rings have to stand out from.
    leading : int
        Leading axes along which the table says where droplets are: those of all planes of a stack; 0 for one plane.
    channels : bool
        Whether the first axis of the layer holds the channels of one picture.
    """

    name: str = "image"
    plane: tuple[int, ...] = ()
    transform: Mapping[str, Any] = field(default_factory=dict)
    plane_translate: Sequence[float] | None = None
    layer_id: str = field(default_factory=lambda: str(uuid4()))
    shape: tuple[int, int] | None = None
    ground: Ground | None = field(default=None, compare=False, repr=False)
    leading: int = 0
    channels: bool = False


def place_of(layer: Any, point: Sequence[float] = ()) -> Place:
    """Place of an image layer, and of the plane of it that is shown at `point` (world coordinates).

    Raises
    ------
    InputError
        The layer has fewer than two dimensions.
    """
    if layer.ndim < 2:
        raise InputError(f"{layer.name}: {layer.ndim} dimension; give an image, (H, W) or (H, W, 3)")
    transform = transform_of(layer)
    leading = layer.ndim - 2
    if not leading:
        return Place(
            layer.name, (), transform, layer_id=str(layer.unique_id), shape=plane_shape(layer), ground=ground_of(layer)
        )
    at = np.zeros(layer.ndim) if len(point) < layer.ndim else layer.world_to_data(point)
    last = np.array(_finest(layer).shape[:leading]) - 1
    plane = tuple(int(i) for i in np.clip(np.round(at[:leading]), 0, last))
    translate = transform["affine"].inverse(layer.data_to_world((*plane, 0, 0)))
    ground = ground_of(layer, plane)
    return Place(layer.name, plane, transform, translate, str(layer.unique_id), plane_shape(layer), ground)


def whole_of(layer: Any) -> Place:
    """Place of all planes of a stack."""
    first = place_of(layer)
    return replace(first, plane=(), plane_translate=None, leading=layer.ndim - 2)


def planes_of(layer: Any) -> list[tuple[int, ...]]:
    """The planes of a stack, by their places along its leading axes."""
    return list(np.ndindex(*_finest(layer).shape[: layer.ndim - 2]))


def picture_of(layer: Any) -> Place:
    """Place of an image layer whose first axis are the channels of one picture: that of the other two axes."""
    transform = transform_of(layer)
    flat = {name: transform[name][-2:] for name in ("scale", "translate", "units", "axis_labels")}
    return Place(
        layer.name, (), flat, None, str(layer.unique_id), plane_shape(layer), ground_of(layer, (0,)), channels=True
    )


def check_axes(layer: Any) -> None:
    """Refuse an image of which nobody knows whether its first axis are planes or channels.

    Raises
    ------
    InputError
        It has three entries, and its label does not say what they are.
    """
    if layer.rgb or layer.ndim != 3 or _finest(layer).shape[0] != CHANNELS:
        return
    if str(layer.axis_labels[0]).lower() in PLANE_LABELS:
        return
    raise InputError(
        f"{layer.name}: its first axis has {CHANNELS} entries; are they planes, or the channels of one picture? Choose "
        "beside 'Planes'"
    )


def place_over(name: str, images: Sequence[Any], x: np.ndarray, y: np.ndarray, leading: int = 0) -> Place:
    """Place of a table that was opened: on the image layer of its name, else on the only one, if they fit.

    Parameters
    ----------
    name : str
        Of the image that the table is of.
    images : sequence of napari Image layer
    x, y : ndarray
        (N,) pixels.
    leading : int
        How many leading axes the points have.
    """
    named = [layer for layer in images if name in (layer.name, PurePath(layer.name).stem)]
    for layer in named or (images if len(images) == 1 else ()):
        h, w = plane_shape(layer)
        inside = (x > -w) & (x < 2 * w) & (y > -h) & (y < 2 * h)  # droplets may be centered outside
        transform, n = transform_of(layer), 2 + leading
        if not inside.all() or layer.ndim < n:
            continue
        if layer.ndim == n:
            return Place(name, (), transform, layer_id=str(layer.unique_id), shape=(h, w), ground=ground_of(layer))
        last = {key: transform[key][-n:] for key in ("scale", "translate", "units", "axis_labels")}
        return Place(name, (), last, shape=(h, w))
    return Place(name)


def transform_of(layer: Any) -> dict[str, Any]:
    """What puts a layer where another one is, as arguments of `Layer.create`.

    napari draws points by their sizes times the last scale, whatever the affine is. Where that makes all larger by the
    same factor, the scale takes the factor over: the layer lies where it was, and rings have their size.
    """
    from napari.utils.transforms import Affine

    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    transform = {name: getattr(layer, name) for name in names}
    longest, shortest = np.linalg.svd(pixel_steps(layer), compute_uv=False)
    factor = np.sqrt(longest * shortest) / abs(float(layer.scale[-1]))
    if abs(factor - 1) > 1e-6 and longest <= (1 + STRETCH) * shortest:
        affine = layer.affine
        transform["affine"] = Affine(linear_matrix=affine.linear_matrix / factor, translate=affine.translate)
        transform["scale"] = np.asarray(layer.scale) * factor
        transform["translate"] = np.asarray(layer.translate) * factor
    return transform


def check_shown(layer: Any, dims: Any) -> None:
    """Refuse a stack of which the viewer shows another section than the planes that are fitted.

    Parameters
    ----------
    layer : napari Image layer
    dims : napari Dims
        Of the viewer.

    Raises
    ------
    InputError
        Its last two axes are not the two that are shown, or they are stretched or sheared, so that circles of pixels,
        which is what droplets are found as, are shown as ellipses.
    """
    longest, shortest = np.linalg.svd(pixel_steps(layer), compute_uv=False)
    if longest > (1 + STRETCH) * shortest:
        raise InputError(
            f"{layer.name}: its scale, shear or affine stretch it {longest / max(shortest, 1e-300):.2f} to 1, so that "
            "rings would not lie on the droplets; give both axes the same scale, or resample the image"
        )
    if layer.ndim < 3:
        return
    last = {dims.ndim - 2, dims.ndim - 1}
    if dims.ndisplay != 2 or set(dims.order[-2:]) != last:
        raise InputError(
            f"{layer.name}: what is shown is no plane of the last two axes, in which droplets are looked for; "
            "show the stack in 2D and roll its axes back (the buttons below the list of layers)"
        )


def plane_columns(leading: int) -> tuple[str, ...]:
    """Columns that say where droplets are along so many leading axes of a stack."""
    return ("frame",) if leading == 1 else tuple(f"axis_{i}" for i in range(leading))


def plane_of(layer: Any, place: Place) -> Any:
    """The pixels to work on, (H, W) or (H, W, 3|4); not yet read where the layer is lazy."""
    return _picture(layer) if place.channels else _finest(layer)[place.plane]


def plane_shape(layer: Any) -> tuple[int, int]:
    """Height and width of an image layer, in pixels."""
    h, w = _finest(layer).shape[-2 - layer.rgb :][:2]
    return int(h), int(w)


class Plane(NamedTuple):
    """The pixels to work on with the layer's name: all that `as_image` reads of a layer."""

    data: Any
    """(H, W) or (H, W, 3|4); not yet read where the layer is lazy."""
    name: str
    rgb: bool
    around: Any = None
    """The stack that it is a plane of, where it is in memory: one scale of intensities for all of it."""
    metadata: Mapping[str, Any] = {}
    """With what the file says of its pixels, where this package opened it."""

    @classmethod
    def of(cls, layer: Any, place: Place) -> Plane:
        """The plane of an image layer that a place says."""
        if place.channels:
            return cls(_picture(layer), place.name, True, metadata={FILE: facts_of(layer)})
        stack = _finest(layer)
        pages = isinstance(stack, np.ndarray) and len(place.plane) > 0
        around = stack.reshape(-1, *stack.shape[len(place.plane) :]) if pages else None
        facts = facts_of(layer)
        if facts.hidden is not None:
            facts = facts._replace(hidden=facts.hidden[place.plane])
        return cls(plane_of(layer, place), place.name, layer.rgb, around, {FILE: facts})


def pixel_size_um(layer: Any) -> PixelSize | None:
    """Size of a pixel in micrometres where the layer's units are lengths, else what the file behind the layer says."""
    size = of_layer(layer)
    return size_of_file(layer) if size is None else size


def size_of_file(layer: Any) -> PixelSize | None:
    """Size of a pixel that the file states behind a layer that has none of its own."""
    if layer is None or of_layer(layer) is not None:
        return None
    path = getattr(getattr(layer, "source", None), "path", None)
    if path is None or not np.allclose(np.abs(layer.scale[-2:]), 1):
        return None
    return size_in_file(str(path), shape_of(layer))


def shown_as_stored(layer: Any) -> str:
    """What the numbers of the file behind a layer are, where another reader shows them for the picture; else empty."""
    path = getattr(getattr(layer, "source", None), "path", None)
    return "" if path is None or FILE in layer.metadata else converted_in(str(path))


def shape_of(layer: Any) -> tuple[int, int]:
    """Height and width of an image layer in pixels."""
    height, width = _finest(layer).shape[-2 - layer.rgb :][:2]
    return int(height), int(width)


def _picture(layer: Any) -> Any:
    """Channels last."""
    data = _finest(layer)
    return np.moveaxis(data, 0, -1) if isinstance(data, np.ndarray) else data.transpose(1, 2, 0)


def _finest(layer: Any) -> Any:
    return layer.data[0] if layer.multiscale else layer.data
