"""Open an image file in napari as the library reads it: colors, axes, channels, the size of a pixel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari

    LayerData = tuple[Any, dict[str, Any], str]


def open_image(napari_viewer: napari.viewer.Viewer) -> None:
    """Ask for image files and add them as layers: the command in the menu."""
    from napari.layers import Layer
    from napari.utils import notifications
    from qtpy.QtWidgets import QFileDialog

    from ..errors import InputError
    from ..images import IMAGE_SUFFIXES

    kinds = " ".join(f"*{suffix}" for suffix in IMAGE_SUFFIXES)
    paths, _ = QFileDialog.getOpenFileNames(None, "Open images for droplets", "", f"Images ({kinds});;All files (*)")
    for path in paths:
        try:
            for data, attributes, _ in image_layer_data(path):
                napari_viewer.add_layer(Layer.create(data, attributes, "image"))
        except InputError as error:
            notifications.show_warning(str(error))


def image_layer_data(path: str, *, scene: int | str | None = None) -> list[LayerData]:
    """The pictures of a file as image layers, values as they are stored: one, or one for each of several channels.

    Raises
    ------
    InputError
        It cannot be read, or holds pictures of several kinds and nothing is said of which.
    """
    import numpy as np

    from ..images.convert import stored_in
    from ..images.pixel_size import width_height

    stored = stored_in(path, scene=scene)
    shape = tuple(n for _, n in stored.axes)
    rasters = [stored.load(index).values for index in np.ndindex(*shape)]
    values = np.stack(rasters).reshape(*shape, *rasters[0].shape)
    attributes: dict[str, Any] = {"name": stored.name, "axis_labels": (*(name for name, _ in stored.axes), "y", "x")}
    if stored.pixel_size_um is not None:
        width, height = width_height(stored.pixel_size_um)
        attributes |= {"scale": (1.0,) * len(shape) + (height, width)}
        attributes |= {"units": ("pixel",) * len(shape) + ("um", "um")}
    if values.shape[-1] == 3 and stored.channels[0] == "red":
        return [(values, attributes | {"rgb": True}, "image")]
    if len(stored.channels) == 1:
        return [(values[..., 0], attributes, "image")]
    attributes["blending"] = "additive"
    names = [f"{stored.name} {name}" for name in stored.channels]
    return [(values[..., i], attributes | {"name": name}, "image") for i, name in enumerate(names)]
