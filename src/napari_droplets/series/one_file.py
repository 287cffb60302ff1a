"""One image file: its droplets found, and its result folder written, all of it or nothing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .. import __version__
from ..droplets import Optics
from ..errors import InputError
from ..images import Image
from ..images.convert import Opened, opened
from ..images.intensities import Range, stated
from ..region import check_files, mask_hash, region_mask
from ..results.files import (
    LARGE_RECONSTRUCTION,
    RECONSTRUCTION,
    read_table,
    save_summary,
    save_table,
    writable_folder,
)
from ..settings import Settings
from ..storage.atomic import replace_folder
from ..tables import EXPORTS, export
from .manifest import still_sole
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
CANCELLED = "cancelled"  # what summary.json says of a fit that was stopped on demand

Watch = Callable[[Path, "Progress | None"], "bool | None"]
"""Called with None when an image is begun, then with its Progress; False stops its fit, and no other is begun."""


class Ticket(NamedTuple):
    """What entitles one attempt at one image to write its result; see `manifest.sole_batch`."""

    out: Path
    """The batch's folder."""
    run: str
    """The run of the batch."""
    attempt: str
    """A name that no other attempt has."""


class Abandoned(Exception):
    """The batch that an image was worked on for has ended, and another one writes to its folder."""


@dataclass(frozen=True)
class Plan:
    """What to do with every image."""

    settings: Settings
    optics: Optics | None = None
    detect_only: bool = False
    overlay: bool = True
    measure: Sequence[int | str] | str | None = None
    """Channels in which droplets are measured, or 'all'."""
    exports: tuple[str, ...] = ()
    """What is written besides, of `tables.EXPORTS`."""
    ticket: Ticket | None = None
    """Where several processes work on one batch."""

    @classmethod
    def of(
        cls,
        optics: Optics | None = None,
        detect_only: bool = False,
        overlay: bool = True,
        measure: Sequence[int | str] | str | None = None,
        exports: Sequence[str] = (),
        **settings: Any,
    ) -> Plan:
        """A plan whose parts go together; types and composition are those of the optics unless given.

        Raises
        ------
        InputError
            They do not, or a file or library that is needed is not there.
        """
        if optics is not None:
            settings = {"types": optics.types, "composition": optics.composition} | settings
        chosen = Settings.of(**settings)
        check_files(chosen.region)
        if chosen.weights is not None:
            from ..detection.network import read_weights

            read_weights(chosen.weights)
        if optics is not None:
            wanted = {"types": chosen.types, "composition": chosen.composition}
            if chosen.channels is not None:
                wanted["channels"] = len(chosen.channels)
            for name, value in wanted.items():
                if (have := getattr(optics, name)) != value:
                    raise InputError(
                        f"optics: learned with {name} {have}, but {name} {value} is asked for; leave that out or give "
                        "other optics"
                    )
        if unknown := [kind for kind in exports if kind not in EXPORTS]:
            raise InputError(f"export {unknown[0]!r}: choose of {', '.join(EXPORTS)}")
        if "xlsx" in exports and find_spec("openpyxl") is None:
            raise InputError("export xlsx: to write Excel tables: pip install 'napari-droplets[excel]'")
        return cls(chosen, optics, detect_only, overlay, measure, tuple(exports))

    def record(self) -> dict[str, Any]:
        """What decides the result besides the image, as it is found in summary.json."""
        optics = weights = None
        if self.optics is not None:
            digest = hashlib.sha256()
            for name, value in sorted(self.optics.weights.items()):
                digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
            optics = digest.hexdigest()
        if self.settings.weights is not None:
            weights = hashlib.sha256(Path(self.settings.weights).read_bytes()).hexdigest()
        return json.loads(
            json.dumps(
                {
                    "settings": asdict(self.settings),
                    "version": __version__,
                    "detect_only": self.detect_only,
                    "measure": self.measure,
                    "optics_sha256": optics,
                    "weights_sha256": weights,
                }
            )
        )


Ranges = Mapping[Any, Range]
"""What 0 and 1 are in images of each type and depth of a series."""


@dataclass(frozen=True)
class Source:
    """The pictures of a file that are asked for, on the scale of their series."""

    opened: Opened
    scale: Range
    pixel_size_um: Any

    @classmethod
    def of(cls, path: Path, settings: Settings, ranges: Ranges) -> Source:
        """Open a file; nothing but what its scale needs is read.

        Raises
        ------
        InputError
            It cannot be read, or holds several pictures and nothing is said of which.
        """
        reading = settings.reading
        size, scale = reading.pop("pixel_size_um"), reading.pop("intensity_range")
        found = opened(path, several=True, **reading)
        known = scale or stated(*found.kind) or ranges.get(found.kind)
        return cls(found, known or found.range(), size)

    def image(self, where: Where) -> Image:
        """One of the pictures."""
        return self.opened.image(where, self.pixel_size_um, self.scale)


