"""Who joins and who leaves a fit by what the pixels say."""

import numpy as np
import pytest
from drawn import FORM, NOISE, apart, scene, vacant

import napari_droplets as nd
from napari_droplets.inference.loop import Setup, circles, init
from napari_droplets.inference.population import reconsidered
from napari_droplets.inference.start import Ground
from napari_droplets.inference.steps.droplet_step import Prior
from napari_droplets.model.assignment import covered
from napari_droplets.model.background import SplineGrid
from napari_droplets.model.problem import LEAST_DROPLETS, PLACE

SHAPE = (48, 64)
REAL = apart()
N = REAL.size


def census(real, more=(), off=None, present=True, probability=0.6):
    """A census of the droplets of an image, at the places of truth but for `off` (N, 3), and of more candidates."""
    extra = np.array(more, float).reshape(-1, PLACE)
    x, y, radius = (np.append(a, e) for a, e in zip((real.x, real.y, real.radius), extra.T, strict=True))
    n = len(x)
    mean = np.zeros((n, FORM.dimensions))
    mean[: real.size] = real.raw[: real.size]
    if off is not None:
        mean[: real.size, :PLACE] += off
    anchor = np.array(real.anchor)
    anchor[:n] = np.stack([x, y, radius], -1)
    probability, present = (np.broadcast_to(a, n).copy() for a in (probability, present))
    prior = Prior(np.zeros((n, PLACE)), np.full((n, PLACE), 0.08), np.zeros(n, bool))
    free, grid = np.ones((n, FORM.dimensions), bool), SplineGrid.of(*SHAPE, np.inf)
    setup = Setup(real.image, None, FORM, anchor, prior, probability, free, grid, False, NOISE, 0.0, False, 0)
    empty = ~covered(real.x, real.y, real.radius, SHAPE, 0.8)
    ground = Ground(real.ground, np.zeros((1, 1, 3)), np.zeros((1, 1)), empty)
    state, seen = reconsidered(setup, init(setup, mean, present, real.shared, ground, NOISE))
    return state, seen, np.stack(circles(setup, state.mean), -1)


def test_droplets_that_explain_their_pixels_stay():
    state, seen, found = census(REAL, probability=0.1)
    assert state.present.all()
    assert (seen.worth > 100).all()
    assert (seen.explained > 0.9).all()
    np.testing.assert_allclose(found, np.stack([REAL.x, REAL.y, REAL.radius], -1), atol=0.25)


def test_a_false_candidate_leaves():
    place = vacant(nd.Droplets(REAL.x, REAL.y, REAL.radius), SHAPE)
    state, seen, _ = census(REAL, [(*place, 4.0)], probability=np.append(np.full(N, 0.6), 0.9))
    assert state.present.tolist() == [True] * N + [False]
    assert seen.worth[-1] < -3


def test_a_droplet_that_is_certain_stays_whatever_it_explains():
    place = vacant(nd.Droplets(REAL.x, REAL.y, REAL.radius), SHAPE)
    state, _, _ = census(REAL, [(*place, 4.0)], probability=np.append(np.full(N, 0.6), 1.0))
    assert state.present.all()


def test_a_hidden_droplet_joins():
    there = np.arange(N) != 2
    state, seen, found = census(REAL, present=there, probability=0.1)
    assert state.present.all()
    assert seen.tried.all()
    assert seen.worth[2] > 100
    np.testing.assert_allclose(found[2], [REAL.x[2], REAL.y[2], REAL.radius[2]], atol=0.25)


def test_what_waits_on_the_empty_slide_does_not_join():
    place = vacant(nd.Droplets(REAL.x, REAL.y, REAL.radius), SHAPE)
    there = np.append(np.ones(N, bool), False)
    state, seen, _ = census(REAL, [(*place, 4.0)], present=there, probability=0.2)
    assert state.present.tolist() == there.tolist()
    assert seen.tried[-1]
    assert seen.worth[-1] < 0


def test_the_improbable_are_not_tried():
    there = np.arange(N) != 2
    state, seen, _ = census(REAL, present=there, probability=np.where(there, 0.9, 0.01))
    assert state.present.tolist() == there.tolist()
    assert seen.tried.tolist() == there.tolist()


def test_a_small_one_on_a_droplet_goes():
    twin = (REAL.x[1] + 0.35 * REAL.radius[1], REAL.y[1], 0.6 * REAL.radius[1])
    state, _, found = census(REAL, [twin])
    assert state.present.tolist() == [True] * N + [False]
    np.testing.assert_allclose(found[1], [REAL.x[1], REAL.y[1], REAL.radius[1]], atol=0.3)


def test_of_two_that_share_a_droplet_one_goes():
    """Each could stand for it alone; one of them, not both, leaves."""
    off = np.zeros((N, PLACE))
    off[1] = [-0.12, 0, -0.05]
    twin = (REAL.x[1] + 0.12 * REAL.radius[1], REAL.y[1], 0.93 * REAL.radius[1])
    state, _, _ = census(REAL, [twin], off)
    assert state.present[np.delete(np.arange(N), 1)].all()
    assert state.present[1] + state.present[-1] == 1


def test_large_candidates_that_overlap_leave_and_those_that_they_painted_over_stay():
    """Two heaps taken for droplets: whoever of them leaves first must not keep the other, nor take droplets along."""
    heaps = [(27.0, 22.0, 17.0), (38.0, 26.0, 17.0)]
    there = np.append(np.ones(N, bool), [False, False])
    state, _, found = census(REAL, heaps, present=there, probability=np.append(np.full(N, 0.6), [0.4, 0.3]))
    assert state.present.tolist() == there.tolist()
    np.testing.assert_allclose(found[:N], np.stack([REAL.x, REAL.y, REAL.radius], -1), atol=0.3)


def test_a_close_pair_stays_two():
    pair = scene([15, 18.5, 40, 52], [20, 20, 20, 36], [6, 4, 7, 5], seed=3)
    assert np.hypot(pair.x[0] - pair.x[1], pair.y[0] - pair.y[1]) < 0.7 * pair.radius[0]
    state, _, _ = census(pair)
    assert state.present.all()


@pytest.mark.parametrize("waits", [False, True])
def test_nobody_may_be_left(waits):
    """All candidates of an image lie on the empty slide; that none stays is an answer, not an error."""
    places = [(20.5, 24, 3.0), (41, 23, 3.0)]
    blank = REAL._replace(
        image=REAL.ground + NOISE * np.random.default_rng(0).standard_normal(REAL.ground.shape, np.float32)
    )
    nobody = blank._replace(x=REAL.x[:0], y=REAL.y[:0], radius=REAL.radius[:0])
    state, seen, _ = census(nobody, places, present=not waits, probability=0.3)
    assert not state.present.any()
    assert (seen.worth < 0).all()
    assert len(state.mean) == 2
    assert LEAST_DROPLETS > 2
