"""Who enters a fit, who joins and leaves it, and how probable each droplet is."""

from functools import partial

import numpy as np
import pytest
from drawn import NOISE, placed, prepared, showing, truth, vacant

import napari_droplets as nd
from napari_droplets.inference import laplace, population, posterior, prepare

SHAPE = (48, 64)


def told(x, p, sd=0.1):
    """Candidates of the network at these places."""
    x = np.asarray(x, float)
    some = np.full(len(x), sd)
    return nd.Droplets(x, x + 1, np.full(len(x), 4.0), some, some, some, p_present=np.asarray(p, float))


def test_the_networks_candidates_alone():
    start = population.gathered(None, told([10, 20, 30], [0.9, 0.02, 0.1]), asserted=False)
    assert start.x.tolist() == [10, 30]
    assert start.p_present.tolist() == [0.9, 0.1]


def test_points_give_way_to_what_the_network_sees_of_the_same_droplet():
    points = nd.Droplets([10.5, 50, 70], [11, 30, 31], [3, 5, 6])
    start = population.gathered(points, told([10, 30], [0.4, 0.2]), asserted=True)
    assert start.x.tolist() == [10, 50, 70, 30]
    assert start.radius.tolist() == [4, 5, 6, 4]
    assert start.p_present.tolist() == [population.ASSERTED] * 3 + [0.2]
    np.testing.assert_array_equal(start.x_sd, [0.1, np.nan, np.nan, 0.1])
    sure = population.gathered(points, told([10], [0.97]), asserted=True)
    assert sure.p_present[0] == 0.97


def test_blobs_are_as_probable_as_the_network_says():
    points = nd.Droplets([10.5, 50], [11, 30], [3, 5])
    start = population.gathered(points, told([10, 30], [0.4, 0.2]), asserted=False)
    assert start.p_present.tolist() == [0.4, population.BLOB, 0.2]


def test_known_probabilities_and_deviations_of_points_stay():
    points = nd.Droplets([50], [30], [3], x_sd=[0.5], y_sd=[0.6], radius_sd=[0.7], p_present=[0.8])
    start = population.gathered(points, told([10], [0.4]), asserted=True)
    assert start.p_present.tolist() == [0.8, 0.4]
    assert start.radius_sd.tolist() == [0.7, 0.1]


def test_pinned_points_stay_where_they_are():
    labels = {"pinned": np.array([True, False])}
    points = nd.Droplets([10.5, 20.5], [11, 21], [3, 3], labels=labels)
    start = population.gathered(points, told([10, 20, 40], [0.4, 0.4, 0.4]), asserted=True)
    assert start.x.tolist() == [10.5, 20, 40]
    assert start.radius.tolist() == [3, 4, 4]
    assert start.p_present.tolist() == [1, 0.5, 0.4]
    assert population.pinned_rows(start).tolist() == [True, False, False]


def test_a_candidate_far_larger_than_the_rest_waits_unless_it_is_likely_or_a_users():
    n = 8
    radius = np.r_[np.linspace(3, 5, n), 60, 60, 15]
    p = np.r_[np.full(n, 0.9), 0.4, 0.6, 0.4]
    found = population.likely(nd.Droplets(20.0 * np.arange(n + 3), np.zeros(n + 3), radius, p_present=p))
    assert found.tolist() == [True] * n + [False, True, True]
    bubble = nd.Droplets([300], [300], [60])
    assert population.likely(population.gathered(bubble, told(20 * np.arange(n), p[:n]), asserted=True)).all()


def test_nobody_is_likely_among_doubtful_candidates():
    assert not population.likely(told([10, 20], [0.1, 0.2])).any()


@pytest.mark.parametrize("pinned", [[1.0, np.nan], ["True", None], [True, False], ["true", ""]])
def test_pinned_is_read_from_any_table(pinned):
    droplets = nd.Droplets([1, 2], [1, 2], [1, 1], labels={"pinned": np.array(pinned, object)})
    assert population.pinned_rows(droplets).tolist() == [True, False]


def test_labels_and_compositions_of_points_survive():
    labels = {"track_id": np.array([7, 8]), "note": np.array(["acid", "base"]), "good": np.array([True, False])}
    made_of = [[0.2, 0.8], [0.4, 0.6]]
    points = nd.Droplets([10.5, 50], [11, 30], [3, 5], composition=made_of, labels=labels)
    start = population.gathered(points, told([10, 30], [0.4, 0.2]), asserted=True)
    np.testing.assert_array_equal(start.composition, [*made_of, [np.nan, np.nan]])
    table = start.to_dataframe()
    assert table["note"].tolist()[:2] == ["acid", "base"]
    assert table["good"].tolist()[:2] == [True, False]
    assert table["track_id"].tolist()[:2] == [7, 8]
    assert table.loc[2, ["note", "good", "track_id"]].isna().all()


def test_duplicates_lie_on_a_larger_droplet():
    x = np.array([10.0, 12.0, 30.0, 34.0, 11.0])
    y = np.array([10.0, 10.0, 30.0, 30.0, 11.0])
    radius = np.array([5.0, 2.0, 3.0, 3.0, 1.0])
    assert population.duplicates(x, y, radius).tolist() == [False, True, False, False, True]
    assert population.duplicates(x[:1], y[:1], radius[:1]).tolist() == [False]


