"""Frames of a movie that are done, kept on disk so that a run can go on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from .. import __version__
from ..droplets import Droplets, Optics
from ..images.readers.formats import is_zarr
from ..results.files import read_optics, save_optics, save_summary, writable_folder, write_whole
from .movie import MovieFit


def record_of(state: MovieFit, source: Any) -> dict[str, Any]:
    """What decides the droplets of a frame: another movie or other settings are another run."""
    return json.loads(json.dumps({"settings": dict(vars(state.settings)), "version": __version__, "source": source}))


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

    def have(self, number: int) -> Droplets | None:
        """The droplets of a frame that is done; None of another, and of one whose file is damaged."""
        path = self.path(number)
        if not path.exists():
            return None
        try:
            table = pd.read_parquet(path)
            return Droplets.from_dataframe(table.drop(columns="frame"), name=str(path))
        except Exception:  # cut off or damaged: fitted again
            return None

    def keep(self, number: int, table: pd.DataFrame) -> None:
        """A frame is done."""
        write_whole(self.path(number), lambda p: table.to_parquet(p, index=False))

    def keep_optics(self, optics: Optics) -> None:
        """Optics are learned."""
        save_optics(optics, self.folder.parent / "optics.safetensors")

    def optics(self) -> Optics | None:
        """Those that were learned."""
        path = self.folder.parent / "optics.safetensors"
        return read_optics(path) if path.exists() else None

    def path(self, number: int) -> Path:
        """Of the table of a frame."""
        return self.folder / f"frame_{number:06d}.parquet"


def sources(path: str | None) -> list[list[Any]]:
    """Names, sizes and times of the files of a movie; nothing of an array."""
    if path is None:
        return []
    from ..series.batch import find_images

    one = Path(path)
    files = sorted(p for p in one.rglob("*") if p.is_file()) if is_zarr(one) else find_images(path)
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
