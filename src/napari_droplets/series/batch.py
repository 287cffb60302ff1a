"""Many image files one after another: a result folder for each, nothing lost when one fails."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import __version__
from ..droplets import Optics
from ..errors import InputError
from ..files import read_optics, read_table, save_summary, save_table, writable_folder
from ..images import IMAGE_SUFFIXES, as_image
from .tables import TABLE_FILES, Outcome, Tables

if TYPE_CHECKING:
    from ..progress import Progress
    from ..settings import Settings

RESULT_FILES = (
    "summary.json",  # first to go and last to come: a folder that has it is complete
    "droplets.csv",
    "droplets.parquet",
    "reconstruction.tif",
    "optics.safetensors",
    "overlay.png",
)
CANCELLED = "cancelled"  # what summary.json says of a fit that was stopped on demand

Watch = Callable[[Path, "Progress | None"], "bool | None"]
"""Called with None when an image is begun, then with its Progress; False stops its fit, and no other is begun."""


@dataclass(frozen=True)
class Plan:
    """What to do with every image."""

    settings: Settings
    optics: Optics | None = None
    detect_only: bool = False
    overlay: bool = True

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
                    "optics_sha256": optics,
                    "weights_sha256": weights,
                }
            )
        )


def find_images(where: str | Path) -> list[Path]:
    """Image files of a folder (not of folders in it) or matching a glob pattern, sorted; a single file is itself.

    Hidden files, and pictures among results of this package, are left out.

    Raises
    ------
    InputError
        There is none.
    """
    path = Path(where)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = list(path.iterdir())
    elif glob.has_magic(str(where)):
        found = [Path(p) for p in glob.glob(str(where), recursive=True)]
    else:
        raise InputError(f"{where}: no such file or folder")
    kinds = ", ".join(s.removeprefix(".") for s in IMAGE_SUFFIXES)
    images = sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file() and not _ours(p))
    if not images:
        raise InputError(f"{where}: no images ({kinds}) there")
    return images


def _ours(path: Path) -> bool:
    result = path.name in RESULT_FILES and (path.parent / "summary.json").exists()
    return result or path.name.startswith(".")


def name_results(paths: Sequence[Path]) -> dict[Path, str]:
    """A result folder's name for each image: its stem; where two share it, with suffix or folder.

    Raises
    ------
    InputError
        Two images would still share a folder.
    """
    paths = list({p.resolve(): p for p in paths}.values())  # each file once
    inside = _inside(paths)
    candidates: tuple[Callable[[Path], str], ...] = (
        lambda p: p.stem,
        lambda p: p.name,
        lambda p: "_".join(inside[p].with_suffix("").parts),
        lambda p: "_".join(inside[p].parts),
    )
    names: dict[Path, str] = {}
    left = paths
    for candidate in candidates:
        # upper and lower case are one on some disks
        count = Counter(
            [candidate(p).casefold() for p in left] + [n.casefold() for n in (*names.values(), *TABLE_FILES)]
        )
        names |= {p: candidate(p) for p in left if count[candidate(p).casefold()] == 1}
        left = [p for p in left if p not in names]
    if left:
        raise InputError(f"{left[0]} and {left[1]}: their results would share a folder; rename one")
    return {p: names[p] for p in paths}


def _inside(paths: Sequence[Path]) -> dict[Path, Path]:
    """Paths below the folder that all share; with the drive's name where they are on several."""
    whole = {p: p.resolve() for p in paths}
    try:
        base = os.path.commonpath([p.parent for p in whole.values()]) if paths else ""
    except ValueError:  # drives of Windows have nothing in common
        return {p: Path(re.sub(r"\W+", "_", w.drive).strip("_"), *w.parts[1:]) for p, w in whole.items()}
    return {p: w.relative_to(base) for p, w in whole.items()}


def check_output(out: str | Path, names: Sequence[str]) -> Path:
    """Make the output folder where needed and see that every result can be put there.

    Raises
    ------
    InputError
        It, or a result folder in it, is a file or cannot be written to.
    """
    out = writable_folder(out)
    for name in names:
        if os.path.lexists(out / name):
            writable_folder(out / name)
    return out


