"""Whether probabilities mean what they say: reliability of p_present, coverage of intervals and of the count."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from detection_data import CLASSES, SMALLEST, Case, class_name, inside
from scipy.stats import norm

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.detection.scales import count_sd

LEVELS = (0.68, 0.95)
BINS = 15
LIKELY = 0.1  # p_present; many candidates are far below, right about that, and would hide what goes wrong above
P_FOUND = 0.5  # p_present from which a candidate is a found droplet


def probable(droplets: nd.Droplets) -> nd.Droplets:
    """The found ones of the candidates; all where nothing is known about their presence."""
    return droplets if droplets.p_present is None else droplets[droplets.p_present > P_FOUND]


def presence(droplets: nd.Droplets) -> np.ndarray:
    """Their p_present, which must be known."""
    assert droplets.p_present is not None, "these droplets have no probabilities"
    return droplets.p_present


def reliability(cases: list[Case], candidates: list[nd.Droplets]) -> dict[str, Any]:
    """All figures of one detector from its candidates, improbable ones too, on simulated images.

    Returns
    -------
    dict
        `n` candidates, `ece` of all, `ece_likely` and `bins` (mean p, share present, number) of those above `LIKELY`;
        `coverage`, see `interval_coverage`, of found droplets that are required; `count`, see `count_coverage`.
    """
    p, present, rows = [], [], []
    for case, found in zip(cases, candidates, strict=True):
        i, j = match_probable_first(nd.Droplets.from_dataframe(case.truth), found)
        hit = np.zeros(len(found), bool)
        hit[j] = True
        p.append(presence(found))
        present.append(hit)
        keep = (p[-1][j] > P_FOUND) & ~case.truth["ignore"].to_numpy(bool)[i]
        t, f = case.truth.iloc[i[keep]], found[j[keep]]
        scores = [(getattr(f, k) - t[k].to_numpy()) / getattr(f, f"{k}_sd") for k in ("x", "y", "radius")]
        rows.append(np.column_stack([t["radius"], *scores]))
    all_p, all_present = np.concatenate(p), np.concatenate(present)
    likely = all_p >= LIKELY
    bins = equal_mass_bins(all_p[likely], all_present[likely])
    return {
        "n": len(all_p),
        "ece": calibration_error(equal_mass_bins(all_p, all_present)),
        "ece_likely": calibration_error(bins),
        "bins": bins.tolist(),
        "coverage": interval_coverage(np.concatenate(rows)),
        "count": count_coverage([n_inside(c) for c in cases], p, [count_sd(q) for q in p]),
    }


def n_inside(case: Case) -> int:
    """True droplets with their center in the image; only such are found."""
    h, w, _ = case.image.shape
    return int(inside(case.truth, ((-0.5, -0.5, w - 0.5, h - 0.5),)).sum())


def match_probable_first(truth: nd.Droplets, found: nd.Droplets) -> tuple[np.ndarray, np.ndarray]:
    """Pair as `match` does, but no improbable candidate takes the droplet of a probable one by being closer to it."""
    probable = presence(found) > P_FOUND
    pairs = []
    free = np.ones(len(truth), bool)
    for chosen in (np.flatnonzero(probable), np.flatnonzero(~probable)):
        left = np.flatnonzero(free)
        i, j = match(truth[left], found[chosen])
        free[left[i]] = False
        pairs.append((left[i], chosen[j]))
    return np.concatenate([i for i, _ in pairs]), np.concatenate([j for _, j in pairs])


def equal_mass_bins(p: np.ndarray, present: np.ndarray, bins: int = BINS) -> np.ndarray:
    """(B, 3) mean probability, share present and number, of candidates in order of p cut into equally large parts.

    Most probabilities are near one: bins of equal width would put nearly all candidates into the last.
    """
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    return np.array([(p[part].mean(), present[part].mean(), len(part)) for part in parts]).reshape(-1, 3)


def calibration_error(bins: np.ndarray) -> float:
    """Expected calibration error: the mean distance of probability and share, weighted by the number."""
    mean_p, share, number = bins.T
    return float(np.sum(number * np.abs(mean_p - share)) / number.sum()) if len(bins) else float("nan")


def interval_coverage(rows: np.ndarray) -> dict[str, dict[str, Any]]:
    """Share within the central normal intervals; `rows` (M, 4): true radius, and errors of x, y, radius in sds."""
    covered = {}
    for low, high in ((SMALLEST, np.inf), *itertools.pairwise(CLASSES)):
        z = np.abs(rows[(rows[:, 0] >= low) & (rows[:, 0] < high), 1:])
        shares = [np.mean(z <= norm.ppf(0.5 + level / 2), 0) if len(z) else 3 * [np.nan] for level in LEVELS]
        name = class_name(low, high) if (low, high) != (SMALLEST, np.inf) else "all"
        covered[name] = {"n": len(z)} | {k: [float(s[c]) for s in shares] for c, k in enumerate(("x", "y", "radius"))}
    return covered


def count_coverage(truth: list[int], p: list[np.ndarray], sd: list[float]) -> dict[str, Any]:
    """Whether the number of droplets in an image lies in the normal intervals around its expectation, the sum of p.

    Returns
    -------
    dict
        `reported`: share of images inside, with the standard deviations given. `independent`: the same with those of
        independent candidates. `bias`: mean of expected over true number, minus 1, over all images together. `sd`: mean
        standard deviation of those given.
    """
    mean = np.array([q.sum() for q in p])
    off = np.abs(np.array(truth) - mean)
    widths = {"reported": np.asarray(sd), "independent": np.sqrt([np.sum(q * (1 - q)) for q in p])}
    return {
        **{k: [float(np.mean(off <= norm.ppf(0.5 + level / 2) * w)) for level in LEVELS] for k, w in widths.items()},
        "images": len(truth),
        "bias": float(mean.sum() / max(sum(truth), 1) - 1),
        "sd": float(np.mean(sd)),
    }
