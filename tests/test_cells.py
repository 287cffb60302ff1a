import numpy as np
import pytest

from napari_droplets.detection.cells import Cells, Marginal, calibrated, cells_of, merged, without_repeats


def cells(p, x, y, radius, sd=0.2):
    n = len(p)
    values = [np.broadcast_to(np.asarray(v, float), n).copy() for v in (x, y, p, x, y, radius, sd, sd, sd)]
    return Cells(*values)


def test_a_center_between_cells_is_one_droplet_with_all_the_probability():
    found = merged(cells([0.4, 0.35, 0.2, 0.01], [10.0, 10.4, 10.2, 30], [5.0, 5.0, 5.4, 30], 4.0))
    assert len(found) == 1
    assert found.p[0] == pytest.approx(0.95)
    w = np.array([0.4, 0.35, 0.2]) / 0.95
    x = np.array([10.0, 10.4, 10.2])
    assert found.x[0] == pytest.approx(w @ x)
    assert found.x_sd[0] == pytest.approx(np.sqrt(0.04 + w @ (x - w @ x) ** 2))


def test_neighbors_stay_apart():
    found = merged(cells([0.9, 0.8, 0.1, 0.7], [10.0, 16.0, 16.5, 10.0], [5.0, 5.0, 5, 5], [4.0, 4.0, 4.0, 1.0]))
    assert sorted(found.p.round(6)) == [0.7, 0.9, 0.9]  # the last is small and lies on the first: another droplet


def test_many_faint_cells_of_a_blurred_droplet_add_up():
    rng = np.random.default_rng(0)
    place = 20 + rng.normal(0, 1.0, (2, 50))
    found = merged(cells(np.full(50, 0.018), *place, 10.0))
    assert len(found) == 1
    assert found.p[0] == pytest.approx(0.9)
    assert found.x_sd[0] == pytest.approx(np.sqrt(0.04 + place[0].var()))


def test_probabilities_never_exceed_one():
    assert merged(cells([0.8, 0.7], [3.0, 3.1], [3.0, 3.0], 5.0)).p.max() == 1


def test_nothing_comes_of_nothing():
    empty = cells_of(np.full((4, 5, 7), -9.0))
    assert len(merged(empty)) == len(without_repeats(empty, np.zeros(0))) == 0


def test_cells_are_read_in_pixels():
    outputs = np.full((4, 5, 7), -9.0)
    outputs[2, 3] = [2.0, 0.3, -0.2, np.log(3), np.log(0.1), np.log(0.2), np.log(0.05)]
    found = cells_of(outputs)
    assert (found.x[0], found.y[0]) == pytest.approx((6.5 + 0.3, 4.5 - 0.2))
    assert (found.radius[0], found.radius_sd[0]) == pytest.approx((3, 0.15))
    assert found.p[0] == pytest.approx(1 / (1 + np.exp(-2)))
    double = found.scaled(2)
    assert (double.x[0], double.radius[0], double.x_sd[0]) == pytest.approx((2 * 7.3 - 0.5, 6, 0.2))


def test_a_droplet_seen_at_two_scales_counts_once():
    both = cells([0.9, 0.6, 0.8], [10.0, 10.5, 40], [10.0, 10, 40], [8.0, 9.0, 8.0])
    assert without_repeats(both, np.array([0, 1, 1])).p.tolist() == [0.9, 0.8]
    assert len(without_repeats(both, np.zeros(3))) == 3


def test_calibration_is_kept_as_text():
    bent = np.array([[0, 0], [0.5, 0.4], [1, 0.98]])
    marginal = Marginal(np.array([0, 1, 0, 0]), bent, np.array([1.5, 1.2, 2.0]), np.array([1.5, 0.5]))
    again = Marginal.of({"calibration": marginal.text()})
    half = np.full(16, 0.5)  # variance 4
    assert again.count_sd(half) == pytest.approx(np.hypot(1.5 * 2, 0.5 * 4))
    assert Marginal.of({}).count_sd(half) == pytest.approx(2)
    result = calibrated(cells([0.25, 1.0], [1.0, 50], [1.0, 1], 4.0), again)
    np.testing.assert_allclose(result.p, [0.2, 0.98], atol=2e-3)
    np.testing.assert_allclose([result.x_sd[0], result.y_sd[0], result.radius_sd[0]], [0.3, 0.24, 0.4])
    unchanged = calibrated(result, Marginal.of({}))
    np.testing.assert_allclose(unchanged.p, result.p)


def test_where_much_is_doubtful_more_is_wrong():
    marginal = Marginal.of({"calibration": '{"logit": [-2, 1, -1, 0]}'})
    place = np.arange(20.0) * 100

    def likely(others):
        return calibrated(cells([0.9, *others], place, place, 4.0), marginal).p[0]

    assert likely(19 * [0.5]) < likely(19 * [0.99]) - 0.2
    assert calibrated(cells([], [], [], []), marginal).p.tolist() == []
