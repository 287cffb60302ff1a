"""Whatever the user gives as an image, or as the images of a file: opened, chosen, scaled, checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..lazy import LazyPixels
from ..storage.memory import check_memory
from . import intensities
from .choose import ALL, Chosen, channel_numbers
from .opened import Channels, Opened, opened
from .picture import Image
from .pixel_size import PixelSize, checked_size
from .stored import of_axes


def as_image(
    data: Any,
    *,
    name: str | None = None,
    channels: Channels = None,
    pixel_size_um: PixelSize | None = None,
    frames: Chosen = None,
    planes: Chosen = None,
    scene: int | str | None = None,
    intensity_range: Sequence[float] | None = None,
    axes: str | None = None,
) -> Image:
    """Convert and check whatever the user gave.

    Parameters
    ----------
    data : array-like, napari Image layer, path or Image
        A file, or (H, W) or (H, W, C) of any numeric type, or a stack of which one picture is chosen; a multiscale
        layer gives its finest level. Colors are taken as the file means them; what is transparent is left out.
    name : str, optional
        Used in messages; the layer's or the file's name by default.
    channels : list of int or str, optional
        Which channels to use (one or three), by number or name; needed for images with other than 1 or 3.
    pixel_size_um : float or (float, float), optional
        Side of a pixel in micrometres, or width and height; overrides what a file says.
    frames, planes : int, optional
        Which picture of a stack, counted from 0.
    scene : int or str, optional
        Which of several pictures of different kinds in a file, by number or name.
    intensity_range : (float, float), optional
        The values that become 0 and 1. By default what the file or its type says: 8 bits from 0 to 255, other integers
        by the bit depth that is stated or, else, that holds them, floats from 0 to 1, or to a power of two where they
        do not fit. Single hot or dead pixels do not count; they are filled in.
    axes : str, optional
        A letter for each dimension of an array, as "TYX" or "CYX" (S: samples of a color).

    Returns
    -------
    Image

    Raises
    ------
    InputError
        It cannot be read, several pictures or channels of which nobody says which, too small, constant, not numeric.
    """
    if isinstance(data, Image):
        return _again(data, name, channels, pixel_size_um)
    if pixel_size_um is not None:
        checked_size(pixel_size_um, name or (str(data) if isinstance(data, (str, Path)) else "image"))
    scale = None if intensity_range is None else intensities.checked_range(intensity_range)
    found = opened(data, name=name, channels=channels, frames=frames, planes=planes, scene=scene, axes=axes)
    return found.image(found.where[0], pixel_size_um, scale)


def read_image(path: str | Path, **options: Any) -> Image:
    """Read an image file: PNG, JPEG, TIFF, OME-TIFF, BMP, GIF, WebP, PNM, JPEG 2000, NumPy; others with extras.

    Parameters
    ----------
    path : path
    **options
        See `as_image`.

    Raises
    ------
    InputError
        No such file, not an image, or an image that cannot be used (see `as_image`).
    """
    return as_image(Path(path), **options)


def read_images(
    data: Any,
    *,
    frames: Chosen = ALL,
    planes: Chosen = ALL,
    pixel_size_um: PixelSize | None = None,
    intensity_range: Sequence[float] | None = None,
    **options: Any,
) -> list[Image]:
    """The pictures of a stack, on one scale of intensities: for `fit_series`.

    Parameters
    ----------
    data : path, array-like or napari Image layer
    frames, planes : int, list of int or 'all'
        Which, counted from 0; all by default.
    pixel_size_um, intensity_range, **options
        See `as_image`.

    Returns
    -------
    list of Image
        In the order of the file; `frame` and `plane` say which is which.

    Raises
    ------
    InputError
        See `as_image`.
    """
    found = opened(data, frames=frames, planes=planes, several=True, **options)
    _check_all(found)
    scale = found.range() if intensity_range is None else intensities.checked_range(intensity_range)
    return [found.image(where, pixel_size_um, scale) for where in found.where]


def _check_all(found: Opened) -> None:
    """See that all pictures chosen can be held at once."""
    sides = found.stored.shape
    if sides is not None and len(found.where) > 1:
        channels = len(found.stored.channels if found.numbers is None else found.numbers)
        shape, what = (len(found.where), *sides, channels), f"{len(found.where)} pictures at once"
        check_memory(shape, np.dtype(np.float32), found.stored.name, what=what, more=0)


def _again(image: Image, name: str | None, channels: Channels, pixel_size_um: PixelSize | None) -> Image:
    """An image that was read before, with what is asked for besides."""
    if pixel_size_um is not None and pixel_size_um != image.pixel_size_um:
        image = replace(image, pixel_size_um=checked_size(pixel_size_um, image.name))
    if channels is not None and (not np.iterable(channels) or tuple(channels) != image.chosen):
        names = image.channels or tuple(str(i) for i in range(image.shape[-1]))
        numbers = channel_numbers(of_axes(image.pixels, "YXC", name or image.name, channels=names), channels)
        pixels = image.pixels
        if numbers is not None and isinstance(pixels, LazyPixels):
            pixels = pixels.map(lambda part: part[..., numbers], len(numbers))
        elif numbers is not None:
            pixels = pixels[..., numbers]
        kept = names if numbers is None else tuple(names[i] for i in numbers)
        image = replace(image, pixels=pixels, channels=kept, chosen=tuple(channels))
    return replace(image, name=name) if name else image
