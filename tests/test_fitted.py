"""Scenes in the look of a fit, and the trainings that use them; the fit is made by hand."""

import os
import pickle
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from stand_in import some_droplets

from napari_droplets.cli import commands as cli
from napari_droplets.detection import scales
from napari_droplets.detection.network import init, read_weights, write_weights
from napari_droplets.droplets import Droplets, Fit, Optics
from napari_droplets.errors import InputError
from napari_droplets.image_statistics import pixel_noise
from napari_droplets.inference.prepare import shared_of
from napari_droplets.model.background import SplineGrid
from napari_droplets.model.optics import initial_weights
from napari_droplets.model.outline import GLOW_TERMS
from napari_droplets.model.picture import draw
from napari_droplets.results.files import save_summary, save_table
from napari_droplets.training import fitted, loop, recipe
from napari_droplets.training.feed import SHARE, Feed, Mixed
from napari_droplets.training.fitted import FittedScenes, Look
from napari_droplets.training.report import Progress
from napari_droplets.training.scenes import scene as scene_of_all_kinds
from napari_droplets.training.scenes.visible import RIM

GROUND = np.array([0.7, 0.6, 0.5])
BRIGHTER = 0.1  # the ground's right border than its middle
NOISE = 0.03
BLUR = 0.7


def made(radius=4.5, *, channels=3, scale=1.0, n=48, seed=0):
    """Droplets on a loose grid, the large ones rich in the first component; a ground that is brighter at the right."""
    rng = np.random.default_rng(seed)
    step = 16 * radius / 4.5
    x, y = (a.ravel()[:n] * step + step / 2 for a in np.meshgrid(np.arange(8), np.arange(6)))
    x, y = (a + rng.uniform(-1, 1, len(a)) for a in (x, y))
    radii = radius * np.exp(0.2 * rng.standard_normal(len(x)))
    composition = np.stack([np.where(radii > np.median(radii), 0.9, 0.1), rng.random(len(x))], -1)
    weights = initial_weights(seed, channels, 2)
    weights["Dense_3.kernel"] = np.full_like(weights["Dense_3.kernel"], -0.1)  # all darken
    weights["glow"] = np.zeros((GLOW_TERMS, channels), np.float32)
    optics = Optics(weights, {}, 2, channels, radius, "free", "layered", NOISE, BLUR)
    across = np.array([-1, -2 / 3, 0, 2 / 3, 1])  # of two pieces in each direction: a straight line
    background = GROUND[:channels] + BRIGHTER * np.broadcast_to(across[:, None], (5, 5, 1)).astype(np.float32)
    shape = (int(6 * step), int(8 * step), channels)
    guide = {"anchor": np.stack([x, y, radii], -1), "droplets": np.zeros((len(x), 5)), "background": background}
    return Fit(
        droplets=Droplets(x, y, radii, composition=composition),
        reconstruction=np.full(shape, 0.5, np.float32),
        optics=optics,
        losses=np.zeros((1, 3)),
        summary={"settings": {"scale": scale}},
        guide=guide,
    )


@pytest.fixture
def at_working_size(monkeypatch):
    """Scenes neither enlarged nor shrunk: those of a fit whose typical radius is the network's own."""
    fit = made()
    monkeypatch.setattr(scales, "WORKING_RADIUS", Look.of(fit, "fit").typical)
    monkeypatch.setattr(fitted, "CLOSENESS_SD", 0.0)
    return fit


def rendered(fit):
    """The image that the model draws of the fit's own droplets."""
    height, width, _ = fit.reconstruction.shape
    ground = SplineGrid.for_coefficients(height, width, fit.guide["background"]).field(fit.guide["background"])
    d = fit.droplets
    return draw(d.x, d.y, d.radius, d.composition, ground, shared_of(fit.optics, 1.0))


def drawn(scenes, n, side=96):
    return [scenes(np.random.default_rng([5, i]), side) for i in range(n)]


