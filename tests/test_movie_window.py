"""Movies in the window: live results, stopped and gone on with, curves, corrections, tables; nothing is lost."""

import importlib.util
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_droplets.droplets import Droplets, Optics
from napari_droplets.movies import movie as fitting
from napari_droplets.movies.carry import Carried
from napari_droplets.movies.simulated import simulate_movie
from napari_droplets.workbench.movies.curves import curves_of, nearest

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("laptrack"), reason="needs LapTrack")
FRAMES = 5
TIMEOUT = 300_000
"""Milliseconds; most that anything may take on a machine that is busy."""


@pytest.fixture(scope="module")
def shot():
    return simulate_movie((96, 112), 18, FRAMES, radius=5, seed=8, drift=(1.5, 0.5), brownian=0.4)


@pytest.fixture
def quick(shot, monkeypatch):
    """Frames are not fitted: the truth is found, in the time that is asked for."""
    calls = SimpleNamespace(fitted=[], learned=0, seconds=0.0)
    optics = Optics({"w": np.zeros(2, np.float32)}, {}, 3, 3, 5.0, "free", "layered", 0.02, 0.8)

    def fitted(state, image, fresh, number):
        calls.fitted.append(number)
        yield from fitting._told(state, number)
        time.sleep(calls.seconds)
        yield from fitting._told(state, number)
        table = shot.droplets[shot.droplets["frame"] == number]
        found = Droplets.from_dataframe(table.drop(columns=["track_id", "time_s", "frame"]))
        n = len(found)
        found = replace(found, radius_sd=np.full(n, 0.1), p_present=np.full(n, 0.99))
        return found, Carried(np.zeros((4, 4, 3), np.float32), image.shape[:2], 10.0)

    def learned(state, number):
        calls.learned += 1
        yield from fitting._told(state, number)
        return optics, 10.0

    monkeypatch.setattr(fitting, "_fitted", fitted)
    monkeypatch.setattr(fitting, "learn_optics", learned)
    monkeypatch.setattr(fitting, "_seen", lambda footage, n, *more: (footage.load(n), None))
    return calls


@pytest.fixture
def widget(viewer, shot, quick, open_widget):
    labels = {"axis_labels": ("frame", "y", "x"), "scale": (1.0, 0.5, 0.5)}
    viewer.add_image(shot.images, name="movie", rgb=True, **labels)
    return open_widget(viewer)


def named(viewer, name):
    return next(layer for layer in viewer.layers if layer.name == name)


def settle(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.busy and not widget.movie.linking, timeout=TIMEOUT)


@pytest.fixture
def followed(widget, qtbot):
    widget.movie.view.interval.setValue(2.0)
    widget.follow()
    settle(widget, qtbot)
    return widget


