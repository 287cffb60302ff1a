"""A view of the session that is drawn soon after a change, once for several, and only while somebody looks."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from ...workbench.session import Session


class DrawnView(QWidget):
    """Draws itself anew `interval` milliseconds after signals that are connected to `draw_soon`."""

    def __init__(self, session: Session, interval: int) -> None:
        super().__init__()
        self.session = session
        self._soon = QTimer(self, singleShot=True, interval=interval)
        self._soon.timeout.connect(self.draw)

    def draw(self) -> None:
        """Show the session as it is."""
        raise NotImplementedError

    def draw_soon(self) -> None:
        """Something has changed; while a fit runs all will change once more."""
        sheet = self.session.sheet
        if self.isVisible() and not (sheet is not None and sheet.running):
            self._soon.start()

    def showEvent(self, event: Any) -> None:
        """Draw what was not drawn while nobody looked."""
        super().showEvent(event)
        self._soon.start()
