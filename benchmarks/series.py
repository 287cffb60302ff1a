"""What a network gains on a series of images when it is trained further on the fit of one of them.

    python benchmarks/series.py [--only real|simulated] [--minutes 2] [--steps 2400] [--start WEIGHTS]

One image of a series is fitted, the network is trained further on the fit, and both networks, before and after, look
for droplets in the other images of the series. Prints Markdown tables. Real series have no complete truth: recall of
the droplets that another method found, and how many are found in all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from detection_data import HELD_OUT, Case, Pairs, Scorer, pooled_scores, real_sets, simulated_case
from detection_reliability import probable, reliability

import napari_droplets as nd
from napari_droplets.inference.api import detect_all
from napari_droplets.training.recipe import train

REPOSITORY = Path(__file__).parents[1]
SIDE, COVERED = 320, 0.08  # pixels of simulated images; droplets times radius squared over their area
N_OTHERS = 3  # images of a simulated series that are looked at
LOOKS: dict[str, dict[str, Any]] = {
    "light from the left, strong noise": {"radius": 6.0, "light_angle": 180.0, "noise": 0.07, "types": 2},
    "tiny, gray, overlapping": {"radius": 2.5, "gray": True, "overlap": 1.0, "noise": 0.03},
    "out of focus, uneven light": {"radius": 8.0, "blur": 3.0, "unevenness": 0.7, "radius_spread": 0.6},
}


def adapted(image: nd.Image, folder: Path, options: argparse.Namespace) -> tuple[Path, str]:
    """Weights trained further on a fit of the image, and how long both took."""
    begun = time.perf_counter()
    fit = nd.fit(image, weights=options.start, steps=options.steps)
    fitted = time.perf_counter()
    path = train(folder / "series.safetensors", from_fit=[fit], minutes=options.minutes, start=options.start)
    seconds = f"{fitted - begun:.0f} s fit, {time.perf_counter() - fitted:.0f} s training"
    return path, seconds


def real(options: argparse.Namespace) -> None:
    """Series of paper_aerosol of which there are several images."""
    series: dict[str, list[Case]] = defaultdict(list)
    for case in real_sets(options.shared)["paper_aerosol"]:
        series[case.name.split("_")[0]].append(case)
    score, notes = Scorer(options.shared), []
    print("| series | image | weights | recall | found | known | radius bias | radius spread |")
    print("|---|---|---|---|---|---|---|---|")
    for name, (first, *others) in series.items():
        if not others:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path, seconds = adapted(first.image, Path(folder), options)
            for case in (first, *others):
                where = "fitted" if case is first else "another"
                for label, weights in (("before", options.start), ("after", path)):
                    found = probable(nd.detect(case.image, weights=weights))
                    s = score(case, found)[case.name]
                    print(
                        f"| {name} | {where} | {label} | {s['recall']:.3f} | {len(found)} | {s['n_true']} "
                        f"| {s['radius_bias']:+.1%} | {s['radius_spread']:.1%} |",
                        flush=True,
                    )
        notes.append(f"{name}: {seconds}")
    print(f"\n{'; '.join(notes)}.\n")


def simulated(options: argparse.Namespace) -> None:
    """Series of unusual look with full truth."""
    print(
        "| series | weights | F1 | recall | precision | radius bias | radius spread | 68 % and 95 % of radii | of x |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    notes = []
    for name, look in LOOKS.items():
        first, *others = (simulation(name, look, HELD_OUT + i) for i in range(1 + N_OTHERS))
        with tempfile.TemporaryDirectory() as folder:
            path, seconds = adapted(first.image, Path(folder), options)
            for label, weights in (("before", options.start), ("after", path)):
                candidates = [detect_all(case.image, weights=weights).candidates for case in others]
                pairs = [Pairs.of(case, probable(found)) for case, found in zip(others, candidates, strict=True)]
                s = pooled_scores(pairs)["all"]
                covered = reliability(others, candidates)["coverage"]["all"]
                radii, x = (" and ".join(f"{share:.1%}" for share in covered[key]) for key in ("radius", "x"))
                print(
                    f"| {name} | {label} | {s['f1']:.4f} | {s['recall']:.4f} | {s['precision']:.4f} "
                    f"| {s['radius_bias']:+.1%} | {s['radius_spread']:.1%} | {radii} | {x} |",
                    flush=True,
                )
        notes.append(f"{name}: {seconds}")
    print(f"\n{'; '.join(notes)}.\n")


def simulation(name: str, look: dict[str, Any], seed: int) -> Case:
    """One image of a simulated series."""
    n = round(COVERED * SIDE**2 / look["radius"] ** 2)
    pixels, droplets = nd.simulate((SIDE, SIDE), n, seed=seed, **look)
    pixels = np.atleast_3d(pixels)
    return simulated_case(f"{name}, {seed}", pixels, droplets.to_dataframe()[["x", "y", "radius"]])


PARTS = {"real": real, "simulated": simulated}


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, help="one part alone")
    parser.add_argument("--minutes", type=float, default=2.0, help="of training on the fit")
    parser.add_argument("--steps", type=int, default=2400, help="of the fit, at most")
    parser.add_argument("--start", type=Path, help="weights to begin from; by default those of the package")
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="folder with data and score")
    options = parser.parse_args()
    for name, part in PARTS.items():
        if options.only in (None, name):
            print(f"## {name.capitalize()} series\n")
            part(options)


if __name__ == "__main__":  # training starts worker processes
    main()
