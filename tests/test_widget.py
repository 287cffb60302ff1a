"""The dock widget in real windows, on a quick stand-in for the fit; the fit itself at the end."""

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_fit import FOUND, found

from napari_droplets import statistics
from napari_droplets.droplets import Fit
from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.inference import api as fitting
from napari_droplets.plot.colors import UNKNOWN_COLOR, composition_colors, readable
from napari_droplets.plugin.jobs import work
from napari_droplets.results.files import read_table

TIMEOUT = 10_000  # milliseconds; most that anything quick may take


def picture(shape=(34, 40, 3), dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).uniform(size=shape)
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else (values * np.iinfo(dtype).max).astype(dtype)


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.busy, timeout=TIMEOUT)


def names(viewer):
    return [layer.name for layer in viewer.layers]


def test_the_idle_panel_has_loaded_nothing_heavy(qapp):
    code = """
import sys
from napari.components import ViewerModel
from napari_droplets.plugin.widget import DropletsWidget
from qtpy.QtWidgets import QApplication
app = QApplication([])
widget = DropletsWidget(ViewerModel())
app.processEvents()
sys.exit(", ".join({"jax", "numpyro", "flax", "optax"} & set(sys.modules)) or 0)
"""
    environment = os.environ | {"QT_QPA_PLATFORM": "offscreen"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_run_adds_points_and_reconstruction(window, open_widget, qtbot, fake):
    layer = window.add_image(picture(), name="slide", scale=(2, 2), translate=(5, 7), units=("um", "um"))
    widget = open_widget(window)
    assert widget.image.value is layer
    widget.run()
    assert widget.busy
    finish(widget, qtbot)
    assert names(window) == ["slide", "slide reconstruction", "slide droplets"]
    points, reconstruction = window.layers["slide droplets"], window.layers["slide reconstruction"]
    droplets = found()
    np.testing.assert_allclose(points.data, np.column_stack([droplets.y, droplets.x]))
    np.testing.assert_allclose(points.size, 2 * droplets.radius)
    np.testing.assert_allclose(points.face_color[:, :3], composition_colors(droplets.composition), atol=1e-6)
    assert list(points.features) == list(droplets.to_dataframe())
    assert reconstruction.data.shape == (34, 40, 3)
    for result in (points, reconstruction):
        np.testing.assert_allclose(result.scale, (2, 2))
        np.testing.assert_allclose(result.translate, (5, 7))
    assert window.layers.selection.active is layer  # the user's choice stays
    assert widget.image.value is layer
    assert f"{FOUND} droplets" in widget.message
    assert points.metadata["napari_droplets"]["fit"] is widget.result
    assert fake.calls[0][3]["pixel_size_um"] == 2


def test_settings_start_at_their_defaults_and_all_reach_the_fit(viewer, open_widget, qtbot, fake):
    from dataclasses import asdict

    viewer.add_image(picture())
    widget = open_widget(viewer)
    defaults = asdict(fitting.Settings())
    for name in ("learn_optics", "frames", "planes", "scene"):  # is about optics of earlier images, which the window
        del defaults[name]  # does not take; the others are about files: of a layer the plane shown is taken
    del defaults["region"]  # is a layer, chosen beside the image
    assert widget.form.values() == defaults
    chosen = {
        "types": 2,
        "diameter": 7.5,
        "detector": "blobs",
        "weights": str(Path("series.safetensors").absolute()),
        "min_probability": 0.35,
        "seed": 3,
        "composition": "simplex",
        "background": "uniform",
        "population": "given",
        "renderer": "nearest",
        "classes": 2,
        "noise": 0.04,
        "steps": 400,
        "max_seconds": 60.0,
        "scale": 0.5,
        "pixel_size_um": 0.25,
        "channels": [1],
        "intensity_range": (1.0, 200.0),
    }
    assert set(chosen) == set(defaults)
    widget.form.set(**chosen)
    widget.run()
    finish(widget, qtbot)
    assert fake.calls[-1][3] == chosen | {"region": None}
    widget.form.set(types="auto")
    assert widget.form.values() == chosen | {"types": "auto"}


def test_what_is_found_out_is_called_auto(viewer, open_widget):
    widget = open_widget(viewer)
    widget.form.set(types="auto", classes=None)
    for name in ("diameter", "types", "classes"):
        assert widget.form.inputs[name].native.text() == "auto"
    widget.form.set(types=2, classes=3)
    assert widget.form.inputs["classes"].native.text() == "3"
    assert widget.form.values()["types"] == 2
    assert isinstance(widget.form.values()["types"], int)


def test_unfolded_settings_fit_on_a_small_screen(viewer, open_widget, qtbot):
    from superqt import QCollapsible

    widget = open_widget(viewer)
    with qtbot.waitExposed(widget):
        widget.show()
    folded = widget.minimumSizeHint().height()
    widget.findChild(QCollapsible).expand(animate=False)
    qtbot.wait(50)
    assert widget.minimumSizeHint().height() == folded < 700  # what does not fit scrolls
    assert widget.minimumSizeHint().width() < 400


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diameter": 0.5}, "diameter=0.5"),
        ({"types": 1, "composition": "simplex"}, "types=1"),
        ({"channels": [0, 1]}, "channels=[0, 1]"),
    ],
)
def test_settings_out_of_range(viewer, open_widget, fake, notices, settings, message):
    viewer.add_image(picture())
    widget = open_widget(viewer)
    widget.form.set(**settings)
    widget.run()
    assert not widget.busy
    assert message in widget.message
    assert notices == [("warning", widget.message)]


