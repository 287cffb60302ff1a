"""Rows of the panel for corrections and sessions: undo, merge, split, pin; open and save; what a crash has left."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QLabel, QMenu, QPushButton, QToolButton, QVBoxLayout, QWidget

from .parts import row
from .words import TIPS

CORRECTIONS = ("Undo", "Redo", "Merge", "Split", "Pin")


class CorrectBox(QWidget):
    """Buttons for corrections, and the menu of sessions.

    Parameters
    ----------
    actions : mapping of str to callable
        For each of `CORRECTIONS`, "Replay", "Open session" and "Save session".

    Attributes
    ----------
    buttons : dict of str to QToolButton
    refit_edits : QAction
        Checked if the surroundings of an edit are refitted.
    """

    def __init__(self, actions: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__()
        self.buttons = {name: _small(name, TIPS[name.lower()]) for name in CORRECTIONS}
        for name, made in self.buttons.items():
            made.clicked.connect(lambda _=False, action=actions[name]: action())
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        self.refit_edits = menu.addAction("Refit around edits")
        self.refit_edits.setCheckable(True)
        self.refit_edits.setChecked(True)
        self.refit_edits.setToolTip(TIPS["refit_edits"])
        replay = menu.addAction("Repeat edits", actions["Replay"])
        replay.setToolTip(TIPS["replay"])
        menu.addSeparator()
        for name in ("Open session", "Save session"):
            menu.addAction(f"{name} …", actions[name])
        more = _small("Session", TIPS["session"])
        more.setMenu(menu)
        more.setPopupMode(QToolButton.InstantPopup)
        more.setStyleSheet("QToolButton { padding-right: 14px }")  # or the arrow lies on the word
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(*self.buttons.values(), more))


class Offer(QWidget):
    """What is left of work that was not saved, to be restored or thrown away; hidden where there is none."""

    def __init__(self, restore: Callable[[], None], discard: Callable[[], None]) -> None:
        super().__init__()
        self.label = QLabel()
        self.label.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.label)
        buttons = QHBoxLayout()
        self.restore, self.discard = QPushButton("Restore"), QPushButton("Discard")
        self.restore.clicked.connect(lambda _=False: restore())
        self.discard.clicked.connect(lambda _=False: discard())
        buttons.addWidget(self.restore)
        buttons.addWidget(self.discard)
        layout.addLayout(buttons)
        self.setVisible(False)

    def show_left(self, text: str, when: float) -> None:
        """Offer what was left at a time, seconds since 1970."""
        self.label.setText(f"Work of {time.strftime('%d %B, %H:%M', time.localtime(when))} was not saved: {text}")
        self.setVisible(True)


def _small(text: str, tip: str) -> QToolButton:
    """A button as wide as its word."""
    made = QToolButton()
    made.setText(text)
    made.setToolTip(tip)
    return made
