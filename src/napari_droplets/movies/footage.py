"""The frames of a movie, read one at a time: of a stack, a folder, a list of files, an array; and their times."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..images import Image
from ..images.intensities import stated
from ..images.opened import Opened, opened
from ..images.readers.formats import is_zarr
from ..images.series import common_ranges
from ..settings import Settings

SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "µs": 1e-6, "us": 1e-6}
SECONDS |= {"min": 60.0, "minute": 60.0, "minutes": 60.0, "h": 3600.0, "hour": 3600.0, "hours": 3600.0}


@dataclass(frozen=True)
class Footage:
    """Frames that are read when they are asked for."""

    name: str
    numbers: list[int]
    """Of the frames, from 0; not all of them where `frames` chooses."""
    load: Callable[[int], Image]
    """The image of a frame, by its number; raises `InputError` where it cannot be read."""
    interval_s: float | None
    """As the file states it."""
    path: str | None

    def __len__(self) -> int:
        return len(self.numbers)


def footage_of(movie: Any, settings: Settings) -> Footage:
    """The frames of whatever the user gave.

    Parameters
    ----------
    movie : path, array-like, list, or napari Image layer
        A stack, a folder or pattern of files (in natural order), an array (T, H, W) or (T, H, W, 3), NumPy, dask or
        zarr, or a list of images.
    settings : Settings
        How images are read; `frames` chooses some.

    Raises
    ------
    InputError
        It cannot be read, or holds no frames.
    """
    if isinstance(movie, (str, Path)):
        path = Path(movie)
        if path.is_file() or is_zarr(path):
            return _of_stack(path, path.stem, settings, _interval_in(path), str(path))
        from ..series.batch import find_images

        return _of_list(find_images(movie), path.name or "movie", settings, str(movie))
    if isinstance(movie, (list, tuple)) and not hasattr(movie, "rgb"):  # a layer may be a named tuple
        return _of_list(list(movie), "movie", settings, None)
    return _of_stack(movie, getattr(movie, "name", "movie"), settings, None, None)


def _of_stack(movie: Any, name: str, settings: Settings, interval_s: float | None, path: str | None) -> Footage:
    reading = settings.reading
    size, scale = reading.pop("pixel_size_um"), reading.pop("intensity_range")
    if not isinstance(movie, Path) and hasattr(movie, "shape") and not hasattr(movie, "rgb"):
        reading["axes"] = _axes(movie, name)
    found = _opened(movie, reading)
    scale = scale or found.range()
    planes = {w.plane for w in found.where}
    if len(planes) > 1 and len({w.frame for w in found.where}) > 1:
        raise InputError(f"{name}: {len(planes)} planes in each frame; say which one is followed: planes=0, --planes 0")
    by_number = {(w.frame if len(planes) == 1 else w.plane) or 0: w for w in found.where}

    def load(number: int) -> Image:
        return found.image(by_number[number], size, scale)

    return Footage(str(name), sorted(by_number), load, interval_s, path)


def _opened(movie: Any, reading: dict[str, Any]) -> Opened:
    """The pictures of a stack; frames are all of them unless some are chosen, and planes where there are no frames."""
    frames = "all" if reading["frames"] is None else reading["frames"]
    try:
        return opened(movie, several=True, **{**reading, "frames": frames})
    except InputError:
        if reading["planes"] is not None or reading["frames"] is not None:
            raise
        # many programs write time as planes
        return opened(movie, several=True, **{**reading, "planes": "all"})


def _axes(movie: Any, name: str) -> str | None:
    """Letters of the axes of an array whose first axis is time."""
    if len(movie.shape) == 3:
        return "TYX"
    if len(movie.shape) == 4 and movie.shape[-1] <= 16:
        return "TYXS" if movie.shape[-1] in (3, 4) else "TYXC"
    if len(movie.shape) == 2:
        return "YX"
    raise InputError(f"{name}: an array of shape {tuple(movie.shape)}; give frames as (T, H, W) or (T, H, W, 3)")


def _of_list(images: Sequence[Any], name: str, settings: Settings, path: str | None) -> Footage:
    if not images:
        raise InputError(f"{name}: no frames")
    reading = settings.reading
    chosen = reading.pop("frames")
    size, given = reading.pop("pixel_size_um"), reading.pop("intensity_range")
    ranges = {} if given is not None else common_ranges(images, **reading)

    def load(number: int) -> Image:
        one = images[number]
        if isinstance(one, Image):
            return one
        found = opened(one, **reading)
        scale = given or stated(*found.kind) or ranges.get(found.kind) or found.range()
        return found.image(found.where[0], size, scale)

    numbers = list(range(len(images)))
    if chosen is not None and chosen != "all":
        wanted = [chosen] if isinstance(chosen, int) else list(chosen)
        if outside := [n for n in wanted if n not in numbers]:
            raise InputError(f"{name}: frame {outside[0]}; there are {len(images)}, counted from 0")
        numbers = sorted({int(n) for n in wanted})
    return Footage(name, numbers, load, None, path)


def _interval_in(path: Path) -> float | None:
    """Seconds from frame to frame as a TIFF file states them; None where it does not."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    import xml.etree.ElementTree as ElementTree

    import tifffile

    from ..images.readers.tiff import quiet

    with suppress(Exception), quiet(), tifffile.TiffFile(path) as tif:
        if tif.is_ome and tif.ome_metadata:
            for element in ElementTree.fromstring(tif.ome_metadata).iter():
                if element.tag.endswith("Pixels") and element.get("TimeIncrement"):
                    unit = element.get("TimeIncrementUnit", "s")
                    return _positive(float(element.get("TimeIncrement", "nan")) * SECONDS[unit])
        elif tif.is_imagej and tif.imagej_metadata:
            about = tif.imagej_metadata
            unit = str(about.get("tunit", "sec")).strip().lower()
            if "finterval" in about:
                return _positive(float(about["finterval"]) * SECONDS[unit])
    return None


def _positive(seconds: float) -> float | None:
    return seconds if np.isfinite(seconds) and seconds > 0 else None
