"""A movie fitted frame by frame: optics learned once, each frame from the last one's droplets and a fresh detection."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from ..droplets import Droplets, Optics
from ..errors import InputError
from ..images import Image
from ..inference.api import find_candidates, iterate, iterate_next
from ..inference.candidates import POSSIBLE
from ..progress import Progress
from ..settings import OPTICS_FROM, Settings
from .carry import SURE, Carried, brought_along, in_image
from .footage import Footage, footage_of

if TYPE_CHECKING:
    from .store import FrameStore

TELLING = 1.25
"""The scale that a detection works at follows the typical diameter once it has changed by this factor."""

Watch = Callable[[int, "Progress | None"], "bool | None"]
"""Called with a frame's number and None when it is begun, then with its Progress; False stops."""


class Moment(NamedTuple):
    """Where the fit of a movie is."""

    number: int
    """Of the frame."""
    progress: Progress | None
    """None where it is begun."""


class FrameResult(NamedTuple):
    """What became of one frame."""

    number: int
    droplets: Droplets | None
    """Those at least as probable as POSSIBLE; None where the frame could not be used."""
    error: Exception | None = None
    skipped: bool = False
    """It was there already."""


T = TypeVar("T")
Steps = Generator[Moment | FrameResult, bool | None, T]


@dataclass
class MovieFit:
    """The state of a movie's fit, from which it goes on."""

    footage: Footage
    settings: Settings
    optics: Optics | None = None
    diameter: float | None = None
    before: Droplets | None = None
    """The sure droplets of the last frame that could be fitted, ..."""
    carried: Carried | None = None
    """... and what else it left."""
    tables: dict[int, pd.DataFrame] = field(default_factory=dict)
    """For each frame its droplets, the unsure ones too."""
    errors: dict[int, Exception] = field(default_factory=dict)
    stopped: bool = False

    def go_on(self, droplets: Droplets, carried: Carried | None) -> None:
        """From a frame that was fitted; one without candidates (None) says nothing of the next."""
        if carried is not None:
            self.before, self.carried = droplets[_sure(droplets)], carried
            self.diameter = carried.diameter

    def table(self) -> pd.DataFrame:
        """All frames so far."""
        tables = [t for _, t in sorted(self.tables.items()) if len(t)]
        if not tables:
            raise InputError(f"{self.footage.name}: no droplets in any frame")
        return pd.concat(tables, ignore_index=True)


def movie_fit(movie: Any, *, optics: Optics | None = None, **settings: Any) -> MovieFit:
    """A movie ready to be fitted; nothing but headers is read.

    Raises
    ------
    InputError
        It cannot be read, or a setting cannot be used.
    """
    chosen = Settings.of(**settings)
    return MovieFit(footage_of(movie, replace(chosen)), chosen, optics)


def fit_frames(state: MovieFit, watch: Watch | None = None, store: FrameStore | None = None) -> Generator[FrameResult]:
    """Fit the frames of a movie one after another; memory does not grow with their pixels.

    Parameters
    ----------
    state : MovieFit
        Grows with every frame.
    watch : callable, optional
        Sees the progress, and may stop it; the frame that is being fitted is then left out.
    store : FrameStore, optional
        Where each frame is kept as soon as it is done, and what an earlier run has kept.
    """
    steps, reply = frame_steps(state, store), None
    while True:
        try:
            event = steps.send(reply)
        except StopIteration:
            return
        reply = None
        if isinstance(event, FrameResult):
            yield event
        elif watch is not None and watch(*event) is False:
            reply = False


def frame_steps(state: MovieFit, store: FrameStore | None = None) -> Steps[None]:
    """What `fit_frames` does, step by step: yields where it is and what became of each frame; takes False to stop.

    While a frame is fitted the next one is read and looked through. A run that goes on from what is in the store finds
    what it would have found undisturbed.
    """
    numbers = state.footage.numbers
    done = {n: d for n in numbers if store is not None and (d := store.have(n)) is not None}
    if store is not None:
        store.taught(state)
    left = [n for n in numbers if n not in done]
    if left and state.optics is None:
        yield from _told(state, left[0])
        if state.stopped:
            return
        learned = yield from learn_optics(state, left[0])
        if state.stopped or learned is None:
            return
        state.optics, state.diameter = learned
    if store is not None and not done and state.optics is not None:
        store.keep_optics(state.optics, state.diameter)
    with ThreadPoolExecutor(1) as pool:
        ahead: dict[int, Future[Any]] = {}

        def prepare(position: int) -> None:
            if position < len(numbers) and (n := numbers[position]) not in done and n not in ahead:
                ahead[n] = pool.submit(_seen, state.footage, n, state.settings, state.diameter)

        prepare(0)
        for position, number in enumerate(numbers):
            if number in done:
                prepare(position + 1)  # before this frame says at which scale: it was so when that was being fitted
                droplets, carried = done[number]
                state.go_on(droplets, carried)
                state.tables[number] = _tabled(droplets, number)
                yield FrameResult(number, droplets, skipped=True)
                continue
            yield from _told(state, number)
            if state.stopped:
                break
            try:
                image, fresh = ahead.pop(number).result()
                prepare(position + 1)
                found, carried = yield from _fitted(state, image, fresh, number)
                if state.stopped:
                    break
            except Exception as error:
                prepare(position + 1)
                state.errors[number] = error
                yield FrameResult(number, None, error)
                continue
            state.go_on(found, carried)
            state.tables[number] = _tabled(found, number)
            if store is not None:
                store.keep(number, state.tables[number], carried)
            yield FrameResult(number, found)
        for future in ahead.values():
            future.cancel()


