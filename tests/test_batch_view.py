"""Batch in the window: started, listed, looked at, corrected, exported, and closed at any moment."""

import threading

import pandas as pd
import pytest
from batches import fitted_folder
from fake_fit import FOUND
from stand_in import write_image

from napari_droplets.workbench.batch import folder as folders

TIMEOUT = 240_000  # milliseconds; most that anything may take on a machine with much other work


class FakeProcess:
    """Tells what a test lets it tell."""

    def __init__(self, order):
        self.order, self.waiting, self.stopping, self.stops = order, [], False, 0
        self.running = True

    def events(self):
        waiting, self.waiting = self.waiting, []
        return waiting

    def stop(self):
        self.stopping, self.stops = True, self.stops + 1


@pytest.fixture
def started(monkeypatch):
    made = []
    monkeypatch.setattr(folders, "BatchProcess", lambda order: made.append(FakeProcess(order)) or made[-1])
    return made


@pytest.fixture
def out(fake, monkeypatch, tmp_path):
    return fitted_folder(fake, monkeypatch, tmp_path, ("a", "b", "bad", "c"))


def idle(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.batch.busy, timeout=TIMEOUT)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def rows(widget):
    tree = widget.batch.box.tree
    return [[tree.topLevelItem(i).text(c) for c in range(3)] for i in range(tree.topLevelItemCount())]


def test_images_are_looked_at_corrected_and_exported_one_by_one(viewer, open_widget, qtbot, out, tmp_path, notices):
    widget = open_widget(viewer)
    widget.open_batch(out)
    assert rows(widget) == [["a.png", "✓", "12"], ["b.png", "✓", "12"], ["bad.png", "failed", ""], ["c.png", "✓", "12"]]
    assert "bad.png" in widget.batch.box.error.text()
    widget.next_of_batch()
    idle(widget, qtbot)
    assert names(viewer) == ["a", "a reconstruction", "a droplets"]
    points = viewer.layers["a droplets"]
    assert viewer.layers.selection.active is points
    assert widget.session.sheet.fit is not None
    points.selected_data = {2}
    points.remove_selected()
    assert widget.batch.review.unsaved
    layers, sheet = list(viewer.layers), widget.session.sheet
    widget.next_of_batch()  # refits, saves, and goes on
    idle(widget, qtbot)
    assert names(viewer) == ["b", "b reconstruction", "b droplets"]
    assert list(viewer.layers) == layers  # others would take napari a second
    assert widget.session.sheet is not sheet
    assert len(points.data) == len(widget.session.sheet.table) == FOUND
    assert len(sheet.table) == FOUND - 1
    assert len(widget.session.sheets) == 1
    assert rows(widget)[0] == ["a.png", "✓ 1 ✎", "11"]
    assert len(pd.read_csv(out / "a/droplets.csv")) == FOUND - 1
    assert len(pd.read_csv(out / "droplets.csv")) == 3 * FOUND - 1
    widget.batch.look_at("a")
    idle(widget, qtbot)
    assert len(widget.session.sheet.table) == FOUND - 1
    assert widget.undo()  # of the time before
    widget.batch.export(tmp_path / "all.csv")
    idle(widget, qtbot)
    assert len(pd.read_csv(tmp_path / "all.csv")) == 3 * FOUND
    assert not [text for level, text in notices if level == "error"]


