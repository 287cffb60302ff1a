"""The command line: exit codes, what goes where, what is found out before any work, and a few real runs."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields

import numpy as np
import pandas as pd
import pytest
import tifffile
from stand_in import StandIn, write_image

import napari_droplets as nd
from napari_droplets.cli.commands import main
from napari_droplets.cli.options import SETTINGS
from napari_droplets.cli.terminal import ProgressLines, duration
from napari_droplets.cli.together import ProgressOfMany
from napari_droplets.detection.network import init, write_weights
from napari_droplets.droplets import Optics
from napari_droplets.progress import Progress
from napari_droplets.results.files import read as read_droplets
from napari_droplets.results.files import save_optics
from napari_droplets.settings import Settings


@pytest.fixture
def stand_in(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setattr("napari_droplets.inference.api.fit", stand_in.fit)
    monkeypatch.setattr("napari_droplets.inference.api.detect_all", stand_in.detect_all)
    monkeypatch.setattr("napari_droplets.inference.composite.learn", stand_in.learn)
    return stand_in


@pytest.fixture
def picture(tmp_path):
    return write_image(tmp_path / "in/a.png")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def call(*args):
    return main([str(a) for a in args])


def process(*args, **options):
    command = [sys.executable, "-m", "napari_droplets", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def test_fit_writes_the_results_and_one_line_each(picture, out, stand_in, capfd):
    other = write_image(picture.with_name("b.tif"), 1)
    assert call("fit", picture, other, "-o", out) == 0
    said = capfd.readouterr()
    lines = said.out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"a\.png: 1 droplet, loss -1\.5000 per value, RMSE 0\.0100, D50 .*, \d+\.\d s -> .*a", lines[0])
    assert lines[1].startswith("b.tif: 2 droplets, ")
    assert "[2/2] b.tif: fitting" in said.err
    assert "\r" not in said.err
    for name in ("a", "b"):
        for file in ("droplets.csv", "droplets.parquet", "reconstruction.tif", "overlay.png", "summary.json"):
            assert (out / name / file).stat().st_size > 0
    assert len(nd.read(out / "b").droplets) == 2


def test_every_setting_has_an_option_and_reaches_the_fit(picture, out, stand_in, weights):
    assert {name for _, name, *_ in SETTINGS} == {f.name for f in fields(Settings)}
    wanted = {
        "types": 2, "diameter": 5.5, "detector": "blobs", "weights": str(weights), "min_probability": 0.25, "seed": 7,
        "composition": "simplex", "background": "uniform",
        "population": "given", "renderer": "layered", "learn_optics": False, "classes": 4,
        "noise": 0.04, "steps": 123, "max_seconds": 9.5, "scale": 0.5,
        "pixel_size_um": 0.3, "channels": [2, 1, 0], "frames": [0], "planes": [0], "scene": "0",
        "intensity_range": [0.5, 250.0], "region": [1.0, 2.0, 30.0, 20.0],
    }  # fmt: skip
    texts = [(option, wanted[name]) for option, name, *_ in SETTINGS]
    options = [str(t) if not isinstance(t, list) else ",".join(map(str, t)) for pair in texts for t in pair]
    assert call("fit", picture, "-o", out, "--no-overlay", *options) == 0
    assert json.loads((out / "a/summary.json").read_text())["settings"] == wanted
    assert not (out / "a/overlay.png").exists()


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "series.safetensors"
    write_weights(init(0), path, {})
    return path


def test_results_of_other_weights_are_not_taken_for_those_wanted(picture, out, stand_in, capfd, weights):
    options = ("batch", picture.parent, "-o", out, "--no-overlay", "--resume", "--weights", weights)
    again = "was there already"
    assert [call(*options) for _ in range(2)] == [0, 0]
    assert again in capfd.readouterr().out
    write_weights(init(1), weights, {})
    assert call(*options) == 0
    assert again not in capfd.readouterr().out
    assert call(*options[:-2]) == 0
    assert again not in capfd.readouterr().out
    assert len(stand_in.fitted) == 3


def test_without_options_the_defaults_are_those_of_the_library(picture, out, stand_in):
    assert call("fit", picture, "-o", out, "--no-overlay") == 0
    assert Settings(**json.loads((out / "a/summary.json").read_text())["settings"]) == Settings()


def test_seconds_of_the_first_image_count_from_the_start_of_the_process(picture, out, stand_in):
    other = write_image(picture.with_name("b.tif"), 1)
    assert call("fit", picture, other, "-o", out, "--no-overlay") == 0
    first, second = (json.loads((out / name / "summary.json").read_text())["seconds"] for name in "ab")
    assert first["import"] > 0
    assert first["total"] == pytest.approx(0.5 + first["import"])
    assert second["total"] == pytest.approx(0.5, abs=0.1)  # and what reading took


def test_detect_only(picture, out, stand_in, capfd):
    assert call("fit", picture, "-o", out, "--detect-only") == 0
    names = ["droplets.csv", "droplets.parquet", "overlay.png", "summary.json"]
    assert sorted(p.name for p in (out / "a").iterdir()) == names
    summary = json.loads((out / "a/summary.json").read_text())
    assert (summary["n_droplets"], summary["count_mean"], summary["count_sd"]) == (5, 4.4, 0.93)
    assert 0 <= summary["seconds"]["detect"] <= summary["seconds"]["total"]
    assert list(pd.read_csv(out / "a/droplets.csv")) == ["x", "y", "radius", "p_present"]
    said = capfd.readouterr()
    assert said.out.startswith("a.png: 5 droplets, expected 4.4 ± 0.9, ")
    assert "a.png: finding droplets" in said.err
    assert stand_in.fitted == []


@pytest.mark.parametrize("command", ["fit", "batch"])
def test_no_droplets_is_a_result_of_detection(picture, out, stand_in, capfd, command):
    stand_in.n_candidates = 0
    given = picture if command == "fit" else picture.parent
    assert call(command, given, "-o", out, "--detect-only") == 0
    assert capfd.readouterr().out.startswith("a.png: 0 droplets, expected 0.0 ± ")
    assert (out / "a/droplets.csv").read_text() == "x,y,radius,p_present\n"
    assert (out / "a/overlay.png").stat().st_size > 0
    assert len(nd.read(out / "a")) == 0
    if command == "batch":
        assert pd.read_csv(out / "summary.csv")["count_mean"].tolist() == [0.0]
        assert call(command, given, "-o", out, "--detect-only", "--resume") == 0
        assert "was there already" in capfd.readouterr().out


def test_optics_reach_the_fit(picture, out, stand_in, monkeypatch):
    seen = []
    original = stand_in.fit

    def watching(image, droplets=None, optics=None, **options):
        seen.append(optics)
        return original(image, droplets, optics, **options)

    monkeypatch.setattr("napari_droplets.inference.api.fit", watching)
    assert call("fit", picture, "-o", out, "--no-overlay") == 0
    assert call("fit", picture, "-o", out / "again", "--no-overlay", "--optics", out / "a") == 0
    save_optics(seen[1], out / "mine.safetensors")
    assert call("fit", picture, "-o", out / "again", "--no-overlay", "--optics", out / "mine.safetensors") == 0
    assert seen[0] is None
    assert [o.length for o in seen[1:]] == [2.0, 2.0]


def test_quiet_leaves_only_results(picture, out, stand_in, capfd):
    assert call("fit", picture, "-o", out, "--quiet", "--no-overlay") == 0
    said = capfd.readouterr()
    assert said.err == ""
    assert len(said.out.splitlines()) == 1


def make_nan(path):
    pixels = np.random.default_rng(0).uniform(0, 1, (24, 32)).astype(np.float32)
    pixels[:, 4:] = np.nan
    tifffile.imwrite(path, pixels)


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("inf.tif", make_nan, "infinite"),
        ("text.png", lambda p: p.write_text("these are words"), "cannot be read as an image"),
        ("empty.png", lambda p: p.write_bytes(b""), "cannot be read as an image"),
        ("tiny.png", lambda p: write_image(p, shape=(4, 4, 3)), "too small"),
        ("stack.tif", lambda p: tifffile.imwrite(p, np.arange(5 * 5 * 20 * 20, dtype=np.uint16).reshape(5, 5, 20, 20)),
         "a stack of 5 pages x 5 pages"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("command", ["fit", "batch"])
def test_one_broken_file_is_named_and_the_others_done(picture, out, stand_in, capfd, command, name, make, says):
    make(picture.with_name(name))
    write_image(picture.with_name("z.png"), 1)
    inputs = sorted(picture.parent.iterdir()) if command == "fit" else [picture.parent]
    assert call(command, *inputs, "-o", out, "--no-overlay") == 1
    said = capfd.readouterr()
    assert [line.split(":")[0] for line in said.out.splitlines()] == ["a.png", "z.png"]
    errors = [line for line in said.err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert name in errors[0]
    assert says in errors[0]
    assert "Traceback" not in said.err
    assert sorted(p.name for p in out.iterdir() if p.is_dir() and p.name != "figures") == ["a", "z"]


@pytest.mark.parametrize("error", [RuntimeError("RESOURCE_EXHAUSTED: 9 GB"), MemoryError(), KeyError("oops")])
def test_unexpected_errors_fail_one_image_only(picture, out, stand_in, capfd, error):
    write_image(picture.with_name("b.png"), 1)
    stand_in.fail["a.png"] = error
    assert call("batch", picture.parent, "-o", out, "--no-overlay") == 1
    said = capfd.readouterr()
    assert f"{picture}: {type(error).__name__}" in said.err
    assert "Traceback" not in said.err
    assert said.out.startswith("b.png: 1 droplet")


def test_debug_shows_where(picture, out, stand_in, capfd):
    stand_in.fail["a.png"] = RuntimeError("boom")
    assert call("fit", picture, "-o", out, "--debug") == 1
    assert "Traceback" in capfd.readouterr().err


def test_a_missing_file_among_others(picture, out, stand_in, capfd):
    assert call("fit", picture, picture.with_name("no.png"), "-o", out, "--no-overlay") == 1
    said = capfd.readouterr()
    assert "no.png: no such file" in said.err
    assert said.out.startswith("a.png: ")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["fit", "{image}"], "-o"),
        (["fit", "-o", "{out}"], "IMAGE"),
        (["fit", "{image}", "-o", "{out}", "--no-such-option"], "--no-such-option"),
        (["fit", "{image}", "-o", "{out}", "--types", "0"], "types=0: must be a whole number from 1 to 16"),
        (["fit", "{image}", "-o", "{out}", "--types", "17"], "types=17"),
        (["fit", "{image}", "-o", "{out}", "--types", "two"], "--types"),
        (["fit", "{image}", "-o", "{out}", "--diameter", "-3"], "diameter=-3"),
        (["fit", "{image}", "-o", "{out}", "--pixel-size", "nan"], "pixel_size_um=nan"),
        (["fit", "{image}", "-o", "{out}", "--types", "1", "--composition", "simplex"], "simplex"),
        (["fit", "{image}", "-o", "{out}", "--renderer", "wrong"], "--renderer"),
        (["fit", "{image}", "-o", "{out}", "--detector", "eyes"], "--detector"),
        (["fit", "{image}", "-o", "{out}", "--min-probability", "1.5"], "min_probability=1.5"),
        (["fit", "{image}", "-o", "{out}", "--weights", "missing.safetensors"], "missing.safetensors: no such file"),
        (["batch", "{image}", "-o", "{out}", "--weights", "{image}"], "a.png: cannot be read as weights"),
        (["fit", "{image}", "-o", "{out}", "--channels", "red,0"], "'red,0'"),
        (["fit", "{image}", "-o", "{out}", "--channels", "0,1"], "'0,1': give one or three"),
        (["fit", "{image}", "-o", "{out}", "--channels", "0,1,2,3"], "give one or three"),
        (["fit", "{image}", "-o", "{out}", "--channels=0,1,-1"], "give one or three"),
        (["fit", "{image}", "-o", "{out}", "--optics", "{image}"], "not a safetensors file"),
        (["fit", "{image}", "-o", "{out}", "--optics", "missing"], "missing: no such file"),
        (["fit", "{image}", "-o", "{image}"], "not a folder that can be written to"),
        (["fit", "{image}", "-o", "{image}/deeper"], "not a folder that can be written to"),
        (["fit", "missing.png", "-o", "{out}"], "missing.png: no such file"),
        (["fit", "{folder}", "-o", "{out}"], "batch"),
        (["batch", "{empty}", "-o", "{out}"], "no images"),
        (["batch", "{folder}/*.jpg", "-o", "{out}"], "no images"),
        (["batch", "{folder}", "-o", "{out}", "--optics-from", "3"], "--same-optics; add it"),
        (["batch", "{folder}", "-o", "{image}"], "not a folder that can be written to"),
        (["demo", "-o", "{image}"], "not a folder that can be written to"),
        (["fly"], "fly"),
        ([], "COMMAND"),
    ],
)
def test_wrong_use_is_found_out_before_any_work(picture, tmp_path, out, stand_in, capfd, args, says):
    (tmp_path / "empty").mkdir()
    places = {"image": picture, "folder": picture.parent, "out": out, "empty": tmp_path / "empty"}
    assert call(*[a.format(**places) for a in args]) == 2
    said = capfd.readouterr()
    assert says in said.err
    assert said.out == ""
    assert stand_in.fitted == []


@pytest.fixture
def learned(tmp_path):
    return save_optics(Optics({}, {}, 2, 3, 2.0, "simplex", "layered", 0.05, 0.7), tmp_path / "learned.safetensors")


@pytest.mark.parametrize("options", [[], ["--types", 2], ["--composition", "simplex", "--channels", "2,1,0"]])
def test_types_and_composition_are_those_of_the_optics(picture, out, stand_in, learned, options):
    assert call("fit", picture, "-o", out, "--no-overlay", "--optics", learned, *options) == 0
    settings = json.loads((out / "a/summary.json").read_text())["settings"]
    assert (settings["types"], settings["composition"]) == (2, "simplex")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--types", "3"], "learned with types 2, but types 3 is asked for"),
        (["--composition", "free"], "learned with composition simplex"),
        (["--channels", "1"], "learned with channels 3"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "batch"])
def test_optics_that_do_not_fit_are_wrong_use(picture, out, stand_in, learned, capfd, command, options, says):
    given = picture if command == "fit" else picture.parent
    assert call(command, given, "-o", out, "--optics", learned, *options) == 2
    assert says in capfd.readouterr().err
    assert stand_in.fitted == []
    assert not out.exists()


def test_a_file_in_the_way_of_one_result_is_found_out_before_any_work(picture, out, stand_in, capfd):
    write_image(picture.with_name("b.png"), 1)
    out.mkdir()
    (out / "b").write_text("in the way")
    assert call("batch", picture.parent, "-o", out) == 2
    assert f"{out / 'b'}: not a folder" in capfd.readouterr().err
    assert stand_in.fitted == []


def test_batch_and_resume(picture, out, stand_in, capfd):
    write_image(picture.with_name("b.png"), 1)
    assert call("batch", picture.parent, "-o", out, "--no-overlay") == 0
    assert pd.read_csv(out / "droplets.csv")["image"].tolist() == ["a.png", "b.png", "b.png"]
    capfd.readouterr()
    write_image(picture.with_name("c.png"), 2)
    assert call("batch", str(picture.parent / "*.png"), "-o", out, "--no-overlay", "--resume") == 0
    assert stand_in.fitted == ["a.png", "b.png", "c.png"]
    said = capfd.readouterr()
    assert said.out.count("was there already") == 2
    assert "[3/3] c.png" in said.err
    assert pd.read_csv(out / "summary.csv")["n_droplets"].tolist() == [1, 2, 3]


def test_tables_of_all_that_stay_in_use_fail_the_batch_but_no_image(picture, out, stand_in, capfd):
    write_image(picture.with_name("b.png"), 1)
    (out / "droplets.csv").mkdir(parents=True)  # a folder cannot be replaced by a file
    assert call("batch", picture.parent, "-o", out, "--no-overlay") == 1
    said = capfd.readouterr()
    assert stand_in.fitted == ["a.png", "b.png"]
    assert len(said.out.splitlines()) == 2
    assert len(pd.read_csv(out / "summary.csv")) == 2
    told = [line for line in said.err.splitlines() if str(out / "droplets.csv") in line]
    assert ["error:" in line for line in told] == [False, True]
    assert "Traceback" not in said.err


def test_first_interrupt_keeps_what_was_reached_and_begins_no_other(picture, out, stand_in, capfd, monkeypatch):
    write_image(picture.with_name("b.png"), 1)
    original = stand_in.fit
    replies = []

    def interrupted(*args, callback, **options):
        def after(progress):
            if progress.step == 100:
                os.kill(os.getpid(), signal.SIGINT)
            replies.append(callback(progress))
            return replies[-1]

        return original(*args, callback=after, **options)

    monkeypatch.setattr("napari_droplets.inference.api.fit", interrupted)
    before = signal.getsignal(signal.SIGINT)
    assert call("batch", picture.parent, "-o", out, "--no-overlay") == 130
    assert replies == [True, False]
    assert signal.getsignal(signal.SIGINT) is before
    said = capfd.readouterr()
    assert "a.png: 1 droplet" in said.out
    assert "stopped early" in said.out
    assert "1 of 2" in said.err
    assert len(nd.read(out / "a").droplets) == 1
    assert not (out / "b").exists()
    assert pd.read_csv(out / "summary.csv")["stopped"].tolist() == ["cancelled"]


SLOW = """
import sys, time
sys.path.insert(0, sys.argv.pop(1))
from stand_in import StandIn
import napari_droplets.inference.api as fit
from napari_droplets.cli.commands import main
slow = StandIn()
original = slow.fit
def stuck(*args, callback, **options):
    original(*args, callback=callback, **options)
    while True:  # as a call into compiled code that looks at nothing
        time.sleep(0.05)
