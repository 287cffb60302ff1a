"""One result of a batch as layers to be corrected; corrections go back into its folder before the next one comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ...droplets import Droplets, Fit
from ...errors import InputError
from ...lazy import LazyPixels
from ...workbench.batch.corrected import Opened, moment_of_sheet, open_result, save_corrections
from ...workbench.batch.folder import FolderBatch
from ...workbench.sheet import Sheet
from ..controls.parts import draw_now
from ..jobs import work
from ..jobs.job import Job, Outcome, once
from ..layers.large import levels, made_ready
from ..layers.linking import read_now, reuse, sheet_of
from ..layers.place import place_of
from ..layers.points import POINT_STATE, TAG
from ..layers.results import to_layers

Then = Callable[[], None]


class Review:
    """The result that is looked at.

    Parameters
    ----------
    viewer : napari viewer
        Gets the layers; those of the result before leave it.
    folder : FolderBatch
    say : callable
        Takes what there is to say, and a level.
    shown : callable
        Called when another result, or none, is looked at.
    drawn : callable
        Called when layers of ours show other droplets.

    Attributes
    ----------
    target : str or None
        What is looked at: the name of a result's folder.
    """

    def __init__(
        self,
        viewer: Any,
        folder: FolderBatch,
        say: Callable[..., None],
        shown: Callable[[], None],
        drawn: Callable[[], None],
    ) -> None:
        self._viewer, self._folder, self._say, self._shown, self._drawn = viewer, folder, say, shown, drawn
        self.target: str | None = None
        self._layers: list[Any] = []
        self._sheet: Sheet | None = None
        self._saved: Any = None
        self._place: tuple[Path, Path | None] | None = None
        self._job: Job | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being read, refitted or written."""
        return self._job is not None

    @property
    def sheet(self) -> Sheet | None:
        """The droplets that are looked at."""
        return self._sheet

    @property
    def unsaved(self) -> bool:
        """Whether something was corrected that is not in the folder yet."""
        if self._sheet is None:
            return False
        for layer in self._layers:
            if sheet_of(layer) is self._sheet and layer in self._viewer.layers:
                read_now(layer)
        return self._sheet.table is not self._saved

    def has_saved(self, sheet: Sheet) -> bool:
        """Whether droplets are those that are looked at, and all that was corrected is in their folder."""
        return sheet is self._sheet and not self.unsaved

    def forget(self) -> None:
        """Another batch is looked at: the layers stay, as droplets like any others.

        Raises
        ------
        InputError
            Something was corrected and is not saved, or something is still going on.
        """
        self._check_idle()
        if self.unsaved:
            raise InputError(f"{self.target}: corrected and not saved; press Save corrections first")
        self._layers, self._sheet, self._saved, self.target, self._place = [], None, None, None, None

    def open(self, target: str) -> None:
        """Look at a result; what was corrected in the one before is saved first.

        Raises
        ------
        InputError
            There is no such result, or something else is still going on.
        """
        self._check_idle()
        folder = self._folder.folder_of(target)
        if self.unsaved:
            self.save(partial(self._read, target, folder))
        else:
            self._read(target, folder)

    def save(self, then: Then = lambda: None) -> None:
        """Save corrections into the folder of the result; edits that are not refitted yet are refitted first.

        Raises
        ------
        InputError
            Nothing is looked at, or something else is still going on.
        """
        self._check_idle()
        sheet = self._sheet
        if sheet is None or self.target is None:
            raise InputError("no image of a batch is looked at; choose one in the list first")
        if sheet.running:
            raise InputError("work on these droplets goes on; wait for its end, or press Cancel")
        planes = [plane for plane in sheet.to_refit() if len(sheet.on(plane))]
        if planes:
            since = sheet.snapshot(planes[0])
            self._say(f"{self.target}: refitting around the corrections …")
            self._start(partial(work.refit, since, None, None, {}), partial(self._refitted, sheet, since, then))
            return
        moment = moment_of_sheet(sheet)
        assert self._place is not None
        folder, stack = self._place
        self._say(f"{self.target}: saving …")
        steps = once(partial(save_corrections, folder, moment, stack))
        self._start(steps, partial(self._written, self.target, sheet, moment.sheets[0].table, then))

    def close(self) -> None:
        """Nobody looks any more; layers stay, and what is being written is written to its end."""
        if self._job is not None:
            self._job.abandon()
            self._job = None

    def _check_idle(self) -> None:
        if self._job is not None:
            raise InputError("the last image is still being read or saved; wait a moment")

    def _start(self, steps: Callable[[], Any], ended: Callable[[Any], None]) -> None:
        def end(outcome: Outcome) -> None:
            self._job = None
            if outcome.error is not None:
                self._say(outcome.error, "warning")
                self._shown()
            else:
                ended(outcome.result)

        self._job = Job(steps, lambda _: None, end)
        self._job.start()

    def _refitted(self, sheet: Sheet, since: Any, then: Then, found: work.Refitted) -> None:
        sheet.take(found.change, found.table, since)
        if sheet is self._sheet:
            self.save(then)

    def _written(self, target: str, sheet: Sheet, table: Any, then: Then, edits: int) -> None:
        if sheet is self._sheet:
            self._saved = table
        self._folder.corrected(target)
        self._say(f"{target}: saved, {edits:,} correction{'' if edits == 1 else 's'}")
        self._shown()
        then()

    def _read(self, target: str, folder: Path) -> None:
        self._say(f"{target}: opening …")
        self._start(once(partial(_opened, folder, target.replace("/", " "))), partial(self._show, target, folder))

    def _show(self, target: str, folder: Path, made: tuple[Opened, list[Any]]) -> None:
        """Show all by the layers of the result before; points come when the window has drawn the pictures.

        napari takes a tenth of a second for each layer that comes, and two for each that goes, as it collects garbage
        then.
        """
        opened, (*pictures, points) = made
        old = self._layers
        self._layers, self._sheet, self._saved, self.target, self._place = [], None, None, None, None
        free = [layer for layer in old[:-1] if layer in self._viewer.layers]
        for data in pictures:
            layer = next((layer for layer in free if _takes(layer, data)), None)
            if layer is None:
                self._layers.append(self._viewer.add_layer(_layer(data)))
            else:
                free.remove(layer)
                self._layers.append(_reused(layer, data))
        before = next((layer for layer in old[-1:] if layer in self._viewer.layers and layer.ndim == 2), None)
        self._remove([*free, *(layer for layer in old[-1:] if layer is not before)])
        place = points[1]["metadata"][TAG]["place"]
        if pictures and opened.same_pixels:  # or a refit would find that the layer is another image
            place = replace(place, layer_id=str(self._layers[0].unique_id))
        for tag in (points[1]["metadata"][TAG], *(layer.metadata.get(TAG) for layer in self._layers)):
            if tag is not None:
                tag["place"] = place

        def rest() -> None:
            self._job = None
            self._show_points(target, folder, opened, points, before)

        self._job = Job(once(lambda: None), lambda _: None, lambda _: rest())
        self._job.start()

    def _show_points(self, target: str, folder: Path, opened: Opened, data: Any, before: Any) -> None:
        if before is None or before not in self._viewer.layers:
            points = self._viewer.add_layer(_layer(data))
        else:
            points = _other_points(before, data)
            self._drawn()
        self._layers.append(points)
        self._viewer.layers.selection.active = points
        self._sheet = sheet_of(points)
        if self._sheet is not None and opened.image is not None:
            self._sheet.image = replace(self._sheet.image, path=opened.image.path)
        self._saved = None if self._sheet is None else self._sheet.table
        self.target, self._place = target, (folder, self._folder.stack_of(target))
        self._folder.mark_seen(target)
        name = target.replace("/", " ")
        if opened.image is None:
            self._say(f"{name}: its image is gone or another one; corrections cannot be saved", "warning")
        else:
            count = 0 if self._sheet is None else len(self._sheet.table)
            self._say(f"{name}: {count:,} droplets; correct what is wrong, then press Next")
        if hasattr(self._viewer, "reset_view"):
            self._viewer.reset_view()
        self._shown()

    def _remove(self, layers: list[Any]) -> None:
        for layer in reversed(layers):
            if layer in self._viewer.layers:
                self._viewer.layers.remove(layer)
                if hasattr(self._viewer, "window"):
                    draw_now()  # or napari may crash when several have gone at once and new ones come


