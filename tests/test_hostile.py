"""Files that lie, are damaged or were made to do harm end in one line that names them, and nothing of them runs."""

import json
import os
import pickle
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image as Picture
from safetensors.numpy import save_file
from stand_in import StandIn, write_image

import napari_droplets as nd
from napari_droplets import InputError, lazy
from napari_droplets.cli import main
from napari_droplets.detection.network import read_weights
from napari_droplets.detection.scales import WEIGHTS
from napari_droplets.images.region import URI, region_mask
from napari_droplets.inference.prepare import check_optics
from napari_droplets.model.problem import Form
from napari_droplets.plugin.files.opening import image_layer_data
from napari_droplets.plugin.files.readers import get_reader
from napari_droplets.results.files import read_optics, read_table
from napari_droplets.storage.atomic import writable_folder, write_whole
from napari_droplets.storage.memory import OVERRIDE
from napari_droplets.storage.paths import matching

NOISE = np.random.default_rng(0).integers(0, 255, (24, 32), dtype=np.uint8)
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"  # scripts, not a package


def png(path, width, height):
    """A small PNG file whose header says that it is larger."""
    Picture.fromarray(NOISE).save(path)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", width, height)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    path.write_bytes(content)


def tiff(path, rows, **options):
    """A small TIFF file whose header says that it has more rows."""
    tifffile.imwrite(path, NOISE, **options)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["ImageLength"].overwrite(rows)


def npy(path, shape):
    np.save(path, NOISE)
    content = path.read_bytes()
    was = f"({NOISE.shape[0]}, {NOISE.shape[1]}), }}"
    path.write_bytes(content.replace(was.encode().ljust(len(str(shape)) + 4), f"{shape}, }}".encode()))


def zarr(path, metadata, chunk=b""):
    """An image of one block, of Zarr 2, by its bare files."""
    (path / "0").mkdir(parents=True)
    image = {"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]}
    usual = {"zarr_format": 2, "shape": [32, 32], "chunks": [32, 32], "dtype": "|u1", "compressor": None}
    usual |= {"fill_value": 0, "order": "C", "filters": None}
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    (path / ".zattrs").write_text(json.dumps({"multiscales": [image]}))
    (path / "0" / ".zarray").write_text(json.dumps(usual | metadata))
    (path / "0" / "0.0").write_bytes(chunk)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.png", lambda p: png(p, 13_000, 13_000)),
        ("a.tif", lambda p: tiff(p, 2**31 - 1, rowsperstrip=8)),
        ("a.zarr", lambda p: zarr(p, {"shape": [10**6, 10**6]})),
        ("b.zarr", lambda p: zarr(p, {"chunks": [10**6, 10**6]})),
    ],
)
def test_more_than_the_memory_holds_is_refused_before_it_is_read(tmp_path, monkeypatch, name, make):
    monkeypatch.setenv(OVERRIDE, "2G")
    path = tmp_path / name
    make(path)
    for read in (nd.read_image, image_layer_data):
        with pytest.raises(InputError, match=f"{name}: .* GB of memory, and no more than 2.0 GB may be taken"):
            read(str(path))


def test_more_pixels_than_pillow_decodes(tmp_path):
    png(tmp_path / "a.png", 2**30, 2**30)
    with pytest.raises(InputError, match=r"a\.png: more than 179 million pixels by its header.* save it as TIFF"):
        nd.read_image(tmp_path / "a.png")


