"""What Detect, Run, Refit and Estimate do: from the panel to work, and from its results to layers and words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QWidget

from ...droplets import Droplets, Fit
from ...errors import InputError
from ...workbench.doubtful import doubtful
from ...workbench.regrouping import Regrouped, to_regroup
from ...workbench.regrouping import take as take_classes
from ...workbench.session import Session
from ...workbench.sheet import Sheet
from .. import layers
from ..controls.command import command_text
from ..controls.panel import ALL, ASK, CHANNELS, Panel
from ..controls.words import regrouped_text, sheet_text
from ..desk import Desk
from ..layers.correction import KEYS
from ..layers.linking import read_now
from ..layers.place import (
    Place,
    Plane,
    check_axes,
    check_shown,
    picture_of,
    pixel_size_um,
    place_of,
    planes_of,
    whole_of,
)
from ..layers.regions import region_of
from . import work
from .nearby import NearbyRefits
from .refitting import Refit, layer_of, refit_of
from .running import Runner
from .showing import shown_planes, shown_result, told_of_fit
from .stacks import OfPlanes, detect_planes, fit_planes
from .warming import FORM_OF_FIT, Warmer

CALM_MS = 1000
"""How long settings, and results, have to be there before the next fit is prepared."""
LARGE = 6_000_000
"""Values of an image from which its pixels are compared with those fitted once, and not at each background refit."""


class Computing:
    """The work of a panel.

    Parameters
    ----------
    parent : QWidget
    panel : Panel
    session : Session
    desk : Desk
    points : callable
        The Points layer that is worked on, or None.
    shown : callable
        Called when something was drawn in layers of ours.

    Attributes
    ----------
    result : Fit, Droplets or None
        Of the last work that ended well.
    """

    def __init__(
        self,
        parent: QWidget,
        panel: Panel,
        session: Session,
        desk: Desk,
        points: Callable[[], Any],
        shown: Callable[[], None],
    ) -> None:
        self._panel, self._viewer, self._desk, self._points, self._shown = panel, desk.viewer, desk, points, shown
        self._session = session
        self.result: Fit | Droplets | None = None
        self._detected: tuple[Place, int] | None = None
        self._fitted: Fit | None = None
        self._told: tuple[Callable[[dict[str, Any]], str], dict[str, Any]] = (lambda _: "", {})
        self._compared: WeakKeyDictionary[Sheet, Any] = WeakKeyDictionary()
        self.warmer = Warmer()
        self.runner = Runner(parent, panel, shown, self._on_ended)
        self.nearby = NearbyRefits(parent, session, lambda: self.busy, self._to_compare, self._tell)
        self.soon = QTimer(parent, singleShot=True, interval=CALM_MS)
        self.soon.timeout.connect(self._prepare)
        session.table_changed.connect(self._tell_of)
        session.sheet_changed.connect(self._on_sheet)
        for name in FORM_OF_FIT:
            panel.form.inputs[name].changed.connect(self._form_changed)

    @property
    def busy(self) -> bool:
        """Whether work is going on that the user waits for."""
        return self.runner.job is not None

    def run(self) -> None:
        """Detect droplets anew and fit them."""
        self.guarded(partial(self._start_on_image, detect_only=False))

    def detect(self) -> None:
        """Detect droplets."""
        self.guarded(partial(self._start_on_image, detect_only=True))

    def refit(self) -> None:
        """Fit again from the points as they are."""
        self.guarded(self._refit)

    def estimate(self) -> None:
        """Estimate the typical diameter."""
        self.guarded(self._estimate)

    def on_layer(self, begin: Callable[[Any, dict[str, Any]], tuple[Any, layers.Output, Any]]) -> None:
        """Start work of another kind on the image layer chosen.

        Parameters
        ----------
        begin : callable
            Gives, of the layer and the settings of the panel, the steps, where they are shown, and what is done then.
        """

        def start() -> None:
            layer = self._layer()
            self._start(*begin(layer, self._settings(layer)))

        self.guarded(start)

    def close(self) -> None:
        """Stop all; nobody sees the panel any more."""
        self.runner.close()
        self.soon.stop()
        self.warmer.stop()
        self.nearby.close()
        self._session.table_changed.disconnect(self._tell_of, missing_ok=True)
        self._session.sheet_changed.disconnect(self._on_sheet, missing_ok=True)

    def guarded(self, action: Callable[[], None]) -> None:
        """Do something that may find the input wrong, and say so rather than raise."""
        if self.busy:
            self._panel.say("Busy: wait for the end, or press Cancel", "warning")
            return
        try:
            action()
        except InputError as error:
            self._panel.say(str(error), "warning")

    def _start_on_image(self, *, detect_only: bool) -> None:
        layer, choice = self._layer(), self._panel.planes.value
        stack = layer.ndim > 2
        if stack and choice == ASK:
            check_axes(layer)
        if stack and choice == CHANNELS:
            place = picture_of(layer)
        else:
            check_shown(layer, self._viewer.dims)
            place = whole_of(layer) if stack and choice == ALL else place_of(layer, self._viewer.dims.point)
        settings = self._settings(layer) | {"region": region_of(self._panel.region.value, layer, place)}
        output = layers.Output(self._viewer, place)
        every = place.leading > 0
        self._told = partial(command_text, layer, place.plane, detect_only=detect_only, every_plane=every), settings
        self._tell_command()
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

    def _tell_command(self) -> None:
        """The command that does what the last run did, and sorts into as many classes as the form says now."""
        command, settings = self._told
        self._panel.command.setText(command(settings | {"classes": self._panel.form.values()["classes"]}))
        self._panel.command.setCursorPosition(0)

    def _show_planes(self, output: layers.Output, found: OfPlanes, cancelled: bool) -> None:
        with self.runner.results():
            told = shown_planes(output, found, cancelled=cancelled)
        self.result = told.result
        self._panel.say(told.text, told.level)

    def _refit(self) -> None:
        points = self._points()
        if points is None:
            raise InputError("nothing to refit: press Run first, then correct the points")
        refit = refit_of(points, self._viewer, self._image_of, self._settings, self._panel.region.value)
        if refit.since is None:
            output = layers.Output(self._viewer, refit.place, points)
            self._start(refit.steps, output, partial(self._show_result, output), keeps=True)
        else:
            self._start(refit.steps, None, partial(self._on_refitted, refit), keeps=True)
        self._panel.say(refit.text)

    def regroup(self, classes: int | None, names: Sequence[str] | None) -> None:
        """Sort the droplets worked on into another number of classes, without a fit."""

        def start() -> None:
            if (points := self._points()) is not None:
                read_now(points)
            sheet = self._session.sheet
            since = to_regroup(sheet)
            assert sheet is not None
            self._start(
                partial(work.regroup, since, classes, names), None, partial(self._on_regrouped, sheet), keeps=True
            )

        self.guarded(start)

    def _on_regrouped(self, sheet: Sheet, found: Regrouped, cancelled: bool) -> None:
        by_hand = take_classes(sheet, found)
        if by_hand is None:
            self._panel.say("The points are others now; nothing was changed")
            return
        fit = found.fit.fit
        self.result = sheet.fit_of(found.since.plane)
        self._session.set_filters(hidden_classes=None, class_names=None)  # they are those of other classes
        self._panel.form.set(classes=fit.summary["settings"]["classes"])
        self._tell_command()
        self._panel.say(regrouped_text(fit.summary["classes"], by_hand))

    def _estimate(self) -> None:
        layer = self._layer()
        check_shown(layer, self._viewer.dims)
        place = place_of(layer, self._viewer.dims.point)
        plane, settings = Plane.of(layer, place), self._settings(layer)
        settings["region"] = region_of(self._panel.region.value, layer, place)
        self._start(lambda: work.estimate(plane, settings), None, self._on_estimated)

    def _on_estimated(self, diameter: float, cancelled: bool) -> None:
        self._panel.form.set(diameter=diameter)
        self._panel.say(f"Estimated diameter: {diameter:.1f} px")

    def _start(
        self,
        steps: Callable[[], work.Steps],
        output: layers.Output | None,
        then: Callable[[Any, bool], None],
        *,
        keeps: bool = False,
    ) -> None:
        self.nearby.stop()
        self.warmer.stop()
        self.runner.start(steps, output, then, keeps=keeps)

    # what comes back, in the main thread

    def _show_result(self, output: layers.Output, outcome: work.Fitted | work.Detected, cancelled: bool) -> None:
        with self.runner.results():
            told = shown_result(output, outcome, self._least(), cancelled=cancelled, image_of=self._image_of)
        self.result = told.result
        if told.candidates is not None:
            self._detected = (output.place, told.candidates)
        self._fitted = self.result if isinstance(self.result, Fit) else None
        self.soon.start()  # when the window has drawn: both want the interpreter
        self._panel.status.setToolTip(told.details)
        self._panel.say(told.text, told.level)

    def _on_refitted(self, refit: Refit, found: work.Refitted, cancelled: bool) -> None:
        """A local refit that was asked for has ended; what was edited meanwhile stays as it is."""
        sheet = refit.sheet
        assert refit.since is not None
        assert sheet is not None
        if not sheet.take(found.change, found.table, refit.since):
            self._panel.say("The points are others now; nothing was changed")
            return
        self.result = sheet.fit_of(refit.since.plane)
        told = told_of_fit(found.fit, found.sizes, sheet.table, refit.place, self._image_of, cancelled=cancelled)
        self._panel.status.setToolTip(told.details)
        self._panel.say(told.text, told.level)

    def _to_compare(self, sheet: Sheet, plane: tuple[int, ...]) -> Plane | None:
        """The pixels of a sheet's image layer; None where it is gone, or was compared, and it takes long."""
        place = self._desk.place_of(sheet)
        layer = None if place is None else layer_of(self._viewer, place)
        if layer is None:
            return None
        data = layer.data[0] if layer.multiscale else layer.data
        if data.size > LARGE and self._compared.get(sheet) is data:
            return None
        self._compared[sheet] = data
        return Plane.of(layer, replace(place, plane=plane))

    def _tell_of(self, sheet: Sheet) -> None:
        """Droplets were edited, or refitted around an edit: say how many there are now."""
        quiet = self.busy or self.runner.showing  # then what was found is told
        if not quiet and not sheet.running and np.isfinite(sheet.table[KEYS].to_numpy(float)).all():
            self._panel.say(sheet_text(sheet, len(doubtful(sheet.table).numbers)))

    def _on_sheet(self, sheet: Sheet | None) -> None:
        """Other droplets are worked on, or none: what the panel says is of these."""
        if sheet is not None:
            self._tell_of(sheet)
        elif not self.busy and not self.runner.showing:
            self._panel.say("")

    def _tell(self, text: str) -> None:
        if not self.busy:
            self._panel.say(text)

    def _form_changed(self, _: Any = None) -> None:
        """What was prepared may not be what is needed."""
        self.warmer.stop()
        self.soon.start()

    @property
    def preparing(self) -> bool:
        """Whether something is being compiled, or will be soon."""
        return self.warmer.busy or self.soon.isActive()

    def _prepare(self) -> None:
        """Compile what refits of a new fit will need; while proposals are shown, what a fit of them will need."""
        if self.busy:
            return
        if self._fitted is not None:
            fit, self._fitted = self._fitted, None
            self.warmer.run(partial(work.rehearse, fit))
        else:
            self._warm()

    def _warm(self) -> None:
        if self._detected is None:
            return
        place, candidates = self._detected
        layer = self._panel.image.value
        if layer is None or str(layer.unique_id) != place.layer_id:
            return
        with suppress(InputError):
            self.warmer.start(Plane.of(layer, place), candidates, self._settings(layer))

    def _on_ended(self) -> None:
        self._shown()
        self.nearby.soon()

    def _settings(self, layer: Any) -> dict[str, Any]:
        settings = self._panel.form.values()
        if settings["pixel_size_um"] is None and layer is not None:
            settings["pixel_size_um"] = pixel_size_um(layer)
        return settings

    def _layer(self) -> Any:
        """The image layer chosen."""
        if self._panel.image.value is None:
            return layers.default_image(self._viewer)  # which says what is missing
        return self._panel.image.value

    def _image_of(self, place: Place) -> Any:
        """The image layer that a place is of, else the one chosen."""
        return layer_of(self._viewer, place) or self._layer()

    def _least(self) -> float:
        return float(self._panel.form.inputs["min_probability"].value)
