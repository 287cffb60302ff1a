"""What is learned of errors makes intervals right for each kind of droplets."""

import numpy as np
import pytest
from drawn import placed, prepared
from scipy.special import expit

from napari_droplets.inference import calibration
from napari_droplets.inference.laplace import Belief, Evidence
from napari_droplets.training import fit_calibration as learning


@pytest.fixture
def errors():
    """Errors of places with known standard deviations: dyed images that the model explains and not, and scenes."""
    rng = np.random.default_rng(0)
    n = 6000
    dyed = np.arange(n) < 4000
    wrong = np.where(np.arange(n) % 2 == 0, 0.03, 0.08)
    wrong[~dyed] = 0.3
    own, proposed = np.exp(rng.normal(-5, 1, (n, 2))), np.exp(rng.normal(-3, 0.3, (n, 2)))
    sd = calibration.deviations(own, proposed, wrong[:, None], [1.6, 0.004, 1.5])
    return sd * rng.standard_normal((n, 2)), own, proposed, wrong[:, None], dyed


def test_intervals_are_right_for_each_kind(errors):
    error, own, proposed, wrong, dyed = errors
    kind = learning._kinds(dyed, wrong[:, 0], own.mean(1))
    assert len(np.unique(kind)) == 2 * learning.SHARES + 1
    terms = learning._deviations(error, own, proposed, wrong, np.ones(len(error)), kind)
    z = np.abs(error / calibration.deviations(own, proposed, wrong, list(terms)))
    for one in np.unique(kind):
        assert np.mean(z[kind == one] < 1) == pytest.approx(0.683, abs=0.05)
        assert np.mean(z[kind == one] < 2) == pytest.approx(0.954, abs=0.03)


def test_what_droplets_of_an_image_err_together_becomes_the_floor(errors):
    _, own, proposed, wrong, dyed = errors
    rng = np.random.default_rng(1)
    own, wrong = 0.1 * own, np.zeros_like(wrong)
    error = np.hypot(1.2 * own, 0.01) * rng.standard_normal(own.shape)
    kind = learning._kinds(dyed, wrong[:, 0], own.mean(1))
    assert learning._deviations(error, own, proposed, wrong, np.ones(len(error)), kind)[1] == pytest.approx(
        0.01, rel=0.15
    )


def test_deviations_add_as_variances():
    told = calibration.deviations(np.array(0.03), np.array(0.1), 0.5, [1.0, 0.04, 2.4])
    assert told == pytest.approx(0.13)


def test_radii_are_drawn_to_the_proposals_where_the_model_is_wrong_and_places_stay():
    setup, _ = prepared(placed(0))
    prior, anchor = setup.prior, setup.anchor
    n = len(anchor)
    mean = np.tile([0.1, -0.1, 0.2, 0.0, 0.0, 0.0], (n, 1))
    belief = Belief(mean, np.tile(1e4 * np.eye(6), (n, 1, 1)))
    zero, tile = np.zeros(n), np.ones(1)
    told_sd = np.full(n, 0.1, np.float32)
    prior = prior._replace(position_sd=told_sd * anchor[:, 2], log_radius_sd=told_sd)

    def told(left):
        gain = np.full(n, (1 - left) / 2 / n)
        seen = Evidence(zero, zero, zero, zero, gain, tile, left * tile, zero > 0, tile > 0, 1.0, 1.0)
        assert seen.unexplained == pytest.approx(left)
        return calibration.reported(belief, seen, prior, anchor)

    right, wrong = told(0.0), told(0.16)
    np.testing.assert_allclose(right.mean, mean)
    proposed = prior.log_radius - np.log(anchor[:, 2])
    expected = proposed + (0.2 - proposed) / (1 + 0.16 * calibration.DISCREPANCY**2)
    np.testing.assert_allclose(wrong.mean[:, 2], expected, rtol=1e-5)
    np.testing.assert_allclose(np.delete(wrong.mean, 2, 1), np.delete(mean, 2, 1))
    spread = [np.sqrt(np.einsum("nij,nij->ni", r.tril, r.tril)) for r in (right, wrong)]
    assert (spread[1][:, :3] > spread[0][:, :3]).all()


def test_terms_of_compositions_are_found_whatever_the_number_of_dyes():
    """From images of two and of three dyes together, with droplets sure and unsure in each."""
    rng = np.random.default_rng(2)
    images, n, k = 16, 300, 3
    terms = 1.4, 0.06, 1.5
    wrong = np.repeat(rng.uniform(0, 0.1, images), n)
    own = np.exp(rng.normal(-3, 1, (images * n, k)))
    right = rng.normal(0, 0.7, own.shape)
    sd = np.hypot(terms[0] * own, terms[1] + terms[2] * wrong[:, None])
    dyes = np.full((images * n, 4), np.nan)
    for image in range(images):
        rows, types = slice(image * n, (image + 1) * n), 2 + image % 2
        dyes[rows, :types] = expit(right[rows]) @ rng.normal(0, 1, (k, types))
    unknown = np.full(len(own), np.nan)
    logits = np.concatenate([right + sd * rng.standard_normal(own.shape), unknown[:, None]], 1)
    covariance = np.full((len(own), 4, 4), np.nan)
    covariance[:, :k, :k] = own[:, :, None] ** 2 * np.eye(k)
    table = {
        "image": np.repeat(np.arange(images), n),
        "composition": dyes,
        "logits": logits,
        "covariance": covariance,
        "wrong": wrong,
    }
    everyone = np.ones(len(own), bool)
    found = learning._composition(table, everyone, everyone.astype(float))
    told = np.hypot(found[0] * own, found[1] + found[2] * wrong[:, None])
    assert np.median(told / sd) == pytest.approx(1, abs=0.1)
    for share in np.array_split(np.argsort(own.mean(1)), learning.SHARES):
        assert np.median((told / sd)[share]) == pytest.approx(1, abs=0.15)
