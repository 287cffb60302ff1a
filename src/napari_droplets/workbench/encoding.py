"""Rows, steps and fits as JSON and arrays, and back: exact, of known types, nothing that could run."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from typing import Any, get_args
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd

from ..droplets import GUIDE_BY_ROW, Droplets, Fit, Optics
from ..errors import InputError
from .fits import Change, FitChange, Fits, NewFits, Numbered, Side
from .journal import Kind, Step
from .movies.ties import change_of, change_record
from .rows import NUMBER
from .sheet import ImageReference

KINDS = "biufOU"
"""Types of columns, by numpy's letters: truth values, whole numbers, numbers, a mixture, and text."""
MOST_ROWS = 10_000_000
"""Of a table that is read."""

_texts: WeakKeyDictionary[Step, str] = WeakKeyDictionary()


def rows_text(rows: pd.DataFrame) -> str:
    """Rows as JSON. A column at a time, so that no other thread waits long."""
    parts = [f'"numbers": {json.dumps([int(n) for n in rows.index])}']
    columns = []
    for name in rows:
        values = rows[name].to_numpy()
        kind = "O" if values.dtype.kind not in KINDS else values.dtype.kind
        if kind == "O" and isinstance(rows[name].dtype, pd.StringDtype):
            kind = "U"
        columns.append(f'[{json.dumps(str(name))}, "{kind}", {json.dumps([_plain(v) for v in values.tolist()])}]')
    return f'{{{parts[0]}, "columns": [{", ".join(columns)}]}}'


def rows_of(record: Any, where: str) -> pd.DataFrame:
    """Rows of what `rows_text` wrote.

    Raises
    ------
    InputError
        It is not that.
    """
    try:
        numbers = record["numbers"]
        if len(numbers) > MOST_ROWS or len(set(numbers)) != len(numbers) or any(n < 0 for n in numbers):
            raise ValueError("numbers of droplets are negative, twice there or too many")
        columns = {}
        for name, kind, values in record["columns"]:
            if kind not in KINDS or len(kind) != 1 or len(values) != len(numbers):
                raise ValueError(f"column {name}")
            columns[str(name)] = _column(kind, values)
        return pd.DataFrame(columns, index=pd.Index(np.array(numbers, np.int64), name=NUMBER))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a table of a session ({error})") from None


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None if np.isnan(value) else str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def _column(kind: str, values: list[Any]) -> Any:
    if kind == "b":
        return np.array([bool(v) for v in values], bool)
    if kind in "iu":
        return np.array(values, np.int64)
    if kind == "f":
        return np.array([np.nan if v is None else float(v) for v in values], float)
    if not all(v is None or isinstance(v, (bool, int, float, str)) for v in values):
        raise ValueError("values that are neither numbers nor text")
    mixed = np.array([np.nan if v is None else v for v in values], object)
    return pd.Series(mixed, dtype="str").array if kind == "U" else mixed


def step_text(step: Step) -> str:
    """A step as JSON; made once for each."""
    if step not in _texts:
        fit = "null"
        if isinstance(step.fit, FitChange):
            change = step.fit.change
            sides = ", ".join(
                f'"{name}": {_side_text(side)}' for name, side in zip(Change._fields, change[:2], strict=False)
            )
            fit = f'{{"plane": {json.dumps(list(step.fit.plane))}, {sides}}}'
        elif isinstance(step.fit, NewFits):
            fit = f'{{"new": {json.dumps(not step.fit.before)}}}'
        _texts[step] = (
            f'{{"kind": "{step.kind}", "when": {step.when!r}, "before": {rows_text(step.before)}, '
            f'"after": {rows_text(step.after)}, "fit": {fit}, "ties": {json.dumps(change_record(step.ties))}}}'
        )
    return _texts[step]


def _side_text(side: Side) -> str:
    guide = {name: [str(rows.dtype), list(rows.shape), rows.ravel().tolist()] for name, rows in side.guide.items()}
    summary = json.dumps(side.rest["summary"])
    return f'{{"rows": {rows_text(side.rows)}, "guide": {json.dumps(guide)}, "summary": {summary}}}'


def steps_of(
    records: list[Any], fits: dict[tuple[int, ...], Numbered], done: int, where: str
) -> tuple[list[Step], int]:
    """Steps of a journal that can be undone, and how many of them are done.

    `fits` are those there are now. Pictures are not kept with steps: undo leaves them to the next refit.
    """
    steps: list[Step] = []
    try:
        if not 0 <= done <= len(records):
            raise ValueError("more is done than there is")
        for record in records:
            if record["kind"] not in get_args(Kind):
                raise ValueError(f"a step of kind {record['kind']}")
            before, after = (rows_of(record[side], where) for side in ("before", "after"))
            fit, ties = _change_of(record["fit"], fits, where), change_of(record.get("ties"))
            steps.append(Step(record["kind"], before, after, float(record["when"]), fit, ties))
    except InputError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{where}: not a journal ({error})") from None
    # a whole fit that took the place of points is not kept with the step, but follows from the fit there is now
    now = fits
    for i in range(done - 1, -1, -1):
        fit = steps[i].fit
        if isinstance(fit, FitChange):
            now = fit.back(now)
        elif isinstance(fit, NewFits):
            if not records[i]["fit"]["new"]:
                return steps[i + 1 :], done - i - 1
            steps[i] = replace(steps[i], fit=NewFits({}, now))
            now = {}
    first = next((i for i in range(done, len(steps)) if isinstance(steps[i].fit, NewFits)), len(steps))
    return steps[:first], done


