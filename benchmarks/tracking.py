"""How well droplets are followed: identities, merges, splits, rates and probabilities, on simulated movies.

    python benchmarks/tracking.py                  the table, some minutes
    python benchmarks/tracking.py --docs           and written into docs/tracking.md
    python benchmarks/tracking.py --bare           only tables of frame, x, y and radius

Tables of known truth are spoilt as measurements are (droplets missed, false ones, errors of position, radius and
composition), and followed by `track`, by trackpy and by nearest neighbors in the same run. Identity F1 is that of
py-motmetrics, HOTA that of `hota.py`. A merge is found if the new droplet and at least two of its parents are right,
within one frame.
"""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from hota import hota
from scipy.optimize import linear_sum_assignment

from napari_droplets.movies.simulated import Movie, simulate_movie
from napari_droplets.tracking.api import track

SHAPE = (380, 507)
CASES: dict[str, dict[str, Any]] = {
    "slow": {"n": 200, "brownian": 1.0},
    "drift of 16 px": {"n": 200, "brownian": 1.0, "drift": (15.0, -6.0)},
    "shaking stage": {"n": 200, "brownian": 0.5, "drift": (3.0, 1.0), "drift_jitter": 8.0},
    "channel flow": {"n": 200, "brownian": 0.5, "flow": 12.0},
    "evaporation": {"n": 200, "brownian": 1.0, "growth": -0.8},
    "condensation": {"n": 150, "brownian": 1.0, "growth": 1.0},
    "splitting": {"n": 80, "brownian": 1.0, "radius": 7.0, "splitting": 0.01},
    "discs in a channel": {"n": 150, "brownian": 1.0, "flow": 4.0, "exponent": 2.0},
    "dense": {"n": 300, "brownian": 1.5, "radius": 6.0},
    "half the spacing": {"n": 150, "brownian": 6.0, "radius": 4.0, "coalescence": False},
    "fast, merging": {"n": 110, "brownian": 6.0, "radius": 5.0},
    "swimming, merging": {"n": 110, "brownian": 6.0, "radius": 5.0, "persistence": 0.8},
}
SPOILT = {"missed": 0.02, "false": 0.01, "place": 0.1, "radius": 0.02, "composition": 0.04}
FRAMES = 30
SCORES = ("idf1", "best", "trackpy", "nearest", "hota", "best_hota", "trackpy_hota", "nearest_hota")
REACH = 0.7
"""A droplet is one of the truth within this many radii."""
DOCS = Path(__file__).parents[1] / "docs" / "tracking.md"
MARKS = "<!-- figures of benchmarks/tracking.py -->", "<!-- end of figures -->"


def spoilt(truth: pd.DataFrame, rng: np.random.Generator, *, bare: bool = False, **much: float) -> pd.DataFrame:
    """A table as a measurement gives it; `bare` has frame, x, y and radius alone."""
    much = {**SPOILT, **much}
    table = truth[rng.random(len(truth)) >= much["missed"]].drop(columns=["track_id", "time_s"])
    n = len(table)
    table["x"] += much["place"] * rng.standard_normal(n)
    table["y"] += much["place"] * rng.standard_normal(n)
    table["radius"] *= np.exp(much["radius"] * rng.standard_normal(n))
    made = [c for c in table if c.startswith("composition")]
    table[made] = (table[made] + much["composition"] * rng.standard_normal((n, len(made)))).clip(0, 1)
    ghosts = table.iloc[rng.integers(0, n, round(much["false"] * n))].copy()
    ghosts["x"], ghosts["y"] = rng.uniform(0, SHAPE[1], len(ghosts)), rng.uniform(0, SHAPE[0], len(ghosts))
    table = pd.concat([table, ghosts]).sample(frac=1, random_state=int(rng.integers(2**31)))
    table = table.sort_values("frame", kind="stable").reset_index(drop=True)
    return table[["frame", "x", "y", "radius"]] if bare else table


