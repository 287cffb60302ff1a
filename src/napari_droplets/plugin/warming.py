"""Compile in the background what the next fit will need, while the user looks at proposals."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from ..droplets import Droplets
from . import work
from .place import Place, Plane

log = logging.getLogger(__name__)

FORM_OF_FIT = ("types", "composition", "background", "population", "renderer", "noise", "scale", "channels")
"""Settings that decide which programs the fit of an image needs."""


class Warmer:
    """One thread at a time that compiles; it goes on while droplets are looked for, and ends before a fit begins.

    A thread of its own and none of napari's: these are waited for when the window closes, and a program that is being
    compiled cannot be interrupted. No daemon either: Python would end under the compiler's feet.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._key: tuple[Any, ...] = ()
        self._done: set[tuple[Any, ...]] = set()

    @property
    def busy(self) -> bool:
        """Whether something is being compiled."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, place: Place, plane: Plane, candidates: Droplets, settings: dict[str, Any]) -> None:
        """Compile what a fit of an image in which these candidates were detected will need, unless it was done."""
        key = (place.layer_id, place.plane, len(candidates), *(str(settings[name]) for name in FORM_OF_FIT))
        if key in self._done or (key == self._key and self.busy and not self._stopped.is_set()):
            return
        self.stop()
        before, stopped = self._thread, threading.Event()
        self._key, self._stopped = key, stopped

        def wanted() -> bool:
            return not stopped.is_set() and threading.main_thread().is_alive()

        def compile_all() -> None:
            if before is not None:
                before.join()
            if wanted() and _quietly(lambda: work.warm(plane, candidates, settings, wanted)) and wanted():
                self._done.add(key)

        self._thread = threading.Thread(target=compile_all, name="napari-droplets compiling")
        self._thread.start()

    def stop(self) -> None:
        """Stop after the program that is being compiled."""
        self._stopped.set()

    def wait(self) -> None:
        """Stop, and wait for that: called from the thread of a fit before anything of it is traced.

        The fit does not lose time by it, as it needs the same program.
        """
        self.stop()
        if self._thread is not None:
            self._thread.join()


def _quietly(action: Callable[[], None]) -> bool:
    """Whether it went well; nobody has asked for it, so that nobody is told otherwise."""
    try:
        action()
    except Exception:
        log.info("nothing was compiled ahead", exc_info=True)
        return False
    return True
