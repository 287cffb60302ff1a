"""Results as layers, on images of every kind that napari holds."""

import numpy as np
import pandas as pd
import pytest
from fake_fit import FakeFit

from napari_droplets.droplets import Droplets
from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.plot.colors import UNKNOWN_COLOR, composition_colors, luminance, readable
from napari_droplets.plugin.layers import (
    Output,
    default_image,
    fit_layer,
    image_layers,
    is_edited,
    to_layers,
)
from napari_droplets.plugin.layers.correction import corrected
from napari_droplets.plugin.layers.place import Plane, check_shown, pixel_size_um, place_of, plane_of

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Image, Layer

RNG = np.random.default_rng(0)


def droplets(n=4, types=3, **more):
    rng = np.random.default_rng(1)
    return Droplets(
        rng.uniform(5, 30, n),
        rng.uniform(5, 30, n),
        rng.uniform(2, 4, n),
        x_sd=np.full(n, 0.2),
        composition=rng.uniform(size=(n, types)) if types else None,
        **more,
    )


def show(viewer, layer, found, point=None):
    """What the widget does with a result."""
    place = place_of(layer, viewer.dims.point if point is None else point)
    output = Output(viewer, place)
    image = as_image(Plane.of(layer, place))
    output.show(found, image.pixels * 0.5, fit=FakeFit().result(image, found, 1, {}))
    return image, output.points, output.reconstruction


def test_while_work_goes_on_one_layer_is_added_at_a_time_points_first():
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50, 3)), name="slide")
    output = Output(viewer, place_of(layer, viewer.dims.point))
    before = []
    for _ in range(3):
        output.show(droplets(), np.zeros((40, 50, 3), np.float32), final=False)
        before.append(len(viewer.layers))
    assert before == [2, 3, 3]
    assert [one.name for one in viewer.layers] == ["slide", "slide reconstruction", "slide droplets"]
    once = Output(viewer, place_of(viewer.add_image(RNG.uniform(size=(40, 50)), name="other"), viewer.dims.point))
    once.show(droplets(), np.zeros((40, 50, 1), np.float32))
    assert len(viewer.layers) == 6  # in the end all at once


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("channels", [None, 3, 4])
def test_every_kind_of_image(dtype, channels):
    shape = (40, 50) if channels is None else (40, 50, channels)
    values = RNG.uniform(0.01, 1, size=shape)  # nothing is quite transparent
    data = values.astype(dtype) if dtype == "float32" else (values * np.iinfo(dtype).max).astype(dtype)
    viewer = ViewerModel()
    layer = viewer.add_image(data, name="slide")
    image, points, reconstruction = show(viewer, layer, droplets())
    assert image.shape == (40, 50, 1 if channels is None else 3)
    np.testing.assert_allclose(image.pixels.squeeze(), values[..., :3] if channels else values, atol=0.005)
    assert reconstruction.rgb == (channels is not None)
    assert reconstruction.data.shape[:2] == (40, 50)
    assert points.ndim == 2
    # a grey reconstruction is shown with the image's black and white, not those of its own
    if channels is None:
        np.testing.assert_allclose(reconstruction.contrast_limits, (image.pixels.min(), image.pixels.max()))


def test_multiscale_and_dask():
    import dask.array as da

    data = RNG.uniform(size=(60, 80)).astype(np.float32)
    viewer = ViewerModel()
    pyramid = viewer.add_image([data, data[::2, ::2]], multiscale=True)
    lazy = viewer.add_image(da.from_array(data, chunks=20))
    for layer in (pyramid, lazy):
        image, _, reconstruction = show(viewer, layer, droplets())
        np.testing.assert_array_equal(image.pixels[..., 0], data)
        assert reconstruction.data.shape == (60, 80)
    assert not isinstance(plane_of(lazy, place_of(lazy)), np.ndarray)  # read later, in the thread


def test_reading_a_plane_of_a_lazy_stack_leaves_the_others_unread():
    import dask.array as da

    read = []

    def plane(block_info=None):
        read.append(block_info[None]["chunk-location"][0])
        return RNG.uniform(size=(1, 40, 50))

    stack = da.map_blocks(plane, chunks=((1,) * 6, 40, 50), dtype=float, meta=np.empty((0, 0, 0)))
    layer = Image(stack, contrast_limits=(0, 1), name="movie")
    read.clear()
    place = place_of(layer, (4.0, 0.0, 0.0))
    as_image(plane_of(layer, place))
    assert set(read) == {4}


