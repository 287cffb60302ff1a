"""Open saved results in napari: folders that hold a fit, and droplets tables."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LayerData = tuple[Any, dict[str, Any], str]
REQUIRED = {"x", "y", "radius"}


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """A reader for what this project wrote; None for anything else, whatever its name."""
    if isinstance(path, list):
        return None  # several files to be stacked
    file = Path(path)
    if file.name == "summary.json":
        file = file.parent
    if file.is_dir():
        return read_folder if (file / "summary.json").exists() and (file / "droplets.csv").exists() else None
    return read_table if file.is_file() and _columns(file) >= REQUIRED else None


def read_folder(path: str) -> list[LayerData]:
    """Image (where its file is still the same), reconstruction and droplets of a saved fit."""
    from ..droplets import Fit
    from ..files import read
    from .layers import to_layers
    from .place import Place

    folder = Path(path)
    folder = folder.parent if folder.name == "summary.json" else folder
    result = read(folder)
    if not isinstance(result, Fit):
        return to_layers(result, place=Place(folder.name))
    result_layers = to_layers(result)
    if result.image is None:
        return result_layers
    pixels = result.image.pixels
    rgb = pixels.shape[-1] == 3
    name = result_layers[0][1]["name"].removesuffix(" reconstruction")
    return [(pixels if rgb else pixels[..., 0], {"name": name, "rgb": rgb}, "image"), *result_layers]


def read_table(path: str) -> list[LayerData]:
    """A droplets table as points; several frames along a leading axis, several images (column `image`) as layers each.

    Raises
    ------
    InputError
        Not a droplets table, or some droplets have no frame and others do.
    """
    import numpy as np
    import pandas as pd

    from ..droplets import Droplets
    from ..files import read_table as read_droplets
    from .layers import to_layers
    from .place import Place

    droplets = read_droplets(path)
    parts = {Path(path).stem.removesuffix(" droplets"): droplets}
    if "image" in droplets.labels and len(droplets):
        # from the table, as images may differ in pixel size
        table = pd.read_parquet(path) if path.lower().endswith(".parquet") else pd.read_csv(path)
        images = table.groupby("image", sort=False, dropna=False)
        parts = {str(name): Droplets.from_dataframe(part, name=path) for name, part in images}
    found = []
    for name, part in parts.items():
        [(data, attributes, kind)] = to_layers(part, place=Place(name))
        found.append((np.column_stack([*_leading(part.labels, path), data]), attributes, kind))
    return found


def _leading(labels: Mapping[str, Any], path: str) -> list[Any]:
    """Coordinates along the leading axes of the stack that a table is of; none where it is of one plane."""
    import numpy as np

    from ..errors import InputError

    axes = []
    for name in sorted(name for name in labels if str(name).startswith("axis_")) or {"frame"} & set(labels):
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


def _columns(file: Path) -> set[str]:
    """Names in the header of a CSV or Parquet table; none where there is no such thing."""
    try:
        if file.suffix.lower() == ".parquet":
            from pyarrow.parquet import read_schema

            return set(read_schema(file).names)
        with open(file, newline="", encoding="utf-8-sig") as lines:
            return {name.strip() for name in next(csv.reader(lines), [])}
    except (OSError, ValueError, csv.Error):
        return set()