def test_a_movie_is_followed_and_its_tracks_are_seen_corrected_and_saved(followed, viewer, qtbot, shot, tmp_path):
    widget, sheet = followed, followed.session.sheet
    assert f"{FRAMES} of {FRAMES} frames" in widget.message
    points, trails = named(viewer, "movie droplets"), named(viewer, "movie tracks")
    assert len(points.data) == len(shot.droplets)
    assert sorted(set(points.data[:, 0])) == list(range(FRAMES))
    assert trails.scale.tolist() == [1, 0.5, 0.5]
    assert len(np.unique(trails.data[:, 0])) == sheet.table["track_id"].nunique()
    assert sheet.table["time_s"].max() == 2.0 * (FRAMES - 1)
    # click a trail, go to another frame by its curve
    whole = sheet.table["track_id"].value_counts()
    track_id = whole.index[whole == FRAMES][0]
    rows = sheet.table[sheet.table["track_id"] == track_id].sort_values("frame")
    viewer.dims.set_point(0, 2)
    at = trails.data_to_world(rows.iloc[2][["frame", "y", "x"]].to_numpy(float) + np.array([0, 1, 0]))
    trails.mouse_drag_callbacks[-1](trails, SimpleNamespace(position=at))
    assert widget.session.selected == (rows.index[2],)
    [curve] = curves_of(sheet, widget.session.selected)
    assert curve.numbers.tolist() == rows.index.tolist()
    np.testing.assert_allclose(curve.radius.high - curve.radius.low, 2 * 1.96 * 0.1)
    number = nearest([curve], curve.time[4] + 0.1, curve.radius.value[4], (8.0, 2.0), "radius")
    widget.movie.go_to(number)
    assert viewer.dims.current_step[0] == 4
    assert widget.session.selected == (rows.index[4],)
    # delete on the canvas: what follows from it is undone with it
    before = sheet.table.copy()
    place = list(points.metadata["napari_droplets"]["numbers"]).index(rows.index[2])
    points.selected_data = {place}
    points.remove_selected()
    settle(widget, qtbot)
    assert [step.kind for step in sheet.journal] == ["delete", "relink"]
    assert (sheet.table["track_id"] == track_id).sum() == FRAMES - 1
    assert widget.undo()
    pd.testing.assert_frame_equal(sheet.table, before)
    # links by hand: one is remembered until the other is selected
    widget.session.select([rows.index[3]])
    widget.movie.cut()
    assert sheet.table["track_id"][rows.index].nunique() == 2
    widget.session.select([rows.index[2]])
    widget.movie.link()
    assert "remembered" in widget.movie.view.note.text()
    widget.session.select([rows.index[3]])
    widget.movie.link()
    assert sheet.table["track_id"][rows.index].nunique() == 1
    widget.movie.save(tmp_path / "out")
    saved = pd.read_csv(tmp_path / "out" / "droplets.csv")
    assert {"frame", "time_s", "track_id"} <= set(saved)
    assert len(saved) == len(sheet.table)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "droplets.csv",
        "tracks.csv",
        "events.csv",
        "summary.json",
    }


def test_what_is_edited_is_fitted_again_in_its_frame_and_undone_with_the_edit(followed, viewer, qtbot, monkeypatch):
    """Around a droplet that was moved; the fit itself has a test of its own."""
    sheet, points = followed.session.sheet, named(viewer, "movie droplets")
    before, asked = sheet.table.copy(), []

    def refit_frame(footage, optics, settings, number, table, edited, gone):
        yield from ()
        asked.append((number, len(table), list(edited), len(gone)))
        rows = table.loc[[*edited, next(n for n in table.index if n not in edited)]].copy()
        rows.loc[edited, "composition_0"] = 0.25
        rows["radius"] += [0.0] * len(edited) + [0.5]
        return rows

    monkeypatch.setattr("napari_droplets.plugin.movie.control.refit_frame", refit_frame)
    followed.refit_edits = True
    at = int(np.flatnonzero(points.data[:, 0] == 2)[3])
    number = int(points.metadata["napari_droplets"]["numbers"][at])
    points._move({at}, points.data[at])
    points._move({at}, points.data[at] + np.array([0, 0.4, 0.4]))
    points._drag_start = None
    settle(followed, qtbot)
    assert asked == [(2, (before["frame"] == 2).sum(), [number], 0)]
    assert [step.kind for step in sheet.journal if step.kind != "relink"] == ["move", "refit"]
    assert sheet.table["composition_0"][number] == 0.25
    neighbor = next(n for n in before.index[before["frame"] == 2] if n != number)
    assert sheet.table["radius"][neighbor] == before["radius"][neighbor] + 0.5
    assert points.size[list(points.metadata["napari_droplets"]["numbers"]).index(neighbor)] == pytest.approx(
        2 * sheet.table["radius"][neighbor]
    )
    others = before.index.difference([number, neighbor])
    columns = ["x", "y", "radius", "track_id"]
    pd.testing.assert_frame_equal(sheet.table.loc[others, columns], before.loc[others, columns])
    assert followed.undo()
    settle(followed, qtbot)
    pd.testing.assert_frame_equal(sheet.table[columns], before[columns])
    assert len(asked) == 1


