"""What lies behind the droplets of training images."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from napari_droplets.training.scenes.ground import add_specks, clouds, draw_ground
from napari_droplets.training.scenes.looks import draw_look

SEEDS = range(40)


@pytest.fixture(scope="module")
def grounds():
    looks = [draw_look(np.random.default_rng([3, i])) for i in SEEDS]
    return [(look, draw_ground(np.random.default_rng([4, i]), look, 48)) for i, look in enumerate(looks)]


def test_grounds_are_light_that_droplets_can_change(grounds):
    for _, ground in grounds:
        assert ground.shape == (48, 48, 3)
        assert ground.dtype == np.float32
        assert np.isfinite(ground).all()
        assert ground.min() >= 0


def test_what_emits_light_is_seen_in_the_dark(grounds):
    level = {kind: [np.median(ground) for look, ground in grounds if look.additive == kind] for kind in (True, False)}
    assert len(level[True]) > 2
    assert np.median(level[True]) < 0.2
    assert np.median(level[False]) > 0.4


@pytest.mark.parametrize("length", [2.0, 8.0, 20.0])
def test_clouds_change_over_their_length(length):
    field = clouds(np.random.default_rng(0), 96, length)
    assert field.shape == (96, 96)
    assert field.std() == pytest.approx(1, rel=1e-4)

    def alike(shift):
        return np.mean(field[:, shift:] * field[:, :-shift])

    assert alike(1) > 0.6 * (length > 2)
    assert abs(alike(int(3 * length))) < 0.35
    assert alike(max(1, int(0.25 * length))) > alike(int(length)) + 0.1


def test_specks_are_far_smaller_than_droplets():
    before, typical = np.full((96, 96, 3), 0.5, np.float32), 10.0
    for i in range(6):
        change = (add_specks(np.random.default_rng(i), before, typical) - before)[..., 0]
        assert np.abs(change).max() > 0.1
        # averaging over a piece of a droplet leaves little of them
        assert gaussian_filter(change, 0.4 * typical, mode="wrap").std() < 0.5 * change.std()
