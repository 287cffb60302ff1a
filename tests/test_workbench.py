"""The panel as a workbench: journal, undo, refits in the background, stacks, sessions; on a stand-in for the fit."""

import numpy as np
import pandas as pd
import pytest
from fake_fit import FOUND
from test_widget import TIMEOUT, finish, names, picture

from napari_droplets.plugin.layers.points import NUMBERS, TAG
from napari_droplets.workbench.autosave import left_over

pytest.importorskip("napari")


@pytest.fixture
def panel(viewer, open_widget, qtbot, fake):
    """The widget after a run, and the points."""
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    return widget, viewer.layers["slide droplets"]


def settled(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.refitting, timeout=TIMEOUT)


def move(points, i, by=1.0):
    """What a drag does at its end."""
    points._move({i}, points.data[i])
    points._move({i}, points.data[i] + by)
    points._drag_start = None


def test_undo_and_redo_by_buttons_and_keys(panel, viewer):
    widget, points = panel
    before = points.features.copy()
    move(points, 2)
    points.add([11.0, 12.0])
    points.remove([0])
    assert [step.kind for step in widget.journal] == ["move", "add", "delete"]
    assert widget.message.startswith(f"{FOUND} droplets · diameter ")
    assert widget.message.endswith(" px · 3 edits")
    after = points.features.copy()
    keys = {str(key): action for key, action in points.keymap.items()}
    keys["Ctrl+Z"](points)
    assert widget.undo()
    assert len(points.data) == FOUND
    assert widget.message == "Undone: added 1 droplet"
    widget._panel.correct.buttons["Undo"].click()
    pd.testing.assert_frame_equal(points.features, before)
    np.testing.assert_allclose(points.data, before[["y", "x"]])
    assert not widget.undo()
    assert widget.message == "There is nothing to undo"
    keys["Ctrl+Shift+Z"](points)
    widget.redo()
    widget.redo()
    assert not widget.redo()
    pd.testing.assert_frame_equal(points.features, after)
    np.testing.assert_allclose(points.size, 2 * after["radius"])


def test_corrections_of_those_selected(panel, notices):
    widget, points = panel
    widget.merge()
    assert "select droplets first" in widget.message
    points.selected_data = {1, 4}
    assert widget.session.selected == (1, 4)
    widget.merge()
    assert widget.message == "Done: merged 2 droplets"
    assert len(points.data) == FOUND - 1
    assert points.selected_data == {1}  # what is left of them
    widget.split()
    assert len(points.data) == FOUND
    widget.classify("acid")
    assert points.features["class"].tolist().count("acid") == 1
    widget.session.select([5, 6])
    assert {*points.metadata[TAG][NUMBERS][list(points.selected_data)]} == {5, 6}
    widget.pin()
    assert points.features["pinned"].sum() == 4
    assert [step.kind for step in widget.journal] == ["merge", "split", "class", "pin"]
    while widget.undo():
        pass
    assert len(points.data) == FOUND
    assert "class" not in points.features


def test_surroundings_are_refitted_in_the_background(panel, qtbot, fake):
    widget, points = panel
    widget.refit_edits = True
    fake.seconds = 0.05
    move(points, 3)
    assert widget.refitting
    assert not widget.busy
    settled(widget, qtbot)
    assert [step.kind for step in widget.journal] == ["move", "refit"]
    assert [call[0] for call in fake.calls] == ["iterate", "refit"]
    assert points.metadata[TAG]["fit"] is widget.session.sheet.fit
    points.add([11.0, 12.0])
    qtbot.waitUntil(lambda: widget._nearby._job is not None, timeout=TIMEOUT)
    move(points, 5, by=2.0)  # while it runs
    place = points.data[5].copy()
    settled(widget, qtbot)
    np.testing.assert_array_equal(points.data[5], place)
    assert [step.kind for step in widget.journal] == ["move", "refit", "add", "move", "refit", "refit"]
    assert not widget.session.sheet.to_refit()
    calls = len(fake.calls)
    widget.undo()  # the last move, and the refit of what was added, which came after it
    settled(widget, qtbot)
    assert len(fake.calls) == calls + 1
    while widget.undo():
        pass
    settled(widget, qtbot)
    assert len(fake.calls) == calls + 1  # the fit knows the points as they are
    widget.refit_edits = False
    move(points, 3)
    assert not widget.refitting


