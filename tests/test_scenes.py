import numpy as np
import pytest

from napari_droplets.training.scenes import RADII, scene
from napari_droplets.training.scenes.looks import draw_look, outline

SEEDS = range(60)


@pytest.fixture(scope="module")
def scenes():
    return [scene(np.random.default_rng([9, i]), 64) for i in SEEDS]


def test_every_scene_is_an_image_with_a_truth(scenes):
    for image, truth in scenes:
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert 0 <= image.min() <= image.max() <= 1
        assert truth.shape[1] == 3
        assert np.isfinite(truth).all()
        assert np.all((truth[:, 2] >= RADII[0]) & (truth[:, 2] <= RADII[1]))


def test_scenes_are_of_many_kinds(scenes):
    counts = np.array([len(truth) for _, truth in scenes])
    assert (counts == 0).any()
    assert (counts > 40).any()
    gray = [bool(np.all(image[..., :1] == image)) for image, _ in scenes]
    assert 0.1 < np.mean(gray) < 0.7
    bright = [float(np.median(image)) for image, _ in scenes]
    assert min(bright) < 0.15
    assert max(bright) > 0.7


def test_a_scene_depends_on_its_seed_alone():
    first, again, other = (scene(np.random.default_rng(s), 64) for s in (4, 4, 5))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert np.abs(first[0] - other[0]).max() > 0.01


def test_droplets_differ_from_their_surroundings_where_the_truth_says(scenes):
    """Shuffling which truth belongs to which image must make it worse."""

    def edge(image, truth):
        v, u = np.mgrid[:64, :64]
        steep = np.hypot(*np.gradient(image.mean(-1)))
        ring = np.zeros((64, 64), bool)
        for x, y, r in truth:
            ring |= np.abs(np.hypot(u - x, v - y) - r) < 0.7
        return steep[ring].mean() / max(steep.mean(), 1e-6) if ring.any() else np.nan

    crowd = [(image, truth) for image, truth in scenes if 3 <= len(truth) < 100]
    own = np.nanmedian([edge(*pair) for pair in crowd])
    others = np.nanmedian([edge(crowd[i][0], crowd[i - 1][1]) for i in range(len(crowd))])
    assert own > 1.25 * others


def test_a_wavy_outline_encloses_the_area_of_its_circle():
    v, u = np.mgrid[-2:2:801j, -2:2:801j].astype(np.float32)
    waves = np.array([[[0.2, 0.05], [0.05, -0.04], [0.0, 0.03]], [[0, 0], [0, 0], [0, 0]]], np.float32)
    d = outline(np.stack([u, u]), np.stack([v, v]), waves)
    area = (d < 1).sum((1, 2)) * (4 / 800) ** 2
    np.testing.assert_allclose(area, np.pi, rtol=0.003)


def test_looks_reach_no_farther_than_they_say():
    from napari_droplets.training.scenes.looks import change

    for i in range(40):
        look = draw_look(np.random.default_rng(i))
        u = np.array([[[look.reach + 0.3]]], np.float32)
        zero, one = np.zeros_like(u), np.ones(1, np.float32)
        mixture = np.full((1, len(look.dyes)), 1 / len(look.dyes), np.float32)
        cover, light = change(look, u, zero, u, 10 * one, 0.1 * one, mixture, one, zero)
        assert cover.max() < 0.01
        assert np.abs(light).max() < 0.15
