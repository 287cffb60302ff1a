"""HOTA on cases that are counted by hand."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")  # scripts, not a package
    module = importlib.import_module("hota")
hota, overlaps = module.hota, module.overlaps


def table(*rows):
    return pd.DataFrame(rows, columns=["frame", "track_id", "x", "y", "radius"])


def line(track_id, frames, x=0.0, radius=5.0):
    return [(f, track_id, x, 0.0, radius) for f in frames]


def of(truth, found):
    truth, found = table(*truth), table(*found)
    return hota(truth, found, found["track_id"].to_numpy())


def test_discs_overlap_as_circles_do():
    discs = np.array([[0, 0, 2.0], [0, 0, 1.0], [5, 0, 2.0], [2, 0, 2.0]])
    found = overlaps(discs, discs)
    assert found.diagonal() == pytest.approx(1)
    assert found[0, 1] == pytest.approx(1 / 4)  # one within the other
    assert found[0, 2] == 0
    lens = 2 * 4 * np.arccos(1 / 2) - np.sqrt(12)  # two circles of radius 2, their centers 2 apart
    assert found[0, 3] == pytest.approx(lens / (8 * np.pi - lens))
    np.testing.assert_allclose(found, found.T)


def test_right_tracks_have_all():
    truth = line(1, range(4)) + line(2, range(4), x=30)
    assert of(truth, line(8, range(4)) + line(9, range(4), x=30)) == pytest.approx((1, 1, 1, 1))


def test_a_track_in_two_parts():
    found = of(line(1, range(4)), line(7, range(2)) + line(8, range(2, 4)))
    # of each match, 2 of the 4 frames of its tracks agree
    assert found[:3] == pytest.approx((np.sqrt(1 / 2), 1, 1 / 2))


def test_two_tracks_swapped_half_way():
    truth = line(1, range(4)) + line(2, range(4), x=30)
    swapped = [*line(1, range(2)), *line(2, range(2, 4)), *line(2, range(2), x=30), *line(1, range(2, 4), x=30)]
    assert of(truth, swapped)[:3] == pytest.approx((np.sqrt(1 / 3), 1, 2 / (4 + 4 - 2)))


def test_half_of_it_missed_and_as_many_false():
    assert of(line(1, range(4)), line(1, range(2)))[:3] == pytest.approx((1 / 2, 1 / 2, 1 / 2))
    false = line(1, range(2)) + line(5, range(2), x=90)
    assert of(line(1, range(2)), false)[:3] == pytest.approx((np.sqrt(1 / 2), 1 / 2, 1))


def test_places_count_up_to_their_similarity():
    inner = 5 * np.sqrt(0.5)  # half of the area: similar to 0.5, at which 10 of the 19 thresholds are passed
    assert of(line(1, range(3)), line(1, range(3), radius=inner))[0] == pytest.approx(10 / 19)


def test_whoever_is_it_in_most_frames_is_matched_where_two_are_near():
    """A false droplet nearer to the truth in one frame does not take the place of the track."""
    found = line(7, range(5), x=1.0) + line(8, [2], x=0.9)
    result = of(line(1, range(5)), found)
    alike = overlaps(np.array([[0, 0, 5.0]]), np.array([[1.0, 0, 5.0]]))[0, 0]
    passed = int(alike * 20) / 19
    assert result.association == pytest.approx(passed)
    assert result.detection == pytest.approx(passed * 5 / 6)
