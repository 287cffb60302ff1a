"""Files opened in napari as the library reads them, and the command that does the same as a button."""

import numpy as np
import pytest
import tifffile

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Layer

from napari_droplets.images import as_image
from napari_droplets.plugin.command import command_text
from napari_droplets.plugin.opening import image_layer_data
from napari_droplets.plugin.place import Plane, pixel_size_um, place_of, size_of_file

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4095, (3, 40, 48), dtype=np.uint16)


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "a movie.tif"
    tifffile.imwrite(path, STACK, imagej=True, resolution=(4, 2), metadata={"axes": "TYX", "unit": "um"})
    return path


def test_a_stack_with_the_size_of_its_pixels(movie):
    [data] = image_layer_data(str(movie))
    layer = Layer.create(*data)
    np.testing.assert_array_equal(layer.data, STACK)
    assert layer.axis_labels == ("frame", "y", "x")
    assert pixel_size_um(layer) == (0.25, 0.5)


def test_channels_are_layers(tmp_path):
    path = tmp_path / "a.ome.tif"
    names = ["DAPI", "GFP"]
    tifffile.imwrite(path, STACK[:2], metadata={"axes": "CYX", "Channel": {"Name": names}}, photometric="minisblack")
    layers = [Layer.create(*data) for data in image_layer_data(str(path))]
    assert [layer.name for layer in layers] == ["a.ome.tif DAPI", "a.ome.tif GFP"]
    tifffile.imwrite(tmp_path / "b.tif", np.zeros((40, 48, 4), np.uint8), photometric="separated")
    [(data, attributes, _)] = image_layer_data(str(tmp_path / "b.tif"))
    assert attributes["rgb"]
    assert (data == 255).all()  # no ink


def test_what_the_file_says_is_offered_where_the_layer_says_nothing(movie, plugins_of_napari):
    [layer] = ViewerModel().open(str(movie), plugin="napari")
    assert size_of_file(layer) == (0.25, 0.5)
    assert pixel_size_um(layer) == (0.25, 0.5)
    layer.scale, layer.units = (1, 3, 3), ("pixel", "um", "um")
    assert size_of_file(layer) is None
    assert pixel_size_um(layer) == 3


def test_planes_of_a_stack_share_a_scale():
    """The first one alone would be of ten bits."""
    stack = np.stack([STACK[0] // 5, STACK[1]])
    layer = Layer.create(stack, {}, "image")
    place = place_of(layer, (0.0, 0.0, 0.0))
    assert as_image(Plane.of(layer, place)).intensity_range == (0, 4095)


def test_the_command_of_a_button(movie, plugins_of_napari):
    [layer] = ViewerModel().open(str(movie), plugin="napari")
    settings = {"types": 2, "diameter": 12.5, "channels": [0], "learn_optics": False}
    text = command_text(layer, (1,), settings, detect_only=False)
    start = f"napari-droplets fit '{movie}' -o OUT"
    assert text == f"{start} --types 2 --diameter 12.5 --learn-optics no --channels 0 --frames 1"
    assert command_text(layer, (1,), settings, detect_only=True).startswith(f"{start} --detect-only --diameter 12.5")
    assert command_text(Layer.create(STACK[0], {}, "image"), (), {}, detect_only=True) == ""
