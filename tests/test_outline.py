"""The outline against the exact distribution, against discs counted on a fine grid, and where it could break."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drawn import disc
from scipy.ndimage import gaussian_filter
from scipy.stats import ncx2

from napari_droplets.model.outline import GLOW_REACH, GLOW_TERMS, PIXEL_VARIANCE, coverage, glow_basis

covered = jax.jit(coverage)
basis_of = jax.jit(glow_basis)


@pytest.mark.parametrize(
    ("radius", "blur", "most"),
    [(1.0, 0.5, 0.005), (1.0, 0.8, 0.007), (3.0, 0.6, 0.001), (3.0, 1.0, 0.003), (12.0, 2.0, 0.001), (80.0, 0.5, 1e-4)],
)
def test_it_is_the_noncentral_chi_square_distribution(radius, blur, most):
    """The better, the larger the radius is against the width of the edge."""
    distance = np.concatenate([np.linspace(0, radius, 20), np.linspace(-5, 5, 81) * blur + radius]).clip(0)
    variance = blur**2 + PIXEL_VARIANCE
    exact = ncx2.cdf(radius**2 / variance, 2, distance**2 / variance)
    found = covered(np.float32(distance**2), np.float32(radius), np.float32(blur))
    np.testing.assert_allclose(found, exact, atol=most)


@pytest.mark.parametrize(("radius", "blur"), [(1.5, 0.7), (4.0, 0.5), (4.0, 1.2), (9.3, 0.7)])
def test_it_is_the_part_of_pixels_that_a_blurred_disc_covers(radius, blur):
    """Counted at eight points along the side of a pixel, blurred there, and averaged over pixels."""
    size, fine = 31, 8
    x, y = 15.3, 14.8
    grid = disc(x * fine + (fine - 1) / 2, y * fine + (fine - 1) / 2, radius * fine, (size * fine,) * 2, 2)
    seen = gaussian_filter(grid, blur * fine).reshape(size, fine, size, fine).mean((1, 3))
    v, u = np.mgrid[:size, :size]
    found = covered(np.float32((u - x) ** 2 + (v - y) ** 2), np.float32(radius), np.float32(blur))
    np.testing.assert_allclose(found, seen, atol=0.008)
    assert np.ptp(seen) > 0.8


@pytest.mark.parametrize(
    ("radius", "blur", "most"), [(1.5, 0.7, 6e-3), (3.0, 0.5, 1e-3), (8.0, 1.5, 1e-3), (20, 0.7, 1e-4)]
)
def test_a_disc_keeps_its_area(radius, blur, most):
    v, u = np.mgrid[:64, :64] - np.array([31.2, 31.7])[:, None, None]
    found = float(covered(np.float32(u**2 + v**2), np.float32(radius), np.float32(blur)).sum())
    assert found == pytest.approx(np.pi * radius**2, rel=most)


def test_it_falls_from_the_center_and_grows_with_the_radius():
    distance, radius = np.float32(np.linspace(0, 12, 200)), np.float32(np.linspace(1, 10, 50))[:, None]
    found = np.asarray(covered(distance**2, radius, np.float32(0.7)))
    assert (np.diff(found, axis=1) <= 1e-5).all()
    assert (np.diff(found, axis=0) >= -1e-5).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize("blur", [1e-3, 0.7, 10.0])
@pytest.mark.parametrize("radius", [0.05, 1.0, 30.0, 2000.0])
def test_gradients_are_finite_everywhere(radius, blur):
    """At the center, at the edge, next to it, and where droplets of no image lie."""
    distance = np.float32([0, 1e-6, 0.1, 1, radius, radius + 3 * blur, 10 * radius, 1.4e4])

    def total(distance, radius, blur):
        return jnp.sum(coverage(distance**2, radius, blur))

    found = jax.jit(jax.value_and_grad(total, (0, 1, 2)))
    value, slopes = found(distance, np.float32(radius), np.float32(blur))
    assert np.isfinite(value)
    for slope in slopes:
        assert np.isfinite(slope).all()


def test_a_glow_ends_within_its_reach_and_is_even_or_changes_sign():
    angle = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    for distance, there in ((1.0, True), (GLOW_REACH - 0.05, True), (GLOW_REACH, False), (5.0, False)):
        basis = basis_of(np.float32(distance * np.cos(angle)), np.float32(distance * np.sin(angle)))
        assert basis.shape == (GLOW_TERMS, 64)
        assert (np.abs(basis).max(1) > 0).all() == there
        mean = np.abs(basis.mean(1)) > 1e-6
        assert mean.tolist() == [there, False, False, False, False] * 2
    slopes = jax.jit(jax.jacfwd(lambda d: glow_basis(d, d)))(np.float32(0))
    assert np.isfinite(slopes).all()
