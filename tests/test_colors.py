import numpy as np
import pytest

from napari_droplets.droplets import Droplets
from napari_droplets.plot.colors import (
    CONTRAST,
    IMPROBABLE_COLOR,
    SAFE_COLORS,
    UNKNOWN_COLOR,
    composition_colors,
    droplet_colors,
    luminance,
    readable,
)


@pytest.mark.parametrize("k", range(2, 7))
def test_pure_components_are_safe_colors_and_mixtures_lie_between(k):
    np.testing.assert_allclose(composition_colors(np.eye(k)), SAFE_COLORS[:k])
    half = composition_colors(np.eye(k)[:1] / 2 + np.eye(k)[1:2] / 2)
    np.testing.assert_allclose(half, [SAFE_COLORS[:2].mean(0)])


@pytest.mark.parametrize("ground", [0.0, 0.05, 0.17, 0.2, 0.5, 1.0])
def test_readable_colors_stand_out_from_any_ground(ground):
    colors = np.vstack([np.random.default_rng(0).uniform(size=(200, 3)), np.eye(3), np.zeros((1, 3)), np.ones((1, 3))])
    shown = readable(colors, ground)
    assert shown.min() >= 0
    assert shown.max() <= 1
    light, dark = (np.maximum, np.minimum)
    found = luminance(shown)
    assert ((light(found, ground) + 0.05) / (dark(found, ground) + 0.05)).min() > CONTRAST - 1e-6
    np.testing.assert_array_equal(readable(colors, None), colors)


def test_one_component_is_a_colormap_over_zero_to_one():
    colors = composition_colors(np.array([[0.0], [1.0]]))
    np.testing.assert_allclose(colors, [[0.267004, 0.004874, 0.329415], [0.993248, 0.906157, 0.143936]])


@pytest.mark.parametrize("k", [2, 4, 7, 16])
def test_pure_components_differ_and_colors_stay_in_range(k):
    pure = composition_colors(np.eye(k))
    distances = np.linalg.norm(pure[:, None] - pure[None], axis=-1) + np.eye(k)
    assert distances.min() > 0.2
    full = composition_colors(np.ones((1, k)))
    assert full.max() == 1
    assert full.min() > 0.7  # all together are near white


def test_unknown_composition():
    some = composition_colors(np.array([[0.1, np.nan, 0.2], [0, 0, 1]]))
    np.testing.assert_allclose(some, [UNKNOWN_COLOR, SAFE_COLORS[2]])
    np.testing.assert_allclose(composition_colors(np.empty((2, 0))), [UNKNOWN_COLOR] * 2)
    assert composition_colors(np.empty((0, 3))).shape == (0, 3)


def test_droplets_are_colored_by_what_is_known_of_them():
    places = np.ones((3, 2))
    p, composition = np.array([0.0, np.nan]), np.array([[1.0, 0, 0], [0, 0, 1]])
    made_of = droplet_colors(Droplets(*places, p_present=p, composition=composition))
    np.testing.assert_allclose(made_of, SAFE_COLORS[[0, 2]])
    np.testing.assert_allclose(droplet_colors(Droplets(*places, p_present=p)), [IMPROBABLE_COLOR, UNKNOWN_COLOR])
    np.testing.assert_allclose(droplet_colors(Droplets(*places, p_present=[1, 1])), [UNKNOWN_COLOR] * 2)
    np.testing.assert_allclose(droplet_colors(Droplets(*places)), [UNKNOWN_COLOR] * 2)
