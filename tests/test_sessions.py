"""Sessions on disk: all comes back, undo too; what is damaged or foreign is refused; kill -9 loses nothing."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("psygnal")
from test_journal import a_fit, moved, refitted

from napari_droplets.errors import InputError
from napari_droplets.workbench.autosave import Autosave, discard, left_over
from napari_droplets.workbench.session import Session
from napari_droplets.workbench.sheet import ImageReference, Sheet
from napari_droplets.workbench.storing import INDEX, Store, moment_of, read_session, save_session


@pytest.fixture
def session():
    """A fit with an edit, a refit, another edit; and corrected points that were detected."""
    session = Session()
    sheet = session.add(Sheet("slide droplets", a_fit().table, ImageReference("slide", "slide.png", "0", (40, 100))))
    sheet.begin(a_fit().table, {(): a_fit()})
    sheet.edit(moved(sheet, 2))
    since, change, table, _ = refitted(sheet)
    sheet.take(change, table, since)
    sheet.edit(sheet.table.drop(index=[3]))
    sheet.undo()
    other = session.add(Sheet("other", a_fit(1.0).table[["x", "y", "radius"]], detected=True))
    other.edit(other.table.drop(index=[1, 2]))
    other.edit(other.table.drop(index=list(other.table.index)))
    session.settings = {"types": 3, "weights": None}
    session.filters = {"p_present": 0.5}
    return session


def assert_same(read, session):
    assert read.settings == session.settings
    assert read.filters == session.filters
    for one, other in zip(read.sheets, session.sheets, strict=True):
        assert (one.name, one.image, one.detected, one.next_number) == (
            other.name, other.image, other.detected, other.next_number,
        )  # fmt: skip
        assert [step.kind for step in one.journal.steps] == [step.kind for step in other.journal.steps]
        assert len(one.journal) == len(other.journal)
        while True:
            pd.testing.assert_frame_equal(one.table, other.table)
            assert set(one.fits) == set(other.fits)
            for plane, (fit, numbers) in one.fits.items():
                pd.testing.assert_frame_equal(fit.table, other.fits[plane].fit.table)
                np.testing.assert_array_equal(numbers, other.fits[plane].numbers)
                for name, values in other.fits[plane].fit.guide.items():
                    np.testing.assert_array_equal(fit.guide[name], values)
            if not (one.undo(), other.undo())[0]:
                break
        while one.redo() | other.redo():
            pd.testing.assert_frame_equal(one.table, other.table)


def test_all_comes_back_and_can_be_undone(session, tmp_path):
    path = save_session(moment_of(session), tmp_path / "work")
    assert path.name == "work.droplets"
    read = read_session(path)
    np.testing.assert_array_equal(read.sheets[0].fit.reconstruction, session.sheets[0].fit.reconstruction)
    assert_same(read, session)


def test_only_what_has_changed_is_written_and_nothing_piles_up(session, tmp_path):
    store = Store(tmp_path / "kept")
    store.write(moment_of(session))
    first = {path.name for path in store.folder.iterdir()}
    session.sheets[0].redo()
    store.write(moment_of(session))
    second = {path.name for path in store.folder.iterdir()}
    assert len(second) == len(first)
    assert {name.split("-")[0] for name in second - first} == {"table", "journal"}
    assert_same(read_session(store.folder), session)
    session.remove(session.sheets[0])
    store.write(moment_of(session))
    assert len(list(store.folder.iterdir())) == 3


def test_a_crash_between_two_files_leaves_the_step_before(session, tmp_path, monkeypatch):
    store = Store(tmp_path / "kept")
    store.write(moment_of(session))
    before = session.sheets[0].table.copy()
    session.sheets[0].redo()
    replace, names = os.replace, []

    def dies(source, target):
        names.append(Path(target).name)
        if Path(target).name == INDEX:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        store.write(moment_of(session))
    assert len(names) > 1
    pd.testing.assert_frame_equal(read_session(store.folder).sheets[0].table, before)


def with_sheet(record, **changed):
    return record | {"sheets": [record["sheets"][0] | changed]}


BROKEN = {
    "no session": lambda record: record | {"format": "x"},
    "another version": lambda record: record | {"version": 99},
    "outside": lambda record: with_sheet(record, table="../table-0.json"),
    "no part": lambda record: with_sheet(record, table="nothing.json"),
    "not a table": lambda record: with_sheet(record, table=record["sheets"][0]["journal"]),
    "other droplets": lambda record: with_sheet(
        record, fits=[record["sheets"][0]["fits"][0] | {"droplets": record["sheets"][1]["table"]}]
    ),
    "no fields": lambda record: record | {"sheets": [{"name": "a"}]},
}


@pytest.mark.parametrize("damage", BROKEN)
def test_what_is_damaged_is_refused_by_name(session, tmp_path, damage):
    session.sheets[0].redo()
    path = save_session(moment_of(session), tmp_path / "work")
    broken = tmp_path / "broken.droplets"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(broken, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == INDEX:
                content = json.dumps(BROKEN[damage](json.loads(content)))
            new.writestr(name, content)
    with pytest.raises(InputError, match=r"broken\.droplets"):
        read_session(broken)


def test_a_folder_names_nothing_outside_of_it(session, tmp_path):
    store = Store(tmp_path / "kept")
    store.write(moment_of(session))
    record = json.loads((store.folder / INDEX).read_text())
    table = record["sheets"][0]["table"]
    (tmp_path / "outside.json").write_text((store.folder / table).read_text())
    (store.folder / INDEX).write_text(json.dumps(with_sheet(record, table="../outside.json")))
    with pytest.raises(InputError, match="outside of the session"):
        read_session(store.folder)


def test_what_is_no_zip_is_refused(tmp_path):
    (tmp_path / "a.droplets").write_text("x")
    with pytest.raises(InputError, match="not a session"):
        read_session(tmp_path / "a.droplets")
    with pytest.raises(InputError, match="no such file"):
        read_session(tmp_path / "b.droplets")


def wait(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    assert condition()


def test_work_is_kept_offered_and_thrown_away(session):
    autosave = Autosave()
    autosave.keep(moment_of(session))
    wait(lambda: autosave.written)
    assert left_over() == []  # its program still runs
    autosave.close(keep=True)
    [left] = left_over()
    assert left.text == "slide: 8 droplets, 1 edits; image: 0 droplets, 2 edits"
    assert_same(read_session(left.folder), session)
    discard(left.folder)
    assert left_over() == []
    with pytest.raises(InputError):
        discard(left.folder)
    saved = Autosave()
    saved.keep(moment_of(session))
    saved.close(keep=False)
    assert not saved.folder.exists()


def test_a_folder_that_cannot_be_written_is_told_once(session, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAPARI_DROPLETS_DATA", str(tmp_path / "file"))
    told = []
    autosave = Autosave(told.append)
    for _ in range(2):
        autosave.keep(moment_of(session))
        wait(lambda: autosave.written)
    assert len(told) == 1
    autosave.close(keep=True)


KILLED = """
import sys, time
sys.path.insert(0, {tests!r})
from test_journal import a_fit, moved
from napari_droplets.workbench.autosave import Autosave
from napari_droplets.workbench.session import Session
from napari_droplets.workbench.sheet import Sheet
from napari_droplets.workbench.storing import moment_of
session, autosave = Session(), Autosave()
sheet = session.add(Sheet("slide", a_fit().table))
for number in range(4):
    sheet.edit(moved(sheet, number))
    autosave.keep(moment_of(session))
while not autosave.written:
    time.sleep(0.005)
print("kept", flush=True)
for number in range(10**6):
    sheet.edit(moved(sheet, 7))
    autosave.keep(moment_of(session))
"""


def test_kill_9_leaves_a_session_that_opens(tmp_path):
    code = KILLED.format(tests=str(Path(__file__).parent))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "kept\n"
        time.sleep(0.1)  # while it writes
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    [left] = left_over()
    sheet = read_session(left.folder).sheets[0]
    assert len(sheet.journal) >= 4
    assert sheet.table["x"].iloc[:4].tolist() == [6, 16, 26, 36]
    while sheet.undo():
        pass
    assert sheet.table["x"].iloc[7] == 75
