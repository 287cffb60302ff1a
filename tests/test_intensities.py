"""Full scale is a property of a file or a series; single bad pixels never decide it."""

import numpy as np
import pytest
import tifffile

from napari_droplets import InputError
from napari_droplets.images import ImageWarning, as_image, in_one_scale, read_images
from napari_droplets.images.intensities import Levels, levels, range_of

RNG = np.random.default_rng(0)
UNIT = RNG.uniform(0.3, 0.8, (60, 80)).astype(np.float32)


def scaled(top, dtype):
    return np.rint(UNIT * top).astype(dtype)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integers_are_divided_by_the_depth_that_holds_them(bits, dtype):
    image = as_image(scaled(2**bits - 1, dtype))
    assert image.intensity_range == (0, 2**bits - 1)
    np.testing.assert_allclose(image.pixels[..., 0], UNIT, atol=0.6 / 2**bits + 1e-6)


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (0.2, 0.9, float, (0, 1)),
        (0.01, 1.0, float, (0, 1)),
        (-0.01, 0.9, float, (0, 1)),  # noise of a dark ground
        (0.1, 1.6, float, (0, 2)),
        (10, 200, float, (0, 255)),
        (10, 3000, float, (0, 4095)),
        (-2.2, 1.5, float, (-4, 2)),
        (1e-5, 2e-4, float, (0, 2.0**-12)),
        (1000, 1010, float, (1000, 1012)),
        (-100, 155, np.int16, (-128, 255)),
        (-100, 30000, np.int16, (-128, 32767)),
        (33000, 36000, np.uint16, (32768, 32768 + 4095)),
        (3000, 36000, np.uint16, (0, 65535)),
        (0, 2.5e8, np.uint32, (0, 2.0**28 - 1)),
    ],
)
def test_ranges(low, high, dtype, expected):
    assert range_of(np.dtype(dtype), Levels(low, high)) == expected


def test_what_is_stated_is_believed(tmp_path):
    """Twelve bits in a file that could also be of ten."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, scaled(900, np.uint16), bitspersample=12, photometric="minisblack")
    assert as_image(path).intensity_range == (0, 4095)
    metadata = {"axes": "YX", "SignificantBits": 14}
    tifffile.imwrite(tmp_path / "b.ome.tif", scaled(900, np.uint16), metadata=metadata)
    assert as_image(tmp_path / "b.ome.tif").intensity_range == (0, 16383)
    assert as_image(path, intensity_range=(0, 1000)).intensity_range == (0, 1000)
    for wrong in ((1, 0), (0, np.nan), 5, "ab"):
        with pytest.raises(InputError, match="intensity_range"):
            as_image(path, intensity_range=wrong)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 4095), (np.float32, 255.0), (np.float32, 1.0)])
def test_hot_and_dead_pixels_are_filled_in_and_told(dtype, top):
    clean = (UNIT * top).astype(dtype)
    spoilt = clean.copy()
    spoilt[20, 30], spoilt[40, 50], spoilt[0, 0] = 60000, 60000, 60000
    with pytest.warns(ImageWarning, match="3 isolated pixels far too bright or dark: filled in"):
        image = as_image(spoilt)
    usual = as_image(clean)
    assert image.intensity_range == usual.intensity_range
    away = np.abs(image.pixels - usual.pixels)[..., 0]
    assert np.count_nonzero(away) <= 3
    assert away.max() < 0.5
    assert image.notes


def test_small_bright_droplets_are_no_hot_pixels():
    """Five of two pixels' radius on a dark ground, where a quantile of all pixels would cut them off."""
    v, u = np.mgrid[:300, :300]
    dark = RNG.normal(100, 3, v.shape)
    for x, y in [(30, 40), (200, 50), (120, 120), (250, 260), (60, 220)]:
        dark += 3000 / (1 + np.exp((np.hypot(u - x, v - y).clip(0, 30) - 2) / 0.5))
    image = as_image(np.rint(dark).astype(np.uint16))
    assert image.intensity_range == (0, 4095)
    assert image.pixels.max() > 0.7
    assert not image.notes


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_filled_in_and_told(bad):
    values = UNIT.copy()
    values[2, 3] = bad
    with pytest.warns(ImageWarning, match="1 pixel NaN or infinite"):
        image = as_image(values)
    assert image.hidden.sum() == 1
    assert np.isfinite(image.pixels).all()
    values[:40] = bad
    with pytest.raises(InputError, match="are NaN, infinite"):
        as_image(values)


def test_no_data():
    values = UNIT * 50
    values[:20] = -9999
    with pytest.warns(ImageWarning, match="1600 pixels of no data"):
        image = as_image(values)
    assert image.intensity_range == (0, 63)
    assert image.hidden.sum() == 1600


@pytest.mark.parametrize("value", [0, 255])
def test_a_frame_is_left_out(value):
    picture = np.pad(scaled(255, np.uint8), ((20, 10), (0, 30)), constant_values=value)
    with pytest.warns(ImageWarning, match="black or white frame"):
        image = as_image(picture)
    assert not image.hidden[20:80, :80].any()
    assert image.hidden.sum() == picture.size - 60 * 80
    assert abs(image.pixels[image.hidden].mean() - UNIT.mean()) < 0.05


def test_frames_are_not_looked_at():
    picture = np.pad(scaled(255, np.uint8), ((20, 10), (40, 30)))
    with pytest.warns(ImageWarning, match="black or white frame"):
        part, left, top = as_image(picture).seen()
    assert (left, top) == (40, 20)
    assert part.shape == (60, 80, 1)
    assert not part.hidden.any()


def test_a_saturated_ground_is_no_frame():
    picture = np.full((60, 80), 255, np.uint8)
    picture[20:30, 20:30] = 100
    assert as_image(picture).hidden is None


def test_levels_leave_out_single_pixels():
    values = UNIT[..., None].copy()
    values[3, 3], values[50, 7] = 9, -9
    low, high = levels(values)
    assert 0.3 <= low < 0.32
    assert 0.78 < high <= 0.8


@pytest.mark.parametrize("several", [list, iter])
def test_one_scale_for_a_series(tmp_path, several):
    """Maxima of 999 and 1300 are of ten and eleven bits, each for itself."""
    dark, bright = scaled(1200, np.uint16), scaled(1600, np.uint16)
    paths = [tmp_path / "1.tif", tmp_path / "2.tif"]
    tifffile.imwrite(paths[0], bright)
    tifffile.imwrite(paths[1], dark)
    assert [as_image(p).intensity_range[1] for p in paths] == [4095, 1023]
    first, second = in_one_scale(several(paths))
    assert first.intensity_range == second.intensity_range == (0, 4095)
    np.testing.assert_allclose(second.pixels, first.pixels * 0.75, atol=1e-3)


def test_a_brighter_image_of_a_series_that_comes_later_is_told(tmp_path):
    images = [scaled(1000, np.uint16), scaled(4000, np.uint16)]
    with pytest.warns(ImageWarning, match="brighter than the first image of the series"):
        first, second = in_one_scale(iter(images))
    assert first.intensity_range == second.intensity_range
    first, second = in_one_scale(images)
    assert first.pixels.max() < 0.21


def test_frames_of_a_file_share_a_scale(tmp_path):
    stack = np.stack([scaled(1200, np.uint16), scaled(1600, np.uint16)])
    tifffile.imwrite(tmp_path / "a.tif", stack, imagej=True, metadata={"axes": "TYX"})
    images = read_images(tmp_path / "a.tif")
    assert [i.intensity_range for i in images] == [(0, 4095)] * 2
    assert as_image(tmp_path / "a.tif", frames=0).intensity_range == (0, 4095)