def test_what_lay_around_a_droplet_that_is_deleted_is_fitted_again(followed, viewer, qtbot, monkeypatch):
    sheet, points = followed.session.sheet, named(viewer, "movie droplets")
    before, asked = sheet.table.copy(), []

    def refit_frame(footage, optics, settings, number, table, edited, gone):
        yield from ()
        asked.append((number, list(edited), gone[["x", "y", "radius"]].to_dict("index")))
        rows = table.iloc[[0]].copy()
        rows["radius"] += 0.5
        return rows

    monkeypatch.setattr("napari_droplets.plugin.movie.control.refit_frame", refit_frame)
    followed.refit_edits = True
    for _ in range(2):  # deleted again after undo it is fitted again, too
        at = int(np.flatnonzero(points.data[:, 0] == 2)[3])
        number = int(points.metadata["napari_droplets"]["numbers"][at])
        points.selected_data = {at}
        points.remove_selected()
        settle(followed, qtbot)
        assert asked == [(2, [], {number: before.loc[number, ["x", "y", "radius"]].to_dict()})]
        assert [step.kind for step in sheet.journal if step.kind != "relink"] == ["delete", "refit"]
        neighbor = before.index[(before["frame"] == 2) & (before.index != number)][0]
        assert sheet.table["radius"][neighbor] == before["radius"][neighbor] + 0.5
        asked.clear()
        assert followed.undo()
        settle(followed, qtbot)
        columns = ["x", "y", "radius", "track_id"]
        pd.testing.assert_frame_equal(sheet.table[columns], before[columns])
        assert not asked


def test_a_session_is_gone_on_with_in_its_layer(followed, viewer, qtbot, tmp_path):
    path = tmp_path / "movie.droplets"
    followed.save_session(path)
    for name in ("movie tracks", "movie droplets"):
        viewer.layers.remove(named(viewer, name))
    followed.open_session(path)
    qtbot.waitUntil(lambda: followed.session.sheet is not None, timeout=TIMEOUT)
    points = named(viewer, "movie droplets")
    viewer.layers.selection.active = named(viewer, "movie")
    followed.follow()
    settle(followed, qtbot)
    ours = [layer for layer in viewer.layers if "napari_droplets" in layer.metadata and layer.name != "movie tracks"]
    assert ours == [points]
    assert followed.session.sheet.ties is not None


def test_a_run_is_stopped_seen_and_gone_on_with(widget, viewer, quick, qtbot, shot):
    quick.seconds = 0.15
    widget.follow()
    qtbot.waitUntil(lambda: len(quick.fitted) >= 3 and "movie droplets" in viewer.layers, timeout=TIMEOUT)
    viewer.dims.set_point(0, 3)  # the slider is free
    widget.cancel()
    settle(widget, qtbot)
    assert viewer.dims.current_step[0] == 3
    assert "Stopped" in widget.message
    done = len(set(widget.session.sheet.table["frame"]))
    assert 1 <= done < FRAMES
    quick.seconds = 0.0
    quick.fitted.clear()
    widget.follow()
    settle(widget, qtbot)
    assert min(quick.fitted) == done  # those that are done are not fitted again
    assert quick.learned == 1
    assert len(named(viewer, "movie droplets").data) == len(shot.droplets)
    assert f"{done} frames were there already" in widget.message


def test_a_panel_that_is_closed_while_it_works_loses_no_frame(widget, viewer, quick, qtbot, open_widget):
    quick.seconds = 0.15
    widget.follow()
    qtbot.waitUntil(lambda: len(quick.fitted) >= 3, timeout=TIMEOUT)
    widget._close_down()
    quick.seconds = 0.0
    time.sleep(0.3)
    quick.fitted.clear()
    again = open_widget(viewer)
    again.follow()
    settle(again, qtbot)
    assert min(quick.fitted) >= 2
    assert len(set(again.session.sheet.table["frame"])) == FRAMES


def test_what_is_no_movie_is_told(widget, viewer, notices, shot):
    widget.movie.link()
    assert "press Follow first" in notices[-1][1]
    widget.image.value = viewer.add_image(shot.images[0], name="one", rgb=True)
    widget.follow()
    assert "one: a single image" in notices[-1][1]
    widget.image.value = viewer.add_image(np.zeros((2, 3, 40, 40)), name="deep")
    widget.follow()
    assert "2 axes besides its pictures" in notices[-1][1]
