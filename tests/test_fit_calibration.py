"""What is learned of errors makes intervals right for each kind of droplets."""

import numpy as np
import pytest

from napari_droplets.inference import calibration
from napari_droplets.training import fit_calibration as learning


@pytest.fixture
def errors():
    """Errors of places with known standard deviations: dyed images that the model explains and not, and scenes."""
    rng = np.random.default_rng(0)
    n = 6000
    dyed = np.arange(n) < 4000
    misfit = np.where(np.arange(n) % 2 == 0, 1.05, 2.5)
    misfit[~dyed] = 6.0
    own, proposed = np.exp(rng.normal(-5, 1, (n, 2))), np.exp(rng.normal(-3, 0.3, (n, 2)))
    sd = calibration.deviations(own, proposed, misfit[:, None], [1.6, 0.004, 0.2])
    return sd * rng.standard_normal((n, 2)), own, proposed, misfit[:, None], dyed


def test_intervals_are_right_for_each_kind(errors):
    error, own, proposed, misfit, dyed = errors
    kind = learning._kinds(dyed, misfit[:, 0], own.mean(1))
    assert len(np.unique(kind)) == 2 * learning.SHARES + 1
    terms = learning._deviations(error, own, proposed, misfit, np.ones(len(error)), kind)
    z = np.abs(error / calibration.deviations(own, proposed, misfit, list(terms)))
    for one in np.unique(kind):
        assert np.mean(z[kind == one] < 1) == pytest.approx(0.683, abs=0.05)
        assert np.mean(z[kind == one] < 2) == pytest.approx(0.954, abs=0.03)


def test_what_droplets_of_an_image_err_together_becomes_the_floor(errors):
    _, own, proposed, misfit, dyed = errors
    rng = np.random.default_rng(1)
    own, misfit = 0.1 * own, np.ones_like(misfit)
    error = np.hypot(1.2 * own, 0.01) * rng.standard_normal(own.shape)
    kind = learning._kinds(dyed, misfit[:, 0], own.mean(1))
    assert learning._deviations(error, own, proposed, misfit, np.ones(len(error)), kind)[1] == pytest.approx(
        0.01, rel=0.15
    )


def test_deviations_add_as_variances():
    told = calibration.deviations(np.array(0.03), np.array(0.1), np.e, [1.0, 0.04, 1.2])
    assert told == pytest.approx(0.13)
