"""Saved results come back into napari as they were, and foreign files are left to others."""

import json

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest

from napari_droplets.droplets import Droplets, Fit, Optics
from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.plugin.files import readers
from napari_droplets.plugin.files.readers import get_reader
from napari_droplets.plugin.files.writers import write_droplets
from napari_droplets.plugin.layers import to_layers
from napari_droplets.results.files import read_table, save_table


def droplets(n=3, **more):
    rng = np.random.default_rng(0)
    return Droplets(rng.uniform(2, 30, n), rng.uniform(2, 30, n), rng.uniform(2, 4, n), **more)


@pytest.fixture
def saved(tmp_path):
    """A folder that `Fit.save` wrote, and the image it is of."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    path = tmp_path / "slide.png"
    iio.imwrite(path, pixels)
    image = as_image(path)
    weights = {"Dense_0.kernel": np.zeros((2, 2), np.float32)}
    optics = Optics(weights, weights, 3, 3, 3.0, "free", "layered", 0.05, 0.7)
    summary = {"settings": {}, "image": {"path": str(path), "sha256": image.sha256}}
    found = droplets(composition=np.eye(3))
    guide = {"anchor": np.stack([found.x, found.y, found.radius], 1), "droplets": np.zeros((len(found), 3))}
    fit = Fit(found, image.pixels * 0.9, optics, np.zeros((1, 3)), summary, guide, image)
    fit.save(tmp_path / "result")
    return tmp_path / "result", path, fit


@pytest.mark.parametrize("name", ["", "summary.json"])
def test_folder(saved, name):
    folder, _, fit = saved
    path = str(folder / name)
    image, reconstruction, points = get_reader(path)(path)
    assert [layer[2] for layer in (image, reconstruction, points)] == ["image", "image", "points"]
    assert [layer[1]["name"] for layer in (image, reconstruction, points)] == [
        "slide",
        "slide reconstruction",
        "slide droplets",
    ]
    np.testing.assert_array_equal(image[0], fit.image.pixels)
    np.testing.assert_allclose(reconstruction[0], fit.reconstruction)
    np.testing.assert_allclose(points[0], np.column_stack([fit.droplets.y, fit.droplets.x]))


@pytest.mark.parametrize("open_one", ["slide.png", "other.png"])
def test_folder_whose_image_is_open_already(saved, monkeypatch, open_one):
    """Droplets lie over it where it is, and it is not added again; another picture of that size is none."""
    pytest.importorskip("napari")
    from napari.layers import Image
    from napari.layers._source import layer_source

    folder, path, fit = saved
    (path.parent / "other.png").write_bytes(path.read_bytes())
    with layer_source(path=str(path.parent / open_one)):
        layer = Image(iio.imread(path), name="my slide", scale=(0.5, 0.5), translate=(7, 3))
    monkeypatch.setattr(readers, "images_shown", lambda: [layer])
    layers = get_reader(str(folder))(str(folder))
    if open_one == "other.png":
        assert len(layers) == 3
        return
    assert [(kind, attributes["name"]) for _, attributes, kind in layers] == [
        ("image", "my slide reconstruction"),
        ("points", "my slide droplets"),
    ]
    for data, attributes, kind in layers:
        assert tuple(attributes["scale"]) == (0.5, 0.5)
        assert tuple(attributes["translate"]) == (7, 3)
        if kind == "points":
            np.testing.assert_allclose(data, np.column_stack([fit.droplets.y, fit.droplets.x]))


def test_folder_of_a_stack(tmp_path):
    save_table(droplets(labels={"frame": np.array([0, 0, 2])}), tmp_path / "droplets.csv")
    (tmp_path / "summary.json").write_text(json.dumps({"n_droplets": 3, "pictures": []}))
    [(data, attributes, _)] = get_reader(str(tmp_path))(str(tmp_path))
    assert data[:, 0].tolist() == [0, 0, 2]
    assert attributes["name"] == f"{tmp_path.name} droplets"


def test_folder_without_its_image(saved):
    folder, path, _ = saved
    path.unlink()
    assert [layer[2] for layer in get_reader(str(folder))(str(folder))] == ["image", "points"]


def test_folder_of_detections_only(tmp_path):
    save_table(droplets(), tmp_path / "droplets.csv")
    (tmp_path / "summary.json").write_text(json.dumps({"n_droplets": 3}))
    [(data, _, kind)] = get_reader(str(tmp_path))(str(tmp_path))
    assert kind == "points"
    assert len(data) == 3


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table(tmp_path, suffix):
    path = str(save_table(droplets(), tmp_path / f"slide droplets{suffix}"))
    [(data, attributes, kind)] = get_reader(path)(path)
    assert (kind, attributes["name"]) == ("points", "slide droplets")
    np.testing.assert_allclose(data, np.column_stack([droplets().y, droplets().x]))
    np.testing.assert_allclose(attributes["size"], 2 * droplets().radius)


def test_table_of_several_frames(tmp_path):
    path = str(save_table(droplets(labels={"frame": np.array([0, 0, 4])}), tmp_path / "droplets.csv"))
    [(data, _, _)] = get_reader(path)(path)
    assert data[:, 0].tolist() == [0, 0, 4]


def test_table_of_a_batch_is_one_layer_per_image(tmp_path):
    path = tmp_path / "droplets.csv"
    rows = ["b.png,1,2,3,1.5,,", "a.png,4,5,3,6,0,", "a.png,6,7,3,6,2,"]
    path.write_text("\n".join(["image,x,y,radius,radius_um,frame,axis", *rows]))
    first, second = get_reader(str(path))(str(path))
    assert [layer[1]["name"] for layer in (first, second)] == ["b.png droplets", "a.png droplets"]
    assert first[0].tolist() == [[2, 1]]  # its frame is not known
    assert second[0].tolist() == [[0, 5, 4], [2, 7, 6]]
    assert first[1]["features"]["x_um"].tolist() == [0.5]
    assert second[1]["features"]["x_um"].tolist() == [8, 12]


def test_table_with_frames_for_some_droplets_only(tmp_path):
    path = tmp_path / "droplets.csv"
    path.write_text("x,y,radius,frame\n1,2,3,1\n4,5,3,\n")
    with pytest.raises(InputError, match="no frame in row 1"):
        get_reader(str(path))(str(path))


@pytest.mark.parametrize(
    "content",
    ["index,axis-0,axis-1\n0,1,2\n", "x,y\n1,2\n", "", "\x00\xff\n", "radius and x and y\n"],
)
def test_foreign_tables_are_not_ours(tmp_path, content):
    path = tmp_path / "my droplets.csv"
    path.write_bytes(content.encode("latin-1"))
    assert get_reader(str(path)) is None


def test_foreign_folders_and_missing_files_are_not_ours(tmp_path):
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "notes.parquet").write_text("no parquet")
    for path in (tmp_path, tmp_path / "summary.json", tmp_path / "none droplets.csv", tmp_path / "notes.parquet"):
        assert get_reader(str(path)) is None
    assert get_reader([str(tmp_path)]) is None


def test_napari_opens_foreign_tables_with_its_own_reader(tmp_path, request):
    pytest.importorskip("napari")
    from napari.components import ViewerModel

    request.getfixturevalue("plugins_of_napari")
    path = tmp_path / "points.csv"
    path.write_text("index,axis-0,axis-1\n0,1,2\n")
    [layer] = ViewerModel().open(path)
    assert layer.data.tolist() == [[1, 2]]


def test_writer_writes_the_points_as_they_are_now(tmp_path):
    layer_module = pytest.importorskip("napari.layers")
    found = droplets(x_sd=np.full(3, 0.1), composition=np.eye(3), pixel_size_um=0.5)
    points = layer_module.Layer.create(*to_layers(found)[0])
    points.data[0] = (7.0, 6.0)
    points.size = [*points.size[:2], 9.0]
    points.remove([1])
    points.add([3.0, 4.0])
    points.features["note"] = ["a", "b", "c"]
    data, attributes, _ = points.as_layer_data_tuple()
    [path] = write_droplets(str(tmp_path / "out.csv"), data, attributes)
    table = read_table(path).to_dataframe()
    assert table["x"].tolist() == [6, found.x[2], 4]
    assert table["y"].tolist() == [7, found.y[2], 3]
    assert table["radius"].tolist()[1] == 4.5
    assert table["pinned"].tolist() == [True] * 3
    assert table["note"].tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(table["radius_um"], table["radius"] / 2)
    np.testing.assert_array_equal(table["composition_2"], [np.nan, 1, np.nan])  # what was moved may be another


def test_writer_takes_any_points_layer(tmp_path):
    layer_module = pytest.importorskip("napari.layers")
    points = layer_module.Points([[2, 5.0, 6.0]], size=4, features={"kind": ["acid"]})
    data, attributes, _ = points.as_layer_data_tuple()
    [path] = write_droplets(str(tmp_path / "out.csv"), data, attributes)
    expected = {"x": [6.0], "y": [5.0], "radius": [2.0], "frame": [2], "kind": ["acid"]}
    pd.testing.assert_frame_equal(pd.read_csv(path), pd.DataFrame(expected))


def test_points_of_a_stack_of_stacks_keep_their_plane(tmp_path):
    layer_module = pytest.importorskip("napari.layers")
    points = layer_module.Points([[2, 1, 5.0, 6.0], [2, 3, 7.0, 8.0]], size=4)
    data, attributes, _ = points.as_layer_data_tuple()
    [path] = write_droplets(str(tmp_path / "out droplets.csv"), data, attributes)
    [(back, _, _)] = get_reader(path)(path)
    np.testing.assert_array_equal(back, data)
