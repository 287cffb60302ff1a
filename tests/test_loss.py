import numpy as np
import pytest
from scipy.stats import norm

from napari_droplets.training.loss import score, targets

SIDE = 16


def cells_of(truth):
    t = targets([np.array(truth)], SIDE)
    return {int(c): tuple(p) for c, p, here in zip(t.cell[0], t.place[0], t.present[0], strict=True) if here}


def test_droplets_go_to_the_cell_that_holds_their_center():
    cells = cells_of([[2.6, 3.2, 3.0], [13.4, 13.4, 1.0]])
    assert set(cells) == {8 + 1, 6 * 8 + 6}
    np.testing.assert_allclose(cells[9], (2.6 - 2.5, 3.2 - 2.5, np.log(3)), atol=1e-6)


def test_centers_beyond_the_border_go_to_the_nearest_cell_of_the_ring():
    cells = cells_of([[-3.0, 6.0, 9.0], [15.0, 18.0, 6.0], [-6.5, 9.0, 8.0], [1.2, 12.0, 0.3]])
    assert set(cells) == {3 * 8, 63}  # of the last two no more than a sliver is left
    np.testing.assert_allclose(cells[24], (-3.0 - 0.5, 6.0 - 6.5, np.log(9)), atol=1e-6)


def test_of_several_in_one_cell_the_largest_counts():
    t = targets([np.array([[4.0, 4.0, 2.0], [4.5, 4.5, 5.0]]), np.zeros((0, 3))], SIDE)
    assert t.present.sum(1).tolist() == [1, 0]
    assert t.place[0, 0, 2] == pytest.approx(np.log(5))


def test_the_score_is_the_negative_log_density_of_the_truth():
    rng = np.random.default_rng(0)
    outputs = rng.normal(0, 1, (1, 8, 8, 7)).astype(np.float32)
    truth = targets([np.array([[3.1, 6.2, 2.5], [12.0, 9.0, 1.5]])], SIDE)
    p = 1 / (1 + np.exp(-outputs[0, ..., 0].astype(float).ravel()))
    occupied = truth.cell[0, :2]
    expected = -np.log(p[occupied]).sum() - np.log(1 - np.delete(p, occupied)).sum()
    for cell, place in zip(occupied, truth.place[0, :2], strict=True):
        out = outputs[0].reshape(64, 7)[cell]
        expected -= norm.logpdf(place, out[1:4], np.exp(out[4:])).sum()
    assert float(score(outputs, truth)) == pytest.approx(expected * 1000 / 64, rel=1e-4)
