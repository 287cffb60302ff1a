"""Droplets of a fit sorted into other classes, without a new fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..settings import Settings
from .classes import classify, measured_of, named
from .draws import draws_for_classes

OF_EACH = "class_p_"
"""How columns with the probability of a class begin."""


def regroup(fit: Fit, classes: int | None = None, *, names: Sequence[str] | None = None) -> Fit:
    """Sort the droplets of a fit into another number of classes by their compositions; nothing else is changed.

    Takes a second or so, as positions, sizes and compositions stay as they were fitted. Classes that were set by hand
    are replaced, too.

    Parameters
    ----------
    fit : Fit
    classes : int, optional
        Their number; by default that of the names, or as many, up to 6, as can be told apart.
    names : sequence of str, optional
        Of the classes, from the most frequent on: the column `class` has these words then.

    Returns
    -------
    Fit
        With other `class` and `class_p` of its droplets, proportions in its summary and classes of its optics.

    Raises
    ------
    InputError
        There are no compositions, a number of classes that is none, or more classes than can be made.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> image, truth = nd.simulate((128, 128), 30, seed=1)
    >>> result = nd.regroup(nd.fit(image, steps=200), 2)
    >>> sorted(set(result.table["class"]))
    [0, 1]
    """
    if names is not None and classes is not None and classes != len(names):
        raise InputError(f"{len(names)} names for {classes} classes; give as many names as classes")
    settings = Settings.of(**fit.summary["settings"] | {"classes": classes if names is None else len(names)})
    if not len(fit.droplets) or fit.droplets.composition is None:
        raise InputError("classes: the fit has no droplets with a composition")
    draws = draws_for_classes(fit.guide, fit.optics.composition, settings.seed)
    found = classify(measured_of(draws, fit.droplets.p_present), settings.classes)
    made = len(found.parameters["weight"])
    if settings.classes not in (None, made):
        raise InputError(f"classes={settings.classes}: no more than {made} can be made of these droplets")
    found = named(found, names)
    droplets = without_classes(fit.droplets)
    return replace(
        fit,
        droplets=replace(droplets, labels=dict(droplets.labels) | found.columns),
        optics=replace(fit.optics, classes=found.parameters),
        summary=fit.summary
        | {
            "classes": found.proportions,
            "class_mixture": found.parameters,
            "settings": fit.summary["settings"] | {"classes": settings.classes},
        },
    )


def without_classes(droplets: Droplets) -> Droplets:
    """Droplets without the columns that tell of classes."""
    others = {k: v for k, v in droplets.labels.items() if not tells_of_class(k)}
    return replace(droplets, labels=others)


def tells_of_class(column: str) -> bool:
    """Whether a column of a table tells of classes."""
    return column in ("class", "class_p") or column.startswith(OF_EACH)
