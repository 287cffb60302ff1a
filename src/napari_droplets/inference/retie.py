"""Tie droplets anew once they have moved: how the image is lit and blurred is seen better then than at first sight.

Optics that are turned by three degrees move all centers by a hundredth of a radius, and those of the next blur change
all radii by one or two percent. At first sight they are judged with droplets where they are proposed; here with
droplets at their best under each, on some droplets of the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Array

from ..model.generative import Form
from . import svi
from .gauge import Tie, trust
from .laplace import Belief, Evidence, polish
from .start import turned
from .view import part_of

TURN = np.radians(6)
"""Step between directions …"""
FARTHEST = 5
"""… of which at most so many are tried to a side."""
POLISH = 2
"""Gauss-Newton steps under each direction and blur."""
ROUNDS = 3
"""Times that the light is looked for, at most: again where the next blur is the better one."""


class _Sight(NamedTuple):
    """What some optics see, the sum of squared residuals that they leave, and all that droplets share, with them."""

    belief: Belief
    seen: Evidence
    left: float
    shared: np.ndarray


def retied(
    tie: Tie,
    looks: Sequence[dict[str, np.ndarray]],
    at: int,
    problem: svi.Problem,
    noise: float,
    form: Form,
    free: np.ndarray,
) -> Tie:
    """See through the first optics again, with the renderer of `form`: light and blur as they are seen now.

    Parameters
    ----------
    tie : Tie
        What held the gauge so far.
    looks : sequence of dict
        Weights of optics from sharp to blurred, those of the tie at place `at`; with one alone it is taken as it is.
    problem, noise, form
        The image, its noise, and the model.
    free : ndarray
        (N, D), 1 for parameters of droplets that may move.

    Returns
    -------
    Tie
        Droplets that were not looked at are NaN.
    """
    problem, whole = part_of(problem)
    free = free * whole[:, None]
    shared = svi.unpack(tie.shared, form)

    plain: np.ndarray | None = None

    def sight(weights: dict[str, Array], droplets: np.ndarray) -> _Sight:
        packed = svi.pack(shared._replace(optics=weights))
        belief, seen = polish(droplets, packed, problem, noise, form, free, POLISH)
        return _Sight(belief, seen, seen.left(seen.plain if plain is None else plain), packed)

    best = sight(shared.optics, tie.droplets)
    plain = best.seen.plain
    droplets, angle = best.belief.mean, 0.0
    for _ in range(ROUNDS if len(looks) > 1 else 0):
        tried = {0: best}
        for way in (1, -1):
            k = way
            while abs(k) <= FARTHEST and tried[k - way].left <= best.left:
                weights = turned(looks[at], angle + k * TURN, form.channels)
                tried[k] = sight(weights, tried[k - way].belief.mean)
                best = min(best, tried[k], key=lambda one: one.left)
                k += way
        turns = min(tried, key=lambda k: tried[k].left)
        beside_it = [tried[k].left if k in tried else np.inf for k in (turns - 1, turns + 1)]
        angle += (turns + _lowest(beside_it, tried[turns].left)) * TURN
        best = sight(turned(looks[at], angle, form.channels), best.belief.mean)
        droplets = best.belief.mean
        next_ = [k for k in (-1, 1) if 0 <= at + k < len(looks)]
        beside = {k: sight(turned(looks[at + k], angle, form.channels), droplets) for k in next_}
        nearer = min(beside, key=lambda k: beside[k].left)
        if best.left <= beside[nearer].left:
            part = _lowest([beside[k].left if k in beside else np.inf for k in (-1, 1)], best.left)
            droplets = droplets + abs(part) * (beside[nearer].belief.mean - droplets)
            break
        at, best = at + nearer, beside[nearer]
        droplets = best.belief.mean
    return Tie(np.where(whole[:, None], droplets, np.nan), best.shared, trust(best.seen))


def _lowest(beside: list[float], middle: float) -> float:
    """Where the parabola through values at -1, 1 and 0 is lowest, within a half of 0; 0 if one is not finite."""
    (a, c), b = beside, middle
    bend = a - 2 * b + c
    if not (np.isfinite(bend) and bend > 0):
        return 0.0
    return float(np.clip(0.5 * (a - c) / bend, -0.5, 0.5))
