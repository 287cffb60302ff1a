"""Droplets followed through tables of frames: who is who, what merged, what split."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.droplets import Droplets
from napari_droplets.errors import InputError
from napari_droplets.movies.simulated import simulate_movie
from napari_droplets.tracking.frames import frames_of
from napari_droplets.tracking.linking import link, over_border
from napari_droplets.tracking.motion import learn_motion
from napari_droplets.tracking.paths import Paths

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("laptrack"), reason="needs LapTrack")
SHAPE = (240, 320)


def spoilt(truth, seed=0, *, missed=0.02, place=0.1, radius=0.02, bare=True):
    """Measured as one measures: in any order, some droplets missed."""
    rng = np.random.default_rng(seed)
    table = truth[rng.random(len(truth)) >= missed].sample(frac=1, random_state=seed).reset_index(drop=True)
    table["x"] += place * rng.standard_normal(len(table))
    table["y"] += place * rng.standard_normal(len(table))
    table["radius"] *= np.exp(radius * rng.standard_normal(len(table)))
    table = table.rename(columns={"track_id": "true_id"})
    return table[["frame", "x", "y", "radius", "true_id"]] if bare else table


def right_links(found):
    """Part of the links that are of one droplet."""
    real = found.droplets["true_id"].to_numpy()
    return float((real[found.links[:, 0]] == real[found.links[:, 1]]).mean())


def merges_found(movie, found):
    real = found.droplets["true_id"].to_numpy()
    wanted = {e.track_id: set(map(int, e.parent_ids.split())) for e in movie.events.itertuples() if e.kind == "merge"}
    right = [e for e in found.merges if len({real[r] for r in e.several} & wanted.get(real[e.one], set())) > 1]
    return len(wanted), len(right), len(found.merges)


def merging_movie(seed):
    movie = simulate_movie(SHAPE, 110, 16, seed=seed, brownian=1.2, pictures=False)
    return movie, nd.track(spoilt(movie.droplets), shape=SHAPE)


@pytest.fixture(scope="module")
def merging():
    return merging_movie(11)


def frames(*rows):
    return pd.DataFrame(rows, columns=["frame", "x", "y", "radius"])


def test_merges_are_found_and_the_merged_droplet_is_new(merging):
    movie, found = merging
    other = merging_movie(12)
    there, right, reported = np.add(merges_found(movie, found), merges_found(*other))
    assert there > 35
    assert right >= 0.9 * there
    assert reported - right <= 1
    assert right_links(found) > 0.995
    for event in found.events.itertuples():
        first = found.track(event.track_id)["frame"].min()
        assert first == event.frame
        for parent in map(int, event.parent_ids.split()):
            assert found.track(parent)["frame"].max() < event.frame


@pytest.mark.parametrize("persistence", [0.0, 0.8])
def test_merges_are_found_where_droplets_move_far(persistence):
    there, right, reported = 0, 0, 0
    for seed in (2, 3):
        movie = simulate_movie(SHAPE, 60, 16, seed=seed, brownian=5.0, persistence=persistence, pictures=False)
        counts = merges_found(movie, nd.track(spoilt(movie.droplets, seed), shape=SHAPE))
        there, right, reported = np.add((there, right, reported), counts)
    assert there > 25
    assert right >= 0.9 * there
    assert right >= 0.9 * reported


def test_a_droplet_leaves_only_where_its_displacement_may_reach_the_border():
    place = np.array([[50.0, 50.0], [50.0, 2.5], [50.0, 12.5], [120.0, 50.0]])
    told = over_border(place, 3.0, (100, 100))
    assert told == pytest.approx([0, 0.1587, 1.4e-5, 0.9], abs=1e-3)  # 3 px are one deviation, 13 px four
    assert over_border(place[1:3], 12.0, (100, 100))[1] == pytest.approx(0.1393, abs=1e-3)


def test_droplets_that_swim_are_expected_ahead():
    rng, rows = np.random.default_rng(0), []
    for k in range(20):  # each on a course of its own, none in common
        speed, place = rng.normal(0, 3, 2), np.array([40.0 + 60 * (k % 5), 30.0 + 60 * (k // 5)])
        rows += [(f, *(place + f * speed + rng.normal(0, 0.3, 2)), 4) for f in range(8)]
    table = frames(*rows)
    of = frames_of(table, (240, 320))
    motion = learn_motion(of)
    assert motion.persistence > 0.8
    paths = Paths.of(of, motion, link(of, motion, 2))
    here, there = (table.index[table["frame"] == f] for f in (5, 6))
    told = [paths.expected(int(row), 6) for row in here]
    away = np.array([t.place for t in told]) - table.loc[there, ["x", "y"]].to_numpy()
    assert np.median(np.abs(away)) < 0.8  # 2 from where they were last
    assert np.median([t.place_sd for t in told]) < 0.7 * motion.steps[5].spread


@pytest.mark.parametrize(
    "motion",
    [
        {"drift": (22.0, -9.0)},
        {"drift": (2.0, 1.0), "drift_jitter": 8.0},
        {"flow": 14.0, "brownian": 0.4},
        {"growth": -1.0},
    ],
)
def test_what_all_droplets_do_is_learned(motion):
    movie = simulate_movie(SHAPE, 80, 8, seed=3, **{"brownian": 0.8, **motion}, pictures=False)
    found = nd.track(spoilt(movie.droplets), shape=SHAPE)
    assert right_links(found) > 0.99
    assert len(found.links) > 0.9 * (len(movie.droplets) - movie.droplets["track_id"].nunique())


def test_compositions_tell_droplets_apart_that_move_far():
    movie = simulate_movie(SHAPE, 60, 10, seed=3, brownian=8, radius=3, radius_spread=0.02, coalescence=False,
                           pictures=False)  # fmt: skip
    table = spoilt(movie.droplets, bare=False)
    with_them = right_links(nd.track(table, shape=SHAPE))
    without = right_links(nd.track(table[["frame", "x", "y", "radius", "true_id"]], shape=SHAPE))
    assert with_them > 0.99
    assert without < with_them


def test_volume_decides_whether_droplets_merged():
    def pair(radius):
        before = [(f, x, 40.0, 4.0) for f in range(4) for x in (30 + f, 41 - f)]
        after = [(f, 35.5, 40.0, radius) for f in range(4, 8)]
        others = [(f, 20.0 * k, 90.0, 3.0 + 0.2 * k) for f in range(8) for k in range(1, 9)]
        return nd.track(frames(*before, *after, *others), shape=(100, 200))

    [conserved] = pair(4 * 2 ** (1 / 3)).merges
    assert conserved.p > 0.95
    assert abs(conserved.volume_residual) < 0.02
    [swollen] = pair(6.5).merges or [None]
    assert swollen is None or swollen.p < conserved.p


def test_merges_that_follow_each_other_are_two_and_not_one_of_three():
    first = [(f, x, 40.0, 4.0) for f in range(4) for x in (30 + f, 41 - f)]
    between = [(4, 35.5, 40.0, 4 * 2 ** (1 / 3))]
    third = [(f, 49.0 - 0.5 * f, 40.0, 4.4) for f in range(5)]
    after = [(f, 39.5, 40.0, (2 * 4.0**3 + 4.4**3) ** (1 / 3)) for f in range(5, 9)]
    others = [(f, 20.0 * k, 90.0, 3.0 + 0.2 * k) for f in range(9) for k in range(1, 9)]
    found = nd.track(frames(*first, *between, *third, *after, *others), shape=(100, 200))
    assert found.events["frame"].tolist() == [4, 5]
    assert found.events["parent_ids"].str.split().str.len().tolist() == [2, 2]
    assert str(found.events["track_id"].iloc[0]) in found.events["parent_ids"].iloc[1].split()
    assert (found.events["p_merge"] > 0.9).all()


def test_volume_of_discs_goes_with_the_squared_radius():
    def merged(geometry):
        before = [(f, x, 40.0, 4.0) for f in range(4) for x in (30 + f, 41 - f)]
        after = [(f, 35.5, 40.0, 4 * 2**0.5) for f in range(4, 8)]
        others = [(f, 20.0 * k, 90.0, 3.0 + 0.2 * k) for f in range(8) for k in range(1, 9)]
        found = nd.track(frames(*before, *after, *others), shape=(100, 200), geometry=geometry)
        return found.merges

    assert abs(merged("disc")[0].volume_residual) < 0.02
    assert not merged("cap")  # the volume of caps would have grown by two fifths


def test_splits_are_found():
    movie = simulate_movie(SHAPE, 40, 12, seed=5, radius=7, brownian=1, splitting=0.06, pictures=False)
    found = nd.track(spoilt(movie.droplets, missed=0), shape=SHAPE)
    real = found.droplets["true_id"].to_numpy()
    wanted = {}
    for event in movie.events[movie.events["kind"] == "split"].itertuples():
        wanted.setdefault(int(event.parent_ids), set()).add(event.track_id)
    wanted = {k: v for k, v in wanted.items() if len(v) == 2}
    right = [e for e in found.splits if wanted.get(real[e.one]) == {real[r] for r in e.several}]
    assert len(wanted) > 4
    assert len(right) >= 0.7 * len(wanted)
    assert len(found.splits) - len(right) <= 1
    splits = found.events[found.events["kind"] == "split"]
    assert splits["p_split"].notna().all()
    assert splits["p_merge"].isna().all()


def test_a_missed_droplet_is_found_again():
    rows = [(f, 20.0 + f, 30.0, 5.0) for f in range(8) if f not in (3, 4)]
    assert len(nd.track(frames(*rows), max_gap=2)) == 1
    assert len(nd.track(frames(*rows, *[(f, 80.0, 80.0, 3.0) for f in range(8)]), max_gap=1)) == 3


def test_a_frame_without_a_single_droplet_is_bridged():
    rows = [(f, x, 30.0, 5.0) for f in (0, 1, 3, 4) for x in (20.0, 60.0)]
    assert len(nd.track(frames(*rows))) == 2


@pytest.mark.parametrize(
    ("rows", "ids"),
    [
        ([(3, 5, 5, 2)], [0]),
        ([(0, 5, 5, 2), (0, 50, 50, 2)], [0, 1]),
        ([(0, 5, 5, 2), (1, 50, 50, 2)], [0, 1]),
        ([(0, 5, 5, 2), (100, 5, 5, 2), (200, 6, 5, 2)], [0, 0, 0]),
        ([(0, 5, 5, 2), (0, 5, 5, 2), (1, 5, 5, 2), (1, 5, 5, 2)], [0, 1, 0, 1]),
    ],
)
def test_few_droplets(rows, ids):
    found = nd.track(frames(*rows))
    assert found.droplets["track_id"].tolist() == ids
    assert len(found.tracks) == len(set(ids))
    assert not len(found.events)


def test_a_table_for_each_frame_serves_too():
    table = frames(*[(f, x + f, 30.0, 5.0) for f in range(3) for x in (20.0, 60.0)])
    parts = [t.drop(columns="frame") for _, t in table.groupby("frame")]
    for given in (parts, [Droplets.from_dataframe(p) for p in parts]):
        found = nd.track(given, interval_s=0.5)
        assert found.droplets["track_id"].tolist() == [0, 1] * 3
        assert found.droplets["time_s"].tolist() == [0, 0, 0.5, 0.5, 1.0, 1.0]


def test_columns_of_the_user_stay():
    table = frames((0, 5, 5, 2), (1, 5, 5, 2)).assign(note=["a", "b"])
    assert nd.track(table).droplets["note"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "options", "said"),
    [
        (pd.DataFrame({"x": [1.0], "y": [1.0], "radius": [1.0]}), {}, "frame"),
        (frames(), {}, "no droplets"),
        (frames((0.5, 1, 1, 1)), {}, "whole number"),
        (frames((0, 1, 1, -1)), {}, "positive"),
        ("movie.tif", {}, "give a table"),
        (frames((0, 1, 1, 1)), {"geometry": "cube"}, "geometry"),
        (frames((0, 1, 1, 1)), {"max_gap": -1}, "max_gap"),
        (frames((0, 1, 1, 1)), {"interval_s": 0}, "interval_s"),
        (frames((3, 1, 1, 1)), {"times_s": [0, 1]}, "times_s"),
    ],
)
def test_what_cannot_be_used_is_named(given, options, said):
    with pytest.raises(InputError, match=said):
        nd.track(given, **options)
