"""Whose table it is: which columns are x, y and radius in pixels, by the names that programs give them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

PIXELS = ("px", "pixel", "pixels", "pix", "")
UNIT = re.compile(r"^(.*?)\s*[\[(]\s*([^\])]*)\s*[\])]$")


class Recipe(NamedTuple):
    """How x, y, radius and the frame come from columns."""

    kind: str
    columns: Mapping[str, tuple[str, Callable[[np.ndarray], np.ndarray]]]
    """Of ours: the column it comes from, and what is made of its numbers."""
    dropped: tuple[str, ...] = ()
    """Columns that say nothing more."""
    header_lines: int = 0
    """Further lines of heading below the first."""


class Unusable(ValueError):
    """Why a table has no droplets."""


def recipe_of(names: Sequence[str], first_rows: Sequence[Sequence[str]] = ()) -> Recipe:
    """Recognize a table by the names of its columns.

    Parameters
    ----------
    names : sequence of str
        As they stand in the file.
    first_rows : sequence of sequence of str
        The first few rows: some programs write units there.

    Raises
    ------
    Unusable
        It lacks something; the message says what.
    """
    have = set(names)
    if {"POSITION_X", "POSITION_Y", "RADIUS"} <= have:
        return _trackmate(names, first_rows)
    axes = sorted((n for n in names if re.fullmatch(r"axis-\d+", n)), key=lambda n: int(n[5:]))
    if len(axes) >= 2:
        return _napari(names, axes)
    if {"centroid-0", "centroid-1"} <= have:
        return _regions(names)
    if {"Area", "X", "Y"} <= have and not {n.casefold() for n in names} & {"radius", "diameter"}:
        columns = {"x": ("X", _corner), "y": ("Y", _corner), "radius": ("Area", _equal_area)}
        return Recipe("ImageJ results", columns, ("",) if "" in have else ())
    return _plain(names)


def _plain(names: Sequence[str]) -> Recipe:
    """x, y and radius or diameter, in any case, with or without a unit in brackets."""
    bare = {name: _bare(name) for name in names}
    columns = {}
    for ours in ("x", "y", "radius"):
        if found := _called(bare, ours):
            columns[ours] = (found, _same)
    if "radius" not in columns and (found := _called(bare, "diameter")):
        columns["radius"] = (found, _half)
    missing = [c for c in ("x", "y", "radius") if c not in columns]
    if missing:
        lengths = [n for n in names if re.search(r"[\[(_ ](um|µm|μm|micron|nm|mm)\b", n.casefold())]
        hint = ""
        if missing == ["radius"] and {"mass", "size", "ecc"} <= set(names):
            hint = " (trackpy's size is a radius of gyration, not of the droplet: add a column radius)"
        elif lengths:
            hint = f" ({lengths[0]} is not in pixels: divide by the size of a pixel)"
        raise Unusable(f"no column {', '.join(missing)}{hint}")
    return Recipe("droplets", columns, ("",) if "" in names else ())


def _trackmate(names: Sequence[str], first_rows: Sequence[Sequence[str]]) -> Recipe:
    lines = 0
    for row in first_rows[:3]:
        cell = row[list(names).index("POSITION_X")]
        if re.fullmatch(r"[-+0-9.,eE]+", cell):
            break
        lines += 1
        unit = cell.strip("()").casefold()
        if cell.startswith("(") and unit not in PIXELS:
            raise Unusable(
                f"positions are in {unit}, not in pixels: divide by the size of a pixel, or export in pixels"
            )
    columns = {"x": ("POSITION_X", _same), "y": ("POSITION_Y", _same), "radius": ("RADIUS", _same)}
    if "FRAME" in names:
        columns["frame"] = ("FRAME", _same)
    return Recipe("TrackMate spots", columns, header_lines=lines)


def _napari(names: Sequence[str], axes: list[str]) -> Recipe:
    columns = {"y": (axes[-2], _same), "x": (axes[-1], _same)}
    for found, make in (("radius", _same), ("diameter", _half), ("size", _half)):
        if found in names:
            columns["radius"] = (found, make)
            break
    else:
        raise Unusable("no column radius: napari saves positions without sizes; add a column radius")
    leading = axes[:-2]
    for ours, axis in zip(
        ["frame"] if len(leading) == 1 else [f"axis_{i}" for i in range(len(leading))], leading, strict=True
    ):
        columns[ours] = (axis, _same)
    return Recipe("napari points", columns, ("index",) if "index" in names else ())


def _regions(names: Sequence[str]) -> Recipe:
    if "centroid-2" in names:
        raise Unusable("regions of a volume: give those of one plane")
    columns = {"y": ("centroid-0", _same), "x": ("centroid-1", _same)}
    sizes = {
        **{"radius": _same, "equivalent_diameter_area": _half, "equivalent_diameter": _half},
        **{"area": _equal_area, "axis_major_length": _half},
    }
    for found, make in sizes.items():
        if found in names:
            columns["radius"] = (found, make)
            return Recipe("regionprops", columns)
    raise Unusable("no column radius, area or equivalent_diameter_area")


def _bare(name: str) -> str:
    """Without a unit of pixels and in small letters."""
    found = UNIT.match(name)
    if found and found[2].strip().casefold() in PIXELS:
        name = found[1]
    return name.strip().casefold()


def _called(bare: dict[str, str], wanted: str) -> str | None:
    if wanted in bare:
        return wanted
    return next((name for name, plain in bare.items() if plain == wanted), None)


def _same(values: np.ndarray) -> np.ndarray:
    return values


def _half(values: np.ndarray) -> np.ndarray:
    return values / 2


def _corner(values: np.ndarray) -> np.ndarray:
    """ImageJ counts from the corner of the first pixel."""
    return values - 0.5


def _equal_area(values: np.ndarray) -> np.ndarray:
    """Radius of the circle of the same area."""
    return np.sqrt(values / np.pi)
