"""What became of each image of a series, and the tables of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError
from ..results.files import read_table, write_whole

TABLE_FILES = ("droplets.csv", "summary.csv")
RESERVED = (
    *TABLE_FILES,
    *("groups.csv", "classes.json", "samples.csv", "differences.csv"),
    *("report.html", "figures", "command.txt", "review.json"),
)
"""What lies among the folders of results, which must have other names."""


@dataclass(frozen=True)
class Outcome:
    """What became of one image."""

    path: Path
    image: str
    """The file's name, with its folder where names alone are not unique."""
    folder: Path
    summary: dict[str, Any] = field(default_factory=dict)
    """What summary.json holds; empty where there is no result."""
    error: Exception | None = None
    """With a summary: the result is there, but something after it failed."""
    skipped: bool = False
    """The result was there already."""
    stopped: bool = False
    """The watch said to stop: the result is what was reached by then, and no other image is begun."""
    sha256: str | None = None
    """Of the file that the result was made from, where that was asked for."""
    no_space: bool = False
    """The disk is full: no other image is begun."""

    def row(self) -> dict[str, Any]:
        """One row of summary.csv."""
        return {
            "image": self.image,
            "n_droplets": self.summary.get("n_droplets"),
            "count_mean": self.summary.get("count_mean"),
            "count_sd": self.summary.get("count_sd"),
            "loss_per_value": self.summary.get("loss_per_value"),
            "rmse": self.summary.get("rmse"),
            "seconds": self.summary.get("seconds", {}).get("total"),
            "stopped": self.summary.get("stopped"),
            "folder": self.folder.name if self.summary else None,
            "error": None if self.error is None else message(self.error),
        }


COLUMNS = list(Outcome(Path(), "", Path()).row())
"""Of summary.csv."""


class WorkerError(Exception):
    """An error of another process, of whatever kind, as text."""


def message(error: BaseException) -> str:
    """One line about an error; for those not meant for users with its kind."""
    text = " ".join(str(error).split())
    told = isinstance(error, (InputError, WorkerError))
    return text if told else f"{type(error).__name__}: {text}".removesuffix(": ")


class Tables:
    """The tables of all images, rewritten whole after each so that a kill loses nothing.

    Their rows are in the given order of the images, whichever is done first.
    """

    def __init__(
        self, out: Path, warn: Callable[[Exception], None] | None = None, order: Sequence[Path] | None = None
    ) -> None:
        self.out = out
        self.warn = warn
        self.places = {path: i for i, path in enumerate(order or ())}
        self.rows: dict[Path, dict[str, Any]] = {}
        self.droplets: dict[Path, pd.DataFrame] = {}
        self.cost = self.last = 0.0
        self.written = False
        self.warned = False

    def add(self, outcome: Outcome) -> Outcome:
        """Take up one image as `take` does, and write the tables where that takes little of the time."""
        outcome = self.take(outcome)
        # a table of a million rows takes seconds to write: not more than a tenth of the time for it
        if self.cost < 1 or time.perf_counter() - self.last > 10 * self.cost:
            try:
                self.write()
                self.warned = False
            except Exception as error:  # open in another program, perhaps: no reason to stop
                if self.warn is not None and not self.warned:
                    self.warn(error)
                self.warned = True
        return outcome

    def take(self, outcome: Outcome) -> Outcome:
        """Take up one image, reading its droplets from its folder; where that fails the outcome tells of it."""
        self.written = False
        if outcome.summary:
            try:
                table = read_table(outcome.folder / "droplets.csv").to_dataframe()
                table.insert(0, "image", outcome.image)
                self.droplets[outcome.path] = table
            except Exception as error:
                outcome = replace(outcome, error=outcome.error or error)
        self.rows[outcome.path] = outcome.row()
        return outcome

    def merged(self) -> pd.DataFrame:
        """The droplets of all images."""
        tables = self._in_order(self.droplets)
        whole = [t for t in tables if len(t)] or tables
        return pd.concat(whole, ignore_index=True) if whole else pd.DataFrame(columns=["image", "x", "y", "radius"])

    def write(self) -> None:
        """Write OUT/droplets.csv and OUT/summary.csv, each also when the other cannot be written."""
        start = time.perf_counter()
        summary = pd.DataFrame(self._in_order(self.rows), columns=COLUMNS)
        summary["n_droplets"] = summary["n_droplets"].astype("Int64")  # whole numbers beside a failed image's nothing
        droplets = self.merged()
        problems: list[str] = []
        for name, table in (("summary.csv", summary), ("droplets.csv", droplets)):
            try:
                write_whole(self.out / name, partial(table.to_csv, index=False))
            except InputError as error:
                problems.append(str(error))
        self.last = time.perf_counter()
        self.cost = self.last - start
        if problems:
            raise InputError("; ".join(problems))
        self.written = True

    def _in_order(self, parts: dict[Path, Any]) -> list[Any]:
        return [parts[path] for path in sorted(parts, key=lambda p: self.places.get(p, len(self.places)))]
