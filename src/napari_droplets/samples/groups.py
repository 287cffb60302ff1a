"""Which image is of which sample, condition and time: from a table, or from a pattern in file names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ..errors import InputError
from ..tables.reading import read_texts

LEVELS = ("condition", "time", "sample")
"""From the outside in: a sample is of one condition, at one time."""
IMAGE_NAMES = ("image", "file", "filename", "file name", "name")
"""What a column with the names of image files may be called."""
FIELD = re.compile(r"\{(\w*)\}|(\*)")


def groups_of(images: Sequence[str], given: str | Path | pd.DataFrame | None) -> pd.DataFrame:
    """Sample, condition and time of each image.

    Parameters
    ----------
    images : sequence of str
        Names of image files, as in the column `image` of the tables of a batch.
    given : str, path, DataFrame or None
        A pattern of file names without their ending, in which {sample}, {condition} and {time} stand for what is to be
        read off, and * or {anything else} for what does not matter; or a table (CSV, Excel) with a column `image` and
        one or more of `sample`, `condition` and `time`, or the file of one. None: all images are of one sample.

    Returns
    -------
    DataFrame
        A row for each image, in their order: image, and those of condition, time and sample that are known, as text.

    Raises
    ------
    InputError
        The table lacks a column or an image, or a name does not match the pattern; the message names it.

    Examples
    --------
    >>> groups_of(["dry_A_1.tif", "dry_A_2.tif", "wet_B_1.tif"], "{condition}_{sample}_*")
             image condition sample
    0  dry_A_1.tif       dry      A
    1  dry_A_2.tif       dry      A
    2  wet_B_1.tif       wet      B
    """
    if given is None:
        return pd.DataFrame({"image": list(images)})
    if isinstance(given, pd.DataFrame):
        return _of_table(images, given.astype(str), "the table of samples")
    if isinstance(given, str) and FIELD.search(given):
        return _of_pattern(images, given)
    return _of_table(images, read_texts(given), str(given))


def _of_pattern(images: Sequence[str], pattern: str) -> pd.DataFrame:
    """Fields take as little as they can, so that {a}_{b} ends a at the first underscore."""
    text, last, names = "", 0, []
    for field in FIELD.finditer(pattern):
        text += re.escape(pattern[last : field.start()])
        last = field.end()
        name = field.group(1) or ""
        if name in LEVELS and name not in names:
            text += f"(?P<{name}>.+?)"
            names.append(name)
        else:
            text += f"(?P={name})" if name in LEVELS else ".*?"
    text += re.escape(pattern[last:])
    if not names:
        raise InputError(f"groups={pattern!r}: none of {{sample}}, {{condition}} and {{time}} is in it")
    rows = []
    for image in images:
        found = re.fullmatch(text, _stem(image)) or re.fullmatch(text, image)
        if found is None:
            raise InputError(
                f"groups={pattern!r}: the name {image!r} does not match; change the pattern, or give a table"
            )
        rows.append({"image": image} | found.groupdict())
    return _ordered(pd.DataFrame(rows, columns=["image", *names]))


def _of_table(images: Sequence[str], table: pd.DataFrame, name: str) -> pd.DataFrame:
    table = table.rename(columns={c: str(c).strip().lower() for c in table.columns})
    column = next((c for c in IMAGE_NAMES if c in table), None)
    levels = [c for c in LEVELS if c in table]
    if column is None or not levels:
        raise InputError(
            f"{name}: a table of samples has a column `image` with the names of image files, and one or more of "
            f"`sample`, `condition` and `time`; its columns are {', '.join(map(str, table.columns))}"
        )
    known: dict[str, pd.Series] = {}
    for _, row in table.iterrows():
        file = str(row[column]).strip().replace("\\", "/")
        for key in {file, file.rsplit("/", 1)[-1]}:
            if key in known and any(known[key][c] != row[c] for c in levels):
                raise InputError(f"{name}: {file} has two rows that do not agree; leave one")
            known[key] = row
    known |= {_stem(key): row for key, row in known.items() if _stem(key) not in known}
    rows = []
    for image in images:
        called = next((k for k in (image, image.rsplit("/", 1)[-1], _stem(image)) if k in known), None)
        if called is None:
            raise InputError(f"{name}: no row for the image {image}; its column `{column}` is to name every image")
        row = known[called]
        if empty := [c for c in levels if not str(row[c]).strip()]:
            raise InputError(f"{name}: {empty[0]} of {image} is empty; fill it in")
        rows.append({"image": image} | {c: str(row[c]).strip() for c in levels})
    return _ordered(pd.DataFrame(rows, columns=["image", *levels]))


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    return table[["image", *(c for c in LEVELS if c in table)]]


def _stem(image: str) -> str:
    """The name without its ending, also that of .ome.tif."""
    name = re.sub(r"\.ome(?=\.\w+$)", "", image.rsplit("/", 1)[-1])
    return Path(name).stem
