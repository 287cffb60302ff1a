"""One computation in a worker thread: progress and pictures to the window, cancel from it."""

from __future__ import annotations

import atexit
import logging
import threading
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from ...errors import InputError

if TYPE_CHECKING:
    from ...droplets import Droplets
    from ...lazy import Pixels
    from ...progress import Progress

WITH_PICTURE = ("fit", "posterior")
FOUND = "detect"
"""The stage that ends with droplets, but without a picture."""
PICTURE_SECONDS = 0.5  # least time between two pictures
PICTURE_SHARE = 0.2  # most of the time that computing and drawing them may take

DRAWN_SECONDS = 5.0
"""How long a job waits at most until the window has drawn a picture: with both at it drawing takes twice as long."""
WAIT_SECONDS = 0.02  # between looks whether an earlier job has ended
ENDING_SECONDS = 20.0
"""How long Python waits for jobs when it ends: steps come back after one second or so, a compiler after several."""

log = logging.getLogger(__name__)

_started: WeakSet[Job] = WeakSet()


class Update(NamedTuple):
    """What the window draws next."""

    progress: Progress
    picture: tuple[Droplets, Pixels | None] | None


class Outcome(NamedTuple):
    """How a job ended: with a result, or with a message for the user."""

    result: Any = None
    error: str | None = None
    expected: bool = True
    """The message names something that the user can mend."""


def once(action: Callable[[], Any]) -> Callable[[], Generator[Any, bool | None, Any]]:
    """Something that is done at once and tells no progress, as steps of a `Job`."""

    def steps() -> Generator[Any, bool | None, Any]:
        yield from ()
        return action()

    return steps


class Job:
    """Run a generator in the manner of `napari_droplets.iterate` in a thread.

    Nothing raised in the thread gets lost or shows as a traceback: napari passes over a RuntimeError in a generator
    worker, and jax raises little else, so every exception ends as an `Outcome`.

    Parameters
    ----------
    steps : callable
        Called in the thread; makes the generator of Progress that returns the result.
    on_update : callable
        Called in the main thread with each Update. It calls `drawn` when it has drawn a picture: only then is the next
        one computed, so that pictures never queue up.
    on_end : callable
        Called in the main thread with the Outcome; not after `abandon`.
    pictures : bool
        Whether updates have pictures from time to time.
    """

    def __init__(
        self,
        steps: Callable[[], Generator[Progress, bool | None, Any]],
        on_update: Callable[[Update], None],
        on_end: Callable[[Outcome], None],
        *,
        pictures: bool = False,
    ) -> None:
        self._steps = steps
        self._on_update = on_update
        self._on_end = on_end
        self._pictures = pictures
        self._cancelled = threading.Event()
        self._drawn = threading.Event()
        self._drawn.set()
        self._next_picture = self._picture_begun = 0.0
        self._worker: Any = None
        self._ending: list[Job] = []

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled.is_set()

    @property
    def running(self) -> bool:
        """Whether its thread is at work."""
        return self._worker is not None and bool(self._worker.is_running)

    def start(self) -> None:
        """Start the thread; it begins when all jobs that were cancelled before have ended."""
        from napari.qt.threading import create_worker

        self._ending = [job for job in _started if job.cancelled and job.running]
        _started.add(self)
        _end_before_python()
        self._worker = create_worker(self._work)
        self._worker.yielded.connect(self._update)
        self._worker.returned.connect(self._end)
        self._worker.start()

    def cancel(self) -> None:
        """Stop after the current chunk of steps and keep what was found."""
        self._cancelled.set()

    def drawn(self) -> None:
        """The last picture is on the screen; the next one may be computed when this one has paid off."""
        now = time.monotonic()
        self._next_picture = now + max(PICTURE_SECONDS, (now - self._picture_begun) * (1 / PICTURE_SHARE - 1))
        self._drawn.set()

    def abandon(self) -> None:
        """Stop after the current chunk of steps; nobody waits for the result (window or panel are closed)."""
        self._on_update = lambda _: None
        self._on_end = lambda _: None
        self._cancelled.set()
        self._drawn.set()
        if self._worker is not None:
            self._worker.quit()

    def _update(self, update: Update) -> None:
        self._on_update(update)

    def _end(self, outcome: Outcome) -> None:
        self._on_end(outcome)

    def _work(self) -> Generator[Update, None, Outcome]:
        warnings.simplefilter("ignore")  # depending on the Qt binding, napari shows those of every library to the user
        try:
            while any(job.running for job in self._ending) and not self.cancelled:
                time.sleep(WAIT_SECONDS)
            steps = self._steps()
            reply: bool | None = None
            while True:
                try:
                    progress = steps.send(reply)
                except StopIteration as end:
                    return Outcome(end.value)
                picture = self._picture(progress)
                yield Update(progress, picture)
                if picture is not None and not self.cancelled:
                    self._drawn.wait(DRAWN_SECONDS)
                reply = False if self.cancelled else None
        except InputError as error:
            return Outcome(error=str(error))
        except MemoryError:
            return Outcome(error="not enough memory: use a smaller scale under Advanced, or crop the image")
        except Exception as error:
            log.exception("fit failed")
            reason = next(iter(str(error).strip().splitlines()), "")
            return Outcome(error=f"something went wrong: {type(error).__name__}: {reason}", expected=False)

    def _picture(self, progress: Progress) -> tuple[Droplets, Pixels | None] | None:
        now = time.monotonic()
        wanted = self._pictures and self._drawn.is_set() and now >= self._next_picture and not self.cancelled
        found = progress.stage == FOUND and progress.n_droplets > 0
        there = found or (progress.step and progress.stage in WITH_PICTURE)  # before the first step there is none
        if not (wanted and there):
            return None
        self._drawn.clear()
        self._picture_begun = now
        return progress.snapshot()


@cache
def _end_before_python() -> None:
    """When Python ends, end jobs first: one that comes back later finds its signals deleted, and aborts the process.

    napari sees to that where its event loop ends; in a script, a notebook or a test there may be none. To be called
    when Qt is loaded: what is registered last is done first, and Qt deletes its objects at the end, too.
    """
    atexit.register(_end_all)


def _end_all() -> None:
    jobs = list(_started)
    for job in jobs:
        job.abandon()
    if jobs:
        with suppress(RuntimeError):  # it has not ended in time, and cannot be made to
            jobs[0]._worker.await_workers(int(1000 * ENDING_SECONDS))
