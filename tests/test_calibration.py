from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from napari_droplets.inference.cells import Cells, calibrated
from napari_droplets.training.calibration import Evidence, fitted


@pytest.fixture(scope="module")
def evidence():
    """Candidates of a network that is too sure of itself: the logit of p is twice what it should be, widths half."""
    rng = np.random.default_rng(0)
    n = 60_000
    logit = rng.normal(0, 2, n)
    right = rng.random(n) < expit(logit)
    sd = np.exp(rng.normal(0, 0.5, n))
    error = np.where(right[:, None], rng.standard_normal((n, 3)) * sd[:, None] * [2.0, 1.0, 1.5], np.nan)
    zero = np.zeros(n)
    return Evidence(Cells(zero, zero, expit(2 * logit), zero, zero, zero + 5, sd, sd, sd), right, error)


def test_probabilities_hold_after_calibration(evidence):
    result = calibrated(evidence.found, fitted(evidence))
    for low in np.linspace(0, 0.9, 10):
        some = (result.p >= low) & (result.p < low + 0.1)
        assert evidence.right[some].mean() == pytest.approx(result.p[some].mean(), abs=0.02)
        before = evidence.right[(evidence.found.p >= low) & (evidence.found.p < low + 0.1)].mean()
        if low in (0.2, 0.8):
            assert abs(before - low - 0.05) > 0.03


def test_what_is_certain_is_as_right_as_it_is(evidence):
    p = np.where(evidence.found.p > 0.9, 1.0, evidence.found.p)
    certain = p == 1
    result = calibrated(replace(evidence.found, p=p), fitted(evidence._replace(found=replace(evidence.found, p=p))))
    np.testing.assert_allclose(result.p[certain], evidence.right[certain].mean(), atol=1e-6)


def test_intervals_hold_after_calibration(evidence):
    marginal = fitted(evidence)
    np.testing.assert_allclose(marginal.sd, [2.0, 1.0, 1.5], rtol=0.02)


def test_the_map_is_increasing(evidence):
    assert np.all(np.diff(fitted(evidence).p, axis=0) >= 0)
