"""One image in, droplets and reconstruction out: the code path of Python, command line and napari."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit, Optics, with_border
from ..errors import InputError
from ..images import Image
from ..lazy import Block, LazyPixels, Pixels
from ..progress import Clock, Progress
from ..results.pyramid import check_zarr
from ..results.saved_fits import check_whole
from ..settings import AUTO, Settings
from ..transforms import unconstrained_size
from .candidates import usable as usable
from .detect import Detection as Detection
from .detect import detect as detect
from .detect import detect_all as detect_all
from .detect import find_candidates as find_candidates
from .detect import image_of, probable
from .detect import propose as propose

Region = tuple[float, float, float, float]

Callback = Callable[[Progress], bool | None]
Steps = Generator[Progress, bool | None, Fit]


def fit(
    image: Any,
    droplets: Droplets | pd.DataFrame | None = None,
    optics: Optics | None = None,
    *,
    callback: Callback | None = None,
    **settings: Any,
) -> Fit:
    """Fit the generative model to an image by variational inference.

    Parameters
    ----------
    image : array-like, path or napari Image layer
        (H, W) or (H, W, 3|4) of any numeric type, lazy or not; see `as_image`. More than 32 megapixels are worked on in
        blocks.
    droplets : Droplets or DataFrame, optional
        Where to start, in pixels of the image: columns x, y, radius; where x_sd, y_sd, radius_sd are given
        they are the prior, otherwise positions are uniform over the image and radii log-normal around their median.
        Columns known_composition_0 to known_composition_{K-1}, empty where unknown, are compositions to keep: they tie
        the components of all droplets to what they stand for, see `pure`. Detected by default.
    optics : Optics, optional
        Learned on an earlier image with the same number of types and channels: where to start, or, with
        `learn_optics=False`, what to use as it is, so that compositions mean the same as there.
    callback : callable, optional
        Called with `Progress` after every chunk of steps; returning False stops the fit, which keeps what was reached.
    **settings
        See `Settings`: types, diameter, detector, weights, min_probability, seed, composition, background, renderer,
        noise, steps, max_seconds, scale, region, pixel_size_um, channels, frames and planes (those of one picture),
        scene, intensity_range.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        An image, droplets, optics or a setting that cannot be used, or no droplets found.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> image, truth = nd.simulate((128, 128), 30, seed=1)
    >>> result = nd.fit(image, steps=200)
    >>> result.table[["x", "y", "radius"]].shape[1]
    3
    """
    return drive(iterate(image, droplets, optics, **settings), callback)


def held(optics: Optics) -> dict[str, Any]:
    """Settings of a fit that keeps these optics as they are."""
    return {"learn_optics": False, "types": optics.types, "composition": optics.composition}


def iterate(
    image: Any,
    droplets: Droplets | pd.DataFrame | None = None,
    optics: Optics | None = None,
    *,
    candidates: Droplets | None = None,
    ahead: bool = True,
    **settings: Any,
) -> Steps:
    """`fit` as a generator: yields `Progress`, returns the `Fit`; `send(False)` stops after the current chunk.

    `candidates` are what `start_of` gives for this image, where that was asked before; not with a region. Programs are
    loaded and compiled beside detection, unless (`ahead`) droplets shall be seen first: both want the interpreter.
    """
    chosen = Settings.of(**settings)
    picture = image_of(image, chosen)

    def steps() -> Steps:
        clock = Clock(chosen.max_seconds)
        if isinstance(picture.pixels, LazyPixels):
            check_zarr(picture.name)
        given = None if droplets is None else usable(droplets, picture, chosen)
        if chosen.region is None:
            fitting = _iterate(picture, given, optics, chosen, clock, ahead, candidates)
            return (yield from _with_border(fitting, picture))
        yield waiting("detect", chosen)
        from .local.part import Part, in_region

        clock.lap("import")
        part = Part.of(picture, chosen)
        clock.lap("detect")
        given = None if given is None else part.here(given)
        if given is not None and not in_region(part.image, given).any():
            raise InputError("droplets: none of them is in the region")
        return (yield from part.run(_iterate(part.image, given, optics, chosen, clock, ahead)))

    return steps()


def _iterate(
    image: Image,
    given: Droplets | None,
    optics: Optics | None,
    settings: Settings,
    clock: Clock,
    ahead: bool,
    candidates: Droplets | None = None,
) -> Steps:
    if settings.population == "inferred" or given is None:
        yield waiting("detect", settings)
        from ..detection import scales  # noqa: F401 (to load the network's library is no detection)
    clock.lap("import")
    learning = settings.learn_optics or optics is None
    with compiled_ahead(image.shape[2], settings, learning=learning) if ahead else nullcontext():
        start = start_of(image, given, settings) if candidates is None else candidates
        if image.region is not None:
            from .local.part import focused

            image, start = focused(image, start)
    clock.lap("detect")
    yield found(start, settings)
    from .number_of_components import resolved

    clock.lap("import")
    settings, tried = yield from resolved(image, start, optics, settings, clock)
    result = yield from iterate_from(image, start, optics, settings, clock)
    return result if tried is None else replace(result, summary=result.summary | {"types_tried": tried})


def compiled_ahead(channels: int, settings: Settings, *, learning: bool = True) -> AbstractContextManager[None]:
    """Programs of a fit are made while the block runs, unless it has to be found out which they are."""
    from ..compiling.service import meanwhile

    def make_all(wanted: Callable[[], bool]) -> None:
        from .ahead import make, usual_size
        from .prepare import form_of

        make(form_of(channels, settings), usual_size(), wanted, learning=learning)

    return nullcontext() if settings.types == AUTO else meanwhile(make_all)


def iterate_from(
    image: Image,
    start: Droplets,
    optics: Optics | None,
    settings: Settings,
    clock: Clock,
    slide: np.ndarray | None = None,
    tiles: tuple[Block, ...] = (),
) -> Steps:
    """A fit from candidates at hand, of an image all of one picture or put together of `tiles`.

    With the empty slide (H, W, C) of the frame before, of which candidates have their compositions, what stands out is
    told from that, and all candidates are tried at once.
    """
    from .loop import HELD_PASSES, MOST_PASSES
    from .posterior import Frame
    from .prepare import prepare
    from .run import iterate_rounds

    work = image.rescaled(settings.scale)
    known = slide if settings.scale == 1 else None
    setup, state = prepare(work, start.scaled(settings.scale), optics, settings, slide=known, tiles=tiles)
    frame = Frame(image, settings, start, optics)
    passes = 0 if slide is not None else MOST_PASSES if setup.learning else HELD_PASSES
    outcome = yield from iterate_rounds(setup, state, settings, clock, image.name, frame.snapshot, passes)
    n, loss, step = int(outcome.state.present.sum()), outcome.losses[-1][1], int(outcome.losses[-1][0])
    yield Progress("posterior", step, step, loss, 0.0, n, lambda: frame.snapshot(outcome.setup, outcome.state))
    return frame.result(outcome, clock)


def iterate_next(image: Image, start: Droplets, optics: Optics, slide: np.ndarray | None, settings: Settings) -> Steps:
    """`iterate` for the next frame of a movie: candidates with p_present are at hand, optics held.

    `slide` is the empty slide of the last frame, (H, W, C), if there is one: of it there is less to find out.
    """
    from ..compiling.disk import keep_compiled

    keep_compiled()
    settings = replace(settings, **held(optics))
    return _with_border(iterate_from(image, start, optics, settings, Clock(settings.max_seconds), slide), image)


def start_of(image: Image, given: Droplets | None, settings: Settings) -> Droplets:
    """Candidates of a fit, with p_present where presence is to be inferred."""
    from .candidates import gathered, likely

    if given is not None and "misfit" in given.labels:  # deviations of a fit hold what these pixels said already
        given = replace(given, x_sd=None, y_sd=None, radius_sd=None)
    if settings.population == "given":
        start = replace(propose(image, settings) if given is None else given, p_present=None)
    else:
        asserted = given is not None
        if given is None and settings.detector == "blobs":
            given = find_candidates(image, settings)
        start = gathered(given, find_candidates(image, replace(settings, detector="network")), asserted=asserted)
    if not likely(start).any():
        raise InputError(
            f"{image.name}: no droplets found; give their typical diameter in pixels (diameter=...), or droplets to "
            f"start from"
        )
    return start


def waiting(stage: str, settings: Settings, n_droplets: int = 0) -> Progress:
    """Progress at the start of a stage before the first step."""

    def nothing() -> tuple[Droplets, Pixels | None]:
        raise RuntimeError("there is no snapshot before the first step")

    nan = float("nan")
    return Progress(stage, 0, settings.steps, nan, nan, n_droplets, nothing)


def found(start: Droplets, settings: Settings) -> Progress:
    """Progress when it is known where a fit starts: the probable ones of the candidates, of which nothing is drawn."""
    shown = probable(start, settings)
    return waiting("detect", settings)._replace(n_droplets=len(shown), snapshot=lambda: (shown, None))


def refit(
    fit: Fit,
    edited_table: pd.DataFrame,
    region: Region | None = None,
    *,
    callback: Callback | None = None,
    **settings: Any,
) -> Fit:
    """Refit locally after manual correction, keeping what was edited.

    Parameters
    ----------
    fit : Fit
        The fit corrected; its image must be at hand.
    edited_table : DataFrame
        Its table with rows added, moved, resized or removed. Rows whose position or radius is not in `fit` keep them
        as given and come back with `pinned` true, as do rows that are already pinned; their compositions are inferred.
    region : (x0, y0, x1, y1), optional
        Pixels within which droplets may change; by default the surroundings of the edits, or, where nothing was
        edited, the whole image.
    callback
        As in `fit`.
    **settings
        `steps`, `max_seconds`, `seed` and `scale`; all others are those of the fit.

    Returns
    -------
    Fit
        Droplets outside the region exactly as they were; optics and background as in `fit`.

    Raises
    ------
    InputError
        The image is not at hand, a table that cannot be used, or a region without droplets.
    """
    return drive(iterate_refit(fit, edited_table, region, **settings), callback)


def iterate_refit(
    fit: Fit, edited_table: pd.DataFrame, region: Region | None = None, *, proportions: bool = True, **settings: Any
) -> Steps:
    """`refit` as a generator, as `iterate`.

    Without `proportions` those of classes stay as they were in the summary, which is quicker.
    """
    from ..compiling.disk import keep_compiled
    from .local.refit import MAY_CHANGE, find_edits, iterate_refit

    if fit.image is None:
        raise InputError("refit: the image of this fit is not at hand; use read(folder, image=...)")
    if fixed := sorted(set(settings) - set(MAY_CHANGE)):
        raise InputError(f"refit: {', '.join(fixed)} cannot change here, only {', '.join(MAY_CHANGE)}; run a new fit")
    check_whole(fit.guide, unconstrained_size(fit.optics.types, fit.optics.composition), "refit")
    before = {k: v for k, v in fit.summary.get("settings", {}).items() if k not in ("steps", "max_seconds")}
    chosen = Settings.of(**{**before, "types": fit.optics.types, **settings})
    clock = Clock(chosen.max_seconds)
    after = usable(edited_table, fit.image, chosen)
    keep_compiled()
    if chosen.region is None:
        return _with_border(iterate_refit(fit, after, chosen, region, clock, proportions=proportions), fit.image)
    from .local.part import Part, in_region

    part = Part.of_fit(fit, chosen, after)
    fit, after = part.fit_here(fit), part.here(after)
    outside = ~in_region(part.image, after) & (find_edits(fit.droplets, after).same < 0)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        place = f"x {after.x[row] + part.left:g}, y {after.y[row] + part.top:g}"
        raise InputError(f"refit: row {row} of the edited table ({place}) is outside the region of the fit")
    if region is not None:
        x0, y0, x1, y1 = region
        region = (x0 - part.left, y0 - part.top, x1 - part.left, y1 - part.top)
    return part.run(iterate_refit(fit, after, chosen, region, clock, proportions=proportions))


def _with_border(steps: Steps, image: Image) -> Steps:
    result = yield from steps
    return replace(result, droplets=with_border(result.droplets, image.shape))


T = TypeVar("T")


def drive(steps: Generator[Progress, bool | None, T], callback: Callback | None) -> T:
    """Drive a generator such as `iterate` to its end; a callback's False is told to it."""
    reply: bool | None = None
    while True:
        try:
            progress = steps.send(reply)
        except StopIteration as end:
            return end.value
        said = callback(progress) if callback else None
        reply = False if reply is False else said  # some stages wait for no answer
