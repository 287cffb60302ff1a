"""Known compositions: what they tie, and what is said of wrong ones."""

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.composition.anchors import PREFIX, anchored, known_compositions, pure

PLAIN = nd.Droplets([1.0, 2, 3], [1.0, 2, 3], [1.0, 1, 1])


def told(rows, droplets=PLAIN):
    """The droplets with these known compositions."""
    columns = np.array(rows, float).T
    return nd.Droplets(
        droplets.x, droplets.y, droplets.radius, labels={f"{PREFIX}{k}": c for k, c in enumerate(columns)}
    )


def test_pure_droplets_hold_one_component():
    found = known_compositions(pure(PLAIN, 1, 3), 3, "simplex")
    np.testing.assert_array_equal(found, [[0, 1, 0]] * 3)
    table = pd.DataFrame({"x": [1.0], "y": [2.0], "radius": [3.0], "note": ["a"]})
    again = pure(table, 0, 2)
    assert again.labels["note"].tolist() == ["a"]
    np.testing.assert_array_equal(known_compositions(again, 2, "free"), [[1, 0]])
    with pytest.raises(nd.InputError, match="components 0 to 2"):
        pure(PLAIN, 3, 3)
    with pytest.raises(nd.InputError, match="component=-1"):
        pure(PLAIN, -1, 3)


def test_rows_without_are_to_be_found():
    nan = np.nan
    found = known_compositions(told([[0.2, 0.8], [nan, nan], [1, 0]]), 2, "simplex")
    np.testing.assert_array_equal(np.isfinite(found).all(1), [True, False, True])
    assert np.isnan(known_compositions(PLAIN, 4, "free")).all()
    assert known_compositions(PLAIN, 4, "free").shape == (3, 4)


def test_the_number_of_components_is_that_of_the_columns():
    assert anchored(PLAIN) is None
    assert anchored(told([[0.1, 0.2, 0.3]] * 3)) == 3
    assert anchored(nd.Droplets([1.0], [1.0], [1.0], labels={f"{PREFIX}x": np.zeros(1)})) is None


@pytest.mark.parametrize(
    ("rows", "types", "kind", "says"),
    [
        ([[0.5, 0.5]] * 3, 3, "free", "no column known_composition_2"),
        ([[0.5, 0.2, 0.3]] * 3, 2, "free", "no component known_composition_2"),
        ([[0.5, 0.5], [0.5, np.nan], [1, 0]], 2, "free", "known_composition_1 in row 1 is nan: give all"),
        ([[0.5, 0.5], [0.5, 0.5], [-0.1, 1]], 2, "free", "known_composition_0 in row 2 is -0.1: compositions are"),
        ([[0.5, 0.5], [0.5, 0.4], [1, 0]], 2, "simplex", "row 1 is 0.4: fractions of a simplex sum to one"),
    ],
)
def test_wrong_ones_are_named(rows, types, kind, says):
    with pytest.raises(nd.InputError, match=says):
        known_compositions(told(rows), types, kind)


def test_text_is_not_numeric():
    droplets = nd.Droplets([1.0], [1.0], [1.0], labels={f"{PREFIX}0": np.array(["much"])})
    with pytest.raises(nd.InputError, match="not numeric"):
        known_compositions(droplets, 1, "free")


def test_free_components_need_not_sum_to_one():
    rows = [[1.0, 1.0], [0, 0], [0.3, 0.4]]
    np.testing.assert_array_equal(known_compositions(told(rows), 2, "free"), rows)
