import errno
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tifffile
from safetensors.numpy import save

from napari_droplets import Droplets, Fit, InputError, Optics, read, read_image, read_optics, statistics
from napari_droplets.model.priors import BRIGHTEST
from napari_droplets.results import files
from napari_droplets.results.files import read_table, save_optics, save_table, writable_folder, write_whole
from napari_droplets.storage.atomic import partial_folder, replace_folder

RNG = np.random.default_rng(0)


def optics():
    weights = {"Dense_0.kernel": RNG.normal(size=(7, 4)), "Dense_0.bias": RNG.normal(size=4)}
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    sd = {name: np.full_like(value, 0.1) for name, value in weights.items()}
    classes = {"weight": [0.7, 0.3], "mean": [[0.1, 0.9], [0.8, 0.2]], "covariance": [np.eye(2).tolist()] * 2}
    kind = {"types": 2, "channels": 3, "composition": "free", "renderer": "layered"}
    return Optics(weights, sd, **kind, length=4.5, noise_sd=0.03, blur_px=0.7, classes=classes)


def droplets():
    return Droplets(
        x=RNG.uniform(0, 40, 5),
        y=RNG.uniform(0, 30, 5),
        radius=RNG.uniform(1, 9, 5),
        p_present=RNG.random(5),
        composition=RNG.random((5, 2)),
        labels={"class": np.array(["acid", "base", "acid", "base", "acid"]), "pinned": np.arange(5) > 2},
    )


@pytest.fixture
def fit(tmp_path):
    """A fit put together by hand, of an image file that exists."""
    tifffile.imwrite(tmp_path / "photo.tif", RNG.integers(0, 255, (30, 40, 3), dtype=np.uint8))
    image = read_image(tmp_path / "photo.tif")
    found = droplets()
    guide = {
        "anchor": np.stack([found.x, found.y, found.radius], -1).astype(np.float32),
        "droplets": np.zeros((5, 5), np.float32),
        "log_noise": np.array(-3.5, np.float32),
    }
    return Fit(
        droplets=found,
        reconstruction=RNG.random((30, 40, 3)).astype(np.float32),
        optics=optics(),
        losses=np.array([[50, -10.5, 0.1], [100, -20.25, 0.2]]),
        summary={"n_droplets": 5, "image": {"path": image.path, "sha256": image.sha256, "shape": list(image.shape)}},
        guide=guide,
        image=image,
    )


def assert_same_optics(a, b):
    for name in ("types", "channels", "length", "composition", "renderer", "noise_sd", "blur_px", "classes"):
        assert getattr(a, name) == getattr(b, name)
    for part in ("weights", "weights_sd"):
        assert set(getattr(a, part)) == set(getattr(b, part))
        for name, value in getattr(a, part).items():
            np.testing.assert_array_equal(value, getattr(b, part)[name])
            assert value.dtype == getattr(b, part)[name].dtype == np.float32


def test_fit_and_back(fit, tmp_path):
    folder = fit.save(tmp_path / "made" / "here")
    assert {p.name for p in folder.iterdir()} == {
        *("droplets.csv", "droplets.parquet", "reconstruction.tif", "optics.safetensors", "summary.json")
    }
    back = read(folder)
    pd.testing.assert_frame_equal(back.table, fit.table, rtol=1e-14, atol=0, check_dtype=False)
    np.testing.assert_array_equal(back.reconstruction, fit.reconstruction)
    np.testing.assert_array_equal(back.losses, fit.losses)
    np.testing.assert_array_equal(back.residual, fit.residual)
    assert back.summary["statistics"] == statistics(fit).record()
    assert {k: v for k, v in back.summary.items() if k != "statistics"} == fit.summary

    assert set(back.guide) == set(fit.guide)
    for name, value in fit.guide.items():
        np.testing.assert_array_equal(back.guide[name], value)
    assert_same_optics(back.optics, fit.optics)
    assert_same_optics(read_optics(folder), fit.optics)


def test_statistics_are_those_of_the_droplets_that_are_saved(fit, tmp_path):
    first = read(fit.save(tmp_path / "first"))
    smaller = replace(first.droplets, radius=first.droplets.radius / 2)
    folder = replace(first, droplets=smaller).save(tmp_path / "again")
    again = json.loads((folder / "summary.json").read_text())["statistics"]
    assert again == statistics(smaller, shape=(30, 40)).record()
    assert again["D50"] != first.summary["statistics"]["D50"]


