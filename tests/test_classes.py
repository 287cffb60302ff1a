"""Classes of simulated posteriors with known classes, proportions and errors."""

import json

import numpy as np
import pytest

from napari_droplets.composition import classes as sorting
from napari_droplets.composition.classes import measured_of, same_classes
from napari_droplets.composition.matrices import at_least
from napari_droplets.errors import InputError

MEANS = np.array([[0.2, 0.3, 0.7], [0.5, 0.7, 0.3], [0.8, 0.3, 0.5]])
PROPORTIONS = np.array([0.55, 0.3, 0.15])


def posterior(seed, n=600, *, error=(0.02, 0.15), spread=0.05, means=MEANS, proportions=PROPORTIONS, samples=40):
    """Draws (S, N, K) of compositions known to `error`, unequal and correlated, and their classes (N,)."""
    rng = np.random.default_rng(seed)
    k = means.shape[1]
    true = rng.choice(len(means), n, p=proportions)
    composition = means[true] + spread * rng.normal(size=(n, k))
    sd = np.exp(rng.uniform(*np.log(error), n))
    root = sd[:, None, None] * (np.eye(k) + 0.4 * rng.normal(size=(n, k, k)))

    def noise(*shape):
        return np.einsum("nij,...nj->...ni", root, rng.normal(size=(*shape, n, k)))

    return composition + noise() + noise(samples), true


def classify(draws, p_present=None, classes=None):
    """Classes of joint samples."""
    return sorting.classify(measured_of(draws, p_present), classes)


def column(classes, name):
    return np.array([row[name] for row in classes.proportions])


