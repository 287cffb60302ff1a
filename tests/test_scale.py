"""The size of a pixel told by a line: layers scaled alike, results in micrometres."""

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_droplets.droplets import Droplets
from napari_droplets.errors import InputError
from napari_droplets.images.pixel_size import of_layer
from napari_droplets.plugin.layers import Output
from napari_droplets.plugin.layers.linking import link
from napari_droplets.plugin.layers.place import place_of
from napari_droplets.plugin.layers.points import TAG, is_edited
from napari_droplets.plugin.layers.scale import calibrate, camera_of, line_length

DROPLETS = Droplets([10.0, 20.0], [10.0, 12.0], [3.0, 4.0], p_present=[0.9, 0.9])


@pytest.fixture
def viewer():
    return ViewerModel()


def line(viewer, ends, **more):
    return viewer.add_shapes([np.array(ends, float)], shape_type="line", ndim=2, **more)


def test_a_line_along_a_scale_bar_tells_the_size_of_a_pixel(viewer):
    image = viewer.add_image(np.zeros((40, 50)), translate=(3, 4))
    other = viewer.add_image(np.zeros((20, 25)), scale=(2, 2))
    output = Output(viewer, place_of(image))
    output.show(DROPLETS)
    sheet = link(output.points)
    before = output.points.data_to_world([10.0, 10.0])
    camera = camera_of(viewer)
    camera.zoom, camera.center = 8.0, (0, 20, 30)
    bar = line(viewer, [[5, 5], [5, 25]], translate=(3, 4))
    assert line_length(bar) == 20
    assert calibrate(viewer, image, line_length(bar), 5.0) == 0.25
    assert of_layer(image) == 0.25
    assert of_layer(other) == 0.5
    assert {str(u) for layer in viewer.layers for u in layer.units} == {"micrometer"}
    np.testing.assert_allclose(output.points.data_to_world([10.0, 10.0]), np.multiply(before, 0.25))
    assert camera.zoom == 32
    np.testing.assert_allclose(camera.center[-2:], (5, 7.5))
    np.testing.assert_allclose(output.points.features["radius_um"], [0.75, 1.0])
    np.testing.assert_allclose(sheet.table["radius_um"], [0.75, 1.0])
    assert not is_edited(output.points)
    assert not len(sheet.journal)
    Output(viewer, place_of(image)).show(DROPLETS)  # new results lie on the scaled image
    np.testing.assert_allclose(output.points.scale, image.scale)
    np.testing.assert_allclose(output.points.metadata[TAG]["place"].transform["scale"], image.scale)


def test_a_wrong_calibration_is_put_right_by_another_and_stacks_keep_their_frames(viewer):
    image = viewer.add_image(np.zeros((4, 40, 50)), scale=(3, 0.5, 0.5), units=("s", "um", "um"))
    output = Output(viewer, place_of(image, (6, 0, 0)))
    output.show(DROPLETS)
    assert calibrate(viewer, image, 10.0, 20.0) == 1.0
    np.testing.assert_allclose(image.scale, (3, 1, 1))
    np.testing.assert_allclose(output.points.scale, (3, 1, 1))
    assert str(image.units[0]) == "second"


@pytest.mark.parametrize("length", [0.0, -3.0, np.nan])
def test_lengths_that_are_none(viewer, length):
    image = viewer.add_image(np.zeros((40, 50)))
    with pytest.raises(InputError, match="positive length"):
        calibrate(viewer, image, 10.0, length)
    assert of_layer(image) is None


def test_no_line_is_no_length(viewer):
    with pytest.raises(InputError, match="no line"):
        line_length(viewer.add_shapes(None, ndim=2))
    with pytest.raises(InputError, match="no length"):
        line_length(line(viewer, [[5, 5], [5, 5]]))
