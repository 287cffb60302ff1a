"""All planes of a stack: one after the other, what is learned on the first one held for the others."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ...droplets import Droplets, Fit
from ...errors import InputError
from ...inference import api as fitting
from ..layers.place import Plane, plane_columns

if TYPE_CHECKING:
    from ...progress import Progress

Index = tuple[int, ...]
Planes = Sequence[tuple[Index, Callable[[], Plane]]]


class OfPlanes(NamedTuple):
    """What was found on the planes of a stack."""

    droplets: Droplets
    """Of all planes; columns say on which."""
    fits: dict[Index, Fit]
    """Empty where droplets were only detected."""
    planes: int
    """How many were done."""
    failed: dict[Index, str]
    """Planes that could not be used, and why."""


def fit_planes(planes: Planes, settings: dict[str, Any]) -> Generator[Progress, bool | None, OfPlanes]:
    """Fit all planes; a plane that cannot be used is told and left out, and what was done before a stop is kept.

    Raises
    ------
    InputError
        None of them can be used.
    """

    def one(plane: Plane, before: list[Any]) -> Generator[Progress, bool | None, Fit]:
        optics = before[0].optics if before else None
        held = fitting.held(optics) if optics is not None else {}
        return (yield from fitting.iterate(plane, None, optics, **settings | held))

    return (yield from _each(planes, one, lambda fit: fit.droplets))


def detect_planes(planes: Planes, settings: dict[str, Any]) -> Generator[Progress, bool | None, OfPlanes]:
    """Detect droplets on all planes; see `fit_planes`."""

    def one(plane: Plane, before: list[Any]) -> Generator[Progress, bool | None, Droplets]:
        yield fitting.waiting("detect", fitting.Settings())
        return fitting.detect(plane, **settings)

    return (yield from _each(planes, one, lambda droplets: droplets))


def _each(
    planes: Planes,
    one: Callable[[Plane, list[Any]], Generator[Progress, bool | None, Any]],
    droplets_of: Callable[[Any], Droplets],
) -> Generator[Progress, bool | None, OfPlanes]:
    found: dict[Index, Any] = {}
    failed: dict[Index, str] = {}
    stopped = False
    for count, (index, get) in enumerate(planes, 1):
        steps, reply = one(get(), list(found.values())), None
        try:
            while True:
                progress = steps.send(reply)
                reply = yield _of_stack(progress, f"Plane {count} of {len(planes)}", index, found, droplets_of)
                stopped = stopped or reply is False
        except StopIteration as end:
            found[index] = end.value
        except InputError as error:
            failed[index] = str(error)
        if stopped:
            break
    if not found:
        raise InputError(next(iter(failed.values()), "no planes"))
    fits = {index: fit for index, fit in found.items() if isinstance(fit, Fit)}
    parts = {index: droplets_of(result) for index, result in found.items()}
    return OfPlanes(together(parts), fits, len(found), failed)


def together(parts: dict[Index, Droplets]) -> Droplets:
    """Droplets of planes in one table, whose columns say on which they are."""
    tables = []
    for index, droplets in parts.items():
        columns = plane_columns(len(index))
        on = {c: np.full(len(droplets), i) for c, i in zip(columns, index, strict=True)}
        tables.append(droplets.to_dataframe().assign(**on))
    full = [table for table in tables if len(table)] or tables[:1]
    first = next(iter(parts.values()))
    return replace(Droplets.from_dataframe(pd.concat(full, ignore_index=True)), pixel_size_um=first.pixel_size_um)


def _of_stack(
    progress: Progress, part: str, index: Index, found: dict[Index, Any], droplets_of: Callable[[Any], Droplets]
) -> Progress:
    """Progress of a plane as that of the stack: pictures show the planes before it, too."""
    before = {i: droplets_of(result) for i, result in found.items()}
    n = progress.n_droplets + sum(map(len, before.values()))

    def snapshot() -> tuple[Droplets, None]:
        now = {index: progress.snapshot()[0]} if progress.n_droplets else {}  # or it is not known yet
        return together(before | now), None

    return progress._replace(part=part, n_droplets=n, snapshot=snapshot)
