"""A batch that is followed, gone on with and corrected: its process, its images, what is written back."""

import io
import json
import sys
import threading
from functools import partial

import numpy as np
import pandas as pd
import pytest
import tifffile
from batches import fit_by, fitted_folder
from fake_fit import FOUND, FakeFit
from stand_in import StandIn, write_image

import napari_droplets as nd
from napari_droplets import child_process
from napari_droplets.child_process import tell_to
from napari_droplets.errors import InputError
from napari_droplets.inference import api as fitting
from napari_droplets.plugin.jobs import work
from napari_droplets.series import child
from napari_droplets.series.batch import Plan, run
from napari_droplets.settings import Settings
from napari_droplets.storage.lock import sole_writer
from napari_droplets.workbench.batch import folder as folders
from napari_droplets.workbench.batch.corrected import (
    SESSION,
    export_table,
    moment_of_sheet,
    open_result,
    save_corrections,
    write_tables,
)
from napari_droplets.workbench.batch.folder import FolderBatch
from napari_droplets.workbench.fits import Numbered
from napari_droplets.workbench.rows import numbered
from napari_droplets.workbench.sheet import Sheet

WAIT = 120  # seconds; most that a process may take on a machine with much other work


@pytest.fixture
def fake(monkeypatch):
    fake = FakeFit()
    for name in ("iterate", "iterate_refit", "detect_all"):
        monkeypatch.setattr(fitting, name, getattr(fake, name))
    return fake


@pytest.fixture
def out(fake, monkeypatch, tmp_path):
    return fitted_folder(fake, monkeypatch, tmp_path)


def sheet_of(folder):
    opened = open_result(folder)
    if opened.sheet is not None:
        return opened.sheet
    fit = opened.result
    sheet = Sheet("droplets", numbered(fit.table))
    sheet.fits = {(): Numbered(fit, sheet.table.index.to_numpy())}
    return sheet


def refit(sheet):
    since = sheet.snapshot(())
    steps = work.refit(since, None, None, {})
    while True:
        try:
            next(steps)
        except StopIteration as end:
            sheet.take(end.value.change, end.value.table, since)
            return


def corrected(folder, number=3, stack=None):
    sheet = sheet_of(folder)
    sheet.edit(sheet.table.drop(index=number))
    refit(sheet)
    save_corrections(folder, moment_of_sheet(sheet), stack)
    return sheet


def images(path, n=2):
    for i in range(n):
        values = (255 * nd.simulate((64, 64), 6, seed=i)[0]).astype(np.uint8)
        path.mkdir(exist_ok=True)
        tifffile.imwrite(path / f"{i}.tif", values, photometric="rgb")
    return path


