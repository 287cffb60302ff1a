"""Compile in the background what the next fit will need, while the user looks at proposals."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ..layers.place import Plane
from . import work

log = logging.getLogger(__name__)

FORM_OF_FIT = ("types", "composition", "renderer", "channels")
"""Settings that decide which programs the fit of an image needs."""


class Warmer:
    """One thread at a time that compiles what was asked for last.

    A fit may start meanwhile: it waits by itself for the program that it needs and that is being compiled.

    A thread of its own and none of napari's: these are waited for when the window closes, and a program that is being
    compiled cannot be interrupted. No daemon either: Python would end under the compiler's feet.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    @property
    def busy(self) -> bool:
        """Whether something is being compiled."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, plane: Plane, candidates: int, settings: dict[str, Any]) -> None:
        """Compile what a fit of an image with so many candidates will need; what is there already takes no time."""
        self.run(lambda wanted: work.warm(plane, candidates, settings, wanted))

    def run(self, make: Callable[[Callable[[], bool]], None]) -> None:
        """Do something that compiles; it is told by what it calls whether it is still wanted."""
        self.stop()
        before, stopped = self._thread, threading.Event()
        self._stopped = stopped

        def wanted() -> bool:
            return not stopped.is_set() and threading.main_thread().is_alive()

        def compile_all() -> None:
            if before is not None:
                before.join()
            try:
                if wanted():
                    make(wanted)
            except Exception:  # nobody has asked for it, so that nobody is told
                log.info("nothing was compiled ahead", exc_info=True)

        self._thread = threading.Thread(target=compile_all, name="napari-droplets compiling")
        self._thread.start()

    def stop(self) -> None:
        """Stop after the program that is being compiled."""
        self._stopped.set()
