"""Movies fitted frame by frame: what is read, what goes on from where, what time decides, what is kept."""

import importlib.util
from dataclasses import replace

import imageio.v3 as iio
import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_droplets.compare import compare
from napari_droplets.droplets import Droplets, Optics
from napari_droplets.errors import InputError
from napari_droplets.inference.composite import Taught
from napari_droplets.movies import movie as fitting
from napari_droplets.movies.carry import Carried, brought_along
from napari_droplets.movies.footage import footage_of
from napari_droplets.movies.movie import fit_frames, movie_fit
from napari_droplets.movies.runs import Plan, decided, track_movie, track_table_file
from napari_droplets.movies.simulated import simulate_movie
from napari_droplets.movies.store import FrameStore, record_of
from napari_droplets.settings import Settings

needs_laptrack = pytest.mark.skipif(not importlib.util.find_spec("laptrack"), reason="needs LapTrack")


@pytest.fixture(scope="module")
def shot():
    """A movie of the size of the image that is fitted for all tests."""
    return simulate_movie((96, 112), 22, 4, radius=5, seed=8, drift=(1.5, 0.5), brownian=0.4)


@pytest.fixture(scope="module")
def stack(shot, tmp_path_factory):
    path = tmp_path_factory.mktemp("movie") / "shot.tif"
    tifffile.imwrite(path, (255 * shot.images).astype(np.uint8), photometric="rgb", metadata={"axes": "TYXS"})
    return path


@pytest.fixture
def quick(shot, monkeypatch):
    """Frames are not fitted: the truth is found, a droplet of the third frame is unsure."""
    calls = {"learned": 0, "fitted": []}
    optics = Optics({"w": np.zeros(2, np.float32)}, {}, 3, 3, 5.0, "free", "layered", 0.02, 0.8)

    def fitted(state, image, fresh, number):
        calls["fitted"].append(number)
        yield from fitting._told(state, number)
        table = shot.droplets[shot.droplets["frame"] == number]
        found = Droplets.from_dataframe(table.drop(columns=["track_id", "time_s", "frame"]))
        p = np.full(len(found), 0.99)
        if number == 2:
            p[5] = 0.2
        return replace(found, p_present=p), None

    def learned(state, number):
        calls["learned"] += 1
        yield from fitting._told(state, number)
        return optics, 10.0

    monkeypatch.setattr(fitting, "_fitted", fitted)
    monkeypatch.setattr(fitting, "learn_optics", learned)
    monkeypatch.setattr(fitting, "_seen", lambda footage, n, *more: (footage.load(n), None))
    return calls


def test_arrays_stacks_folders_and_lists_are_the_same_movie(shot, stack, tmp_path):
    pictures = (255 * shot.images).astype(np.uint8)
    for k, picture in enumerate(pictures):
        iio.imwrite(tmp_path / f"frame_{8 + k}.png", picture)  # 8, 9, 10, 11: natural order
    paths = [tmp_path / f"frame_{8 + k}.png" for k in range(4)]
    for given in (pictures, stack, tmp_path, str(tmp_path / "*.png"), paths, list(pictures)):
        footage = footage_of(given, Settings())
        assert footage.numbers == [0, 1, 2, 3]
        for k in (0, 3):
            np.testing.assert_array_equal(footage.load(k).pixels, pictures[k].astype(np.float32) / 255)


def test_gray_movies_lazy_arrays_and_chosen_frames(shot):
    gray = shot.images.mean(-1)

    class Lazy:
        shape, dtype, ndim = gray.shape, gray.dtype, 3
        read = 0

        def __getitem__(self, index):
            Lazy.read += 1
            return gray[index]

    footage = footage_of(Lazy(), Settings(frames=[1, 3]))
    assert footage.numbers == [1, 3]
    before = Lazy.read
    assert footage.load(3).shape == (96, 112, 1)
    assert Lazy.read == before + 1
    assert footage_of(gray[:3], Settings()).numbers == [0, 1, 2]  # three frames are no channels
    with pytest.raises(InputError, match="give frames"):
        footage_of(np.zeros((2, 2, 2, 8, 8)), Settings())


