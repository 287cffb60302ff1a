"""Which picture and which channels of a file are meant; what is ambiguous is asked for in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError
from .stored import PAGES, Stored

ALL = "all"
Chosen = int | list[int] | str | None
"""Frames or planes: a number, several, 'all', or nothing said."""


class Where(NamedTuple):
    """One picture of a file."""

    at: tuple[int, ...]
    """Index along the axes of `Stored`."""
    frame: int | None = None
    plane: int | None = None


def pictures(stored: Stored, frames: Chosen = None, planes: Chosen = None) -> list[Where]:
    """The pictures chosen, in the order of the file.

    Raises
    ------
    InputError
        Several pictures and nothing said of which, or a choice that there is not.
    """
    roles = _roles(stored, frames, planes)
    numbers: list[list[int]] = []
    open_axes = []
    for (axis, count), role in zip(stored.axes, roles, strict=True):
        chosen = {"frame": frames, "plane": planes}[role]
        if chosen is None:
            open_axes.append((axis, count, role))
            numbers.append([])
        else:
            numbers.append(_numbers(chosen, count, axis, role, stored.name))
    if open_axes:
        raise InputError(_question(stored, open_axes))
    for role, chosen in (("frame", frames), ("plane", planes)):
        if chosen not in (None, ALL, 0, [0]) and role not in roles:
            raise InputError(f"{stored.name}: {role}s={chosen!r}, but the file has no {role}s; leave it out")
    return [Where(index, **{str(role): i for role, i in zip(roles, index, strict=True)}) for index in product(*numbers)]


def one_picture(stored: Stored, frames: Chosen = None, planes: Chosen = None) -> Where:
    """The picture chosen.

    Raises
    ------
    InputError
        Not exactly one.
    """
    chosen = pictures(stored, frames, planes)
    if len(chosen) != 1:
        raise InputError(
            f"{stored.name}: {len(chosen)} pictures of a series chosen ({stored.described}), where one is wanted; "
            "choose one, as frames=0 or planes=0, or take read_images, fit_series or the command line (--frames all)"
        )
    return chosen[0]


def channel_numbers(stored: Stored, channels: Sequence[int | str] | str | int | None) -> list[int] | None:
    """Numbers of the channels chosen, by number or name; None where all one or three are meant.

    Raises
    ------
    InputError
        A choice that there is not, or none where one must be made.
    """
    names, count = stored.channels, len(stored.channels)
    if channels is None:
        if count in (1, 3):
            return None
        raise InputError(
            f"{stored.name}: {count} channels ({_listed(names)}); choose one or three, by number or name: "
            f"channels=[0], on the command line --channels 0"
        )
    if isinstance(channels, (str, bytes)) or not np.iterable(channels):
        raise InputError(f"{stored.name}: channels={channels!r}; give a list of numbers or names, as [0, 1, 2]")
    chosen = []
    for one in channels:
        if isinstance(one, str) and not one.strip().isdigit():
            matches = [i for i, name in enumerate(names) if name.casefold() == one.strip().casefold()]
            if len(matches) != 1:
                which = "several channels have" if matches else "no channel has"
                raise InputError(f"{stored.name}: {which} the name {one!r}; there are {_listed(names)}")
            chosen += matches
        elif isinstance(one, (int, np.integer, str)) and not isinstance(one, bool):
            chosen.append(int(one))
        else:
            raise InputError(f"{stored.name}: channels={channels!r}; give a list of numbers or names, as [0, 1, 2]")
    if len(chosen) not in (1, 3) or not all(0 <= c < count for c in chosen):
        raise InputError(f"{stored.name}: channels={chosen}; choose one or three of 0 to {count - 1}")
    return chosen


def _listed(names: Sequence[str]) -> str:
    shown = [name if name == str(i) else f"{i}: {name}" for i, name in enumerate(names)]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:12], "..."])


def _roles(stored: Stored, frames: Chosen, planes: Chosen) -> list[str]:
    """For each axis what chooses along it; pages of which nobody says what they are may be either."""
    known = [axis for axis, _ in stored.axes]
    free = [r for r in ("frame", "plane") if r not in known]
    if frames is None and planes is not None:
        free.reverse()
    roles = []
    for axis, count in stored.axes:
        if axis != PAGES:
            roles.append(axis)
        elif free:
            roles.append(free.pop(0))
        else:
            raise InputError(f"{stored.name}: {stored.described}, and {count} {axis}s beside; give it one axis less")
    return roles


def _numbers(chosen: Chosen, count: int, axis: str, role: str, name: str) -> list[int]:
    if chosen == ALL:
        return list(range(count))
    numbers: list[Any] = [chosen] if isinstance(chosen, (int, np.integer)) else list(chosen or [])
    if not numbers or not all(isinstance(n, (int, np.integer)) and 0 <= n < count for n in numbers):
        raise InputError(f"{name}: {role}s={chosen!r}; there are {count} {axis}s, counted from 0 to {count - 1}")
    return [int(n) for n in numbers]


def _question(stored: Stored, open_axes: list[tuple[str, int, str]]) -> str:
    options = " ".join(f"--{role}s all" for _, _, role in open_axes)
    first = " and ".join(f"{role}s=0" for _, _, role in open_axes)
    return (
        f"{stored.name}: a stack of {stored.described}, each a picture of its own; say which: {options}, or numbers as "
        f"--{open_axes[0][2]}s 0,2 or 0-4 on the command line, {first} in Python"
    )
