"""By how much radii may respond wrongly to true ones: told by merges, because volume is conserved.

Optics make up for radii that are wrong by an amount that changes with the radius: what is measured goes with a power of
the true radius that is not quite 1. A droplet that evaporates goes through these errors, so that its rate is off by as
much. In droplets that merge the power shows: two alike give one of 2^(1/3) times the true radius.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .events import Event
from .linking import log_t

WIDEST, STEPS = 5.0, 101
"""Powers that are tried: up to so many standard deviations of the prior, and how many."""
SCATTERS = np.geomspace(0.002, 0.05, 12)
"""Errors of log radii in one merge that are tried: from the best fits to the worst."""


def response_error(events: Sequence[Event], radius: np.ndarray, exponent: float, prior_sd: float) -> float:
    """Root mean square of the power less 1, by the posterior over all events.

    Parameters
    ----------
    events : sequence of Event
        Merges and splits.
    radius : ndarray
        (R,) of all rows.
    exponent : float
        What volume goes with: the radius to this power.
    prior_sd : float
        Standard deviation of the log power before any event; 0: radii are right.

    Returns
    -------
    float
        `prior_sd`, where there are no events.

    Examples
    --------
    >>> e = Event(2, (0, 1), -1, 1.0, -0.05, 0.06, 0.0, 0.0)
    >>> round(response_error([e] * 20, np.array([5.0, 5.0, 6.2]), 3.0, 0.05), 2)
    0.07
    """
    if not prior_sd:
        return 0.0
    power = np.exp(prior_sd * np.linspace(-WIDEST, WIDEST, STEPS))
    posterior = np.tile(-0.5 * (np.log(power) / prior_sd) ** 2, (len(SCATTERS), 1))
    for e in events:
        if not np.isfinite(e.volume_residual) or e.volume_residual <= -1:
            continue
        parts = radius[list(e.several)]
        away = np.log1p(e.volume_residual) / exponent + _whole(parts, exponent) - _whole(parts, exponent / power)
        posterior += e.p * (log_t((away / SCATTERS[:, None]) ** 2, 1) - np.log(SCATTERS[:, None]))
    weight = np.exp(posterior - posterior.max())
    return float(np.sqrt((weight * (power - 1) ** 2).sum() / weight.sum()))


def _whole(parts: np.ndarray, exponent: np.ndarray | float) -> np.ndarray:
    """Log radius of what parts become, for each exponent."""
    each = np.asarray(exponent)[..., None]
    return np.log((parts**each).sum(-1)) / np.asarray(exponent)
