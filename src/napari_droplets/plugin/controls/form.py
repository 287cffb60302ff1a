"""The settings of a fit as a form; what it shows first and allows is what `Settings` says."""

from __future__ import annotations

from dataclasses import fields
from textwrap import fill
from typing import Any

from magicgui.widgets import ComboBox, FileEdit, FloatSlider, FloatSpinBox, LineEdit, SpinBox, Widget
from qtpy.QtWidgets import QComboBox, QDoubleSpinBox

from ...errors import InputError
from ...images import PixelSize, checked_range
from ...images.pixel_size import width_height
from ...settings import AUTO, CHOICES, MAX_CLASSES, MAX_TYPES, Settings

DEFAULTS = {f.name: f.default for f in fields(Settings)}
ABOUT = {f.name: f.metadata for f in fields(Settings)}
MAIN = ("diameter", "types", "steps", "max_seconds", "min_probability")
ADVANCED = (
    "detector",
    "weights",
    "composition",
    "background",
    "population",
    "renderer",
    "classes",
    "noise",
    "scale",
    "channels",
    "intensity_range",
    "seed",
)

FROM_LAYER = "from layer"

# what 0 stands for, and the words that it shows as
ZERO = {
    "diameter": (None, "auto"),
    "types": (AUTO, "auto"),
    "classes": (None, "auto"),
    "max_seconds": (None, "no limit"),
    "noise": (None, "learned"),
    "pixel_size_um": (None, FROM_LAYER),
}

WHOLE = ("types", "classes")
"""Whole numbers with a word for 0, which a SpinBox of magicgui does not show."""

LABELS = {
    "diameter": "Diameter",
    "types": "Components",
    "steps": "Max. steps",
    "max_seconds": "Time limit",
    "min_probability": "Probability ≥",
    "detector": "Detector",
    "weights": "Weights",
    "composition": "Composition",
    "background": "Background",
    "population": "Number",
    "renderer": "Overlaps",
    "classes": "Classes",
    "noise": "Noise",
    "scale": "Work at scale",
    "pixel_size_um": "Pixel size",
    "channels": "Channels",
    "intensity_range": "Intensities",
    "seed": "Seed",
}
MEANING = {
    "free": "free: each 0 to 1",
    "simplex": "simplex: sum is 1",
    "smooth": "smooth: uneven light",
    "uniform": "uniform: one color",
    "inferred": "inferred from image",
    "given": "given: the points",
    "layered": "layered: small on top",
    "nearest": "nearest: side by side",
}
"""Choices as they show, short enough for a narrow panel: the word that the command line takes, and what it means."""
MORE = {
    "min_probability": "Here what is less probable is hidden; move it and see.\n"
    "What is hidden is not used: Refit, Run and a saved table go by the points shown.\n"
    "Points that you added, moved or resized stay.",
    "steps": "A refit stops sooner, too, unless this is changed.",
    "channels": "As 1, or 0, 1, 2.",
    "intensity_range": "As 0, 4095.",
}
"""What concerns the window alone."""
TIP_WIDTH = 90  # letters


def _tip(name: str) -> str:
    """What a setting is, and what stands for None here."""
    about, none = ABOUT[name]["about"], ABOUT[name]["none"]
    text = about if not none else f"{about}; {'0' if name in ZERO else 'empty'}: {none}"
    return "\n".join(filter(None, (fill(text[0].upper() + text[1:], TIP_WIDTH), MORE.get(name))))


def _number(name: str, largest: float, step: float, decimals: int, unit: str = "") -> FloatSpinBox:
    widget = FloatSpinBox(value=DEFAULTS[name] or 0, min=0, max=largest, step=step)
    widget.native.setDecimals(decimals)
    widget.native.setSuffix(unit)
    return widget


def _choice(name: str, words: tuple[str, ...]) -> ComboBox:
    widget = ComboBox(value=DEFAULTS[name], choices=[(MEANING.get(word, word), word) for word in words])
    widget.native.setSizeAdjustPolicy(QComboBox.AdjustToMinimumContentsLengthWithIcon)  # the panel is narrow
    return widget


def _probability(name: str) -> FloatSlider:
    widget = FloatSlider(value=DEFAULTS[name], min=0, max=1, step=0.01)
    readout = widget.native.findChild(QDoubleSpinBox)
    readout.setMaximumWidth(
        2 * readout.fontMetrics().horizontalAdvance("0.00")
    )  # or it takes half of the slider's room
    return widget


