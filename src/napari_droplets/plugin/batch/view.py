"""The tab Batch: a folder of images in the background, the list of its images, and the way from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QHeaderView,
    QLineEdit,
    QProgressBar,
    QSizePolicy,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...workbench.batch.folder import FolderBatch
from ...workbench.batch.items import Item
from ..controls.parts import button, row, text_label

TIPS = {
    "images": "A folder of images, or a pattern as slides/*.tif",
    "out": "The folder for the results: a folder in it for each image, and the tables of all.\n"
    "One in which a batch was begun, here or on the command line, is gone on with.",
    "same_optics": "How droplets look is learned on the first image and kept for all others, so that compositions\n"
    "and classes mean the same in all: for images taken under one light.",
    "detect_only": "Places and sizes, no compositions: quick.",
    "stacks": "Of stacks: all frames and planes, each as a picture of its own.",
    "start": "Work on all images with the settings of the tab Find. What is done already is kept.",
    "stop": "Stop soon: what is done, and what the running image has reached, is kept; Start goes on.\n"
    "Pressed again: at once.",
    "list": "Click an image that is done to look at it and correct it",
    "previous": "The image before",
    "next": "The next image that was not looked at. Corrections of this one are saved first.",
    "save": "Save corrections into the results of this image, and into the tables of all",
    "export": "Write the droplets of all images, with all corrections, as one table: CSV, Parquet or Excel",
}
STATES = {
    "waiting": ("", None),
    "running": ("…", None),
    "done": ("✓", "#3a9d5d"),
    "failed": ("failed", "#d9534f"),
    "stopped": ("stopped", "#c98a1b"),
}
"""What the list says of states, and the color of that."""
KINDS = "CSV (*.csv);;Parquet (*.parquet);;Excel (*.xlsx)"
LIST_HEIGHT = 110
"""Least height of the list, pixels of the screen."""


class BatchBox(QWidget):
    """Controls and the list of a batch.

    Parameters
    ----------
    folder : FolderBatch
    actions : dict of str to callable
        What is done: `start`, `stop`, `open` (takes the folder), `review` (takes a target), `next`, `previous`, `save`,
        `export` (takes a path).

    Attributes
    ----------
    images, out : QLineEdit
    same_optics, detect_only, stacks : QCheckBox
    buttons : dict of str to QPushButton
    tree : QTreeWidget
        A row for each image; those of a stack have rows for its pictures below.
    """

    def __init__(self, folder: FolderBatch, actions: dict[str, Callable[..., Any]]) -> None:
        super().__init__()
        self._folder, self._actions = folder, actions
        self._rows: dict[str, QTreeWidgetItem] = {}
        self._target: str | None = None
        self.images, self.out = QLineEdit(), QLineEdit()
        self.images.setToolTip(TIPS["images"])
        self.out.setToolTip(TIPS["out"])
        self.same_optics = QCheckBox("One light: same optics for all")
        self.detect_only = QCheckBox("Detect only")
        self.stacks = QCheckBox("All pictures of stacks")
        for name in ("same_optics", "detect_only", "stacks"):
            getattr(self, name).setToolTip(TIPS[name])
        self.detect_only.toggled.connect(lambda on: self.same_optics.setDisabled(on))
        self.buttons = {
            "start": button("Start", actions["start"], TIPS["start"]),
            "stop": button("Stop", actions["stop"], TIPS["stop"]),
            "previous": button("◀", actions["previous"], TIPS["previous"]),
            "next": button("Next ▶", actions["next"], TIPS["next"]),
            "save": button("Save corrections", actions["save"], TIPS["save"]),
            "export": button("Export all…", self._export, TIPS["export"]),
        }
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.count = text_label(2)
        self.error = text_label(2)
        self.error.setTextInteractionFlags(Qt.TextSelectableByMouse)
        self.tree = self._list()
        self._lay_out()
        folder.changed.connect(self._on_changed)
        self.update_buttons()

    def show_target(self, target: str | None) -> None:
        """Mark the image that is looked at."""
        self._target = target
        found = self._rows.get(target or "")
        self.tree.blockSignals(True)
        self.tree.setCurrentItem(found)
        self.tree.blockSignals(False)
        if found is not None:
            self.tree.scrollToItem(found)
        self.update_buttons()

    def update_buttons(self, *, idle: bool = True) -> None:
        """What can be done now; while an image is read or saved (not `idle`) no other one is opened."""
        folder = self._folder
        self.buttons["start"].setEnabled(not folder.running)
        self.buttons["stop"].setEnabled(folder.running)
        some = bool(folder.targets())
        self.buttons["next"].setEnabled(idle and some)
        self.buttons["previous"].setEnabled(idle and some)
        self.buttons["save"].setEnabled(idle and self._target is not None)
        self.buttons["export"].setEnabled(some)

    def close_down(self) -> None:
        """Let go of the folder."""
        self._folder.changed.disconnect(self._on_changed, missing_ok=True)

    def _on_changed(self, names: Any) -> None:
        folder = self._folder
        if names is None:
            self._fill()
        else:
            for name in names:
                if name in folder.items and name in self._rows:
                    self._write(folder.items[name])
        self.count.setText(folder.text())
        counts = folder.counts()
        self.bar.setMaximum(max(1, len(folder.items)))
        self.bar.setValue(counts.get("done", 0) + counts.get("failed", 0))
        self._say_error()
        self.update_buttons()

    def _fill(self) -> None:
        self.tree.blockSignals(True)
        self.tree.clear()
        self._rows.clear()
        for item in self._folder.items.values():
            self._rows[item.name] = QTreeWidgetItem(self.tree)
            self._write(item)
        self.tree.blockSignals(False)
        if self._target is not None:
            self.show_target(self._target)

    def _write(self, item: Item) -> None:
        """What the list says of an image."""
        line, seen = self._rows[item.name], self._folder.seen
        word, color = STATES.get(item.state, (item.state, None))
        word = item.progress or word
        if item.edits:
            word = f"{word} {item.edits} ✎"
        line.setText(0, item.label)
        line.setText(1, word)
        line.setText(2, "" if item.n_droplets is None else f"{item.n_droplets:,}")
        line.setTextAlignment(2, Qt.AlignRight | Qt.AlignVCenter)
        line.setData(0, Qt.UserRole, item.targets[0] if len(item.targets) == 1 and not item.pictures else None)
        line.setToolTip(0, str(item.path))
        line.setToolTip(1, item.error or ("" if not item.edits else f"{item.edits} corrections"))
        line.setData(1, Qt.ForegroundRole, QColor(color) if color else None)
        font = line.font(0)
        font.setBold(bool(item.targets) and not set(item.targets) <= seen)  # as mail that nobody has read
        line.setFont(0, font)
        for i, target in enumerate(item.targets if item.pictures else ()):
            below = line.child(i) or QTreeWidgetItem(line)
            below.setText(0, target.split("/")[1].replace("_", " "))
            below.setData(0, Qt.UserRole, target)
            font.setBold(target not in seen)
            below.setFont(0, font)
            self._rows[target] = below

    def _say_error(self) -> None:
        """The error of the image that is clicked, else of the first that failed."""
        line = self.tree.currentItem()
        item = self._folder.items.get(next((n for n, r in self._rows.items() if r is line), ""))
        if item is None or not item.error:
            item = next((i for i in self._folder.items.values() if i.error), None)
        text = "" if item is None else str(item.error)
        self.error.setText(text if item is None or item.label in text else f"{item.label}: {text}")

    def _clicked(self, line: QTreeWidgetItem, _: int = 0) -> None:
        self._say_error()
        target = line.data(0, Qt.UserRole)
        if target:
            self._actions["review"](target)

    def _export(self) -> None:
        if self._folder.out is None:
            return
        start = str(self._folder.out.parent / f"{self._folder.out.name} droplets.csv")
        text, kind = QFileDialog.getSaveFileName(self, "Export the droplets of all images", start, KINDS)
        if text:
            path = Path(text)
            wanted = next((s for s in (".csv", ".parquet", ".xlsx") if f"*{s}" in kind), ".csv")
            self._actions["export"](path if path.suffix else path.with_suffix(wanted))

    def _choose_images(self) -> None:
        text = QFileDialog.getExistingDirectory(self, "Folder of images", self.images.text())
        if text:
            self.images.setText(text)
            if not self.out.text():
                self.out.setText(f"{text.rstrip('/')} results")

    def _choose_out(self) -> None:
        text = QFileDialog.getExistingDirectory(self, "Folder for results", self.out.text() or self.images.text())
        if text:
            self.out.setText(text)
            self._actions["open"](text)

    def _list(self) -> QTreeWidget:
        tree = QTreeWidget()
        tree.setColumnCount(3)
        tree.setHeaderLabels(["Image", "State", "Droplets"])
        tree.setToolTip(TIPS["list"])
        tree.setUniformRowHeights(True)
        tree.setSelectionMode(QAbstractItemView.SingleSelection)
        tree.setMinimumHeight(LIST_HEIGHT)
        tree.setSizePolicy(QSizePolicy.Expanding, QSizePolicy.Expanding)
        header = tree.header()
        header.setStretchLastSection(False)
        header.setSectionResizeMode(0, QHeaderView.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeToContents)
        tree.itemClicked.connect(self._clicked)
        return tree

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.AllNonFixedFieldsGrow)
        form.addRow("Images", row(self.images, button("…", self._choose_images, TIPS["images"])))
        form.addRow("Results", row(self.out, button("…", self._choose_out, TIPS["out"])))
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.same_optics)
        layout.addWidget(row(self.detect_only, self.stacks))
        layout.addWidget(row(self.buttons["start"], self.buttons["stop"]))
        layout.addWidget(self.bar)
        layout.addWidget(self.count)
        layout.addWidget(row(self.buttons["previous"], self.buttons["next"]))  # in sight however small the window is
        layout.addWidget(self.tree, 1)
        layout.addWidget(self.error)
        layout.addWidget(row(self.buttons["save"], self.buttons["export"]))
