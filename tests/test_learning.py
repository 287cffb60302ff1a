"""Learning from corrections: what is cut from corrected images, what is held out, the process, the model, the panel."""

import io
import json
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_droplets.child_process import tell_to
from napari_droplets.cli import commands as cli
from napari_droplets.droplets import Droplets
from napari_droplets.errors import InputError
from napari_droplets.images import as_image
from napari_droplets.results.files import save_table
from napari_droplets.training import child, compared, recipe
from napari_droplets.training.corrected import CorrectedScenes, split
from napari_droplets.training.feed import Mixed
from napari_droplets.training.fitted import FittedScenes
from napari_droplets.training.micrographs import Micrograph, read_corrected
from napari_droplets.workbench.training import learning
from napari_droplets.workbench.training.learning import Learning, default_output
from napari_droplets.workbench.training.learning_job import LearningImage

TIMEOUT = 60.0  # seconds, of anything that starts a process


def discs(side=96, n=9, radius=8.0, seed=0):
    """Dark discs in a lattice on a bright ground, (side, side, 1), and x, y, radius."""
    places = np.linspace(1.5 * radius, side - 1.5 * radius, int(np.sqrt(n)))
    x, y = (a.ravel() for a in np.meshgrid(places, places))
    v, u = np.mgrid[:side, :side]
    inside = (np.hypot(u[..., None] - x, v[..., None] - y) < radius).any(-1)
    image = np.where(inside, 0.2, 0.8) + 0.01 * np.random.default_rng(seed).standard_normal((side, side))
    return image[..., None].astype(np.float32), np.column_stack([x, y, np.full(len(x), radius)]).astype(np.float32)


def micrograph(**options):
    pixels, truth = discs(**options)
    return Micrograph(pixels.astype(np.float16), truth)


@pytest.mark.parametrize("side", [32, 128])  # a piece of the image; several pieces beside each other
def test_droplets_of_pieces_are_where_their_truth_says(side):
    scenes = CorrectedScenes.of([micrograph(), micrograph(seed=1)])
    rng, n = np.random.default_rng(0), 0
    for _ in range(12):
        image, truth = scenes(rng, side)
        assert image.shape == (side, side, 3)
        at = np.clip(np.rint(truth[:, :2]).astype(int), 0, side - 1)
        assert (image[at[:, 1], at[:, 0], 0] < 0.5).all()
        dark = (image[..., 0] < 0.5).sum()
        assert dark > 0.5 * np.pi * (truth[:, 2] ** 2).sum() - np.pi * truth[:, 2].max(initial=0) ** 2
        n += len(truth)
    assert n > 12
    again = scenes(np.random.default_rng(5), side)
    for one, other in zip(again, scenes(np.random.default_rng(5), side), strict=True):
        np.testing.assert_array_equal(one, other)


def test_pieces_are_seen_at_the_scale_at_which_images_are_looked_at():
    for radius, n in ((4.0, 400), (16.0, 25)):
        scenes = CorrectedScenes.of([micrograph(side=256, n=n, radius=radius)])
        rng = np.random.default_rng(0)
        pieces = [scenes(rng, 64)[1][:, 2] for _ in range(40)]
        seen = np.array([np.median(piece) for piece in pieces if len(piece)])
        assert 4.5 < np.median(seen) < 9.5
        assert seen.min() < 5 < 9 < seen.max()  # other scales, too


def test_an_image_in_which_nothing_is_to_be_found_is_learned_from_too():
    empty = Micrograph(np.full((64, 64, 1), 0.5, np.float16), np.zeros((0, 3), np.float32))
    scenes = CorrectedScenes.of([micrograph(), empty])
    numbers = [len(scenes(np.random.default_rng(i), 32)[1]) for i in range(30)]
    assert min(numbers) == 0 < max(numbers)