def test_a_folder_in_a_process_of_its_own_with_a_failing_image_gives_what_python_gives(tmp_path):
    here = images(tmp_path / "in")
    (here / "bad.tif").write_bytes(b"no picture")
    settings = {"detector": "blobs", "diameter": 8.0}
    model, said = FolderBatch(), []
    model.told.connect(lambda text, level: said.append((text, level)))
    model.start(here, tmp_path / "out", settings, detect_only=True)
    with pytest.raises(InputError, match="goes on"):
        model.start(here, tmp_path / "out", settings)
    assert model.running
    assert model.counts() == {"waiting": 3}
    model.join(WAIT)
    assert not model.running
    assert {n: i.state for n, i in model.items.items()} == {"0": "done", "1": "done", "bad": "failed"}
    assert "bad" in model.items["bad"].error
    assert [t for t, _ in said][-1].startswith("Batch done: 2 of 3 images done · 1 failed")
    nd.batch(here, tmp_path / "python", detect_only=True, **settings)
    for name in ("droplets.csv", "0/droplets.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "python" / name).read_bytes()
    outcomes = list(run(sorted(here.iterdir()), tmp_path / "out", Plan.of(detect_only=True, **settings), resume=True))
    assert [o.skipped for o in outcomes] == [True, True, False]  # on the command line


def test_the_end_of_the_window_ends_the_batch_and_a_killed_one_is_told(tmp_path):
    here, settings = images(tmp_path / "in"), {"detector": "blobs", "diameter": 8.0}
    model, said = FolderBatch(), []
    model.told.connect(lambda text, level: said.append((text, level)))
    model.start(here, tmp_path / "out", settings, detect_only=True)
    process = model._process
    model.close()  # all that the panel does when it is closed
    process.join(WAIT)
    assert process._child.process.returncode == 0
    model.poll()
    model.start(here, tmp_path / "out", settings, detect_only=True)
    model._process._child.process.kill()
    model.join(WAIT)
    assert said[-1][1] == "warning"
    assert "Start goes on" in said[-1][0]
    assert not any(thread.name == "napari-droplets batch" for thread in threading.enumerate())


def lines(text):
    return [json.loads(line) for line in text.getvalue().splitlines()]


def test_what_the_process_does_and_tells(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(fitting, "fit", fit_by(fake))
    monkeypatch.setattr(child, "TELL_EVERY", -1)
    fake.summary = {"n_droplets": FOUND, "stopped": "settled"}
    for seed, name in enumerate("ab"):
        write_image(tmp_path / f"in/{name}.png", seed)
    order = {"images": str(tmp_path / "in"), "out": str(tmp_path / "out"), "settings": {}, "overlay": False}
    told, stop = io.StringIO(), threading.Event()
    child._work(order, partial(tell_to, told), stop)
    events = lines(told)
    assert [e["event"] for e in events if e["event"] != "progress"] == ["images", *("begin", "image") * 2]
    assert not [e["error"] for e in events if e.get("error")]
    assert {e["name"] for e in events if e["event"] == "progress"} == {"a", "b"}
    stop.set()
    told = io.StringIO()
    child._work(order | {"resume": False}, partial(tell_to, told), stop)
    assert [e["event"] for e in lines(told)] == ["images", "begin"]  # nothing is begun any more


def test_another_line_or_none_stops(monkeypatch):
    for text in ("stop\n", ""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        stop = threading.Event()
        said = []
        child_process._listen(stop, lambda: said.append("stopped"))  # noqa: B023
        assert stop.is_set()
        assert said == ["stopped"]


def test_a_folder_of_the_command_line_is_followed(out, monkeypatch):
    model, changes = FolderBatch(), []
    model.open(out)
    assert model.text() == "3 of 3 images done · 36 droplets · 0 of 3 looked at"
    model.changed.connect(changes.append)
    monkeypatch.setattr(folders, "LOOK_SECONDS", 0)
    model.poll()
    assert not changes
    manifest = json.loads((out / "batch.json").read_text())
    manifest["images"]["b"] |= {"state": "failed", "error": "b.png: too dark", "changed": "now"}
    (out / "batch.json").write_text(json.dumps(manifest))
    model.poll()
    assert changes == [None]
    assert (model.items["b"].state, model.items["b"].error) == ("failed", "b.png: too dark")
    assert model.targets() == ["a", "c"]
    manifest["images"]["b"] |= {"state": "running", "changed": "later"}
    (out / "batch.json").write_text(json.dumps(manifest))
    model.poll()
    assert model.items["b"].state == "waiting"  # nobody works on it: it was killed
    with sole_writer(out):
        model.poll()
        assert model.items["b"].state == "running"


def test_next_goes_through_all_and_what_was_looked_at_is_kept(out):
    model = FolderBatch()
    model.open(out)
    assert model.next_target() == "a"
    for name in "ab":
        model.mark_seen(name)
    again = FolderBatch()
    again.open(out)
    assert again.seen == {"a", "b"}
    assert again.next_target("a") == "c"
    again.mark_seen("c")
    assert again.next_target("c") is None


def test_no_batch_there_is_said(tmp_path):
    with pytest.raises(InputError, match="no batch was run there"):
        FolderBatch().open(tmp_path)
    (tmp_path / "batch.json").write_text('{"images": {"../x": {"path": "y"}}}')
    with pytest.raises(InputError, match="damaged"):
        FolderBatch().open(tmp_path)


def test_corrections_come_into_the_result_and_the_tables_and_can_be_undone_later(out):
    sheet = corrected(out / "a")
    write_tables(out)
    fit = nd.read(out / "a")
    assert len(fit.droplets) == FOUND - 1
    assert fit.summary["corrections"]["edits"] == 1
    table, summary = pd.read_csv(out / "droplets.csv"), pd.read_csv(out / "summary.csv")
    assert table.groupby("image").size().to_dict() == {"a.png": FOUND - 1, "b.png": FOUND, "c.png": FOUND}
    assert summary["n_droplets"].tolist() == [FOUND - 1, FOUND, FOUND]
    assert json.loads((out / "batch.json").read_text())["images"]["a"]["n_droplets"] == FOUND - 1
    again = sheet_of(out / "a")
    pd.testing.assert_frame_equal(again.table, sheet.table)
    assert again.fit.image is not None  # can be refitted
    assert again.undo()
    assert len(again.table) == FOUND
    save_corrections(out / "a", moment_of_sheet(again))
    model = FolderBatch()
    model.open(out)
    assert [item.edits for item in model.items.values()] == [0, 0, 0]
    assert model.stale  # the tables of all are older


def test_resume_keeps_corrections_and_tables_have_them(out, tmp_path):
    corrected(out / "a")
    paths = sorted((tmp_path / "in").iterdir())
    outcomes = list(run(paths, out, Plan(Settings()), resume=True, combine=True))
    assert [o.skipped for o in outcomes] == [True] * 3
    assert len(pd.read_csv(out / "droplets.csv")) == 3 * FOUND - 1


def test_corrections_are_not_replaced_by_other_settings_unasked(out, tmp_path, monkeypatch):
    corrected(out / "a")
    started = []
    monkeypatch.setattr(folders, "BatchProcess", lambda order: started.append(order))
    model = FolderBatch()
    with pytest.raises(InputError, match=r"a\.png: corrected, and made with other settings"):
        model.start(tmp_path / "in", out, {"types": 2})
    assert not started
    model.start(tmp_path / "in", out, {})
    model._process = None
    model.start(None, out, {"types": 2}, replace_corrected=True)
    assert [order["settings"] for order in started] == [{}, {"types": 2}]
    assert started[1]["images"] == started[0]["images"]


def test_a_session_of_an_earlier_result_is_not_taken_for_its_corrections(out, tmp_path):
    corrected(out / "a")
    list(run(sorted((tmp_path / "in").iterdir()), out, Plan(Settings()), combine=True))
    assert (out / "a" / SESSION).exists()  # its journal can be repeated
    opened = open_result(out / "a")
    assert opened.sheet is None
    assert len(opened.result.droplets) == FOUND


def test_edits_that_are_not_refitted_are_refused_and_nothing_is_changed(out):
    sheet = sheet_of(out / "a")
    sheet.edit(sheet.table.drop(index=3))
    before = (out / "a/droplets.csv").read_bytes()
    with pytest.raises(InputError, match="not refitted yet"):
        save_corrections(out / "a", moment_of_sheet(sheet))
    assert (out / "a/droplets.csv").read_bytes() == before


def test_an_image_without_any_droplet_can_be_saved(out):
    sheet = sheet_of(out / "b")
    sheet.edit(sheet.table.iloc[:0])
    save_corrections(out / "b", moment_of_sheet(sheet))
    assert len(nd.read(out / "b").droplets) == 0
    write_tables(out)
    assert "b.png" not in set(pd.read_csv(out / "droplets.csv")["image"])


def test_a_killed_write_leaves_the_result_before(out, monkeypatch):
    from napari_droplets.series import one_file

    def killed(*_):
        raise KeyboardInterrupt

    before = (out / "a/droplets.csv").read_bytes()
    monkeypatch.setattr(one_file, "_move_results", killed)
    with pytest.raises(KeyboardInterrupt):
        corrected(out / "a")
    assert (out / "a/droplets.csv").read_bytes() == before
    assert "corrections" not in nd.read(out / "a").summary


def test_pictures_of_a_stack_are_looked_at_one_by_one(fake, monkeypatch, tmp_path):
    monkeypatch.setattr(fitting, "fit", fit_by(fake))
    monkeypatch.setattr("napari_droplets.inference.composite.learn", StandIn().learn)
    fake.summary = {"n_droplets": FOUND, "stopped": "settled"}
    values = np.random.default_rng(0).integers(0, 255, (2, 24, 32), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "movie.tif", values, photometric="minisblack", metadata={"axes": "TYX"})
    plan = Plan(Settings(frames="all"), overlay=False)
    (tmp_path / "out").mkdir()
    list(run([tmp_path / "movie.tif"], tmp_path / "out", plan, combine=True))
    model = FolderBatch()
    model.open(tmp_path / "out")
    assert model.targets() == ["movie/frame_0", "movie/frame_1"]
    target = model.targets()[1]
    corrected(model.folder_of(target), stack=model.stack_of(target))
    write_tables(tmp_path / "out")
    table = pd.read_csv(tmp_path / "out/droplets.csv")
    assert table.groupby("frame").size().tolist() == [FOUND, FOUND - 1]
    model.corrected(target)
    assert model.items["movie"].edits == 1
    assert model.items["movie"].n_droplets == 2 * FOUND - 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".xlsx"])
def test_one_table_of_all_has_the_corrections(out, tmp_path, suffix):
    corrected(out / "a")
    path = tmp_path / f"all{suffix}"
    assert export_table(out, path) == 3 * FOUND - 1
    read = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".xlsx": pd.read_excel}[suffix]
    assert read(path)["image"].nunique() == 3


def test_corrected_detections_are_saved_too(fake, monkeypatch, tmp_path):
    out = fitted_folder(fake, monkeypatch, tmp_path, ("a",), detect_only=True)
    opened = open_result(out / "a")
    sheet = Sheet("droplets", numbered(opened.result.to_dataframe()), detected=True)
    sheet.edit(sheet.table.drop(index=0))
    save_corrections(out / "a", moment_of_sheet(sheet))
    assert len(nd.read(out / "a")) == len(opened.result) - 1
    assert len(open_result(out / "a").sheet.journal.edits) == 1
    outcomes = list(run([tmp_path / "in/a.png"], out, Plan(Settings(), detect_only=True), resume=True, combine=True))
    assert outcomes[0].skipped
