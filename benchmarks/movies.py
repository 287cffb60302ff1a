"""How well movies are fitted and followed from their pixels on: identities, merges, rates, and processor seconds.

    python benchmarks/movies.py                      small movies, a row for each kind
    python benchmarks/movies.py --full               30 frames of 507 x 380 with 300 droplets: the seconds that count
    python benchmarks/movies.py --keep FOLDER        fitted tables are kept there; what is kept is not fitted again
    python benchmarks/movies.py --sizes              how errors of radii change with the radius, in the kept fits

`tracking.py` spoils tables of the truth; here droplets are found in the pictures. The columns: IDF1, the best possible
one with these droplets, merges found and false, how many of the 95 % intervals of dr/dt hold the slope of the true
radii, by how much the slopes found are off from the true ones altogether (their ratio less 1), and seconds of processor
time: all before the first frame is done, less import, and for each frame after it.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tracking import events_right, identity_f1, matched, rates_held, within

from napari_droplets.movies.movie import fit_frames, movie_fit
from napari_droplets.movies.runs import Plan, decided
from napari_droplets.movies.simulated import Movie, simulate_movie

SMALL: dict[str, dict[str, Any]] = {
    "evaporation": {"brownian": 0.8, "growth": -0.3, "growth_spread": 0.3},
    "condensation": {"brownian": 0.5, "growth": 0.3, "growth_spread": 0.3},
    "drift": {"brownian": 1.0, "drift": (1.0, 0.5)},
    "focus drifts": {"brownian": 0.5, "growth": -0.4, "focus_drift": 0.01},
}
FITS = Path(__file__).parents[1] / "docs" / "fit_results.json"
STILL = 1e-6
"""Pixels a frame: radii that change by less do not change."""
FULL: dict[str, dict[str, Any]] = {"full": {"brownian": 1.0, "growth": -0.3}}


def fitted(movie: Movie) -> tuple[pd.DataFrame, float, float]:
    """The droplets of all frames, processor seconds until the first one is done, and for each one after it."""
    began = time.process_time()
    state = movie_fit(movie.images)
    done = [time.process_time() - began for _ in fit_frames(state)]
    return state.table(), done[0], float(np.diff(done).mean())


def slope_error(movie: Movie, found: Any, true_ids: np.ndarray) -> float:
    """Ratio of the slopes found to the true ones, less 1: of tracks of one droplet, by least squares through zero.

    NaN where radii stay as they are.
    """
    truth = movie.droplets.set_index(["track_id", "frame"])["radius"]
    ids, frame = found.droplets["track_id"].to_numpy(), found.droplets["frame"].to_numpy()
    pairs = []
    for row in found.tracks.itertuples():
        rows = np.flatnonzero(ids == row.track_id)
        real = true_ids[rows]
        if len(rows) >= 5 and real[0] >= 0 and (real == real[0]).all():
            slope = np.polyfit(frame[rows], [truth[(real[0], f)] for f in frame[rows]], 1)[0]
            pairs.append((slope, row.dr_dt, len(rows) ** 3))
    true, seen, weight = np.array(pairs).T
    if np.abs(true).max() < STILL:
        return float("nan")
    return float((weight * true * seen).sum() / (weight * true**2).sum() - 1)


def judged(movie: Movie, table: pd.DataFrame, shape: tuple[int, int]) -> list[str]:
    """The cells of a row."""
    found = decided(table, Plan(shape=shape))
    there = found.droplets[within(found.droplets, shape)].reset_index(drop=True)
    alone = matched(movie.droplets, there)
    ids = there["track_id"].to_numpy()
    true_ids = matched(movie.droplets, found.droplets)
    merges, right, reported = events_right(movie, found, true_ids, "merge", shape)
    held = rates_held(movie, found, true_ids)
    return [
        f"{identity_f1(movie.droplets, there, ids):.3f}",
        f"{identity_f1(movie.droplets, there, np.where(alone >= 0, alone, -1 - np.arange(len(there)))):.3f}",
        f"{right} of {merges}",
        str(sum(not ok for _, ok in reported)),
        f"{sum(held)} of {len(held)}",
        f"{100 * slope_error(movie, found, true_ids):+.1f} %",
    ]


def size_errors() -> None:
    """Print how far slopes against the true radius are off in docs/fit_results.json, beside the radii themselves.

    Over the images of a judge, root mean squares: of the common relative error of radii, and of the slope of an image's
    errors, in pixels, against the radius, from its classes of sizes with at least five droplets.
    """
    for judge, images in json.loads(FITS.read_text(encoding="utf-8")).items():
        errors, slopes = [], []
        for row in images.values() if isinstance(images, dict) else ():
            known = [(name, n, e) for name, (n, e) in row.get("fit", {}).get("sizes", {}).items() if n >= 5]
            if len(known) < 2:
                continue
            middle = [np.mean([float(a) for a in re.findall(r"[0-9.]+", name)]) for name, *_ in known]
            radius, n, error = np.array(middle), *np.array([k[1:] for k in known]).T
            weight = n / radius**2
            off = radius - np.average(radius, weights=weight)
            slopes.append(np.sum(weight * off * radius * error) / np.sum(weight * off**2))
            errors.append(np.average(error, weights=n))
        if errors:
            radii, slope = (np.sqrt(np.mean(np.square(a))) for a in (errors, slopes))
            print(f"{judge}: {len(errors)} images, radii {100 * radii:.1f} %, slopes {100 * slope:.1f} %")


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first", type=int, default=2000)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--sizes", action="store_true")
    args = parser.parse_args()
    if args.sizes:
        size_errors()
        return
    shape, n, frames = ((380, 507), 300, 30) if args.full else ((128, 144), 32, 14)
    heads = ["movie", "IDF1", "best", "merges", "false", "dr/dt", "slopes", "first", "each"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name, case in (FULL if args.full else SMALL).items():
        for seed in range(args.first, args.first + args.seeds):
            movie = simulate_movie(shape, n, frames, radius=5.0 + seed % 3, seed=seed, **case)
            kept = None if args.keep is None else args.keep / f"{name.replace(' ', '_')}_{seed}.parquet"
            if kept is not None and kept.exists():
                table, seconds = pd.read_parquet(kept), ["", ""]
            else:
                table, first, each = fitted(movie)
                seconds = [f"{first:.1f} s", f"{each:.2f} s"]
                if kept is not None:
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    table.to_parquet(kept)
            print("| " + " | ".join([f"{name}, {seed}", *judged(movie, table, shape), *seconds]) + " |", flush=True)


if __name__ == "__main__":
    main()