def _layer(data: Any) -> Any:
    from napari.layers import Layer

    return Layer.create(*data)


def _takes(layer: Any, data: Any) -> bool:
    """Whether an image layer can show another picture in place of its own."""
    pixels, attributes, _ = data
    arrays = not layer.multiscale and not isinstance(pixels, list)
    same_kind = (TAG in layer.metadata) == (TAG in attributes.get("metadata", {}))
    return bool(arrays and same_kind and layer.rgb == attributes["rgb"] and layer.ndim == 2)


def _reused(layer: Any, data: Any) -> Any:
    pixels, attributes, _ = data
    layer.data = pixels
    _named_and_placed(layer, attributes)
    if not layer.rgb:
        layer.contrast_limits = attributes.get("contrast_limits") or (float(pixels.min()), float(pixels.max()) or 1.0)
    if TAG in layer.metadata:
        layer.metadata[TAG] = attributes["metadata"][TAG] | {"name": layer.name}
    return layer


def _other_points(layer: Any, data: Any) -> Any:
    """A Points layer with other droplets in place of its own."""
    places, attributes, _ = data
    state = {"data": places} | {k: attributes[k] for k in POINT_STATE if k in attributes}
    _named_and_placed(layer, attributes)
    reuse(layer, state, attributes["metadata"][TAG] | {"name": layer.name})
    return layer


