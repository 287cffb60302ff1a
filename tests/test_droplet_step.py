"""Steps of the droplets, on problems whose posterior is known exactly."""

import numpy as np
import pytest

from napari_droplets.inference.calibration import discrepancy
from napari_droplets.inference.steps.droplet_step import (
    LONGEST,
    UNKNOWN_PLACE_SD,
    UNKNOWN_RADIUS_SD,
    Guide,
    Prior,
    common_offset,
    divergence,
    moved,
    precision_of,
    prior_of,
    step,
    tempered,
)
from napari_droplets.inference.steps.gauss_newton import Evidence
from napari_droplets.model.priors import COMMON_SD
from napari_droplets.model.problem import PLACE, Form
from napari_droplets.transforms import log_density

FORM = Form(3, 1)
N, D = 5, FORM.dimensions
PLACES = np.arange(D) < PLACE


def seen(information, gradient, unexplained=0.0):
    """Evidence of pixels that say this much."""
    n = len(information)
    one = np.ones(n)
    return Evidence(
        information=information,
        gradient=gradient,
        gain=one,
        removed=one,
        misfit=one,
        inflation=one,
        unexplained=unexplained * one,
        noise=0.01,
        squares=1.0,
    )


def problem(seed=0, recognized=True):
    """Quadratic log likelihoods around targets near the means, and the prior."""
    rng = np.random.default_rng(seed)
    root = rng.normal(0, 20, (N, D, D))
    information = root @ root.transpose(0, 2, 1)
    mean = rng.normal(0, 0.02, (N, D))
    target = mean + rng.normal(0, 0.02, (N, D))
    gradient = np.einsum("nij,nj->ni", information, target - mean)
    prior = Prior(rng.normal(0, 0.02, (N, PLACE)), rng.uniform(0.02, 0.1, (N, PLACE)), np.full(N, recognized))
    free = np.broadcast_to(PLACES, (N, D))
    return mean, target, seen(information, gradient), prior, free


def test_one_step_is_the_exact_posterior():
    """Where nothing is in common each droplet is on its own: precision-weighted means."""
    mean, _target, evidence, prior, free = problem(recognized=False)
    guide, common = step(mean, evidence, prior, free, FORM, 0.0)
    np.testing.assert_allclose(common, 0, atol=1e-12)
    for k in range(N):
        part = evidence.information[k][:PLACE, :PLACE]
        # the composition is held where it is
        pull = part @ mean[k, :PLACE] + evidence.gradient[k, :PLACE]
        weight = np.diag(prior.sd[k] ** -2)
        exact = np.linalg.solve(part + weight, pull + weight @ prior.mean[k])
        np.testing.assert_allclose(guide.mean[k, :PLACE], exact, atol=2e-6)
        np.testing.assert_allclose(
            guide.covariance[k, :PLACE, :PLACE], np.linalg.inv(part + weight), rtol=1e-3, atol=1e-9
        )
    assert np.abs(guide.mean - mean).max() > 0.005


def test_the_common_error_is_eliminated_exactly():
    """Against one dense solution for all droplets and what their proposals have in common."""
    mean, _, evidence, prior, free = problem(1)
    prior = prior._replace(recognized=np.arange(N) != 2)
    guide, common = step(mean, evidence, prior, free, FORM, 0.0)
    size = PLACE * N + PLACE
    precision, pull = np.zeros((size, size)), np.zeros(size)
    last = slice(PLACE * N, size)
    precision[last, last] = np.diag(np.array(COMMON_SD) ** -2.0)
    for k in range(N):
        mine = slice(PLACE * k, PLACE * (k + 1))
        part, weight = evidence.information[k][:PLACE, :PLACE], np.diag(prior.sd[k] ** -2)
        precision[mine, mine] += part + weight
        pull[mine] += part @ mean[k, :PLACE] + evidence.gradient[k, :PLACE] + weight @ prior.mean[k]
        if prior.recognized[k]:  # its error is own plus common
            precision[last, last] += weight
            precision[mine, last] -= weight
            precision[last, mine] -= weight
            pull[last] -= weight @ prior.mean[k]
    exact = np.linalg.solve(precision, pull)
    np.testing.assert_allclose(guide.mean[:, :PLACE].ravel(), exact[: PLACE * N], atol=2e-6)
    np.testing.assert_allclose(common, exact[last], atol=2e-6)
    assert np.abs(common).max() > 0.005


def test_a_second_step_goes_nowhere():
    mean, target, evidence, prior, free = problem(2)
    first, _ = step(mean, evidence, prior, free, FORM, 0.0)
    gradient = np.einsum("nij,nj->ni", evidence.information, target - first.mean)
    second, _ = step(first.mean, evidence._replace(gradient=gradient), prior, free, FORM, 0.0)
    np.testing.assert_allclose(second.mean, first.mean, atol=1e-6)


