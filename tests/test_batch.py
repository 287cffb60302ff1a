"""Many files: names, failures, resuming and the tables of all, with a quick stand-in for the fit itself."""

import json
import shutil
from pathlib import Path, PureWindowsPath

import numpy as np
import pandas as pd
import pytest
import tifffile
from stand_in import StandIn, write_image

import napari_droplets as nd
from napari_droplets.droplets import Optics
from napari_droplets.errors import InputError
from napari_droplets.series import batch, names, one_file, tables
from napari_droplets.series.batch import Plan, check_output, find_images, name_results, run
from napari_droplets.settings import Settings


@pytest.fixture
def stand_in(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setattr("napari_droplets.inference.api.fit", stand_in.fit)
    monkeypatch.setattr("napari_droplets.inference.api.detect_all", stand_in.detect_all)
    monkeypatch.setattr("napari_droplets.inference.composite.learn", stand_in.learn)
    return stand_in


def go(paths, out, *, settings=None, **options):
    plan = Plan(settings or Settings(), overlay=options.pop("overlay", False), **options.pop("plan", {}))
    check_output(out, [])
    return list(run(paths, out, plan, **options))


@pytest.fixture
def three(tmp_path):
    return [write_image(tmp_path / f"in/{name}.png", seed) for seed, name in enumerate("abc")]


def test_folder_is_sorted_flat_and_of_images_only(tmp_path):
    for name in ("b.PNG", "a.tif", "c.jpeg", "._a.tif", "deeper/d.png"):
        write_image(tmp_path / "in" / name.lower()).rename(tmp_path / "in" / name)
    (tmp_path / "in/notes.txt").write_text("no image")
    assert [p.name for p in find_images(tmp_path / "in")] == ["a.tif", "b.PNG", "c.jpeg"]


def test_pattern_also_reaches_deeper_but_not_into_results(tmp_path, stand_in):
    write_image(tmp_path / "in/a.png")
    write_image(tmp_path / "in/deeper/b.png")
    go(find_images(tmp_path / "in"), tmp_path / "in/out", overlay=True)
    assert (tmp_path / "in/out/a/overlay.png").exists()
    assert [p.name for p in find_images(str(tmp_path / "in/**/*"))] == ["a.png", "b.png"]


@pytest.mark.parametrize("what", ["", "nothing/*.png", "missing"])
def test_nothing_found_says_where(tmp_path, what):
    with pytest.raises(InputError, match=str(what or tmp_path).replace("*", r"\*")):
        find_images(tmp_path / what)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["a.png", "b.png"], ["a", "b"]),
        (["a.png", "a.tif", "b.png"], ["a.png", "a.tif", "b"]),
        (["a.png", "A.tif"], ["a.png", "A.tif"]),
        (["x/a.png", "y/a.png", "y/b.png"], ["x_a", "y_a", "b"]),
        (["x/a.png", "x/a.tif", "y/a.png", "x_a.bmp"], ["x_a.png", "a.tif", "y_a", "x_a"]),
        (["summary.csv.png"], ["summary.csv.png"]),
        (["a.png", "a.png"], ["a"]),
    ],
)
def test_every_result_has_a_folder_of_its_own(tmp_path, files, names):
    found = name_results([tmp_path / f for f in files])
    assert list(found.values()) == names


def test_result_folder_holds_what_the_library_reads(tmp_path, three, stand_in):
    (outcome,) = go(three[:1], tmp_path / "out", overlay=True)
    folder = tmp_path / "out/a"
    assert sorted(p.name for p in folder.iterdir()) == sorted(batch.RESULT_FILES)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"]
    fit = nd.read(folder)
    assert len(fit.droplets) == outcome.summary["n_droplets"] == 1
    assert fit.image is not None
    assert fit.summary["version"] == nd.__version__


def test_one_that_fails_does_not_stop_the_others(tmp_path, three, stand_in):
    three[1].write_bytes(b"no image at all")
    stand_in.fail["c.png"] = MemoryError("too large")
    a, b, c = go(three, tmp_path / "out", combine=True)
    assert a.error is None
    assert isinstance(b.error, InputError)
    assert isinstance(c.error, MemoryError)
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert summary["image"].tolist() == ["a.png", "b.png", "c.png"]
    assert summary["error"].isna().tolist() == [True, False, False]
    assert summary["error"][2] == "MemoryError: too large"
    assert not (tmp_path / "out/b").exists()