def test_starting_following_and_stopping(viewer, open_widget, qtbot, fake, started, out, tmp_path, notices):
    widget = open_widget(viewer)
    widget.form.set(types=2)
    box = widget.batch.box
    box.images.setText(str(tmp_path / "in"))
    box.out.setText(str(tmp_path / "new"))
    box.stacks.setChecked(True)
    box.same_optics.setChecked(True)
    (tmp_path / "in/bad.png").unlink()
    box.buttons["start"].click()
    [process] = started
    wanted = {"types": 2, "frames": "all", "planes": "all"}
    assert wanted.items() <= process.order["settings"].items()
    assert process.order["same_optics"]
    assert not box.buttons["start"].isEnabled()
    process.waiting = [
        {"event": "begin", "name": "a"},
        {"event": "progress", "name": "a", "stage": "fit", "step": 1, "steps": 4},
    ]
    qtbot.waitUntil(lambda: rows(widget)[0][1] == "25%", timeout=TIMEOUT)
    process.waiting = [{"event": "image", "name": "a", "state": "failed", "error": "a.png: too dark"}]
    qtbot.waitUntil(lambda: rows(widget)[0][1] == "failed", timeout=TIMEOUT)
    assert box.error.text() == "a.png: too dark"
    assert "1 failed" in box.count.text()
    box.buttons["stop"].click()
    assert process.stops == 1
    assert widget.batch.busy
    process.waiting = [{"event": "end", "error": None, "stopped": True}]
    idle(widget, qtbot)
    assert box.buttons["start"].isEnabled()
    assert not notices


def test_a_batch_that_was_begun_says_its_settings_and_goes_on_with_them(viewer, open_widget, qtbot, fake, started, out):
    widget = open_widget(viewer)
    widget.form.set(types=1)
    widget.open_batch(out)
    assert widget.form.values()["types"] == 3
    widget.batch.box.buttons["start"].click()
    assert started[0].order["settings"]["types"] == 3
    assert [path.split("/")[-1] for path in started[0].order["images"]] == ["a.png", "b.png", "bad.png", "c.png"]
    started[0].waiting = [{"event": "end", "error": None}]
    idle(widget, qtbot)


def test_what_a_script_starts_is_shown(viewer, open_widget, qtbot, fake, started, tmp_path):
    write_image(tmp_path / "in/a.png")
    widget = open_widget(viewer)
    widget.start_batch(tmp_path / "in", tmp_path / "out")
    assert widget.batch.box.images.text() == str(tmp_path / "in")
    assert widget.batch.box.out.text() == str(tmp_path / "out")
    started[0].waiting = [{"event": "end", "error": None}]
    idle(widget, qtbot)


def test_wrong_use_is_said(viewer, open_widget, fake, notices, tmp_path):
    widget = open_widget(viewer)
    widget.start_batch(tmp_path / "nothing", tmp_path / "out")
    widget.open_batch(tmp_path)
    widget.next_of_batch()
    widget.start_batch(tmp_path)
    texts = [text for _, text in notices]
    assert [level for level, _ in notices] == ["warning"] * 4
    for text, word in zip(texts, ("nothing", "no batch", "looked at", "choose a folder"), strict=True):
        assert word in text


@pytest.mark.parametrize("moment", ["batch runs", "image is read", "corrections are saved"])
def test_the_panel_may_be_closed_at_any_moment(viewer, open_widget, qtbot, fake, started, out, moment):
    before = set(threading.enumerate())
    widget = open_widget(viewer)
    widget.open_batch(out)
    widget.next_of_batch()
    if moment != "image is read":
        idle(widget, qtbot)
    if moment == "batch runs":
        widget.start_batch(None, out)
    if moment == "corrections are saved":
        points = viewer.layers["a droplets"]
        points.selected_data = {0}
        points.remove_selected()
        widget.batch.save()
    widget._close_down()
    assert not any(thread.name == "napari-droplets autosave" for thread in set(threading.enumerate()) - before)
    if moment == "batch runs":
        assert started[0].stops == 1
    qtbot.wait(100)
    assert len(pd.read_csv(out / "a/droplets.csv")) in (FOUND, FOUND - 1)  # whole, before or after


def test_layers_taken_away_by_hand_are_no_trouble(viewer, open_widget, qtbot, out, notices):
    widget = open_widget(viewer)
    widget.open_batch(out)
    for _ in range(2):
        widget.next_of_batch()
        idle(widget, qtbot)
        viewer.layers.clear()
    widget.batch.look_at("c")
    idle(widget, qtbot)
    assert names(viewer) == ["c", "c reconstruction", "c droplets"]
    assert not notices
