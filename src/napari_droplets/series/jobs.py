"""The images of a batch as jobs: which of them are done already, and what is done with the next."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..results.files import read_optics
from .finished import complete
from .hashes import file_hash
from .lesson import Lesson, learn_optics
from .one_file import Watch, disk_is_full, process
from .plan import Plan
from .source import Ranges
from .tables import Outcome


class Job(NamedTuple):
    """One image of a batch."""

    path: Path
    label: str
    """The file's name, with its folder where names alone are not unique."""
    folder: Path
    """Of its results."""


@dataclass
class Jobs:
    """All images of a batch, in order."""

    jobs: Sequence[Job]
    plan: Plan
    """What is done with the next."""
    ranges: Ranges
    resume: bool = False
    same_optics: bool = False
    optics_from: int = 1
    """Images that optics of all are learned on together, before any is fitted; 1 once that is done."""
    keep: Callable[[Lesson], None] = lambda lesson: None
    """Told what was learned."""
    known: Mapping[str, str] = field(default_factory=dict)
    """By the name of a result folder, the hash of the file that its result was made from."""

    @property
    def optics_to_learn(self) -> bool:
        """Whether the next image's optics are to be those of all."""
        return self.same_optics and self.plan.learning

    @property
    def lesson_due(self) -> bool:
        """Whether optics are to be learned on several images before any is fitted."""
        return self.optics_to_learn and self.optics_from > 1

    def take(self, lesson: Lesson | None) -> None:
        """Fit all images with these optics; where there are none the first image that can be fitted teaches."""
        self.optics_from = 1
        if lesson is not None:
            self.plan = self.plan.taught(lesson.optics, lesson.candidates)

    def done(self, job: Job) -> Outcome | None:
        """What is there already of an image, if it is what the plan asks for."""
        if not self.resume:
            return None
        known = self.known.get(job.folder.name)
        summary = complete(job.folder, job.path, self.plan, self.ranges, known)
        if summary is None:
            return None
        return Outcome(*job, summary, skipped=True, sha256=known or hash_of(job.path))

    def learn(self, outcome: Outcome) -> None:
        """Keep the optics of the first image that could be fitted, where several have not taught."""
        if self.optics_to_learn and outcome.summary and not outcome.stopped:
            pictures = [p["folder"] for p in outcome.summary.get("pictures", ()) if p["folder"]]
            optics = read_optics(outcome.folder.joinpath(*pictures[:1]))  # of a stack, those of its first picture
            self.plan = self.plan.taught(optics)


def one_by_one(
    jobs: Jobs, watch: Watch | None, since: float | None, begun: Callable[[Job], None] | None = None
) -> Generator[Outcome]:
    """Work on one image after another in this process."""
    if jobs.lesson_due:
        lesson, stopped = taught(jobs, watch)
        if stopped:
            return
        if lesson is not None:
            jobs.keep(lesson)
        jobs.take(lesson)
    for job in jobs.jobs:
        try:
            outcome = jobs.done(job)
            if outcome is None:
                if watch is not None and watch(job.path, None) is False:
                    return
                if begun is not None:
                    begun(job)
                start, since = since, None
                outcome = attempt(job, jobs.plan, watch, jobs.ranges, resume=jobs.resume, since=start)
            jobs.learn(outcome)
        except Exception as error:
            outcome = Outcome(*job, error=error)
        yield outcome
        if outcome.stopped or outcome.no_space:
            return


def taught(jobs: Jobs, watch: Watch | None) -> tuple[Lesson | None, bool]:
    """Optics learned on several images, None where that cannot be done; and whether it was stopped."""
    stopped = False

    def told(path: Path, progress: Any) -> bool | None:
        nonlocal stopped
        reply = None if watch is None else watch(path, progress)
        stopped = stopped or reply is False
        return reply

    lesson = learn_optics(jobs.jobs, jobs.optics_from, jobs.plan, jobs.ranges, told)
    return lesson, stopped


def attempt(
    job: Job, plan: Plan, watch: Watch | None, ranges: Ranges, *, resume: bool, since: float | None = None
) -> Outcome:
    """Work on one image; an error is part of what became of it."""
    sha256 = hash_of(job.path)  # before it is read: should it change meanwhile, a later look tells
    try:
        outcome = process(*job, plan, watch, since, ranges, resume=resume)
    except Exception as error:
        return Outcome(*job, error=error, no_space=disk_is_full(error))
    return replace(outcome, sha256=sha256)


def hash_of(path: Path) -> str | None:
    """Hash of a file's bytes; None where it cannot be read."""
    try:
        return file_hash(path)
    except OSError:
        return None
