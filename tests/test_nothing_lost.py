"""Batches that are killed, on workers, or without space: after --resume their tables are the undisturbed ones.

Blobs stand in for droplets, as they are found without JAX. Processes are killed for good, with SIGKILL.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import tifffile

import napari_droplets as nd
from napari_droplets.cli.commands import main
from napari_droplets.errors import InputError
from napari_droplets.series.jobs import Job
from napari_droplets.series.manifest import MANIFEST
from napari_droplets.series.tables import Outcome
from napari_droplets.storage.lock import OWNER, FolderBusy, sole_writer, still_sole

pytest.importorskip("distributed", reason="needs dask: pip install 'napari-droplets[dask]'")

FAST = {"detect_only": True, "overlay": False, "detector": "blobs", "diameter": 10}
OPTIONS = ("--detect-only", "--no-overlay", "--detector", "blobs", "--diameter", "10", "--quiet")
N = 6


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    for i in range(N):
        pixels, _ = nd.simulate((96, 96), 10, radius=5, seed=i)
        # files of 16 bits do not say what is white: that is one number for the whole series
        tifffile.imwrite(folder / f"{i}.tif", (pixels * (2000 + 500 * i)).astype(np.uint16), photometric="rgb")
    return folder


@pytest.fixture(scope="module")
def undisturbed(images, tmp_path_factory):
    """Tables of a batch in one process that nothing happens to."""
    out = tmp_path_factory.mktemp("undisturbed")
    nd.batch(images, out, **FAST)
    return tables(out)


@pytest.fixture(scope="module")
def client():
    from napari_droplets.series.engine import connected

    with connected(workers=2) as client:
        yield client


def tables(out):
    summary = pd.read_csv(out / "summary.csv").drop(columns="seconds")
    return pd.read_csv(out / "droplets.csv"), summary


def unfinished(out):
    return [p for p in out.rglob(".partial*") if "-try" in p.name]


def check(out, wanted):
    for found, other in zip(tables(out), wanted, strict=True):
        pd.testing.assert_frame_equal(found, other)
    assert not unfinished(out), "something unfinished is left"
    images = json.loads((out / MANIFEST).read_text())["images"]
    assert Counter(entry["state"] for entry in images.values()) == {"done": N}
    assert [entry["n_droplets"] for entry in images.values()] == wanted[1]["n_droplets"].tolist()


def command(images, out, *more):
    return [sys.executable, "-m", "napari_droplets", "batch", str(images), "-o", str(out), *OPTIONS, *more]


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def n_done(out):
    return len(list(out.glob("*/summary.json")))


class KillOnBegin:
    """Callback of a batch that kills a process when the third image is begun."""

    def __init__(self, kill):
        self.kill, self.begun, self.killed = kill, 0, False

    def __call__(self, path, progress):
        self.begun += progress is None
        if self.begun >= 3 and not self.killed:
            self.killed = True
            self.kill()


def batch_that_kills_itself(images, out, **options):
    """A process that runs a batch until the third image is begun; returns the processes that it had started."""
    code = f"""
import os, signal
import psutil
import napari_droplets as nd

begun = 0