def test_times_are_those_of_the_file(shot, tmp_path):
    gray = (255 * shot.images.mean(-1)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "j.tif", gray, imagej=True, metadata={"axes": "TYX", "finterval": 2.5})
    tifffile.imwrite(
        tmp_path / "o.ome.tif", gray, metadata={"axes": "TYX", "TimeIncrement": 500.0, "TimeIncrementUnit": "ms"}
    )
    assert footage_of(tmp_path / "j.tif", Settings()).interval_s == 2.5
    assert footage_of(tmp_path / "o.ome.tif", Settings()).interval_s == 0.5
    assert footage_of(gray, Settings()).interval_s is None


def test_a_real_fit_goes_from_frame_to_frame(shot, fitted, tmp_path):
    state = movie_fit(shot.images, optics=fitted.optics)
    store = FrameStore(tmp_path, record_of(state, "shot"))
    store.clear()
    results = list(fit_frames(state, store=store))
    assert [r.number for r in results] == [0, 1, 2, 3]
    assert state.optics is fitted.optics
    for number, truth in shot.droplets.groupby("frame"):
        table = state.tables[number]
        found = Droplets.from_dataframe(table[table["p_present"] >= 0.5])
        result = compare(Droplets.from_dataframe(truth), found)
        assert result.recall > 0.85
        assert result.center_error < 0.1
    assert {"composition_0", "composition_0_sd", "x_sd", "p_present", "cut_by_border"} <= set(state.table())

    for number in (2, 3):
        store.path(number).unlink()  # as if the run had been killed
    again = movie_fit(shot.images, optics=fitted.optics)
    assert FrameStore(tmp_path, record_of(again, "shot")).matches()
    assert [r.skipped for r in fit_frames(again, store=store)] == [True, True, False, False]
    pd.testing.assert_frame_equal(again.table(), state.table())
    other = replace(fitted.optics, weights={k: v + 1 for k, v in fitted.optics.weights.items()})
    assert not FrameStore(tmp_path, record_of(movie_fit(shot.images, optics=other), "shot")).matches()


def test_a_run_goes_on_at_the_scale_that_it_had(quick, shot, tmp_path, monkeypatch):
    looked = []
    monkeypatch.setattr(fitting, "_seen", lambda footage, n, settings, diameter: (looked.append((n, diameter)), None))

    def fitted(state, image, fresh, number):
        yield from fitting._told(state, number)
        found = Droplets(*np.full((3, 1), 20.0), p_present=np.ones(1))
        carried = Carried(np.full((2, 2, 3), number, np.float32), (96, 112), 20.0 + number)
        return (found, carried) if number != 1 else (found[:0], None)

    monkeypatch.setattr(fitting, "_fitted", fitted)
    whole = movie_fit(shot.images)
    store = FrameStore(tmp_path, record_of(whole, "shot"))
    store.clear()
    list(fit_frames(whole, store=store))
    assert looked == [(0, 10.0), (1, 10.0), (2, 20.0), (3, 20.0)]  # a frame is looked through while the last is fitted
    for last in (2, 1, 0):
        store.path(last + 1).unlink(missing_ok=True)
        looked.clear()
        again = movie_fit(shot.images)
        steps = fit_frames(again, store=store)
        for _ in range(last + 2):
            next(steps)
        assert looked[0] == (last + 1, {0: 10.0, 1: 20.0, 2: 20.0}[last])
        assert again.carried.diameter == {0: 20.0, 1: 22.0, 2: 23.0}[last]
        steps.close()
        for n in range(last + 1, 4):
            store.path(n).unlink(missing_ok=True)
    assert quick["learned"] == 1


