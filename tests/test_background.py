"""The empty slide: it follows the lamp, is no droplet, and says how well it is known."""

import itertools

import numpy as np
import pytest
from drawn import disc

from napari_droplets.inference.start import empty_slide, grid_of
from napari_droplets.model.background import BEND_SD, CELLS, LEVEL_SD, SplineGrid, _basis, _smoothness

SHAPE = (200, 240)


def lamp(shape=SHAPE):
    """A lamp that is brightest beside the middle, and falls by a third to the corners; three channels."""
    v, u = np.mgrid[: shape[0], : shape[1]]
    fall = ((u - 0.4 * shape[1]) ** 2 + (v - 0.6 * shape[0]) ** 2) / (shape[0] ** 2 + shape[1] ** 2)
    return (0.8 - 0.6 * fall)[..., None] * np.array([1, 0.95, 0.9])


def test_the_field_follows_a_lamp_where_a_third_of_the_pixels_is_missing():
    rng = np.random.default_rng(0)
    missing = np.zeros(SHAPE, bool)
    while missing.mean() < 0.3:
        missing |= disc(*rng.uniform(0, SHAPE[::-1]), rng.uniform(4, 12), SHAPE, 1) > 0
    values = np.where(missing[..., None], 0, lamp() + 0.02 * rng.standard_normal((*SHAPE, 3)))
    grid = SplineGrid.of(*SHAPE, 80)
    coefficients, _ = grid.fit(values, (~missing).astype(float), 0.02)
    off = grid.field(coefficients) - lamp()
    assert np.sqrt(np.mean(off**2)) < 0.0016
    assert np.abs(off).max() < 0.02  # in a corner, where nothing is seen


@pytest.mark.parametrize("radius", [5.0, 15.0])
def test_a_dark_disc_of_the_usual_size_is_not_taken_for_ground(radius):
    """Nobody has found it; the field stays bright all the same."""
    grid = grid_of(SHAPE, np.full(20, radius), "smooth")
    hidden = disc(110, 90, radius, SHAPE)
    image = lamp() - 0.4 * hidden[..., None] + 0.01 * np.random.default_rng(1).standard_normal((*SHAPE, 3))
    plain, _ = grid.fit(image, np.ones(SHAPE), 0.01)
    there = hidden == 1
    assert np.abs(grid.field(plain) - lamp())[there].max() < 0.1  # a quarter of its depth, with nothing left out
    robust = empty_slide(np.float32(image), grid, np.zeros(SHAPE, bool), 0.01)
    assert np.abs(robust.field - lamp())[there].max() < 0.01
    assert robust.empty.all()


def dense(bands):
    """The symmetric matrix with these bands on and below its diagonal."""
    n = bands.shape[1]
    lower = sum(np.diag(band[: n - k], -k) for k, band in enumerate(bands))
    return lower + np.tril(lower, -1).T


@pytest.mark.parametrize("functions", [(7, 9), (9, 4), (4, 9), (1, 1)])
def test_the_banded_solution_is_that_of_the_dense_normal_equations(functions):
    """The longer direction first or last, hardly wider than the bands, or one color."""
    rng = np.random.default_rng(6)
    grid = SplineGrid(*(_basis(60, n) for n in functions))
    values, weight, noise = rng.random((60, 60, 2)), rng.random((60, 60)), 0.03
    found, deviations = grid.fit(values, weight, noise)
    cells = [np.linspace(0, 60, CELLS * max(n - 3, 1) + 1).astype(int) for n in functions]
    share, *sums = (
        np.add.reduceat(np.add.reduceat(weight * v, cells[0][:-1], 0), cells[1][:-1], 1)
        for v in (1, values[..., 0], values[..., 1])
    )
    along, across = (
        np.stack([basis[i:j].mean(0) for i, j in itertools.pairwise(edges)])
        for basis, edges in zip((grid.rows, grid.columns), cells, strict=True)
    )
    design = np.kron(along, across)
    precision = (design * share.reshape(-1, 1)).T @ design / noise**2 + dense(_smoothness(*functions))
    middle = np.array([s.sum() for s in sums]) / share.sum()
    off = np.stack([s - share * m for s, m in zip(sums, middle, strict=True)], -1).reshape(share.size, 2)
    wanted = np.linalg.solve(precision, design.T @ off / noise**2) + middle
    np.testing.assert_allclose(found.reshape(-1, 2), wanted, atol=1e-9)
    np.testing.assert_allclose(deviations.ravel(), np.sqrt(np.diag(np.linalg.inv(precision))), rtol=1e-8)


def test_deviations_are_those_of_many_fits():
    """Fields drawn from the prior, with noise: what is found errs as much as is told."""
    grid, noise, draws = SplineGrid.of(48, 64, 24), 0.05, 400
    a, b = grid.rows.shape[1], grid.columns.shape[1]
    rng = np.random.default_rng(2)
    root = np.linalg.inv(np.linalg.cholesky(dense(_smoothness(a, b)))).T
    truth = 0.5 + (root @ rng.standard_normal((a * b, draws))).reshape(a, b, draws)
    values = np.einsum("ha,abn,wb->hwn", grid.rows, truth, grid.columns)
    values += noise * rng.standard_normal(values.shape)
    found, deviations = grid.fit(values, np.ones((48, 64)), noise)
    seen = (found - truth).std(-1)
    np.testing.assert_allclose(seen / deviations, 1, atol=0.2)
    assert np.mean(seen / deviations) == pytest.approx(1, abs=0.03)
    assert np.abs((found - truth).mean(-1) / deviations).max() < 0.25
    assert deviations.max() < min(BEND_SD, LEVEL_SD)


def test_one_color():
    rng = np.random.default_rng(3)
    values = np.array([0.2, 0.5, 0.7]) + 0.03 * rng.standard_normal((40, 50, 3))
    weight = (rng.random((40, 50)) < 0.5).astype(float)
    grid = SplineGrid.of(40, 50, np.inf)
    found, deviations = grid.fit(values, weight, 0.03)
    assert found.shape == (1, 1, 3)
    np.testing.assert_allclose(found[0, 0], np.average(values.reshape(-1, 3), 0, weight.ravel()), atol=1e-6)
    np.testing.assert_allclose(deviations, 0.03 / np.sqrt(weight.sum()), rtol=1e-3)
    field = grid.field(found)
    assert field.shape == values.shape
    assert field.dtype == np.float32
    assert np.ptp(field, axis=(0, 1)).max() < 1e-6
    assert grid_of((40, 50), np.array([3.0]), "uniform").rows.shape == (40, 1)


def test_knots_lie_far_apart_for_the_droplets():
    for radius, spacing in ((2.0, 48), (20.0, 160)):
        rows = grid_of((960, 960), np.full(9, radius), "smooth").rows
        assert rows.shape[1] - 3 == round(960 / spacing)


def test_without_any_pixel_seen_a_field_is_finite():
    grid = SplineGrid.of(40, 50, 30)
    found, deviations = grid.fit(np.ones((40, 50, 3)), np.zeros((40, 50)), 0.01)
    assert np.isfinite(grid.field(found)).all()
    assert np.isfinite(deviations).all()
