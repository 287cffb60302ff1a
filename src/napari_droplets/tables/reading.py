"""Read a table of droplets, whoever wrote it: CSV in any manner, Parquet, Excel."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
import pandas as pd

from ..droplets import SCALAR_COLUMNS, Droplets
from ..errors import InputError
from ..storage.memory import check_memory, check_size
from ..storage.paths import check_file
from .cells import Cells, cells_of, numbers, typed
from .heading import PEEK
from .recognize import Recipe, Unusable, recipe_of

EXCEL = (".xlsx", ".xls", ".ods")
NUMERIC = re.compile(r"(known_)?composition_\d+(_sd)?|axis_\d+|[xy]_um|radius_um|class_p|misfit|frame|plane|track_id")

TEXT_GROWS = 16  # times its size is what a text table takes while it is read: nine columns of nine signs, pandas 2.2
EXCEL_GROWS = 4  # the same for the text that is packed into an Excel table


def read_table(path: str | Path) -> Droplets:
    """Read a droplets table from CSV, Parquet or Excel: ours, or one of ImageJ, TrackMate, regionprops or napari.

    Raises
    ------
    InputError
        No such file, not a table, or not a droplets table; the message says why, and which columns it has.
    """
    return Droplets.from_dataframe(read_frame(path), name=str(path))


def read_frame(path: str | Path) -> pd.DataFrame:
    """The table with columns x, y, radius in pixels, `frame` where it has one, and all others as they stand.

    Raises
    ------
    InputError
        As `read_table`.
    """
    path = check_file(path, wanted="a table")
    kind = path.suffix.lower()
    try:
        if kind == ".parquet":
            _check_parquet(path)
            return _named(pd.read_parquet(path), path)
        if kind in EXCEL:
            return _from_cells(_excel(path), path)
        check_size(path, TEXT_GROWS)
        return _from_cells(cells_of(path.read_bytes()), path)
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a table ({reason})") from error


def read_texts(path: str | Path) -> pd.DataFrame:
    """Any table from CSV or Excel, every cell as text.

    Raises
    ------
    InputError
        No such file, not a table, or two columns with one name.
    """
    path = check_file(path)
    excel = path.suffix.lower() in EXCEL
    try:
        if not excel:
            check_size(path, TEXT_GROWS)
        cells = _excel(path) if excel else cells_of(path.read_bytes())
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path}: cannot be read as a table ({reason})") from error
    names = [str(name) for name in cells.names]
    if doubled := [name for name in names if name and names.count(name) > 1]:
        raise InputError(f"{path}: two columns {doubled[0]}; leave one")
    return cells.frame[cells.frame.columns[: len(names)]].set_axis(names, axis=1).reset_index(drop=True)


def _check_parquet(path: Path) -> None:
    """See that the rows that the file says it has can be held: a million equal ones take few bytes in it."""
    from pyarrow.parquet import read_metadata

    about = read_metadata(path)
    shape = about.num_rows, about.num_columns
    check_memory(shape, np.dtype(float), str(path), what="rows x columns")


def _check_excel(path: Path) -> None:
    """See that what is packed into the file can be held; one of another kind, not a ZIP archive, grows little."""
    with suppress(BadZipFile), ZipFile(path) as packed:
        unpacked = sum(part.file_size for part in packed.infolist())
        check_size(path, EXCEL_GROWS * unpacked / path.stat().st_size)


def _excel(path: Path) -> Cells:
    _check_excel(path)
    try:
        frame = pd.read_excel(path, dtype=str, keep_default_na=False, header=None)
    except ImportError as error:
        raise InputError(
            f"{path}: to read Excel tables install openpyxl: pip install 'napari-droplets[excel]'"
        ) from error
    names = [str(n).strip() for n in frame.iloc[0]] if len(frame) else []
    frame = frame.iloc[1:].fillna("").astype(str)
    frame.index = pd.RangeIndex(2, 2 + len(frame))
    frame.columns = list(range(len(names)))
    return Cells(frame[(frame != "").any(axis=1)], names, ",")


def _named(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """A typed table: names alone are to be recognized."""
    try:
        recipe = recipe_of([str(c) for c in table.columns])
    except Unusable as error:
        raise InputError(f"{path}: {error}; its columns are {', '.join(map(str, table.columns))}") from error
    made = {ours: make(table[column].to_numpy(float)) for ours, (column, make) in recipe.columns.items()}
    own = table.drop(columns=[c for c in [*made, *(c for c, _ in recipe.columns.values())] if c in table])
    columns = [c for c in table.columns if c in made or c in own.columns]
    both = pd.DataFrame(made, index=table.index).join(own)
    return both[[*[c for c in made if c not in columns], *columns]] if columns else both


def _from_cells(cells: Cells, path: Path) -> pd.DataFrame:
    try:
        recipe = recipe_of(cells.names, cells.frame.head(PEEK).to_numpy().tolist())
    except Unusable as error:
        raise InputError(
            f"{path}: {error}; a droplets table has x, y and radius in pixels; {cells.described}"
        ) from error
    rows = cells.frame.iloc[recipe.header_lines :]
    _no_doubles(cells, rows, recipe, path)
    made = {ours: make(_numbers(rows, cells, name, path)) for ours, (name, make) in recipe.columns.items()}
    used = {name for name, _ in recipe.columns.values()}
    columns: dict[str, np.ndarray] = {}
    for position, name in zip(rows.columns, cells.names, strict=True):
        ours = next((o for o, (column, _) in recipe.columns.items() if column == name), None)
        if ours is not None:
            columns.setdefault(ours, made[ours])
        elif name in recipe.dropped and (name != "" or _counts(rows[position])):
            continue
        elif name not in made and name not in used:
            columns.setdefault(name or "Unnamed: 0", _column(rows[position], name, cells, path))
    return pd.DataFrame(columns)


def _column(column: pd.Series, name: str, cells: Cells, path: Path) -> np.ndarray:
    if name in SCALAR_COLUMNS or NUMERIC.fullmatch(name):
        try:
            values = numbers(column, cells.separator)
        except ValueError as error:
            raise _not_numeric(path, name, error) from error
        whole = name in ("frame", "plane", "track_id") and column.str.fullmatch(r"-?\d+").all()
        return values.astype(np.int64) if whole and len(values) else values
    values = typed(column, cells.separator)
    if name in ("class", "pinned", "edited", "cut_by_border") and values.dtype == object:
        return _gaps(column)
    return values


def _gaps(column: pd.Series) -> np.ndarray:
    """A column of ours where some rows say nothing."""
    known = column[column != ""]
    if known.isin(["True", "False"]).all():
        return known.eq("True").astype(object).reindex(column.index).to_numpy(object)
    if known.str.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?").all():  # 01 is a text
        return pd.to_numeric(known).astype(float).reindex(column.index).to_numpy(float)
    return column.where(column != "", np.nan).to_numpy(object)


def _numbers(rows: pd.DataFrame, cells: Cells, name: str, path: Path) -> np.ndarray:
    column = rows[rows.columns[cells.names.index(name)]]
    try:
        return numbers(column, cells.separator)
    except ValueError as error:
        raise _not_numeric(path, name, error) from error


def _not_numeric(path: Path, name: str, error: ValueError) -> InputError:
    line, text = error.args
    return InputError(f"{path}: column {name} is not numeric: {text!r} in line {line}; remove that row, or mend it")


def _counts(column: pd.Series) -> bool:
    """Whether it is a running number, or nothing."""
    text = column.tolist()
    return text in ([str(i) for i in range(len(text))], [str(i + 1) for i in range(len(text))], [""] * len(text))


def _no_doubles(cells: Cells, rows: pd.DataFrame, recipe: Recipe, path: Path) -> None:
    for name in {column for column, _ in recipe.columns.values()}:
        places = [rows.columns[i] for i, n in enumerate(cells.names) if n == name]
        if any(not rows[p].equals(rows[places[0]].rename(p)) for p in places[1:]):
            raise InputError(f"{path}: two columns {name} with different values; leave one")
