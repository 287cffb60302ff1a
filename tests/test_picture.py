"""Whole images: each pixel is what the forward model says of it."""

import jax
import numpy as np
import pytest
from drawn import BLUR, crowd, optics

from napari_droplets.model.assignment import REACH, SEEN
from napari_droplets.model.outline import GLOW_REACH
from napari_droplets.model.picture import draw
from napari_droplets.model.problem import FAR
from napari_droplets.model.rendering import Droplet, color
from napari_droplets.transforms import constrained

SHAPE = (48, 64)


def pixel_by_pixel(scene, shared, reach, renderer):
    """Every pixel drawn with the nearest droplet within reach and the next one whose outline is seen, without lists."""
    v, u = (a.ravel().astype(np.float32) for a in np.mgrid[: SHAPE[0], : SHAPE[1]])
    edge = np.hypot(BLUR, 12**-0.5)
    away = np.hypot(u[:, None] - scene.x, v[:, None] - scene.y)
    listed = away <= np.maximum(reach * scene.radius, scene.radius + SEEN * edge)
    order = np.argsort(np.where(listed, away / scene.radius, np.inf))
    first, second = np.where(np.take_along_axis(listed, order, 1), order, scene.size)[:, :2].T
    seen = np.append(away < scene.radius + SEEN * edge, np.zeros((len(u), 1), bool), 1)
    second = np.where(seen[np.arange(len(u)), second] & (renderer == "layered"), second, scene.size)
    columns = np.concatenate([[scene.x, scene.y, scene.radius], constrained(scene.raw[: scene.size, 3:].T, "free")])
    columns = np.float32(np.append(columns, [[FAR], [FAR], [1], [0.5], [0.5], [0.5]], 1))
    both = [Droplet(*columns[:3, k], columns[3:, k]) for k in (first, second)]
    drawn = jax.jit(color)(*both, scene.ground.reshape(-1, 3).T, np.stack([u, v]), shared)[0]
    return np.asarray(drawn).T.reshape(*SHAPE, 3)


@pytest.mark.parametrize("renderer", ["layered", "nearest"])
@pytest.mark.parametrize(("glow", "reach"), [(0.0, REACH), (0.02, GLOW_REACH)])
def test_draw_is_color_at_every_pixel(glow, reach, renderer):
    scene = crowd(noise=0)
    scene = scene._replace(x=scene.x + 0.01 * scene.radius)  # no pixel is as near to two
    shared = optics(glow=glow)
    composition = constrained(scene.raw[: scene.size, 3:].T, "free").T
    found = draw(scene.x, scene.y, scene.radius, composition, scene.ground, shared, renderer)
    np.testing.assert_allclose(found, np.clip(pixel_by_pixel(scene, shared, reach, renderer), 0, 1), atol=1e-5)
    assert np.abs(found - scene.ground).max() > 0.2


def test_droplets_at_and_beyond_the_border():
    ground = np.full((20, 30, 3), 0.6, np.float32)
    x, y, radius = np.array([-2.0, 31, 15, 200]), np.array([5.0, 21, -3, 5]), np.array([5.0, 4, 6, 5])
    whole = draw(x, y, radius, np.full((4, 3), 0.3), ground, optics())
    large = draw(x + 20, y + 20, radius, np.full((4, 3), 0.3), np.full((60, 70, 3), 0.6, np.float32), optics())
    np.testing.assert_allclose(whole, large[20:40, 20:50], atol=1e-5)
    assert np.abs(whole[5, 0] - 0.6).max() > 0.05
    assert np.abs(whole[0, 15] - 0.6).max() > 0.05


def test_no_droplets_are_the_empty_slide():
    ground = np.random.default_rng(0).uniform(0, 1, (9, 7, 3)).astype(np.float32)
    none = np.zeros(0)
    drawn = draw(none, none, none, np.zeros((0, 3)), ground, optics())
    np.testing.assert_array_equal(drawn, ground)
    far = draw(np.array([FAR]), np.array([FAR]), np.ones(1), np.full((1, 3), 0.5), ground, optics())
    np.testing.assert_array_equal(far, ground)
