"""What a fit says made true: deviations, presence and counts follow from the numbers learned, and say as much."""

import numpy as np
import pytest
from scipy.special import expit, logit

from napari_droplets.inference import calibration


def covariances(n=5, d=6, seed=0):
    root = np.tril(np.random.default_rng(seed).normal(0, 0.02, (n, d, d))) + 0.03 * np.eye(d)
    return root @ root.transpose(0, 2, 1)


def test_deviations_are_those_learned_and_correlations_those_of_the_guide(monkeypatch):
    terms = {"place": 2.0, "radius": 1.5, "composition": [1.0, 0.1]}
    monkeypatch.setattr(calibration, "numbers", lambda: terms)
    covariance = covariances()
    tril = calibration.calibrated(covariance)
    assert not np.triu(tril, 1).any()
    told = np.sqrt(np.sum(tril**2, -1))
    laplace = np.sqrt(np.einsum("nii->ni", covariance))
    np.testing.assert_allclose(told[:, :2], 2 * laplace[:, :2])
    np.testing.assert_allclose(told[:, 2], 1.5 * laplace[:, 2])
    np.testing.assert_allclose(told[:, 3:], np.hypot(laplace[:, 3:], 0.1))
    both = tril @ tril.transpose(0, 2, 1)
    before = covariance / (laplace[:, :, None] * laplace[:, None])
    np.testing.assert_allclose(both / (told[:, :, None] * told[:, None]), before, atol=1e-9)


def test_the_numbers_of_the_package_are_whole():
    numbers = calibration.numbers()
    assert min(numbers["place"], numbers["radius"]) > 0.5
    for terms in (numbers["composition"], numbers["count"], numbers["systematic"]["shift"]):
        assert min(terms) >= 0
    assert len(numbers["systematic"]["shift"]) == len(numbers["systematic"]["radius"]) == 3
    n = calibration.presence_features(*np.full((5, 1), 0.5)).shape[1]
    assert len(numbers["presence"]) == n
    assert numbers["about"]


def test_a_center_near_the_border_is_within_by_its_error_bars():
    x, y, sd = np.array([20, -0.5, 39.5, -5, -1.0]), np.full(5, 10.0), np.array([1, 1, 1, 0.0, 0.5])
    inside = calibration.within(x, y, sd, np.full(5, 0.1), (30, 40, 3))
    np.testing.assert_allclose(inside, [1, 0.5, 0.5, 0, 0.1587], atol=1e-4)
    np.testing.assert_allclose(calibration.within(y, x, np.full(5, 0.1), sd, (40, 30)), inside)


DOUBT = (0.2, 0.1)


def test_the_common_error_is_that_of_whoever_decides():
    terms = {"shift": [0.2, 0.4, 5], "radius": [0.3, 0.03, 0.4]}
    known = {"unexplained": 0.01, "radius": 10.0, "doubt": DOUBT, "terms": terms}
    assert calibration.systematic(1.0, **known) == pytest.approx([0.02, 0.02, 0.03])  # the pixels
    assert calibration.systematic(0.0, **known) == pytest.approx([0.08, 0.04, 0.05])  # the proposals
    both = [np.hypot(0.01, 0.04), np.hypot(0.01, 0.02), np.hypot(0.015, 0.025)]
    assert calibration.systematic(0.5, **known) == pytest.approx(both)
    assert not calibration.systematic(1.0, **known | {"unexplained": -0.1}).any()


def test_light_from_one_side_makes_centers_doubtful_along_it():
    terms = {"shift": [0.0, 0.4, 5], "radius": [0.0, 0.03, 0.4]}
    told = calibration.systematic(0.0, 0.0, 10.0, DOUBT, (0.06, 0.0), terms=terms)
    assert told == pytest.approx([0.1, 0.04, 0.05])


def test_optics_of_an_earlier_fit_bring_their_common_error():
    terms = {"shift": [0.2, 0.4, 5], "radius": [0.3, 0.03, 0.4]}
    earlier = [0.01, 0.02, 0.03]
    assert calibration.systematic(0.0, 0.01, 10.0, DOUBT, (0.1, 0.1), earlier, terms) == pytest.approx(earlier)


def test_overwhelming_evidence_makes_sure_and_its_lack_doubtful():
    """At the same probability before the fit; what was certain before it stays so."""
    p = np.array([0.6, 0.6, 0.6, 0.0, 1.0])
    worth = np.array([5000.0, 0.0, -500.0, 5000.0, -500.0])
    explained = np.array([0.99, 0.3, 0.0, 0.99, 0.0])
    features = calibration.presence_features(p, worth, explained, np.ones(5), np.zeros(5))
    told = calibration.presence(p, features)
    assert told[0] > 0.95
    assert told[0] > told[1] > told[2]
    assert told[2] < 0.1
    assert told[3:].tolist() == [0, 1]
    assert np.isfinite(calibration.presence_features(np.array([0.0, 1.0]), *np.zeros((4, 2)))).all()


def test_the_logits_are_a_linear_map_of_the_features(monkeypatch):
    slopes = [0.3, 0.8, 0.2, 1.0, -0.5, -1.0]
    monkeypatch.setattr(calibration, "numbers", lambda: {"presence": slopes})
    features = calibration.presence_features(*(np.array([v]) for v in (0.7, 10.0, 0.8, 1.2, 0.1)))
    by_hand = 0.3 + 0.8 * logit(0.7) + 0.2 * np.log(11) + 0.8 - 0.5 * np.log(1.2) - 0.1
    assert calibration.presence(np.array([0.7]), features)[0] == pytest.approx(expit(by_hand))


def test_counts_of_independent_candidates_and_of_candidates_that_err_together(monkeypatch):
    p = np.repeat([0.9, 0.2, 1.0], [50, 20, 30])
    variance = np.sum(p * (1 - p))
    for terms, sd in (([1.0, 0.0], np.sqrt(variance)), ([0.0, 0.3], 0.3 * variance)):
        monkeypatch.setattr(calibration, "numbers", lambda terms=terms: {"count": terms})
        mean, told = calibration.count(p)
        assert mean == pytest.approx(50 * 0.9 + 4 + 30)
        assert told == pytest.approx(sd)
    assert calibration.count(np.ones(9)) == (9, 0)