def test_optics_are_learned_on_frames_spread_over_the_movie(monkeypatch):
    optics = Optics({"w": np.zeros(2, np.float32)}, {}, 3, 3, 5.0, "free", "layered", 0.02, 0.8)

    def learn(images, number, settings):
        chosen = [(n, load()) for n, load in images][:number]
        assert [float(image.pixels[0, 0, 0]) for _, image in chosen] == pytest.approx([0.1, 0.3, 0.6, 0.8], abs=0.02)
        yield from ()
        return Taught(optics, 9.0, tuple(n for n, _ in chosen))

    frames = np.stack([np.full((20, 22), 0.1 * (k + 1), np.float32) for k in range(8)])
    frames += 0.01 * np.random.default_rng(0).random(frames.shape, np.float32)
    monkeypatch.setattr("napari_droplets.inference.composite.learn", learn)
    state = movie_fit(frames, intensity_range=(0, 1))
    steps = fitting.learn_optics(state, 0)
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value == (optics, 9.0)


def droplets(x, p, **more):
    n = len(x)
    sd = np.full(n, 0.2)
    return Droplets(np.array(x, float), np.full(n, 20.0), np.full(n, 4.0), sd, sd, sd, np.array(p, float), **more)


def test_candidates_are_brought_along_but_not_onto_what_they_became():
    places = [20.0, 40.0, 60.0, 80.0, 100.0]
    before = droplets(places, [1] * 5, composition=np.linspace(0, 1, 5)[:, None])
    fresh = droplets([22.0, 42.0, 62.0, 82.0], [0.9, 0.9, 0.9, 0.2])
    here = brought_along(before, fresh)
    assert here.x == pytest.approx([22, 42, 62, 82, 102])
    assert here.composition[:, 0] == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    merged = Droplets(*np.array([[22.0, 42, 62, 91], [20] * 4, [4, 4, 4, 12]]), p_present=np.full(4, 0.9))
    assert len(brought_along(before, merged)) == 4
    assert len(brought_along(None, fresh)) == 4
    assert len(brought_along(before, droplets([], []))) == 5


@needs_laptrack
def test_time_decides_of_what_is_not_sure(shot):
    table = shot.droplets.drop(columns=["track_id", "time_s"]).assign(p_present=0.99)
    middle = table.index[table["frame"] == 2]
    table.loc[middle[5], "p_present"] = 0.2  # surely there before and after
    stray = {"x": 3.0, "y": 90.0, "radius": 2.0, "p_present": 0.3, "frame": 1}
    flash = {"x": 60.0, "y": 50.0, "radius": 2.0, "p_present": 0.6, "frame": 2}
    made = {c: 0.5 for c in table if c.startswith("composition")}
    unsure = pd.concat([table, pd.DataFrame([stray | made, flash | made])], ignore_index=True)
    found = decided(unsure, Plan(shape=(96, 112)))
    assert len(found.droplets) == len(table)
    [filled] = found.droplets[found.droplets["p_present"] < 0.99].itertuples()
    assert filled.frame == 2
    assert filled.p_present > 0.9
    assert (found.droplets["track_id"] == filled.track_id).sum() > 2
    assert found.droplets["frame"].is_monotonic_increasing


@needs_laptrack
def test_a_frame_that_cannot_be_read_is_told_and_bridged(quick, shot, tmp_path):
    for k, picture in enumerate((255 * shot.images).astype(np.uint8)):
        iio.imwrite(tmp_path / f"{k}.png", picture)
    (tmp_path / "1.png").write_bytes(b"no picture")
    outcome = track_movie(movie_fit(tmp_path), tmp_path / "out", Plan(interval_s=2.0))
    assert list(outcome.unreadable) == [1]
    assert "1.png" in outcome.summary["unreadable"]["1"]
    table = pd.read_csv(tmp_path / "out" / "droplets.csv")
    assert sorted(table["frame"].unique()) == [0, 2, 3]
    assert table.groupby("track_id")["frame"].agg(set).isin([{0, 2, 3}]).sum() > 10
    assert table["time_s"].max() == 6.0


