"""Figures show the numbers that they are of, and leave no state behind."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import napari_droplets as nd
from napari_droplets.plot.proportions import counted
from napari_droplets.plot.sizes import histogram

RNG = np.random.default_rng(0)


def droplets(n=300, k=3, **more):
    labels = {"class": np.arange(n) % 3, "class_p": np.full(n, 0.9)}
    return nd.Droplets(
        RNG.uniform(0, 200, n),
        RNG.uniform(0, 200, n),
        np.exp(RNG.normal(np.log(5), 0.3, n)),
        radius_sd=np.full(n, 0.1),
        p_present=np.full(n, 0.9),
        composition=RNG.dirichlet(np.ones(k), n) if k > 1 else RNG.uniform(size=(n, 1)),
        labels=labels,
        **more,
    )


def test_a_histogram_is_a_density_within_its_band():
    found = histogram(droplets(pixel_size_um=0.5), border="kept", draws=100)
    assert found.unit == "µm"
    assert (found.density * np.diff(found.edges)).sum() == pytest.approx(1, abs=1e-6)
    assert (found.low <= found.density).all()
    assert (found.density <= found.high).all()
    width = found.high - found.low
    assert width.max() > 0.005
    wider = histogram(droplets(pixel_size_um=0.5), border="kept", draws=100, population=True)
    assert (wider.high - wider.low).mean() > 1.5 * width.mean()


def test_the_band_is_that_of_counting_when_presence_is_in_doubt():
    """Droplets of two sizes, each there with 0.8: the part of one of them is nearly binomial."""
    n = 400
    two = nd.Droplets(np.full(n, 50.0), np.full(n, 50.0), np.repeat([2.0, 4.0], n // 2), p_present=np.full(n, 0.8))
    found = histogram(two, edges=np.array([0.0, 6.0, 12.0]), border="kept", draws=2000, level=0.95)
    half = (found.high[0] - found.low[0]) / 2 * 6
    assert half == pytest.approx(1.96 * np.sqrt(0.25 * 0.2 / (0.8 * n)), rel=0.1)


def test_weights():
    two = nd.Droplets([50.0, 50.0], [50.0, 50.0], [1.0, 2.0])
    shares = {
        w: histogram(two, weight=w, edges=[0.0, 3.0, 6.0], border="kept").density * 3 for w in ("number", "volume")
    }
    assert shares["number"] == pytest.approx([0.5, 0.5])
    assert shares["volume"] == pytest.approx([1 / 9, 8 / 9])
    with pytest.raises(nd.InputError, match="weight='mass'"):
        histogram(two, weight="mass")


def test_sizes_tell_what_the_statistics_are():
    table = droplets(pixel_size_um=0.5).to_dataframe()
    statistics = nd.statistics(table, border="kept")
    ax = nd.plot.sizes(table, statistics, border="kept")
    text = ax.texts[0].get_text()
    assert f"D50 {statistics['D50']:.3g} (" in text
    assert f"D[3,2] {statistics['D32']:.3g} (" in text
    assert f"CV {100 * statistics['cv']:.3g} (" in text
    axes = Figure().subplots()
    assert nd.plot.sizes(table, ax=axes, label="dry", draws=20) is axes
    nd.plot.sizes(table, ax=axes, label="wet", draws=20, color="red")
    assert [t.get_text().split("\n")[0] for t in axes.get_legend().get_texts()] == ["dry", "wet"]


def test_three_components_are_a_triangle_with_each_droplet_in_its_place():
    known = nd.Droplets([1.0] * 4, [1.0] * 4, [1.0] * 4, composition=[[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.4, 0.4, 0.4]])
    ax = nd.plot.simplex(known, names=["acid", "base", "product"])
    points = np.asarray(ax.collections[0].get_offsets())
    assert points == pytest.approx(np.array([[0, 0], [1, 0], [0.5, np.sqrt(0.75)], [0.5, np.sqrt(0.75) / 3]]))
    assert [t.get_text() for t in ax.texts] == ["acid", "base", "product"]
    assert "relative" in ax.get_title(loc="left")  # they do not sum to one


def test_other_numbers_of_components_are_a_matrix():
    for k in (1, 2, 4):
        ax = nd.plot.simplex(droplets(30, k))
        assert len(ax.child_axes) == k * (k + 1) // 2
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["class 0 (10)", "class 1 (10)", "class 2 (10)"]


def test_class_probabilities():
    p = RNG.dirichlet(np.ones(3), 30)
    ax = nd.plot.simplex(droplets(30), of="classes", probabilities=p, class_names=["a", "b", "c"])
    assert [t.get_text() for t in ax.texts] == ["a", "b", "c"]
    table = droplets(30).to_dataframe().assign(class_p_acid=p[:, 0], class_p_base=p[:, 1] + p[:, 2])
    assert len(nd.plot.simplex(table, of="classes").child_axes) == 3
    with pytest.raises(nd.InputError, match="no class probabilities"):
        nd.plot.simplex(droplets(30), of="classes")
    with pytest.raises(nd.InputError, match="no composition"):
        nd.plot.simplex(nd.Droplets([1.0], [1.0], [1.0]))


def test_proportions_of_one_image_and_of_groups():
    rows = [{"class": g, "proportion": v, "low": v - 0.1, "high": v + 0.2} for g, v in enumerate((0.6, 0.4))]
    ax = nd.plot.proportions(None, rows, names=["acid", "base"])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["acid", "base"]
    line = ax.containers[1]
    assert line[0].get_ydata() == pytest.approx([0.4])
    assert line[2][0].get_segments()[0][:, 1] == pytest.approx([0.3, 0.6])
    table = pd.concat([pd.DataFrame(rows).assign(group=g) for g in ("dry", "wet")])
    ax = nd.plot.proportions(None, table)
    assert [t.get_text() for t in ax.get_xticklabels()] == ["dry", "wet"]
    with pytest.raises(nd.InputError, match="no classes"):
        nd.plot.proportions(nd.Droplets([1.0], [1.0], [1.0]))


def test_counted_proportions_have_binomial_intervals_and_doubt_widens_them():
    n = 300
    labels = {"class": np.repeat(["a", "b"], [90, 210])}
    sure = counted(nd.Droplets(*np.ones((3, n)), labels=labels))
    assert list(sure["class"]) == ["a", "b"]
    assert sure.loc[0, "proportion"] == pytest.approx(0.3, abs=0.002)
    assert (sure.loc[0, "high"] - sure.loc[0, "low"]) / 2 == pytest.approx(1.96 * np.sqrt(0.3 * 0.7 / n), rel=0.03)
    doubtful = counted(nd.Droplets(*np.ones((3, n)), labels=labels | {"class_p": np.full(n, 0.6)}))
    assert (doubtful["high"] - doubtful["low"]).min() > 2 * (sure["high"] - sure["low"]).max()


def test_a_whole_fit_is_drawn_as_it_is(fitted):
    assert nd.plot.sizes(fitted).texts
    assert nd.plot.simplex(fitted).collections
    assert len(nd.plot.proportions(fitted).containers) == len(fitted.summary["classes"])


def test_nothing_is_told_as_such():
    none = nd.Droplets([], [], [])
    for draw in (nd.plot.sizes, nd.plot.simplex, nd.plot.proportions):
        assert draw(none).texts[0].get_text() == "no droplets"


def test_no_pyplot_is_loaded(tmp_path):
    code = (
        "import sys, napari_droplets as nd; d = nd.Droplets([1.0, 2.0], [1.0, 2.0], [1.0, 2.0]); "
        "nd.plot.sizes(d).figure.savefig(sys.argv[1]); sys.exit(len({'matplotlib.pyplot', 'jax'} & set(sys.modules)))"
    )
    path = tmp_path / "sizes.svg"
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0
    assert path.stat().st_size > 1000
