"""Samples and conditions: their sizes, densities and proportions with intervals, and how conditions differ."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..errors import InputError
from .classes import SeriesClasses
from .nested import Means, nested_means
from .results import Result
from .values import Quantity, Z, class_quantities, size_quantities

QUANTILES = (0.025, 0.5, 0.975)
ALL_PAIRS = 6
"""Groups of which each is compared with each; of more each is compared with the first."""
ALL = "all images"
"""The sample, where nothing is said of samples, and the group, where nothing is said of conditions."""


@dataclass(frozen=True)
class Comparison:
    """What `compare_samples` found.

    Attributes
    ----------
    table : DataFrame
        A row for each quantity of each condition, sample and image: level (which of these), condition, sample, image,
        quantity, class (of proportions), value, low, high (95 %), unit, images and samples (how many), holds (what the
        interval holds: the doubt about droplets, differences between images and between samples).
    differences : DataFrame
        A row for each quantity and pair of conditions, or of samples where there are no conditions: quantity, class,
        group, reference, difference with low and high, ratio with ratio_low and ratio_high, p_larger (probability that
        the group has more than the reference), unit, holds.
    groups : DataFrame
        Image, condition and sample of each picture.
    top : {'condition', 'sample'}
        What is compared.
    classes : SeriesClasses
        The classes of all images.
    notes : list of str
        What could not be done, and why.
    problems : list of str
        Those of the notes that tell of tables that could not be written.
    """

    table: pd.DataFrame
    differences: pd.DataFrame
    groups: pd.DataFrame
    top: str
    classes: SeriesClasses
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def proportions(self, level: str | None = None) -> pd.DataFrame:
        """Rows for `nd.plot.proportions`: group, class, proportion, low, high, of conditions, samples or images."""
        level = level or self.top
        rows = self.table[(self.table["quantity"] == "proportion") & (self.table["level"] == level)]
        return pd.DataFrame(
            {
                "group": rows[level],
                "class": rows["class"],
                "proportion": rows["value"],
                "low": rows["low"],
                "high": rows["high"],
            }
        ).reset_index(drop=True)


class _Nest(NamedTuple):
    images: list[str]
    sample: np.ndarray  # (I,) number of the sample of each image
    samples: list[str]
    group: np.ndarray  # (S,) number of the group of each sample
    groups: list[str]
    top: str


def compare(
    pictures: Sequence[Result],
    groups: pd.DataFrame,
    classes: SeriesClasses,
    *,
    reference: str | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare samples and groups of them.

    Parameters
    ----------
    pictures : sequence of Result
    groups : DataFrame
        Of `groups_of`: condition, time and sample of each picture. Images of one condition and time are a group;
        without these samples are the groups.
    classes : SeriesClasses
        Of the pictures.
    reference : str, optional
        The group that others are compared with; by default all pairs of up to six groups, or all with the first.
    seed : int
        Of the draws.

    Raises
    ------
    InputError
        There is no such reference.
    """
    nest = _nest(pictures, groups)
    sizes, notes = size_quantities(pictures)
    quantities = sizes + class_quantities(classes.classes, classes.names, classes.shared_variance, len(pictures))
    pairs = _pairs(nest.groups, reference)
    rows: list[dict[str, Any]] = []
    differences: list[dict[str, Any]] = []
    for quantity in quantities:
        more, other = _of(quantity, nest, pairs, seed)
        rows += more
        differences += other
    table = _closed(pd.DataFrame(rows))
    told = pd.DataFrame({"image": nest.images})
    if nest.top == "condition":
        told["condition"] = [nest.groups[nest.group[s]] for s in nest.sample]
    told["sample"] = [nest.samples[s] for s in nest.sample]
    return Comparison(table, pd.DataFrame(differences), told, nest.top, classes, [*classes.notes, *notes])


