"""Fits against the truth: two checked tiles of the published photograph, and many simulated images."""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from typing import Any

import numpy as np
from detection_data import Case, Pairs, Scorer, inside, pooled_scores, real_sets
from detection_reliability import calibration_error, equal_mass_bins, match_probable_first, n_inside, presence
from fit_data import Absent, fit_settings, look, photograph, simulation
from fit_scores import count_coverage, coverage_by_size, difference, jittered, r2, through_map

import napari_droplets as nd
from napari_droplets.compare import match

N_IMAGES = 100
SAMPLES = 200  # of the posterior, for standard deviations of mapped compositions
TELLABLE = 3  # dyes of the simulator that three channels can tell apart; of four, two mixtures may have one color
JITTER = 0.2  # radii
QUANTITIES = ("x", "y", "radius")
POOR = 2.0  # misfit from which a droplet is not explained


def tiles(options: argparse.Namespace) -> dict[str, Any]:
    """Both checked tiles, at full and at a quarter of the size, from four starts."""
    result: dict[str, Any] = {"noise": options.noise}
    if not (options.shared / "score" / "score.py").exists():
        raise Absent(f"there is no score/score.py in {options.shared}; see --shared")
    score = Scorer(options.shared)
    for name in ("example_down4.png", "example.jpg"):
        photograph(options.shared, name)
        case = next(real_sets(options.shared)[name])
        rows, fits = {}, {}
        for start, proposed in starts(case).items():
            print(f"tiles: {name} from {start} …", file=sys.stderr, flush=True)
            given = {"network": {}, "blobs": {"detector": "blobs"}}.get(start, {"droplets": proposed})
            fit = nd.fit(case.image, **given, **fit_settings(options))
            fits[start] = fit.droplets
            rows[start] = {
                "proposed": score(case, proposed),
                "fitted": score(case, fit.droplets),
                "loss": fit.summary["loss"],
                "seconds": fit.summary["seconds"]["total"],
            }
        for start, droplets in fits.items():
            rows[start]["apart"] = apart(case, fits["network"], droplets)
        result[name] = rows
    return result


def starts(case: Case) -> dict[str, nd.Droplets]:
    """What fits begin with: the network, blobs, the network's table given, and points as a user sets them.

    The user's points are the checked droplets in the tiles, jittered, and elsewhere what the network finds.
    """
    found, blobs = nd.detect(case.image), nd.detect(case.image, detector="blobs")
    large = found.scaled(case.scale)
    outside = large[~inside(large.to_dataframe(), case.boxes)]
    checked = nd.Droplets.from_dataframe(case.truth[inside(case.truth, case.boxes)])
    drawn = jittered(checked, JITTER, np.random.default_rng(0))
    both = (np.concatenate([getattr(d, k) for d in (outside, drawn)]) for k in QUANTITIES)
    points = nd.Droplets(*both).scaled(1 / case.scale)
    return {"network": found, "blobs": blobs, "table": found, "points": points}


def apart(case: Case, one: nd.Droplets, other: nd.Droplets) -> dict[str, Any]:
    """How far two fits differ in the tiles: the share of droplets that both have, and distances in error bars."""
    i, j = match(one, other)
    within = [inside(d.scaled(case.scale).to_dataframe(), case.boxes) for d in (one, other)]
    shared = within[0][i].sum() + within[1][j].sum()
    chosen = within[0][i]
    distance = difference(one[i[chosen]], other[j[chosen]])
    return {
        "shared": float(shared / max(within[0].sum() + within[1].sum(), 1)),
        **{k: quantiles(values) for k, values in distance.items()},
    }


def quantiles(values: np.ndarray) -> list[float]:
    """Median and 95 % quantile of those that are known."""
    known = values[np.isfinite(values)]
    return np.quantile(known, [0.5, 0.95]).tolist() if len(known) else [np.nan, np.nan]


def simulated(options: argparse.Namespace) -> dict[str, Any]:
    """Simulated images of all kinds: finding, counting, intervals, probabilities, misfit."""
    results = Simulated()
    count = options.count or N_IMAGES
    for index in range(count):
        shape, arguments = look(index)
        case, truth = simulation(shape, arguments)
        settings = fit_settings(options, noise=False)
        try:
            fit: nd.Fit | str = nd.fit(case.image, types=arguments["types"], seed=index, **settings)
        except nd.InputError as error:
            fit = str(error)
        image = results.add(case, truth, fit)
        print(f"simulated: {index + 1} of {count}, {image}", file=sys.stderr, flush=True)
    return results.figures()