def test_nothing_comes_while_the_mouse_is_pressed(panel, qtbot, fake, monkeypatch):
    from qtpy.QtCore import Qt
    from qtpy.QtWidgets import QApplication

    widget, points = panel
    widget.refit_edits = True
    move(points, 3)
    qtbot.waitUntil(lambda: widget._nearby._job is not None, timeout=TIMEOUT)
    monkeypatch.setattr(QApplication, "mouseButtons", lambda: Qt.LeftButton)
    qtbot.waitUntil(lambda: widget._nearby._job is None, timeout=TIMEOUT)
    qtbot.wait(200)
    assert [step.kind for step in widget.journal] == ["move"]
    monkeypatch.undo()
    settled(widget, qtbot)
    assert [step.kind for step in widget.journal] == ["move", "refit"]


def test_a_refit_that_fails_is_told_and_not_tried_for_ever(panel, qtbot, fake):
    widget, points = panel
    widget.refit_edits = True
    fake.error = RuntimeError("no")
    move(points, 3)
    settled(widget, qtbot)
    assert widget.message.startswith("Not refitted around the edit")
    calls = len(fake.calls)
    qtbot.wait(400)
    assert len(fake.calls) == calls
    fake.error = None
    move(points, 4)
    settled(widget, qtbot)
    assert widget.journal[-1].kind == "refit"


def test_edits_are_repeated_after_a_new_run(panel, viewer, qtbot, fake, tmp_path):
    widget, points = panel
    widget.replay()
    assert "no other droplets of slide were edited" in widget.message
    move(points, 2)
    points.remove([0])
    widget.save(tmp_path / "slide.csv")
    assert widget.message.endswith("2 edits to slide.journal.json")
    widget.run()
    finish(widget, qtbot)
    new = viewer.layers[-1]
    assert new is not points
    viewer.layers.selection.active = new
    widget.replay()
    assert widget.message == "Repeated 2 edits"
    np.testing.assert_allclose(new.data, points.data)
    widget.undo()
    widget.undo()
    assert len(new.data) == FOUND
    widget.replay(tmp_path / "slide.journal.json")
    np.testing.assert_allclose(new.data, points.data)
    assert new.features[["edited", "pinned"]].sum().tolist() == [1, 1]


