"""Sizes of pixels: every spelling of a unit of length, square pixels and others, in micrometres."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import InputError

PixelSize = float | tuple[float, float]
"""Side of a square pixel in micrometres, or width and height of one that is not square."""

SQUARE = 1e-3  # relative difference of width and height that is rounding: 1/0.65 as a fraction, a stage's last digit
_MICRO = "\N{MICRO SIGN}\N{GREEK SMALL LETTER MU}"
_PREFIXES = {"": 1e6, "k": 1e9, "d": 1e5, "c": 1e4, "m": 1e3, "u": 1.0, "n": 1e-3, "p": 1e-6, "a": 1e-12, "f": 1e-9}
_WORDS = {
    "": "",
    "kilo": "k",
    "deci": "d",
    "centi": "c",
    "milli": "m",
    "micro": "u",
    "nano": "n",
    "pico": "p",
    "femto": "f",
    "atto": "a",
}
_NAMES = {"micron": 1.0, "angstrom": 1e-4, "ångström": 1e-4, "å": 1e-4}


def micrometres(unit: str | None) -> float | None:
    r"""How many micrometres a unit of length is; None for what is none, and for inches, which say nothing of an object.

    Examples
    --------
    >>> micrometres("\\u00B5m"), micrometres("Microns"), micrometres("nanometre"), micrometres("pixel")
    (1.0, 1.0, 0.001, None)
    """
    text = str(unit or "").strip().strip("\0").strip()
    for escaped in ("\\u00b5", "\\u03bc"):  # ImageJ writes what ASCII lacks like this
        text = text.replace(escaped, "u").replace(escaped[:2] + escaped[2:].upper(), "u")
    for sign in ("Â" + _MICRO[0], "Î¼", *_MICRO):  # the first two: UTF-8 that was read as Latin-1
        text = text.replace(sign, "u")
    if text in {f"{p}m" for p in _PREFIXES}:  # case counts in symbols: mm and Mm
        return _PREFIXES[text[:-1]]
    word = text.casefold()
    if word in {"um", "nm", "mm", "cm"} and text in (word, word.upper()):
        return _PREFIXES[word[0]]
    for ending in ("s", ""):
        stem = word.removesuffix(ending) if ending else word
        if stem in _NAMES:
            return _NAMES[stem]
        for metre in ("meter", "metre"):
            if stem.endswith(metre) and stem.removesuffix(metre) in _WORDS:
                return _PREFIXES[_WORDS[stem.removesuffix(metre)]]
    return None


def pixel_size(x: float | None, y: float | None) -> PixelSize | None:
    """Size of a pixel from its width and height in micrometres, of any sign; None where one is not known."""
    if x is None or y is None:
        return None
    x, y = abs(float(x)), abs(float(y))
    if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
        return None
    return x if abs(x - y) <= SQUARE * max(x, y) else (x, y)


def checked_size(value: Any, name: str) -> PixelSize:
    """A pixel size as the user gave it.

    Raises
    ------
    InputError
        Not one positive number of micrometres, nor two.
    """
    parts = list(value) if isinstance(value, (list, tuple, np.ndarray)) and np.size(value) == 2 else [value, value]
    for part in parts:
        number = isinstance(part, (int, float, np.number)) and not isinstance(part, bool)
        if not number or not np.isfinite(part) or part <= 0:
            raise InputError(f"{name}: pixel size {value!r} is not a positive number of micrometres")
    x, y = (float(p) for p in parts)
    return x if x == y else (x, y)


def width_height(size: PixelSize) -> tuple[float, float]:
    """Width and height of a pixel."""
    return size if isinstance(size, tuple) else (size, size)


def mean_side(size: PixelSize) -> float:
    """Side of the square of the same area: what turns a radius in pixels into that of a circle of the same area."""
    x, y = width_height(size)
    return x if x == y else math.sqrt(x * y)


def divided(size: PixelSize | None, factor: float) -> PixelSize | None:
    """Size of the pixels of the image enlarged by `factor`."""
    if size is None:
        return None
    return (size[0] / factor, size[1] / factor) if isinstance(size, tuple) else size / factor


def of_layer(layer: Any) -> PixelSize | None:
    """Size of the pixels of a napari layer as shown, where its units are lengths; flipped axes count as others do.

    Scale, rotation, shear and affine count. None where its pixels are sheared, which have no width and height.
    """
    units, scales = getattr(layer, "units", None), getattr(layer, "scale", None)
    if units is None or scales is None or len(units) < 2:
        return None
    if not all(unit.is_compatible_with("um") for unit in units[-2:]):
        return None
    lengths = np.array([float((1.0 * unit).to("um").magnitude) for unit in units[-2:]])
    steps = lengths[:, None] * pixel_steps(layer)
    height, width = np.linalg.norm(steps, axis=0)
    if abs(steps[:, 0] @ steps[:, 1]) > SQUARE * height * width:
        return None
    return pixel_size(width, height)


def pixel_steps(layer: Any) -> np.ndarray:
    """(2, 2): what a step of a pixel along y, the first column, and x is in the world's last two axes."""
    if not hasattr(layer, "data_to_world"):
        return np.diag(np.asarray(layer.scale, float)[-2:])
    n = layer.ndim
    origin = np.asarray(layer.data_to_world((0.0,) * n), float)
    ends = [np.asarray(layer.data_to_world(tuple(step)), float) for step in np.eye(n)[-2:]]
    return np.stack([(end - origin)[-2:] for end in ends], axis=1)
