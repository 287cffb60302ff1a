"""Frames of a movie that are done, kept on disk so that a run can go on."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import __version__
from ..droplets import Droplets, Optics
from ..images.readers.formats import is_zarr
from ..results.files import read_optics, save_optics, save_summary, writable_folder, write_whole
from ..series.hashes import optics_hash
from .carry import Carried
from .movie import MovieFit

CARRIED = "carried"
"""Name of what a frame leaves for the next, beside the columns of its file."""


def record_of(state: MovieFit, source: Any) -> dict[str, Any]:
    """What decides the droplets of a frame: another movie, other settings or optics are another run."""
    given = None if state.optics is None else optics_hash(state.optics)
    record = {"settings": dict(vars(state.settings)), "version": __version__, "source": source, "optics": given}
    return json.loads(json.dumps(record))


class FrameStore:
    """The droplets of each frame, and the optics, of one run.

    Parameters
    ----------
    folder : Path
        Of its results; frames go into frames/ in it.
    record : dict
        Of `record_of`.
    """

    def __init__(self, folder: Path, record: dict[str, Any]) -> None:
        self.folder = folder / "frames"
        self.about = self.folder / "run.json"
        self.learned = self.folder / "learned.json"
        self.record = record

    def matches(self) -> bool:
        """Whether what is there is of this run."""
        try:
            return bool(json.loads(self.about.read_text(encoding="utf-8")) == self.record)
        except (OSError, ValueError):
            return False

    def clear(self) -> None:
        """Begin anew."""
        shutil.rmtree(self.folder, ignore_errors=True)
        writable_folder(self.folder)
        save_summary(self.record, self.about)

    def have(self, number: int) -> tuple[Droplets, Carried | None] | None:
        """The droplets of a frame that is done, and what it left; None of another, and of one whose file is damaged."""
        path = self.path(number)
        if not path.exists():
            return None
        try:
            table = pd.read_parquet(path)
            found = Droplets.from_dataframe(table.drop(columns="frame"), name=str(path))
            return found, _carried(table.attrs.get(CARRIED))
        except Exception:  # cut off or damaged: fitted again
            return None

    def keep(self, number: int, table: pd.DataFrame, carried: Carried | None) -> None:
        """A frame is done."""
        left = None if carried is None else [carried.background.tolist(), list(carried.shape), carried.diameter]
        table = table.copy(deep=False)
        table.attrs = {CARRIED: left}  # of one file with the droplets: whole or not there
        write_whole(self.path(number), lambda p: table.to_parquet(p, index=False))

    def keep_optics(self, optics: Optics, diameter: float | None) -> None:
        """Optics are learned."""
        save_optics(optics, self.folder.parent / "optics.safetensors")
        save_summary({"diameter": diameter}, self.learned)

    def taught(self, state: MovieFit) -> None:
        """Optics and typical diameter that an earlier run has learned, for one that has none."""
        optics = self.optics() if self.learned.exists() else None
        if optics is not None:
            state.optics = state.optics or optics
            with suppress(OSError, ValueError):
                state.diameter = json.loads(self.learned.read_text(encoding="utf-8"))["diameter"]

    def optics(self) -> Optics | None:
        """Those that were learned."""
        path = self.folder.parent / "optics.safetensors"
        return read_optics(path) if path.exists() else None

    def path(self, number: int) -> Path:
        """Of the table of a frame."""
        return self.folder / f"frame_{number:06d}.parquet"


def _carried(left: Any) -> Carried | None:
    """As `FrameStore.keep` has written it."""
    if left is None:
        return None
    background, (height, width), diameter = left
    return Carried(np.array(background, np.float32), (height, width), diameter)


def sources(path: str | None) -> list[list[Any]]:
    """Names, sizes and times of the files of a movie; nothing of an array."""
    if path is None:
        return []
    from ..series.batch import find_images

    one = Path(path)
    files = sorted(p for p in one.rglob("*") if p.is_file()) if is_zarr(one) else find_images(path)
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
