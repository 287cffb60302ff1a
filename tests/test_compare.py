"""Matching of found and true droplets: by hand, and against the project's own scoring script."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from napari_droplets.compare import compare, match
from napari_droplets.droplets import Droplets

SCORE = Path(__file__).parents[2] / "shared/score/score.py"


def droplets(*rows):
    x, y, radius = np.array(rows, float).reshape(-1, 3).T
    return Droplets(x, y, radius)


def crowd(seed, n=400):
    """Truth, and a finding of it with errors, misses, doubles and inventions, crowded enough for conflicts."""
    rng = np.random.default_rng(seed)
    truth = Droplets(*rng.uniform(0, 150, (2, n)), rng.lognormal(1.0, 0.5, n))
    kept = rng.permutation(n)[: int(0.9 * n)]
    kept = np.r_[kept, kept[:30]]
    x, y = np.c_[truth.x, truth.y][kept].T + rng.normal(0, 0.8, (2, len(kept)))
    found = Droplets(
        np.r_[x, rng.uniform(0, 150, 40)],
        np.r_[y, rng.uniform(0, 150, 40)],
        np.r_[truth.radius[kept] * rng.lognormal(0.05, 0.1, len(kept)), np.full(40, 3.0)],
    )
    return truth, found


def test_two_pairs_are_preferred_to_one_closer_pair():
    truth = droplets((0, 0, 10), (6, 0, 10))
    found = droplets((5.5, 0, 10), (10.5, 0, 10))  # the first lies within reach of one true droplet more closely
    i, j = match(droplets((0, 0, 12), (6, 0, 10)), found)
    assert (i.tolist(), j.tolist()) == ([0, 1], [0, 1])
    i, j = match(truth, found)  # 5.5 is out of reach of the droplet at 0 with radius 10
    assert (i.tolist(), j.tolist()) == ([1], [0])


def test_reach_is_one_pixel_for_tiny_droplets():
    assert compare(droplets((0, 0, 1)), droplets((0.9, 0, 1))).n_matched == 1
    assert compare(droplets((0, 0, 1)), droplets((1.1, 0, 1))).n_matched == 0


def test_figures_by_hand():
    truth = droplets((10, 10, 4), (50, 10, 4), (90, 10, 4))
    found = droplets((11, 10, 5), (50, 10, 5), (200, 10, 4), (300, 10, 4))
    result = compare(truth, found)
    assert (result.n_true, result.n_found, result.n_matched) == (3, 4, 2)
    assert result.precision == pytest.approx(2 / 4)
    assert result.recall == pytest.approx(2 / 3)
    assert result.f1 == pytest.approx(4 / 7)
    assert result.center_error == pytest.approx(0.125)
    assert result.radius_bias == pytest.approx(0.25)


@pytest.mark.parametrize("n", [0, 1])
def test_nothing_found_or_nothing_there(n):
    some, none = droplets(*[(5, 5, 3)] * n), droplets()
    for result in (compare(some, none), compare(none, some)):
        assert result.n_matched == 0
        assert result.f1 == 0
        assert np.isnan(result.center_error)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_scoring_script(seed):
    if not SCORE.exists():
        pytest.skip(f"needs the scoring script {SCORE.name} beside the repository")
    spec = importlib.util.spec_from_file_location("score", SCORE)
    score = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(score)
    truth, found = crowd(seed)
    ours = compare(truth, found)
    theirs = score.score(truth.to_dataframe(), found.to_dataframe())
    assert ours.n_found == theirs["n_found"]
    for name, other in {
        "precision": "precision",
        "recall": "recall",
        "f1": "f1",
        "center_error": "position_median_r",
        "radius_bias": "radius_bias",
    }.items():
        assert getattr(ours, name) == pytest.approx(theirs[other]), name
