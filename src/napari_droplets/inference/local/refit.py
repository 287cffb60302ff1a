"""Local refit after manual correction: what was edited stays, its surroundings adapt, the rest is left alone."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...composition.anchors import known_compositions
from ...composition.classes import Classes
from ...droplets import GUIDE_BY_ROW, Droplets, Fit
from ...errors import InputError
from ...lazy import Pixels
from ...model.background import SplineGrid
from ...model.priors import COMMON_SD
from ...model.problem import LEAST_DROPLETS, PLACE, bucket
from ...progress import Clock, Progress
from ...settings import Settings
from .. import calibration
from ..candidates import pinned_rows
from ..loop import init
from ..posterior import Frame, classes_of, droplets_of
from ..prepare import form_of, free_to_change, shared_of
from ..run import iterate_rounds
from ..start import Ground, compositions_under, field_of
from ..state import Setup, State
from ..steps.droplet_step import Prior
from ..steps.gauss_newton import anchors_of
from .surroundings import Surroundings

Region = tuple[float, float, float, float]

REACH = 2.0
"""Radii around an edit within which other droplets may change: their outlines, and what lies between them."""
MAY_CHANGE = ("steps", "max_seconds", "seed", "scale")
"""Settings that a refit may differ in; the others decide what the droplets of the fit mean."""
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


def iterate_refit(
    fit: Fit, after: Droplets, settings: Settings, region: Region | None, clock: Clock, *, proportions: bool = True
) -> Generator[Progress, bool | None, Fit]:
    """Refit to the edited droplets; see `api.refit`. Yields Progress, returns the new Fit.

    Without `proportions` those of classes in the summary stay as they were: they are of all droplets, which takes
    longer than to refit a few.
    """
    assert fit.image is not None
    edits = find_edits(fit.droplets, after)
    changed = edits.same < 0
    pinned = changed | pinned_rows(after)
    active = _active(after, edits, fit.droplets, region)
    if not active.any():
        raise InputError("refit: nothing to refit there; give a region that holds droplets, or edit some")
    around = Surroundings.of(fit, after, edits.gone, active, whole=settings.scale != 1)
    near = around.near
    setup, state = _localized(fit, after[near], edits.same[near], active[near], pinned[near], settings, around)
    frame = Frame(around.image, settings, None)
    clock.lap("fit")

    def snapshot(*now: Any) -> tuple[Droplets, Pixels]:
        some, drawn = frame.snapshot(*now)
        x, y = (np.array(a, float) for a in (after.x, after.y))
        radius = np.array(after.radius, float)
        x[near], y[near], radius[near] = some.x + around.box.left, some.y + around.box.top, some.radius
        return Droplets(x, y, radius), around.patched(fit.reconstruction, drawn)

    outcome = yield from iterate_rounds(setup, state, settings, clock, fit.image.name, snapshot)
    result = frame.result(outcome, clock)
    left = ~active & (edits.same >= 0)
    guide = _guide(fit, result, edits.same, left, around)
    misfit = np.full(len(after), np.nan)
    misfit[near] = result.droplets.labels["misfit"]
    counts = {"edited": int(changed.sum()), "removed": len(edits.gone), "refitted": int(active.sum())}
    everyone = droplets_of(guide, settings.composition, fit.droplets.pixel_size_um)
    held = np.isfinite(known_compositions(after, settings.components, settings.composition)).all(1)
    droplets = _merged(everyone, after, fit.droplets, misfit, edits.same, left, pinned, held)
    picture = around.patched(fit.reconstruction, result.reconstruction)
    optics = fit.optics  # a refit learns none
    summary = fit.summary | {
        "n_droplets": len(droplets),
        "count_mean": _count(fit, droplets),
        "rmse": fit.image.rmse(picture),
        "seconds": result.summary["seconds"],
        "settings": result.summary["settings"],
        "stopped": result.summary["stopped"],
        "refit": counts,
    }
    if optics.classes is not None:
        some = {k: v[~left] if k in GUIDE_BY_ROW else v for k, v in guide.items()}
        found = classes_of(some, optics.composition, settings.seed, droplets[~left].p_present, optics.classes)
        labels = _classified(after, fit.droplets, edits.same, left, found)
        droplets = replace(droplets, labels=dict(droplets.labels) | labels)
    result = replace(
        result,
        droplets=droplets,
        guide=guide,
        optics=optics,
        reconstruction=picture,
        image=fit.image,
        summary=summary,
    )
    return with_proportions(result) if proportions else result


def _count(fit: Fit, droplets: Droplets) -> float | None:
    """Expected number of droplets of a fit once it has these: what was added is there, what was deleted is not."""
    assert fit.image is not None
    shape = fit.image.shape

    def told(some: Droplets) -> float:
        sd = (np.zeros(len(some)) if s is None else np.nan_to_num(np.asarray(s, float)) for s in (some.x_sd, some.y_sd))
        inside = calibration.within(np.asarray(some.x), np.asarray(some.y), *sd, shape)
        return float(inside.sum() if some.p_present is None else np.sum(inside * np.asarray(some.p_present)))

    mean = fit.summary.get("count_mean")
    return None if mean is None else mean + told(droplets) - told(fit.droplets)


def with_proportions(fit: Fit) -> Fit:
    """A fit whose summary has the proportions of classes among its droplets as they are now."""
    if fit.optics.classes is None:
        return fit
    seed = Settings.of(**fit.summary["settings"]).seed
    found = classes_of(fit.guide, fit.optics.composition, seed, fit.droplets.p_present, fit.optics.classes)
    return replace(fit, summary=fit.summary | {"classes": found.proportions, "class_mixture": fit.optics.classes})


def _guide(fit: Fit, result: Fit, same: np.ndarray, left: np.ndarray, around: Surroundings) -> dict[str, np.ndarray]:
    """The posterior of all droplets: of those left alone as it was, of the others as refitted."""
    guide = dict(fit.guide)
    place = np.full(len(same), -1)
    place[around.near] = np.arange(int(around.near.sum()))
    shift = np.array([around.box.left, around.box.top, 0], np.float32)
    for name in GUIDE_BY_ROW:
        new = result.guide[name][place[~left]]
        guide[name] = np.empty((len(same), *new.shape[1:]), new.dtype)
        guide[name][left] = fit.guide[name][same[left]]
        guide[name][~left] = new + shift if name == "anchor" else new
    return guide


def _name(label: Any) -> str:
    """A class as text; rows that were added make numbers of classes floats."""
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label)


def _classified(
    after: Droplets, before: Droplets, same: np.ndarray, left: np.ndarray, found: Classes
) -> dict[str, np.ndarray]:
    """Classes of droplets that were refitted; of those `left`, and where the user chose one, as in the edited table."""
    told = after.labels.get("class")
    if told is None:
        return {}
    told, old = np.asarray(told), before.labels.get("class")
    kept = left.copy()
    if old is not None:
        here = np.flatnonzero(same >= 0)
        was = np.asarray(old)[same[here]]
        kept[here] |= np.array([_name(a) != _name(b) for a, b in zip(told[here], was, strict=True)], bool)
    new = {}
    for name, values in found.columns.items():
        new[name] = np.full(
            len(left), None if values.dtype == object else -1 if name == "class" else np.nan, values.dtype
        )
        new[name][~left] = values
    labels = np.where(kept, told, new.pop("class"))
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.round(labels)).all():
        labels = labels.astype(int)  # rows that were added have left the others' as floats
    others = {k: np.where(kept, np.asarray(after.labels.get(k, p), float), p) for k, p in new.items()}
    return {"class": labels} | others


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


def _localized(
    fit: Fit,
    after: Droplets,
    same: np.ndarray,
    active: np.ndarray,
    pinned: np.ndarray,
    settings: Settings,
    around: Surroundings,
) -> tuple[Setup, State]:
    """Start unchanged droplets and all that is shared exactly where the fit ended; let only active droplets move."""
    work = around.image.rescaled(settings.scale)
    form, n, scale = form_of(work.shape[2], settings), len(after), settings.scale
    circles = np.column_stack([after.x, after.y, after.radius]).astype(float)
    mean = np.zeros((n, form.dimensions))
    prior_mean = np.zeros((n, PLACE))
    prior_sd = np.tile(np.hypot([1.0, 1.0, 0.5], COMMON_SD), (n, 1))
    old = np.flatnonzero(same >= 0)
    circles[old] = fit.guide["anchor"][same[old]]
    mean[old] = fit.guide["droplets"][same[old]]
    prior_mean[old], prior_sd[old] = (fit.guide[name][same[old]] for name in ("prior_mean", "prior_sd"))
    x, y, radius = (circles - (around.box.left, around.box.top, 0)).T
    x, y, radius = (x + 0.5) * scale - 0.5, (y + 0.5) * scale - 0.5, radius * scale
    shared = shared_of(fit.optics, scale)
    assert fit.image is not None
    h, w = (work if around.whole else fit.image).shape[:2]
    grid = SplineGrid.for_coefficients(h, w, fit.guide["background"])
    if not around.whole:
        rows, columns = around.box.slices
        grid = SplineGrid(grid.rows[rows], grid.columns[columns])
    field = field_of(work.pixels, grid, fit.guide["background"])
    ground = Ground(field, fit.guide["background"], fit.guide["background_sd"], np.zeros(field.shape[:2], bool))
    new = np.flatnonzero(same < 0)
    if len(new):
        place = x[new], y[new], radius[new]
        mean[new, PLACE:] = compositions_under(shared, work.pixels, ground, place, form, settings.seed)
    known = known_compositions(after, form.types, form.composition)
    mean, free = free_to_change(mean, known, pinned, form)
    setup = Setup(
        work.pixels,
        work.counted(),
        form,
        anchors_of(x, y, radius, bucket(n + 1, LEAST_DROPLETS)),
        Prior(prior_mean, prior_sd, np.zeros(n, bool)),
        None,
        free,
        grid,
        False,
        settings.noise or fit.optics.noise_sd,
        0.0,
        bool(np.any(shared.glow)),
        settings.seed,
        moving=active,
        renderer=settings.renderer,
    )
    return setup, init(setup, mean, np.ones(n, bool), shared, ground, setup.noise or fit.optics.noise_sd)


def _merged(
    new: Droplets,
    after: Droplets,
    before: Droplets,
    misfit: np.ndarray,
    same: np.ndarray,
    left: np.ndarray,
    pinned: np.ndarray,
    held: np.ndarray,
) -> Droplets:
    """Droplets as refitted, those `left` alone as they were, pinned ones where the user put them.

    Compositions that are `held` are as they were.
    """

    def column(values: np.ndarray, old: np.ndarray | None, kept: np.ndarray) -> np.ndarray:
        values = np.array(values)
        if old is not None:
            values[kept] = np.asarray(old)[same[kept]]
        return values

    columns = {}
    for name in ("x", "y", "radius", "x_sd", "y_sd", "radius_sd", "composition", "composition_sd"):
        kept = left | (held & (same >= 0)) if name.startswith("composition") else left
        columns[name] = column(getattr(new, name), getattr(before, name), kept)
    for name in ("x", "y", "radius"):
        columns[name][pinned] = getattr(after, name)[pinned]
        columns[f"{name}_sd"][pinned] = np.nan
    misfit = column(misfit, before.labels.get("misfit"), left)
    p = None if after.p_present is None else np.where(pinned, 1, after.p_present)
    labels = dict(after.labels) | {"pinned": pinned, "misfit": misfit}
    return replace(new, **columns, p_present=p, labels=labels)
