"""The views beside the settings, put together: what they need of the viewer, and what they do to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from qtpy.QtCore import QTimer

from ...errors import InputError
from ...workbench.filters import Filters
from ...workbench.session import Session
from ...workbench.sheet import Sheet
from ..controls.panel import Panel
from ..controls.parts import button
from ..jobs.refitting import layer_of
from ..layers.place import check_shown, plane_of
from ..layers.points import TAG, tag_of
from ..layers.presence import show_filtered
from ..layers.regions import region_layers, region_of
from ..layers.results import is_image
from ..layers.scale import camera_of
from ..learning import learning_images, show_learned
from ..preferences import Preferences, preferences
from .calibrate import Calibration
from .filters import FilterBox
from .guide import show_help
from .inspector import Inspector, Pictures
from .learning import LearnBox
from .plots import PlotBox
from .residual import residual_layer, show_residual

TABS = ("Show", "Inspect", "Plots", "Learn")
TIPS = {
    "calibrate": "Tell the size of a pixel: draw a line along a scale bar or ruler, type its length",
    "help": "What to do, in eight steps",
}
OF_LOOKING = ("diameter", "scale", "min_probability")
"""Settings that images are looked at with, before and after something was learned."""
SEEN_RADIUS = 30.0
"""Pixels of the screen: the camera comes nearer to a droplet that looks smaller."""


class Views:
    """Filters, inspector and plots as tabs of the panel.

    Parameters
    ----------
    session : Session
    viewer : napari viewer
    panel : Panel
        Gets the tabs.
    points : callable
        The Points layer of the droplets worked on, None where there is none.
    busy : callable
        Whether droplets are being found.
    regroup : callable
        Sorts the droplets into so many classes, or (None) as many as can be told apart.

    Attributes
    ----------
    filters : FilterBox
    inspector : Inspector
    plots : PlotBox
    learning : LearnBox
    """

    def __init__(
        self,
        session: Session,
        viewer: Any,
        panel: Panel,
        points: Callable[[], Any],
        busy: Callable[[], bool],
        regroup: Callable[[int | None], None],
    ) -> None:
        self.session, self.viewer, self._points, self._busy = session, viewer, points, busy
        self.filters = FilterBox(session, lambda: region_layers(viewer), self._region, [panel.colors.uncertain])
        self.inspector = Inspector(session, self._pictures, self._look_at, self._show_layer)
        self.plots = PlotBox(session, regroup)
        self.learning = LearnBox(
            lambda: learning_images(viewer, panel.form.values()),
            lambda: panel.form.values()["weights"],
            lambda: {name: panel.form.values()[name] for name in OF_LOOKING},
            lambda weights: panel.form.set(weights=weights),
            self._show_learned,
            panel.say,
            in_window=hasattr(viewer, "window"),
        )
        for view, title in zip((self.filters, self.inspector, self.plots, self.learning), TABS, strict=True):
            panel.add_tab(view, title)
        self.calibration = Calibration(viewer, self._image_to_scale, self._scaled)
        panel.find.insertWidget(1, self.calibration)
        panel.pixel_row.layout().addWidget(button("Calibrate…", self.calibrate, TIPS["calibrate"]))
        panel.tabs.setCornerWidget(button("?", self.help, TIPS["help"]))
        self._panel = panel
        panel.colors.picture, panel.colors.name = self._picture, session.class_name
        self._colors = panel.colors
        session.classes_named.connect(self._renamed)
        self._prefer(preferences())
        least = panel.form.inputs["min_probability"]
        session.set_filters(min_probability=float(least.value) or None)
        self._soon = QTimer(panel, singleShot=True, interval=0)
        self._soon.timeout.connect(self._apply)
        session.filters_changed.connect(self._on_filters)
        session.table_changed.connect(self._on_table)
        session.sheet_changed.connect(self._on_sheet)
        session.selection_changed.connect(self._on_selection)

    def reset_choices(self) -> None:
        """Read the layer list again."""
        self.filters.reset_choices()
        if self.learning.isVisible():
            self.learning.refresh()

    def next_doubtful(self) -> None:
        """Show the next droplet that deserves a look."""
        self._panel.tabs.setCurrentIndex(TABS.index("Inspect") + 1)
        self.inspector.next()

    def calibrate(self) -> None:
        """Let the user draw a line along a scale bar."""
        self._panel.tabs.setCurrentIndex(0)
        try:
            self.calibration.begin()
        except InputError as error:
            self._panel.say(str(error), "warning")

    def help(self) -> Any:
        """Show what to do, in a dialog."""
        return show_help(self._panel)

    def _prefer(self, wanted: Preferences) -> None:
        panel = self._panel
        panel.preset.setCurrentIndex(max(0, panel.preset.findData(wanted.preset)))
        panel.colors.by.value = wanted.color_by
        panel.colors.uncertain.setChecked(wanted.uncertain_rings)

    def _image_to_scale(self) -> Any:
        image = self._panel.image.value
        if image is None:
            raise InputError("no image layer: open an image first")
        check_shown(image, self.viewer.dims)
        return image

    def _scaled(self, text: str) -> None:
        self._panel.say(text)
        self._panel.form.set(pixel_size_um=None)  # the layer knows it now
        self._panel.form.offer_pixel_size(None)
        self.filters.read()

    def close(self) -> None:
        """Let go of the session; nobody sees the panel any more."""
        self._soon.stop()
        self.calibration.stop()
        self.learning.close_down()
        for signal, slot in (
            (self.session.filters_changed, self._on_filters),
            (self.session.table_changed, self._on_table),
            (self.session.sheet_changed, self._on_sheet),
            (self.session.selection_changed, self._on_selection),
        ):
            signal.disconnect(slot, missing_ok=True)

    def _on_filters(self, filters: dict[str, Any]) -> None:
        least = filters.get("min_probability", 0.0)
        if self._panel.form.inputs["min_probability"].value != least:
            self._panel.form.set(min_probability=least)
        self._apply()

    def _on_table(self, sheet: Sheet, numbers: Any) -> None:
        """Other droplets, all of them, are filtered, too; what is edited stays in sight."""
        if sheet.running:
            return
        self._fitted()
        if not len(sheet.table.index.difference(numbers)):
            self._soon.start()

    def _on_sheet(self) -> None:
        self._fitted()
        self._soon.start()

    def _on_selection(self, numbers: tuple[int, ...]) -> None:
        """What is selected is seen on the active layer alone."""
        points = self._points()
        if numbers and points is not None and self.viewer.layers.selection.active is not points:
            self.viewer.layers.selection.active = points

    def _apply(self) -> None:
        points = self._points()
        if points is None or self._busy():
            return
        try:
            show_filtered(points, Filters.of(self.session.filters))
        except InputError as error:
            self.filters.count.setText(str(error))

    # what views ask for

    def _image_layer(self) -> Any:
        points = self._points()
        return None if points is None else layer_of(self.viewer, points.metadata[TAG]["place"])

    def _region(self, layer: Any) -> Any:
        image = self._image_layer()
        if image is None:
            raise InputError("the image of these droplets is gone; open it first")
        return region_of(layer, image, self._points().metadata[TAG]["place"])

    def _pictures(self, plane: tuple[int, ...] | None = None) -> Pictures:
        """Of the fit of a plane, which knows the pixels that it was made of; else those of the layer."""
        sheet = self.session.sheet
        fit = None if sheet is None else sheet.fit_of(plane)
        if fit is not None and fit.image is not None:
            return Pictures(fit.image.pixels, fit.reconstruction, None, fit.optics.noise_sd)
        layer = self._image_layer()
        if layer is None:
            return Pictures(model=None if fit is None else fit.reconstruction)
        place = self._points().metadata[TAG]["place"]
        pixels = np.asarray(plane_of(layer, place if plane is None else replace(place, plane=plane)))
        if layer.rgb:
            white = float(np.iinfo(pixels.dtype).max) if pixels.dtype.kind in "ui" else 1.0
            return Pictures(pixels, None, (0.0, white))
        low, high = layer.contrast_limits
        return Pictures(pixels[..., None], None, (float(low), float(high)))

    def _picture(self) -> np.ndarray | None:
        """The image as the model sees it, else as it is, in 0 to 1."""
        pictures = self._pictures()
        if pictures.model is not None or pictures.image is None:
            return None if pictures.model is None else np.asarray(pictures.model)
        low, high = pictures.limits or (0.0, 1.0)
        return np.clip((np.asarray(pictures.image, np.float32) - low) / max(high - low, 1e-9), 0, 1)

    def _renamed(self) -> None:
        self._note_names()
        self._colors.apply()
        self.filters.read()

    def _look_at(self, x: float, y: float, radius: float, plane: tuple[int, ...]) -> None:
        points = self._points()
        if points is None:
            return
        leading = plane or points.metadata[TAG]["place"].plane
        center, edge = (np.asarray(points.data_to_world((*leading, y, at))) for at in (x, x + radius))
        if leading:
            dims = self.viewer.dims
            axes = list(range(dims.ndim - len(center), dims.ndim - 2))
            dims.set_point(axes, list(center[:-2]))
        camera = camera_of(self.viewer)
        camera.center = (*camera.center[:-2], *center[-2:])
        seen = float(np.linalg.norm(edge - center)) * camera.zoom
        if 0 < seen < SEEN_RADIUS:
            camera.zoom *= SEEN_RADIUS / seen

    # what was learned

    def _show_learned(self, name: str, new: Any, gone: Any) -> None:
        """What is found newly in an image, and what is not found any more, as two layers."""
        image = next((layer for layer in self.viewer.layers if is_image(layer) and layer.name == name), None)
        if image is None:
            self._panel.say(f"{name}: no image layer of this name any more; open it again", "warning")
            return
        show_learned(self.viewer, image, new, gone)

    # model and residual on the whole image

    def _model_layer(self) -> Any:
        points = self._points()
        if points is None:
            return None
        place = points.metadata[TAG]["place"]
        for layer in reversed(self.viewer.layers):
            tag = tag_of(layer, "reconstruction")
            if tag is not None and (tag["place"].layer_id, tag["place"].plane) == (place.layer_id, place.plane):
                return layer
        return None

    def _show_layer(self, name: str, on: bool) -> None:
        model = self._model_layer()
        if model is None:
            return
        if name == "model":
            model.visible = on
        elif on:
            self._draw_residual()
        elif (layer := residual_layer(self.viewer, model)) is not None:
            layer.visible = False

    def _draw_residual(self) -> None:
        seen, layer = self._pictures(), self._model_layer()
        if seen.image is not None and seen.model is not None and seen.noise is not None and layer is not None:
            show_residual(self.viewer, layer, seen.image, seen.model, seen.noise).visible = True

    def _note_names(self) -> None:
        """So that whoever saves the layer knows what classes are called."""
        points = self._points()
        if points is not None:
            points.metadata[TAG]["class_names"] = dict(self.session.class_names)

    def _fitted(self) -> None:
        """Other droplets, or another fit: the boxes say what is seen, and the residual is that of the fit."""
        self._note_names()
        model = self._model_layer()
        residual = None if model is None else residual_layer(self.viewer, model)
        for name, layer in (("model", model), ("residual", residual)):
            box = self.inspector.layer_boxes[name]
            box.blockSignals(True)
            box.setChecked(layer is not None and layer.visible)
            box.blockSignals(False)
        if residual is not None and residual.visible:
            self._draw_residual()
