"""The views beside the settings, put together: what they need of the viewer, and what they do to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import InputError
from ...workbench.filters import Filters
from ...workbench.session import Session
from ..controls.panel import Panel
from ..layers.place import plane_of
from ..layers.points import TAG, tag_of
from ..layers.presence import show_filtered
from ..layers.regions import region_layers, region_of
from ..refitting import layer_of
from .filters import FilterBox
from .inspector import Inspector, Pictures
from .plots import PlotBox
from .residual import residual_layer, show_residual

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

    Attributes
    ----------
    filters : FilterBox
    inspector : Inspector
    plots : PlotBox
    """

    def __init__(self, session: Session, viewer: Any, panel: Panel, points: Callable[[], Any]) -> None:
        self.session, self.viewer, self._points = session, viewer, points
        self.filters = FilterBox(session, lambda: region_layers(viewer), self._region, [panel.colors.uncertain])
        self.inspector = Inspector(session, self._pictures, self._look_at, self._show_layer)
        self.plots = PlotBox(session)
        for view, title in ((self.filters, "Show"), (self.inspector, "Inspect"), (self.plots, "Plots")):
            panel.add_tab(view, title)
        panel.colors.picture, panel.colors.name = self._picture, session.class_name
        self._colors = panel.colors
        session.classes_named.connect(self._renamed)
        session.filters_changed.connect(self._apply)
        session.table_changed.connect(self._fitted)
        session.sheet_changed.connect(self._fitted)

    def reset_choices(self) -> None:
        """Read the layer list again."""
        self.filters.reset_choices()

    def _apply(self, filters: dict[str, Any]) -> None:
        points = self._points()
        if points is not None:
            try:
                show_filtered(points, Filters.of(filters))
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

    def _pictures(self) -> Pictures:
        """Of the fit, which knows the pixels that it was made of; else those of the layer."""
        sheet = self.session.sheet
        fit = None if sheet is None else sheet.fit
        if fit is not None and fit.image is not None:
            return Pictures(fit.image.pixels, fit.reconstruction, None, fit.optics.noise_sd)
        layer = self._image_layer()
        if layer is None:
            return Pictures(model=None if fit is None else fit.reconstruction)
        pixels = np.asarray(plane_of(layer, self._points().metadata[TAG]["place"]))
        if layer.rgb:
            limits = (0.0, 255.0 if pixels.dtype.kind in "ui" else 1.0)
        else:
            pixels, limits = pixels[..., None], tuple(map(float, layer.contrast_limits))
        return Pictures(pixels, None, limits)

    def _picture(self) -> np.ndarray | None:
        """The image as the model sees it, else as it is, in 0 to 1."""
        pictures = self._pictures()
        if pictures.model is not None or pictures.image is None:
            return pictures.model
        low, high = pictures.limits or (0.0, 1.0)
        return np.clip((pictures.image.astype(np.float32) - low) / max(high - low, 1e-9), 0, 1)

    def _renamed(self) -> None:
        self._colors.apply()
        self.filters.read()

    def _look_at(self, x: float, y: float, radius: float) -> None:
        points = self._points()
        if points is None:
            return
        place = points.metadata[TAG]["place"]
        leading = place.plane or (0,) * (points.ndim - 2)
        center, edge = (np.asarray(points.data_to_world((*leading, y, at))) for at in (x, x + radius))
        self.viewer.camera.center = (*self.viewer.camera.center[:-2], *center[-2:])
        seen = float(np.linalg.norm(edge - center)) * self.viewer.camera.zoom
        if 0 < seen < SEEN_RADIUS:
            self.viewer.camera.zoom *= SEEN_RADIUS / seen

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
        pictures, model = self._pictures(), self._model_layer()
        if pictures.model is None or pictures.noise is None or model is None:
            return
        layer = show_residual(self.viewer, model, pictures.image, pictures.model, pictures.noise)
        layer.visible = True

    def _fitted(self) -> None:
        """Other droplets, or another fit: the boxes say what is seen, and the residual is that of the fit."""
        model = self._model_layer()
        residual = None if model is None else residual_layer(self.viewer, model)
        for name, layer in (("model", model), ("residual", residual)):
            box = self.inspector.layer_boxes[name]
            box.blockSignals(True)
            box.setChecked(layer is not None and layer.visible)
            box.blockSignals(False)
        if residual is not None and residual.visible:
            self._draw_residual()