def test_scenes_look_like_the_fit(at_working_size):
    fit = at_working_size
    scenes, n, side = FittedScenes.of([fit]), 60, 96
    results = drawn(scenes, n, side)
    for image, truth in results:
        assert image.shape == (side, side, 3)
        assert image.dtype == truth.dtype == np.float32
        assert image.min() >= 0
        assert image.max() <= 1
    # number per area: log-normal around that of the fit; a few find no room where there are many
    counts = np.array([len(truth) for _, truth in results])
    expected = len(fit.droplets) / np.prod(fit.reconstruction.shape[:2]) * side**2 * np.exp(fitted.CROWDING_SD**2 / 2)
    error = counts.std() / np.sqrt(n)
    assert 0.92 * expected - 3 * error < counts.mean() < expected + 3 * error
    assert 0.25 < counts.std() / counts.mean() < 0.6
    # sizes: those of the fit
    radii = np.concatenate([truth[:, 2] for _, truth in results])
    quantiles = [0.1, 0.5, 0.9]
    np.testing.assert_allclose(np.quantile(radii, quantiles), np.quantile(fit.droplets.radius, quantiles), rtol=0.05)
    # noise and colors
    own = rendered(fit)
    expected = pixel_noise(own + NOISE * np.random.default_rng(0).standard_normal(own.shape))  # with edges in it
    assert np.median([pixel_noise(image) for image, _ in results]) == pytest.approx(expected, rel=0.1)
    colors = np.array([image.mean((0, 1)) for image, _ in results])
    np.testing.assert_allclose(colors.mean(0), rendered(fit).mean((0, 1)), atol=0.02)
    # droplets darken, so that images are as dark as droplets cover them
    covered = np.array([np.pi * np.sum(truth[:, 2] ** 2) / side**2 for _, truth in results])
    assert np.corrcoef(covered, [image.mean() for image, _ in results])[0, 1] < -0.7


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_the_ground_is_that_of_a_place_in_the_image(scale):
    look = Look.of(made(9.0 / scale, scale=scale), "fit")
    grounds = np.array([look._ground(np.random.default_rng(i), 64) for i in range(40)])
    width = look.size[0]
    steps = np.diff(grounds, axis=2)
    np.testing.assert_allclose(steps, 2 * BRIGHTER / width, atol=1e-5)
    np.testing.assert_allclose(np.diff(grounds, axis=1), 0, atol=1e-5)
    first = grounds[:, 0, 0, 0] - GROUND[0] + BRIGHTER
    assert -1e-6 < first.min() < 2 * BRIGHTER * 0.1
    assert 0.9 < (first.max() * width / (2 * BRIGHTER) + 64) / width < 1 + 1e-3


def test_a_ground_of_one_color_stays_one_and_small_images_are_stretched():
    fit = made()
    fit = replace(fit, guide=fit.guide | {"background": np.float32(GROUND)[None, None]})
    ground = Look.of(fit, "fit")._ground(np.random.default_rng(0), 700)
    np.testing.assert_allclose(ground, np.broadcast_to(GROUND, (700, 700, 3)), rtol=1e-6)


def test_sizes_and_compositions_are_drawn_together():
    look = Look.of(made(), "fit")
    crowd = look._crowd(np.random.default_rng(0), 512)
    large = crowd.radius > 1.25 * np.median(look.radius)
    small = crowd.radius < np.median(look.radius) / 1.25
    assert crowd.composition[large, 0].min() > 0.7
    assert crowd.composition[small, 0].max() < 0.3


def test_improbable_droplets_are_drawn_seldom():
    fit = made()
    p = np.where(fit.droplets.radius > np.median(fit.droplets.radius), 0.1, 0.9)
    look = Look.of(replace(fit, droplets=replace(fit.droplets, p_present=p)), "fit")
    assert look.density == pytest.approx(p.sum() / np.prod(fit.reconstruction.shape[:2]))
    crowd = look._crowd(np.random.default_rng(0), 1024)
    assert np.mean(crowd.composition[:, 0] > 0.5) == pytest.approx(0.1, abs=0.04)


@pytest.mark.parametrize("tight", [False, True])
def test_droplets_overlap_as_in_the_fit(tight):
    fit = made()
    x = fit.droplets.x.copy()
    if tight:
        x[1::2] = x[::2] + fit.droplets.radius[::2]  # every second one reaches far into its neighbor
    look = Look.of(replace(fit, droplets=replace(fit.droplets, x=x)), "fit")
    deepest = [look._crowd(np.random.default_rng(i), 256) for i in range(8)]
    deepest = [fitted._overlap(Droplets(c.x, c.y, c.radius)).max() for c in deepest]
    assert (max(deepest) > 0.5) == tight


