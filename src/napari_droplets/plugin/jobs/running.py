"""The work that the user waits for: started, shown while it goes on, cancelled, ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from .. import layers
from ..controls.panel import Panel
from ..controls.words import progress_text
from . import work
from .job import Job, Outcome, Update

Then = Callable[[Any, bool], None]
"""Called with the result of work, and whether it was cancelled."""


class Runner:
    """One piece of work at a time.

    Parameters
    ----------
    parent : QWidget
        When it is destroyed, nobody waits for the result.
    panel : Panel
    shown : callable
        Called when something was drawn in layers of ours.
    ended : callable
        Called when work has ended, well or not.
    """

    def __init__(self, parent: QWidget, panel: Panel, shown: Callable[[], None], ended: Callable[[], None]) -> None:
        self._parent, self._panel, self._shown, self._ended = parent, panel, shown, ended
        self.job: Job | None = None
        self.showing = False
        """Whether layers of ours come just now."""
        self._output: layers.Output | None = None
        self._keeps = False

    def start(
        self, steps: Callable[[], work.Steps], output: layers.Output | None, then: Then, *, keeps: bool = False
    ) -> None:
        """Start work that is shown by `output` while it goes on, and by `then` in the end.

        `keeps` if there is something to keep when it is cancelled, even before droplets are found.
        """
        on_update, on_end = partial(self._on_update, output), partial(self._on_end, output, then)
        job = Job(steps, on_update, on_end, pictures=output is not None)
        self.job, self._output, self._keeps = job, output, keeps
        self._parent.destroyed.connect(job.abandon)
        self._panel.show_busy()
        job.start()

    def cancel(self) -> None:
        """Stop: a fit after the current chunk of steps, keeping what was found; before it at once, keeping nothing."""
        if self.job is None:
            return
        if self._keeps:
            self.job.cancel()
            self._panel.buttons["Cancel"].setEnabled(False)
            self._panel.say("Stopping; what was found so far is kept …")
        else:
            self.job.abandon()
            self._end_job()
            if self._output is not None:
                self._output.restore()
            self._panel.say("Stopped; nothing was changed")

    def close(self) -> None:
        """Stop, and give layers back what they had; nobody sees the panel any more."""
        if self.job is not None:
            self.job.abandon()
            self._end_job()
            if self._output is not None:
                self._output.restore()

    @contextmanager
    def results(self) -> Iterator[None]:
        """While layers of ours come, other ones become active for a moment, which the user has not chosen."""
        self.showing = True
        try:
            yield
        finally:
            self.showing = False

    def _on_update(self, output: layers.Output | None, update: Update) -> None:
        progress, picture = update
        # droplets detected are no result of a fit; but of a part, those of the parts before are
        self._keeps = self._keeps or (progress.n_droplets > 0 and (progress.stage != "detect" or bool(progress.part)))
        bar = self._panel.bar
        bar.setMaximum(progress.steps if progress.step else 0)  # of 0: busy, nobody knows for how long
        bar.setValue(min(progress.step, progress.steps))
        if self.job is not None and not self.job.cancelled:
            self._panel.say(progress_text(progress))
        if picture is not None and output is not None:
            droplets, reconstruction = picture
            first, drawn = output.points is None, self.job.drawn if self.job else lambda: None
            with self.results():
                output.show(droplets, reconstruction, final=False)
            self._shown()
            # a timer of 0 fires when the window has drawn
            if first and output.points is not None:  # to add thousands of points and to draw them takes long for once
                output.points.visible = False
                QTimer.singleShot(0, partial(_reveal, output, drawn))
            else:
                QTimer.singleShot(0, drawn)

    def _on_end(self, output: layers.Output | None, then: Then, outcome: Outcome) -> None:
        cancelled = self.job is not None and self.job.cancelled
        self._end_job(done=outcome.error is None)
        if outcome.error is not None:
            if output is not None:
                output.restore()
            self._panel.say(outcome.error, "warning" if outcome.expected else "error")
        else:
            then(outcome.result, cancelled)
        self._ended()

    def _end_job(self, *, done: bool = False) -> None:
        if self.job is not None:
            self._parent.destroyed.disconnect(self.job.abandon)
        self.job = None
        self._panel.show_idle(done=done)


def _reveal(output: layers.Output, drawn: Callable[[], None]) -> None:
    """Draw points that were added, if they are still there."""
    if output.points in output.viewer.layers:
        output.points.visible = True
    QTimer.singleShot(0, drawn)
