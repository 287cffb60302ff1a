"""Training: what survives an interruption, what is kept, what is refused; with tiny images and a trivial scene."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pandas as pd
import pytest
import tifffile
from safetensors import safe_open
from safetensors.numpy import load_file

from napari_droplets.cli import commands as cli
from napari_droplets.droplets import Droplets
from napari_droplets.errors import InputError
from napari_droplets.training import loop, recipe, step
from napari_droplets.training.checkpoint import KEY
from napari_droplets.training.exam import Exam, droplets_in, prepared
from napari_droplets.training.feed import SHARE, Feed, Mixed
from napari_droplets.training.micrographs import Micrograph, Pieces, cut, read_micrographs

SIDE = 32
DROPLET = np.float32([[15, 11, 5]])


def scene(rng, side):
    """One dark droplet, always at the same place, on noise."""
    image = rng.uniform(0.6, 0.9, (side, side, 3)).astype(np.float32)
    v, u = np.mgrid[:side, :side]
    x, y, radius = DROPLET[0]
    image[np.hypot(u - x, v - y) < radius] *= 0.3
    return image, DROPLET


def train(output, **options):
    defaults = {
        "steps": 8,
        "side": SIDE,
        "batch": 2,
        "scene": scene,
        "workers": 0,
        "every": 2,
        "n_held_out": 2,
        "found": None,
    }
    return loop.train(output, **(defaults | options))


def tensors(path):
    return load_file(path)


def about(path):
    with safe_open(path, "numpy") as file:
        return file.metadata()


def same(a, b):
    a, b = tensors(a), tensors(b)
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a)


class Said(list):
    """A callback that keeps what it is told, and may stop or fail at a step."""

    def __init__(self, stop=None, error_at=None):
        self.stop, self.error_at = stop, error_at

    def __call__(self, progress):
        self.append(progress)
        if self.error_at == progress.step:
            raise ConnectionError
        return progress.step != self.stop

    @property
    def messages(self):
        return [p.message for p in self if p.message]

    @property
    def lines(self):
        return [p.line for p in self if p.line]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Weights of a whole training of 8 steps."""
    return train(tmp_path_factory.mktemp("whole") / "w.safetensors")


def test_loss_falls_and_the_files_say_so(uninterrupted, tmp_path):
    said = Said()
    train(tmp_path / "w.safetensors", steps=40, every=10, callback=said)
    assert [line.step for line in said.lines] == [10, 20, 30, 40]
    assert said.lines[-1].held_out_loss < said.lines[0].held_out_loss
    log = pd.read_csv(tmp_path / "w.log.csv")
    assert log.step.tolist() == [10, 20, 30, 40]
    np.testing.assert_allclose(log.held_out_loss, [line.held_out_loss for line in said.lines])
    facts = about(tmp_path / "w.safetensors")
    assert (facts["steps"], facts["scenes"], facts["seed"]) == ("40", "80", "0")


def test_rate_warms_up_and_falls_to_zero_over_the_last_two_fifths(tmp_path):
    said = Said()
    train(tmp_path / "w.safetensors", steps=8, every=1, rate=1.0, callback=said)
    coming = [line.rate for line in said.lines]  # the rate of the step after each line
    warm = np.arange(2, 10) / loop.WARM_UP
    decay = np.clip((np.arange(1, 9) / 8 - 0.6) / 0.4, 0, 1)
    np.testing.assert_allclose(coming, warm * (1 - np.sqrt(decay)), atol=1e-12)


@pytest.mark.parametrize("at", [3, 7])
def test_a_failed_training_goes_on_to_the_same_weights(uninterrupted, tmp_path, at):
    output = tmp_path / "w.safetensors"
    with pytest.raises(ConnectionError):
        train(output, callback=Said(error_at=at))
    said = Said()
    train(output, callback=said)
    assert f"after {at - 1} steps" in said.messages[0]
    assert same(output, uninterrupted)
    assert same(output.with_suffix(".checkpoint.safetensors"), uninterrupted.with_suffix(".checkpoint.safetensors"))
    figures = ["step", "held_out_loss"]
    log, whole = (pd.read_csv(path.with_suffix(".log.csv"))[figures] for path in (output, uninterrupted))
    pd.testing.assert_frame_equal(log, whole)


