"""Whatever the user gives as one image, or as the images of a file: opened, chosen, scaled, checked."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..lazy import LazyPixels, Pixels
from ..storage.memory import check_memory
from . import arrays, formats, intensities
from .choose import ALL, Chosen, Where, channel_numbers, one_picture, pictures
from .intensities import Levels, Range
from .large import levels_of, loader, opened_large
from .picture import MIN_SIDE, Image, ImageWarning
from .pixel_size import PixelSize, checked_size
from .stored import Raster, Stored, check_type, of_axes

MOST_SEEN = 16  # pictures of a stack from which its intensities are judged

Channels = Sequence[int | str] | None


@dataclass(frozen=True)
class Opened:
    """Pictures chosen of what the user gave, not yet read."""

    stored: Stored
    where: list[Where]
    numbers: list[int] | None
    """Of the channels chosen; None: all."""
    chosen: tuple[int | str, ...] | None
    around: Any = None
    """The stack that an array is a plane of, where it is at hand: its intensities count too."""

    @property
    def kind(self) -> tuple[np.dtype[Any], int | None]:
        """Pictures of one kind can share a range of intensities."""
        return self.stored.dtype, self.stored.bits

    def levels(self) -> Levels:
        """Of all pictures of the file, or enough of them."""
        seen = None
        for index in self._sample():
            level = self._levels(index)
            seen = level if seen is None else seen.joined(level)
        if self.around is not None:
            for plane in _some(len(self.around)):
                other = np.asarray(self.around[plane])
                seen = seen.joined(intensities.levels(other if other.ndim == 3 else other[..., None]))  # type: ignore[union-attr]
        assert seen is not None
        return seen

    def range(self) -> Range:
        """What 0 and 1 are in the values of the file, by what it states or holds."""
        return intensities.stated(*self.kind) or intensities.range_of(self.stored.dtype, self.levels())

    def _range_of(self, values: np.ndarray) -> Range:
        """The same, where there is but one picture."""
        return intensities.stated(*self.kind) or intensities.range_in(values)

    def image(self, where: Where, pixel_size_um: Any = None, scale: Range | None = None) -> Image:
        """Read one of the pictures.

        Raises
        ------
        InputError
            It cannot be read, is too small or constant, or its values cannot be used.
        """
        stored = self.stored
        name = stored.name
        if stored.large:
            return self._large(where, pixel_size_um, scale)
        raster = loaded(self.stored, where.at)
        values = raster.values if self.numbers is None else raster.values[..., self.numbers]
        hidden = raster.hidden if raster.hidden is not None and raster.hidden.any() else None
        _check(values, name)
        values, hidden, notes = intensities.mended(values, hidden, stored.nodata, name)
        if intensities.is_constant(values):
            value = ", ".join(f"{v:g}" for v in values[0, 0])
            raise InputError(f"{name}: constant, every pixel is {value}; is this the right channel or plane?")
        scale = scale or (self.range() if stored.axes or self.around is not None else self._range_of(values))
        notes = (*stored.notes, *notes)
        return self._told(intensities.unit_floats(values, scale), hidden, scale, notes, where, pixel_size_um)

    def _large(self, where: Where, pixel_size_um: Any, scale: Range | None) -> Image:
        stored = self.stored
        check_type(stored.dtype, stored.name)
        try:
            found = opened_large(*loader(stored, where.at, self.numbers), stored, scale)
        except InputError:
            raise
        except Exception as error:  # readers raise anything on a broken file
            raise formats.broken(stored.path or stored.name, error) from error
        notes = (*stored.notes, *found.notes)
        return self._told(found.pixels, found.hidden, found.scale, notes, where, pixel_size_um)

    def _told(
        self,
        pixels: Pixels,
        hidden: np.ndarray | None,
        scale: Range,
        notes: tuple[str, ...],
        where: Where,
        pixel_size_um: Any,
    ) -> Image:
        """The image, with what its file says of it; its notes are told."""
        stored, name = self.stored, self.stored.name
        for note in notes:
            tell(f"{name}: {note}")
        names = stored.channels if self.numbers is None else tuple(stored.channels[i] for i in self.numbers)
        size = stored.pixel_size_um if pixel_size_um is None else checked_size(pixel_size_um, name)
        return Image(
            pixels,
            name,
            stored.path,
            size,
            names,
            scale,
            where.frame,
            where.plane,
            stored.scene,
            hidden,
            chosen=self.chosen,
            notes=notes,
        )

    def _levels(self, index: tuple[int, ...]) -> Levels:
        stored = self.stored
        if stored.large:
            return levels_of(*loader(stored, index, self.numbers), stored.nodata)
        return intensities.levels(self._values(index))

    def _values(self, index: tuple[int, ...]) -> np.ndarray:
        raster = loaded(self.stored, index)
        values = raster.values if self.numbers is None else raster.values[..., self.numbers]
        if self.stored.nodata is None and values.dtype.kind not in "fi" and raster.hidden is None:
            return values
        return intensities.mended(values, raster.hidden, self.stored.nodata, self.stored.name).values

    def _sample(self) -> list[tuple[int, ...]]:
        shape = tuple(n for _, n in self.stored.axes)
        total = int(np.prod(shape, dtype=int))
        return [tuple(int(i) for i in np.unravel_index(k, shape)) if shape else () for k in _some(total)]


def opened(
    data: Any,
    *,
    name: str | None = None,
    channels: Channels = None,
    frames: Chosen = None,
    planes: Chosen = None,
    scene: int | str | None = None,
    axes: str | None = None,
    several: bool = False,
) -> Opened:
    """What is meant by what the user gave; nothing but headers is read of files.

    Raises
    ------
    InputError
        Not an image, or several pictures and nothing said of which.
    """
    around = None
    if isinstance(data, (str, Path)):
        stored = stored_in(data, scene=scene)
        stored = replace(stored, name=name) if name else stored
    elif hasattr(data, "rgb") and hasattr(data, "data"):  # a napari Image layer, known without importing napari
        stored, around = arrays.of_layer_data(data, name or data.name), getattr(data, "around", None)
    else:
        stored = arrays.of_array(data, name or "image", axes)
    where = pictures(stored, frames, planes) if several else [one_picture(stored, frames, planes)]
    numbers = channel_numbers(stored, channels)
    chosen = None if channels is None else tuple(channels)
    return Opened(stored, where, numbers, chosen, around)


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


def stored_in(path: str | Path, *, scene: int | str | None = None) -> Stored:
    """What an image file holds, before anything of it is chosen.

    Raises
    ------
    InputError
        It cannot be read, holds no numbers, or pictures of several kinds and nothing is said of which.
    """
    path = Path(path)
    stored = _scene(formats.stored(path), scene, path.name)
    check_type(stored.dtype, stored.name)
    return stored


def scenes_in(path: str | Path) -> list[Stored]:
    """All scenes of an image file; each knows its number where there are several.

    Raises
    ------
    InputError
        It cannot be read, or holds no numbers.
    """
    path = Path(path)
    scenes = formats.stored(path)
    for scene in scenes:
        check_type(scene.dtype, scene.name)
    return [replace(s, scene=i if len(scenes) > 1 else None) for i, s in enumerate(scenes)]


def range_of_stored(stored: Stored) -> Range:
    """What 0 and 1 are in the values of all pictures of a file."""
    return Opened(stored, [], None, None).range()


def loaded(stored: Stored, index: tuple[int, ...]) -> Raster:
    """One of the pictures of a file, as it is stored.

    Raises
    ------
    InputError
        It cannot be read; the message names the file.
    """
    try:
        return stored.load(index)
    except InputError as error:
        raise error if stored.name in str(error) else InputError(f"{stored.name}: {error}") from error
    except Exception as error:
        raise formats.broken(stored.path or stored.name, error) from error


@lru_cache(maxsize=64)
def size_in_file(path: str, shape: tuple[int, int]) -> PixelSize | None:
    """Size of a pixel that a file states, if it holds one scene of pictures of this shape."""
    try:
        scenes = formats.stored(Path(path))
    except InputError:
        return None
    return scenes[0].pixel_size_um if len(scenes) == 1 and scenes[0].shape in (None, shape) else None


@lru_cache(maxsize=64)
def converted_in(path: str) -> str:
    """What the numbers of a file are, where they are not those of the picture; empty where it cannot be read."""
    try:
        return formats.stored(Path(path))[0].converted
    except InputError:
        return ""


def tell(text: str) -> None:
    """Warn the caller of this package."""
    level, frame = 1, sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "napari_droplets":
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(text, ImageWarning, stacklevel=level)


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


def _scene(scenes: list[Stored], chosen: int | str | None, name: str) -> Stored:
    if chosen is None:
        if len(scenes) == 1:
            return scenes[0]
        shown = [f"{i}: {_described(s)}" for i, s in enumerate(scenes[:8])]
        more = ", ..." if len(scenes) > 8 else ""
        raise InputError(
            f"{name}: {len(scenes)} pictures of different kinds in one file ({', '.join(shown)}{more}); choose one: "
            f"scene=0, on the command line --scene 0"
        )
    by_name = [i for i, s in enumerate(scenes) if s.title and str(chosen).casefold() == s.title.casefold()]
    number = by_name[0] if len(by_name) == 1 else int(chosen) if str(chosen).isdigit() else -1
    if not 0 <= number < len(scenes):
        raise InputError(f"{name}: scene={chosen!r}; there are {len(scenes)}, counted from 0")
    return replace(scenes[number], scene=number if len(scenes) > 1 else None)


def _described(scene: Stored) -> str:
    size = f"{scene.shape[1]} x {scene.shape[0]} pixels" if scene.shape else ""
    return scene.title or " of ".join(filter(None, (scene.described, size))) or "a picture"


def _some(count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_SEEN))})


def _check(values: np.ndarray, name: str) -> None:
    if min(values.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"{name}: {values.shape[1]} x {values.shape[0]} pixels is too small; "
            f"at least {MIN_SIDE} x {MIN_SIDE} are needed"
        )
    check_type(values.dtype, name)
