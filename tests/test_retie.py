"""Droplets tied anew: the light and the blur that an image was drawn with are found from some way off."""

import jax
import numpy as np
import pytest
from drawn import NOISE, placed, prepared, truth

from napari_droplets.files import read_optics
from napari_droplets.inference import gauge, laplace, retie, svi, view
from napari_droplets.inference.start import LOOKS, turned

N = 12


@pytest.fixture(scope="module")
def scene():
    """A setup whose parameters are the truth, drawn with the second look, and optics from sharp to blurred."""
    setup, _ = prepared(placed(3, (96, 96), N), (96, 96), noise=NOISE / 2)
    looks = [read_optics(LOOKS / f"dyed{k}_3.safetensors").weights for k in range(4)]
    return setup, looks


def common(setup, droplets):
    """Median shift of x, y and log radius from the truth, in radii."""
    right, _ = truth(setup)
    return np.nanmedian(droplets[:N, :3] - right[:N, :3], 0)


def wrong(setup, weights, noise=NOISE / 2):
    """A tie to where optics see droplets that are not those of the image."""
    droplets, shared = truth(setup)
    other = svi.pack(svi.unpack(shared, setup.form)._replace(optics=weights))
    belief, seen = laplace.polish(droplets, other, setup.problem, noise, setup.form, setup.free.droplets, 3)
    return gauge.Tie(belief.mean, other, gauge.trust(seen))


@pytest.mark.parametrize("angle", [-14.0, 9.0, 20.0])
def test_light_is_found(scene, angle):
    setup, looks = scene
    off = [turned(weights, np.radians(angle), 3) for weights in looks]
    tie = wrong(setup, off[1])
    found = retie.retied(tie, off, 1, setup.problem, NOISE / 2, setup.form, setup.free.droplets)
    before, after = (np.abs(common(setup, t.droplets)) for t in (tie, found))
    assert before[:2].max() > 0.02
    assert after.max() < 0.006
    assert found.trust > tie.trust


@pytest.mark.parametrize("at", [0, 2, 3])
def test_blur_is_found(scene, at):
    setup, looks = scene
    tie = wrong(setup, looks[at])
    found = retie.retied(tie, looks, at, setup.problem, NOISE / 2, setup.form, setup.free.droplets)
    before, after = (np.abs(common(setup, t.droplets)) for t in (tie, found))
    assert after.max() < max(0.5 * before.max(), 0.003)


def test_between_two_blurs_radii_lie_between():
    assert retie._lowest([4.0, 4.0], 1.0) == 0
    assert retie._lowest([4.0, 2.0], 1.0) == pytest.approx(0.25)
    assert retie._lowest([1.0, 9.0], 1.0) == pytest.approx(-0.5)
    assert retie._lowest([np.inf, 2.0], 1.0) == 0  # nothing is known of one side
    assert retie._lowest([1.0, 1.0], 2.0) == 0  # no lowest point


def test_given_optics_are_taken_as_they_are(scene):
    setup, looks = scene
    off = turned(looks[1], np.radians(9), 3)
    tie = wrong(setup, off)
    found = retie.retied(tie, [off], 0, setup.problem, NOISE / 2, setup.form, setup.free.droplets)
    np.testing.assert_array_equal(found.shared, tie.shared)
    np.testing.assert_allclose(common(setup, found.droplets), common(setup, tie.droplets), atol=2e-3)


def test_only_some_tiles_are_looked_at(scene, monkeypatch):
    setup, looks = scene
    monkeypatch.setattr(view, "PART", 60)
    few, whole = view.part_of(setup.problem)
    assert np.asarray(few.weight).any(1).sum() == 60
    assert 0 < whole[:N].sum() < N
    assert not whole[N:].any()
    tie = gauge.Tie(*truth(setup), 1.0)
    found = retie.retied(tie, looks, 1, setup.problem, NOISE / 2, setup.form, setup.free.droplets)
    known = np.isfinite(found.droplets).all(1)
    np.testing.assert_array_equal(known, whole)
    assert np.abs(common(setup, found.droplets)).max() < 0.01
    move = gauge.wanted(parameters_of(setup), setup.anchor, setup.prior, found)
    assert np.isfinite(move).all()


def parameters_of(setup):

    return jax.device_get(setup.state.parameters)


def test_a_droplet_of_another_look_does_not_decide_about_the_optics(scene):
    setup, _ = scene
    droplets, shared = truth(setup)
    right = laplace.evidence(droplets, shared, setup.problem, NOISE / 2, setup.form)
    assert right.unexplained < 0.01
    spoiled = np.array(droplets)
    spoiled[0, :2] += 3.0  # a droplet where there is none, in the place of one
    seen = laplace.evidence(spoiled, shared, setup.problem, NOISE / 2, setup.form)
    assert seen.odd.sum() == 1
    whole = seen._replace(plain=np.ones_like(seen.plain), odd=np.zeros_like(seen.odd))
    assert whole.unexplained > 3 * seen.unexplained
