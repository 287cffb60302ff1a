"""Save the points of the panel as a droplets table: which file, and what is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from ...workbench.journal import Journal
from ...workbench.replay import save_journal
from ..layers.following import in_step
from ..layers.points import TAG
from .writers import filters_text, write_droplets

SUFFIXES = (".csv", ".parquet", ".xlsx")
KINDS = ";;".join(("CSV (*.csv)", "Parquet (*.parquet)", "Excel (*.xlsx)"))


def asked_path(parent: Any, name: str) -> Path | None:
    """Ask for the file that a table called `name` is written to; None where the user thinks better of it.

    A file that is there already is asked about by its whole name, with the suffix that `save_points` adds.
    """
    from qtpy.QtWidgets import QFileDialog, QMessageBox

    text, kind = QFileDialog.getSaveFileName(parent, "Save droplets", f"{name}.csv", KINDS)
    if not text:
        return None
    path = with_suffix(Path(text), next((s for s in SUFFIXES if f"*{s}" in kind), SUFFIXES[0]))
    if str(path) != text and path.exists():
        answer = QMessageBox.question(parent, "Save droplets", f"{path.name} is there already. Replace it?")
        if answer != QMessageBox.Yes:
            return None
    return path


def save_points(points: Any, path: str | Path, journal: Journal | None = None) -> str:
    """Write the points of a layer of ours as they are now, those shown; returns what to say of it.

    Parameters
    ----------
    points : napari Points layer
    path : path
        CSV where the name does not end in .csv, .parquet or .xlsx.
    journal : Journal, optional
        Is written beside it, as NAME.journal.json, where something was edited.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    in_step(points)
    data, attributes, _ = points.as_layer_data_tuple()
    path = with_suffix(Path(path))
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}")
    write_droplets(str(path), data, attributes)
    text, tag = f"Saved {len(data):,} droplets to {path}", points.metadata[TAG]
    if journal is not None and journal.edits:
        beside = path.with_name(f"{path.stem}.journal.json")
        save_journal(journal, beside)
        text += f", {len(journal.edits):,} edits to {beside.name}"
    if shown := filters_text(tag):
        text += f"\n{len(tag['hidden']['data']):,} are hidden and not in it; shown: {shown}"
    return text


def with_suffix(path: Path, suffix: str = SUFFIXES[0]) -> Path:
    """A path whose name says what is in the file."""
    return path if path.suffix.lower() in SUFFIXES else path.with_name(f"{path.name}{suffix}")
