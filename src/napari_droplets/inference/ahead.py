"""Compile the two largest programs of a fit while droplets are looked for: together these take no longer than one.

What they compile depends on sizes of arrays and on the form of the model, not on values.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import jax
import numpy as np

from ..images import Image
from ..model.assignment import TILE
from ..model.generative import Form, Prior
from ..model.optics import weight_shapes
from ..settings import AUTO, Settings
from . import posterior, svi
from .laplace import evidence
from .prepare import LEAST_DROPLETS, LEAST_TILES, form_of

log = logging.getLogger(__name__)

Key = tuple[Form, int, int]

_compiled: set[Key] = set()
"""Forms and sizes whose programs this process has, or is about to have."""


def compiled(image: Image, settings: Settings) -> None:
    """Tell that the programs of such a fit need not be compiled any more."""
    if settings.types != AUTO:
        _compiled.add(_key(image, settings))


def _key(image: Image, settings: Settings) -> Key:
    h, w, channels = image.shape
    tiles = int(np.prod([-(-round(side * settings.scale) // TILE) for side in (h, w)]))
    return form_of(channels, settings), svi.bucket(tiles, LEAST_TILES), LEAST_DROPLETS


@contextmanager
def meanwhile(image: Image, settings: Settings) -> Iterator[None]:
    """Compile steps and passes of the fit of an image in another thread while the block runs, once in a process.

    The block must not trace anything of NumPyro's. Arrays are taken to be of the smallest size that has room for the
    image, which most fits use. On leaving, what is being compiled is waited for: the fit would need it at once.
    """
    if settings.types == AUTO or (key := _key(image, settings)) in _compiled:
        yield
        return
    _compiled.add(key)
    stopped = threading.Event()
    thread = threading.Thread(target=_programs, args=(*key, stopped), name="napari-droplets compiling")
    thread.start()
    try:
        yield
    except BaseException:
        stopped.set()
        raise
    finally:
        thread.join()


def _programs(form: Form, tiles: int, droplets: int, stopped: threading.Event) -> None:
    """Run a pass over no tiles and a chunk of steps over an empty one."""
    try:
        problem, state = _nothing(form, tiles, droplets)
        mean = jax.device_get(state.parameters.mean)
        evidence(mean.droplets, mean.shared, problem, 0.1, form)
        if not stopped.is_set():
            number = np.uint32(0)
            svi.chunk(state, problem, svi.all_free(droplets, form), np.float32(0), number, number, form)
    except Exception:
        log.warning("the programs of a fit could not be compiled ahead", exc_info=True)


def _nothing(form: Form, tiles: int, droplets: int) -> tuple[svi.Problem, svi.State]:
    """A problem and a state with arrays of these sizes."""

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.float32)

    weights = {name: zeros(*shape) for name, shape in weight_shapes(form.channels, form.types).items()}
    one = np.float32(1)
    each = np.ones(droplets, np.float32)
    prior = Prior(
        each,
        each,
        each,
        each,
        each,
        present=np.zeros(droplets, bool),
        size=zeros(2),
        length=one,
        noise=one,
        optics=weights,
    )
    view = svi.View(
        np.full((tiles, posterior.CANDIDATES), droplets - 1, np.int32),
        zeros(tiles, posterior.CANDIDATES),
        np.zeros(tiles, np.int32),
        np.ones(tiles, np.float32),
        np.int32(1),
    )
    pixels = TILE**2
    values, weight = zeros(tiles, pixels, form.channels), zeros(tiles, pixels)
    problem = svi.Problem(zeros(tiles, 2), values, weight, view, prior, np.ones((droplets, 3), np.float32))
    size = svi.all_free(droplets, form)
    state = svi.init(jax.tree.map(np.zeros_like, size), size)
    return jax.device_put(problem), state
