"""The kind of image: a preset, chosen in the panel."""

from __future__ import annotations

from textwrap import fill

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from ...presets import KEYS, PRESETS, preset_settings
from .form import TIP_WIDTH, SettingsForm

OTHER = "own settings"
TIP = "Settings for a kind of image; all of them can be changed below. The tips of the entries say what each assumes."


def preset_box(form: SettingsForm) -> QComboBox:
    """A list of presets that sets the form, and says `OTHER` where the form differs from all of them."""
    box = QComboBox()
    box.setToolTip(TIP)
    for name, preset in PRESETS.items():
        box.addItem(name.capitalize(), name)
        box.setItemData(box.count() - 1, fill(preset.about, TIP_WIDTH), Qt.ToolTipRole)
    box.addItem(OTHER, None)
    setting = [False]

    def choose(_: int) -> None:
        if box.currentData() is not None and not setting[0]:
            setting[0] = True
            form.set(**preset_settings(box.currentData()))
            setting[0] = False

    def follow() -> None:
        if setting[0]:
            return
        setting[0] = True
        now = {key: form.inputs[key].value or None for key in KEYS}
        found = [n for n in PRESETS if {k: v or None for k, v in preset_settings(n).items()} == now]
        same = box.currentData() in found
        box.setCurrentIndex(box.currentIndex() if same else box.findData(found[0]) if found else box.count() - 1)
        setting[0] = False

    box.currentIndexChanged.connect(choose)
    for key in KEYS:
        form.inputs[key].changed.connect(follow)
    return box
