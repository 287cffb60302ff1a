"""What the race prints follows from its curves."""

import importlib
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"  # scripts, not a package


@pytest.fixture(scope="module")
def fit_speed():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("fit_speed")


@pytest.fixture
def ours(fit_speed):
    losses = np.array([[50, 8.0, 900.0], [100, 9.0, 400.0], [150, 10.5, -100.0], [200, 11.0, -90.0]])
    return fit_speed.Curve(losses, {10.0: 0.125}, seconds=12.0, rmse=0.0625)


def test_curve(ours):
    assert ours.startup == 8
    assert ours.seconds_per_step == pytest.approx(0.02)
    assert ours.at(5) is None
    assert ours.at(10) == (100, 400, 0.125)
    assert ours.at(20) is None
    assert ours.passes(400) == "after 9.0 s, 100 steps"
    assert ours.passes(-101) == "not reached"


def test_report(fit_speed, ours):
    losses = np.array([[1, 15.0, 9000.0], [2, 16.0, 8000.0], [3, 18.0, 500.0], [4, 20.0, 450.0]])
    published = fit_speed.Curve(losses, {20.0: 0.5}, seconds=20.0, rmse=0.25)
    text = fit_speed.report("title", published, ours)
    rows = {line.split("|")[0].strip(): line.split("|")[1:] for line in text.splitlines() if "|" in line}
    assert [cell.split() for cell in rows["10"]] == [["–", "–", "–"], ["100", "400", "0.1250"]]
    assert [cell.split() for cell in rows["20"]] == [["4", "450", "0.5000"], ["–", "–", "–"]]
    assert [cell.split() for cell in rows["end"]] == [["4", "450", "0.2500"], ["200", "-90", "0.0625"]]
    assert "1" not in rows
    assert "published / ours = 100.0" in text
    assert "ours after 9.0 s, 100 steps" in text


def test_plot(fit_speed, ours, tmp_path):
    fit_speed.plot({"image": (300, ours, ours)}, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 10_000


def test_center(fit_speed):
    pixels = np.arange(6 * 8 * 3).reshape(6, 8, 3)
    np.testing.assert_array_equal(fit_speed.center(pixels, 4, 2), pixels[2:4, 2:6])
    np.testing.assert_array_equal(fit_speed.center(pixels, 100, 100), pixels)
