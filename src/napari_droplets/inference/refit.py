"""Local refit after manual correction: what was edited stays, its surroundings adapt, the rest is left alone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from ..composition.anchors import PREFIX, known_compositions
from ..droplets import Droplets, Fit
from ..errors import InputError
from ..model.assignment import Tiles
from ..model.rendering import REACH
from ..progress import Clock, Progress
from ..settings import Settings
from .api import Region, Steps, usable
from .population import pinned_rows

if TYPE_CHECKING:
    from ..composition.classes import Classes
    from .prepare import Setup

REFIT_STEPS = 400
"""Optics and background are known: only a few droplets have to settle."""
MAY_CHANGE = ("steps", "max_seconds", "seed", "scale")
"""Settings that a refit may differ in; the others decide what the droplets of the fit mean."""
PINNED_LOG_SD = -7.0
"""Log standard deviation, in radii, of what is held fixed."""
MATCH = 1e-3
"""Pixels within which a position and a radius count as those of the fit; tables lose digits when written."""


class Edits(NamedTuple):
    """What was changed: for each row of the edited table its row in the fit (-1: new or changed), and what is gone."""

    same: np.ndarray
    gone: np.ndarray


def find_edits(before: Droplets, after: Droplets) -> Edits:
    """Match rows by position and radius, in any order."""
    from scipy.spatial import cKDTree

    same = np.full(len(after), -1)
    if len(before):
        old, new = (np.stack([d.x, d.y, d.radius], -1) for d in (before, after))
        distance, nearest = cKDTree(old).query(new, distance_upper_bound=MATCH)
        same = np.where(np.isfinite(distance), nearest, -1)
        seen, first = np.unique(same, return_index=True)
        twice = np.setdiff1d(np.arange(len(after)), first)  # a copy laid on its original is a new droplet
        same[twice[np.isin(same[twice], seen)]] = -1
    return Edits(same, np.setdiff1d(np.arange(len(before)), same))


def iterate_refit(fit: Fit, edited_table: pd.DataFrame, region: Region | None = None, **settings: Any) -> Steps:
    """See `fit.refit`; yields Progress, returns the new Fit."""
    if fit.image is None:
        raise InputError("refit: the image of this fit is not at hand; use read(folder, image=...)")
    image = fit.image
    if fixed := sorted(set(settings) - set(MAY_CHANGE)):
        raise InputError(f"refit: {', '.join(fixed)} cannot change here, only {', '.join(MAY_CHANGE)}; run a new fit")
    before = {k: v for k, v in fit.summary.get("settings", {}).items() if k not in ("steps", "max_seconds")}
    chosen = Settings.of(**{"steps": REFIT_STEPS, **before, "types": fit.optics.types, **settings})
    clock = Clock(chosen.max_seconds)
    after = usable(edited_table, image, chosen)
    edits = find_edits(fit.droplets, after)
    changed = edits.same < 0
    pinned = changed | pinned_rows(after)
    active = _active(after, edits, fit.droplets, region)
    if not active.any():
        raise InputError("refit: nothing to refit there; give a region that holds droplets, or edit some")
    clock.lap("detect")
    from ..composition.classes import same_classes
    from .optimize import iterate_chunks
    from .posterior import sample_droplets
    from .prepare import prepare
    from .run import CLASS_DRAWS, Frame

    clock.lap("import")
    known = {k: v for k, v in after.labels.items() if str(k).startswith(PREFIX)}
    start = Droplets(after.x, after.y, after.radius, composition=after.composition, labels=known)
    setup = prepare(image.rescaled(chosen.scale), start.scaled(chosen.scale), fit.optics, chosen)
    setup = _localized(setup, fit, edits.same, active, pinned, chosen.scale)._replace(endings=(fit.optics.renderer,))
    frame = Frame(setup, image, chosen)
    clock.lap("fit")
    outcome = yield from iterate_chunks(setup, chosen, clock, image.name, frame.snapshot)
    done = outcome.losses[-1][:2] if outcome.losses else (0, float("nan"))
    snapshot = partial(frame.snapshot, outcome.parameters, outcome.present)
    yield Progress("posterior", int(done[0]), int(done[0]), done[1], float("nan"), len(after), snapshot)
    result = frame.result(outcome, chosen, clock)
    counts = {"edited": int(changed.sum()), "removed": len(edits.gone), "refitted": int(active.sum())}
    held = np.isfinite(known_compositions(after, chosen.components, chosen.composition)).all(1)
    droplets = _merged(result.droplets, after, fit.droplets, edits.same, active, pinned, held)
    guide, left = dict(result.guide), ~active & (edits.same >= 0)
    for name in ("droplets_told", "droplets_tril"):  # made from the pixels around what was refitted alone
        guide[name] = np.array(guide[name])
        guide[name][left] = fit.guide[name][edits.same[left]]
    optics = replace(result.optics, classes=fit.optics.classes)  # a refit finds no new ones
    summary = result.summary | {"refit": counts}
    if optics.classes is not None:
        draws = sample_droplets(guide, optics.composition, CLASS_DRAWS, chosen.seed)["composition"]
        found = same_classes(optics.classes, draws, droplets.p_present)
        droplets = replace(
            droplets, labels=dict(droplets.labels) | _classified(after, fit.droplets, edits.same, active, found)
        )
        summary |= {"classes": found.proportions, "class_mixture": optics.classes}
    return replace(result, droplets=droplets, guide=guide, optics=optics, summary=summary)


def _classified(
    after: Droplets, before: Droplets, same: np.ndarray, active: np.ndarray, found: Classes
) -> dict[str, np.ndarray]:
    """Classes of droplets that were refitted; of the others, and where the user chose one, as in the edited table."""
    told = after.labels.get("class")
    if told is None:
        return {"class": found.label, "class_p": found.p}
    told, old = np.asarray(told), before.labels.get("class")
    kept = ~active & (same >= 0)
    if old is not None:
        here = np.flatnonzero(same >= 0)
        was = np.asarray(old)[same[here]]
        kept[here] |= [str(a) != str(b) for a, b in zip(told[here], was, strict=True)]
    labels = np.where(kept, told, found.label)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.round(labels)).all():
        labels = labels.astype(int)  # rows that were added have left the others' as floats
    p = after.labels.get("class_p")
    return {"class": labels, "class_p": found.p if p is None else np.where(kept, np.asarray(p, float), found.p)}


def _active(after: Droplets, edits: Edits, before: Droplets, region: Region | None) -> np.ndarray:
    """Droplets that may change: those edited, and those in the region or within reach of an edit."""
    changed = edits.same < 0
    if region is not None:
        x0, y0, x1, y1 = region
        return changed | ((after.x >= x0) & (after.x <= x1) & (after.y >= y0) & (after.y <= y1))
    if not changed.any() and not len(edits.gone):
        return np.ones(len(after), bool)
    active = changed.copy()
    for droplets, rows in ((after, np.flatnonzero(changed)), (before, edits.gone)):
        for x, y, radius in zip(droplets.x[rows], droplets.y[rows], droplets.radius[rows], strict=True):
            active |= np.hypot(after.x - x, after.y - y) < REACH * radius + after.radius
    if not active.any():  # removed were droplets far from all others, whose light the next one has to answer for
        x, y = before.x[edits.gone], before.y[edits.gone]
        active[np.hypot(after.x[:, None] - x, after.y[:, None] - y).argmin(0)] = True
    return active


def _localized(setup: Setup, fit: Fit, same: np.ndarray, active: np.ndarray, pinned: np.ndarray, scale: float) -> Setup:
    """Start unchanged droplets and all that is shared exactly where the fit ended; let only active droplets move."""
    import jax

    from . import posterior, svi
    from .view import look

    form, n = setup.form, len(active)
    old = np.flatnonzero(same >= 0)
    anchor = setup.anchor.copy()
    anchors = fit.guide["anchor"][same[old]]
    anchor[old, :2] = (anchors[:, :2] + 0.5) * scale - 0.5
    anchor[old, 2] = anchors[:, 2] * scale
    parameters = jax.device_get(setup.state.parameters)
    mean, log_sd = (guide.droplets.copy() for guide in parameters)
    mean[old] = fit.guide["droplets"][same[old]]
    log_sd[old] = fit.guide["droplets_log_sd"][same[old]]
    log_sd[np.flatnonzero(pinned), :3] = PINNED_LOG_SD
    deviations = {name: np.log(sd) for name, sd in fit.optics.weights_sd.items()}
    shared = svi.pack(svi.Shared(fit.guide["background"], fit.guide["log_noise"], fit.optics.weights))
    shared_log_sd = svi.pack(svi.Shared(fit.guide["background_log_sd"], fit.guide["log_noise_log_sd"], deviations))
    free = np.zeros(mean.shape, np.float32)
    free[:n] = active[:, None] * setup.free.droplets[:n]
    free[np.flatnonzero(pinned), :3] = 0
    state = svi.init(svi.Guide(mean, shared), svi.Guide(np.exp(log_sd), np.exp(shared_log_sd)))

    located = posterior.mean_latents(jax.device_get(state.parameters), anchor, form)
    total = len(setup.problem.corner)
    assigned = posterior.assign(located, setup.prior.present, setup.tiles, total)[: len(setup.tiles.corner)]
    seen = np.append(np.pad(active, (0, len(mean) - n)), False)[assigned].any(1)
    tiles = Tiles(*(a[seen] for a in setup.tiles))
    view = look(located, setup.prior.present, tiles, total, 0)
    problem = svi.Problem(*(svi.pad(a, total) for a in tiles), view, setup.prior, anchor)
    local = svi.Guide(free, np.zeros_like(setup.free.shared))
    return setup._replace(problem=jax.device_put(problem), anchor=anchor, tiles=tiles, state=state, free=local)


def _merged(
    new: Droplets,
    after: Droplets,
    before: Droplets,
    same: np.ndarray,
    active: np.ndarray,
    pinned: np.ndarray,
    held: np.ndarray,
) -> Droplets:
    """Active droplets as refitted, the others as they were, pinned ones where the user put them.

    Compositions that are `held` are as they were.
    """
    left = ~active & (same >= 0)

    def column(name: str, *, placed: bool) -> np.ndarray | None:
        values = np.array(getattr(new, name))
        old = getattr(before, name)
        kept = left if placed else left | (held & (same >= 0))
        if old is not None:
            values[kept] = old[same[kept]]
        if placed:
            given = getattr(after, name.removesuffix("_sd"))
            values[pinned] = np.nan if name.endswith("_sd") else given[pinned]
        return values

    places = {name: column(name, placed=True) for name in ("x", "y", "radius", "x_sd", "y_sd", "radius_sd")}
    made_of = {name: column(name, placed=False) for name in ("composition", "composition_sd")}
    misfit = np.array(new.labels["misfit"])
    if "misfit" in before.labels:
        left = ~active & (same >= 0)
        misfit[left] = np.asarray(before.labels["misfit"])[same[left]]
    p = None if after.p_present is None else np.where(pinned, 1, after.p_present)
    labels = dict(after.labels) | {"pinned": pinned, "misfit": misfit}
    return replace(new, **places, **made_of, p_present=p, labels=labels)
