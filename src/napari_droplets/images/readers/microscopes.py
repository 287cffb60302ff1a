"""Files of microscopes (CZI, ND2, LIF and others), by bioio and its plugins of the extra `[formats]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from ..pixel_size import pixel_size
from ..stored import Stored, of_axes

PLUGINS = {".czi": "bioio-czi", ".nd2": "bioio-nd2", ".lif": "bioio-lif"}


def read_microscope(path: Path) -> list[Stored]:
    """The scenes of such a file; read when they are asked for.

    Raises
    ------
    InputError
        bioio, or its plugin for the format, is not installed.
    """
    plugin = PLUGINS.get(path.suffix.lower(), "bioio-bioformats")
    missing = InputError(
        f"{path}: files of this format are read by bioio: pip install bioio {plugin}, or export a TIFF"
    )
    try:
        from bioio import BioImage
    except ImportError:
        raise missing from None
    try:
        file = BioImage(path)
        scenes = list(file.scenes)
    except Exception as error:
        if "Unsupported" in type(error).__name__:
            raise missing from error
        raise
    found = []
    for scene in scenes:
        file = BioImage(path)  # one for each: the scene is a state of it
        file.set_scene(scene)
        size = file.physical_pixel_sizes
        data = file.xarray_dask_data
        axes = "".join(str(d) for d in data.dims)
        names = tuple(map(str, file.channel_names or ()))
        more: dict[str, Any] = {
            "pixel_size_um": pixel_size(size.X, size.Y),
            "path": str(path.resolve()),
            "title": str(scene),
        }
        found.append(of_axes(data.data, axes, path.name, channels=names, **more))
    return found