def test_noise_lies_between_that_of_pixels_and_all_that_is_unexplained():
    fit = made()
    assert Look.of(fit, "fit").noise == (NOISE, NOISE)
    summary = fit.summary | {"rmse": 0.05}
    assert Look.of(replace(fit, summary=summary), "fit").noise == (NOISE, 0.05)
    large = made(40.0, scale=0.5)  # its noise is that of an image half as large
    scale = Look.of(large, "fit").scale
    assert scale < 0.5
    noise = Look.of(replace(large, summary=large.summary | {"rmse": 0.1}), "fit").noise
    assert noise == pytest.approx((2 * NOISE * scale, 0.1 * scale))


@pytest.mark.parametrize(
    ("radius", "scale", "low", "high"),
    [(18, 1.0, 0.7, 1.4), (4.5, 0.5, 0.7, 1.4), (1.2, 1.0, 2 * 1.2 / 4.5, 2 * 1.2 / 4.5)],
)
def test_droplets_are_shown_at_the_size_that_detection_shows_them(radius, scale, low, high, monkeypatch):
    monkeypatch.setattr(scales, "WORKING_RADIUS", 4.5)
    fit = made(radius, scale=scale)
    medians = [np.median(truth[:, 2]) for _, truth in drawn(FittedScenes.of([fit]), 12, 64) if len(truth) > 8]
    assert min(medians) > 0.8 * 4.5 * low
    assert max(medians) < 1.25 * 4.5 * high


def test_truth_is_where_droplets_are(at_working_size, monkeypatch):
    monkeypatch.setattr(fitted, "CROWDING_SD", 0.0)
    fit = made(12.0)  # shrunk on the way
    fit = replace(fit, optics=replace(fit.optics, noise_sd=0.001))
    dark = []
    for image, truth in drawn(FittedScenes.of([fit]), 4):
        v, u = np.mgrid[: len(image), : len(image)]
        inner = np.zeros(image.shape[:2], bool)
        for x, y, radius in truth:
            inner |= np.hypot(u - x, v - y) < 0.5 * radius
        near = np.zeros_like(inner)
        for x, y, radius in truth:
            near |= np.hypot(u - x, v - y) < 3 * radius
        gray = image.mean(-1)
        dark.append(gray[inner].mean() - gray[~near].mean())
    assert max(dark) < -0.03


def test_gray_fits_give_gray_images():
    for image, _ in drawn(FittedScenes.of([made(channels=1)]), 2, 64):
        assert image.shape == (64, 64, 3)
        np.testing.assert_array_equal(image[..., 0], image[..., 1])
        np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_droplets_hide_each_other():
    crowd = fitted.Crowd(*np.array([[20.0, 20, 50], [20.0, 21, 20], [8.0, 4, 6]]), np.full((3, 2), 0.5))
    unhidden = fitted._unhidden(crowd, 64, Look.of(made(), "fit").shared)
    assert unhidden == pytest.approx([0.75, 1, 1], abs=0.03)  # the smaller one lies over the larger
    assert len(fitted._unhidden(fitted.Crowd(*(a[:0] for a in crowd)), 64, Look.of(made(), "fit").shared)) == 0


def test_contrast_is_what_a_droplet_alone_changes_in_the_image():
    fit = made()
    weights = fit.optics.weights
    weights["Dense_0.kernel"][3:6] *= 3  # outer and inner parts differ, small and large
    weights["thickness"] = np.array([0.5], np.float32)
    # an image saturates at white, contrast does not: so weak that nothing gets there
    weights["Dense_3.kernel"] = np.random.default_rng(3).normal(0, 0.05, (16, 9)).astype(np.float32)
    weights["glow"] += 0.02
    shared = Look.of(fit, "fit").shared
    crowd = fitted.Crowd(*np.array([[30.2, 36], [30.4, 34], [12, 7]]), np.array([[0.9, 0.2], [0.1, 0.8]]))
    ground = np.broadcast_to(np.float32(GROUND), (64, 64, 3))
    v, u = np.mgrid[:64, :64]
    for i in range(2):
        one = fitted.Crowd(*(a[[i]] for a in crowd))
        image, (contrast,) = draw(*one, ground, shared), fitted._contrast(one, ground, shared)
        d = np.hypot(u - crowd.x[i], v - crowd.y[i]) / crowd.radius[i]
        expected = np.abs(image - ground).max(-1)[(d >= RIM) & (d <= 1)]
        for q in (0.1, 0.5, 0.9):
            assert np.quantile(contrast, q) == pytest.approx(np.quantile(expected, q), rel=0.08)
        both = fitted._contrast(crowd, ground, shared)[i]
        np.testing.assert_allclose(both, contrast, rtol=1e-4)  # whatever lies above or below


