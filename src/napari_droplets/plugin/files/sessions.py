"""Sessions in napari: their images found or opened, their droplets as layers; and what of a layer they keep."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...workbench.sheet import Sheet
    from ..layers.place import Place

LayerData = tuple[Any, dict[str, Any], str]
TRANSFORM = ("scale", "translate")


def place_record(place: Place | None) -> dict[str, Any]:
    """What a session keeps of where a layer lies: enough where its image is not open."""
    if place is None:
        return {}
    import numpy as np

    record: dict[str, Any] = {name: np.asarray(v).tolist() for name, v in place.transform.items() if name in TRANSFORM}
    return record | {"units": [str(unit) for unit in place.transform.get("units", ())]}


def read_session_layers(path: str, shown: Sequence[Any] | None = None) -> list[LayerData]:
    """The layers of a session: images that are not open yet, pictures of fits, droplets.

    Parameters
    ----------
    path : str
    shown : sequence of napari Image layer, optional
        Those that are open; by default those of the viewer that asks napari's reader.

    Raises
    ------
    InputError
        It is no session, or damaged.
    """
    from ...workbench.storing import read_session
    from .readers import images_shown

    stored = read_session(path)
    shown, layers = images_shown() if shown is None else shown, []
    for sheet, record in zip(stored.sheets, stored.places, strict=True):
        found, layer, note = image_of(sheet, shown)
        place = _place(sheet, record, layer)
        if layer is None and found is not None:
            layers.append(_laid(found, place))
        layers += _layers_of(sheet, place, note, {"settings": stored.settings, "filters": stored.filters})
    return layers


def image_of(sheet: Sheet, shown: Sequence[Any]) -> tuple[LayerData | None, Any, str]:
    """The image of a sheet: from its file, or the layer that shows it; and what is to be told of it.

    The pixels are compared with those that were fitted. Where they are the same, the fits of the sheet get them, so
    that they can be refitted.
    """
    name, path = sheet.image.name, sheet.image.path
    others = [layer for layer in shown if layer.name == name or _path_of(layer) == path is not None]
    for layer in others:
        if _is_image(sheet, layer):
            return None, layer, ""
    if path is not None and Path(path).exists():
        from ...errors import InputError
        from .opening import image_layer_data

        with suppress(InputError):
            for data in image_layer_data(path):
                if _is_image(sheet, _Opened(data)):
                    return data, None, ""
        return None, None, f"{name}: {path} is another image than the one that was saved; droplets are shown without it"
    if others:
        return None, None, f"{name}: the image open is another one than the one that was saved"
    where = f" ({path})" if path else ""
    return None, None, f"{name}: its image{where} is not open; open it, and then the session again"


class _Opened:
    """Layer data as far as a plane is taken of it."""

    def __init__(self, data: LayerData) -> None:
        self.data, attributes, _ = data
        self.rgb, self.metadata = bool(attributes.get("rgb")), attributes.get("metadata", {})
        self.multiscale, self.name = False, attributes["name"]
        self.ndim = self.data.ndim - self.rgb


def _is_image(sheet: Sheet, layer: Any) -> bool:
    """Whether a layer has the pixels of a sheet; its fits get them then."""
    from ...errors import InputError
    from ...images import as_image
    from ...settings import READING
    from ..layers.place import Place, Plane, plane_shape

    if sheet.image.shape is not None and plane_shape(layer) != tuple(sheet.image.shape):
        return False
    if sheet.image.axes and not sheet.fits:  # of a movie, no fit of which knows the pixels
        return bool(layer.ndim == 2 + len(sheet.image.axes))
    planes = list(sheet.fits) or [sheet.image.plane]
    if any(layer.ndim != 2 + len(plane) for plane in planes):
        return False
    for plane in planes:
        fit = sheet.fit_of(plane)
        wanted = sheet.image.sha256 if fit is None else fit.summary["image"]["sha256"]
        was = {} if fit is None else fit.summary.get("settings", {})
        try:
            image = as_image(
                Plane.of(layer, Place(layer.name, plane)), **{k: was[k] for k in READING if was.get(k) is not None}
            )
        except (InputError, IndexError):
            return False
        if wanted is not None and image.sha256 != wanted:
            return False
        if fit is not None:
            image = replace(image, path=sheet.image.path)
            sheet.fits[plane] = sheet.fits[plane]._replace(fit=replace(fit, image=image))
    return True


def _path_of(layer: Any) -> str | None:
    path = getattr(getattr(layer, "source", None), "path", None)
    return None if path is None else str(path)


def _place(sheet: Sheet, record: dict[str, Any], layer: Any) -> Place:
    from ..layers.place import Place, place_of, whole_of

    every = bool(sheet.image.axes) and not sheet.image.plane
    if layer is not None:
        return whole_of(layer) if every else replace(place_of(layer), plane=tuple(sheet.image.plane))
    n = 2 + max(len(sheet.image.axes), len(sheet.image.plane))
    transform = {name: record[name] for name in TRANSFORM if len(record.get(name, ())) == n}
    if len(record.get("units", ())) == n:
        transform["units"] = tuple(record["units"])
    leading = len(sheet.image.axes) if every else 0
    return Place(sheet.image.name, tuple(sheet.image.plane), transform, shape=sheet.image.shape, leading=leading)


def _laid(image: LayerData, place: Place) -> LayerData:
    """An image that was opened where it lay, and known by its place."""
    data, attributes, kind = image
    return data, attributes | dict(place.transform) | {"name": place.name}, kind


def _layers_of(sheet: Sheet, place: Place, note: str, session: dict[str, Any]) -> list[LayerData]:
    """The picture of the only fit, and droplets, which are linked with the sheet when they are added."""
    from ...droplets import Droplets
    from ..layers.points import TAG
    from ..layers.results import to_layers

    fit = sheet.fit_of()
    droplets = Droplets.from_dataframe(sheet.table.rename_axis(None), name=sheet.name)
    layers = to_layers(droplets if fit is None else replace(fit, droplets=droplets), place=place)
    data, attributes, kind = layers[-1]
    if sheet.image.axes and not place.plane:
        import numpy as np

        data = np.column_stack([*(sheet.table[axis] for axis in sheet.image.axes), data[:, -2:]])
    tag = attributes["metadata"][TAG] | {"sheet": sheet, "detected": sheet.detected, "note": note, "session": session}
    tag["fit"] = fit
    layers[-1] = data, attributes | {"name": sheet.name, "metadata": {TAG: tag | {"name": sheet.name}}}, kind
    return layers
