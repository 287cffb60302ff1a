"""Calibrate what fits say on simulated images with known truth; writes `inference/calibration.json`.

    python -m napari_droplets.training.fit_calibration gather simulated 0 60 dyed.npz
    python -m napari_droplets.training.fit_calibration gather scenes 0 60 scenes.npz
    python -m napari_droplets.training.fit_calibration learn dyed.npz scenes.npz

The first two fit images of the simulator and scenes of all kinds (some 10 s each) and note errors beside what the fit
knew; the last learns from them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ..compare import match
from ..droplets import Droplets
from ..errors import InputError
from ..images import as_image
from ..inference import calibration
from ..inference.api import start_of
from ..inference.optimize import Outcome, iterate_chunks
from ..inference.posterior import droplets_at
from ..inference.prepare import Setup, prepare
from ..progress import Clock
from ..settings import Settings
from ..simulate import simulate
from .calibration import FREEDOM, LEAST, ONE, TWO
from .scenes import scene

SEED = 90_210_377  # of images that nothing else is developed or tested on
SIDE = 256
SURE = 0.5  # probability from which a droplet counts for error bars
WILD = 0.5  # radii; what is further off is another droplet
STARTS = ((1.0, 0.01, 0.3), (2.0, 0.003, 0.3), (1.5, 0.005, 0.1))  # of the terms of standard deviations
COMPOSITION_STARTS = ((1.0, 0.1, 0.1), (1.4, 0.05, 1.0))  # of those of components, in logits
DECIDING = 0.02  # weight of the likelihood of errors, where terms are right alike
ROUGH = 0.055  # root of the part unexplained from which dyed images count as another kind
SHARES = 5  # kinds that droplets of either are divided into, by how well the pixels place them
SCENES = -1  # the kind of all droplets of scenes
PENALTY = 1.0  # on squared coefficients of the logistic regression of presence


def dyed_image(number: int) -> tuple[np.ndarray, Droplets]:
    """An image of the simulator with radius, crowding, dyes, noise, light and blur drawn anew."""
    rng = np.random.default_rng([SEED, number])
    radius = float(np.exp(rng.uniform(*np.log([2.2, 14]))))
    spread = float(rng.uniform(0.1, 0.4))
    covered = rng.uniform(0.05, 0.4)
    n = max(3, int(covered * SIDE**2 / (np.pi * radius**2 * np.exp(2 * spread**2))))
    return simulate(
        (SIDE, SIDE),
        n,
        types=int(rng.integers(2, 4)),
        radius=radius,
        radius_spread=spread,
        noise=float(np.exp(rng.uniform(*np.log([0.004, 0.05])))),
        unevenness=float(rng.uniform(0, 0.2)),
        light_angle=float(rng.uniform(0, 360)),
        overlap=float(rng.uniform(0, 0.6)),
        blur=None if rng.random() < 0.6 else radius * rng.uniform(0.08, 0.35),
        seed=int(rng.integers(2**31)),
    )


def scene_image(number: int) -> tuple[np.ndarray, Droplets]:
    """A scene of any kind, as the recognition network is trained on."""
    image, truth = scene(np.random.default_rng([SEED, 1, number]), SIDE)
    return image, Droplets(*np.asarray(truth, float).reshape(-1, 3).T)


def gathered(kind: str, number: int) -> dict[str, np.ndarray] | None:
    """Fit one image and note of each candidate what the fit knew and how far off it was; None without candidates."""
    pixels, truth = (dyed_image if kind == "simulated" else scene_image)(number)
    image = as_image(pixels)
    settings = Settings(types=truth.types or 3)
    try:
        start = start_of(image, None, settings)
    except InputError:
        return None
    setup = prepare(image, start, None, settings)
    steps = iterate_chunks(setup, settings, Clock(), "image", lambda parameters, present: (start, pixels))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return _noted(setup, end.value, truth, len(start), number)


def _noted(setup: Setup, outcome: Outcome, truth: Droplets, n: int, number: int) -> dict[str, np.ndarray]:
    belief, seen, trial = outcome.belief, outcome.evidence, outcome.trial
    assert belief is not None
    assert seen is not None
    assert trial is not None
    assert outcome.proposed is not None
    misfit = calibration.image_misfit(seen, outcome.present)
    told = calibration.reported(belief, seen, setup.prior, setup.anchor)
    found = droplets_at(told.mean, setup.anchor, setup.form.composition)[:n]
    proposal, proposed_sd, _ = (a[:n] for a in calibration.proposals(setup.prior, setup.anchor))
    right, made_of = np.full((n, 3), np.nan), np.full((n, 4), np.nan)
    sure = outcome.present[:n] & (outcome.proposed[:n] >= SURE)
    for tier in (sure, ~sure):  # faint candidates may not take a droplet from sure ones
        some = np.flatnonzero(tier)
        i, j = match(truth, found[some])
        j = some[j]
        x, y, r = setup.anchor[j].T
        right[j] = np.stack([(truth.x[i] - x) / r, (truth.y[i] - y) / r, np.log(truth.radius[i] / r)], -1)
        if truth.composition is not None:
            made_of[j, : truth.types] = truth.composition[i]
        truth = truth[np.setdiff1d(np.arange(len(truth)), i)]
    padded = np.full((n, 7, 7), np.nan)
    d = belief.mean.shape[1]
    padded[:, :d, :d] = belief.covariance[:n]
    logits = np.full((n, 4), np.nan)
    logits[:, : d - 3] = belief.mean[:n, 3:]
    features = calibration.presence_features(outcome.proposed, trial, misfit)[:n]
    return {
        "image": np.full(n, number),
        "features": features,
        "sure": sure & outcome.present[:n],
        "fit_error": belief.mean[:n, :3] - right,
        "proposal_error": proposal - right,
        "laplace": np.sqrt(np.einsum("nii->ni", belief.covariance[:n, :3, :3])),
        "proposed": proposed_sd,
        "misfit": np.full(n, misfit),
        "wrong": np.full(n, np.sqrt(seen.unexplained)),
        "covariance": padded[:, 3:, 3:],
        "logits": logits,
        "composition": made_of,
        "left": np.full(n, len(truth)),
    }


def gather(kind: str, first: int, count: int, path: Path) -> None:
    """Fit `count` images and write what was noted; written anew after each, so that nothing is lost."""
    parts: list[dict[str, np.ndarray]] = []
    for number in range(first, first + count):
        part = gathered(kind, number)
        if part is not None:
            parts.append(part)
            together: dict[str, Any] = {name: np.concatenate([p[name] for p in parts]) for name in part}
            np.savez(path, **together)
            print(f"{kind} {number}: {len(part['image'])} candidates, misfit {part['misfit'][0]:.2f}", flush=True)


def learn(parts: list[dict[str, np.ndarray]]) -> dict[str, list[float]]:
    """The calibration's numbers from what was noted on several kinds of images."""
    of = np.repeat(np.arange(len(parts)), [len(p["image"]) for p in parts])
    table = {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    table["image"] = table["image"] + 10**6 * of
    crowd = np.unique(table["image"], return_inverse=True)[1]
    weight = np.bincount(crowd)[crowd] ** -0.5  # a few crowded images would outnumber all others
    error = table["fit_error"].copy()
    proposed = table["proposal_error"][:, 2]
    error[:, 2] = proposed + calibration.way_to_fit(table["wrong"]) * (error[:, 2] - proposed)
    right = np.isfinite(error[:, 0])
    numbers = {"presence": _presence(table["features"], right, weight).tolist()}
    good = right & table["sure"] & (np.abs(error) < WILD).all(1)
    wrong = table["wrong"][good][:, None]
    for name, columns in (("place", slice(0, 2)), ("radius", slice(2, 3))):
        own, sd = (table[k][good][:, columns] for k in ("laplace", "proposed"))
        kind = _kinds(np.isfinite(table["composition"][good, 0]), wrong[:, 0], own.mean(1))  # scenes know no dyes
        numbers[name] = _deviations(error[good][:, columns], own, sd, wrong, weight[good], kind).tolist()
    numbers["composition"] = _composition(table, good, weight).tolist()
    p = expit(np.clip(table["features"] @ np.array(numbers["presence"]), -9, 9))
    there = np.bincount(crowd, right) + np.bincount(crowd, table["left"]) / np.bincount(crowd)
    misfits, kinds = (np.bincount(crowd, a) / np.bincount(crowd) for a in (table["misfit"], of))
    numbers["count"] = _count(np.bincount(crowd, p), np.bincount(crowd, p * (1 - p)), there, misfits, kinds).tolist()
    return {name: [round(float(v), 4) for v in values] for name, values in numbers.items()}


def _presence(features: np.ndarray, right: np.ndarray, weight: np.ndarray) -> np.ndarray:
    def surprise(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        z = features @ coefficients
        slope = features.T @ (weight * (expit(z) - right)) + PENALTY * coefficients
        return float(
            weight @ np.logaddexp(0, np.where(right, -z, z)) + PENALTY / 2 * coefficients @ coefficients
        ), slope

    return minimize(surprise, np.zeros(features.shape[1]), jac=True).x


def _kinds(dyed: np.ndarray, wrong: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Kinds of droplets (N,): dyed ones by how wrong the model is and by how well pixels place them, and `SCENES`."""
    edges = np.quantile(own[dyed], np.arange(1, SHARES) / SHARES) if dyed.any() else np.zeros(SHARES - 1)
    return np.where(dyed, np.digitize(own, edges) + SHARES * (wrong > ROUGH), SCENES)


def _deviations(
    error: np.ndarray, own: np.ndarray, sd: np.ndarray, wrong: np.ndarray, weight: np.ndarray, kind: np.ndarray
) -> np.ndarray:
    """Terms of the deviations of places or radii; kinds of dyed droplets count for a fifth each, scenes for one."""

    def deviation(terms: np.ndarray) -> np.ndarray:
        return calibration.deviations(own, sd, wrong, list(terms))

    counts = np.where(np.unique(kind) == SCENES, 1, 1 / SHARES)
    return _right_for_all(error, deviation, weight, kind, counts, STARTS)


def _right_for_all(
    error: np.ndarray,
    deviation: Callable[[np.ndarray], np.ndarray],
    weight: np.ndarray,
    kind: np.ndarray,
    counts: np.ndarray,
    starts: tuple[tuple[float, ...], ...],
) -> np.ndarray:
    """Terms with which intervals of one and two standard deviations are right for each kind of droplets, or nearly so.

    The most likely terms would do so for all kinds together only, too wide for one and too narrow for another.
    Errors and deviations are (N, D), weights and kinds (N,); each kind counts for as much as `counts` has for it.
    """
    kinds = np.unique(kind)

    def off(log_terms: np.ndarray) -> float:
        sd = deviation(np.exp(log_terms))
        z = np.abs(error / sd)
        quantiles = np.array([np.quantile(z[kind == k], (ONE, TWO)) for k in kinds])
        likely = _surprise(error, sd, weight[:, None])  # decides between terms that are right alike
        return float(np.sum(counts[:, None] * np.log(quantiles / [1, 2]) ** 2) + DECIDING * likely)

    found = [minimize(off, np.log(start), method="Nelder-Mead") for start in starts]
    return np.exp(min(found, key=lambda result: result.fun).x)


def _surprise(error: np.ndarray, sd: np.ndarray, weight: np.ndarray) -> float:
    """Mean negative log likelihood of a t distribution: a few errors are out of all proportion."""
    return float(np.mean(weight * (np.log(sd) + (FREEDOM + 1) / 2 * np.log1p((error / sd) ** 2 / FREEDOM))))


def _composition(table: dict[str, np.ndarray], good: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Terms for unconstrained components, from errors that are left after one affine map per image."""
    images = []
    for number in np.unique(table["image"][good]):
        rows = np.flatnonzero(good & (table["image"] == number))
        truth = table["composition"][rows]
        truth = truth[:, np.isfinite(truth).all(0)]
        logits = table["logits"][rows]
        logits = logits[:, np.isfinite(logits).all(0)]
        k = logits.shape[1]
        if truth.shape[1] < 2 or len(rows) < 6 * (k + 1):
            continue
        fractions = expit(logits)
        design = np.concatenate([fractions, np.ones((len(rows), 1))], 1)
        axes = np.linalg.lstsq(design, truth, rcond=None)[0]
        spread = np.sqrt(1 - len(axes) / len(rows))  # the map takes its part of the errors
        slope = fractions * (1 - fractions)
        covariance = table["covariance"][rows][:, :k, :k]
        own = np.sqrt(np.einsum("nii->ni", covariance))
        correlation = covariance / own[:, :, None] / own[:, None]
        wrong = table["wrong"][rows][0]
        images.append(((design @ axes - truth) / spread, axes[:k], slope, own, correlation, wrong, weight[rows]))

    def deviation(terms: np.ndarray) -> np.ndarray:
        """(V, 1) of every fraction of every droplet."""
        factor, floor, growth = terms
        parts = []
        for _, axes, slope, own, correlation, wrong, _ in images:
            sd = slope * np.hypot(factor * own, floor + growth * wrong)
            parts.append(np.sqrt(np.einsum("nk,nl,nkl,kt,lt->nt", sd, sd, correlation, axes, axes)).ravel())
        return np.concatenate(parts)[:, None]

    error = np.concatenate([e.ravel() for e, *_ in images])
    shares = np.concatenate([np.repeat(w, e.shape[1]) for e, *_, w in images])
    plain = deviation(np.array([1.0, 0.0, 0.0]))[:, 0]
    kind = _kinds(np.ones(len(error), bool), np.zeros(len(error)), plain)
    return _right_for_all(error[:, None], deviation, shares, kind, np.ones(SHARES), COMPOSITION_STARTS)


def _count(
    expected: np.ndarray, variance: np.ndarray, there: np.ndarray, misfit: np.ndarray, kind: np.ndarray
) -> np.ndarray:
    """The most likely terms, but with intervals of two standard deviations that are right for one kind at least."""
    error = np.abs(there - expected)

    def deviation(terms: np.ndarray) -> np.ndarray:
        return np.hypot(calibration.count_sd(variance, misfit, list(terms)), LEAST)

    def surprise(log_terms: np.ndarray) -> float:
        sd = deviation(np.exp(log_terms))
        return float(np.mean(np.log(sd) + (FREEDOM + 1) / 2 * np.log1p((error / sd) ** 2 / FREEDOM)))

    terms = np.exp(minimize(surprise, np.log([1.0, 0.3]), method="Nelder-Mead").x)
    z = error / deviation(terms)
    return terms * max(1.0, min(np.quantile(z[kind == k], TWO) / 2 for k in np.unique(kind)))


def main() -> None:
    """Gather or learn, see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("gather")
    command.add_argument("kind", choices=("simulated", "scenes"))
    command.add_argument("first", type=int)
    command.add_argument("count", type=int)
    command.add_argument("file", type=Path)
    commands.add_parser("learn").add_argument("files", type=Path, nargs="+")
    args = parser.parse_args()
    if args.command == "gather":
        gather(args.kind, args.first, args.count, args.file)
        return
    numbers = learn([dict(np.load(path)) for path in args.files])
    calibration.FILE.write_text(json.dumps(numbers, indent=1) + "\n")
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
