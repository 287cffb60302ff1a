"""The heading of a text table: its encoding, its separator, the names of its columns; told without reading it all."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

from .recognize import recipe_of

BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
SEPARATORS = "\t;,|"
LEAST_WORDS = 3  # of a heading with nothing but blanks between them
COMMENT = "#"
NUMBER = re.compile(r"(?:^|[\s;,|])-?\d+(?:[.,]\d+)?(?:[eE][-+]?\d+)?(?=[\s;,|]|$)")  # a cell that no heading has
HEAD = 65536  # bytes; enough of a file to recognize it
PEEK = 3  # rows below the heading, in which some programs write units


class Heading(NamedTuple):
    """How a text table begins."""

    names: list[str]
    """Of the columns as they stand in the file, twice where two have the same one."""
    separator: str
    lines: int
    """Up to the first row, blank ones and those for programs included."""


def heading_of(text: str) -> Heading:
    """Read the heading.

    Raises
    ------
    ValueError
        There is none.
    """
    lines = text[:HEAD].splitlines() if len(text) > HEAD else text.splitlines()
    given = re.fullmatch(r"sep=(.)", lines[0], re.IGNORECASE) if lines else None  # that Excel understands
    filled = [i for i, line in enumerate(lines) if line.strip() and not (given and i == 0)]
    comments = list(takewhile(lambda i: lines[i].lstrip().startswith(COMMENT), filled))
    rows = filled[len(comments) :]
    if not filled:
        raise ValueError("it is empty")
    if comments and (not rows or NUMBER.search(lines[rows[0]])):  # as of numpy.savetxt, or of a column #
        number, heading = comments[-1], lines[comments[-1]].lstrip().removeprefix(COMMENT).lstrip(" ")
    else:
        number, heading = rows[0], lines[rows[0]]
    separator = given[1] if given else _separator(heading, lines[number + 1 :])
    names = [n.strip() for n in next(csv.reader([heading], delimiter=separator, skipinitialspace=True))]
    return Heading(names, separator, number + 1)


def decoded(content: bytes) -> str:
    """The text of a file.

    Raises
    ------
    ValueError
        It is not text.
    """
    for bom, encoding in BOMS:
        if content.startswith(bom):
            return content.decode(encoding)
    if b"\0" in content[:4096]:
        raise ValueError("it is not text; of Unicode only UTF-8 and UTF-16 are read")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")  # what Excel writes in Western Europe


def is_droplets_table(path: str | Path) -> bool:
    """Whether a file has the heading of a table that `read_table` understands."""
    path = Path(path)
    try:
        if path.suffix.lower() == ".parquet":
            from pyarrow.parquet import read_schema

            recipe_of(read_schema(path).names)
            return True
        with open(path, "rb") as file:
            head = file.read(HEAD)
        if len(head) == HEAD:
            head = head[: head.rfind(b"\n") + 1]
        text = decoded(head)
        heading = heading_of(text)
        lines = text.splitlines()[heading.lines : heading.lines + PEEK]
        recipe_of(heading.names, list(csv.reader(lines, delimiter=heading.separator)))
        return True
    except Exception:  # readers of Parquet raise anything on a broken file
        return False


def _separator(heading: str, rows: Sequence[str]) -> str:
    outside = re.sub(r'"[^"]*"', "", heading)
    if any(s in outside for s in SEPARATORS):
        return max(SEPARATORS, key=outside.count)
    first = next((row for row in rows if row.strip()), "")
    words = len(outside.split())
    return " " if words >= LEAST_WORDS and len(first.split()) == words and NUMBER.search(first) else ","