def test_running_again_updates_the_same_layers(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    before = list(viewer.layers)
    fake.n = 5
    widget.run()
    finish(widget, qtbot)
    assert list(viewer.layers) == before
    assert len(viewer.layers["slide droplets"].data) == 5


@pytest.mark.parametrize("change", ["move", "rename", "feature"])
def test_running_again_spares_points_that_the_user_edited_or_renamed(viewer, open_widget, qtbot, fake, change):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    if change == "move":
        points.data[0] += 1
    elif change == "rename":
        points.name = "mine"
    else:
        points.features["note"] = "mine"
    kept, features = points.data.copy(), points.features.copy()
    fake.n = 5
    widget.run()
    finish(widget, qtbot)
    np.testing.assert_array_equal(points.data, kept)
    assert features.equals(points.features)
    assert len(viewer.layers) == 4
    assert len(viewer.layers[-1].data) == 5
    assert ("is kept" in widget.message) == (change != "rename")


def test_edits_while_it_runs_are_spared(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.seconds, fake.chunks = 0.2, 1000
    widget.run()
    qtbot.waitUntil(lambda: "slide droplets" in names(viewer), timeout=TIMEOUT)
    points = viewer.layers["slide droplets"]
    points.data[0] = (1.0, 1.0)
    widget.cancel()
    finish(widget, qtbot)
    np.testing.assert_array_equal(points.data[0], (1, 1))
    assert viewer.layers[-1] is not points
    assert len(viewer.layers[-1].data) == FOUND
    assert "slide droplets" in widget.message


def test_progress_and_pictures_while_it_runs(window, open_widget, qtbot, fake):
    window.add_image(picture(), name="slide")
    widget = open_widget(window)
    fake.seconds, fake.chunks = 0.1, 1000
    widget.run()
    qtbot.waitUntil(lambda: "slide reconstruction" in names(window), timeout=TIMEOUT)
    first = window.layers["slide reconstruction"].data.max()
    qtbot.waitUntil(lambda: window.layers["slide reconstruction"].data.max() > first, timeout=TIMEOUT)
    assert widget._bar.maximum() == 100_000
    assert 0 < widget._bar.value() < 100_000
    for part in ("step", "of 100,000", f"{FOUND} droplets", "s left"):
        assert part in widget.message
    assert "loss" not in widget.message
    assert threading.main_thread() not in fake.snapshot_threads
    assert len(fake.snapshot_threads) < fake.chunks_done  # not every chunk
    widget.cancel()
    finish(widget, qtbot)


def test_first_points_are_drawn_when_they_were_added(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    seen = []
    viewer.layers.events.inserted.connect(
        lambda e: e.value.events.visible.connect(lambda v: seen.append(v.source.visible))
    )
    fake.seconds, fake.chunks, fake.found_first = 0.1, 1000, True
    widget.run()
    qtbot.waitUntil(lambda: "slide droplets" in names(viewer), timeout=TIMEOUT)
    qtbot.waitUntil(lambda: viewer.layers["slide droplets"].visible, timeout=TIMEOUT)
    assert seen == [False, True]
    widget.cancel()
    finish(widget, qtbot)
    assert viewer.layers["slide droplets"].visible


def test_the_status_line_is_of_the_droplets_worked_on(viewer, open_widget, qtbot, fake):
    from napari.layers import Layer

    from napari_droplets.plugin.layers import to_layers

    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    assert widget.message.startswith(f"{FOUND} droplets")
    other = viewer.add_layer(Layer.create(*to_layers(found(5))[0]))
    assert viewer.layers.selection.active is other
    assert widget.message.startswith("5 droplets")
    viewer.layers.selection.active = viewer.layers["slide droplets"]
    assert widget.message.startswith(f"{FOUND} droplets")
    viewer.layers.clear()
    assert widget.message == ""


def test_no_picture_is_computed_before_the_last_one_is_drawn():
    from napari_droplets.plugin.jobs.job import Job

    job = Job(lambda: None, None, None, pictures=True)
    pictures = []
    progress = fitting.Progress("fit", 1, 2, 0.0, 0.0, 1, lambda: pictures.append(1))
    job._picture(progress)
    job._picture(progress)
    assert len(pictures) == 1
    job.drawn()
    job._picture(progress)
    assert len(pictures) == 1  # too soon
    job._next_picture = 0.0
    job._picture(progress)
    assert len(pictures) == 2


def test_cancel_acts_within_a_chunk_and_keeps_what_was_found(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.seconds, fake.chunks = 0.1, 1000
    widget.run()
    qtbot.waitUntil(lambda: fake.chunks_done >= 2, timeout=TIMEOUT)
    widget.cancel()
    at = fake.chunks_done
    finish(widget, qtbot)
    assert fake.chunks_done <= at + 2
    assert len(viewer.layers["slide droplets"].data) == FOUND
    assert widget.message.startswith("Stopped")
    assert widget.result.losses[-1, 0] == fake.chunks_done * 100


def test_cancel_while_a_fit_looks_for_droplets_acts_at_once(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.seconds, fake.chunks = 0.5, 1000
    widget.run()
    job = widget._runner.job
    qtbot.waitUntil(lambda: widget.message == "Looking for droplets", timeout=TIMEOUT)
    widget.cancel()
    assert not widget.busy
    assert widget.message == "Stopped; nothing was changed"
    qtbot.waitUntil(lambda: not job._worker.is_running, timeout=TIMEOUT)
    qtbot.wait(50)
    assert fake.chunks_done <= 1
    assert names(viewer) == ["slide"]
    assert widget.result is None


def test_results_belong_to_the_layer_at_launch(viewer, open_widget, qtbot, fake):
    slide = viewer.add_image(picture(seed=1), name="slide", scale=(2, 2))
    other = viewer.add_image(picture(seed=2), name="other")
    viewer.layers.selection.active = slide
    widget = open_widget(viewer)
    widget.run()
    viewer.layers.selection.active = other
    slide.name = "renamed"
    finish(widget, qtbot)
    np.testing.assert_allclose(viewer.layers["slide droplets"].scale, (2, 2))
    np.testing.assert_allclose(fake.calls[0][1].pixels, slide.data)


def test_image_layer_removed_while_it_runs(viewer, open_widget, qtbot, fake):
    slide = viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    viewer.layers.remove(slide)
    finish(widget, qtbot)
    assert names(viewer) == ["slide reconstruction", "slide droplets"]


def test_result_layers_removed_while_it_runs_come_back_at_the_end(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.seconds, fake.chunks = 0.1, 1000
    widget.run()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=TIMEOUT)
    for name in ("slide droplets", "slide reconstruction"):
        viewer.layers.remove(name)
    qtbot.waitUntil(lambda: len(fake.snapshot_threads) >= 2, timeout=TIMEOUT)
    assert names(viewer) == ["slide"]
    widget.cancel()
    finish(widget, qtbot)
    assert names(viewer) == ["slide", "slide reconstruction", "slide droplets"]


def test_viewer_closed_while_it_runs(window, open_widget, qtbot, fake):
    window.add_image(picture())
    widget = open_widget(window)
    fake.seconds, fake.chunks = 0.05, 1000
    widget.run()
    qtbot.waitUntil(lambda: fake.chunks_done >= 2, timeout=TIMEOUT)
    job = widget._runner.job
    window.close()
    del widget
    qtbot.waitUntil(lambda: not job._worker.is_running, timeout=TIMEOUT)
    assert fake.chunks_done < 1000
    qtbot.wait(100)  # late signals find nobody


REMOVED_AND_RUN_AGAIN = """
import time
import napari
import numpy as np
from fake_fit import FakeFit
from napari_droplets.inference import api
from qtpy.QtWidgets import QApplication

def wait(condition=lambda: False, seconds=0.2):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        QApplication.processEvents()
        time.sleep(0.01)

fake = FakeFit()
api.iterate = fake.iterate
viewer = napari.Viewer()
viewer.add_image(np.random.default_rng(0).uniform(size=(34, 40, 3)), name="slide")
widget = viewer.window.add_plugin_dock_widget("napari-droplets")[1]
for _ in range(3):
    widget.run()
    wait(lambda: not widget.busy, 20)
    assert len(viewer.layers) == 3, widget.message
    viewer.layers["slide reconstruction"].visible = True
    wait()
    viewer.layers.selection = set(viewer.layers[1:])
    viewer.layers.remove_selected()
    wait()
print("survived")
viewer.close()
"""


def test_both_results_removed_and_run_again(qapp):
    """In a process of its own, which the fault of napari would end."""
    code = ["-c", REMOVED_AND_RUN_AGAIN]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    done = subprocess.run([sys.executable, *code], env=environment, capture_output=True, text=True, check=False)
    assert "survived" in done.stdout, (done.returncode, done.stderr[-2000:])


@pytest.mark.parametrize("when", ["detect", "fit"])
def test_closing_the_panel_ends_the_run(window, open_widget, qtbot, fake, when):
    window.add_image(picture(), name="slide")
    widget = open_widget(window)
    widget.run()
    finish(widget, qtbot)
    before = window.layers["slide droplets"].features.copy()
    fake.seconds, fake.chunks, fake.n = 0.3 if when == "detect" else 0.05, 1000, 5
    fake.chunks_done = 0
    widget.run()
    if when == "fit":
        qtbot.waitUntil(lambda: len(window.layers["slide droplets"].data) == 5, timeout=TIMEOUT)
    job, dock = widget._runner.job, widget.parent()
    dock.destroyOnClose()
    assert not widget.busy
    del widget, dock
    assert window.layers["slide droplets"].features.equals(before)
    again = open_widget(window)
    fake.seconds, fake.chunks, fake.n = 0.02, 4, FOUND
    overlap = []
    iterate = fitting.iterate

    def watched(*args, **kwargs):
        overlap.append(job.running)
        return iterate(*args, **kwargs)

    fitting.iterate = watched
    try:
        again.run()
        finish(again, qtbot)
    finally:
        fitting.iterate = iterate
    assert overlap == [False]
    assert again.message.startswith(f"{FOUND} droplets")
    assert len(window.layers["slide droplets"].data) == FOUND


def test_layers_change_in_the_main_thread_only(window, open_widget, qtbot, fake, monkeypatch):
    from napari.layers import Image, Points

    threads = []

    def watch(owner, name):
        original = getattr(owner, name)
        if isinstance(original, property):

            def setter(self, value):
                threads.append((name, threading.current_thread()))
                original.fset(self, value)

            monkeypatch.setattr(owner, name, original.setter(setter))
        else:

            def method(self, *args, **kwargs):
                threads.append((name, threading.current_thread()))
                return original(self, *args, **kwargs)

            monkeypatch.setattr(owner, name, method)

    window.add_image(picture())
    for owner, name in [(type(window), "add_layer"), (Points, "data"), (Points, "size"), (Image, "data")]:
        watch(owner, name)
    widget = open_widget(window)
    fake.seconds, fake.chunks = 0.1, 12
    widget.run()
    finish(widget, qtbot)
    assert {name for name, _ in threads} == {"add_layer", "data", "size"}
    assert {thread for _, thread in threads} == {threading.main_thread()}


def test_window_keeps_answering(window, open_widget, qtbot, fake):
    from qtpy.QtCore import QTimer

    window.add_image(picture())
    widget = open_widget(window)
    qtbot.wait(200)
    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(time.monotonic()))
    timer.start(10)
    fake.seconds, fake.chunks = 0.3, 5
    widget.run()
    finish(widget, qtbot)
    timer.stop()
    # the fake sleeps 0.3 s a chunk: were it in the main thread, each would be a gap
    assert np.sort(np.diff(ticks))[-5] < 0.2


def test_detect(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.form.set(detector="blobs")
    widget.detect()
    assert widget._bar.maximum() == 0  # busy
    finish(widget, qtbot)
    assert names(viewer) == ["slide", "slide droplets"]
    assert list(viewer.layers["slide droplets"].features) == ["x", "y", "radius"]
    assert widget.message.splitlines()[0].startswith(f"{FOUND} droplets · diameter ")
    assert fake.calls[-1][0] == "detect"
    points = viewer.layers["slide droplets"]
    widget.form.set(detector="network")
    widget.detect()
    finish(widget, qtbot)
    assert viewer.layers["slide droplets"] is points  # in place
    assert len(viewer.layers) == 2
    columns = ["x", "y", "radius", "x_sd", "y_sd", "radius_sd", "p_present"]
    assert list(points.features) == columns
    np.testing.assert_allclose(points.size, 2 * points.features["radius"])
    assert len(widget.result) == FOUND - 3
    for part in (f"{FOUND - 3} droplets (7-10) · diameter", "px · 3 less probable hidden"):
        assert part in widget.message


@pytest.fixture
def detected(viewer, open_widget, qtbot, fake):
    """The widget, and the points of a detection; the first three of them are improbable."""
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.detect()
    finish(widget, qtbot)
    return widget, viewer.layers["slide droplets"]


def shown(points):
    """The candidates that the points were drawn for, by their place in the detection."""
    order = found().x.tolist()
    return [order.index(x) if x in order else None for x in points.features["x"]]


@pytest.fixture
def warmed(monkeypatch, fake):
    """What is compiled ahead: the thread, the image, number of candidates and settings of each call."""
    calls = []

    def warm(plane, candidates, settings, wanted):
        calls.append((threading.current_thread(), plane, candidates, settings))

    monkeypatch.setattr(work, "warm", warm)
    return calls


def test_programs_are_compiled_while_proposals_are_looked_at(warmed, detected, viewer, qtbot):
    widget, _ = detected
    qtbot.waitUntil(lambda: len(warmed) == 1 and not widget.preparing, timeout=TIMEOUT)
    thread, plane, candidates, settings = warmed[0]
    assert thread is not threading.main_thread()
    assert np.shares_memory(plane.data, viewer.layers["slide"].data)
    assert candidates == FOUND
    assert settings == widget.form.values()
    widget._soon.setInterval(50)
    widget.form.set(steps=70, seed=3, noise=0.1)  # need no other program
    widget.form.set(types=1, composition="simplex")  # cannot be used
    qtbot.wait(200)
    assert len(warmed) == 1
    widget.form.set(composition="free", types=5)
    qtbot.waitUntil(lambda: len(warmed) == 2, timeout=TIMEOUT)
    assert warmed[1][3]["types"] == 5


def test_nothing_is_compiled_ahead_for_an_image_that_is_gone_or_not_chosen(warmed, detected, viewer, qtbot):
    widget, _ = detected
    qtbot.waitUntil(lambda: len(warmed) == 1, timeout=TIMEOUT)
    widget._soon.setInterval(10)
    slide = viewer.layers["slide"]
    other = viewer.add_image(picture(seed=2), name="other")
    assert widget.image.value is other
    widget.form.set(types=4)
    qtbot.wait(100)
    viewer.layers.remove(other)
    viewer.layers.remove(slide)
    widget.form.set(types=5)
    qtbot.wait(100)
    assert len(warmed) == 1


def test_closing_the_window_stops_compiling_ahead(window, open_widget, qtbot, fake, monkeypatch):
    began, ended = threading.Event(), threading.Event()

    def warm(plane, candidates, settings, wanted):
        began.set()
        while wanted():
            time.sleep(0.01)
        ended.set()

    monkeypatch.setattr(work, "warm", warm)
    window.add_image(picture())
    widget = open_widget(window)
    widget._soon.setInterval(0)
    widget.detect()
    finish(widget, qtbot)
    qtbot.waitUntil(began.is_set, timeout=TIMEOUT)
    window.close()
    del widget
    qtbot.waitUntil(ended.is_set, timeout=TIMEOUT)


def test_a_fit_may_start_and_end_while_something_is_compiled(viewer, open_widget, qtbot, fake, monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(work, "warm", lambda *args: ended.wait(TIMEOUT / 1000))
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget._soon.setInterval(0)
    widget.detect()
    finish(widget, qtbot)
    assert widget.preparing
    warmer = widget._computing.warmer
    qtbot.waitUntil(lambda: warmer.busy, timeout=TIMEOUT)
    widget.run()
    finish(widget, qtbot)
    assert widget.message.startswith(f"{FOUND} droplets")
    assert warmer.busy
    ended.set()
    qtbot.waitUntil(lambda: not widget.preparing, timeout=TIMEOUT)


QUALITY = {"misfit": np.array([1.0] * (FOUND - 2) + [1.6, 5.0]), "class": np.arange(FOUND) % 2}


def test_points_are_colored_as_chosen_through_runs_and_layers(viewer, open_widget, qtbot, fake):
    from napari_droplets.plugin.layers.coloring import CLASS_COLORS, POOR_COLOR

    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    assert widget.color.value == "composition"
    assert widget._colors.legend.text() == ""  # nothing to color
    widget.color.value = "misfit"
    fake.labels = QUALITY
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    ground = points.metadata["napari_droplets"]["place"].ground.median
    poor = np.isclose(points.border_color[:, :3], readable(np.array([POOR_COLOR]), ground), atol=1e-6).all(1)
    assert np.flatnonzero(poor).tolist() == [FOUND - 1]
    assert "poorly&nbsp;explained:&nbsp;1" in widget._colors.legend.text()
    widget.color.value = "class"
    np.testing.assert_allclose(points.border_color[:2, :3], readable(CLASS_COLORS[:2], ground), atol=1e-6)
    widget.run()
    finish(widget, qtbot)
    np.testing.assert_allclose(points.border_color[:2, :3], readable(CLASS_COLORS[:2], ground), atol=1e-6)
    points.data[0] += 1
    points.remove([3])
    fake.labels = {}
    widget.run()  # the points were edited, so that there are others now
    finish(widget, qtbot)
    assert "Class: not known" in widget._colors.legend.text()
    assert len(np.unique(viewer.layers[-1].border_color, axis=0)) == FOUND  # by composition
    viewer.layers.selection.active = points
    assert "class&nbsp;0" in widget._colors.legend.text()
    widget.color.value = "composition"
    np.testing.assert_allclose(points.face_color[1, :3], composition_colors(found().composition)[1], atol=1e-6)
    np.testing.assert_allclose(points.face_color[0, :3], UNKNOWN_COLOR, atol=1e-6)  # was moved
    assert len(fake.calls) == 3


def test_a_failed_fit_leaves_points_colored_as_chosen(viewer, open_widget, qtbot, fake, notices):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.labels = QUALITY
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    fake.error, fake.seconds = RuntimeError("no"), 0.1
    widget.run()
    qtbot.waitUntil(lambda: fake.chunks_done >= 1, timeout=TIMEOUT)
    widget.color.value = "misfit"
    finish(widget, qtbot)
    assert len(np.unique(points.border_color, axis=0)) == 3
    widget.color.value = "class"
    assert len(np.unique(points.border_color, axis=0)) == 2


def test_what_is_filled_in_is_told(viewer, open_widget, qtbot, fake):
    pixels = np.asarray(picture(), np.float32)
    pixels[3, 4] = np.nan
    viewer.add_image(pixels, name="slide", rgb=False if pixels.ndim == 2 else None)
    widget = open_widget(viewer)
    widget.form.set(detector="blobs")
    widget.detect()
    finish(widget, qtbot)
    assert widget.message.splitlines()[-1] == "1 pixel NaN or infinite: filled in"


def test_what_a_fit_is_said_to_have_found(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    done, sizes = widget.message.splitlines()
    diameter = 2 * widget.result.droplets.radius
    assert done == f"{FOUND} droplets · diameter {diameter.mean():.2f} ± {diameter.std():.2f} px"
    found = statistics(widget.result, shape=picture().shape[:2])
    assert sizes == f"D50 {found['D50']:.3g} px · D[3,2] {found['D32']:.3g} px · CV {found['cv']:.0%}"
    for part in ("DV90", "1 s"):
        assert part in widget._status.toolTip()
    fake.labels = QUALITY
    fake.summary = {
        "count_mean": 12.34,
        "count_sd": 0.56,
        "rmse": 0.0123,
        "classes": [
            {"class": 0, "proportion": 0.621, "low": 0.58, "high": 0.66},
            {"class": 1, "proportion": 0.379, "low": 0.34, "high": 0.42},
        ],
    }
    widget.run()
    finish(widget, qtbot)
    assert widget.message.splitlines()[:2] == [
        f"{FOUND} droplets (11-13) · {done.split(' · ')[1]} · 1 to look at",
        "class 0: 62 % (58 to 66 %) · class 1: 38 % (34 to 42 %)",
    ]
    assert "RMS residual 0.012" in widget._status.toolTip()
    points = viewer.layers["slide droplets"]
    points.selected_data = {0}
    points.remove_selected()  # what was deleted by hand is not in doubt
    assert widget.message.startswith(f"{FOUND - 1} droplets (10-12) · diameter ")
    fake.summary |= {"count_mean": None, "count_sd": None, "classes": fake.summary["classes"][:1]}
    widget.run()
    finish(widget, qtbot)
    assert widget.message.splitlines()[0] == f"{done} · 1 to look at"


def test_slider_shows_and_hides_points_at_once(detected, viewer, qtbot, fake):
    widget, points = detected
    everything = set(range(FOUND))
    assert shown(points) == list(range(3, FOUND))
    drawn = dict(zip(shown(points), points.border_color.tolist(), strict=True))
    widget.form.inputs["min_probability"].value = 0.95
    assert points.features["p_present"].min() >= 0.95
    assert 0 < len(points.data) < FOUND - 3
    assert widget.message == f"{len(points.data)} of {FOUND} points shown in 'slide droplets'"
    widget.form.set(min_probability=1.0)
    widget.form.set(min_probability=0.0)
    assert set(shown(points)) == everything
    rows = points.features
    np.testing.assert_allclose(points.data, rows[["y", "x"]])
    np.testing.assert_allclose(points.size, 2 * rows["radius"])
    for i, color in zip(shown(points), points.border_color.tolist(), strict=True):
        assert color == drawn.get(i, color)
    assert len(np.unique(points.border_color, axis=0)) == FOUND  # by how probable
    widget.form.set(min_probability=0.15)
    widget.detect()  # is no edit, so that the layer is used again
    finish(widget, qtbot)
    assert viewer.layers[1:] == [points]
    assert set(shown(points)) == everything - {0}
    assert fake.calls[-1][3]["min_probability"] == 0.15


def test_what_hands_have_touched_is_not_hidden(detected, viewer, qtbot):
    widget, points = detected
    points.add([11.0, 12.0])
    points.data[1] += 1
    points.size = [*points.size[:2], 9.0, *points.size[3:]]
    points.remove([0])
    widget.form.set(min_probability=1.0)
    rows = points.metadata["napari_droplets"]["numbers"]
    assert rows[:3].tolist() == [4, 5, FOUND - 1]
    assert rows[3] == FOUND
    np.testing.assert_allclose(points.features[["y", "x"]], points.data)
    widget.form.set(min_probability=0.0)
    rows = points.metadata["napari_droplets"]["numbers"]
    assert {*rows} == {0, 1, 2, *range(4, FOUND + 1)}  # what was deleted stays so
    widget.form.set(min_probability=0.5)
    widget.detect()
    finish(widget, qtbot)
    assert len(viewer.layers) == 3  # edits are spared also when points were hidden after them
    assert "was edited and is kept" in widget.message


def test_hidden_points_are_neither_fitted_nor_saved(detected, qtbot, fake, tmp_path, plugins_of_napari):
    widget, points = detected
    points.add([11.0, 12.0])
    points.data[1] = (3.0, 4.0)
    points.remove([2])
    points.save(str(tmp_path / "droplets.csv"), plugin="napari-droplets")
    widget.refit()
    assert widget.message == (
        "Fit from these points, which may move: 1 added, 1 changed, 1 deleted, 3 hidden and left out"
    )
    finish(widget, qtbot)
    table = fake.calls[-1][2]
    assert len(table) == FOUND - 3
    assert table["p_present"].min() >= 0.7
    assert table["p_present"].iloc[[1, -1]].tolist() == [1, 1]  # seen by eye
    assert table["pinned"].tolist() == [False, True, *[False] * (FOUND - 6), True]
    assert table["x_sd"].isna().tolist() == table["pinned"].tolist()  # the detection's is the prior of the others
    saved = read_table(tmp_path / "droplets.csv").to_dataframe()
    np.testing.assert_allclose(saved[["x", "y", "radius", "p_present"]], table[["x", "y", "radius", "p_present"]])
    widget.form.set(min_probability=0.0)
    assert len(points.data) == FOUND - 3  # the fit's own


def test_failed_fit_gives_hidden_points_back_too(detected, qtbot, fake, notices):
    widget, points = detected
    fake.chunks, fake.seconds, fake.n = 1000, 0.05, 5
    widget.run()
    qtbot.waitUntil(lambda: len(points.data) == 5, timeout=TIMEOUT)
    fake.error = RuntimeError("no")
    finish(widget, qtbot)
    widget.form.set(min_probability=0.0)
    assert set(shown(points)) == set(range(FOUND))


def test_nothing_shown_is_nothing_to_fit(detected, fake):
    widget, points = detected
    points.remove([FOUND - 4])  # the only sure one
    widget.form.set(min_probability=1.0)
    assert len(points.data) == 0
    widget.refit()
    assert not widget.busy
    assert "all points are hidden" in widget.message
    widget.form.set(min_probability=0.0)
    assert set(shown(points)) == set(range(FOUND - 1))


def test_detection_does_not_take_the_place_of_a_fit(detected, viewer, qtbot):
    widget, points = detected
    widget.run()
    finish(widget, qtbot)
    assert names(viewer) == ["slide", "slide reconstruction", "slide droplets"]
    for _ in range(2):
        widget.detect()
        finish(widget, qtbot)
        assert names(viewer)[2:] == ["slide droplets", "slide droplets [1]"]
    assert isinstance(points.metadata["napari_droplets"]["fit"], Fit)
    assert len(points.data) == FOUND


def test_cancelled_detection_changes_nothing(detected, viewer, qtbot, fake):
    widget, points = detected
    fake.n, fake.seconds = 5, 0.3
    widget.detect()
    job = widget._runner.job
    qtbot.waitUntil(lambda: len(fake.calls) == 2, timeout=TIMEOUT)
    widget.cancel()
    assert not widget.busy
    assert widget.message == "Stopped; nothing was changed"
    qtbot.waitUntil(lambda: not job._worker.is_running, timeout=TIMEOUT)
    qtbot.wait(50)
    assert len(points.data) == FOUND - 3
    assert widget._panel.buttons["Detect"].isEnabled()


@pytest.mark.parametrize(("n", "says"), [(0, "set the diameter"), (3, "3 improbable candidates are hidden")])
def test_no_droplets_detected(viewer, open_widget, qtbot, fake, notices, n, says):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.n = n
    widget.detect()
    finish(widget, qtbot)
    assert "slide: no droplets found" in widget.message
    assert says in widget.message
    assert notices == [("info", widget.message)]


def test_estimate(viewer, open_widget, qtbot, monkeypatch):
    from napari_droplets.detection import scales

    monkeypatch.setattr(scales, "estimate_diameter", lambda image, weights: 6.25)
    viewer.add_image(picture())
    widget = open_widget(viewer)
    widget.estimate()
    finish(widget, qtbot)
    assert widget.form.values()["diameter"] == pytest.approx(6.25, abs=0.06)
    assert "6.2 px" in widget.message


def test_refit_keeps_what_was_edited(window, open_widget, qtbot, fake):
    window.add_image(picture(), name="slide")
    widget = open_widget(window)
    widget.run()
    finish(widget, qtbot)
    points = window.layers["slide droplets"]
    points.add([11.0, 12.0])
    points.data[1] = (3.0, 4.0)
    points.remove([0])
    widget.refit()
    assert widget.message == "Refit: 1 added, 1 changed, 1 deleted"
    finish(widget, qtbot)
    table = fake.calls[-1][2]
    assert fake.calls[-1][0] == "refit"
    assert "steps" not in fake.calls[-1][3]  # the library knows how many a refit takes
    assert len(table) == FOUND
    assert table["pinned"].tolist() == [True] + [False] * (FOUND - 2) + [True]
    assert table[["y", "x"]].iloc[0].tolist() == [3, 4]
    assert table[["y", "x"]].iloc[-1].tolist() == [11, 12]
    assert window.layers["slide droplets"] is points  # in place
    assert len(window.layers) == 3
    assert points.features["pinned"].sum() == 2
    widget.form.set(steps=70)
    widget.refit()
    finish(widget, qtbot)
    assert fake.calls[-1][3]["steps"] == 70


def test_refit_leaves_selected_points_as_they_are(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    points.remove([0])
    points.selected_data = {1, 2}
    size, colors = points.size.copy(), points.border_color.copy()
    fake.seconds = 0.2
    widget.refit()
    np.testing.assert_array_equal(points.size, size)
    np.testing.assert_array_equal(points.border_color, colors)
    assert points.selected_data == {1, 2}
    finish(widget, qtbot)
    assert viewer.layers[-1] is points
    assert len(viewer.layers) == 3
    np.testing.assert_allclose(points.size, size)


@pytest.mark.parametrize("name", ["mine", "mine.csv", "mine.parquet"])
def test_points_are_saved_as_they_are_now(viewer, open_widget, qtbot, fake, tmp_path, name):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    points.add([11.0, 12.0])
    points.remove([0])
    widget.save(tmp_path / name)
    path = tmp_path / (name if "." in name else f"{name}.csv")
    assert widget.message == f"Saved {FOUND} droplets to {path}, 2 edits to {path.stem}.journal.json"
    back = read_table(path)
    np.testing.assert_allclose(np.column_stack([back.y, back.x]), points.data)
    assert back.labels["pinned"].tolist() == [False] * (FOUND - 1) + [True]


def test_saving_asks_for_a_file(viewer, open_widget, qtbot, fake, notices, tmp_path, monkeypatch):
    from qtpy.QtWidgets import QFileDialog

    asked = []
    answers = [("", ""), (str(tmp_path / "a.b"), "CSV (*.csv)"), (str(tmp_path / "no folder" / "a.csv"), "")]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: asked.append(args) or answers.pop(0))
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.save()
    assert "nothing to save" in widget.message
    assert not asked
    widget.detect()
    finish(widget, qtbot)
    before = widget.message
    widget.save()
    assert widget.message == before
    assert asked[0][2].endswith("slide droplets.csv")
    widget.save()
    assert (tmp_path / "a.b.csv").exists()
    widget.save()
    assert "no folder" in widget.message
    assert [level for level, _ in notices] == ["warning", "warning"]


def test_refit_of_detected_points_is_a_fit_from_them(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.form.set(detector="blobs")
    widget.detect()
    finish(widget, qtbot)
    viewer.layers["slide droplets"].remove([3])
    widget.refit()
    assert widget.message == "Fit from these points, which may move: 0 added, 0 changed, 1 deleted"
    finish(widget, qtbot)
    kind, _, table, _ = fake.calls[-1]
    assert kind == "iterate"
    assert len(table) == FOUND - 1
    assert isinstance(widget.result, Fit)


def test_fit_from_an_opened_table_does_not_take_its_uncertainties_as_known(viewer, open_widget, qtbot, fake):
    from napari.layers import Layer

    from napari_droplets.plugin.layers import to_layers

    viewer.add_image(picture())
    viewer.add_layer(Layer.create(*to_layers(found())[0]))
    widget = open_widget(viewer)
    widget.refit()
    finish(widget, qtbot)
    kind, _, table, _ = fake.calls[-1]
    assert kind == "iterate"
    assert "x_sd" not in table
    assert len(table) == FOUND


@pytest.mark.parametrize("action", ["run", "detect", "estimate"])
def test_channels_are_chosen_before_intensities_are_scaled(viewer, open_widget, qtbot, fake, monkeypatch, action):
    from napari_droplets.detection import scales

    estimated = []
    monkeypatch.setattr(scales, "estimate_diameter", lambda image, weights: estimated.append(image) or 6.0)
    data = picture(dtype=np.uint16) // np.array([1, 64, 1], np.uint16)  # the second has 10 bits only
    viewer.add_image(data, name="slide")
    widget = open_widget(viewer)
    widget.form.set(channels=[1])
    getattr(widget, action)()
    finish(widget, qtbot)
    image = estimated[0] if estimated else fake.calls[-1][1]
    assert image.name == "slide"
    np.testing.assert_array_equal(image.pixels, as_image(data, channels=[1]).pixels)


def test_refit_of_a_saved_fit(window, open_widget, qtbot, fake, tmp_path):
    image = as_image(picture(), name="slide")
    settings = {"steps": 1, "channels": None}
    fake.result(image, replace(found(), pixel_size_um=0.5), 1, settings).save(tmp_path / "saved")
    window.open(tmp_path / "saved", plugin="napari-droplets")
    widget = open_widget(window)
    widget.refit()
    assert "no image layer" in widget.message
    wrong = window.add_image(picture((50, 50, 3)))
    widget.refit()
    finish(widget, qtbot)
    assert "choose the image that was fitted" in widget.message
    window.layers.remove(wrong)
    window.add_image(image.pixels)
    count = len(window.layers)
    window.layers["image droplets"].remove([0])
    widget.refit()
    finish(widget, qtbot)
    np.testing.assert_array_equal(fake.calls[-1][1].pixels, image.pixels)
    assert fake.calls[-1][1].pixel_size_um == pytest.approx(0.5)
    assert len(window.layers) == count  # in place


def test_refit_without_anything(viewer, open_widget, fake, notices):
    viewer.add_image(picture())
    widget = open_widget(viewer)
    widget.refit()
    assert "nothing to refit" in widget.message
    assert notices


@pytest.mark.parametrize("error", [RuntimeError("XLA gave up"), InputError("diameter: too large"), MemoryError()])
def test_failure_is_told_and_the_last_result_comes_back(viewer, open_widget, qtbot, fake, notices, error):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    result, data = widget.result, viewer.layers["slide droplets"].data.copy()
    fake.error, fake.n, fake.seconds = error, 5, 0.1
    widget.run()
    finish(widget, qtbot)
    assert len(notices) == 1
    assert (str(error) or "memory") in notices[0][1]
    assert widget.message == notices[0][1]
    assert "Traceback" not in widget.message
    np.testing.assert_array_equal(viewer.layers["slide droplets"].data, data)
    assert viewer.layers["slide droplets"].metadata["napari_droplets"]["fit"] is result
    assert widget._panel.buttons["Run"].isEnabled()


def test_failed_refit_keeps_the_edits(viewer, open_widget, qtbot, fake, notices):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    points.data[0] = (1.0, 2.0)
    fake.error = RuntimeError("no")
    widget.refit()
    finish(widget, qtbot)
    assert points.data[0].tolist() == [1, 2]
    fake.error = None
    widget.refit()
    assert widget.message == "Refit: 0 added, 1 changed, 0 deleted"
    finish(widget, qtbot)


def test_no_droplets(viewer, open_widget, qtbot, fake, notices):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.n = 0
    widget.run()
    finish(widget, qtbot)
    assert "no droplets found" in widget.message
    assert notices == [("warning", widget.message)]


def test_no_image(viewer, open_widget, fake, notices):
    widget = open_widget(viewer)
    for action in (widget.run, widget.detect, widget.refit, widget.estimate):
        action()
        assert not widget.busy
    assert [level for level, _ in notices] == ["warning"] * 4
    assert "no image layer" in notices[0][1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((30, 40), 0.5), "constant"),
        (np.full((30, 40), np.nan), "NaN"),
        (picture((5, 5)), "too small"),
    ],
)
def test_images_that_cannot_be_used(viewer, open_widget, qtbot, fake, notices, data, message):
    viewer.add_image(data, name="bad", contrast_limits=(0, 1))
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    assert message in widget.message
    assert widget.message.startswith("bad: ")
    assert notices == [("warning", widget.message)]
    assert names(viewer) == ["bad"]


def test_busy_is_said(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture())
    widget = open_widget(viewer)
    widget.run()
    widget.run()
    assert "Busy" in widget.message
    finish(widget, qtbot)
    assert len(fake.calls) == 1


def test_refit_of_points_of_several_frames(viewer, open_widget, qtbot, fake, notices, tmp_path):
    from napari.layers import Layer

    from napari_droplets.plugin.files.readers import read_table

    path = tmp_path / "droplets.csv"
    path.write_text("x,y,radius,frame\n1,2,3,0\n4,5,3,1\n")
    viewer.add_image(picture())
    viewer.add_layer(Layer.create(*read_table(str(path))[0]))
    widget = open_widget(viewer)
    widget.refit()
    assert "several frames" in widget.message


def test_stack_gives_results_on_the_plane_shown(viewer, open_widget, qtbot, fake):
    data = picture((5, 40, 50))
    viewer.add_image(data, name="movie")
    widget = open_widget(viewer)
    viewer.dims.set_current_step(0, 3)
    widget.run()
    viewer.dims.set_current_step(0, 1)
    finish(widget, qtbot)
    np.testing.assert_allclose(fake.calls[0][1].pixels[..., 0], data[3])
    assert set(viewer.layers["movie droplets"].data[:, 0]) == {3}


def test_a_saved_table_opened_again_lies_on_its_image(window, open_widget, qtbot, fake, tmp_path):
    space = {"scale": (0.5, 0.5), "translate": (5, 7), "units": ("um", "um")}
    slide = window.add_image(picture(), name="slide", **space)
    widget = open_widget(window)
    widget.run()
    finish(widget, qtbot)
    points = window.layers["slide droplets"]
    widget.save(tmp_path / "slide droplets.csv")
    other = window.add_image(picture((50, 60, 3)), name="other")
    [opened] = window.open(tmp_path / "slide droplets.csv", plugin="napari-droplets")
    np.testing.assert_allclose(opened.data_to_world((3, 4)), slide.data_to_world((3, 4)))
    np.testing.assert_allclose(opened.scale, points.scale)
    assert opened.units == slide.units
    window.layers.remove(points)
    opened.name = "slide droplets"
    window.layers.selection.active = slide
    kept = opened.data.copy()
    fake.n = 5
    widget.run()
    finish(widget, qtbot)
    np.testing.assert_array_equal(opened.data, kept)  # an opened table is nothing to be overwritten
    widget.save(tmp_path / "mine droplets.csv")
    window.layers.remove(slide)
    [alone] = window.open(tmp_path / "mine droplets.csv", plugin="napari-droplets")  # on the only one where it fits
    assert alone.units == other.units


@pytest.mark.parametrize("action", ["run", "detect", "estimate"])
def test_an_image_whose_droplets_are_shown_as_ellipses_is_refused(viewer, open_widget, fake, notices, action):
    viewer.add_image(picture(), name="slide", scale=(1, 2))
    widget = open_widget(viewer)
    getattr(widget, action)()
    assert not widget.busy
    assert "slide: its scale, shear or affine stretch it 2.00 to 1" in widget.message
    assert notices


@pytest.mark.parametrize("again", ["run", "detect"])
def test_corrected_points_are_spared_after_the_refit_too(viewer, open_widget, qtbot, fake, again):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    points.add([11.0, 12.0])
    widget.refit()
    finish(widget, qtbot)
    kept = points.features.copy()
    assert kept["pinned"].any()
    fake.n = 5
    getattr(widget, again)()
    finish(widget, qtbot)
    assert points.features.equals(kept)
    assert names(viewer) == ["slide", "slide reconstruction", "slide droplets", "slide droplets [1]"]
    assert "'slide droplets' was edited and is kept" in widget.message
    getattr(widget, again)()
    finish(widget, qtbot)
    assert len(viewer.layers) == 4
    viewer.layers.selection.active = points
    points.remove([2])
    widget.refit()  # which may
    finish(widget, qtbot)
    assert len(points.data) == len(kept) - 1
    assert len(viewer.layers) == 4


def test_the_image_chosen_stays_when_results_arrive(window, open_widget, qtbot, fake):
    slide = window.add_image(picture(seed=1), name="slide")
    other = window.add_image(picture(seed=2), name="other")
    widget = open_widget(window)
    widget.image.value = slide  # while the other is the active layer
    for action in (widget.detect, widget.run, widget.run):
        action()
        finish(widget, qtbot)
        assert widget.image.value is slide
        assert window.layers.selection.active is other
    window.layers.selection.active = window.layers["slide droplets"]
    window.layers.selection.active = other  # the user's choice
    assert widget.image.value is other


def test_a_point_added_where_all_were_deleted_is_refitted(viewer, open_widget, qtbot, fake, notices):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    fake.labels = QUALITY | {"note": np.array(["a"] * FOUND)}
    widget.run()
    finish(widget, qtbot)
    fake.labels = {}
    points = viewer.layers["slide droplets"]
    points.remove(list(range(FOUND)))
    widget.refit()
    assert "no points are left" in widget.message
    points.add([11.0, 12.0])
    widget.refit()
    assert widget.message == f"Refit: 1 added, 0 changed, {FOUND} deleted"
    finish(widget, qtbot)
    assert widget.message.startswith("1 droplet ·")


def test_a_point_added_where_all_were_deleted_is_refitted_in_earnest(simulated, fitted):
    from napari.layers import Layer

    from napari_droplets.inference.api import refit
    from napari_droplets.plugin.layers import to_layers
    from napari_droplets.plugin.layers.correction import corrected
    from napari_droplets.plugin.layers.following import follow

    points = Layer.create(*to_layers(fitted)[1])
    follow(points)
    y, x = points.data[0]
    points.remove(list(range(len(points.data))))
    points.add([y + 0.3, x])
    tag = points.metadata["napari_droplets"]
    edits = corrected(tag["table"], points.features, points.data, points.size, numbers=tag["numbers"])
    result = refit(fitted, edits.table, steps=5)
    assert len(result.droplets) == 1
    assert np.isfinite(result.droplets.composition).all()


@pytest.fixture
def movie(viewer, open_widget, qtbot, fake):
    """The widget, and the points of frame 3 of a stack."""
    viewer.add_image(picture((5, 36, 50)), name="movie")
    viewer.dims.set_current_step(0, 3)
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    return widget, viewer.layers["movie droplets"]


@pytest.mark.parametrize("detected", [True, False])
def test_points_on_another_plane_are_not_fitted_as_if_on_this_one(movie, viewer, qtbot, fake, notices, detected):
    widget, points = movie
    if detected:
        viewer.layers.remove(points)
        widget.detect()
        finish(widget, qtbot)
        points = viewer.layers[-1]
    calls, n = len(fake.calls), len(points.data)
    points.add([2.0, 11.0, 12.0])
    points.selected_data = {0}
    widget.refit()
    assert not widget.busy
    assert "1 point is on another plane than the one fitted (3)" in widget.message
    assert notices == [("warning", widget.message)]
    assert points.selected_data == {n}
    assert len(fake.calls) == calls
    points.data = np.vstack([points.data[:-1], [3, 11, 12]])
    widget.refit()
    finish(widget, qtbot)
    assert len(fake.calls) > calls  # surroundings of the edit may have been refitted before


@pytest.mark.parametrize("view", ["rolled", "transposed", "3D"])
def test_another_section_than_the_planes_is_not_fitted(viewer, open_widget, qtbot, fake, notices, view):
    viewer.add_image(picture((30, 36, 50)), name="movie")
    widget = open_widget(viewer)
    if view == "3D":
        viewer.dims.ndisplay = 3
    else:
        viewer.dims.order = (1, 2, 0) if view == "rolled" else (0, 2, 1)
    for action in (widget.run, widget.detect, widget.estimate):
        if view == "transposed":  # is the same plane, and the points are transposed with it
            break
        action()
        assert not widget.busy
        assert "movie: what is shown is no plane of the last two axes" in widget.message
    else:
        assert not fake.calls
        return
    widget.run()
    finish(widget, qtbot)
    assert len(fake.calls) == 1


def test_refit_with_nothing_changed_changes_nothing(viewer, open_widget, qtbot, fake, notices):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    points = viewer.layers["slide droplets"]
    before, result = points.features.copy(), widget.result
    widget.refit()
    finish(widget, qtbot)
    assert "nothing to refit: no point was added" in widget.message
    assert points.features.equals(before)
    assert widget.result is result
    assert len(fake.calls) == 1
    points.features["class"] = 1  # what is known of them counts, too
    widget.refit()
    finish(widget, qtbot)
    assert len(fake.calls) == 2


@pytest.mark.parametrize("change", ["replaced", "in place", "cropped", "flat", "as it was"])
def test_refit_of_an_image_that_has_changed_is_refused(viewer, open_widget, qtbot, fake, notices, change):
    layer = viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
    widget.run()
    finish(widget, qtbot)
    viewer.layers["slide droplets"].remove([0])
    before = viewer.layers["slide droplets"].data.copy()
    if change == "replaced":
        layer.data = picture(seed=5)
    elif change == "in place":
        layer.data[3:5] = 0.5
    elif change == "cropped":
        layer.data = layer.data[:-4]
    elif change == "flat":
        layer.data = np.full_like(layer.data, 0.5)
    else:
        layer.data = layer.data.copy()
    widget.refit()
    finish(widget, qtbot)
    assert len(fake.calls) == (2 if change == "as it was" else 1)
    if change != "as it was":
        assert "press Run" in widget.message
        assert ("has changed" if change == "cropped" else "not those that were fitted") in widget.message
        np.testing.assert_array_equal(viewer.layers["slide droplets"].data, before)


def test_warnings_of_libraries_are_not_shown_to_the_user(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture())
    widget = open_widget(viewer)
    fake.warning, fake.seconds = FutureWarning("of interest to programmers"), 0.1
    widget.run()
    warned = []
    widget._runner.job._worker.warned.connect(warned.append)  # napari may show what comes here
    finish(widget, qtbot)
    qtbot.wait(50)
    assert not warned


def test_image_opened_after_the_widget_is_chosen(viewer, open_widget):
    widget = open_widget(viewer)
    layer = viewer.add_image(picture())
    assert widget.image.value is layer


def test_image_choice_follows_the_active_image_and_skips_our_own(window, open_widget, qtbot, fake):
    first = window.add_image(picture(seed=1), name="first")
    second = window.add_image(picture(seed=2), name="second")
    widget = open_widget(window)
    assert widget.image.value is second
    window.layers.selection.active = first
    assert widget.image.value is first
    widget.run()
    finish(widget, qtbot)
    window.layers.selection.active = window.layers["first reconstruction"]
    assert widget.image.value is first
    assert widget.image.choices == (first, second)
    window.layers.remove(first)
    assert widget.image.value is second


def test_the_fit_itself(viewer, open_widget, qtbot):
    """From the image to a corrected result, nothing stood in for."""
    from napari_droplets.simulate import simulate

    image, truth = simulate((64, 80), 12, radius=5, seed=3)
    viewer.add_image(image, rgb=True, name="slide")
    widget = open_widget(viewer)
    widget.form.set(steps=100, types=2)
    widget.detect()
    qtbot.waitUntil(lambda: not widget.busy, timeout=300_000)
    assert widget.preparing  # what Run, which does not wait for the end of it, will need
    widget.run()
    qtbot.waitUntil(lambda: not widget.busy, timeout=300_000)
    assert "droplets" in widget.message.splitlines()[0], widget.message
    points, reconstruction = viewer.layers["slide droplets"], viewer.layers["slide reconstruction"]
    assert {"x", "y", "radius", "x_sd", "composition_1"} <= set(points.features)
    assert 0.5 * len(truth) <= len(points.data) <= 2 * len(truth)
    assert np.sqrt(np.mean((reconstruction.data - image) ** 2)) < image.std()

    deleted = points.data[0].copy()
    points.remove([0])
    points.add([40.0, 50.0])
    points.data[1] += (0.5, -0.5)
    expected, count = points.data[[1, -1]].copy(), len(points.data)
    widget.refit()
    qtbot.waitUntil(lambda: not widget.busy, timeout=300_000)
    assert "droplets" in widget.message.splitlines()[0], widget.message
    assert viewer.layers[-1] is points
    pinned = points.features["pinned"].to_numpy(bool)
    assert pinned.sum() == 2
    np.testing.assert_allclose(points.data[pinned], expected, atol=1e-4)
    assert len(points.data) == count
    assert np.linalg.norm(points.data - deleted, axis=1).min() > 1
