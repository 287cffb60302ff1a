"""The dock widget: from an image layer to droplets, with progress, cancel and refit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QTimer
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..inference.api import Detection
from ..workbench.session import Session
from . import layers, work
from .controls.command import command_text
from .controls.panel import ACTIONS, Panel
from .controls.parts import draw_now
from .controls.words import count_text, fit_text, line, progress_text, sizes_text, stored_text
from .files.saving import asked_path, save_points
from .job import Job, Outcome, Update
from .layers.coloring import n_poor
from .layers.following import follow
from .layers.place import Place, Plane, check_shown, pixel_size_um, place_of, shape_of, shown_as_stored, size_of_file
from .layers.presence import n_hidden, show_probable
from .layers.regions import region_of
from .refitting import layer_of, refit_of
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
    region : magicgui ComboBox
        Its value is the Shapes or Labels layer in which droplets are looked for, or None for the whole image.
    form : SettingsForm
        The settings.
    color : magicgui ComboBox
        Its value says what points are colored by.
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
        self._job: Job | None = None
        self._output: layers.Output | None = None
        self._keeps = False
        self._showing = False
        self._detected: tuple[Place, int] | None = None
        self._warmer = Warmer()
        self._soon = QTimer(self, singleShot=True, interval=CALM_MS)
        actions = {name: getattr(self, name.lower()) for name in ACTIONS}
        panel = self._panel = Panel(napari_viewer, actions, self._our_points)
        self.form, self.image, self.region = panel.form, panel.image, panel.region
        self.color = panel.colors.by
        self.session = Session()
        self.views = Views(self.session, napari_viewer, panel, self._our_points)
        self._bar, self._status, self._colors, self._say = panel.bar, panel.status, panel.colors, panel.say
        QVBoxLayout(self).addWidget(panel)
        self._follow_active()
        for event, action in self._listening():
            event.connect(action)
        self._follow_points()
        self.image.changed.connect(self._colors.apply)
        self.image.changed.connect(lambda layer: self.form.offer_pixel_size(size_of_file(layer)))
        self.form.inputs["min_probability"].changed.connect(self._hide_improbable)
        self._soon.timeout.connect(self._warm)
        for name in FORM_OF_FIT:
            self.form.inputs[name].changed.connect(self._form_changed)
        self.destroyed.connect(self._warmer.stop)

    @property
    def busy(self) -> bool:
        """Whether work is going on."""
        return self._job is not None

    @property
    def preparing(self) -> bool:
        """Whether what a fit needs is being compiled; it can be started all the same."""
        return self._warmer.busy

    @property
    def message(self) -> str:
        """What the status line says."""
        return self._status.text().replace("\N{NO-BREAK SPACE}", " ")

    def run(self) -> None:
        """Detect the droplets of the image anew and fit them: positions, sizes, compositions and how sure they are."""
        self._start_on_image(partial(work.fit_from, None), detect_only=False)

    def detect(self) -> None:
        """Find droplets without fitting: quick, positions, sizes and how sure they are; no compositions.

        The layer holds all candidates; those that are less probable than the form says are hidden. It takes the place
        of the last detection, but neither of a fit nor of points that were edited.
        """
        self._start_on_image(work.detect, detect_only=True)

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
        if self._job is None:
            return
        if self._keeps:
            self._job.cancel()
            self._panel.buttons["Cancel"].setEnabled(False)
            self._say("Stopping; what was found so far is kept …")
        else:
            self._job.abandon()
            self._end_job()
            self._say("Stopped; nothing was changed")

    def save(self, path: str | Path | None = None) -> None:
        """Save the points as they are now, those shown, as a droplets table; asks for the file where none is given."""
        self._guarded(partial(self._save, path))

    def reset_choices(self, event: Any = None) -> None:
        """Read the layer list again (called by napari when it changes)."""
        self._panel.reset_choices()
        self._colors.apply()

    # what is started

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do something that may find the input wrong, and say so rather than raise."""
        if self.busy:
            self._say("Busy: wait for the end, or press Cancel", "warning")
            return
        try:
            action()
        except InputError as error:
            self._say(str(error), "warning")

    def _start_on_image(self, steps: Callable[[Plane, dict[str, Any]], work.Steps], *, detect_only: bool) -> None:
        def action() -> None:
            layer = self._layer()
            check_shown(layer, self.viewer.dims)
            place = place_of(layer, self.viewer.dims.point)
            settings = self._settings(layer) | {"region": region_of(self.region.value, layer, place)}
            plane = Plane.of(layer, place)
            output = layers.Output(self.viewer, place)
            self._panel.command.setText(command_text(layer, place.plane, settings, detect_only=detect_only))
            self._panel.command.setCursorPosition(0)
            self._start(lambda: steps(plane, settings), output)

        self._guarded(action)

    def _refit(self) -> None:
        points = self._our_points()
        if points is None:
            raise InputError("nothing to refit: press Run first, then correct the points")
        refit = refit_of(points, self.viewer, self._image_of, self._settings, self.region.value)
        self._start(refit.steps, layers.Output(self.viewer, refit.place, points), keeps=True)
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
        self._start(lambda: work.estimate(plane, settings), None)

    def _start(self, steps: Callable[[], work.Steps], output: layers.Output | None, *, keeps: bool = False) -> None:
        """Start work; `keeps` if there is something to keep when it is cancelled, even before droplets are found."""
        job = Job(steps, partial(self._on_update, output), partial(self._on_end, output))
        self._job, self._output, self._keeps = job, output, keeps
        self.destroyed.connect(job.abandon)
        self._panel.show_busy()
        job.start()

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

    def _on_update(self, output: layers.Output | None, update: Update) -> None:
        progress, picture = update
        self._keeps = self._keeps or progress.n_droplets > 0
        self._bar.setMaximum(progress.steps if progress.step else 0)  # of 0: busy, nobody knows for how long
        self._bar.setValue(min(progress.step, progress.steps))
        if self._job is not None and not self._job.cancelled:
            self._say(progress_text(progress))
        if picture is not None and output is not None:
            droplets, reconstruction = picture
            with self._results():
                output.show(droplets, reconstruction, final=False)
            self._colors.apply()
            # a timer of 0 fires when the window has drawn
            QTimer.singleShot(0, self._job.drawn if self._job else lambda: None)

    def _on_end(self, output: layers.Output | None, outcome: Outcome) -> None:
        cancelled = self._job is not None and self._job.cancelled
        self._end_job(done=outcome.error is None)
        if outcome.error is not None:
            if output is not None:
                output.restore()
            self._say(outcome.error, "warning" if outcome.expected else "error")
        elif output is None:
            self.form.set(diameter=outcome.result)
            self._say(f"Estimated diameter: {outcome.result:.1f} px")
        else:
            self._show_result(output, outcome.result, cancelled)
        self._colors.apply()

    def _end_job(self, *, done: bool = False) -> None:
        if self._job is not None:
            self.destroyed.disconnect(self._job.abandon)
        self._job = None
        self._panel.show_idle(done=done)

    def _show_result(self, output: layers.Output, outcome: Fit | work.Detected, cancelled: bool) -> None:
        result: Fit | Detection
        if isinstance(outcome, Fit):
            result, notes = outcome, () if outcome.image is None else outcome.image.notes
        else:
            result, notes = outcome
        self.result = result if isinstance(result, Fit) else result.droplets
        shape, kind = None, ""
        with suppress(InputError):  # the image may be gone
            layer = self._image_of(output.place)
            shape, kind = shape_of(layer), shown_as_stored(layer)
        if isinstance(result, Fit):
            with self._results():
                output.show(result.droplets, result.reconstruction, fit=result)
            found = len(result.droplets)
            text = fit_text(result, n_poor(result.table), cancelled=cancelled)
            sizes, details = sizes_text(result, shape)
        else:
            with self._results():
                output.show(result.candidates, detected=True)
            show_probable(output.points, self._least())
            found = len(output.points.data)
            where = "" if result.region is None else " in the region"
            text = line([f"Done: {found:,} droplets{where}", *count_text(result, found)])
            sizes, details = sizes_text(result.droplets, shape, result.region)
            self._detected = (output.place, len(result.candidates))
            self._warm()
        text += f"\n{sizes}" if sizes else ""
        self._status.setToolTip(details)
        if not found:
            text = f"{output.place.name}: no droplets found; set the diameter, or check the image"
            if hidden := n_hidden(output.points):
                text = f"{output.place.name}: no droplets found, but {hidden:,} improbable candidates are hidden"
        text += "".join(f"\n{note}" for note in notes)
        if kind:
            text += f"\n{stored_text(kind)}"
        if output.kept:
            text += f"\n{output.kept} and is kept; the result is in {output.points.name!r}"
        self._say(text, "" if found else "warning" if isinstance(result, Fit) else "info")

    @contextmanager
    def _results(self) -> Iterator[None]:
        """While layers of ours come, other ones become active for a moment, which the user has not chosen."""
        self._showing = True
        try:
            yield
        finally:
            self._showing = False

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
        if points is None or "p_present" not in points.features:
            return
        show_probable(points, self._least())
        if not self.busy:
            shown = len(points.data)
            self._say(f"{shown:,} of {shown + n_hidden(points):,} points shown in {points.name!r}")

    # the window

    def changeEvent(self, event: QEvent | None) -> None:
        """Notice that napari has taken the panel out of its window: the user has closed it."""
        super().changeEvent(event)
        if event is not None and event.type() == QEvent.ParentChange and self.parent() is None:
            self._close_down()

    def _close_down(self) -> None:
        """Stop what goes on and give layers back what they had; nobody sees the panel any more."""
        if self._job is not None:
            self._job.abandon()
            self._end_job()
            if self._output is not None:
                self._output.restore()
        self._soon.stop()
        self._warmer.stop()
        for event, action in self._listening():
            event.disconnect(action)

    def _listening(self) -> list[tuple[Any, Callable[..., None]]]:
        """What the panel does when something happens in the viewer."""
        events = self.viewer.layers.events
        return [
            *((event, self.reset_choices) for event in (events.inserted, events.removed, events.renamed)),
            (events.inserted, self._follow_points),
            (events.removed, self._draw_without),
            (self.viewer.layers.selection.events.active, self._follow_active),
        ]

    def _follow_points(self, event: Any = None) -> None:
        """Layers of ours that were opened, too."""
        for layer in self.viewer.layers:
            follow(layer)

    def _draw_without(self, event: Any) -> None:
        """A layer of ours was removed: draw, or napari may crash when several have gone at once and new ones come."""
        if layers.TAG in event.value.metadata and self.isVisible():
            draw_now()

    def _follow_active(self, event: Any = None) -> None:
        active = self.viewer.layers.selection.active
        if layers.is_image(active) and not self._showing:
            self.image.reset_choices()
            self.image.value = active
        self._colors.apply()