@pytest.mark.parametrize("at", [5, 7])  # before the decay and within
def test_a_stopped_training_goes_on_from_the_very_step(uninterrupted, tmp_path, at):
    output, said = tmp_path / "w.safetensors", Said()
    train(output, callback=Said(stop=at))
    train(output, callback=said)
    assert f"after {at} steps" in said.messages[0]
    assert same(output, uninterrupted)


def test_workers_draw_the_same_scenes(uninterrupted, tmp_path):
    assert same(train(tmp_path / "w.safetensors", workers=2), uninterrupted)
    assert not same(train(tmp_path / "other.safetensors", seed=1), uninterrupted)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_killed_training_leaves_no_process_and_goes_on(uninterrupted, tmp_path):
    output = tmp_path / "w.safetensors"
    script = tmp_path / "script.py"
    script.write_text(
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import multiprocessing, time, test_loop\n"
        "def tell(progress):\n"
        "    if progress.step == 5:\n"
        "        print(*[child.pid for child in multiprocessing.active_children()], flush=True)\n"
        "        time.sleep(600)\n"
        "if __name__ == '__main__':\n"
        f"    test_loop.train({str(output)!r}, workers=1, callback=tell)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert workers
        os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while any(_running(pid) for pid in workers):
            assert time.monotonic() < deadline, "the worker outlives the training"
            time.sleep(0.1)
    said = Said()
    train(output, callback=said)
    assert "after 4 steps" in said.messages[0]
    assert same(output, uninterrupted)


def _running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # nobody may have asked yet how a process ended that has lost its parent
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_more_steps_go_on_from_before_the_decay(tmp_path):
    longer = train(tmp_path / "longer.safetensors", steps=16)
    output, said = train(tmp_path / "w.safetensors"), Said()
    train(output, steps=16, callback=said)
    assert "from w.stable.safetensors, after 5 steps" in said.messages[0]
    assert same(output.with_suffix(".checkpoint.safetensors"), longer.with_suffix(".checkpoint.safetensors"))


def test_a_finished_training_does_nothing(tmp_path):
    output, said = train(tmp_path / "w.safetensors"), Said()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    train(output, steps=7, callback=said)
    assert "trained already, for 8 steps" in said.messages[0]
    assert len(said) == 1
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_lost_weights_come_back_from_the_checkpoint(tmp_path, uninterrupted):
    output = train(tmp_path / "w.safetensors")
    output.unlink()
    assert same(train(output), uninterrupted)


def test_restart_begins_anew(tmp_path, uninterrupted):
    output, said = train(tmp_path / "w.safetensors", seed=3), Said()
    train(output, restart=True, callback=said)
    assert not said.messages
    assert same(output, uninterrupted)


def test_minutes_are_kept_and_count_over_all_runs(tmp_path, uninterrupted):  # the latter: nothing left to compile
    output, said = tmp_path / "w.safetensors", Said()
    budget = {"steps": None, "minutes": 0.05, "every": None}

    def slow(progress):
        time.sleep(1)
        return progress.step < 2

    train(output, **budget, callback=slow)
    train(output, **budget, callback=said)
    shares = [progress.share for progress in said]
    assert 1 / 3 < shares[0] < 1
    assert shares == sorted(shares)
    assert said.lines[-1].seconds >= 3
    assert said.lines[-1].rate == 0
    assert all(line.seconds <= 3 for line in said.lines[:-1])  # rounded
    record = json.loads(about(output.with_suffix(".checkpoint.safetensors"))[KEY])
    assert record["decaying"]


def slow_scene(rng, side):
    time.sleep(0.2)
    return scene(rng, side)


def test_waiting_for_scenes_is_told(tmp_path):
    waiting = []
    for scenes in ({"scene": slow_scene}, {}):
        said = Said()
        train(tmp_path / f"{len(waiting)}.safetensors", **scenes, workers=1, callback=said)
        waiting.append(said.lines[-1].waiting)
    assert waiting[0] > waiting[1]


def seen(where):
    """What reads droplets: all of them in the validations numbered in `where`, else one that is not there."""
    calls = []

    def found(output):
        assert output.shape == (SIDE // 2, SIDE // 2, 7)
        calls.append(output)
        return Droplets(*(DROPLET if (len(calls) - 1) // 2 in where else DROPLET + 10).T)

    return found


@pytest.mark.parametrize(("losses", "best"), [((1, 2, 3, 4), 2), ((4, 1, 1, 3), 4), ((4, 3, 2, 1), 8)])
def test_weights_with_the_least_held_out_loss_are_kept(tmp_path, uninterrupted, monkeypatch, losses, best):
    given, sit = iter(losses), Exam.sit
    monkeypatch.setattr(Exam, "sit", lambda self, params: (float(next(given)), sit(self, params)[1]))
    output, said = tmp_path / "w.safetensors", Said()
    train(output, found=seen([0]), callback=said)
    assert [line.f1 for line in said.lines] == [1, 0, 0, 0]
    assert about(output)["steps"] == str(best)
    record = json.loads(about(output.with_suffix(".checkpoint.safetensors"))[KEY])
    assert record["best"][1:] == [min(losses), best]
    assert same(output, uninterrupted) == (best == 8)


def test_droplets_are_read_off_the_outputs(tmp_path):
    outputs = np.zeros((8, 8, 7), np.float32)
    outputs[..., 0] = -9
    outputs[..., 3] = np.log(3)
    outputs[2, 5, :3] = -0.4, 0.25, -0.5  # one droplet: its two cells are above a half only together
    outputs[3, 5, :3] = -0.4, 0.25, -2.5
    outputs[6, 1, 0] = -1  # rather not
    found = droplets_in(outputs)
    assert len(found) == 1
    np.testing.assert_allclose([found.x[0], found.y[0], found.radius[0]], [10.75, 4, 3], rtol=1e-5)
    said = Said()
    train(tmp_path / "w.safetensors", steps=1, found=droplets_in, callback=said)
    assert 0 <= said.lines[0].f1 <= 1


def other_scene(rng, side):
    image, truth = scene(rng, side)
    return 1 - image, truth


def test_best_weights_are_chosen_anew_when_the_scenes_have_changed(tmp_path):
    output, said = tmp_path / "w.safetensors", Said()
    train(output, found=seen([0, 1]), callback=Said(stop=5))
    train(output, scene=other_scene, found=seen([]), callback=said)
    assert any("chosen anew" in message for message in said.messages)
    assert about(output)["f1"] == "0.0000"


def test_weights_to_start_from(tmp_path, uninterrupted):
    output = train(tmp_path / "w.safetensors", start=uninterrupted, steps=1, rate=1e-9)
    weights, start = tensors(output), tensors(uninterrupted)
    assert all(np.allclose(weights[k], start[k], atol=1e-3, rtol=1e-3) for k in start)
    with pytest.raises(InputError, match="begun from other weights"):
        train(output, steps=2)


class OtherFits:
    sha256 = "some"
    __call__ = staticmethod(scene)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 1}, "with seed 0, not 1"),
        ({"batch": 3}, "with batch 2, not 3"),
        ({"side": 48}, "with side 32, not 48"),
        ({"scene": OtherFits()}, "on other scenes or fits"),
    ],
)
def test_checkpoints_of_other_trainings_are_refused(tmp_path, options, message):
    output = train(tmp_path / "w.safetensors", steps=1)
    with pytest.raises(InputError, match=rf"w.checkpoint.safetensors: of a training {message}"):
        train(output, **options)


