"""Nothing is lost: the session is kept on disk after each step, offered again after a crash, saved and opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QFileDialog, QMessageBox

from ..errors import InputError
from ..workbench.autosave import Autosave, discard, left_over
from ..workbench.session import Session
from ..workbench.sheet import Sheet
from ..workbench.storing import SUFFIX, moment_of, save_session
from .controls.panel import Panel
from .desk import Desk
from .files.sessions import place_record, read_session_layers
from .layers import image_layers

SOON_MS = 20
"""Steps that come at once are kept together."""
KIND = f"Session (*{SUFFIX})"


class Keeping(QObject):
    """Keeps the session of a panel.

    Parameters
    ----------
    panel : Panel
    session : Session
    desk : Desk
    elsewhere : callable
        Whether a sheet as it is now is kept elsewhere, as that of an image of a batch in its folder of results.
    """

    def __init__(
        self, panel: Panel, session: Session, desk: Desk, elsewhere: Callable[[Sheet], bool] = lambda _: False
    ) -> None:
        super().__init__(panel)
        self._elsewhere = elsewhere
        self._panel, self._session, self._desk = panel, session, desk
        self.unsaved = False
        self._trouble: list[str] = []
        self.autosave = Autosave(self._trouble.append)
        self._soon = QTimer(self, singleShot=True, interval=SOON_MS)
        self._soon.timeout.connect(self._keep)
        self._window: Any = None
        session.stepped.connect(self._stepped)
        session.filters_changed.connect(self._stepped)
        self.offer()

    @property
    def to_lose(self) -> bool:
        """Whether something is saved neither as a session nor elsewhere."""
        return self.unsaved and not all(self._elsewhere(sheet) for sheet in self._session.sheets)

    def offer(self) -> None:
        """Offer what is left of work that was not saved."""
        left = left_over()
        if left:
            self._panel.offer.show_left(left[0].text, left[0].when)
        else:
            self._panel.offer.setVisible(False)

    def save(self, path: str | Path | None = None) -> None:
        """Save the session as one file; asks for it where none is given.

        Raises
        ------
        InputError
            There is nothing to save, or it cannot be written.
        """
        if not self._session.sheets:
            raise InputError("nothing to save: press Detect or Run first")
        if path is None:
            name = f"{self._session.sheets[-1].image.name}{SUFFIX}"
            text, _ = QFileDialog.getSaveFileName(self._panel, "Save session", name, KIND)
            if not text:
                return
            path = text
        self._session.settings = self._panel.form.record()
        saved = save_session(moment_of(self._session, self._place), Path(path))
        self.unsaved = False
        self._panel.say(f"Saved the session to {saved}")

    def open(self, path: str | Path | None = None) -> list[Any]:
        """Add the layers of a session to the viewer; asks for the file where none is given.

        Raises
        ------
        InputError
            It is no session, or damaged.
        """
        if path is None:
            path, _ = QFileDialog.getOpenFileName(self._panel, "Open session", "", KIND)
            if not path:
                return []
        from napari.layers import Layer

        viewer = self._desk.viewer
        layers = read_session_layers(str(path), image_layers(viewer))
        return [viewer.add_layer(Layer.create(*data)) for data in layers]

    def restore(self) -> None:
        """Open what was left last; it is kept as this session from now on.

        Raises
        ------
        InputError
            It is damaged.
        """
        if left := left_over():
            self.open(left[0].folder)
            self._keep()
            discard(left[0].folder)
        self.offer()

    def discard(self) -> None:
        """Throw away what was left last, and offer what else is left."""
        if left := left_over():
            discard(left[0].folder)
        self.offer()

    def ask_at_close(self, window: Any) -> None:
        """Ask, where the user closes this window while something is not saved."""
        if self._window is None and window is not None:
            self._window = window
            window.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """See the window being closed by the user; scripts are not asked."""
        if event.type() == QEvent.Close and event.spontaneous() and self.to_lose:
            buttons = QMessageBox.Save | QMessageBox.Discard | QMessageBox.Cancel
            box = QMessageBox(
                QMessageBox.Question,
                "Close",
                "The droplets are not saved as a session. They are kept, and offered when you start again.",
                buttons,
                self._panel,
            )
            box.button(QMessageBox.Discard).setText("Close")
            answer = box.exec()
            if answer == QMessageBox.Cancel or (answer == QMessageBox.Save and not self._saved()):
                event.ignore()
                return True
        return False

    def end(self) -> None:
        """The panel is destroyed without being closed, as with a program that ends: what is not saved is kept.

        Nothing of Qt is there any more; the settings are those of the last step.
        """
        self._session.stepped.disconnect(self._stepped, missing_ok=True)
        self._session.filters_changed.disconnect(self._stepped, missing_ok=True)
        keep = self.to_lose
        if keep:
            self.autosave.keep(moment_of(self._session, self._place))
        self.autosave.close(keep=keep)

    def close(self) -> None:
        """The panel is closed: write the last step; what is not saved is kept, and that is said."""
        self._session.stepped.disconnect(self._stepped, missing_ok=True)
        self._session.filters_changed.disconnect(self._stepped, missing_ok=True)
        if self._window is not None:
            self._window.removeEventFilter(self)
            self._window = None
        if self._soon.isActive():
            self._soon.stop()
            self._keep()
        keep = self.to_lose
        if keep:
            text = "The droplets are not saved; they are kept, and offered when the panel is opened again"
            self._panel.say(text, "warning")
        self.autosave.close(keep=keep)

    def _saved(self) -> bool:
        try:
            self.save()
        except InputError as error:
            self._panel.say(str(error), "warning")
        return not self.unsaved

    def _stepped(self) -> None:
        self.unsaved = bool(self._session.sheets)
        if not self._soon.isActive():
            self._soon.start()

    def _keep(self) -> None:
        if self._trouble:
            self._panel.say(f"Your work is not kept on disk: {self._trouble.pop()}", "warning")
            self._trouble.clear()
        self._session.settings = self._panel.form.record()
        moment = moment_of(self._session, self._place)
        if moment.sheets or not self.autosave.unused:
            self.autosave.keep(moment)

    def _place(self, sheet: Any) -> dict[str, Any]:
        return place_record(self._desk.place_of(sheet))
