"""Inference: the guide, the loss, and what compiles when."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import ExpTransform, SigmoidTransform, StickBreakingTransform
from numpyro.handlers import replay, seed, trace
from numpyro.infer.util import log_density

import napari_droplets as nd
from napari_droplets.inference import laplace, optimize, posterior, prepare, svi
from napari_droplets.model import generative
from napari_droplets.model.generative import Batch, Form
from napari_droplets.model.optics import initial_weights
from napari_droplets.progress import Clock
from napari_droplets.settings import Settings


@pytest.fixture(scope="module")
def setup():
    """A prepared fit of a small simulated image, and its image."""
    image, truth = nd.simulate((64, 80), 12, radius=5, seed=2)
    work = nd.Image(image)
    start = nd.Droplets(truth.x, truth.y, truth.radius)
    return prepare.prepare(work, start, None, Settings(types=2)), work


def test_pack_and_unpack_are_inverse():
    form = Form(3, 2)
    background = np.random.default_rng(0).normal(size=(form.background_terms, 3))
    shared = svi.Shared(background, np.float32(-3), initial_weights(0, 3, 2))
    back = svi.unpack(svi.pack(shared), form)
    np.testing.assert_allclose(back.background, background, rtol=1e-6)
    assert back.log_noise == -3
    for name, weight in shared.optics.items():
        np.testing.assert_array_equal(back.optics[name], weight)


def test_guide_has_the_densities_it_says(setup):
    """Log density of the guide by site against the distributions written out."""
    state, form = setup[0].state, setup[0].form
    mean, log_sd = state.parameters
    form, anchor, present = setup[0].form, setup[0].anchor, setup[0].prior.present
    sites = trace(seed(svi.guide, 0)).get_trace(state.parameters, anchor, form, present)
    value = {name: site["value"] for name, site in sites.items() if site["type"] == "sample"}
    log_prob = {name: site["fn"].log_prob(value[name]) for name, site in sites.items() if site["type"] == "sample"}
    x0, _, r0 = anchor.T
    loc, sd = mean.droplets, jnp.exp(log_sd.droplets)
    # what is drawn once has the Gaussian's density; the sites computed from it add the change of variables
    got = sum(log_prob[name] for name in ("each", "x", "y", "radius", "composition"))
    want = dist.Normal(x0 + r0 * loc[:, 0], r0 * sd[:, 0]).log_prob(value["x"])
    want += dist.Normal(anchor[:, 1] + r0 * loc[:, 1], r0 * sd[:, 1]).log_prob(value["y"])
    want += dist.LogNormal(jnp.log(r0) + loc[:, 2], sd[:, 2]).log_prob(value["radius"])
    fractions = dist.TransformedDistribution(dist.Normal(loc[:, 3:], sd[:, 3:]), SigmoidTransform())
    want += fractions.log_prob(value["composition"]).sum(-1)
    padded = len(x0) - 12
    assert padded > 0
    np.testing.assert_allclose(got, np.where(present, want, 0), rtol=1e-3, atol=1e-3)

    m, s = svi.unpack(mean.shared, form), svi.unpack(jnp.exp(log_sd.shared), form)
    parts = svi.unpack(value["shared"], form)
    noise = dist.TransformedDistribution(dist.Normal(m.log_noise, s.log_noise), ExpTransform())
    got = dist.Normal(m.log_noise, s.log_noise).log_prob(parts.log_noise) + log_prob["noise"]
    np.testing.assert_allclose(got, noise.log_prob(value["noise"]), rtol=1e-4)
    color = dist.TransformedDistribution(dist.Normal(m.background[0], s.background[0]), SigmoidTransform())
    normal = dist.Normal(m.background[0], s.background[0]).log_prob(parts.background[0]).sum()
    want = color.log_prob(value["background_color"]).sum()
    np.testing.assert_allclose(normal + log_prob["background_color"], want, rtol=1e-4)


@pytest.fixture(scope="module")
def sparse():
    """A prepared fit of an image most of which is empty."""
    image, truth = nd.simulate((96, 112), 6, radius=4, seed=2)
    return prepare.prepare(nd.Image(image), nd.Droplets(truth.x, truth.y, truth.radius), None, Settings(types=2))


def test_every_droplet_and_every_tile_counts_once(sparse):
    """Shares of a droplet add up to one over its tiles; the empty tiles looked at stand for all empty ones."""
    prepared = sparse
    view, n = prepared.problem.view, len(prepared.tiles.corner)
    total, present = len(prepared.problem.corner), np.asarray(prepared.prior.present)
    share = np.zeros(len(present))
    np.add.at(share, view.candidates, view.share)
    np.testing.assert_allclose(share, present, atol=1e-6)
    visited = np.asarray(view.visited)[: int(view.n_tiles)]
    assert len(set(visited.tolist())) == len(visited) < n <= total
    importance = np.asarray(view.importance)[visited]
    assert importance.sum() == pytest.approx(n)
    occupied = np.flatnonzero((np.asarray(view.share) > 0).any(1))
    assert set(occupied) <= set(visited)
    assert (importance[np.isin(visited, occupied)] == 1).all()
    assert importance.max() > 4
    # another number draws other empty tiles
    latents = posterior.mean_latents(jax.device_get(prepared.state.parameters), prepared.anchor, prepared.form)
    drawn = [prepare.look(latents, present, prepared.tiles, total, i).visited for i in (1, 2)]
    assert not np.array_equal(*drawn)


def test_loss_of_batches_is_unbiased(sparse, monkeypatch):
    """The mean over batches is the loss of the image, computed from all droplets and all tiles without views."""
    prepared = sparse
    problem, form, state = prepared.problem, prepared.form, prepared.state
    n = int(problem.view.n_tiles)
    # draws are means, so that those of different batches agree; empty tiles are alike, so that any stand for all

    def mean(self, key, sample_shape=()):
        return jnp.broadcast_to(self.loc, sample_shape + self.batch_shape)

    monkeypatch.setattr(dist.Normal, "sample", mean)
    shared = svi.unpack(state.parameters.mean.shared, form)
    background = np.zeros(shared.background.shape)
    background[0] = 0.3
    means = state.parameters.mean._replace(shared=svi.pack(shared._replace(background=background)))
    parameters = state.parameters._replace(mean=means)
    values = np.array(problem.values)
    values[~(np.asarray(problem.view.share) > 0).any(1)] = 0.5
    problem = problem._replace(values=jnp.asarray(values))

    compiled = jax.jit(partial(svi.negative_elbo, form=form))

    def loss(tiles):
        means = svi.Guide(
            np.zeros((*problem.view.candidates[tiles].shape, 5)), np.zeros(len(state.parameters.mean.shared))
        )
        return float(compiled(means, parameters, tiles, np.float32(n / len(tiles)), problem))

    parts = np.array_split(np.asarray(problem.view.visited)[:n], 4)
    got = np.sum([len(part) * loss(part) for part in parts]) / n

    present = jnp.asarray(prepared.prior.present)
    log_guide, sites = log_density(
        seed(svi.guide, 0), (parameters, jnp.asarray(prepared.anchor), form, present), {}, {}
    )
    tiles = len(prepared.tiles.corner)
    found = posterior.assign(posterior.mean_latents(parameters, prepared.anchor, form), present, prepared.tiles, tiles)
    batch = Batch(
        problem.corner[:tiles], jnp.asarray(found), problem.values[:tiles], problem.weight[:tiles], jnp.ones(())
    )
    fixed = {"optics$params": svi.network_template(form)}
    log_model, _ = log_density(replay(generative.model, sites), (batch, prepared.prior, form), {}, fixed)
    assert got == pytest.approx(float(log_guide - log_model), rel=1e-4)
    assert np.ptp([loss(part) for part in parts]) > 0.01 * abs(got)


def test_a_second_image_traces_nothing():
    """Of another size, with another number of droplets and another seed; the array sizes of both are the same."""
    jitted = (svi.chunk, laplace._pass, laplace._residuals, posterior.render_latents)

    def traced(shape, n, number):
        image, truth = nd.simulate(shape, n, radius=4, seed=number)
        truth = nd.Droplets(truth.x, truth.y, truth.radius)
        nd.fit(image, truth, steps=150, types=2, seed=number, population="given")
        return [f._cache_size() for f in jitted]

    first = traced((64, 72), 14, 0)
    assert min(first) > 0
    assert traced((80, 56), 9, 5) == first


def test_nothing_of_the_image_is_in_the_program():
    """Two images, one program; what is constant in it is small and the same."""

    def programs(shape, n, number):
        image, truth = nd.simulate(shape, n, radius=4, seed=number)
        start = nd.Droplets(truth.x, truth.y, truth.radius)
        p = prepare.prepare(nd.Image(image), start, None, Settings(types=2, seed=number))
        rate, at = np.float32(0.01 * n), np.uint32(number)
        step = jax.make_jaxpr(svi.chunk.__wrapped__, static_argnums=6)(p.state, p.problem, p.free, rate, at, at, p.form)
        mean, blocks = p.state.parameters.mean, np.int32(n)
        look = jax.make_jaxpr(laplace._pass.__wrapped__, static_argnums=6)(
            mean.droplets, mean.shared, p.problem, rate, blocks, np.bool_(number > 0), p.form
        )
        return step, look

    for one, other in zip(programs((64, 72), 14, 0), programs((80, 56), 9, 5), strict=True):
        assert str(one.jaxpr) == str(other.jaxpr)
        for a, b in zip(one.consts, other.consts, strict=True):
            np.testing.assert_array_equal(a, b)
            assert np.size(a) < 1000


def test_steps_lower_the_loss_and_hold_what_is_held(setup):
    prepared, _ = setup
    before = jax.device_get(prepared.state.parameters)
    rates = svi.all_free(len(prepared.anchor), prepared.form)
    rates.droplets[1] = 0
    state = svi.init(before.mean, jax.tree.map(np.exp, before.log_sd))
    seed, first = np.uint32(0), np.uint32(0)
    state, losses = svi.chunk(state, prepared.problem, rates, np.float32(0.01), seed, first, prepared.form)
    after = jax.device_get(state.parameters)
    assert losses.shape == (svi.STEPS_PER_CHUNK,)
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    np.testing.assert_array_equal(after.mean.droplets[1], before.mean.droplets[1])
    np.testing.assert_array_equal(after.log_sd.droplets[1], before.log_sd.droplets[1])
    assert (after.mean.droplets[[0, *range(2, 12)]] != before.mean.droplets[[0, *range(2, 12)]]).all()


def test_buckets_are_few():
    sizes = [svi.bucket(n, 64) for n in range(1, 5000)]
    for n, size in enumerate(sizes, 1):
        assert n <= size <= max(64, 2 * n)
    assert sizes == sorted(sizes)
    assert len(set(sizes)) <= 8
    assert svi.bucket(100, 4096) % laplace.BLOCK == 0


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (2, 4, 6)])
def test_stick_breaking_is_numpyros(shape):
    logits = np.random.default_rng(1).normal(size=shape)
    want = StickBreakingTransform()(jnp.asarray(logits))
    np.testing.assert_allclose(posterior.stick_breaking(logits), want, atol=1e-6)
    np.testing.assert_allclose(posterior.stick_breaking_logits(np.asarray(want, float)), logits, atol=1e-3)


@pytest.mark.parametrize("composition", ["free", "simplex"])
def test_moments_are_those_of_samples(composition):
    rng = np.random.default_rng(2)
    tril = np.tril(rng.normal(size=(2, 5, 5)) * 0.15) + 0.2 * np.eye(5)
    tril[:, 4, 3] = 0.4  # components go together
    guide = {
        "anchor": np.array([[10.0, 20.0, 4.0], [30.0, 5.0, 8.0]]),
        "droplets": np.zeros((2, 5)),
        "droplets_told": rng.normal(size=(2, 5)) * 0.3,
        "droplets_tril": tril,
    }
    table = posterior.droplets(guide, composition)
    draws = posterior.sample_droplets(guide, composition, 40_000, 3)
    for name in ("x", "y", "radius", "composition"):
        np.testing.assert_allclose(getattr(table, name), draws[name].mean(0), rtol=0.02, atol=0.02)
        np.testing.assert_allclose(getattr(table, name + "_sd"), draws[name].std(0), rtol=0.1)
    together = np.corrcoef(draws["x"][:, 0], draws["y"][:, 0])[0, 1]
    covariance = tril[0] @ tril[0].T
    want = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert together == pytest.approx(want, abs=0.03)


def test_images_are_drawn_from_the_posterior_by_the_same_function(setup):
    prepared, _ = setup
    parameters = jax.device_get(prepared.state.parameters)
    drawn = [
        posterior.generate(i, prepared.tiles, prepared.prior, prepared.form, (parameters, prepared.anchor))
        for i in range(2)
    ]
    x = prepared.anchor[:12, 0]
    for image, latents in drawn:
        assert image.shape == (64, 80, 3)
        assert np.abs(np.asarray(latents["x"])[:12] - x).max() < 5  # a tenth of a radius each, not the whole image
    assert np.abs(drawn[0][0] - drawn[1][0]).std() > float(np.exp(-4))


def test_schedule_cools_within_the_time_left():
    schedule = optimize.Schedule(3000, Clock(10))
    assert schedule.rate(0) == optimize.LEARNING_RATE
    assert schedule.rate(3000) == pytest.approx(optimize.LEARNING_RATE * optimize.FINAL_RATE)
    schedule.observe(100, [(50, 0.0, 0.1), (100, -1e9, 0.2)], per_chunk=1.0, values=1.0)
    assert schedule.end <= 600
    assert schedule.stopped == "time"
    assert 100 <= schedule.cooling_from < schedule.end


def test_schedule_ends_when_the_loss_has_settled():
    schedule = optimize.Schedule(100_000, Clock())
    flat = [(50 * i, -1000.0, 0.1 * i) for i in range(1, 40)]
    schedule.observe(1950, flat, per_chunk=0.1, values=1000.0)
    assert schedule.stopped == "settled"
    assert schedule.end < 3000