class Simulated:
    """Gathers what fits of simulated images found, then pools it."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.pairs: list[Pairs] = []
        self.counts: list[tuple[int, float, float]] = []
        self.presence: list[tuple[np.ndarray, np.ndarray]] = []
        self.misfit: dict[str, list[np.ndarray]] = defaultdict(list)
        self.rows: list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]] = []
        """Radius, whether required, and errors in standard deviations of the paired droplets of each image."""

    def add(self, case: Case, truth: nd.Droplets, fit: nd.Fit | str) -> dict[str, Any]:
        """Take in one fit, or why there is none: then nothing was found and the count is wrong."""
        image: dict[str, Any] = {"name": case.name, "n_true": len(truth)}
        self.images.append(image)
        found = nd.Droplets(*np.zeros((3, 0))) if isinstance(fit, str) else fit.droplets
        pairs = Pairs.of(case, found)
        self.pairs.append(pairs)
        image["f1"] = pooled_scores([pairs])["all"]["f1"]
        if isinstance(fit, str):
            self.counts.append((n_inside(case), 0.0, 0.0))
            image["failed"] = fit
            return image
        mean, sd = fit.summary.get("count_mean"), fit.summary.get("count_sd")
        if mean is not None and sd is not None:
            self.counts.append((n_inside(case), mean, sd))
        image |= {"count_mean": mean, "count_sd": sd, "seconds": fit.summary["seconds"]["total"]}
        self._add_presence(truth, fit, pairs)
        required = case.truth["ignore"].to_numpy()[pairs.i] == 0
        z = errors(truth, found, pairs)
        image["r2"], z["composition"] = composition_errors(truth, fit, pairs)
        self.rows.append((truth.radius[pairs.i], required, z))
        return image

    def _add_presence(self, truth: nd.Droplets, fit: nd.Fit, pairs: Pairs) -> None:
        candidates: nd.Droplets = getattr(fit, "candidates", None) or fit.droplets  # improbable ones too, if kept
        if candidates.p_present is not None:
            hit = np.zeros(len(candidates), bool)
            hit[match_probable_first(truth, candidates)[1]] = True
            self.presence.append((presence(candidates), hit))
        if "misfit" in fit.droplets.labels:
            values = np.asarray(fit.droplets.labels["misfit"], float)
            right = np.isin(np.arange(len(values)), pairs.j)
            self.misfit["right"].append(values[right])
            self.misfit["false"].append(values[~right])

    def figures(self) -> dict[str, Any]:
        """All figures; what no fit says is left out."""
        figures: dict[str, Any] = {"images": self.images, "scores": pooled_scores(self.pairs)}
        for key in ("r2", "seconds"):
            values = [image[key] for image in self.images if np.isfinite(image.get(key, np.nan))]
            figures[key] = float(np.median(values)) if values else np.nan
        if self.rows:
            figures["coverage"] = self._coverage()
        if self.counts:
            figures["count"] = count_coverage(*map(list, zip(*self.counts, strict=True)))
        if self.presence:
            figures["presence"] = self._presence_figures()
        if self.misfit:
            figures["misfit"] = {k: spread(np.concatenate(v)) for k, v in self.misfit.items()}
        return figures

    def _coverage(self) -> dict[str, Any]:
        """Of required droplets, all and by size; and of those that the border cuts."""
        # images have different numbers of species, which fill different numbers of columns
        columns = max(z["composition"].shape[1] for _, _, z in self.rows)
        for _, _, z in self.rows:
            missing = columns - z["composition"].shape[1]
            z["composition"] = np.pad(z["composition"], ((0, 0), (0, missing)), constant_values=np.nan)
        radius, required = (np.concatenate([row[k] for row in self.rows]) for k in (0, 1))
        z = {k: np.concatenate([row[2][k] for row in self.rows]) for k in self.rows[0][2]}
        covered = coverage_by_size(radius[required], {k: values[required] for k, values in z.items()})
        cut = coverage_by_size(radius[~required], {k: values[~required] for k, values in z.items()})
        return covered | {"cut or tiny": cut["all"]}

    def _presence_figures(self) -> dict[str, Any]:
        p, hit = (np.concatenate(values) for values in zip(*self.presence, strict=True))
        bins = equal_mass_bins(p, hit)
        return {"n": len(p), "ece": calibration_error(bins), "bins": bins.tolist()}


def errors(truth: nd.Droplets, found: nd.Droplets, pairs: Pairs) -> dict[str, np.ndarray]:
    """Errors of x, y and radius of the pairs in standard deviations; NaN where there are none."""
    z = {}
    for name in QUANTITIES:
        sd = getattr(found, f"{name}_sd")
        off = getattr(found, name)[pairs.j] - getattr(truth, name)[pairs.i]
        z[name] = np.full(len(pairs.i), np.nan) if sd is None else off / sd[pairs.j]
    return z


def composition_errors(truth: nd.Droplets, fit: nd.Fit, pairs: Pairs) -> tuple[float, np.ndarray]:
    """R2 and (M, T) errors in standard deviations of the pairs' compositions, after one affine map of the image."""
    found = fit.droplets
    assert truth.composition is not None
    right = truth.composition[pairs.i]
    if found.composition is None or found.composition_sd is None or len(pairs.i) < 2 * (found.types + 1):
        return float("nan"), np.full(right.shape, np.nan)
    samples = fit.sample(SAMPLES)["composition"][:, pairs.j]
    _, estimate, sd = through_map(found.composition[pairs.j], found.composition_sd[pairs.j], samples, right)
    z = (estimate - right) / np.maximum(sd, 1e-9)
    return r2(right, estimate), z if truth.types <= TELLABLE else np.full(z.shape, np.nan)


def spread(values: np.ndarray) -> dict[str, float]:
    """Median, 95 % quantile and share above `POOR` of misfits."""
    if not len(values):
        return {"n": 0, "median": np.nan, "q95": np.nan, "poor": np.nan}
    return {
        "n": len(values),
        "median": float(np.median(values)),
        "q95": float(np.quantile(values, 0.95)),
        "poor": float(np.mean(values > POOR)),
    }
