"""An image of a batch: what became of it, as its folder and OUT/batch.json say."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...results.files import read_summary
from ...series.manifest import MANIFEST

SEEN = "review.json"
"""In the folder of a batch: which results were looked at."""


@dataclass
class Item:
    """An image of the batch."""

    name: str
    """Of the folder of its result."""
    path: Path
    label: str
    """What it is called in the tables."""
    state: str = "waiting"
    """`waiting`, `running`, `done`, `failed` or `stopped`: before its end, so that it will be done again."""
    n_droplets: int | None = None
    error: str | None = None
    edits: int = 0
    """How many corrections its result holds."""
    pictures: tuple[str, ...] = ()
    """Of a stack: the folders of its pictures' results."""
    progress: str = ""
    """How far it is, while it is worked on."""
    changed: str | None = None
    """When it last changed, as OUT/batch.json says."""

    @property
    def targets(self) -> list[str]:
        """What there is to look at: its result, or that of each picture of a stack."""
        if self.state not in ("done", "stopped") or self.n_droplets is None:
            return []
        return [f"{self.name}/{picture}" for picture in self.pictures] or [self.name]


def read_result(item: Item, out: Path) -> None:
    """What there is of an image now."""
    item.n_droplets, item.pictures, item.edits = None, (), 0
    if item.state == "failed":
        return  # what there may be is of an earlier run
    try:
        summary = read_summary(out / item.name)
        pictures = [str(p["folder"]) for p in summary.get("pictures") or () if p.get("folder")]
        item.edits = sum(_edits(s) for s in ([read_summary(out / item.name / p) for p in pictures] or [summary]))
    except InputError:
        return
    if summary.get("stopped") == "cancelled":
        item.state = "stopped"
    item.n_droplets, item.pictures = summary.get("n_droplets"), tuple(pictures)


def _edits(summary: dict[str, Any]) -> int:
    corrections = summary.get("corrections") or {}
    try:
        return int(corrections.get("edits", 0))
    except (TypeError, ValueError, AttributeError):
        return 0


def progress_text(event: dict[str, Any]) -> str:
    """How far an image is, in a word."""
    if event.get("stage") == "fit" and event.get("steps"):
        return f"{min(1.0, event['step'] / event['steps']):.0%}"
    return {"detect": "looking", "compile": "preparing", "posterior": "ending"}.get(str(event.get("stage")), "…")


def seen_in(out: Path) -> set[str]:
    """Which results of a folder were looked at."""
    try:
        return {str(t) for t in json.loads((out / SEEN).read_text(encoding="utf-8"))["seen"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def stamp_of(out: Path) -> int:
    """Tells whether OUT/batch.json is another one now."""
    try:
        return (out / MANIFEST).stat().st_mtime_ns
    except OSError:
        return 0


def modified(path: Path) -> float:
    """When a file was written, seconds since 1970; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
