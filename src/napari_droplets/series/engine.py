"""A batch on the workers of a dask cluster, of this machine or of any other."""

from __future__ import annotations

import logging
import os
import queue
import time
import uuid
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from ..images.opened import tell
from ..progress import Progress
from .jobs import Job, Jobs
from .lesson import Lesson
from .one_file import Watch
from .tables import Outcome, WorkerError
from .worker import LEAST_THREADS, LessonTask, Reply, Task, stop, teach, warm, work

ATTEMPTS = 2
"""At an image, the second one on another worker where there is one."""
GONE_AFTER = 15.0
"""Seconds without a scheduler after which it is given up."""
POLL = 0.5
"""Seconds between two looks at whether to stop."""
MEMORY = 0.9
"""Part of the machine's memory that local workers may use together."""
DASK = {
    "distributed.scheduler.allowed-failures": ATTEMPTS - 1,
    # JAX keeps memory for what comes next: dask must not wait for it to be given back
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # dask's own setting of the allocator has large arrays given back and fetched again all the time
    "distributed.nanny.pre-spawn-environ": {},
    "distributed.comm.timeouts.connect": "20s",
}
INSTALL = "pip install 'napari-droplets[dask]'"


@contextmanager
def connected(workers: int | None = None, scheduler: Any = None, memory_limit: str | None = None) -> Iterator[Any]:
    """A client of a dask cluster; without an address of processes on this machine, which end with it.

    Parameters
    ----------
    workers : int, optional
        Processes on this machine.
    scheduler : str, cluster or client, optional
        Address or scheduler file of a cluster that runs, or what dask's `Client` takes.
    memory_limit : str, optional
        Of each process, as '4GB'; by default equal shares. One that takes more is ended, and its image tried again.

    Raises
    ------
    InputError
        dask is not installed, or there is no such cluster.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise InputError(f"workers and schedulers need dask ({error}): {INSTALL}") from None

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is told by us
    if isinstance(scheduler, Client):
        yield scheduler
        return
    with dask.config.set(DASK):
        if scheduler is not None:
            with _client(Client, scheduler) as client:
                yield client
            return
        number = workers or 1
        cores = max(LEAST_THREADS, available_cores() // number)
        try:
            cluster = LocalCluster(
                n_workers=number,
                threads_per_worker=1,
                memory_limit=memory_limit or _memory() // number,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
                preload=["napari_droplets.series.worker"],
                env={name: str(cores) for name in ("NPROC", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")},
            )
        except ValueError as error:
            raise InputError(f"memory_limit={memory_limit!r}: give an amount as '4GB' ({error})") from error
        with cluster, Client(cluster) as client:
            yield client


def _client(kind: Any, scheduler: Any) -> Any:
    is_file = isinstance(scheduler, (str, Path)) and Path(scheduler).is_file()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ a little
            return kind(scheduler_file=str(scheduler)) if is_file else kind(scheduler)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"scheduler {scheduler}: cannot be reached ({error}); is it running?") from error


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory() -> int:
    from distributed.system import MEMORY_LIMIT  # also of a container

    return int(MEMORY * MEMORY_LIMIT)


class Team:
    """The workers of a cluster at one batch."""

    def __init__(self, client: Any, out: Path, run: str, jobs: Jobs) -> None:
        self.client, self.out, self.run, self.jobs = client, out, run, jobs
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.futures: dict[Any, tuple[Job, int]] = {}
        """Of images submitted: which one, and which attempt."""
        self.begun: set[Job] = set()
        self.ended: set[Job] = set()
        """What a worker that was lost still says of these comes late."""
        self.warming: list[Any] = []
        self.lesson: Any = None
        """Of optics that one worker learns for all, while no image is begun."""
        self.stopped = False
        self.gone_since: float | None = None
        client.subscribe_topic(run, lambda event: self.events.put(event[1]))

    def submit(self, job: Job, attempt: int = 1, avoid: str | None = None) -> None:
        """Give an image to a worker, not to the one to `avoid` where there is another."""
        others = [address for address in self.client.nthreads() if address != avoid] if avoid else []
        where = {"workers": others, "allow_other_workers": True} if others else {}
        key = f"{job.folder.name}-{uuid.uuid4().hex}"
        future = self.client.submit(work, self.task(job), key=key, pure=False, **where)
        self.futures[future] = job, attempt
        future.add_done_callback(self.events.put)

    def teach(self) -> None:
        """Let a worker learn the optics of all images, and the others get ready."""
        lesson = LessonTask(self.jobs.jobs, self.jobs.optics_from, self.task(self.jobs.jobs[0]))
        self.lesson = self.client.submit(teach, lesson, key=f"optics-{uuid.uuid4().hex}", pure=False)
        self.lesson.add_done_callback(self.events.put)
        self.warm(self.jobs.jobs[: max(0, len(self.client.nthreads()) - 1)])

    def task(self, job: Job) -> Task:
        """An image as workers take it."""
        plan = replace(self.jobs.plan, candidates={})  # too much to be sent with every image
        return Task(job, plan, self.jobs.ranges, self.jobs.resume, self.out, self.run, __version__)

    def warm(self, jobs: Iterable[Job]) -> None:
        """Let workers get ready for so many images."""
        for job in jobs:
            key = f"warm-{job.folder.name}-{uuid.uuid4().hex}"
            self.warming.append(self.client.submit(warm, self.task(job), key=key, pure=False))

    def event(self, *, wait: bool) -> Any:
        """The next future that is done, or message of a worker; None where there was none, for a while with `wait`."""
        try:
            return self.events.get(timeout=POLL) if wait else self.events.get_nowait()
        except queue.Empty:
            return None

    def reply(self, future: Any) -> Reply:
        """What became of an image whose future is done."""
        job, _ = self.futures[future]
        try:
            reply: Reply = future.result(timeout=GONE_AFTER)
            return reply
        except Exception as error:  # an answer that cannot be read, and the like
            times = getattr(error, "allowed_failures", None)  # of dask's KilledWorker, which it has tried again
            if times is not None:
                error = WorkerError(
                    f"its worker ended {times + 1} times while working on it, killed or for want of memory: "
                    "fewer workers have more each"
                )
            return Reply(Outcome(*job, error=error), "", [])

    def stop(self) -> None:
        """Let running images end soon, with what they have reached, and begin no others."""
        self.client.run(stop, self.run, on_error="ignore")
        self.begin_no_others()

    def begin_no_others(self) -> None:
        """Take back images that no worker has begun."""
        self.stopped = True
        waiting = [f for f, (job, _) in self.futures.items() if job not in self.begun]
        lesson = [] if self.lesson is None else [self.lesson]
        self.client.cancel([*waiting, *self.warming, *lesson])

    def check_scheduler(self) -> None:
        """See whether the scheduler is still there.

        Raises
        ------
        InputError
            It is not, and was not for a while.
        """
        if self.client.status == "running":
            self.gone_since = None
            return
        now = time.monotonic()
        self.gone_since = now if self.gone_since is None else self.gone_since
        if self.client.status == "closed" or now - self.gone_since > GONE_AFTER:
            raise self.gone()

    def gone(self) -> InputError:
        """What is said of a scheduler that is gone."""
        n = len(self.futures)
        return InputError(
            f"the scheduler is gone, with {n} image{'s' * (n != 1)} left; start it again, and the batch with --resume"
        )


def together(
    jobs: Jobs, team: Team, watch: Watch | None, begun: Callable[[Job, str], None], wanted: Callable[[], bool]
) -> Generator[Outcome]:
    """Let the workers work on all images; outcomes come as they are done.

    Parameters
    ----------
    jobs, team, watch
        What is done, by whom, and who sees the progress.
    begun : callable
        Told when a worker begins an image.
    wanted : callable
        Whether to go on.

    Raises
    ------
    InputError
        The scheduler is gone.
    """
    try:
        yield from _together(jobs, team, watch, begun, wanted)
    finally:
        with suppress(Exception):  # no client is left to tell
            team.client.unsubscribe_topic(team.run)


def _together(
    jobs: Jobs, team: Team, watch: Watch | None, begun: Callable[[Job, str], None], wanted: Callable[[], bool]
) -> Generator[Outcome]:
    left = deque(jobs.jobs)
    by_name = {job.folder.name: job for job in jobs.jobs}
    if jobs.lesson_due:
        team.check_scheduler()
        team.teach()
    while (left and not team.stopped) or team.futures or team.lesson:
        # optics of all are learned before, or by one image alone
        waits = team.lesson is not None or (jobs.optics_to_learn and team.futures)
        ready = bool(left) and not team.stopped and not waits
        if ready and (outcome := _given(left.popleft(), left, jobs, team)) is not None:
            yield outcome
        event = team.event(wait=not ready)
        go_on = wanted()
        if isinstance(event, dict):
            job = by_name[event["name"]]
            if job not in team.ended:
                if event["stage"] == "begin":
                    team.begun.add(job)
                    begun(job, event["worker"])
                go_on = go_on and (watch is None or watch(job.path, _progress(event)) is not False)
        elif event is not None and event is team.lesson:
            _learned(jobs, team)
        elif event in team.futures:
            job, _ = team.futures[event]
            if (outcome := _result(team, event)) is not None:
                team.ended.add(job)
                jobs.learn(outcome)
                if outcome.no_space:
                    team.begin_no_others()
                yield outcome
        elif event is None:
            team.check_scheduler()
        if not go_on and not team.stopped:
            team.stop()


def _learned(jobs: Jobs, team: Team) -> None:
    """Take what a worker has learned for all images; where that failed the first image teaches."""
    future, team.lesson = team.lesson, None
    if future.status in ("cancelled", "lost"):
        if not team.stopped:
            raise team.gone()
        return
    lesson: Lesson | None = None
    try:
        lesson, warned = future.result(timeout=GONE_AFTER)
    except Exception as error:  # its worker ended, and that of a second attempt
        warned = [f"optics could not be learned on several images ({error}); the first one teaches"]
    for text in warned:
        tell(text)
    if lesson is not None:
        jobs.keep(lesson)
    jobs.take(lesson)


def _given(job: Job, following: Iterable[Job], jobs: Jobs, team: Team) -> Outcome | None:
    """What is there of an image already; else it is given to a worker."""
    try:
        outcome = jobs.done(job)
        if outcome is not None:
            jobs.learn(outcome)
            return outcome
    except Exception as error:
        return Outcome(*job, error=error)
    team.check_scheduler()
    team.submit(job)
    if jobs.optics_to_learn:  # the others have to wait for them
        team.warm(islice(following, max(0, len(team.client.nthreads()) - 1)))
    return None


def _result(team: Team, future: Any) -> Outcome | None:
    """What became of an image; None where it is tried again, or was never begun."""
    if future.status in ("cancelled", "lost"):
        if not team.stopped:
            raise team.gone()
        team.futures.pop(future)
        return None
    reply = team.reply(future)
    job, attempt = team.futures.pop(future)
    for text in reply.warnings:
        tell(text)
    outcome = reply.outcome
    failed = outcome is not None and outcome.error is not None and not outcome.summary and not outcome.no_space
    if failed and attempt < ATTEMPTS and reply.worker and not team.stopped:
        team.submit(job, attempt + 1, avoid=reply.worker)
        return None
    return outcome


def _progress(event: dict[str, Any]) -> Progress | None:
    if event["stage"] == "begin":
        return None
    step, steps, loss, seconds_left, n = event["numbers"]
    return Progress(event["stage"], int(step), int(steps), loss, seconds_left, int(n), _no_snapshot)


def _no_snapshot() -> Any:
    raise RuntimeError("there are no snapshots of fits in other processes")
