"""`report`: what came out of a folder of results, on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..errors import InputError
from ..results.files import writable_folder
from ..samples.api import Watch, compared, held
from ..samples.results import results_in

PAGE, FIGURES = "report.html", "figures"
COMMAND = "command.txt"
"""The command that made the results, one line for each time."""


def report(
    out: str | Path,
    groups: str | Path | pd.DataFrame | None = None,
    *,
    class_names: Sequence[str] | None = None,
    classes: int | None = None,
    reference: str | None = None,
    watch: Watch | None = None,
    seed: int = 0,
) -> Path:
    """Write OUT/report.html, one page that needs no other file, and its figures.

    It does what `compare_samples` does, and shows it: the overlays of all images, the worst fits first, size
    distributions, compositions and classes, numbers with their intervals, differences between conditions, flags,
    settings and versions. Each figure is in OUT/figures as SVG and PNG, and as CSV with the numbers behind it.

    Of a folder of `track` the page shows movies: radius and composition against time, sizes over time, survival, merges
    and splits and their rate, tables of events and tracks, and frames with their droplets.

    Parameters
    ----------
    out : path
        Folder of results of `batch` or `fit`, of one image, or of `track`.
    groups, class_names, classes, reference, watch, seed : optional
        As of `compare_samples`.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    InputError
        As of `compare_samples`.
    """
    options: dict[str, Any] = {"class_names": class_names, "classes": classes, "reference": reference, "seed": seed}
    return page_of(out, groups, watch=watch, **options).path


class Page(NamedTuple):
    """A report that was written."""

    path: Path
    problems: list[str]
    """Tables that could not be written."""


def page_of(
    out: str | Path, groups: str | Path | pd.DataFrame | None = None, *, watch: Watch | None = None, **options: Any
) -> Page:
    """What `report` does, with its options, and what could not be written besides the page."""
    from .figures import figures, save
    from .movie_page import movies_in, write_movie_page
    from .page import write_page
    from .quality import qualities

    if movies := movies_in(out):
        if groups is not None or any(options.get(name) is not None for name in ("class_names", "reference")):
            raise InputError(f"{out}: movies, which are not compared with one another; leave out groups and names")
        path = write_movie_page(Path(out), movies, PAGE, FIGURES, _commands(Path(out)), watch)
        return Page(path, [])
    results = results_in(out)
    with held(results, "a report"):
        comparison, pictures = compared(results, groups, watch=watch, **options)
        folder = writable_folder(results.out / FIGURES)
        drawn = []
        for figure in figures(pictures, comparison):
            if watch is not None:
                watch(f"drawing {figure.name}", 0, 1)
            drawn.append((figure, save(figure, folder)))
        quality, commands = qualities(pictures), _commands(results.out)
        path = write_page(results.out / PAGE, pictures, comparison, drawn, quality, commands, watch)
    return Page(path, comparison.problems)


def note_command(out: str | Path, command: str) -> None:
    """Add to the commands that made the results in a folder, once each.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    path = Path(out) / COMMAND
    if command in _commands(Path(out)):
        return
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(command.replace("\n", " ") + "\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


def _commands(out: Path) -> list[str]:
    try:
        return (out / COMMAND).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
