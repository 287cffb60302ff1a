"""The Points layers of a viewer as the sheets of a session: which one is worked on, what is selected, undo by keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from weakref import WeakSet

import numpy as np

from ..workbench.session import Session
from ..workbench.sheet import Sheet
from .layers.linking import link, sheet_of
from .layers.place import plane_shape
from .layers.points import NUMBERS, TAG, is_written, tag_of
from .layers.results import is_image

UNDO, REDO = "Control-Z", "Control-Shift-Z"

_with_keys: WeakSet[Any] = WeakSet()


class Desk:
    """Keeps a session and the layers of a viewer together.

    Parameters
    ----------
    session : Session
    viewer : napari viewer
    chosen : callable
        The Points layer that is worked on, or None.
    opened : callable
        Called with the settings and filters of a session that was opened, and what is to be told of its image.
    """

    def __init__(
        self,
        session: Session,
        viewer: Any,
        chosen: Callable[[], Any],
        opened: Callable[[dict[str, Any], str], None] = lambda *_: None,
    ) -> None:
        self.session, self.viewer, self._chosen = session, viewer, chosen
        self.opened = opened
        self._sheets: dict[Any, Sheet] = {}
        self._selecting = False
        session.selection_changed.connect(self._to_canvas)
        session.table_changed.connect(self._draw_picture)

    def update(self, _: Any = None) -> None:
        """Layers came or went, or another one is active."""
        there = list(self.viewer.layers)
        for layer, known in list(self._sheets.items()):
            if layer not in there or sheet_of(layer) is not known:
                self._leave(layer)
        opened: list[tuple[dict[str, Any], str]] = []
        for layer in there:
            if layer not in self._sheets and (sheet := link(layer)) is not None:
                self._sheets[layer] = sheet
                opened += self._arrived(layer)
                self.session.add(sheet)
                layer.selected_data.events.items_changed.connect(self._to_session)
                bind_keys(layer)
        for layer in self._sheets:
            self._find_file(layer)
        self.session.show(sheet_of(self._chosen()))
        self._to_session()
        for session, note in opened:
            self.opened(session, note)

    def close(self) -> None:
        """Let go of the layers; they keep their sheets, and undo."""
        for layer in list(self._sheets):
            self._leave(layer)
        self.session.selection_changed.disconnect(self._to_canvas, missing_ok=True)
        self.session.table_changed.disconnect(self._draw_picture, missing_ok=True)

    def layer_of(self, sheet: Sheet | None) -> Any:
        """The layer of a sheet, None where there is none."""
        return next((layer for layer, shown in self._sheets.items() if shown is sheet), None) if sheet else None

    def place_of(self, sheet: Sheet | None) -> Any:
        """Where the layer of a sheet belongs, None where it is gone."""
        points = self.layer_of(sheet)
        return None if points is None else points.metadata[TAG]["place"]

    def _draw_picture(self, sheet: Sheet) -> None:
        """What the fit draws follows refits and undo."""
        fit, place = sheet.fit_of(), self.place_of(sheet)
        if fit is None or place is None:
            return
        for layer in self.viewer.layers:
            tag = tag_of(layer, "reconstruction")
            if tag is None or (tag["place"].layer_id, tag["place"].plane) != (place.layer_id, place.plane):
                continue
            drawn = fit.reconstruction if layer.rgb else fit.reconstruction[..., 0]
            drawn = drawn[(None,) * len(place.plane)]
            if drawn.shape == layer.data.shape and tag.get("picture") is not fit.reconstruction:
                layer.data = drawn
                tag["picture"] = fit.reconstruction

    def _arrived(self, points: Any) -> list[tuple[dict[str, Any], str]]:
        """A layer of a session that was opened: its image may be a layer only now; what is to be told of it."""
        tag = points.metadata[TAG]
        if "session" not in tag:
            return []
        place, session = tag["place"], tag.pop("session")
        if all(str(layer.unique_id) != place.layer_id for layer in self.viewer.layers):
            named = [layer for layer in self.viewer.layers if is_image(layer) and layer.name == place.name]
            same = [layer for layer in named if plane_shape(layer) == tuple(place.shape or ())]
            for layer in same[-1:]:
                for other in self.viewer.layers:
                    own = other.metadata.get(TAG)
                    if isinstance(own, dict) and own["place"].layer_id == place.layer_id:
                        own["place"] = replace(own["place"], layer_id=str(layer.unique_id))
        return [(session, tag.pop("note", ""))]

    def _find_file(self, points: Any) -> None:
        """Note which file the image of a sheet is, so that a session finds it again."""
        sheet, place = sheet_of(points), points.metadata[TAG]["place"]
        if sheet is None or sheet.image.path is not None:
            return
        for layer in self.viewer.layers:
            path = getattr(getattr(layer, "source", None), "path", None)
            if str(layer.unique_id) == place.layer_id and path is not None:
                sheet.image = replace(sheet.image, path=str(path))

    def _leave(self, layer: Any) -> None:
        layer.selected_data.events.items_changed.disconnect(self._to_session, missing_ok=True)
        self.session.remove(self._sheets.pop(layer))

    def _to_session(self, *_: Any) -> None:
        points = self.layer_of(self.session.sheet)
        if points is None or self._selecting or is_written(points):
            return
        numbers = points.metadata[TAG][NUMBERS]
        self._selecting = True
        try:
            self.session.select(numbers[[i for i in points.selected_data if i < len(numbers)]])
        finally:
            self._selecting = False

    def _to_canvas(self, numbers: tuple[int, ...]) -> None:
        points = self.layer_of(self.session.sheet)
        if points is None or self._selecting:
            return
        self._selecting = True
        try:
            at = np.flatnonzero(np.isin(points.metadata[TAG][NUMBERS], numbers))
            points.selected_data = set(at.tolist())
        finally:
            self._selecting = False


def bind_keys(points: Any) -> None:
    """Undo and redo by the usual keys while the layer is active; they work without a panel, too."""
    if points in _with_keys:
        return
    _with_keys.add(points)

    def undo(layer: Any) -> None:
        """Undo the last edit."""
        if (sheet := sheet_of(layer)) is not None:
            sheet.undo()

    def redo(layer: Any) -> None:
        """Redo what was undone last."""
        if (sheet := sheet_of(layer)) is not None:
            sheet.redo()

    points.bind_key(UNDO, undo, overwrite=True)
    points.bind_key(REDO, redo, overwrite=True)
