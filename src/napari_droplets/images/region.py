"""A region of an image, a box or a mask: droplets are looked for in it alone, and counts are of its area."""

from __future__ import annotations

import base64
import glob
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..storage.memory import check_memory
from ..storage.paths import matching
from .readers.formats import IMAGE_SUFFIXES
from .scenes import loaded, stored_in

Box = tuple[float, float, float, float]
Region = Box | str
"""As `Settings` holds it: x0, y0, x1, y1 in pixels, a mask's file (or folder or pattern), or a mask as a data URI."""

URI = "data:image/png;base64,"
ENDINGS = ("", "_mask", "-mask", "_masks", "-masks", "_region", "-region")
"""What the name of a mask may have after the name of its image."""
WANTED = "a box (x0, y0, x1, y1) in pixels with x0 < x1 and y0 < y1, a mask (H, W), or the file of a mask"


def checked_region(region: Any) -> Region | None:
    """A region in the form that `Settings` holds; arrays become text, so that they can be saved and compared.

    Raises
    ------
    InputError
        It is neither a box nor a mask, or nothing is in it.
    """
    if region is None:
        return None
    if isinstance(region, (str, Path)):
        if str(region) == "":
            raise InputError(f"region='': must be {WANTED}")
        return str(region)
    try:
        values = np.asarray(region)
        values = values.astype(float) if values.ndim == 1 else values
    except (TypeError, ValueError):
        raise InputError(f"region={region!r}: must be {WANTED}") from None
    if values.ndim == 1:
        if values.shape != (4,) or not np.isfinite(values).all() or (values[:2] >= values[2:]).any():
            raise InputError(f"region={tuple(values.tolist())}: must be {WANTED}")
        x0, y0, x1, y1 = values.tolist()
        return x0, y0, x1, y1
    if values.ndim != 2 or values.dtype.kind not in "buif":
        raise InputError(f"region: an array of shape {values.shape} and type {values.dtype}; must be {WANTED}")
    inside = _nonzero(values)
    if not inside.any():
        raise InputError("region: the mask is empty, all of its values are zero")
    return _packed(inside)


def region_mask(region: Region, shape: tuple[int, ...], *, name: str = "image", path: str | None = None) -> np.ndarray:
    """Which pixels (H, W) of an image are in a region.

    Of a box those whose center (x, y) has x0 <= x < x1 and y0 <= y < y1; of a mask those that are not zero.

    Parameters
    ----------
    region : Region
        As `checked_region` gives it.
    shape : (int, int, ...)
        Of the image: height, width.
    name : str
        Of the image.
    path : str, optional
        Of the image: where the region is a folder or a pattern, the mask is the one named like the image.

    Raises
    ------
    InputError
        No pixel of the image is in the box or the mask, the mask is of another size, or cannot be read.
    """
    h, w = shape[:2]
    if not isinstance(region, str):
        x0, y0, x1, y1 = region
        inside = np.zeros((h, w), bool)
        left, top, right, bottom = (max(0, int(np.ceil(side))) for side in (x0, y0, x1, y1))
        inside[top:bottom, left:right] = True
        if not inside.any():
            box = ", ".join(f"{side:g}" for side in region)
            raise InputError(f"{name}: no pixel of the image ({w} x {h} pixels) is in region={box}")
        return inside
    if region.startswith(URI):
        inside, what = _unpacked(region), "the mask given as region"
    else:
        file = mask_file(region, path)
        inside, what = _read(file), f"the mask {file}"
    if inside.shape != (h, w):
        rows, columns = inside.shape
        raise InputError(f"{name}: {what} has {columns} x {rows} pixels, but the image {w} x {h}")
    if not inside.any():
        raise InputError(f"{name}: {what} is empty, all of its values are zero")
    return inside