def rand_index(a, b):
    """Adjusted Rand index (Hubert and Arabie 1985)."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)

    def pairs(count):
        return (count * (count - 1) / 2).sum()

    rows, columns = pairs(table.sum(1)), pairs(table.sum(0))
    chance = rows * columns / pairs(table.sum())
    return (pairs(table) - chance) / ((rows + columns) / 2 - chance)


def test_classes_are_found():
    draws, true = posterior(1)
    found = classify(draws)
    assert len(found.proportions) == 3
    assert rand_index(true, found.label) > 0.85
    assert np.all((column(found, "low") < PROPORTIONS) & (column(found, "high") > PROPORTIONS))
    np.testing.assert_allclose(column(found, "proportion"), PROPORTIONS, atol=0.06)
    np.testing.assert_allclose(column(found, "composition"), MEANS, atol=0.03)
    np.testing.assert_array_equal(found.p, found.probabilities.max(1))
    np.testing.assert_allclose(found.probabilities.sum(1), 1)
    json.dumps([found.proportions, found.parameters])


def test_spread_of_classes_is_without_that_of_posteriors():
    draws, _ = posterior(2, 1500, error=(0.05, 0.3))
    sd = column(classify(draws, classes=3), "composition_sd")
    assert np.sqrt(np.mean(sd**2)) == pytest.approx(0.05, abs=0.01)  # that of the posterior means is 0.17


def test_one_class_seen_with_unequal_errors_is_one():
    draws, _ = posterior(3, 1000, error=(0.01, 0.4), means=MEANS[:1], proportions=[1])
    found = classify(draws)
    assert (
        column(found, "proportion").tolist() == column(found, "low").tolist() == column(found, "high").tolist() == [1]
    )


def test_classes_need_not_be_gaussian():
    rng = np.random.default_rng(4)
    n = 1500
    true = rng.choice(3, n, p=PROPORTIONS)
    skewed = 0.2 + 0.6 * np.eye(3)[true] + 0.08 * (rng.gamma(2, size=(n, 3)) - 2)
    found = classify(skewed + 0.03 * rng.normal(size=(n, 3)) + 0.03 * rng.normal(size=(20, n, 3)))
    assert len(found.proportions) == 3
    assert rand_index(true, found.label) > 0.95
    even = rng.uniform(size=(n, 3)) + 0.05 * rng.normal(size=(20, n, 3))
    assert len(classify(even).proportions) == 1


def test_probabilities_are_frequencies():
    close = 0.5 + 0.35 * (MEANS - 0.5)
    draws, true = posterior(5, 5000, error=(0.02, 0.1), means=close)
    found = classify(draws, classes=3)
    right = found.label == true
    for low, high in ((0.4, 0.7), (0.7, 0.9), (0.9, 0.99), (0.99, 1)):
        some = (low <= found.p) & (found.p < high)
        assert some.sum() > 100
        assert abs(right[some].mean() - found.p[some].mean()) < 0.05


@pytest.mark.parametrize("error", [(0.02, 0.15), (0.05, 0.3)])
def test_intervals_of_proportions_cover(error):
    """60 slides of three classes: the bounds are 3 standard errors of a coverage of 95 % of 120 independent ones."""
    covered = []
    for seed in range(60):
        found = classify(posterior(100 + seed, 300, error=error, samples=20)[0], classes=3)
        order = np.argsort(column(found, "composition")[:, 0])
        covered.append((column(found, "low")[order] <= PROPORTIONS) & (column(found, "high")[order] >= PROPORTIONS))
    assert 0.89 <= np.mean(covered) <= 0.995


def test_intervals_widen_with_doubt_about_compositions():
    sharp, _ = posterior(6, 400, error=(0.005, 0.01), spread=0.03)
    wide, _ = posterior(6, 400, error=(0.2, 0.3), spread=0.03)
    width = [np.mean(column(f, "high") - column(f, "low")) for f in (classify(d, classes=3) for d in (sharp, wide))]
    counted = np.mean(2 * 1.96 * np.sqrt(PROPORTIONS * (1 - PROPORTIONS) / 400))
    assert width[0] == pytest.approx(counted, rel=0.1)
    assert width[1] > 1.3 * width[0]


def test_droplets_count_by_the_probability_that_they_are_there():
    draws, true = posterior(7)
    p = np.where(true == 0, 0.25, 1.0)
    there = PROPORTIONS * [0.25, 1, 1] / (PROPORTIONS @ [0.25, 1, 1])
    found = classify(draws, p)
    by_composition = np.argsort(column(found, "composition")[:, 0])
    np.testing.assert_allclose(column(found, "proportion")[by_composition], there, atol=0.06)
    unknown = classify(draws, np.where(true == 0, np.nan, 1))
    np.testing.assert_allclose(column(unknown, "proportion"), column(classify(draws), "proportion"))


def test_composition_counts_up_to_an_affine_map():
    draws, _ = posterior(8, error=(0.005, 0.02), spread=0.08)
    turned = classify(draws @ [[0.5, 0.2, 0.1], [-0.3, 0.4, 0], [0.1, 0.1, 0.5]] + 0.2)
    found = classify(draws)
    np.testing.assert_allclose(found.probabilities, turned.probabilities, atol=0.02)


@pytest.mark.parametrize("simplex", [False, True])
def test_what_the_prior_says_is_not_taken_for_a_measurement(simplex):
    means = np.array([[0.1, 0.8, 0.1], [0.35, 0.3, 0.35]])
    draws, _ = posterior(16, means=means, proportions=[0.6, 0.4], error=(0.01, 0.05), samples=200)
    rng = np.random.default_rng(0)
    draws[:, :200] = rng.dirichlet(np.ones(3), (200, 200)) if simplex else rng.uniform(size=(200, 200, 3))
    if simplex:
        draws[..., 2] = 1 - draws[..., :2].sum(-1)
    found = classify(draws, classes=2)
    np.testing.assert_allclose(column(found, "proportion"), [0.6, 0.4], atol=0.06)
    np.testing.assert_allclose(found.probabilities[:200].mean(0), column(found, "proportion"), atol=0.06)


def test_order_of_droplets_does_not_matter():
    draws, _ = posterior(9)
    order = np.random.default_rng(0).permutation(draws.shape[1])
    np.testing.assert_array_equal(classify(draws).label[order], classify(draws[:, order]).label)


def test_simplex():
    means = MEANS / MEANS.sum(1, keepdims=True)
    draws, true = posterior(10, means=means, error=(0.003, 0.015), spread=0.03)
    draws[..., 2] = 1 - draws[..., :2].sum(-1)
    found = classify(draws)
    assert rand_index(true, found.label) > 0.95
    np.testing.assert_allclose(column(found, "composition"), means, atol=0.02)
    np.testing.assert_allclose(column(found, "composition").sum(1), 1)
    again = same_classes(found.parameters, measured_of(draws))
    np.testing.assert_array_equal(again.label, found.label)


def test_last_fraction_says_nothing_new():
    draws, _ = posterior(17, means=MEANS / MEANS.sum(1, keepdims=True), error=(0.003, 0.015), spread=0.1)
    draws[..., 2] = 1 - draws[..., :2].sum(-1)
    three, two = (classify(d, classes=3).probabilities for d in (draws, draws[..., :2]))
    np.testing.assert_allclose(three, two, atol=0.03)


def test_one_component():
    draws, true = posterior(11, means=MEANS[[0, 2], :1], proportions=[0.6, 0.4], error=(0.01, 0.05))
    np.testing.assert_array_equal(classify(draws).label, true)


def test_same_classes_in_another_image():
    first, _ = posterior(12, 800)
    found = classify(first)
    proportions = np.array([0.1, 0.05, 0.85])
    second, true = posterior(13, 800, proportions=proportions)
    same = same_classes(json.loads(json.dumps(found.parameters)), measured_of(second))
    assert rand_index(true, same.label) > 0.85
    assert np.mean(same.label == true) > 0.95  # the numbers of the first image, not the most frequent first
    assert np.all((column(same, "low") < proportions) & (proportions < column(same, "high")))
    assert same.parameters["mean"] == found.parameters["mean"]


def test_unknown_compositions_have_no_class():
    draws, _ = posterior(14)
    draws[3, 5, 1] = np.nan
    found = classify(draws)
    assert found.label[5] == -1
    assert np.isnan(found.p[5])
    assert np.isnan(found.probabilities[5]).all()
    rest = classify(np.delete(draws, 5, 1))
    np.testing.assert_array_equal(np.delete(found.label, 5), rest.label)


@pytest.mark.parametrize("n", [0, 1, 2, 5])
@pytest.mark.parametrize("classes", [None, 3])
def test_few_droplets(n, classes):
    found = classify(np.random.default_rng(n).uniform(size=(20, n, 3)), classes=classes)
    assert found.label.shape == found.p.shape == (n,)
    assert len(found.proportions) == found.probabilities.shape[1] == (min(n, 1 if classes is None else 3))
    assert np.isfinite(column(found, "high")).all()
    assert np.isfinite(found.p).all()


@pytest.mark.parametrize("classes", [None, 3])
def test_equal_droplets_are_of_one_class(classes):
    found = classify(np.full((10, 50, 3), 0.3), classes=classes)
    assert found.label.tolist() == [0] * 50
    assert column(found, "composition") == pytest.approx(np.full((1, 3), 0.3))


def test_nothing_known_is_no_class():
    assert classify(np.full((10, 4, 3), np.nan)).label.tolist() == [-1] * 4
    assert len(classify(np.random.default_rng(0).uniform(size=(10, 40, 3)), np.zeros(40)).proportions) == 1


def test_wrong_input():
    draws, _ = posterior(15, 50)
    for classes in (0, 2.5, True, "3"):
        with pytest.raises(InputError, match="whole number"):
            classify(draws, classes=classes)
    with pytest.raises(InputError, match="samples, droplets, components"):
        classify(draws[0])
    with pytest.raises(InputError, match="50 droplets"):
        classify(draws, np.ones(49))
    with pytest.raises(InputError, match="3 components"):
        same_classes(classify(draws).parameters, measured_of(draws[..., :2]))


def test_covariances_that_rounding_made_negative_are_mended():
    bad = np.array([[1.0, 2.0], [2.0, 1.0]])[..., None]  # eigenvalues 3 and -1
    mended = at_least(bad, np.array([0.01]))[..., 0]
    np.testing.assert_allclose(np.linalg.eigvalsh(mended), [0.01, 3])
