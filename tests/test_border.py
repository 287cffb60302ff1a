"""Droplets that the border cuts: found with centers beyond it, and told apart by one rule."""

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.detection import scales
from napari_droplets.detection.network import STRIDE, read_weights
from napari_droplets.droplets import beyond_border, cut_by_border, marked


def window(seed, radius, side=160):
    """A window of a larger simulated image, and all droplets of which a part is in it."""
    margin = int(4 * radius)
    whole = side + 2 * margin
    pixels, truth = nd.simulate(
        (whole, whole), int(0.25 * whole**2 / (np.pi * radius**2)), radius=radius, radius_spread=0.3, seed=seed
    )
    truth = nd.Droplets(truth.x - margin, truth.y - margin, truth.radius)
    pixels = pixels[margin:-margin, margin:-margin]
    return pixels, truth[beyond_border(truth.x, truth.y, pixels.shape) < truth.radius]


def test_distances_from_the_image_are_from_the_edge_of_its_pixels():
    x, y = np.array([0.0, -0.5, -3.5, 12.5, 15.5]), np.array([5.0, 5.0, 5.0, 8.5, 12.5])
    np.testing.assert_allclose(beyond_border(x, y, (9, 13, 3)), [0, 0, 3, 0, 5])


@pytest.mark.parametrize(("x", "cut"), [(2.5, False), (2.4, True), (16.5, False), (16.6, True), (-1.0, True)])
def test_a_droplet_is_cut_if_a_part_of_it_is_beyond(x, cut):
    assert cut_by_border(nd.Droplets([x, 10.0], [10.0, x], [3.0, 3.0]), (20, 20)).tolist() == [cut, cut]


def test_missing_values_are_false():
    droplets = nd.Droplets(*np.ones((3, 4)), labels={"cut_by_border": np.array([True, None, "True", np.nan], object)})
    assert marked(droplets, "cut_by_border").tolist() == [True, False, True, False]
    assert not marked(droplets, "pinned").any()


def test_centers_beyond_the_border_are_found():
    true = found = ghosts = 0
    for seed, radius in enumerate([5.0, 8.0, 11.0] * 3, 1):
        pixels, truth = window(seed, radius)
        droplets = nd.detect(pixels)
        beyond = beyond_border(truth.x, truth.y, pixels.shape) > 0
        i, _ = match(truth, droplets)
        true, found = true + beyond.sum(), found + beyond[i].sum()
        outside = beyond_border(droplets.x, droplets.y, pixels.shape)
        assert (outside < droplets.radius).all()
        for row in np.flatnonzero(outside):
            near = np.hypot(truth.x - droplets.x[row], truth.y - droplets.y[row]) < truth.radius
            ghosts += not near.any()
        np.testing.assert_array_equal(droplets.labels["cut_by_border"], cut_by_border(droplets, pixels.shape))
        whole = ~cut_by_border(truth, pixels.shape)
        assert whole[i].sum() >= 0.97 * whole.sum()
    assert found >= 0.3 * true
    assert ghosts <= 1


def test_an_empty_image_has_none_beyond_its_border():
    pixels, _ = nd.simulate((200, 260), 0, seed=4, noise=0.05)
    assert not len(nd.detect(pixels))


def test_the_ring_changes_little_in_the_middle():
    """The tile lies at the same place of the network's coarse grids, whatever is around it."""
    pixels, _ = window(5, 6.0)
    view = scales.normalized(pixels)
    params = read_weights(scales.WEIGHTS)[0]
    canvas, inside = scales._canvas(view)
    with_ring = np.asarray(scales._outputs(params, canvas, inside))[0]
    bare = np.zeros_like(canvas), np.zeros_like(inside)
    bare[0][0, STRIDE : STRIDE + 160, STRIDE : STRIDE + 160] = view
    bare[1][0, STRIDE : STRIDE + 160, STRIDE : STRIDE + 160] = 1
    without = np.asarray(scales._outputs(params, *bare))[0]
    middle = np.s_[40:56, 40:56]  # cells
    np.testing.assert_allclose(with_ring[middle], without[middle], atol=0.3)
    assert np.abs(with_ring[8:10, 40:56] - without[8:10, 40:56]).max() > 1


def test_canvases_have_room_and_few_sizes():
    for n in (16, 100, 254, 270, 271, 1000, 1024, 1038, 1039):
        canvas, inside = scales._canvas(np.ones((n, 64, 3), np.float32))
        height = canvas.shape[1]
        assert height % STRIDE == 0
        assert height >= n + STRIDE + scales.RING
        assert (height - 2 * STRIDE) % scales.BUCKET == 0
        assert inside.sum() == (n + 2 * scales.RING) * (64 + 2 * scales.RING)
    assert scales._canvas(np.ones((1024, 64, 3), np.float32))[0].shape[1] == 1024 + 2 * STRIDE


def test_the_column_goes_through_fit_refit_and_files(tmp_path):
    pixels, truth = window(6, 7.0, side=96)
    fit = nd.fit(pixels, truth, steps=50, types=1, population="given")
    cut = fit.table["cut_by_border"]
    assert cut.dtype == bool
    assert cut.any()
    assert not cut.all()
    np.testing.assert_array_equal(cut, cut_by_border(fit.droplets, pixels.shape))
    fit.save(tmp_path / "out")
    again = nd.read(tmp_path / "out", image=pixels)
    np.testing.assert_array_equal(again.table["cut_by_border"], cut)
    table = fit.table
    row = int(np.flatnonzero(~cut)[0])
    table.loc[row, ["x", "radius"]] = [1.0, 4.0]  # to the border
    refitted = nd.refit(fit, table).table
    assert refitted["cut_by_border"].dtype == bool
    assert refitted.loc[row, "cut_by_border"]
    pd.testing.assert_series_equal(
        refitted["cut_by_border"],
        pd.Series(cut_by_border(nd.Droplets.from_dataframe(refitted), pixels.shape), name="cut_by_border"),
    )


def test_statistics_leave_the_same_ones_out():
    pixels, _ = window(7, 7.0)
    droplets = nd.detect(pixels)
    by_column = nd.statistics(droplets, border="left out", draws=50)
    by_shape = nd.statistics(droplets, border="left out", shape=pixels.shape[:2], draws=50)
    assert by_column["mean"] == pytest.approx(by_shape["mean"])
    assert by_column.border == by_shape.border
