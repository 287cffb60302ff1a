"""`compare_samples`: a folder of results as samples and conditions, with the tables that it leaves there."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ..composition.regroup import without_classes
from ..errors import InputError
from ..results.files import OPTICS, replace_classes, save_summary, writable_folder, write_whole
from ..series.manifest import MANIFEST
from ..storage.lock import sole_writer
from .classes import SeriesClasses, merged, series_classes, write_classes
from .compare import Comparison, compare, group_names
from .groups import LEVELS, groups_of
from .results import Result, Results, results_in, with_droplets

SUMMARY = "summary.json"
"""What every folder with the results of one image has."""
GROUPS, CLASSES = "groups.csv", "classes.json"
SAMPLES, DIFFERENCES = "samples.csv", "differences.csv"
"""Files that a comparison leaves in the folder of the results."""

Watch = Callable[[str, int, int], Any]
"""Told what is done, with which picture, and of how many."""


def compare_samples(
    out: str | Path,
    groups: str | Path | pd.DataFrame | None = None,
    *,
    class_names: Sequence[str] | None = None,
    classes: int | None = None,
    reference: str | None = None,
    watch: Watch | None = None,
    seed: int = 0,
) -> Comparison:
    """Classes, sizes, densities and proportions of the samples of a series, and how conditions differ.

    Classes are found on the droplets of all images together, where these were fitted with the same optics, and written
    into their tables. In the folder there are then also groups.csv, classes.json, samples.csv and differences.csv, and
    droplets.csv has the columns condition, time and sample.

    Parameters
    ----------
    out : path
        Folder of results of `batch`.
    groups : str, path or DataFrame, optional
        Pattern of file names, as '{condition}_{sample}_*', or a table with a column image and one or more of sample,
        condition and time (CSV, Excel, DataFrame). By default those of the last time, groups.csv in the folder, or all
        images are one sample.
    class_names : sequence of str, optional
        Of the classes from the most frequent on, or in the order of the last time; their number is that of the names.
        By default those of the last time.
    classes : int, optional
        Number of classes; by default what can be told apart.
    reference : str, optional
        Condition, or sample where there are no conditions, that the others are compared with; by default all pairs of
        up to six.
    watch : callable, optional
        Told what is done, with which picture, and of how many.
    seed : int
        Of all draws.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        There are no results, a batch is running there, an image is missing in the table of samples, names do not fit,
        or a file cannot be written.
    """
    results = results_in(out)
    with held(results, "a comparison of samples"):
        return compared(results, groups, class_names, classes, reference, watch, seed)[0]


def held(results: Results, what: str) -> AbstractContextManager[str]:
    """See that no batch changes the results meanwhile; those of one image may be a part of a batch.

    Raises
    ------
    FolderBusy
        A batch is running there.
    """
    out = results.out
    return sole_writer(out.parent if (out / SUMMARY).exists() and (out.parent / MANIFEST).exists() else out, what)


def compared(
    results: Results,
    groups: str | Path | pd.DataFrame | None = None,
    class_names: Sequence[str] | None = None,
    classes: int | None = None,
    reference: str | None = None,
    watch: Watch | None = None,
    seed: int = 0,
) -> tuple[Comparison, list[Result]]:
    """What `compare_samples` does, and the pictures with the classes that they have then."""
    checked_names(class_names, classes)
    out = writable_folder(results.out)
    pictures = _readable(results)
    if groups is None and (out / GROUPS).exists():
        groups = out / GROUPS
    table = groups_of([p.image for p in pictures], groups)
    before = _classes_before(out / CLASSES)
    found = series_classes(
        pictures, group_names(table)[1], names=class_names, classes=classes, before=before, watch=watch
    )
    pictures = write_classes(pictures, found, watch)
    if watch is not None:
        watch("comparing", 0, 1)
    result = compare(pictures, table, found, reference=reference, seed=seed)
    tables = {SAMPLES: result.table, DIFFERENCES: result.differences}
    if set(LEVELS) & set(table):
        tables[GROUPS] = table.drop_duplicates()
    if not (out / SUMMARY).exists():  # of one image alone the table is that of the image
        tables["droplets.csv"] = merged([_one_kind(p, i, found) for i, p in enumerate(pictures)], table)
    if found.parameters:
        pools = [p | {"images": len(q)} for p, q in zip(found.parameters, found.pools, strict=True)]
        save_summary({"pools": pools}, out / CLASSES)
    problems = [*_write(out, tables), *_write_optics(out, found)]
    failed = [f"{image}: {why}" for image, why in results.failed.items()]
    return replace(result, notes=[*failed, *problems, *result.notes], problems=problems), pictures


def _write_optics(out: Path, found: SeriesClasses) -> list[str]:
    """Let the optics of a batch bring the classes of all its images to those that are added; what went wrong."""
    if len(found.parameters) != 1 or not (out / OPTICS).exists() or (out / "summary.json").exists():
        return []
    try:
        replace_classes(out, found.parameters[0])
    except InputError as error:
        return [str(error)]
    return []


def _one_kind(picture: Result, i: int, found: SeriesClasses) -> Result:
    """The picture without classes of its own where the others have those of the series."""
    if i in found.classes or not found.classes:
        return picture
    return with_droplets(picture, without_classes(picture.droplets))


def checked_names(names: Sequence[str] | None, classes: int | None) -> None:
    """See that names can be those of classes.

    Raises
    ------
    InputError
        Two are the same, one is empty, or there are more or less than classes.
    """
    if names is None:
        return
    if len(set(names)) < len(names) or not all(str(n).strip() for n in names):
        raise InputError(f"class names {', '.join(map(repr, names))}: give each class a name of its own")
    if classes is not None and classes != len(names):
        raise InputError(f"{len(names)} class names for {classes} classes; give as many names as classes")


def _readable(results: Results) -> list[Result]:
    """Pictures whose tables can be read; the others are told of."""
    pictures = []
    for picture in results.pictures:
        try:
            picture.droplets  # noqa: B018 (reads it)
            pictures.append(picture)
        except InputError as error:
            results.failed[picture.name] = str(error)
    if not pictures:
        raise InputError(f"{results.out}: none of its tables can be read; {next(iter(results.failed.values()))}")
    return pictures


def _classes_before(path: Path) -> list[dict[str, Any]]:
    try:
        pools = json.loads(path.read_text(encoding="utf-8"))["pools"]
        for pool in pools:
            float(pool["weight"][0]), float(pool["mean"][0][0]), pool.get("names")
        return list(pools)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return []  # none, or edited: classes are then numbered anew


def _write(out: Path, tables: dict[str, pd.DataFrame]) -> list[str]:
    """Write tables, each also where another cannot be written, and tell which."""
    problems = []
    for name, table in tables.items():
        try:
            write_whole(out / name, partial(table.to_csv, index=False))
        except InputError as error:  # open in a spreadsheet, perhaps
            problems.append(str(error))
    return problems