class SettingsForm:
    """One input per field of `Settings`, by its name in `inputs`.

    Attributes
    ----------
    inputs : dict of str to magicgui Widget
        Their `value` is what the user sees; `values` translates.
    """

    def __init__(self) -> None:
        self.inputs: dict[str, Widget] = {
            "diameter": _number("diameter", 1e5, 1, 1, " px"),
            "types": _number("types", MAX_TYPES, 1, 0),
            "steps": SpinBox(value=DEFAULTS["steps"], min=1, max=10_000_000, step=500),
            "max_seconds": _number("max_seconds", 1e6, 10, 0, " s"),
            "min_probability": _probability("min_probability"),
            **{name: _choice(name, words) for name, words in CHOICES.items()},
            "weights": FileEdit(value=DEFAULTS["weights"], filter="*.safetensors", nullable=True),
            "classes": _number("classes", MAX_CLASSES, 1, 0),
            "noise": _number("noise", 1, 0.01, 3),
            "scale": _number("scale", 8, 0.25, 2),
            "pixel_size_um": _number("pixel_size_um", 1e6, 0.1, 4, " µm"),
            "channels": LineEdit(value="all"),
            "intensity_range": LineEdit(value="auto"),
            "seed": SpinBox(value=DEFAULTS["seed"], min=0, max=2**31 - 1),
        }
        for name, widget in self.inputs.items():
            widget.tooltip = _tip(name)
            if name in ZERO:
                widget.native.setSpecialValueText(ZERO[name][1])

    def values(self) -> dict[str, Any]:
        """The settings as `napari_droplets.fit` takes them.

        Raises
        ------
        InputError
            One of them cannot be used.
        """
        values = {name: widget.value for name, widget in self.inputs.items()}
        for name in WHOLE:
            values[name] = int(values[name])
        for name, (meaning, _) in ZERO.items():
            values[name] = values[name] or meaning
        values["channels"] = _channels(values["channels"])
        values["intensity_range"] = _range(values["intensity_range"])
        values["weights"] = str(values["weights"]) if values["weights"] else None
        Settings(**values)
        return values

    def record(self) -> dict[str, Any]:
        """What the form says, wrong or not, as JSON can hold it."""
        values = {name: widget.value for name, widget in self.inputs.items()}
        return {k: v if isinstance(v, (bool, int, float, str, type(None))) else str(v) for k, v in values.items()}

    def set_record(self, record: dict[str, Any]) -> None:
        """Say what a record says; what the form does not know is left out.

        Raises
        ------
        InputError
            A value that cannot be shown.
        """
        wrong = []
        for name, value in record.items():
            if name in self.inputs:
                try:
                    self.inputs[name].value = value
                except (TypeError, ValueError):
                    wrong.append(name)
        if wrong:
            raise InputError(f"settings of the session that cannot be used: {', '.join(wrong)}")

    def set(self, **values: Any) -> None:
        """Put settings into the form."""
        for name, value in values.items():
            if name == "channels":
                value = "all" if value is None else ", ".join(map(str, value))
            if name == "intensity_range":
                value = "auto" if value is None else ", ".join(f"{v:g}" for v in value)
            self.inputs[name].value = 0 if name in ZERO and value == ZERO[name][0] else value

    def offer_pixel_size(self, size: PixelSize | None) -> None:
        """Show the size that the file behind the layer states, which is taken where none is given."""
        sides = "" if size is None else " x ".join(f"{side:.4g}" for side in dict.fromkeys(width_height(size)))
        self.inputs["pixel_size_um"].native.setSpecialValueText(f"{sides} µm (file)" if sides else FROM_LAYER)


def _range(text: str) -> tuple[float, float] | None:
    if text.strip().lower() in ("", "auto"):
        return None
    return checked_range(text.replace(",", " ").split())


def _channels(text: str) -> list[int | str] | None:
    if text.strip().lower() in ("", "all"):
        return None
    numbers = text.replace(",", " ").split()
    if all(part.isdigit() for part in numbers):
        return [int(part) for part in numbers]
    names = [part.strip() for part in text.split(",") if part.strip()]
    return [int(part) if part.isdigit() else part for part in names]
