"""The journal: what is told as what, undo and redo to the bit, refits between, replay on another fit."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("psygnal")

from napari_droplets.droplets import Droplets, Fit, Optics
from napari_droplets.errors import InputError
from napari_droplets.workbench.corrections import classified, merged, pinned, split
from napari_droplets.workbench.fits import Change, Numbered
from napari_droplets.workbench.replay import read_journal, replay, save_journal
from napari_droplets.workbench.rows import numbered
from napari_droplets.workbench.session import Session
from napari_droplets.workbench.sheet import ImageReference, Sheet

N = 8


def a_fit(shift=0.0, n=N):
    rng = np.random.default_rng(1)
    droplets = Droplets(
        np.arange(n) * 10.0 + 5 + shift,
        np.full(n, 20.0),
        rng.uniform(2, 4, n),
        p_present=np.full(n, 0.9),
        composition=rng.uniform(size=(n, 2)),
        labels={"class": np.arange(n) % 2, "cut_by_border": np.zeros(n, bool), "note": np.array(list("abcdefgh")[:n])},
        pixel_size_um=0.5,
    )
    weights = {"Dense_0.kernel": np.zeros((2, 2), np.float32)}
    optics = Optics(weights, {}, 2, 1, 3.0, "free", "layered", 0.05, 0.7)
    summary = {"image": {"shape": [40, 100, 1], "sha256": "0"}, "settings": {}}
    guide = {
        "anchor": np.column_stack([droplets.x, droplets.y, droplets.radius]).astype(np.float32),
        "droplets": rng.normal(size=(n, 5)).astype(np.float32),
        "droplets_tril": rng.normal(size=(n, 5, 5)).astype(np.float32),
        "background": np.zeros((1, 1, 1), np.float32),
    }
    return Fit(droplets, np.full((40, 100, 1), 0.5 + shift, np.float32), optics, np.zeros((1, 3)), summary, guide)


@pytest.fixture
def sheet():
    sheet = Sheet("slide droplets", a_fit().table, ImageReference("slide", shape=(40, 100)))
    sheet.begin(a_fit().table, {(): a_fit()})
    return sheet


def moved(sheet, number=2, by=1.0):
    table = sheet.table.copy()
    table.loc[number, ["x", "misfit"]] = table.loc[number, "x"] + by, np.nan
    for mark in ("pinned", "edited"):
        table[mark] = table.get(mark, False) | (table.index == number)
    return table


def added(sheet):
    row = sheet.table.iloc[[0]].set_axis(sheet.new_numbers(1), axis=0).assign(x=95.0, note=np.nan)
    table = pd.concat([sheet.table, row])
    table.index.name = sheet.table.index.name
    return table


EDITS = {
    "move": moved,
    "resize": lambda sheet: sheet.table.assign(radius=sheet.table["radius"] * np.where(sheet.table.index == 1, 1.5, 1)),
    "delete": lambda sheet: sheet.table.drop(index=[3]),
    "add": added,
    "class": lambda sheet: classified(sheet.table, [1, 2], 7),
    "pin": lambda sheet: pinned(sheet.table, [4]),
    "change": lambda sheet: sheet.table.assign(note="z"),
}


def refitted(sheet, shift=0.2):
    """What a refit of the sheet would find: its neighbours moved, in the fit and in the table."""
    since = sheet.snapshot(())
    table = since.table.copy()
    table.loc[table.index[:3], "y"] += shift
    old = since.fit.fit
    droplets = Droplets.from_dataframe(table.rename_axis(None))
    guide = {k: v if k == "background" else np.resize(v, (len(table), *v.shape[1:])) + 1 for k, v in old.guide.items()}
    picture = old.reconstruction.copy()
    picture[10:20, 5:9] += 0.1
    new = Numbered(Fit(droplets, picture, old.optics, old.losses, old.summary, guide), table.index.to_numpy())
    return since, Change.between(since.fit, new), numbered(new.fit.table, new.numbers), new


@pytest.mark.parametrize("kind", EDITS)
def test_each_edit_is_known_undone_and_redone_to_the_bit(sheet, kind):
    before = sheet.table.copy()
    step = sheet.edit(EDITS[kind](sheet))
    assert step.kind == kind
    after = sheet.table.copy()
    assert not after.equals(before)
    assert sheet.undo()
    pd.testing.assert_frame_equal(sheet.table, before)
    assert not sheet.undo()
    assert sheet.redo()
    pd.testing.assert_frame_equal(sheet.table, after)
    assert not sheet.redo()


def test_what_is_no_change_is_no_step(sheet):
    assert sheet.edit(sheet.table.copy()) is None
    assert len(sheet.journal) == 0
    sheet.edit(moved(sheet))
    sheet.undo()
    sheet.edit(EDITS["delete"](sheet))
    assert not sheet.redo()  # it was undone, and something else was done


def test_a_slider_of_sizes_is_one_step(sheet):
    for factor in (1.1, 1.2, 1.3):
        sheet.edit(sheet.table.assign(radius=sheet.table["radius"] * factor))
    assert [step.kind for step in sheet.journal] == ["resize"]
    sheet.undo()
    pd.testing.assert_frame_equal(sheet.table, numbered(a_fit().table))


def test_undo_goes_past_refits(sheet):
    before, fit = sheet.table.copy(), sheet.fit
    for number in (2, 5):
        sheet.edit(moved(sheet, number))
        since, change, table, new = refitted(sheet)
        assert sheet.take(change, table, since)
        np.testing.assert_array_equal(sheet.fit.guide["droplets_tril"], new.fit.guide["droplets_tril"])
        np.testing.assert_array_equal(sheet.fit.reconstruction, new.fit.reconstruction)
        assert not len(sheet.unfitted(()))
    last = sheet.table.copy()
    assert [step.kind for step in sheet.journal] == ["move", "refit"] * 2
    assert sheet.undo()
    assert sheet.undo()
    pd.testing.assert_frame_equal(sheet.table, before)
    for name, values in fit.guide.items():
        np.testing.assert_array_equal(sheet.fit.guide[name], values)
    np.testing.assert_array_equal(sheet.fit.reconstruction, fit.reconstruction)
    assert not len(sheet.unfitted(()))
    assert sheet.redo()
    assert sheet.redo()
    pd.testing.assert_frame_equal(sheet.table, last)


def test_a_refit_spares_what_was_touched_meanwhile(sheet):
    sheet.edit(moved(sheet, 5))
    since, change, table, _ = refitted(sheet)
    sheet.edit(moved(sheet, 1, by=3.0))
    sheet.edit(sheet.table.drop(index=[0]))
    touched = sheet.table.loc[1].copy()
    assert sheet.take(change, table, since)
    pd.testing.assert_series_equal(sheet.table.loc[1], touched)
    assert 0 not in sheet.table.index
    assert sheet.table.loc[2, "y"] == 20.2
    assert list(sheet.unfitted(())) == [0, 1]  # is refitted next


def test_a_refit_of_what_was_undone_is_of_no_use(sheet):
    sheet.edit(moved(sheet))
    since, change, table, _ = refitted(sheet)
    sheet.undo()
    before = sheet.table.copy()
    assert not sheet.take(change, table, since)
    pd.testing.assert_frame_equal(sheet.table, before)


def test_a_run_that_took_the_place_of_corrected_points_can_be_undone(sheet):
    sheet = Sheet("detected", a_fit().table, detected=True)
    sheet.edit(moved(sheet))
    before = sheet.table.copy()
    sheet.preview(a_fit(1.0).table)
    assert sheet.running
    sheet.begin(a_fit(2.0).table, {(): a_fit(2.0)})
    assert not sheet.running
    assert not set(sheet.table.index) & set(before.index)  # others
    after = sheet.table.copy()
    assert sheet.undo()
    assert sheet.fit is None
    pd.testing.assert_frame_equal(sheet.table, before)
    assert sheet.redo()
    pd.testing.assert_frame_equal(sheet.table, after)
    assert sheet.fit is not None
    assert sheet.undo()
    assert sheet.undo()  # the move
    pd.testing.assert_frame_equal(sheet.table, numbered(a_fit().table))


def test_a_run_of_what_nobody_touched_begins_a_new_journal(sheet):
    sheet.preview(a_fit(1.0).table)
    sheet.revert()
    assert sheet.fit is not None
    pd.testing.assert_frame_equal(sheet.table, numbered(a_fit().table))
    sheet.preview(a_fit(1.0).table)
    sheet.begin(a_fit(2.0).table, {(): a_fit(2.0)})
    assert not sheet.undo()
    assert sheet.table["x"].iloc[0] == 7


def test_merge_and_split_keep_the_area(sheet):
    table = merged(sheet.table, [1, 2], (40, 100))
    assert len(table) == N - 1
    one, two = sheet.table.loc[[1, 2]].to_dict("records")
    row = table.loc[1]
    assert row["radius"] ** 2 == pytest.approx(one["radius"] ** 2 + two["radius"] ** 2)
    assert 15 < row["x"] < 25
    assert row["radius_um"] == pytest.approx(row["radius"] / 2)
    assert row[["composition_0", "class", "note"]].isna().all()
    assert row["pinned"]
    assert row["edited"]
    table = split(sheet.table, 0, 50, (40, 100))
    halves = table.loc[[0, 50]]
    assert (halves["radius"] ** 2).sum() == pytest.approx(sheet.table.loc[0, "radius"] ** 2)
    assert halves["x"].mean() == pytest.approx(5)
    assert halves["p_present"].tolist() == [1, 1]
    with pytest.raises(InputError, match="two or more"):
        merged(sheet.table, [1])
    with pytest.raises(InputError, match="several planes"):
        merged(sheet.table.assign(frame=range(N)), [1, 2])


def test_planes_are_refitted_for_themselves():
    fits = {(k,): a_fit(k) for k in (0, 1)}
    table = pd.concat([fit.table.assign(frame=plane[0]) for plane, fit in fits.items()], ignore_index=True)
    sheet = Sheet("movie", table[:0], ImageReference("movie", axes=("frame",)))
    sheet.begin(table, fits)
    assert sheet.fit is None
    assert sheet.fit_of((1,)) is fits[1,]
    assert sheet.to_refit() == []
    sheet.edit(moved(sheet, N + 2))
    assert sheet.to_refit() == [(1,)]
    elsewhere = sheet.table.copy()
    elsewhere.loc[N + 3, "frame"] = 4  # which nobody has fitted
    sheet.edit(elsewhere)
    assert list(sheet.snapshot((1,)).table.index) == [N + k for k in range(N) if k != 3]


def test_a_journal_is_replayed_on_another_fit_of_the_image(sheet, tmp_path):
    sheet.edit(moved(sheet, 2, by=3.0))
    sheet.edit(moved(sheet, 2, by=1.0))  # again
    sheet.edit(EDITS["delete"](sheet))
    sheet.edit(added(sheet))
    sheet.edit(classified(sheet.table, [6], 1))
    sheet.edit(sheet.table.drop(index=[7]))
    other = Sheet("another", a_fit(0.4).table.drop(index=[7]).iloc[::-1].reset_index(drop=True))
    save_journal(sheet.journal, tmp_path / "journal.json")
    found = replay(read_journal(tmp_path / "journal.json"), other)
    assert found.lost == ["delete at x 75.0, y 20.0"]
    table = other.table.set_index(other.table["x"].round(1))
    assert sorted(table.index) == [5.4, 15.4, 29.0, 45.4, 55.4, 65.4, 95.0]
    assert table["edited"].eq(True).sum() >= 2
    assert table.loc[65.4, "class"] == 1
    assert [step.kind for step in other.journal] == ["move", "move", "delete", "add", "class"]
    assert found.done == 5
    while other.undo():
        pass
    assert sorted(other.table["x"]) == sorted(a_fit(0.4).table["x"][:7])
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(InputError, match="not a journal"):
        read_journal(tmp_path / "x.json")


def test_views_are_told(sheet):
    session, seen = Session(), []
    session.sheet_changed.connect(lambda s: seen.append(("sheet", s)))
    session.table_changed.connect(lambda s, numbers: seen.append(("table", list(numbers))))
    session.selection_changed.connect(lambda numbers: seen.append(("selection", numbers)))
    session.filters_changed.connect(lambda filters: seen.append(("filters", filters)))
    session.add(sheet)
    session.show(sheet)
    session.select([3, 2, 99])
    session.set_filters(p_present=0.5)
    session.set_filters(p_present=None)
    sheet.edit(EDITS["delete"](sheet))
    assert seen == [
        ("sheet", sheet),
        ("selection", ()),
        ("selection", (2, 3)),
        ("filters", {"p_present": 0.5}),
        ("filters", {}),
        ("selection", (2,)),
        ("table", [3]),
    ]
    session.undo()
    assert seen[-1] == ("table", [3])
    session.remove(sheet)
    assert session.sheet is None
    assert not session.undo()


def test_ten_thousand_droplets_take_little_memory_to_be_undone():
    fit = a_fit()
    table = pd.concat([fit.table] * 1250, ignore_index=True)
    sheet = Sheet("large", table)
    step = sheet.edit(moved(sheet, 5000))
    assert len(step.before) == len(step.after) == 1
