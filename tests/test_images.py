from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_droplets import Image, InputError, read_image
from napari_droplets.images import as_image, resampled

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
RGB[0, 0], RGB[0, 1] = 0, 255
UNIT = RGB / np.float32(255)


def test_eight_bits():
    image = as_image(RGB)
    assert image.pixels.dtype == np.float32
    assert image.shape == (24, 32, 3)
    np.testing.assert_allclose(image.pixels, UNIT, rtol=1e-6)
    assert as_image(RGB // 2).pixels.max() == pytest.approx(127 / 255)  # a dark image stays dark


@pytest.mark.parametrize(("bits", "divisor"), [(8, 255), (10, 1023), (12, 4095), (14, 16383), (16, 65535)])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_wider_integers_are_divided_by_their_bit_depth(bits, divisor, dtype):
    values = np.zeros((20, 20), dtype)
    values[3, 4] = divisor - 1
    assert as_image(values).pixels.max() == pytest.approx((divisor - 1) / divisor)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.uint32, np.int32, np.uint64, np.int64])
def test_extreme_integers(dtype):
    values = np.zeros((20, 20), dtype)
    values[3, 4], values[5, 6] = np.iinfo(dtype).max, np.iinfo(dtype).min
    pixels = as_image(values).pixels
    assert pixels.min() == 0
    assert pixels.max() == pytest.approx(1, abs=0.35)  # signed bytes: 127 of 255, from -128
    assert pixels.max() <= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats(dtype):
    inside = np.linspace(0.25, 0.75, 400).reshape(20, 20).astype(dtype)
    np.testing.assert_allclose(as_image(inside).pixels[..., 0], inside, rtol=1e-3)
    assert as_image(inside).pixels.max() == pytest.approx(0.75)  # not stretched
    np.testing.assert_allclose(as_image(inside * 255).pixels[..., 0], inside / 0.75, rtol=2e-3)  # 0 stays 0
    below = as_image(inside - 0.5).pixels  # from the minimum
    assert below.min() == 0
    assert below.max() == 1


@given(hnp.arrays(st.sampled_from([np.uint8, np.int16, np.uint16, np.float32]), (16, 17, 3), elements={}))
def test_any_numbers_give_unit_floats_or_an_input_error(values):
    try:
        pixels = as_image(values).pixels
    except InputError:
        return
    assert pixels.dtype == np.float32
    assert pixels.min() >= 0
    assert pixels.max() <= 1


def test_alpha_is_dropped_and_gray_gets_a_channel():
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(as_image(rgba).pixels, as_image(RGB).pixels)
    assert as_image(RGB[..., 0]).shape == (24, 32, 1)
    assert as_image(RGB[..., :1]).shape == (24, 32, 1)
    assert as_image(RGB.tolist()).shape == (24, 32, 3)


def test_channels():
    many = RNG.integers(0, 256, (24, 32, 5), dtype=np.uint8)
    with pytest.raises(InputError, match=r"5 channels \(24 x 32 x 5\); choose one or three with channels=\[...\]"):
        as_image(many)
    np.testing.assert_array_equal(as_image(many, channels=[4, 0, 2]).pixels, as_image(many[..., [4, 0, 2]]).pixels)
    assert as_image(many, channels=[3]).shape == (24, 32, 1)
    assert as_image(as_image(RGB), channels=[1]).shape == (24, 32, 1)
    for wrong in ([5], [0, 1], [-1], []):
        with pytest.raises(InputError, match=r"choose one or three of 0 to 4"):
            as_image(many, channels=wrong)
    for wrong in ("rgb", 3):
        with pytest.raises(InputError, match="give a list of numbers"):
            as_image(many, channels=wrong)


