"""Compare the recognition network with other detectors: real, simulated and empty images, probabilities, seconds.

    python benchmarks/detection.py [--only PART] [--detectors A,B] [--write docs/detection_results.md]

Prints Markdown tables; with --write they and all figures (JSON) go to files, where parts and detectors not run now keep
the figures they have there. Detectors that need a diameter are told the true median of each image, which is generous;
this package's run with and without it. One that cannot run is reported as such.
"""

from __future__ import annotations

import argparse
import functools
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pages
from detection_data import (
    EMPTY_KINDS,
    N_EMPTY,
    N_SCENES,
    PLAIN_RADII,
    RECALL_ONLY,
    Case,
    Pairs,
    Scorer,
    empty_images,
    plain_simulations,
    pooled_scores,
    real_sets,
    scenes,
    without_unlisted,
)
from detection_reliability import probable, reliability
from detection_report import Figures, markdown, save_examples, save_overlay, save_reliability
from detectors import DETECTORS, NAMES, Detector, trouble

import napari_droplets as nd

REPOSITORY = Path(__file__).parents[1]
PARTS = ("real", "simulated", "empty", "reliability", "time")
N_WORST = 3  # images of a set to be looked at
REPEATS = 5  # of a warm run, fewer where …
PATIENCE = 30.0  # … they take more seconds than this together
COLD_REPEATS = 3
EXAMPLES = 3  # simulated images in the picture for the documentation

Ranked = tuple[float, Case, nd.Droplets]
"""How good a result is, for finding the worst."""