def test_tables_of_all_are_whole_after_every_image(tmp_path, three, stand_in):
    out = tmp_path / "out"
    plan = Plan(Settings(), overlay=False)
    check_output(out, [])
    for n, _ in enumerate(run(three, out, plan, combine=True), 1):
        table, summary = pd.read_csv(out / "droplets.csv"), pd.read_csv(out / "summary.csv")
        assert summary["n_droplets"].tolist() == list(range(1, n + 1))
        assert table["image"].tolist() == [f"{'abc'[i]}.png" for i in range(n) for _ in range(i + 1)]
    own = pd.read_csv(out / "c/droplets.csv")
    pd.testing.assert_frame_equal(table[table["image"] == "c.png"].drop(columns="image").reset_index(drop=True), own)


def test_slow_tables_are_not_rewritten_all_the_time_but_at_the_end(tmp_path, three, stand_in, monkeypatch):
    written = []
    original = tables.Tables.write

    def slow(self):
        written.append(len(self.rows))
        original(self)
        self.cost = 1000.0

    monkeypatch.setattr(tables.Tables, "write", slow)
    go(three, tmp_path / "out", combine=True)
    assert written == [1, 3]
    assert len(pd.read_csv(tmp_path / "out/summary.csv")) == 3


def test_resume_skips_only_what_is_the_same(tmp_path, three, stand_in):
    out = tmp_path / "out"
    go(three, out, combine=True)
    stand_in.fitted.clear()

    def again(**options):
        stand_in.fitted.clear()
        outcomes = go(three, out, resume=True, combine=True, **options)
        assert [o.skipped for o in outcomes] == [o.path.name not in stand_in.fitted for o in outcomes]
        return list(stand_in.fitted)

    assert again() == []
    assert len(pd.read_csv(out / "droplets.csv")) == 1 + 2 + 3
    assert again(settings=Settings(seed=1)) == ["a.png", "b.png", "c.png"]
    assert again(settings=Settings(seed=1)) == []
    optics = Optics({"w": np.ones(3, np.float32)}, {}, 3, 3, 2.0, "free", "layered", 0.05, 0.7)
    assert again(settings=Settings(seed=1), plan={"optics": optics}) == ["a.png", "b.png", "c.png"]
    assert again(settings=Settings(seed=1), plan={"optics": optics}) == []
    write_image(three[1], seed=99)
    (out / "c/summary.json").write_text("{")
    assert again(settings=Settings(seed=1), plan={"optics": optics}) == ["b.png", "c.png"]
    summary = json.loads((out / "a/summary.json").read_text())
    (out / "a/summary.json").write_text(json.dumps(summary | {"version": "0.0.1"}))
    assert again(settings=Settings(seed=1), plan={"optics": optics}) == ["a.png"]
    assert again(settings=Settings(seed=1), plan={"optics": optics}, overlay=True) == ["a.png", "b.png", "c.png"]
    shutil.rmtree(out / "b")
    assert again(settings=Settings(seed=1), plan={"optics": optics}, overlay=True) == ["b.png"]


def test_stopped_result_is_kept_marked_and_not_taken_for_complete(tmp_path, three, stand_in):
    def watch(path, progress):
        return not (path.name == "b.png" and progress is not None and progress.step == 100)

    a, b = go(three, tmp_path / "out", watch=watch)
    assert (a.stopped, b.stopped) == (False, True)
    assert len(nd.read(tmp_path / "out/b").droplets) == 2
    assert not (tmp_path / "out/c").exists()
    assert [o.skipped for o in go(three, tmp_path / "out", resume=True)] == [True, False, False]


def test_old_result_stays_until_the_new_one_is_there(tmp_path, three, stand_in):
    out = tmp_path / "out"
    go(three[:1], out, overlay=True)
    old = {p.name: p.read_bytes() for p in (out / "a").iterdir()}
    stand_in.fail["a.png"] = RuntimeError("boom")
    (outcome,) = go(three[:1], out, overlay=True)
    assert outcome.error is stand_in.fail["a.png"]
    assert {p.name: p.read_bytes() for p in (out / "a").iterdir()} == old


def test_new_result_leaves_nothing_of_the_old_one_but_the_users_files(tmp_path, three, stand_in):
    out = tmp_path / "out"
    go(three[:1], out, overlay=True)
    (out / "a/notes.txt").write_text("mine")
    go(three[:1], out, plan={"detect_only": True})
    assert sorted(p.name for p in (out / "a").iterdir()) == [
        "droplets.csv",
        "droplets.parquet",
        "notes.txt",
        "summary.json",
    ]
    assert len(nd.read(out / "a")) == 5
    summary = json.loads((out / "a/summary.json").read_text())
    assert summary["n_droplets"] == 5
    assert summary["image"]["shape"] == [24, 32, 3]


