"""Tie places and radii to what is known of them on the average of an image.

The likelihood leaves a gauge free: droplets of half the radius, or all shifted to one side, give the same image under
optics drawn twice as wide, or shifted back; so while optics are learned, all droplets drift. Two things tell where they
belong. The optics that a fit starts from draw a droplet's edge at its radius and its center at its place; that can be
believed as far as they explain the image before anything is learned. And what the recognition network proposes is
right on the average of an image: radii within some 3 %, centers within 0.02 of them. Both are weighed by the variances
of radii. Now and then in a fit all droplets and the first layer of the network are moved there together, which leaves
the rendering as it was (but for the fading far out).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..image_statistics import weighted_median
from ..model.generative import Form, Prior
from .calibration import proposals
from .laplace import Evidence
from .svi import Guide, Variational, pack, unpack

PROPOSED_SD = 0.03
"""Standard deviation of the common error of proposed log radii, from image to image."""
OPTICS_SD = 0.2
"""That of optics which explain nothing of what droplets change in the image; it is proportional to what they leave."""
BOUNDS = (0.5, 2.0)
"""Largest change of the radius at a time: beyond, optics or proposals have failed."""
ENOUGH = 5
"""Proposals of the network from which a common factor is read, at least."""
CERTAIN = 0.25
"""Largest standard deviation of the log radius of such a proposal."""


class Tie(NamedTuple):
    """What holds the gauge: droplets (N, D) where the first optics see them (NaN: unknown), these, their trust, 0 to 1.

    Optics are in the vector of all that droplets share.
    """

    droplets: np.ndarray
    shared: np.ndarray
    trust: float


class Move(NamedTuple):
    """A common move of all droplets: of the center in their radii, and the factor of the radius."""

    x: float
    y: float
    radius: float


def trust(seen: Evidence) -> float:
    """How far the optics of this evidence are to be trusted with places and radii, against the network; 0 to 1.

    They are judged by the part of what droplets change that they leave unexplained, above the noise. Those that would
    count for less than the network count for nothing: an edge where there is none would pull at every turn.
    """
    weight = PROPOSED_SD**2 / (PROPOSED_SD**2 + (OPTICS_SD * seen.unexplained) ** 2)
    return max(0.0, 2 * weight - 1)


def wanted(parameters: Variational, anchor: np.ndarray, prior: Prior, tie: Tie) -> Move:
    """The move that brings all droplets to where the first optics and the proposals want them."""
    here = np.flatnonzero(prior.present)
    if len(here) < ENOUGH:
        return Move(0, 0, 1)
    now = parameters.mean.droplets[here, :3].astype(float)
    unit = np.stack([np.exp(now[:, 2])] * 2 + [np.ones(len(here))], -1)  # offsets are in radii of the anchor
    wants = proposed = np.nanmedian((tie.droplets[here, :3] - now) / unit, 0)
    sd = np.asarray(prior.log_radius_sd)[here]
    told = sd < CERTAIN
    if told.sum() >= ENOUGH:
        off = ((proposals(prior, anchor)[0][here] - now) / unit)[told]
        proposed = np.array([weighted_median(column, sd[told] ** -2.0) for column in off.T])
    x, y, larger = tie.trust * wants + (1 - tie.trust) * proposed
    return Move(float(x), float(y), float(np.clip(np.exp(larger), *BOUNDS)))


def regauge(parameters: Variational, move: Move, form: Form) -> Variational:
    """Move every droplet, and let the network read the new places as it read the old ones."""
    first = form.channels  # rows of the first kernel: background, dx/r, dy/r, r, composition
    rows = np.ones(form.channels + 3 + form.types, np.float32)
    rows[first : first + 2] = move.radius  # dx/r and dy/r have become smaller …
    rows[first + 2] = 1 / move.radius  # … and r larger
    mean, log_sd = (unpack(part.shared, form) for part in parameters)
    kernel, bias = mean.optics["Dense_0.kernel"], mean.optics["Dense_0.bias"]
    bias = bias + np.float32(move.x) * kernel[first] + np.float32(move.y) * kernel[first + 1]
    moved = {"Dense_0.kernel": kernel * rows[:, None], "Dense_0.bias": bias}
    spread = {"Dense_0.kernel": log_sd.optics["Dense_0.kernel"] + np.log(rows)[:, None]}
    droplets = parameters.mean.droplets.copy()
    relative = np.exp(droplets[:, 2:3])  # radius over the anchor's, the unit of the offsets
    droplets[:, :2] += relative * np.array([move.x, move.y], np.float32)
    droplets[:, 2] += np.float32(np.log(move.radius))
    return Variational(
        Guide(droplets, pack(mean._replace(optics=mean.optics | moved))),
        Guide(parameters.log_sd.droplets, pack(log_sd._replace(optics=log_sd.optics | spread))),
    )
