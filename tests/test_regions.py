"""What a user draws in the window as the region of an image."""

import numpy as np
import pytest
from fake_fit import FakeFit

import napari_droplets as nd
from napari_droplets.images.region import region_mask
from napari_droplets.inference import api as fitting
from napari_droplets.plugin.controls import command
from napari_droplets.plugin.controls.command import command_text
from napari_droplets.plugin.jobs import work
from napari_droplets.plugin.layers import fit_layer
from napari_droplets.plugin.layers.correction import corrected
from napari_droplets.plugin.layers.place import place_of

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

from napari_droplets.plugin.layers.regions import region_layers, region_of

SHAPE = (40, 60)
BOX = np.array([[9.6, 19.6], [9.6, 40.2], [30.3, 40.2], [30.3, 19.6]])  # rows 10 to 30, columns 20 to 40


def picture(*leading):
    return np.random.default_rng(0).random((*leading, *SHAPE)).astype(np.float32)


def mask_of(shapes, image=None, point=()):
    image = Image(picture()) if image is None else image
    return region_mask(region_of(shapes, image, place_of(image, point)), SHAPE)


def test_an_upright_rectangle_is_a_box():
    image = Image(picture())
    assert region_of(Shapes([BOX]), image, place_of(image)) == (20, 10, 41, 31)
    beyond = Shapes([BOX * [1, 2]])
    assert region_of(beyond, image, place_of(image)) == (40, 10, 60, 31)
    mask = mask_of(Shapes([BOX]))
    assert mask.sum() == 21 * 21
    assert mask[10:31, 20:41].all()


def test_other_shapes_and_several_are_a_mask():
    v, u = np.indices(SHAPE)
    corners = np.array([[5.0, 10.0], [5.0, 40.0], [25.0, 40.0], [25.0, 10.0]])
    ellipse = mask_of(Shapes([corners], shape_type="ellipse"))
    inside = np.hypot((u - 25) / 15, (v - 15) / 10)
    assert ellipse[inside < 0.95].all()
    assert not ellipse[inside > 1.05].any()
    triangle = mask_of(Shapes([np.array([[0, 0], [0, 30], [30, 0]])], shape_type="polygon"))
    assert triangle[5, 5]
    assert not triangle[25, 25]
    both = mask_of(Shapes([BOX, BOX + np.array([8, 18])]))
    assert both.sum() > 1.7 * 21 * 21
    leaning = mask_of(Shapes([BOX + np.array([[0, 0], [5, 0], [5, 0], [0, 0]])]))
    assert abs(leaning.sum() - 21 * 21) < 40


def test_lines_enclose_nothing():
    image = Image(picture(), name="slide")
    for shapes in (Shapes(name="mine"), Shapes([[[0, 0], [9, 9]]], shape_type="line", name="mine")):
        with pytest.raises(nd.InputError, match="mine: no region is drawn"):
            region_of(shapes, image, place_of(image))
    outside = Shapes([BOX + 200], name="mine")
    with pytest.raises(nd.InputError, match=r"mine: nothing of it is in slide \(60 x 40 pixels\)"):
        region_of(outside, image, place_of(image))


def test_layers_may_be_placed_differently():
    image = Image(picture(), scale=(0.5, 0.5), translate=(100, 200))
    there = BOX * 0.5 + [100, 200]
    np.testing.assert_array_equal(mask_of(Shapes([there]), image), mask_of(Shapes([BOX])))
    scaled = Shapes([BOX], scale=(0.5, 0.5), translate=(100, 200))
    np.testing.assert_array_equal(mask_of(scaled, image), mask_of(Shapes([BOX])))


def test_labels_are_a_mask():
    labels = np.zeros(SHAPE, int)
    labels[3:9, 5:50] = 4
    np.testing.assert_array_equal(mask_of(Labels(labels)), labels > 0)
    image = Image(picture())
    with pytest.raises(nd.InputError, match=r"mine: labels of 60 x 20 pixels, but the image has 60 x 40"):
        region_of(Labels(labels[:20], name="mine"), image, place_of(image))
    with pytest.raises(nd.InputError, match="mine: no labels"):
        region_of(Labels(0 * labels, name="mine"), image, place_of(image))