def test_channels_first_gets_a_hint():
    with pytest.raises(InputError, match=r"numpy\.moveaxis\(image, 0, -1\)"):
        as_image(np.moveaxis(RGB, -1, 0))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.full((20, 20), 7, np.uint8), "constant, every pixel is 7"),
        (np.zeros((20, 20, 3)), "constant, every pixel is 0"),
        (np.zeros((0, 20)), "empty"),
        (np.zeros((0,)), "empty"),
        (np.zeros((1, 1)), "1 x 1 pixels is too small; at least 16 x 16"),
        (np.zeros((100, 15)), "15 x 100 pixels is too small"),
        (np.float64(3), r"0 dimensions \(a single number\)"),
        (np.zeros((2, 20, 20, 3)), r"4 dimensions \(2 x 20 x 20 x 3\)"),
        (np.eye(20, dtype=bool), "values of type bool"),
        (np.eye(20, dtype=complex), "values of type complex"),
        (np.full((20, 20), "a"), "values of type <U1"),
        ([[1, 2], [3]], "cannot be read as an array"),
        (None, "0 dimensions"),
    ],
)
def test_useless_inputs_say_why(data, message):
    with pytest.raises(InputError, match=f"mine: .*{message}"):
        as_image(data, name="mine")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_missing_values_are_counted(bad):
    values = UNIT.copy()
    values[2, 3] = bad
    with pytest.raises(InputError, match="3 of 2304 values are NaN or infinite"):
        as_image(values)


@pytest.mark.parametrize("size", [0, -1, np.nan, np.inf, "small"])
def test_wrong_pixel_sizes(size):
    with pytest.raises(InputError, match="not a positive number of micrometres"):
        as_image(RGB, pixel_size_um=size)


def layer(data, **more):
    return SimpleNamespace(**{"name": "slide", "data": data, "rgb": True, "multiscale": False} | more)


def test_napari_layers():
    image = as_image(layer(RGB))
    assert image.name == "slide"
    np.testing.assert_array_equal(image.pixels, as_image(RGB).pixels)
    assert as_image(layer(RGB), name="other").name == "other"
    finest = as_image(layer([RGB, RGB[::2, ::2]], multiscale=True))
    assert finest.shape == (24, 32, 3)


def test_dask_arrays():
    array = pytest.importorskip("dask.array")
    np.testing.assert_array_equal(as_image(array.from_array(RGB, chunks=8)).pixels, as_image(RGB).pixels)


def test_an_image_passes_through():
    image = as_image(RGB, name="one", pixel_size_um=2.0)
    assert as_image(image) is image
    assert as_image(image, name="two").name == "two"
    assert as_image(image, pixel_size_um=3.0).pixel_size_um == 3
    assert as_image(image, channels=[0]).pixel_size_um == 2


def test_hash_tells_images_apart():
    assert as_image(RGB).sha256 == as_image(RGB.copy(), name="other").sha256
    assert as_image(RGB).sha256 != as_image(RGB[::-1]).sha256


def test_rescaled():
    image = as_image(np.kron(UNIT, np.ones((2, 2, 1))), pixel_size_um=0.5)
    assert image.rescaled(1) is image
    half = image.rescaled(0.5)
    assert half.shape == (24, 32, 3)
    assert half.pixels.dtype == np.float32
    assert half.pixel_size_um == 1
    assert half.pixels.mean() == pytest.approx(image.pixels.mean(), abs=0.01)
    stripes = as_image(np.tile([0.0, 0.0, 1.0], (60, 40)))
    assert np.ptp(stripes.rescaled(0.4).pixels[:, 4:-4]) < 0.5  # smoothed before it shrinks
    with pytest.raises(InputError, match=r"scale 0\.1 leaves 6 x 5 pixels"):
        image.rescaled(0.1)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.TIFF"])
def test_lossless_files(tmp_path, name):
    iio.imwrite(tmp_path / name, RGB)
    image = read_image(tmp_path / name)
    np.testing.assert_array_equal(image.pixels, as_image(RGB).pixels)
    assert image.name == name
    assert image.path == str(tmp_path / name)
    assert image.pixel_size_um is None