class Bench:
    """What the parts share: options, and scenes with what was found in them, which two parts look at."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.candidates = functools.cache(self._candidates)

    @functools.cached_property
    def scenes(self) -> list[Case]:
        """Held-out simulated images."""
        return scenes(self.options.images)

    def _candidates(self, detector: Detector) -> list[nd.Droplets]:
        return [without_unlisted(case, detector(case.image, case.diameter)) for case in self.scenes]

    def keep_worst(self, detector: Detector, name: str, results: list[Ranked]) -> None:
        """Draw the worst images of a set, where that was asked for."""
        if self.options.worst is None:
            return
        results = sorted(results, key=lambda r: r[0])[:N_WORST]
        for rank, (value, case, found) in enumerate(results, 1):
            file = f"{name} {rank} {case.name}.png".replace(",", "").replace(" ", "_")
            title = f"{name}, {case.name}: {detector.label}, {value:.3f}"
            save_overlay(
                case, found, title, self.options.worst / detector.label.replace(",", "").replace(" ", "_") / file
            )


def real(bench: Bench, detector: Detector) -> dict[str, Any]:
    """Scores of each real image, and their means by data set."""
    score = Scorer(bench.options.shared)
    result = {}
    for name, cases in real_sets(bench.options.shared).items():
        images: dict[str, dict[str, float]] = {}
        ranked: list[Ranked] = []
        for case in cases:
            found = probable(detector(case.image, case.diameter))
            scores = score(case, found)
            images |= scores
            overall = scores.get("tiles together", scores.get(case.name, {}))
            ranked.append((overall["recall" if name in RECALL_ONLY else "f1"], case, found))
        # tiles are parts of one image: their mean would count small ones as much as large ones
        together = [images["tiles together"]] if "tiles together" in images else list(images.values())
        mean = {key: _mean([s[key] for s in together]) for key in together[0]}
        result[name] = {"images": images, "mean": mean}
        bench.keep_worst(detector, name, ranked)
    return result


def simulated(bench: Bench, detector: Detector) -> dict[str, Any]:
    """Scores of simulated images, all together and by size."""
    sets = {"scenes": (bench.scenes, bench.candidates(detector))}
    for radius in PLAIN_RADII:
        cases = plain_simulations(radius)
        sets[f"simulate, radius {radius:g}"] = cases, [detector(c.image, c.diameter) for c in cases]
    result = {}
    for name, (cases, candidates) in sets.items():
        pairs = [Pairs.of(case, probable(found)) for case, found in zip(cases, candidates, strict=True)]
        result[name] = pooled_scores(pairs)
        singly = [pooled_scores([p])["all"]["f1"] for p in pairs]
        ranked = zip(singly, cases, (p.found for p in pairs), strict=True)
        bench.keep_worst(detector, name, [r for r in ranked if np.isfinite(r[0])])
    return result


def empty(bench: Bench, detector: Detector) -> dict[str, Any]:
    """In how many images without droplets none was found."""
    result = {}
    for kind in EMPTY_KINDS:
        cases = empty_images(kind, bench.options.empty)
        found = [probable(detector(case.image, case.diameter)) for case in cases]
        result[kind] = {"images": len(cases), "clean": sum(len(f) == 0 for f in found)}
        ranked = [(-float(len(f)), case, f) for case, f in zip(cases, found, strict=True) if len(f)]
        bench.keep_worst(detector, f"empty {kind}", ranked)
    return result


def reliable(bench: Bench, detector: Detector) -> dict[str, Any] | None:
    """Whether probabilities are right; None of a detector that has none."""
    candidates = bench.candidates(detector)
    return None if candidates[0].p_present is None else reliability(bench.scenes, candidates)


def seconds(bench: Bench, detector: Detector) -> dict[str, Any]:
    """How long one megapixel takes, and example.jpg in this process and in one of its own."""
    pixels, truth = nd.simulate((1000, 1000), 5000, radius=4.0, seed=1)
    result = {"megapixel": warm_seconds(detector, nd.Image(pixels), 2 * float(np.median(truth.radius)))}
    path = bench.options.shared / "data" / "seed" / "example.jpg"
    if not path.exists():
        return result
    case = next(real_sets(bench.options.shared)["example.jpg"])
    result["example"] = warm_seconds(detector, case.image, case.diameter)
    script = Path(__file__).with_name("detectors.py")
    command = [sys.executable, str(script), detector.label, str(path), "--diameter", str(case.diameter)]
    runs = []
    for _ in range(COLD_REPEATS):
        start = time.perf_counter()
        answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append(time.perf_counter() - start)
    return result | {"cold": float(np.median(runs)), "memory_mb": json.loads(answer)["memory_mb"]}


def warm_seconds(detector: Detector, image: nd.Image, diameter: float) -> float:
    """Median of several runs after a first one, which compiles."""
    detector(image, diameter)
    runs: list[float] = []
    while len(runs) < REPEATS and sum(runs) < PATIENCE:
        start = time.perf_counter()
        detector(image, diameter)
        runs.append(time.perf_counter() - start)
    return float(np.median(runs))


FUNCTIONS: dict[str, Callable[[Bench, Detector], dict[str, Any] | None]] = {
    "real": real,
    "simulated": simulated,
    "empty": empty,
    "reliability": reliable,
    "time": seconds,
}


def compare(bench: Bench, parts: list[str], detectors: list[Detector]) -> Figures:
    """All figures; a detector that fails leaves the reason instead."""
    figures: Figures = {part: {} for part in parts}
    reasons = {d: trouble(d) for d in detectors}
    for part, detector in ((p, d) for p in parts for d in detectors):
        reason = reasons[detector]
        if reason is None:
            print(f"{part}: {detector.label} …", file=sys.stderr, flush=True)
            try:
                result = FUNCTIONS[part](bench, detector)
            except Exception as error:  # one detector does not end the comparison of the others
                traceback.print_exc()
                reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            if part != "reliability" or detector.name == "network":  # others have no probabilities anyway
                figures[part][detector.label] = {"cannot_run": reason.replace(f"{REPOSITORY}/", "")}
        elif result is not None:
            figures[part][detector.label] = result
    return figures


def merged(old: Figures, new: Figures) -> Figures:
    """Figures with those of a new run in the place of old ones, detectors in the order of the tables."""
    labels = [d.label for d in DETECTORS]
    both = {part: old.get(part, {}) | new.get(part, {}) for part in PARTS if part in old or part in new}
    return {part: {label: rows[label] for label in labels if label in rows} for part, rows in both.items()}


def write(figures: Figures, page: Path) -> None:
    """Write page and figures, those of earlier runs kept where there are no new ones."""
    figures = merged(pages.read(page), figures)
    pages.write(page, figures, markdown(figures))


def draw(bench: Bench, figures: Figures, detectors: list[Detector], folder: Path) -> None:
    """The pictures of the documentation, of detectors with probabilities; none of a real image."""
    part = {label: r for label, r in figures.get("reliability", {}).items() if "cannot_run" not in r}
    if not part:
        print("no pictures: they need the part reliability and a detector that has probabilities", file=sys.stderr)
        return
    save_reliability(part, folder / "detection_reliability.png")
    first = next(d for d in detectors if d.label in part)
    chosen = [i for i, case in enumerate(bench.scenes) if len(case.truth) >= 10][:EXAMPLES]
    found = [probable(bench.candidates(first)[i]) for i in chosen]
    save_examples([bench.scenes[i] for i in chosen], found, folder / "detection_examples.png")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Arguments of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; may be given several times")
    parser.add_argument("--detectors", default=",".join(NAMES), help="which to run; default: %(default)s")
    parser.add_argument(
        "--shared",
        type=Path,
        default=REPOSITORY.parent / "shared",
        metavar="FOLDER",
        help="with data/ and score/; default: beside the repository",
    )
    parser.add_argument("--images", type=int, default=N_SCENES, metavar="N", help="scenes; default: %(default)s")
    parser.add_argument("--empty", type=int, default=N_EMPTY, metavar="N", help="of each kind; default: %(default)s")
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="write the tables there, the figures beside it")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw reliability and simulated examples")
    parser.add_argument("--worst", type=Path, metavar="FOLDER", help="draw the worst images of each set")
    options = parser.parse_args(arguments)
    options.detectors = options.detectors.split(",")
    if unknown := [name for name in options.detectors if name not in NAMES]:
        parser.error(f"--detectors {','.join(unknown)}: there are {', '.join(NAMES)}")
    for name in ("images", "empty"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} {getattr(options, name)}: must be at least 1")
    if options.write and options.write.suffix != ".md":
        parser.error(f"--write {options.write}: must end in .md")
    if options.worst and options.worst.resolve().is_relative_to(REPOSITORY):
        parser.error(f"--worst {options.worst}: some of these pictures may not be published; choose another folder")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the comparison."""
    options = parse(arguments)
    parts = [part for part in PARTS if options.only is None or part in options.only]
    if "real" in parts and not (options.shared / "score" / "score.py").exists():
        print(f"real: skipped, no real images in {options.shared}; see --shared", file=sys.stderr)
        parts.remove("real")
    bench = Bench(options)
    detectors = [d for d in DETECTORS if d.name in options.detectors]
    figures: Figures = {}
    for part in parts:
        figures |= compare(bench, [part], detectors)
        if options.write:  # now: all together take long, and may be stopped
            write(figures, options.write)
    print(markdown(figures))
    if options.plots:
        draw(bench, figures, detectors, options.plots)
    return 0


def _mean(values: list[float]) -> float:
    """Mean of those that are known."""
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else float("nan")


if __name__ == "__main__":
    sys.exit(main())
