"""Optics of a batch, learned on several of its images: which of them taught, and that they are learned once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from ..droplets import Droplets, Optics
from ..errors import InputError
from ..images import Image
from ..results.files import OPTICS, read_optics, save_optics
from .hashes import file_hash, optics_hash
from .one_file import Watch
from .plan import Plan
from .source import Ranges, Source

if TYPE_CHECKING:
    from ..progress import Progress
    from .jobs import Job

Record = dict[str, Any]


class Lesson(NamedTuple):
    """Optics of a batch, and what they were learned on."""

    optics: Optics
    images: list[Record]
    """Result folder, frame and plane of each picture, hash of its file, and what 0 and 1 are."""
    candidates: Mapping[str, Droplets] = MappingProxyType({})
    """See `composite.Taught`; they are not kept on disk."""

    def record(self, plan: Plan, number: int) -> Record:
        """What the manifest says of it; `plan` as it was before anything was learned."""
        return _asked(plan, number) | {"images": self.images, "learned_sha256": optics_hash(self.optics)}


def _asked(plan: Plan, number: int) -> Record:
    about = plan.record()
    return {"optics_from": number} | {k: about[k] for k in ("settings", "version", "optics_sha256", "weights_sha256")}


def learn_optics(
    jobs: Sequence[Job], number: int, plan: Plan, ranges: Ranges, watch: Watch | None = None
) -> Lesson | None:
    """Learn on so many pictures, evenly spread; None where there are no two to learn on, or where it was stopped.

    `watch` is called with the first image's path and a Progress of the stage 'optics'.
    """
    from ..inference.api import drive
    from ..inference.composite import learn

    pictures = list(_pictures(jobs, number, plan, ranges))
    if len(pictures) < 2:
        return None
    images: dict[int, Record] = {}

    def load(at: int) -> Image:
        job, where = pictures[at]
        about: Record = {"image": job.folder.name, "sha256": file_hash(job.path)}  # before it is read
        source = Source.of(job.path, plan.settings, ranges)
        place = source.opened.where[len(source.opened.where) // 2] if where is None else source.opened.where[where]
        about |= {k: v for k, v in (("frame", place.frame), ("plane", place.plane)) if v is not None}
        images[at] = about | {"intensity_range": list(source.scale)}
        return source.image(place)

    def told(progress: Progress) -> bool | None:
        return None if watch is None else watch(jobs[0].path, progress)

    steps = learn(((i, partial(load, i)) for i in range(len(pictures))), number, plan.settings, plan.optics)
    taught = drive(steps, told)
    return None if taught is None else Lesson(taught.optics, [images[i] for i in taught.images], taught.candidates)


def _pictures(jobs: Sequence[Job], number: int, plan: Plan, ranges: Ranges) -> Iterator[tuple[Job, int | None]]:
    """Pictures in the order in which they are to teach: one of each file, or, of few files, of all their pictures."""
    from ..inference.composite import spread

    if len(jobs) >= number:
        yield from ((jobs[i], None) for i in spread(len(jobs), number))
        return
    every: list[tuple[Job, int | None]] = []
    for job in jobs:
        try:
            every += [(job, k) for k in range(len(Source.of(job.path, plan.settings, ranges).opened.where))]
        except (InputError, OSError):  # told when its turn comes
            continue
    yield from (every[i] for i in spread(len(every), number))


def save_lesson(lesson: Lesson, out: Path) -> None:
    """Keep the optics of a batch in its folder, where `--optics` of another batch finds them, too."""
    save_optics(lesson.optics, out / OPTICS)


def kept_lesson(out: Path, known: Any, jobs: Sequence[Job], number: int, plan: Plan, ranges: Ranges) -> Lesson | None:
    """What an earlier run into this folder has learned, if the same would be learned from the same images again.

    Images may have been added meanwhile: those that have taught are the teachers of all.

    Parameters
    ----------
    known : object
        What that run's manifest says, see `Lesson.record`.
    """
    try:
        if any(known[key] != value for key, value in _asked(plan, number).items()):
            return None
        here = {job.folder.name: job for job in jobs}
        for image in known["images"]:
            path = here[image["image"]].path
            scale = Source.of(path, plan.settings, ranges).scale
            if file_hash(path) != image["sha256"] or list(scale) != image["intensity_range"]:
                return None
        optics = read_optics(out / OPTICS)
        return Lesson(optics, known["images"]) if optics_hash(optics) == known["learned_sha256"] else None
    except (InputError, OSError, KeyError, TypeError):  # no such manifest, images or optics
        return None