def group_names(groups: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Group and sample of each image, as they are called."""
    outer = [c for c in ("condition", "time") if c in groups]
    inner = [c for c in ("sample",) if c in groups]
    nothing = [ALL] * len(groups)
    if not outer:
        group = groups["sample"].tolist() if inner else nothing
        return group, group
    group = groups[outer].agg(", ".join, axis=1).tolist()
    if not inner:
        return group, group
    return group, [f"{s} ({g})" for s, g in zip(groups["sample"], group, strict=True)]


def _nest(pictures: Sequence[Result], groups: pd.DataFrame) -> _Nest:
    group, sample = group_names(groups)
    if "time" in groups:  # conditions in the order of the images, times in their own
        key = {g: (c, natural(t)) for g, c, t in zip(group, _conditions(groups), groups["time"], strict=True)}
        named = sorted(dict.fromkeys(group), key=lambda g: key[g])
    else:
        named = list(dict.fromkeys(group))
    samples = list(dict.fromkeys(sample))
    of = dict(zip(sample, group, strict=True))
    return _Nest(
        [p.name for p in pictures],
        np.array([samples.index(s) for s in sample]),
        samples,
        np.array([named.index(of[s]) for s in samples]),
        named,
        "condition" if {"condition", "time"} & set(groups) else "sample",
    )


def _conditions(groups: pd.DataFrame) -> list[int]:
    if "condition" not in groups:
        return [0] * len(groups)
    return pd.factorize(groups["condition"])[0].tolist()


def natural(text: str) -> list[tuple[float, str]]:
    """A key that sorts 2 min before 10 min."""
    parts = re.split(r"(\d+(?:\.\d+)?)", str(text))
    return [(float(p), "") if i % 2 else (0.0, p) for i, p in enumerate(parts)]


def _pairs(groups: list[str], reference: str | None) -> list[tuple[int, int]]:
    """Numbers of a group and of the one that it is compared with."""
    if reference is not None:
        if reference not in groups:
            raise InputError(f"reference={reference!r}: no such group; there are {', '.join(map(repr, groups))}")
        first = groups.index(reference)
        return [(g, first) for g in range(len(groups)) if g != first]
    if len(groups) <= ALL_PAIRS:
        return [(b, a) for a, b in combinations(range(len(groups)), 2)]
    return [(g, 0) for g in range(1, len(groups))]


def _of(
    quantity: Quantity, nest: _Nest, pairs: list[tuple[int, int]], seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of a quantity, and its differences."""
    use = np.flatnonzero(np.isfinite(quantity.y) & np.isfinite(quantity.variance))
    samples = np.unique(nest.sample[use])
    groups = np.unique(nest.group[samples])
    sample = np.searchsorted(samples, nest.sample[use])
    group = np.searchsorted(groups, nest.group[samples])
    means = nested_means(
        quantity.y[use],
        quantity.variance[use],
        sample,
        group,
        scale=quantity.scale,
        shared_variance=quantity.shared_variance,
        seed=seed,
    )
    first = {"quantity": quantity.name, "class": quantity.kind}
    holds = _holds(means)
    rows: list[dict[str, Any]] = []

    def row(level: str, value: np.ndarray, images: int, n: int, held: str, **names: str) -> None:
        low, middle, high = quantity.back(value)
        told = {"value": middle, "low": low, "high": high, "unit": quantity.unit}
        rows.append({"level": level, **names, **first, **told, "images": images, "samples": n, "holds": held})

    for g, drawn in zip(groups, means.group.T, strict=True):
        inside = samples[nest.group[samples] == g]
        count = int(np.isin(nest.sample[use], inside).sum())
        row(nest.top, np.quantile(drawn, QUANTILES), count, len(inside), holds[1], **{nest.top: nest.groups[g]})
    if nest.top == "condition":
        for s, drawn in zip(samples, means.sample.T, strict=True):
            names = {"condition": nest.groups[nest.group[s]], "sample": nest.samples[s]}
            row("sample", np.quantile(drawn, QUANTILES), int((nest.sample[use] == s).sum()), 1, holds[0], **names)
    half = Z * np.sqrt(quantity.variance + quantity.shared_variance)
    for i in use:
        names = {"sample": nest.samples[nest.sample[i]], "image": nest.images[i]}
        if nest.top == "condition":
            names["condition"] = nest.groups[nest.group[nest.sample[i]]]
        value = quantity.y[i] + np.array([-half[i], 0, half[i]])
        row("image", value, 1, 1, "droplets", **names)

    differences = []
    place = {int(g): at for at, g in enumerate(groups)}
    for a, b in pairs:
        if a in place and b in place:
            pair = means.group[:, place[a]], means.group[:, place[b]]
            names = {"group": nest.groups[a], "reference": nest.groups[b]}
            told = _difference(quantity, *pair) | {"unit": quantity.unit, "holds": holds[1]}
            differences.append(first | names | told)
    return rows, differences


def _holds(means: Means) -> tuple[str, str]:
    """What intervals of samples, and of groups, hold."""
    images = ["images"] if means.tau_image.any() else []
    samples = ["samples"] if means.tau_sample.any() else []
    return ", ".join(["droplets", *images]), ", ".join(["droplets", *images, *samples])


def _difference(quantity: Quantity, one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    a, b = quantity.back(one), quantity.back(other)
    low, middle, high = np.quantile(a - b, QUANTILES)
    ratio = np.quantile(a / b, QUANTILES)
    return {
        **{"difference": float(middle), "low": float(low), "high": float(high)},
        **{"ratio": float(ratio[1]), "ratio_low": float(ratio[0]), "ratio_high": float(ratio[2])},
        "p_larger": float((one > other).mean()),
    }


def _closed(table: pd.DataFrame) -> pd.DataFrame:
    """Proportions that sum to one in each image, sample and group: each class was taken for itself."""
    columns = ["level", "condition", "sample", "image", "quantity", "class", "value", "low", "high", "unit", "images"]
    table = table.reindex(columns=[*columns, "samples", "holds"])
    those = table["quantity"] == "proportion"
    if those.any():
        keys = ["level", "condition", "sample", "image"]
        total = table[those].groupby(keys, dropna=False)["value"].transform("sum")
        for column in ("value", "low", "high"):
            table.loc[those, column] = np.minimum(table.loc[those, column] / total, 1)
    order = {"condition": 0, "sample": 1, "image": 2}
    return table.sort_values("level", key=lambda c: c.map(order), kind="stable").reset_index(drop=True)
