"""Learning from corrections: corrected images train the network further, in a process of its own.

The view adds images, starts, and calls `poll` now and then in the thread of the window; all signals come from there.
"""

from __future__ import annotations

import queue
import shlex
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from psygnal import Signal

from ...child_process import ChildProcess, Message
from ...errors import InputError
from ...storage.atomic import writable_folder
from ..autosave import data_folder
from .learning_job import (
    CORRECTED,
    SAID,
    TABLES,
    LearningImage,
    goes_on,
    last_job,
    write_images,
)

CHILD = "napari_droplets.training.child"
GRACE = 30.0
"""Seconds that a process which was asked to stop has to end its step before it is ended."""
TRAINED, CALIBRATED = 0.8, 0.1
"""Shares of the whole work, roughly; the rest is looking at images."""


class Seen(NamedTuple):
    """What was found in an image before and after."""

    name: str
    record: dict[str, Any]
    """Numbers: before, after, new, gone; recall and precision where the image was corrected."""
    new: pd.DataFrame
    """Droplets that only the trained network finds."""
    gone: pd.DataFrame
    """Droplets that it does not find any more."""


class Learned(NamedTuple):
    """How learning ended."""

    weights: Path | None
    """None where nothing was learned to its end."""
    text: str
    failed: bool = False


def default_output(name: str) -> Path:
    """Where the weights for a series are kept unless the user says otherwise: in the data folder."""
    safe = "".join(c if c.isalnum() or c in "-_ ." else "_" for c in name).strip(" .") or "series"
    return data_folder("weights") / f"{safe}.safetensors"


