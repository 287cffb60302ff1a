"""Candidates of a fit: what the recognition network and the user propose, brought together.

The network proposes whatever a fit starts from (its own droplets, blobs, a user's points), so that the answer does not
depend on the start: points that mean a droplet of the network take its place, and those it alone sees join. What looks
unlikely waits outside, and gets its chance once the optics are learned.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ..compare import match
from ..composition.anchors import anchored, known_compositions
from ..droplets import Droplets, marked
from ..errors import InputError
from ..images import Image
from ..settings import AUTO, Settings

LIKELY = 0.3
"""Candidates at least as probable take part from the beginning; the others wait …"""
GIANT = 4.0
"""… as do those larger than this, in typical radii, unless they are ASSERTED or as probable: one of them can take the
ground for its body while the background is learned."""
POSSIBLE = 0.05
"""Less probable ones are left out."""
ASSERTED = 0.5
"""Probability of a point that a user gave, before the pixels are asked …"""
BLOB = 0.05
"""… and of a blob that the recognition network does not see."""


def usable(droplets: Droplets | pd.DataFrame, image: Image, settings: Settings) -> Droplets:
    """Check the user's droplets against the image and the settings.

    Raises
    ------
    InputError
        None given, one so far outside that no pixel can see it, or known compositions that cannot be.
    """
    table = droplets if isinstance(droplets, pd.DataFrame) else droplets.to_dataframe()
    droplets = Droplets.from_dataframe(table, name="droplets")
    if len(droplets) == 0:
        raise InputError("droplets: the table is empty; detect droplets first, or add some")
    for name in ("x_sd", "y_sd", "radius_sd"):
        if (sd := getattr(droplets, name)) is not None and (sd <= 0).any():
            row = int(np.flatnonzero(sd <= 0)[0])
            raise InputError(f"droplets: {name} in row {row} is {sd[row]:g}, not positive; leave it empty if unknown")
    if settings.types == AUTO:
        settings = replace(settings, types=anchored(droplets) or 3)
    known_compositions(droplets, settings.components, settings.composition)
    h, w, _ = image.shape
    outside = (np.abs(droplets.x - (w - 1) / 2) > w / 2 + droplets.radius) | (
        np.abs(droplets.y - (h - 1) / 2) > h / 2 + droplets.radius
    )
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        where = f"x {droplets.x[row]:g}, y {droplets.y[row]:g}"
        raise InputError(
            f"droplets: row {row} ({where}) lies outside {image.name} ({w} x {h} pixels); are the coordinates pixels?"
        )
    return droplets


def gathered(given: Droplets | None, recognized: Droplets, *, asserted: bool) -> Droplets:
    """All candidates of a fit with their prior probability `p_present`; NaN deviations where nothing is known.

    Parameters
    ----------
    given : Droplets, optional
        Points to start from; first in the result, in their order.
    recognized : Droplets
        Candidates of the recognition network with p_present.
    asserted : bool
        A user gave the points; else they are blobs.
    """
    assert recognized.p_present is not None
    recognized = recognized[recognized.p_present >= POSSIBLE]
    if given is None:
        return recognized
    n = len(given)
    i, j = match(given, recognized)
    pinned = pinned_rows(given)
    mine, its = i[~pinned[i]], j[~pinned[i]]

    def column(name: str, own: np.ndarray) -> np.ndarray:
        values = np.array(own, float)
        values[mine] = getattr(recognized, name)[its]
        return values

    unknown = np.full(n, np.nan)
    deviations = {name: column(name, own if (own := getattr(given, name)) is not None else unknown) for name in SDS}
    p = np.full(n, ASSERTED if asserted else BLOB) if given.p_present is None else np.array(given.p_present)
    told = np.asarray(recognized.p_present)[its]
    p[mine] = np.maximum(p[mine], told) if asserted and given.p_present is None else told
    p[pinned] = 1
    places = {name: column(name, getattr(given, name)) for name in ("x", "y", "radius")}
    start = replace(given, **places, **deviations, p_present=p, composition_sd=None)
    others = np.setdiff1d(np.arange(len(recognized)), j)
    return _joined(start, recognized[others])


def likely(candidates: Droplets) -> np.ndarray:
    """(N,) bool, those that take part in a fit from the beginning; all where presence is not to be inferred."""
    if candidates.p_present is None:
        return np.ones(len(candidates), bool)
    p, radius = np.asarray(candidates.p_present), candidates.radius
    found = p >= LIKELY
    if not found.any():
        return found
    return found & ((p >= ASSERTED) | (radius <= GIANT * np.median(radius[found])))


SDS = ("x_sd", "y_sd", "radius_sd")


def _joined(first: Droplets, second: Droplets) -> Droplets:
    """The rows of both; what only the first knows is empty in the second."""
    n = len(second)
    values = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("x", "y", "radius", *SDS, "p_present")
    }
    if first.composition is not None:
        values["composition"] = np.concatenate([first.composition, np.full((n, first.types), np.nan)])
    labels = {}
    for name, label in first.labels.items():
        label = np.asarray(label)
        if name == "pinned":
            empty = np.zeros(n, bool)
        elif label.dtype.kind in "iuf":
            empty = np.full(n, np.nan)
        else:
            label, empty = label.astype(object), np.full(n, None)
        labels[name] = np.concatenate([label, empty])
    return replace(first, **values, labels=labels)


def pinned_rows(droplets: Droplets) -> np.ndarray:
    """(N,) bool, the column `pinned`; missing values false."""
    return marked(droplets, "pinned")