def test_jpeg_and_deep_png(tmp_path):
    smooth = np.add.outer(np.arange(24), np.arange(32)).astype(np.uint8) * 4
    iio.imwrite(tmp_path / "a.jpg", np.dstack([smooth] * 3), quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg").pixels[..., 0], smooth / 255, atol=0.03)
    iio.imwrite(tmp_path / "deep.png", smooth.astype(np.uint16) * 200)
    np.testing.assert_allclose(read_image(tmp_path / "deep.png").pixels[..., 0], smooth * (200 / 65535), atol=1e-6)


@pytest.mark.parametrize(
    "how",
    [
        {"photometric": "rgb", "planarconfig": "separate"},
        {"ome": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"},
        {"imagej": True, "metadata": {"axes": "CYX"}},
    ],
)
def test_tiff_files_that_say_channels_come_first(tmp_path, how):
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(RGB, -1, 0).copy(), **how)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").pixels, as_image(RGB).pixels)


def test_tiff_stacks_are_no_channels(tmp_path):
    """Three planes or time points, and four channels none of which is alpha, must not pass for colors."""
    for axes in ("ZYX", "TYX"):
        tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(RGB, -1, 0).copy(), imagej=True, metadata={"axes": axes})
        with pytest.raises(InputError, match=r"a\.tif: 32 channels"):
            read_image(tmp_path / "a.tif")
    four = RNG.integers(0, 256, (4, 24, 32), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", four, imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(InputError, match="channels seem to come first"):
        read_image(tmp_path / "a.tif")


def test_pixel_sizes_of_files(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, RGB, ome=True, metadata={"axes": "YXS", "PhysicalSizeX": 0.65, "PhysicalSizeXUnit": "µm"})
    assert read_image(path).pixel_size_um == pytest.approx(0.65)
    assert read_image(path, pixel_size_um=2.0).pixel_size_um == 2
    tifffile.imwrite(path, RGB, ome=True, metadata={"axes": "YXS", "PhysicalSizeX": 650, "PhysicalSizeXUnit": "nm"})
    assert read_image(path).pixel_size_um is None
    tifffile.imwrite(path, RGB[..., 0], imagej=True, resolution=(4, 4), metadata={"unit": "um"})
    assert read_image(path).pixel_size_um == pytest.approx(0.25)
    tifffile.imwrite(path, RGB[..., 0], imagej=True, resolution=(4, 4), metadata={"unit": "inch"})
    assert read_image(path).pixel_size_um is None
    tifffile.imwrite(path, RGB, resolution=(300, 300), resolutionunit="INCH")  # a printer's resolution
    assert read_image(path).pixel_size_um is None


def test_unreadable_files(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.png: no such file"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(InputError, match="a folder, not an image"):
        read_image(tmp_path)
    iio.imwrite(tmp_path / "whole.png", RGB)
    tifffile.imwrite(tmp_path / "whole.tif", RGB)
    for suffix in (".png", ".tif"):
        whole = (tmp_path / f"whole{suffix}").read_bytes()
        for content in (b"", b"not an image at all", whole[:60]):
            path = tmp_path / f"broken{suffix}"
            path.write_bytes(content)
            with pytest.raises(InputError, match=r"broken.*cannot be read as an image .*is it a PNG, JPEG or TIFF"):
                read_image(path)


def test_paths_as_text(tmp_path):
    iio.imwrite(tmp_path / "a.png", RGB)
    assert isinstance(as_image(str(tmp_path / "a.png")), Image)


@pytest.mark.parametrize("factor", [0.3, 0.5, 1.7])
def test_resampling_keeps_places(factor):
    """The centroid of a blob is where the exact factor puts it, at any size of the image."""
    v, u = np.mgrid[:111, :127]
    blob = np.exp(-((u - 100.0) ** 2 + (v - 83.0) ** 2) / 50)[..., None].astype(np.float32)
    small = resampled(blob, factor)[..., 0]
    y, x = np.mgrid[: small.shape[0], : small.shape[1]]
    assert ((x * small).sum() / small.sum() + 0.5) / factor - 0.5 == pytest.approx(100, abs=0.05)
    assert ((y * small).sum() / small.sum() + 0.5) / factor - 0.5 == pytest.approx(83, abs=0.05)


def test_one_color_all_over_is_constant():
    with pytest.raises(InputError, match="constant"):
        as_image(np.broadcast_to(np.array([10, 200, 30], np.uint8), (40, 50, 3)))