def test_a_quarter_is_held_out():
    four = [micrograph(seed=i) for i in range(4)]
    parts = split(four)
    assert [len(part) for part in parts] == [3, 1]
    assert parts.held_out[0] is four[3]
    wide = micrograph(side=400, n=100)
    training, held_out = split([wide])
    assert (training[0].pixels.shape[1], held_out[0].pixels.shape[1]) == (300, 100)
    assert len(training[0].truth) + len(held_out[0].truth) == len(wide.truth)
    assert held_out[0].truth[:, 0].max() < 100
    np.testing.assert_array_equal(held_out[0].pixels, wide.pixels[:, 300:])
    narrow = [micrograph()]  # its quarter would be three radii wide
    assert split(narrow) == (narrow, narrow)


def write(folder, name, image=None, truth=None):
    pixels, usual = discs()
    tifffile.imwrite(folder / f"{name}.tif", (pixels if image is None else image)[..., 0])
    pd.DataFrame(usual if truth is None else truth, columns=["x", "y", "radius"]).to_csv(
        folder / f"{name}.csv", index=False
    )
    return folder / f"{name}.tif"


def test_corrected_images_are_read_in_every_form(tmp_path):
    image = write(tmp_path, "slide")
    pixels, truth = discs()
    forms = [image, image.with_suffix(".csv"), tmp_path, (pixels, truth)]
    for form in forms:
        [found] = read_corrected([form])
        np.testing.assert_allclose(found.truth, truth, rtol=1e-5)
        np.testing.assert_allclose(found.pixels, pixels, atol=1e-3)
    write(tmp_path, "empty", truth=np.zeros((0, 3)))
    assert sorted(len(m.truth) for m in read_corrected([tmp_path])) == [0, 9]
    with pytest.raises(InputError, match="no droplets in any"):
        read_corrected([tmp_path / "empty.tif"])
    save_table(Droplets(*truth.T), tmp_path / "lonely.csv")
    with pytest.raises(InputError, match="no image lonely"):
        read_corrected([tmp_path / "lonely.csv"])
    with pytest.raises(InputError, match="no such folder"):
        read_corrected([tmp_path / "gone"])


@pytest.fixture
def results(tmp_path):
    """A folder of results: one as it was found, one with a corrected table beside, one edited in place."""
    slides = tmp_path / "slides"
    slides.mkdir()
    for name in ("as_found", "beside", "edited"):
        path = write(slides, name)
        folder = tmp_path / "results" / name
        folder.mkdir(parents=True)
        summary = {"image": {"path": str(path), "sha256": as_image(path).sha256}, "settings": {}}
        (folder / "summary.json").write_text(json.dumps(summary))
        found = Droplets(*discs()[1][:5].T)
        save_table(found, folder / "droplets.csv")
        if name == "beside":
            save_table(Droplets(*discs()[1][:7].T), folder / "corrected.csv")
        if name == "edited":
            edited = np.arange(5) == 2
            save_table(Droplets(found.x, found.y, found.radius, labels={"edited": edited}), folder / "droplets.csv")
    return tmp_path / "results"


def test_of_results_those_that_were_corrected_are_taken(results):
    assert [len(m.truth) for m in read_corrected([results])] == [7, 5]
    assert [len(m.truth) for m in read_corrected([results / "as_found"])] == [5]  # asked for by name
    (results / "beside" / "corrected.csv").unlink()
    (results / "edited" / "summary.json").unlink()
    with pytest.raises(InputError, match="none of its results was corrected"):
        read_corrected([results])
    tifffile.imwrite(results.parent / "slides" / "beside.tif", np.zeros((96, 96), np.float32))
    with pytest.raises(InputError, match="another one now"):
        read_corrected([results / "beside"])


def test_droplets_of_a_fit_are_drawn_as_they_were_corrected(fitted, tmp_path):
    folder = fitted.save(tmp_path / "result")
    found = fitted.droplets
    larger = Droplets(found.x[:15], found.y[:15], 1.5 * found.radius[:15])
    save_table(larger, folder / "corrected.csv")
    [look] = FittedScenes.of([folder]).looks
    np.testing.assert_allclose(look.radius, larger.radius * look.scale, rtol=1e-5)
    np.testing.assert_allclose(look.composition, found.composition[:15], atol=1e-5)
    image, truth = look.draw(np.random.default_rng(0), 64)
    assert image.shape == (64, 64, 3)
    assert len(truth)


