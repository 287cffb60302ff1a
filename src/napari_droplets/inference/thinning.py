"""Learn from a part of the pixels of a large image: every second row and column, each standing for four pixels.

Optics, background and noise are a few hundred numbers, and a droplet of six pixels' radius is seen well enough by 28
of its pixels to learn them; so the time that this takes does not grow with the image. Pixels are left out, not
averaged: edges stay as sharp as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from ..image_statistics import weighted_median
from ..model.assignment import cut, join
from . import posterior, svi
from .view import look

if TYPE_CHECKING:
    from .prepare import Setup

ENOUGH_PIXELS = 1e6
"""Images with no more are taken as they are."""
ENOUGH_RADIUS = 3.0
"""Radius of a typical droplet, large ones counting more, in steps between the pixels that are left, at least."""


def spacing(setup: Setup) -> int:
    """Take one pixel of so many in each direction: a power of two, 1 for all pixels."""
    w, h = setup.prior.size
    radius = np.exp(np.asarray(setup.prior.log_radius, float))[np.asarray(setup.prior.present)]
    typical = weighted_median(radius, radius) if len(radius) else 0.0
    step = 1
    while w * h / step**2 > ENOUGH_PIXELS and typical / (2 * step) >= ENOUGH_RADIUS:
        step *= 2
    return step


def thinned(setup: Setup, step: int, number: int) -> Setup:
    """The same fit seen by one pixel of `step` in each direction; parameters are relative to the anchors, and agree.

    Coordinates are those of an image of these pixels alone, in arrays of the same size: they run the same programs.
    `number` seeds the draw of the empty tiles to look at.
    """
    form, prior, tiles = setup.form, setup.prior, setup.tiles
    w, h = (int(side) for side in prior.size)
    pixels, weight = (
        join(a.reshape(*tiles.weight.shape, -1), (h, w))[::step, ::step] for a in (tiles.values, tiles.weight)
    )
    few = cut(pixels)
    corner = few.corner - np.float32((1 - 1 / step) / 2)  # where the middle of these pixels was
    few = few._replace(corner=corner, weight=cut(weight).values[..., 0] * np.float32(step**2))
    x, y, radius = setup.anchor.T
    anchor = np.stack([(x + 0.5) / step - 0.5, (y + 0.5) / step - 0.5, radius / step], -1).astype(np.float32)
    position_sd = None if prior.position_sd is None else prior.position_sd / np.float32(step)
    prior = prior._replace(
        x=(prior.x + np.float32(0.5)) / np.float32(step) - np.float32(0.5),
        y=(prior.y + np.float32(0.5)) / np.float32(step) - np.float32(0.5),
        position_sd=position_sd,
        log_radius=prior.log_radius - np.float32(np.log(step)),
        size=prior.size / np.float32(step),
        length=prior.length / np.float32(step),
    )
    total = len(setup.problem.corner)
    located = posterior.mean_latents(jax.device_get(setup.state.parameters), anchor, form)
    view = look(located, prior.present, few, total, number)
    problem = svi.Problem(*(svi.pad(a, total) for a in few), view, prior, anchor)
    return setup._replace(problem=jax.device_put(problem), prior=prior, anchor=anchor, tiles=few)
