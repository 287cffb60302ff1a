"""Any image a user may hold, as float32 intensities in 0..1 with a pixel size."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

MIN_SIDE = 16  # pixels; below this no droplet with its surroundings fits in
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class Image:
    """One image, checked and converted.

    Attributes
    ----------
    pixels : ndarray
        (H, W, C) float32 in 0..1, C = 1 (grey) or 3 (RGB).
    name : str
        What the user calls it: used in messages, file and layer names.
    path : str or None
        The file it was read from.
    pixel_size_um : float or None
        Side of a pixel in micrometres, where known.
    """

    pixels: np.ndarray
    name: str = "image"
    path: str | None = None
    pixel_size_um: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        h, w, c = self.pixels.shape
        return h, w, c

    @property
    def sha256(self) -> str:
        """Hash of the converted intensities: tells whether two results are of one image."""
        return hashlib.sha256(np.ascontiguousarray(self.pixels).tobytes()).hexdigest()

    def rescaled(self, factor: float) -> Image:
        """The image resized by `factor` in both directions, anti-aliased when it shrinks."""
        if factor == 1:
            return self
        pixels = resampled(self.pixels, factor)
        if min(pixels.shape[:2]) < MIN_SIDE:
            raise InputError(
                f"{self.name}: scale {factor:g} leaves {pixels.shape[1]} x {pixels.shape[0]} pixels; use a larger scale"
            )
        size = None if self.pixel_size_um is None else self.pixel_size_um / factor
        return replace(self, pixels=pixels, pixel_size_um=size)


def resampled(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Resize (H, W, C) by exactly `factor`: a point x of the result is (x + 0.5) / factor - 0.5 of the image.

    Linear interpolation, over as many pixels as one of the result covers where it shrinks. Resizing to a whole number
    of pixels would round the factor instead, and shift positions by up to half a pixel.
    """
    from PIL import Image as Picture

    h, w = (max(1, round(side * factor)) for side in pixels.shape[:2])
    beyond = [(0, max(0, int(np.ceil(n / factor)) - side)) for n, side in zip((h, w), pixels.shape[:2], strict=True)]
    pixels = np.pad(pixels, [*beyond, (0, 0)], mode="edge").astype(np.float32, copy=False)
    box = (0, 0, w / factor, h / factor)
    channels = (Picture.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(pixels, -1, 0))
    resized = [np.asarray(c.resize((w, h), Picture.Resampling.BILINEAR, box=box)) for c in channels]
    return np.clip(np.stack(resized, -1), 0, 1)


def as_image(
    data: Any,
    *,
    name: str | None = None,
    channels: str | list[int] | None = None,
    pixel_size_um: float | None = None,
) -> Image:
    """Convert and check whatever the user gave.

    Parameters
    ----------
    data : array-like, napari Image layer, path or Image
        (H, W) or (H, W, 3|4) of any numeric type; a multiscale layer gives its finest level. An alpha
        channel is dropped. 8-bit values are divided by 255, wider integers by the largest value of their bit
        depth (10, 12, 14, 16 …), floats outside 0..1 are stretched from (0 or minimum, maximum) to 0..1.
    name : str, optional
        Used in messages; the layer's or the file's name by default.
    channels : list of int, optional
        Which channels of the last axis to use (one or three), for images with other than 1, 3 or 4 channels.
    pixel_size_um : float, optional
        Side of a pixel in micrometres; overrides what a file says.

    Returns
    -------
    Image

    Raises
    ------
    InputError
        Wrong dimensions, empty, too small, constant, not numeric, NaN or infinite values.
    """
    path = None
    if isinstance(data, Image):
        image = data
        if channels is None:
            if pixel_size_um is not None:
                image = replace(image, pixel_size_um=_positive_size(pixel_size_um, image.name))
            return replace(image, name=name) if name else image
        data, name, path = image.pixels, name or image.name, image.path
        pixel_size_um = pixel_size_um or image.pixel_size_um
    elif isinstance(data, (str, Path)):
        data = Path(data)
        array, size = _read_file(data)
        name, path = name or data.name, str(data.resolve())
        pixel_size_um = size if pixel_size_um is None else pixel_size_um
        data = array
    elif hasattr(data, "rgb") and hasattr(data, "data"):  # a napari Image layer, known without importing napari
        name = name or data.name
        data = data.data[0] if getattr(data, "multiscale", False) else data.data
    name = name or "image"
    if pixel_size_um is not None:
        pixel_size_um = _positive_size(pixel_size_um, name)
    try:
        array = np.asarray(data)
    except Exception as error:
        raise InputError(f"{name}: cannot be read as an array ({error})") from error
    return Image(_intensities(_channels_last(array, name, channels), name), name, path, pixel_size_um)


def read_image(path: str | Path, *, channels: list[int] | None = None, pixel_size_um: float | None = None) -> Image:
    """Read an image file (PNG, JPEG, TIFF, BMP; OME-TIFF and ImageJ pixel sizes are used).

    Raises
    ------
    InputError
        No such file, not an image, or an image that cannot be used (see `as_image`).
    """
    return as_image(Path(path), channels=channels, pixel_size_um=pixel_size_um)


