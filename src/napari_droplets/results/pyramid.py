"""Large pictures as OME-Zarr 0.5 on disk, with smaller copies for whoever looks at them; written and read by parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..images.pixel_size import PixelSize, width_height
from ..lazy import SIDE, Block, LazyPixels, blocks
from ..storage import atomic

COLORS = (("red", "FF0000"), ("green", "00FF00"), ("blue", "0000FF"))
NEEDED = "pip install 'napari-droplets[zarr]'"


def check_zarr(what: str) -> None:
    """Refuse what will need zarr where it is not installed, before hours of work.

    Raises
    ------
    InputError
        It is not installed.
    """
    from importlib.util import find_spec

    if find_spec("zarr") is None:
        raise InputError(f"{what}: large pictures are written as OME-Zarr; to do so install zarr: {NEEDED}")


def write_pyramid(
    path: str | Path,
    shape: tuple[int, int, int],
    values: Callable[[Block], np.ndarray],
    dtype: Any = np.float32,
    *,
    pixel_size_um: PixelSize | None = None,
    name: str = "",
) -> Path:
    """Write a picture block by block, at its size and at a half, a quarter … of it; whole or not at all.

    Parameters
    ----------
    path : path
        A folder; one that is there is replaced.
    shape : (int, int, int)
        Height, width, channels.
    values : callable
        The values (h, w, C) of a block.
    dtype : dtype
        Of the values; integers are 0 to the most that they hold, floats 0 to 1.
    pixel_size_um : float or (float, float), optional
    name : str

    Raises
    ------
    InputError
        It cannot be written, or zarr is not installed.
    """
    path = Path(path)
    check_zarr(str(path))
    with atomic.partial_folder(path) as partial:
        _write(partial, shape, values, np.dtype(dtype), pixel_size_um, name or path.name)
        atomic.replace_folder(partial, path)
    return path


def read_pyramid(path: Path) -> LazyPixels:
    """A picture that `write_pyramid` wrote, floats of 0 to 1, read by parts, with its smaller copies.

    Raises
    ------
    InputError
        It cannot be read, or zarr is not installed.
    """
    check_zarr(str(path))
    import zarr

    try:
        group: Any = zarr.open_group(path, mode="r")
        datasets = group.attrs["ome"]["multiscales"][0]["datasets"]
        levels = [_lazy(group[level["path"]]) for level in datasets]
    except Exception as error:  # zarr raises anything on a broken folder
        raise InputError(f"{path}: cannot be read ({error})") from error
    levels[0].coarser = levels[1:]
    return levels[0]


def halved(pixels: np.ndarray) -> np.ndarray:
    """Means of squares of two pixels; a last row or column without a neighbor counts alone."""
    h, w = pixels.shape[:2]
    pixels = np.pad(pixels, [(0, h % 2), (0, w % 2), (0, 0)], mode="edge")
    return pixels.reshape(-(-h // 2), 2, -(-w // 2), 2, -1).mean((1, 3))


def _lazy(array: Any) -> LazyPixels:
    """Pixels of an array (C, H, W)."""
    c, h, w = array.shape

    def read(block: Block) -> np.ndarray:
        return np.moveaxis(np.asarray(array[(slice(None), *block.slices)]), 0, -1).astype(np.float32, copy=False)

    return LazyPixels((h, w, c), read)


def _write(
    path: Path,
    shape: tuple[int, int, int],
    values: Callable[[Block], np.ndarray],
    dtype: np.dtype[Any],
    pixel_size_um: PixelSize | None,
    name: str,
) -> None:
    import zarr

    group = zarr.create_group(path, zarr_format=3)
    h, w, c = shape
    datasets: list[dict[str, Any]] = []
    unit, (width, height) = {}, (1.0, 1.0)
    if pixel_size_um is not None:
        unit, (width, height) = {"unit": "micrometer"}, width_height(pixel_size_um)
    below: Any = None
    while True:
        level, factor = len(datasets), 2 ** len(datasets)
        array: Any = group.create_array(
            str(level), shape=(c, h, w), chunks=(1, min(SIDE, h), min(SIDE, w)), dtype=dtype
        )
        for block in blocks((h, w)):
            part = values(block) if level == 0 else _means(below, block, dtype)
            array[(slice(None), *block.slices)] = np.moveaxis(part, -1, 0)
        # the center of the first pixel lies in the middle of those that it is the mean of
        scale, shift = ([1.0, height * factor, width * factor], [0.0, *(s * (factor - 1) / 2 for s in (height, width))])
        steps = [{"type": "scale", "scale": scale}, {"type": "translation", "translation": shift}]
        datasets.append({"path": str(level), "coordinateTransformations": steps if level else steps[:1]})
        if max(h, w) <= SIDE:
            break
        below, h, w = array, -(-h // 2), -(-w // 2)
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", **unit} for n in "yx")]
    top = float(np.iinfo(dtype).max) if dtype.kind in "ui" else 1.0
    window = {"min": 0.0, "max": top, "start": 0.0, "end": top}
    colors = COLORS if c == 3 else (("0", "FFFFFF"),)
    group.attrs["ome"] = {
        "version": "0.5",
        "multiscales": [{"name": name, "axes": axes, "datasets": datasets}],
        "omero": {"channels": [{"label": n, "color": k, "active": True, "window": window} for n, k in colors]},
    }


def _means(array: Any, block: Block, dtype: np.dtype[Any]) -> np.ndarray:
    """A block (h, w, C) of the next smaller copy of an array (C, H, W)."""
    rows, columns = (slice(2 * s.start, 2 * s.stop) for s in block.slices)
    part = halved(np.moveaxis(np.asarray(array[:, rows, columns]), 0, -1))
    return (np.rint(part) if dtype.kind in "ui" else part).astype(dtype)
