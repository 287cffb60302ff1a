"""The dock widget in real windows, on a quick stand-in for the fit; the fit itself at the end."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from fake_fit import FOUND, FakeFit, found

from napari_droplets.droplets import Fit
from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.inference import fit as fitting

TIMEOUT = 10_000  # milliseconds; most that anything quick may take


@pytest.fixture
def fake(monkeypatch):
    fake = FakeFit()
    for name in ("iterate", "iterate_refit", "detect"):
        monkeypatch.setattr(fitting, name, getattr(fake, name))
    return fake


@pytest.fixture
def window(make_napari_viewer):
    """A viewer with its window; it takes seconds, so that most tests do with the next one."""
    return make_napari_viewer()


@pytest.fixture
def viewer(qapp):
    """The model of a viewer: layers and dimensions without a window."""
    from napari.components import ViewerModel

    return ViewerModel()


@pytest.fixture
def open_widget(qtbot):
    def open_widget(viewer):
        if hasattr(viewer, "window"):
            return viewer.window.add_plugin_dock_widget("napari-droplets")[1]
        from napari_droplets.plugin.widget import DropletsWidget

        widget = DropletsWidget(viewer)
        qtbot.addWidget(widget)
        return widget

    return open_widget


def picture(shape=(34, 40, 3), dtype=np.float32, seed=0):
    values = np.random.default_rng(seed).uniform(size=shape)
    return values.astype(dtype) if np.dtype(dtype).kind == "f" else (values * np.iinfo(dtype).max).astype(dtype)


def finish(widget, qtbot):
    qtbot.waitUntil(lambda: not widget.busy, timeout=TIMEOUT)


def names(viewer):
    return [layer.name for layer in viewer.layers]


@pytest.fixture
def notices(monkeypatch):
    """What napari shows as notifications."""
    from napari.utils import notifications

    seen = []
    for level in ("warning", "error"):
        monkeypatch.setattr(notifications, f"show_{level}", lambda text, level=level: seen.append((level, text)))
    return seen


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
    np.testing.assert_allclose(points.face_color[:, :3], droplets.composition, atol=1e-6)
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
    assert widget.form.values() == asdict(fitting.Settings())
    chosen = {
        "types": 2,
        "diameter": 7.5,
        "seed": 3,
        "composition": "simplex",
        "background": "uniform",
        "renderer": "layered",
        "noise": 0.04,
        "steps": 400,
        "max_seconds": 60.0,
        "scale": 0.5,
        "pixel_size_um": 0.25,
        "channels": [1],
    }
    assert set(chosen) == set(asdict(fitting.Settings()))
    widget.form.set(**chosen)
    widget.run()
    finish(widget, qtbot)
    assert fake.calls[-1][3] == chosen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diameter": 0.5}, "diameter=0.5"),
        ({"types": 1, "composition": "simplex"}, "types=1"),
        ({"channels": ["red"]}, "channels='red'"),
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
    for part in ("step", "of 100,000", "loss -", f"{FOUND} droplets", "s left"):
        assert part in widget.message
    assert threading.main_thread() not in fake.snapshot_threads
    assert len(fake.snapshot_threads) < fake.chunks_done  # not every chunk
    widget.cancel()
    finish(widget, qtbot)


def test_no_picture_is_computed_before_the_last_one_is_drawn():
    from napari_droplets.plugin.job import Job

    job = Job(lambda: None, None, None)
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
    fake.seconds, fake.chunks = 0.1, 12
    widget.run()
    qtbot.waitUntil(lambda: len(viewer.layers) == 3, timeout=TIMEOUT)
    for name in ("slide droplets", "slide reconstruction"):
        viewer.layers.remove(name)
    qtbot.waitUntil(lambda: len(fake.snapshot_threads) >= 2, timeout=TIMEOUT)
    assert names(viewer) == ["slide"]
    finish(widget, qtbot)
    assert names(viewer) == ["slide", "slide reconstruction", "slide droplets"]


def test_viewer_closed_while_it_runs(window, open_widget, qtbot, fake):
    window.add_image(picture())
    widget = open_widget(window)
    fake.seconds, fake.chunks = 0.05, 1000
    widget.run()
    qtbot.waitUntil(lambda: fake.chunks_done >= 2, timeout=TIMEOUT)
    job = widget._job
    window.close()
    del widget
    qtbot.waitUntil(lambda: not job._worker.is_running, timeout=TIMEOUT)
    assert fake.chunks_done < 1000
    qtbot.wait(100)  # late signals find nobody


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
    widget.detect()
    finish(widget, qtbot)
    assert names(viewer) == ["slide", "slide droplets"]
    assert list(viewer.layers["slide droplets"].features) == ["x", "y", "radius"]
    assert fake.calls[-1][0] == "detect"


def test_estimate(viewer, open_widget, qtbot, monkeypatch):
    from napari_droplets.inference import propose

    monkeypatch.setattr(propose, "estimate_diameter", lambda image: 6.25)
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


def test_refit_of_detected_points_is_a_fit_from_them(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture(), name="slide")
    widget = open_widget(viewer)
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
    from napari_droplets.inference import propose

    estimated = []
    monkeypatch.setattr(propose, "estimate_diameter", lambda image: estimated.append(image) or 6.0)
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
    assert widget._run.isEnabled()


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

    from napari_droplets.plugin.readers import read_table

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


def test_warnings_of_libraries_are_not_shown_to_the_user(viewer, open_widget, qtbot, fake):
    viewer.add_image(picture())
    widget = open_widget(viewer)
    fake.warning, fake.seconds = FutureWarning("of interest to programmers"), 0.1
    widget.run()
    warned = []
    widget._job._worker.warned.connect(warned.append)  # napari may show what comes here
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
    widget.run()
    qtbot.waitUntil(lambda: not widget.busy, timeout=300_000)
    assert widget.message.startswith("Done"), widget.message
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
    assert widget.message.startswith("Done"), widget.message
    assert viewer.layers[-1] is points
    pinned = points.features["pinned"].to_numpy(bool)
    assert pinned.sum() == 2
    np.testing.assert_allclose(points.data[pinned], expected, atol=1e-4)
    assert len(points.data) == count
    assert np.linalg.norm(points.data - deleted, axis=1).min() > 1
