import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_droplets import Droplets, InputError

OPTIONAL = ("x_sd", "y_sd", "radius_sd", "p_present", "composition", "composition_sd")
finite = st.floats(-1e4, 1e4)
positive = st.floats(0.01, 1e3)


@st.composite
def droplets(draw):
    """Any set of droplets, each optional quantity there or absent."""
    n, k = draw(st.integers(0, 8)), draw(st.integers(1, 4))

    def column(elements, *shape):
        return draw(hnp.arrays(float, (n, *shape), elements=elements))

    values = {"x": column(finite), "y": column(finite), "radius": column(positive)}
    for name in draw(st.sets(st.sampled_from(OPTIONAL))):
        if name != "composition_sd" or "composition" in values:
            values[name] = column(st.floats(0, 1), k) if name.startswith("composition") else column(st.floats(0, 1))
    labels = draw(st.sets(st.sampled_from(["frame", "track_id", "note"])))
    size = draw(st.none() | positive)
    return Droplets(**values, labels={name: np.arange(n) for name in labels}, pixel_size_um=size)


def assert_same(a, b):
    for name in ("x", "y", "radius", *OPTIONAL):
        first, second = getattr(a, name), getattr(b, name)
        assert (first is None) == (second is None), name
        if first is not None:
            np.testing.assert_allclose(second, first, rtol=1e-12, atol=1e-9, err_msg=name)
    assert set(a.labels) == set(b.labels)
    for name, label in a.labels.items():
        np.testing.assert_array_equal(b.labels[name], label)


@pytest.fixture
def three():
    return Droplets(
        x=[1, 2, 3],
        y=[4, 5, 6],
        radius=[1, 2, 4],
        x_sd=[0.1, 0.2, 0.3],
        p_present=[1, 0.5, 0.9],
        composition=[[0.2, 0.8], [0.5, 0.5], [1, 0]],
        composition_sd=np.full((3, 2), 0.1),
        labels={"note": np.array(["a", "b", "c"]), "class": np.array([0, 1, 1])},
        pixel_size_um=0.5,
    )


@given(droplets())
def test_table_and_back(some):
    back = Droplets.from_dataframe(some.to_dataframe())
    assert_same(some, back)
    if len(some):
        assert (some.pixel_size_um is None) == (back.pixel_size_um is None)
        if some.pixel_size_um is not None:
            assert back.pixel_size_um == pytest.approx(some.pixel_size_um)


@given(droplets(), st.floats(0.05, 20))
def test_scaling_is_undone_by_the_inverse(some, factor):
    back = some.scaled(factor).scaled(1 / factor)
    assert_same(some, back)
    if some.pixel_size_um is not None:
        assert back.pixel_size_um == pytest.approx(some.pixel_size_um)


def test_scaling_keeps_places_in_the_picture(three):
    """Twice as large: the pixel (0, 0) becomes the pixels 0 and 1, with their middle at 0.5."""
    assert Droplets([0], [0], [1]).scaled(2).x[0] == 0.5
    large = three.scaled(2)
    np.testing.assert_allclose(large.x, [2.5, 4.5, 6.5])
    np.testing.assert_allclose(large.radius, [2, 4, 8])
    np.testing.assert_allclose(large.x_sd, [0.2, 0.4, 0.6])
    np.testing.assert_allclose(large.p_present, three.p_present)
    np.testing.assert_allclose(large.radius * large.pixel_size_um, three.radius * three.pixel_size_um)


def test_columns_and_their_order(three):
    assert list(three.to_dataframe()) == [
        *("x", "y", "radius", "x_sd", "p_present"),
        *("composition_0", "composition_1", "composition_0_sd", "composition_1_sd"),
        *("class", "note", "x_um", "y_um", "radius_um"),
    ]
    np.testing.assert_allclose(three.to_dataframe()["radius_um"], [0.5, 1, 2])


def test_absent_quantities_have_no_columns():
    bare = Droplets([1], [2], [3])
    assert list(bare.to_dataframe()) == ["x", "y", "radius"]
    assert bare.types == 0
    assert bare.composition is None
    assert Droplets.from_dataframe(bare.to_dataframe()).p_present is None


def test_choosing(three):
    assert len(three) == 3
    assert three.types == 2
    for index in (np.array([False, True, True]), slice(1, None), [1, 2]):
        chosen = three[index]
        assert chosen.x.tolist() == [2, 3]
        assert chosen.composition.tolist() == [[0.5, 0.5], [1, 0]]
        assert chosen.labels["note"].tolist() == ["b", "c"]
        assert chosen.pixel_size_um == 0.5
    assert three[[2, 0]].x.tolist() == [3, 1]
    assert len(three[np.zeros(3, bool)]) == 0


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"y": [1]}, "y has shape"),
        ({"p_present": [[1, 1]]}, "p_present has shape"),
        ({"composition": [1, 1]}, "composition has shape"),
        ({"labels": {"note": ["a"]}}, "note has shape"),
        ({"labels": {"frame": 3}}, "frame has shape"),
    ],
)
def test_wrong_shapes_are_named(changed, named):
    with pytest.raises(InputError, match=rf"{named}.*2 droplets expected"):
        Droplets(**{"x": [1, 2], "y": [1, 2], "radius": [1, 2]} | changed)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("x", np.nan, "x in row 1 is nan, not a finite number"),
        ("y", np.inf, "y in row 1 is inf, not a finite number"),
        ("radius", 0.0, "radius in row 1 is 0.0, not a positive number"),
        ("radius", -2.0, "radius in row 1 is -2.0, not a positive number"),
        ("x", "left", "column x is not numeric"),
        ("p_present", "yes", "column p_present is not numeric"),
        ("composition_1", "salt", "column composition_1 is not numeric"),
        ("radius_um", "big", "column radius_um is not numeric"),
    ],
)
def test_wrong_tables_name_column_and_row(three, column, value, message):
    table = three.to_dataframe().astype(object)
    table.loc[1, column] = value
    with pytest.raises(InputError, match=f"mine.csv: {message}"):
        Droplets.from_dataframe(table, name="mine.csv")


def test_missing_columns_are_named(three):
    table = three.to_dataframe()
    with pytest.raises(InputError, match="no column x, radius"):
        Droplets.from_dataframe(table.drop(columns=["x", "radius"]))
    for column in ("composition_0", "composition_1_sd"):
        with pytest.raises(InputError, match=f"no column {column}; give all 2"):
            Droplets.from_dataframe(table.drop(columns=column))


def test_an_empty_table_is_no_error():
    empty = Droplets.from_dataframe(pd.DataFrame({"x": [], "y": [], "radius": [], "radius_um": []}))
    assert len(empty) == 0
    assert empty.pixel_size_um is None


def test_pixel_size_survives_edited_rows(three):
    """A row drawn by hand has no micrometres, a resized one has old micrometres."""
    table = three.to_dataframe()
    table.loc[0, "radius"], table.loc[2, "radius"] = 3.0, 1.0
    table = pd.concat([table, table.iloc[1:2], pd.DataFrame({"x": [9.0], "y": [9.0], "radius": [2.0]})])
    assert Droplets.from_dataframe(table).pixel_size_um == 0.5
