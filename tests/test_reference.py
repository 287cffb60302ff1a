"""The yardstick of the benchmarks is the published algorithm, number by number."""

import importlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import tree_map
from numpyro import handlers

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"  # scripts, not a package


@pytest.fixture(scope="module")
def reference():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield importlib.import_module("reference")


def random_optics(reference, types, seed=0):
    """A network whose every parameter is Normal(0, 1), as under the prior."""
    optics = reference.Optics(channels=3)
    rng = np.random.default_rng(seed)
    params = optics.init(jax.random.key(0), jnp.zeros(6 + types))["params"]
    return optics, tree_map(lambda a: rng.normal(size=a.shape).astype(np.float32), params)


def numpy_optics(params, inputs):
    for layer in range(3):
        inputs = inputs @ params[f"Dense_{layer}"]["kernel"] + params[f"Dense_{layer}"]["bias"]
        centered = inputs - inputs.mean()
        inputs = centered / np.sqrt((centered**2).mean() + 1e-6)
        inputs = inputs * params[f"LayerNorm_{layer}"]["scale"] + params[f"LayerNorm_{layer}"]["bias"]
        inputs = np.maximum(inputs, 0)
    return inputs @ params["Dense_3"]["kernel"] + params["Dense_3"]["bias"]


def test_parameter_count_as_published(reference):
    _, params = random_optics(reference, types=10)
    assert sum(a.size for a in jax.tree.leaves(params)) == 1347


def test_priors_as_published(reference):
    at = {"background": jnp.full(3, 0.5), "x": jnp.full(800, 1.0), "y": jnp.full(800, 1.0)}
    at |= {"radius": jnp.full(800, 2.0), "composition": jnp.full((800, 3), 0.5)}

    @jax.jit  # operation by operation it takes far longer
    def values_and_log_probs():
        trace = handlers.trace(handlers.seed(reference.model, 0)).get_trace(jnp.zeros((4, 6, 3)))
        sites = {name: site for name, site in trace.items() if site["type"] == "sample"}
        return {name: (site["value"], site["fn"].log_prob(at.get(name, site["value"]))) for name, site in sites.items()}

    sites = values_and_log_probs()
    assert sites["x"][0].shape == (800,)
    assert sites["composition"][0].shape == (800, 3)
    log_radius = -np.log(2 * 0.5 * np.sqrt(2 * np.pi)) - (np.log(2) / 0.5) ** 2 / 2
    expected = {"background": 0, "x": -np.log(6), "y": -np.log(4), "radius": log_radius, "composition": 0}
    optics = [name for name in sites if name.startswith("optics/")]
    assert len(optics) == 4 * 2 + 3 * 2
    for name in [*optics, "residual"]:
        sd = 0.05 if name == "residual" else 1
        value = np.asarray(sites[name][0], float)
        expected[name] = -((value / sd) ** 2).sum() / 2 - value.size * np.log(sd * np.sqrt(2 * np.pi))
    assert expected.keys() == sites.keys()
    for name, (_, log_prob) in sites.items():
        np.testing.assert_allclose(log_prob, expected[name], rtol=1e-4, err_msg=name)


def test_rendering_equals_numpy(reference):
    optics, params = random_optics(reference, types=2)
    background = np.array([0.2, 0.5, 0.9], np.float32)
    # seen from the pixel at (5, 1) the small droplet is closer, the large one nearer in units of its radius
    x, y = np.array([1.5, 6.25], np.float32), np.array([2.0, 1.0], np.float32)
    radius = np.array([4.0, 0.5], np.float32)
    composition = np.array([[0.1, 0.9], [0.7, 0.3]], np.float32)
    rendering = reference.render(
        (4, 7),
        *map(jnp.asarray, (background, x, y, radius, composition)),
        lambda a: optics.apply({"params": params}, a),
    )
    expected = np.zeros((4, 7, 3))
    owner = np.zeros((4, 7), int)
    for v in range(4):
        for u in range(7):
            i = owner[v, u] = np.argmin(((u - x) ** 2 + (v - y) ** 2) / radius**2)
            inputs = [*background, (u - x[i]) / radius[i], (v - y[i]) / radius[i], radius[i], *composition[i]]
            expected[v, u] = 1 / (1 + np.exp(-(background + numpy_optics(params, np.array(inputs)))))
    assert owner[1, 5] == 0
    assert owner[1, 6] == 1
    np.testing.assert_allclose(rendering, expected, rtol=1e-4, atol=1e-6)


@pytest.fixture
def compile_fast():
    """XLA's optimizations would take most of the test's time."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.mark.usefixtures("compile_fast")
def test_run_lowers_the_loss(reference):
    v, u = np.mgrid[:16, :20]
    disc = (u - 9) ** 2 + (v - 7) ** 2 < 25
    image = np.where(disc[..., None], [0.2, 0.3, 0.6], [0.8, 0.8, 0.7])
    seen = []

    def callback(step, seconds, loss):
        seen.append((step, seconds, loss))
        return step < 60

    result = reference.run(image, n_droplets=5, steps=1000, callback=callback, final_samples=4)
    np.testing.assert_array_equal(result.losses, seen)
    assert len(seen) == 60
    assert np.isfinite(result.losses).all()
    assert (np.diff(result.losses[:, 1]) > 0).all()
    assert result.losses[-5:, 2].mean() < 0.7 * result.losses[:5, 2].mean()
    assert result.posterior.rendering.shape == image.shape
    assert result.posterior.composition.shape == (5, 3)
    assert ((result.posterior.x > 0) & (result.posterior.x < 20)).all()
    assert ((result.posterior.y > 0) & (result.posterior.y < 16)).all()
    np.testing.assert_allclose(result.rmse, np.sqrt(((image - result.posterior.rendering) ** 2).mean()), rtol=1e-5)


def test_marks_look_at_the_last_step_before(reference):
    marks = reference.Marks([1, 12, 14, 30])
    steps = [10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 13.0, 13.5, 14.0, 35.0]
    assert [marks.due(s) for s in steps] == [None, None, None, None, 12, None, None, None, 14, 30]