class Learning:
    """One training at a time.

    Attributes
    ----------
    seen : list of Seen
        Of the last training, as far as it is.
    command : str
        The command that does the same.
    """

    progressed = Signal(float, str)
    """Share of all that is done, 0 to 1, and where it is in words."""
    compared = Signal(object)
    """A `Seen`."""
    ended = Signal(object)
    """A `Learned`."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.command = ""
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._child: ChildProcess | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._kill_at = float("inf")
        self._step = 0
        self._looked_at: list[str] = []
        self._folder = Path()

    @property
    def busy(self) -> bool:
        """Whether something is being learned."""
        return self._thread is not None

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self.busy and self._stop.is_set()

    def start(
        self,
        output: str | Path,
        images: Sequence[LearningImage],
        *,
        start: str | Path | None = None,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Train on the images to learn from, and look at the others before and after.

        The same images with the same corrections go on where a training was stopped.

        Parameters
        ----------
        output : path
            Weights to write.
        images : list of LearningImage
        start : path, optional
            Weights to begin from, those of the package by default. Where they are `output` itself, it is begun from
            those that `output` was begun from: what is learned is learned anew from all corrections.
        settings : dict, optional
            Of `detect`, for the images that are looked at.
        **options
            Of `training.recipe.train`, as `steps`.

        Raises
        ------
        InputError
            There is nothing to learn from, or the file cannot be written.
        """
        if self.busy:
            raise InputError("busy: wait for the end, or press Cancel")
        output = Path(output).absolute()
        if output.suffix != ".safetensors":
            raise InputError(f"{output}: name the weights with the ending .safetensors")
        chosen = [image for image in images if image.role == "learn"]
        if not any(image.droplets is not None and len(image.droplets) for image in chosen):
            raise InputError("nothing to learn from: correct the droplets of an image first")
        folder = self._folder = writable_folder(output.parent / f"{output.stem}.learning")
        if start is not None and Path(start).absolute() == output:
            start = last_job(folder).get("start")
        job = {
            "output": str(output),
            "corrected": [str(folder / CORRECTED)],
            "start": None if start is None else str(Path(start).absolute()),
            "settings": settings or {},
            "tables": str(folder / TABLES),
            "options": options,
        }
        parts = ["napari-droplets", "train", "-o", str(output), "--corrected", str(folder / CORRECTED)]
        parts += [] if start is None else ["--start", str(start)]
        parts += ["--steps", str(options["steps"])] if "steps" in options else []
        self.command = shlex.join(parts)
        self.seen, self._step, self._kill_at = [], 0, float("inf")
        self._looked_at = [image.name for image in images if image.role in ("check", "compare")]
        self._stop.clear()
        self._thread = threading.Thread(
            target=self._work, args=(job, list(images), folder), name="napari-droplets learning", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Stop after the step, keeping what is trained; the second time at once."""
        if self.stopping:
            self._kill_at = 0.0
        elif self.busy:
            self._stop.set()
            self._kill_at = time.monotonic() + GRACE
            self._ask_to_stop()

    def close(self) -> None:
        """Nobody listens any more: the process notices, and ends by itself, keeping what is trained."""
        self._stop.set()
        self._ask_to_stop()
        for signal in (self.progressed, self.compared, self.ended):
            signal.disconnect()

    def poll(self) -> None:
        """Tell what has happened since the last time."""
        if self._child is not None and time.monotonic() > self._kill_at:
            self._child.process.kill()
        while not self._messages.empty():
            self._told(self._messages.get())

    def _ask_to_stop(self) -> None:
        if self._child is not None:
            self._child.ask_to_stop()

    def _told(self, message: Message) -> None:
        event = message.pop("event")
        if event == "note":
            self.progressed.emit(0.0, message["message"])
        elif event == "progress":
            self._step = message["step"]
            if message["calibrating"]:
                self.progressed.emit(TRAINED, "Calibrating probabilities …")
            else:
                text = f"Learning: step {message['step']:,}, {message['share']:.0%}"
                self.progressed.emit(TRAINED * message["share"], text)
        elif event == "compared":
            self._see(message)
        else:
            self._end(event, message)

    def _see(self, message: Message) -> None:
        n = len(self.seen)
        after, before = (pd.read_csv(self._folder / TABLES / f"{n}_{when}.csv") for when in ("after", "before"))
        new: list[int] = message.pop("new_rows")
        gone: list[int] = message.pop("gone_rows")
        seen = Seen(self._looked_at[n], message, after.iloc[new], before.iloc[gone])
        self.seen.append(seen)
        done = TRAINED + CALIBRATED
        share = done + (1 - done) * (n + 1) / len(self._looked_at)
        self.progressed.emit(share, f"Looking at images before and after: {n + 1} of {len(self._looked_at)}")
        self.compared.emit(seen)

    def _end(self, event: str, message: Message) -> None:
        if self._thread is not None:
            self._thread.join()
        self._thread = self._child = None
        if event == "done":
            learned = Learned(
                Path(message["output"]), f"Learned in {self._step:,} steps: {Path(message['output']).name}"
            )
        elif event == "stopped":
            kept = f" after {self._step:,} steps, which are kept: Learn goes on from there" if self._step else ""
            learned = Learned(None, f"Stopped{kept}")
        else:
            learned = Learned(None, message["message"], failed=True)
        self.ended.emit(learned)

    # in a thread

    def _work(self, job: dict[str, Any], images: list[LearningImage], folder: Path) -> None:
        end: Message = {"event": "stopped"}
        try:
            self._messages.put({"event": "note", "message": "Preparing the images …"})
            job["compare"] = write_images(images, folder, self._stop.is_set)
            if not self._stop.is_set():
                job["restart"] = not goes_on(job, folder)
                end = self._listened(job, folder)
        except InputError as error:
            end = {"event": "error", "message": str(error)}
        except Exception as error:
            end = {"event": "error", "message": f"something went wrong: {type(error).__name__}: {error}"}
        self._messages.put(end)

    def _listened(self, job: dict[str, Any], folder: Path) -> Message:
        """The last message of the process, once it has ended."""
        with (folder / SAID).open("w+", encoding="utf-8", errors="replace") as said:
            self._messages.put({"event": "note", "message": "Starting to learn …"})
            child = self._child = ChildProcess(CHILD, job, said)
            if self._stop.is_set():
                child.ask_to_stop()
            end: Message | None = None
            for message in child.messages():
                if message["event"] in ("progress", "compared"):
                    self._messages.put(message)
                else:
                    end = message
            if end is None and not self._stop.is_set():
                text = f"learning ended unexpectedly (code {child.process.returncode}): {child.last_words()}"
                end = {"event": "error", "message": text}
            return end or {"event": "stopped"}
