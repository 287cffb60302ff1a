"""What a network gains on a series of images when it is trained further on some of them that were corrected.

    python benchmarks/corrections.py [--quick] [--only LOOK ...] [--corrected 1 3] [--steps 300] [--json FILE]

Of each look some images are detected and corrected, by truth: what is false is deleted, what is missing is added. The
network is trained further on these, and both networks, before and after, look for droplets in images of the same look
that were not corrected. Prints a Markdown table: F1, recall and precision; the error of probabilities (expected
calibration error of candidates above 0.1); expected over true number of droplets. Looks are of `simulate`, and of the
real sets of the shared folder that have complete truth. With --json a run can be stopped and split.

With --quick one image of each simulated look is corrected, and the training is much shorter than that of the panel, on
smaller pieces: it shows whether the button helps, not how much.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from detection_data import HELD_OUT, Case, Pairs, pooled_scores, real_sets, simulated_case
from detection_reliability import probable, reliability

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.inference.api import detect_all
from napari_droplets.storage.atomic import write_whole
from napari_droplets.training.recipe import CORRECTED_STEPS, train

REPOSITORY = Path(__file__).parents[1]
SIDE, COVERED = 320, 0.08  # pixels of simulated images; droplets times radius squared over their area
N_JUDGED = 4  # simulated images that are not corrected
QUICK: dict[str, Any] = {"steps": 60, "side": 64, "n_held_out": 16, "n_calibrated": 24}
"""Of a training that shows whether corrections help at all."""
SIMULATED: dict[str, dict[str, Any]] = {
    "far out of focus": {"radius": 6.0, "blur": 5.0, "overlap": 0.5},
    "gray, blurred, overlapping": {"radius": 6.0, "gray": True, "overlap": 1.0, "noise": 0.06, "blur": 2.0},
    "out of focus, uneven light": {"radius": 8.0, "blur": 3.0, "unevenness": 0.7, "radius_spread": 0.6},
    "light from the left, strong noise": {"radius": 6.0, "light_angle": 180.0, "noise": 0.07, "types": 2},
}
REAL = {"blood smears": "blood_rbc_wbc", "nuclei": "bbbc039_nuclei", "bubbles": "bubbles_zerog"}
N_REAL_JUDGED = {"blood smears": 3, "nuclei": 2, "bubbles": 1}


def simulated(look: dict[str, Any], n: int) -> list[Case]:
    """Images of one look of `simulate`."""
    cases = []
    for i in range(n):
        count = round(COVERED * SIDE**2 / look["radius"] ** 2)
        pixels, droplets = nd.simulate((SIDE, SIDE), count, seed=HELD_OUT + i, **look)
        table = droplets.to_dataframe()[["x", "y", "radius"]]
        cases.append(simulated_case(f"{i}", np.atleast_3d(pixels), table))
    return cases


def corrections(case: Case, found: nd.Droplets) -> int:
    """How many droplets a user would have to delete, add or move to make this the truth."""
    i, _ = match(nd.Droplets.from_dataframe(case.truth), found)
    return len(found) + len(case.truth) - 2 * len(i)


def figures(cases: list[Case], weights: Path | None) -> dict[str, float]:
    """What a network says of images with known truth."""
    candidates = [detect_all(case.image, weights=weights).candidates for case in cases]
    pairs = [Pairs.of(case, probable(found)) for case, found in zip(cases, candidates, strict=True)]
    scores, held = pooled_scores(pairs)["all"], reliability(cases, candidates)
    return {
        "f1": scores["f1"],
        "recall": scores["recall"],
        "precision": scores["precision"],
        "ece": held["ece_likely"],
        "count_bias": held["count"]["bias"],
        "radius_bias": scores["radius_bias"],
        "radii_68": held["coverage"]["all"]["radius"][0],
    }


def row(name: str, cases: list[Case], corrected: int, judged: int, options: argparse.Namespace) -> dict[str, Any]:
    """Correct the first images, train, and judge by the last ones."""
    series, others = cases[:corrected], cases[-judged:]
    by_hand = sum(corrections(c, probable(nd.detect(c.image, weights=options.start))) for c in series)
    pictures = [(np.asarray(c.image.pixels), c.truth[["x", "y", "radius"]].to_numpy(float)) for c in series]
    before = figures(others, options.start)
    sizes = QUICK if options.quick else {"steps": options.steps, "side": options.side}
    with tempfile.TemporaryDirectory() as folder:
        begun = processor_seconds()
        path = train(
            Path(folder) / "series.safetensors",
            corrected=pictures,
            start=options.start,
            workers=options.workers,
            **sizes,
        )
        seconds = processor_seconds() - begun
        after = figures(others, path)
    droplets = sum(len(c.truth) for c in series)
    return {
        "look": name,
        "corrected": corrected,
        "droplets": droplets,
        "by_hand": by_hand,
        "judged": judged,
        "before": before,
        "after": after,
        "steps": sizes["steps"],
        "side": sizes["side"],
        "seconds": round(seconds),
    }


def processor_seconds() -> float:
    """Of this process and those of its children that have ended: other programs add little to them."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def main() -> None:
    """Run the looks asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    looks = [*SIMULATED, *REAL]
    parser.add_argument("--quick", action="store_true", help="a short training, of simulated looks alone")
    parser.add_argument("--only", nargs="+", choices=looks, metavar="LOOK", help=", ".join(looks))
    parser.add_argument("--corrected", type=int, nargs="+", help="images that are corrected, 1 and 3 by default")
    parser.add_argument("--steps", type=int, default=CORRECTED_STEPS, help="of training")
    parser.add_argument("--side", type=int, default=128, help="pixels of the training images")
    parser.add_argument("--start", type=Path, help="weights to begin from; by default those of the package")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw training images")
    parser.add_argument("--json", type=Path, help="file that keeps what is measured; what is in it is not done again")
    parser.add_argument("--shared", type=Path, default=REPOSITORY.parent / "shared", help="folder with data")
    options = parser.parse_args()
    options.only = options.only or ([*SIMULATED] if options.quick else looks)
    options.corrected = options.corrected or ([1] if options.quick else [1, 3])
    steps = QUICK["steps"] if options.quick else options.steps
    done: list[dict[str, Any]] = []
    if options.json is not None and options.json.exists():
        done = json.loads(options.json.read_text())
    for name in options.only:
        judged = N_REAL_JUDGED.get(name, N_JUDGED)
        read: Callable[[], list[Case]]
        if name in REAL:
            read = lambda name=name: list(real_sets(options.shared)[REAL[name]])  # noqa: E731
        else:
            read = lambda name=name: simulated(SIMULATED[name], max(options.corrected) + N_JUDGED)  # noqa: E731
        cases = read()
        for corrected in options.corrected:
            known = {(r["look"], r["corrected"], r["steps"]) for r in done}
            if (name, corrected, steps) in known or corrected + judged > len(cases):
                continue
            done.append(row(name, cases, corrected, judged, options))
            print(done[-1], flush=True)
            if options.json is not None:
                text = json.dumps(done, indent=1)
                write_whole(options.json, lambda path, text=text: path.write_text(text))
    print(table(done))


def table(rows: list[dict[str, Any]]) -> str:
    """The figures as a Markdown table, before and after."""
    head = (
        "| look | corrected images (droplets, edits) | F1 | recall | precision | error of probabilities | "
        "expected / true number | processor s |"
    )
    lines = [head, "|---" * 8 + "|"]
    for r in rows:
        b, a = r["before"], r["after"]
        cells = [f"{b[k]:.3f} → **{a[k]:.3f}**" for k in ("f1", "recall", "precision", "ece")]
        count = f"{1 + b['count_bias']:.2f} → {1 + a['count_bias']:.2f}"
        first = f"| {r['look']} | {r['corrected']} ({r['droplets']}, {r['by_hand']}) "
        lines.append(first + "".join(f"| {c} " for c in (*cells, count, f"{r['seconds']:.0f}")) + "|")
    return "\n".join(lines)


if __name__ == "__main__":  # training starts worker processes
    main()