def test_what_pixels_share_counts_less():
    mean, _, evidence, prior, free = problem(3, recognized=False)
    weak = evidence._replace(inflation=np.full(N, 16.0))
    less = evidence._replace(information=evidence.information / 16, gradient=evidence.gradient / 16)
    found, expected = (step(mean, e, prior, free, FORM, 0.0)[0] for e in (weak, less))
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-10)
    np.testing.assert_allclose(found.precision, expected.precision, rtol=1e-10)


def test_what_is_no_circle_counts_as_if_circles_scattered():
    """The likelihood of a place that scatters about the droplet's: covariances add."""
    mean, target, evidence, _, _ = problem(3)
    part = 0.04
    information, gradient = tempered(evidence._replace(unexplained=np.full(N, part)), learned=True)
    scatter = np.zeros((D, D))
    scatter[:PLACE, :PLACE] = np.eye(PLACE) * discrepancy() ** 2 * part
    for k in range(N):
        expected = np.linalg.inv(np.linalg.inv(evidence.information[k]) + scatter)
        np.testing.assert_allclose(information[k], expected, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(gradient[k], expected @ (target - mean)[k], rtol=1e-6, atol=1e-6)
    same = tempered(evidence, learned=True)
    np.testing.assert_allclose(same[0], evidence.information, rtol=1e-9)
    np.testing.assert_allclose(same[1], evidence.gradient, rtol=1e-9)


def test_damping_shortens_steps_and_leaves_the_precision():
    mean, _, evidence, prior, free = problem(4, recognized=False)
    guides = [step(mean, evidence, prior, free, FORM, damping)[0] for damping in (0.0, 0.5, 10.0)]
    lengths = [np.linalg.norm(g.mean - mean) for g in guides]
    assert lengths[0] > lengths[1] > lengths[2] > 0
    np.testing.assert_array_equal(guides[0].precision, guides[2].precision)


def test_what_is_held_stays():
    mean, _, evidence, prior, _ = problem(5)
    free = np.ones((N, D), bool)
    free[1] = False
    free[2, :PLACE] = False
    free[3, PLACE:] = False
    guide, _ = step(mean, evidence, prior, free, FORM, 0.01)
    np.testing.assert_array_equal(guide.mean[~free], mean[~free])
    assert (guide.mean != mean)[free].all()
    assert np.sqrt(guide.covariance[1].diagonal()).max() < 1e-3
    others = np.array([0, 3, 4])
    alone, _ = step(
        mean[others],
        seen(*(a[others] for a in evidence[:2])),
        Prior(*(a[others] for a in prior)),
        free[others],
        FORM,
        0.01,
    )
    np.testing.assert_allclose(guide.mean[others], alone.mean, atol=1e-6)  # what is held says nothing of the rest


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["information", "gradient"])
def test_a_sick_droplet_stays_and_the_others_move_on(value, where):
    mean, _, evidence, prior, free = problem(6)
    sick = {"information": evidence.information.copy(), "gradient": evidence.gradient.copy()}
    sick[where][2] = value
    others = np.arange(N) != 2
    rest = seen(evidence.information[others], evidence.gradient[others])
    expected, _ = step(mean[others], rest, Prior(*(a[others] for a in prior)), free[others], FORM, 0.0)
    guide, common = step(mean, seen(**sick), prior, free, FORM, 0.0)
    np.testing.assert_array_equal(guide.mean[2], mean[2])
    assert np.isfinite(common).all()
    np.testing.assert_allclose(guide.mean[others], expected.mean, atol=1e-3)


@pytest.mark.parametrize("information", ["nothing", "one direction", "enormous"])
def test_singular_information_is_no_trouble(information):
    mean, _, evidence, prior, free = problem(7)
    matrix = evidence.information.copy()
    matrix[2] = {"nothing": 0 * np.eye(D), "one direction": 1e12 * np.ones((D, D)), "enormous": 1e30 * np.eye(D)}[
        information
    ]
    gradient = evidence.gradient.copy()
    gradient[2] = 0
    guide, common = step(mean, seen(matrix, gradient), prior, free, FORM, 0.01)
    assert np.isfinite(guide.mean).all()
    assert np.isfinite(common).all()
    assert np.isfinite(guide.covariance).all()
    assert np.abs(guide.mean - mean)[np.arange(N) != 2].max() > 1e-3


def test_no_step_is_longer_than_allowed():
    mean, _, evidence, prior, free = problem(9, recognized=False)
    far = evidence._replace(gradient=1e6 * np.sign(evidence.gradient))
    guide, _ = step(mean, far, prior._replace(sd=np.full((N, PLACE), 10.0)), free, FORM, 0.0)
    steps = np.abs(guide.mean - mean)[:, :PLACE]
    assert (steps <= LONGEST + 1e-12).all()
    assert steps.max() == pytest.approx(LONGEST.max())