def test_of_a_stack_the_plane_shown_counts():
    stack = Image(picture(3))
    labels = np.zeros((3, *SHAPE), int)
    labels[1, 3:9, 5:50] = 1
    np.testing.assert_array_equal(mask_of(Labels(labels), stack, (1, 0, 0)), labels[1] > 0)
    on_planes = Shapes([np.insert(BOX, 0, 1, axis=1), np.insert(BOX - 9, 0, 2, axis=1)])
    np.testing.assert_array_equal(mask_of(on_planes, stack, (1, 0, 0)), mask_of(Shapes([BOX])))
    np.testing.assert_array_equal(mask_of(on_planes, stack, (2, 0, 0)), mask_of(Shapes([BOX - 9])))
    with pytest.raises(nd.InputError, match="no region is drawn here"):
        mask_of(on_planes, stack, (0, 0, 0))
    np.testing.assert_array_equal(mask_of(Shapes([BOX]), stack, (2, 0, 0)), mask_of(Shapes([BOX])))


def test_the_command_has_the_box_or_stands_in_for_the_mask(tmp_path):
    layer = Image(picture())
    layer._source = layer.source.model_copy(update={"path": str(tmp_path / "a.tif")})
    box = region_of(Shapes([BOX]), layer, place_of(layer))
    assert command_text(layer, (), {"region": box}, detect_only=True).endswith("--detect-only --region 20,10,41,31")
    mask = region_of(Shapes([BOX, BOX + 4]), layer, place_of(layer))
    assert command_text(layer, (), {"region": mask}, detect_only=False).endswith("--region MASK")


def test_the_command_of_one_picture_is_told_without_reading_its_file(tmp_path, monkeypatch):
    layer = Image(picture())
    layer._source = layer.source.model_copy(update={"path": str(tmp_path / "a.png")})
    monkeypatch.setattr(
        command, "stored_in", lambda *args, **options: pytest.fail("it was read in the window's thread")
    )
    assert command_text(layer, (), {}, detect_only=True).endswith("-o OUT --detect-only")


@pytest.fixture
def fake(monkeypatch):
    fake = FakeFit()
    for name in ("iterate", "iterate_refit", "detect_all"):
        monkeypatch.setattr(fitting, name, getattr(fake, name))
    for name in ("warm", "rehearse"):
        monkeypatch.setattr(work, name, lambda *_: None)
    return fake


def test_the_panel_offers_what_is_drawn(qtbot, fake):
    from napari_droplets.plugin.widget import DropletsWidget

    viewer = ViewerModel()
    viewer.add_image(picture(), name="slide")
    widget = DropletsWidget(viewer)
    qtbot.addWidget(widget)
    assert widget.region.choices == (None,)
    shapes = viewer.add_shapes([BOX], name="well")
    viewer.add_labels(np.zeros(SHAPE, int), name="painted")
    assert region_layers(viewer) == [shapes, viewer.layers["painted"]]
    assert widget.region.value is None
    widget.region.value = shapes
    viewer.layers.selection.active = viewer.layers["slide"]
    for start in (widget.detect, widget.run):
        start()
        qtbot.waitUntil(lambda: not widget.busy, timeout=10_000)
        assert fake.calls[-1][3]["region"] == (20, 10, 41, 31)
    # what was drawn stays above the reconstruction
    assert [layer.name for layer in viewer.layers][:2] == ["slide", "slide reconstruction"]
    widget.region.value = viewer.layers["painted"]
    calls = len(fake.calls)
    widget.run()
    assert len(fake.calls) == calls
    assert "painted: no labels" in widget.message
    viewer.layers.remove("painted")
    assert widget.region.value is None


def test_scripts_give_the_layer(monkeypatch):
    given = {}

    def fit(image, **settings):
        given.update(settings)
        raise nd.InputError("enough")

    monkeypatch.setattr(fitting, "fit", fit)
    viewer = ViewerModel()
    viewer.add_image(picture())
    with pytest.raises(nd.InputError, match="enough"):
        fit_layer(viewer, region=Shapes([BOX]))
    assert given["region"] == (20, 10, 41, 31)


def test_what_is_edited_is_asked_anew_whether_the_border_cuts_it():
    drawn = nd.Droplets(
        [10.0, 30.0], [20.0, 20.0], [3.0, 4.0], labels={"cut_by_border": np.array([False, False])}
    ).to_dataframe()
    data = np.array([[20.0, 10.0], [2.0, 30.0], [39.0, 50.0]])
    features = drawn.reindex([0, 1, -1]).reset_index(drop=True)
    table = corrected(drawn, features, data, np.array([6.0, 8.0, 4.0]), shape=SHAPE).table
    assert table["cut_by_border"].tolist() == [False, True, True]
    assert table["cut_by_border"].dtype == bool
    table = corrected(drawn, features, data, np.array([6.0, 8.0, 4.0])).table
    assert table["cut_by_border"].isna().tolist() == [False, True, True]