def test_a_fit_knows_what_statistics_need(fit):
    image = {"shape": [30, 40, 3], "visible": 0.5}
    about = {"count_mean": 9.0, "count_sd": 2.0, "systematic": {"radius_percent": 3.0}, "image": image}
    fit = replace(fit, summary=about)
    by_hand = statistics(fit.droplets, shape=(30, 40), count=(9.0, 2.0), radius_percent=3.0, visible=0.5)
    pd.testing.assert_frame_equal(statistics(fit).table, by_hand.table)
    assert statistics(fit, visible=0.25)["density"] == pytest.approx(2 * by_hand["density"])


def test_gray_reconstruction_and_back(fit, tmp_path):
    gray = replace(fit, reconstruction=fit.reconstruction[..., :1], summary={})
    assert read(gray.save(tmp_path / "out")).reconstruction.shape == (30, 40, 1)


def test_image_gone_changed_or_given(fit, tmp_path):
    folder, photo = fit.save(tmp_path / "out"), tmp_path / "photo.tif"
    pixels = tifffile.imread(photo)
    tifffile.imwrite(photo, 255 - pixels)
    assert read(folder).image is None
    photo.write_bytes(b"no image any more")
    assert read(folder).image is None
    photo.unlink()
    back = read(folder)
    with pytest.raises(InputError, match=r"photo\.tif.*use read\(folder, image=...\)"):
        _ = back.residual
    np.testing.assert_array_equal(read(folder, image=pixels).residual, fit.residual)
    with pytest.raises(InputError, match=r"its fit is of \(30, 40, 3\), the image given of \(20, 40, 3\)"):
        read(folder, image=pixels[:20])


def test_detections_alone_are_a_table(fit, tmp_path):
    folder = fit.save(tmp_path / "out")
    (folder / "optics.safetensors").unlink()
    assert isinstance(read(folder), Droplets)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_tables_and_back(tmp_path, name):
    many = Droplets(*np.exp(RNG.normal(0, 5, (3, 500))))
    back = read_table(save_table(many, tmp_path / name))
    for column in ("x", "y", "radius"):
        np.testing.assert_allclose(getattr(back, column), getattr(many, column), rtol=1e-14)
    assert isinstance(read(tmp_path / name), Droplets)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def full_disk(p):
        p.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"table\.csv: cannot be written \(No space left on device: free some"):
        write_whole(path, full_disk)

    def interrupted(p):
        p.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_write_shows_nothing_until_it_is_whole(tmp_path):
    path = tmp_path / "table.csv"

    def write(p):
        p.write_text("new")
        assert not path.exists()

    write_whole(path, write)
    assert path.read_text() == "new"


def test_places_that_cannot_be_written_to(fit, tmp_path):
    """A file in the way stops even the superuser."""
    wall = tmp_path / "wall"
    wall.write_text("a file")
    for folder in (wall, wall / "below"):
        with pytest.raises(InputError, match=r"wall.*choose another output folder"):
            writable_folder(folder)
        with pytest.raises(InputError, match="wall"):
            fit.save(folder)
    for path in (wall / "x.csv", wall / "x.parquet", tmp_path / "nowhere" / "x.csv"):
        with pytest.raises(InputError, match=r"x.*cannot be written"):
            save_table(fit.droplets, path)
    for path in (wall / "x.safetensors", tmp_path / "nowhere" / "x.safetensors"):
        with pytest.raises(InputError, match=r"x\.safetensors: cannot be written"):
            save_optics(fit.optics, path)
    assert wall.read_text() == "a file"


