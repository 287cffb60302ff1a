"""Filters: which droplets pass, in words, and as a record."""

import json

import numpy as np
import pandas as pd
import pytest

from napari_droplets.errors import InputError
from napari_droplets.workbench.filters import Filters, class_words, classes_of, passes

SHAPE = (50, 60)


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "x": [10.0, 20.0, 30.0, 58.0, 40.0],
            "y": [10.0, 20.0, 30.0, 25.0, 40.0],
            "radius": [2.0, 3.0, 4.0, 5.0, 6.0],
            "p_present": [0.2, 0.6, 0.9, 1.0, np.nan],
            "class": [0.0, 1.0, 1.0, np.nan, -1.0],
            "misfit": [1.0, 1.0, 4.0, np.nan, 1.2],
            "pinned": [True, False, False, False, None],
        }
    )


@pytest.mark.parametrize(
    ("filters", "shown", "text"),
    [
        ({}, [0, 1, 2, 3, 4], ""),
        ({"min_probability": 0.7}, [0, 2, 3, 4], "probability ≥ 0.7"),  # 0 is pinned, of 4 nothing is known
        ({"min_diameter": 6.0}, [1, 2, 3, 4], "diameter ≥ 6 px"),
        ({"max_diameter": 6.0}, [0, 1], "diameter ≤ 6 px"),
        ({"min_diameter": 5.0, "max_diameter": 8.0}, [1, 2], "diameter 5 to 8 px"),
        ({"hidden_classes": ("1",)}, [0, 3, 4], "without class 1"),
        ({"hidden_classes": ("0", "none")}, [1, 2], "without class 0, none"),
        ({"max_misfit": 2.0}, [0, 1, 3, 4], "misfit ≤ 2"),
        ({"cut_by_border": False}, [0, 1, 2, 4], "not cut by the border"),
        ({"region": (0, 0, 25, 25), "region_name": "Shapes"}, [0, 1], "in Shapes"),
        ({"min_diameter": 5.0, "max_misfit": 2.0}, [1, 3, 4], "diameter ≥ 5 px; misfit ≤ 2"),
    ],
)
def test_what_passes_in_words_and_as_json(table, filters, shown, text):
    made = Filters(**filters)
    assert np.flatnonzero(passes(made, table, SHAPE)).tolist() == shown
    assert made.text() == text
    assert Filters.of(json.loads(json.dumps(made.record()))) == made


def test_diameters_in_words_are_in_micrometres_where_pixels_have_a_size():
    assert Filters(min_diameter=6.0).text(0.5) == "diameter ≥ 3 µm"


def test_a_mask_is_a_region_too_and_survives_a_record(table):
    mask = np.zeros(SHAPE, bool)
    mask[25:, :45] = True
    made = Filters.of(json.loads(json.dumps(Filters(region=mask).record())))
    assert np.flatnonzero(passes(made, table, SHAPE)).tolist() == [2, 4]
    with pytest.raises(InputError, match="image of these droplets"):
        passes(made, table)


def test_droplets_of_places_alone_pass_what_nothing_is_known_of():
    table = pd.DataFrame({"x": [1.0], "y": [1.0], "radius": [3.0]})
    made = Filters(min_probability=0.9, max_misfit=1.0, hidden_classes=("0",))
    assert passes(made, table).all()
    assert passes(Filters(cut_by_border=False), table).all()  # the shape is not known
    assert not passes(Filters(cut_by_border=False), table.assign(cut_by_border=True)).any()
    assert passes(made, table[:0]).shape == (0,)


def test_a_record_of_another_version_is_read():
    assert Filters.of({"max_diameter": 3.0, "not_yet": 1}) == Filters(max_diameter=3.0)


def test_classes_as_words():
    assert class_words(pd.Series([0, 2, -1])).tolist() == ["0", "2", "none"]
    assert class_words(pd.Series(["oil", None])).tolist() == ["oil", "none"]
    assert classes_of(pd.DataFrame({"class": [10, 2, -1]})) == ["2", "10", "none"]
    assert classes_of(pd.DataFrame({"class": [0, 0]})) == []  # one class is none
    assert classes_of(pd.DataFrame({"x": [0]})) == []
