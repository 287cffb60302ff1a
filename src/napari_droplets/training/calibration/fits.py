"""Learn what makes a fit's error bars, probabilities and counts hold, from fits of simulated images of several kinds.

usage:
  python -m napari_droplets.training.calibration.fits gather KIND FIRST COUNT FILE.npz
  python -m napari_droplets.training.calibration.fits learn FILE.npz... [--write]

`gather` fits images of one kind (simulated, scenes, physical, discs; some 5 s each) and notes errors beside what the
fit knew. `learn` prints the numbers, and how they hold on each kind when they are learned from the others alone;
`--write` puts those learned from all of them into `calibration.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from ... import __version__
from ...compare import match
from ...droplets import Droplets, beyond_border
from ...errors import InputError
from ...images import as_image
from ...inference import calibration
from ...inference.api import start_of
from ...inference.prepare import prepare
from ...inference.run import iterate_rounds
from ...inference.state import Setup, State, circles
from ...inference.steps.droplet_step import composition_prior
from ...model.problem import PLACE
from ...progress import Clock
from ...settings import Settings
from ...simulate import simulate
from ..scenes import KINDS as SCENES
from ..scenes import SURELY_TRUE
from ..scenes.discs import disc_image
from ..scenes.physical import physical_image
from .terms import Part, held, learn

SEED = 90_210_377
"""Of images that nothing else is developed or judged on."""
SCENE_KINDS = ("any", "smears", "foam", "nuclei", "monolayer")
SIDE = 256
"""Pixels of an image."""


def simulated_image(number: int) -> tuple[np.ndarray, Droplets]:
    """An image of `nd.simulate` with radius, crowding, dyes, noise, light and blur drawn anew."""
    rng = np.random.default_rng([SEED, number])
    radius = float(np.exp(rng.uniform(*np.log([2.2, 14]))))
    spread = float(rng.uniform(0.1, 0.4))
    covered = rng.uniform(0.05, 0.4)
    return simulate(
        (SIDE, SIDE),
        max(3, int(covered * SIDE**2 / (np.pi * radius**2 * np.exp(2 * spread**2)))),
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
    """A scene of one of the kinds that the recognition network is trained on, in turn.

    Training shows strong noise more often than microscopes do, for that is where it learns.
    """
    kind = SCENE_KINDS[number % len(SCENE_KINDS)]
    image, truth = SCENES[kind][1](np.random.default_rng([SEED, 1, number]), SIDE, strong=0.0)
    return image, Droplets(*np.asarray(truth, float).reshape(-1, 3).T)


KINDS: dict[str, Callable[[int], tuple[np.ndarray, Droplets]]] = {
    "simulated": simulated_image,
    "scenes": scene_image,
    "physical": lambda n: physical_image(np.random.default_rng([SEED, 2, n]), SIDE, SIDE),
    "discs": lambda n: disc_image(np.random.default_rng([SEED, 3, n]), SIDE, SIDE),
}


def gathered(kind: str, number: int) -> Part | None:
    """Fit one image and note of each candidate what the fit knew and how far off it was; None without candidates."""
    pixels, truth = KINDS[kind](number)
    image = as_image(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    settings = Settings(types=3 if kind != "simulated" else truth.types)
    try:
        start = start_of(image, None, settings)
    except InputError:
        return None
    setup, state = prepare(image, start, None, settings)
    steps = iterate_rounds(setup, state, settings, Clock(), "image", lambda *_: (start, pixels))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            outcome = end.value
            break
    state, census = outcome.state, outcome.census
    n = setup.size
    x, y, radius = circles(setup, state.mean)
    error, off_composition, composition_sd = np.full((n, 3), np.nan), np.full((n, 4), np.nan), np.full((n, 4), np.nan)
    rows = np.flatnonzero(state.present)
    i, j = match(truth, Droplets(x[rows], y[rows], radius[rows]))
    j = rows[j]
    r = truth.radius[i]
    error[j] = np.stack([(x[j] - truth.x[i]) / r, (y[j] - truth.y[i]) / r, np.log(radius[j] / r)], -1)
    deviation = np.sqrt(np.einsum("nii->ni", state.guide.covariance))
    if truth.composition is not None and kind == "simulated":
        errors, deviations = _composition_errors(
            state.mean[j, 3:], truth.composition[i], state.guide.covariance[j][:, 3:, 3:]
        )
        k = errors.shape[1]
        off_composition[j, :k], composition_sd[j, :k] = errors, deviations
    judged = np.ones(n, bool) if kind != "scenes" else (radius <= SURELY_TRUE) | np.isfinite(error[:, 0])
    relative = np.exp(state.mean[:, 2])
    laplace = deviation[:, :3] / np.stack([relative, relative, np.ones(n)], -1)
    features = calibration.presence_features(np.asarray(setup.probability), *census[:4])
    x_sd, y_sd = (calibration.numbers()["place"] * deviation[:, :2] * setup.anchor[:n, 2:]).T
    h, w = image.shape[:2]
    there = beyond_border(truth.x, truth.y, (h, w)) == 0
    shown, information = _shown(setup, state)
    common = np.where(setup.prior.recognized[:, None], state.common, 0)
    return {
        "shown": shown - state.mean[:, :PLACE],
        "information": information,
        "proposed": setup.prior.mean + common - state.mean[:, :PLACE],
        "proposed_sd": setup.prior.sd,
        "left": state.evidence.unexplained,
        "relative": relative,
        "image": np.full(n, number),
        "features": features,
        "tried": (census.tried | state.present) & judged,
        "error": error,
        "laplace": laplace,
        "composition_error": off_composition,
        "composition_sd": composition_sd,
        "trust": np.full(n, state.trust),
        "typical": np.full(n, np.median(radius[state.present])),
        "asymmetry": np.tile(state.asymmetry, (n, 1)),
        "doubt": np.tile(setup.doubt(state.present), (n, 1)),
        "unexplained": np.full(n, state.evidence.unexplained_of(state.present)),
        "inside": calibration.within(x, y, x_sd, y_sd, (h, w)),
        "there": np.full(n, there.sum()),
    }


def _shown(setup: Setup, state: State) -> tuple[np.ndarray, np.ndarray]:
    """Circles (N, 3) that pixels alone show, in radii of the anchor and log radius, and their information (N, 3, 3).

    Compositions are integrated out, and what neighboring pixels err together is counted.
    """
    assert state.seen is not None
    assert state.evidence is not None
    sums, inflation = state.seen.sums, state.evidence.inflation * state.evidence.noise**2
    information, gradient = sums.information / inflation[:, None, None], sums.gradient / inflation[:, None]
    composition = state.mean[:, PLACE:]
    pull, curvature = composition_prior(composition, setup.form)
    index = np.arange(PLACE, state.mean.shape[1])
    information[:, index, index] += curvature
    gradient[:, PLACE:] += pull
    place, mixed = information[:, :PLACE, :PLACE], information[:, :PLACE, PLACE:]
    given = np.linalg.solve(
        information[:, PLACE:, PLACE:], np.concatenate([mixed.transpose(0, 2, 1), gradient[:, PLACE:, None]], -1)
    )
    place = place - mixed @ given[..., :-1] + 1e-6 * np.eye(PLACE)
    slope = gradient[:, :PLACE, None] - mixed @ given[..., -1:]
    return state.mean[:, :PLACE] + np.linalg.solve(place, slope)[..., 0], np.asarray(place)


def _composition_errors(logits: np.ndarray, truth: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors (N, K) of compositions after the best affine map, as components are known up to one; and Laplace's."""
    fractions = expit(logits)
    design = np.c_[fractions, np.ones(len(fractions))]
    axes = np.linalg.lstsq(design, truth, rcond=None)[0]
    slope = fractions * (1 - fractions)
    jacobian = slope[:, :, None] * axes[None, :-1]
    variance = np.einsum("nkt,nkl,nlt->nt", jacobian, covariance, jacobian)
    return design @ axes - truth, np.sqrt(variance)