fit.fit = stuck
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_second_interrupt_ends_at_once(picture, out):
    command = [sys.executable, "-c", SLOW, os.path.dirname(__file__), "fit", str(picture), "-o", str(out)]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while "fitting" not in running.stderr.readline():
        pass
    running.send_signal(signal.SIGINT)
    while "stopping" not in running.stderr.readline():
        pass
    time.sleep(0.3)
    assert running.poll() is None
    running.send_signal(signal.SIGINT)
    assert running.wait(5) == -signal.SIGINT
    running.stderr.close()


def test_main_works_outside_the_main_thread(picture, out, stand_in):
    codes = []
    thread = threading.Thread(target=lambda: codes.append(call("fit", picture, "-o", out, "--no-overlay")))
    thread.start()
    thread.join(60)
    assert codes == [0]


def progress(stage, step, loss=-1234.5, n=12, left=9.4):
    return Progress(stage, step, 300, loss, left, n, lambda: None)


def test_plain_progress_is_a_line_a_stage_and_one_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("napari_droplets.cli.terminal.time.monotonic", lambda: now[0])
    stream = io.StringIO()
    lines = ProgressLines(1, stream=stream)
    lines.begin("a.png")
    lines.update(progress("detect", 0, float("nan"), 0, float("nan")))
    for step in range(0, 301, 10):  # a step of ten a second
        lines.update(progress("fit", step))
        now[0] += 1
    lines.end()
    said = stream.getvalue().splitlines()
    assert said[:3] == [
        "a.png: reading",
        "a.png: finding droplets",
        "a.png: fitting: 12 droplets, loss -1,234, at most 9 s left",
    ]
    assert said[3] == "a.png: fitting: step 50 of 300, 12 droplets, loss -1,234, at most 9 s left"
    assert len(said) == 3 + 6


