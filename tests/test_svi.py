"""Inference: the guide, the loss, the gauge, and what compiles when."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions.transforms import ExpTransform, SigmoidTransform, StickBreakingTransform
from numpyro.handlers import seed, trace

import napari_droplets as nd
from napari_droplets.inference import gauge, optimize, population, posterior, svi
from napari_droplets.inference.clock import Clock
from napari_droplets.inference.fit import run
from napari_droplets.inference.settings import Settings
from napari_droplets.model.generative import Batch, Form
from napari_droplets.model.optics import initial_weights


@pytest.fixture(scope="module")
def setup():
    """A prepared fit of a small simulated image, and its image."""
    image, truth = nd.simulate((64, 80), 12, radius=5, seed=2)
    work = nd.Image(image)
    start = nd.Droplets(truth.x, truth.y, truth.radius)
    return optimize.prepare(work, start, None, Settings(types=2)), work


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


def test_loss_of_batches_is_unbiased(setup):
    """The mean over all batches of one draw is the loss with every tile in one batch."""
    prepared = setup[0]
    problem, form, n = prepared.problem, prepared.form, int(prepared.problem.n_tiles)
    arrays = (problem.corner, problem.candidates, problem.values, problem.weight)

    def loss(index):
        scale = jnp.float32(n / len(index))
        batch = Batch(*(a[jnp.asarray(index)] for a in arrays), scale)
        return svi.negative_elbo(jax.random.key(0), prepared.state.parameters, batch, problem, form)

    parts = [float(loss(np.arange(start, start + 20))) for start in range(0, n, 20)]
    assert n % 20 == 0
    assert np.mean(parts) == pytest.approx(float(loss(np.arange(n))), rel=1e-4)


def test_second_image_compiles_nothing():
    def run(shape, n, seed):
        image, _ = nd.simulate(shape, n, radius=4, seed=seed)
        return nd.fit(image, steps=50, types=2, seed=seed)

    run((64, 72), 14, 0)
    before = (svi.chunk._cache_size(), posterior.render_latents._cache_size(), posterior.sample_latents._cache_size())
    run((72, 60), 9, 5)
    after = (svi.chunk._cache_size(), posterior.render_latents._cache_size(), posterior.sample_latents._cache_size())
    assert after == before


def test_buckets_are_few_and_waste_little():
    sizes = [svi.bucket(n, 64) for n in range(1, 5000)]
    for n, size in enumerate(sizes, 1):
        assert n <= size <= max(64, n * 1.25)
    assert sizes == sorted(sizes)
    assert len(set(sizes)) <= 30
    assert posterior.padded_tiles(3010) % posterior.BLOCK == 0


@pytest.mark.parametrize("shape", [(5, 1), (5, 3), (2, 4, 6)])
def test_stick_breaking_is_numpyros(shape):
    logits = np.random.default_rng(1).normal(size=shape)
    want = StickBreakingTransform()(jnp.asarray(logits))
    np.testing.assert_allclose(posterior.stick_breaking(logits), want, atol=1e-6)
    np.testing.assert_allclose(posterior.stick_breaking_logits(np.asarray(want, float)), logits, atol=1e-3)


@pytest.mark.parametrize("composition", ["free", "simplex"])
def test_moments_are_those_of_samples(composition):
    rng = np.random.default_rng(2)
    guide = {
        "anchor": np.array([[10.0, 20.0, 4.0], [30.0, 5.0, 8.0]]),
        "droplets": rng.normal(size=(2, 5)) * 0.3,
        "droplets_log_sd": np.full((2, 5), np.log(0.3)),
    }
    table = posterior.droplets(guide, composition)
    draws = posterior.sample_droplets(guide, composition, 40_000, 3)
    for name in ("x", "y", "radius", "composition"):
        np.testing.assert_allclose(getattr(table, name), draws[name].mean(0), rtol=0.02, atol=0.02)
        np.testing.assert_allclose(getattr(table, name + "_sd"), draws[name].std(0), rtol=0.1)


def test_moving_to_the_outline_changes_no_color(setup):
    """Within half of the reach, where nothing fades, the rendering is the same after a change of gauge."""
    prepared, work = setup
    parameters = jax.device_get(prepared.state.parameters)
    circle = gauge.Outline(0.05, -0.1, 1.2)
    moved = gauge.regauge(parameters, circle, prepared.form)
    images, located = [], []
    for p in (parameters, moved):
        latents = posterior.mean_latents(p, prepared.anchor, prepared.form)
        located.append(latents)
        images.append(posterior.render_image(latents, prepared.tiles, prepared.prior, prepared.form))
    x, y, r = (located[0][k][:12] for k in ("x", "y", "radius"))
    np.testing.assert_allclose(located[1]["radius"][:12], 1.2 * r, rtol=1e-5)
    np.testing.assert_allclose(located[1]["x"][:12], x + 0.05 * r, rtol=1e-5)
    v, u = np.mgrid[: work.shape[0], : work.shape[1]]
    away = np.sqrt((u[..., None] - x) ** 2 + (v[..., None] - y) ** 2) / r
    near = (away.min(-1) < 0.9) & (np.sort(away, -1)[..., 1] > 2)
    assert near.sum() > 100
    np.testing.assert_allclose(images[1][near], images[0][near], atol=2e-3)
    assert np.abs(images[0][near] - images[0][~near].mean(0)).max() > 0.01


def test_outline_of_droplets_at_their_outline_is_the_unit_circle():
    image, truth = nd.simulate((64, 80), 12, radius=5, seed=2)
    chosen = Settings(types=2, steps=200)
    prepared = optimize.prepare(nd.Image(image), nd.Droplets(truth.x, truth.y, truth.radius), None, chosen)
    steps = optimize.iterate_chunks(prepared, chosen, Clock(), "image", lambda *_: None)
    parameters, form, anchor = run(steps, None).parameters, prepared.form, prepared.anchor
    first = gauge.outline(parameters, anchor, prepared.prior, form)
    again = gauge.outline(gauge.regauge(parameters, first, form), anchor, prepared.prior, form)
    assert again.radius == pytest.approx(1, abs=0.08)
    assert again.x == pytest.approx(0, abs=0.08)
    assert again.y == pytest.approx(0, abs=0.08)


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


def test_duplicates():
    x = np.array([10.0, 12.0, 30.0, 34.0, 11.0])
    y = np.array([10.0, 10.0, 30.0, 30.0, 11.0])
    radius = np.array([5.0, 2.0, 3.0, 3.0, 1.0])
    assert population.duplicates(x, y, radius).tolist() == [False, True, False, False, True]
    assert population.duplicates(x[:1], y[:1], radius[:1]).tolist() == [False]


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
    flat = [(50 * i, -1000.0, 0.1 * i) for i in range(1, 20)]
    schedule.observe(950, flat, per_chunk=0.1, values=1000.0)
    assert schedule.stopped == "settled"
    assert schedule.end < 2000
