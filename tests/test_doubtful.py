"""Which droplets deserve a look, and the way from one to the next."""

import numpy as np
import pandas as pd
import pytest

from napari_droplets.workbench.doubtful import doubtful, following


def test_badly_explained_come_first_then_improbable_ones_and_what_was_looked_at_is_left_out():
    table = pd.DataFrame(
        {
            "misfit": [1.0, 5.0, 1.1, 9.0, 1.0, 7.0, 1.0, 1.0],
            "p_present": [0.7, 1.0, 0.55, 1.0, 0.95, 1.0, 1.0, 1.0],
            "pinned": [False] * 5 + [True] + [False] * 2,
        },
        index=range(10, 18),
    )
    found = doubtful(table)
    assert found.numbers == [13, 11, 12, 10]
    assert found.reasons[0].startswith("poorly explained: misfit 9")
    assert found.reasons[2] == "may not be there: probability 0.55"
    hidden = doubtful(table, np.arange(8) != 3)
    assert hidden.numbers == [11, 12, 10]
    assert doubtful(table.assign(pinned=True)).numbers == []


@pytest.mark.parametrize("columns", [{}, {"misfit": [np.nan, np.nan]}, {"p_present": [np.nan, 1.0]}])
def test_where_nothing_is_known_nothing_is_doubted(columns):
    assert doubtful(pd.DataFrame({"x": [1.0, 2.0], **columns})).numbers == []
    assert doubtful(pd.DataFrame({"x": [], **{name: [] for name in columns}})).numbers == []


def test_next_and_previous_go_around_and_begin_anew_where_the_list_has_changed():
    assert following([5, 3, 8], 5, 1) == 3
    assert following([5, 3, 8], 8, 1) == 5
    assert following([5, 3, 8], 5, -1) == 8
    assert following([5, 3, 8], 99, 1) == 5
    assert following([5, 3, 8], None, -1) == 8
    assert following([], 5, 1) is None
