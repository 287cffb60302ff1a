"""Corrections of tracks by hand: what is touched changes, ids of all others stay."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.errors import InputError
from napari_droplets.tracking.editing import cut_link, relink, set_link, set_merge

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("laptrack"), reason="needs LapTrack")


@pytest.fixture(scope="module")
def tracks():
    """Four droplets that stand still nearly, in six frames; the second was missed in frame 2."""
    rng = np.random.default_rng(0)
    rows = [
        (f, x + rng.normal(0, 0.1), 30.0, r)
        for f in range(6)
        for x, r in ((20.0, 4.0), (50.0, 5.0), (80.0, 6.0), (110.0, 4.5))
        if (f, x) != (2, 50.0)
    ]
    return nd.track(pd.DataFrame(rows, columns=["frame", "x", "y", "radius"]), shape=(60, 140))


def row_of(tracks, frame, x):
    table = tracks.droplets
    return int(table.index[(table["frame"] == frame) & (np.abs(table["x"] - x) < 3)][0])


def ids_at(tracks, x):
    table = tracks.droplets
    return table[np.abs(table["x"] - x) < 3].sort_values("frame")["track_id"].tolist()


def test_the_gap_was_bridged(tracks):
    assert len(tracks) == 4
    assert len(ids_at(tracks, 50)) == 5


def test_a_cut_track_keeps_its_id_in_the_longer_part_and_the_others_keep_theirs(tracks):
    cut = cut_link(tracks, row_of(tracks, 3, 20), row_of(tracks, 4, 20))
    assert ids_at(cut, 20) == [0, 0, 0, 0, 4, 4]
    assert all(ids_at(cut, x) == ids_at(tracks, x) for x in (50, 80, 110))
    again = set_link(cut, row_of(cut, 3, 20), row_of(cut, 4, 20))
    assert ids_at(again, 20) == [0] * 6
    assert len(again) == 4


def test_links_that_cannot_be_are_refused(tracks):
    with pytest.raises(InputError, match="not linked"):
        cut_link(tracks, row_of(tracks, 0, 20), row_of(tracks, 1, 80))
    with pytest.raises(InputError, match="earlier one first"):
        set_link(tracks, row_of(tracks, 1, 20), row_of(tracks, 0, 20))
    with pytest.raises(InputError, match="there are"):
        set_link(tracks, 0, 999)


def test_a_merge_by_hand_begins_a_new_track(tracks):
    parents = [row_of(tracks, 2, 80), row_of(tracks, 2, 110)]
    told = set_merge(tracks, parents, row_of(tracks, 3, 80))
    [event] = told.events.itertuples()
    assert (event.kind, event.frame, event.p_merge) == ("merge", 3, 1.0)
    assert set(map(int, event.parent_ids.split())) == {ids_at(tracks, 80)[0], ids_at(tracks, 110)[0]}
    assert ids_at(told, 80)[:3] == ids_at(tracks, 80)[:3]
    assert ids_at(told, 80)[3] == event.track_id
    with pytest.raises(InputError, match="at least two"):
        set_merge(tracks, parents[:1], row_of(tracks, 3, 80))


def corrected(tracks, frame):
    return tracks.droplets[tracks.droplets["frame"] == frame].reset_index(drop=True)


def test_a_frame_given_as_it_was_changes_nothing(tracks):
    same = relink(tracks, 3, corrected(tracks, 3))
    pd.testing.assert_frame_equal(same.droplets, tracks.droplets)
    assert sorted(map(tuple, same.links)) == sorted(map(tuple, tracks.links))


def test_an_added_droplet_joins_the_track_that_misses_it(tracks):
    more = pd.concat([corrected(tracks, 2), pd.DataFrame([{"x": 50.1, "y": 30.0, "radius": 5.0}])], ignore_index=True)
    found = relink(tracks, 2, more)
    assert ids_at(found, 50) == [ids_at(tracks, 50)[0]] * 6
    assert len(found) == 4


def test_a_deleted_droplet_leaves_a_gap_and_a_moved_one_keeps_its_id(tracks):
    table = corrected(tracks, 4)
    less = relink(tracks, 4, table[np.abs(table["x"] - 80) > 3])
    assert ids_at(less, 80) == [ids_at(tracks, 80)[0]] * 5
    table.loc[np.abs(table["x"] - 80) < 3, ["x", "radius"]] = 81.5, 6.5
    moved = relink(tracks, 4, table)
    assert ids_at(moved, 80) == ids_at(tracks, 80)
    assert len(moved) == 4


def test_a_droplet_where_none_was_is_a_new_track(tracks):
    more = pd.concat([corrected(tracks, 2), pd.DataFrame([{"x": 95.0, "y": 5.0, "radius": 2.0}])], ignore_index=True)
    found = relink(tracks, 2, more)
    assert len(found) == 5
    assert all(ids_at(found, x) == ids_at(tracks, x) for x in (20, 50, 80, 110))


def test_an_added_parent_makes_a_merge():
    size = 4 * 2 ** (1 / 3)
    rows = [(f, x, 40.0, 4.0) for f in range(4) for x in (30.0 + f, 41.0 - f)] + [
        (f, 35.5, 40.0, size) for f in range(4, 8)
    ]
    rows += [(f, 20.0 * k, 90.0, 3.0 + 0.2 * k) for f in range(8) for k in range(1, 9)]
    whole = pd.DataFrame(rows, columns=["frame", "x", "y", "radius"])
    assert len(nd.track(whole, shape=(100, 200)).merges) == 1
    missing = whole[~((whole["frame"] == 3) & (whole["x"] == 38.0))]
    missing = missing[~((missing["frame"] < 3) & (missing["x"] > 38) & (missing["y"] == 40))]
    found = nd.track(missing, shape=(100, 200))
    assert not found.merges
    frame = pd.concat([found.droplets.query("frame == 3"), pd.DataFrame([{"x": 38.0, "y": 40.0, "radius": 4.0}])])
    after = relink(found, 3, frame)
    assert len(after.merges) == 1
    assert len(after.events.iloc[0]["parent_ids"].split()) == 2
