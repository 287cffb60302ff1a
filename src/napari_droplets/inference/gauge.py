"""Tie radii to the outlines that the recognition network sees.

The likelihood leaves a gauge free: droplets of half the radius give the same image under optics drawn twice as wide. The
shipped optics draw a droplet's edge at its radius, but the more they change to explain a photograph, the less that binds
them; the radii that the recognition network proposes are right on the average of an image (within 1 % on checked ones).
So now and then in a fit all droplets and the first layer of the network are brought to them by one common factor,
which leaves the rendering as it was (but for the fading far out). Common shifts are left to the optics: of places the
network is less sure, as it takes part of a bright crescent for the droplet.
"""

from __future__ import annotations

import numpy as np

from ..model.generative import Form, Prior
from .propose import weighted_median
from .svi import Guide, Variational, pack, unpack

BOUNDS = (0.5, 2.0)
"""Largest change of the radius at a time: beyond, optics or proposals have failed."""
ENOUGH = 5
"""Proposals of the network from which a common factor is read, at least."""
CERTAIN = 0.25
"""Largest standard deviation of the log radius of such a proposal."""


def common_factor(parameters: Variational, anchor: np.ndarray, prior: Prior) -> float:
    """Factor that brings radii to those proposed, a median over droplets; 1 where too few were proposed."""
    sd = np.asarray(prior.log_radius_sd)
    told = np.flatnonzero(np.asarray(prior.present) & (sd < CERTAIN))
    if len(told) < ENOUGH:
        return 1.0
    log_radius = np.log(anchor[told, 2]) + parameters.mean.droplets[told, 2]
    larger = weighted_median(np.asarray(prior.log_radius)[told] - log_radius, sd[told] ** -2.0)
    return float(np.clip(np.exp(larger), *BOUNDS))


def regauge(parameters: Variational, factor: float, form: Form) -> Variational:
    """Make every droplet larger by a factor, and let the network read the new units as it read the old ones."""
    first = form.channels  # rows of the first kernel: background, dx/r, dy/r, r, composition
    rows = np.ones(form.channels + 3 + form.types, np.float32)
    rows[first : first + 2] = factor  # dx/r and dy/r have become smaller …
    rows[first + 2] = 1 / factor  # … and r larger
    mean, log_sd = (unpack(part.shared, form) for part in parameters)
    moved = {"Dense_0.kernel": mean.optics["Dense_0.kernel"] * rows[:, None]}
    spread = {"Dense_0.kernel": log_sd.optics["Dense_0.kernel"] + np.log(rows)[:, None]}
    droplets = parameters.mean.droplets + np.float32(np.log(factor)) * (
        np.arange(parameters.mean.droplets.shape[1]) == 2
    )
    return Variational(
        Guide(droplets, pack(mean._replace(optics=mean.optics | moved))),
        Guide(parameters.log_sd.droplets, pack(log_sd._replace(optics=log_sd.optics | spread))),
    )
