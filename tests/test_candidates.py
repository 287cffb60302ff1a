"""Candidates of a fit: what is proposed, brought together, and who takes part from the beginning."""

import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.inference import candidates


def told(x, p, sd=0.1):
    """Candidates of the network at these places."""
    x = np.asarray(x, float)
    some = np.full(len(x), sd)
    return nd.Droplets(x, x + 1, np.full(len(x), 4.0), some, some, some, p_present=np.asarray(p, float))


def test_the_networks_candidates_alone():
    start = candidates.gathered(None, told([10, 20, 30], [0.9, 0.02, 0.1]), asserted=False)
    assert start.x.tolist() == [10, 30]
    assert start.p_present.tolist() == [0.9, 0.1]


def test_points_give_way_to_what_the_network_sees_of_the_same_droplet():
    points = nd.Droplets([10.5, 50, 70], [11, 30, 31], [3, 5, 6])
    start = candidates.gathered(points, told([10, 30], [0.4, 0.2]), asserted=True)
    assert start.x.tolist() == [10, 50, 70, 30]
    assert start.radius.tolist() == [4, 5, 6, 4]
    assert start.p_present.tolist() == [candidates.ASSERTED] * 3 + [0.2]
    np.testing.assert_array_equal(start.x_sd, [0.1, np.nan, np.nan, 0.1])
    sure = candidates.gathered(points, told([10], [0.97]), asserted=True)
    assert sure.p_present[0] == 0.97


def test_blobs_are_as_probable_as_the_network_says():
    points = nd.Droplets([10.5, 50], [11, 30], [3, 5])
    start = candidates.gathered(points, told([10, 30], [0.4, 0.2]), asserted=False)
    assert start.p_present.tolist() == [0.4, candidates.BLOB, 0.2]


def test_known_probabilities_and_deviations_of_points_stay():
    points = nd.Droplets([50], [30], [3], x_sd=[0.5], y_sd=[0.6], radius_sd=[0.7], p_present=[0.8])
    start = candidates.gathered(points, told([10], [0.4]), asserted=True)
    assert start.p_present.tolist() == [0.8, 0.4]
    assert start.radius_sd.tolist() == [0.7, 0.1]


def test_pinned_points_stay_where_they_are():
    labels = {"pinned": np.array([True, False])}
    points = nd.Droplets([10.5, 20.5], [11, 21], [3, 3], labels=labels)
    start = candidates.gathered(points, told([10, 20, 40], [0.4, 0.4, 0.4]), asserted=True)
    assert start.x.tolist() == [10.5, 20, 40]
    assert start.radius.tolist() == [3, 4, 4]
    assert start.p_present.tolist() == [1, 0.5, 0.4]
    assert candidates.pinned_rows(start).tolist() == [True, False, False]


def test_a_candidate_far_larger_than_the_rest_waits_unless_it_is_likely_or_a_users():
    n = 8
    radius = np.r_[np.linspace(3, 5, n), 60, 60, 15]
    p = np.r_[np.full(n, 0.9), 0.4, 0.6, 0.4]
    found = candidates.likely(nd.Droplets(20.0 * np.arange(n + 3), np.zeros(n + 3), radius, p_present=p))
    assert found.tolist() == [True] * n + [False, True, True]
    bubble = nd.Droplets([300], [300], [60])
    assert candidates.likely(candidates.gathered(bubble, told(20 * np.arange(n), p[:n]), asserted=True)).all()


def test_nobody_is_likely_among_doubtful_candidates():
    assert not candidates.likely(told([10, 20], [0.1, 0.2])).any()


@pytest.mark.parametrize("pinned", [[1.0, np.nan], ["True", None], [True, False], ["true", ""]])
def test_pinned_is_read_from_any_table(pinned):
    droplets = nd.Droplets([1, 2], [1, 2], [1, 1], labels={"pinned": np.array(pinned, object)})
    assert candidates.pinned_rows(droplets).tolist() == [True, False]


def test_labels_and_compositions_of_points_survive():
    labels = {"track_id": np.array([7, 8]), "note": np.array(["acid", "base"]), "good": np.array([True, False])}
    made_of = [[0.2, 0.8], [0.4, 0.6]]
    points = nd.Droplets([10.5, 50], [11, 30], [3, 5], composition=made_of, labels=labels)
    start = candidates.gathered(points, told([10, 30], [0.4, 0.2]), asserted=True)
    np.testing.assert_array_equal(start.composition, [*made_of, [np.nan, np.nan]])
    table = start.to_dataframe()
    assert table["note"].tolist()[:2] == ["acid", "base"]
    assert table["good"].tolist()[:2] == [True, False]
    assert table["track_id"].tolist()[:2] == [7, 8]
    assert table.loc[2, ["note", "good", "track_id"]].isna().all()