def matched(truth: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """(R,) track_id of the truth for each row; -1 for false droplets."""
    ids = np.full(len(table), -1)
    for number, rows in table.groupby("frame").indices.items():
        real = truth[truth["frame"] == number]
        found = table.iloc[rows]
        away = (
            np.hypot(
                found["x"].to_numpy()[:, None] - real["x"].to_numpy(),
                found["y"].to_numpy()[:, None] - real["y"].to_numpy(),
            )
            / real["radius"].to_numpy()
        )
        i, j = linear_sum_assignment(np.where(away < REACH, away, 1e3))
        near = away[i, j] < REACH
        ids[rows[i[near]]] = real["track_id"].to_numpy()[j[near]]
    return ids


def identity_f1(truth: pd.DataFrame, table: pd.DataFrame, ids: np.ndarray) -> float:
    """IDF1 of track ids given for the rows of a table."""
    import motmetrics

    accumulated = motmetrics.MOTAccumulator(auto_id=True)
    for number, real in truth.groupby("frame"):
        rows = np.flatnonzero(table["frame"].to_numpy() == number)
        found = table.iloc[rows]
        away = (
            np.hypot(
                real["x"].to_numpy()[:, None] - found["x"].to_numpy(),
                real["y"].to_numpy()[:, None] - found["y"].to_numpy(),
            )
            / real["radius"].to_numpy()[:, None]
        )
        accumulated.update(real["track_id"].tolist(), ids[rows].tolist(), np.where(away < REACH, away, np.nan))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = motmetrics.metrics.create().compute(accumulated, metrics=["idf1"], name="all")
    return float(result["idf1"].iloc[0])


Reported = list[tuple[float, bool]]
"""Probability of an event, and whether it is right."""


def events_right(
    movie: Movie, found: Any, true_ids: np.ndarray, kind: str, shape: tuple[int, int] = SHAPE
) -> tuple[int, int, Reported]:
    """How many events of a kind there are, how many are found, and (p, right) of each one reported.

    The truth has no events of droplets with their centers beyond the border: those reported are not counted.
    """
    wanted: dict[Any, set[int]] = {}
    when: dict[Any, int] = {}
    for row in movie.events[movie.events["kind"] == kind].itertuples():
        parents = set(map(int, row.parent_ids.split()))
        one = row.track_id if kind == "merge" else parents.pop()
        wanted.setdefault(one, set()).update(parents if kind == "merge" else {row.track_id})
        when[one] = row.frame
    wanted = {k: v for k, v in wanted.items() if len(v) > 1}
    of = {part: one for one, parts in wanted.items() for part in parts}
    frame = found.droplets["frame"].to_numpy()
    outside = ~within(found.droplets, shape)
    reported, right_ones = [], set()
    for event in found.merges if kind == "merge" else found.splits:
        several = [true_ids[r] for r in event.several]
        first = max(frame[event.one], *frame[list(event.several)])
        # a frame too early it is still one of the several
        for one in (true_ids[event.one], of.get(true_ids[event.one])):
            right = one in wanted and len(set(several) & wanted[one]) >= 2 and abs(first - when[one]) <= 1
            if right:
                right_ones.add(one)
                break
        if right or not outside[[event.one, *event.several]].any():
            reported.append((event.p, bool(right)))
    return len(wanted), len(right_ones), reported


def within(droplets: pd.DataFrame, shape: tuple[int, int]) -> np.ndarray:
    """(R,) whether a center is in the image; others are not of the truth."""
    x, y = (droplets[c].to_numpy(float) for c in "xy")
    return (np.abs(x - (shape[1] - 1) / 2) <= shape[1] / 2) & (np.abs(y - (shape[0] - 1) / 2) <= shape[0] / 2)


def rates_held(movie: Movie, found: Any, true_ids: np.ndarray) -> list[bool]:
    """Whether each interval of dr/dt holds the slope of the true radii, of tracks that are of one droplet."""
    truth = movie.droplets.set_index(["track_id", "frame"])["radius"]
    ids, frame = found.droplets["track_id"].to_numpy(), found.droplets["frame"].to_numpy()
    time_s = found.droplets["time_s" if "time_s" in found.droplets else "frame"].to_numpy(float)
    held = []
    for row in found.tracks.itertuples():
        rows = np.flatnonzero(ids == row.track_id)
        real = true_ids[rows]
        if len(rows) < 5 or (real != real[0]).any() or real[0] < 0:
            continue
        radius = [truth[(real[0], f)] for f in frame[rows]]
        slope = np.polyfit(time_s[rows], radius, 1)[0]
        held.append(bool(row.dr_dt_low <= slope <= row.dr_dt_high))
    return held


def by_trackpy(table: pd.DataFrame, reach: float) -> np.ndarray:
    """Track ids of trackpy, which predicts the drift and is given a search range that is right for the movie."""
    import trackpy

    trackpy.quiet()
    place = table[["frame", "x", "y"]].copy()
    # where too many droplets are within reach of one another, the range shrinks there
    linked = trackpy.predict.DriftPredict().link_df(
        place, search_range=reach, memory=2, adaptive_stop=0.1 * reach, adaptive_step=0.8
    )
    return linked["particle"].reindex(table.index).to_numpy()


def by_nearest(table: pd.DataFrame, reach: float) -> np.ndarray:
    """Track ids of mutual nearest neighbors."""
    from scipy.spatial import cKDTree

    ids, fresh = np.full(len(table), -1), 0
    before: np.ndarray | None = None
    for _, rows in sorted(table.groupby("frame").indices.items()):
        place = table[["x", "y"]].to_numpy()[rows]
        if before is not None:
            old = table[["x", "y"]].to_numpy()[before]
            d, k = cKDTree(old).query(place)
            back = cKDTree(place).query(old)[1]
            same = (back[k] == np.arange(len(rows))) & (d < reach)
            ids[rows[same]] = ids[before[k[same]]]
        new = rows[ids[rows] < 0]
        ids[new] = np.arange(fresh, fresh + len(new))
        fresh += len(new)
        before = rows
    return ids


def reach_of(case: dict[str, Any]) -> float:
    """A search range for the others: all motion of the case, three standard deviations of the random part."""
    drift = float(np.hypot(*case.get("drift", (0, 0)))) + abs(case.get("flow", 0.0))
    return drift + 3 * (case.get("brownian", 0.5) * 1.3 + case.get("drift_jitter", 0.0)) + 0.5


def one(case: dict[str, Any], seed: int, *, bare: bool, others: bool = True, **much: float) -> dict[str, Any]:
    """All figures of one movie."""
    movie = simulate_movie(SHAPE, frames=FRAMES, seed=seed, pictures=False, **case)
    table = spoilt(movie.droplets, np.random.default_rng(seed), bare=bare, **much)
    geometry = "disc" if case.get("exponent") == 2.0 else "sphere"
    began = time.perf_counter()
    found = track(table, shape=SHAPE, geometry=geometry)
    seconds = time.perf_counter() - began
    true_ids = matched(movie.droplets, found.droplets)
    figures: dict[str, Any] = {"seconds": seconds}
    figures["idf1"] = identity_f1(movie.droplets, found.droplets, found.droplets["track_id"].to_numpy())
    alone = matched(movie.droplets, table)
    figures["best"] = identity_f1(movie.droplets, table, np.where(alone >= 0, alone, -1 - np.arange(len(table))))
    figures["hota"] = hota(movie.droplets, found.droplets, found.droplets["track_id"].to_numpy()).hota
    figures["best_hota"] = hota(movie.droplets, table, np.where(alone >= 0, alone, -1 - np.arange(len(table)))).hota
    if others:
        for name, by in (("trackpy", by_trackpy), ("nearest", by_nearest)):
            ids = by(table, reach_of(case))
            figures[name] = identity_f1(movie.droplets, table, ids)
            figures[f"{name}_hota"] = hota(movie.droplets, table, ids).hota
    for kind in ("merge", "split"):
        figures[f"{kind}s"] = events_right(movie, found, true_ids, kind)
    figures["rates"] = rates_held(movie, found, true_ids)
    return figures


def calibration_error(reported: Reported) -> float:
    """Expected calibration error in ten bins of equal numbers."""
    if not reported:
        return float("nan")
    p, right = (np.array(a, float) for a in zip(*sorted(reported), strict=True))
    parts = np.array_split(np.arange(len(p)), min(10, len(p)))
    return float(sum(len(k) * abs(p[k].mean() - right[k].mean()) for k in parts) / len(p))


def table_of(seeds: range, bare: bool, **much: float) -> tuple[str, Reported]:
    """The table in Markdown, and all merges reported."""
    lines = [
        "| movie | IDF1 | best possible | trackpy | nearest | HOTA | best possible | trackpy | nearest "
        "| merges found | false | splits found | false | dr/dt |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    all_merges: Reported = []
    sums = np.zeros(7)
    for name, case in CASES.items():
        runs = [one(case, seed, bare=bare, **much) for seed in seeds]
        cells = [name]
        cells += [f"{np.mean([r[k] for r in runs]):.3f}" for k in SCORES]
        for place, kind in ((0, "merges"), (3, "splits")):
            true, right = (sum(r[kind][k] for r in runs) for k in (0, 1))
            reported = [e for r in runs for e in r[kind][2]]
            wrong = sum(not ok for _, ok in reported)
            sums[place : place + 3] += true, right, wrong
            cells += [f"{right} of {true}", str(wrong)]
            if kind == "merges":
                all_merges += reported
        held = [h for r in runs for h in r["rates"]]
        cells.append(f"{100 * np.mean(held):.1f} %")
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], f"{np.mean([r['seconds'] for r in runs]):.1f} s", flush=True)
    true, right, wrong = sums[:3]
    lines.append("")
    share = 100 * wrong / max(len(all_merges), 1)
    lines.append(
        f"All: {right:.0f} of {true:.0f} merges found ({100 * right / true:.1f} %), {wrong:.0f} false ({share:.1f} %), "
        f"calibration error of `p_merge` {calibration_error(all_merges):.3f}; {sums[4]:.0f} of {sums[3]:.0f} splits "
        f"found, {sums[5]:.0f} false."
    )
    print(lines[-1])
    return "\n".join(lines), all_merges


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--docs", action="store_true")
    parser.add_argument("--bare", action="store_true", help="only tables with frame, x, y, radius")
    args = parser.parse_args()
    seeds = range(args.first, args.first + args.seeds)
    parts = []
    for bare, title in ((False, "With compositions"), (True, "With frame, x, y and radius alone")):
        if args.bare and not bare:
            continue
        print(title)
        parts += [f"**{title}**", "", table_of(seeds, bare)[0], ""]
    if args.docs:
        text = DOCS.read_text(encoding="utf-8")
        before, after = text.split(MARKS[0])[0], text.split(MARKS[1])[1]
        DOCS.write_text(f"{before}{MARKS[0]}\n\n" + "\n".join(parts) + f"\n{MARKS[1]}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
