"""What is on the panel: what can be chosen, settings, buttons, progress, what it says. It does nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from magicgui.widgets import ComboBox
from qtpy.QtWidgets import QFormLayout, QProgressBar, QSizePolicy, QTabWidget, QVBoxLayout, QWidget

from ..layers.regions import region_layers
from ..layers.results import image_layers
from .activity import Activity
from .correct import CorrectBox, Offer
from .form import ADVANCED, LABELS, MAIN, SettingsForm
from .parts import ColorBox, button, folded, read_only, row, scrolled, text_label
from .presets import preset_box
from .words import TIPS

ACTIONS = ("Detect", "Run", "Refit", "Save", "Cancel", "Estimate")
ASK, SHOWN, ALL, CHANNELS = "ask", "shown", "all", "channels"
PLANES = {
    ASK: "the plane shown, if clear",
    SHOWN: "the plane shown",
    ALL: "all",
    CHANNELS: "none: channels of a picture",
}
"""What is done of a stack."""
SESSION_ACTIONS = ("Replay", "Open session", "Save session", "Restore", "Discard")


class Panel(QWidget):
    """The pieces of the dock widget, in their places.

    Parameters
    ----------
    viewer : napari.Viewer
        Whose layers can be chosen.
    actions : mapping of str to callable
        What the buttons do, for each of `ACTIONS`, `CORRECTIONS` and `SESSION_ACTIONS`.
    points : callable
        Gives the Points layer that colors are chosen for, or None.

    Attributes
    ----------
    planes : magicgui ComboBox
        Its value is one of `PLANES`; shown for stacks.
    form : SettingsForm
    image, region : magicgui ComboBox
        Their values are layers; the region may be None, the whole image.
    buttons : dict of str to QPushButton
        By their words.
    command : QLineEdit
    bar : QProgressBar
    status : QLabel
    colors : ColorBox
    tabs : QTabWidget
        The settings first.
    find : QVBoxLayout
        Of the settings.
    pixel_row : QWidget
        The size of a pixel, beside which there is room.
    preset : QComboBox
        Its data is the name of a preset, None where settings are others.
    correct : CorrectBox
    offer : Offer
        Of work that was not saved.
    """

    def __init__(self, viewer: Any, actions: Mapping[str, Callable[[], Any]], points: Callable[[], Any]) -> None:
        super().__init__()
        self._viewer = viewer
        self.form = SettingsForm()
        self.image = ComboBox(choices=self._image_choices, nullable=False)
        self.region = ComboBox(choices=self._region_choices, nullable=False)
        self.region.tooltip = TIPS["region"]
        self.planes = ComboBox(choices=[(words, value) for value, words in PLANES.items()], value=ASK)
        self.planes.tooltip = TIPS["planes"]
        self.buttons = {name: button(name, actions[name], TIPS[name.lower()]) for name in ACTIONS}
        self.command = read_only("Press Detect or Run", TIPS["command"])
        self.bar = QProgressBar()
        self.activity = Activity(self.bar) if hasattr(viewer, "window") else None
        self.preset = preset_box(self.form)
        self.status = text_label(3)
        self.colors = ColorBox(points)
        self.correct = CorrectBox(actions)
        self.offer = Offer(actions["Restore"], actions["Discard"])
        self._lay_out()
        self.show_idle()

    def reset_choices(self) -> None:
        """Read the layer list again."""
        self.image.reset_choices()
        self.region.reset_choices()

    def show_planes(self, image: Any) -> None:
        """Ask for planes where the image is a stack."""
        stack = image is not None and image.ndim > 2
        self._main.setRowVisible(self.planes.native, stack)

    def say(self, text: str, level: str = "") -> None:
        """In the status line; with a level ("info", "warning", "error") as a notification of napari, too."""
        self.status.setText(text)
        if level:
            from napari.utils import notifications

            getattr(notifications, f"show_{level}")(text)

    def add_tab(self, view: QWidget, title: str) -> None:
        """Add a view beside the settings; on a small screen it scrolls."""
        self.tabs.addTab(scrolled(view), title)

    def show_busy(self) -> None:
        """Work has begun, nobody knows for how long."""
        self.bar.setMaximum(0)
        if self.activity is not None:
            self.activity.begin()
        self._enable(idle=False)
        self.say("Starting …")

    def show_idle(self, *, done: bool = False) -> None:
        """Work can begin; the last one was done, or not."""
        if self.activity is not None:
            self.activity.end()
        self.bar.setMaximum(1)
        self.bar.setValue(1 if done else 0)
        self._enable(idle=True)

    def _enable(self, *, idle: bool) -> None:
        for name, made in self.buttons.items():
            made.setEnabled(idle != (name == "Cancel"))

    def _lay_out(self) -> None:
        main, inner = QFormLayout(), QFormLayout()
        main.addRow("Image", self.image.native)
        self._main = main
        main.addRow("Planes", self.planes.native)
        main.addRow("Region", self.region.native)
        main.addRow("Kind of image", self.preset)
        for name in MAIN:
            widget = self.form.inputs[name].native
            main.addRow(LABELS[name], row(widget, self.buttons["Estimate"]) if name == "diameter" else widget)
        self.pixel_row = row(self.form.inputs["pixel_size_um"].native)
        main.addRow(LABELS["pixel_size_um"], self.pixel_row)
        for name in ADVANCED:
            inner.addRow(LABELS[name], self.form.inputs[name].native)
        inner.addRow("Command", self.command)
        for form in (main, inner):
            form.setContentsMargins(0, 0, 0, 0)
            form.setFieldGrowthPolicy(QFormLayout.AllNonFixedFieldsGrow)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.setSizePolicy(QSizePolicy.Preferred, QSizePolicy.Expanding)  # or napari gives the room to nothing
        layout.addWidget(self.offer)
        self.tabs = QTabWidget()
        self.tabs.setStyleSheet("QTabBar::tab { padding: 3px 5px; min-width: 0 }")  # or the last ones are out of sight
        find = QWidget()
        self.find = QVBoxLayout(find)
        self.find.addLayout(main)
        self.find.addWidget(folded("Advanced", inner))
        self.find.addStretch(1)
        self.add_tab(find, "Find")
        layout.addWidget(self.tabs, 1)
        layout.addWidget(row(*(self.buttons[name] for name in ("Detect", "Run"))))
        layout.addWidget(row(*(self.buttons[name] for name in ("Refit", "Save", "Cancel"))))
        layout.addWidget(self.correct)
        layout.addWidget(self.bar)
        layout.addWidget(self.status)
        layout.addWidget(self.colors)

    def _image_choices(self, _: Any = None) -> list[tuple[str, Any]]:
        return [(layer.name, layer) for layer in image_layers(self._viewer)]

    def _region_choices(self, _: Any = None) -> list[tuple[str, Any]]:
        return [("whole image", None), *((layer.name, layer) for layer in region_layers(self._viewer))]
