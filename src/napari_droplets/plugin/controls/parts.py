"""Pieces that the dock widget is put together from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from magicgui.widgets import ComboBox
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from ..layers.coloring import CHOICES, COMPOSITION, OWN, recolor
from ..layers.points import show_uncertainty
from .words import TIPS, legend_text


def button(text: str, action: Callable[[], None], tip: str) -> QPushButton:
    """A button that does something."""
    made = QPushButton(text)
    made.setToolTip(tip)
    made.clicked.connect(lambda _=False: action())
    return made


def row(*widgets: QWidget) -> QWidget:
    """Widgets side by side."""
    made = QWidget()
    layout = QHBoxLayout(made)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return made


def folded(title: str, rows: QFormLayout) -> QCollapsible:
    """Rows that show when their title is clicked."""
    made, inner = QCollapsible(title), QWidget()
    inner.setLayout(rows)
    made.setDuration(0)
    made.setCollapsedIcon("▸")
    made.setExpandedIcon("▾")
    made.addWidget(inner)
    return made


def scrolled(view: QWidget) -> QScrollArea:
    """A view that scrolls where there is less room than it wants."""
    room = QScrollArea()
    room.setWidget(view)
    room.setWidgetResizable(True)
    room.setFrameShape(QFrame.NoFrame)
    room.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
    room.setMinimumWidth(view.minimumSizeHint().width() + room.verticalScrollBar().sizeHint().width())
    return room


def read_only(hint: str, tip: str) -> QLineEdit:
    """A line of text to copy from."""
    made = QLineEdit()
    made.setReadOnly(True)
    made.setPlaceholderText(hint)
    made.setToolTip(tip)
    return made


def text_label(lines: int) -> QLabel:
    """A text that wraps, with room for some lines from the beginning."""
    label = QLabel()
    label.setWordWrap(True)
    label.setMinimumHeight(lines * label.fontMetrics().lineSpacing())
    label.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.MinimumExpanding)  # long messages wrap
    label.setAlignment(Qt.AlignLeft | Qt.AlignTop)
    return label


def draw_now() -> None:
    """Draw all visible canvases at once.

    Where two layers are removed and new ones added, napari 0.9 may draw with buffers that are gone, and the process
    ends in glDrawArrays. It does not where it has drawn after each removal.
    """
    for widget in QApplication.allWidgets():
        if widget.inherits("QOpenGLWidget") and widget.isVisible():
            widget.grabFramebuffer()


class ColorBox(QWidget):
    """What points are colored by, and what the colors mean.

    Attributes
    ----------
    by : magicgui ComboBox
        Its value is one of `coloring.CHOICES`; the layer that `points` gives, if any, follows it.
    legend : QLabel
    uncertain : QCheckBox
        Whether the widths of rings show how well sizes are known.
    picture, name : callable
        Gives the picture (H, W, C) that droplets have their own color in, or None; what a class is called.
    """

    def __init__(self, points: Callable[[], Any]) -> None:
        super().__init__()
        self._points = points
        self.picture: Callable[[], Any] = lambda: None
        self.name: Callable[[str], str] = "class {}".format
        self.uncertain = QCheckBox("Rings as wide as the rim is uncertain")
        self.uncertain.setToolTip(TIPS["uncertain"])
        self.uncertain.toggled.connect(self.apply)
        self.by = ComboBox(value=COMPOSITION, choices=[(words, column) for column, words in CHOICES.items()])
        self.by.tooltip = TIPS["color"]
        self.by.changed.connect(self.apply)
        self.legend = text_label(2)
        self.legend.setTextFormat(Qt.RichText)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.AllNonFixedFieldsGrow)
        form.addRow("Color by", self.by.native)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.legend)

    def apply(self, _: Any = None) -> None:
        """Color the points as chosen, and say what the colors mean."""
        points = self._points()
        if points is None:
            self.legend.setText("")
            return
        picture = self.picture() if self.by.value == OWN else None
        self.legend.setText(legend_text(recolor(points, self.by.value, picture, self.name)))
        show_uncertainty(points, self.uncertain.isChecked())
