import numpy as np
import pytest

from napari_droplets.colors import IMPROBABLE_COLOR, UNKNOWN_COLOR, composition_colors, droplet_colors
from napari_droplets.droplets import Droplets


def test_three_components_are_rgb():
    composition = np.random.default_rng(0).uniform(size=(20, 3))
    np.testing.assert_allclose(composition_colors(composition), composition, atol=1e-12)


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
    assert full.min() > 0.8  # evenly spaced hues add up to near white, exactly only for even k and 3


def test_unknown_composition():
    some = composition_colors(np.array([[0.1, np.nan, 0.2], [0, 0, 1]]))
    np.testing.assert_allclose(some, [UNKNOWN_COLOR, (0, 0, 1)])
    np.testing.assert_allclose(composition_colors(np.empty((2, 0))), [UNKNOWN_COLOR] * 2)
    assert composition_colors(np.empty((0, 3))).shape == (0, 3)


def test_droplets_are_colored_by_what_is_known_of_them():
    places = np.ones((3, 2))
    p, composition = np.array([0.0, np.nan]), np.array([[1.0, 0, 0], [0, 0, 1]])
    np.testing.assert_allclose(droplet_colors(Droplets(*places, p_present=p, composition=composition)), composition)
    np.testing.assert_allclose(droplet_colors(Droplets(*places, p_present=p)), [IMPROBABLE_COLOR, UNKNOWN_COLOR])
    np.testing.assert_allclose(droplet_colors(Droplets(*places, p_present=[1, 1])), [UNKNOWN_COLOR] * 2)
    np.testing.assert_allclose(droplet_colors(Droplets(*places)), [UNKNOWN_COLOR] * 2)