def reconsidered(real, rows=None, **changed):
    """A census of candidates, `rows` (by default the real ones), on an image of the real ones.

    `changed` may hold `present`, `probability` and `waiting` of the rows. Returns who is present, the parameters of all
    of them, and what each is worth.
    """
    drawn, clean = prepared(real)
    rows = real if rows is None else rows
    setup = showing(prepared(rows)[0], clean)
    # as at the end of a fit: optics and background are those that the image was drawn with
    z, shared = truth(setup)[0], truth(drawn)[1]
    padded = len(z)
    given = {"present": True, "probability": 0.6, "waiting": False} | changed
    present, probability, waiting = (
        np.pad(np.broadcast_to(given[k], len(rows)), (0, padded - len(rows)))
        for k in ("present", "probability", "waiting")
    )
    total = len(setup.problem.corner)

    def viewed(droplets, present):
        parameters = drawn.state.parameters
        mean = parameters.mean._replace(droplets=droplets.astype(np.float32), shared=shared)
        located = posterior.mean_latents(parameters._replace(mean=mean), setup.anchor, setup.form)
        view = prepare.look(located, present, setup.tiles, total, 0)
        return setup.problem._replace(view=view)

    def polish(droplets, problem, steps):
        return laplace.polish(droplets, shared, problem, NOISE, setup.form, np.ones_like(z), steps)

    prior = partial(laplace.prior_belief, form=setup.form)
    census = population.reconsidered(
        z, present, probability, waiting, viewed, polish, lambda droplets, problem: prior(problem, droplets)
    )
    assert not census.present[len(rows) :].any()
    return census.present[: len(rows)], census.droplets[: len(rows)], census.trial.worth[: len(rows)]


@pytest.fixture(scope="module")
def real():
    return placed(0, SHAPE)


def with_another(droplets, x, y, radius, composition=(0.4, 0.3, 0.3)):
    """The droplets and one more."""
    places = (np.append(getattr(droplets, k), v) for k, v in zip(("x", "y", "radius"), (x, y, radius), strict=True))
    return nd.Droplets(*places, composition=np.concatenate([droplets.composition, [composition]]))


def test_droplets_that_explain_their_pixels_stay(real):
    present, droplets, worth = reconsidered(real, probability=0.1)
    assert present.all()
    assert (worth > 100).all()
    assert np.abs(droplets[:, :3]).max() < 0.1


def test_a_droplet_that_explains_nothing_goes(real):
    present, _, worth = reconsidered(real, with_another(real, *vacant(real), 4.0))
    assert present.tolist() == [True] * len(real) + [False]
    assert worth[-1] < -3


def test_a_droplet_that_is_certain_stays_whatever_it_explains(real):
    certain = np.append(np.full(len(real), 0.6), 1.0)
    assert reconsidered(real, with_another(real, *vacant(real), 4.0), probability=certain)[0].all()


def test_a_small_one_on_a_droplet_goes(real):
    twin = with_another(real, real.x[1] + 0.35 * real.radius[1], real.y[1], 0.6 * real.radius[1])
    present, droplets, _ = reconsidered(real, twin)
    assert present.tolist() == [True] * len(real) + [False]
    assert np.abs(droplets[:-1, :3]).max() < 0.1


def test_two_that_share_a_droplet_become_one(real):
    """Each explains a half of it, and would be missed; but one alone can do for both."""
    x, y, r = real.x[1], real.y[1], real.radius[1]
    off = real.x.copy(), real.radius.copy()
    off[0][1], off[1][1] = x - 0.3 * r, 0.85 * r
    one = nd.Droplets(off[0], real.y, off[1], composition=real.composition)
    present, droplets, worth = reconsidered(real, with_another(one, x + 0.28 * r, y, 0.8 * r, real.composition[1]))
    assert worth[[1, -1]].min() > 10
    assert present.tolist() == [True] * len(real) + [False]
    np.testing.assert_allclose(droplets[1, 0] * off[1][1], 0.3 * r, atol=0.1 * r)


@pytest.fixture(scope="module")
def close_pair(real):
    """A small droplet that lies on another, with pixels of its own."""
    composition = 1 - real.composition[1]
    x, r = real.x[1], real.radius[1]
    return with_another(real, x + 0.6 * r, real.y[1], 0.7 * r, composition / composition.sum())


def test_a_close_pair_stays_two(close_pair):
    twins = population.duplicates(close_pair.x, close_pair.y, close_pair.radius)
    assert twins.sum() == 1
    assert reconsidered(close_pair)[0].all()


def test_a_missing_droplet_that_waits_joins(real):
    waiting = np.arange(len(real)) == 2
    present, _, worth = reconsidered(real, present=~waiting, waiting=waiting, probability=0.1)
    assert present.all()
    assert worth[2] > 100


def test_what_waits_on_the_empty_slide_does_not_join(real):
    waiting = np.arange(len(real) + 1) == len(real)
    extra = with_another(real, *vacant(real), 4.0)
    present, _, worth = reconsidered(real, extra, present=~waiting, waiting=waiting, probability=0.2)
    assert present.tolist() == (~waiting).tolist()
    assert worth[-1] < 0
