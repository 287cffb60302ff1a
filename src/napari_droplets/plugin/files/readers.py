"""Open files in napari: folders that hold a fit, droplets tables, and images of microscopes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LayerData = tuple[Any, dict[str, Any], str]
AXIS = re.compile(r"axis_\d+")
MICROSCOPES = (".czi", ".nd2", ".lif")
"""Images that napari does not read by itself."""


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """A reader for what this project wrote, and for files of microscopes; None for anything else, whatever its name."""
    if isinstance(path, list):
        return None  # several files to be stacked
    file = Path(path)
    if file.suffix.lower() in MICROSCOPES and os.path.isfile(file):
        from .opening import image_layer_data

        return image_layer_data
    if is_session(file):
        from .sessions import read_session_layers

        return read_session_layers
    if file.name == "summary.json":
        file = file.parent
    if os.path.isdir(file):
        ours = all(os.path.exists(file / name) for name in ("summary.json", "droplets.csv"))
        return read_folder if ours else None
    from ...tables import is_droplets_table

    return read_table if os.path.isfile(file) and is_droplets_table(file) else None


def is_session(file: Path) -> bool:
    """Whether a file or folder is a session, told without loading anything."""
    if file.suffix.lower() != ".droplets":
        return False
    return os.path.isfile(file / "session.json") if os.path.isdir(file) else os.path.isfile(file)


def read_folder(path: str) -> list[LayerData]:
    """Image (where its file is still the same), reconstruction and droplets of a saved fit.

    Where the image is open already the droplets are put over it.
    """
    from ...droplets import Fit
    from ...lazy import LazyPixels
    from ...results.files import read
    from ..layers.place import place_over
    from ..layers.results import to_layers

    folder = Path(path)
    folder = folder.parent if folder.name == "summary.json" else folder
    result = read(folder)
    if not isinstance(result, Fit):
        return _table_layers(str(folder / "droplets.csv"), folder.name)
    if result.image is None:
        return to_layers(result)
    pixels = result.image.pixels
    if shown := [layer for layer in images_shown() if _shows(layer, result.image.path, pixels.shape[:2])]:
        droplets = result.droplets
        return to_layers(result, place=place_over(shown[0].name, shown[:1], droplets.x, droplets.y))
    result_layers = to_layers(result)
    rgb = pixels.shape[-1] == 3
    name = result_layers[0][1]["name"].removesuffix(" reconstruction")
    data: Any
    if isinstance(pixels, LazyPixels):
        from ..layers.large import levels

        data = levels(pixels)
    else:
        data = pixels if rgb else pixels[..., 0]
    return [(data, {"name": name, "rgb": rgb}, "image"), *result_layers]


def _shows(layer: Any, path: str | None, shape: tuple[int, ...]) -> bool:
    """Whether a layer is the picture of this file, and of it alone."""
    from ..layers.place import plane_shape

    opened = layer.source.path
    if path is None or opened is None or layer.ndim != 2 or plane_shape(layer) != shape:
        return False
    return os.path.exists(path) and os.path.exists(opened) and os.path.samefile(path, opened)


def read_table(path: str) -> list[LayerData]:
    """A droplets table as points; several frames along a leading axis, several images (column `image`) as layers each.

    Raises
    ------
    InputError
        Not a droplets table, or some droplets have no frame and others do.
    """
    return _table_layers(path, Path(path).stem.removesuffix(" droplets"))


def _table_layers(path: str, name: str) -> list[LayerData]:
    import numpy as np

    from ...droplets import Droplets
    from ...tables import read_frame
    from ..layers.place import place_over
    from ..layers.results import to_layers

    table = read_frame(path)
    droplets = Droplets.from_dataframe(table, name=path)
    parts = {name: droplets}
    if "image" in droplets.labels and len(droplets):
        # from the table, as images may differ in pixel size
        images = table.groupby("image", sort=False, dropna=False)
        parts = {str(name): Droplets.from_dataframe(part, name=path) for name, part in images}
    found = []
    shown = images_shown()
    for name, part in parts.items():
        leading = _leading(part.labels, path)
        place = place_over(name, shown, part.x, part.y, len(leading))
        [(data, attributes, kind)] = to_layers(part, place=place)
        found.append((np.column_stack([*leading, data]), attributes, kind))
    return found


def images_shown() -> list[Any]:
    """The image layers of the viewer that asks for a file; none where there is no window."""
    napari = sys.modules.get("napari")
    viewer = None if napari is None else napari.current_viewer()
    if viewer is None:
        return []
    from ..layers.results import image_layers

    return list(image_layers(viewer))


def _leading(labels: Mapping[str, Any], path: str) -> list[Any]:
    """Coordinates along the leading axes of the stack that a table is of; none where it is of one plane."""
    import numpy as np

    from ...errors import InputError

    axes = []
    named = sorted(name for name in labels if AXIS.fullmatch(str(name)))
    for name in named or [name for name in ("frame", "plane") if name in labels]:
        try:
            axis = np.asarray(labels[name], float)
        except (TypeError, ValueError):
            raise InputError(f"{path}: column {name} is not numeric; give whole numbers") from None
        known = np.isfinite(axis)
        if known.any() and not known.all():
            row = int(np.flatnonzero(~known)[0])
            raise InputError(f"{path}: no {name} in row {row}, but in others; fill it in, or remove the column")
        axes.append(axis)
    return axes if any(np.nan_to_num(axis).any() for axis in axes) else []
