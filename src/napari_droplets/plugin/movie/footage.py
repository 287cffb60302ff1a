"""An image layer as a movie: its frames, the time between them, and whether it is one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InputError
from ...images.readers.arrays import FILE, facts_of
from ..layers.place import Plane


def movie_of(layer: Any) -> Plane:
    """All frames of an image layer; nothing is read of lazy ones.

    Raises
    ------
    InputError
        It is a single image, or has further axes besides time.
    """
    if layer.ndim != 3:
        what = "a single image" if layer.ndim < 3 else f"a stack with {layer.ndim - 2} axes besides its pictures"
        raise InputError(f"{layer.name}: {what}; a movie has frames along one axis: (T, H, W) or (T, H, W, 3)")
    data = layer.data[0] if layer.multiscale else layer.data
    if data.shape[0] < 2:
        raise InputError(f"{layer.name}: it has one frame; a movie has at least two")
    return Plane(data, layer.name, layer.rgb, metadata={FILE: facts_of(layer)})


def interval_of(layer: Any) -> float | None:
    """Seconds from frame to frame, where the layer's first axis has a unit of time; None elsewhere."""
    if layer is None or layer.ndim != 3:
        return None
    unit = layer.units[0]
    try:
        if not unit.is_compatible_with("s"):
            return None
        seconds = float((1.0 * unit).to("s").magnitude) * abs(float(layer.scale[0]))
    except AttributeError:  # a layer of another program, with units in words
        return None
    return seconds if np.isfinite(seconds) and seconds > 0 else None
