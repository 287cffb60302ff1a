"""Features of the points say what the points are, at once after every edit and whoever reads them."""

import time

import numpy as np
import pandas as pd
import pytest

from napari_droplets.droplets import Droplets
from napari_droplets.plot.colors import UNKNOWN_COLOR
from napari_droplets.tables import read_table

pytest.importorskip("napari")
from napari.layers import Layer

from napari_droplets.plugin.layers import to_layers
from napari_droplets.plugin.layers.correction import corrected
from napari_droplets.plugin.layers.following import follow
from napari_droplets.plugin.layers.place import Place
from napari_droplets.plugin.layers.points import NUMBERS, TAG
from napari_droplets.plugin.layers.presence import show_probable

N = 6


def droplets(n=N):
    rng = np.random.default_rng(0)
    labels = {
        "class": np.arange(n) % 3,
        "class_p": np.full(n, 0.9),
        "misfit": np.full(n, 1.2),
        "note": np.array(list("abcdef") * (n // 6)),
        "cut_by_border": np.zeros(n, bool),
    }
    return Droplets(
        rng.uniform(10, 90, n),
        rng.uniform(10, 40, n),
        rng.uniform(2, 4, n),
        **{name: np.full(n, 0.1) for name in ("x_sd", "y_sd", "radius_sd")},
        p_present=np.full(n, 0.9),
        composition=rng.uniform(size=(n, 3)),
        composition_sd=np.full((n, 3), 0.1),
        labels=labels,
        pixel_size_um=0.5,
    )


@pytest.fixture
def points():
    points = Layer.create(*to_layers(droplets(), place=Place("slide", shape=(50, 100)))[0])
    follow(points)
    return points


def move(points, i, y, x):
    """What a drag does at its end."""
    points.selected_data = {i}
    points._move({i}, points.data[i])
    points._move({i}, (y, x))
    points._drag_start = None


def add(points):
    points.selected_data = {2}  # whose features, colors and size napari takes for those of the next
    points.add([20.0, 1.0])


def paste(points):
    points.selected_data = {3}
    points._copy_data()
    points._paste_data()
    points.refresh()


def resize(points):
    points.selected_data = {1, 4}
    points.current_size = 11.0


EDITS = {
    "move": lambda points: move(points, 1, 30, 70.5),
    "add": add,
    "remove": lambda points: points.remove([0, 3]),
    "remove all": lambda points: points.remove(list(range(N))),
    "resize": resize,
    "resize by a script": lambda points: setattr(points, "size", points.size + 1),
    "paste": paste,
    "replace": lambda points: setattr(points, "data", points.data[:4] + 1),
}


@pytest.mark.parametrize("edit", EDITS)
def test_features_say_where_the_points_are(points, edit):
    EDITS[edit](points)
    table = points.features
    np.testing.assert_allclose(table[["y", "x"]], points.data)
    np.testing.assert_allclose(2 * table["radius"], points.size)
    np.testing.assert_allclose(table[["x_um", "y_um", "radius_um"]], table[["x", "y", "radius"]] / 2)
    assert len(points.metadata[TAG][NUMBERS]) == len(points.data)


def test_what_was_moved_keeps_nothing_of_its_old_place(points):
    before = points.features.copy()
    move(points, 1, 30, 98.5)
    row = points.features.iloc[1]
    gone = ["x_sd", "y_sd", "radius_sd", "misfit", "class", "class_p", "composition_0", "composition_2_sd"]
    assert row[gone].isna().all()
    assert row["note"] == "b"
    assert row["p_present"] == 1
    assert row["cut_by_border"]
    np.testing.assert_allclose(points.border_color[1, :3], UNKNOWN_COLOR, atol=0.2)
    pd.testing.assert_frame_equal(points.features.drop(index=1)[list(before)], before.drop(index=1), check_dtype=False)
    assert points.features["pinned"].tolist() == [False, True, False, False, False, False]


def test_what_was_resized_keeps_what_it_is_made_of(points):
    before = points.features.copy()
    colors = points.border_color.copy()
    resize(points)
    rows = points.features.iloc[[1, 4]]
    assert rows[["radius_sd", "misfit"]].isna().all(axis=None)
    np.testing.assert_array_equal(rows[["composition_1", "class"]], before[["composition_1", "class"]].iloc[[1, 4]])
    np.testing.assert_allclose(points.border_color, colors, atol=1e-6)


@pytest.mark.parametrize("edit", [add, paste])
def test_what_was_added_has_nothing_of_another(points, edit):
    edit(points)
    row = points.features.iloc[-1]
    assert row[["x_sd", "misfit", "class", "composition_0", "note"]].isna().all()
    assert row["p_present"] == 1
    assert bool(row["pinned"])
    np.testing.assert_allclose(points.face_color[-1, :3], UNKNOWN_COLOR, atol=1e-6)


def test_edits_are_counted_whatever_the_features_say(points):
    move(points, 1, 30, 70)
    points.remove([0])
    add(points)
    paste(points)
    drawn = points.metadata[TAG]["table"]
    rows = points.metadata[TAG][NUMBERS]
    found = corrected(drawn, points.features, points.data, points.size, numbers=rows)
    assert (found.added, found.changed, found.deleted) == (2, 1, 1)


def test_a_duplicate_is_followed_for_itself(points):
    points.remove([0])
    twin = Layer.create(*points.as_layer_data_tuple())
    follow(twin)
    twin.remove([1, 2])
    add(twin)
    assert points.metadata[TAG][NUMBERS].tolist() == [1, 2, 3, 4, 5]
    assert twin.metadata[TAG][NUMBERS].tolist() == [1, 4, 5, 6]


def test_hidden_points_come_back_as_they_were(points):
    points.features["p_present"] = [0.1, 0.9, 0.2, 0.9, 0.9, 0.9]
    show_probable(points, 0.5)
    points.remove([0])
    move(points, 0, 30, 70)
    show_probable(points, 0.0)
    assert sorted(points.metadata[TAG][NUMBERS]) == [0, 2, 3, 4, 5]
    np.testing.assert_allclose(points.features[["y", "x"]], points.data)
    assert points.features["note"].tolist() == ["d", "e", "f", "a", "c"]


def test_a_table_saved_by_napari_has_the_edits(points, tmp_path, plugins_of_napari):
    move(points, 1, 30, 70.5)
    points.remove([0])
    add(points)
    points.size = [*points.size[:-1], 9.0]
    points.save(str(tmp_path / "slide.csv"), plugin="napari")
    back = read_table(tmp_path / "slide.csv")
    np.testing.assert_allclose(np.column_stack([back.y, back.x]), points.data)
    np.testing.assert_allclose(2 * back.radius, points.size)
    assert np.isnan(back.composition[[0, -1]]).all()
    assert back.pixel_size_um == pytest.approx(0.5)


def test_ten_thousand_points_are_followed_at_once():
    points = Layer.create(*to_layers(droplets(9996), place=Place("slide", shape=(50, 100)))[0])
    follow(points)
    move(points, 7, 30, 70)
    start = time.perf_counter()
    for x in range(5):
        points.data[7] = (20.0, 30.0 + x)
        points.events.data(value=points.data, action="changed", data_indices=(7,), vertex_indices=((),))
    assert (time.perf_counter() - start) / 5 < 0.2
    assert points.features["x"].iloc[7] == 34