def _named_and_placed(layer: Any, attributes: Any) -> None:
    layer.name, layer.scale = attributes["name"], attributes.get("scale", (1.0, 1.0))
    layer.units = attributes.get("units", ("pixel", "pixel"))


def _opened(folder: Path, name: str) -> tuple[Opened, list[Any]]:
    """A result and its layers, with what the window needs of large pictures, made here, where nobody waits."""
    opened = open_result(folder)
    if opened.image is not None:
        made_ready(opened.image.pixels)
    if isinstance(opened.result, Fit):
        made_ready(opened.result.reconstruction)
    return opened, layers_of(opened, name)


def layers_of(opened: Opened, name: str) -> list[Any]:
    """The layers of a result: its image, where that is at hand, the picture of the fit, and the droplets.

    Parameters
    ----------
    opened : Opened
    name : str
        Of the image layer.
    """
    from ..layers.place import Place

    result, image, sheet = opened.result, opened.image, opened.sheet
    layers, place = [], Place(name)
    size = result.pixel_size_um if isinstance(result, Droplets) else result.droplets.pixel_size_um
    if image is not None:
        pixels: Any = image.pixels
        rgb = pixels.shape[-1] == 3
        data = levels(pixels) if isinstance(pixels, LazyPixels) else pixels if rgb else pixels[..., 0]
        attributes: dict[str, Any] = {"name": name, "rgb": rgb}
        if size is not None:
            from ...images.pixel_size import width_height

            width, height = width_height(size)
            attributes |= {"scale": (height, width), "units": ("um", "um")}
        layers.append((data, attributes, "image"))
        place = replace(place_of(_layer(layers[0])), layer_id=place.layer_id)
    elif isinstance(result, Fit):
        place = replace(place, shape=tuple(result.reconstruction.shape[:2]))
    shown: Any = result
    if sheet is not None:
        droplets = replace(Droplets.from_dataframe(sheet.table.rename_axis(None), name=name), pixel_size_um=size)
        fit = sheet.fit
        shown = droplets if fit is None else replace(fit, droplets=droplets)
    made = to_layers(shown, place=place)
    _, attributes, _ = made[-1]
    tag = attributes["metadata"][TAG]
    if sheet is not None:
        tag |= {"sheet": sheet, "detected": sheet.detected, "fit": sheet.fit}
    else:
        tag["detected"] = isinstance(result, Droplets)
    return [*layers, *made]
