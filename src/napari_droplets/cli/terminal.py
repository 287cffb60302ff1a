"""How a run on the command line shows where it is, and how Ctrl-C stops it."""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from ..progress import Progress

INTERVAL = 5.0  # seconds between lines where there is no terminal
STAGES = {
    "optics": "learning optics",
    "detect": "finding droplets",
    "types": "counting components",
    "compile": "compiling",
    "fit": "fitting",
    "posterior": "posterior",
}


class Pace:
    """How fast images get done, and when all will be."""

    def __init__(self) -> None:
        self.start, self.done = math.nan, 0

    def begin(self) -> None:
        """One is begun; time counts from the first on, as what precedes it, as learning optics, is done once."""
        if math.isnan(self.start):
            self.start = time.monotonic()

    def one_more(self) -> None:
        """One more is done; those that were there already do not count."""
        self.done += 1

    def left(self, images: int) -> str:
        """Time left for so many images in words; nothing while there is no telling."""
        if not self.done or not images:
            return ""
        return f"about {duration((time.monotonic() - self.start) / self.done * images)} left"


def duration(seconds: float) -> str:
    """In the unit that fits: 40 s, 12 min, 3.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class ProgressLines:
    """A bar on a terminal; elsewhere plain lines, one for each stage and one every few seconds.

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
        self.begun = 0
        self.pace = Pace()
        self.running = False
        self.name, self.left = "all images", ""  # what is done before the first is begun
        self.stage, self.last = "", -math.inf
        self.bar: Any = None

    def begin(self, name: str) -> None:
        """The next image is begun."""
        self.begun += 1
        self.pace.begin()
        self.running = True
        self.name = name if self.n_images == 1 else f"[{self.begun}/{self.n_images}] {name}"
        left = self.pace.left(1 + self.n_images - self.begun)
        self.left = f"all images: {left}" if left else ""
        self.stage, self.last = "", -math.inf
        if self.quiet:
            return
        if self.terminal:
            self._new_bar("reading")
        else:
            said = f" ({self.left})" if self.left else ""
            print(f"{self.name}: reading{said}", file=self.stream, flush=True)

    def _new_bar(self, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()
        form = "{desc} {percentage:3.0f}%|{bar}|{postfix}"
        self.bar = new_bar(self.stream, form, desc=f"{self.name}: {stage}", unit="step")

    def update(self, progress: Progress, name: str = "") -> None:
        """Show where the running fit is."""
        if self.quiet:
            return
        if self.terminal and self.bar is None:
            self._new_bar(STAGES.get(progress.stage, progress.stage))
        stage = STAGES.get(progress.stage, progress.stage)
        facts = []
        if progress.n_droplets:
            facts.append(f"{progress.n_droplets} droplet{'' if progress.n_droplets == 1 else 's'}")
        if math.isfinite(progress.loss):
            facts.append(f"loss {progress.loss:,.0f}")
        if math.isfinite(progress.seconds_left):
            facts.append(f"at most {progress.seconds_left:.0f} s left")
        now = time.monotonic()
        if self.bar is not None:
            facts += [self.left] if self.left else []
            self.bar.total = progress.steps or None
            self.bar.n = progress.step
            self.bar.set_description_str(f"{self.name}: {stage}", refresh=False)
            self.bar.set_postfix_str(", ".join(facts), refresh=False)
            self.bar.refresh()
        elif progress.stage != self.stage or now - self.last >= INTERVAL:
            if progress.step:
                facts.insert(0, f"step {progress.step} of {progress.steps}")
            print(
                ": ".join([f"{self.name}: {stage}", ", ".join(facts)][: 1 + bool(facts)]), file=self.stream, flush=True
            )
            self.last = now
        self.stage = progress.stage

    def refresh(self) -> None:
        """Nothing happens between two updates."""

    def end(self, name: str = "", *, skipped: bool = False) -> None:
        """The running image is done, or was `skipped` without having begun."""
        if skipped and not self.running:
            self.begun += 1
        elif self.running:
            self.pace.one_more()
        self.running = False
        if self.bar is not None:
            self.bar.close()
            self.bar = None


def new_bar(stream: TextIO, form: str, **options: Any) -> Any:
    """A bar of tqdm over the width of the terminal, which goes when it is closed."""
    from tqdm import tqdm

    size = shutil.get_terminal_size()  # tqdm's own way shows nothing on a terminal that does not tell its size
    return tqdm(file=stream, leave=False, ncols=size.columns - 1, nrows=size.lines, bar_format=form, **options)


class Interrupt:
    """Within this context the first Ctrl-C only sets `asked`; the second one ends the program at once.

    Parameters
    ----------
    loss : str
        What is lost by the second one.
    """

    def __init__(self, loss: str = "this image") -> None:
        self.asked, self.loss = False, loss
        self._previous: Any = None

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)

    def at_once(self) -> None:
        """From now on there is nothing to keep: Ctrl-C raises KeyboardInterrupt, as it usually does."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # not print: the handler may have come in the middle of another one
        os.write(2, f"\nnapari-droplets: stopping; Ctrl-C again ends at once, without keeping {self.loss}\n".encode())
