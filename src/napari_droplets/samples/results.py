"""The images of a folder of results: what was found in each, and where that is kept."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from ..droplets import Droplets
from ..errors import InputError
from ..tables import read_table

PLACES = ("frame", "plane")


@dataclass(frozen=True)
class Result:
    """One picture that droplets were looked for in."""

    image: str
    """As in the tables of the batch: the file's name."""
    folder: Path
    summary: dict[str, Any]
    place: dict[str, int]
    """Frame and plane of a picture of a stack."""

    @property
    def name(self) -> str:
        """The image, with the place in its stack."""
        return ", ".join([self.image, *(f"{kind} {number}" for kind, number in self.place.items())])

    @cached_property
    def droplets(self) -> Droplets:
        """The table of the folder.

        Raises
        ------
        InputError
            It cannot be read.
        """
        return read_table(self.folder / "droplets.csv")


def with_droplets(result: Result, droplets: Droplets) -> Result:
    """The result with a table that is known already."""
    result = replace(result)
    result.__dict__["droplets"] = droplets
    return result


@dataclass(frozen=True)
class Results:
    """What a folder of results holds."""

    out: Path
    pictures: list[Result]
    failed: dict[str, str]
    """Images without a result, and why."""


def results_in(out: str | Path) -> Results:
    """The results in a folder of `batch` or `fit`, or of one image.

    Raises
    ------
    InputError
        There are none.
    """
    out = Path(out)
    if not out.is_dir():
        raise InputError(f"{out}: no such folder; give the one that `fit` or `batch` wrote to with -o")
    if (out / "summary.json").exists():
        return Results(out, _pictures(out, None), {})
    failed: dict[str, str] = {}
    pictures: list[Result] = []
    for image, folder, error in _listed(out):
        if folder is None:
            failed[str(image)] = error or "no result"
            continue
        try:
            pictures += _pictures(out / folder, image)
        except InputError as problem:
            failed[str(image or folder)] = str(problem)
    if not pictures:
        raise InputError(f"{out}: no results of `fit` or `batch` there")
    return Results(out, pictures, failed)


def _listed(out: Path) -> list[tuple[str | None, str | None, str | None]]:
    """Image, folder and error of each result: those of summary.csv, else all folders that hold one."""
    from ..series.batch import natural

    path = out / "summary.csv"
    if path.exists():
        try:
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            return [
                (row["image"], row["folder"] or None, row["error"] or None)
                for row in table[["image", "folder", "error"]].to_dict("records")
            ]
        except (ValueError, KeyError) as error:
            raise InputError(
                f"{path}: not the table of a batch ({error}); delete it, or run the batch again"
            ) from error
    folders = sorted((p.parent for p in out.glob("*/summary.json")), key=natural)
    return [(None, folder.name, None) for folder in folders]


def _pictures(folder: Path, image: str | None) -> list[Result]:
    summary = summary_of(folder)
    name = image or (summary.get("image") or {}).get("name") or folder.name
    if "pictures" not in summary:
        return [Result(name, folder, summary, {})]
    return [
        Result(
            name, folder / one["folder"], summary_of(folder / one["folder"]), {k: one[k] for k in PLACES if k in one}
        )
        for one in summary["pictures"]
        if one.get("folder")
    ]


def summary_of(folder: Path) -> dict[str, Any]:
    """What summary.json holds.

    Raises
    ------
    InputError
        It is missing, or not a summary.
    """
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict):
            raise ValueError("no object")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a summary of a result ({error})") from error
    return summary