def test_many_droplets_have_the_contrast_that_each_has():
    look = Look.of(made(), "fit")
    ground = look._ground(np.random.default_rng(1), 200)
    crowd = look._crowd(np.random.default_rng(0), 1000)
    assert len(crowd.x) > 2 * fitted.TOGETHER
    some = np.arange(0, len(crowd.x), 97)
    few = fitted._contrast(fitted.Crowd(*(a[some] for a in crowd)), ground, look.shared)
    np.testing.assert_allclose(fitted._contrast(crowd, ground, look.shared)[some], few, rtol=1e-4, atol=1e-6)


def test_workers_draw_the_same_scenes_and_other_seeds_others():
    scenes = FittedScenes.of([made(), made(6.0, seed=1)])
    assert len({type(v) for v in pickle.loads(pickle.dumps(scenes)).looks}) == 1
    feeds = [Feed({"a": scenes}, 64, workers) for workers in (0, 1)]
    try:
        here, there = (feed.ask("a", 3, (0,), 3).result() for feed in feeds)
    finally:
        for feed in feeds:
            feed.close()
    for (a, s), (b, t) in zip(here, there, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(s, t)
    assert not np.array_equal(here[0][0], feeds[0].ask("a", 4, (0,), 1).result()[0][0])


def test_scenes_are_known_again_by_their_fits():
    assert FittedScenes.of([made()]).sha256 == FittedScenes.of([made()]).sha256
    assert FittedScenes.of([made()]).sha256 != FittedScenes.of([made(seed=1)]).sha256


def test_fits_are_read_from_folders(tmp_path, monkeypatch):
    for name in ("a", "b"):
        save_summary({}, _folder(tmp_path / "out" / name) / "summary.json")
    monkeypatch.setattr(fitted, "read", lambda path: made(seed=len(str(path))))
    assert len(FittedScenes.of([tmp_path / "out"]).looks) == 2
    assert len(FittedScenes.of([tmp_path / "out/a", made()]).looks) == 2


def _folder(path):
    path.mkdir(parents=True)
    return path


@pytest.mark.parametrize("kind", ["missing", "empty", "table", "detected", "few", "none"])
def test_what_cannot_be_learned_from(tmp_path, kind):
    folder = tmp_path / "result"
    if kind in ("empty", "detected"):
        folder.mkdir()
    if kind == "detected":
        save_summary({}, folder / "summary.json")
        save_table(some_droplets(None, 20, 0), folder / "droplets.csv")
    if kind == "table":
        folder.write_text("x,y,radius\n1,1,1\n")
    given = {"few": [made(n=8)], "none": []}.get(kind, [folder])
    says = {
        "missing": "result: no such folder",
        "empty": "result: no summary.json",
        "table": "result: no such folder",
        "detected": r"result: droplets without a fit \(of --detect-only\)",
        "few": "fit: a fit of 8 droplets; at least 10",
        "none": "no fits given",
    }
    with pytest.raises(InputError, match=says[kind]):
        FittedScenes.of(given)


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """What training and calibration were asked for; weights come with the package."""
    asked = []
    package = tmp_path / "package.safetensors"
    write_weights(init(0), package, {})
    monkeypatch.setattr(scales, "WEIGHTS", package)

    def train(output, callback, **options):
        output = Path(output)
        asked.append(options)
        if callback(Progress(3, 1.0)) and not output.exists():
            write_weights(init(0), output, {})
        return output

    def calibrate(path, n, scene):
        asked.append((n, scene))
        params, about = read_weights(path)
        write_weights(params, path, about | {"calibration": "{}"})

    monkeypatch.setattr(loop, "train", train)
    monkeypatch.setattr(recipe, "calibrate", calibrate)
    return asked


def test_training_from_fits(tmp_path, asked):
    output = tmp_path / "w.safetensors"
    fit = made()
    assert recipe.train(output, from_fit=[fit], seed=4) == output
    options, (n, scene) = asked
    assert n == recipe.N_SERIES_CALIBRATED
    assert options["minutes"] == 2
    assert options["seed"] == 4
    assert options["start"] == scales.WEIGHTS
    assert options["rate"] < loop.RATE
    assert options["warm_up"] < loop.WARM_UP
    assert options["scene"].sha256 == FittedScenes.of([fit]).sha256
    assert options["others"] is scene_of_all_kinds
    assert scene is options["scene"]
    recipe.train(output, from_fit=[fit], steps=5, start="mine.safetensors")
    assert len(asked) == 3  # calibrated already
    assert "minutes" not in asked[2]
    assert asked[2]["start"] == "mine.safetensors"


def test_training_on_all_kinds_is_calibrated_on_all_kinds_once(tmp_path, asked):
    output = tmp_path / "w.safetensors"
    said = []
    recipe.train(output, minutes=5, callback=lambda p: said.append(p.message))
    assert asked == [{"minutes": 5, "start": None}, (recipe.N_CALIBRATED, None)]
    assert said == ["", "calibrating probabilities and standard deviations"]
    recipe.train(output)
    assert asked[2:] == [{"start": None}]


def test_a_stopped_training_is_not_calibrated(tmp_path, asked):
    recipe.train(tmp_path / "w.safetensors", callback=lambda p: False)
    assert len(asked) == 1


def test_a_training_stopped_at_its_last_step_is_not_calibrated(tmp_path, asked):
    output = tmp_path / "w.safetensors"
    recipe.train(output, callback=lambda p: not p.calibrating)
    assert len(asked) == 1
    assert "calibration" not in read_weights(output)[1]


def test_ctrl_c_while_calibrating_keeps_the_weights(tmp_path, asked, monkeypatch, capsys):
    calibrate, before = recipe.calibrate, signal.getsignal(signal.SIGINT)

    def interrupted(*args):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)  # where the signal arrives
        calibrate(*args)

    monkeypatch.setattr(recipe, "calibrate", interrupted)
    output = tmp_path / "w.safetensors"
    assert cli.main(["train", "-o", str(output)]) == cli.STOPPED
    assert signal.getsignal(signal.SIGINT) is before
    said = capsys.readouterr()
    assert "trained but not calibrated" in said.err
    assert said.out == ""
    assert "calibration" not in read_weights(output)[1]
    monkeypatch.setattr(recipe, "calibrate", calibrate)
    assert cli.main(["train", "-o", str(output)]) == cli.DONE
    assert "calibration" in read_weights(output)[1]