def mask_file(region: str, path: str | None) -> Path:
    """The file of a mask; in a folder, or among the files of a pattern, the one named like the image.

    Raises
    ------
    InputError
        There is none, or several.
    """
    where = Path(region)
    if os.path.isfile(where):
        return where
    if not os.path.isdir(where) and not glob.has_magic(region):
        raise InputError(f"region={region!r}: no such file of a mask")
    if path is None:
        raise InputError(f"region={region!r}: several masks, but the image has no file whose name says which; give one")
    image, files = Path(path), mask_files(region)
    own = image.parent.resolve()
    for ending in ENDINGS:
        named = [f for f in files if f.stem == image.stem + ending and (ending or f.parent.resolve() != own)]
        if len(named) > 1:
            raise InputError(f"{image.name}: several masks in {region}: {named[0].name}, {named[1].name}; leave one")
        if named:
            return named[0]
    raise InputError(f"{image.name}: no mask for it in {region}; name it {image.stem}.png or {image.stem}_mask.png")


def mask_files(region: str) -> list[Path]:
    """The files that may be masks: one, those of a folder, or those that match a pattern."""
    where = Path(region)
    if os.path.isfile(where):
        return [where]
    found = where.iterdir() if os.path.isdir(where) else matching(region)
    return sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() and p.name[0] != ".")


def check_files(region: Region | None) -> None:
    """Raise InputError where a region is to be read from files, and there are none."""
    if isinstance(region, str) and not region.startswith(URI) and not mask_files(region):
        what = "no masks there" if os.path.isdir(region) or glob.has_magic(region) else "no such file of a mask"
        raise InputError(f"region={region!r}: {what}")


def mask_hash(region: Region | None, path: str | Path | None) -> str | None:
    """Hash of the mask's file, by which it is known whether it has changed; None where the region is no file."""
    if not isinstance(region, str) or region.startswith(URI):
        return None
    return hashlib.sha256(mask_file(region, None if path is None else str(path)).read_bytes()).hexdigest()


def record(
    region: Region, inside: np.ndarray, *, path: str | None, visible: np.ndarray | None = None
) -> dict[str, Any]:
    """What summary.json says of a region: the box around it, its pixels, and the mask's file.

    `visible` (H, W) are the pixels where there is a picture; None for all.
    """
    left, top, right, bottom = bounds(inside)
    from_file = isinstance(region, str) and not region.startswith(URI)
    return {
        "box": [left, top, right, bottom],
        "area_px": int(inside.sum() if visible is None else (inside & visible).sum()),
        "mask": str(mask_file(str(region), path)) if from_file else "given" if isinstance(region, str) else None,
    }


def bounds(inside: np.ndarray) -> tuple[int, int, int, int]:
    """First and one beyond the last column and row of a mask: left, top, right, bottom."""
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def centers_in(inside: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which centers (N,) are in a region (H, W): those whose pixel is. Beyond the image there is none."""
    h, w = inside.shape
    column, row = np.rint(x).astype(int), np.rint(y).astype(int)
    there = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    there[there] = inside[row[there], column[there]]
    return there


def _nonzero(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.nan_to_num(values) != 0)


def _packed(inside: np.ndarray) -> str:
    """A mask as the data URI of a PNG of one bit per pixel."""
    from PIL import Image as Picture

    file = io.BytesIO()
    Picture.fromarray(inside.astype(np.uint8) * 255).convert("1").save(file, "PNG")
    return URI + base64.b64encode(file.getvalue()).decode("ascii")


def _unpacked(uri: str) -> np.ndarray:
    from PIL import Image as Picture

    try:
        with Picture.open(io.BytesIO(base64.b64decode(uri.removeprefix(URI))), formats=["PNG"]) as picture:
            check_memory((picture.height, picture.width), np.dtype(bool), "the mask given as region")
            return np.asarray(picture.convert("1"), bool)
    except InputError:
        raise
    except Exception as error:  # Pillow raises anything on a broken file
        raise InputError(f"region: the mask in the data URI cannot be read ({error})") from None


def _read(file: Path) -> np.ndarray:
    """The pixels of a mask's file that are not zero in some channel, and not transparent."""
    stored = stored_in(file)
    if stored.axes:
        raise InputError(f"{file}: a stack of {stored.described}; a mask is one picture")
    raster = loaded(stored, ())
    inside = np.asarray(_nonzero(raster.values).any(-1))
    if raster.hidden is not None:
        inside &= ~raster.hidden
    return inside