def callback(path, progress):
    global begun
    begun += progress is None
    if begun == 3:
        print(*(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

nd.batch({str(images)!r}, {str(out)!r}, callback=callback, **{FAST | options!r})
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL
    return [int(pid) for pid in done.stdout.split()]


def test_killed_command_without_workers(images, undisturbed, tmp_path):
    assert batch_that_kills_itself(images, tmp_path) == []
    assert n_done(tmp_path) == 2
    code = (  # without workers no dask is loaded
        "import sys\nfrom napari_droplets.cli.commands import main\n"
        f"assert main({command(images, tmp_path, '--resume')[3:]!r}) == 0\n"
        "sys.exit(', '.join({'dask', 'distributed'} & set(sys.modules)) or 0)"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("was there already") == 2
    check(tmp_path, undisturbed)


def test_killed_command_takes_its_workers_along(images, undisturbed, tmp_path):
    processes = batch_that_kills_itself(images, tmp_path, workers=1)
    assert processes
    until(lambda: not any(map(alive, processes)))
    assert n_done(tmp_path) >= 2
    assert main(command(images, tmp_path, "--resume")[3:]) == 0  # no lock is left
    check(tmp_path, undisturbed)


def alive(pid):
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_killed_worker(images, undisturbed, tmp_path, client):
    pids = client.run(os.getpid)
    summary = nd.batch(
        images, tmp_path, scheduler=client, callback=(seen := KillOnBegin(lambda: kill_one(pids))), **FAST
    )
    assert seen.killed
    assert summary["error"].isna().all()
    until(lambda: not unfinished(tmp_path))  # a worker that still tries what another has done gives up by itself
    check(tmp_path, undisturbed)


def test_late_words_of_a_lost_worker_begin_nothing_anew():
    """They may come when another worker has done the image."""
    from napari_droplets.series.engine import together

    class Future:
        status = "finished"

    images = [Job(Path(f"{k}.png"), f"{k}.png", Path(f"{k}")) for k in range(2)]
    first, second = Future(), Future()
    begins = [{"name": str(k), "stage": "begin", "worker": "one"} for k in range(2)]
    events = [begins[0], first, begins[0], begins[1], second]
    team = SimpleNamespace(lesson=None, begun=set(), ended=set(), stopped=False)
    team.futures = {first: (images[0], 1), second: (images[1], 1)}
    team.check_scheduler = lambda: None
    team.submit = lambda job: None
    team.event = lambda wait: events.pop(0)
    team.reply = lambda future: SimpleNamespace(outcome=Outcome(*team.futures[future][0]), warnings=[], worker="one")
    jobs = SimpleNamespace(jobs=images, lesson_due=False, optics_to_learn=False)
    jobs.done = jobs.learn = lambda _: None
    said = []

    outcomes = together(jobs, team, None, lambda job, worker: said.append(job.label), lambda: True)
    assert [outcome.image for outcome in outcomes] == ["0.png", "1.png"]
    assert said == ["0.png", "1.png"]


def kill_one(pids):
    os.kill(next(iter(pids.values())), signal.SIGKILL)


def test_killed_scheduler(images, undisturbed, tmp_path):
    file = tmp_path / "scheduler.json"
    module = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    start = [*module, "--scheduler-file", file, "--port", "0", "--no-dashboard", "--host", "127.0.0.1"]
    quiet = {"stderr": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(start, **quiet) as scheduler:
        until(file.exists)
        start = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", file, "--no-nanny"]
        with subprocess.Popen([*start, "--nthreads", "1", "--no-dashboard"], **quiet) as worker:
            out = tmp_path / "out"
            with pytest.raises(InputError, match="the scheduler is gone, with 4 images left"):
                nd.batch(images, out, scheduler=file, callback=KillOnBegin(scheduler.kill), **FAST)
            worker.terminate()
    assert 2 <= n_done(out) < N
    nd.batch(images, out, resume=True, **FAST)
    check(out, undisturbed)


def test_full_disk(images, undisturbed, tmp_path):
    """A disk of some kilobytes, mounted for a process alone; then it grows."""
    script = f"""
import shutil, subprocess
from pathlib import Path
import napari_droplets as nd
fast = {FAST!r}
out = Path("disk/out")
try:
    nd.batch({str(images)!r}, out, **fast)
except nd.InputError as error:
    print(error)
print(len(list(out.glob("*/summary.json"))))
subprocess.run(["mount", "-o", "remount,size=9m", "disk"], check=True)
print(nd.batch({str(images)!r}, out, resume=True, **fast)["error"].notna().sum())
shutil.copytree(out, "kept")
"""
    (tmp_path / "disk").mkdir()
    mount = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=40k tmpfs disk && exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*mount, "true"], cwd=tmp_path, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    done = subprocess.run(
        [*mount, sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    said, n, failed = done.stdout.splitlines()
    assert "No space left" in said or "disk is full" in said
    assert 1 <= int(n) < N
    assert failed == "0"
    check(tmp_path / "kept", undisturbed)


def test_a_failing_image_is_tried_on_another_worker_and_the_rest_goes_on(images, tmp_path, client, capfd):
    folder = tmp_path / "in"
    shutil.copytree(images, folder)
    (folder / "3.tif").write_bytes(b"II*\0 and no more")
    odd = tifffile.imread(folder / "4.tif").astype(np.float32)
    odd[3, 4] = np.nan
    tifffile.imwrite(folder / "4.tif", odd, photometric="rgb")
    code = main(command(folder, tmp_path / "out", "--scheduler", client.scheduler.address)[3:])
    said = capfd.readouterr()
    assert code == 1
    assert [line.split(":")[0] for line in sorted(said.out.splitlines())] == [f"{i}.tif" for i in range(N) if i != 3]
    (error,) = (line for line in said.err.splitlines() if "error:" in line)
    assert "3.tif" in error
    assert "warning: 4.tif: 1 pixel NaN or infinite: filled in" in said.err
    entries = json.loads((tmp_path / "out" / MANIFEST).read_text())["images"]
    assert {name: entry["attempts"] for name, entry in entries.items()} == {str(i): 1 + (i == 3) for i in range(N)}
    assert entries["3"]["state"] == "failed"
    assert "3.tif" in entries["3"]["error"]
    summary = pd.read_csv(tmp_path / "out/summary.csv")
    assert summary["image"].tolist() == [f"{i}.tif" for i in range(N)]
    assert summary["error"].notna().tolist() == [i == 3 for i in range(N)]


def test_two_batches_into_one_folder(images, tmp_path, capfd):
    with sole_writer(tmp_path) as run:
        assert main(command(images, tmp_path)[3:]) == 2
        said = capfd.readouterr().err
        assert "another batch" in said
        assert f"process {os.getpid()}" in said
        assert still_sole(tmp_path, run)
    assert not any(p.is_dir() for p in tmp_path.iterdir())
    with sole_writer(tmp_path):
        assert not still_sole(tmp_path, run)
    (tmp_path / OWNER).unlink()
    assert not still_sole(tmp_path, run)


def test_nothing_is_reported_or_written_where_a_batch_is_running(images, tmp_path, capfd):
    nd.batch(images / "0.tif", tmp_path, **FAST)

    def written():
        return {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}

    with sole_writer(tmp_path) as run:
        before = written()
        for place in (tmp_path, tmp_path / "0"):  # the results of one image are a part of the batch
            assert main(["report", str(place)]) == 2
            assert f"another batch (process {os.getpid()} on" in capfd.readouterr().err
            with pytest.raises(FolderBusy, match=r"wait for it$"):
                nd.compare_samples(place)
        assert written() == before
    with sole_writer(tmp_path, "a report") as same:
        assert same == run  # so that workers on a disk without locks do not take their batch for replaced
        with pytest.raises(FolderBusy, match=r"a report .* or choose another"), sole_writer(tmp_path):
            pass


def test_resume_believes_the_manifest_only_of_files_that_are_the_same(images, tmp_path, monkeypatch):
    from napari_droplets.series.source import Source

    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("0.tif", "1.tif"):
        shutil.copy(images / name, folder)
    fixed = FAST | {"intensity_range": (0, 4000)}
    nd.batch(folder, out, **fixed)
    read = []
    original = Source.image
    monkeypatch.setattr(Source, "image", lambda self, where: read.append(1) or original(self, where))
    nd.batch(folder, out, resume=True, **fixed)
    assert not read
    begun = KillOnBegin(lambda: None)
    nd.batch(folder, out, resume=True, callback=begun, **(fixed | {"intensity_range": (0, 4001)}))
    assert begun.begun == 2
    shutil.copy(images / "5.tif", folder / "1.tif")
    begun.begun = 0
    table = nd.batch(folder, out, resume=True, callback=begun, **(fixed | {"intensity_range": (0, 4001)}))
    assert begun.begun == 1
    assert table["image"].tolist() == ["0.tif", "1.tif"]


def test_what_an_attempt_left_is_not_put_in_place_by_a_batch_that_was_replaced(images, tmp_path):
    from napari_droplets.series.batch import Plan
    from napari_droplets.series.one_file import Abandoned, process
    from napari_droplets.series.plan import Ticket

    with sole_writer(tmp_path) as run:
        pass
    with sole_writer(tmp_path):
        plan = Plan.of(**FAST)
        late = Plan(**(vars(plan) | {"ticket": Ticket(tmp_path, run, "try0123456789ab")}))
        with pytest.raises(Abandoned):
            process(images / "0.tif", "0.tif", tmp_path / "0", late)
    assert not (tmp_path / "0").exists()
    left = tmp_path / ".partial-0-try0123456789ab"
    assert not left.exists()
    left.mkdir()
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / ".partial-0").symlink_to(theirs)  # is no place to write to
    nd.batch(images / "0.tif", tmp_path, **FAST)
    assert not left.exists()
    assert not (tmp_path / ".partial-0").is_symlink()
    assert not list(theirs.iterdir())
    assert (tmp_path / "0" / "summary.json").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"workers": 0}, "workers=0"),
        ({"workers": 2, "scheduler": "tcp://127.0.0.1:1"}, "give one of them"),
        ({"memory_limit": "4GB"}, "give workers too"),
        ({"detect_only": True, "same_optics": True}, "no optics"),
        ({"exports": ["pdf"]}, "'pdf'"),
    ],
)
def test_wrong_use(images, tmp_path, options, says):
    with pytest.raises(InputError, match=says):
        nd.batch(images, tmp_path, **options)


def test_without_dask_it_is_said_what_to_install(images, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert main(command(images, tmp_path, "--workers", "2")[3:]) == 2
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert "pip install 'napari-droplets[dask]'" in said[0]
