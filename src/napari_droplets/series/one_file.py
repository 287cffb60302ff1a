"""One image file: its droplets found, and its result folder written, all of it or nothing."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..images import Image
from ..images.region import mask_hash, region_mask
from ..results.files import LARGE_RECONSTRUCTION, RECONSTRUCTION, save_fit, save_summary, save_table
from ..storage.atomic import new_partial_folder, removed, replace_folder
from ..storage.lock import still_sole
from ..storage.memory import give_back
from ..tables import EXPORTS, export
from .plan import Plan
from .source import Ranges, Source
from .tables import Outcome

if TYPE_CHECKING:
    from ..images.choose import Where
    from ..progress import Progress

RESULT_FILES = (
    "summary.json",  # first to go and last to come: a folder that has it is complete
    "droplets.csv",
    "droplets.parquet",
    RECONSTRUCTION,
    "optics.safetensors",
    "overlay.png",
)
WRITTEN = (*RESULT_FILES, LARGE_RECONSTRUCTION, *EXPORTS.values())
FULL = (errno.ENOSPC, errno.EDQUOT)  # the disk, or the user's part of it

Watch = Callable[[Path, "Progress | None"], "bool | None"]
"""Called with None when an image is begun, then with its Progress; False stops its fit, and no other is begun."""


class Abandoned(Exception):
    """The batch that an image was worked on for has ended, and another one writes to its folder."""


def process_image(
    image: Image, source: Source, where: Where, folder: Path, plan: Plan, watch: Callable[[Any], Any], since: float
) -> tuple[dict[str, Any], Exception | None, bool]:
    """Find the droplets of one picture and write its result folder; the memory that it took is given back.

    Returns the summary, what failed after it, and whether it was stopped. Seconds count from `since`, by
    time.perf_counter.
    """
    try:
        return _process_image(image, source, where, folder, plan, watch, since)
    finally:
        give_back()


def _process_image(
    image: Image, source: Source, where: Where, folder: Path, plan: Plan, watch: Callable[[Any], Any], since: float
) -> tuple[dict[str, Any], Exception | None, bool]:
    from ..inference.api import detect_all, drive, fit, iterate, waiting
    from ..measures.size_statistics import record_of

    settings = asdict(plan.settings)
    stopped = False

    def callback(progress: Progress) -> bool | None:
        nonlocal stopped
        reply = watch(progress)
        stopped = stopped or reply is False
        return reply

    found: Any
    summary: dict[str, Any]
    looking = time.perf_counter()
    if plan.detect_only:
        watch(waiting("detect", plan.settings))
        detection = detect_all(image, **settings)
        droplets = detection.droplets
        summary = {
            "n_droplets": len(droplets),
            "count_mean": detection.count_mean,
            "count_sd": detection.count_sd,
        } | ({} if detection.region is None else {"region": detection.region})
        seconds = {"detect": time.perf_counter() - looking}
    else:
        known = plan.candidates.get(image.sha256) if plan.candidates else None
        if known is None:
            found = fit(image, optics=plan.optics, callback=callback, **settings)
        else:
            found = drive(iterate(image, optics=plan.optics, candidates=known, **settings), callback)
        summary, seconds, droplets = found.summary, found.summary["seconds"], found.droplets
    if plan.measure is not None:
        from ..measures.measurement import measured

        droplets = measured(droplets, source.opened, where, plan.measure)
    if plan.settings.region is not None:
        image = replace(image, region=region_mask(plan.settings.region, image.shape, name=image.name, path=image.path))
    found = (image, droplets) if plan.detect_only else replace(found, droplets=droplets)
    summary |= plan.record() | {"image": image.record(), "region_sha256": mask_hash(plan.settings.region, image.path)}
    summary["statistics"] = record_of(droplets, summary)
    before = looking - since
    seconds = seconds | {"import": seconds.get("import", 0.0) + before}
    seconds["total"] = seconds.get("total", time.perf_counter() - looking) + before
    summary["seconds"] = seconds
    error = write_result(found, summary, folder, plan, summary["statistics"])
    return summary, error, stopped


def write_result(
    found: Any, summary: dict[str, Any], folder: Path, plan: Plan, statistics: dict[str, Any] | None = None
) -> Exception | None:
    """Write a result beside its place and move it there; what went wrong with the overlay, which costs nothing.

    Of `found`, a Fit, or the image and its droplets where they were only detected; `statistics` as `save_fit` takes
    them.
    """
    ticket = plan.ticket
    try:
        beside = new_partial_folder(folder, ticket.attempt if ticket else "")
    except OSError as problem:
        raise InputError(f"{folder}: cannot be written ({problem.strerror or problem})") from problem
    error = None
    try:
        if plan.detect_only:
            for name in ("droplets.csv", "droplets.parquet"):
                save_table(found[1], beside / name)
            save_summary(summary, beside / "summary.json")
        else:
            save_fit(replace(found, summary=summary), beside, statistics)
        image, droplets = found if plan.detect_only else (found.image, found.droplets)
        for kind in plan.exports:
            export(droplets, beside / EXPORTS[kind], shape=image.shape[:2])
        if plan.overlay:
            try:
                from ..plot.overlay import save_overlay

                save_overlay(found, beside / "overlay.png")
            except Exception as problem:  # no reason to throw a fit away
                error = problem
        if ticket is not None and not still_sole(ticket.out, ticket.run):
            raise Abandoned(f"{ticket.out}: another batch writes there now")
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _move_results(beside, folder)
    return error


def process(
    path: Path,
    label: str,
    folder: Path,
    plan: Plan,
    watch: Watch | None = None,
    since: float | None = None,
    ranges: Ranges | None = None,
    *,
    resume: bool = False,
) -> Outcome:
    """Find the droplets of one image file and write its result folder, all of it or nothing.

    Of a stack of which several pictures are asked for, a folder for each in it, and one table; with `resume` those of
    its pictures that are done already are kept.
    """
    begun = time.perf_counter() if since is None else since
    source = Source.of(path, plan.settings, ranges or {})
    if plan.measure is not None:
        from ..measures.measurement import channels_of

        channels_of(source.opened, plan.measure)  # before any work

    def told(progress: Any) -> Any:
        return None if watch is None else watch(path, progress)

    if len(source.opened.where) > 1:
        from .stacks import process_stack

        return process_stack(path, label, folder, plan, source, ranges or {}, told, begun, resume=resume)
    where = source.opened.where[0]
    summary, error, stopped = process_image(source.image(where), source, where, folder, plan, told, begun)
    return Outcome(path, label, folder, summary, error, stopped=stopped)


def _move_results(source: Path, target: Path) -> None:
    """Put new results in the place of old ones; other files of the user's stay.

    Raises
    ------
    InputError
        One cannot be replaced; those not moved by then stay in the source.
    """
    summary, *others = WRITTEN
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / summary).unlink(missing_ok=True)  # without it nobody takes a mixture of old and new for a result
        new = [name for name in others if (source / name).exists()]
        for name in others:
            if (source / name).is_dir():
                replace_folder(source / name, target / name)
            elif name in new:
                os.replace(source / name, target / name)
            else:
                removed(target / name)
        os.replace(source / summary, target / summary)
    except OSError as error:
        raise InputError(
            f"{target}: results cannot be put there ({error}); they are kept in {source}: "
            "close what has the old ones open and move the new ones over"
        ) from error
    shutil.rmtree(source, ignore_errors=True)


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk, or a user's part of it, without space."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # errors may be the causes of one another
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