QUICK = {"steps": 2, "side": 32, "batch": 2, "workers": 0, "n_held_out": 2, "found": None, "n_calibrated": 1}


def test_corrected_images_train_the_weights_of_the_package_further(tmp_path, monkeypatch):
    calibrations = []

    def calibrate(path, n, scene, *, largest):
        calibrations.append((n, scene))
        raise InputError("finds too few")

    monkeypatch.setattr(recipe, "calibrate", calibrate)
    given, said = [discs(side=400, n=100)], []
    path = recipe.train(tmp_path / "w.safetensors", corrected=given, callback=said.append, **QUICK)
    assert [p.line.step for p in said if p.line] == [1, 2]
    assert "not calibrated" in said[-1].message
    [(n, scene)] = calibrations
    assert n == 1
    assert isinstance(scene, Mixed)
    assert scene.scene.micrographs[0].pixels.shape[:2] == (400, 100)  # what was held out
    assert scene.share == recipe.OTHERS_CALIBRATED
    about = recipe.read_weights(path)[1]
    assert about["start"] != "fresh"
    with pytest.raises(InputError, match="other scenes or fits"):
        recipe.train(path, corrected=[discs(side=400, n=81)], **QUICK)


def test_before_and_after(monkeypatch, tmp_path):
    pixels, truth = discs()
    shifted = truth + np.float32([0.5, 0, 0])
    found = {None: truth[:4], "new": np.concatenate([shifted[1:8], [[60, 60, 5]]])}
    monkeypatch.setattr(compared, "detect", lambda image, weights, **_: Droplets(*found[weights].T))
    image = write(tmp_path, "slide")
    both = compared.compare_weights([pixels, image, (pixels, Droplets(*truth.T))], "new")
    unknown, beside, told = (c.record() for c in both)
    assert unknown == {"image": "image", "before": 4, "after": 8, "new": 5, "gone": 1}
    assert beside["recall_before"] == pytest.approx(4 / 9)
    assert beside["recall_after"] == pytest.approx(7 / 9)
    assert (beside["precision_before"], beside["precision_after"]) == (1, pytest.approx(7 / 8))
    assert {k: v for k, v in beside.items() if k != "image"} == {k: v for k, v in told.items() if k != "image"}
    text = compared.table_text([unknown, beside])
    assert "0.44 -> 0.78" in text
    assert len(text.splitlines()) == 3


def test_the_command_line_passes_all_on(monkeypatch, capsys, tmp_path):
    given = {}

    def train(output, **options):
        given.update(options)
        return Path(output)

    monkeypatch.setattr(recipe, "train", train)
    monkeypatch.setattr(compared, "detect", lambda image, weights, **_: Droplets(*discs()[1].T))
    image = write(tmp_path, "slide")
    code = cli.main(["train", "-o", "w.safetensors", "--corrected", "a", "b", "--compare", str(image)])
    assert (code, given["corrected"]) == (0, ["a", "b"])
    assert "minutes" not in given
    assert "slide" in capsys.readouterr().out


# the process


def test_the_process_trains_and_looks(monkeypatch, tmp_path):
    monkeypatch.setattr(recipe, "calibrate", lambda *_, **__: None)
    seen = []

    def detect(image, weights, **settings):
        seen.append((weights, settings))
        return Droplets(*discs()[1][: 3 + (weights is not None)].T)

    monkeypatch.setattr(compared, "detect", detect)
    write(tmp_path, "a")
    image = write(tmp_path, "b")
    job = {
        "output": str(tmp_path / "w.safetensors"),
        "corrected": [str(tmp_path / "a.tif")],
        "compare": [str(image)],
        "settings": {"diameter": 16.0},
        "tables": str(tmp_path / "tables"),
        "options": QUICK,
    }
    told = io.StringIO()
    tell = partial(tell_to, told)
    assert child._work(job, tell, threading.Event(), threading.Event()) == 0
    messages = [json.loads(line) for line in told.getvalue().splitlines()]
    assert [m["step"] for m in messages if m["event"] == "progress" and not m["calibrating"]] == [1, 2]
    assert messages[-1] == {"event": "done", "output": job["output"]}
    assert messages[-2]["new_rows"] == [3]
    assert seen == [(None, {"diameter": 16.0}), (Path(job["output"]), {"diameter": 16.0})]
    assert len(pd.read_csv(tmp_path / "tables" / "0_after.csv")) == 4
    stop = threading.Event()
    stop.set()
    before = len(messages)
    child._work(job | {"restart": True}, tell, stop, threading.Event())  # asked to stop: after the step
    messages = [json.loads(line) for line in told.getvalue().splitlines()][before:]
    assert [m["event"] for m in messages] == ["progress", "stopped"]
    assert (tmp_path / "w.checkpoint.safetensors").exists()


