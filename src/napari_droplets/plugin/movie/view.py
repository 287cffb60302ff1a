"""The tab Movie: follow, curves of the droplets selected, corrections of tracks, results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QFormLayout, QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from ...tracking.events import GEOMETRIES
from ...workbench.movies.curves import Curve, curves_of, nearest, units_of
from ...workbench.movies.movie import is_followed
from ...workbench.session import Session
from ..controls.parts import button

ACTIONS = ("Follow", "Link", "Cut", "Merge", "Save tables…")
HINT = "Select a droplet, or click its trail in the layer of tracks, to see its curve; click the curve to go there."
FIRST = "Choose an image layer with several frames (tab Find), and press Follow."
"""Where no droplets are followed yet."""
TIPS = {
    "Follow": "Fit all frames of the movie and follow its droplets; results come frame by frame, Cancel keeps them.\n"
    "Pressed again, it goes on where it was stopped.",
    "Link": "The two droplets selected are the same one. Select one, press Link, go to another frame, select the\n"
    "other one there and press again (Shift adds to a selection in napari)",
    "Cut": "One droplet selected: its track begins anew here. Two: they are not the same, or did not merge",
    "Merge": "Those selected become one: the droplet of the latest frame is what the others merge into.\n"
    "Select those that merge, press Merge, go to the next frame, select what they became and press again",
    "Save tables…": "Write droplets.csv, tracks.csv and events.csv into a folder, as `napari-droplets track` does",
    "interval": "Seconds from frame to frame; 0 where nobody knows, then rates are per frame",
    "geometry": "How volume goes with the radius, for merges: disc for droplets pressed flat in a channel",
    "max_gap": "Frames in which a droplet may be missed and still be the same",
}
GEOMETRY_WORDS = {"sphere": "sphere (r³)", "cap": "cap on a surface (r³)", "disc": "disc in a channel (r²)"}
SIZE = (4.0, 3.6)  # inches
COLORS = ("#1f6f8b", "#d98032", "#4f7942", "#9b4f96", "#b03a2e", "#7d6608", "#34495e", "#16a085")
DASHES = ("-", "--", ":", "-.")
"""Of the components of a composition; colors are those of droplets."""


class MovieBox(QWidget):
    """What the user sees of a movie.

    Parameters
    ----------
    session : Session
        Its droplets selected are drawn; what is clicked in the plot is selected in it.
    actions : mapping of str to callable
        What the buttons do, for each of `ACTIONS`.
    go_to : callable
        Called with the number of a droplet whose point was clicked.
    frame : callable
        The frame shown, None where there is none.

    Attributes
    ----------
    interval : QDoubleSpinBox
        Seconds; 0 is unknown.
    geometry : QComboBox
        Its data is a geometry of `track`.
    max_gap : QSpinBox
    note : QLabel
    curves : list of Curve
        What is drawn.
    figure : matplotlib Figure
    """

    def __init__(
        self,
        session: Session,
        actions: Mapping[str, Callable[[], Any]],
        go_to: Callable[[int], None],
        frame: Callable[[], int | None],
    ) -> None:
        super().__init__()
        self.session, self._go_to, self._frame = session, go_to, frame
        self.curves: list[Curve] = []
        self.figure: Any = None
        self._canvas: Any = None
        self._axes: dict[str, Any] = {}
        self._now: list[Any] = []
        self.interval = QDoubleSpinBox()
        self.interval.setDecimals(4)
        self.interval.setRange(0, 1e7)
        self.interval.setSpecialValueText("not known")
        self.interval.setSuffix(" s")
        self.geometry = QComboBox()
        for name in GEOMETRIES:
            self.geometry.addItem(GEOMETRY_WORDS[name], name)
        self.max_gap = QSpinBox()
        self.max_gap.setRange(0, 100)
        self.max_gap.setValue(2)
        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.AllNonFixedFieldsGrow)
        for words, name in (("Interval", "interval"), ("Volume", "geometry"), ("Longest gap", "max_gap")):
            getattr(self, name).setToolTip(TIPS[name])
            form.addRow(words, getattr(self, name))
        self.buttons = {name: button(name, actions[name], TIPS[name]) for name in ACTIONS}
        self.note = QLabel(FIRST)
        self.note.setWordWrap(True)
        self.note.setTextInteractionFlags(Qt.TextSelectableByMouse)
        self._layout = QVBoxLayout(self)
        top, tools = QHBoxLayout(), QHBoxLayout()
        for name in ("Follow", "Save tables…"):
            top.addWidget(self.buttons[name])
        for name in ("Link", "Cut", "Merge"):
            tools.addWidget(self.buttons[name])
        self._layout.addLayout(form)
        self._layout.addLayout(top)
        self._layout.addWidget(self.note)
        self._layout.addLayout(tools)
        self._layout.addStretch(1)

    def say(self, text: str) -> None:
        """In the tab itself: what was done, what is to be done next."""
        self.note.setText(text or (HINT if is_followed(self.session.sheet) else FIRST))

    def draw(self) -> None:
        """Draw the curves of the droplets selected."""
        if not self.isVisible():
            return
        sheet = self.session.sheet
        if self.note.text() in (HINT, FIRST):
            self.say("")
        self.curves = [] if sheet is None else curves_of(sheet, self.session.selected)
        if self._canvas is None and not self.curves:
            return  # matplotlib takes a moment to load
        self._make_canvas()
        self.figure.clear()
        self._axes, self._now = {}, []
        if sheet is not None and self.curves:
            self._plot(*units_of(sheet))
        self.mark_frame()

    def mark_frame(self) -> None:
        """A line where the frame is that is shown."""
        if self._canvas is None:
            return
        for line in self._now:
            line.remove()
        self._now = []
        frame = self._frame()
        at = None if frame is None else self._time_of(frame)
        if at is not None:
            self._now = [ax.axvline(at, color="#888888", lw=0.8) for ax in self._axes.values()]
        self._canvas.draw_idle()

    def showEvent(self, event: Any) -> None:
        """Draw what was not drawn while nobody looked."""
        super().showEvent(event)
        self.draw()

    def _plot(self, time_unit: str, length_unit: str) -> None:
        made = any(curve.composition for curve in self.curves)
        axes = self.figure.subplots(1 + made, 1, sharex=True, squeeze=False).ravel()
        self._axes = dict(zip(("radius", "composition"), axes, strict=False))
        for curve, color in zip(self.curves, COLORS, strict=False):
            self._line(axes[0], curve, curve.radius, color, "-", f"track {curve.track_id}")
            for k, line in enumerate(curve.composition):
                told = f"component {k + 1}" if curve is self.curves[0] else None
                self._line(axes[1], curve, line, color, DASHES[k % len(DASHES)], told)
        axes[0].set_ylabel(f"radius ({length_unit})")
        axes[-1].set_xlabel("time (s)" if time_unit == "s" else "frame")
        axes[0].legend(fontsize=7, frameon=False)
        if made:
            axes[1].set_ylabel("composition")
            axes[1].legend(fontsize=7, frameon=False)
        for ax in axes:
            ax.tick_params(labelsize=8)

    def _line(self, ax: Any, curve: Curve, line: Any, color: str, style: str, label: str | None) -> None:
        ax.plot(curve.time, line.value, style, color=color, lw=1.2, marker="o", ms=2.5, label=label)
        ax.fill_between(curve.time, line.low, line.high, color=color, alpha=0.18, lw=0)

    def _time_of(self, frame: int) -> float | None:
        sheet = self.session.sheet
        if sheet is None or not self.curves:
            return None
        if units_of(sheet)[0] == "frame":
            return float(frame)
        known = sheet.table.loc[sheet.table["frame"] == frame, "time_s"].dropna()
        return float(known.iloc[0]) if len(known) else None

    def _make_canvas(self) -> None:
        if self._canvas is not None:
            return
        from matplotlib.backends.backend_qtagg import FigureCanvasQTAgg
        from matplotlib.figure import Figure

        self.figure = Figure(figsize=SIZE, layout="constrained", facecolor="white")
        self._canvas = FigureCanvasQTAgg(self.figure)
        self._canvas.setMinimumHeight(300)
        self._canvas.mpl_connect("button_press_event", self.on_click)
        self._layout.insertWidget(3, self._canvas, 20)

    def on_click(self, event: Any) -> None:
        """Go to the droplet whose point in the plot is nearest."""
        for name, ax in self._axes.items():
            if event.inaxes is ax:
                (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
                number = nearest(self.curves, event.xdata, event.ydata, (right - left, top - bottom), name)
                if number is not None:
                    self._go_to(number)
