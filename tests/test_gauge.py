"""The gauge of places and radii: moves that change no color, and where they lead."""

import jax
import numpy as np
import pytest
from drawn import placed, prepared

from napari_droplets.inference import gauge, posterior
from napari_droplets.inference.laplace import Evidence

N = 6
MOVE = gauge.Move(0.05, -0.1, 1.2)


@pytest.fixture(scope="module")
def setup():
    return prepared(placed(0))[0]


def parameters_of(setup):
    return jax.device_get(setup.state.parameters)


def test_a_move_changes_no_color(setup):
    """Within half of the reach, where nothing fades, the rendering stays as it was."""
    parameters = parameters_of(setup)
    images, places = [], []
    for p in (parameters, gauge.regauge(parameters, MOVE, setup.form)):
        latents = posterior.mean_latents(p, setup.anchor, setup.form)
        places.append(np.stack([latents[k][:N] for k in ("x", "y", "radius")]))
        images.append(posterior.render_image(latents, setup.tiles, setup.prior, setup.form))
    (x, y, r), moved = places
    np.testing.assert_allclose(moved, [x + 0.05 * r, y - 0.1 * r, 1.2 * r], rtol=1e-5)
    v, u = np.mgrid[:48, :64]
    away = np.sort(np.sqrt((u[..., None] - x) ** 2 + (v[..., None] - y) ** 2) / r, -1)
    near = (away[..., 0] < 1.4) & (away[..., 1] > 2)
    assert near.sum() > 200
    np.testing.assert_allclose(images[1][near], images[0][near], atol=2e-3)
    assert np.ptp(images[0][near]) > 0.2


def test_moves_are_undone(setup):
    parameters = parameters_of(setup)
    moved = gauge.regauge(parameters, MOVE, setup.form)
    back = gauge.regauge(moved, gauge.Move(-0.05 / 1.2, 0.1 / 1.2, 1 / 1.2), setup.form)
    np.testing.assert_allclose(back.mean.droplets, parameters.mean.droplets, atol=1e-5)
    np.testing.assert_allclose(back.mean.shared, parameters.mean.shared, atol=1e-5)
    np.testing.assert_allclose(back.log_sd.shared, parameters.log_sd.shared, atol=1e-5)
    assert np.abs(moved.mean.shared - parameters.mean.shared).max() > 0.01


def proposed(setup, factor, sd, x=0.0):
    """The prior where the network proposes radii larger by a factor, with this deviation, and places x radii aside."""
    x0, _, r0 = setup.anchor.T
    log_radius = np.log(r0) + np.float32(np.log(factor))
    return setup.prior._replace(
        x=x0 + np.float32(x) * r0, log_radius=log_radius, log_radius_sd=np.full(len(r0), sd, np.float32)
    )


def drifted(setup):
    """Parameters after all droplets have drifted together, and the tie to where they came from."""
    parameters = parameters_of(setup)
    return gauge.regauge(parameters, MOVE, setup.form), parameters.mean.droplets


@pytest.mark.parametrize(("trust", "radius"), [(1.0, 1.0), (0.0, 0.8), (0.5, 0.8**0.5)])
def test_optics_and_proposals_are_weighed(setup, trust, radius):
    """Once where both want them, nothing more is wanted."""
    parameters, first = drifted(setup)
    prior, tie = proposed(setup, 0.8, 0.1, x=0.2), gauge.Tie(first, setup.state.parameters.mean.shared, trust)
    move = gauge.wanted(parameters, setup.anchor, prior, tie)
    tied = gauge.regauge(parameters, move, setup.form)
    np.testing.assert_allclose(np.exp(tied.mean.droplets[:N, 2]), radius, rtol=1e-4)
    x = first[:N, 0] + (1 - trust) * 0.2
    np.testing.assert_allclose(tied.mean.droplets[:N, 0], x, atol=1e-4)
    if trust in (0, 1):
        np.testing.assert_allclose(gauge.wanted(tied, setup.anchor, prior, tie), (0, 0, 1), atol=1e-4)


def test_vague_proposals_say_nothing(setup):
    parameters, first = drifted(setup)
    told = [
        gauge.wanted(
            parameters, setup.anchor, proposed(setup, factor, 0.5), gauge.Tie(first, parameters.mean.shared, 0.3)
        )
        for factor in (0.8, 1.0)
    ]
    assert told[0] == told[1]
    assert told[0].radius == pytest.approx(1 / 1.2, rel=1e-4)


def test_a_few_droplets_are_left_alone(setup):
    parameters, first = drifted(setup)
    prior = proposed(setup, 0.8, 0.1)
    present = np.arange(len(prior.present)) < gauge.ENOUGH - 1
    move = gauge.wanted(
        parameters, setup.anchor, prior._replace(present=present), gauge.Tie(first, parameters.mean.shared, 0.0)
    )
    assert move == (0, 0, 1)


def test_the_largest_move_is_bounded(setup):
    parameters, first = drifted(setup)
    move = gauge.wanted(
        parameters, setup.anchor, proposed(setup, 9.0, 0.1), gauge.Tie(first, parameters.mean.shared, 0.0)
    )
    assert move.radius == gauge.BOUNDS[1]


def seen(explained, left):
    """Evidence of an image of which droplets explain so many squares and leave so many, beyond the noise."""
    one = np.ones(1)
    return Evidence(
        information=np.zeros((1, 6, 6)),
        gradient=np.zeros((1, 6)),
        squares=one,
        pixels=one,
        gain=explained / 2 * one,
        tiles=np.ones(10),
        shared=np.full(10, left / 10),
        odd=np.zeros(1, bool),
        plain=np.ones(10, bool),
        unit=0.02,
        noise=0.02,
    )


def test_optics_are_trusted_as_far_as_they_explain():
    whole, much, little, nothing = (gauge.trust(seen(*parts)) for parts in ((1e4, 0), (9e3, 1e3), (1e3, 9e3), (0, 1e4)))
    assert whole == gauge.trust(seen(1e4, -50.0)) == 1
    assert much == pytest.approx(2 * 9 / 13 - 1)  # a tenth of 0.2 against the 3 % that proposals are uncertain by
    assert little == nothing == 0  # they would count for less than the proposals
