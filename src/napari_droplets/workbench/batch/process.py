"""The process that works on a batch, seen from the side that waits for it; nothing here blocks."""

from __future__ import annotations

import tempfile
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from ...child_process import ChildProcess, Message


class BatchProcess:
    """Starts `napari_droplets.series.child`, hears what it tells, and lets it stop.

    Parameters
    ----------
    order : dict
        What to do, as JSON can hold it: `images`, `out`, `settings`, `detect_only`, `same_optics`, `resume`.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._events: SimpleQueue[Message] = SimpleQueue()
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 - while it lives
        self._child = ChildProcess("napari_droplets.series.child", order, self._errors)
        self._stopping = False
        self._thread = threading.Thread(target=self._hear, name="napari-droplets batch", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended yet, or its end was not taken from `events` yet."""
        return self._thread.is_alive() or not self._events.empty()

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping

    def events(self) -> list[Message]:
        """What it has told since the last call; the last event of all is `end`."""
        found = []
        with suppress(Empty):
            while True:
                found.append(self._events.get_nowait())
        return found

    def stop(self) -> None:
        """Let it stop soon, keeping what the running image has reached; asked again, at once, without that."""
        if self._stopping:
            self._child.process.terminate()
        self._stopping = True
        self._child.ask_to_stop()

    def join(self, seconds: float | None = None) -> None:
        """Wait for its end; for tests and scripts."""
        self._thread.join(seconds)

    def _hear(self) -> None:
        last: Message = {"event": "none"}
        for last in self._child.messages():
            self._events.put(last)
        if last["event"] != "end":
            why = self._child.last_words()
            error = None if self._stopping else f"its process has ended ({why}); Start goes on where it was"
            self._events.put({"event": "end", "error": error, "stopped": self._stopping})
        self._errors.close()
