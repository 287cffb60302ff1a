"""A process that works for the window: an order of one line of JSON goes in, lines of JSON come out.

Any further line, or the end of its input, asks it to stop: so it ends, too, when nobody listens any more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

NICENESS = 5
"""By which its priority is lowered where the system knows that: whoever works in the window comes first."""
LAST_LINES, LONGEST = 3, 300
"""Of what a process that failed has said: lines, and letters at most."""

Message = dict[str, Any]
"""One that it tells; its `event` says what happened."""
Tell = Callable[..., None]
"""Called with the event and what belongs to it."""


# in the process


def received(stopped: Callable[[Tell], None] = lambda tell: None) -> tuple[dict[str, Any], Tell, threading.Event]:
    """The order, what tells, and what is set when somebody asks to stop.

    `stopped` is called then, too, with what tells, in another thread.
    """
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no line of ours
    order = json.loads(sys.stdin.readline())
    tell, stop = partial(tell_to, channel), threading.Event()
    threading.Thread(target=_listen, args=(stop, partial(stopped, tell)), name="stop", daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    return order, tell, stop


def tell_to(channel: TextIO, event: str, /, **about: Any) -> None:
    """Write a line; what nobody reads is not written, and no reason to fail."""
    with suppress(OSError):  # the window is gone; the process ends soon, as its input has ended, too
        channel.write(json.dumps({"event": event} | about) + "\n")
        channel.flush()


def _listen(stop: threading.Event, stopped: Callable[[], None]) -> None:
    sys.stdin.readline()  # a line, or nothing where the other side is gone
    stop.set()
    stopped()


# on the side that waits for it


class ChildProcess:
    """Such a process.

    Parameters
    ----------
    module : str
        What is run as ``python -m module``; it calls `received`.
    order : dict
        What to do, as JSON can hold it.
    errors : file
        Where it writes what goes wrong, opened to be read as well, as UTF-8.
    """

    def __init__(self, module: str, order: dict[str, Any], errors: IO[str]) -> None:
        self._errors = errors
        above = str(Path(__file__).parents[1])  # the package, where it is not installed
        paths = os.pathsep.join([above, *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": paths},
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        with suppress(OSError):  # it has ended already, which its messages say
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()

    def messages(self) -> Iterator[Message]:
        """What it tells, until it has ended."""
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                message: Any = None
                with suppress(ValueError):
                    message = json.loads(line)
                if isinstance(message, dict) and "event" in message:
                    yield message
        self.process.wait()
        self.ask_to_stop()  # gives its input back

    def ask_to_stop(self) -> None:
        """Let it end soon, keeping what is reached."""
        with suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.close()

    def last_words(self) -> str:
        """What went wrong, by its last lines, or by its exit code where it said nothing."""
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return " ".join(lines[-LAST_LINES:])[-LONGEST:] or f"exit code {self.process.returncode}"