def test_points_show_before_the_fit(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.found_first, fake.seconds, fake.chunks = True, 0.5, 100
    widget.run()
    qtbot.waitUntil(lambda: "slide droplets" in names(viewer), timeout=TIMEOUT)
    assert fake.chunks_done == 0
    assert "slide reconstruction" not in names(viewer)
    assert len(viewer.layers["slide droplets"].data) == FOUND
    widget.cancel()
    finish(widget, qtbot)


def test_edits_of_a_run_that_goes_on_are_kept_with_undo(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.found_first, fake.seconds, fake.chunks = True, 0.1, 1000
    widget.run()
    qtbot.waitUntil(lambda: "slide droplets" in names(viewer), timeout=TIMEOUT)
    points = viewer.layers["slide droplets"]
    points.remove([0, 1])
    qtbot.waitUntil(lambda: ": step " in widget.message, timeout=TIMEOUT)  # before, there is no fit to keep
    widget.cancel()
    finish(widget, qtbot)
    assert len(points.data) == FOUND - 2
    assert len(viewer.layers[-1].data) == FOUND
    viewer.layers.selection.active = points
    assert [step.kind for step in widget.journal] == ["refit", "delete"]
    assert widget.undo()
    assert len(points.data) == FOUND


@pytest.mark.parametrize("action", ["run", "detect"])
def test_all_planes_of_a_stack(viewer, open_widget, qtbot, fake, action):
    data = picture((4, 36, 50))
    data[2] = 0.5  # of which nothing can be made
    viewer.add_image(data, name="movie", scale=(1, 2, 2))
    widget = open_widget(viewer)
    widget.planes.value = "all"
    getattr(widget, action)()
    finish(widget, qtbot)
    assert "movie droplets" in names(viewer), widget.message
    points = viewer.layers["movie droplets"]
    assert points.ndim == 3
    assert sorted(set(points.data[:, 0])) == [0, 1, 3]
    assert points.features["frame"].tolist() == points.data[:, 0].tolist()
    assert widget.message.startswith(f"3 planes: {len(points.data)} droplets")
    assert "Frame 2: movie" in widget.message
    assert len(fake.calls) == 3
    if action == "detect":
        return
    assert "optics" not in fake.calls[0][3]
    viewer.dims.set_current_step(0, 3)
    widget.refit_edits = True
    points.remove([len(points.data) - 1])
    settled(widget, qtbot)
    assert fake.calls[-1][0] == "refit"
    assert set(fake.calls[-1][2]["frame"]) == {3}
    assert len(fake.calls[-1][2]) == FOUND - 1
    widget.undo()
    assert len(points.data) == 3 * FOUND


def test_axes_are_asked_for_where_they_are_not_clear(viewer, open_widget, qtbot, fake, notices):
    data = picture((3, 36, 50))
    viewer.add_image(data, name="slide")
    widget = open_widget(viewer)
    widget.run()
    assert not widget.busy
    assert "are they planes, or the channels of one picture?" in widget.message
    widget.planes.value = "channels"
    widget.run()
    finish(widget, qtbot)
    np.testing.assert_allclose(fake.calls[-1][1].pixels, np.moveaxis(data, 0, -1))
    assert viewer.layers["slide droplets"].ndim == 2
    viewer.layers["slide droplets"].remove([0])
    widget.refit()
    finish(widget, qtbot)
    assert fake.calls[-1][0] == "refit", widget.message
    widget.planes.value = "shown"
    widget.run()
    finish(widget, qtbot)
    assert widget.message.startswith("Frame 1: ")


def test_a_session_is_saved_and_dropped_on_the_window(panel, viewer, qtbot, fake, tmp_path):
    import imageio.v3 as iio
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_droplets.plugin.files.opening import open_file
    from napari_droplets.plugin.files.readers import get_reader
    from napari_droplets.plugin.widget import DropletsWidget

    values = picture((34, 40, 3), np.uint8)
    iio.imwrite(tmp_path / "slide.png", values)
    viewer.layers.clear()
    widget, _ = panel
    open_file(viewer, str(tmp_path / "slide.png"))
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide.png droplets"]
    move(points, 2)
    points.remove([0])
    widget.form.set(types=5)
    widget.save_session(tmp_path / "work")
    assert not widget._keeping.unsaved
    path = str(tmp_path / "work.droplets")
    other = ViewerModel()
    again = DropletsWidget(other)
    qtbot.addWidget(again)
    again.refit_edits = False
    for data in get_reader(path)(path):
        other.add_layer(Layer.create(*data))
    opened = other.layers["slide.png droplets"]
    assert names(other) == ["slide.png", "slide.png reconstruction", "slide.png droplets"]
    np.testing.assert_array_equal(other.layers["slide.png"].data, values)
    np.testing.assert_allclose(opened.data, points.data)
    pd.testing.assert_frame_equal(opened.features, points.features)
    assert again.form.values()["types"] == 5
    again.undo()
    again.undo()
    assert len(opened.data) == FOUND
    opened.remove([5])
    again.refit()
    finish(again, qtbot)
    assert fake.calls[-1][0] == "refit", again.message


@pytest.mark.parametrize("what", ["another", "gone"])
def test_another_image_than_the_saved_one_is_told(panel, viewer, tmp_path, notices, what):
    widget, points = panel
    widget.save_session(tmp_path / "work")
    kept = points.data.copy()
    viewer.layers.clear()
    if what == "another":
        viewer.add_image(picture(seed=9), name="slide")
    widget.open_session(tmp_path / "work.droplets")
    assert ("another one than the one that was saved" if what == "another" else "is not open") in widget.message
    np.testing.assert_allclose(viewer.layers["slide droplets"].data, kept)
    widget.open_session(tmp_path / "nothing.droplets")
    assert "no such file" in widget.message


def test_work_is_offered_after_it_was_not_saved(panel, viewer, open_widget, qtbot):
    widget, points = panel
    points.remove([0])
    keeping = widget._keeping
    qtbot.waitUntil(lambda: not keeping._soon.isActive() and keeping.autosave.written, timeout=TIMEOUT)
    widget._close_down()
    assert "not saved" in widget.message
    [left] = left_over()
    assert left.text == f"slide: {FOUND - 1} droplets, 1 edits"
    viewer.layers.remove(points)
    viewer.layers.remove("slide reconstruction")
    again = open_widget(viewer)
    assert not again._panel.offer.isHidden()
    assert left.text in again._panel.offer.label.text()
    again._panel.offer.restore.click()
    assert again._panel.offer.isHidden()
    assert len(viewer.layers["slide droplets"].data) == FOUND - 1
    assert again.undo()
    assert len(viewer.layers["slide droplets"].data) == FOUND
    viewer.layers["slide droplets"].remove([1])
    again.refit()
    finish(again, qtbot)
    assert len(viewer.layers["slide droplets"].data) == FOUND - 1
    again.save_session(again._keeping.autosave.folder.parent / "saved")
    again._close_down()
    assert left_over() == []


def test_the_panel_is_closed_while_surroundings_are_refitted(window, open_widget, qtbot, fake):
    window.add_image(picture(), name="slide")
    widget = open_widget(window)
    widget.run()
    finish(widget, qtbot)
    widget.refit_edits = True
    points = window.layers["slide droplets"]
    fake.seconds = 0.3
    points.remove([0])
    qtbot.waitUntil(lambda: widget._nearby._job is not None, timeout=TIMEOUT)
    job = widget._nearby._job
    widget.parent().destroyOnClose()
    del widget
    qtbot.waitUntil(lambda: not job.running, timeout=TIMEOUT)
    points.remove([0])  # the layer lives on
    {str(key): action for key, action in points.keymap.items()}["Ctrl+Z"](points)
    assert len(points.data) == FOUND - 1
    again = open_widget(window)
    assert again.undo()
    assert len(points.data) == FOUND


@pytest.mark.parametrize(("answer", "closes"), [("Cancel", False), ("Discard", True), ("Save", True)])
def test_closing_with_unsaved_work_asks(panel, qtbot, monkeypatch, tmp_path, answer, closes):
    from qtpy.QtGui import QCloseEvent
    from qtpy.QtWidgets import QFileDialog, QMainWindow, QMessageBox

    widget, _ = panel
    asked = []
    chosen = getattr(QMessageBox, answer)
    monkeypatch.setattr(QMessageBox, "exec", lambda box: asked.append(box.text()) or chosen)
    path = tmp_path / "kept.droplets"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    monkeypatch.setattr(QCloseEvent, "spontaneous", lambda _: True)  # by the user, not by a script
    window = QMainWindow()
    qtbot.addWidget(window)
    widget._keeping.ask_at_close(window)
    assert window.close() == closes
    assert len(asked) == 1
    assert "not saved as a session" in asked[0]
    assert path.exists() == (answer == "Save")
    asked.clear()
    if answer == "Save":
        assert window.close()
        assert not asked  # there is nothing to save any more
    widget._keeping.unsaved = False


def test_a_panel_that_is_destroyed_without_being_closed_leaves_no_thread_and_its_work_is_offered(viewer, qtbot, fake):
    import threading

    from PyQt6 import sip

    from napari_droplets.plugin.widget import DropletsWidget

    viewer.add_image(picture(), name="slide")
    widget = DropletsWidget(viewer)
    widget.refit_edits = False
    widget.run()
    finish(widget, qtbot)
    autosave = widget._keeping.autosave
    qtbot.waitUntil(lambda: not autosave.unused, timeout=TIMEOUT)
    viewer.layers["slide droplets"].add([11.0, 12.0])  # its last step, which is not written yet
    sip.delete(widget)
    assert autosave._thread not in threading.enumerate()
    assert f"{FOUND + 1} droplets, 1 edits" in left_over()[0].text