def process_image(
    image: Image, source: Source, where: Where, folder: Path, plan: Plan, watch: Callable[[Any], Any], since: float
) -> tuple[dict[str, Any], Exception | None, bool]:
    """Find the droplets of one picture and write its result folder.

    Returns the summary, what failed after it, and whether it was stopped. Seconds count from `since`, by
    time.perf_counter.
    """
    from ..inference.api import detect_all, fit, waiting
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
        found = fit(image, optics=plan.optics, callback=callback, **settings)
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
    error = write_result(found, summary, folder, plan)
    return summary, error, stopped


def write_result(found: Any, summary: dict[str, Any], folder: Path, plan: Plan) -> Exception | None:
    """Write a result beside its place and move it there; what went wrong with the overlay, which costs nothing.

    Of `found`, a Fit, or the image and its droplets where they were only detected.
    """
    ticket = plan.ticket
    beside = folder.with_name(f".partial-{folder.name}" + (f"-{ticket.attempt}" if ticket else ""))
    shutil.rmtree(beside, ignore_errors=True)
    error = None
    try:
        if plan.detect_only:
            writable_folder(beside)
            save_table(found[1], beside / "droplets.csv")
            save_summary(summary, beside / "summary.json")
        else:
            replace(found, summary=summary).save(beside)
        image, droplets = found if plan.detect_only else (found.image, found.droplets)
        for kind in plan.exports:
            export(droplets, beside / EXPORTS[kind], shape=image.shape[:2])
        if plan.overlay:
            try:
                from ..overlay import save_overlay

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

        return process_stack(path, label, folder, plan, source, told, begun, resume=resume)
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
            elif (target / name).is_dir():
                shutil.rmtree(target / name)
            else:
                (target / name).unlink(missing_ok=True)
        os.replace(source / summary, target / summary)
    except OSError as error:
        raise InputError(
            f"{target}: results cannot be put there ({error}); they are kept in {source}: "
            "close what has the old ones open and move the new ones over"
        ) from error
    shutil.rmtree(source, ignore_errors=True)


def complete(
    folder: Path, path: Path, plan: Plan, ranges: Ranges | None = None, known: str | None = None
) -> dict[str, Any] | None:
    """The summary of a whole result of this image and plan, None where there is none.

    `known` is the hash of the file that the result was made from, where a manifest tells it: then the image need not be
    read.
    """
    try:
        summary = _whole_result(folder, path, plan)
        if summary is None:
            return None
        if "pictures" in summary:
            return summary if summary["image"]["sha256"] == file_hash(path) else None
        source = Source.of(path, plan.settings, ranges or {})
        if known is not None and known == file_hash(path):
            same = list(source.scale) == summary["image"]["intensity_range"]
        else:
            same = source.image(source.opened.where[0]).sha256 == summary["image"]["sha256"]
        return summary if same else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # whatever it is, it is no result of ours
        return None


def complete_picture(folder: Path, image: Image, plan: Plan) -> bool:
    """Whether there is a whole result of this picture of a stack."""
    try:
        summary = _whole_result(folder, image.path, plan)
        return summary is not None and bool(summary["image"]["sha256"] == image.sha256)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _whole_result(folder: Path, path: Path | str | None, plan: Plan) -> dict[str, Any] | None:
    """The summary of a result of this plan with all of its files, of whatever image; None where there is none."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    wanted = plan.record()
    if plan.settings.region is not None:
        wanted["region_sha256"] = mask_hash(plan.settings.region, path)
    if summary.get("stopped") == CANCELLED or any(summary.get(name) != value for name, value in wanted.items()):
        return None
    needed = [
        name
        for name, wanted in (
            ("overlay.png", plan.overlay),
            ("optics.safetensors", not plan.detect_only),
            *((EXPORTS[kind], True) for kind in plan.exports),
        )
        if wanted
    ]
    if "pictures" not in summary and not all((folder / name).exists() for name in needed):
        return None
    read_table(folder / "droplets.csv")  # deleted, or saved anew by another program with other separators?
    return dict(summary)


def file_hash(path: Path) -> str:
    """Hash of a file's bytes, or of all files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def disk_is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk, or a user's part of it, without space."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # errors may be the causes of one another
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False