@pytest.mark.parametrize("kind", ["damaged", "weights", "other network"])
def test_files_that_are_no_checkpoints_are_refused(tmp_path, monkeypatch, kind):
    output = train(tmp_path / "w.safetensors", steps=1)
    checkpoint = output.with_suffix(".checkpoint.safetensors")
    if kind == "damaged":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    elif kind == "weights":
        checkpoint.write_bytes(output.read_bytes())
    else:
        fresh = step.fresh(0, None)
        monkeypatch.setattr(loop, "fresh", lambda *_: fresh._replace(params=fresh.average | {"more": fresh.length}))
    with pytest.raises(InputError, match=r"w.checkpoint.safetensors: .*--restart"):
        train(output, steps=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: 0"),
        ({"steps": None, "minutes": -1}, "minutes: -1"),
        ({"steps": None, "minutes": float("nan")}, "minutes: nan"),
        ({"seed": -1}, "seed: -1"),
        ({"batch": 0}, "batch: 0"),
        ({"side": 40}, "side: 40 pixels"),
        ({"workers": -1}, "workers: -1"),
        ({"start": "missing.safetensors"}, "missing.safetensors"),
        ({"start": "w.safetensors"}, "would overwrite"),
        ({"images": "missing"}, "missing: no such folder"),
        ({"output": "w.npz"}, "ending .safetensors"),
    ],
)
def test_wrong_arguments_are_found_out_first(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        train(**({"output": "w.safetensors"} | options))
    assert not list(tmp_path.iterdir())


def test_a_gradient_that_is_not_finite_changes_nothing():
    state = step.fresh(0, None)
    before = jax.tree.map(np.array, state)
    inputs, truth = prepared([scene(np.random.default_rng(0), SIDE)] * 2, SIDE)
    state, value = step.update(state, inputs * np.nan, truth, 1e-3, 0.9)
    assert np.isnan(value)
    jax.tree.map(np.testing.assert_array_equal, state, before)
    state, value = step.update(state, inputs, truth, 1e-3, 0.9)
    assert np.isfinite(value)
    new, old = state.params["out"]["bias"], before.params["out"]["bias"]
    assert not np.array_equal(new, old)
    np.testing.assert_allclose(state.average["out"]["bias"], 0.9 * old + 0.1 * new, rtol=1e-5)


def test_an_odd_batch_does_not_throw_the_weights_about():
    inputs, truth = prepared([scene(np.random.default_rng(0), SIDE)] * 2, SIDE)
    odd = truth._replace(place=truth.place * 1e4)

    def moved(batch):
        state = step.fresh(0, None)
        for _ in range(3):
            state, _ = step.update(state, inputs, truth, 0.0, 0.9)
        return step.update(state, inputs, batch, 0.0, 0.9)[0]

    usual, shaken = moved(truth), moved(odd)
    assert float(shaken.length) < 1.05 * float(usual.length)
    nu_usual, nu_shaken = (float(sum(v.sum() for v in jax.tree.leaves(s.moments[0].nu))) for s in (usual, shaken))
    assert nu_shaken < 4 * nu_usual  # 3 + 9 squares in place of 4


def bad_scene(rng, side):
    image, truth = scene(rng, side)
    return image * np.nan, truth


def test_a_training_without_any_gradient_ends(tmp_path):
    with pytest.raises(InputError, match="not finite in 2 steps"):
        train(tmp_path / "w.safetensors", scene=bad_scene)


def failing_scene(rng, side):
    raise ZeroDivisionError


def test_a_scene_that_fails_says_of_which_step(tmp_path):
    with pytest.raises(ZeroDivisionError) as caught:
        train(tmp_path / "w.safetensors", scene=failing_scene)
    assert "step 0, seed 0" in caught.value.__notes__[0]


def deadly_scene(rng, side):
    if rng.random() < 0.3:
        os._exit(9)
    return scene(rng, side)


def test_a_lost_worker_is_told_and_the_steps_are_kept(tmp_path):
    output = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match=r"ended from outside .* goes on from step \d+"):
        train(output, scene=deadly_scene, workers=1, steps=1000, every=500)


