"""The images of a batch and what became of each, whoever works on them: this program, or one on the command line."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from psygnal import Signal

from ...child_process import Message
from ...errors import InputError
from ...results.files import read_summary
from ...series.manifest import MANIFEST, read_manifest
from ...series.names import find_images, name_results, without_masks
from ...series.one_file import Plan
from ...storage.atomic import write_whole
from ...storage.lock import in_use
from .corrected import entries_of, labels_of, write_tables
from .items import SEEN, Item, modified, progress_text, read_result, seen_in, stamp_of
from .process import BatchProcess

LOOK_SECONDS = 2.0
"""Between looks at what another program has done in the folder."""
HELD = ("learn_optics", "types", "composition")
"""Settings that images after the first have from its optics, where these serve all."""


class FolderBatch:
    """A batch in a folder: started or gone on with, followed, stopped, and what of it was looked at.

    Nothing blocks. `poll` has to be called now and then, and tells by signals what is new.

    Attributes
    ----------
    out : Path or None
        The folder of results.
    items : dict
        The images, `Item`, by the names of their folders.
    begun : dict
        With what the batch was begun, as OUT/batch.json says: `settings`, `detect_only`, `same_optics`, …
    seen : set of str
        Targets that were looked at: the name of a folder, for pictures of a stack NAME/PICTURE.
    stale : bool
        Whether there are corrections that the tables of all images lack.
    """

    changed = Signal(object)
    """Names of images that are others now; None: all."""
    told = Signal(str, str)
    """Something to say, and a level: "", "warning"."""
    ended = Signal()
    """The batch that was started here has ended."""

    def __init__(self) -> None:
        self.out: Path | None = None
        self.items: dict[str, Item] = {}
        self.begun: dict[str, Any] = {}
        self.seen: set[str] = set()
        self.stale = False
        self._process: BatchProcess | None = None
        self._looked = 0.0
        self._stamp, self._alive = 0, False

    @property
    def running(self) -> bool:
        """Whether a batch that was started here goes on."""
        return self._process is not None

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._process is not None and self._process.stopping

    def open(self, out: str | Path) -> None:
        """Look at a folder of results, whoever has made it.

        Raises
        ------
        InputError
            No batch was run there, or another one goes on here.
        """
        out = Path(out)
        if self.running and out != self.out:
            raise InputError("a batch goes on; stop it first")
        entries_of(out)
        if out != self.out:
            self.items = {}
        self.out, self._looked = out, 0.0
        self._read()
        self.seen = seen_in(out) & set(self.targets())
        newest = max((modified(out / target / "droplets.csv") for target in self.targets()), default=0.0)
        self.stale = not self._alive and newest > modified(out / "droplets.csv")
        self.changed.emit(None)

    def start(
        self,
        images: str | Path | Sequence[str | Path] | None,
        out: str | Path,
        settings: dict[str, Any],
        *,
        detect_only: bool = False,
        same_optics: bool = False,
        replace_corrected: bool = False,
    ) -> None:
        """Work on a folder of images in another process; what is done already is kept.

        Parameters
        ----------
        images : path or sequence of paths, optional
            A folder, a pattern or files; None: those of the batch in `out`.
        out : path
            The folder of results.
        settings : dict
            Of `Settings`.
        detect_only, same_optics
            As of `napari_droplets.batch`.
        replace_corrected : bool
            Whether corrected results that were made with other settings are made anew; else that is refused.

        Raises
        ------
        InputError
            Wrong use, or corrections would be replaced.
        """
        if self.running:
            raise InputError("a batch goes on; stop it first")
        out = Path(out)
        if images is None:
            paths = [Path(entry["path"]) for entry in entries_of(out).values()]
        else:
            given = [images] if isinstance(images, (str, Path)) else list(images)
            paths = [path for one in given for path in find_images(one)]
        plan = Plan.of(detect_only=detect_only, **settings)
        if same_optics and detect_only:
            raise InputError("one optics for all: there are no optics where droplets are only detected")
        names = name_results(without_masks(paths, plan.settings.region))
        same_folder = self.out == out
        if (out / MANIFEST).exists():
            if not same_folder:
                self.open(out)
            if self.begun.get("optics_sha256"):
                raise InputError(
                    f"{out}: begun with optics from a file (--optics); go on with it on the command line, with --resume"
                )
            if not replace_corrected and (lost := self._replaced(plan, same_optics, set(names.values()))):
                raise InputError(
                    f"{', '.join(lost[:3])}{' …' * (len(lost) > 3)}: corrected, and made with other settings; "
                    "choose those settings again, or another folder for the results"
                )
        more = {k: self.begun[k] for k in ("overlay", "exports", "measure") if k in self.begun and self.out == out}
        order: dict[str, Any] = {
            "images": [str(p) for p in names],
            "out": str(out),
            "settings": settings,
            "resume": True,
        }
        order |= {"detect_only": detect_only, "same_optics": same_optics} | more
        self.out = out
        entries = {name: {"path": str(path)} for path, name in names.items()}
        labels, before = labels_of(entries), self.items if same_folder else {}
        self.items = {name: before.get(name) or Item(name, path, labels[name]) for path, name in names.items()}
        for item in self.items.values():
            item.state, item.progress, item.error, item.changed = "waiting", "", None, None
        self.begun = {"settings": settings, "detect_only": detect_only, "same_optics": same_optics} | more
        self._process = BatchProcess(order)
        self.changed.emit(None)

    def stop(self) -> None:
        """Let the batch stop soon, keeping what the running image has reached; asked again, at once."""
        if self._process is not None:
            self._process.stop()

    def close(self) -> None:
        """Nobody looks any more: the batch stops soon, and nothing is waited for."""
        if self._process is not None and not self._process.stopping:
            self._process.stop()

    def join(self, seconds: float | None = None) -> None:
        """Wait until the process has ended, and take up what it has told."""
        if self._process is not None:
            self._process.join(seconds)
            self.poll()

    def poll(self) -> None:
        """Take up what is new."""
        if self._process is not None:
            for event in self._process.events():
                self._on_event(event)
        elif self.out is not None and time.monotonic() - self._looked > LOOK_SECONDS:
            self._looked = time.monotonic()
            if self._stamp != stamp_of(self.out) or self._alive != in_use(self.out):
                self._read()
                self.changed.emit(None)

    # what there is to look at

    def targets(self) -> list[str]:
        """All results that can be looked at, in order."""
        return [target for item in self.items.values() for target in item.targets]

    def next_target(self, after: str | None = None) -> str | None:
        """The next result that nobody has looked at yet, after one of them; from the beginning where none is left."""
        targets = self.targets()
        at = targets.index(after) + 1 if after in targets else 0
        return next((t for t in (*targets[at:], *targets[:at]) if t not in self.seen and t != after), None)

    def folder_of(self, target: str) -> Path:
        """Where a result is.

        Raises
        ------
        InputError
            There is none of that name.
        """
        if self.out is None or target not in self.targets():
            raise InputError(f"{target}: no result of this batch")
        return self.out / target

    def stack_of(self, target: str) -> Path | None:
        """The folder of the stack that a result is a picture of."""
        assert self.out is not None
        return self.out / target.split("/")[0] if "/" in target else None

    def mark_seen(self, target: str) -> None:
        """A result was looked at; that is kept in the folder."""
        self.seen.add(target)
        assert self.out is not None
        text = json.dumps({"seen": sorted(self.seen)}, indent=1) + "\n"
        try:
            write_whole(self.out / SEEN, lambda p: p.write_text(text, encoding="utf-8"))
        except InputError as error:  # a folder that can only be read is no reason not to look
            self.told.emit(str(error), "")
        self.changed.emit([target.split("/")[0]])

    def corrected(self, target: str) -> None:
        """The result of an image was replaced by a corrected one."""
        name = target.split("/")[0]
        assert self.out is not None
        read_result(self.items[name], self.out)
        self.stale = True
        self.changed.emit([name])

    def write_tables(self) -> None:
        """Write the tables of all images anew where corrections are not in them; takes time.

        Raises
        ------
        InputError
            A batch is writing there, or they cannot be written.
        """
        if self.out is not None and self.stale:
            self.stale = False
            try:
                write_tables(self.out)
            except InputError:
                self.stale = True
                raise

    def counts(self) -> dict[str, int]:
        """How many images are in each state."""
        return dict(Counter(item.state for item in self.items.values()))

    def text(self) -> str:
        """How far all is, in a line."""
        if not self.items:
            return ""
        counts, n = self.counts(), len(self.items)
        parts = [f"{counts.get('done', 0):,} of {n:,} images done"]
        parts += [f"{counts[state]:,} {state}" for state in ("failed", "stopped") if counts.get(state)]
        parts.append(f"{sum(item.n_droplets or 0 for item in self.items.values()):,} droplets")
        if targets := self.targets():
            parts.append(f"{len(self.seen & set(targets)):,} of {len(targets):,} looked at")
        if corrected := sum(item.edits > 0 for item in self.items.values()):
            parts.append(f"{corrected:,} corrected")
        return " · ".join(parts)

    # what is told

    def _on_event(self, event: Message) -> None:
        kind, item = event["event"], self.items.get(event.get("name", ""))
        if kind == "end":
            self._process = None
            self._looked = 0.0
            if self.out is not None and (self.out / MANIFEST).exists():
                self._read()
            else:  # it has not even begun
                for one in self.items.values():
                    one.state, one.progress = "waiting", ""
            if event.get("error"):
                self.told.emit(f"Batch: {event['error']}", "warning")
            else:
                self.told.emit(f"Batch {'stopped' if event.get('stopped') else 'done'}: {self.text()}", "")
            self.changed.emit(None)
            self.ended.emit()
        elif kind == "warning":
            self.told.emit(f"Batch: {event['text']}", "warning")
        elif item is not None and self.out is not None:
            if kind == "begin":
                item.state, item.progress, item.error = "running", "", None
                self.seen -= {item.name, *item.targets}
            elif kind == "progress":
                item.progress = progress_text(event)
            elif kind == "image":
                item.progress, item.error = "", event.get("error")
                item.state = event["state"]
                read_result(item, self.out)
            self.changed.emit([item.name])

    def _read(self) -> None:
        """Read OUT/batch.json."""
        assert self.out is not None
        self._stamp = stamp_of(self.out)
        entries = entries_of(self.out)
        labels, self._alive = labels_of(entries), in_use(self.out)
        plan = read_manifest(self.out).get("plan")
        self.begun = dict(plan) if isinstance(plan, dict) else {}
        before, self.items = self.items, {}
        for name, entry in entries.items():
            old = before.get(name)
            if old is not None and old.changed is not None and old.changed == entry.get("changed"):
                self.items[name] = old  # a large batch is not read from end to end for every image that is done
                continue
            state = str(entry.get("state", "waiting"))
            if state == "running" and not self._alive:
                state = "waiting"  # a batch that was killed
            item = Item(name, Path(entry["path"]), labels[name], state, error=entry.get("error"))
            if state not in ("waiting", "running"):
                item.changed = entry.get("changed")
            if state in ("done", "stopped", "failed"):
                read_result(item, self.out)
            self.items[name] = item

    def _replaced(self, plan: Plan, same_optics: bool, names: set[str]) -> list[str]:
        """Corrected images that a run with this plan would do anew."""
        assert self.out is not None
        wanted, found = plan.record(), []
        for item in self.items.values():
            if not item.edits or item.name not in names:
                continue
            summary = read_summary(self.out / item.name)
            same = {k: summary.get(k) for k in wanted}
            if same_optics:
                for record in (wanted, same):
                    record["settings"] = {k: v for k, v in (record["settings"] or {}).items() if k not in HELD}
                    record["optics_sha256"] = None
            if same != wanted:
                found.append(item.label)
        return found
