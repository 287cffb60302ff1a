"""What a fit says droplets are made of: dyes in simulated series against colors, and published classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from detection_data import Pairs
from fit_data import FIRST_SEED, simulation
from fit_scores import adjusted_rand, affine, contingency, gaps, mapped

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.image_statistics import background_surface

N_IMAGES = 4  # of a series
SHAPE = (320, 320)
COVERED = 0.1  # droplets times radius squared over the area
TYPES = 3
LOOKS: tuple[dict[str, Any], ...] = (
    {"radius": 5.0, "light_angle": 90.0, "overlap": 0.7, "noise": 0.015, "unevenness": 0.1},
    {"radius": 3.5, "light_angle": 30.0, "overlap": 0.7, "noise": 0.02, "unevenness": 0.2},
    {"radius": 7.0, "light_angle": 200.0, "overlap": 0.7, "noise": 0.03, "unevenness": 0.3},
)
"""Light comes from one side in all of them; further series repeat them with other seeds."""
SIZES = ("small", "medium", "large")
TOUCHING = 1.0  # pixels between edges up to which droplets touch
OVERLAPPING = 0.25  # radii by which another reaches into those that overlap
COMPOSITIONS = ("simplex", "free")
POOR_MASKS = "ZL-48a"
CLASSES = 3  # of the authors, on every slide
CERTAIN = 0.9  # class_p


def composition(index: int) -> dict[str, Any]:
    """One series: sums of squared errors and variances by method, map and group of droplets.

    Maps are made on the first image of the series and applied to all (`first`), or made on all (`all`).
    """
    result: dict[str, Any] = {"sums": {}}
    for table in one_series(index, {}):
        method = str(table["method"].iloc[0])
        result["sums"][method] = {str(kind): by_group(rows) for kind, rows in table.groupby("map", sort=False)}
    return result


def explained(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, float]]]:
    """R2 by method, map and group over the droplets of all series; the variance is that about their series' means."""
    out: dict[str, dict[str, dict[str, float]]] = {}
    for method, maps in rows[0]["sums"].items() if rows else ():
        out[method] = {}
        for kind, groups_ in maps.items():
            sums = {g: np.sum([row["sums"][method][kind][g] for row in rows], 0) for g in groups_}
            out[method][kind] = {g: float(1 - e / v) if v > 0 else np.nan for g, (e, v, _) in sums.items()}
    return out


def one_series(index: int, settings: dict[str, Any]) -> list[pd.DataFrame]:
    """Squared errors of every droplet of one series, by method and map; see `squared_errors`."""
    look = LOOKS[index % len(LOOKS)]
    count = round(COVERED * SHAPE[0] * SHAPE[1] / look["radius"] ** 2)
    features: dict[str, list[np.ndarray]] = {}
    parts = []
    seeds = range(FIRST_SEED["composition"] + N_IMAGES * index, FIRST_SEED["composition"] + N_IMAGES * (index + 1))
    simulations = [simulation(SHAPE, look | {"n": count, "types": TYPES, "seed": seed}) for seed in seeds]
    fits = fitted([case.image for case, _ in simulations], settings)
    for number, (case, truth) in enumerate(simulations):
        pairs = {kind: Pairs.of(case, those[number].droplets) for kind, those in fits.items()}
        # the same droplets for all: found by every fit, whole and not tiny
        common = set.intersection(*(set(p.i.tolist()) for p in pairs.values()))
        rows = np.array([i for i in sorted(common) if not case.truth["ignore"].iloc[i]], int)
        for kind, p in pairs.items():
            assert p.found.composition is not None
            values = p.found.composition[p.j[np.searchsorted(p.i, rows)]]
            features.setdefault(kind, []).append(values)
        for name, values in colors(case.image.pixels, truth[rows]).items():
            features.setdefault(name, []).append(values)
        about = {"image": number, "radius": truth.radius[rows], "gap": gaps(truth)[rows]}
        assert truth.composition is not None
        parts.append((pd.DataFrame(about), truth.composition[rows]))
    about, right = pd.concat([a for a, _ in parts], ignore_index=True), np.concatenate([t for _, t in parts])
    about["size"] = pd.qcut(about["radius"], len(SIZES), labels=list(SIZES)).astype(str)
    about["series"] = index
    return [
        squared_errors(about, np.concatenate(values), right).assign(method=method)
        for method, values in features.items()
    ]


def fitted(images: list[nd.Image], settings: dict[str, Any]) -> dict[str, list[nd.Fit]]:
    """Fits of the first image of a series, and of the others with its optics, learned on there or held."""
    fits = {}
    for kind in COMPOSITIONS:
        form = settings | {"types": TYPES, "composition": kind}
        first = nd.fit(images[0], **form)
        for name, learn in ((f"fit, {kind}", True), (f"fit, {kind}, optics held", False)):
            others = [nd.fit(image, optics=first.optics, learn_optics=learn, **form) for image in images[1:]]
            fits[name] = [first, *others]
    return fits


