"""Kinds of files that were once read wrongly, made here; all others are tried by benchmarks/formats.py."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from PIL import Image as Picture

from napari_droplets import Droplets, InputError, measure, read_image, read_images

RNG = np.random.default_rng(0)
V, U = np.mgrid[:40, :48]
RGB = np.stack([(3 * U + 40), (4 * V + 60), 200 - U - V], -1).astype(np.uint8)
RGB += RNG.integers(0, 9, RGB.shape, dtype=np.uint8)
GRAY = RGB[..., 0]
GENERATOR = Path(__file__).resolve().parents[2] / "shared" / "formats" / "make_formats.py"


def same(path, expected, atol=1e-6):
    pixels = read_image(path).pixels
    assert pixels.shape[-1] == (1 if expected.ndim == 2 else 3)
    np.testing.assert_allclose(pixels, expected.reshape(pixels.shape) / np.float32(255), atol=atol)


@pytest.mark.parametrize("codec", ["lzw", "zstd", "deflate", "packbits", "jpeg2000"])
def test_compressed(tmp_path, codec):
    tifffile.imwrite(tmp_path / "a.tif", RGB, compression=codec, photometric="rgb")
    same(tmp_path / "a.tif", RGB)


def test_inks_and_zero_that_is_white(tmp_path):
    black = np.full((*GRAY.shape, 1), 51, np.uint8)  # a fifth
    inks = np.concatenate([255 - RGB, black], -1)
    tifffile.imwrite(tmp_path / "cmyk.tif", inks, photometric="separated")
    same(tmp_path / "cmyk.tif", np.rint(RGB * 0.8), atol=0.01)
    tifffile.imwrite(tmp_path / "white.tif", 255 - GRAY, photometric="miniswhite")
    same(tmp_path / "white.tif", GRAY)


@pytest.mark.parametrize("stored", [(1 - GRAY / 255).astype(np.float32), 127 - GRAY.astype(np.int16)])
def test_zero_that_is_white_in_any_type(tmp_path, stored):
    tifffile.imwrite(tmp_path / "white.tif", stored, photometric="miniswhite")
    pixels = read_image(tmp_path / "white.tif").pixels[..., 0]
    assert np.corrcoef(pixels.ravel(), GRAY.ravel())[0, 1] > 0.9999


def test_brightness_and_differences_of_color(tmp_path):
    Picture.fromarray(RGB).convert("YCbCr").save(tmp_path / "a.tif")
    same(tmp_path / "a.tif", RGB, atol=0.015)


@pytest.mark.parametrize("suffix", ["tif", "png", "bmp"])
def test_palettes_are_colors(tmp_path, suffix):
    few = Picture.fromarray(RGB).quantize(64)
    few.save(tmp_path / f"a.{suffix}")
    same(tmp_path / f"a.{suffix}", np.asarray(few.convert("RGB")))


def test_gray_palettes_stay_gray_where_one_entry_is_transparent(tmp_path):
    picture = Picture.fromarray(GRAY).convert("P", palette=Picture.Palette.ADAPTIVE, colors=256)
    picture.save(tmp_path / "a.png", transparency=bytes([255] * 256))
    same(tmp_path / "a.png", GRAY)


def test_a_transparent_value_of_a_gray_png(tmp_path):
    deep = GRAY.astype(np.uint16) * 257
    deep[5:9, 5:9] = 1000
    Picture.fromarray(deep).save(tmp_path / "a.png", transparency=1000)
    image = read_image(tmp_path / "a.png")
    assert image.hidden is not None
    assert image.hidden.sum() == 16
    kept = ~image.hidden
    np.testing.assert_allclose(image.pixels[kept][:, 0], GRAY[kept] / 255, atol=1e-5)


def test_frames_of_a_gray_animation_are_gray(tmp_path):
    frames = [Picture.fromarray(GRAY - 4 * i) for i in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    for i in range(3):
        np.testing.assert_allclose(read_image(tmp_path / "a.gif", frames=i).pixels[..., 0], (GRAY - 4 * i) / 255, 1e-5)
    frames[1] = Picture.fromarray(RGB)
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match=r"a\.gif: frame 1 is in color, but the first one is grey"):
        read_image(tmp_path / "a.gif", frames=1)


def test_pages_that_are_cut_off_are_named(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.stack([GRAY, GRAY]), photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-500])
    droplets = Droplets([20.0], [20.0], [5.0])
    for read in (lambda: read_images(path), lambda: measure(droplets, path, frames=1)):
        with pytest.raises(InputError, match=r"a\.tif: cannot be read as an image"):
            read()


def test_look_up_tables_of_imagej_are_not(tmp_path):
    table = (np.stack([np.arange(256) ** 2 // 256] * 2 + [np.arange(256)]) * 257).astype(np.uint16)
    writing = {"photometric": "palette", "colormap": table, "metadata": None, "description": "ImageJ=1.54f\nimages=1\n"}
    tifffile.imwrite(tmp_path / "a.tif", GRAY, **writing)
    same(tmp_path / "a.tif", GRAY)


def test_gray_with_opacity(tmp_path):
    opaque = np.full_like(GRAY, 255)
    pair = np.stack([GRAY, opaque], -1)
    tifffile.imwrite(tmp_path / "a.tif", pair, photometric="minisblack", extrasamples=["unassalpha"])
    Picture.merge("LA", [Picture.fromarray(GRAY), Picture.fromarray(opaque)]).save(tmp_path / "a.png")
    same(tmp_path / "a.tif", GRAY)
    same(tmp_path / "a.png", GRAY)


def test_deep_colors(tmp_path):
    import imagecodecs

    deep = RGB.astype(np.uint16) * 257
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(deep))
    same(tmp_path / "a.png", RGB)
    assert read_image(tmp_path / "a.png").intensity_range == (0, 65535)


@pytest.mark.parametrize("code", range(1, 9))
def test_pictures_are_turned_upright(tmp_path, code):
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    picture = Picture.fromarray(GRAY)
    stored = picture.transpose(Picture.Transpose(turns[code])) if code in turns else picture
    exif = Picture.Exif()
    exif[274] = code
    stored.save(tmp_path / "a.png", exif=exif)
    same(tmp_path / "a.png", GRAY)
    tifffile.imwrite(tmp_path / "a.tif", np.asarray(stored), extratags=[(274, "H", 1, code, True)])
    same(tmp_path / "a.tif", GRAY)


def test_the_content_says_what_a_file_is(tmp_path):
    Picture.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.tif")
    same(tmp_path / "a.tif", RGB)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"\0\5\26\7\0\2\0\0Mac OS X", "macOS"),
        (b"", "empty"),
    ],
)
def test_what_is_no_picture_is_told(tmp_path, content, says):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.tif: .*{says}") as error:
        read_image(tmp_path / "a.tif")
    assert "\n" not in str(error.value)


def test_other_files(tmp_path):
    np.save(tmp_path / "a.npy", RGB)
    same(tmp_path / "a.npy", RGB)
    for suffix in ("gif", "webp", "pgm"):
        Picture.fromarray(GRAY).save(tmp_path / f"a.{suffix}", **({"lossless": True} if suffix == "webp" else {}))
    same(tmp_path / "a.pgm", GRAY)
    same(tmp_path / "a.gif", GRAY)
    frames = [Picture.fromarray(RGB), Picture.fromarray(255 - RGB)]
    frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="a stack of 2 frames"):
        read_image(tmp_path / "b.png")
    np.testing.assert_allclose(
        read_image(tmp_path / "b.png", frames=1).pixels, (255 - RGB) / np.float32(255), atol=1e-6
    )


def test_files_of_microscopes_say_what_reads_them(tmp_path):
    (tmp_path / "a.czi").write_bytes(b"ZISRAWFILE")
    with pytest.raises(InputError, match=r"a\.czi.*bioio"):
        read_image(tmp_path / "a.czi")


def test_bioio_reads_scenes_axes_and_sizes(tmp_path, monkeypatch):
    """By a stand-in for the library, which is an extra."""
    values = RNG.integers(0, 255, (2, 2, 40, 48), dtype=np.uint8)

    class BioImage:
        scenes = ("first", "second")
        physical_pixel_sizes = SimpleNamespace(X=0.5, Y=0.5, Z=None)
        channel_names = ("DAPI", "GFP")
        xarray_dask_data = SimpleNamespace(data=values, dims=("T", "C", "Y", "X"))

        def __init__(self, path):
            assert Path(path).name == "a.lif"

        def set_scene(self, scene):
            assert scene in self.scenes

    monkeypatch.setitem(sys.modules, "bioio", SimpleNamespace(BioImage=BioImage))
    (tmp_path / "a.lif").write_bytes(b"p\0\0\0")
    with pytest.raises(InputError, match=r"2 pictures of different kinds in one file \(0: first, 1: second\)"):
        read_image(tmp_path / "a.lif")
    image = read_image(tmp_path / "a.lif", scene="second", frames=1, channels=["GFP"])
    np.testing.assert_array_equal(image.pixels[..., 0], values[1, 1] / np.float32(255))
    assert image.pixel_size_um == 0.5
    assert image.scene == 1


def test_of_a_large_stack_only_the_pages_wanted_are_read(tmp_path, monkeypatch):
    values = RNG.integers(0, 255, (4, 3, 40, 48), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, imagej=True, metadata={"axes": "TZYX"})
    for large in (0, 2**40):
        monkeypatch.setattr("napari_droplets.images.readers.tiff.LAZY", large)
        image = read_image(tmp_path / "a.tif", frames=3, planes=1)
        np.testing.assert_array_equal(image.pixels[..., 0], values[3, 1] / np.float32(255))
    tifffile.imwrite(tmp_path / "b.tif", values, imagej=True, metadata={"axes": "TCYX"})
    monkeypatch.setattr("napari_droplets.images.readers.tiff.LAZY", 0)
    image = read_image(tmp_path / "b.tif", frames=2, channels=[2])
    np.testing.assert_array_equal(image.pixels[..., 0], values[2, 2] / np.float32(255))


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr(tmp_path, version):
    zarr = pytest.importorskip("zarr", reason="pip install 'napari-droplets[zarr]'")
    path = tmp_path / "a.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=version)
    group.create_array("0", shape=(3, 40, 48), chunks=(1, 40, 48), dtype=np.uint8)[...] = np.moveaxis(RGB, -1, 0)
    axes = [{"name": "c", "type": "channel"}, *({"name": n, "type": "space", "unit": "nanometer"} for n in "yx")]
    scale = [{"type": "scale", "scale": [1, 500, 500]}]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    group.attrs.update({"multiscales": multiscales} if version == 2 else {"ome": {"multiscales": multiscales}})
    same(path, RGB)
    assert read_image(path).pixel_size_um == pytest.approx(0.5)


@pytest.mark.skipif(not GENERATOR.exists(), reason="needs the generator of formats, ../shared/formats/make_formats.py")
def test_a_part_of_the_whole_set(tmp_path, monkeypatch):
    """Tables, and of every kind of picture the first: all of it takes minutes, `python benchmarks/formats.py`."""
    pytest.importorskip("zarr", reason="pip install 'napari-droplets[zarr]'")
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")  # scripts, not a package
    from formats import Checker, generate

    rows = generate(tmp_path)
    checker, kinds = Checker(tmp_path, "Python"), set()
    problems = {}
    for row in rows:
        if row["kind"] not in kinds or row["kind"] in ("table", "series"):
            kinds.add(row["kind"])
            if found := checker.problems(row):
                problems[row["file"]] = found
    assert len(kinds) == 18
    assert not problems
