"""The dock widget: from an image layer to droplets, with progress, cancel and refit."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from magicgui.widgets import ComboBox
from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..images import as_image
from ..inference import fit as fitting
from ..inference import propose
from . import layers
from .correction import corrected
from .form import ADVANCED, DEFAULTS, LABELS, MAIN, SettingsForm
from .job import Job, Outcome, Update

if TYPE_CHECKING:
    import napari.viewer

Steps = Generator[fitting.Progress, bool | None, Any]

STAGES = {
    "estimate": "Estimating the diameter",
    "detect": "Looking for droplets",
    "compile": "Preparing the fit",
    "fit": "Fitting",
    "posterior": "Computing uncertainties",
}


class DropletsWidget(QWidget):
    """Find the droplets of an image layer.

    Scripts use what the buttons use: `run`, `detect`, `refit`, `estimate`, `cancel`, which return at once, and `busy`.

    Attributes
    ----------
    image : magicgui ComboBox
        Its value is the image layer to work on; it follows the active layer.
    form : SettingsForm
        The settings.
    busy : bool
        Whether work is going on.
    result : Fit, Droplets or None
        Of the last work that ended well.
    message : str
        What the status line says.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.form = SettingsForm()
        self.result: Fit | Droplets | None = None
        self._job: Job | None = None
        self.image = ComboBox(choices=self._image_choices, nullable=False)
        self._build()
        self._follow_active()
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            event.connect(self.reset_choices)
        self.viewer.layers.selection.events.active.connect(self._follow_active)
        self._show_idle()

    @property
    def busy(self) -> bool:
        """Whether work is going on."""
        return self._job is not None

    @property
    def message(self) -> str:
        """What the status line says."""
        return self._status.text().replace("\N{NO-BREAK SPACE}", " ")

    def run(self) -> None:
        """Fit the droplets of the image: positions, sizes, compositions and how sure they are."""
        self._start_on_image(partial(_iterate_from, None))

    def detect(self) -> None:
        """Find droplets without fitting: quick, positions and sizes only."""
        self._start_on_image(_detect)

    def refit(self) -> None:
        """Fit again from the points as they are now.

        Of a fit, what was added, moved or deleted stays so. Detected points, and those of a table, are where a fit of
        the whole image starts; it may move them.
        """
        self._guarded(self._refit)

    def estimate(self) -> None:
        """Estimate the typical diameter from the image, and put it into the form."""
        self._guarded(self._estimate)

    def cancel(self) -> None:
        """Stop after the current chunk of steps, keeping what was found so far."""
        if self._job is not None:
            self._job.cancel()
            self._cancel.setEnabled(False)
            self._say("Stopping; what was found so far is kept …")

    def reset_choices(self, event: Any = None) -> None:
        """Read the layer list again (called by napari when it changes)."""
        self.image.reset_choices()

    # what is started

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something that may find the input wrong, and say so rather than raise."""
        if self.busy:
            self._say("Busy: wait for the end, or press Cancel", warn=True)
            return
        try:
            action()
        except InputError as error:
            self._say(str(error), warn=True)

    def _start_on_image(self, steps: Callable[[layers.Plane, dict[str, Any]], Steps]) -> None:
        def action() -> None:
            layer = self._layer()
            place = layers.place_of(layer, self.viewer.dims.point)
            settings = self._settings(layer)
            plane = layers.Plane.of(layer, place)
            output = layers.Output(self.viewer, place)
            self._start(lambda: steps(plane, settings), output)

        self._guarded(action)

    def _refit(self) -> None:
        points = self._points_to_refit()
        tag = layers.tag_of(points, "droplets")
        fit, place = tag["fit"], tag["place"]
        if points.ndim != 2 + len(place.plane):
            raise InputError(f"{points.name}: points of several frames; refit those of one image at a time")
        correction = corrected(tag["table"], points.features, points.data, points.size)
        settings, plane = self.form.values(), cast(Any, None)
        if fit is None or fit.image is None:
            layer = self._image_of(place)
            here = place if place.layer_id == str(layer.unique_id) else layers.place_of(layer, self.viewer.dims.point)
            settings, plane = self._settings(layer), layers.Plane.of(layer, here)
        edits = f"{correction.added} added, {correction.changed} changed, {correction.deleted} deleted"
        if fit is None:  # only detected so far, or a table
            # as priors, uncertainties from these pixels would count the pixels twice
            start = correction.table.drop(columns=["x_sd", "y_sd", "radius_sd"], errors="ignore")
            steps, text = (
                partial(_iterate_from, start, plane, settings),
                f"Fit from these points, which may move: {edits}",
            )
        else:
            # what a fit is made of stays; how long to go on is asked anew, where it is asked at all
            limits = {"max_seconds": settings["max_seconds"]}
            if settings["steps"] != DEFAULTS["steps"]:
                limits["steps"] = settings["steps"]
            steps = partial(_refitting, fit, correction.table, plane, settings["pixel_size_um"], limits)
            text = f"Refit: {edits}"
        self._start(steps, layers.Output(self.viewer, place, points))
        self._say(text)

    def _estimate(self) -> None:
        layer = self._layer()
        place = layers.place_of(layer, self.viewer.dims.point)
        plane, settings = layers.Plane.of(layer, place), self._settings(layer)
        self._start(lambda: _estimating(plane, settings["channels"]), None)

    def _start(self, steps: Callable[[], Steps], output: layers.Output | None) -> None:
        job = Job(steps, partial(self._on_update, output), partial(self._on_end, output))
        self._job = job
        self.destroyed.connect(job.abandon)
        self._show_busy()
        job.start()

    def _settings(self, layer: Any) -> dict[str, Any]:
        settings = self.form.values()
        if settings["pixel_size_um"] is None:
            settings["pixel_size_um"] = layers.pixel_size_um(layer)
        return settings

    def _layer(self) -> Any:
        """The image layer chosen."""
        if self.image.value is None:
            return layers.default_image(self.viewer)  # which says what is missing
        return self.image.value

    def _image_of(self, place: layers.Place) -> Any:
        """The image layer that a place is of, else the one chosen."""
        return next((x for x in self.viewer.layers if str(x.unique_id) == place.layer_id), None) or self._layer()

    def _points_to_refit(self) -> Any:
        """The active Points layer if it is ours, else the topmost of the image chosen."""
        active = self.viewer.layers.selection.active
        if layers.tag_of(active, "droplets"):
            return active
        ours = [layer for layer in self.viewer.layers if layers.tag_of(layer, "droplets")]
        image_id = str(self.image.value.unique_id) if self.image.value is not None else None
        of_image = [layer for layer in ours if layers.tag_of(layer, "droplets")["place"].layer_id == image_id]
        if not ours:
            raise InputError("nothing to refit: press Run first, then correct the points")
        return (of_image or ours)[-1]

    # what comes back, in the main thread

    def _on_update(self, output: layers.Output | None, update: Update) -> None:
        progress, picture = update
        self._bar.setMaximum(max(progress.steps, 1))
        self._bar.setValue(min(progress.step, progress.steps))
        if self._job is not None and not self._job.cancelled:
            self._say(_progress_text(progress))
        if picture is not None and output is not None:
            droplets, reconstruction = picture
            output.show(droplets, reconstruction, final=False)
            # a timer of 0 fires when the window has drawn
            QTimer.singleShot(0, self._job.drawn if self._job else lambda: None)

    def _on_end(self, output: layers.Output | None, outcome: Outcome) -> None:
        cancelled = self._job is not None and self._job.cancelled
        if self._job is not None:
            self.destroyed.disconnect(self._job.abandon)
        self._job = None
        self._show_idle(done=outcome.error is None)
        if outcome.error is not None:
            if output is not None:
                output.restore()
            self._say(outcome.error, warn=outcome.expected, error=not outcome.expected)
        elif output is None:
            self.form.set(diameter=outcome.result)
            self._say(f"Estimated diameter: {outcome.result:.1f} px")
        else:
            self._show_result(output, outcome.result, cancelled)

    def _show_result(self, output: layers.Output, result: Fit | Droplets, cancelled: bool) -> None:
        self.result = result
        if isinstance(result, Fit):
            output.show(result.droplets, result.reconstruction, fit=result)
            droplets = result.droplets
        else:
            output.show(result)
            droplets = result
        if not len(droplets):
            self._say(f"{output.place.name}: no droplets found; set the diameter, or check the image", warn=True)
            return
        parts = [f"{'Stopped' if cancelled else 'Done'}: {len(droplets):,} droplets"]
        if isinstance(result, Fit) and len(result.losses):
            parts.append(f"loss {result.losses[-1][1]:,.0f}")
        if isinstance(result, Fit) and "seconds" in result.summary:
            parts.append(f"{result.summary['seconds']['total']:.0f} s")
        text = _line(parts)
        if output.kept:
            text += f"\n{output.kept!r} was edited and is kept; the result is in {output.points.name!r}"
        self._say(text)

    # the window

    def _image_choices(self, _: Any = None) -> list[tuple[str, Any]]:
        return [(layer.name, layer) for layer in layers.image_layers(self.viewer)]

    def _follow_active(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if layers.is_image(active):
            self.image.reset_choices()
            self.image.value = active

    def _build(self) -> None:
        main = QFormLayout()
        main.addRow("Image", self.image.native)
        for name in MAIN:
            widget = self.form.inputs[name].native
            if name == "diameter":
                self._estimate_button = _button("Estimate", self.estimate, "Estimate the diameter from the image")
                widget = _row(widget, self._estimate_button)
            main.addRow(LABELS[name], widget)
        advanced, inner = QWidget(), QFormLayout()
        for name in ADVANCED:
            inner.addRow(LABELS[name], self.form.inputs[name].native)
        advanced.setLayout(inner)
        fold = QCollapsible("Advanced")
        fold.setDuration(0)
        fold.addWidget(advanced)
        for form in (main, inner):
            form.setContentsMargins(0, 0, 0, 0)
            form.setFieldGrowthPolicy(QFormLayout.AllNonFixedFieldsGrow)

        self._detect = _button("Detect", self.detect, "Find droplets without fitting: quick, no composition")
        self._run = _button("Run", self.run, "Fit positions, sizes and compositions, with uncertainties")
        self._refit_button = _button(
            "Refit",
            self.refit,
            "After Run: fit again around the points you added, moved or deleted; your corrections stay.\n"
            "After Detect, or of an opened table: fit the whole image from these points; they may move.",
        )
        self._cancel = _button("Cancel", self.cancel, "Stop soon and keep what was found")
        self._bar = QProgressBar()
        self._status = QLabel()
        self._status.setWordWrap(True)
        self._status.setMinimumHeight(3 * self._status.fontMetrics().lineSpacing())
        self._status.setSizePolicy(QSizePolicy.Ignored, QSizePolicy.MinimumExpanding)  # long messages wrap
        self._status.setAlignment(Qt.AlignLeft | Qt.AlignTop)

        layout = QVBoxLayout(self)
        layout.addLayout(main)
        layout.addWidget(fold)
        layout.addWidget(_row(self._detect, self._run))
        layout.addWidget(_row(self._refit_button, self._cancel))
        layout.addWidget(self._bar)
        layout.addWidget(self._status)
        layout.addStretch(1)

    def _show_busy(self) -> None:
        self._bar.setMaximum(1)
        self._bar.setValue(0)
        self._enable(idle=False)
        self._say("Starting …")

    def _show_idle(self, *, done: bool = False) -> None:
        self._bar.setMaximum(1)
        self._bar.setValue(1 if done else 0)
        self._enable(idle=True)

    def _enable(self, *, idle: bool) -> None:
        for button in (self._detect, self._run, self._refit_button, self._estimate_button):
            button.setEnabled(idle)
        self._cancel.setEnabled(not idle)

    def _say(self, text: str, *, warn: bool = False, error: bool = False) -> None:
        self._status.setText(text)
        if warn or error:
            from napari.utils import notifications

            (notifications.show_error if error else notifications.show_warning)(text)


# Generators, so that the plane, which may be lazy or large, is read in the thread. It goes to the library as it is:
# intensities are scaled after the channels are chosen.


def _iterate_from(table: Any, plane: layers.Plane, settings: dict[str, Any]) -> Steps:
    return (yield from fitting.iterate(plane, table, **settings))


def _detect(plane: layers.Plane, settings: dict[str, Any]) -> Steps:
    yield _waiting("detect")
    return fitting.detect(plane, **settings)


def _estimating(plane: layers.Plane, channels: list[int] | None) -> Steps:
    yield _waiting("estimate")
    return propose.estimate_diameter(as_image(plane, channels=channels))


def _refitting(
    fit: Fit, table: Any, plane: layers.Plane | None, pixel_size_um: float | None, settings: dict[str, Any]
) -> Steps:
    if fit.image is None:
        size = fit.droplets.pixel_size_um or pixel_size_um
        image = as_image(plane, channels=fit.summary.get("settings", {}).get("channels"), pixel_size_um=size)
        if image.shape != fit.reconstruction.shape:
            raise InputError(
                f"{image.name}: its shape is {image.shape}, but the fit is of {fit.reconstruction.shape}; "
                "choose the image that was fitted"
            )
        fit = replace(fit, image=image)
    return (yield from fitting.iterate_refit(fit, table, **settings))


def _waiting(stage: str) -> fitting.Progress:
    return fitting.waiting(stage, fitting.Settings())._replace(steps=0)


def _progress_text(progress: fitting.Progress) -> str:
    parts = [STAGES.get(progress.stage, progress.stage)]
    if progress.step:
        parts[0] += f": step {progress.step:,} of {progress.steps:,}"
    if np.isfinite(progress.loss):
        parts.append(f"loss {progress.loss:,.0f}")
    if progress.n_droplets:
        parts.append(f"{progress.n_droplets:,} droplets")
    if np.isfinite(progress.seconds_left) and progress.stage == "fit":
        parts.append(f"{progress.seconds_left:.0f} s left")
    return _line(parts)


def _line(parts: list[str]) -> str:
    """Facts in a row that wraps between them, not within."""
    return " · ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)


def _button(text: str, action: Callable[[], None], tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    button.clicked.connect(lambda _=False: action())
    return button


def _row(*widgets: QWidget) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        layout.addWidget(widget)
    return row
