"""What a worker process of a batch does: one image at a time, telling how far it is."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..errors import InputError
from ..storage.lock import still_sole
from .jobs import Job, attempt
from .lesson import Lesson, learn_optics
from .one_file import Abandoned, Watch
from .plan import Plan, Ticket
from .source import Ranges, Source
from .tables import Outcome, WorkerError, message

TELL_EVERY = 1.0
"""Seconds between two messages of a fit about how far it is."""
LEAST_THREADS = 2
"""Of XLA in a process: with one it makes other programs, whose last digits differ from those of a single fit."""
PATIENCE = 10.0
"""Seconds until what the command wrote must be seen on the disk that all share."""

_one_at_a_time = threading.Lock()  # NumPyro's stack of handlers is global: a process never traces in two threads
_stopped: set[str] = set()


class Task(NamedTuple):
    """An image for a worker."""

    job: Job
    plan: Plan
    ranges: Ranges
    resume: bool
    out: Path
    run: str
    """Of the batch; what workers tell has this topic."""
    version: str
    """Of the package that asks."""


class Reply(NamedTuple):
    """What became of an image, and where."""

    outcome: Outcome | None
    """None where the batch was stopped before it was begun."""
    worker: str
    warnings: list[str]
    """Of the image."""


class LessonTask(NamedTuple):
    """Images whose optics a worker learns for all."""

    jobs: Sequence[Job]
    number: int
    """Of images to learn on."""
    first: Task
    """What is done with the first image later."""


def work(task: Task) -> Reply:
    """Work on one image, and write its result; whatever goes wrong is part of the reply."""
    from distributed import get_worker

    worker: Any = get_worker()
    with _one_at_a_time:
        if task.run in _stopped:
            return Reply(None, worker.address, [])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            outcome = _outcome(task, worker)
    said = [str(w.message) for w in caught if w.category.__name__ == "ImageWarning"]
    return Reply(outcome, worker.address, list(dict.fromkeys(said)))


def _outcome(task: Task, worker: Any) -> Outcome:
    job = task.job
    if task.version != __version__:
        versions = f"napari-droplets {__version__} on a worker, {task.version} here"
        return Outcome(*job, error=InputError(f"{versions}: install the same on {worker.address}"))
    if not still_sole(task.out, task.run, PATIENCE):
        gone = "another batch writes there now, or the folder is not to be seen from here"
        return Outcome(*job, error=WorkerError(f"{task.out}: {gone}"))
    use_cores(worker.state.nthreads)
    worker.log_event(task.run, {"name": job.folder.name, "worker": worker.address, "stage": "begin"})
    plan = replace(task.plan, ticket=Ticket(task.out, task.run, f"try{uuid.uuid4().hex[:12]}"))
    outcome = attempt(job, plan, _watch(task, worker), task.ranges, resume=task.resume)
    if outcome.error is not None and not isinstance(outcome.error, InputError):
        text = WorkerError(message(outcome.error))  # its own kind may not be known elsewhere, or not be picklable
        text.add_note("".join(traceback.format_exception(outcome.error)).rstrip())
        outcome = replace(outcome, error=text)
    return outcome


def _watch(task: Task, worker: Any) -> Watch:
    """Tells now and then how far a task is, and says when to stop."""
    told = 0.0

    def watch(path: Path, progress: Any) -> bool:
        nonlocal told
        if not still_sole(task.out, task.run):
            raise Abandoned(f"{task.out}: another batch writes there now")
        if time.monotonic() - told >= TELL_EVERY:
            told = time.monotonic()
            numbers = (progress.step, progress.steps, progress.loss, progress.seconds_left, progress.n_droplets)
            about = {"name": task.job.folder.name, "worker": worker.address, "stage": progress.stage}
            worker.log_event(task.run, about | {"numbers": [float(n) for n in numbers]})
        return task.run not in _stopped

    return watch


def teach(task: LessonTask) -> tuple[Lesson | None, list[str]]:
    """Learn the optics of all images; None where that cannot be done. And what the images warn of."""
    from distributed import get_worker

    worker: Any = get_worker()
    with _one_at_a_time, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        use_cores(worker.state.nthreads)
        first = task.first
        lesson = learn_optics(task.jobs, task.number, first.plan, first.ranges, _watch(first, worker))
    said = [str(w.message) for w in caught if w.category.__name__ == "ImageWarning"]
    return lesson, list(dict.fromkeys(said))


def warm(task: Task) -> None:
    """Get ready for an image that waits for another one's optics: libraries and compiled programs are loaded."""
    with _one_at_a_time, warnings.catch_warnings(), suppress(Exception):  # the image's own turn tells what is wrong
        warnings.simplefilter("ignore")
        use_cores(1)
        from ..inference.ahead import make, usual_size
        from ..inference.api import detect_all
        from ..inference.prepare import form_of

        settings = task.plan.settings
        source = Source.of(task.job.path, settings, task.ranges)
        image = source.image(source.opened.where[0])
        detect_all(image, **asdict(settings))
        make(form_of(image.shape[2], settings), usual_size(), learning=False)
        import matplotlib.figure  # noqa: F401


def stop(run: str) -> None:
    """Let the image that is worked on for this batch stop soon, keeping what is reached; others are not begun."""
    _stopped.add(run)


def use_cores(number: int) -> None:
    """Let a process that has not computed yet use so many cores, and of a GPU's memory no more than it needs."""
    # threads of XLA; no flag of its compiler, so that the programs on disk serve all
    os.environ.setdefault("NPROC", str(max(number, LEAST_THREADS)))
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


def dask_setup(worker: Any) -> None:
    """Called by dask in each process that a batch has started itself."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which lets fits stop and be kept