def squared_errors(about: pd.DataFrame, features: np.ndarray, truth: np.ndarray) -> pd.DataFrame:
    """`about` with columns `error` and `variance`, squared and summed over species, for each way to make the map."""
    first = (about["image"] == 0).to_numpy()
    both = []
    for kind, chosen in (("first", first), ("all", np.ones(len(about), bool))):
        estimate = mapped(affine(features[chosen], truth[chosen]), features)
        error, variance = ((truth - other) ** 2 for other in (estimate, truth.mean(0)))
        both.append(about.assign(map=kind, error=error.sum(1), variance=variance.sum(1)))
    return pd.concat(both, ignore_index=True)


def groups(table: pd.DataFrame) -> dict[str, pd.Series]:
    """Which rows belong to the groups that R2 is told of."""
    masks = {"all": table["radius"] > 0}
    masks |= {f"image {i + 1}": table["image"] == i for i in range(N_IMAGES)}
    masks |= {size: table["size"] == size for size in SIZES}
    apart, overlap = table["gap"] > TOUCHING, table["gap"] < -OVERLAPPING * table["radius"]
    return masks | {"alone": apart, "touching": ~apart & ~overlap, "overlapping": overlap}


def by_group(table: pd.DataFrame) -> dict[str, list[float]]:
    """Sums of squared errors and of variances, and the number of droplets, of each group."""
    sums = {}
    for name, mask in groups(table).items():
        some = table.loc[mask]
        sums[name] = [float(some["error"].sum()), float(some["variance"].sum()), float(mask.sum())]
    return sums


def colors(pixels: np.ndarray, droplets: nd.Droplets) -> dict[str, np.ndarray]:
    """Mean colors of discs, in forms that suit an affine map: generous, since the true circles are told.

    The third knows more than colors: it has the empty slide and the thickness taken out, by the law that the simulator
    follows.
    """
    ground = background_surface(pixels)
    mean, empty = (disc_means(image, droplets) for image in (pixels, ground))
    log = np.log(np.clip(mean, 1e-3, None))
    absorbance = (np.log(np.clip(empty, 1e-3, None)) - log) / (droplets.radius / np.median(droplets.radius))[:, None]
    return {"mean color": mean, "log mean color": log, "absorbance per radius": absorbance}


def disc_means(pixels: np.ndarray, droplets: nd.Droplets) -> np.ndarray:
    """(N, C) means over the pixels with their centers in the discs; the nearest pixel where there is none."""
    h, w, _ = pixels.shape
    means = []
    for x, y, r in zip(droplets.x, droplets.y, droplets.radius, strict=True):
        top, left = max(0, int(np.ceil(y - r))), max(0, int(np.ceil(x - r)))
        patch = pixels[top : int(y + r) + 1, left : int(x + r) + 1]
        v, u = np.indices(patch.shape[:2])
        inside = (u + left - x) ** 2 + (v + top - y) ** 2 <= r**2
        nearest = pixels[np.clip(round(y), 0, h - 1), np.clip(round(x), 0, w - 1)]
        means.append(patch[inside].mean(0, dtype=float) if inside.any() else nearest)
    return np.array(means, float)


def classes(path: Path) -> dict[str, Any]:
    """One published aerosol image: agreement with the authors' classes."""
    authors = pd.read_csv(path.parents[1] / "csv" / f"{path.stem}.csv")
    fit = nd.fit(path, types=TYPES, classes=CLASSES)
    return agreement(authors, fit.droplets) | {"poor_masks": path.stem.startswith(POOR_MASKS)}


def agreement(authors: pd.DataFrame, found: nd.Droplets) -> dict[str, Any]:
    """Adjusted Rand index of the authors' classes (`label`) with those found, all matched and certain ones."""
    i, j = match(nd.Droplets.from_dataframe(authors[["x", "y", "radius"]]), found)
    if "class" not in found.labels:
        return {"matched": len(i)}
    theirs, ours = authors["label"].to_numpy()[i].astype(str), np.asarray(found.labels["class"])[j].astype(str)
    result = {
        "matched": len(i),
        "rand": adjusted_rand(theirs, ours),
        "labels": [np.unique(theirs).tolist(), np.unique(ours).tolist()],
        "table": contingency(theirs, ours).tolist(),
    }
    if "class_p" in found.labels:
        sure = np.asarray(found.labels["class_p"], float)[j] >= CERTAIN
        result |= {"certain": int(sure.sum()), "rand_certain": adjusted_rand(theirs[sure], ours[sure])}
    return result
