"""What a file, an array or a layer holds, before any of it is chosen: pictures along named axes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from ..lazy import Block, is_large
from ..storage.memory import check_memory
from .pixel_size import PixelSize

RGB = ("red", "green", "blue")
TURNED = "a picture stored turned"
PAGES = "page"  # pictures one after another of which nobody says what they are
AXIS_NAMES = {"T": "frame", "Z": "plane", "C": "channel", "S": "channel"}


class Raster(NamedTuple):
    """One picture as it is stored."""

    values: np.ndarray
    """(H, W, C) of any numeric type."""
    hidden: np.ndarray | None = None
    """(H, W) bool, true where it is transparent."""


@dataclass(frozen=True)
class Stored:
    """Pictures of one size along named axes; read when they are asked for.

    Attributes
    ----------
    name : str
    axes : tuple of (str, int)
        Axes along which there are several pictures, and how many: frame, plane, page.
    channels : tuple of str
        Names of the channels of each picture.
    load : callable
        The picture at an index along `axes`.
    part : callable or None
        A block of it; None where it can only be read whole.
    dtype : dtype
    pixel_size_um : float, (float, float) or None
    bits : int or None
        Bit depth, where the file states one.
    nodata : float or None
        Value that stands for no data, where the file states one.
    path : str or None
    scene : int or None
        Which of several scenes of a file.
    title : str
        Name of the scene.
    shape : (int, int) or None
        Rows and columns as stored, where known before reading.
    notes : tuple of str
    converted : str
        What the numbers in the file are, where they are not those of the picture: "inks", "a palette" ...
    """

    name: str
    axes: tuple[tuple[str, int], ...]
    channels: tuple[str, ...]
    load: Callable[[tuple[int, ...]], Raster]
    dtype: np.dtype[Any]
    pixel_size_um: PixelSize | None = None
    bits: int | None = None
    nodata: float | None = None
    path: str | None = None
    scene: int | None = None
    title: str = ""
    shape: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()
    converted: str = ""
    part: Callable[[tuple[int, ...], Block], Raster] | None = None

    @property
    def large(self) -> bool:
        """Whether its pictures are read and worked on in blocks."""
        return self.shape is not None and is_large(self.shape)

    @property
    def described(self) -> str:
        """The pictures in words: `5 frames x 3 planes`."""
        return " x ".join(f"{n} {name}s" for name, n in self.axes)

    def with_notes(self, *notes: str) -> Stored:
        """The same with more to tell."""
        return replace(self, notes=(*self.notes, *notes))


def check_type(dtype: np.dtype[Any], name: str) -> None:
    """Refuse what has no shades.

    Raises
    ------
    InputError
        Neither integers nor floats.
    """
    if dtype.kind == "b":
        raise InputError(f"{name}: values of type bool, black or white; give the picture with its shades")
    if dtype.kind not in "uif":
        raise InputError(f"{name}: values of type {dtype}; give numbers (integers or floats)")


def of_axes(
    array: Any,
    axes: str,
    name: str,
    *,
    channels: Sequence[str] = (),
    finish: Callable[[np.ndarray], Raster] | None = None,
    n_channels: int | None = None,
    **more: Any,
) -> Stored:
    """Pictures of an array whose axes are known by their letters.

    Parameters
    ----------
    array : array-like
        Read when it is indexed; may be lazy.
    axes : str
        A letter for each dimension: Y and X, C for channels, S for the samples of a pixel, T, Z, any other for pages.
    name : str
    channels : sequence of str
        Names of the channels, where known.
    finish : callable, optional
        From the (H, W, C * S) values of one picture to what they mean: colors, transparency.
    n_channels : int, optional
        How many channels are left after that.
    **more
        Further attributes of `Stored`.
    """
    letters = list(axes.upper())
    leading = [i for i, a in enumerate(letters) if a not in "YXCS"]
    inner = [letters.index(a) for a in "YXCS" if a in letters]
    pictures = [(AXIS_NAMES.get(letters[i], PAGES), array.shape[i]) for i in leading]
    count = int(np.prod([array.shape[letters.index(a)] for a in "CS" if a in letters], dtype=int))
    kept = [i for i, (_, n) in enumerate(pictures) if n != 1]
    sides = (array.shape[letters.index("Y")], array.shape[letters.index("X")])
    dtype = np.dtype(array.dtype).newbyteorder("=")

    def load(index: tuple[int, ...], block: Block | None = None) -> Raster:
        check_memory((*(sides if block is None else block.shape), count), dtype, name)
        where: dict[int, Any] = dict.fromkeys(leading, 0) | {leading[k]: i for k, i in zip(kept, index, strict=True)}
        if block is not None:
            where |= dict(zip((letters.index("Y"), letters.index("X")), block.slices, strict=True))
        picked = np.asarray(array[tuple(where.get(i, slice(None)) for i in range(len(letters)))])
        picked = picked.astype(picked.dtype.newbyteorder("="), copy=False)
        order = np.argsort(np.argsort(inner))  # where the inner axes are after the leading ones are gone
        picture = np.transpose(picked, order)
        picture = picture.reshape(*picture.shape[:2], -1)
        return Raster(picture) if finish is None else finish(picture)

    n = n_channels or count
    colors = n == 3 and ("S" in letters or count == 1)  # one sample that becomes three is of a palette
    names = tuple(map(str, channels)) if len(channels) == n else RGB if colors else ()
    names = names or tuple(str(i) for i in range(n))
    return Stored(name, tuple(pictures[i] for i in kept), names, load, dtype, shape=sides, **({"part": load} | more))
