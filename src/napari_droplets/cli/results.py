"""The images whose statistics are asked for: of result folders, of folders of them, of tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from ..droplets import Droplets
from ..errors import InputError
from ..measures.size_statistics import known_of
from ..results.files import read_summary, read_table
from ..series.batch import natural
from ..tables import read_frame

IMAGES = ("image", "frame", "plane")
"""Columns that tell images apart."""


def results(given: str, shape: tuple[int, int] | None) -> Iterator[tuple[str, Droplets, dict[str, Any]]]:
    """Name, droplets and options of `statistics` for each image of a folder or a table.

    Parameters
    ----------
    given : str
        A result folder, a folder of result folders as of `batch` or of a stack, or a table.
    shape : (int, int) or None
        Of the images, where it is not known.

    Raises
    ------
    InputError
        There is no result.
    """
    path = Path(given)
    if not path.is_dir():
        yield from _of_table(path, shape)
        return
    summary = _summary(path)
    if summary is not None and "pictures" not in summary:
        options = known_of(summary)
        yield str(path), read_table(path / "droplets.csv"), options | ({"shape": shape} if shape else {})
        return
    if summary is None:
        inner = sorted((p.parent for p in path.glob("*/summary.json")), key=natural)
    else:  # not what an earlier run left there
        inner = [path / p["folder"] for p in summary["pictures"] if p.get("folder")]
    if not inner:
        raise InputError(f"{given}: no results of `fit` or `batch` there")
    for folder in inner:
        yield from results(str(folder), shape)


def _summary(folder: Path) -> dict[str, Any] | None:
    return read_summary(folder) if (folder / "summary.json").exists() else None


def _of_table(path: Path, shape: tuple[int, int] | None) -> Iterator[tuple[str, Droplets, dict[str, Any]]]:
    table = read_frame(path)
    columns = [c for c in IMAGES if c in table]
    parts: Any = table.groupby(columns, sort=False, dropna=False) if columns and len(table) else [((), table)]
    for values, part in parts:
        several = len(parts) > 1
        what = ", ".join(f"{c} {v}" for c, v in zip(columns, values, strict=True) if pd.notna(v)) if several else ""
        yield f"{path} {what}".strip(), Droplets.from_dataframe(part, name=str(path)), {"shape": shape}
