import numpy as np
import pytest
from scipy.stats import norm

from napari_droplets.training.loss import score, targets

SIDE = 16


def test_droplets_go_to_the_cell_that_holds_their_center():
    truth = np.array([[-0.4, 0.0, 2.0], [1.6, 3.2, 3.0], [15.4, 15.4, 1.0], [15.6, 3.0, 2.0], [-0.6, 3.0, 2.0]])
    t = targets([truth], SIDE)
    assert t.present.sum() == 3  # the last two have their centers outside
    cells = {int(c): tuple(p) for c, p, here in zip(t.cell[0], t.place[0], t.present[0], strict=True) if here}
    assert set(cells) == {0, 8 + 1, 63}
    np.testing.assert_allclose(cells[9], (1.6 - 2.5, 3.2 - 2.5, np.log(3)), atol=1e-6)


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