def gather(kind: str, first: int, count: int, path: Path) -> None:
    """Fit `count` images and write what was noted; written anew after each, so that nothing is lost."""
    parts: list[Part] = []
    for number in range(first, first + count):
        part = gathered(kind, number)
        if part is not None:
            parts.append(part)
            together: dict[str, Any] = {name: np.concatenate([p[name] for p in parts]) for name in part}
            np.savez(path, kind=kind, **together)
            print(f"{kind} {number}: {len(part['image'])} candidates, trust {part['trust'][0]:.2f}", flush=True)


def main() -> None:
    """Gather or learn, see above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("gather")
    command.add_argument("kind", choices=tuple(KINDS))
    command.add_argument("first", type=int)
    command.add_argument("count", type=int)
    command.add_argument("file", type=Path)
    command = commands.add_parser("learn")
    command.add_argument("files", type=Path, nargs="+")
    command.add_argument("--write", action="store_true")
    args = parser.parse_args()
    if args.command == "gather":
        gather(args.kind, args.first, args.count, args.file)
        return
    parts = {str(f["kind"]): {k: f[k] for k in f.files if k != "kind"} for f in map(np.load, args.files)}
    for name, part in parts.items():
        others = {k: v for k, v in parts.items() if k != name}
        if others:
            print(f"{name}, learned from the others:", {k: round(v, 3) for k, v in held(part, learn(others)).items()})
    numbers = learn(parts)
    for name, part in parts.items():
        print(f"{name}, learned from all:", {k: round(v, 3) for k, v in held(part, numbers).items()})
    counts = {name: len(np.unique(part["image"])) for name, part in parts.items()}
    about = {"version": __version__, "seed": SEED, "images": counts, "command": "training.calibration.fits"}
    print(json.dumps(numbers))
    if args.write:
        calibration.FILE.write_text(json.dumps({"about": about, **numbers}, indent=1) + "\n")


if __name__ == "__main__":
    main()
