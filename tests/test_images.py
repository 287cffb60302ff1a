import warnings
from types import SimpleNamespace

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_droplets import Image, InputError, read_image
from napari_droplets.images import ImageWarning, as_image, read_images, resampled

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


@settings(deadline=None)  # the first one imports
@given(hnp.arrays(st.sampled_from([np.uint8, np.int16, np.uint16, np.float32]), (16, 17, 3), elements={}))
def test_any_numbers_give_unit_floats_or_an_input_error(values):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ImageWarning)
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
    with pytest.raises(InputError, match=r"5 channels .*choose one or three, by number or name: channels=\[0\]"):
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
        (np.zeros((2, 20, 20, 3)), "a stack of 2 pages, each a picture of its own; say which: --frames all"),
        (np.zeros((2, 2, 20, 20)), r"4 dimensions \(2 x 2 x 20 x 20\)"),
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


def test_stacks_are_asked_about(tmp_path):
    """Planes and time points must not pass for colors, nor channels for either; the answer is in the question."""
    path, stack = tmp_path / "a.tif", np.moveaxis(RGB, -1, 0).copy()
    for axes, kind in (("ZYX", "plane"), ("TYX", "frame")):
        tifffile.imwrite(path, stack, imagej=True, metadata={"axes": axes})
        with pytest.raises(InputError, match=f"a\\.tif: a stack of 3 {kind}s.*--{kind}s all.*{kind}s=0 in Python"):
            read_image(path)
        second = read_image(path, **{f"{kind}s": 1})
        np.testing.assert_array_equal(second.pixels[..., 0], UNIT[..., 1])
        assert getattr(second, kind) == 1
        assert [getattr(image, kind) for image in read_images(path)] == [0, 1, 2]
        with pytest.raises(InputError, match=f"{kind}s=3; there are 3 {kind}s, counted from 0 to 2"):
            read_image(path, **{f"{kind}s": 3})
    with pytest.raises(InputError, match="3 pictures of a series chosen"):
        read_image(path, frames="all")
    with pytest.raises(InputError, match="a stack"):  # never a section across it
        read_image(path, channels=[0])
    tifffile.imwrite(path, RNG.integers(0, 255, (16, 24, 32), dtype=np.uint8), photometric="minisblack")
    with pytest.raises(InputError, match="a stack of 16 pages"):
        read_image(path, channels=[0])
    assert len(read_images(path, planes=[0, 5], frames=None)) == 2


def test_channels_are_asked_for_and_have_names(tmp_path):
    path = tmp_path / "a.ome.tif"
    four = RNG.integers(0, 256, (4, 24, 32), dtype=np.uint8)
    names = ["DAPI", "GFP", "dye red", "phase"]
    tifffile.imwrite(path, four, metadata={"axes": "CYX", "Channel": {"Name": names}}, photometric="minisblack")
    with pytest.raises(InputError, match=r"4 channels \(0: DAPI, 1: GFP, 2: dye red, 3: phase\); choose one or three"):
        read_image(path)
    image = read_image(path, channels=["gfp"])
    np.testing.assert_array_equal(image.pixels[..., 0], four[1] / np.float32(255))
    assert image.channels == ("GFP",)
    assert as_image(image, channels=["gfp"]) is image  # chosen already
    assert read_image(path, channels=[2, "DAPI", 1]).channels == ("dye red", "DAPI", "GFP")
    with pytest.raises(InputError, match="no channel has the name 'Cy5'"):
        read_image(path, channels=["Cy5"])


def test_arrays_with_named_axes():
    stack = np.stack([RGB, 255 - RGB])
    second = as_image(stack, axes="TYXS", frames=1)
    np.testing.assert_array_equal(second.pixels, as_image(255 - RGB).pixels)
    np.testing.assert_array_equal(as_image(np.moveaxis(RGB, -1, 0), axes="CYX").pixels, as_image(RGB).pixels)
    with pytest.raises(InputError, match="axes='YX', but 4 dimensions"):
        as_image(stack, axes="YX")


def test_axes_of_one_are_none():
    assert as_image(RGB[None, None, ..., 0]).shape == (24, 32, 1)
    assert as_image(RGB[None, None]).shape == (24, 32, 3)


def test_a_fourth_sample_is_opacity_or_asked_about():
    soft = np.dstack([RGB, RNG.integers(1, 255, RGB.shape[:2], dtype=np.uint8)])
    with pytest.raises(InputError, match="4 channels"):
        as_image(soft)
    assert as_image(layer(soft)).shape == (24, 32, 3)  # the layer says that these are colors
    clear = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    clear[:, :10, 3] = 0
    image = as_image(clear)
    assert image.hidden[:, :10].all()
    assert not image.hidden[:, 10:].any()
    np.testing.assert_array_equal(image.pixels[:, 10:], UNIT[:, 10:])


def test_of_a_transparent_part_no_droplets_are_told():
    from napari_droplets.droplets import Droplets

    hidden = np.zeros((24, 32), bool)
    hidden[:, :10] = True
    image = Image(UNIT, hidden=hidden)
    assert image.visible(Droplets(x=[3.0, 20.0], y=[5.0, 5.0], radius=[2.0, 2.0])).x.tolist() == [20]


def test_pictures_of_several_kinds_are_asked_about(tmp_path):
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB[:20, ::2, 0].copy(), metadata={"axes": "YX", "Name": "overview"})
        writer.write(RGB[..., 0].copy(), metadata={"axes": "YX", "Name": "high"})
    with pytest.raises(InputError, match=r"2 pictures of different kinds .*0: overview, 1: high.*scene=0.*--scene 0"):
        read_image(path)
    assert read_image(path, scene="high").shape == (24, 32, 1)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(RGB)
        writer.write(RGB[:20, :30])
    with pytest.raises(InputError, match="0: 32 x 24 pixels, 1: 30 x 20 pixels"):
        read_image(tmp_path / "a.tif")


def test_thumbnails_are_no_pictures(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB[::2, ::2].copy(), subfiletype=1, photometric="rgb")
        writer.write(RGB, photometric="rgb")
    np.testing.assert_array_equal(read_image(path).pixels, UNIT)


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
