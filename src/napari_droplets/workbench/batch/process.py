"""The process that works on a batch, seen from the side that waits for it; nothing here blocks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

Event = dict[str, Any]


class BatchProcess:
    """Starts `napari_droplets.series.child`, hears what it tells, and lets it stop.

    Parameters
    ----------
    order : dict
        What to do, as JSON can hold it: `images`, `out`, `settings`, `detect_only`, `same_optics`, `resume`.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process lives
        self._process = subprocess.Popen(
            [sys.executable, "-m", "napari_droplets.series.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self._stopping = False
        with suppress(OSError):  # it has ended already, and its end is told
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
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

    def events(self) -> list[Event]:
        """What it has told since the last call; the last event of all is `end`."""
        found = []
        with suppress(Empty):
            while True:
                found.append(self._events.get_nowait())
        return found

    def stop(self) -> None:
        """Let it stop soon, keeping what the running image has reached; asked again, at once, without that."""
        if self._stopping:
            self._process.terminate()
            return
        self._stopping = True
        with suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def join(self, seconds: float | None = None) -> None:
        """Wait for its end; for tests and scripts."""
        self._thread.join(seconds)

    def _hear(self) -> None:
        ended = False
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                with suppress(ValueError):
                    event = json.loads(line)
                    ended = ended or event["event"] == "end"
                    self._events.put(event)
        code = self._process.wait()
        with suppress(OSError, ValueError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        if not ended:
            why = self._last_words() or f"exit code {code}"
            error = None if self._stopping else f"its process has ended ({why}); Start goes on where it was"
            self._events.put({"event": "end", "error": error, "stopped": self._stopping})
        self._errors.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1][:200] if lines else ""
