"""What the user gave as one image, or as the images of a file: opened, its pictures chosen, read one at a time."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..lazy import Pixels
from . import intensities
from .choose import Chosen, Where, channel_numbers, one_picture, pictures
from .intensities import Levels, Range
from .large import levels_of, loader, opened_large
from .picture import MIN_SIDE, Image, ImageWarning
from .pixel_size import checked_size
from .readers import arrays, formats
from .scenes import loaded, stored_in
from .stored import Stored, check_type

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


def range_of_stored(stored: Stored) -> Range:
    """What 0 and 1 are in the values of all pictures of a file."""
    return Opened(stored, [], None, None).range()


def tell(text: str) -> None:
    """Warn the caller of this package."""
    level, frame = 1, sys._getframe()
    while frame is not None and str(frame.f_globals.get("__name__", "")).partition(".")[0] == "napari_droplets":
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    warnings.warn(text, ImageWarning, stacklevel=level)


def _some(count: int) -> list[int]:
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, MOST_SEEN))})


def _check(values: np.ndarray, name: str) -> None:
    if min(values.shape[:2]) < MIN_SIDE:
        raise InputError(
            f"{name}: {values.shape[1]} x {values.shape[0]} pixels is too small; "
            f"at least {MIN_SIDE} x {MIN_SIDE} are needed"
        )
    check_type(values.dtype, name)