def test_transform_is_carried_over():
    viewer = ViewerModel()
    layer = viewer.add_image(
        RNG.uniform(size=(40, 50)),
        scale=(0.5, 0.25),
        translate=(10, 20),
        rotate=30,
        shear=[0.1],
        units=("um", "um"),
        axis_labels=("y", "x"),
        affine=[[1, 0.2, 3], [0, 1, 4], [0, 0, 1]],
    )
    _, points, reconstruction = show(viewer, layer, droplets())
    for result in (points, reconstruction):
        np.testing.assert_allclose(result.data_to_world((3, 7)), layer.data_to_world((3, 7)))
        assert result.units == layer.units
        assert result.axis_labels == layer.axis_labels


@pytest.mark.parametrize("rgb", [False, True])
def test_plane_of_a_stack(rgb):
    shape = (5, 3, 40, 50) + ((3,) if rgb else ())
    data = RNG.uniform(size=shape)
    viewer = ViewerModel()
    layer = viewer.add_image(data, rgb=rgb, scale=(2, 3, 0.5, 0.5), translate=(1, 1, 7, 8), name="movie")
    viewer.dims.set_current_step((0, 1), (3, 1))
    image, points, reconstruction = show(viewer, layer, droplets())
    np.testing.assert_allclose(image.pixels.squeeze(), data[3, 1], atol=1e-6)
    assert set(map(tuple, points.data[:, :2])) == {(3, 1)}
    assert reconstruction.data.shape == (1, 1, *data.shape[2:])
    np.testing.assert_allclose(reconstruction.data_to_world((0, 0, 5, 6)), layer.data_to_world((3, 1, 5, 6)))
    # the same plane again: the same layers; another plane: others
    assert show(viewer, layer, droplets(3))[1] is points
    assert show(viewer, layer, droplets(3), point=(1, 1, 0, 0))[1] is not points
    assert len(viewer.layers) == 5


def test_plane_in_units_is_the_one_shown():
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(6, 40, 50)), scale=(5, 0.5, 0.5), units=("um", "um", "um"))
    viewer.dims.set_current_step(0, 4)
    assert place_of(layer, viewer.dims.point).plane == (4,)


@pytest.mark.parametrize(
    ("scale", "units", "expected"),
    [
        ((1, 1), ("pixel", "pixel"), None),
        ((0.5, 0.5), ("um", "um"), 0.5),
        ((500, 500), ("nm", "nm"), 0.5),
        ((0.5, 0.4), ("um", "um"), (0.4, 0.5)),
        ((2, 0.5, 0.5), ("s", "um", "um"), 0.5),
    ],
)
def test_pixel_size(scale, units, expected):
    layer = Image(RNG.uniform(size=(40,) * len(scale)), scale=scale, units=units)
    assert pixel_size_um(layer) == (None if expected is None else pytest.approx(expected))


AFFINES = {
    "twice": (np.diag([2.0, 2.0, 1.0]), 1.0),
    "flipped": (np.diag([1.35, -1.35, 1.0]), 0.675),
    "turned": ([[0.0, -3.0, 4.0], [3.0, 0.0, 5.0], [0.0, 0.0, 1.0]], 1.5),
    "stretched": (np.diag([1.0, 1.35, 1.0]), (0.675, 0.5)),
    "sheared": ([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], None),
}


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize("frames", [0, 3])
def test_rings_and_micrometres_under_an_affine(kind, frames):
    affine, size = AFFINES[kind]
    n = 3 if frames else 2
    whole = np.eye(n + 1)
    whole[-3:, -3:] = affine
    data = RNG.uniform(size=(frames, 40, 50) if frames else (40, 50))
    space = {"scale": (1.0, 0.5, 0.5)[-n:], "translate": (0.0, 3.0, 4.0)[-n:], "units": ("um",) * n}
    viewer = ViewerModel()
    layer = viewer.add_image(data, name="slide", affine=whole, **space)
    assert pixel_size_um(layer) == (None if size is None else pytest.approx(size))
    if kind in ("stretched", "sheared"):
        with pytest.raises(InputError, match="slide: its scale, shear or affine stretch it"):
            check_shown(layer, viewer.dims)
        return
    check_shown(layer, viewer.dims)
    _, points, reconstruction = show(viewer, layer, droplets())
    for result in (points, reconstruction):
        plane = tuple(points.data[0, :-2])
        here = plane if result is points else (0,) * len(plane)
        np.testing.assert_allclose(result.data_to_world((*here, 3, 7)), layer.data_to_world((*plane, 3, 7)))
    # napari draws a point as large as its size times the last scale
    step = np.linalg.norm(np.subtract(layer.data_to_world((0,) * (n - 1) + (1,)), layer.data_to_world((0,) * n)))
    assert abs(points.scale[-1]) == pytest.approx(step)


