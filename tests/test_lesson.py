"""Optics of a batch, learned on several images: what the manifest knows of it, and that they are learned once."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from stand_in import StandIn, write_image

import napari_droplets as nd
from napari_droplets.errors import InputError
from napari_droplets.series.batch import Plan, check_output, run
from napari_droplets.settings import Settings


@pytest.fixture
def stand_in(monkeypatch):
    stand_in = StandIn()
    monkeypatch.setattr("napari_droplets.inference.api.fit", stand_in.fit)
    monkeypatch.setattr("napari_droplets.inference.composite.learn", stand_in.learn)
    return stand_in


@pytest.fixture
def paths(tmp_path):
    return [write_image(tmp_path / f"in/{name}.png", seed) for seed, name in enumerate("abcdef")]


def go(paths, out, **options):
    options = {"combine": True, "same_optics": True, "optics_from": 3} | options
    plan = Plan(Settings(**options.pop("settings", {})), overlay=False)
    check_output(out, [])
    return list(run(paths, out, plan, **options))


def taught(out):
    """Result folders of the images that taught, by the manifest."""
    return [image["image"] for image in json.loads((out / "batch.json").read_text())["optics"]["images"]]


def test_images_spread_over_the_series_teach_before_any_is_fitted(paths, tmp_path, stand_in):
    stages = []
    outcomes = go(paths, tmp_path / "out", watch=lambda path, p: stages.append(p and p.stage))
    assert [o.error for o in outcomes] == [None] * 6
    assert stages[0] == "optics"
    assert stages.index(None) > max(i for i, stage in enumerate(stages) if stage == "optics")
    assert taught(tmp_path / "out") == ["a", "c", "f"]
    kept = nd.read_optics(tmp_path / "out")
    for optics, settings in stand_in.given:
        np.testing.assert_array_equal(optics.weights["w"], kept.weights["w"])
        assert not settings["learn_optics"]


def test_one_that_cannot_teach_is_replaced_and_two_are_needed(paths, tmp_path, stand_in):
    stand_in.fail = {"c.png": InputError("no droplets")}
    go(paths, tmp_path / "out")
    assert taught(tmp_path / "out") == ["a", "f", "b"]
    stand_in.fail = {path.name: InputError("no droplets") for path in paths[1:]}
    stand_in.given.clear()
    go(paths, tmp_path / "other")
    assert stand_in.given[0][1]["learn_optics"]  # the first that can be fitted, as before
    assert "optics" not in json.loads((tmp_path / "other/batch.json").read_text())


def test_resumed_the_batch_learns_nothing_again(paths, tmp_path, stand_in):
    out = tmp_path / "out"
    go(paths[:5], out)
    before = nd.read_optics(out)
    (out / "b/summary.json").unlink()
    outcomes = go(paths, out, resume=True)  # … nor because of an image that has been added
    assert [o.skipped for o in outcomes] == [True, False, True, True, True, False]
    assert stand_in.lessons == 1
    np.testing.assert_array_equal(stand_in.given[-1][0].weights["w"], before.weights["w"])
    assert taught(out) == ["a", "c", "e"]
    go(paths, out, resume=True)
    assert stand_in.lessons == 1


class ByImage(StandIn):
    """Fits whose droplets depend on the image and on the optics, not on what was fitted before."""

    def fit(self, image, droplets=None, optics=None, **more):
        self.fitted = [None] * ord(image.name[0])
        fit = super().fit(image, droplets, optics, **more)
        return replace(fit, droplets=replace(fit.droplets, x=fit.droplets.x + optics.weights["w"].sum()))


KILLED = """
import os, signal, sys
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, sys.argv[1])
from test_lesson import ByImage, go

stand_in, told = ByImage(), []

def watch(path, progress):
    told.append(progress.stage)
    if told == ["optics"] * 3:
        os.kill(os.getpid(), signal.SIGKILL)

