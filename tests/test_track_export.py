"""Tracks for other programs: napari, TrackMate, GEFF, plots, tables."""

import importlib.util
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd
from napari_droplets.errors import InputError
from napari_droplets.movies.simulated import simulate_movie
from napari_droplets.tracking.export import edges_of, export, track_layers
from napari_droplets.tracking.plots import PLOTS, overview

pytestmark = pytest.mark.skipif(not importlib.util.find_spec("laptrack"), reason="needs LapTrack")


@pytest.fixture(scope="module")
def tracks():
    movie = simulate_movie((150, 200), 60, 8, seed=3, brownian=1.2, pictures=False)
    found = nd.track(movie.droplets.drop(columns="track_id"), shape=(150, 200))
    assert len(found.merges) > 1
    return found


def test_tables_are_written_and_say_what_is_promised(tracks, tmp_path):
    tracks.save(tmp_path)
    droplets, rows, events = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("droplets", "tracks", "events"))
    assert list(droplets.columns[:3]) == ["frame", "time_s", "track_id"]
    assert len(rows) == droplets["track_id"].nunique()
    assert {"birth", "death", "dr_dt", "dr_dt_low", "dr_dt_high", "dr2_dt", "origin", "fate"} <= set(rows)
    assert list(events.columns[:5]) == ["frame", "kind", "track_id", "parent_ids", "p_merge"]
    assert events["p_merge"].between(0.5, 1).all()
    ended = rows.set_index("track_id").loc[[int(p) for e in events["parent_ids"] for p in e.split()]]
    assert (ended["fate"] == "merge").all()
    with pytest.raises(InputError, match="there are geff"):
        tracks.save(tmp_path, exports=["excel"])


def test_droplets_of_the_tracks_are_read_again(tracks, tmp_path):
    tracks.save(tmp_path)
    again = nd.read(tmp_path / "droplets.csv")
    assert len(again) == len(tracks.droplets)
    assert np.array_equal(again.labels["track_id"], tracks.droplets["track_id"])


@pytest.mark.skipif(not importlib.util.find_spec("napari"), reason="needs napari")
def test_layers_have_time_and_the_graph_of_merges(tracks):
    from napari.layers import Layer

    points, lines = (Layer.create(*data) for data in track_layers(tracks, name="movie", scale=(0.5, 0.5)))
    assert points.ndim == lines.ndim == 3
    assert len(points.data) == len(tracks.droplets)
    assert lines.graph == tracks.graph()
    assert lines.graph[tracks.events["track_id"][0]] == [int(p) for p in tracks.events["parent_ids"][0].split()]
    assert points.scale.tolist() == [1, 0.5, 0.5]


def test_trackmate_gets_spots_and_edges(tracks, tmp_path):
    root = ElementTree.parse(export(tracks, tmp_path / "tracks.xml")).getroot()
    spots = root.findall(".//Spot")
    assert len(spots) == len(tracks.droplets) == int(root.find(".//AllSpots").get("nspots"))
    edges = {(int(e.get("SPOT_SOURCE_ID")), int(e.get("SPOT_TARGET_ID"))) for e in root.findall(".//Edge")}
    assert edges == set(edges_of(tracks))
    frame = {int(s.get("ID")): int(s.get("FRAME")) for s in spots}
    assert all(frame[a] < frame[b] for a, b in edges)
    assert len(root.findall(".//AllTracks/Track")) == len(root.findall(".//FilteredTracks/TrackID"))


@pytest.mark.skipif(not importlib.util.find_spec("geff"), reason="needs geff")
def test_geff_is_read_again(tracks, tmp_path):
    import geff

    graph, about = geff.read(export(tracks, tmp_path / "tracks.geff"))
    assert graph.number_of_nodes() == len(tracks.droplets)
    assert set(graph.edges) == set(edges_of(tracks))
    assert [a.name for a in about.axes] == ["time_s", "y", "x"]
    export(tracks, tmp_path / "tracks.geff")  # over the last one


def test_geff_says_what_is_missing(tracks, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "geff", None)
    with pytest.raises(InputError, match="napari-droplets\\[geff\\]"):
        export(tracks, tmp_path / "tracks.geff")


@pytest.mark.parametrize("name", PLOTS)
def test_plots_draw_into_the_axes_given(tracks, name):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert PLOTS[name](tracks, ax) is ax
    assert ax.get_title()
    assert ax.has_data() or ax.collections


def test_survival_starts_at_one_and_falls(tracks):
    from matplotlib.figure import Figure

    ax = PLOTS["survival"](tracks, Figure().add_subplot())
    left = ax.lines[0].get_ydata()
    assert left[0] == 1
    assert (np.diff(left) <= 0).all()


def test_plots_need_no_compositions(tracks, tmp_path):
    bare = nd.track(tracks.droplets[["frame", "x", "y", "radius"]])
    assert len(overview(bare).axes) == 6
    assert export(bare, tmp_path / "tracks.png").stat().st_size > 10_000
    with pytest.raises(InputError, match=r"give \.geff"):
        export(bare, tmp_path / "tracks.doc")