def test_one_program_for_all_steps(tmp_path):
    train(tmp_path / "a.safetensors")
    compiled = step.update._cache_size()
    train(tmp_path / "b.safetensors", steps=3)
    train(tmp_path / "b.safetensors", steps=6, rate=1e-4)
    assert step.update._cache_size() == compiled


@pytest.fixture
def micrographs(tmp_path):
    """A folder with one image of dark droplets and its table."""
    rng = np.random.default_rng(0)
    image = np.full((300, 420, 3), 230, np.uint8)
    v, u = np.mgrid[:300, :420]
    rows = [(x, y, rng.uniform(9, 15)) for x in range(30, 420, 60) for y in range(30, 300, 60)]
    for x, y, radius in rows:
        image[np.hypot(u - x, v - y) <= radius] = 40
    folder = tmp_path / "mine"
    folder.mkdir()
    tifffile.imwrite(folder / "a.tif", image, photometric="rgb")
    pd.DataFrame(rows, columns=["x", "y", "radius"]).to_csv(folder / "a.csv", index=False)
    return folder


def test_pieces_of_micrographs_keep_their_droplets_in_place(micrographs):
    (micrograph,) = read_micrographs(micrographs)
    rng = np.random.default_rng(1)
    radii = []
    for _ in range(60):
        image, truth = cut(micrograph, rng, 64)
        assert image.shape == (64, 64, 3)
        assert image.dtype == np.float32
        dark = 1 - (image[..., 0] - 40 / 255) / (190 / 255)  # share of each pixel that is droplet
        v, u = np.mgrid[:64, :64]
        inner = [t for t in truth if (t[:2] > t[2] + 2).all() and (t[:2] < 61 - t[2]).all()]
        for x, y, radius in inner:
            near = dark * (np.hypot(u - x, v - y) < 1.3 * radius + 1)
            center = np.array([(near * u).sum(), (near * v).sum()]) / near.sum()
            np.testing.assert_allclose(center, [x, y], atol=0.2)
            np.testing.assert_allclose(np.sqrt(near.sum() / np.pi), radius, rtol=0.08, atol=0.15)
        radii += [r for *_, r in truth]
    assert 1.3 < min(radii) < 2.2
    assert 7 < max(radii) < 11


