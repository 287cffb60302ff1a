"""Large pictures on disk: what is written is read again, by us and as the standard says, whole or not at all."""

import json

import numpy as np
import pytest

from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.lazy import LazyPixels
from napari_droplets.results.pyramid import halved, read_pyramid, write_pyramid

zarr = pytest.importorskip("zarr")
ARRAY = np.random.default_rng(0).random((1500, 1100, 3), np.float32)


def test_what_is_written_is_read_again(tmp_path):
    path = write_pyramid(tmp_path / "a.ome.zarr", ARRAY.shape, lambda b: ARRAY[b.slices], pixel_size_um=(0.5, 0.25))
    found = read_pyramid(path)
    np.testing.assert_array_equal(np.asarray(found), ARRAY)
    assert [level.shape for level in found.coarser] == [(750, 550, 3)]
    np.testing.assert_allclose(np.asarray(found.coarser[0]), halved(ARRAY), atol=1e-6)
    image = as_image(path)  # by our reader of any OME-Zarr
    assert image.pixel_size_um == (0.5, 0.25)
    assert image.channels == ("red", "green", "blue")
    np.testing.assert_array_equal(image.pixels, ARRAY)
    about = json.loads((path / "zarr.json").read_text())["attributes"]["ome"]
    steps = about["multiscales"][0]["datasets"][1]["coordinateTransformations"]
    assert steps == [
        {"type": "scale", "scale": [1.0, 0.5, 1.0]},
        {"type": "translation", "translation": [0.0, 0.125, 0.25]},
    ]


def test_a_failed_write_leaves_the_last_one_whole(tmp_path):
    path = write_pyramid(tmp_path / "a.zarr", (20, 30, 1), lambda b: np.full((*b.shape, 1), 0.25))

    def broken(block):
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"a\.zarr: cannot be written \(No space left"):
        write_pyramid(path, (20, 30, 1), broken)
    assert np.unique(read_pyramid(path)[:]) == 0.25
    write_pyramid(path, (40, 30, 1), lambda b: np.full((*b.shape, 1), 0.75))
    assert read_pyramid(path).shape == (40, 30, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def test_a_broken_folder_is_named(tmp_path):
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(InputError, match=r"b\.zarr: cannot be read"):
        read_pyramid(tmp_path / "b.zarr")


def test_without_zarr_it_is_said_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'napari-droplets\[zarr\]'"):
        write_pyramid(tmp_path / "a.zarr", (20, 30, 1), lambda b: None)


def test_halves_of_odd_sides():
    found = halved(np.arange(15, dtype=np.float32).reshape(3, 5, 1))
    np.testing.assert_array_equal(found[..., 0], [[3, 5, 6.5], [10.5, 12.5, 14]])
    assert isinstance(LazyPixels((1, 1, 1), lambda b: np.zeros((1, 1, 1))).coarser, list)