def test_a_large_file_that_is_meant_can_be_allowed(tmp_path, monkeypatch):
    """The message says with what."""
    tifffile.imwrite(tmp_path / "a.tif", np.stack([NOISE] * 20), photometric="minisblack")
    found = {"x": range(99), "y": range(99), "radius": [1.0] * 99}
    pd.DataFrame(found).to_parquet(tmp_path / "t.parquet")
    pd.DataFrame(found).to_csv(tmp_path / "t.csv")
    pd.DataFrame(found).to_excel(tmp_path / "t.xlsx")
    monkeypatch.setenv(OVERRIDE, "2K")
    with pytest.raises(InputError, match="environment variable NAPARI_DROPLETS_MEMORY=1G"):
        nd.read_image(tmp_path / "a.tif", frames=0)
    for name in ("t.parquet", "t.csv", "t.xlsx"):
        with pytest.raises(InputError, match=f"{name}: .* would take .* of memory"):
            read_table(tmp_path / name)
    monkeypatch.setenv(OVERRIDE, "20K")  # one picture, but not all
    nd.read_image(tmp_path / "a.tif", frames=0)
    with pytest.raises(InputError, match=r"a\.tif: 20 pictures at once"):
        nd.read_images(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: all of its pictures"):
        image_layer_data(str(tmp_path / "a.tif"))
    monkeypatch.setenv(OVERRIDE, "much")
    with pytest.raises(InputError, match="give a number of bytes"):
        nd.read_image(tmp_path / "a.tif", frames=0)


@pytest.mark.parametrize("by_parts", [False, True])
@pytest.mark.parametrize("options", [{"rowsperstrip": 8}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_rows_that_a_header_promises_are_not_made_up(tmp_path, options, by_parts, monkeypatch):
    if by_parts:
        monkeypatch.setattr(lazy, "LARGE", 1000)
    tiff(tmp_path / "a.tif", 300, **options)
    with pytest.raises(InputError, match=r"a\.tif: \d of \d+ strips or tiles that its header promises"):
        nd.read_image(tmp_path / "a.tif")


def test_frames_that_grow_are_refused(tmp_path):
    path = tmp_path / "a.gif"
    frames = [Picture.fromarray(NOISE), Picture.fromarray(255 - NOISE)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    content = bytearray(path.read_bytes())
    descriptor = content.rindex(struct.pack("<BHHHH", 0x2C, 0, 0, NOISE.shape[1], NOISE.shape[0]))
    content[descriptor + 6] = 2  # the width of the second frame: 512 more
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.gif: frame 1 is of 544 x 24 pixels, the first one of 32 x 24"):
        nd.read_images(path)


def test_an_array_that_its_file_does_not_hold(tmp_path):
    npy(tmp_path / "a.npy", (10**7, 32))
    with pytest.raises(InputError, match=r"a\.npy: cannot be read"):
        nd.read_image(tmp_path / "a.npy")


class Program:
    """What runs where it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("place", [{"filters": [{"id": "pickle"}]}, {"compressor": {"id": "pickle"}}])
def test_nothing_in_a_store_runs(tmp_path, place):
    zarr(tmp_path / "a.zarr", place, pickle.dumps(Program(tmp_path / "ran")))
    np.save(tmp_path / "a.npy", np.array([Program(tmp_path / "ran")] * 99, object), allow_pickle=True)
    for name in ("a.zarr", "a.npy"):
        with pytest.raises(InputError, match=name):
            nd.read_image(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_parts_of_a_file_are_in_its_folder(tmp_path):
    stack, options = np.stack([NOISE] * 2), {"photometric": "minisblack", "metadata": {"axes": "TYX"}}
    (tmp_path / "in").mkdir()
    tifffile.imwrite(tmp_path / "secret.tif", stack, ome=True, **options)
    tifffile.imwrite(tmp_path / "in" / "a.ome.tif", stack, **options)
    with tifffile.TiffFile(tmp_path / "in" / "a.ome.tif", mode="r+") as file:
        uuid = '<UUID FileName="../secret.tif">urn:uuid:00000000-0000-0000-0000-000000000001</UUID>'
        text = file.pages[0].description.replace("<TiffData ", f"<TiffData>{uuid}</TiffData><TiffData ")
        file.pages[0].tags["ImageDescription"].overwrite(text)
    with pytest.raises(InputError, match=r"a\.ome\.tif: .*\.\./secret\.tif, outside of its folder"):
        nd.read_images(tmp_path / "in" / "a.ome.tif")


@pytest.fixture
def no_files(tmp_path):
    """Paths at which there is no file to be read."""
    (tmp_path / "folder.tif").mkdir()
    (tmp_path / "empty.tif").touch()
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    (tmp_path / "gone.tif").symlink_to("nowhere.tif")
    os.mkfifo(tmp_path / "pipe.tif")
    names = ["folder.tif", "empty.tif", "loop.tif", "gone.tif", "pipe.tif", "a" * 300, "zero\0.tif"]
    return [tmp_path / name for name in names]


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are those of Unix")
def test_what_is_no_file_is_named_by_every_reader(no_files):
    readers = (nd.read_image, image_layer_data, nd.read, read_table, read_optics, read_weights)
    for path in no_files:
        for read in (*readers, lambda p: region_mask(p, (24, 32))):
            with pytest.raises(InputError) as error:
                read(str(path))
            assert path.name[:9].replace("\0", r"\x00") in str(error.value)
            assert str(error.value).isprintable()
        assert get_reader(str(path)) is None


@pytest.mark.skipif(os.name == "nt", reason="links and pipes are those of Unix")
def test_one_line_each_and_the_others_are_done(no_files, tmp_path, monkeypatch, capfd):
    stand_in = StandIn()
    monkeypatch.setattr("napari_droplets.inference.api.fit", stand_in.fit)
    bad = [
        *no_files[:5],
        tmp_path / "cut.tif",
        tmp_path / "large.tif",
        tmp_path / "cut.png",
        tmp_path / "red\x1b[31m.png",
    ]
    tiff(bad[5], 300)
    tiff(bad[6], 2**31 - 1)
    write_image(bad[7]).write_bytes(bad[7].read_bytes()[:300])
    bad[8].write_text("no picture")
    good = write_image(tmp_path / "good.png")
    assert main(["fit", *map(str, bad), str(good), "-o", str(tmp_path / "out")]) == 1
    assert (tmp_path / "out" / "good" / "droplets.csv").exists()
    said = capfd.readouterr().err
    assert "\x1b[31m" not in said
    errors = [line for line in said.splitlines() if "error:" in line]
    assert len(errors) == len(bad)
    for path in bad:
        name = path.name.replace("\x1b", r"\x1b")
        assert sum(f"/{name}: " in line or f" {name}: " in line for line in errors) == 1, path
    assert not any("Traceback" in line for line in errors)


def test_links_in_circles_are_not_followed_for_ever(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).symlink_to(".", target_is_directory=True)
    write_image(tmp_path / "deep" / "er" / "x.png")
    write_image(tmp_path / ".hidden" / "x.png")
    assert matching(f"{tmp_path}/**/*.png") == [tmp_path / "deep" / "er" / "x.png"]
    assert matching(f"{tmp_path}/.hidden/**/*.png") == [tmp_path / ".hidden" / "x.png"]
    assert matching(f"{tmp_path}/deep/*/x.png") == [tmp_path / "deep" / "er" / "x.png"]


def test_errors_are_one_line_that_steers_no_terminal():
    long = str(InputError("a.xlsx: cannot be read (" + 5000 * "x" + "); save it anew"))
    assert len(long) < 1000
    assert long.startswith("a.xlsx: cannot be read (x")
    assert long.endswith("x); save it anew")
    assert str(InputError("a\nb.tif: \x1b[2Jµ\u200b \udc80.")) == r"a b.tif: \x1b[2Jµ\u200b \udc80."


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path):
    (tmp_path / "t.csv").write_text("old")
    (tmp_path / ".partial-t.csv").symlink_to("elsewhere")

    def write(path):
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"t\.csv: cannot be written \(No space left on device: free some space"):
        write_whole(tmp_path / "t.csv", write)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"
    for wrong in ("a" * 300, "a\0b"):
        with pytest.raises(InputError, match="a"):
            writable_folder(tmp_path / wrong)
        with pytest.raises(InputError, match="a"):
            write_whole(tmp_path / wrong, write)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The files of a result folder, of a fit that nobody computed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        from fuzz_files import target

        return target("optics").folder


def changed(content, change):
    """The heading of a safetensors file changed; the arrays stay."""
    length = struct.unpack("<Q", content[:8])[0]
    heading = json.loads(content[8 : 8 + length])
    change(heading)
    made = json.dumps(heading).encode()
    return struct.pack("<Q", len(made)) + made + content[8 + length :]


def about(**values):
    def change(heading):
        metadata = heading["__metadata__"]
        metadata["napari-droplets"] = json.dumps(json.loads(metadata["napari-droplets"]) | values)

    return change


SUMMARY, OPTICS = "summary.json", "optics.safetensors"


@pytest.mark.parametrize(
    ("name", "damage", "says"),
    [
        (SUMMARY, lambda c: b"[" * 100_000, r"summary\.json: not a summary in JSON"),
        (SUMMARY, lambda c: b'{"image": "x"}', r"summary\.json: damaged summary: image is 'x'"),
        (SUMMARY, lambda c: b'{"image": {"path": 5}}', "damaged summary: image path is 5"),
        (SUMMARY, lambda c: b'{"systematic": {"radius_percent": "a"}}', "radius_percent is 'a'"),
        (SUMMARY, lambda c: b'{"count_sd": NaN}', "count_sd is nan"),
        (SUMMARY, lambda c: b'{"pictures": [{"folder": "../other"}]}', "damaged summary: pictures"),
        (OPTICS, lambda c: changed(c, about(types=10**9)), "damaged optics: types is 1000000000"),
        (OPTICS, lambda c: changed(c, about(length=float("nan"))), "damaged optics: length is nan"),
        (OPTICS, lambda c: changed(c, about(classes={"weight": [1]})), "damaged optics: classes"),
        (
            OPTICS,
            lambda c: changed(c, lambda h: h["guide/anchor"].update(shape=[21])),
            "posterior: anchor has",
        ),
        (OPTICS, lambda c: changed(c, lambda h: h["guide/prior_sd"].update(dtype="I32")), "posterior: prior_sd has"),
        (OPTICS, lambda c: changed(c, lambda h: h["losses"].update(dtype="F8_E4M3")), "not a safetensors file"),
    ],
)
def test_damaged_results_are_named(saved, tmp_path, name, damage, says):
    for file, content in saved.items():
        (tmp_path / file).write_bytes(content)
    nd.read(tmp_path)
    (tmp_path / name).write_bytes(damage(saved[name]))
    with pytest.raises(InputError, match=says):
        nd.read(tmp_path)
    assert main(["statistics", str(tmp_path)]) == (1 if name == SUMMARY else 0)


def test_a_posterior_that_is_not_whole_is_named_when_it_is_used(saved, tmp_path):
    for file, content in saved.items():
        (tmp_path / file).write_bytes(content)
    fit = nd.read(tmp_path)
    fit.sample(2)
    fit.guide.pop("systematic")
    with pytest.raises(InputError, match="sample: the posterior of this fit lacks systematic"):
        fit.sample(2)


def test_optics_of_another_network_are_refused_before_they_are_used(saved, tmp_path):
    (tmp_path / "o.safetensors").write_bytes(saved["optics.safetensors"])
    optics = nd.read_optics(tmp_path / "o.safetensors")
    optics.weights["Dense_0.kernel"] = np.zeros((2, 2), np.float32)
    with pytest.raises(InputError, match=r"optics: weights of another network than a\.tif is fitted with"):
        check_optics(optics, Form(3, 3), "a.tif")


@pytest.mark.parametrize("damage", [np.float32("nan"), np.int32(1)])
def test_damaged_weights_are_named(tmp_path, damage):
    from safetensors.numpy import load_file

    tensors = load_file(WEIGHTS)
    name = sorted(tensors)[0]
    tensors[name] = np.full(tensors[name].shape, damage)
    save_file(tensors, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=rf"w\.safetensors: .*{name}"):
        read_weights(tmp_path / "w.safetensors")


def test_masks_in_settings_are_pictures_and_nothing_else():
    for content in (b"", b"\x89PNG", b"%!PS-Adobe-3.0 EPSF-3.0\n"):
        import base64

        with pytest.raises(InputError, match="mask in the data URI cannot be read"):
            region_mask(URI + base64.b64encode(content).decode(), (24, 32))


@pytest.mark.parametrize("kind", ["npy", "photos", "tables", "summary", "optics"])
def test_a_few_damaged_files_of_each_kind(tmp_path, monkeypatch, kind):
    """The beginning of what `python benchmarks/fuzz.py` does for as long as it is let."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import fuzz
    from fuzz_files import target

    reader = fuzz._Reader(tmp_path, kind, target(kind))
    monkeypatch.setattr(fuzz, "ROUND", 20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, content in reader.target.seeds.items():
            reader.read(name, content, good=True)
        fuzz._by_hypothesis(reader, seed=0, seconds=60)
    assert fuzz._findings(tmp_path) == []
    assert reader.count > 20
