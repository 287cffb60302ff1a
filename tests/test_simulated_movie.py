"""Simulated movies: the truth obeys its laws, and the pictures show it."""

import numpy as np
import pandas as pd
import pytest

from napari_droplets.errors import InputError
from napari_droplets.movies.simulated import simulate_movie


@pytest.fixture(scope="module")
def busy():
    return simulate_movie((200, 260), 90, 12, radius=5, seed=4, brownian=1.5, splitting=0.03, pictures=False)


def states(movie):
    return movie.droplets.set_index(["track_id", "frame"])


def test_the_same_arguments_give_the_same_movie():
    one, two = (simulate_movie((40, 48), 5, 2, seed=3) for _ in range(2))
    np.testing.assert_array_equal(one.images, two.images)
    pd.testing.assert_frame_equal(one.droplets, two.droplets)


def test_a_droplet_is_in_a_frame_once(busy):
    assert not busy.droplets.duplicated(["frame", "track_id"]).any()
    assert busy.droplets["frame"].min() == 0
    assert busy.droplets["frame"].max() == 11


@pytest.mark.parametrize("exponent", [3.0, 2.0])
def test_merging_conserves_volume_and_composition(exponent):
    movie = simulate_movie((200, 260), 110, 8, seed=2, brownian=1.5, exponent=exponent, pictures=False)
    table = states(movie)
    made = [c for c in table if c.startswith("composition")]
    checked = 0
    for event in movie.events.itertuples():
        parents = [(int(p), event.frame - 1) for p in event.parent_ids.split()]
        if not all(p in table.index for p in parents):
            continue
        before, after = table.loc[parents], table.loc[(event.track_id, event.frame)]
        volume = before["radius"] ** exponent
        whole = volume.sum() >= after["radius"] ** exponent * (1 - 1e-9)  # a parent may have been out of sight
        if whole and np.isclose(volume.sum(), after["radius"] ** exponent):
            np.testing.assert_allclose(volume @ before[made] / volume.sum(), after[made].astype(float), atol=1e-9)
            checked += 1
    assert checked > 5


def test_splitting_conserves_volume_and_names_both(busy):
    table, splits = states(busy), busy.events[busy.events["kind"] == "split"]
    whole = 0
    for (frame, parent), children in splits.groupby(["frame", "parent_ids"]):
        if len(children) == 2 and all((i, frame) in table.index for i in children["track_id"]):
            volume = sum(table.loc[(i, frame), "radius"] ** 3 for i in children["track_id"])
            np.testing.assert_allclose(volume, table.loc[(int(parent), frame - 1), "radius"] ** 3)
            whole += 1
    assert whole > 3


def test_parents_are_gone_and_children_are_new(busy):
    table = busy.droplets.groupby("track_id")["frame"].agg(["min", "max"])
    for event in busy.events.itertuples():
        assert table.loc[event.track_id, "min"] == event.frame
        assert all(table.loc[int(p), "max"] == event.frame - 1 for p in event.parent_ids.split())


def test_droplets_drift_and_others_enter():
    movie = simulate_movie((60, 80), 12, 10, seed=1, brownian=0, drift=(4.0, 0.0), coalescence=False, pictures=False)
    table = movie.droplets.sort_values(["track_id", "frame"])
    steps = table.groupby("track_id")[["x", "y"]].diff().dropna()
    np.testing.assert_allclose(steps["x"], 4.0)
    np.testing.assert_allclose(steps["y"], 0.0, atol=1e-9)
    assert (table.groupby("track_id")["frame"].min() > 0).any()


def test_droplets_that_swim_go_on():
    def kept(persistence):
        movie = simulate_movie((400, 400), 60, 12, seed=3, brownian=2.0, persistence=persistence, pictures=False)
        x = movie.droplets.pivot(index="frame", columns="track_id", values="x").dropna(axis=1).to_numpy()
        steps = np.diff(x, axis=0)
        return np.corrcoef(steps[:-1].ravel(), steps[1:].ravel())[0, 1], steps.std()

    still, spread = kept(0.0)
    swims, as_far = kept(0.8)
    assert abs(still) < 0.15
    assert swims == pytest.approx(0.8, abs=0.1)
    assert as_far == pytest.approx(spread, rel=0.25)


def test_evaporation_follows_the_law_of_the_squared_radius():
    movie = simulate_movie((60, 80), 8, 6, seed=1, growth=-1.0, growth_spread=0.0, coalescence=False, pictures=False)
    squared = movie.droplets.sort_values(["track_id", "frame"]).assign(r2=lambda t: t["radius"] ** 2)
    np.testing.assert_allclose(squared.groupby("track_id")["r2"].diff().dropna(), -1.0)


def test_pictures_show_the_droplets():
    movie = simulate_movie((96, 112), 12, 2, radius=6, seed=5, drift=(3.0, 0.0), brownian=0, noise=0.0)
    for number, table in movie.droplets.groupby("frame"):
        inner = table[(table["x"].between(8, 103)) & (table["y"].between(8, 87))]
        image = movie.images[number].mean(-1)
        at = image[np.rint(inner["y"]).astype(int), np.rint(inner["x"]).astype(int)]
        assert (at < np.median(image) - 0.03).mean() > 0.8


def test_focus_that_drifts_blurs():
    movie = simulate_movie((64, 64), 12, 5, seed=5, brownian=0, noise=0.0, focus_drift=0.6, coalescence=False)
    sharp = [np.abs(np.diff(image.mean(-1), axis=1)).max() for image in movie.images]
    assert sharp == sorted(sharp, reverse=True)


@pytest.mark.parametrize(
    ("wrong", "said"), [({"frames": 0}, "frames"), ({"drift": (1.0,)}, "drift"), ({"splitting": 2}, "splitting")]
)
def test_wrong_arguments_are_named(wrong, said):
    with pytest.raises(InputError, match=said):
        simulate_movie((40, 40), 3, **wrong)
