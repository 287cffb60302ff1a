"""A batch in a process of its own: told what to do in one line of JSON, it tells how far it is in others.

It stops, keeping what the running image has reached, when another line comes or the one that asks is gone.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

TELL_EVERY = 0.5
"""Seconds between two lines about how far an image is."""
NICENESS = 5
"""Where the system knows it: a window that is worked in goes before its batch."""


def main() -> int:
    """Do what the first line of standard input asks for; lines about it go to standard output."""
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", newline="\n")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no line of ours
    order = json.loads(sys.stdin.readline())
    stop = threading.Event()
    threading.Thread(target=_listen, args=(stop,), name="stop", daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    teller = Teller(channel)
    from .tables import message

    error = None
    try:
        _work(order, teller, stop)
    except Exception as problem:
        error = message(problem)
    teller.tell("end", error=error, stopped=stop.is_set())
    return 0


class Teller:
    """Writes what happens, a line each; what nobody reads is not written, and no reason to fail."""

    def __init__(self, channel: TextIO) -> None:
        self._channel, self._told = channel, 0.0

    def tell(self, event: str, **about: Any) -> None:
        """Write a line."""
        try:
            self._channel.write(json.dumps({"event": event} | about) + "\n")
            self._channel.flush()
        except OSError:  # the window is gone; the batch ends soon, as its input has ended, too
            pass

    def progress(self, name: str, progress: Any) -> None:
        """Write how far an image is, now and then."""
        if time.monotonic() - self._told > TELL_EVERY:
            self._told = time.monotonic()
            self.tell("progress", name=name, stage=progress.stage, step=progress.step, steps=progress.steps)


def _work(order: dict[str, Any], teller: Teller, stop: threading.Event) -> None:
    from .batch import Plan, check_output, find_images, name_results, run, state_of, without_masks
    from .tables import message

    plan = Plan.of(
        detect_only=bool(order.get("detect_only")),
        overlay=bool(order.get("overlay", True)),
        measure=order.get("measure"),
        exports=order.get("exports", ()),
        **order["settings"],
    )
    given = order["images"]
    found = [path for one in ([given] if isinstance(given, str) else given) for path in find_images(one)]
    names = name_results(without_masks(found, plan.settings.region))
    out = check_output(order["out"], list(names.values()))
    teller.tell("images", names={name: str(path) for path, name in names.items()})

    def watch(path: Path, progress: Any) -> bool:
        if progress is None:
            teller.tell("begin", name=names[path])
        else:
            teller.progress(names[path], progress)
        return not stop.is_set()

    outcomes = run(
        list(names),
        out,
        plan,
        resume=bool(order.get("resume", True)),
        combine=True,
        same_optics=bool(order.get("same_optics")),
        watch=watch,
        warn=lambda error: teller.tell("warning", text=message(error)),
        wanted=lambda: not stop.is_set(),
    )
    for outcome in outcomes:
        error = None if outcome.error is None else message(outcome.error)
        teller.tell("image", name=names[outcome.path], state=state_of(outcome), error=error)


def _listen(stop: threading.Event) -> None:
    sys.stdin.readline()  # a line, or nothing where the other side is gone
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
