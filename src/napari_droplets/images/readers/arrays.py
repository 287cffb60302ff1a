"""Arrays without a word on their axes, and napari layers: which axis is which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ..pixel_size import of_layer
from ..stored import Raster, Stored, check_type, of_axes

MOST_CHANNELS = 16  # a longer last axis is no axis of channels
FILE = "napari-droplets file"
"""In the metadata of a layer: `FileFacts`."""


class FileFacts(NamedTuple):
    """What a file says that no layer of napari holds by itself, beside the layer that was opened from it."""

    bits: int | None = None
    nodata: float | None = None
    hidden: np.ndarray | None = None
    """Where it is transparent, for each picture."""
    channel: int | None = None
    """Which of several channels the layer is."""
    scene: int | None = None


def axes_of(array: Any, name: str) -> str:
    """Letters of the axes of an array: (H, W), (H, W, C), or pages (N, H, W) and (N, H, W, 3 or 4).

    Raises
    ------
    InputError
        It cannot be told which axis is which.
    """
    shape = tuple(array.shape)
    text = " x ".join(map(str, shape)) or "a single number"
    if 0 in shape:
        raise InputError(f"{name}: empty ({text}); give an image with pixels")
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3:
        if shape[-1] <= 4 or (shape[-1] <= MOST_CHANNELS and shape[-1] < min(shape[:2])):
            return "YXS"
        if shape[0] in (3, 4) and min(shape[1:]) > MOST_CHANNELS:
            raise InputError(
                f"{name}: {shape[0]} channels or planes come first ({text}); for channels use "
                f"numpy.moveaxis(image, 0, -1), of a stack give one plane, image[0]"
            )
        if min(shape[1:]) > MOST_CHANNELS and shape[0] < 10 * max(shape[1:]):
            return "IYX"
    if len(shape) > 3 and shape[0] == 1:
        return "I" + axes_of(array[0], name)
    if len(shape) == 4 and shape[-1] in (3, 4) and min(shape[1:3]) > MOST_CHANNELS:
        return "IYXS"
    raise InputError(f"{name}: {len(shape)} dimensions ({text}); give one plane, (H, W) or (H, W, 3)")


def of_array(data: Any, name: str, axes: str | None = None, *, opacity: bool = False) -> Stored:
    """An array, lazy or not; with `opacity` a fourth sample is that, whatever its values.

    Raises
    ------
    InputError
        Not an array, or axes that do not fit it.
    """
    try:
        array = data if hasattr(data, "shape") and hasattr(data, "dtype") else np.asarray(data)
    except Exception as error:
        raise InputError(f"{name}: cannot be read as an array ({error})") from error
    if array.ndim == 0:
        axes_of(array, name)
    check_type(np.dtype(array.dtype), name)
    if axes is None:
        axes = axes_of(array, name)
    elif len(axes) != array.ndim or not {"Y", "X"} <= set(axes.upper()):
        raise InputError(
            f"{name}: axes={axes!r}, but {array.ndim} dimensions; give a letter for each, Y and X among them"
        )
    return _with_opacity(array, axes, name, opacity)


def of_layer_data(layer: Any, name: str) -> Stored:
    """A napari Image layer, or one plane of it: axes and pixel size as the layer says."""
    data = layer.data[0] if getattr(layer, "multiscale", False) else layer.data
    if not hasattr(data, "shape") or not hasattr(data, "dtype"):
        data = np.asarray(data)
    found = of_array(data, name, _layer_axes(data, bool(layer.rgb)), opacity=bool(layer.rgb))
    facts = facts_of(layer)
    if facts.hidden is not None and facts.hidden.shape == tuple(data.shape[: data.ndim - bool(layer.rgb)]):
        hidden, load = facts.hidden.squeeze(tuple(i for i, n in enumerate(data.shape[:-2]) if n == 1)), found.load
        found = replace(found, load=lambda index: load(index)._replace(hidden=hidden[index]), part=None)
    return replace(found, pixel_size_um=of_layer(layer), bits=facts.bits, nodata=facts.nodata)


def facts_of(layer: Any) -> FileFacts:
    """What the file says that a layer was opened from by this package; nothing of others."""
    return getattr(layer, "metadata", {}).get(FILE, FileFacts())


def _layer_axes(data: Any, rgb: bool) -> str | None:
    leading = len(data.shape) - 2 - rgb
    if leading <= 0 or min(data.shape[leading : leading + 2]) < 5:
        return None  # as an array
    return {1: "I", 2: "TZ"}.get(leading, "I" * leading) + "YX" + "S" * rgb


def _with_opacity(array: Any, axes: str, name: str, known: bool) -> Stored:
    """The array; a fourth sample that is `known` to be the opacity, or is the same everywhere or all or nothing."""
    if not axes.upper().endswith("S") or array.shape[-1] != 4:
        return of_axes(array, axes, name)
    if not known:
        fourth = np.asarray(array[(0,) * (array.ndim - 3) + (..., 3)])
        if fourth.max() <= 0 or not ((fourth == 0) | (fourth == fourth.max())).all():
            return of_axes(array, axes, name)

    def finish(values: np.ndarray) -> Raster:
        hidden = values[..., 3] == 0
        return Raster(values[..., :3], hidden if hidden.any() else None)

    return of_axes(array, axes, name, finish=finish, n_channels=3)
