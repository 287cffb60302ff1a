"""How radii respond to true ones, told by merges."""

import numpy as np
import pytest

from napari_droplets.tracking.events import Event
from napari_droplets.tracking.response import response_error


def merged(power, n, *, scatter=0.005, exponent=3.0, seed=0):
    """Merges of two droplets each, of which radii are seen as powers of the true ones."""
    rng = np.random.default_rng(seed)
    parts = rng.uniform(4, 10, (n, 2))
    one = (parts**exponent).sum(1) ** (1 / exponent)
    seen = np.column_stack([parts, one]) ** power * np.exp(scatter * rng.standard_normal((n, 3)))
    residual = seen[:, 2] ** exponent / (seen[:, :2] ** exponent).sum(1) - 1
    events = [Event(3 * k + 2, (3 * k, 3 * k + 1), -1, 1.0, float(r), 0.06, 0.0, 0.0) for k, r in enumerate(residual)]
    return events, seen.ravel()


@pytest.mark.parametrize("power", [0.92, 1.0, 1.06])
def test_the_power_is_learned_from_many_merges(power):
    events, radius = merged(power, 60)
    assert response_error(events, radius, 3.0, 0.04) == pytest.approx(abs(power - 1), abs=0.012)


def test_one_merge_of_another_kind_counts_little():
    events, radius = merged(1.0, 40)
    odd = Event(2, (0, 1), -1, 0.9, 0.8, 0.06, 0.0, 0.0)
    assert response_error([*events, odd], radius, 3.0, 0.04) < 0.015


def test_without_merges_it_is_what_is_thought_before():
    assert response_error([], np.ones(0), 3.0, 0.04) == pytest.approx(0.04, rel=0.05)
    assert response_error(*merged(0.9, 30), 3.0, 0.0) == 0