# the model


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(learning, "CHILD", "stand_in_child")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))


def image(name, role, n=9):
    pixels, truth = discs()
    table = pd.DataFrame(truth[:n], columns=["x", "y", "radius"])
    return LearningImage(name, lambda: as_image(pixels), table, role)


IMAGES = [image("a", "learn"), image("b: c/d", "check"), image("e", "compare"), image("f", "leave")]


class Heard:
    def __init__(self, model):
        self.shares, self.texts, self.seen, self.ended = [], [], [], []
        model.progressed.connect(self.progressed)
        model.compared.connect(self.compared)
        model.ended.connect(self.end)

    def progressed(self, share, text):
        self.shares.append(share)
        self.texts.append(text)

    def compared(self, seen):
        self.seen.append(seen)

    def end(self, learned):
        self.ended.append(learned)


def wait(model, done=None):
    since = time.monotonic()
    while not (done() if done else not model.busy):
        model.poll()
        time.sleep(0.01)
        assert time.monotonic() - since < TIMEOUT


def test_learning_tells_where_it_is_and_what_it_has_found(stand_in, tmp_path):
    model = Learning()
    heard = Heard(model)
    output = tmp_path / "new" / "series.safetensors"
    model.start(output, IMAGES, settings={"diameter": 16.0}, acts="learns")
    assert model.busy
    with pytest.raises(InputError, match="busy"):
        model.start(output, IMAGES)
    wait(model)
    [end] = heard.ended
    assert (end.weights, end.failed) == (output, False)
    assert heard.shares == sorted(heard.shares)
    assert heard.shares[-1] == pytest.approx(1)
    assert [seen.name for seen in model.seen] == ["b: c/d", "e"]
    assert model.seen[0].record["recall_after"] == 1
    assert "recall_after" not in model.seen[1].record  # not corrected: its droplets are no truth
    assert model.seen[0].new["x"].tolist() == [20.0]
    assert model.seen[0].gone["x"].tolist() == [3.0]
    job = json.loads(output.with_suffix(".job.json").read_text())
    assert job["settings"] == {"diameter": 16.0}
    assert "--corrected" in model.command
    [given] = read_corrected(job["corrected"])  # what the command line finds there
    np.testing.assert_allclose(given.truth, discs()[1], rtol=1e-4)
    np.testing.assert_allclose(given.pixels, discs()[0], atol=2e-3)


def test_the_same_corrections_go_on_and_others_begin_anew(stand_in, tmp_path):
    output = tmp_path / "w.safetensors"
    job = output.with_suffix(".job.json")
    other = tmp_path / "other.safetensors"
    restarts, starts = [], []
    for images, start in (
        (IMAGES, other),
        (IMAGES, other),
        ([image("a", "learn", n=8)], other),
        ([image("a", "learn", n=8)], output),  # what was learned is learned anew, from where it had begun
    ):
        model = Learning()
        model.start(output, images, start=start, acts="learns")
        wait(model)
        restarts.append(json.loads(job.read_text())["restart"])
        starts.append(json.loads(job.read_text())["start"])
    assert restarts == [True, False, True, False]
    assert starts == [str(other)] * 4


def test_cancel_keeps_what_is_trained(stand_in, tmp_path):
    model = Learning()
    heard = Heard(model)
    model.start(tmp_path / "w.safetensors", IMAGES, acts="waits")
    wait(model, lambda: any("step 1" in text for text in heard.texts))
    model.cancel()
    assert model.stopping
    wait(model)
    [end] = heard.ended
    assert end.weights is None
    assert "after 1 steps, which are kept" in end.text
    assert not end.failed
    model.start(tmp_path / "w.safetensors", IMAGES, acts="learns")  # and it can go on
    wait(model)
    assert heard.ended[-1].weights is not None