def test_rings_are_refused_where_scales_differ():
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50)), scale=(1.0, 1.5), name="slide")
    with pytest.raises(InputError, match=r"stretch it 1.50 to 1"):
        fit_layer(viewer, layer)
    layer.scale = (-1.5, 1.5)
    check_shown(layer, viewer.dims)


@pytest.mark.parametrize("shown", ["dark", "bright", "inverted", "rgb", "movie", "lazy"])
def test_rings_stand_out_from_the_image_as_it_is_shown(shown):
    import dask.array as da

    low, high = (10, 60) if shown == "dark" else (180, 240)
    data = RNG.integers(low, high, (3, 40, 50) if shown == "movie" else (40, 50), dtype=np.uint8)
    viewer = ViewerModel()
    more = {"colormap": "gray_r"} if shown == "inverted" else {}
    if shown == "rgb":
        data = np.stack([data] * 3, -1)
    else:
        more["contrast_limits"] = (0, 255)
    layer = viewer.add_image(da.from_array(data) if shown == "lazy" else data, name="slide", **more)
    _, points, _ = show(viewer, layer, droplets(30))
    ground = points.metadata["napari_droplets"]["place"].ground
    if shown == "lazy":  # is not read for this
        assert ground is None
        return
    expected = (low + high) / 2 / 255
    expected = 1 - expected if shown == "inverted" else expected
    assert ground.median == pytest.approx(luminance([expected] * 3), abs=0.03)
    rings = luminance(points.border_color[:, :3])
    contrast = (np.maximum(rings, ground.median) + 0.05) / (np.minimum(rings, ground.median) + 0.05)
    assert contrast.min() > 2.95


def test_rings_of_small_droplets_are_wide_enough_to_be_seen():
    radius = np.array([1.0, 2.5, 5.0, 30.0])
    [(_, attributes, _)] = to_layers(Droplets(radius, radius, radius))
    np.testing.assert_allclose(attributes["border_width"], [0.3, 0.3, 0.15, 0.1])
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50)))
    show(viewer, layer, droplets())
    _, points, _ = show(viewer, layer, Droplets(radius, radius, radius))
    np.testing.assert_allclose(points.border_width, [0.3, 0.3, 0.15, 0.1])


def test_the_reconstruction_does_not_hide_the_photograph():
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50)))
    _, _, reconstruction = show(viewer, layer, droplets())
    assert not reconstruction.visible
    reconstruction.visible = True
    assert show(viewer, layer, droplets())[2].visible  # the user's choice stays


def test_images_to_choose_from_leave_out_our_own():
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50)), name="slide")
    _, points, reconstruction = show(viewer, layer, droplets())
    assert image_layers(viewer) == [layer]
    for active in (points, reconstruction):
        viewer.layers.selection.active = active
        assert default_image(viewer) is layer


def test_unknown_composition_and_no_droplets():
    [(_, attributes, _)] = to_layers(droplets(types=0))
    assert len(np.unique(attributes["face_color"], axis=0)) == 1
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50)))
    _, points, _ = show(viewer, layer, droplets(0))
    assert len(points.data) == 0
    assert show(viewer, layer, droplets(3))[1] is points
    colors = composition_colors(droplets(3).composition)
    np.testing.assert_allclose(points.face_color[:, :3], colors, atol=1e-6)
    assert show(viewer, layer, droplets(0))[1] is points
    assert len(points.data) == 0


def test_updating_is_no_edit_and_leaves_other_listeners_alone():
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50)))
    _, points, _ = show(viewer, layer, droplets())
    points.selected_data = {2}
    events = []
    points.events.data.connect(lambda event: events.append(event.action))
    show(viewer, layer, droplets(2))
    assert not events
    assert not is_edited(points)
    points.remove([0])
    assert events
    assert is_edited(points)


