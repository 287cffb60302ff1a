"""What the plots of a session show: the droplets that pass, and the numbers to save."""

import numpy as np
import pytest

from napari_droplets.droplets import Droplets
from napari_droplets.workbench.figures import (
    data_of,
    free_class,
    in_triangle,
    inside,
    of_class,
    shown,
    sizes_between,
    statistics_of,
)
from napari_droplets.workbench.session import Session
from napari_droplets.workbench.sheet import ImageReference, Sheet


@pytest.fixture
def session():
    rng = np.random.default_rng(0)
    n = 40
    droplets = Droplets(
        rng.uniform(10, 90, n),
        rng.uniform(10, 70, n),
        np.linspace(2, 6, n),
        radius_sd=np.full(n, 0.1),
        composition=rng.dirichlet([1, 1, 1], n),
        labels={"class": np.arange(n) % 2},
        pixel_size_um=0.5,
    )
    session = Session()
    session.show(session.add(Sheet("slide", droplets.to_dataframe(), ImageReference("slide", shape=(80, 100)))))
    return session


def test_what_is_shown_passes_the_filters_and_says_which(session):
    assert len(shown(session).droplets) == 40
    assert shown(session).filters == ""
    session.set_filters(min_diameter=8.0)
    found = shown(session)
    assert found.droplets.radius.min() >= 4
    assert found.filters == "diameter ≥ 4 µm"
    session.set_filters(min_diameter=1000.0)
    assert shown(session) is None
    assert shown(Session()) is None


def test_parts_of_plots_are_droplets(session):
    found, table = shown(session), session.sheet.table
    numbers = sizes_between(found, 2.5, 3.5)  # micrometres
    np.testing.assert_array_equal(numbers, table.index[table["radius_um"].between(1.25, 1.75)])
    np.testing.assert_array_equal(of_class(found, "1"), table.index[table["class"] == 1])
    xy = in_triangle(found.droplets.composition)
    around = np.array([[-0.1, -0.1], [0.5, -0.1], [0.5, 1.0], [-0.1, 1.0]])
    np.testing.assert_array_equal(inside(found, xy, around), found.numbers[xy[:, 0] < 0.5])
    assert len(inside(found, xy, around[:2])) == 0


def test_numbers_behind_plots(session):
    session.set_filters(min_diameter=6.0)
    found = shown(session)
    sizes = data_of(found, "sizes")
    assert list(sizes) == ["from_um", "to_um", "density", "low", "high", "filter"]
    width = sizes["to_um"] - sizes["from_um"]
    assert (sizes["density"] * width).sum() == pytest.approx(1, abs=0.02)
    assert (sizes["low"] <= sizes["high"]).all()
    assert not np.allclose(data_of(found, "volume")["density"], sizes["density"])
    compositions = data_of(found, "simplex")
    assert compositions["droplet"].tolist() == found.numbers.tolist()
    assert {"composition_2", "class", "filter"} <= set(compositions)
    assert data_of(found, "proportions")["proportion"].sum() == pytest.approx(1)
    told = statistics_of(found).set_index("quantity")
    assert told.loc["D50", "unit"] == "µm"
    assert set(told["filter"]) == {"diameter ≥ 3 µm"}


def test_names_of_classes_and_free_ones(session):
    heard = []
    session.classes_named.connect(heard.append)
    session.name_class("1", " acid ")
    session.name_class("1", "acid")
    assert heard == [{"1": "acid"}]
    assert (session.class_name("1"), session.class_name("0"), session.class_name("none")) == (
        "acid",
        "class 0",
        "no class",
    )
    session.name_class("1", "")
    assert session.class_names == {}
    table = session.sheet.table
    assert free_class(table) == 2
    assert free_class(table.drop(columns="class")) == 0
    assert free_class(table.assign(**{"class": "group 1"})) == "group 2"
