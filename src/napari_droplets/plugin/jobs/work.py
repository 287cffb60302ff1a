"""What the buttons compute, as generators that run in the thread.

The plane, which may be lazy or large, is read there, and goes to the library as it is: intensities are scaled after the
channels are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...images import as_image
from ...inference import api as fitting
from ...lazy import is_large
from ...settings import AUTO, READING, Settings
from ...workbench.fits import Change, Numbered
from ...workbench.regrouping import regrouped
from ...workbench.rows import changed_rows, numbered
from ..controls.words import sizes_text
from ..layers.large import made_ready

if TYPE_CHECKING:
    import pandas as pd

    from ...droplets import Fit
    from ...images import PixelSize
    from ...workbench.sheet import Snapshot
    from ..layers.place import Plane

REHEARSED = 0.1
"""Pixels by which a droplet is moved to rehearse a refit: any edit does."""

LONG = 4_000_000
"""Pixels of an image in which droplets are looked for so long, for several seconds, that programs of the fit are loaded
beside that. Droplets of a smaller one would only be shown the later."""

Steps = Generator[fitting.Progress, bool | None, Any]


Sizes = tuple[str, str]
"""What is told of the sizes of droplets, as of `sizes_text`, which takes a tenth of a second."""


class Fitted(NamedTuple):
    """What was fitted."""

    fit: Fit
    sizes: Sizes


def fit_from(table: Any, plane: Plane, settings: dict[str, Any]) -> Steps:
    """Fit an image, from a table of droplets or (None) from those detected; returns what was `Fitted`."""
    height, width = plane.data.shape[-2 - plane.rgb :][:2]
    result = yield from fitting.iterate(plane, table, ahead=height * width >= LONG, **settings)
    made_ready(result.reconstruction)
    return Fitted(result, sizes_text(result, result.reconstruction.shape[:2]))


class Detected(NamedTuple):
    """What was detected, and what is to tell of the image."""

    detection: fitting.Detection
    notes: tuple[str, ...]
    sizes: Sizes


def detect(plane: Plane, settings: dict[str, Any]) -> Steps:
    """Find droplets; returns what was `Detected`."""
    yield _waiting("detect")
    image = as_image(plane, **Settings(**settings).reading)
    found = fitting.detect_all(image, **settings)
    return Detected(found, image.notes, sizes_text(found.droplets, image.shape[:2], found.region))


def estimate(plane: Plane, settings: dict[str, Any]) -> Steps:
    """Estimate the typical diameter, pixels."""
    yield _waiting("estimate")
    from ...detection.scales import estimate_diameter

    image = as_image(plane, channels=settings["channels"])
    if settings["region"] is not None:
        from ...inference.local.part import Part

        image = Part.of(image, Settings(weights=settings["weights"], region=settings["region"])).image
    return estimate_diameter(image, settings["weights"])


class Refitted(NamedTuple):
    """What a refit of a plane of a sheet found."""

    change: Change
    table: pd.DataFrame
    """The droplets by number."""
    fit: Fit
    sizes: Sizes


def refit(
    since: Snapshot,
    plane: Plane | None,
    pixel_size_um: PixelSize | None,
    settings: dict[str, Any],
    *,
    proportions: bool = True,
) -> Steps:
    """Refit after corrections, on the plane where the fit has no image at hand; returns what was `Refitted`.

    Parameters
    ----------
    since : Snapshot
        The droplets with the corrections, and their fit.
    plane : Plane, optional
        The pixels of the layer now, which must be those that were fitted.
    pixel_size_um : float or (float, float), optional
        For a fit that does not say.
    settings : dict
        Those that a refit may differ in.
    proportions : bool
        Whether those of classes are found anew, too, and what is told of sizes, which takes longer.

    Raises
    ------
    InputError
        The image is another than the one fitted, or there is nothing to refit.
    """
    fit = since.fit.fit
    if plane is not None:
        yield _waiting("detect")
    if fit.image is None:
        size = fit.droplets.pixel_size_um or pixel_size_um
        image = as_image(plane, channels=fit.summary.get("settings", {}).get("channels"), pixel_size_um=size)
        if image.shape != fit.reconstruction.shape:
            raise InputError(
                f"{image.name}: its shape is {image.shape}, but the fit is of {fit.reconstruction.shape}; "
                "choose the image that was fitted"
            )
        fit = replace(fit, image=image)
    elif plane is not None and not _is_of(fit, plane):
        raise InputError(
            f"{plane.name}: its pixels are not those that were fitted; press Run to fit the image as it is"
        )
    table = since.table
    if "steps" not in settings and not len(changed_rows(since.fit.table, table)) and len(table) == len(fit.droplets):
        raise InputError("nothing to refit: no point was added, moved, resized or deleted since the fit")
    new = yield from fitting.iterate_refit(fit, table.reset_index(drop=True), proportions=proportions, **settings)
    made_ready(new.reconstruction)
    numbers = table.index.to_numpy()
    change = Change.between(since.fit, Numbered(new, numbers))
    sizes = sizes_text(new, new.reconstruction.shape[:2]) if proportions else ("", "")
    return Refitted(change, numbered(new.table, numbers), new, sizes)


def regroup(since: Snapshot, classes: int | None, names: Sequence[str] | None) -> Steps:
    """Sort droplets into other classes; returns what was `Regrouped`."""
    yield _waiting("classes")
    return regrouped(since, classes, names)


def rehearse(fit: Fit, wanted: Callable[[], bool]) -> None:
    """Compile what refits of a fit will need, by one whose result nobody uses."""
    load_views()
    if fit.image is None or not len(fit.droplets):
        return
    table = fit.table
    x, radius = table["x"].to_numpy(float, copy=True), table["radius"].to_numpy(float)
    x[np.abs(radius - np.median(radius)).argmin()] += REHEARSED
    table["x"] = x
    steps = fitting.iterate_refit(fit, table, proportions=False, steps=1)
    for _ in steps:
        if not wanted():
            steps.close()


def _is_of(fit: Fit, plane: Plane) -> bool:
    """Whether a fit was made of these pixels."""
    was = fit.summary.get("settings", {})
    try:
        image = as_image(plane, **{name: was[name] for name in READING if name in was})
    except InputError:
        return False
    return bool(image.sha256 == fit.summary["image"]["sha256"])


def warm(plane: Plane, candidates: int, settings: dict[str, Any], wanted: Callable[[], bool]) -> None:
    """Compile what a fit that starts from so many candidates will need; how many components must be known."""
    load_views()
    if settings["types"] == AUTO or is_large(plane.data.shape[-2 - plane.rgb :]):  # a large one is long in the reading
        return
    from ...inference.ahead import make, usual_size
    from ...inference.prepare import form_of

    channels = as_image(plane, channels=settings["channels"]).shape[2]
    make(form_of(channels, Settings(**settings)), usual_size(candidates), wanted)


def load_views() -> None:
    """Import what plots are drawn with: the window would stand still for a second when the first one is seen."""
    with suppress(ImportError):
        import matplotlib.backends.backend_qtagg
        import matplotlib.figure
        import matplotlib.widgets  # noqa: F401

        from ... import plot  # noqa: F401


def _waiting(stage: str) -> fitting.Progress:
    return fitting.waiting(stage, Settings())._replace(steps=0)
