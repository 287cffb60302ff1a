"""What was measured in each image, where it is about normal, with the variance that its droplets leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy.special import expit, logit

from ..composition.classes import Classes
from ..errors import InputError
from ..measures.size_statistics import known_of, statistics
from .results import Result

QUANTITIES = ("mean", "cv", "D10", "D50", "D90", "span", "DV50", "D32", "D43", "area_fraction", "volume_per_area")
"""Of `statistics`, besides the density."""
DRAWS = 100
"""For the variance within an image: standard deviations are known to 7 %, and a thousand images take no hour."""
HALF = 0.5
"""Droplets added to a count, so that an image without any has a logarithm (Jeffreys)."""
SIZES, OTHERS = 0.5, 1.0
"""Prior standard deviation of what images and samples differ by: sizes by a factor of 1.6, densities and odds by one of
e. Intervals hold up to such differences, and are too wide where there are only two samples that hardly differ
(benchmarks/samples.py)."""
Z = 1.959963984540054
"""Half of an interval of 95 %, in standard deviations."""


class Quantity(NamedTuple):
    """Values of I images on a scale where they are about normal."""

    name: str
    """As `statistics` calls it, or `proportion`."""
    kind: str
    """Class of a proportion, else empty."""
    unit: str
    y: np.ndarray
    """(I,) logs, or logits of proportions; NaN where an image tells nothing."""
    variance: np.ndarray
    """(I,) of y, that the droplets are a sample and not known exactly."""
    scale: float
    """Prior standard deviation of what images, and samples, differ by."""
    shared_variance: float = 0.0
    """Of y, that all images have in common."""

    def back(self, y: np.ndarray) -> np.ndarray:
        """In its unit."""
        return expit(y) if self.name == "proportion" else np.exp(y)


def size_quantities(pictures: Sequence[Result]) -> tuple[list[Quantity], list[str]]:
    """Densities and sizes of all pictures, and notes on what is left out.

    Of pictures with and without a known pixel size only the former count.
    """
    known = [p.droplets.pixel_size_um is not None for p in pictures if len(p.droplets)]
    notes = []
    if any(known) and not all(known):
        notes.append(f"{len(known) - sum(known)} images have no pixel size: they are left out of sizes and densities")
    unit = "µm" if any(known) else "px"
    n = len(pictures)
    y = {name: np.full(n, np.nan) for name in ("density", *QUANTITIES)}
    variance = {name: np.full(n, np.nan) for name in y}
    units = {"density": "per mm²" if unit == "µm" else "per 1000 x 1000 px"}
    for i, picture in enumerate(pictures):
        if len(picture.droplets) and (picture.droplets.pixel_size_um is not None) != (unit == "µm"):
            continue
        options = known_of(picture.summary)
        count = options.pop("count")
        droplets = replace(picture.droplets, labels=_without_class(picture))
        try:
            table = statistics(droplets, population=True, draws=DRAWS, **options).table
        except InputError:  # no droplets, or none that the border does not cut
            density = _density_of_none(picture, unit)
            if density is not None:
                y["density"][i], variance["density"][i] = np.log(density), 1 / HALF
            continue
        number = float(table["value"]["number"]) if count is None else count[0]
        sd = float(table["high"]["number"] - table["value"]["number"]) / Z if count is None else count[1]
        for name in y:
            if name not in table.index:
                continue
            value, low, high = table.loc[name, ["value", "low", "high"]].to_numpy(float)
            units[name] = str(table["unit"][name])
            if name == "density":
                y[name][i] = np.log(value * (number + HALF) / max(number, HALF))
                variance[name][i] = 1 / (number + HALF) + (sd / (number + HALF)) ** 2
            elif min(value, low) > 0 and np.isfinite(high):
                y[name][i], variance[name][i] = np.log(value), (np.log(high / low) / (2 * Z)) ** 2
    found = [
        Quantity(name, "", units.get(name, ""), y[name], variance[name], OTHERS if name == "density" else SIZES)
        for name in y
    ]
    return [q for q in found if np.isfinite(q.y).any()], notes


def _without_class(picture: Result) -> dict[str, np.ndarray]:
    return {k: v for k, v in picture.droplets.labels.items() if k != "class"}


def _density_of_none(picture: Result, unit: str) -> float | None:
    """That of half a droplet in the image."""
    image = picture.summary.get("image") or {}
    shape, side = image.get("shape"), image.get("pixel_size_um")
    if not shape or (unit == "µm" and side is None):
        return None
    width, height = (1.0, 1.0) if unit == "px" else (side if isinstance(side, (list, tuple)) else (side, side))
    return HALF / (shape[0] * height * shape[1] * width * image.get("visible", 1.0)) * 1e6


def class_quantities(classes: dict[int, Classes], names: Sequence[str], shared: np.ndarray, n: int) -> list[Quantity]:
    """Proportions of each class in n pictures."""
    weight, sd = np.full((n, len(names)), np.nan), np.full((n, len(names)), np.nan)
    for i, found in classes.items():
        weight[i], sd[i] = found.parameters["weight"], found.weight_sd
    spread = sd / np.maximum(weight * (1 - weight), 1e-9)
    return [
        Quantity("proportion", name, "", logit(weight[:, g]), spread[:, g] ** 2, OTHERS, float(shared[g]))
        for g, name in enumerate(names)
        if len(names) > 1
    ]
