"""Points colored by what is known of them, whatever became of them and of their table."""

import numpy as np
import pandas as pd
import pytest

from napari_droplets.droplets import Droplets
from napari_droplets.plot.colors import UNKNOWN_COLOR, composition_colors

pytest.importorskip("napari")
from napari.layers import Layer

from napari_droplets.plugin.files.readers import read_table
from napari_droplets.plugin.files.writers import write_droplets
from napari_droplets.plugin.layers import TAG, is_edited, to_layers
from napari_droplets.plugin.layers.coloring import (
    CHOICES,
    CLASS_COLORS,
    POOR_COLOR,
    class_colors,
    coloring,
    recolor,
)
from napari_droplets.plugin.layers.presence import show_probable
from napari_droplets.workbench.doubtful import poor_from

MISFIT = np.array([0.9, 1.0, 1.1, 1.2, 1.3, 2.1, 2.5, 9.0])  # median 1.25: poor from 2.5 on
N = len(MISFIT)
P = np.array([0.1, 1, 1, 1, 1, 1, 1, 0.3])


@pytest.fixture
def droplets():
    rng = np.random.default_rng(0)
    labels = {"misfit": MISFIT, "class": np.arange(N) % 3, "class_p": np.ones(N)}
    x, y, radius, composition = rng.uniform(2, 30, (4, N))[:, :, None].T[0].T.reshape(4, N)
    return Droplets(x, y, radius, p_present=P, composition=np.stack([composition / 30] * 3, -1), labels=labels)


@pytest.fixture
def points(droplets):
    return Layer.create(*to_layers(droplets)[0])


def rings(points):
    return points.border_color[:, :3]


def test_poorly_explained_droplets_stand_out(droplets, points):
    legend = recolor(points, "misfit")
    poor = (rings(points) == np.float32(POOR_COLOR)).all(1)
    assert poor.tolist() == (MISFIT > 2.5).tolist()
    assert [words for _, words in legend] == ["misfit 1", "1.8", "2.5", "poorly explained: 1"]
    assert legend[-1][0] == POOR_COLOR
    np.testing.assert_allclose(rings(points)[[0, 1]], [legend[0][0]] * 2, atol=1e-6)  # nobody is better than the noise
    assert len(np.unique(rings(points), axis=0)) == N - 1


@pytest.mark.parametrize(("misfit", "poor"), [([1.0, 1.0, 1.4], 0), ([0.5, 0.5, 1.6], 1), ([2, 2, 3.9], 0), ([], 0)])
def test_poor_is_above_twice_the_median_and_above_one_and_a_half(misfit, poor):
    misfit = np.array([*misfit, np.nan])
    assert (misfit > poor_from(misfit)).sum() == poor


def test_probability_and_radius_are_shades_with_a_scale(droplets, points):
    assert [words for _, words in recolor(points, "p_present")] == ["probability 0", "0.5", "1"]
    assert len(np.unique(rings(points), axis=0)) == 3
    legend = recolor(points, "radius")
    assert [words.split()[1] for _, words in legend] == ["px"] * 3
    order = np.argsort(droplets.radius)
    np.testing.assert_allclose(rings(points)[order[[0, -1]]], [legend[0][0], legend[2][0]], atol=1e-6)
    table = droplets.to_dataframe().assign(radius_um=droplets.radius * 0.5)
    assert coloring(table, "radius").legend[0][1].endswith("µm")


def test_a_class_has_the_same_color_in_every_image():
    table = pd.DataFrame({"class": [0, 2, -1, 2]})
    colors, legend, _ = coloring(table, "class")
    np.testing.assert_allclose(colors, [CLASS_COLORS[0], CLASS_COLORS[2], UNKNOWN_COLOR, CLASS_COLORS[2]])
    assert [words for _, words in legend] == ["class 0", "class 2"]
    edited = coloring(pd.DataFrame({"class": [0.0, np.nan, 2.0]}), "class")  # as a new row makes it
    np.testing.assert_allclose(edited.colors, [CLASS_COLORS[0], UNKNOWN_COLOR, CLASS_COLORS[2]])
    named = coloring(pd.DataFrame({"class": ["base", None, "acid"]}), "class")
    assert [words for _, words in named.legend] == ["class acid", "class base"]
    np.testing.assert_allclose(named.colors, [CLASS_COLORS[1], UNKNOWN_COLOR, CLASS_COLORS[0]])


