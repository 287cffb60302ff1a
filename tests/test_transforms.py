"""Compositions and the unconstrained numbers of inference: inverse of each other, as NumPyro has them."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpyro.distributions import biject_to, constraints
from scipy.special import expit

from napari_droplets.transforms import (
    LEAST_FRACTION,
    constrained,
    log_density,
    sigmoid_moments,
    unconstrained,
    unconstrained_size,
)

KINDS = [("free", 1), ("free", 3), ("simplex", 2), ("simplex", 3), ("simplex", 5)]


@pytest.mark.parametrize(("kind", "types"), KINDS)
@given(data=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_there_and_back(kind, types, data):
    size = unconstrained_size(types, kind)
    raw = data.draw(arrays.arrays(float, (size, 4), elements=st.floats(-4, 4)))
    fractions = constrained(raw, kind)
    assert fractions.shape == (types, 4)
    assert (fractions > 0).all()
    assert (fractions < 1).all()
    if kind == "simplex":
        np.testing.assert_allclose(fractions.sum(0), 1, rtol=1e-12)
    back = unconstrained(fractions.T, kind, least=1e-12)
    assert back.shape == (4, size)
    np.testing.assert_allclose(back.T, raw, atol=1e-6)


@pytest.mark.parametrize(("kind", "types"), KINDS)
def test_they_are_numpyros(kind, types):
    """The map, and the logarithm of the volume that it stretches."""
    raw = np.random.default_rng(0).normal(0, 1.5, (50, unconstrained_size(types, kind))).astype(np.float32)
    transform = biject_to(
        constraints.simplex if kind == "simplex" else constraints.independent(constraints.unit_interval, 1)
    )
    theirs = transform(raw)
    ours = constrained(raw.T, kind, jnp)
    np.testing.assert_allclose(ours.T, theirs, atol=1e-5)
    np.testing.assert_allclose(constrained(raw.T, kind), ours, atol=1e-5)
    jacobian = transform.log_abs_det_jacobian(raw, theirs)
    np.testing.assert_allclose(log_density(raw.T.astype(float), kind), jacobian, atol=2e-4)
    np.testing.assert_allclose(log_density(raw.T, kind, jnp), jacobian, atol=2e-4)


@pytest.mark.parametrize(("kind", "types"), KINDS)
def test_the_density_is_that_of_uniform_compositions(kind, types):
    """The determinant of a numerical derivative."""
    size, h = unconstrained_size(types, kind), 1e-5
    raw = np.random.default_rng(1).normal(0, 1, size)
    slopes = [(constrained(raw + h * e, kind) - constrained(raw - h * e, kind))[:size] / (2 * h) for e in np.eye(size)]
    assert log_density(raw, kind) == pytest.approx(np.linalg.slogdet(np.array(slopes))[1], abs=1e-6)


def test_zero_is_the_middle():
    np.testing.assert_allclose(constrained(np.zeros((3, 1)), "free"), 0.5)
    np.testing.assert_allclose(constrained(np.zeros((3, 1)), "simplex"), 0.25)


@pytest.mark.parametrize("kind", ["free", "simplex"])
def test_pure_droplets_stay_finite(kind):
    pure = np.eye(3)
    raw = unconstrained(pure, kind)
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(constrained(raw.T, kind).T, pure, atol=2.1 * LEAST_FRACTION)


@pytest.mark.parametrize(("mean", "sd"), [(0.0, 0.01), (1.0, 0.5), (-3.0, 1.0), (2.0, 2.5)])
def test_moments_of_a_sigmoid_are_those_of_samples(mean, sd):
    draws = expit(mean + sd * np.random.default_rng(2).standard_normal(400_000))
    first, second = sigmoid_moments(np.array([mean]), np.array([sd]))
    assert first[0] == pytest.approx(draws.mean(), abs=4 * draws.std() / 600)
    assert second[0] == pytest.approx(draws.std(), rel=0.01)


def test_what_is_known_has_no_deviation():
    first, second = sigmoid_moments(np.array([0.3]), np.array([0.0]))
    assert first[0] == pytest.approx(expit(0.3))
    assert second[0] == pytest.approx(0, abs=1e-12)
