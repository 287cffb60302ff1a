"""What is tracked: the droplets of all frames, from one table or one for each frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit
from ..errors import InputError

Tables = Any
"""A table with a column `frame`, or an iterable of the frames' Droplets, Fits or tables."""


@dataclass(frozen=True)
class Frame:
    """The n droplets of one frame; `rows` says where they are in the table of all."""

    rows: np.ndarray
    place: np.ndarray
    """(n, 2) x, y in pixels."""
    radius: np.ndarray
    place_sd: np.ndarray
    """(n,) pixels, 0 where nothing is known."""
    radius_sd: np.ndarray
    """(n,) pixels, 0 where nothing is known."""
    composition: np.ndarray
    """(n, K); K is 0 where nothing is known."""
    composition_sd: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Frames:
    """Frames that hold droplets, in the order of time."""

    table: pd.DataFrame
    """All droplets; its index is 0, 1, 2 ..., a column `frame` says when."""
    numbers: np.ndarray
    """(T,) numbers of the frames."""
    frames: tuple[Frame, ...]
    shape: tuple[int, int]
    """Height and width of the images; where not told, of what the droplets cover."""

    @property
    def steps(self) -> np.ndarray:
        """(T - 1,) how long it is from one frame to the next; most often 1."""
        gaps = np.diff(self.numbers).astype(float)
        return gaps / np.median(gaps) if len(gaps) else gaps


def frames_of(tables: Tables, shape: tuple[int, int] | None = None) -> Frames:
    """Bring together what is to be tracked.

    Raises
    ------
    InputError
        No droplets, no column `frame`, or columns that cannot be used.
    """
    table = table_of(tables)
    droplets = Droplets.from_dataframe(table, name="tables")
    numbers = np.unique(table["frame"].to_numpy())
    place = np.stack([droplets.x, droplets.y], 1)
    n = len(droplets)
    sds = [s for s in (droplets.x_sd, droplets.y_sd) if s is not None]
    place_sd = np.sqrt(np.mean([_known(s) ** 2 for s in sds], 0)) if sds else np.zeros(n)
    radius_sd = np.zeros(n) if droplets.radius_sd is None else _known(droplets.radius_sd)
    made = np.zeros((n, 0)) if droplets.composition is None else droplets.composition
    if not np.isfinite(made).all():  # of some droplets only: no help in telling them apart
        made = np.zeros((n, 0))
    made_sd = np.zeros_like(made)
    if made.shape[1] and droplets.composition_sd is not None:
        made_sd = _known(droplets.composition_sd)
    row_frame = table["frame"].to_numpy()
    frames = []
    for number in numbers:
        rows = np.flatnonzero(row_frame == number)
        frames.append(
            Frame(rows, place[rows], droplets.radius[rows], place_sd[rows], radius_sd[rows], made[rows], made_sd[rows])
        )
    if shape is None:
        shape = (int(np.ceil(place[:, 1].max())) + 1, int(np.ceil(place[:, 0].max())) + 1)
    return Frames(table, numbers, tuple(frames), (int(shape[0]), int(shape[1])))


def table_of(tables: Tables) -> pd.DataFrame:
    """One table of all frames, with whole numbers in its column `frame`.

    Raises
    ------
    InputError
        There are no droplets, or it is not known which frame each is in.
    """
    if isinstance(tables, (Droplets, Fit, pd.DataFrame)):
        table = _frame_of(tables)
        if "frame" not in table:
            raise InputError(
                "tables: no column frame; tracking needs the frame of each droplet, or a list with a table for each"
            )
    elif isinstance(tables, Iterable) and not isinstance(tables, (str, bytes)):
        table = _joined([_frame_of(one) for one in tables])
    else:
        raise InputError(f"tables: {type(tables).__name__}; give a table with a column frame, or one for each frame")
    if not len(table):
        raise InputError("tables: no droplets in any frame")
    frame = pd.to_numeric(table["frame"], errors="coerce").to_numpy(float)
    if not (np.isfinite(frame) & (frame == np.round(frame))).all():
        row = int(np.flatnonzero(~(np.isfinite(frame) & (frame == np.round(frame))))[0])
        raise InputError(f"tables: frame in row {row} is {table['frame'].iloc[row]!r}, not a whole number")
    return table.assign(frame=frame.astype(int)).reset_index(drop=True)


def _frame_of(one: Any) -> pd.DataFrame:
    if isinstance(one, (Droplets, Fit)):
        return one.to_dataframe() if isinstance(one, Droplets) else one.table
    if isinstance(one, pd.DataFrame):
        return one.copy()
    raise InputError(f"tables: {type(one).__name__}; give Droplets, Fits or tables")


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Tables one after another; each is a frame, by the number in its column `frame` or by its place in the list."""
    if not tables:
        raise InputError("tables: none given")
    told = [t["frame"].iloc[0] if "frame" in t and t["frame"].nunique() == 1 else None for t in tables]
    known = [n for n in told if n is not None]
    if len(known) < sum(len(t) > 0 for t in tables) or len(set(known)) < len(known):
        told = list(range(len(tables)))
    placed = []
    for table, number in zip(tables, told, strict=True):
        if len(table):
            rest = table.drop(columns="frame", errors="ignore")
            rest.insert(0, "frame", number)
            placed.append(rest)
    return pd.concat(placed, ignore_index=True) if placed else tables[0].assign(frame=0)


def _known(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values) & (values > 0), values, 0.0)
