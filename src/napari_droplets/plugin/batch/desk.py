"""What the tab Batch does: a batch started and followed, its images looked at, corrections and tables saved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, QTimer

from ...errors import InputError
from ...workbench.batch.corrected import export_table
from ...workbench.batch.folder import FolderBatch
from ..controls.panel import Panel
from ..jobs.job import Job, Outcome, once
from .review import Review
from .view import BatchBox

TAB = "Batch"
POLL_MS = 150
"""Between two looks at what the batch has told."""
FORM_LACKS = ("learn_optics", "frames", "planes", "scene", "region")
"""Settings of a batch that the form of the panel does not have: those that it was begun with stay."""


class BatchDesk(QObject):
    """The batch of a panel.

    Parameters
    ----------
    panel : Panel
        Gets the tab; its form has the settings.
    viewer : napari viewer
    drawn : callable
        Called when layers of ours show other droplets.

    Attributes
    ----------
    folder : FolderBatch
    review : Review
    box : BatchBox
    """

    def __init__(self, panel: Panel, viewer: Any, drawn: Callable[[], None]) -> None:
        super().__init__(panel)
        self._panel = panel
        self.folder = FolderBatch()
        self.review = Review(viewer, self.folder, panel.say, self._on_shown, drawn)
        actions: dict[str, Callable[..., Any]] = {
            "start": self._start_chosen,
            "stop": self.stop,
            "open": self.open,
            "review": self.look_at,
            "next": self.next,
            "previous": self.previous,
            "save": self.save,
            "export": self.export,
        }
        actions = {name: partial(self._told, action) for name, action in actions.items()}
        self.box = BatchBox(self.folder, actions)
        panel.add_tab(self.box, TAB)
        self._jobs: set[Job] = set()
        self._timer = QTimer(self, interval=POLL_MS)
        self._timer.timeout.connect(self.folder.poll)
        self.folder.told.connect(self._tell)
        self.folder.ended.connect(self._write_tables)

    @property
    def busy(self) -> bool:
        """Whether a batch goes on, or an image is read or saved, or tables are written."""
        return self.folder.running or self.review.busy or bool(self._jobs)

    def show(self) -> None:
        """Show the tab."""
        tabs = self._panel.tabs
        tabs.setCurrentIndex(next(i for i in range(tabs.count()) if tabs.tabText(i) == TAB))

    def start(
        self,
        images: str | Path | Sequence[str | Path] | None = None,
        out: str | Path | None = None,
        *,
        detect_only: bool = False,
        same_optics: bool = False,
        stacks: bool = False,
        replace_corrected: bool = False,
    ) -> None:
        """Start a batch, or go on with one.

        Raises
        ------
        InputError
            Wrong use, or corrections would be replaced.
        """
        if out is None:
            raise InputError("choose a folder for the results")
        self._leave(out)
        if images is None and self.folder.out != Path(out):
            self.folder.open(out)
        begun = self.folder.begun.get("settings") or {} if self.folder.out == Path(out) else {}
        settings = self._panel.form.values() | {k: begun[k] for k in FORM_LACKS if begun.get(k) is not None}
        if settings["pixel_size_um"] is None and isinstance(begun.get("pixel_size_um"), list):
            settings["pixel_size_um"] = begun["pixel_size_um"]  # width and height, for which the form has no room
        if stacks:
            settings |= {"frames": "all", "planes": "all"}
        self.folder.start(
            images,
            out,
            settings,
            detect_only=detect_only,
            same_optics=same_optics and not detect_only,
            replace_corrected=replace_corrected,
        )
        self.box.out.setText(str(out))
        if isinstance(images, str | Path):
            self.box.images.setText(str(images))
        self._timer.start()
        self._panel.say("Batch: starting …")

    def open(self, out: str | Path) -> None:
        """Look at a folder of results; the panel says with which settings they were made.

        Raises
        ------
        InputError
            No batch was run there.
        """
        self._leave(out)
        self.folder.open(out)
        begun, box = self.folder.begun, self.box
        settings = begun.get("settings") or {}
        shown = {k: v for k, v in settings.items() if k in self._panel.form.inputs}
        if isinstance(shown.get("pixel_size_um"), list):
            shown["pixel_size_um"] = None
        self._panel.form.set(**shown)
        box.same_optics.setChecked(bool(begun.get("same_optics")))
        box.detect_only.setChecked(bool(begun.get("detect_only")))
        box.stacks.setChecked("all" in (settings.get("frames"), settings.get("planes")))
        box.out.setText(str(out))
        box.images.clear()
        box.images.setPlaceholderText(f"the {len(self.folder.items):,} of this batch")
        self._timer.start()
        self._panel.say(f"Batch: {self.folder.text()}")
        if self.folder.stale:
            self._write_tables()

    def stop(self) -> None:
        """Let the batch stop soon."""
        if self.folder.running:
            self._panel.say("Stopping the batch at once …" if self.folder.stopping else "Stopping the batch …")
            self.folder.stop()

    def look_at(self, target: str) -> None:
        """Look at a result.

        Raises
        ------
        InputError
            There is none of that name, or another one is being read or saved.
        """
        if target != self.review.target:
            self.review.open(target)
            self.box.update_buttons(idle=False)

    def next(self) -> None:
        """Look at the next result that was not looked at; where none is left, save corrections and say so.

        Raises
        ------
        InputError
            There is none, or another one is being read or saved.
        """
        target = self.folder.next_target(self.review.target)
        if target is not None:
            self.look_at(target)
        elif self.review.unsaved:
            self.save()
        else:
            left = any(item.state in ("waiting", "running") for item in self.folder.items.values())
            more = "the others are not done yet" if left else "Export all… writes the table of all"
            raise InputError(f"all results that are there were looked at; {more}")

    def previous(self) -> None:
        """Look at the result before this one in the list.

        Raises
        ------
        InputError
            Another one is being read or saved.
        """
        targets = self.folder.targets()
        if targets:
            at = targets.index(self.review.target) if self.review.target in targets else 0
            self.look_at(targets[at - 1])

    def save(self) -> None:
        """Save the corrections of the image that is looked at.

        Raises
        ------
        InputError
            None is looked at.
        """
        self.review.save()
        self.box.update_buttons(idle=False)

    def export(self, path: str | Path) -> None:
        """Write the droplets of all images, with all corrections, as one table; those not saved yet are saved first.

        Raises
        ------
        InputError
            There are no results.
        """
        if self.folder.out is None or not self.folder.targets():
            raise InputError("no results of a batch; start one, or choose a folder of results")
        if self.review.unsaved:
            self.review.save(partial(self._export, Path(path)))
        else:
            self._export(Path(path))

    def close(self) -> None:
        """Nobody looks any more: the batch stops soon, keeping what is done; nothing is waited for."""
        self._timer.stop()
        self.folder.told.disconnect(self._tell, missing_ok=True)
        self.folder.ended.disconnect(self._write_tables, missing_ok=True)
        self.box.close_down()
        self.review.close()
        for job in self._jobs:
            job.abandon()
        self._jobs.clear()
        self.folder.close()

    def _leave(self, out: str | Path) -> None:
        """Results of another batch are not looked at any more."""
        if self.folder.out is not None and Path(out) != self.folder.out:
            self.review.forget()
            self.box.show_target(None)

    def _start_chosen(self) -> None:
        box = self.box
        self.start(
            box.images.text().strip() or None,
            box.out.text().strip() or None,
            detect_only=box.detect_only.isChecked(),
            same_optics=box.same_optics.isChecked(),
            stacks=box.stacks.isChecked(),
        )

    def _told(self, action: Callable[..., Any], *given: Any) -> None:
        try:
            action(*given)
        except InputError as error:
            self._panel.say(str(error), "warning")

    def _tell(self, text: str, level: str) -> None:
        self._panel.say(text, level)

    def _on_shown(self) -> None:
        """Another image is looked at, or one was saved."""
        self.box.show_target(self.review.target)
        if self.folder.stale and not self.folder.running:
            self._write_tables()

    def _write_tables(self) -> None:
        """Write the tables of all images, where corrections are not in them, in the background."""
        if not self._jobs and self.folder.stale:
            self._in_background(self.folder.write_tables, lambda _: self._write_tables())

    def _export(self, path: Path) -> None:
        out = self.folder.out
        assert out is not None
        self._panel.say(f"Writing {path.name} …")

        def done(count: int) -> None:
            self._panel.say(f"Wrote {count:,} droplets of all images to {path}")

        self._in_background(partial(export_table, out, path), done)

    def _in_background(self, action: Callable[[], Any], then: Callable[[Any], None]) -> None:
        job: Job

        def end(outcome: Outcome) -> None:
            self._jobs.discard(job)
            if outcome.error is not None:
                self._panel.say(f"The tables of all images: {outcome.error}", "warning")
            else:
                then(outcome.result)

        job = Job(once(action), lambda _: None, end)
        self._jobs.add(job)
        job.start()