def test_an_overlay_that_cannot_be_drawn_does_not_cost_the_fit(tmp_path, three, stand_in, monkeypatch):
    def broken(*_):
        raise MemoryError("no room for a picture")

    monkeypatch.setattr("napari_droplets.plot.overlay.save_overlay", broken)
    (outcome,) = go(three[:1], tmp_path / "out", overlay=True)
    assert isinstance(outcome.error, MemoryError)
    assert len(nd.read(tmp_path / "out/a").droplets) == 1


def test_output_that_cannot_be_is_found_out_before(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        check_output(tmp_path / "file", [])
    with pytest.raises(InputError, match="file"):
        check_output(tmp_path, ["file"])


@pytest.mark.parametrize("how", ["deleted", "cut off"])
def test_resume_redoes_a_result_whose_table_cannot_be_read(tmp_path, three, stand_in, how):
    out = tmp_path / "out"
    go(three, out, combine=True)
    table = out / "b/droplets.csv"
    if how == "deleted":
        table.unlink()
    else:
        table.write_text(table.read_text()[:5])
    outcomes = go(three, out, resume=True, combine=True)
    assert [o.skipped for o in outcomes] == [True, False, True]
    assert [o.error for o in outcomes] == [None] * 3
    assert set(pd.read_csv(out / "droplets.csv")["image"]) == {"a.png", "b.png", "c.png"}


def test_a_table_gone_after_the_fit_is_said_of_its_image_alone(tmp_path, three, stand_in):
    outcomes = []
    both = tables.Tables(tmp_path)
    for outcome in go(three, tmp_path / "out"):
        if outcome.image == "b.png":
            (outcome.folder / "droplets.csv").unlink()
        outcomes.append(both.add(outcome))
    assert [isinstance(o.error, InputError) for o in outcomes] == [False, True, False]
    assert pd.read_csv(tmp_path / "summary.csv")["error"].isna().tolist() == [True, False, True]


@pytest.mark.parametrize("name", tables.TABLE_FILES)
def test_a_table_of_all_that_is_in_use_is_tried_again(tmp_path, three, stand_in, monkeypatch, name):
    out, told, tries = tmp_path / "out", [], []
    original = tables.write_whole

    def write(path, how):
        if path == out / name:
            tries.append(path)
            if len(tries) < 3:
                raise InputError(f"{path}: cannot be written (in use)")
        original(path, how)

    monkeypatch.setattr(tables, "write_whole", write)
    assert len(go(three, out, combine=True, warn=told.append)) == 3
    assert [str(e) for e in told] == [f"{out / name}: cannot be written (in use)"]
    for table in tables.TABLE_FILES:
        assert set(pd.read_csv(out / table)["image"]) == {"a.png", "b.png", "c.png"}


def test_a_result_that_cannot_be_moved_is_kept_and_named(tmp_path, three, stand_in):
    out = tmp_path / "out"
    go(three[:1], out, overlay=True)
    old = (out / "a/droplets.csv").read_bytes()
    (out / "a/optics.safetensors").unlink()
    (out / "a/optics.safetensors/in the way").mkdir(parents=True)  # a folder cannot be replaced by a file
    (outcome,) = go(three[:1], out, overlay=True)
    assert isinstance(outcome.error, InputError)
    assert f"kept in {out / '.partial-a'}" in str(outcome.error)
    assert not (out / "a/summary.json").exists()
    places = {n: [f for f in (out / "a" / n, out / ".partial-a" / n) if f.is_file()] for n in batch.RESULT_FILES}
    assert all(places.values()), "some file of the new fit is lost"
    assert places["droplets.csv"][-1].read_bytes() != old
    assert (out / ".partial-a/summary.json").exists()
    (out / "a/optics.safetensors/in the way").rmdir()
    (out / "a/optics.safetensors").rmdir()
    assert [o.error for o in go(three[:1], out, overlay=True)] == [None]
    assert [p.name for p in out.iterdir()] == ["a"]


def test_every_old_file_stays_until_its_own_successor_comes(tmp_path, three, stand_in, monkeypatch):
    out = tmp_path / "out"
    go(three[:1], out, overlay=True)

    def locked(source, target):
        raise PermissionError(13, "in use", str(target))

    source = tmp_path / "new"
    shutil.copytree(out / "a", source)
    monkeypatch.setattr(one_file.os, "replace", locked)
    with pytest.raises(InputError, match="in use"):
        one_file._move_results(source, out / "a")
    assert {p.name for p in (out / "a").iterdir()} == set(batch.RESULT_FILES) - {"summary.json"}
    assert {p.name for p in source.iterdir()} == set(batch.RESULT_FILES)


def test_files_on_several_drives_get_names_too(monkeypatch):
    monkeypatch.setattr(names.Path, "resolve", lambda p: PureWindowsPath(str(p)))

    def no_base(paths):
        raise ValueError("Paths don't have the same drive")

    monkeypatch.setattr(names.os.path, "commonpath", no_base)
    paths = [Path(p) for p in ("C:\\x\\a.png", "D:\\x\\a.png", "\\\\host\\share\\x\\a.png")]
    assert [p.parts for p in names._inside(paths).values()] == [
        ("C", "x", "a.png"),
        ("D", "x", "a.png"),
        ("host_share", "x", "a.png"),
    ]


def test_counts_stay_whole_numbers_beside_a_failed_image(tmp_path, three, stand_in):
    stand_in.fail["b.png"] = InputError("b.png: broken")
    go(three, tmp_path / "out", combine=True)
    with open(tmp_path / "out/summary.csv") as file:
        counts = [line.split(",")[1] for line in file][1:]
    assert counts[1] == ""
    assert all(count.isdigit() for count in (counts[0], counts[2]))


def test_optics_of_the_first_image_that_can_be_fitted_are_kept(three, tmp_path, stand_in):
    stand_in.fail = {"a.png": InputError("no droplets")}
    settings = Settings(types=2)
    outcomes = go(three, tmp_path / "out", settings=settings, same_optics=True, optics_from=1)
    assert [bool(o.error) for o in outcomes] == [True, False, False]
    (before, learned), (kept, held) = stand_in.given
    assert before is None
    assert learned["learn_optics"]
    np.testing.assert_array_equal(kept.weights["w"], nd.read_optics(tmp_path / "out/b").weights["w"])
    assert not held["learn_optics"]
    assert held["types"] == 2
    # what is there already tells the optics as well
    stand_in.fail = {}
    (tmp_path / "out/c/summary.json").unlink()
    again = go(three[1:], tmp_path / "out", settings=settings, same_optics=True, optics_from=1, resume=True)
    assert [o.skipped for o in again] == [True, False]
    assert stand_in.given[-1][0].weights.keys() == kept.weights.keys()
    # … and where they are gone that image is fitted again
    (tmp_path / "out/b/optics.safetensors").unlink()
    once_more = go(three[1:], tmp_path / "out", settings=settings, same_optics=True, optics_from=1, resume=True)
    assert [o.skipped for o in once_more] == [False, True]


@pytest.fixture
def movie(tmp_path):
    path = tmp_path / "in/0_movie.tif"
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 24, 32), dtype=np.uint8)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TYX"})
    return path


def test_an_interrupted_stack_keeps_the_pictures_that_are_done(tmp_path, movie, stand_in):
    out, settings = tmp_path / "out", Settings(frames="all")
    go([movie], out, settings=settings)
    stack = out / "0_movie"
    before = pd.read_csv(stack / "droplets.csv")
    (stack / "summary.json").unlink()
    shutil.rmtree(stack / "frame_1")
    stand_in.fitted[:] = stand_in.fitted[:1]  # so that the stand-in finds as many droplets as it did there
    (outcome,) = go([movie], out, settings=settings, resume=True)
    assert outcome.error is None
    assert len(stand_in.fitted) == 2
    pd.testing.assert_frame_equal(pd.read_csv(stack / "droplets.csv"), before)


def test_optics_of_a_stack_are_those_of_its_first_picture_where_one_teaches(tmp_path, movie, three, stand_in):
    options = {"same_optics": True, "optics_from": 1}
    outcomes = go([movie, *three[:1]], tmp_path / "out", settings=Settings(frames="all"), **options)
    assert [o.error for o in outcomes] == [None, None]
    assert stand_in.lessons == 0
    assert stand_in.given[0][0] is None
    assert all(optics is not None and not settings["learn_optics"] for optics, settings in stand_in.given[1:])
