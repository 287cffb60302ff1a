from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from napari_droplets.detection.cells import Cells, calibrated
from napari_droplets.training.calibration.network import Evidence, fitted


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
    image = np.arange(n) // 100
    found = Cells(zero, zero, expit(2 * logit), zero, zero, zero + 5, sd, sd, sd)
    return Evidence(found, right, error, image, np.bincount(image, right))


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
    np.testing.assert_allclose(result.p[certain], evidence.right[certain].mean(), atol=0.005)


def test_intervals_hold_after_calibration(evidence):
    marginal = fitted(evidence)
    np.testing.assert_allclose(marginal.sd, [2.0, 1.0, 1.5], rtol=0.02)


def test_the_map_is_increasing(evidence):
    assert np.all(np.diff(fitted(evidence).p, axis=0) >= 0)


def images(rng, n, shift):
    """Candidates of images, the logits of each shifted together; nothing else is wrong."""
    parts = []
    for i in range(n):
        logit = rng.normal(rng.normal(0, 2), 1, rng.integers(5, 300))
        right = rng.random(len(logit)) < expit(logit + shift * rng.standard_normal())
        parts.append((expit(logit), right, np.full(len(logit), i)))
    p, right, image = (np.concatenate(part) for part in zip(*parts, strict=True))
    one = np.ones(len(p))
    error = np.where(right[:, None], rng.standard_normal((len(p), 3)), np.nan)
    return Evidence(Cells(one, one, p, one, one, one, one, one, one), right, error, image, np.bincount(image, right))


@pytest.mark.parametrize("shift", [0.0, 0.8])
def test_the_number_of_droplets_is_inside_its_interval(shift):
    marginal = fitted(images(np.random.default_rng(1), 300, shift))
    others = images(np.random.default_rng(2), 600, shift)
    p = calibrated(others.found, marginal).p
    each = [p[others.image == i] for i in range(600)]
    z = np.abs([part.sum() for part in each] - others.n_true) / [marginal.count_sd(part) for part in each]
    assert np.mean(z < 1) == pytest.approx(0.68, abs=0.06)
    assert np.mean(z < 1.96) == pytest.approx(0.95, abs=0.03)
    if shift:  # as if candidates were independent
        z = z * [marginal.count_sd(part) / np.sqrt(np.sum(part * (1 - part))) for part in each]
        assert np.mean(z < 1.96) < 0.7


def test_doubtful_images_are_told_from_clear_ones():
    """Where all is clear the network is right; where all is doubtful it is right about little: one map fits neither."""
    rng = np.random.default_rng(3)
    parts = []
    for i in range(200):
        doubtful = i % 2
        logit = rng.normal(0, 2, 200) + (0 if doubtful else 3 * rng.choice([-1, 1], 200))
        parts.append((expit(logit), rng.random(200) < expit(logit - 2 * doubtful), np.full(200, i)))
    p, right, image = (np.concatenate(part) for part in zip(*parts, strict=True))
    one = np.ones(len(p))
    error = np.where(right[:, None], rng.standard_normal((len(p), 3)), np.nan)
    found = Cells(one, one, p, one, one, one, one, one, one)
    result = calibrated(found, fitted(Evidence(found, right, error, image, np.bincount(image, right))), image)
    for kind in (0, 1):
        for low in (0.1, 0.3, 0.5, 0.7):
            some = (image % 2 == kind) & (result.p >= low) & (result.p < low + 0.2)
            assert right[some].mean() == pytest.approx(result.p[some].mean(), abs=0.05)
            assert some.sum() > 300
