"""Which renderer explains images best, and what it is worth: from droplets that only touch to droplets over others."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from typing import Any

import numpy as np
from detection_data import Pairs, pooled_scores
from fit_data import FIRST_SEED, fit_settings, simulation
from fit_scores import affine, gaps, mapped

import napari_droplets as nd

OVERLAPS = (0.0, 0.4, 0.8, 1.2)  # radii of the smaller droplet, at most
LOOKS = ({"radius": 4.5, "noise": 0.015, "light_angle": 90.0}, {"radius": 7.0, "noise": 0.025, "light_angle": 200.0})
RENDERERS = ("nearest", "auto", "layered", "blended")
SHAPE = (256, 256)
COVERED = 0.1  # droplets times radius squared over the area
OVERLAPPING = 0.25  # radii by which another reaches into those that overlap


def renderers(options: argparse.Namespace) -> dict[str, Any]:
    """Residual, scores, R2 of dyes and seconds by overlap and renderer; `ended` says how many ended in which one."""
    looks = LOOKS[: options.count]
    result: dict[str, Any] = {"images": len(looks), "rows": {}}
    for overlap in OVERLAPS:
        runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for number, look in enumerate(looks):
            n = round(COVERED * SHAPE[0] * SHAPE[1] / look["radius"] ** 2)
            seed = FIRST_SEED["renderers"] + number + len(LOOKS) * OVERLAPS.index(overlap)
            case, truth = simulation(SHAPE, look | {"n": n, "types": 3, "overlap": overlap, "seed": seed})
            for name in RENDERERS:
                settings = fit_settings(options, noise=False) | {"renderer": name, "composition": "simplex"}
                fit = nd.fit(case.image, **settings)
                runs[name].append(one(Pairs.of(case, fit.droplets), truth, fit, look["noise"]))
            print(f"renderers: overlap {overlap}, image {number + 1} of {len(looks)}", file=sys.stderr, flush=True)
        result["rows"][str(overlap)] = {name: pooled(those) for name, those in runs.items()}
    return result


def one(pairs: Pairs, truth: nd.Droplets, fit: nd.Fit, noise: float) -> dict[str, Any]:
    """What is pooled of one fit."""
    assert fit.droplets.composition is not None
    assert truth.composition is not None
    rows = [k for k, i in enumerate(pairs.i) if not pairs.truth["ignore"].iloc[i]]
    i, j = pairs.i[rows], pairs.j[rows]
    right, values = truth.composition[i], fit.droplets.composition[j]
    error = (mapped(affine(values, right), values) - right) ** 2
    return {
        "pairs": pairs,
        "residual": fit.summary["rmse"] / noise,
        "seconds": fit.summary["seconds"]["total"],
        "ended": fit.summary["renderer"],
        "over": gaps(truth)[i] < -OVERLAPPING * truth.radius[i],
        "error": error.sum(1),
        "variance": ((right - right.mean(0)) ** 2).sum(1),
    }


def pooled(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Figures of some fits together; R2 is NaN where there are no such droplets."""
    score = pooled_scores([run["pairs"] for run in runs])["all"]
    over, error, variance = (np.concatenate([run[k] for run in runs]) for k in ("over", "error", "variance"))

    def explained(some: np.ndarray) -> float:
        return float(1 - error[some].sum() / variance[some].sum()) if some.any() else float("nan")

    return {
        **{k: score[k] for k in ("f1", "radius_bias", "radius_spread", "center_error")},
        **{k: float(np.mean([run[k] for run in runs])) for k in ("residual", "seconds")},
        "ended": sorted(run["ended"] for run in runs),
        "r2": explained(np.ones(len(over), bool)),
        "r2_overlapping": explained(over),
        "overlapping": int(over.sum()),
    }