@pytest.mark.parametrize("name", ["summary.json", "droplets.csv", "reconstruction.tif", "optics.safetensors"])
@pytest.mark.parametrize("damage", ["noise", "truncated", "empty"])
def test_corrupt_files_are_named(fit, tmp_path, name, damage):
    path = fit.save(tmp_path / "out") / name
    whole = path.read_bytes()
    half = {"noise": b"\x89\xff{[" * 20, "truncated": whole[: len(whole) // 2], "empty": b""}[damage]
    if (name, damage) == ("droplets.csv", "truncated"):
        half = whole[: whole.index(b"radius")]  # half a table is a table; half a heading is none
    path.write_bytes(half)
    with pytest.raises(InputError, match=name):
        read(tmp_path / "out")


@pytest.mark.parametrize("name", ["summary.json", "droplets.csv", "reconstruction.tif"])
def test_missing_files_are_named(fit, tmp_path, name):
    (fit.save(tmp_path / "out") / name).unlink()
    with pytest.raises(InputError, match=name):
        read(tmp_path / "out")


def test_optics_without_classes_are_read_too(tmp_path):
    """Those of a fit without droplets have none."""
    metadata = {name: getattr(optics(), name) for name in files._optics_settings() if name != "classes"}
    metadata["brightest"] = BRIGHTEST
    content = save({"mean/w": np.zeros(2, np.float32)}, metadata={"napari-droplets": json.dumps(metadata)})
    (tmp_path / "old.safetensors").write_bytes(content)
    assert read_optics(tmp_path / "old.safetensors").classes is None


def test_optics_that_would_draw_other_colors_are_refused(tmp_path):
    path = save_optics(optics(), tmp_path / "optics.safetensors")
    path.write_bytes(path.read_bytes().replace(b'\\"brightest\\": 2.0', b'\\"brightest\\": 1.0'))
    with pytest.raises(InputError, match="not optics of this version"):
        read_optics(path)


def test_summaries_and_optics_of_others(fit, tmp_path):
    from safetensors.numpy import save_file

    folder = fit.save(tmp_path / "out")
    save_file({"a": np.zeros(3)}, folder / "other.safetensors")
    with pytest.raises(InputError, match="not optics of this version"):
        read_optics(folder / "other.safetensors")
    save_file({"a": np.zeros(3)}, folder / "other.safetensors", metadata={"napari-droplets": json.dumps({"types": 3})})
    with pytest.raises(InputError, match="not optics of this version"):
        read_optics(folder / "other.safetensors")
    save_optics(fit.optics, folder / "optics.safetensors")  # without the rest of the fit
    with pytest.raises(InputError, match="optics alone"):
        read(folder)
    (folder / "summary.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"summary\.json: not a summary"):
        read(folder)


def test_no_such_file(tmp_path):
    for reader in (read, read_table, read_optics):
        with pytest.raises(InputError, match=r"nothing.*no such file"):
            reader(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"no summary\.json"):
        read(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_optics(tmp_path)


def test_nothing_is_pickled(fit, tmp_path):
    for path in fit.save(tmp_path / "out").iterdir():
        assert not path.read_bytes().startswith((b"\x80\x04", b"\x80\x05")), path
        assert b"numpy.core" not in path.read_bytes(), path


@pytest.mark.parametrize("edit", [lambda t: t.iloc[1:], lambda t: t.iloc[::-1]])
def test_a_table_edited_in_place_is_named(fit, tmp_path, edit):
    folder = fit.save(tmp_path / "out")
    edit(fit.table).to_csv(folder / "droplets.csv", index=False)
    with pytest.raises(InputError, match=r"droplets\.csv: its rows are no longer those of the fit"):
        read(folder)


def test_pixel_size_given_for_the_fit_is_remembered(fit, tmp_path):
    settings = {"settings": {"pixel_size_um": 0.5, "channels": None}}
    folder = replace(fit, summary=fit.summary | settings).save(tmp_path / "out")
    assert read(folder).image.pixel_size_um == 0.5


@pytest.mark.parametrize("left", ["link to a folder", "link to nowhere", "folder", "file"])
def test_what_lies_where_something_will_be_written_is_removed_and_never_followed(tmp_path, left):
    theirs, place = tmp_path / "theirs", tmp_path / "a"
    theirs.mkdir()
    (theirs / "kept").touch()
    for name in (".partial-a", ".old-a"):
        if left == "folder":
            (tmp_path / name / "x").mkdir(parents=True)
        elif left == "file":
            (tmp_path / name).touch()
        else:
            (tmp_path / name).symlink_to(theirs if left == "link to a folder" else tmp_path / "nowhere")
    place.symlink_to(theirs)
    for content in ("1", "2"):
        with partial_folder(place) as partial:
            (partial / "file").write_text(content)
            replace_folder(partial, place)
        assert not place.is_symlink()
        assert [p.name for p in place.iterdir()] == ["file"]
    assert (place / "file").read_text() == "2"
    with pytest.raises(InputError, match=r"a: cannot be written \(No space"), partial_folder(place) as partial:
        raise OSError(errno.ENOSPC, "full")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "theirs"]
    assert [p.name for p in theirs.iterdir()] == ["kept"]
