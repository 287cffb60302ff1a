"""The dock widget: from an image layer to droplets, with progress, cancel and refit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QVBoxLayout, QWidget

from ..droplets import Droplets, Fit
from ..errors import InputError
from ..workbench.journal import Journal
from ..workbench.session import Session
from . import layers
from .batch.desk import BatchDesk
from .controls.correct import CORRECTIONS
from .controls.panel import ACTIONS, SESSION_ACTIONS, Panel
from .controls.parts import draw_now
from .correcting import Corrections
from .desk import Desk
from .files.saving import asked_path, save_points
from .jobs.computing import Computing
from .jobs.pauses import Pauses
from .keeping import Keeping
from .layers.place import size_of_file
from .layers.presence import n_hidden
from .movie.control import MovieControl
from .views.tabs import Views

if TYPE_CHECKING:
    import napari.viewer


class DropletsWidget(QWidget):
    """Find the droplets of an image layer.

    Scripts use what the buttons use: `run`, `detect`, `refit`, `estimate`, `save`, `cancel`, which return at once, and
    `busy`; `undo`, `redo`, `merge`, `split`, `classify`, `regroup`, `pin`, `replay`; `save_session`, `open_session`;
    `start_batch`, `stop_batch`, `open_batch`, `next_of_batch`. What views are built on is `session`.

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
    views : Views
        The tabs beside the settings: `filters`, `inspector`, `plots`.
    movie : MovieControl
        Of movies: `link`, `cut`, `merge`, `save(folder)`, and `view`, its tab.
    batch : BatchDesk
        The tab of batches: `batch.look_at(name)`, `batch.save()`, `batch.export(path)`; `batch.folder` has the images
        and their states, `batch.busy` says whether it goes on.
    busy : bool
        Whether work is going on.
    preparing : bool
        Whether what a fit needs is being compiled; it can be started all the same.
    result : Fit, Droplets or None
        Of the last work that ended well; of a detection, what `napari_droplets.detect` gives.
    refitting : bool
        Whether surroundings of edits are refitted in the background, or will be soon.
    refit_edits : bool
        Whether they are; can be set.
    session : Session
        All that is worked on, and the signals that views follow.
    journal : Journal
        What was done to the droplets that are worked on.
    message : str
        What the status line says.
    """

    def __init__(self, napari_viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = napari_viewer
        self.session = Session()
        self._desk = Desk(self.session, napari_viewer, self._our_points, self._on_opened)
        names = (*ACTIONS, *CORRECTIONS, *SESSION_ACTIONS)
        actions = {name: getattr(self, name.lower().replace(" ", "_")) for name in names}
        panel = self._panel = Panel(napari_viewer, actions, self._our_points)
        self.form, self.image, self.region, self.planes = panel.form, panel.image, panel.region, panel.planes
        self.color = panel.colors.by
        self.views = Views(self.session, napari_viewer, panel, self._our_points, lambda: self.busy, self.regroup)
        self.batch = BatchDesk(panel, napari_viewer, self._on_shown)
        self._bar, self._status, self._colors, self._say = panel.bar, panel.status, panel.colors, panel.say
        self._computing = Computing(self, panel, self.session, self._desk, self._our_points, self._on_shown)
        self._runner, self._nearby, self._soon = self._computing.runner, self._computing.nearby, self._computing.soon
        self.movie = MovieControl(panel, self.session, self._desk, self._computing)
        self._corrections = Corrections(self.session, self._our_points, self._say)
        QVBoxLayout(self).addWidget(panel)
        self._keeping = Keeping(panel, self.session, self._desk, self.batch.review.has_saved)
        panel.correct.refit_edits.toggled.connect(lambda on: setattr(self, "refit_edits", on))
        self._follow_active()
        for event, action in self._listening():
            event.connect(action)
        self._desk.update()
        for follow in (self._colors.apply, self._desk.update, panel.show_planes):
            self.image.changed.connect(follow)
        panel.show_planes(self.image.value)
        self.image.changed.connect(lambda layer: self.form.offer_pixel_size(size_of_file(layer)))
        self.form.inputs["min_probability"].changed.connect(self._hide_improbable)
        self._pauses = Pauses(self, lambda: self.busy or self.preparing or self.refitting)
        ends = (
            self._pauses.close,
            self._keeping.end,
            self._computing.warmer.stop,
            self._nearby.close,
            self._desk.close,
        )
        for part in (*ends, self.batch.folder.close, self.views.learning.model.close):
            self.destroyed.connect(partial(_call, part))  # parts that are children of the panel are gone by then

    @property
    def result(self) -> Fit | Droplets | None:
        """Of the last work that ended well; of a detection, what `napari_droplets.detect` gives."""
        return self._computing.result

    @property
    def busy(self) -> bool:
        """Whether work is going on."""
        return self._computing.busy

    @property
    def preparing(self) -> bool:
        """Whether what a fit needs is being compiled; it can be started all the same."""
        return self._computing.preparing

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
        self._computing.run()

    def detect(self) -> None:
        """Find droplets without fitting: quick, positions, sizes and how sure they are; no compositions.

        The layer holds all candidates; those that are less probable than the form says are hidden. It takes the place
        of the last detection, but neither of a fit nor of points that were edited.
        """
        self._computing.detect()

    def refit(self) -> None:
        """Fit again from the points as they are now, those shown.

        Of a fit, what was added, moved or deleted stays so. Detected points, and those of a table, are where a fit of
        the whole image starts; it may move them.
        """
        self._computing.refit()

    def follow(self) -> None:
        """Fit all frames of a movie and follow its droplets: results come frame by frame, and `cancel` keeps them."""
        self.movie.follow()

    def estimate(self) -> None:
        """Estimate the typical diameter from the image, and put it into the form."""
        self._computing.estimate()

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

    def regroup(self, classes: int | None = None, *, names: Sequence[str] | None = None) -> None:
        """Sort the droplets into another number of classes by their compositions, without a new fit; can be undone.

        Droplets that were sorted by hand stay in their classes.

        Parameters
        ----------
        classes : int, optional
            By default that of the names, or as many as can be told apart.
        names : sequence of str, optional
            Of the classes, from the most frequent on.
        """
        self._computing.regroup(classes, names)

    def pin(self, pin: bool = True) -> None:
        """Keep the droplets selected where they are in refits, or no longer."""
        self._corrections.pin(pin)

    def replay(self, journal: str | Path | None = None) -> None:
        """Repeat edits on the droplets that are worked on, as after a new Run: told by place, each can be undone.

        Parameters
        ----------
        journal : path, optional
            A journal that was saved beside a table; by default the one of other droplets of the same image.
        """
        self._corrections.replay(journal)

    def learn(self) -> None:
        """Train the network further on the images that were corrected, in a process of its own; see the tab Learn."""
        self.views.learning.learn()

    def save_session(self, path: str | Path | None = None) -> None:
        """Save all that is worked on as one file, NAME.droplets: settings, droplets, fits, edits and undo."""
        self._told(partial(self._keeping.save, path))

    def open_session(self, path: str | Path | None = None) -> None:
        """Open a session beside what is there; its image is opened, too, where its file is the same."""
        self._told(partial(self._keeping.open, path))

    def start_batch(self, images: Any = None, out: str | Path | None = None, **options: Any) -> None:
        """Work on a folder of images in the background, with the settings of the form; what is done already is kept.

        Parameters
        ----------
        images : path or sequence of paths, optional
            A folder, a pattern or files; by default those of the batch in `out`.
        out : path
            The folder for the results.
        **options
            `detect_only`, `same_optics`, as of `napari_droplets.batch`; `stacks`: all pictures of stacks;
            `replace_corrected`: also where other settings would replace results that were corrected.
        """
        self._told(partial(self.batch.start, images, out, **options))

    def stop_batch(self) -> None:
        """Stop the batch soon: what is done is kept, and `start_batch` goes on; called again, at once."""
        self.batch.stop()

    def open_batch(self, out: str | Path) -> None:
        """Look at the results of a batch, begun here or on the command line."""
        self._told(partial(self.batch.open, out))

    def next_of_batch(self) -> None:
        """Save corrections of the image of the batch that is looked at, and look at the next."""
        self._told(self.batch.next)

    def restore(self) -> None:
        """Open what is left of work that was not saved."""
        self._told(self._keeping.restore)

    def discard(self) -> None:
        """Throw away what is left of work that was not saved, and offer what else is left."""
        self._told(self._keeping.discard)

    def save(self, path: str | Path | None = None) -> None:
        """Save the points as they are now, those shown, as a droplets table; asks for the file where none is given."""
        self._computing.guarded(partial(self._save, path))

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

    def _save(self, path: str | Path | None) -> None:
        points = self._our_points()
        if points is None:
            raise InputError("nothing to save: press Detect or Run first")
        path = asked_path(self, points.name) if path is None else path
        if path is not None:
            self._say(save_points(points, path, self.journal))

    def _our_points(self) -> Any:
        """The active Points layer if it is ours, else the topmost of the image chosen, else the topmost, else None."""
        active = self.viewer.layers.selection.active
        if layers.tag_of(active, "droplets"):
            return active
        ours = [layer for layer in self.viewer.layers if layers.tag_of(layer, "droplets")]
        image_id = str(self.image.value.unique_id) if self.image.value is not None else None
        of_image = [layer for layer in ours if layers.tag_of(layer, "droplets")["place"].layer_id == image_id]
        return (of_image or ours or [None])[-1]

    def _on_shown(self) -> None:
        self._desk.update()
        self._colors.apply()

    def _hide_improbable(self) -> None:
        """The slider was moved: show and hide points at once."""
        points = self._our_points()
        self.session.set_filters(min_probability=float(self.form.inputs["min_probability"].value) or None)
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
        self._computing.close()
        self.views.close()
        self.movie.close()
        self.batch.close()
        self._keeping.close()
        self._desk.close()
        self._pauses.close()
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


def _call(action: Callable[[], Any], *_: Any) -> None:
    action()
