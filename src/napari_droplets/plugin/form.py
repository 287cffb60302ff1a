"""The settings of a fit as a form; what it shows first and allows is what `Settings` says."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, FileEdit, FloatSlider, FloatSpinBox, LineEdit, SpinBox, Widget
from qtpy.QtWidgets import QDoubleSpinBox

from ..images import PixelSize, checked_range
from ..images.pixel_size import width_height
from ..settings import AUTO, CHOICES, MAX_CLASSES, MAX_TYPES, Settings

DEFAULTS = {f.name: f.default for f in fields(Settings)}
MAIN = ("diameter", "types", "steps", "max_seconds", "min_probability")
ADVANCED = (
    "detector",
    "weights",
    "composition",
    "background",
    "population",
    "renderer",
    "learn_optics",
    "classes",
    "noise",
    "scale",
    "pixel_size_um",
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
    "population": "Population",
    "renderer": "Renderer",
    "learn_optics": "Learn optics",
    "classes": "Classes",
    "noise": "Noise",
    "scale": "Scale",
    "pixel_size_um": "Pixel size",
    "channels": "Channels",
    "intensity_range": "Intensities",
    "seed": "Seed",
}
TIPS = {
    "diameter": "Typical diameter of the droplets in pixels of the image; 0: estimated from the image",
    "types": "Number of numbers that describe what a droplet is made of;\n"
    "0: as many as pixels want that were held out from fits with few and with more, which takes longer",
    "steps": "Most optimization steps; the fit stops sooner when it has settled, a refit as well unless changed",
    "max_seconds": "The result is what was reached by then; 0: no limit",
    "min_probability": "Detected droplets that are less probable (p_present) are hidden; move it and see.\n"
    "What is hidden is not used: Refit, Run and a saved table go by the points shown.\n"
    "Points that you added, moved or resized stay.",
    "detector": "What finds droplets, also for Run to start from. network: trained on simulated images,\n"
    "tells how probable each is; blobs: whatever stands out from the background",
    "weights": "Weights file of the network, as `napari-droplets train --from-fit` makes for a series of images;\n"
    "empty: those of the package. Also for Run to start from",
    "composition": "free: each component on its own, 0 to 1; simplex: fractions that sum to one",
    "background": "smooth: follows uneven illumination; uniform: one color",
    "population": "inferred: droplets may join and leave by what the pixels say; given: exactly those it starts from",
    "renderer": "Which droplets a pixel sees: the nearest one, several blended, or one over the other;\n"
    "auto: the nearest one first, one over the other in the end where that explains the image better",
    "learn_optics": "How droplets look is learned from the image; else it stays as what comes with the package has it",
    "classes": "Number of classes that droplets are sorted into by composition; 0: as many as can be told apart",
    "noise": "Standard deviation of the noise, intensities from 0 to 1; 0: learned from the image",
    "scale": "Work on the image resized by this factor: less is faster; results stay in pixels of the image",
    "pixel_size_um": "Side of a pixel in micrometres; 0: from the layer's scale where its units are lengths,\n"
    "else what the file behind the layer says",
    "intensity_range": "'auto', or the two values of the image that count as 0 and 1, as 0, 4095",
    "channels": "'all', or one or three channels by number, as 1 or 0, 1, 2",
    "seed": "Of all random numbers: the same seed gives the same result",
}


def _number(name: str, largest: float, step: float, decimals: int, unit: str = "") -> FloatSpinBox:
    widget = FloatSpinBox(value=DEFAULTS[name] or 0, min=0, max=largest, step=step)
    widget.native.setDecimals(decimals)
    widget.native.setSuffix(unit)
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
            "types": SpinBox(value=DEFAULTS["types"], min=0, max=MAX_TYPES),
            "steps": SpinBox(value=DEFAULTS["steps"], min=1, max=10_000_000, step=500),
            "max_seconds": _number("max_seconds", 1e6, 10, 0, " s"),
            "min_probability": _probability("min_probability"),
            **{name: ComboBox(value=DEFAULTS[name], choices=words) for name, words in CHOICES.items()},
            "weights": FileEdit(value=DEFAULTS["weights"], filter="*.safetensors", nullable=True),
            "learn_optics": CheckBox(value=DEFAULTS["learn_optics"], text=""),
            "classes": SpinBox(value=DEFAULTS["classes"] or 0, min=0, max=MAX_CLASSES),
            "noise": _number("noise", 1, 0.01, 3),
            "scale": _number("scale", 8, 0.25, 2),
            "pixel_size_um": _number("pixel_size_um", 1e6, 0.1, 4, " µm"),
            "channels": LineEdit(value="all"),
            "intensity_range": LineEdit(value="auto"),
            "seed": SpinBox(value=DEFAULTS["seed"], min=0, max=2**31 - 1),
        }
        for name, widget in self.inputs.items():
            widget.tooltip = TIPS[name]
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
        for name, (meaning, _) in ZERO.items():
            values[name] = values[name] or meaning
        values["channels"] = _channels(values["channels"])
        values["intensity_range"] = _range(values["intensity_range"])
        values["weights"] = str(values["weights"]) if values["weights"] else None
        Settings(**values)
        return values

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
        self.inputs["pixel_size_um"].native.setSpecialValueText(f"{sides} µm, of the file" if sides else FROM_LAYER)


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
