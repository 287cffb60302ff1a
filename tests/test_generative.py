"""The NumPyro model: images drawn from it, and its density against every density written by hand."""

from functools import partial

import jax
import numpy as np
import numpyro
import pytest
from drawn import FORM, apart, crowd, sums_of
from numpyro.infer.util import potential_energy
from scipy.stats import kstest

from napari_droplets.inference.steps.droplet_step import composition_prior
from napari_droplets.inference.steps.optics_step import Learned, log_prior
from napari_droplets.model.generative import Prior, model
from napari_droplets.model.priors import BLUR_MEDIAN, COMMON_SD, GLOW_SD, PLAIN_PIXELS, WEIGHT_SD
from napari_droplets.model.problem import LEAST_DROPLETS, PLACE, Form
from napari_droplets.transforms import log_density

OWN_SD = (0.05, 0.06, 0.07)
PRIOR_NOISE = np.float32(0.05)


def prior_of(scene):
    n = len(scene.anchor)
    sd = np.tile(np.float32(OWN_SD), (n, 1))
    return Prior(scene.anchor, sd, np.arange(n) < scene.size, scene.shared.length, PRIOR_NOISE)


@pytest.fixture(scope="module")
def trace():
    """One draw of everything, for the pixels around as many droplets as arrays hold, all of them there."""
    scene = apart()
    prior = prior_of(scene)
    prior = prior._replace(present=np.ones(LEAST_DROPLETS, bool))
    return drawn(scene.rows, prior, FORM, 0)


@partial(jax.jit, static_argnums=2)
def sites(rows, prior, form, key):
    """Values of all sites of one draw."""
    seeded = numpyro.handlers.seed(model, key)
    trace = numpyro.handlers.trace(seeded).get_trace(rows, prior, form, observed=False)
    return {name: site["value"] for name, site in trace.items() if site["type"] in ("sample", "deterministic")}


def drawn(rows, prior, form, seed):
    return {name: np.asarray(v, float) for name, v in sites(rows, prior, form, jax.random.PRNGKey(seed)).items()}


@jax.jit
def log_density_of(rows, prior, point):
    """Of the model's unconstrained parameters."""
    return -potential_energy(model, (rows, prior, FORM), {}, point)


def test_images_are_drawn_from_the_prior(trace):
    """Each quantity over the deviation of its prior is standard normal; compositions are uniform."""
    own = (trace["circle"] - trace["common"]) / OWN_SD
    assert kstest(own.ravel(), "norm").pvalue > 0.01
    assert np.abs(trace["common"] / COMMON_SD).max() < 3.5
    assert kstest(trace["composition"].ravel(), "uniform").pvalue > 0.01
    weights = np.concatenate([v.ravel() for k, v in trace.items() if k.startswith("optics/")])
    assert weights.std() == pytest.approx(WEIGHT_SD, rel=0.05)
    glow = trace["glow"] / (GLOW_SD * np.sqrt(10 / (LEAST_DROPLETS * PLAIN_PIXELS)))
    assert 0.6 < glow.std() < 1.4
    assert 0.05 < trace["blur"] / BLUR_MEDIAN < 20


def test_noise_lies_over_the_rendering(trace):
    scene = apart()
    used = (scene.rows.weight * scene.rows.own).ravel() > 0
    residual = (trace["image"] - trace["rendering"])[:, used] / trace["noise"]
    assert kstest(residual.ravel(), "norm").pvalue > 0.01
    assert np.isfinite(trace["rendering"]).all()


def some(scene, seed, scale=1.0):
    """Unconstrained parameters of the model near those that an image was drawn with."""
    rng = np.random.default_rng(seed)

    def off(value, by):
        return np.float32(value + scale * by * rng.standard_normal(np.shape(value)))

    there = np.zeros((len(scene.anchor), 1), np.float32)
    there[: scene.size] = 1
    shared = scene.shared
    return {
        "common": off(np.zeros(3), 0.02),
        "circle": there * off(scene.raw[:, :PLACE], 0.03),
        "composition": there * off(scene.raw[:, PLACE:], 0.3),
        "blur": off(shared.log_blur, 0.1),
        "glow": off(shared.glow, 0.003),
        "noise": np.log(np.float32(0.04)),
        **{f"optics/{name}": off(value, 0.02) for name, value in shared.optics.items()},
    }


def by_hand(scene, at):
    """Log density up to a constant, of the pieces that inference works with."""
    shared = scene.shared._replace(
        optics={name: at[f"optics/{name}"] for name in scene.shared.optics}, glow=at["glow"], log_blur=at["blur"]
    )
    n, noise = scene.size, float(np.exp(at["noise"]))
    total = float(log_prior(Learned(shared, at["common"]), np.float32(n)))
    total -= 0.5 * np.sum(((at["circle"][:n] - at["common"]) / OWN_SD) ** 2)
    total += log_density(at["composition"][:n].T.astype(float), "free").sum()
    raw = np.concatenate([at["circle"], at["composition"]], 1)
    colors = sums_of(scene, raw, shared)[1]
    residual = np.asarray(scene.rows.values, float) - colors
    weight = np.asarray(scene.rows.own * scene.rows.weight, float)[..., None]
    return total - 0.5 * np.sum(weight * residual**2) / noise**2


@pytest.mark.parametrize("made", [apart, crowd])
def test_its_density_is_the_one_written_by_hand(made):
    """Differences between points: of all priors, compositions with their jacobian, and the pixels."""
    scene = made(noise=0.04)
    points = [some(scene, seed) for seed in range(4)]
    theirs = np.array([float(log_density_of(scene.rows, prior_of(scene), point)) for point in points])
    ours = np.array([by_hand(scene, point) for point in points])
    assert np.ptp(theirs) > 20
    np.testing.assert_allclose(np.diff(ours), np.diff(theirs), atol=0.3, rtol=2e-3)


@pytest.mark.parametrize("part", ["common", "circle", "composition", "blur", "glow", "optics/Dense_1.kernel"])
def test_each_prior_is_the_one_written_by_hand(part):
    """With pixels that say nothing, so that priors are not lost among them."""
    scene = apart()
    quiet = scene._replace(rows=scene.rows._replace(weight=scene.rows.weight * 0))
    first, second = some(quiet, 1, 4.0), some(quiet, 2, 4.0)
    second = first | {part: second[part]}
    theirs = [float(log_density_of(quiet.rows, prior_of(quiet), point)) for point in (first, second)]
    ours = [by_hand(quiet, point) for point in (first, second)]
    assert abs(theirs[1] - theirs[0]) > 0.02
    assert ours[1] - ours[0] == pytest.approx(theirs[1] - theirs[0], abs=2e-3, rel=1e-3)


@pytest.mark.parametrize(("kind", "types"), [("free", 3), ("simplex", 2), ("simplex", 4)])
def test_slopes_of_the_prior_of_compositions_are_those_of_its_density(kind, types):
    form, h = Form(3, types, kind), 1e-4
    raw = np.random.default_rng(0).normal(0, 1, (5, form.dimensions - PLACE))
    slope, curvature = composition_prior(raw, form)
    for k, e in enumerate(h * np.eye(raw.shape[1])):
        low, here, high = (log_density((raw + step).T, kind) for step in (-e, 0 * e, e))
        np.testing.assert_allclose(slope[:, k], (high - low) / (2 * h), atol=1e-5)
        np.testing.assert_allclose(curvature[:, k], -(high - 2 * here + low) / h**2, atol=1e-4)
