"""Files opened in napari as the library reads them, and the command that does the same as a button."""

import numpy as np
import pytest
import tifffile

pytest.importorskip("napari")
from napari.components import ViewerModel
from napari.layers import Layer

from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.plugin.controls.command import command_text
from napari_droplets.plugin.files.opening import image_layer_data, open_file
from napari_droplets.plugin.layers.place import Plane, pixel_size_um, place_of, shown_as_stored, size_of_file

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


def test_layers_keep_what_the_file_says_of_its_values(tmp_path):
    path = tmp_path / "dim.ome.tif"
    tifffile.imwrite(path, STACK[0] // 16, metadata={"axes": "YX", "SignificantBits": 12})
    [layer] = [Layer.create(*data) for data in image_layer_data(str(path))]
    assert as_image(layer).intensity_range == (0, 4095)
    pair = np.stack([STACK // 16, np.full_like(STACK, 255)], -1).astype(np.uint8)
    pair[1, :7, :, 1] = 0
    path = tmp_path / "clear.tif"
    tifffile.imwrite(path, pair, photometric="minisblack", extrasamples=["unassalpha"], planarconfig="contig")
    [layer] = [Layer.create(*data) for data in image_layer_data(str(path))]
    for read in (
        lambda i: as_image(layer, frames=i),
        lambda i: as_image(Plane.of(layer, place_of(layer, (float(i), 0.0, 0.0)))),
    ):
        assert read(0).hidden is None
        assert read(1).hidden.sum() == 7 * 48


def test_deep_colors_are_shown(tmp_path):
    """napari takes numbers of 16 bits for fractions of 65535."""
    path = tmp_path / "a.tif"
    colors = np.moveaxis(STACK, 0, -1).copy()
    tifffile.imwrite(path, colors, photometric="rgb")
    [(data, *_)] = image_layer_data(str(path))
    np.testing.assert_allclose(data, colors / np.float32(4095), atol=1e-6)


def test_scenes_and_tables(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(STACK[0])
        writer.write(STACK[0, :20, :24])
    viewer = ViewerModel()
    layers = open_file(viewer, str(path))
    assert [layer.name for layer in layers] == ["a.tif 0", "a.tif 1"]
    assert command_text(layers[1], (), {}, detect_only=True).endswith(f"{path} -o OUT --detect-only --scene 1")
    table = tmp_path / "Results.csv"
    table.write_text(" ,Area,X,Y\n1,78.54,10.5,20.5\n")
    [points] = open_file(viewer, str(table))
    np.testing.assert_allclose(points.data, [(20, 10)])
    assert len(viewer.layers) == 3
    table.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column x, y, radius"):
        open_file(viewer, str(table))


def test_what_the_file_says_is_offered_where_the_layer_says_nothing(movie, plugins_of_napari):
    [layer] = ViewerModel().open(str(movie), plugin="napari")
    assert size_of_file(layer) == (0.25, 0.5)
    assert pixel_size_um(layer) == (0.25, 0.5)
    layer.scale, layer.units = (1, 3, 3), ("pixel", "um", "um")
    assert size_of_file(layer) is None
    assert pixel_size_um(layer) == 3


@pytest.mark.parametrize(
    ("colors", "kind"),
    [("separated", "inks"), ("palette", "a palette"), ("miniswhite", "zero that is white"), ("minisblack", "")],
)
def test_bare_numbers_are_told(tmp_path, plugins_of_napari, colors, kind):
    path = tmp_path / "a.tif"
    table = np.arange(768, dtype=np.uint16).reshape(3, 256) * 85
    more = {"colormap": table} if colors == "palette" else {}
    pixels = RNG.integers(0, 255, (40, 48, 4) if colors == "separated" else (40, 48), dtype=np.uint8)
    tifffile.imwrite(path, pixels, photometric=colors, metadata=None, **more)
    [layer] = ViewerModel().open(str(path), plugin="napari")
    assert shown_as_stored(layer) == kind
    assert shown_as_stored(open_file(ViewerModel(), str(path))[0]) == ""


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
    every = command_text(layer, (), settings, detect_only=False, every_plane=True)
    assert every == f"{start} --types 2 --diameter 12.5 --learn-optics no --channels 0 --frames all"


@pytest.mark.parametrize(
    ("axes", "plane", "options"),
    [
        ("ZYX", (2,), "--planes 2"),
        ("TZYX", (1, 2), "--frames 1 --planes 2"),
        ("TZCYX", (1, 2, 0), "--channels 0 --frames 1 --planes 2"),
        ("CYX", (1,), "--channels 1"),
    ],
)
def test_the_command_chooses_the_picture_shown(tmp_path, plugins_of_napari, axes, plane, options):
    path = tmp_path / "a.tif"
    shape = tuple({"T": 3, "Z": 4, "C": 2, "Y": 40, "X": 48}[a] for a in axes)
    tifffile.imwrite(path, RNG.integers(0, 4095, shape, dtype=np.uint16), imagej=True, metadata={"axes": axes})
    layer = ViewerModel().open(str(path), plugin="napari")[0]
    own = open_file(ViewerModel(), str(path))[plane[axes.index("C")] if "C" in axes else 0]
    there = command_text(layer, plane[: layer.ndim - 2], {}, detect_only=True)
    here = command_text(own, tuple(i for i, a in zip(plane, axes, strict=False) if a != "C"), {}, detect_only=True)
    assert here.endswith(options)
    assert there == here