# Machado, Oliveira and Fernandes 2009, severity 1.0: what linear RGB looks like to whom
VISION = {
    "usual": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("vision", VISION)
def test_classes_are_told_apart_with_any_color_vision(vision):
    from skimage.color import rgb2lab

    colors = np.vstack([CLASS_COLORS, UNKNOWN_COLOR])
    linear = np.where(colors > 0.04045, ((colors + 0.055) / 1.055) ** 2.4, colors / 12.92)
    seen = np.clip(linear @ np.asarray(VISION[vision]).T, 0, 1)
    lab = rgb2lab(np.where(seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen))
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1) + 100 * np.eye(len(lab))
    assert apart.min() > 12  # a just noticeable difference is about 2


def test_further_classes_have_colors_of_their_own():
    assert len(np.unique(class_colors(np.arange(16)), axis=0)) == 16


@pytest.mark.parametrize("by", CHOICES)
def test_a_table_of_places_alone_can_be_colored_by_anything(by):
    points = Layer.create(*to_layers(Droplets([3.0, 4.0], [3.0, 9.0], [2.0, 4.0]))[0])
    before = points.border_color.copy()
    legend = recolor(points, by)
    if by == "radius":
        assert (points.border_color != before).any()
    else:
        np.testing.assert_array_equal(points.border_color, before)
        assert [words for _, words in legend] == (
            [] if by == "composition" else [f"{CHOICES[by]}: not known of these points"]
        )


@pytest.mark.parametrize("by", CHOICES)
def test_points_that_were_edited(droplets, points, by):
    recolor(points, by)
    before = rings(points).copy()
    points.add([[5.0, 5.0]])
    points.data[2] += 1
    points.remove([0])
    recolor(points, "radius" if by != "radius" else "misfit")
    recolor(points, by)
    np.testing.assert_allclose(rings(points)[:-1], before[1:], atol=1e-6)
    np.testing.assert_allclose(rings(points)[-1], UNKNOWN_COLOR, atol=0.2)
    points.remove(list(range(len(points.data))))
    recolor(points, "class")
    recolor(points, by)


def test_coloring_is_no_edit_and_hidden_points_have_it_too(points):
    show_probable(points, 0.5)
    points.selected_data = {1}
    recolor(points, "misfit")
    assert not is_edited(points)
    assert points.selected_data == {1}
    assert len(points.data) == N - 2
    show_probable(points, 0.0)
    misfit = points.features["misfit"].to_numpy()
    assert sorted(misfit) == sorted(MISFIT)
    expected = coloring(points.features, "misfit").colors
    np.testing.assert_allclose(rings(points), expected, atol=1e-6)
    assert recolor(points, "misfit")[-1][1] == "poorly explained: 1"
    recolor(points, "composition")
    show_probable(points, 0.5)
    show_probable(points, 0.0)
    np.testing.assert_allclose(
        points.face_color[:, :3],
        composition_colors(points.features.filter(regex=r"composition_\d$").to_numpy()),
        atol=1e-6,
    )


def test_colors_that_the_user_chose_stay_until_another_coloring(points):
    recolor(points, "misfit")
    points.border_color = "white"
    recolor(points, "misfit")
    assert (points.border_color == 1).all()
    recolor(points, "radius")
    assert (points.border_color != 1).any()


@pytest.mark.parametrize("by", CHOICES)
def test_saved_and_opened_again(points, tmp_path, by):
    recolor(points, by)
    write_droplets(
        str(tmp_path / "droplets.csv"), points.data, {"size": points.size, **points.as_layer_data_tuple()[1]}
    )
    again = Layer.create(*read_table(str(tmp_path / "droplets.csv"))[0])
    assert again.metadata[TAG].get("color_by") is None
    legend = recolor(again, by)
    np.testing.assert_allclose(rings(again), rings(points), atol=1e-3)
    assert legend == recolor(points, by)
