"""The report of movies: figures with their numbers, tables, frames; survival and rates by hand."""

import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_droplets.errors import InputError
from napari_droplets.movies.simulated import simulate_movie
from napari_droplets.reports import movie_page, report
from napari_droplets.tracking.plots import event_rate, survival
from napari_droplets.tracking.reading import read_tracks
from napari_droplets.tracking.tracks import Tracks, with_ids

FIGURES = ("radius", "composition", "size_distribution", "survival", "events")


def tracks_of_truth(shot):
    """Tracks of a simulated movie as its truth has them."""
    table = shot.droplets.reset_index(drop=True)
    order = np.lexsort((table["frame"], table["track_id"]))
    same = np.diff(table["track_id"].to_numpy()[order]) == 0
    links = np.column_stack([order[:-1][same], order[1:][same]])
    from napari_droplets.tracking.events import Event

    first, last = (table.groupby("track_id")["frame"].agg(f).to_dict() for f in ("idxmin", "idxmax"))
    merges = [
        Event(first[e.track_id], tuple(last[int(p)] for p in e.parent_ids.split()), -1, 0.9, 0.01, 0.02, 0.03, 0.04)
        for e in shot.events.itertuples()
        if all(int(p) in last for p in e.parent_ids.split())
    ]
    options = {"shape": (96, 120), "max_gap": 2, "geometry": "sphere"}
    return with_ids(Tracks(table, links, tuple(merges), (), options))


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder of `track` with one movie whose file is still there."""
    from napari_droplets.movies.runs import summary_of, write_results

    out = tmp_path_factory.mktemp("results")
    shot = simulate_movie((96, 120), 26, 6, radius=5, seed=8, brownian=1.5)
    assert len(shot.events)
    movie = out / "movie.tif"
    tifffile.imwrite(movie, (255 * shot.images).astype(np.uint8), photometric="rgb", metadata={"axes": "TYXS"})
    found = tracks_of_truth(shot)
    about = {"movie": str(movie), "settings": {}, "unreadable": {"3": "no picture <b>"}, "stopped": None}
    write_results(found, out / "movie", summary_of(found) | about)
    return out


@pytest.fixture
def one_figure(monkeypatch):
    """The first figure alone: drawing all takes a second for each movie, and one test does."""
    every = movie_page.movie_figures
    monkeypatch.setattr(movie_page, "movie_figures", lambda tracks: [next(every(tracks))])


def test_tracks_are_read_as_they_were_written(out):
    found, again = read_tracks(out / "movie"), read_tracks(out / "movie")
    table = pd.read_csv(out / "movie" / "droplets.csv")
    pd.testing.assert_frame_equal(found.droplets, table)
    assert len(found.merges) == len(pd.read_csv(out / "movie" / "events.csv"))
    del again.__dict__["tracks"], again.__dict__["events"]  # from links and events by row, as when they were found
    pd.testing.assert_frame_equal(found.tracks, again.tracks)
    pd.testing.assert_frame_equal(found.events, again.events, check_dtype=False)
    with pytest.raises(InputError, match=r"no droplets.csv, tracks.csv, events.csv"):
        read_tracks(out)


def test_the_page_of_a_movie_has_figures_tables_and_frames(out):
    path = report(out)
    assert path == out / "report.html"
    page = path.read_text(encoding="utf-8")
    for name in FIGURES:
        assert f'id="{name}"' in page
        assert (out / "figures" / f"{name}.svg").read_text(encoding="utf-8").startswith("<?xml")
        assert (out / "figures" / f"{name}.png").stat().st_size > 1000
        assert len(pd.read_csv(out / "figures" / f"{name}.csv"))
    assert "frame 3 was left out: no picture &lt;b&gt;" in page
    assert 'href="movie/events.csv"' in page
    assert page.count("data:image/webp") == 6
    sizes = pd.read_csv(out / "figures" / "size_distribution.csv")
    table = pd.read_csv(out / "movie" / "droplets.csv")
    assert sizes["radius_50"].tolist() == pytest.approx(table.groupby("frame")["radius"].median().tolist())
    import imageio.v3 as iio

    picture = iio.imread(out / "figures" / "montage.png")
    assert picture.std() > 10  # the frames themselves


def test_several_movies_are_on_one_page_and_frames_that_are_gone_are_circles(out, tmp_path, one_figure):
    import shutil

    for name in ("one", "two"):
        shutil.copytree(out / "movie", tmp_path / name)
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        (tmp_path / name / "summary.json").write_text(json.dumps(summary | {"movie": str(tmp_path / "gone.tif")}))
    page = report(tmp_path).read_text(encoding="utf-8")
    assert "2 movies" in page
    assert (tmp_path / "figures" / "two_radius.csv").exists()
    assert page.count("data:image/webp") == 12
    with pytest.raises(InputError, match="movies, which are not compared"):
        report(tmp_path, class_names=["a"])


def by_hand(lives, n_frames=4):
    """Tracks of droplets that are seen from frame to frame, and how they end, told by hand."""
    rows = [(f, 10.0 * k + 20, 20.0, 3.0) for k, (a, b, _) in enumerate(lives) for f in range(a, b + 1)]
    table = pd.DataFrame(rows, columns=["frame", "x", "y", "radius"])
    table["track_id"] = [k for k, (a, b, _) in enumerate(lives) for _ in range(a, b + 1)]
    found = Tracks(table, np.zeros((0, 2), int), options={"shape": (60, 200)})
    found.__dict__["tracks"] = pd.DataFrame(
        {"track_id": range(len(lives)), "birth": [a for a, _, _ in lives], "death": [b for _, b, _ in lives]}
    ).assign(fate=[fate for *_, fate in lives])
    return found


def test_survival_is_kaplan_meiers():
    found = survival(by_hand([(0, 1, "vanished"), (0, 2, "merge"), (0, 1, "border"), (0, 3, "last frame")]))
    # at age 1 four are at risk and one goes, one leaves; at age 2 of two one goes
    assert found["age"].tolist() == [0, 1, 2, 3]
    assert found["part"].tolist() == pytest.approx([1, 3 / 4, 3 / 8, 3 / 8])
    assert found["at_risk"].tolist() == [4, 4, 2, 1]


def test_the_rate_of_events_is_their_number_over_droplets_and_time():
    tracks = by_hand([(0, 3, "last frame")] * 5)
    events = pd.DataFrame({"frame": [1, 3, 3], "kind": "merge", "track_id": [7, 8, 9], "parent_ids": ["1 2", "3", "4"]})
    tracks.__dict__["events"] = events
    found = event_rate(tracks, parts=3).query("kind == 'merge'")
    assert found["events"].tolist() == [1, 0, 2]
    assert found["rate"].tolist() == pytest.approx([1 / 5, 0, 2 / 5])
    assert found["low"].iloc[1] == 0
    assert found["high"].iloc[1] == pytest.approx(-np.log(0.025) / 5)  # no event: exp(-5 rate) = 0.025


@pytest.mark.skipif(not importlib.util.find_spec("laptrack"), reason="needs LapTrack")
def test_the_command_line_writes_it_at_the_end(out, tmp_path, capsys, one_figure):
    from napari_droplets.cli.commands import main

    table = pd.read_csv(out / "movie" / "droplets.csv")[["frame", "x", "y", "radius"]]
    table.to_csv(tmp_path / "some.csv", index=False)
    given = ["track", str(tmp_path / "some.csv"), "-o", str(tmp_path / "out"), "--no-plots", "--interval", "2"]
    assert main([*given, "--no-report"]) == 0
    assert not (tmp_path / "out" / "report.html").exists()
    assert main(given) == 0
    assert "report.html" in capsys.readouterr().err
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "--interval 2" in page
    assert "per second" in page