def test_time_left_counts_from_the_first_image_on(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("napari_droplets.cli.terminal.time.monotonic", lambda: now[0])
    lines = ProgressLines(4, stream=(stream := io.StringIO()))
    now[0] = 100.0  # while optics of all are learned
    lines.begin("a.png")
    now[0] = 103.0
    lines.end("a.png")
    lines.begin("b.png")
    assert stream.getvalue().splitlines() == [
        "[1/4] a.png: reading",
        "[2/4] b.png: reading (all images: about 9 s left)",
    ]


def test_a_terminal_gets_a_bar_with_loss_and_count():
    stream = io.StringIO()
    stream.isatty = lambda: True
    lines = ProgressLines(3, stream=stream)
    lines.begin("a.png")
    lines.update(progress("fit", 150))
    lines.end()
    said = stream.getvalue()
    assert "[1/3] a.png: fitting" in said
    assert "50%" in said
    assert "12 droplets, loss -1,234, at most 9 s left" in said
    assert "\n" not in said


def test_help_says_defaults_and_units(capsys):
    assert call("fit", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"(default: {Settings().steps})" in text
    assert "micrometres" in text
    assert call("--version") == 0
    assert capsys.readouterr().out == f"napari-droplets {nd.__version__}\n"


def test_help_imports_nothing_slow():
    code = (
        "import sys; from napari_droplets.cli.commands import main; code = main(['fit', '--help']); "
        "slow = {'jax', 'pandas', 'matplotlib', 'scipy', 'skimage', 'numpyro', 'napari'} & set(sys.modules); "
        "print(slow, file=sys.stderr); sys.exit(code or bool(slow))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_exit_codes_of_the_process(picture, out):
    assert process("--version").returncode == 0
    assert process("fit", picture, "-o", out, "--types", "99").returncode == 2
    picture.write_text("broken")
    broken = process("fit", picture, "-o", out)
    assert broken.returncode == 1
    assert str(picture) in broken.stderr
    assert broken.stdout == ""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A folder with two small images, 48 x 64 pixels, 12 droplets."""
    folder = tmp_path_factory.mktemp("simulated")
    for seed in (0, 1):
        image, _ = nd.simulate((48, 64), 12, radius=4, radius_spread=0.1, overlap=0, seed=seed)
        tifffile.imwrite(folder / f"{seed}.tif", image, photometric="rgb")
    return folder


def test_real_batch_resume_and_reuse_of_optics(simulated, tmp_path, capfd):
    """The fit itself behind the command line: every file, the tables of all, and nothing done twice."""
    out = tmp_path / "out"
    options = ["--steps", "50", "--diameter", "8", "--pixel-size", "0.5", "--quiet"]
    assert call("batch", simulated, "-o", out, *options) == 0, capfd.readouterr().err
    fit = nd.read(out / "0")
    summary = fit.summary
    assert summary["n_droplets"] == len(fit.droplets) > 0
    assert fit.image is not None
    assert np.sqrt(np.mean(fit.residual**2)) == pytest.approx(summary["rmse"], rel=1e-3)
    assert {"total", "import", "compile", "detect", "fit"} <= set(summary["seconds"])
    assert summary["settings"]["steps"] == 50
    table = pd.read_csv(out / "droplets.csv")
    assert set(table["image"]) == {"0.tif", "1.tif"}
    np.testing.assert_allclose(table["radius_um"], table["radius"] * 0.5)
    written = (out / "1/droplets.csv").stat().st_mtime_ns
    capfd.readouterr()

    assert call("batch", simulated, "-o", out, *options, "--resume") == 0
    assert capfd.readouterr().out.count("was there already") == 2
    assert (out / "1/droplets.csv").stat().st_mtime_ns == written

    assert call("fit", simulated / "1.tif", "-o", out / "reuse", *options, "--optics", out / "0") == 0
    first, reused = nd.read(out / "1").losses[0, 1], nd.read(out / "reuse/1").losses[0, 1]
    assert reused != first  # it starts from other optics


def test_real_detection(simulated, tmp_path, capfd):
    options = ["--detect-only", "--diameter", "8", "--detector", "blobs", "--channels", "1"]
    assert call("fit", simulated / "0.tif", "-o", tmp_path / "out", *options) == 0
    found, summary = nd.read(tmp_path / "out/0"), json.loads((tmp_path / "out/0/summary.json").read_text())
    assert len(found) == summary["n_droplets"] > 0
    assert (summary["count_mean"], summary["count_sd"]) == (None, None)  # blobs have no probabilities
    assert summary["settings"]["channels"] == [1]
    assert summary["image"]["shape"] == [48, 64, 1]


@pytest.fixture
def stack(tmp_path):
    """Three frames of two planes of two channels."""
    path = tmp_path / "in" / "stack.tif"
    path.parent.mkdir()
    values = np.random.default_rng(0).integers(0, 255, (3, 2, 2, 24, 32), dtype=np.uint8)
    tifffile.imwrite(path, values, imagej=True, metadata={"axes": "TZCYX"})
    return path


@pytest.mark.parametrize("command", ["fit", "batch"])
def test_the_pictures_of_a_stack_are_a_series_with_one_table(stack, out, stand_in, capfd, command):
    given = stack if command == "fit" else stack.parent
    assert call(command, given, "-o", out, "--no-overlay") == 1
    assert "a stack of 3 frames x 2 planes" in capfd.readouterr().err
    options = ("--frames", "0,2", "--planes", "all", "--channels", "1")
    assert call(command, given, "-o", out, "--no-overlay", *options) == 0
    said = capfd.readouterr().out
    assert "stack.tif: 10 droplets" in said
    assert "4 pictures" in said
    table = pd.read_csv(out / "stack/droplets.csv")
    assert table[["frame", "plane"]].drop_duplicates().to_numpy().tolist() == [[0, 0], [0, 1], [2, 0], [2, 1]]
    folders = sorted(p.name for p in (out / "stack").iterdir() if p.is_dir())
    assert folders == ["frame_0_plane_0", "frame_0_plane_1", "frame_2_plane_0", "frame_2_plane_1"]
    assert len(read_droplets(out / "stack")) == 10
    one = json.loads((out / "stack/frame_2_plane_1/summary.json").read_text())
    assert (one["image"]["frame"], one["image"]["plane"]) == (2, 1)
    held = [settings["learn_optics"] for _, settings in stand_in.given]
    assert held == [False, False, False, False]  # optics of several pictures serve all
    if command == "batch":
        assert set(pd.read_csv(out / "droplets.csv")["frame"]) == {0, 2}
        assert call(command, given, "-o", out, "--no-overlay", "--resume", *options) == 0
        assert "was there already" in capfd.readouterr().out


def test_what_was_read_is_in_the_summary(picture, out, stand_in):
    assert call("fit", picture, "-o", out, "--no-overlay", "--intensity-range", "0,510", "--pixel-size", "0.5,1") == 0
    image = json.loads((out / "a/summary.json").read_text())["image"]
    assert image["intensity_range"] == [0, 510]
    assert image["pixel_size_um"] == [0.5, 1]
    assert image["channels"] == ["red", "green", "blue"]


def test_measured_and_exported(picture, out, stand_in):
    options = ("--measure", "all", "--export", "roi", "--export", "geojson,labels", "--no-overlay", "--detect-only")
    assert call("fit", picture, "-o", out, *options) == 0
    assert {"droplets_rois.zip", "droplets.geojson", "labels.tif"} <= {p.name for p in (out / "a").iterdir()}
    assert "green_integrated" in pd.read_csv(out / "a/droplets.csv")
    calls = len(stand_in.fitted)
    assert call("fit", picture, "-o", out, "--measure", "Cy5") == 1
    assert len(stand_in.fitted) == calls  # found out before any work
    statistics = json.loads((out / "a/summary.json").read_text())["statistics"]
    assert statistics["D50"][1] <= statistics["D50"][0] <= statistics["D50"][2]


def test_kinds_of_export_given_twice_are_all_written():
    from napari_droplets.cli.options import parser

    asked = parser().parse_args(["track", "movie.tif", "-o", "out", "--export", "geff", "--export", "trackmate"])
    assert list(asked.track_exports) == ["geff", "trackmate"]
    assert list(parser().parse_args(["track", "movie.tif", "-o", "out"]).track_exports) == []


def test_excel_without_its_library_is_found_out_before_any_work(picture, out, stand_in, capfd, monkeypatch):
    monkeypatch.setattr("napari_droplets.series.plan.find_spec", lambda name: None)
    assert call("fit", picture, "-o", out, "--export", "xlsx") == 2
    assert "pip install 'napari-droplets[excel]'" in capfd.readouterr().err
    assert not stand_in.fitted


def test_statistics_of_results_and_tables(picture, out, stand_in, capfd, tmp_path):
    assert call("fit", picture, "-o", out, "--no-overlay", "--detect-only") == 0
    table = tmp_path / "mine.csv"
    table.write_text("x;y;radius\n5,5;5;2\n15;12;3\n")
    capfd.readouterr()
    assert call("statistics", out / "a", table, "--shape", "24,32") == 0
    said = capfd.readouterr().out
    assert said.count("D32 ") == 2
    assert "border:" in said
    own = json.loads((out / "a/summary.json").read_text())["statistics"]["D50"]
    assert f"({own[1]:.4g} to {own[2]:.4g})" in said  # with all errors, as there
    table.write_text("image,x,y,radius\na.png,5,5,2\nb.png,5,6,3\n")
    assert call("statistics", out, table) == 0
    heads = [line for line in capfd.readouterr().out.splitlines() if str(tmp_path) in line]
    assert heads == [str(out / "a"), f"{table} image a.png", f"{table} image b.png"]
    stack = {"pictures": [{"folder": "a"}, {"folder": None}]}
    (out / "summary.json").write_text(json.dumps(stack))
    shutil.copytree(out / "a", out / "earlier")
    assert call("statistics", out) == 0
    assert str(out / "earlier") not in capfd.readouterr().out
    (tmp_path / "empty").mkdir()
    assert call("statistics", tmp_path / "empty") == 1
    assert "no results of `fit` or `batch` there" in capfd.readouterr().err
    assert call("statistics", tmp_path / "nothing.csv") == 1
    assert "nothing.csv: no such file" in capfd.readouterr().err


def test_warnings_are_one_line_that_names_the_file(picture, out, stand_in, capfd):
    pixels = np.random.default_rng(0).uniform(0, 1, (24, 32)).astype(np.float32)
    pixels[3, 4] = np.nan
    tifffile.imwrite(picture.with_name("flat.tif"), pixels)
    assert call("fit", picture.with_name("flat.tif"), "-o", out, "--no-overlay", "--quiet") == 0
    said = capfd.readouterr().err.splitlines()
    assert said == ["napari-droplets: warning: flat.tif: 1 pixel NaN or infinite: filled in"]


def test_ascii_terminals_and_names_that_begin_with_a_dash(tmp_path):
    write_image(tmp_path / "-Tröpfchen.png", shape=(32, 40, 3))
    options = ("fit", "-Tröpfchen.png", "-o", "out", "--detect-only", "--no-overlay")
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = process(*options, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "+/-" in done.stdout
    assert (tmp_path / "out" / "-Tröpfchen" / "droplets.csv").exists()


def test_frames_in_files_come_in_natural_order(tmp_path):
    from napari_droplets.series.batch import find_images

    for number in (10, 2, 1):
        write_image(tmp_path / f"frame_{number}.png")
    assert [p.name for p in find_images(tmp_path)] == ["frame_1.png", "frame_2.png", "frame_10.png"]


def test_progress_of_many_images_says_what_runs_and_how_long_it_takes(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("napari_droplets.cli.together.time.monotonic", lambda: now[0])
    shown = ProgressOfMany(4, stream=(stream := io.StringIO()))

    def later(seconds):
        now[0] += seconds
        shown.refresh()

    later(6)
    shown.begin("a.tif")
    shown.begin("b.tif")
    shown.update(Progress("fit", 50, 100, -1.0, 3.0, 7, None), "b.tif")
    later(6)
    later(6)  # nothing new is not said again
    shown.end("a.tif")
    later(12)
    shown.end("c.tif", skipped=True)
    later(6)
    assert stream.getvalue().splitlines() == [
        "[0/4] waiting for workers",
        "a.tif: begun",
        "b.tif: begun",
        "[0/4] a.tif: reading; b.tif: fitting 50%",
        "[1/4] about 72 s left; b.tif: fitting 50%",
        "[2/4] about 60 s left; b.tif: fitting 50%",
    ]


def test_durations_in_units_that_fit():
    assert [duration(s) for s in (42.4, 150, 5400, 13000)] == ["42 s", "2 min", "90 min", "3.6 h"]


@pytest.mark.parametrize("command", ["fit", "batch"])
def test_a_preset_begins_and_what_is_given_wins(picture, out, stand_in, command):
    given = picture if command == "fit" else picture.parent
    assert call(command, given, "-o", out, "--preset", "foam", "--classes", "4", "--no-overlay") == 0
    _, settings = stand_in.given[-1]
    assert {k: settings[k] for k in ("types", "renderer", "classes")} == {
        "types": 1,
        "renderer": "nearest",
        "classes": 4,
    }


def test_a_preset_leaves_to_optics_what_they_decide(picture, out, stand_in, learned):
    assert call("fit", picture, "-o", out, "--preset", "foam", "--optics", learned, "--no-overlay") == 0
    _, settings = stand_in.given[-1]
    assert (settings["types"], settings["classes"]) == (2, 1)


def test_an_unknown_preset_is_wrong_use(picture, out, capfd):
    assert call("fit", picture, "-o", out, "--preset", "beer") == 2
    assert "beer" in capfd.readouterr().err