@needs_laptrack
def test_a_movie_with_a_frame_that_cannot_be_read_has_its_report(quick, shot, tmp_path, monkeypatch):
    from napari_droplets.cli import main, track

    reported = []
    monkeypatch.setattr(track, "_reported", lambda args, out, *_: bool(reported.append(out)) or True)
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, picture in enumerate((255 * shot.images).astype(np.uint8)):
        iio.imwrite(folder / f"{k}.png", picture)
    (folder / "1.png").write_bytes(b"no picture")
    assert main(["track", str(folder), "-o", str(tmp_path / "out"), "--no-plots", "--quiet"]) == 1
    assert reported == [tmp_path / "out"]


@needs_laptrack
def test_an_interrupted_run_goes_on_without_loss(quick, stack, tmp_path):
    whole = track_movie(movie_fit(stack), tmp_path / "whole", Plan())
    assert quick["fitted"] == [0, 1, 2, 3]
    quick["fitted"].clear()

    def stop(number, progress):
        return number < 2

    stopped = track_movie(movie_fit(stack), tmp_path / "out", Plan(), watch=stop)
    assert stopped.summary["stopped"] == "cancelled"
    assert sorted(stopped.tracks.droplets["frame"].unique()) == [0, 1]
    assert (tmp_path / "out" / "events.csv").exists()
    learned = quick["learned"]
    quick["fitted"].clear()
    again = track_movie(movie_fit(stack), tmp_path / "out", Plan(), resume=True)
    assert quick["fitted"] == [2, 3]
    assert quick["learned"] == learned
    pd.testing.assert_frame_equal(again.tracks.droplets, whole.tracks.droplets)
    quick["fitted"].clear()
    track_movie(movie_fit(stack, types=2), tmp_path / "out", Plan(), resume=True)
    assert quick["fitted"] == [0, 1, 2, 3]  # other settings: another run


@needs_laptrack
def test_no_frame_at_all_is_an_error(quick, tmp_path, monkeypatch):
    def fails(*_):
        raise InputError("nothing there")

    monkeypatch.setattr(fitting, "_fitted", fails)
    with pytest.raises(InputError, match="no frame could be used; frame 0: nothing there"):
        track_movie(movie_fit(np.random.default_rng(0).random((2, 40, 40))), tmp_path, Plan())


@needs_laptrack
def test_tables_of_files_are_followed(shot, tmp_path):
    path = tmp_path / "table.csv"
    shot.droplets[["frame", "x", "y", "radius"]].to_csv(path, index=False)
    outcome = track_table_file(path, tmp_path / "out", Plan(interval_s=1.0, exports=("plots", "trackmate")))
    assert outcome.summary["n_tracks"] == shot.droplets["track_id"].nunique()
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "droplets.csv", "tracks.csv", "events.csv", "summary.json", "tracks.png", "tracks.xml"
    }  # fmt: skip


@needs_laptrack
def test_the_command_line_follows_movies_and_tables(quick, stack, tmp_path, capsys):
    from napari_droplets.cli import main

    table = tmp_path / "only.csv"
    pd.DataFrame({"frame": [0, 1], "x": [5.0, 6], "y": [5.0, 5], "radius": [2.0, 2]}).to_csv(table, index=False)
    out = tmp_path / "out"
    code = main(["track", str(stack), str(table), "-o", str(out), "--interval", "3", "--no-plots", "--quiet",
                 "--export", "trackmate"])  # fmt: skip
    said = capsys.readouterr()
    assert code == 0, said.err
    assert (out / "shot" / "tracks.xml").exists()
    assert "shot.tif: 4 frames" in said.out
    assert pd.read_csv(out / "shot" / "droplets.csv")["time_s"].max() == 9.0
    assert pd.read_csv(out / "only" / "tracks.csv")["dr_dt"].tolist() == [0.0]
    assert main(["track", str(tmp_path / "none.tif"), "-o", str(out)]) == 2
    assert "no such file" in capsys.readouterr().err
    assert main(["track", str(tmp_path / "none.tif"), str(table), "-o", str(out), "--no-plots"]) == 1
    assert "give --interval" in capsys.readouterr().err
    assert main(["track", str(table), "-o", str(out), "--interval", "-1"]) == 2