def test_small_micrographs_are_enlarged_to_fill_the_piece():
    micrograph = Micrograph(np.full((20, 30, 1), 0.5, np.float16), np.float32([[10, 10, 2], [10, 12, 2]]))
    image, truth = cut(micrograph, np.random.default_rng(0), 64)
    assert image.shape == (64, 64, 3)
    assert (truth[:, 2] >= 2 * 64 / 20 - 1e-3).all()


def test_a_share_of_the_scenes_is_of_micrographs(micrographs):
    mixed = Mixed(scene, Pieces(read_micrographs(micrographs)))
    rng = np.random.default_rng(2)
    drawn = [mixed(rng, 32)[1] for _ in range(400)]
    share = np.mean([truth is not DROPLET for truth in drawn])
    assert abs(share - SHARE) < 4 * np.sqrt(SHARE * (1 - SHARE) / 400)


def test_training_on_micrographs(tmp_path, micrographs, uninterrupted):
    output = train(tmp_path / "w.safetensors", images=micrographs, workers=1)
    assert not same(output, uninterrupted)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "a.tif").unlink(), "mine: no images"),
        (lambda f: (f / "a.csv").unlink(), r"a.tif: no table a.csv beside it"),
        (lambda f: (f / "a.csv").write_text("x,y,radius\n"), "a.csv: no droplets in the image a.tif"),
        (lambda f: (f / "a.csv").write_text("x,y,radius\n900,5,3\n"), "a.csv: no droplets in the image a.tif"),
        (lambda f: (f / "a.csv").write_text("x,y,radius\n9,5,-3\n"), r"a.csv.*radi"),
        (lambda f: (f / "a.csv").write_text("x,y\n9,5\n"), r"a.csv.*radius"),
        (lambda f: (f / "a.tif").write_text("no image"), "a.tif"),
    ],
)
def test_folders_that_cannot_be_learned_from(micrographs, spoil, message):
    spoil(micrographs)
    with pytest.raises(InputError, match=message):
        read_micrographs(micrographs)


