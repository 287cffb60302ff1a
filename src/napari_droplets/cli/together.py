"""How a batch on several workers shows where it is: how many images are done, what runs, and the time that is left."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

from .terminal import INTERVAL, STAGES, Pace, new_bar

if TYPE_CHECKING:
    from ..progress import Progress


class ProgressOfMany:
    """One bar on a terminal; elsewhere a line when an image begins, and one about all when something has changed.

    Parameters
    ----------
    n_images : int
        Number of images to come.
    quiet : bool
        Show nothing.
    stream : file, optional
        stderr by default.
    """

    def __init__(self, n_images: int, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self.n_images, self.quiet = n_images, quiet
        self.stream = sys.stderr if stream is None else stream
        self.terminal = self.stream.isatty()
        self.done = 0
        self.pace = Pace()
        self.running: dict[str, str] = {}
        """By image, what is done of it."""
        self.last, self.said = time.monotonic(), ""
        self.bar: Any = None

    def begin(self, name: str) -> None:
        """A worker has begun an image."""
        self.running[name] = "reading"
        self.pace.begin()
        if not self.terminal and not self.quiet:
            print(f"{name}: begun", file=self.stream, flush=True)
        self.refresh()

    def update(self, progress: Progress, name: str) -> None:
        """Where the fit of an image is."""
        share = f" {progress.step / progress.steps:.0%}" if progress.step and progress.steps else ""
        self.running[name] = STAGES.get(progress.stage, progress.stage) + share
        self.refresh()

    def end(self, name: str = "", *, skipped: bool = False) -> None:
        """An image is done, or was `skipped`; without a name all are."""
        if name:
            self.done += 1
            if self.running.pop(name, None) and not skipped:
                self.pace.one_more()
        if self.bar is not None:
            self.bar.close()  # a line of results comes now
            self.bar = None

    def refresh(self) -> None:
        """Show it."""
        if self.quiet:
            return
        if self.terminal:
            if self.bar is None:
                form = "{n_fmt}/{total_fmt} images |{bar:10}|{postfix}"
                self.bar = new_bar(self.stream, form, total=self.n_images)
            self.bar.n = self.done
            self.bar.set_postfix_str(self.text(), refresh=False)
            self.bar.refresh()
        elif time.monotonic() - self.last >= INTERVAL:
            self.last = time.monotonic()
            text = f"[{self.done}/{self.n_images}] {self.text()}"
            if text != self.said:
                print(text, file=self.stream, flush=True)
            self.said = text

    def text(self) -> str:
        """Time left, and what runs."""
        running = [f"{name}: {state}" for name, state in self.running.items()]
        left = self.pace.left(self.n_images - self.done)
        return "; ".join(filter(None, (left, *running))) or "waiting for workers"
