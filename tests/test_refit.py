"""Refits after manual correction: what was edited stays, its surroundings adapt, the rest is left alone."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.inference.local.refit import _classified, find_edits

PLACES = ["x", "y", "radius"]
FAR = 30  # pixels from an edit, beyond which no droplet of this image can be touched


@pytest.fixture(scope="module")
def edited(fitted):
    """One droplet moved, one removed, one added."""
    table = fitted.table.drop(index=3).reset_index(drop=True)
    table.loc[0, ["x", "y"]] += 1.5
    return pd.concat([table, pd.DataFrame({"x": [56.0], "y": [48.0], "radius": [4.0]})], ignore_index=True)


@pytest.fixture(scope="module")
def again(fitted, edited):
    return nd.refit(fitted, edited)


def away(table, *places):
    """Rows farther from all these places than any edit there reaches."""
    return np.all([np.hypot(table["x"] - x, table["y"] - y) > FAR for x, y in places], 0)


def places_of_edits(fitted, edited):
    return [(56, 48), *((t.loc[k, "x"], t.loc[k, "y"]) for t, k in ((edited, 0), (fitted.table, 3), (fitted.table, 0)))]


def test_what_was_edited_stays(fitted, edited, again):
    table = again.table
    assert len(table) == len(edited)
    for row in (0, len(table) - 1):
        assert table.loc[row, PLACES].tolist() == edited.loc[row, PLACES].tolist()
        assert table.loc[row, ["x_sd", "y_sd", "radius_sd"]].isna().all()
        assert table.loc[row, "pinned"]
        assert table.loc[row, "p_present"] == 1
        assert np.isfinite(table.loc[row, "misfit"])
        assert np.isfinite(table.loc[row, "composition_0"])
    assert table["pinned"].sum() == 2
    gone = fitted.table.loc[3]
    assert np.hypot(table["x"] - gone["x"], table["y"] - gone["y"]).min() > 1
    assert again.summary["refit"]["edited"] == 2
    assert again.summary["refit"]["removed"] == 2  # the moved droplet is no longer where it was


def test_the_expected_count_follows_what_is_added_and_deleted(fitted):
    """What was deleted took its probability along, and what was added is sure."""
    table = fitted.table.sort_values("cut_by_border", ignore_index=True)  # the first two are in the image
    p = table["p_present"].to_numpy()
    gone = nd.refit(fitted, table.drop(index=table.index[:2]))
    assert gone.summary["count_mean"] == pytest.approx(fitted.summary["count_mean"] - p[:2].sum(), abs=1e-6)
    back = nd.refit(gone, pd.concat([gone.table, table.loc[:0, ["x", "y", "radius"]]], ignore_index=True))
    assert back.summary["count_mean"] == pytest.approx(gone.summary["count_mean"] + 1, abs=1e-6)


def test_the_rest_is_unchanged_to_the_bit(fitted, edited, again):
    far = away(edited, *places_of_edits(fitted, edited))
    assert far.sum() >= 3
    columns = [c for c in fitted.table.columns if c not in ("class", "class_p", "cut_by_border")]
    pd.testing.assert_frame_equal(again.table.loc[far, columns], edited.loc[far, columns], check_exact=True)
    np.testing.assert_array_equal(again.table.loc[far, "class"].astype(int), edited.loc[far, "class"].astype(int))
    for name, weight in again.optics.weights.items():
        np.testing.assert_array_equal(weight, fitted.optics.weights[name])
    np.testing.assert_array_equal(again.guide["background"], fitted.guide["background"])
    rows = np.flatnonzero(far)
    draws, before = again.sample(2000), fitted.table
    np.testing.assert_allclose(draws["x"].std(0)[rows], edited.loc[far, "x_sd"], rtol=0.1)
    assert len(before) == len(again.table)


def test_the_picture_far_away_is_unchanged(fitted, edited, again):
    v, u = np.mgrid[:96, :112]
    places = places_of_edits(fitted, edited)
    far = np.all([np.hypot(u - x, v - y) > FAR + 8 for x, y in places], 0)
    assert far.sum() > 100
    np.testing.assert_allclose(again.reconstruction[far], fitted.reconstruction[far], atol=2e-3)
    there = np.hypot(u - 56, v - 48) < 3
    assert np.abs(again.reconstruction - fitted.reconstruction)[there].max() > 0.01


def test_droplets_left_alone_stay_in_the_picture(fitted):
    t = fitted.table
    apart = np.hypot(*(t[c].to_numpy()[:, None] - t[c].to_numpy() for c in ("x", "y")))
    beyond = apart - 2 * t["radius"].to_numpy()[:, None] - t["radius"].to_numpy()  # 0: just out of reach of an edit
    rows = np.argsort(np.where(beyond > 1, beyond, np.inf).min(1))[:2]
    for row in rows:
        table = fitted.table.copy()
        table.loc[row, "x"] += 1.0
        again = nd.refit(fitted, table, steps=5)
        alone = (again.table[PLACES] == fitted.table[PLACES]).all(axis=1)
        x, y = (np.rint(fitted.table[c][alone]).astype(int) for c in ("x", "y"))
        inside = (x >= 0) & (x < 112) & (y >= 0) & (y < 96)
        at = y[inside], x[inside]
        np.testing.assert_array_equal(again.reconstruction[at], fitted.reconstruction[at])


def test_touched_droplets_do_not_jump(fitted):
    """Nothing is new in the region: its droplets stay where they were, by their deviations."""
    t = fitted.table
    near = t.index[np.argsort(np.hypot(t["x"] - 56, t["y"] - 48))[:8]]
    region = (t.loc[near, "x"].min(), t.loc[near, "y"].min(), t.loc[near, "x"].max(), t.loc[near, "y"].max())
    again = nd.refit(fitted, t, region).table
    touched = again.index[(again[PLACES] != t[PLACES]).any(axis=1)]
    assert len(touched) >= 6
    for name in PLACES:
        off = (again[name] - t[name]).abs() / t[f"{name}_sd"]
        assert off[touched].max() < 1
        assert off[touched].median() < 0.3
        assert np.median(again.loc[touched, f"{name}_sd"] / t.loc[touched, f"{name}_sd"]) == pytest.approx(1, abs=0.15)
    with pytest.raises(nd.InputError, match="region"):
        nd.refit(fitted, t, (500, 500, 600, 600))


def test_a_refit_of_a_refit_keeps_what_is_pinned(again):
    table = again.table.drop(index=5).reset_index(drop=True)
    third = nd.refit(again, table).table
    for row in (0, len(table) - 1):
        assert third.loc[row, PLACES].tolist() == table.loc[row, PLACES].tolist()
        assert third.loc[row, "pinned"]


def test_the_user_has_the_last_word_on_classes(fitted, edited):
    table = edited.copy()
    chosen = table.index[table["class"].notna()][-1]
    table["class"] = table["class"].astype(object)
    table.loc[chosen, "class"] = 99
    again = nd.refit(fitted, table)
    assert (again.table["class"] == 99).sum() == 1
    assert again.table["class"].isin([99, *range(len(fitted.summary["classes"]))]).all()
    assert again.table["class_p"].between(0, 1).all()
    assert sum(c["proportion"] for c in again.summary["classes"]) == pytest.approx(1)


def test_rows_are_known_again_in_any_order():
    before = nd.Droplets([1.0, 20, 40], [1.0, 20, 40], [3.0, 4, 5])
    after = nd.Droplets([40.0, 1.0002, 21, 40], [40.0, 1, 20, 40], [5.0, 3, 4, 5])
    edits = find_edits(before, after)
    assert edits.same.tolist() == [2, 0, -1, -1]  # a copy on its original is new
    assert edits.gone.tolist() == [1]
    nothing = find_edits(before, before)
    assert nothing.same.tolist() == [0, 1, 2]
    assert not len(nothing.gone)


def test_a_droplet_at_the_corner_that_hardly_any_pixel_sees(fitted):
    table = pd.concat([fitted.table, pd.DataFrame({"x": [111.0], "y": [95.0], "radius": [0.8]})], ignore_index=True)
    again = nd.refit(fitted, table, region=(110, 94, 112, 96))
    assert again.summary["refit"]["refitted"] >= 1
    assert np.isfinite(again.table["misfit"]).all()


def test_it_can_be_saved_and_read(again, tmp_path):
    again.save(tmp_path)
    pd.testing.assert_frame_equal(nd.read(tmp_path).table, again.table)


def test_what_droplets_mean_may_not_change(fitted):
    with pytest.raises(nd.InputError, match="background"):
        nd.refit(fitted, fitted.table, background="uniform")


def test_without_edits_and_region_all_droplets_are_refitted(fitted):
    again = nd.refit(fitted, fitted.table)
    assert again.summary["refit"] == {"edited": 0, "removed": 0, "refitted": len(fitted.table)}
    off = (again.table["radius"] - fitted.table["radius"]).abs() / fitted.table["radius_sd"]
    assert off.max() < 1


def test_classes_of_refitted_droplets_are_found_anew_beside_rows_that_were_added():
    """An added row makes floats of the others' classes; that is no choice of the user."""
    before = nd.Droplets([1, 9], [1, 9], [2, 2], labels={"class": np.array([0, 1])})
    after = nd.Droplets([1, 9, 5], [1, 9, 5], [2, 2, 2], labels={"class": np.array([0.0, 1.0, np.nan])})
    found = SimpleNamespace(columns={"class": np.array([1, 0, 1])})
    same, left = np.array([0, 1, -1]), np.zeros(3, bool)
    told = _classified(after, before, same, left, found)["class"]
    assert told[:2].tolist() == [1, 0]
