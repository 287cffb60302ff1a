"""Whether intervals of samples and conditions hold the truth: simulated series of droplets, without pictures.

    python benchmarks/samples.py [--series 200] [--json docs/samples_results.json --write docs/samples_results.md]

Every series has two conditions. Sizes, densities and odds of classes of its samples scatter around those of their
condition, those of its images around their sample, and droplets are drawn for each image; radii and compositions have
errors as a fit tells them. Classes are found on all droplets together, as in `compare_samples`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import logit, softmax

from napari_droplets.composition.classes import measured_of
from napari_droplets.composition.pooled import classify_pooled
from napari_droplets.droplets import Droplets
from napari_droplets.samples.classes import SeriesClasses
from napari_droplets.samples.compare import compare
from napari_droplets.samples.results import Result, with_droplets

SIDE = 1000
"""Pixels of a square image."""
MEDIAN, SPREAD = 12.0, 0.3
"""Diameters in pixels: median, and standard deviation of their logs."""
LARGER = 1.2
"""How many times larger droplets of the second condition are."""
MEANS = np.array([[0.25, 0.3, 0.7], [0.5, 0.65, 0.3], [0.75, 0.3, 0.5]])
WITHIN, ERRORS, SAMPLES = 0.06, (0.03, 0.12), 40
"""Standard deviation of compositions in a class; errors, from and to; draws of the posterior."""
SHARES = np.array([[0.6, 0.3, 0.1], [0.4, 0.3, 0.3]])
"""Of the three classes, in either condition."""
RADIUS_ERROR = 0.03


class Design(NamedTuple):
    """One way to take a series."""

    samples: int
    """Of each condition."""
    images: int
    """Of each sample."""
    droplets: int
    """Of an image."""
    size: float
    """Standard deviation of logs of sizes, between images and between samples."""
    odds: float
    """The same of logs of odds, and of densities."""


DESIGNS = (
    Design(1, 6, 200, 0.0, 0.0),
    Design(1, 6, 200, 0.05, 0.3),
    Design(2, 3, 200, 0.05, 0.3),
    Design(3, 3, 200, 0.05, 0.3),
    Design(4, 3, 200, 0.15, 0.6),
    Design(6, 1, 200, 0.05, 0.3),
    Design(3, 3, 30, 0.05, 0.3),
)


def simulated(design: Design, rng: np.random.Generator) -> tuple[list[Result], pd.DataFrame, list, dict]:
    """Pictures, groups, compositions measured in each, and the truth of conditions and samples."""
    pictures, rows, measured = [], [], []
    truth: dict = {"condition": {}, "sample": {}}
    for c, condition in enumerate(("first", "second")):
        truth["condition"][condition] = {
            "D50": MEDIAN * LARGER**c,
            "density": design.droplets / SIDE**2 * 1e6,
            **{f"proportion {g}": SHARES[c][g] for g in range(3)},
        }
        for s in range(design.samples):
            varied = design.samples > 1
            size = np.log(MEDIAN * LARGER**c) + varied * design.size * rng.normal()
            number = np.log(design.droplets) + varied * design.odds * rng.normal()
            odds = np.log(SHARES[c]) + varied * design.odds * rng.normal(size=3)
            sample = f"{s} ({condition})"
            truth["sample"][sample] = {"D50": np.exp(size), "density": np.exp(number) / SIDE**2 * 1e6}
            for _ in range(design.images):
                between = design.images > 1 or design.samples > 1
                n = max(1, rng.poisson(np.exp(number + between * design.odds * rng.normal())))
                median = size + between * design.size * rng.normal()
                share = softmax(odds + between * design.odds * rng.normal(size=3))
                diameter = np.exp(median + SPREAD * rng.normal(size=n))
                cloud = rng.choice(3, n, p=share)
                error = np.exp(rng.uniform(*np.log(ERRORS), (n, 1)))
                composition = MEANS[cloud] + WITHIN * rng.normal(size=(n, 3)) + error * rng.normal(size=(n, 3))
                draws = composition + error * rng.normal(size=(SAMPLES, n, 3))
                radius = diameter / 2 * (1 + RADIUS_ERROR * rng.normal(size=n))
                found = Droplets(
                    *rng.uniform(0, SIDE, (2, n)),
                    np.abs(radius),
                    radius_sd=RADIUS_ERROR * radius,
                    composition=composition,
                )
                summary = {"image": {"shape": [SIDE, SIDE, 3]}}
                pictures.append(with_droplets(Result(str(len(pictures)), Path(), summary, {}), found))
                rows.append({"image": str(len(rows)), "condition": condition, "sample": str(s)})
                measured.append(measured_of(draws, None))
    return pictures, pd.DataFrame(rows), measured, truth


def classes_of(measured: list) -> SeriesClasses:
    """Classes of all droplets, numbered as they were simulated."""
    found = classify_pooled(measured, 3, before={"mean": MEANS.tolist(), "weight": [1 / 3] * 3})
    return SeriesClasses(dict(enumerate(found.images)), ["0", "1", "2"], found.shared_variance)


def judge(design: Design, series: int, seed: int = 0) -> pd.DataFrame:
    """How often intervals hold the truth, and how wide they are."""
    rng = np.random.default_rng(seed)
    held: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for _ in range(series):
        pictures, groups, measured, truth = simulated(design, rng)
        found = compare(pictures, groups, classes_of(measured))
        table = found.table.assign(name=(found.table["quantity"] + " " + found.table["class"]).str.strip())
        for level in ("condition", "sample"):
            for row in table[table["level"] == level].to_dict("records"):
                true = truth[level][row[level]].get(row["name"])
                if true is not None:
                    inside = bool(row["low"] < true < row["high"])
                    held.setdefault((level, row["quantity"]), []).append((inside, width(row)))
        for row in found.differences.to_dict("records"):
            name = f"{row['quantity']} {row['class']}".strip()
            a, b = (truth["condition"][row[k]].get(name) for k in ("group", "reference"))
            if a is not None:
                inside = bool(row["ratio_low"] < a / b < row["ratio_high"])
                held.setdefault(("difference", row["quantity"]), []).append(
                    (inside, np.log(row["ratio_high"] / row["ratio_low"]))
                )
        for condition in ("first", "second"):  # as if all droplets of a condition were of one picture
            rows = np.flatnonzero(groups["condition"] == condition)
            labels = np.concatenate([found.classes.classes[i].label for i in rows])
            for g in range(3):
                p = (np.sum(labels == g) + 0.5) / (len(labels) + 1.5)
                half = 1.96 * np.sqrt(p * (1 - p) / len(labels))
                true = truth["condition"][condition][f"proportion {g}"]
                ends = {"low": max(p - half, 1e-6), "high": min(p + half, 1 - 1e-6), "quantity": "proportion"}
                held.setdefault(("droplets counted", "proportion"), []).append(
                    (bool(abs(p - true) < half), width(ends))
                )
    return pd.DataFrame(
        [
            {
                **design._asdict(),
                "level": level,
                "quantity": quantity,
                "holds": np.mean([inside for inside, _ in values]),
                "width": np.median([w for _, w in values]),
                "of": len(values),
            }
            for (level, quantity), values in held.items()
        ]
    )


def width(row: dict) -> float:
    """Of an interval, in logs or logits."""
    scale = logit if row["quantity"] == "proportion" else np.log
    return float(
        scale(min(row["high"], 1 - 1e-9) if row["quantity"] == "proportion" else row["high"]) - scale(row["low"])
    )


COLUMNS = (
    ("condition", "proportion"),
    ("condition", "D50"),
    ("condition", "density"),
    ("difference", "proportion"),
    ("difference", "D50"),
    ("droplets counted", "proportion"),
)


def markdown(table: pd.DataFrame) -> str:
    """How often intervals hold, and their median width, a row for each design."""
    lines = [
        "| samples x images x droplets | scatter of sizes, odds | "
        + " | ".join(f"{level}: {quantity}" for level, quantity in COLUMNS)
        + " |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for design, rows in table.groupby(list(Design._fields), sort=False):
        found = rows.set_index(["level", "quantity"])
        cells = [f"{found.loc[c, 'holds']:.0%} ({found.loc[c, 'width']:.2f})" for c in COLUMNS]
        samples, images, droplets, size, odds = design
        lines.append(f"| {samples} x {images} x {droplets} | {size:g}, {odds:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--series", type=int, default=200, help="simulated series of each design; 0: write the page alone"
    )
    parser.add_argument("--only", type=int, help="number of one design")
    parser.add_argument("--json", type=Path, help="keep the figures there")
    parser.add_argument("--write", type=Path, help="write a page of what is kept")
    args = parser.parse_args()
    tables = []
    for i, design in enumerate(DESIGNS if args.series else ()):
        if args.only in (None, i):
            tables.append(judge(design, args.series))
            print(tables[-1].round(3).to_string(index=False), flush=True)
            if args.json:
                args.json.write_text(json.dumps(pd.concat(tables).to_dict("records"), indent=1) + "\n")
    if args.write:
        args.write.write_text(markdown(pd.DataFrame(json.loads(args.json.read_text()))))


if __name__ == "__main__":
    main()
