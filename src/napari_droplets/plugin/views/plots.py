"""Plots in the dock, linked to the selection both ways, saved as they are seen."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from qtpy.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QLabel, QLineEdit, QSpinBox, QVBoxLayout

from ...errors import InputError
from ...settings import MAX_CLASSES
from ...workbench.corrections import classified
from ...workbench.figures import (
    KINDS,
    Shown,
    data_of,
    diameters,
    free_class,
    in_triangle,
    inside,
    of_class,
    shown,
    sizes_between,
    statistics_of,
)
from ...workbench.filters import NO_CLASS, classes_of
from ...workbench.session import Session
from ..controls.parts import button, row
from .drawn import DrawnView

SOON_MS = 250
"""Between a change and the plot that shows it: corrections come one after the other."""
PICKED = "#111111"
SIZE = (4.0, 3.1)  # inches
DPI_SAVED = 300
HEADROOM = 1.35
"""For the statistics, above what is drawn."""
SUFFIXES = {".svg": "Figure (*.svg)", ".png": "Figure (*.png)", ".csv": "Numbers (*.csv)"}
HINTS = {
    "sizes": "Drag across the plot to select the droplets of these diameters.",
    "volume": "Drag across the plot to select the droplets of these diameters.",
    "simplex": "Draw around points to select the droplets.",
    "proportions": "Click a class to select its droplets.",
}
TIPS = {
    "save": "Save the plot as a figure (SVG, PNG), or its numbers (CSV); which filter was on is told in all of them",
    "class": "Make a class of the droplets that are selected, here or on the image; Ctrl-Z takes it back",
    "number": "How many classes there are, by composition",
    "sort": "Sort all droplets into so many classes by their compositions, without a new fit; Ctrl-Z takes it back.\n"
    "Those that you have sorted by hand stay where you put them. Classes lose the names that you gave them.",
    "name": "Give a class a name: it is used in plots, filters and legends, and goes into saved tables",
}


class PlotBox(DrawnView):
    """A plot of the droplets shown.

    Parameters
    ----------
    session : Session
        Its droplets are drawn; what is marked in the plot is selected in it, and the other way round.
    regroup : callable
        Sorts the droplets into so many classes, or (None) as many as can be told apart.

    Attributes
    ----------
    kind : QComboBox
        Its data is one of `KINDS`.
    figure : matplotlib Figure
    """

    def __init__(self, session: Session, regroup: Callable[[int | None], None]) -> None:
        super().__init__(session, SOON_MS)
        self._shown: Shown | None = None
        self._axes: Any = None
        self._marks: list[Any] = []
        self._selectors: list[Any] = []
        self.figure: Any = None
        self._canvas: Any = None
        self.kind = QComboBox()
        for kind, words in KINDS.items():
            self.kind.addItem(words, kind)
        self.kind.currentIndexChanged.connect(lambda _: self.draw())
        self.hint = QLabel()
        self.hint.setWordWrap(True)
        self.classes, self.name = QComboBox(), QLineEdit()
        self.name.setPlaceholderText("its name")
        for made in (self.classes, self.name):
            made.setToolTip(TIPS["name"])
        self.classes.currentIndexChanged.connect(self._show_name)
        self.name.editingFinished.connect(self._rename)
        self.gate_button = button("Make a class", self.make_class, TIPS["class"])
        self.number = QSpinBox(maximum=MAX_CLASSES, specialValueText="as many as can be told")
        self.number.setToolTip(TIPS["number"])
        self.sort_button = button("Sort anew", lambda: regroup(self.number.value() or None), TIPS["sort"])
        self.number_row = row(QLabel("Classes"), self.number, self.sort_button)
        self.save_button = button("Save plot…", self._ask_and_save, TIPS["save"])
        self._layout = QVBoxLayout(self)
        top, middle = QHBoxLayout(), QHBoxLayout()
        top.addWidget(self.kind, 1)
        top.addWidget(self.save_button)
        middle.addWidget(self.classes)
        middle.addWidget(self.name, 1)
        middle.addWidget(self.gate_button)
        self._layout.addLayout(top)
        self._layout.addWidget(self.hint)
        self._layout.addLayout(middle)
        self._layout.addWidget(self.number_row)
        self._layout.addStretch(1)
        for signal in (session.sheet_changed, session.table_changed, session.filters_changed, session.classes_named):
            signal.connect(self.draw_soon)
        session.selection_changed.connect(self._mark)

    def draw(self) -> None:
        """Draw the plot anew."""
        if not self.isVisible():
            return
        self._make_canvas()
        self.figure.clear()
        self._selectors, self._marks = [], []
        self._axes = self.figure.subplots()
        found = self._shown = shown(self.session)
        kind = self.kind.currentData()
        self.hint.setText(HINTS[kind])
        self._show_classes()
        try:
            if found is None:
                raise InputError("No droplets are shown.")
            self._plot(kind, found)
            self._link(kind, found)
        except InputError as error:
            self.figure.clear()
            self._axes = None
            self.hint.setText(str(error))
        if found is not None and found.filters:
            self.figure.supxlabel(f"shown: {found.filters}", fontsize=7)
        self._mark()

    def save(self, path: str | Path) -> list[Path]:
        """Save the plot (.svg, .png) or its numbers (.csv, and beside them the statistics of sizes).

        Raises
        ------
        InputError
            There is nothing to save, or the file cannot be written.
        """
        from ...storage.atomic import write_whole

        path, kind = Path(path), self.kind.currentData()
        if self._shown is None or self._axes is None:
            raise InputError("nothing to save: the plot shows no droplets")
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path}: a plot is saved as {', '.join(SUFFIXES)}")
        if path.suffix.lower() != ".csv":
            write_whole(path, lambda file: self.figure.savefig(file, dpi=DPI_SAVED, facecolor="white"))
            return [path]
        tables = {path: data_of(self._shown, kind)}
        if kind in ("sizes", "volume"):
            tables[path.with_name(f"{path.stem}_statistics.csv")] = statistics_of(self._shown)
        for file, table in tables.items():
            write_whole(file, partial(table.to_csv, index=False, lineterminator="\n"))
        return list(tables)

    def make_class(self) -> None:
        """Make a class of the droplets that are selected."""
        sheet, chosen = self.session.sheet, list(self.session.selected)
        if sheet is None or not chosen:
            self.hint.setText("Select droplets first, here or on the image.")
            return
        name = free_class(sheet.table)
        sheet.edit(classified(sheet.table, chosen, name), "class")
        self.draw()
        self.classes.setCurrentIndex(self.classes.findData(str(name)))
        self.name.setFocus()

    # drawing

    def _make_canvas(self) -> None:
        """Matplotlib takes a moment to load, so that it waits until a plot is seen."""
        if self._canvas is not None:
            return
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=SIZE, layout="constrained", facecolor="white")
        self._canvas = FigureCanvasQTAgg(self.figure)
        self._canvas.setMinimumHeight(260)
        self._canvas.mpl_connect("button_press_event", self._on_click)
        self._layout.insertWidget(1, self._canvas, 20)  # of the room that is left

    def _plot(self, kind: str, found: Shown) -> None:
        from ... import plot

        droplets, options, names = found.droplets, found.options, self._names()
        if kind in ("sizes", "volume"):
            plot.sizes(found.sizes, ax=self._axes, weight="number" if kind == "sizes" else "volume", **options)
            self._axes.set_ylim(0, HEADROOM * self._axes.get_ylim()[1])
        elif kind == "simplex":
            components = [f"component {k + 1}" for k in range(droplets.types)]  # as in all of the window
            plot.simplex(droplets, ax=self._axes, names=components, class_names=names)
            if self._axes.legend_ is not None:
                self._axes.legend_.set_bbox_to_anchor((1.12, 0.9))  # beside the triangle, not on its upper corner
        else:
            plot.proportions(droplets, ax=self._axes, names=names)

    def _names(self) -> list[str] | None:
        """What classes that have numbers are called, from 0 on."""
        words = self._words()
        if not words or not all(w.isdecimal() for w in words):
            return None
        return [self.session.class_name(str(i)) for i in range(max(map(int, words)) + 1)]

    def _words(self) -> list[str]:
        """The classes of all droplets, as text."""
        sheet = self.session.sheet
        return [] if sheet is None else [w for w in classes_of(sheet.table) if w != NO_CLASS]

    def _link(self, kind: str, found: Shown) -> None:
        """What is drawn over the plot selects droplets."""
        from matplotlib.widgets import LassoSelector, SpanSelector

        if kind in ("sizes", "volume"):

            def spanned(low: float, high: float) -> None:
                self.session.select(sizes_between(found, low, high) if high > low else [])

            self._selectors = [SpanSelector(self._axes, spanned, "horizontal", props={"alpha": 0.2})]
        elif kind == "simplex":
            for ax, xy in self._scattered(found):

                def drawn(line: Any, xy: np.ndarray = xy) -> None:
                    self.session.select(inside(found, xy, np.asarray(line, float)))

                self._selectors.append(LassoSelector(ax, drawn))

    def _scattered(self, found: Shown) -> list[tuple[Any, np.ndarray]]:
        """The axes in which droplets are points, and where they are in them (N, 2)."""
        composition = found.droplets.composition
        if composition is None:
            return []
        k = found.droplets.types
        if k == 3:
            return [(self._axes, in_triangle(composition))]
        pairs = [(i, j) for i in range(k) for j in range(i + 1)]  # in the order that they are drawn
        insets = zip(self._axes.child_axes, pairs, strict=True)
        return [(ax, composition[:, [j, i]]) for ax, (i, j) in insets if i != j]

    def _mark(self, _: Any = None) -> None:
        """Show in the plot which droplets are selected."""
        if self._canvas is None or not self.isVisible():
            return
        if self._axes is not None:
            n = len(self.session.selected)
            self.hint.setText(HINTS[self.kind.currentData()] + (f" {n:,} selected." if n else ""))
        for mark in self._marks:
            mark.remove()
        self._marks = []
        found = self._shown
        if found is not None and self._axes is not None:
            picked = np.isin(found.numbers, self.session.selected)
            if picked.any():
                self._mark_these(found, picked)
        self._canvas.draw_idle()

    def _mark_these(self, found: Shown, picked: np.ndarray) -> None:
        kind = self.kind.currentData()
        if kind in ("sizes", "volume"):
            bottom, top = self._axes.get_ylim()
            at = diameters(found.droplets)[picked]
            self._marks = [self._axes.vlines(at, bottom, bottom + 0.06 * (top - bottom), color=PICKED, linewidth=1)]
            self._axes.set_ylim(bottom, top)
        elif kind == "simplex":
            for ax, xy in self._scattered(found):
                made = ax.scatter(*xy[picked].T, s=22, facecolors="none", edgecolors=PICKED, linewidths=0.7)
                self._marks.append(made)

    # from the plot

    def _on_click(self, event: Any) -> None:
        """Select the class that was clicked, or none."""
        found = self._shown
        if self.kind.currentData() != "proportions" or event.inaxes is not self._axes or found is None:
            return
        at, ticks = round(event.xdata), [t.get_text() for t in self._axes.get_xticklabels()]
        words = {self.session.class_name(w): w for w in self._words()} | {w: w for w in self._words()}
        if 0 <= at < len(ticks) and ticks[at] in words:
            self.session.select(of_class(found, words[ticks[at]]))

    # classes

    def _show_classes(self) -> None:
        words = self._words()
        before = self.classes.currentData()
        self.classes.blockSignals(True)
        self.classes.clear()
        for word in words:
            self.classes.addItem(self.session.class_name(word), word)
        self.classes.setCurrentIndex(max(0, self.classes.findData(before)) if words else -1)
        self.classes.blockSignals(False)
        wanted = self.kind.currentData() in ("simplex", "proportions")
        for made in (self.classes, self.name):
            made.setVisible(wanted and bool(words))
        self.gate_button.setVisible(wanted)
        sheet = self.session.sheet
        self.number_row.setVisible(wanted and sheet is not None and len(sheet.fits) == 1)
        self._show_name()

    def _show_name(self, _: Any = None) -> None:
        word = self.classes.currentData()
        self.name.setText("" if word is None else self.session.class_names.get(word, ""))

    def _rename(self) -> None:
        word = self.classes.currentData()
        if word is not None:
            self.session.name_class(word, self.name.text())

    def _ask_and_save(self) -> None:
        name = "" if self.session.sheet is None else self.session.sheet.name
        text, kind = QFileDialog.getSaveFileName(
            self, "Save the plot", f"{name} {self.kind.currentText().lower()}.svg", ";;".join(SUFFIXES.values())
        )
        if not text:
            return
        path = Path(text)
        if path.suffix.lower() not in SUFFIXES:
            path = path.with_name(path.name + next(s for s, words in SUFFIXES.items() if words == kind))
        try:
            self.hint.setText("Saved " + ", ".join(p.name for p in self.save(path)))
        except (InputError, OSError) as error:
            self.hint.setText(str(error))
