"""Open images and tables in napari as the library reads them: colors, axes, channels, the size of a pixel."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import napari

    from ...images.stored import Stored

    LayerData = tuple[Any, dict[str, Any], str]

COLORS = ("red", "green", "blue", "cyan", "magenta", "yellow")  # of channels
COLORS_OF_TWO = ("green", "magenta")
MOST_SHOWN = 3  # channels that are seen at first: more add up to white
TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".xls", ".ods")


def open_image(napari_viewer: napari.viewer.Viewer) -> None:
    """Ask for images or tables and add them as layers: the command in the menu."""
    from napari.utils import notifications
    from qtpy.QtWidgets import QFileDialog

    from ...errors import InputError
    from ...images import IMAGE_SUFFIXES

    kinds = " ".join(f"*{suffix}" for suffix in (*IMAGE_SUFFIXES, *TABLE_SUFFIXES))
    filters = f"Images and tables ({kinds});;All files (*)"
    paths, _ = QFileDialog.getOpenFileNames(None, "Open images or tables of droplets", "", filters)
    for path in paths:
        try:
            open_file(napari_viewer, path)
        except InputError as error:
            notifications.show_warning(str(error))


def open_file(viewer: napari.viewer.Viewer, path: str) -> list[Any]:
    """Add the layers of an image or a table of droplets to a viewer.

    Raises
    ------
    InputError
        It cannot be read; the message says why.
    """
    from napari.layers import Layer
    from napari.layers._source import layer_source

    from .readers import read_table

    read = read_table if Path(path).suffix.lower() in TABLE_SUFFIXES else image_layer_data
    with layer_source(path=str(path), reader_plugin="napari-droplets"):
        layers = [Layer.create(*data) for data in read(path)]
    return [viewer.add_layer(layer) for layer in layers]


def image_layer_data(path: str) -> list[LayerData]:
    """The pictures of a file as image layers: one, or one for each of several channels, and of several scenes.

    Values are as they are stored, but colors of more than 8 bits, which napari shows only as 0 to 1.

    Raises
    ------
    InputError
        It cannot be read.
    """
    from ...images.scenes import scenes_in

    return [data for scene in scenes_in(path) for data in _layers_of(scene)]


def _layers_of(stored: Stored) -> list[LayerData]:
    import numpy as np

    from ...images.intensities import unit_floats
    from ...images.opened import range_of_stored
    from ...images.pixel_size import width_height
    from ...images.readers.arrays import FILE, FileFacts
    from ...images.scenes import loaded
    from ...storage.memory import check_memory

    shape = tuple(n for _, n in stored.axes)
    if stored.shape is not None:
        every = (*shape, *stored.shape, len(stored.channels))
        copied = stored.dtype.itemsize
        check_memory(every, stored.dtype, stored.name, what="all of its pictures", more=copied)
    rasters = [loaded(stored, index) for index in np.ndindex(*shape)]
    values = np.stack([raster.values for raster in rasters])
    hidden = None
    if any(raster.hidden is not None for raster in rasters):
        clear = np.zeros(values.shape[1:3], bool)
        hidden = np.stack([clear if r.hidden is None else r.hidden for r in rasters]).reshape(*shape, *clear.shape)
    values = values.reshape(*shape, *values.shape[1:])
    facts = FileFacts(stored.bits, stored.nodata, hidden, None, stored.scene)
    name = stored.name if stored.scene is None else f"{stored.name} {stored.title or stored.scene}"
    attributes: dict[str, Any] = {"name": name, "axis_labels": (*(name for name, _ in stored.axes), "y", "x")}
    if stored.pixel_size_um is not None:
        width, height = width_height(stored.pixel_size_um)
        attributes |= {"scale": (1.0,) * len(shape) + (height, width)}
        attributes |= {"units": ("pixel",) * len(shape) + ("um", "um")}
    if values.shape[-1] == 3 and stored.channels[0] == "red":
        if values.dtype != np.uint8:
            values, facts = unit_floats(values, range_of_stored(stored)), facts._replace(bits=None, nodata=None)
        return [(values, attributes | {"rgb": True, "metadata": {FILE: facts}}, "image")]
    if len(stored.channels) == 1:
        return [(values[..., 0], attributes | {"metadata": {FILE: facts}}, "image")]
    attributes["blending"] = "additive"
    layers: list[LayerData] = []
    for i, channel in enumerate(stored.channels):
        own: dict[str, Any] = {"name": f"{name} {channel}", "metadata": {FILE: facts._replace(channel=i)}}
        colors = COLORS_OF_TWO if len(stored.channels) == 2 else COLORS
        own |= {"colormap": colors[i % len(colors)], "visible": i < MOST_SHOWN}
        layers.append((values[..., i], attributes | own, "image"))
    return layers
