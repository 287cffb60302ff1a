"""Results as layers, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import pandas as pd

from ...droplets import Droplets, Fit
from ...errors import InputError
from ...inference.api import Detection
from ...workbench.doubtful import doubtful
from .. import layers
from ..controls.words import detection_text, fit_text, stack_text, stored_text
from ..layers.place import Place, shown_as_stored
from ..layers.presence import n_hidden, show_probable
from . import work
from .stacks import OfPlanes


class Told(NamedTuple):
    """What to say of a result."""

    result: Fit | Droplets
    text: str
    level: str
    details: str
    candidates: int | None = None
    """How many were detected."""


def shown_result(
    output: layers.Output,
    outcome: work.Fitted | work.Detected,
    least: float,
    *,
    cancelled: bool,
    image_of: Callable[[Place], Any],
) -> Told:
    """Show a fit, or what was detected with a probability of at least `least`."""
    result: Fit | Detection
    if isinstance(outcome, work.Fitted):
        result, sizes = outcome
        output.show(result.droplets, result.reconstruction, fit=result)
        told = told_of_fit(result, sizes, result.table, output.place, image_of, cancelled=cancelled)
    else:
        result, notes, sizes = outcome
        output.show(result.candidates, detected=True)
        show_probable(output.points, least)
        found = len(output.points.data)
        text = detection_text(result, found, output.place.plane)
        told = _told(result.droplets, sizes, found, text, notes, output.place, image_of)
        hidden = n_hidden(output.points)
        if not found and hidden:
            text = f"{output.place.name}: no droplets found, but {hidden:,} improbable candidates are hidden"
            told = told._replace(text=text)
        told = told._replace(candidates=len(result.candidates))
    if output.kept:
        told = told._replace(text=told.text + f"\n{output.kept} and is kept; the result is in {output.points.name!r}")
    return told


def shown_planes(output: layers.Output, found: OfPlanes, *, cancelled: bool) -> Told:
    """Show what was found on all planes of a stack."""
    output.show(found.droplets, fits=found.fits or None, detected=not found.fits)
    text = stack_text(found.droplets, found.planes, found.failed, cancelled=cancelled)
    if output.kept:
        text += f"\n{output.kept} and is kept; the result is in {output.points.name!r}"
    return Told(found.droplets, text, "warning" if found.failed else "", "")


def told_of_fit(
    fit: Fit, sizes: work.Sizes, table: pd.DataFrame, place: Place, image_of: Callable[[Place], Any], *, cancelled: bool
) -> Told:
    """What to say of a fit whose droplets are those of a table now."""
    text = fit_text(fit, len(doubtful(table).numbers), place.plane, cancelled=cancelled)
    notes = () if fit.image is None else fit.image.notes
    told = _told(fit, sizes, len(fit.droplets), text, notes, place, image_of)
    facts = []
    if fit.summary.get("rmse") is not None:
        facts.append(f"RMS residual {fit.summary['rmse']:.3f}")
    if "seconds" in fit.summary:
        facts.append(f"{fit.summary['seconds']['total']:.0f} s")
    return told._replace(details=f"<p>{' · '.join(facts)}</p>{told.details}" if facts else told.details)


def _told(
    result: Fit | Droplets,
    sizes: work.Sizes,
    found: int,
    text: str,
    notes: tuple[str, ...],
    place: Place,
    image_of: Callable[[Place], Any],
) -> Told:
    kind, (of_sizes, details) = "", sizes
    with suppress(InputError):  # the image may be gone
        kind = shown_as_stored(image_of(place))
    text += f"\n{of_sizes}" if of_sizes else ""
    if not found:
        text = f"{place.name}: no droplets found; set the diameter, or check the image"
    text += "".join(f"\n{note}" for note in notes)
    if kind:
        text += f"\n{stored_text(kind)}"
    level = "" if found else "warning" if isinstance(result, Fit) else "info"
    return Told(result, text, level, details)
