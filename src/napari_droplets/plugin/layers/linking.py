"""A Points layer of ours and its sheet say the same: edits go to the journal, undo and refits come back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import pandas as pd

from ...workbench.fits import Numbered
from ...workbench.rows import numbered, with_rows
from ...workbench.sheet import ImageReference, Sheet
from .coloring import drawn_colors
from .correction import KEYS
from .following import follow, in_step
from .place import plane_columns
from .points import NUMBERS, TAG, defaults_of, is_written, point_state, ring_widths, set_points, tag_of, writing

if TYPE_CHECKING:
    from ...droplets import Fit

_links: WeakKeyDictionary[Any, Link] = WeakKeyDictionary()


def link(points: Any) -> Sheet | None:
    """The sheet of a Points layer of ours, made the first time; None for any other layer."""
    if tag_of(points, "droplets") is None:
        return None
    if points not in _links and (sheet := points.metadata[TAG].pop("sheet", None)) is not None:
        adopt(points, sheet)
    if points not in _links:
        follow(points)
        if not set(KEYS) <= set(points.features):
            return None
        _links[points] = Link(points)
    return _links[points].sheet


def adopt(points: Any, sheet: Sheet) -> None:
    """Let a layer show a sheet that there is already, as one that was read from a file."""
    follow(points)
    found = _links[points] = Link(points)
    sheet.changed.connect(found.write)
    found.sheet.changed.disconnect(found.write)
    found.sheet = sheet
    sheet.name = points.name
    points.metadata[TAG][NUMBERS] = sheet.table.index.to_numpy()
    found.write(sheet, sheet.table.index)


def reuse(points: Any, state: dict[str, Any], tag: dict[str, Any]) -> Sheet | None:
    """Let a layer of ours show other droplets, by a sheet of their own; the one that it showed is left as it is.

    Parameters
    ----------
    points : napari.layers.Points
    state : dict
        As `set_points` takes it.
    tag : dict
        Our notes on the layer from now on.
    """
    before = _links.pop(points, None)
    if before is not None:
        before.close()
    with writing(points):
        points.metadata[TAG] = {k: v for k, v in tag.items() if k != NUMBERS}
        set_points(points, state)
    return link(points)


def sheet_of(points: Any) -> Sheet | None:
    """The sheet that a layer was linked to, None where it was not."""
    found = _links.get(points) if points is not None else None
    return None if found is None else found.sheet


def read_now(points: Any) -> None:
    """Take over what was changed in a layer without an event, as scripts do that write into its arrays."""
    in_step(points)
    if points in _links:
        _links[points].read()


def drawn(points: Any, *, last: bool) -> None:
    """Tell the sheet that other droplets were drawn in the layer: while work goes on, or the `last` ones."""
    sheet = link(points)
    if sheet is None:
        return
    found, tag = _links[points], points.metadata[TAG]
    found.busy = True
    try:
        if last:
            fits = _fits_of(tag)
            if fits and sheet.image.plane in fits:
                sha256 = fits[sheet.image.plane].summary.get("image", {}).get("sha256")
                sheet.image = replace(sheet.image, sha256=sha256)
            sheet.begin(_whole(points, sheet.image.axes), fits, detected=bool(tag.get("detected")))
        else:
            sheet.preview(_whole(points, sheet.image.axes))
    finally:
        found.busy = False
    found.renumber()


def given_back(points: Any) -> None:
    """Tell the sheet that the layer has what it had before."""
    if points in _links:
        found = _links[points]
        found.busy = True
        try:
            found.sheet.revert()
        finally:
            found.busy = False


class Link:
    """What keeps a layer and a sheet the same, as long as the layer lives."""

    def __init__(self, points: Any) -> None:
        tag = points.metadata[TAG]
        place, fit = tag["place"], tag.get("fit")
        axes = plane_columns(points.ndim - 2)
        image = {} if fit is None else fit.summary.get("image", {})
        reference = ImageReference(
            place.name, image.get("path"), image.get("sha256"), place.shape, tuple(place.plane), axes
        )
        self._points, self.busy = ref(points), False
        self._seen: tuple[np.ndarray, np.ndarray] | None = None
        self.sheet = Sheet(
            points.name,
            _whole(points, axes),
            reference,
            bool(tag.get("detected")),
        )
        if fit is not None and len(fit.droplets) == len(tag["table"]):
            plane = tuple(place.plane)
            own = on_plane(fit, plane)
            self.sheet.fits = {plane: Numbered(own, tag["table"].index.to_numpy())}
        for event in (points.events.data, points.events.size, points.events.set_data, points.events.features):
            event.connect(self._on_change, position="last")  # when features are in step
        points.events.name.connect(self._on_name)
        self.sheet.changed.connect(self.write)

    @property
    def points(self) -> Any:
        """The layer."""
        return self._points()

    def read(self) -> None:
        """From the canvas to the sheet."""
        points, tag = self.points, self.points.metadata[TAG]
        numbers = tag[NUMBERS]
        if self.busy or len(numbers) != len(points.data) or len(points.features) != len(points.data):
            return
        if len(np.unique(numbers)) != len(numbers) or (numbers < 0).any():
            return
        self._seen = points.data.copy(), points.size.copy()
        self.busy = True
        try:
            step = self.sheet.edit(_whole(points, self.sheet.image.axes))
        finally:
            self.busy = False
        if step is not None:
            tag["edited"] = bool(self.sheet.journal.edits)

    def write(self, sheet: Sheet, changed: Any) -> None:
        """From the sheet to the canvas: rows `changed` as they are now; selected droplets stay selected."""
        points = self.points
        if self.busy or points is None:
            return
        tag, table = points.metadata[TAG], sheet.table
        hidden = tag.get("hidden")
        waiting = table.index.isin([] if hidden is None else hidden[NUMBERS])
        fresh = table.index.isin(changed)
        selected = tag[NUMBERS][[i for i in points.selected_data if i < len(tag[NUMBERS])]]
        state = self._state(table[~waiting], fresh[~waiting], point_state(points))
        self.busy = True
        try:
            if hidden is not None:
                tag["hidden"] = self._state(table[waiting], fresh[waiting], hidden)
            if np.array_equal(state[NUMBERS], tag[NUMBERS]):
                _set_some(points, state, np.flatnonzero(fresh[~waiting]))
            else:
                set_points(points, state)
                again = np.flatnonzero(np.isin(state[NUMBERS], selected))
                if len(again):
                    with points.block_update_properties():
                        points.selected_data = set(again.tolist())
        finally:
            self.busy = False
        if sheet.fits:
            fit = sheet.fits.get(sheet.image.plane)
            if fit is not None:
                tag["fit"], tag["table"] = fit.fit, fit.table
        else:
            tag["fit"] = None
        tag["edited"] = bool(sheet.journal.edits)
        tag["next"] = max(tag.get("next", 0), sheet.next_number)
        tag["drawn"] = (points.data.copy(), points.size.copy(), points.features.copy())
        self._seen = tag["drawn"][:2]

    def close(self) -> None:
        """The layer shows other droplets from now on."""
        events = self.points.events
        for event in (events.data, events.size, events.set_data, events.features):
            event.disconnect(self._on_change)
        events.name.disconnect(self._on_name)
        self.sheet.changed.disconnect(self.write, missing_ok=True)

    def renumber(self) -> None:
        """Give the points the numbers that their droplets have in the sheet, which has just got them from the layer."""
        tag, sheet = self.points.metadata[TAG], self.sheet
        tag[NUMBERS] = sheet.table.index.to_numpy()
        fit = sheet.fits.get(sheet.image.plane)
        tag["table"] = sheet.table if fit is None else fit.table
        tag["next"] = sheet.next_number
        self._seen = self.points.data.copy(), self.points.size.copy()

    def _state(self, rows: pd.DataFrame, fresh: np.ndarray, old: dict[str, Any]) -> dict[str, Any]:
        """All that is drawn of some rows; looks of those that are not `fresh` stay."""
        tag = self.points.metadata[TAG]
        place, axes = tag["place"], self.sheet.image.axes
        at = pd.Index(old[NUMBERS]).get_indexer(rows.index)
        fresh = fresh | (at < 0)
        face, border = drawn_colors(tag, rows[fresh], rows.loc[fresh, KEYS].to_numpy(float))
        n, radius = len(rows), rows["radius"].to_numpy(float)
        leading = [rows[axis].to_numpy(float) for axis in axes] if axes else [np.full(n, i) for i in place.plane]
        state: dict[str, Any] = {
            "data": np.column_stack([*leading, rows["y"].to_numpy(float), rows["x"].to_numpy(float)]),
            "features": rows.reset_index(drop=True),
            "feature_defaults": pd.DataFrame(defaults_of(rows)),
            "size": 2 * radius,
            "border_width": ring_widths(rows, 2 * radius, uncertain=tag.get("uncertain", False)),
            NUMBERS: rows.index.to_numpy(),
        }
        for name, new in (("face_color", face), ("border_color", border)):
            state[name] = np.empty((n, 4), np.float32)
            state[name][fresh] = new
            state[name][~fresh] = old[name][at[~fresh]]
        return state

    def _on_change(self, event: Any) -> None:
        points = event.source
        if is_written(points) or getattr(event, "action", None) in ("adding", "removing", "changing"):
            return
        if event.type != "features" and self._seen is not None:  # napari tells of every drawing, too
            now = points.data, points.size
            if all(np.array_equal(a, b) for a, b in zip(self._seen, now, strict=True)):
                return
        self.read()

    def _on_name(self, event: Any) -> None:
        self.sheet.name = event.source.name


def _set_some(points: Any, state: dict[str, Any], rows: np.ndarray) -> None:
    """Set some of the points, where all stay the same droplets: much quicker than all."""
    with writing(points), points.events.data.blocker():
        points.features = state["features"]
        for name in ("data", "size", "border_width"):
            getattr(points, name)[rows] = state[name][rows]
        for name in ("face_color", "border_color"):
            if not np.array_equal(getattr(points, name)[rows], state[name][rows]):
                setattr(points, name, state[name])
        points.refresh()


def _whole(points: Any, axes: tuple[str, ...]) -> pd.DataFrame:
    """All droplets of a layer by number, those that are hidden, too."""
    tag = points.metadata[TAG]
    parts = [(tag[NUMBERS], points.features, points.data)]
    if (hidden := tag.get("hidden")) is not None and len(hidden["data"]):
        parts.append((hidden[NUMBERS], hidden["features"], hidden["data"]))
    tables = []
    for numbers, features, data in parts:
        rows = numbered(features, numbers)
        if axes:
            rows = rows.assign(**dict(zip(axes, np.round(data[:, : len(axes)]).astype(int).T, strict=True)))
        tables.append(rows)
    return tables[0] if len(tables) == 1 else with_rows(*tables)


def _fits_of(tag: dict[str, Any]) -> dict[tuple[int, ...], Fit] | None:
    found = tag.get("fits") or ({} if tag.get("fit") is None else {tuple(tag["place"].plane): tag["fit"]})
    return {plane: on_plane(fit, plane) for plane, fit in found.items()} or None


def on_plane(fit: Fit, plane: tuple[int, ...]) -> Fit:
    """A fit whose table says on which plane of a stack it is."""
    if not plane:
        return fit
    n, columns = len(fit.droplets), plane_columns(len(plane))
    labels = dict(fit.droplets.labels) | {c: np.full(n, i) for c, i in zip(columns, plane, strict=True)}
    return replace(fit, droplets=replace(fit.droplets, labels=labels))
