"""The dock widget: from an image layer to droplets, with progress, cancel and refit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..workbench.journal import Journal
from ..workbench.session import Session
from ..workbench.sheet import Sheet
from . import layers, work
from .controls.command import command_text
from .controls.correct import CORRECTIONS
from .controls.panel import ACTIONS, ALL, ASK, CHANNELS, SESSION_ACTIONS, Panel
from .controls.parts import draw_now
from .correcting import Corrections
from .desk import Desk
from .files.saving import asked_path, save_points
from .keeping import Keeping
from .layers.linking import sheet_of
from .layers.place import (
    Place,
    Plane,
    check_axes,
    check_shown,
    picture_of,
    pixel_size_um,
    place_of,
    planes_of,
    size_of_file,
    whole_of,
)
from .layers.presence import n_hidden
from .layers.regions import region_of
from .nearby import NearbyRefits
from .refitting import Refit, layer_of, refit_of
from .running import Runner
from .showing import shown_planes, shown_result, told_of_fit
from .stacks import OfPlanes, detect_planes, fit_planes
from .views.tabs import Views
from .warming import FORM_OF_FIT, Warmer

if TYPE_CHECKING:
    import napari.viewer


CALM_MS = 1000
"""How long settings have to stay before a fit with them is prepared."""


class DropletsWidget(QWidget):
    """Find the droplets of an image layer.

    Scripts use what the buttons use: `run`, `detect`, `refit`, `estimate`, `save`, `cancel`, which return at once, and
    `busy`.

    Attributes
    ----------
    image : magicgui ComboBox
        Its value is the image layer to work on; it follows the active layer, but not when results arrive.
    planes : magicgui ComboBox
        Of a stack: "shown" for the plane that is shown, "all", "channels" where its first axis are those of one
        picture; "ask" is "shown", but refuses where that is not clear.
    region : magicgui ComboBox
        Its value is the Shapes or Labels layer in which droplets are looked for, or None for the whole image.
    form : SettingsForm
        The settings.
    color : magicgui ComboBox
        Its value says what points are colored by.
    session : Session
        What is worked on: droplets, which are selected, which are shown.
    views : Views
        The tabs beside the settings: `filters`, `inspector`, `plots`.
    busy : bool
        Whether work is going on.
    preparing : bool
        Whether what a fit needs is being compiled; it can be started all the same.
    result : Fit, Droplets or None
        Of the last work that ended well; of a detection, what `napari_droplets.detect` gives.
    message : str
        What the status line says.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.result: Fit | Droplets | None = None
        self._detected: tuple[Place, int] | None = None
        self._warmer = Warmer()
        self.session = Session()
        self._desk = Desk(self.session, napari_viewer, self._our_points, self._on_opened)
        self._nearby = NearbyRefits(self, self.session, lambda: self.busy, self._to_compare, self._tell)
        self._soon = QTimer(self, singleShot=True, interval=CALM_MS)
        names = (*ACTIONS, *CORRECTIONS, *SESSION_ACTIONS)
        actions = {name: getattr(self, name.lower().replace(" ", "_")) for name in names}
        panel = self._panel = Panel(napari_viewer, actions, self._our_points)
        self.form, self.image, self.region, self.planes = panel.form, panel.image, panel.region, panel.planes
        self.color = panel.colors.by
        self.views = Views(self.session, napari_viewer, panel, self._our_points, lambda: self.busy)
        self._bar, self._status, self._colors, self._say = panel.bar, panel.status, panel.colors, panel.say
        self._runner = Runner(self, panel, self._on_shown, self._on_ended)
        self._corrections = Corrections(self.session, self._our_points, self._say)
        QVBoxLayout(self).addWidget(panel)
        self._keeping = Keeping(panel, self.session, self._desk)
        panel.correct.refit_edits.toggled.connect(lambda on: setattr(self, "refit_edits", on))
        self._follow_active()
        for event, action in self._listening():
            event.connect(action)
        self._desk.update()
        self.image.changed.connect(self._colors.apply)
        self.image.changed.connect(self._desk.update)
        self.image.changed.connect(panel.show_planes)
        panel.show_planes(self.image.value)
        self.image.changed.connect(lambda layer: self.form.offer_pixel_size(size_of_file(layer)))
        self.form.inputs["min_probability"].changed.connect(self._hide_improbable)
        self._soon.timeout.connect(self._warm)
        for name in FORM_OF_FIT:
            self.form.inputs[name].changed.connect(self._form_changed)
        for part in (self._warmer.stop, self._nearby.close, self._desk.close):
            self.destroyed.connect(part)

    @property
    def busy(self) -> bool:
        """Whether work is going on."""
        return self._runner.job is not None

    @property
    def preparing(self) -> bool:
        """Whether what a fit needs is being compiled; it can be started all the same."""
        return self._warmer.busy

    @property
    def refitting(self) -> bool:
        """Whether surroundings of edits are refitted in the background, or will be soon; see `refit_edits`."""
        return self._nearby.busy

    @property
    def refit_edits(self) -> bool:
        """Whether the surroundings of an edit are refitted in the background; can be set."""
        return self._nearby.on

    @refit_edits.setter
    def refit_edits(self, value: bool) -> None:
        self._nearby.on = value

    @property
    def journal(self) -> Journal:
        """What was done to the droplets that are worked on, step by step."""
        return self._corrections.journal

    @property
    def message(self) -> str:
        """What the status line says."""
        return self._status.text().replace("\N{NO-BREAK SPACE}", " ")

    def run(self) -> None:
        """Detect the droplets of the image anew and fit them: positions, sizes, compositions and how sure they are."""
        self._guarded(partial(self._start_on_image, detect_only=False))

    def detect(self) -> None:
        """Find droplets without fitting: quick, positions, sizes and how sure they are; no compositions.

        The layer holds all candidates; those that are less probable than the form says are hidden. It takes the place
        of the last detection, but neither of a fit nor of points that were edited.
        """
        self._guarded(partial(self._start_on_image, detect_only=True))

    def refit(self) -> None:
        """Fit again from the points as they are now, those shown.

        Of a fit, what was added, moved or deleted stays so. Detected points, and those of a table, are where a fit of
        the whole image starts; it may move them.
        """
        self._guarded(self._refit)

    def estimate(self) -> None:
        """Estimate the typical diameter from the image, and put it into the form."""
        self._guarded(self._estimate)

    def cancel(self) -> None:
        """Stop: a fit after the current chunk of steps, keeping what was found; before it at once, keeping nothing."""
        self._runner.cancel()

    def undo(self) -> bool:
        """Take back the last edit of the points, and what was refitted since; whether there was one."""
        return self._corrections.undo()

    def redo(self) -> bool:
        """Do again what was undone last; whether there was something."""
        return self._corrections.redo()

    def merge(self) -> None:
        """Make one droplet, of the same area, of those selected."""
        self._corrections.merge()

    def split(self) -> None:
        """Make two droplets of each one selected, side by side."""
        self._corrections.split()

    def classify(self, name: Any) -> None:
        """Sort the droplets selected into a class by hand."""
        self._corrections.classify(name)

    def pin(self, pin: bool = True) -> None:
        """Keep the droplets selected where they are in refits, or no longer."""
        self._corrections.pin(pin)

    def save_session(self, path: str | Path | None = None) -> None:
        """Save all that is worked on as one file, NAME.droplets: settings, droplets, fits, edits and undo."""
        self._told(partial(self._keeping.save, path))

    def open_session(self, path: str | Path | None = None) -> None:
        """Open a session beside what is there; its image is opened, too, where its file is the same."""
        self._told(partial(self._keeping.open, path))

    def restore(self) -> None:
        """Open what is left of work that was not saved."""
        self._told(self._keeping.restore)

    def discard(self) -> None:
        """Throw away what is left of work that was not saved, and offer what else is left."""
        self._told(self._keeping.discard)

    def save(self, path: str | Path | None = None) -> None:
        """Save the points as they are now, those shown, as a droplets table; asks for the file where none is given."""
        self._guarded(partial(self._save, path))

    def reset_choices(self, event: Any = None) -> None:
        """Read the layer list again (called by napari when it changes)."""
        self._panel.reset_choices()
        self.views.reset_choices()
        self._colors.apply()

    # what is started

    def _told(self, action: Callable[[], Any]) -> None:
        """Do something, and say where it finds that it cannot be done."""
        try:
            action()
        except InputError as error:
            self._say(str(error), "warning")

    def _on_opened(self, session: dict[str, Any], note: str) -> None:
        """A session was opened: the form says what it said."""
        self._told(lambda: self.form.set_record(session.get("settings", {})))
        self.session.set_filters(**session.get("filters", {}))
        self._say(note or "Session opened", "warning" if note else "")

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something that may find the input wrong, and say so rather than raise."""
        if self.busy:
            self._say("Busy: wait for the end, or press Cancel", "warning")
            return
        self._told(action)

    def _start_on_image(self, *, detect_only: bool) -> None:
        layer, choice = self._layer(), self.planes.value
        stack = layer.ndim > 2
        if stack and choice == ASK:
            check_axes(layer)
        if stack and choice == CHANNELS:
            place = picture_of(layer)
        else:
            check_shown(layer, self.viewer.dims)
            place = whole_of(layer) if stack and choice == ALL else place_of(layer, self.viewer.dims.point)
        settings = self._settings(layer) | {"region": region_of(self.region.value, layer, place)}
        output = layers.Output(self.viewer, place)
        self._panel.command.setText(command_text(layer, place.plane, settings, detect_only=detect_only))
        self._panel.command.setCursorPosition(0)
        if place.leading:
            planes = [(i, partial(Plane.of, layer, replace(place, plane=i))) for i in planes_of(layer)]
            steps = partial(detect_planes if detect_only else fit_planes, planes, settings)
            self._start(steps, output, partial(self._show_planes, output))
        else:
            plane = Plane.of(layer, place)
            steps = (
                partial(work.detect, plane, settings) if detect_only else partial(work.fit_from, None, plane, settings)
            )
            self._start(steps, output, partial(self._show_result, output))

    def _show_planes(self, output: layers.Output, found: OfPlanes, cancelled: bool) -> None:
        with self._runner.results():
            told = shown_planes(output, found, cancelled=cancelled)
        self.result = told.result
        self._say(told.text, told.level)

    def _refit(self) -> None:
        points = self._our_points()
        if points is None:
            raise InputError("nothing to refit: press Run first, then correct the points")
        refit = refit_of(points, self.viewer, self._image_of, self._settings, self.region.value)
        if refit.since is None:
            output = layers.Output(self.viewer, refit.place, points)
            self._start(refit.steps, output, partial(self._show_result, output), keeps=True)
        else:
            self._start(refit.steps, None, partial(self._on_refitted, refit), keeps=True)
        self._say(refit.text)

    def _save(self, path: str | Path | None) -> None:
        points = self._our_points()
        if points is None:
            raise InputError("nothing to save: press Detect or Run first")
        path = asked_path(self, points.name) if path is None else path
        if path is not None:
            self._say(save_points(points, path))

    def _estimate(self) -> None:
        layer = self._layer()
        check_shown(layer, self.viewer.dims)
        place = place_of(layer, self.viewer.dims.point)
        plane, settings = Plane.of(layer, place), self._settings(layer)
        settings["region"] = region_of(self.region.value, layer, place)
        self._start(lambda: work.estimate(plane, settings), None, self._on_estimated)

    def _on_estimated(self, diameter: float, cancelled: bool) -> None:
        self.form.set(diameter=diameter)
        self._say(f"Estimated diameter: {diameter:.1f} px")

    def _start(
        self,
        steps: Callable[[], work.Steps],
        output: layers.Output | None,
        then: Callable[[Any, bool], None],
        *,
        keeps: bool = False,
    ) -> None:
        self._nearby.stop()
        self._warmer.stop()
        self._runner.start(steps, output, then, keeps=keeps)

    def _settings(self, layer: Any) -> dict[str, Any]:
        settings = self.form.values()
        if settings["pixel_size_um"] is None and layer is not None:
            settings["pixel_size_um"] = pixel_size_um(layer)
        return settings

    def _layer(self) -> Any:
        """The image layer chosen."""
        if self.image.value is None:
            return layers.default_image(self.viewer)  # which says what is missing
        return self.image.value

    def _image_of(self, place: Place) -> Any:
        """The image layer that a place is of, else the one chosen."""
        return layer_of(self.viewer, place) or self._layer()

    def _our_points(self) -> Any:
        """The active Points layer if it is ours, else the topmost of the image chosen, else the topmost, else None."""
        active = self.viewer.layers.selection.active
        if layers.tag_of(active, "droplets"):
            return active
        ours = [layer for layer in self.viewer.layers if layers.tag_of(layer, "droplets")]
        image_id = str(self.image.value.unique_id) if self.image.value is not None else None
        of_image = [layer for layer in ours if layers.tag_of(layer, "droplets")["place"].layer_id == image_id]
        return (of_image or ours or [None])[-1]

    # what comes back, in the main thread

    def _on_shown(self) -> None:
        self._desk.update()
        self._colors.apply()

    def _on_ended(self) -> None:
        self._on_shown()
        self._nearby.soon()

    def _show_result(self, output: layers.Output, outcome: Fit | work.Detected, cancelled: bool) -> None:
        with self._runner.results():
            told = shown_result(output, outcome, self._least(), cancelled=cancelled, image_of=self._image_of)
        self.result = told.result
        if told.candidates is not None:
            self._detected = (output.place, told.candidates)
            self._warm()
        elif isinstance(self.result, Fit):
            self._warmer.run(partial(work.rehearse, self.result))
        self._status.setToolTip(told.details)
        self._say(told.text, told.level)

    def _on_refitted(self, refit: Refit, found: work.Refitted, cancelled: bool) -> None:
        """A local refit that was asked for has ended; what was edited meanwhile stays as it is."""
        points = self._our_points()
        sheet = sheet_of(points)
        assert refit.since is not None
        if sheet is None or not sheet.take(found.change, found.table, refit.since):
            self._say("The points are others now; nothing was changed")
            return
        self.result = sheet.fit_of(refit.since.plane)
        told = told_of_fit(found.fit, sheet.table, refit.place, self._image_of, cancelled=cancelled)
        self._status.setToolTip(told.details)
        self._say(told.text, told.level)

    def _to_compare(self, sheet: Sheet, plane: tuple[int, ...]) -> Plane | None:
        """The pixels of a sheet's image layer, None where it is gone."""
        place = self._desk.place_of(sheet)
        layer = None if place is None else layer_of(self.viewer, place)
        return None if layer is None else Plane.of(layer, replace(place, plane=plane))

    def _tell(self, text: str) -> None:
        if not self.busy:
            self._say(text)

    def _form_changed(self, _: Any = None) -> None:
        """What was prepared may not be what is needed."""
        self._warmer.stop()
        self._soon.start()

    def _warm(self) -> None:
        """While proposals are shown: compile what a fit of this image will need."""
        if self._detected is None or self.busy:
            return
        place, candidates = self._detected
        layer = self.image.value
        if layer is None or str(layer.unique_id) != place.layer_id:
            return
        with suppress(InputError):
            self._warmer.start(Plane.of(layer, place), candidates, self._settings(layer))

    def _least(self) -> float:
        return float(self.form.inputs["min_probability"].value)

    def _hide_improbable(self) -> None:
        """The slider was moved: show and hide points at once."""
        points = self._our_points()
        self.session.set_filters(min_probability=self._least() or None)
        if points is not None and "p_present" in points.features and not self.busy:
            shown = len(points.data)
            self._say(f"{shown:,} of {shown + n_hidden(points):,} points shown in {points.name!r}")

    # the window

    def showEvent(self, event: Any) -> None:
        """The panel is in a window, which asks before it is closed with work that is not saved."""
        super().showEvent(event)
        self._keeping.ask_at_close(self.window())

    def changeEvent(self, event: QEvent | None) -> None:
        """Notice that napari has taken the panel out of its window: the user has closed it."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.ParentChange and self.parent() is None:
            self._close_down()

    def _close_down(self) -> None:
        """Stop what goes on and give layers back what they had; nobody sees the panel any more."""
        self._runner.close()
        self._soon.stop()
        self._warmer.stop()
        self._nearby.close()
        self.views.close()
        self._keeping.close()
        self._desk.close()
        for event, action in self._listening():
            event.disconnect(action)

    def _listening(self) -> list[tuple[Any, Callable[..., None]]]:
        """What the panel does when something happens in the viewer."""
        events = self.viewer.layers.events
        return [
            *((event, self.reset_choices) for event in (events.inserted, events.removed, events.renamed)),
            (events.inserted, self._desk.update),
            (events.removed, self._desk.update),
            (events.removed, self._draw_without),
            (self.viewer.layers.selection.events.active, self._follow_active),
        ]

    def _draw_without(self, event: Any) -> None:
        """A layer of ours was removed: draw, or napari may crash when several have gone at once and new ones come."""
        if layers.TAG in event.value.metadata and self.isVisible():
            draw_now()

    def _follow_active(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if layers.is_image(active) and not self._runner.showing:
            self.image.reset_choices()
            self.image.value = active
        if not self._runner.showing:
            self._desk.update()
        self._colors.apply()