@pytest.mark.parametrize(("kind", "types"), [("free", 2), ("simplex", 2), ("simplex", 3), ("simplex", 5)])
@pytest.mark.parametrize("at", [0.0, 1.5])
def test_divergence_is_that_of_samples(kind, types, at):
    """A narrow Gaussian against the prior, by 200,000 draws; compositions in the middle and off it."""
    form = Form(3, types, kind)
    d = form.dimensions
    rng = np.random.default_rng(0)
    mean = np.concatenate([rng.normal(0, 0.05, PLACE), at * np.where(np.arange(d - PLACE) % 2, -1, 1)])[None]
    root = np.tril(rng.normal(0, 0.02, (d, d))) + 0.08 * np.eye(d)
    covariance = root @ root.T
    prior = Prior(rng.normal(0, 0.05, (1, PLACE)), np.array([[0.1, 0.2, 0.15]]), np.zeros(1, bool))
    told = divergence(Guide(mean, np.linalg.inv(covariance)[None], covariance[None]), prior, form)[0]
    draws = rng.standard_normal((200_000, d))
    log_q = -0.5 * (draws**2).sum(1) - np.log(np.diag(root)).sum() - 0.5 * d * np.log(2 * np.pi)
    z = mean + draws @ root.T
    off = (z[:, :PLACE] - prior.mean) / prior.sd
    log_p = -0.5 * (off**2).sum(1) - np.log(prior.sd).sum() - 0.5 * PLACE * np.log(2 * np.pi)
    log_p += log_density(z[:, PLACE:].T, kind)
    if kind == "simplex":  # uniform: a density of (K - 1)!
        log_p += np.log(np.arange(1, types)).sum()
    assert told == pytest.approx(np.mean(log_q - log_p), abs=0.05)


def test_divergence_grows_with_what_is_known():
    form = Form(3, 3)
    prior = Prior(np.zeros((2, 3)), np.full((2, 3), 0.1), np.zeros(2, bool))
    precision = np.stack([np.eye(6) * 1e2, np.eye(6) * 1e6])
    wide, narrow = divergence(Guide(np.zeros((2, 6)), precision, np.linalg.inv(precision)), prior, form)
    assert narrow - wide == pytest.approx(0.5 * 6 * np.log(1e4), rel=0.1)


def test_precision_is_information_and_prior():
    mean, _, evidence, prior, _ = problem(10)
    found = precision_of(evidence.information, mean, prior, np.ones((N, D), bool), FORM)
    extra = found - evidence.information
    np.testing.assert_allclose(np.einsum("nii->ni", extra)[:, :PLACE], prior.sd**-2, rtol=1e-6)
    np.testing.assert_allclose(extra[:, PLACE, PLACE], 0.5, atol=0.01)  # of a logistic variable in its middle


def test_what_all_have_in_common_is_found_and_moved():
    rng = np.random.default_rng(11)
    mean = rng.normal(0, 0.01, (40, D))
    free = np.ones((40, D), bool)
    free[3] = False
    prior = Prior(np.zeros((40, PLACE)), np.full((40, PLACE), 0.05), np.arange(40) < 35)
    by = np.array([0.05, -0.03, 0.1])
    after = moved(mean, by, free)
    np.testing.assert_array_equal(after[3], mean[3])
    relative = np.exp(mean[:, 2])
    keep = free[:, 0]
    np.testing.assert_allclose((after - mean)[keep, 0], 0.05 * relative[keep])
    np.testing.assert_allclose((after - mean)[keep, 2], 0.1)
    after[:5, :PLACE] += 3  # some that are far off do not count
    np.testing.assert_allclose(common_offset(after, prior), [0.05 / np.exp(0.1), -0.03 / np.exp(0.1), 0.1], atol=0.01)
    nobody = prior._replace(recognized=np.zeros(40, bool))
    np.testing.assert_array_equal(common_offset(after, nobody), 0)


def test_priors_are_deviations_in_radii_with_those_of_y_of_their_own():
    radius = np.array([2.0, 10, 5])
    x_sd, y_sd, r_sd = np.array([0.1, 1, np.nan]), np.array([0.4, 1, 1]), np.array([0.2, 1, np.nan])
    prior = prior_of(radius, (x_sd, y_sd, r_sd), np.ones(3, bool))
    np.testing.assert_allclose(prior.sd[0], [0.05, 0.2, 0.1])
    np.testing.assert_allclose(prior.sd[2], [UNKNOWN_PLACE_SD, 0.2, UNKNOWN_RADIUS_SD])
    np.testing.assert_allclose(prior.mean[:2], 0)
    assert prior.mean[2, 2] == pytest.approx(np.log(np.median(radius) / 5))
    assert prior.recognized.tolist() == [True, True, False]
    nothing = prior_of(radius, (None, None, None), np.zeros(3, bool))
    np.testing.assert_allclose(nothing.mean[:, 2], np.log(5 / radius))
    np.testing.assert_allclose(nothing.sd, [[UNKNOWN_PLACE_SD, UNKNOWN_PLACE_SD, UNKNOWN_RADIUS_SD]] * 3)
