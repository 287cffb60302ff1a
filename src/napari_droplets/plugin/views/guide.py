"""The help: what to do, in a window of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QDialog, QTextBrowser, QVBoxLayout

TEXT = Path(__file__).parents[1] / "help.md"
SIZE = 640, 620  # pixels


def show_help(parent: Any) -> QDialog:
    """Show the help beside the viewer, once."""
    shown = parent.findChild(QDialog, "droplets help")
    if shown is None:
        shown = QDialog(parent)
        shown.setObjectName("droplets help")
        shown.setWindowTitle("Find droplets: help")
        text = QTextBrowser()
        text.setMarkdown(TEXT.read_text(encoding="utf-8"))
        text.setOpenExternalLinks(True)
        QVBoxLayout(shown).addWidget(text)
        shown.resize(*SIZE)
    shown.show()
    shown.raise_()
    return shown
