"""Stochastic steps of what droplets share."""

import jax
import numpy as np
import pytest
from drawn import FORM, NOISE, apart

from napari_droplets.inference.loop import steps_of
from napari_droplets.inference.steps import optics_step
from napari_droplets.inference.steps.optics_step import ROWS_PER_STEP, STEPS, Learned


def learned(case, shared=None, raw=None, chunks=2, rate=0.02, **rates):
    """State and losses after some calls; what `rates` do not name is held."""
    state = optics_step.init(case.shared if shared is None else shared)
    each = jax.tree.map(lambda a: 0.0, state.learned)
    named = {k: rates.get(k, 0.0) for k in ("glow", "log_blur", "length")}
    optics = {name: rates.get("optics", 0.0) for name in each.shared.optics}
    each = Learned(each.shared._replace(optics=optics, **named), rates.get("common", 0.0))
    precision = np.full(len(case.anchor), 1 / NOISE**2, np.float32)
    rows = np.arange(case.pixels.crowded, len(case.pixels.row))
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(chunks):
        order = rng.choice(rows, (STEPS, ROWS_PER_STEP))
        some = case.raw if raw is None else raw
        total = len(rows) / ROWS_PER_STEP
        state, found = steps_of(
            state,
            each,
            np.full(STEPS, rate),
            order,
            some,
            case.anchor,
            case.rows,
            precision,
            total,
            float(case.size),
            FORM,
        )
        losses.append(np.asarray(found))
    return state.learned, np.concatenate(losses)


@pytest.fixture(scope="module")
def case():
    return apart()


def spoiled(case):
    rng = np.random.default_rng(1)
    optics = {k: np.float32(v + 0.1 * rng.standard_normal(v.shape)) for k, v in case.shared.optics.items()}
    return case.shared._replace(optics=optics, log_blur=np.float32(np.log(1.4)))


def test_the_loss_falls_to_that_of_the_truth(case):
    """From optics and a blur that are off; what is left is little more than the noise."""
    truth = learned(case, chunks=1)[1].mean()
    found, losses = learned(case, spoiled(case), chunks=6, optics=1.0, log_blur=1.0)
    assert losses[0] - truth > 1000
    assert losses[-25:].mean() - truth < 0.1 * (losses[0] - truth)
    assert np.exp(found.shared.log_blur) == pytest.approx(0.8, abs=0.25)


def test_rates_of_zero_hold(case):
    start = spoiled(case)
    found, losses = learned(case, start, chunks=1)
    for before, after in zip(jax.tree.leaves(start), jax.tree.leaves(found.shared), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(found.common, 0)
    assert np.isfinite(losses).all()
    some, _ = learned(case, start, chunks=1, log_blur=1.0)
    assert some.shared.log_blur != start.log_blur
    np.testing.assert_array_equal(some.shared.glow, start.glow)


def test_the_common_shift_is_found(case):
    """All circles off by the same part of their radii; optics are held."""
    off = np.array([0.06, -0.04, 0.05])
    raw = case.raw.copy()
    raw[: case.size, :3] += off
    found, _ = learned(case, raw=raw, chunks=8, rate=0.003, common=1.0)
    relative = np.exp(off[2])
    np.testing.assert_allclose(np.asarray(found.common) * [relative, relative, 1], -off, atol=0.012)
    alone, _ = learned(case, chunks=8, rate=0.003, common=1.0)
    np.testing.assert_allclose(alone.common, 0, atol=0.012)


def test_losses_are_those_of_all_rows_on_average(case):
    """Sums over some rows stand for all of them."""
    rows = np.arange(case.pixels.crowded, len(case.pixels.row))
    weight = np.asarray(case.rows.weight)[rows]
    squares = ((case.image - case.clean) ** 2)[case.pixels.y[rows], case.pixels.x[rows]].sum(-1)
    expected = 0.5 * np.sum(weight * squares) / NOISE**2
    prior = float(optics_step.log_prior(Learned(case.shared, np.zeros(3, np.float32)), np.float32(case.size)))
    losses = learned(case, chunks=4)[1]
    assert losses.mean() == pytest.approx(expected - prior, rel=0.03)
