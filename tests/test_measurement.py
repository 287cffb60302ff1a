import numpy as np
import pytest
import tifffile

from napari_droplets import Droplets, InputError, measure


@pytest.fixture
def file(tmp_path):
    """Two channels: droplets of 500 on 100, and of 40 on a ramp; one droplet is near another."""
    droplets = Droplets([30.0, 45.5, 90.0], [40.0, 40.0, 60.0], [6.0, 7.0, 9.0])
    v, u = np.mgrid[:100, :120]
    first, second = np.full(v.shape, 100.0), 10 + u / 10
    for x, y, r in zip(droplets.x, droplets.y, droplets.radius, strict=True):
        covered = np.clip(r + 0.5 - np.hypot(u - x, v - y), 0, 1)
        first, second = first + 400 * covered, second + 40 * covered
    metadata = {"axes": "CYX", "Channel": {"Name": ["acid dye", "1"]}}
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, np.stack([first, second]).astype(np.float32), metadata=metadata, photometric="minisblack")
    return path, droplets


def test_channels_are_measured_by_name(file):
    path, droplets = file
    table = measure(droplets, path)
    np.testing.assert_allclose(table["acid dye_background"], 100)
    np.testing.assert_allclose(table["acid dye_integrated"], 400 * np.pi * droplets.radius**2, rtol=0.05)
    assert (table["acid dye_mean"] > 450).all()
    assert (table["acid dye_mean"] <= 500).all()
    np.testing.assert_allclose(table["channel_1_background"], 10 + droplets.x / 10, atol=0.5)  # of the ramp there
    assert table["x"].tolist() == droplets.x.tolist()
    assert "channel_1_mean" not in measure(table[["x", "y", "radius"]], path, ["acid dye"])


def test_droplets_outside_and_channels_that_are_not(file):
    path, _ = file
    far = measure(Droplets([-50.0], [20.0], [4.0]), path)
    assert far["acid dye_mean"].isna().all()
    with pytest.raises(InputError, match="no channel has the name 'Cy5'"):
        measure(Droplets([20.0], [20.0], [4.0]), path, ["Cy5"])


def test_channels_of_one_name_are_told_apart(tmp_path, file):
    path, droplets = file
    twice = tmp_path / "b.ome.tif"
    metadata = {"axes": "CYX", "Channel": {"Name": ["dye", "dye"]}}
    tifffile.imwrite(twice, tifffile.imread(path), metadata=metadata, photometric="minisblack")
    assert {"channel_0_mean", "channel_1_mean"} <= set(measure(droplets, twice))
