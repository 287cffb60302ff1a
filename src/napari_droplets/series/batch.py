"""Many image files: a result folder for each, nothing lost when one fails, and the tables of all."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from ..droplets import Optics
from ..errors import InputError
from ..results.files import OPTICS
from ..settings import OPTICS_FROM, check_optics_from
from ..storage.lock import sole_writer
from .finished import CANCELLED as CANCELLED
from .jobs import Job, Jobs, one_by_one
from .lesson import Lesson, kept_lesson, save_lesson
from .manifest import COMPUTING, Manifest, State
from .names import check_output as check_output
from .names import find_images as find_images
from .names import name_results as name_results
from .names import natural as natural
from .names import without_masks as without_masks
from .one_file import RESULT_FILES as RESULT_FILES
from .one_file import Watch
from .plan import Plan as Plan
from .source import Ranges
from .tables import COLUMNS, Outcome, Tables, message

ATTEMPT = re.compile(r"\.partial-.*-try[0-9a-f]{12}")
"""Name of what a worker has not finished."""


def batch(
    images: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    workers: int | None = None,
    scheduler: Any = None,
    memory_limit: str | None = None,
    resume: bool = False,
    same_optics: bool = False,
    optics_from: int = OPTICS_FROM,
    optics: Optics | None = None,
    detect_only: bool = False,
    overlay: bool = True,
    measure: Sequence[int | str] | str | None = None,
    exports: Sequence[str] = (),
    callback: Watch | None = None,
    **settings: Any,
) -> pd.DataFrame:
    """Fit all images of a folder, each with a result folder of its own, and write the tables of all.

    Parameters
    ----------
    images : path or sequence of paths
        A folder, a pattern as ``slides/*.tif``, or files.
    out : path
        Folder for the results: OUT/droplets.csv and OUT/summary.csv of all images, OUT/<image>/ of each, and
        OUT/batch.json, which says how far the batch is.
    workers : int, optional
        Processes of this machine that work at the same time; by default this process works on one image after another.
        In a script call `batch` under ``if __name__ == "__main__":`` then, as processes read the script again.
    scheduler : str, cluster or client, optional
        Address or scheduler file of a dask cluster that runs, or a cluster as dask-jobqueue makes it.
    memory_limit : str, optional
        Memory of each of the `workers`, as '4GB'; by default equal shares of the machine's.
    resume : bool
        Skip images whose result is there already, from the same pixels, settings, optics and version.
    same_optics : bool
        Learn the optics once, and keep them for all images; they are in OUT/optics.safetensors.
    optics_from : int
        Images, evenly spread over the series, that they are learned on together; so are those of a stack, on so many
        of its pictures. With 1, and where no two hold droplets, the first image that can be fitted teaches.
    optics : Optics, optional
        As in `fit`; types and composition are theirs unless given.
    detect_only : bool
        Find droplets without fitting.
    overlay : bool
        Draw overlay.png of each.
    measure, exports
        Channels in which droplets are measured, or 'all'; kinds of further files, see `export`.
    callback : callable, optional
        Called with the image's path and None when it is begun, then with its `Progress`; False stops the batch, and
        what running images have reached is kept. While optics are learned for all, called with the first image's path
        and the stage 'optics'.
    **settings
        See `Settings`.

    Returns
    -------
    pandas.DataFrame
        A row for each image: image, n_droplets, count_mean, …, folder, error; also in OUT/summary.csv. Images that
        failed have an error there, and do not stop the others.

    Raises
    ------
    InputError
        Wrong use, found out before any work; another batch writes to `out`; tables that cannot be written; a
        scheduler that is gone.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> from pathlib import Path
    >>> import tifffile
    >>> Path("slides").mkdir()
    >>> for name, seed in (("a.tif", 1), ("b.tif", 2)):
    ...     tifffile.imwrite(Path("slides", name), nd.simulate((96, 96), 15, seed=seed)[0], photometric="rgb")
    >>> nd.batch("slides", "results", detect_only=True)["image"].tolist()
    ['a.tif', 'b.tif']
    """
    plan = Plan.of(optics, detect_only, overlay, measure, exports, **settings)
    if same_optics and detect_only:
        raise InputError("same_optics: there are no optics with detect_only; leave out one of them")
    check_optics_from(optics_from)
    given = [images] if isinstance(images, (str, Path)) else images
    found = [path for one in given for path in find_images(one)]
    paths = without_masks(found, plan.settings.region)
    names = name_results(paths)
    folder = check_output(out, list(names.values()))
    with cluster(workers, scheduler, memory_limit) as client:
        options: dict[str, Any] = {"resume": resume, "watch": callback, "client": client}
        options |= {"same_optics": same_optics, "optics_from": optics_from}
        rows = {outcome.path: outcome.row() for outcome in run(list(names), folder, plan, combine=True, **options)}
    return pd.DataFrame([rows[path] for path in names if path in rows], columns=COLUMNS)


def cluster(workers: int | None, scheduler: Any, memory_limit: str | None) -> AbstractContextManager[Any]:
    """A client of the dask cluster asked for; of nothing where none is, and then dask is not imported.

    Raises
    ------
    InputError
        What is asked for does not go together, or dask is not installed.
    """
    if workers is not None and scheduler is not None:
        raise InputError("workers and scheduler: a scheduler has workers of its own; give one of them")
    if workers is not None and (isinstance(workers, bool) or not isinstance(workers, int) or workers < 1):
        raise InputError(f"workers={workers!r}: must be a whole number, at least 1")
    if memory_limit is not None and workers is None:
        raise InputError("memory_limit: it is of local workers; give workers too")
    if workers is None and scheduler is None:
        return nullcontext()
    from .engine import connected

    return connected(workers, scheduler, memory_limit)


def run(
    paths: Sequence[Path],
    out: Path,
    plan: Plan,
    *,
    resume: bool = False,
    combine: bool = False,
    same_optics: bool = False,
    optics_from: int = OPTICS_FROM,
    watch: Watch | None = None,
    since: float | None = None,
    warn: Callable[[Exception], None] | None = None,
    client: Any = None,
    wanted: Callable[[], bool] = lambda: True,
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
        A batch: keep OUT/droplets.csv and OUT/summary.csv up to date, tables of all images, and OUT/batch.json, their
        states; no other batch may write there meanwhile.
    same_optics, optics_from : bool, int
        Learn the optics on so many images together, and keep them for all; else those of each stack on so many of its
        pictures.
    watch : callable, optional
        Sees the progress, and may stop it.
    since : float, optional
        The process's start by time.perf_counter: the first image's seconds are counted from there, as `import`.
    warn : callable, optional
        Told when the tables of all images cannot be written for now; it is tried again.
    client : distributed.Client, optional
        Its workers do the work; for batches.
    wanted : callable
        Asked now and then, while workers work, whether to go on.

    Raises
    ------
    InputError
        Another batch writes there; or, at the end, the tables of all images cannot be written, or the disk is full.
    """
    names = name_results(paths)
    unique = len({p.name for p in names}) == len(names)
    plan = replace(plan, optics_from=optics_from)
    listed = [Job(path, path.name if unique else name, out / name) for path, name in names.items()]
    ranges = _ranges(list(names), plan)
    jobs = Jobs(listed, plan, ranges, resume, same_optics, optics_from)
    if not combine:
        yield from one_by_one(jobs, watch, since)
        return
    with sole_writer(out, warn=warn) as this_run:
        _clear(listed)
        places = {j.folder.name: j.path for j in listed}
        manifest = Manifest(out, this_run, places, plan, same_optics=same_optics, optics_from=optics_from)
        if resume and warn is not None and (moved := _moved(manifest)):
            warn(InputError(f"{out}: earlier results were made with {moved}; last digits may differ"))
        jobs.known = manifest.known
        _prepare_lesson(jobs, manifest, out, warn)
        if client is None:
            outcomes = one_by_one(jobs, watch, since, lambda job: manifest.begin(job.folder.name))
        else:
            from .engine import Team, together

            def begun(job: Job, worker: str) -> None:
                manifest.begin(job.folder.name, worker)

            outcomes = together(jobs, Team(client, out, this_run, jobs), watch, begun, wanted)
        tables = Tables(out, warn, list(names))
        full = False
        try:
            with closing(outcomes):
                for outcome in outcomes:
                    full = full or outcome.no_space
                    outcome = tables.add(outcome)
                    _note(manifest, outcome)
                    yield outcome
        finally:
            _clear(listed)
            manifest.write()
            if manifest.error is not None and warn is not None:
                warn(manifest.error)
            if not tables.written:
                tables.write()
        if full:
            raise InputError(f"{out}: the disk is full; make room, and go on with resume")


def _prepare_lesson(jobs: Jobs, manifest: Manifest, out: Path, warn: Callable[[Exception], None] | None) -> None:
    """Take the optics that an earlier run has learned for these images; or see that those of this run will be kept."""
    before, plan, number = manifest.learned_before, jobs.plan, jobs.optics_from
    if jobs.lesson_due and jobs.resume:
        kept = kept_lesson(out, before, jobs.jobs, number, plan, jobs.ranges)
        if kept is not None:
            manifest.learned(kept.record(plan, number))
            jobs.take(kept)
            return
    if before is not None:
        (out / OPTICS).unlink(missing_ok=True)  # of an earlier batch

    def keep(lesson: Lesson) -> None:
        try:
            save_lesson(lesson, out)
        except InputError as error:  # a later run learns them again
            if warn is not None:
                warn(error)
            return
        manifest.learned(lesson.record(plan, number))

    jobs.keep = keep


def _note(manifest: Manifest, outcome: Outcome) -> None:
    """What became of an image, for the manifest."""
    error = None if outcome.error is None else message(outcome.error)
    n = outcome.summary.get("n_droplets")
    manifest.end(outcome.folder.name, state_of(outcome), n_droplets=n, sha256=outcome.sha256, error=error)


def state_of(outcome: Outcome) -> State:
    """What became of an image, in a word."""
    stopped = outcome.stopped or outcome.summary.get("stopped") == CANCELLED
    return "stopped" if stopped else "done" if outcome.summary else "failed"


def _moved(manifest: Manifest) -> str:
    """Versions of libraries that results of an earlier run were made with, where they are others now."""
    now = manifest.head["versions"]
    return ", ".join(f"{n} {v}" for n, v in manifest.before.items() if n in COMPUTING and now.get(n) != v)


def _clear(jobs: Sequence[Job]) -> None:
    """Delete what workers that were killed, or whose batch is gone, have not finished."""
    places = {place for job in jobs for place in (job.folder.parent, job.folder) if place.is_dir()}
    for place in places:
        for path in place.iterdir():
            if ATTEMPT.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)


def _ranges(paths: Sequence[Path], plan: Plan) -> Ranges:
    """One scale of intensities for all images of a kind whose files do not state it."""
    if len(paths) < 2 or plan.settings.intensity_range is not None:
        return {}
    from ..images.series import common_ranges

    return common_ranges(paths, **plan.settings.reading)