def _positive_size(value: float, name: str) -> float:
    if not isinstance(value, (int, float, np.number)) or not np.isfinite(value) or value <= 0:
        raise InputError(f"{name}: pixel size {value!r} is not a positive number of micrometres")
    return float(value)


def _read_file(path: Path) -> tuple[np.ndarray, float | None]:
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if path.is_dir():
        raise InputError(f"{path}: a folder, not an image; use `batch` for folders")
    try:
        if path.suffix.lower() in (".tif", ".tiff"):
            import tifffile

            with tifffile.TiffFile(path) as tif:
                array, axes = tif.asarray(), tif.series[0].axes
                # the file says that channels come first; four of them stay, as the fourth may be no alpha channel
                if array.ndim == 3 and (axes[0] == "S" or (axes[0] == "C" and array.shape[0] != 4)):
                    array = np.moveaxis(array, 0, -1)
                return array, _tiff_pixel_size(tif)
        import imageio.v3 as iio

        return np.asarray(iio.imread(path)), None
    except InputError:
        raise
    except Exception as error:  # readers raise anything on a broken file
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path}: cannot be read as an image ({reason}); is it a PNG, JPEG or TIFF file?") from error


def _tiff_pixel_size(tif: Any) -> float | None:
    """Micrometres per pixel from OME or ImageJ metadata; None where the file does not say so clearly."""
    if tif.is_ome:
        import tifffile

        pixels = tifffile.xml2dict(tif.ome_metadata)["OME"]["Image"]
        pixels = (pixels[0] if isinstance(pixels, list) else pixels)["Pixels"]
        if pixels.get("PhysicalSizeXUnit", "µm") in ("µm", "um") and pixels.get("PhysicalSizeX"):
            return float(pixels["PhysicalSizeX"])
    elif tif.is_imagej and (tif.imagej_metadata or {}).get("unit") in ("µm", "um", "micron", "\\u00B5m"):
        resolution = tif.pages[0].tags.get("XResolution")
        if resolution is not None and resolution.value[0]:
            return resolution.value[1] / resolution.value[0]
    return None


def _channels_last(array: np.ndarray, name: str, channels: str | list[int] | None) -> np.ndarray:
    """(H, W, C) with C = 1 or 3."""
    shape = " x ".join(map(str, array.shape)) or "a single number"
    if array.size == 0:
        raise InputError(f"{name}: empty ({shape}); give an image with pixels")
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3:
        raise InputError(f"{name}: {array.ndim} dimensions ({shape}); give one plane, (H, W) or (H, W, 3)")
    if channels is not None:
        try:
            chosen = [int(c) for c in channels]
        except (TypeError, ValueError):
            raise InputError(f"{name}: channels={channels!r}; give a list of numbers, as [0, 1, 2]") from None
        if len(chosen) not in (1, 3) or not all(0 <= c < array.shape[-1] for c in chosen):
            raise InputError(f"{name}: channels={chosen}; choose one or three of 0 to {array.shape[-1] - 1}")
        array = array[..., chosen]
    if array.shape[-1] == 4:
        array = array[..., :3]
    if array.shape[-1] not in (1, 3):
        if array.shape[0] in (3, 4):
            hint = "channels seem to come first: use numpy.moveaxis(image, 0, -1)"
        else:
            hint = "choose one or three with channels=[...], or give one plane of a stack"
        raise InputError(f"{name}: {array.shape[-1]} channels ({shape}); {hint}")
    if min(array.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"{name}: {array.shape[1]} x {array.shape[0]} pixels is too small; "
            f"at least {MIN_SIDE} x {MIN_SIDE} are needed"
        )
    return array


def _intensities(array: np.ndarray, name: str) -> np.ndarray:
    """float32 in 0..1."""
    if array.dtype.kind not in "uif":
        raise InputError(f"{name}: values of type {array.dtype}; give numbers (integers or floats)")
    bad = int(np.size(array) - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0
    if bad:
        raise InputError(
            f"{name}: {bad} of {array.size} values are NaN or infinite; replace them first, "
            f"for example with numpy.nan_to_num"
        )
    low, high = float(array.min()), float(array.max())
    if (array == array[:1, :1]).all():
        value = ", ".join(f"{v:g}" for v in array[0, 0])
        raise InputError(f"{name}: constant, every pixel is {value}; is this the right channel or plane?")
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        return array.astype(np.float32)
    zero = min(low, 0.0)
    if array.dtype == np.uint8:
        top = 255.0
    elif array.dtype.kind == "f":
        top = high
    else:
        depth = next((b for b in (8, 10, 12, 14, 16) if high < 2**b), 32)
        top = 2.0**depth - 1 if depth <= 16 else high
    return ((array.astype(np.float64) - zero) / (top - zero)).astype(np.float32)