def test_what_cannot_be_calibrated_is_said_and_kept(tmp_path, asked, monkeypatch):
    def poor(*args):
        raise InputError("w: finds too few of the droplets")

    monkeypatch.setattr(recipe, "calibrate", poor)
    said = []
    assert recipe.train(tmp_path / "w.safetensors", callback=lambda p: said.append(p.message)).exists()
    assert said[-1] == "not calibrated: w: finds too few of the droplets"
    with pytest.warns(UserWarning, match="too few of the droplets"):
        recipe.train(tmp_path / "w.safetensors")


def test_a_quarter_stays_broad():
    mixed = Mixed(lambda rng, side: "fitted", lambda rng, side: "broad")
    rng = np.random.default_rng(0)
    share = np.mean([mixed(rng, 8) == "broad" for _ in range(2000)])
    assert abs(share - SHARE) < 0.04


def test_the_command_trains_from_fits(tmp_path, asked, capsys):
    made(n=48).save(tmp_path / "slide")
    output = tmp_path / "w.safetensors"
    assert cli.main(["train", "-o", str(output), "--from-fit", str(tmp_path / "slide"), "--quiet"]) == 0
    assert capsys.readouterr().out == f"{output}\n"
    assert len(asked[0]["scene"].looks) == 1
    assert asked[0]["minutes"] == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--from-fit"], "--from-fit"),
        (["--from-fit", "missing"], "missing: no such folder"),
        (["--from-fit", "slide"], "give some with start=... (--start)"),
    ],
)
def test_wrong_use_of_the_command(tmp_path, monkeypatch, capsys, args, says):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(scales, "WEIGHTS", tmp_path / ("none" if args[-1] == "slide" else "."))
    made().save("slide")
    assert cli.main(["train", "-o", "w.safetensors", *args]) == cli.MISUSED
    assert says in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["slide"]
