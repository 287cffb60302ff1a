"""Compile the programs of a fit ahead of need: while droplets are looked for, or while a user looks at proposals.

What is compiled depends on sizes of arrays and on the form of the model, not on values: each program runs once on
nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from ..model.assignment import ROW
from ..model.optics import weight_shapes
from ..model.picture import draw
from ..model.problem import LEAST_DROPLETS, Form, Rows, bucket, filled
from ..model.rendering import Shared
from .loop import empty_glow, steps_of
from .steps import optics_step
from .steps.evidence import pass_over
from .steps.optics_step import Learned


def make(form: Form, droplets: int, wanted: Callable[[], bool] = lambda: True, *, learning: bool = True) -> None:
    """Compile what a fit of so many droplets (padded) needs, unless it is there.

    `wanted` is asked between two programs: whether to go on.
    """
    shapes = weight_shapes(form.channels, form.types)
    optics = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    shared = Shared(optics, empty_glow(form.channels), np.float32(0), np.float32(1))
    rows = _nothing(form, droplets)
    raw, anchor = np.zeros((droplets, form.dimensions), np.float32), np.ones((droplets, 3), np.float32)
    pass_over(raw, anchor, shared, rows, 1, (0, 1), form)
    if learning and wanted():
        state = optics_step.init(shared)
        rates = Learned(jax.tree.map(lambda a: 0.0, state.learned.shared), 0.0)
        order = np.zeros((optics_step.STEPS, optics_step.ROWS_PER_STEP), np.int32)
        precision = np.ones(droplets, np.float32)
        steps_of(state, rates, np.zeros(optics_step.STEPS), order, raw, anchor, rows, precision, 1.0, 1.0, form)
    if wanted():
        draw(*np.ones((3, 1)), np.ones((1, form.types)), np.zeros((4, 4, form.channels)), shared)


def usual_size(n: int = 0) -> int:
    """Padded number of droplets of most images, or of those with n candidates."""
    return bucket(n + 1, LEAST_DROPLETS)


def _nothing(form: Form, droplets: int) -> Rows:
    """Rows of pixels that weigh nothing."""
    flat, colors = np.zeros((0, ROW), np.int32), np.zeros((0, ROW, form.channels), np.float32)
    return jax.device_put(filled(Rows(flat[:, 0], flat, flat, flat, flat, flat, colors, colors), droplets))
