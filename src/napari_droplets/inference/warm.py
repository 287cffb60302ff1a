"""Compile what the fit of an image will need before it is asked for.

The programs depend on sizes of arrays and on the form of the model, not on values: a fit of one chunk with a few pixels
that count runs each of them once, with all arrays as large as those of the fit to come. It must not run while a fit is
traced in another thread, for NumPyro's handlers are the same for all threads: see `plugin.warming`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..droplets import Droplets
from ..errors import InputError
from ..images import MIN_SIDE, Image
from ..settings import AUTO, Settings
from .api import probable, start_of

log = logging.getLogger(__name__)


def warm(image: Image, droplets: Droplets, settings: Settings, wanted: Callable[[], bool] = lambda: True) -> None:
    """Compile what `fit(image, **settings)` will need, so that it starts at once; it never raises.

    Nothing is compiled where the fit would find no droplets.

    Parameters
    ----------
    image : Image
        To be fitted.
    droplets : Droplets
        All candidates that the detector has found, see `fit.Detection`.
    settings : Settings
        Of the fit.
    wanted : callable
        Asked between two programs: whether to go on.
    """
    try:
        with np.errstate(all="ignore"):
            _warm(image, droplets, settings, wanted)
    except InputError as error:
        log.info("%s: nothing to compile ahead: %s", image.name, error)
    except Exception:
        log.warning("%s: what its fit needs could not be compiled ahead", image.name, exc_info=True)


def _warm(image: Image, droplets: Droplets, settings: Settings, wanted: Callable[[], bool]) -> None:
    start = _start(image, droplets, settings)
    if not wanted():
        return
    from ..model.assignment import TILE
    from ..progress import Clock
    from .ahead import compiled
    from .number_of_components import candidates
    from .optimize import iterate_chunks
    from .prepare import prepare
    from .run import Frame

    if settings.types == AUTO:  # found out by fits with the most
        settings = replace(settings, types=candidates(image.shape[2], settings.composition)[-1])
    quick = replace(settings, steps=1, max_seconds=None)
    work = image.rescaled(settings.scale)
    counted = np.zeros(work.shape[:2], np.float32)
    counted[:TILE] = 1  # one row of tiles: passes over the image stop behind the last tile that counts
    setup = prepare(work, start.scaled(settings.scale), None, quick, counted=counted)
    # with nothing to learn from them, passes over the image wait for the end: a chance to stop in between
    setup = setup._replace(free=setup.free._replace(shared=np.zeros_like(setup.free.shared)))
    corner = replace(image, pixels=image.pixels[:MIN_SIDE, :MIN_SIDE])
    clock, frame = Clock(), Frame(setup, corner, quick)  # what is rendered is rendered by parts, of any image
    steps = iterate_chunks(setup, quick, clock, image.name, frame.snapshot)
    while wanted():
        try:
            progress = next(steps)
            if progress.step:
                progress.snapshot()
        except StopIteration as end:
            for renderer in setup.endings:
                frame.result(end.value._replace(form=setup.form._replace(renderer=renderer)), quick, clock)
            compiled(image, settings)
            return


def _start(image: Image, droplets: Droplets, settings: Settings) -> Droplets:
    """What the fit will start from, without looking for droplets again where that can be helped."""
    from .population import gathered, likely

    if settings.population == "given":
        start = replace(probable(droplets, settings), p_present=None)
        found = len(start) > 0
    elif droplets.p_present is not None:
        start = gathered(None, droplets, asserted=False)
        found = bool(likely(start).any())
    else:
        return start_of(image, None, settings)
    if not found:
        raise InputError(f"{image.name}: no droplets found")
    return start