@pytest.mark.parametrize("more", [{}, {"pixel_size_um": 0.5}, {"labels": {"pinned": np.array([True] + [False] * 3)}}])
def test_corrections(more):
    found = droplets(**more)
    table = found.to_dataframe()
    [data] = to_layers(found)
    points = Layer.create(*data)
    nothing = corrected(table, points.features, points.data, points.size)
    assert not nothing
    pd.testing.assert_frame_equal(nothing.table, table, check_dtype=False)

    points.data[2] = (9.0, 8.0)
    points.size = [8.0, *points.size[1:]]
    points.add([[1.0, 2.0]])
    points.remove([1])
    result = corrected(table, points.features, points.data, points.size)
    assert (result.added, result.changed, result.deleted) == (1, 2, 1)
    assert result.table["pinned"].tolist() == [True, True, False, True]
    assert result.table["radius"].iloc[0] == 4
    assert result.table[["x", "y"]].to_numpy()[[1, 3]].tolist() == [[8, 9], [2, 1]]
    # what is known stays, what the correction made unknown is not made up: a droplet that was moved may be another
    assert result.table["x_sd"].isna().tolist() == [True, True, False, True]
    assert result.table["composition_0"].isna().tolist() == [False, True, False, True]
    np.testing.assert_array_equal(result.table["composition_0"].iloc[[0, 2]], table["composition_0"].iloc[[0, 3]])
    if "pixel_size_um" in more:
        np.testing.assert_allclose(result.table["x_um"], result.table["x"] * 0.5)
    Droplets.from_dataframe(result.table)


@pytest.mark.parametrize("once", [True, False])
def test_a_point_added_by_hand_claims_nothing(once):
    labels = {"class": np.array([0, 1, 1, 2]), "name": np.array(list("abcd")), "pinned": np.array([False] * 4)}
    found = droplets(labels=labels, p_present=np.full(4, 0.7))
    viewer = ViewerModel()
    layer = viewer.add_image(RNG.uniform(size=(40, 50)))
    for shown in [found] if once else [droplets(), found]:
        _, points, _ = show(viewer, layer, shown)
    points.remove([3])  # whose features napari would give to the next
    points.add([[1.0, 2.0]])
    assert points.features.iloc[-1][["x_sd", "composition_0"]].isna().all()
    assert points.features.iloc[-1][["x", "y"]].tolist() == [2, 1]
    assert points.features["p_present"].iloc[-1] == 1  # but that it is there
    ring = readable(np.array([UNKNOWN_COLOR]), points.metadata["napari_droplets"]["place"].ground.median)
    np.testing.assert_allclose(points.border_color[-1:, :3], ring, atol=1e-6)
    rows = points.metadata["napari_droplets"]["numbers"]
    result = corrected(found.to_dataframe(), points.features, points.data, points.size, numbers=rows)
    assert (result.added, result.changed, result.deleted) == (1, 0, 1)


def test_a_pasted_copy_of_a_point_is_new():
    found = droplets()
    [data] = to_layers(found)
    points = Layer.create(*data)
    features = pd.concat([points.features, points.features.iloc[[1]]], ignore_index=True)
    data, size = np.vstack([points.data, points.data[1] + 3]), np.append(points.size, points.size[1])
    result = corrected(found.to_dataframe(), features, data, size)
    assert (result.added, result.changed, result.deleted) == (1, 0, 0)


def test_fit_layer_does_what_run_does_without_a_window(monkeypatch):
    from napari_droplets.inference import api as fitting

    fake = FakeFit()
    monkeypatch.setattr(fitting, "iterate", fake.iterate)
    viewer = ViewerModel()
    viewer.add_image(RNG.uniform(size=(40, 50)), name="slide", scale=(0.5, 0.5), units=("um", "um"))
    result = fit_layer(viewer, types=2, steps=30)
    assert [layer.name for layer in viewer.layers] == ["slide", "slide reconstruction", "slide droplets"]
    assert fake.calls[0][3] == {"types": 2, "steps": 30, "pixel_size_um": 0.5}
    assert viewer.layers[-1].metadata["napari_droplets"]["fit"] is result