def run(
    paths: Sequence[Path],
    out: Path,
    plan: Plan,
    *,
    resume: bool = False,
    combine: bool = False,
    same_optics: bool = False,
    watch: Watch | None = None,
    since: float | None = None,
    warn: Callable[[Exception], None] | None = None,
) -> Generator[Outcome]:
    """Work through image files and yield what became of each; one that fails does not stop the others.

    Parameters
    ----------
    paths : sequence of Path
        Image files.
    out : Path
        The results' folder; `check_output` first.
    plan : Plan
        What to do.
    resume : bool
        Skip images whose result is there already, from the same pixels, settings, optics and version.
    combine : bool
        Keep OUT/droplets.csv and OUT/summary.csv up to date, tables of all images.
    same_optics : bool
        Learn the optics on the first image that can be fitted, and keep them for the others.
    watch : callable, optional
        Sees the progress, and may stop it.
    since : float, optional
        The process's start by time.perf_counter: the first image's seconds are counted from there, as `import`.
    warn : callable, optional
        Told when the tables of all images cannot be written for now; it is tried again.

    Raises
    ------
    InputError
        At the end: the tables of all images cannot be written.
    """
    from ..inference.api import held

    names = name_results(paths)
    unique = len({p.name for p in names}) == len(names)
    tables = Tables(out, warn) if combine else None
    try:
        for path, name in names.items():
            label, folder = path.name if unique else name, out / name
            try:
                if resume and (summary := complete(folder, path, plan)):
                    outcome = Outcome(path, label, folder, summary, skipped=True)
                elif watch is not None and watch(path, None) is False:
                    break
                else:
                    begun, since = since, None
                    outcome = process(path, label, folder, plan, watch, begun)
            except Exception as error:
                outcome = Outcome(path, label, folder, error=error)
            if tables is not None:
                outcome = tables.add(outcome)
            if same_optics and plan.settings.learn_optics and outcome.summary and not outcome.stopped:
                optics = read_optics(folder)
                plan = replace(plan, optics=optics, settings=replace(plan.settings, **held(optics)))
            yield outcome
            if outcome.stopped:
                break
    finally:
        if tables is not None and not tables.written:
            tables.write()


def process(
    path: Path, label: str, folder: Path, plan: Plan, watch: Watch | None = None, since: float | None = None
) -> Outcome:
    """Find the droplets of one image file and write its result folder, all of it or nothing."""
    from ..inference.api import detect_all, fit, waiting

    start = time.perf_counter()
    starting = 0.0 if since is None else start - since
    settings = asdict(plan.settings)
    stopped = False

    def callback(progress: Progress) -> bool | None:
        nonlocal stopped
        reply = None if watch is None else watch(path, progress)
        stopped = stopped or reply is False
        return reply

    found: Any
    summary: dict[str, Any]
    if plan.detect_only:
        image = as_image(path, channels=settings["channels"], pixel_size_um=settings["pixel_size_um"])
        if watch is not None:
            watch(path, waiting("detect", plan.settings))
        looking = time.perf_counter()
        detection = detect_all(image, **settings | {"channels": None})  # those chosen are all that the image has now
        found = image, detection.droplets
        summary = {
            "n_droplets": len(detection.droplets),
            "count_mean": detection.count_mean,
            "count_sd": detection.count_sd,
            "image": {"path": image.path, "name": image.name, "shape": list(image.shape), "sha256": image.sha256},
        }
        now = time.perf_counter()
        seconds = {"total": now - start, "detect": now - looking}
    else:
        found = fit(path, optics=plan.optics, callback=callback, **settings)
        summary, seconds = found.summary, found.summary["seconds"]
    summary |= plan.record()
    summary["seconds"] = seconds | {k: seconds.get(k, 0.0) + starting for k in ("total", "import")}

    beside = folder.with_name(f".partial-{folder.name}")
    shutil.rmtree(beside, ignore_errors=True)
    error = None
    try:
        if plan.detect_only:
            writable_folder(beside)
            save_table(found[1], beside / "droplets.csv")
            save_summary(summary, beside / "summary.json")
        else:
            found.save(beside)
        if plan.overlay:
            try:
                from ..overlay import save_overlay

                save_overlay(found, beside / "overlay.png")
            except Exception as problem:  # no reason to throw a fit away
                error = problem
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    _move_results(beside, folder)
    return Outcome(path, label, folder, summary, error, stopped=stopped)


def _move_results(source: Path, target: Path) -> None:
    """Put new results in the place of old ones; other files of the user's stay.

    Raises
    ------
    InputError
        One cannot be replaced; those not moved by then stay in the source.
    """
    summary, *others = RESULT_FILES
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / summary).unlink(missing_ok=True)  # without it nobody takes a mixture of old and new for a result
        new = [name for name in others if (source / name).exists()]
        for name in new:
            os.replace(source / name, target / name)
        for name in set(others) - set(new):
            (target / name).unlink(missing_ok=True)
        os.replace(source / summary, target / summary)
    except OSError as error:
        raise InputError(
            f"{target}: results cannot be put there ({error}); they are kept in {source}: "
            "close what has the old ones open and move the new ones over"
        ) from error
    shutil.rmtree(source, ignore_errors=True)


def complete(folder: Path, path: Path, plan: Plan) -> dict[str, Any] | None:
    """The summary of a whole result of this image and plan, None where there is none."""
    try:
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        wanted = plan.record()
        if summary.get("stopped") == CANCELLED or any(summary.get(name) != value for name, value in wanted.items()):
            return None
        needed = [
            name
            for name, wanted in (("overlay.png", plan.overlay), ("optics.safetensors", not plan.detect_only))
            if wanted
        ]
        if not all((folder / name).exists() for name in needed):
            return None
        read_table(folder / "droplets.csv")  # deleted, or saved anew by another program with other separators?
        settings = plan.settings
        image = as_image(path, channels=settings.channels, pixel_size_um=settings.pixel_size_um)
        return summary if summary["image"]["sha256"] == image.sha256 else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # whatever it is, it is no result of ours
        return None
