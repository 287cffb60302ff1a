"""A movie's droplets as a sheet: tracks from the table and back, corrections as steps, undo to the bit, sessions."""

import importlib.util

import numpy as np
import pandas as pd
import pytest

from napari_droplets.errors import InputError
from napari_droplets.movies.simulated import simulate_movie
from napari_droplets.tracking.api import track
from napari_droplets.workbench.movies import movie, refits
from napari_droplets.workbench.session import Session
from napari_droplets.workbench.sheet import ImageReference, Sheet
from napari_droplets.workbench.storing import moment_of, read_session, save_session

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("laptrack"), reason="needs LapTrack")


@pytest.fixture(scope="module")
def followed():
    shot = simulate_movie((150, 180), 45, 9, radius=5, seed=3, drift=(1.0, 0.3), brownian=0.8, pictures=False)
    return track(shot.droplets.drop(columns="track_id"), shape=(150, 180))


@pytest.fixture
def sheet(followed):
    table = followed.droplets.drop(columns=["track_id"])
    sheet = Sheet("movie droplets", table, ImageReference("movie", shape=(150, 180), axes=("frame",)))
    movie.follow(sheet, followed)
    return sheet


def state(sheet):
    return sheet.table.copy(), sheet.ties


def same(one, other):
    pd.testing.assert_frame_equal(one[0], other[0])
    assert one[1] == other[1]


def middle(sheet, frame=4):
    """A droplet that is seen in all frames, far from others, and its numbers in the order of frames."""
    counts = sheet.table.groupby("track_id")["frame"].agg(["min", "max", "size"])
    ids = counts.index[(counts["min"] == 0) & (counts["size"] == 9)]
    here = sheet.table[sheet.table["frame"] == frame]
    apart = [
        np.sort(np.hypot(here["x"] - row.x, here["y"] - row.y))[1] if row.track_id in ids else 0
        for row in here.itertuples()
    ]
    track_id = here["track_id"].iloc[int(np.argmax(apart))]
    rows = sheet.table[sheet.table["track_id"] == track_id].sort_values("frame")
    return track_id, rows.index.tolist()


def test_tracks_are_told_by_the_table_and_its_ties(sheet, followed):
    assert len(followed.merges) >= 1
    again = movie.saved_tracks(sheet)
    pd.testing.assert_frame_equal(again.droplets, followed.droplets, check_like=True)
    pd.testing.assert_frame_equal(again.events, followed.events)
    pd.testing.assert_frame_equal(again.tracks, followed.tracks)
    assert len(sheet.journal) == 0  # what was found is no edit


def test_what_is_deleted_and_added_again_is_linked_anew_and_undone_with_the_edit(sheet):
    track_id, numbers = middle(sheet)
    before, gone = state(sheet), sheet.table.loc[[numbers[4]]]
    sheet.edit(sheet.table.drop(index=numbers[4]), "delete")
    assert movie.pending(sheet) is not None
    movie.catch_up(sheet)
    assert movie.pending(sheet) is None
    bridged = sheet.table[sheet.table["track_id"] == track_id]
    assert sorted(bridged["frame"]) == [0, 1, 2, 3, 5, 6, 7, 8]  # its track goes on over the gap
    deleted = state(sheet)
    new = gone.assign(track_id=np.nan, time_s=np.nan, x=gone["x"] + 0.4).set_axis(sheet.new_numbers(1), axis=0)
    sheet.edit(pd.concat([sheet.table, new]).rename_axis(sheet.table.index.name), "add")
    movie.catch_up(sheet)
    assert (sheet.table["track_id"] == track_id).sum() == 9
    assert sheet.table["time_s"].notna().all()
    added = state(sheet)
    assert sheet.undo()
    same(state(sheet), deleted)
    assert sheet.undo()
    same(state(sheet), before)
    assert sheet.redo()
    assert sheet.redo()
    same(state(sheet), added)
    assert movie.pending(sheet) is None


def test_a_droplet_that_is_moved_far_stays_the_same_one_and_all_others_as_they_were(sheet):
    track_id, numbers = middle(sheet)
    moved = sheet.table.copy()
    moved.loc[numbers[4], ["x", "y"]] += 12.0  # more than its radius
    others = sheet.table.drop(index=numbers)["track_id"]
    sheet.edit(moved, "move")
    movie.catch_up(sheet)
    assert sheet.table["track_id"][numbers[4]] == track_id
    pd.testing.assert_series_equal(sheet.table.drop(index=numbers)["track_id"], others)


