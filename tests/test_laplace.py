"""Gauss-Newton steps and the Laplace approximation against derivatives, and against the spread over noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import NOISE, placed, prepared, showing, truth
from numpyro.handlers import seed, substitute, trace

from napari_droplets.inference import laplace, svi
from napari_droplets.model import generative
from napari_droplets.model.assignment import join
from napari_droplets.model.optics import OpticsNetwork, unflatten
from napari_droplets.model.rendering import REACH, Local, render

RENDERERS = ("nearest", "blended", "layered")
CROWD = 4
"""Droplets of the small scene, few enough for every pixel to see all of them."""


def crowded(renderer, composition="free"):
    """A few droplets over one another on a small image, and their parameters some way off the truth."""
    droplets = placed(1, (24, 24), CROWD, radius=4, apart=1.2)
    setup, _ = prepared(droplets, (24, 24), renderer=renderer, composition=composition)
    z, shared = truth(setup)
    off = np.zeros_like(z)
    off[:CROWD] = 0.1 * np.random.default_rng(0).standard_normal((CROWD, z.shape[1]))
    return setup, z + off, shared


class Dense:
    """The image that droplets (n, D) make, every pixel seeing all of them: what `laplace` computes tile by tile."""

    def __init__(self, setup, shared, shape=(24, 24)):
        self.setup, self.form = setup, setup.form
        self.background, _, self.weights = svi.unpack(shared, setup.form)
        h, w = shape
        v, u = np.mgrid[:h, :w]
        self.position = np.stack([u.ravel(), v.ravel()], -1).astype(np.float32)
        self.image = join(setup.tiles.values, shape).reshape(h * w, -1)

    def places(self, z, rows):
        anchor = self.setup.anchor[rows]
        return (
            anchor[:, 0] + anchor[:, 2] * z[:, 0],
            anchor[:, 1] + anchor[:, 2] * z[:, 1],
            anchor[:, 2] * jnp.exp(z[:, 2]),
        )

    def colors(self, z, rows, renderer=None):
        """(P, C) with these rows of the droplets."""
        x, y, radius = self.places(z, rows)
        simplex = self.form.composition == "simplex"
        transform = svi.StickBreakingTransform() if simplex else svi.SigmoidTransform()
        local = Local(x[None], y[None], radius[None], transform(z[:, 3:])[None])
        base = generative.surface_basis(self.position, self.setup.prior.size, self.form) @ self.background

        def network(inputs):
            # slopes leave out that the color of one droplet depends on what lies beneath it
            color = jax.lax.stop_gradient(inputs[..., : self.form.channels])
            inputs = jnp.concatenate([color, inputs[..., self.form.channels :]], -1)
            return OpticsNetwork(self.form.channels).apply({"params": unflatten(self.weights)}, inputs)

        length = self.setup.prior.length
        return render(renderer or self.form.renderer, network, local, self.position[None], base[None], length)[0]

    def square(self, z):
        """(P, n) squared distances in radii."""
        x, y, radius = self.places(z, np.arange(len(z)))
        return ((self.position[:, :1] - x) ** 2 + (self.position[:, 1:] - y) ** 2) / radius**2


@pytest.mark.parametrize("composition", ["free", "simplex"])
@pytest.mark.parametrize("renderer", RENDERERS)
def test_gradient_and_information_are_those_of_the_dense_computation(renderer, composition):
    setup, z, shared = crowded(renderer, composition)
    seen = laplace.evidence(z, shared, setup.problem, NOISE, setup.form)
    dense, rows = Dense(setup, shared), np.arange(CROWD)
    first = jnp.asarray(z[:CROWD])
    square = np.asarray(dense.square(first))
    mine = (np.arange(CROWD) == square.argmin(1)[:, None]) & (square.min(1) < REACH**2)[:, None]  # (P, n)
    jacobian = np.asarray(jax.jit(jax.jacfwd(lambda a: dense.colors(a, rows)))(first))  # (P, C, n, D)
    own = jacobian * mine[:, None, :, None]
    residual = dense.image - np.asarray(dense.colors(first, rows))
    information = np.einsum("pcna,pcnb->nab", own, own) / NOISE**2
    gradient = np.einsum("pcna,pc->na", own, residual) / NOISE**2
    np.testing.assert_allclose(seen.information[:CROWD], information, rtol=2e-3, atol=2e-4 * information.max())
    np.testing.assert_allclose(seen.gradient[:CROWD], gradient, rtol=2e-3, atol=1e-3 * np.abs(gradient).max())
    assert not seen.information[CROWD:].any()
    if renderer == "nearest":  # then it is the gradient of the log likelihood

        def log_likelihood(a):
            return -0.5 * jnp.sum((dense.image - dense.colors(a, rows)) ** 2) / NOISE**2

        whole = np.asarray(jax.jit(jax.grad(log_likelihood))(first))
        np.testing.assert_allclose(seen.gradient[:CROWD], whole, rtol=2e-3, atol=1e-3 * np.abs(whole).max())

    left = np.mean(residual**2, 1) / NOISE**2
    body = mine & (square.min(1) < laplace.BODY**2)[:, None]
    np.testing.assert_allclose(seen.pixels[:CROWD], body.sum(0))
    np.testing.assert_allclose(seen.squares[:CROWD], left @ body, rtol=1e-3)
    assert seen.tiles.sum() == pytest.approx(np.sum(residual**2) / NOISE**2, rel=1e-3)
    for i in rows:
        others = np.delete(rows, i)
        without = dense.image - np.asarray(dense.colors(first[others], others, "nearest"))
        gain = 0.5 * np.sum((without**2 - residual**2)[mine[:, i]]) / NOISE**2
        assert seen.gain[i] == pytest.approx(gain, rel=2e-3, abs=1)


@pytest.fixture(scope="module")
def scene():
    """Droplets well apart, the setup whose parameters are their truth, and the image without noise."""
    return prepared(placed(0))


@pytest.mark.parametrize("renderer", RENDERERS)
def test_polish_finds_the_mode_from_some_way_off(renderer):
    droplets = placed(2)
    setup, _ = prepared(droplets, renderer=renderer)
    z, shared = truth(setup)
    n, d = len(droplets), z.shape[1]
    off = np.zeros_like(z)
    off[:n] = np.array([0.15, -0.1, 0.1, *[0.4] * (d - 3)]) * np.random.default_rng(0).choice([-1, 1], (n, d))
    free = np.ones_like(z)
    belief, _ = laplace.polish(z + off, shared, setup.problem, 0.05, setup.form, free, 12)
    again, _ = laplace.polish(belief.mean, shared, setup.problem, NOISE, setup.form, free, 2)
    sd = np.sqrt(np.einsum("nii->ni", belief.covariance))[:n]
    assert np.abs((again.mean - belief.mean)[:n] / sd).max() < 0.1
    assert np.abs((belief.mean - z)[:n] / sd).max() < 4.5
    assert np.abs(off[:n] / sd).max() > 10


def test_deviations_are_those_over_draws_of_the_noise(scene):
    setup, clean = scene
    z, shared = truth(setup)
    n, free = 6, np.ones_like(z)
    errors = []
    for i in range(32):
        problem = showing(setup, clean, seed=100 + i).problem
        belief, _ = laplace.polish(z, shared, problem, 2 * NOISE, setup.form, free, 3)  # the noise is found
        errors.append((belief.mean - z)[:n] / np.sqrt(np.einsum("nii->ni", belief.covariance))[:n])
    spread = np.sqrt(np.mean(np.square(errors), (0, 1)))  # of each parameter, over 192 values: certain to 5 %
    assert (spread > 0.8).all(), spread
    assert (spread < 1.2).all(), spread
    assert 0.9 < np.sqrt(np.mean(np.square(errors))) < 1.1


def test_what_is_held_does_not_move(scene):
    setup, _ = scene
    z, shared = truth(setup)
    start = z + 0.1
    free = np.ones_like(z)
    free[0] = 0
    free[1, :3] = 0
    belief, _ = laplace.polish(start, shared, setup.problem, NOISE, setup.form, free, 2)
    np.testing.assert_array_equal(belief.mean[0], start[0])
    np.testing.assert_array_equal(belief.mean[1, :3], start[1, :3])
    assert (belief.mean[1, 3:] != start[1, 3:]).all()
    assert (belief.mean[2:6] != start[2:6]).all()
    deviations = np.sqrt(np.einsum("nii->ni", belief.covariance))
    assert deviations[1, :3].max() < 1e-3  # what is held is known, and others need not bear its uncertainty
    assert deviations[2:6].min() > 1e-3


def test_no_step_is_longer_than_allowed(scene):
    setup, _ = scene
    z, shared = truth(setup)
    start = z + np.array([0.8, 0, 0.5, 3, -3, 0])
    belief, _ = laplace.polish(start, shared, setup.problem, NOISE, setup.form, np.ones_like(z), 1)
    longest = np.array([*laplace.LONGEST, laplace.LONGEST[3], laplace.LONGEST[3]])
    step = np.abs(belief.mean - start)[:6]
    assert (step <= longest + 1e-6).all()
    assert (step > 0.999 * longest).any()


def test_misfit_tells_where_the_image_is_spoiled(scene):
    setup, clean = scene
    z, shared = truth(setup)
    spoiled = clean.copy()
    x, y, r = setup.anchor[2]
    rows, columns = slice(int(y - r / 2), int(y + r / 2)), slice(int(x - r / 2), int(x + r / 2))
    spoiled[rows, columns] = 1 - spoiled[rows, columns]
    fair = laplace.evidence(z, shared, setup.problem, NOISE, setup.form)
    problem = showing(setup, spoiled).problem
    bad = laplace.evidence(z, shared, problem, NOISE, setup.form)
    np.testing.assert_allclose(fair.misfit[:6], 1, atol=0.15)
    assert fair.noise == pytest.approx(NOISE, rel=0.1)
    others = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(bad.misfit[others], fair.misfit[others])
    assert bad.misfit[2] > 3
    assert bad.variance[2] > 5 * fair.variance[2]
    lost = fair.lost_with(bad, setup.problem, np.array([2]))
    want = 0.5 * (bad.tiles - fair.tiles).sum() / fair.variance[2]
    assert lost[0] == pytest.approx(want, rel=1e-3)
    deviations = [
        np.sqrt(np.einsum("nii->ni", laplace.polish(z, shared, p, NOISE, setup.form, np.ones_like(z), 1)[0].covariance))
        for p in (setup.problem, problem)
    ]
    assert (deviations[1][2, :3] > 2 * deviations[0][2, :3]).all()


def test_one_bubble_that_the_model_does_not_describe_hardly_spoils_the_image():
    small, large = np.full(100, 80.0), 50_000.0
    pixels = np.r_[small, large, 0]
    squares = np.r_[small * 1.2, large * 30, 0]
    zero = np.zeros(len(pixels))
    none = np.zeros(0)
    seen = laplace.Evidence(zero, zero, squares, pixels, zero, none, none, zero > 0, none > 0, 0.01, 0.01)
    assert seen.mean_square(np.arange(100)) == pytest.approx(1.2)
    expected = (100 * 80 * 1.2 + 800 * 30) / (100 * 80 + 800)
    assert seen.mean_square() == pytest.approx(expected)
    assert seen.mean_square(np.array([101])) == 0


def test_an_image_without_a_whole_tile_keeps_its_noise(scene):
    """After a local refit in a corner there may be none."""
    setup, _ = scene
    z, shared = truth(setup)
    weight = np.array(setup.problem.weight)
    weight[:, -1] = 0
    seen = laplace.evidence(z, shared, setup.problem._replace(weight=weight), NOISE, setup.form)
    assert seen.noise == NOISE


@pytest.mark.parametrize("composition", ["free", "simplex"])
def test_prior_is_numpyros(composition):
    """Its slope is that of the log density in unconstrained space, its precision the curvature, bounded."""
    setup, _ = prepared(placed(3), composition=composition, types=3)
    form, problem = setup.form, setup.problem
    prior = problem.prior._replace(
        position_sd=np.full(len(setup.anchor), 0.7, np.float32), x=np.asarray(problem.prior.x) + 0.3
    )
    problem = problem._replace(prior=prior)
    z = truth(setup)[0].copy()
    z[:6] += np.random.default_rng(0).normal(0, 0.7, z[:6].shape)
    z[5, 3:] = 6  # far out, where the density is flat
    x0, y0, r0 = setup.anchor.T
    transform = svi.StickBreakingTransform() if composition == "simplex" else svi.SigmoidTransform()
    tile = generative.Batch(jnp.zeros((1, 2)), jnp.zeros((1, 1), int), None, jnp.ones((1, 1)), jnp.ones(()))

    def log_prior(a):
        made_of = transform(a[:, 3:])
        sites = {
            "x": x0 + r0 * a[:, 0],
            "y": y0 + r0 * a[:, 1],
            "radius": r0 * jnp.exp(a[:, 2]),
            "composition": made_of,
        }
        drawn = trace(seed(substitute(generative.model, data=sites), 0)).get_trace(tile, prior, form)
        stretch = transform.log_abs_det_jacobian(a[:, 3:], made_of)
        stretch = stretch if composition == "simplex" else stretch.sum(-1)
        of_droplets = sum(drawn[name]["fn"].log_prob(drawn[name]["value"])[:6].sum() for name in sites)
        return of_droplets + stretch[:6].sum() + a[:6, 2].sum()

    mean, precision = laplace.prior_belief(problem, z, form)
    slope = np.einsum("nij,nj->ni", precision, mean - z)[:6]
    np.testing.assert_allclose(slope, jax.jit(jax.grad(log_prior))(z)[:6], rtol=1e-3, atol=1e-3)

    @jax.jit
    def bent(direction):
        """Second derivatives (N, D); droplets do not know of one another."""
        return jax.jvp(jax.grad(log_prior), (jnp.asarray(z),), (direction,))[1]

    each = np.eye(z.shape[1], dtype=np.float32)
    curvature = -np.stack([bent(np.broadcast_to(e, z.shape))[:6, k] for k, e in enumerate(each)], -1)
    got = np.einsum("nii->ni", precision)[:6]
    np.testing.assert_allclose(got[:, :3], curvature[:, :3], rtol=1e-3)
    flat = curvature[:, 3:] < laplace.LEAST_CURVATURE
    np.testing.assert_allclose(got[:, 3:][~flat], curvature[:, 3:][~flat], rtol=1e-3, atol=1e-4)
    assert flat.any()
    assert (got[:, 3:][flat] == laplace.LEAST_CURVATURE).all()
