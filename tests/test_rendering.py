"""The forward model: which droplet lies over which, and what leaves no trace."""

import jax
import numpy as np
import pytest
from drawn import optics

from napari_droplets.model import rendering
from napari_droplets.model.outline import GLOW_REACH
from napari_droplets.model.problem import FAR, Form, placed
from napari_droplets.model.rendering import Droplet
from napari_droplets.transforms import constrained

color, layer = jax.jit(rendering.color), jax.jit(rendering.layer)
POSITION = np.float32(np.mgrid[:32, :40].reshape(2, -1)[::-1])  # x, y
P = POSITION.shape[1]
GROUND = np.float32(np.random.default_rng(0).uniform(0.5, 0.9, (3, P)))


def droplet(x, y, radius, seed=0):
    made_of = np.random.default_rng(seed).uniform(0.1, 0.9, 3)
    return Droplet(*(np.full(P, a, np.float32) for a in (x, y, radius)), np.repeat(np.float32(made_of)[:, None], P, 1))


LARGE, SMALL = droplet(18, 15, 10, 1), droplet(24, 15, 6, 2)
NONE = Droplet(*(np.full(P, a, np.float32) for a in (FAR, FAR, 1)), np.full((3, P), 0.5, np.float32))


def distance(d):
    return np.hypot(POSITION[0] - d.x, POSITION[1] - d.y)


def test_the_smaller_one_lies_over_the_larger():
    shared = optics()
    shared.optics["Dense_3.kernel"] = 3 * shared.optics["Dense_3.kernel"]  # looks that differ much
    over = np.asarray(layer(layer(GROUND, LARGE, POSITION, shared), SMALL, POSITION, shared))
    under = np.asarray(layer(layer(GROUND, SMALL, POSITION, shared), LARGE, POSITION, shared))
    assert np.abs(over - under).max() > 0.05
    for first, second in ((SMALL, LARGE), (LARGE, SMALL)):
        found, without = color(first, second, GROUND, POSITION, shared)
        np.testing.assert_allclose(found, over, atol=1e-6)
        np.testing.assert_allclose(without, layer(GROUND, second, POSITION, shared), atol=1e-6)


def test_far_droplets_leave_no_trace():
    shared = optics(glow=0.02)
    alone = np.asarray(layer(GROUND, LARGE, POSITION, shared))
    for pair in ((LARGE, NONE), (NONE, LARGE)):
        np.testing.assert_allclose(color(*pair, GROUND, POSITION, shared)[0], alone, atol=1e-6)
    np.testing.assert_allclose(color(NONE, NONE, GROUND, POSITION, shared)[0], GROUND, atol=1e-6)
    away = distance(LARGE) > GLOW_REACH * 10
    assert away.sum() > 10
    np.testing.assert_array_equal(alone[:, away], GROUND[:, away])


def test_optics_draw_inside_of_the_outline_alone():
    drawn = np.asarray(layer(GROUND, LARGE, POSITION, optics()))
    assert np.abs(drawn - GROUND)[:, distance(LARGE) < 9].mean() > 0.05
    beyond = distance(LARGE) > 10 + 5  # six standard deviations of the edge
    np.testing.assert_allclose(drawn[:, beyond], GROUND[:, beyond], atol=1e-5)


def test_a_glow_is_weak_and_outside():
    """With coefficients of one prior deviation around a droplet seen plain; it adds to the ground, whatever that is."""
    bare, shining = optics(), optics(glow=0.01)
    change = np.asarray(layer(GROUND, LARGE, POSITION, shining) - layer(GROUND, LARGE, POSITION, bare))
    assert 0.005 < np.abs(change).max() < 0.06
    inside = distance(LARGE) < 10 - 4
    assert np.abs(change[:, inside]).max() < 1e-4
    darker = np.float32(GROUND * 0.5)
    again = np.asarray(layer(darker, LARGE, POSITION, shining) - layer(darker, LARGE, POSITION, bare))
    np.testing.assert_allclose(again, change, atol=1e-5)


def test_the_edge_moves_with_the_blur():
    def width(blur):
        shared = optics()._replace(log_blur=np.float32(np.log(blur)))
        change = np.abs(np.asarray(layer(GROUND, LARGE, POSITION, shared)) - GROUND).sum(0)
        return np.count_nonzero(change[np.abs(distance(LARGE) - 12) < 0.7] > 0.01)

    assert width(0.3) < width(2.5)


@pytest.mark.parametrize("at", [0.0, 1e-4, 1e3, 1e4])
def test_gradients_are_finite_in_the_middle_and_far_away(at):
    position = np.float32([[at], [0.0]])
    ground = np.zeros((3, 1), np.float32)  # black, where logits end

    def drawn(raw, shared):
        anchor = np.zeros((3, 1), np.float32) + np.float32([[0], [0], [5]])
        return rendering.layer(ground, placed(raw, anchor, Form(3, 3)), position, shared).sum()

    slopes = jax.jit(jax.grad(drawn, (0, 1)))(np.zeros((6, 1), np.float32), optics(glow=0.01))
    for slope in jax.tree.leaves(slopes):
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("composition", ["free", "simplex"])
def test_unconstrained_numbers_are_offsets_in_radii_log_radius_and_composition(composition):
    form = Form(3, 3, composition)
    raw = np.float32(np.random.default_rng(1).normal(0, 0.3, (form.dimensions, 4)))
    anchor = np.float32([[5, 6, 7, 8], [1, 2, 3, 4], [2, 3, 4, 5]])
    found = jax.jit(placed, static_argnums=2)(raw, anchor, form)
    np.testing.assert_allclose(found.x, anchor[0] + anchor[2] * raw[0], rtol=1e-6)
    np.testing.assert_allclose(found.y, anchor[1] + anchor[2] * raw[1], rtol=1e-6)
    np.testing.assert_allclose(np.log(found.radius / anchor[2]), raw[2], atol=1e-6)
    np.testing.assert_allclose(found.composition, constrained(raw[3:], composition), rtol=1e-5)
