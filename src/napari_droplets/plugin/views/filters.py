"""The filters: sliders on a histogram of diameters, classes, misfit, border and region, live while they are moved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from qtpy.QtCore import QRectF, Qt, QTimer
from qtpy.QtGui import QColor, QPainter, QPalette
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleRangeSlider, QLabeledDoubleSlider

from ...droplets import Droplets
from ...errors import InputError
from ...images.pixel_size import mean_side
from ...images.region import Region
from ...plot.colors import SAFE_COLORS
from ...workbench.doubtful import numbers
from ...workbench.filters import Filters, classes_of, passes
from ...workbench.session import Session

BINS = 40
HISTOGRAM_HEIGHT = 56
SOON_MS = 20
"""A slider that is dragged tells faster than thousands of points can be drawn."""
WHOLE = "the whole image"
KEPT = "kept"
"""In place of a layer: a region that is a filter, but no layer is known in which it was drawn."""
TIPS = {
    "min_probability": "Hide droplets that are less probable. Those that you added, moved, resized or confirmed stay.",
    "diameter": "Hide smaller and larger droplets; the bars say how many there are of each diameter",
    "misfit": "Hide droplets that the model explains worse: residuals (root mean square) over the noise, about 1\n"
    "where all is explained",
    "border": "Droplets that the border of the image cuts are measured less well, and large ones are cut more often",
    "region": "Show the droplets with their center in what is drawn in a Shapes layer, or painted in a Labels layer",
    "all": "Take all filters off but the probability",
}


class FilterBox(QWidget):
    """What is shown of the droplets. Hidden ones are not deleted.

    Parameters
    ----------
    session : Session
        Its `filters` are set and followed.
    region_layers : callable
        The layers that can be a region.
    region_of : callable
        What such a layer encloses of the image; raises `InputError` where it is nothing.
    more : sequence of QWidget
        What else says how droplets are shown.
    """

    def __init__(
        self,
        session: Session,
        region_layers: Callable[[], list[Any]],
        region_of: Callable[[Any], Region | None],
        more: Sequence[QWidget] = (),
    ) -> None:
        super().__init__()
        self.session = session
        self._region_layers, self._region_of = region_layers, region_of
        self._setting = self._telling = False
        self._unit, self._side = "px", 1.0
        self._watched: Any = None
        self.histogram = Histogram()
        self.diameter = QDoubleRangeSlider(Qt.Horizontal)
        self.low, self.high = _spin(), _spin()
        self.probability = _slider(0, 1, 0, TIPS["min_probability"])
        self.misfit = _slider(0, 10, 10, TIPS["misfit"])
        self.border = QCheckBox("Those cut by the border, too")
        self.border.setToolTip(TIPS["border"])
        self.region = QComboBox()
        self.region.setToolTip(TIPS["region"])
        self.classes = QWidget()
        self.count = QLabel()
        self.count.setWordWrap(True)
        self.show_all = QPushButton("Show all")
        self.show_all.setToolTip(TIPS["all"])
        self._class_boxes: dict[str, QCheckBox] = {}
        self._soon = QTimer(self, singleShot=True, interval=SOON_MS)
        self._soon.timeout.connect(self._set)
        self._later = QTimer(self, singleShot=True, interval=SOON_MS)
        self._later.timeout.connect(self.read)
        self._lay_out(more)
        self._connect()
        self.reset_choices()
        self.read()

    def reset_choices(self, _: Any = None) -> None:
        """Read the layer list again."""
        chosen = self.region.currentData()
        self._setting = True
        self.region.clear()
        self.region.addItem(WHOLE, None)
        for layer in self._region_layers():
            self.region.addItem(layer.name, layer)
        if chosen == KEPT:
            self.region.addItem(f"{self.session.filters.get('region_name') or 'a region'} (as it was)", KEPT)
        at = self.region.findData(chosen)
        self._setting = False
        self.region.setCurrentIndex(max(at, 0))
        if at < 0 and chosen is not None:
            self._set()

    def _lay_out(self, more: Sequence[QWidget]) -> None:
        sizes = QVBoxLayout()
        sizes.setSpacing(0)
        for widget in (self.histogram, self.diameter):
            widget.setToolTip(TIPS["diameter"])
            sizes.addWidget(widget)
        ends = QHBoxLayout()
        ends.addWidget(self.low)
        ends.addStretch(1)
        ends.addWidget(self.high)
        sizes.addLayout(ends)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.AllNonFixedFieldsGrow)
        form.addRow("Diameter", sizes)
        form.addRow("Probability ≥", self.probability)
        form.addRow("Misfit ≤", self.misfit)
        form.addRow("Classes", self.classes)
        form.addRow("Border", self.border)
        form.addRow("Region", self.region)
        QHBoxLayout(self.classes).setContentsMargins(0, 0, 0, 0)
        self._form = form
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        last = QHBoxLayout()
        last.addWidget(self.count, 1)
        last.addWidget(self.show_all)
        layout.addLayout(last)
        for widget in more:
            layout.addWidget(widget)
        layout.addStretch(1)

    def _connect(self) -> None:
        self.diameter.valueChanged.connect(self._dragged)
        for spin in (self.low, self.high):
            spin.valueChanged.connect(self._typed)
        for slider in (self.probability, self.misfit):
            slider.valueChanged.connect(self._changed)
        self.border.toggled.connect(self._changed)
        self.region.currentIndexChanged.connect(self._region_chosen)
        self.show_all.clicked.connect(self.take_off)
        for signal in (self.session.sheet_changed, self.session.table_changed):
            signal.connect(self._read_soon)
        self.session.filters_changed.connect(self._on_filters)

    def take_off(self) -> None:
        """Take all filters off but the probability."""
        off = {name: None for name in Filters().__dict__ if name != "min_probability"}
        self.session.set_filters(**off)

    # from the user

    def _dragged(self, ends: tuple[float, float]) -> None:
        if not self._setting:
            self._setting = True
            self.low.setValue(ends[0])
            self.high.setValue(ends[1])
            self._setting = False
            self._changed()

    def _typed(self) -> None:
        if not self._setting:
            self._setting = True
            self.diameter.setValue((min(self.low.value(), self.high.value()), self.high.value()))
            self._setting = False
            self._changed()

    def _changed(self, _: Any = None) -> None:
        if not self._setting:
            self._soon.start()

    def _region_chosen(self, _: Any = None) -> None:
        """Follow the layer that is chosen while it is drawn in."""
        if self._watched is not None:
            self._watched.events.set_data.disconnect(self._changed)
        chosen = self.region.currentData()
        self._watched = None if chosen == KEPT else chosen
        if self._watched is not None:
            self._watched.events.set_data.connect(self._changed)
        self._changed()

    def _set(self) -> None:
        """Say to the session what the controls say."""
        low, high = self.diameter.value()
        at_low, at_high = low <= self.diameter.minimum(), high >= self.diameter.maximum()
        filters = Filters.of(self.session.filters)
        region, name = (filters.region, filters.region_name) if self.region.currentData() == KEPT else (None, None)
        if self._watched is not None:
            try:
                region, name = self._region_of(self._watched), self._watched.name
            except InputError as error:
                self.count.setText(str(error))
                return
        self._telling = True
        hidden = tuple(word for word, box in self._class_boxes.items() if not box.isChecked())
        self.session.set_filters(
            min_probability=self.probability.value() or None,
            min_diameter=None if at_low else low / self._side,
            max_diameter=None if at_high else high / self._side,
            max_misfit=None if self.misfit.value() >= self.misfit.maximum() else self.misfit.value(),
            hidden_classes=hidden or None,
            cut_by_border=None if self.border.isChecked() else False,
            region=region,
            region_name=name,
        )
        self._telling = False

    # from the session

    def _read_soon(self) -> None:
        sheet = self.session.sheet
        if sheet is None or not sheet.running:  # what is being found is shown all
            self._later.start()

    def read(self) -> None:
        """Show what the filters are, over the droplets that there are now."""
        sheet, filters = self.session.sheet, Filters.of(self.session.filters)
        table = None if sheet is None else sheet.table
        self._setting = True
        if table is not None and len(table):
            pixel = Droplets.from_dataframe(table).pixel_size_um
            self._unit, self._side = ("px", 1.0) if pixel is None else ("µm", mean_side(pixel))
            diameter = 2 * self._side * table["radius"].to_numpy(float)
            self.histogram.set_values(diameter)
            low, high = self.histogram.range
            self.diameter.setRange(low, high)
            for spin in (self.low, self.high):
                spin.setRange(low, high)
                spin.setSuffix(f" {self._unit}")
            misfit = numbers(table, "misfit")
            known = np.isfinite(misfit).any()
            self.misfit.setMaximum(float(np.ceil(10 * np.nanmax(misfit)) / 10) if known else 10.0)
            self._form.setRowVisible(self.misfit, bool(known))
            self._form.setRowVisible(self.probability, "p_present" in table)
        self._set_classes([] if table is None else classes_of(table), filters.hidden_classes)
        lowest, highest = self.diameter.minimum(), self.diameter.maximum()
        ends = (
            lowest if filters.min_diameter is None else filters.min_diameter * self._side,
            highest if filters.max_diameter is None else filters.max_diameter * self._side,
        )
        self.diameter.setValue(ends)
        self.low.setValue(ends[0])
        self.high.setValue(ends[1])
        self.probability.setValue(filters.min_probability)
        self.misfit.setValue(self.misfit.maximum() if filters.max_misfit is None else filters.max_misfit)
        self.border.setChecked(filters.cut_by_border)
        kept = self.region.findData(KEPT)
        if filters.region is None:
            self.region.setCurrentIndex(0)
            self._watched = None
        elif self._watched is None and kept < 0:  # of a session that was opened, or a script
            self.region.addItem(f"{filters.region_name or 'a region'} (as it was)", KEPT)
            self.region.setCurrentIndex(self.region.count() - 1)
        self._setting = False
        self._tell_count()

    def _set_classes(self, words: list[str], hidden: tuple[str, ...]) -> None:
        if words != list(self._class_boxes):
            for box in self._class_boxes.values():
                box.setParent(None)
                box.deleteLater()
            self._class_boxes = {word: QCheckBox(self.session.class_name(word)) for word in words}
            for box in self._class_boxes.values():
                self.classes.layout().addWidget(box)
                box.toggled.connect(self._changed)
        for word, box in self._class_boxes.items():
            box.setChecked(word not in hidden)
            box.setText(self.session.class_name(word))
        self._form.setRowVisible(self.classes, bool(words))

    def _on_filters(self, _: Any = None) -> None:
        """Filters were set, here or by others: a session that was opened, a script."""
        if self._telling:
            self._tell_count()
        else:
            self.read()

    def _tell_count(self) -> None:
        """Tell how many pass."""
        sheet = self.session.sheet
        if sheet is None or not len(sheet.table):
            self.count.setText("No droplets yet")
            return
        shown = passes(Filters.of(self.session.filters), sheet.table, sheet.image.shape)
        self.histogram.set_shown(shown)
        self.count.setText(f"{shown.sum():,} of {len(shown):,} shown")


class Histogram(QWidget):
    """How many droplets there are of each diameter: bright those shown, pale those hidden."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HISTOGRAM_HEIGHT)
        self._values = np.zeros(0)
        self._shown = np.zeros(0, bool)
        self.range = (0.0, 1.0)

    def set_values(self, values: np.ndarray) -> None:
        """Diameters (N,)."""
        self._values, self._shown = values, np.ones(len(values), bool)
        low, high = float(values.min()), float(values.max())
        pad = 1e-3 * max(high - low, 1.0)
        self.range = (np.floor(100 * (low - pad)) / 100, np.ceil(100 * (high + pad)) / 100)
        self.update()

    def set_shown(self, shown: np.ndarray) -> None:
        """Which of them (N,) are shown."""
        if len(shown) == len(self._values):
            self._shown = shown
            self.update()

    def paintEvent(self, _: Any) -> None:
        """Draw the bars."""
        painter, palette = QPainter(self), self.palette()
        edges = np.linspace(*self.range, BINS + 1)
        every, kept = (np.histogram(v, edges)[0] for v in (self._values, self._values[self._shown]))
        most, margin = max(every.max(initial=0), 1), 7  # the handles of the slider are as wide
        width = (self.width() - 2 * margin) / BINS
        pale = palette.color(QPalette.Disabled, QPalette.Text)
        pale.setAlphaF(0.45)
        bright = QColor.fromRgbF(*map(float, SAFE_COLORS[0]))
        for counts, color in ((every, pale), (kept, bright)):
            for i in np.flatnonzero(counts):
                tall = counts[i] / most * self.height()
                painter.fillRect(QRectF(margin + i * width, self.height() - tall, width - 1, tall), color)
        painter.end()


def _slider(low: float, high: float, value: float, tip: str) -> QLabeledDoubleSlider:
    made = QLabeledDoubleSlider(Qt.Horizontal)
    made.setRange(low, high)
    made.setDecimals(2)
    made.setValue(value)
    made.setToolTip(tip)
    return made


def _spin() -> QDoubleSpinBox:
    made = QDoubleSpinBox()
    made.setButtonSymbols(QDoubleSpinBox.NoButtons)
    made.setMinimumWidth(60)
    made.setDecimals(2)
    made.setKeyboardTracking(False)
    made.setToolTip(TIPS["diameter"])
    return made