def test_links_are_cut_and_set_as_steps_and_events_told(sheet):
    track_id, numbers = middle(sheet)
    before = state(sheet)
    movie.cut(sheet, numbers[4])
    after = sheet.table["track_id"][numbers]
    assert (after.iloc[4:] == track_id).all()  # the longer part keeps its number
    assert after.iloc[:4].nunique() == 1
    assert after.iloc[0] != track_id
    movie.link(sheet, numbers[4], numbers[3])  # in any order
    assert (sheet.table["track_id"][numbers] == track_id).all()
    assert [step.kind for step in sheet.journal] == ["cut", "link"]
    sheet.undo()
    sheet.undo()
    same(state(sheet), before)
    here = sheet.table[(sheet.table["frame"] == 3) & (sheet.table["track_id"] != track_id)].index[0]
    movie.join(sheet, [numbers[3], int(here), numbers[4]])
    row = movie.saved_tracks(sheet).events.query("p_merge == 1 and frame == 4").iloc[-1]
    assert str(sheet.table["track_id"][numbers[3]]) in row["parent_ids"].split()
    movie.cut(sheet, int(here), numbers[4])  # it did not merge into that
    assert not ((tie := movie.saved_tracks(sheet).events)["p_merge"].eq(1) & (tie["frame"] == 4)).any()
    with pytest.raises(InputError, match="both droplets are in frame 3"):
        movie.link(sheet, numbers[3], int(here))
    with pytest.raises(InputError, match="begins here already"):
        movie.cut(sheet, numbers[0])


def test_links_found_for_droplets_that_were_edited_meanwhile_are_not_taken(sheet):
    _, numbers = middle(sheet)
    sheet.edit(sheet.table.drop(index=numbers[4]), "delete")
    edited = movie.pending(sheet)
    found = movie.relinked(edited)
    sheet.edit(sheet.table.drop(index=numbers[2]), "delete")
    assert not movie.take(sheet, edited, found)
    movie.catch_up(sheet)
    assert len(sheet.table[sheet.table["track_id"].isin([middle(sheet)[0]])]) == 9
    assert sheet.journal[-1].kind == "relink"


def moved(sheet, number, by):
    """A droplet moved as the canvas does it: what it is made of is unknown then."""
    table = sheet.table.assign(pinned=sheet.table.get("pinned", pd.Series(False, sheet.table.index)).eq(True))
    table.loc[number, ["x", "composition_0", "pinned"]] = table["x"][number] + by, np.nan, True
    sheet.edit(table.astype({"pinned": bool}), "move")


def test_frames_with_droplets_that_were_edited_or_deleted_are_fitted_again(sheet):
    _, numbers = middle(sheet)
    before, one, other = sheet.table.copy(), numbers[2], numbers[6]
    assert refits.to_refit(sheet) == []
    moved(sheet, one, 3.0)
    moved(sheet, other, 3.0)
    first, second = refits.to_refit(sheet)
    assert (first.frame, list(first.edited), len(first.gone)) == (2, [one], 0)
    assert (second.frame, list(second.edited), len(second.gone)) == (6, [other], 0)
    sheet.edit(sheet.table.drop(index=one), "delete")
    movie.catch_up(sheet)
    first, _ = refits.to_refit(sheet)
    assert (first.frame, len(first.edited), list(first.gone.index)) == (2, 0, [one])
    assert first.gone["x"][one] == before["x"][one]  # as it was when the frame was fitted
    assert one not in first.table.index
    assert refits.take(sheet, first, first.table.iloc[[0]].assign(radius=9.0))
    assert [asked.frame for asked in refits.to_refit(sheet)] == [6]
    sheet.undo()
    assert [asked.frame for asked in refits.to_refit(sheet)] == [2, 6]


def test_a_droplet_that_no_fit_has_known_leaves_nothing_to_fit_again(sheet):
    new = sheet.table.iloc[[0]].assign(x=50.0).set_axis(sheet.new_numbers(1), axis=0)
    sheet.edit(pd.concat([sheet.table, new]).rename_axis(sheet.table.index.name), "add")
    sheet.edit(sheet.table.drop(index=new.index), "delete")
    assert refits.to_refit(sheet) == []
    here = sheet.table.index[sheet.table["frame"] == 3]
    sheet.edit(sheet.table.drop(index=here), "delete")  # nothing is left in this frame
    assert refits.to_refit(sheet) == []


def test_a_frame_fitted_as_it_is_no_more_is_not_taken(sheet):
    here = sheet.table.index[sheet.table["frame"] == 3]
    sheet.edit(sheet.table.drop(index=here[0]), "delete")
    [asked] = refits.to_refit(sheet)
    rows = asked.table.iloc[[2]].assign(radius=9.0)
    sheet.edit(sheet.table.drop(index=here[1]), "delete")
    assert not refits.take(sheet, asked, rows)  # the other one was still there when it was fitted
    [asked] = refits.to_refit(sheet)
    assert list(asked.gone.index) == [here[1], here[0]]
    sheet.undo()
    assert not refits.take(sheet, asked, rows)
    assert 9.0 not in set(sheet.table["radius"])


def test_a_session_keeps_tracks_events_and_undo(sheet, tmp_path):
    session = Session()
    session.add(sheet)
    _, numbers = middle(sheet)
    before = state(sheet)
    movie.cut(sheet, numbers[4])
    sheet.edit(sheet.table.drop(index=numbers[2]), "delete")
    movie.catch_up(sheet)
    [again] = read_session(save_session(moment_of(session), tmp_path / "work")).sheets
    same(state(again), state(sheet))
    again.undo()
    again.undo()
    same(state(again), before)


def test_droplets_that_are_not_followed_are_told_so(sheet):
    with pytest.raises(InputError, match="press Follow first"):
        movie.link(Sheet("some", sheet.table), 0, 1)
    sheet.begin(sheet.table.copy())  # another run takes their place
    assert not movie.is_followed(sheet)
