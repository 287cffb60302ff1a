"""The pictures of a stack, each as an image of one series: a folder for each, one table for all."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import InputError
from ..images.choose import Where
from ..images.region import mask_hash
from ..results.files import OPTICS, read_optics, read_summary, read_table, save_summary, writable_folder, write_whole
from ..storage.stored_values import read_json
from .finished import CANCELLED, complete_picture
from .hashes import file_hash
from .jobs import Job, Jobs, taught
from .lesson import kept_lesson, save_lesson
from .one_file import Abandoned, process_image
from .plan import Plan
from .source import Ranges, Source
from .tables import Outcome, message

LESSON = "lesson.json"
"""What optics of a stack were learned on, in its folder."""


def process_stack(
    path: Path,
    label: str,
    folder: Path,
    plan: Plan,
    source: Source,
    ranges: Ranges,
    watch: Callable[[Any], Any],
    since: float,
    *,
    resume: bool = False,
) -> Outcome:
    """Find the droplets of the pictures of a stack; optics learned on several of them together are kept for all.

    Where no two can teach, those of the first one are kept for the others. With `resume`, pictures whose result is
    there already are not worked on again.

    Writes FOLDER/frame_0, ... (frame_0_plane_0, ...), and FOLDER/droplets.csv and .parquet, where the columns `frame`
    and `plane` say which picture a droplet is in.
    """
    writable_folder(folder)
    (folder / "summary.json").unlink(missing_ok=True)  # a folder that has it is complete
    names = _names(source.opened.where)
    tables: list[pd.DataFrame] = []
    pictures: list[dict[str, Any]] = []
    problem: Exception | None = None
    begun, asked = since, plan
    plan, stopped = _taught(Job(path, label, folder), plan, ranges, watch, resume=resume)
    if stopped:
        return Outcome(path, label, folder, stopped=True)
    for where, name in zip(source.opened.where, names, strict=True):
        about = {k: v for k, v in (("frame", where.frame), ("plane", where.plane)) if v is not None}
        try:
            image = source.image(where)
            error = None
            if not (resume and complete_picture(folder / name, image, plan)):
                _, error, stopped = process_image(image, source, where, folder / name, plan, watch, begun)
            table = read_table(folder / name / "droplets.csv").to_dataframe()
            tables.append(_placed(table, about))
            pictures.append(about | {"folder": name, "n_droplets": len(table), "error": error and message(error)})
            if plan.learning and not stopped:
                plan = plan.taught(read_optics(folder / name))
        except Abandoned:
            raise
        except Exception as failure:
            problem = problem or type(failure)(f"{name}: {failure}")
            pictures.append(about | {"folder": None, "n_droplets": None, "error": message(failure)})
        begun = time.perf_counter()
        if stopped:
            break
    if not tables:
        raise problem or InputError(f"{path}: none of its pictures could be used")
    table = _write_tables(folder, tables)
    total = _total(path, source, asked, pictures, len(table), time.perf_counter() - since)
    total |= {"stopped": CANCELLED} if stopped else {}
    save_summary(total, folder / "summary.json")
    return Outcome(path, label, folder, total, problem, stopped=stopped)


def _taught(job: Job, plan: Plan, ranges: Ranges, watch: Callable[[Any], Any], *, resume: bool) -> tuple[Plan, bool]:
    """The plan with optics that several pictures have taught, and whether that was stopped.

    They are kept in FOLDER/optics.safetensors, FOLDER/lesson.json says what they were learned on: with `resume` they
    are taken from there if the same would be learned again.
    """
    jobs = Jobs([job], plan, ranges, resume, same_optics=True, optics_from=plan.optics_from)
    known = _read_lesson(job.folder) if resume and jobs.lesson_due else None
    lesson = kept_lesson(job.folder, known, jobs.jobs, plan.optics_from, plan, ranges)
    if lesson is None:
        (job.folder / LESSON).unlink(missing_ok=True)  # of an earlier batch
        (job.folder / OPTICS).unlink(missing_ok=True)
    if lesson is None and jobs.lesson_due:
        lesson, stopped = taught(jobs, lambda _, progress: watch(progress))
        if stopped:
            return plan, True
        if lesson is not None:
            save_lesson(lesson, job.folder)
            save_summary(lesson.record(plan, plan.optics_from), job.folder / LESSON)
    jobs.take(lesson)
    return jobs.plan, False


def _read_lesson(folder: Path) -> Any:
    try:
        return read_json(folder / LESSON, "a note of what optics were learned on")
    except InputError:
        return None


def write_stack(folder: Path) -> int:
    """Write the table of a stack anew from those of its pictures, and how many droplets they have; returns that.

    Raises
    ------
    InputError
        A part of the result is missing or cannot be written.
    """
    summary = read_summary(folder)
    tables, pictures = [], []
    for picture in summary["pictures"]:
        if picture["folder"]:
            about = {k: picture[k] for k in ("frame", "plane") if k in picture}
            table = read_table(folder / picture["folder"] / "droplets.csv").to_dataframe()
            tables.append(_placed(table, about))
            picture = picture | {"n_droplets": len(table)}
        pictures.append(picture)
    n = len(_write_tables(folder, tables))
    save_summary(summary | {"n_droplets": n, "pictures": pictures}, folder / "summary.json")
    return n


def _write_tables(folder: Path, tables: list[pd.DataFrame]) -> pd.DataFrame:
    table = pd.concat([t for t in tables if len(t)] or tables[:1], ignore_index=True)
    write_whole(folder / "droplets.csv", lambda p: table.to_csv(p, index=False))
    write_whole(folder / "droplets.parquet", lambda p: table.to_parquet(p, index=False))
    return table


def _names(wheres: list[Where]) -> list[str]:
    """Of the folders, with as many digits as the largest number has."""

    def part(kind: str) -> list[str]:
        numbers = [getattr(w, kind) for w in wheres]
        if numbers[0] is None:
            return [""] * len(numbers)
        digits = len(str(max(numbers)))
        return [f"{kind}_{n:0{digits}d}" for n in numbers]

    return ["_".join(filter(None, parts)) for parts in zip(part("frame"), part("plane"), strict=True)]


def _placed(table: pd.DataFrame, about: dict[str, int]) -> pd.DataFrame:
    for i, (name, number) in enumerate(about.items()):
        table = table.drop(columns=name, errors="ignore")
        table.insert(i, name, number)
    return table


def _total(
    path: Path, source: Source, plan: Plan, pictures: list[dict[str, Any]], count: int, seconds: float
) -> dict[str, Any]:
    stored = source.opened.stored
    return {
        "n_droplets": count,
        "pictures": pictures,
        "seconds": {"total": seconds},
        **plan.record(),
        "optics_from": plan.pictures_to_learn_from,
        "region_sha256": mask_hash(plan.settings.region, path),
        "image": {
            "path": stored.path,
            "name": stored.name,
            "axes": dict(stored.axes),
            "channels": list(stored.channels),
            "intensity_range": list(source.scale),
            "sha256": file_hash(path),
        },
    }
