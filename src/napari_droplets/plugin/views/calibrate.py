"""Calibrate the pixel: draw a line along a scale bar, type how long it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QComboBox, QDoubleSpinBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from ...errors import InputError
from ..controls.parts import button
from ..layers.scale import calibrate, line_length

UNITS = {"nm": 1e-3, "µm": 1.0, "mm": 1e3}
"""Micrometres in each."""
COLOR = "#e69f00"  # amber, seen on dark and on bright ground
LINE_PIXELS = 2.0
"""Width of the line, pixels of the image."""
DRAW = "Drag a line along the scale bar or ruler in the image, from end to end; then type how long it is:"
TIPS = {"set": "Take this for the length of the line: all layers are scaled, sizes are in micrometres"}


class Calibration(QWidget):
    """The line and its length; shown while the pixel is calibrated.

    Parameters
    ----------
    viewer : napari viewer
    image : callable
        The image layer; raises `InputError` where there is none.
    done : callable
        Called with what to say when the size of a pixel is known.

    Attributes
    ----------
    layer : napari Shapes layer or None
        In which the line is drawn.
    length : QDoubleSpinBox
    unit : QComboBox
    """

    def __init__(self, viewer: Any, image: Callable[[], Any], done: Callable[[str], None]) -> None:
        super().__init__()
        self._viewer, self._image, self._done = viewer, image, done
        self.layer: Any = None
        self._of: Any = None
        self.text = QLabel(DRAW)
        self.text.setWordWrap(True)
        self.length = QDoubleSpinBox()
        self.length.setRange(0, 1e6)
        self.length.setDecimals(3)
        self.length.setValue(100)
        self.unit = QComboBox()
        for name, factor in UNITS.items():
            self.unit.addItem(name, factor)
        self.unit.setCurrentText("µm")
        row = QHBoxLayout()
        row.addWidget(self.length, 1)
        row.addWidget(self.unit)
        row.addWidget(button("Set", self.set, TIPS["set"]))
        row.addWidget(button("Cancel", self.stop, "Change nothing"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addLayout(row)
        self.setVisible(False)

    def begin(self) -> None:
        """Let the user draw the line."""
        if self.layer is not None and self.layer in self._viewer.layers:
            self._viewer.layers.selection.active = self.layer
            return
        image = self._of = self._image()
        scale = abs(float(image.scale[-1]))
        self.layer = self._viewer.add_shapes(
            None,
            ndim=2,
            name="scale bar",
            edge_color=COLOR,
            face_color="transparent",
            edge_width=LINE_PIXELS,
            scale=(scale, scale),
            translate=image.translate[-2:],
            units=tuple(map(str, image.units[-2:])),
        )
        self.layer.mode = "add_line"
        self.layer.events.data.connect(self._measure)
        self.text.setText(DRAW)
        self.setVisible(True)

    def set(self) -> None:
        """Take the length of the line for true."""
        try:
            if self.layer is None or self.layer not in self._viewer.layers:
                raise InputError("the line is gone: press Calibrate… again")
            if self._of not in self._viewer.layers:
                raise InputError("the image is gone: press Calibrate… again")
            length = self.length.value() * self.unit.currentData()
            size = calibrate(self._viewer, self._of, line_length(self.layer), length)
        except InputError as error:
            self.text.setText(str(error))
            return
        sides = " x ".join(f"{s:.4g}" for s in (size if isinstance(size, tuple) else (size,)))
        name = self._of.name
        self.stop()
        self._done(f"A pixel of {name!r} is {sides} µm wide; all layers are scaled")

    def stop(self) -> None:
        """Take the line away."""
        layer, self.layer = self.layer, None
        self.setVisible(False)
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
            if self._of in self._viewer.layers:
                self._viewer.layers.selection.active = self._of

    def _measure(self, _: Any = None) -> None:
        try:
            length = line_length(self.layer) / abs(float(self._of.scale[-1]))
        except InputError:
            return
        self.text.setText(f"The line is {length:,.1f} pixels long. How long is it in truth?")