def learn_optics(state: MovieFit, number: int) -> Steps[tuple[Optics, float] | None]:
    """Optics of the whole movie, and the typical diameter, from parts of frames spread over it; None if stopped.

    Of a movie of one frame, or where no two hold droplets, from the first frame that can be fitted.
    """
    from ..inference.composite import learn, spread

    footage = state.footage
    frames = [footage.numbers[k] for k in spread(len(footage), OPTICS_FROM)]
    settings = replace(state.settings, frames=None, planes=None, scene=None)
    if len(frames) > 1:
        steps = learn(((n, partial(footage.load, n)) for n in frames), OPTICS_FROM, settings)
        taught = yield from _told(state, number, steps)
        if state.stopped:
            return None
        if taught is not None:
            return taught.optics, taught.diameter
    problem: Exception | None = None
    for n in sorted(frames):
        try:
            fit = yield from _told(state, number, iterate(footage.load(n), **asdict(settings)))
        except Exception as error:
            problem = problem or error
            continue
        return fit.optics, 2 * float(np.median(fit.droplets.radius)) if len(fit.droplets) else 10.0
    raise problem or InputError(f"{footage.name}: no frame can be read")


def _seen(footage: Footage, number: int, settings: Settings, diameter: float | None) -> tuple[Image, Droplets]:
    image = footage.load(number)
    if settings.region is not None:  # a part of its own, which `iterate` cuts out
        return image, Droplets(*np.zeros((3, 0)))
    looking = settings if settings.diameter or diameter is None else replace(settings, diameter=diameter)
    return image, find_candidates(image, replace(looking, detector="network"))


def _fitted(state: MovieFit, image: Image, fresh: Droplets, number: int) -> Steps[tuple[Droplets, Carried | None]]:
    """Fit one frame."""
    assert state.optics is not None
    settings = replace(state.settings, min_probability=POSSIBLE, frames=None, planes=None, scene=None)
    if settings.region is not None:
        from ..inference.api import held

        given = asdict(settings) | held(state.optics)
        fit = yield from _told(state, number, iterate(image, None, state.optics, **given))
    else:
        start = in_image(brought_along(state.before, fresh), image.shape)
        if not len(start):
            return replace(fresh[:0], composition=np.zeros((0, state.optics.types))), None
        slide = None if state.carried is None else state.carried.slide(image.shape)
        fit = yield from _told(state, number, iterate_next(image, start, state.optics, slide, settings))
    sure, diameter = _sure(fit.droplets), state.diameter
    typical = 2 * float(np.median(fit.droplets.radius[sure])) if sure.any() else None
    if typical and (diameter is None or not 1 / TELLING < typical / diameter < TELLING):
        diameter = typical
    height, width = fit.reconstruction.shape[:2]
    return fit.droplets, Carried(np.asarray(fit.guide["background"]), (height, width), diameter)


def _sure(droplets: Droplets) -> np.ndarray:
    if droplets.p_present is None:
        return np.ones(len(droplets), bool)
    return np.asarray(droplets.p_present) >= SURE


def _tabled(droplets: Droplets, number: int) -> pd.DataFrame:
    table = droplets.to_dataframe().drop(columns=["frame", "time_s", "track_id"], errors="ignore")
    table.insert(0, "frame", number)
    return table


def _told(state: MovieFit, number: int, steps: Generator[Progress, bool | None, Any] | None = None) -> Steps[Any]:
    """Say that a frame is begun or, with the steps of a fit, how far it is; whoever listens may stop it."""
    if steps is None:
        reply = yield Moment(number, None)
        state.stopped = state.stopped or reply is False
        return None
    begun = False
    while True:
        try:
            # some stages wait for no answer; the first thing a generator is sent is None
            progress = steps.send(False) if state.stopped and begun else next(steps)
        except StopIteration as end:
            return end.value
        begun = True
        reply = yield Moment(number, progress)
        state.stopped = state.stopped or reply is False
