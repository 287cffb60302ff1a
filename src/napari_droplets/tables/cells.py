"""Text tables as columns of text, blank lines left out, and which texts are numbers."""

from __future__ import annotations

import io
import re
from typing import NamedTuple

import numpy as np
import pandas as pd

from .heading import decoded, heading_of

WORDS = {"\t": "tabs", ";": "semicolons", ",": "commas", "|": "bars", " ": "blanks"}
NUMBER = re.compile(r"[-+]?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?|[-+]?\.\d+([eE][-+]?\d+)?")
THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")
THOUSANDS_BY_DOTS = re.compile(r"[-+]?\d{1,3}(\.\d{3})+(,\d+)?")
MORE_CELLS = 3  # beyond the heading that are looked at
NOTHING = ("", "nan", "na", "n/a", "none", "null", "<na>", "inf", "-inf")
"""What numbers are called, in small letters, that are none."""


class Cells(NamedTuple):
    """A table as it stands in the file."""

    frame: pd.DataFrame
    """All text, blanks at either end removed; the index is the number of the line."""
    names: list[str]
    """Of the columns as they stand in the file, twice where two have the same one."""
    separator: str

    @property
    def described(self) -> str:
        """How it was read."""
        return (
            f"its columns, separated by {WORDS[self.separator]}, are {', '.join(n or '(no name)' for n in self.names)}"
        )


def cells_of(content: bytes) -> Cells:
    """Read a text table.

    Raises
    ------
    ValueError
        It is not text, or has no heading.
    """
    text = decoded(content)
    names, separator, lines = heading_of(text)
    more = len(names) + MORE_CELLS  # or pandas would leave out what is beyond the heading
    frame = pd.read_csv(
        io.StringIO(text),
        sep=separator,
        header=None,
        names=list(range(more)),
        skiprows=lines,
        dtype=str,
        keep_default_na=False,
        na_filter=False,
        skipinitialspace=True,
        skip_blank_lines=False,
        index_col=False,
        on_bad_lines="error",
    )
    frame = frame.fillna("").apply(lambda column: column.str.strip())
    frame.index = pd.RangeIndex(lines + 1, lines + 1 + len(frame))
    frame = frame[(frame != "").any(axis=1)]
    beyond = (frame[range(len(names), more)] != "").any(axis=1)
    if beyond.any():
        raise ValueError(
            f"line {beyond.idxmax()} has more cells than the {len(names)} of the heading, separated by "
            f"{WORDS.get(separator, repr(separator))}; are there decimal commas between commas? separate by semicolons"
        )
    kept = [i for i, name in enumerate(names) if name or (frame[i] != "").any()]
    return Cells(frame[kept], [names[i] for i in kept], separator)


def numbers(column: pd.Series, separator: str) -> np.ndarray:
    """Text as numbers, with decimal commas where commas do not separate columns, and separators of thousands.

    Raises
    ------
    ValueError
        A text that is no number; its line and the text are the arguments.
    """
    text = column.str.strip()
    commas = text.str.contains(",", regex=False)
    if commas.any():
        dots = text.str.contains(".", regex=False)
        by_commas = text[commas].str.fullmatch(THOUSANDS)
        if (separator == "," or (commas & dots).any()) and by_commas.all():
            text = text.str.replace(",", "", regex=False)
        elif separator != "," and text[dots].str.fullmatch(THOUSANDS_BY_DOTS).all():
            text = text.str.replace(".", "", regex=False).str.replace(",", ".", regex=False)
    unknown = pd.to_numeric(text, errors="coerce").isna()
    if unknown.any():
        wrong = unknown & ~text.str.casefold().isin(NOTHING)
        if wrong.any():
            line = int(wrong[wrong].index[0])
            raise ValueError(line, str(column.loc[line]))
        text = text.mask(unknown, "nan")
    return _exact(text)


def typed(column: pd.Series, separator: str) -> np.ndarray:
    """A column of the user's own: numbers or truth values where nothing is lost by it, else the text to the letter."""
    known = column[column != ""]
    if len(known) and len(known) == len(column) and known.isin(["True", "False"]).all():
        return (column == "True").to_numpy()
    text = known
    if separator != "," and text.str.contains(",", regex=False).any():
        text = text.str.replace(",", ".", regex=False)
    if len(known) == 0 or not text.str.fullmatch(NUMBER).all():
        return column.to_numpy(object)
    whole = text.str.fullmatch(r"[-+]?\d+")
    exponent = text.str.fullmatch(r"[-+]?\d+[eE][-+]?\d+")  # 1e5 may be a well
    if exponent.any() or (whole.all() and len(known) < len(column)) or text.str.startswith("+").any():
        return column.to_numpy(object)
    if whole.all() and text.str.len().max() >= 18:  # more than numbers hold
        return column.to_numpy(object)
    if whole.all():
        return text.to_numpy(np.int64)
    values = pd.Series(_exact(text), text.index)
    return values.reindex(column.index).to_numpy(float)


def _exact(text: pd.Series) -> np.ndarray:
    """Numbers to their last digit, which pandas before 3 loses."""
    return text.to_numpy(object).astype(float)
