"""One image judged, before and after the fit; and what many images say together.

A row is a dict of plain numbers that can be kept as JSON and pooled later, so that long runs can be split.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
from detection_data import Case, class_name, inside
from fit_scores import r2, through_map

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.inference.api import detect_all

Row = dict[str, Any]

QUANTITIES = ("x", "y", "radius")
LEVELS = {"68": 1.0, "95": 1.96}
"""Half widths of the intervals, in standard deviations, by the part of the true values that they should hold."""
BINS = 10
"""Of equal width, for the calibration error of p_present."""
CLASSES = (0.0, 3.0, 5.0, 9.0, 16.0, np.inf)
"""Radii, pixels, between which a common factor of radii is told apart."""
SAMPLES = 200
"""Of the posterior, for standard deviations of mapped compositions."""
TELLABLE = 3
"""Dyes that three channels can tell apart; of four, two mixtures may have one color."""


def compared(case: Case, *, margin: float = 0.0, truth: nd.Droplets | None = None, **settings: Any) -> Row:
    """Detect and fit one image.

    Parameters
    ----------
    case : Case
    margin : float
        Pixels inside the boxes of the case within which nothing found is false.
    truth : Droplets, optional
        With compositions, to be compared with those of the fit.
    **settings
        Of the fit.

    Returns
    -------
    dict
        `detect` and `fit`, see `judged`; `lost` and `won`, required droplets that one has and the other has not.
    """
    before = detect_all(case.image)
    first, had = judged(case, before.droplets, (before.count_mean, before.count_sd), margin)
    try:
        fit = nd.fit(case.image, **settings)
    except nd.InputError as error:
        print(f"{case.name}: {error}", file=sys.stderr)
        return {"detect": first, "fit": judged(case, before.droplets[:0], (None, None), margin)[0], "failed": True}
    summary = fit.summary
    second, has = judged(case, fit.droplets, (summary["count_mean"], summary["count_sd"]), margin)
    second |= {key: summary[key] for key in ("noise_sd", "steps", "stopped")}
    second["seconds"] = summary["seconds"]["total"]
    if truth is not None:
        score, z = composition_errors(truth, fit)
        second["r2"] = score
        second["cover"]["composition"] = covered(z)
    return {"detect": first, "fit": second, "lost": len(had - has), "won": len(has - had)}


def judged(
    case: Case, found: nd.Droplets, count: tuple[float | None, float | None] = (None, None), margin: float = 0.0
) -> tuple[Row, set[int]]:
    """What one table of droplets is worth, and which of the required ones it has.

    Which are required, and which may be false, follows `score.py` of the shared folder: not what is ignored, smaller
    than the least radius or outside of the boxes.
    """
    found = case.comparable(found).scaled(case.scale)
    table = found.to_dataframe()
    truth = nd.Droplets.from_dataframe(case.truth[["x", "y", "radius"]])
    required = np.asarray(truth.radius >= case.min_radius)
    false = np.asarray((found.radius >= case.min_radius) & (found.radius <= case.max_radius))
    if "ignore" in case.truth:
        required = required & (case.truth["ignore"].to_numpy() == 0)
    if case.boxes:
        required &= inside(case.truth, case.boxes)
        false &= inside(table, case.boxes, margin)
    i, j = match(truth, found)
    extra = int(np.delete(false, j).sum())
    p = found.p_present
    row: Row = {}
    if p is not None:
        hit = np.isin(np.arange(len(found)), j)
        asked = hit | false
        row["presence"] = _binned(p[asked], hit[asked])
        row["p_median"] = float(np.median(p)) if len(p) else float("nan")
    good = required[i]
    i, j = i[good], j[good]
    right, n = len(i), int(required.sum())
    row |= {"true": n, "right": right, "false": extra, "f1": 2 * right / max(n + right + extra, 1)}
    row |= {"recall": right / max(n, 1), "precision": right / max(right + extra, 1)}
    r = truth.radius[i]
    off = np.stack([found.x[j] - truth.x[i], found.y[j] - truth.y[i]]) / case.scale
    ratio = np.log(found.radius[j] / r)
    relative = off * case.scale / r
    if right:
        common = np.median(relative, 1)
        low, high = np.quantile(ratio, [0.16, 0.84])
        row |= {
            "bias": float(np.expm1(np.median(ratio))),
            "spread": float(high - low) / 2,
            "shift": float(np.hypot(*common)),
            "shift_px": float(np.hypot(*np.median(off, 1))),
            "center": float(np.median(np.hypot(*relative))),
            "scatter": float(np.median(np.hypot(*(relative - common[:, None])))),
        }
    row["sizes"] = {}
    for least, most in itertools.pairwise(CLASSES):
        some = (r >= least) & (r < most)
        if some.any():
            row["sizes"][class_name(least, most)] = [int(some.sum()), float(np.expm1(np.median(ratio[some])))]
    row["cover"] = {}
    for name in QUANTITIES:
        sd = getattr(found, f"{name}_sd")
        if sd is not None:
            row["cover"][name] = covered((getattr(found, name)[j] - getattr(truth, name)[i]) / sd[j])
    mean, deviation = count
    if mean is not None and deviation is not None:
        h, w = (case.scale * side for side in case.image.shape[:2])
        there = (truth.x >= -0.5) & (truth.y >= -0.5) & (truth.x <= w - 0.5) & (truth.y <= h - 0.5)
        row["count"] = [int(there.sum()), float(mean), float(deviation)]
    return row, set(i.tolist())


def covered(z: np.ndarray) -> list[int]:
    """How many errors, in standard deviations, are known, and how many of them lie in each interval of `LEVELS`."""
    z = np.abs(z[np.isfinite(z)])
    return [len(z), *(int(np.sum(z < width)) for width in LEVELS.values())]


def _binned(p: np.ndarray, hit: np.ndarray) -> list[list[float]]:
    """By bin of p: number, sum of p, number of right ones."""
    which = np.clip((p * BINS).astype(int), 0, BINS - 1)
    return [[int(np.sum(which == b)), float(p[which == b].sum()), int(hit[which == b].sum())] for b in range(BINS)]


def composition_errors(truth: nd.Droplets, fit: nd.Fit) -> tuple[float, np.ndarray]:
    """R2 and errors in standard deviations of compositions, after one affine map of the image."""
    found = fit.droplets
    assert truth.composition is not None
    i, j = match(truth, found)
    right = truth.composition[i]
    told = found.composition is not None and found.composition_sd is not None
    if not told or right.shape[1] > TELLABLE or len(i) < 2 * (right.shape[1] + 1):
        return float("nan"), np.full(right.shape, np.nan)
    samples = fit.sample(SAMPLES)["composition"][:, j]
    _, estimate, sd = through_map(found.composition[j], found.composition_sd[j], samples, right)
    z = (estimate - right) / np.maximum(sd, 1e-9)
    return r2(right, estimate), z


def pooled(rows: Iterable[Row]) -> dict[str, float]:
    """What the rows of many images say together; what none of them says is left out.

    Scores and common errors are means over images, intervals and probabilities of all droplets, counts of images.
    """
    rows = list(rows)
    out: dict[str, float] = {"images": len(rows), "droplets": sum(row["true"] for row in rows)}
    keys = ("f1", "recall", "precision", "spread", "shift", "shift_px", "center", "scatter", "r2", "p_median")
    for key in (*keys, "seconds", "noise_sd"):
        values = [row[key] for row in rows if np.isfinite(row.get(key, np.nan))]
        if values:
            out[key] = float(np.mean(values))
    biases = [row["bias"] for row in rows if "bias" in row]
    if biases:
        out |= {"bias": float(np.mean(biases)), "abs_bias": float(np.mean(np.abs(biases)))}
    sizes: dict[str, list[list[float]]] = {}
    for row in rows:
        for name, entry in row["sizes"].items():
            sizes.setdefault(name, []).append(entry)
    of_classes = [abs(np.average([b for _, b in v], weights=[n for n, _ in v])) for v in sizes.values()]
    if of_classes:
        out["worst_size_bias"] = float(max(of_classes))
    for name in (*QUANTITIES, "composition"):
        n, *within = np.sum([row["cover"].get(name, [0, 0, 0]) for row in rows], 0) if rows else (0, 0, 0)
        out |= {f"{name}{level}": float(k / n) for level, k in zip(LEVELS, within, strict=True) if n}
    bins = np.sum([row["presence"] for row in rows if "presence" in row], 0)
    if np.any(bins):
        number, told, hit = bins.T
        out["ece"] = float(np.sum(np.abs(told - hit)) / number.sum())
    counts = np.array([row["count"] for row in rows if "count" in row], float).reshape(-1, 3)
    if len(counts):
        there, mean, sd = counts.T
        out["count95"] = float(np.mean(np.abs(mean - there) <= LEVELS["95"] * sd))
        out["count_sd"] = float(np.median(sd / np.maximum(mean, 1)))
    settled = [row["stopped"] == "settled" for row in rows if "stopped" in row]
    if settled:
        out["settled"] = float(np.mean(settled))
    return out
