"""Statistics against closed forms and simulations."""

import json

import numpy as np
import pytest

from napari_droplets import Droplets, InputError, statistics

RNG = np.random.default_rng(0)
MU, SIGMA = np.log(12), 0.3


def lognormal(n, rng=RNG):
    d = np.exp(rng.normal(MU, SIGMA, n))
    return Droplets(rng.uniform(0, 1000, n), rng.uniform(0, 1000, n), d / 2)


def test_closed_forms_of_a_lognormal():
    """Hatch and Choate: D50 = exp(mu), D[p,q] = exp(mu + (p + q) sigma² / 2), D50 by volume = exp(mu + 3 sigma²)."""
    found = statistics(lognormal(200_000), border="kept", shape=(1000, 1000))
    assert found["D50"] == pytest.approx(np.exp(MU), rel=0.005)
    assert found["D32"] == pytest.approx(np.exp(MU + 2.5 * SIGMA**2), rel=0.005)
    assert found["D43"] == pytest.approx(np.exp(MU + 3.5 * SIGMA**2), rel=0.005)
    assert found["mean"] == pytest.approx(np.exp(MU + SIGMA**2 / 2), rel=0.005)
    assert found["cv"] == pytest.approx(np.sqrt(np.exp(SIGMA**2) - 1), rel=0.01)
    assert found["DV50"] == pytest.approx(np.exp(MU + 3 * SIGMA**2), rel=0.005)
    z = 1.2815515655446004  # of the tenth and nineties percentile
    assert found["span"] == pytest.approx(np.exp(z * SIGMA) - np.exp(-z * SIGMA), rel=0.01)
    assert found["span_volume"] == pytest.approx(np.exp(z * SIGMA) - np.exp(-z * SIGMA), rel=0.02)


def test_two_droplets_by_hand():
    droplets = Droplets([50.0, 150.0], [50.0, 150.0], [5.0, 10.0], pixel_size_um=0.5)
    found = statistics(droplets, shape=(200, 400), border="kept", depth_um=20)
    assert found["number"] == 2
    assert found["mean"] == 7.5  # micrometres
    assert found["sd"] == pytest.approx(np.std([5, 10], ddof=1))
    assert found["D32"] == pytest.approx((5**3 + 10**3) / (5**2 + 10**2))
    assert found["density"] == pytest.approx(2 / (0.1 * 0.2))
    assert found["area_fraction"] == pytest.approx(np.pi * (2.5**2 + 5**2) / (100 * 200))
    assert found["volume_fraction"] == pytest.approx(np.pi / 6 * (5**3 + 10**3) / (100 * 200 * 20))
    assert found.table.loc["D50", "unit"] == "µm"
    assert "D32" in str(found)
    json.dumps(found.record(), allow_nan=False)


def test_droplets_cut_by_the_border_are_corrected_for():
    """Large ones are cut more often: without the correction those left are too few and too small."""
    rng = np.random.default_rng(1)
    n, side, margin = 100_000, 300.0, 100.0
    d = np.exp(rng.normal(np.log(30), 0.4, n))
    x, y = rng.uniform(-margin, side + margin, (2, n))
    near = (x + d / 2 > -0.5) & (x - d / 2 < side - 0.5) & (y + d / 2 > -0.5) & (y - d / 2 < side - 0.5)
    droplets = Droplets(x[near], y[near], d[near] / 2)
    true = n / (side + 2 * margin) ** 2 * 1e6
    found = statistics(droplets, shape=(300, 300))
    assert found["density"] == pytest.approx(true, rel=0.02)
    assert found["D50"] == pytest.approx(30, rel=0.01)
    left = statistics(droplets, shape=(300, 300), border="left out")
    assert left["density"] < 0.85 * true
    assert left["D50"] < 29.5
    assert "left out" in left.border
    flagged = Droplets([5.0, 50.0], [5.0, 50.0], [9.0, 3.0], labels={"cut_by_border": np.array([True, False])})
    assert statistics(flagged)["mean"] == 6


def test_intervals_of_a_population_hold():
    """In 95 % of samples the interval holds the true value."""
    rng = np.random.default_rng(2)
    true = {"D50": np.exp(MU), "D32": np.exp(MU + 2.5 * SIGMA**2), "mean": np.exp(MU + SIGMA**2 / 2)}
    held = dict.fromkeys(true, 0)
    for _ in range(100):
        table = statistics(lognormal(300, rng), border="kept", population=True).table
        for name, value in true.items():
            held[name] += table.loc[name, "low"] <= value <= table.loc[name, "high"]
    assert all(87 <= count <= 100 for count in held.values()), held


def test_intervals_from_the_posterior():
    n = 400
    droplets = Droplets(
        *RNG.uniform(50, 950, (2, n)), np.full(n, 10.0), radius_sd=np.full(n, 1.0), p_present=np.full(n, 0.8)
    )
    own = statistics(droplets, shape=(1000, 1000), border="kept").table
    assert own.loc["number", "value"] == pytest.approx(320)
    assert own.loc["number", "high"] - 320 == pytest.approx(1.96 * np.sqrt(400 * 0.8 * 0.2), rel=1e-4)
    half = (own.loc["mean", "high"] - own.loc["mean", "low"]) / 2
    assert half == pytest.approx(1.96 * 2 / np.sqrt(320), rel=0.15)  # each for itself
    shared = statistics(droplets, shape=(1000, 1000), border="kept", radius_percent=10.0).table
    half = (shared.loc["mean", "high"] - shared.loc["mean", "low"]) / 2
    assert half == pytest.approx(1.96 * 2, rel=0.15)  # all alike
    counted = statistics(droplets, shape=(1000, 1000), border="kept", count=(330.0, 20.0)).table
    assert counted.loc["number", "low"] == pytest.approx(330 - 1.96 * 20, rel=1e-3)
    assert counted.loc["density", "high"] / counted.loc["density", "value"] == pytest.approx(
        1 + 1.96 * 20 / 330, rel=1e-3
    )


def test_classes():
    kinds = np.array(["acid"] * 3 + ["base"])
    droplets = Droplets([50.0] * 4, [50.0] * 4, [5.0, 5.0, 5.0, 10.0], labels={"class": kinds})
    found = statistics(droplets, border="kept")
    assert set(found.classes) == {"acid", "base"}
    assert found.classes["acid"].loc["number_share", "value"] == 0.75
    assert found.classes["base"].loc["volume_share", "value"] == pytest.approx(1000 / 1375)
    assert found.classes["acid"].loc["D50", "value"] == 10
    assert "density" not in found.table.index  # nobody knows the size of the image


def test_wrong_use():
    with pytest.raises(InputError, match="no droplets"):
        statistics(Droplets([], [], []))
    with pytest.raises(InputError, match="border='cut'"):
        statistics(lognormal(3), border="cut")