def test_streams_of_numbers_are_independent():
    feed = Feed({"a": lambda rng, side: (rng.random(side), DROPLET)}, 4, workers=0)

    def draw(seed, key):
        return feed.ask("a", seed, key, 1).result()[0][0].tolist()

    draws = [draw(*a) for a in [(0, (0,)), (0, (1,)), (1, (0,)), (0, (0, 0))]]
    assert len(set(map(tuple, draws))) == 4
    assert draw(0, (1,)) == draws[1]


def call(*args):
    return cli.main(["train", *map(str, args)])


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-o", "w.safetensors", "--minutes", "1", "--steps", "1"),
        ("-o", "w.safetensors", "--steps", "some"),
        ("-o", "w.safetensors", "--minutes", "0"),
        ("-o", "w.safetensors", "--rate", "0"),
        ("-o", "w.safetensors", "--images", "missing"),
        ("-o", "w.safetensors", "--start", "missing"),
        ("-o", "w.txt"),
    ],
)
def test_wrong_use_of_the_command(tmp_path, monkeypatch, capsys, args):
    monkeypatch.chdir(tmp_path)
    assert call(*args) == cli.MISUSED
    assert capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_command_trains(tmp_path, monkeypatch, capsys):
    given = {}
    whole = loop.train

    def tiny(output, **options):
        given.update(options)
        return whole(output, **options, scene=scene, side=SIDE, batch=2, every=2, n_held_out=2, found=seen([1]))

    monkeypatch.setattr(loop, "train", tiny)
    monkeypatch.setattr(recipe, "calibrate", lambda *_: None)
    output = tmp_path / "w.safetensors"
    assert call("-o", output, "--steps", 4, "--workers", 0, "--rate", 1e-3) == 0
    said = capsys.readouterr()
    assert said.out == f"{output}\n"
    lines = said.err.splitlines()
    assert len(lines) == 3
    assert "calibrating" in lines[2]
    assert "step 4 (100%, 0:00 h)" in lines[1]
    assert "F1 1.0000 (precision 1.0000, recall 1.0000)" in lines[1]
    assert given["steps"] == 4
    assert given["rate"] == 1e-3
    assert "minutes" not in given
    assert call("-o", output, "--steps", 4, "--workers", 0) == 0
    assert "trained already" in capsys.readouterr().err
    assert call("-o", output, "--steps", 4, "--workers", 0, "--seed", 1) == cli.MISUSED
    assert "with seed 0, not 1" in capsys.readouterr().err
    assert call("-o", output, "--steps", 2, "--workers", 0, "--seed", 1, "--restart", "--quiet") == 0
    assert capsys.readouterr().err == ""


def test_ctrl_c_keeps_the_steps(tmp_path, monkeypatch, capsys):
    whole = loop.train

    def interrupted(output, callback, **options):
        def tell(progress):
            if progress.step == 3:
                os.kill(os.getpid(), signal.SIGINT)
            return callback(progress)

        return whole(output, callback=tell, **options, scene=scene, side=SIDE, batch=2, n_held_out=2)

    monkeypatch.setattr(loop, "train", interrupted)
    assert call("-o", tmp_path / "w.safetensors", "--steps", 400, "--workers", 0) == cli.STOPPED
    assert "the same command goes on" in capsys.readouterr().err
    record = json.loads(about(tmp_path / "w.checkpoint.safetensors")[KEY])
    assert record["step"] == 3