patch("napari_droplets.inference.api.fit", stand_in.fit).start()
patch("napari_droplets.inference.composite.learn", stand_in.learn).start()
go([Path(p) for p in sys.argv[3:]], Path(sys.argv[2]), watch=watch)
"""
"""A batch in a process of its own that is killed while it learns optics; arguments: this folder, results, images."""


def test_killed_while_optics_are_learned_it_resumes_to_the_undisturbed_table(paths, tmp_path, monkeypatch):
    stand_in = ByImage()
    monkeypatch.setattr("napari_droplets.inference.api.fit", stand_in.fit)
    monkeypatch.setattr("napari_droplets.inference.composite.learn", stand_in.learn)
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    go(paths, undisturbed)
    arguments = [Path(__file__).parent, out, *paths]
    killed = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "optics.safetensors").exists()
    assert "optics" not in json.loads((out / "batch.json").read_text())
    assert not list(out.glob("*/summary.json"))
    stand_in.lessons = 0
    outcomes = go(paths, out, resume=True)
    assert [(o.error, o.skipped) for o in outcomes] == [(None, False)] * 6
    assert stand_in.lessons == 1
    assert taught(out) == taught(undisturbed)
    table, other = (pd.read_csv(folder / "droplets.csv") for folder in (out, undisturbed))
    assert len(table) > 6
    pd.testing.assert_frame_equal(table, other)


def damage(paths, out):
    (out / "optics.safetensors").write_bytes(b"no optics")


def change(paths, out):
    write_image(paths[0], seed=77)


def lose(paths, out):
    (out / "batch.json").unlink()


@pytest.mark.parametrize(
    ("what", "options"),
    [
        (damage, {}),
        (change, {}),
        (lose, {}),
        (None, {"optics_from": 4}),
        (None, {"settings": {"seed": 3}}),
        (None, {"resume": False}),
    ],
)
def test_they_are_learned_anew_where_they_might_be_others(paths, tmp_path, stand_in, what, options):
    out = tmp_path / "out"
    go(paths, out)
    if what is not None:
        what(paths, out)
    outcomes = go(paths, out, **{"resume": True} | options)
    assert stand_in.lessons == 2
    assert [o.error for o in outcomes] == [None] * 6
    assert len(taught(out)) == options.get("optics_from", 3)


def test_optics_of_an_earlier_batch_do_not_stay(paths, tmp_path, stand_in):
    out = tmp_path / "out"
    go(paths, out)
    assert (out / "optics.safetensors").exists()
    go(paths, out, same_optics=False)
    assert not (out / "optics.safetensors").exists()


def test_stopped_while_optics_are_learned_no_image_is_begun(paths, tmp_path, stand_in):
    seen = []

    def watch(path, progress):
        seen.append((path.name, progress and progress.stage))
        return False

    assert go(paths, tmp_path / "out", watch=watch) == []
    assert set(seen) == {("a.png", "optics")}
    states = json.loads((tmp_path / "out/batch.json").read_text())["images"]
    assert {entry["state"] for entry in states.values()} == {"waiting"}


def test_pictures_of_few_stacks_teach(tmp_path, stand_in):
    for name in ("one", "two"):
        pixels = np.random.default_rng(0).integers(0, 255, (3, 24, 32), dtype=np.uint8)
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, imagej=True, metadata={"axes": "TYX"})
    out = tmp_path / "out"
    go([tmp_path / "one.tif", tmp_path / "two.tif"], out, settings={"frames": "all"})
    images = json.loads((out / "batch.json").read_text())["optics"]["images"]
    assert [(image["image"], image["frame"]) for image in images] == [("one", 0), ("one", 2), ("two", 2)]


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.tif"
    pixels = np.random.default_rng(0).integers(0, 255, (6, 24, 32), dtype=np.uint8)
    tifffile.imwrite(path, pixels, imagej=True, metadata={"axes": "TYX"})
    return path


def frames_taught(out):
    return [image["frame"] for image in json.loads((out / "stack/lesson.json").read_text())["images"]]


def test_pictures_of_one_file_teach_without_being_asked_to(stack, tmp_path, stand_in):
    out, options = tmp_path / "out", {"same_optics": False, "settings": {"frames": "all"}}
    stages = []
    (outcome,) = go([stack], out, watch=lambda path, p: stages.append(p and p.stage), **options)
    assert outcome.error is None
    assert stages.index("fit") > max(i for i, stage in enumerate(stages) if stage == "optics")
    assert frames_taught(out) == [0, 2, 5]  # of six pictures three, evenly spread
    kept = nd.read_optics(out / "stack")
    for optics, settings in stand_in.given:
        np.testing.assert_array_equal(optics.weights["w"], kept.weights["w"])
        assert not settings["learn_optics"]
    assert len(stand_in.given) == 6
    assert len(nd.read(out / "stack")) == outcome.summary["n_droplets"]
    # resumed, it is there already; with other teachers it is not
    assert go([stack], out, resume=True, **options)[0].skipped
    assert not go([stack], out, resume=True, optics_from=2, **options)[0].skipped
    assert frames_taught(out) == [0, 5]


def test_an_interrupted_stack_keeps_what_its_pictures_have_taught(stack, tmp_path, stand_in):
    out, options = tmp_path / "out", {"same_optics": False, "settings": {"frames": "all"}}
    go([stack], out, **options)
    (out / "stack/summary.json").unlink()
    shutil.rmtree(out / "stack/frame_3")
    go([stack], out, resume=True, **options)
    assert stand_in.lessons == 1
    assert len(stand_in.given) == 7
    go([stack], out, **options)
    assert stand_in.lessons == 2


def test_stopped_while_pictures_teach_none_is_begun(stack, tmp_path, stand_in):
    options = {"same_optics": False, "settings": {"frames": "all"}}
    (outcome,) = go([stack], tmp_path / "out", watch=lambda path, p: p is None, **options)
    assert outcome.stopped
    assert not outcome.summary
    assert stand_in.given == []
    assert json.loads((tmp_path / "out/batch.json").read_text())["images"]["stack"]["state"] == "stopped"


def test_workers_learn_them_too_and_resume(paths, tmp_path, stand_in, monkeypatch):
    distributed = pytest.importorskip("distributed", reason="needs dask: pip install 'napari-droplets[dask]'")
    monkeypatch.setattr("napari_droplets.series.engine.warm", lambda task: None)  # it would compile a fit's programs
    options = {"same_optics": True, "optics_from": 3, "overlay": False}
    alone, out = tmp_path / "alone", tmp_path / "out"
    nd.batch(tmp_path / "in", alone, **options)
    stand_in.fitted.clear()
    with distributed.Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=None) as client:
        found = nd.batch(tmp_path / "in", out, scheduler=client, **options)
        assert found["error"].isna().all()
        assert taught(out) == taught(alone)
        assert nd.read_optics(out).weights["w"].tolist() == nd.read_optics(alone).weights["w"].tolist()
        shutil.rmtree(out / "d")
        nd.batch(tmp_path / "in", out, scheduler=client, resume=True, **options)
    assert stand_in.lessons == 2
    assert len(stand_in.fitted) == 7


@pytest.mark.parametrize("number", [0, -1, 2.5, True, "4"])
def test_wrong_numbers(tmp_path, number):
    with pytest.raises(InputError, match="optics_from"):
        nd.batch(tmp_path, tmp_path / "out", same_optics=True, optics_from=number)
    with pytest.raises(InputError, match="optics_from"):
        next(nd.fit_series([], optics_from=number))