def _change_of(record: Any, fits: Fits, where: str) -> FitChange | NewFits | None:
    if record is None:
        return None
    if "new" in record:
        return NewFits({}, {})
    plane = tuple(int(i) for i in record["plane"])
    if plane not in fits:
        raise ValueError(f"a refit of plane {plane}, which has no fit")
    fit = fits[plane].fit
    sides = []
    for name in ("before", "after"):
        rows = rows_of(record[name]["rows"], where)
        guide = {}
        for key, (dtype, shape, values) in record[name]["guide"].items():
            if key not in GUIDE_BY_ROW or dtype not in ("float32", "float64") or shape[0] != len(rows):
                raise ValueError(f"{key} of a refit")
            guide[key] = np.array(values, dtype).reshape(shape)
        summary = record[name]["summary"]
        if not isinstance(summary, dict):
            raise ValueError("a summary of a refit")
        optics = replace(fit.optics, classes=summary.get("class_mixture"))  # all else of them is held
        sides.append(Side(rows, guide, None, {"summary": summary, "losses": fit.losses, "optics": optics}))
    return FitChange(plane, Change(sides[0], sides[1], None))


# fits


def fit_tensors(fit: Numbered) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A fit as arrays, without its picture, and what else it holds."""
    optics = fit.fit.optics
    tensors = {f"mean/{k}": v for k, v in optics.weights.items()} | {f"sd/{k}": v for k, v in optics.weights_sd.items()}
    tensors |= {f"guide/{k}": v for k, v in fit.fit.guide.items()}
    tensors |= {"losses": np.asarray(fit.fit.losses, float), "numbers": np.asarray(fit.numbers, np.int64)}
    return tensors, {"optics": _optics_record(optics), "summary": fit.fit.summary}


def fit_of(
    tensors: dict[str, np.ndarray], record: Any, table: pd.DataFrame, picture: np.ndarray | None, where: str
) -> Numbered:
    """A fit of what `fit_tensors` gave, its droplets as a table by number, and its picture.

    Raises
    ------
    InputError
        Parts that do not belong together.
    """
    try:

        def part(prefix: str) -> dict[str, np.ndarray]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        if any(v.dtype.kind not in "fi" for v in tensors.values()):
            raise ValueError("arrays that are no numbers")
        guide, numbers, n = part("guide/"), tensors["numbers"], len(table)
        if any(len(guide[k]) != n for k in GUIDE_BY_ROW if k in guide) or not np.array_equal(numbers, table.index):
            raise ValueError("as many rows as droplets are expected")
        optics = Optics(part("mean/"), part("sd/"), **record["optics"])
        summary = record["summary"]
        shape = summary["image"].get("shape")
        if picture is None or picture.dtype != np.float32 or picture.ndim != 3:
            raise ValueError("no picture")
        if shape is not None and list(picture.shape) != list(shape):
            raise ValueError(f"a picture of the size {shape} is expected, not {list(picture.shape)}")
        size = record.get("pixel_size_um")
        droplets = Droplets.from_dataframe(table.rename_axis(None), name=where)
        size = tuple(size) if isinstance(size, list) else size
        droplets = Droplets(**{f.name: getattr(droplets, f.name) for f in fields(droplets)} | {"pixel_size_um": size})
        return Numbered(Fit(droplets, picture, optics, tensors["losses"], summary, guide), numbers)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not a fit of a session ({error})") from None


def _optics_record(optics: Optics) -> dict[str, Any]:
    return {f.name: getattr(optics, f.name) for f in fields(Optics) if not f.name.startswith("weights")}


def reference_record(reference: ImageReference) -> dict[str, Any]:
    """An ImageReference for JSON."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(reference).items()}


def reference_of(record: dict[str, Any]) -> ImageReference:
    """An ImageReference of what `reference_record` gave."""
    name, path, sha256, shape = (record.get(key) for key in ("name", "path", "sha256", "shape"))
    return ImageReference(
        str(name),
        None if path is None else str(path),
        None if sha256 is None else str(sha256),
        None if shape is None else (int(shape[0]), int(shape[1])),
        tuple(int(i) for i in record.get("plane", ())),
        tuple(str(axis) for axis in record.get("axes", ())),
    )
