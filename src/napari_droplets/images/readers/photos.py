"""PNG, JPEG, BMP, GIF, WebP, PNM and JPEG 2000 files, by Pillow; deep PNG in color by imagecodecs."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...storage.memory import check_memory
from ..orientation import upright
from ..stored import RGB, TURNED, Raster, Stored

ORIENTATION = 0x0112  # Exif tag
SIDEWAYS = (5, 6, 7, 8)  # orientations in which rows are columns
GRAY = ("L", "I", "F", "I;16", "I;16L", "I;16B", "1")
COLOR = ("RGB", "CMYK", "YCbCr", "HSV", "P")
CLEAR = {"LA": "LA", "La": "LA", "RGBA": "RGBA", "RGBa": "RGBA", "PA": "RGBA"}


def read_photo(path: Path) -> Stored:
    """The picture of such a file, or the frames of an animated one; the first picture of a stereo JPEG.

    Raises
    ------
    InputError
        Colors that are not understood.
    """
    with _opened(path) as picture:
        dtype, names = _header(path, picture)
        check_memory((picture.height, picture.width, len(names)), dtype, path.name)
        count = 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)
        code = int(picture.getexif().get(ORIENTATION, 1))
        converted = "inks" if picture.mode == "CMYK" else TURNED if code != 1 else ""
        shape = picture.size if code in SIDEWAYS else picture.size[::-1]

    def load(index: tuple[int, ...]) -> Raster:
        with _opened(path) as picture:
            size = picture.size
            if index:
                picture.seek(index[0])
            if picture.size != size:
                told = f"frame {index[0]} is of {picture.width} x {picture.height} pixels, the first one of"
                raise InputError(f"{path}: {told} {size[0]} x {size[1]}; it is damaged: save it anew")
            raster = _raster(path, picture)
        if len(names) == 1 and raster.values.shape[-1] == 3:  # Pillow gives all but the first frame of a GIF in color
            if (raster.values != raster.values[..., :1]).any():
                raise InputError(f"{path}: frame {index[0]} is in color, but the first one is grey; save it as RGB")
            raster = raster._replace(values=raster.values[..., :1])
        return raster

    axes = (("frame", count),) if count > 1 else ()
    return Stored(path.name, axes, names, load, dtype, path=str(path.resolve()), shape=shape, converted=converted)


def _header(path: Path, picture: Any) -> tuple[np.dtype[Any], tuple[str, ...]]:
    """Type and channels, before anything is decoded."""
    wide = {"I": np.int32, "F": np.float32, "1": np.bool_}
    dtype = np.uint16 if picture.mode.startswith("I;16") or _deep(path, picture) else wide.get(picture.mode, np.uint8)
    gray = picture.mode in GRAY or picture.mode in ("LA", "La") or _gray_palette(picture)
    return np.dtype(dtype), ("0",) if gray else RGB


def _gray_palette(picture: Any) -> bool:
    if picture.mode != "P":
        return False
    colors = np.asarray(picture.getpalette("RGB")).reshape(-1, 3)
    return bool((colors == colors[:, :1]).all())


def _opened(path: Path) -> Any:
    from PIL import Image as Picture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Picture.DecompressionBombWarning)  # micrographs are large
        try:
            return Picture.open(path)
        except Picture.DecompressionBombError:
            raise InputError(
                f"{path}: more than {2 * (Picture.MAX_IMAGE_PIXELS or 0) / 1e6:.0f} million pixels by its header, the "
                "most that Pillow decodes; if it is that large, save it as TIFF or OME-Zarr"
            ) from None


def _raster(path: Path, picture: Any) -> Raster:
    values, hidden = _deep_png(path) if _deep(path, picture) else _plain(path, picture)
    code = int(picture.getexif().get(ORIENTATION, 1))
    return Raster(upright(values, code), None if hidden is None else upright(hidden, code))


def _plain(path: Path, picture: Any) -> tuple[np.ndarray, np.ndarray | None]:
    mode, gray = picture.mode, _gray_palette(picture)
    if mode == "LAB":
        raise InputError(f"{path}: CIE L*a*b*: Lab colors are not read; save it as RGB or grey")
    if mode in GRAY:
        values = np.asarray(picture)
        clear_value = _clear_value(path, picture)
        return values[..., None], None if clear_value is None else values == clear_value
    clear = "RGBA" if "transparency" in picture.info else CLEAR.get(mode)
    if clear is None:
        if mode not in COLOR:
            raise InputError(f"{path}: colors of mode {mode} are not read; save it as RGB or grey")
        values = np.asarray(picture.convert("RGB"))
        return (values[..., :1] if gray else values), None
    values = np.asarray(picture.convert(clear))
    return values[..., : 1 if gray else -1], values[..., -1] == 0


def _clear_value(path: Path, picture: Any) -> int | None:
    """The value of a gray picture that is transparent; PNG files count it in the bits that they have."""
    value = picture.info.get("transparency")
    if not isinstance(value, int):
        return None
    bits, _ = _png_bits(path) if picture.format == "PNG" else (8, 0)
    return value * 255 // (2**bits - 1) if bits < 8 else value


def _deep(path: Path, picture: Any) -> bool:
    """Whether it is a PNG in color or with opacity of 16 bits, which Pillow would cut to 8."""
    if picture.format != "PNG":
        return False
    bits, color = _png_bits(path)
    return bits == 16 and color != 0


def _png_bits(path: Path) -> tuple[int, int]:
    """Bits of a sample, and the kind of color: 0 is gray."""
    with open(path, "rb") as file:
        head = file.read(26)
    return (head[24], head[25]) if len(head) == 26 else (8, 0)


def _deep_png(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    import imagecodecs

    values = np.asarray(imagecodecs.png_decode(path.read_bytes()))
    values = values[..., None] if values.ndim == 2 else values
    if values.shape[-1] in (2, 4):
        return values[..., :-1], values[..., -1] == 0
    return values, None
