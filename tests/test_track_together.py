"""Explanations that exclude one another, weighed together, against all sets written out."""

from itertools import combinations

import numpy as np
import pytest

from napari_droplets.tracking.together import MOST, chosen_together


def written_out(weight, used):
    """The same from all sets, one after another."""
    n, total, of_each = len(weight), 0.0, np.zeros(len(weight))
    for chosen in (c for size in range(n + 1) for c in combinations(range(n), size)):
        if all(not used[a] & used[b] for a, b in combinations(chosen, 2)):
            here = np.exp(sum(weight[k] for k in chosen))
            total += here
            of_each[list(chosen)] += here
    return of_each / total


@pytest.mark.parametrize("seed", range(4))
def test_probabilities_are_those_of_all_sets_that_agree(seed):
    rng = np.random.default_rng(seed)
    weight = rng.normal(1, 3, 9)
    used = [set(rng.choice(8, rng.integers(1, 4), replace=False).tolist()) for _ in weight]
    assert chosen_together(weight, used) == pytest.approx(written_out(weight, used), abs=2e-3)


def test_many_that_exclude_one_another_take_no_time_and_one_of_them_holds():
    weight = np.r_[np.full(300, 1.0), 40.0]
    p = chosen_together(weight, [{"all", k} for k in range(301)])
    assert p[-1] == pytest.approx(1)
    assert (p > 0).sum() <= MOST


def test_nothing_to_explain():
    assert chosen_together(np.zeros(0), []).shape == (0,)
    assert chosen_together(np.array([-50.0]), [{"one"}]) == pytest.approx([0])
