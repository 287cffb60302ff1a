"""Learn from corrections: which images, where the weights go, progress, and what is found before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QFileDialog,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from ...errors import InputError
from ...workbench.training.learning import Learned, Learning, Seen, default_output
from ...workbench.training.learning_job import LearningImage, Role
from ..controls.activity import Activity
from ..controls.parts import button, read_only, row
from ..learning import n_edited

POLL_MS = 100
STEPS_OF_BAR = 1000
ROLES: dict[Role, str] = {
    "learn": "learn from it",
    "check": "check with it",
    "compare": "before and after",
    "leave": "leave out",
}
HINT = (
    "Teach the network your series: correct all droplets of one image, better of three, and press Learn. It takes some "
    "minutes; you can go on working."
)
TIPS = {
    "use": "learn from it: all its droplets must be right.\n"
    "check with it: it is corrected, but not learned from; recall and precision are told before and after.\n"
    "before and after: what is found in it with both networks is compared.",
    "output": "The file that keeps what is learned; the setting Weights (Find > Advanced) then points to it",
    "learn": "Train the network further on the corrected images, in the background",
    "cancel": "Stop; what is trained is kept, and Learn goes on from there. Press it again to stop at once",
    "show": "Show what is found newly, and what is not found any more, of the image selected here, as two layers",
    "command": "The command that trains the same",
}
MOST_ROWS = 6
"""Of a table that are seen at once."""
SEEN_COLUMNS = ("Image", "before", "after", "new", "gone", "recall", "precision")


class LearnBox(QWidget):
    """A view of `Learning`.

    Parameters
    ----------
    images : callable
        The images there are; see `plugin.learning`.
    weights : callable
        Weights to begin from, None for those of the package.
    settings : callable
        Settings that droplets are looked for with; raises `InputError` where they cannot be used.
    learned : callable
        Called with the weights when they are ready.
    show : callable
        Called with the name of an image, and the droplets that are new in it and gone.
    say : callable
        Takes a text for the status line, and a level.

    Attributes
    ----------
    model : Learning
    output : QLineEdit
    options : dict
        Of the training, as `steps`; its defaults are meant for all.
    """

    def __init__(
        self,
        images: Callable[[], Sequence[LearningImage]],
        weights: Callable[[], Any],
        settings: Callable[[], dict[str, Any]],
        learned: Callable[[Path], None],
        show: Callable[[str, pd.DataFrame, pd.DataFrame], None],
        say: Callable[..., None],
        *,
        in_window: bool,
    ) -> None:
        super().__init__()
        self.model = Learning()
        self.options: dict[str, Any] = {}
        self._find, self._weights, self._settings = images, weights, settings
        self._learned, self._show, self._say = learned, show, say
        self._images: list[LearningImage] = []
        self._rows: list[tuple[str, str, Role]] = []
        self._chosen: dict[str, Role] = {}
        self.table = _table(("Image", "Droplets", "Use"))
        self.output = QLineEdit()
        self.output.setToolTip(TIPS["output"])
        self.output.setPlaceholderText("in your data folder")
        self.learn_button = button("Learn", self.learn, TIPS["learn"])
        self.cancel_button = button("Cancel", self.model.cancel, TIPS["cancel"])
        self.bar = QProgressBar()
        self.bar.setRange(0, STEPS_OF_BAR)
        self._activity = Activity(self.bar, "Learn from corrections") if in_window else None
        self.status = QLabel(HINT)
        self.status.setWordWrap(True)
        self.seen = _table(SEEN_COLUMNS)
        self.show_button = button("Show new and gone", self.show_selected, TIPS["show"])
        self.command = read_only("Press Learn", TIPS["command"])
        layout = QVBoxLayout(self)
        for widget in (
            self.status,
            self.table,
            row(QLabel("Weights"), self.output, button("…", self._ask_for_output, TIPS["output"])),
            row(self.learn_button, self.cancel_button),
            self.bar,
            self.seen,
            self.show_button,
            row(QLabel("Command"), self.command),
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.model.progressed.connect(self._on_progress)
        self.model.compared.connect(self._on_compared)
        self.model.ended.connect(self._on_ended)
        self._timer = QTimer(self, interval=POLL_MS)
        self._timer.timeout.connect(self.model.poll)
        self._enable()

    def refresh(self) -> None:
        """Read again which images there are; what was chosen for them stays."""
        if self.model.busy:
            return
        try:
            self._images = list(self._find())
        except InputError as error:
            self._images = []
            self.status.setText(str(error))
        rows = [(image.name, _said(image), self._role(image)) for image in self._images]
        if rows == self._rows:
            return
        self._rows = rows
        self.table.setRowCount(0)  # with the boxes in it
        self.table.setRowCount(len(rows))
        for i, image in enumerate(self._images):
            for column, text in enumerate(rows[i][:2]):
                self.table.setItem(i, column, _cell(text))
            self.table.setCellWidget(i, 2, self._role_box(image))
        _fit(self.table)

    def images(self) -> list[LearningImage]:
        """The images with what the user has chosen for them."""
        return [replace(image, role=self._role(image)) for image in self._images]

    def learn(self) -> None:
        """Train on the corrected images, and look at the others before and after."""
        self.refresh()
        try:
            images = self.images()
            learned = [image for image in images if image.role == "learn"]
            output = self.output.text().strip() or default_output(learned[0].name if learned else "series")
            settings = self._settings()
            self.model.start(output, images, start=self._weights(), settings=settings, **self.options)
        except InputError as error:
            self.status.setText(str(error))
            self._say(str(error), "warning")
            return
        self.output.setText(str(output))
        self.command.setText(self.model.command)
        self.command.setCursorPosition(0)
        self.seen.setRowCount(0)
        if self._activity is not None:
            self._activity.begin()
        self._timer.start()
        self._enable()

    def show_selected(self) -> None:
        """Show what is new and what is gone in the image selected, as layers."""
        at = max(self.seen.currentRow(), 0)
        if at < len(self.model.seen):
            seen = self.model.seen[at]
            self._show(seen.name, seen.new, seen.gone)

    def close_down(self) -> None:
        """Nobody sees it any more."""
        self._timer.stop()
        self.model.close()
        if self._activity is not None:
            self._activity.end()

    def showEvent(self, event: Any) -> None:
        """What has changed while nobody looked."""
        super().showEvent(event)
        self.refresh()

    # what comes from the model

    def _on_progress(self, share: float, text: str) -> None:
        self.bar.setValue(round(STEPS_OF_BAR * share))
        stopping = "Stopping after this step; what is trained is kept …"
        self.status.setText(stopping if self.model.stopping else text)

    def _on_compared(self, seen: Seen) -> None:
        r, at = seen.record, self.seen.rowCount()
        self.seen.insertRow(at)
        judged = [
            f"{r[f'{k}_before']:.2f} → {r[f'{k}_after']:.2f}" if f"{k}_after" in r else "" for k in SEEN_COLUMNS[5:]
        ]
        numbers = [f"{r[k]:,}" for k in SEEN_COLUMNS[1:5]]
        for column, text in enumerate([seen.name, *numbers, *judged]):
            self.seen.setItem(at, column, _cell(text))
        for column in (5, 6):
            self.seen.setColumnHidden(column, not any("recall_after" in s.record for s in self.model.seen))
        _fit(self.seen)
        self._enable()

    def _on_ended(self, learned: Learned) -> None:
        self._timer.stop()
        if self._activity is not None:
            self._activity.end()
        self.bar.setValue(STEPS_OF_BAR if learned.weights is not None else 0)
        text = learned.text
        if learned.weights is not None:
            self._learned(learned.weights)
            text += "\nDetect and Run use it now (Find > Advanced > Weights)."
        self.status.setText(text)
        self._say(text.split("\n")[0], "warning" if learned.failed else "")
        self._enable()

    def _enable(self) -> None:
        busy = self.model.busy
        for widget in (self.learn_button, self.table, self.output):
            widget.setEnabled(not busy)
        self.cancel_button.setEnabled(busy)
        for widget in (self.seen, self.show_button):
            widget.setVisible(len(self.model.seen) > 0)

    def _role(self, image: LearningImage) -> Role:
        return self._chosen.get(image.name, image.role)

    def _role_box(self, image: LearningImage) -> QComboBox:
        box = QComboBox()
        box.setToolTip(TIPS["use"])
        for role, words in ROLES.items():
            if image.droplets is not None or role in ("compare", "leave"):
                box.addItem(words, role)
        box.setCurrentIndex(max(0, box.findData(self._role(image))))
        box.currentIndexChanged.connect(lambda _: self._chosen.update({image.name: box.currentData()}))
        return box

    def _ask_for_output(self) -> None:
        text, _ = QFileDialog.getSaveFileName(
            self, "Weights to write", self.output.text() or str(default_output("series")), "Weights (*.safetensors)"
        )
        if text:
            self.output.setText(text if text.endswith(".safetensors") else f"{text}.safetensors")


def _table(columns: Sequence[str]) -> QTableWidget:
    made = QTableWidget(0, len(columns))
    made.setHorizontalHeaderLabels(list(columns))
    made.verticalHeader().setVisible(False)
    made.setSelectionBehavior(QAbstractItemView.SelectRows)
    made.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeToContents)
    made.horizontalHeader().setStretchLastSection(True)
    return made


def _fit(table: QTableWidget) -> None:
    """Make it as high as its rows, or some of them."""
    rows = min(table.rowCount(), MOST_ROWS)
    height = table.horizontalHeader().sizeHint().height() + 2 * table.frameWidth()
    table.setFixedHeight(height + (rows + 1) * table.verticalHeader().defaultSectionSize())


def _said(image: LearningImage) -> str:
    """What is known of the droplets of an image."""
    edited = n_edited(image)
    return "" if image.droplets is None else f"{len(image.droplets):,}" + (f", {edited:,} yours" if edited else "")


def _cell(text: str) -> QTableWidgetItem:
    made = QTableWidgetItem(text)
    made.setFlags(Qt.ItemIsSelectable | Qt.ItemIsEnabled)
    return made
