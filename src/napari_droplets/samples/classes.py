"""Classes found on all droplets of a series, written into the results of each of its images."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from ..composition.classes import Classes, Measured, measured_of
from ..composition.draws import sample_compositions
from ..composition.pooled import classify_pooled
from ..composition.regroup import without_classes
from ..droplets import Droplets, Optics
from ..errors import InputError
from ..results.files import read_posterior, replace_classes, save_summary, write_whole
from ..tables import EXPORTS, export, read_table, save_table
from .results import Result, with_droplets

DRAWS = 200
"""Samples of the posterior for the error of each composition, as many as a fit takes."""
WITH_CLASSES = ("xlsx", "geojson")
"""Exports in which classes are told."""


@dataclass(frozen=True)
class SeriesClasses:
    """Classes of all images; the images of a pool share them."""

    classes: dict[int, Classes] = field(default_factory=dict)
    """By the number of the picture, of those that have classes."""
    names: list[str] = field(default_factory=list)
    """What classes are called; none where there are several pools."""
    shared_variance: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(G,) of logits of proportions, what all images have in common."""
    pools: list[list[int]] = field(default_factory=list)
    """Pictures whose classes are the same."""
    parameters: list[dict[str, Any]] = field(default_factory=list)
    """Of each pool."""
    notes: list[str] = field(default_factory=list)
    """What could not be done, and why."""


def series_classes(
    pictures: Sequence[Result],
    samples: Sequence[str],
    *,
    names: Sequence[str] | None = None,
    classes: int | None = None,
    before: Sequence[dict[str, Any]] = (),
    watch: Callable[[str, int, int], Any] | None = None,
) -> SeriesClasses:
    """Find classes on the droplets of all pictures together.

    Pictures that were fitted with the same optics are of one pool. Compositions of other optics mean something else:
    where there are several, the pictures of a sample that has one optics are a pool of their own.

    Parameters
    ----------
    pictures : sequence of Result
    samples : sequence of str
        The sample of each.
    names, classes : optional
        Of the classes, from the most frequent on; their number.
    before : sequence of dict
        `parameters` of an earlier run.
    watch : callable, optional
        Told what is done, which picture and of how many.

    Raises
    ------
    InputError
        Names are given, and there are several pools, or another number of classes.
    """
    measured: dict[int, Measured] = {}
    optics: dict[int, str] = {}
    notes: list[str] = []
    for i, picture in enumerate(pictures):
        if watch is not None:
            watch("reading posteriors", i, len(pictures))
        if not (picture.folder / "optics.safetensors").exists() or not len(picture.droplets):
            continue
        try:
            measured[i], optics[i] = _measured(picture)
        except InputError as error:
            notes.append(f"{picture.name}: left out of the classes ({error})")
    pools = _pools(list(measured), optics, samples)
    left = len(measured) - sum(map(len, pools))
    if names is not None and (left or len(pools) > 1):
        raise InputError(
            "class names: the images were fitted with several optics, by which compositions mean different things; fit "
            "them with one (--same-optics), then name the classes"
        )
    if names is None and classes is None and len(pools) == 1 and before:
        names = before[0].get("names")  # those of the last time, unless others are asked for
    if left:
        notes.append(
            f"{left} image{' was' if left == 1 else 's were'} fitted with optics of their own: classes of several "
            "optics are not the same and are not compared; --same-optics gives the series one"
        )
    elif len(pools) > 1:
        notes.append("samples were fitted with several optics: classes are those of each sample, and are not compared")
    found: dict[int, Classes] = {}
    parameters, shared = [], np.zeros(0)
    for number, pool in enumerate(pools):
        if watch is not None:
            watch("classes", number, len(pools))
        earlier = before[number] if number < len(before) else None
        pooled = classify_pooled([measured[i] for i in pool], classes, names, earlier)
        found |= dict(zip(pool, pooled.images, strict=True))
        parameters.append(pooled.parameters)
        shared = pooled.shared_variance
    called = []
    if len(pools) == 1:
        called = [str(n) for n in parameters[0].get("names") or [f"class {g}" for g in range(len(shared))]]
    return SeriesClasses(found, called, shared, pools, parameters, notes)


def write_classes(
    pictures: Sequence[Result], found: SeriesClasses, watch: Callable[[str, int, int], Any] | None = None
) -> list[Result]:
    """Write classes into tables, summary and optics of each picture; the pictures as they are then.

    The summary comes last: one that names these classes is of a folder in which all is done, and is left as it is.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    from ..measures.size_statistics import record_of

    written = list(pictures)
    for number, (i, classes) in enumerate(found.classes.items()):
        if watch is not None:
            watch("writing classes", number, len(found.classes))
        picture = pictures[i]
        summary = picture.summary | {"classes": classes.proportions, "class_mixture": classes.parameters}
        droplets = _with_classes(picture.droplets, classes)
        if summary != picture.summary:
            summary["statistics"] = record_of(droplets, summary)
            save_table(droplets, picture.folder / "droplets.parquet")
            save_table(droplets, picture.folder / "droplets.csv")
            for kind in WITH_CLASSES:
                if (picture.folder / EXPORTS[kind]).exists():
                    export(droplets, picture.folder / EXPORTS[kind])
            replace_classes(picture.folder, classes.parameters)
            save_summary(summary, picture.folder / "summary.json")
        written[i] = with_droplets(replace(picture, summary=summary), droplets)
    for stack in {p.folder.parent for i, p in enumerate(pictures) if p.place and i in found.classes}:
        table = merged([p for p in written if p.folder.parent == stack])
        if not table.equals(read_table(stack / "droplets.csv").to_dataframe()):
            write_whole(stack / "droplets.parquet", partial(table.to_parquet, index=False))
            write_whole(stack / "droplets.csv", partial(table.to_csv, index=False))
    return written


def _measured(picture: Result) -> tuple[Measured, str]:
    """Compositions, and a hash of the optics by which they mean something."""
    optics, guide = read_posterior(picture.folder, picture.droplets)
    draws = sample_compositions(guide, optics.composition, DRAWS, 0)
    return measured_of(draws, picture.droplets.p_present), _hash(optics)


def _hash(optics: Optics) -> str:
    digest = hashlib.sha256(optics.composition.encode())
    for name, value in sorted(optics.weights.items()):
        digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()


def _pools(pictures: list[int], optics: dict[int, str], samples: Sequence[str]) -> list[list[int]]:
    if len({optics[i] for i in pictures}) <= 1:
        return [pictures] if pictures else []
    pools = []
    for sample in dict.fromkeys(samples[i] for i in pictures):
        pool = [i for i in pictures if samples[i] == sample]
        if len(pool) > 1 and len({optics[i] for i in pool}) == 1:
            pools.append(pool)
    return pools


def _with_classes(droplets: Droplets, classes: Classes) -> Droplets:
    return replace(droplets, labels=dict(without_classes(droplets).labels) | classes.columns)


def merged(pictures: Sequence[Result], groups: pd.DataFrame | None = None) -> pd.DataFrame:
    """The droplets of several pictures in one table.

    With `groups`, a row for each picture, those columns are the first; then comes its place in its stack.
    """
    tables = []
    for i, picture in enumerate(pictures):
        table = picture.droplets.to_dataframe().drop(columns=list(picture.place), errors="ignore")
        first = {} if groups is None else {str(k): v for k, v in groups.iloc[i].items()}
        told = pd.DataFrame([first | picture.place] * len(table), columns=[*first, *picture.place], index=table.index)
        tables.append(pd.concat([told, table], axis=1))
    some = [t for t in tables if len(t)] or tables[:1]
    return pd.concat(some, ignore_index=True)