def test_a_process_that_does_not_listen_is_ended(stand_in, tmp_path):
    model = Learning()
    heard = Heard(model)
    model.start(tmp_path / "w.safetensors", IMAGES, acts="is deaf")
    wait(model, lambda: any("step 1" in text for text in heard.texts))
    model.cancel()
    model.cancel()
    wait(model)
    assert "Stopped" in heard.ended[0].text


@pytest.mark.parametrize(
    ("acts", "text"), [("fails", "weights: cannot be used"), ("dies", "ended unexpectedly (code 1): Traceback: out of")]
)
def test_what_goes_wrong_is_told(stand_in, tmp_path, acts, text):
    model = Learning()
    heard = Heard(model)
    model.start(tmp_path / "w.safetensors", IMAGES, acts=acts)
    wait(model)
    assert heard.ended[0].failed
    assert text in heard.ended[0].text


def test_the_process_ends_when_nobody_listens(stand_in, tmp_path):
    model = Learning()
    heard = Heard(model)
    model.start(tmp_path / "w.safetensors", IMAGES, acts="waits")
    wait(model, lambda: any("step 1" in text for text in heard.texts))
    process = model._child.process
    model.close()
    assert process.wait(TIMEOUT) == 0
    assert not heard.ended


def test_nothing_to_learn_from_is_told_at_once(tmp_path):
    model = Learning()
    for images in ([], [image("a", "compare")], [image("a", "learn", n=0)]):
        with pytest.raises(InputError, match="nothing to learn from"):
            model.start(tmp_path / "w.safetensors", images)
    with pytest.raises(InputError, match=r"\.safetensors"):
        model.start(tmp_path / "w.bin", IMAGES)
    assert not model.busy


def test_weights_are_kept_in_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_DROPLETS_DATA", str(tmp_path))
    assert default_output("slide 1/2") == tmp_path / "weights" / "slide 1_2.safetensors"
    assert default_output("..").name == "series.safetensors"
    assert learning.GRACE > 0


# the panel


def test_the_panel_learns_from_what_was_corrected(qtbot, viewer, open_widget, fake, stand_in, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        viewer.add_image(rng.uniform(size=(34, 40, 3)), name=name)
    widget = open_widget(viewer)
    box = widget.views.learning
    widget.learn()
    assert "nothing to learn from" in widget.message
    widget.image.value = viewer.layers["one"]
    widget.detect()
    qtbot.waitUntil(lambda: not widget.busy, timeout=10_000)
    points = viewer.layers["one droplets"]
    n = len(points.data)
    points.add([[5.0, 6.0]])
    box.refresh()
    images = {i.name: i for i in box.images()}
    assert {name: i.role for name, i in images.items()} == {"one": "learn", "two": "compare"}
    assert len(images["one"].droplets) == n + 1  # those shown: improbable candidates are none
    box.output.setText(str(tmp_path / "w.safetensors"))
    box.options = {"acts": "learns"}
    widget.learn()
    assert box.cancel_button.isEnabled()
    assert not box.learn_button.isEnabled()
    qtbot.waitUntil(lambda: not box.model.busy, timeout=60_000)
    assert widget.form.values()["weights"] == str(tmp_path / "w.safetensors")
    assert "Learned" in widget.message
    assert [box.seen.item(0, i).text() for i in range(5)] == ["two", "2", "2", "1", "1"]
    box.show_selected()
    np.testing.assert_allclose(viewer.layers["two newly found"].data, [[6, 20]])
    np.testing.assert_allclose(viewer.layers["two no more found"].size, [4])
    box.show_selected()
    assert sum(layer.name.startswith("two newly") for layer in viewer.layers) == 1
    box.options = {"acts": "waits"}
    widget.learn()
    qtbot.waitUntil(lambda: "step 1" in box.status.text(), timeout=60_000)
    process = box.model._child.process
    widget.views.close()
    assert process.wait(TIMEOUT) == 0
