"""Droplets and reconstructions as napari layers: made, placed where the image is, updated in place.

Results of a stack are layers with as many dimensions as it has, at the plane worked on, so that they show on it alone;
every plane has layers of its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...droplets import Droplets, Fit
from ...errors import InputError
from ...images import Image
from ...lazy import LazyPixels, Pixels
from ...plot.colors import droplet_colors
from .large import levels, shape_of_data
from .linking import drawn, given_back
from .place import Place, Plane, check_shown, pixel_size_um, place_of, plane_columns
from .points import (
    POINT_STATE,
    TAG,
    defaults_of,
    is_edited,
    looks,
    point_state,
    remember,
    ring_width,
    set_points,
    tag_of,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    LayerData = tuple[np.ndarray, dict[str, Any], str]

POINT_STYLE = {"border_width": 0.1, "border_width_is_relative": True, "symbol": "disc"}
DEFAULT_DIAMETER = 10.0  # pixels; of points added by hand where no droplet was found


def image_layers(viewer: ViewerModel) -> list[Layer]:
    """The image layers of a viewer that are not our own reconstructions."""
    return [layer for layer in viewer.layers if is_image(layer)]


def is_image(layer: Any) -> bool:
    """Whether a layer is an image that is not our own reconstruction."""
    from napari.layers import Image as ImageLayer

    return isinstance(layer, ImageLayer) and TAG not in layer.metadata


def default_image(viewer: ViewerModel) -> Layer:
    """The active image, else the topmost one.

    Raises
    ------
    InputError
        There is none.
    """
    active = viewer.layers.selection.active
    candidates = [active] if is_image(active) else image_layers(viewer)
    if not candidates:
        raise InputError("no image layer: open an image first, or File > Open Sample > Droplets")
    return candidates[-1]


def fit_layer(viewer: ViewerModel, layer: Any = None, **settings: Any) -> Fit:
    """Fit an image layer and add the results as layers: what the Run button does, for scripts.

    Blocks until the fit is done. Runs without a window too (`napari.components.ViewerModel`).

    Parameters
    ----------
    viewer : napari.Viewer
        Where the layers go.
    layer : napari.layers.Image, optional
        The image; by default the active image layer. Of a stack, the plane shown is used.
    **settings
        As of `napari_droplets.fit`; its `callback` too. `region` may be a Shapes or Labels layer.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        There is no image, or the image or a setting cannot be used.
    """
    from ...inference.api import fit

    layer = default_image(viewer) if layer is None else layer
    check_shown(layer, viewer.dims)
    place = place_of(layer, viewer.dims.point)
    if hasattr(settings.get("region"), "data_to_world"):  # a layer
        from .regions import region_of

        settings["region"] = region_of(settings["region"], layer, place)
    output = Output(viewer, place)
    if settings.get("pixel_size_um") is None:
        settings["pixel_size_um"] = pixel_size_um(layer)
    result = fit(Plane.of(layer, place), **settings)
    output.show(result.droplets, result.reconstruction, fit=result)
    return result


def to_layers(result: Fit | Droplets, *, place: Place | None = None) -> list[LayerData]:
    """A result as napari layer data: the reconstruction (of a Fit) below, the droplets as points above.

    Parameters
    ----------
    result : Fit or Droplets
        What to show.
    place : Place, optional
        Name and transform of the layers; by default the fitted image's name, in pixels.

    Returns
    -------
    list of tuple
        `(data, attributes, layer type)`, for `viewer.add_layer(napari.layers.Layer.create(*data))`.

    Examples
    --------
    >>> droplets = Droplets(x=[5.0], y=[3.0], radius=[2.0])
    >>> [(data, attributes, kind)] = to_layers(droplets)
    >>> kind, data.tolist(), attributes["size"].tolist()
    ('points', [[3.0, 5.0]], [4.0])
    """
    if isinstance(result, Droplets):
        return [_points(result, place or Place())]
    if place is None:
        path = result.summary.get("image", {}).get("path")
        name = Path(path).stem if path else getattr(result.image, "name", "image")
        place = Place(name, shape=result.reconstruction.shape[:2])
    picture = _picture(result.reconstruction, place, result.image)
    return [picture, _points(result.droplets, place, fit=result)]


class Output:
    """The two layers of one piece of work: found again from the last time, or added when there is something to show.

    Points that the user edited, those that a refit has kept as they were corrected, renamed layers and layers of other
    planes or images are never written to: then a new layer is added.

    Parameters
    ----------
    viewer : napari.Viewer
    place : Place
    points : napari.layers.Points, optional
        The layer to update in any case: that of a refit, which has read the edits.
    """

    def __init__(self, viewer: ViewerModel, place: Place, points: Any = None) -> None:
        self.viewer = viewer
        self.place = place
        self._refits = points is not None
        self.points = points or self._find("droplets")
        self.reconstruction = self._find("reconstruction")
        self.kept: str | None = None
        """The layer that was spared, and why, in words."""
        self._before = self.points and (point_state(self.points), dict(self.points.metadata[TAG]))
        self._picture_before = self.reconstruction and self.reconstruction.data
        if points is not None:
            remember(points)

    def show(
        self,
        droplets: Droplets,
        reconstruction: Pixels | None = None,
        *,
        fit: Fit | None = None,
        final: bool = True,
        detected: bool = False,
        fits: dict[tuple[int, ...], Fit] | None = None,
    ) -> None:
        """Draw the droplets and, where there is one, the (H, W, C) reconstruction.

        While the work goes on (`final` false) a layer that the user has removed stays away; at the end it is added. One
        layer is added at a time then, the points first: for each napari takes a tenth of a second, in which the window
        does not answer.
        What was only `detected` does not take the place of a fit. Of all planes of a stack there are `fits`.
        """
        if isinstance(reconstruction, LazyPixels) and not final:
            reconstruction = None  # it would be drawn in the thread of the window
        new_points = self.points is None
        if reconstruction is not None and (final or not new_points):
            new_picture = self.reconstruction is None
            self._show_picture(_picture(reconstruction, self.place, fit.image if fit else None), final)
            if new_picture and not final:
                return
        self._show_points(droplets, fit, fits, final, detected)

    def restore(self) -> None:
        """After a failure: give the layers back what they had before, if they were there before."""
        if self._before and self.points in self.viewer.layers and not is_edited(self.points):
            state, tag = self._before
            set_points(self.points, state)
            self.points.metadata[TAG] = tag
            given_back(self.points)
        if self._picture_before is not None and self.reconstruction in self.viewer.layers:
            self.reconstruction.data = self._picture_before

    def _show_points(
        self,
        droplets: Droplets,
        fit: Fit | None,
        fits: dict[tuple[int, ...], Fit] | None,
        final: bool,
        detected: bool,
    ) -> None:
        if self.points is not None and self.points not in self.viewer.layers:
            if not final:
                return
            self.points = None
        elif self.points is not None and (why := self._why_spared(detected)):
            self.kept, self.points, self._before = f"{self.points.name!r} {why}", None, None
        new = _points(droplets, self.place, fit)
        if self.points is None:
            self.points = self._add(new)
        else:
            data, attributes, _ = new
            set_points(self.points, {"data": data, **{k: attributes[k] for k in POINT_STATE if k in attributes}})
            self.points.metadata[TAG] = attributes["metadata"][TAG] | {"name": self.points.name}
        self.points.metadata[TAG] |= {"detected": detected, "fits": fits}
        remember(self.points, new[1]["metadata"][TAG]["table"])
        drawn(self.points, last=final)

    def _why_spared(self, detected: bool) -> str:
        """Why the layer must not be written to; empty where it may."""
        tag = self.points.metadata[TAG]
        if is_edited(self.points):
            return "was edited"
        if not self._refits and "detected" not in tag:
            return "was opened"
        if not self._refits and "pinned" in tag["table"] and tag["table"]["pinned"].eq(True).any():
            return "holds points that you corrected"
        return "holds a fit" if detected and tag["fit"] else ""

    def _show_picture(self, new: LayerData, final: bool) -> None:
        layer = self.reconstruction
        gone = layer is not None and layer not in self.viewer.layers
        if gone and not final:
            return
        if (
            layer is not None
            and not gone
            and (shape_of_data(layer.data), layer.rgb)
            != (
                shape_of_data(new[0]),
                new[1]["rgb"],
            )
        ):
            self.viewer.layers.remove(layer)
            new[1]["visible"] = layer.visible
            gone = True
        if layer is None or gone:
            self.reconstruction = self._add(new)
            # above all images, and below points and what the user has drawn
            from napari.layers import Image as ImageLayer

            last = len(self.viewer.layers) - 1
            below = [i for i in range(last) if isinstance(self.viewer.layers[i], ImageLayer)]
            if below[-1:] != [last - 1]:
                self.viewer.layers.move(last, below[-1] + 1 if below else 0)
        else:
            layer.data = new[0]

    def _find(self, kind: str) -> Any:
        """Our layer from the last time, unless the user gave it a name."""
        for layer in reversed(self.viewer.layers):
            tag = tag_of(layer, kind)
            if tag is None or tag["name"] != layer.name:
                continue
            there, here = tag["place"], self.place
            if (there.layer_id, there.plane, there.leading) == (here.layer_id, here.plane, here.leading):
                return layer
        return None

    def _add(self, new: LayerData) -> Any:
        """Add a layer; what the user has selected stays selected."""
        from napari.layers import Layer as NapariLayer

        selected = set(self.viewer.layers.selection)
        layer = self.viewer.add_layer(NapariLayer.create(*new))
        layer.metadata[TAG]["name"] = layer.name  # napari makes names unique
        if selected:
            self.viewer.layers.selection = selected
        return layer


def _points(droplets: Droplets, place: Place, fit: Fit | None = None) -> LayerData:
    n = len(droplets)
    on = {column: np.full(n, i) for column, i in zip(plane_columns(len(place.plane)), place.plane, strict=True)}
    leading = [droplets.labels[column] for column in plane_columns(place.leading)]
    data = np.column_stack([*on.values(), *leading, droplets.y, droplets.x])
    colors = droplet_colors(droplets)
    table = droplets.to_dataframe().assign(**on)
    name = f"{place.name} droplets"
    attributes = {
        "name": name,
        "features": table,
        "metadata": {TAG: {"kind": "droplets", "name": name, "place": place, "fit": fit, "table": table}},
        "size": 2 * droplets.radius if n else DEFAULT_DIAMETER,
        **POINT_STYLE,
        **place.transform,
    }
    if n:
        attributes["feature_defaults"] = defaults_of(table)
        attributes["border_width"] = ring_width(2 * droplets.radius)
        attributes["face_color"], attributes["border_color"] = looks(
            colors, ground=place.ground, where=np.column_stack([droplets.x, droplets.y, droplets.radius])
        )
    return data, attributes, "points"


def _picture(reconstruction: Pixels, place: Place, image: Image | None) -> LayerData:
    rgb = reconstruction.shape[-1] == 3
    data: Any
    if isinstance(reconstruction, LazyPixels):
        data = levels(reconstruction, len(place.plane))
        least = data[-1]
    else:
        data = (reconstruction if rgb else reconstruction[..., 0])[(None,) * len(place.plane)]
        least = data if image is None else image.pixels
    name = f"{place.name} reconstruction"
    limits = (0.0, 1.0) if rgb or image is None else (float(np.min(least)), float(np.max(least)))
    limits = limits if limits[1] > limits[0] else (0.0, 1.0)  # of an image of one gray
    attributes = {
        "name": name,
        "rgb": rgb,
        "contrast_limits": limits,
        "visible": False,  # it would hide the photograph
        "metadata": {TAG: {"kind": "reconstruction", "name": name, "place": place}},
        **place.transform,
    }
    if place.plane_translate is not None:
        attributes["translate"] = place.plane_translate
    return data, attributes, "image"
