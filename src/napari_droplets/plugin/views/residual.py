"""What the model does not explain, as colors and as a layer that is there when it is wanted."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...lazy import Pixels
from ...workbench.inspection import RESIDUAL_SHOWN, signed_residual
from ..layers.points import TAG

DARKER, SAME, BRIGHTER = (0.0, 0.27, 0.70), (0.95, 0.95, 0.95), (0.80, 0.36, 0.0)
"""Blue and orange are told apart with any color vision."""
BEYOND = (0.5, 0.5, 0.5)


def residual_colors(residual: np.ndarray) -> np.ndarray:
    """(h, w, 3) bytes of a residual (h, w) in noise deviations; gray where it is NaN."""
    at = np.clip(residual / RESIDUAL_SHOWN, -1, 1)[..., None]
    low, middle, high = (np.array(c) for c in (DARKER, SAME, BRIGHTER))
    colors = np.where(at < 0, middle + at * (middle - low), middle + at * (high - middle))
    return (255 * np.where(np.isfinite(at), colors, BEYOND)).astype(np.uint8)


def show_residual(viewer: Any, model: Any, image: Pixels, picture: Pixels, noise: float) -> Any:
    """Add or update the residual of a fit as an image layer, in noise deviations, with its color bar.

    Parameters
    ----------
    viewer : napari viewer
    model : napari Image layer
        Our reconstruction: the residual lies where it does.
    image, picture : ndarray
        (H, W, C), what was fitted and what the model makes of it.
    noise : float
        Standard deviation of an intensity.
    """
    from napari.layers import Image
    from napari.utils.colormaps import Colormap

    tag = model.metadata[TAG]
    data = signed_residual(np.asarray(image) - np.asarray(picture), noise).astype(np.float32)
    data = data[(None,) * (model.ndim - 2)]
    layer = residual_layer(viewer, model)
    if layer is not None:
        layer.data = data
        return layer
    names = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")
    name = f"{tag['place'].name} residual"
    colors = Colormap([DARKER, SAME, BRIGHTER], name="droplets residual", controls=[0.0, 0.5, 1.0])
    layer = Image(
        data,
        name=name,
        colormap=colors,
        contrast_limits=(-RESIDUAL_SHOWN, RESIDUAL_SHOWN),
        metadata={TAG: {"kind": "residual", "name": name, "place": tag["place"]}},
        **{n: getattr(model, n) for n in names},
    )
    selected = set(viewer.layers.selection)
    viewer.layers.insert(viewer.layers.index(model) + 1, layer)
    viewer.layers.selection = selected
    if hasattr(layer, "colorbar"):  # since napari 0.7
        layer.colorbar.visible = True
    return layer


def residual_layer(viewer: Any, model: Any) -> Any:
    """The residual that belongs to a reconstruction, None where it is not there."""
    place = model.metadata[TAG]["place"]
    for layer in viewer.layers:
        tag = layer.metadata.get(TAG)
        if isinstance(tag, dict) and tag.get("kind") == "residual":
            other = tag["place"]
            if (other.layer_id, other.plane) == (place.layer_id, place.plane):
                return layer
    return None
