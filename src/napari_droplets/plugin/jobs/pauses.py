"""Pauses that Python makes, kept away from the window: full garbage collections, and waiting for other threads."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QApplication

SWITCH = 1e-3
"""Seconds after which a thread that computes gives way to another one, 5e-3 by default. The window needs the
interpreter dozens of times to draw once, and waits for so long each time."""
FULL = 1000
"""Collections of younger objects until all objects are looked through without being asked to, 10 by default: with
napari and JAX these are a million, and all threads stand still for 0.1 to 0.3 s. Garbage grows by some hundred
megabytes at most until then."""
DUE = 10
"""Collections of younger objects after which a full one is worth it: Python's own number."""
QUIET_MS = 5000
"""How long the pointer has to rest before one is made."""

_open: list[Pauses] = []
_before: list[Any] = []


class Pauses(QObject):
    """While a panel is open, Python looks through all objects when nothing goes on, and threads give way soon.

    What is set for the process is as it was when the last panel is closed.

    Parameters
    ----------
    parent : QObject
    busy : callable
        Whether work goes on.
    """

    def __init__(self, parent: QObject, busy: Callable[[], bool]) -> None:
        super().__init__(parent)
        self._busy, self._at = busy, QCursor.pos()
        self._timer = QTimer(self, interval=QUIET_MS)
        self._timer.timeout.connect(self._look)
        self._timer.start()
        if not _open:
            _before[:] = [gc.get_threshold(), sys.getswitchinterval()]
            young, middle, _ = gc.get_threshold()
            gc.set_threshold(young, middle, FULL)
            sys.setswitchinterval(min(SWITCH, sys.getswitchinterval()))
        _open.append(self)

    def close(self) -> None:
        """Nobody sees the panel any more."""
        if self in _open:
            _open.remove(self)
            if not _open:
                gc.set_threshold(*_before[0])
                sys.setswitchinterval(_before[1])

    def _look(self) -> None:
        at = QCursor.pos()
        rests, self._at = at == self._at and QApplication.mouseButtons() == Qt.NoButton, at
        if rests and not self._busy() and gc.get_count()[2] >= DUE:
            gc.collect()
