"""What the benchmarks of a fit say follows from truth and results, and nothing absent looks like a result."""

import importlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd

REPOSITORY = Path(__file__).parents[1]


def module(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "benchmarks")  # scripts, not a package
        return importlib.import_module(name)


scores, data, rows, limit, dyes, timing, once = (
    module(f"fit_{name}") for name in ("scores", "data", "rows", "bound", "composition", "time", "once")
)
judges, ablation, pages, detection_data = (module(n) for n in ("fit_judges", "ablation", "pages", "detection_data"))


def droplets(*rows, **more):
    """Droplets from rows x, y, radius."""
    return nd.Droplets(*np.reshape(rows, (-1, 3)).T.astype(float), **more)


# arithmetic


def test_affine_map_is_recovered():
    rng = np.random.default_rng(0)
    transform, source = rng.standard_normal((4, 2)), rng.random((50, 3))
    target = scores.mapped(transform, source)
    np.testing.assert_allclose(scores.affine(source, target), transform, atol=1e-10)
    np.testing.assert_allclose(scores.mapped(transform, np.zeros((1, 3)))[0], transform[-1])
    target[0] += 100
    assert np.abs(scores.affine(source, target) - transform).max() > 1
    weights = np.r_[0, np.ones(49)]
    np.testing.assert_allclose(scores.affine(source, target, weights), transform, atol=1e-10)
    twice = scores.affine(np.r_[source, source[:5]], np.r_[target, target[:5]])
    np.testing.assert_allclose(scores.affine(source, target, np.r_[np.full(5, 2), np.ones(45)]), twice, atol=1e-10)


def test_explained_variance():
    truth = np.random.default_rng(0).random((100, 2))
    assert scores.r2(truth, truth) == 1
    assert scores.r2(truth, np.broadcast_to(truth.mean(0), truth.shape)) == pytest.approx(0)
    half = truth.mean(0) + 0.5 * (truth - truth.mean(0))
    assert scores.r2(truth, half) == pytest.approx(0.75)
    assert np.isnan(scores.r2(np.ones((5, 2)), np.ones((5, 2))))


def test_standard_deviations_go_through_the_map():
    """Compositions that were rotated, shifted and blurred by known amounts are covered as often as they should be."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.ones(3), 4000)
    rotation, sd = rng.standard_normal((3, 3)), rng.uniform(0.001, 0.02, (4000, 3))
    sd[:5] = 1000  # nothing is known of these
    estimate = truth @ rotation + 0.3 + sd * rng.standard_normal(truth.shape)
    samples = estimate + sd * rng.standard_normal((300, *truth.shape))
    transform, mapped, mapped_sd = scores.through_map(estimate, sd, samples, truth)
    assert scores.r2(truth[5:], mapped[5:]) > 0.95
    np.testing.assert_allclose(transform[:3].sum(1), 0, atol=1e-6)  # fractions still sum to one
    z = np.abs((mapped - truth) / mapped_sd)
    assert [np.mean(z < 0.9945), np.mean(z < 1.96)] == pytest.approx([0.68, 0.95], abs=0.03)


def test_adjusted_rand():
    a = np.array(["u", "u", "v", "w"])
    assert scores.adjusted_rand(a, np.array([5, 5, 3, 4])) == 1
    assert scores.adjusted_rand(np.array([0, 0, 1, 2]), np.array([0, 0, 1, 1])) == pytest.approx(4 / 7)
    assert scores.adjusted_rand(np.zeros(4), np.arange(4)) == 0
    rng = np.random.default_rng(0)
    assert abs(scores.adjusted_rand(rng.integers(3, size=5000), rng.integers(3, size=5000))) < 0.005
    np.testing.assert_array_equal(scores.contingency(a, np.array([1, 2, 1, 1])), [[1, 1], [1, 0], [1, 0]])


def test_gaps_between_edges():
    found = scores.gaps(droplets((0, 0, 5), (10.5, 0, 5), (20, 0, 5), (60, 60, 5)))
    np.testing.assert_allclose(found, [0.5, -0.5, -0.5, np.inf])


def test_jittered_points():
    truth = droplets(*[(50, 50, 8)] * 20_000)
    points = scores.jittered(truth, 0.2, np.random.default_rng(0))
    assert np.sqrt(np.mean((points.x - 50) ** 2 + (points.y - 50) ** 2)) == pytest.approx(1.6, rel=0.02)
    assert np.std(np.log(points.radius)) == pytest.approx(0.2, rel=0.02)
    assert points.x_sd is None


# the physical limit


@pytest.fixture
def optics():
    from napari_droplets.model.optics import initial_weights

    weights = initial_weights(0, 3, 3)
    weights["Dense_3.kernel"] = 8 * weights["Dense_3.kernel"]  # droplets that can be seen
    return nd.Optics(weights, {}, 3, 3, 6.0, "free", "layered", 0.05, 0.7)


def test_scene_of_single_droplets(optics, monkeypatch):
    monkeypatch.setattr(limit, "GRID", (1, 2))
    classes = np.array([[0.2, 0.5, 0.8]])
    ground = np.array([0.5, 0.6, 0.4])
    scene = limit.draw(optics, ground, classes, np.random.default_rng(0))
    assert scene.image.shape == (64, 128, 3)
    np.testing.assert_allclose(scene.image[:3].reshape(-1, 3), np.tile(ground, (384, 1)), rtol=1e-6)
    v, u = np.mgrid[:64, :128]
    changed = np.abs(scene.image - scene.image[0, 0]).max(-1) > 1e-3
    near = np.min(np.hypot(u[..., None] - scene.truth.x, v[..., None] - scene.truth.y) / scene.truth.radius, -1)
    assert changed[near < 0.5].all()
    assert not changed[near > 1.6].any()

    state = np.array([[24.3, 38.1, 7.0, 0, 0, 0]])
    render = limit.cells(optics, ground, limit.directions(optics))
    picture, (slope,) = render(state, classes)
    v, u = np.nonzero(np.abs(picture - picture[0, 0]).max(-1).reshape(64, 64) > 1e-3)
    assert (u.mean(), v.mean()) == pytest.approx((24.3, 38.1), abs=3)
    step = 1e-2
    # the edges of the network's pieces have no derivative: compare means
    for k in range(6):
        change = step * np.eye(6)[k]
        values = [render(state + sign * change, classes)[0][0].ravel() for sign in (1, -1)]
        np.testing.assert_allclose(
            slope[:, k] @ slope[:, k], slope[:, k] @ (values[0] - values[1]) / (2 * step), rtol=0.03
        )


def test_directions_of_a_simplex_keep_the_sum(optics):
    basis = limit.directions(nd.Optics({}, {}, 3, 3, 6.0, "simplex", "layered", 0.05, 0.7))
    np.testing.assert_allclose(basis.sum(1), 0, atol=1e-12)
    np.testing.assert_allclose(basis @ basis.T, np.eye(2), atol=1e-12)


def test_cramer_rao_of_a_linear_model():
    """Least squares on a linear model attains the bound; a direction that nothing shows costs nothing."""
    rng = np.random.default_rng(0)
    jacobian = rng.standard_normal((40, 5))
    jacobian[:, 3] += 2 * jacobian[:, 0]
    noise = 0.3 * rng.standard_normal((40, 20_000))
    unknown = np.linalg.lstsq(jacobian, noise)[0].std(1)[:3]
    information = (jacobian.T @ jacobian)[None]
    np.testing.assert_allclose(limit.cramer_rao(information, 0.3)[0], unknown, rtol=0.02)
    blind = np.pad(information, ((0, 0), (0, 1), (0, 1)))
    np.testing.assert_allclose(limit.cramer_rao(blind, 0.3)[0], unknown, rtol=0.02)


def test_errors_over_bounds_are_pooled():
    scene = limit.Scene(droplets((10, 10, 5), (40, 40, 8)), np.zeros((1, 1, 3)), np.stack([np.eye(4), 4 * np.eye(4)]))
    z = limit.errors(scene, droplets((41, 40, 7.5)), 0.5)
    np.testing.assert_allclose(z, [[4, 0, -2]])
    images = [{"held": [1, 16.0, 0.0, 4.0]}, {"held": [3, 0.0, 12.0, 0.0]}]
    assert limit.ratios(images, "held") == pytest.approx([2, np.sqrt(3), 1])


# simulated images and tiles


@pytest.mark.parametrize("index", range(5))
def test_simulated_images_are_of_the_sizes_wanted(index):
    shape, arguments = data.look(index)
    case, truth = data.simulation(shape, arguments)
    assert case.image.shape == (*shape, 3)
    assert len(truth) == arguments["n"]
    assert np.mean((truth.radius > 2) & (truth.radius < 15)) > 0.9
    for other in range(index, 100, 5):
        look = data.look(other)[1]
        ends = look["radius"] * np.exp(2 * look["radius_spread"] * np.array([-1, 1]))
        assert 1.999 < ends[0] < ends[1] < 15.001
    assert data.look(index) == (shape, arguments)
    assert arguments["seed"] >= 77_000


def square(side=100, *circles, scale=1.0, **more):
    """A case of circles in a plain image."""
    truth = pd.DataFrame(circles, columns=["x", "y", "radius"], dtype=float)
    return detection_data.Case("case", nd.Image(np.zeros((side, side, 3), np.float32)), truth, scale, **more)


def test_a_table_is_judged():
    circles = [(20, 20, 5), (50, 50, 10), (80, 80, 20), (3, 50, 5), (50, 90, 1)]
    case = square(100, *circles, boxes=((4, 4, 95, 95),), min_radius=1.5)
    told = [(21, 20, 5.5), (52, 50, 11), (3, 50, 5), (60, 20, 4), (60, 30, 1), (99, 99, 5)]
    sd = {"x_sd": np.ones(6), "y_sd": np.ones(6), "radius_sd": np.full(6, 0.7)}
    found = droplets(*told, **sd, p_present=np.array([0.95, 0.55, 0.9, 0.6, 0.6, 0.6]))
    row, hits = rows.judged(case, found, (5.0, 2.0), margin=4)
    assert hits == {0, 1}
    # one is missing, one is false; the tiny one and those at the border are neither
    assert (row["true"], row["right"], row["false"]) == (3, 2, 1)
    assert (row["f1"], row["recall"], row["precision"]) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert row["bias"] == pytest.approx(0.1)
    assert (row["shift"], row["shift_px"], row["center"]) == pytest.approx((0.2, 1.5, 0.2))
    assert row["scatter"] == pytest.approx(0)
    assert row["sizes"] == {"r 5–9": [1, pytest.approx(0.1)], "r 9–16": [1, pytest.approx(0.1)]}
    assert row["cover"] == {"x": [2, 0, 1], "y": [2, 2, 2], "radius": [2, 1, 2]}
    assert row["count"] == [5, 5.0, 2.0]
    assert np.sum(row["presence"], 0).tolist() == pytest.approx([4, 3.0, 3])


def test_images_of_another_scale_are_judged_in_pixels_of_the_truth():
    case = square(25, (41.5, 41.5, 8), scale=4.0)
    row, _ = rows.judged(case, droplets((10, 10.25, 2)))
    assert (row["bias"], row["shift"], row["shift_px"]) == pytest.approx((0, 1 / 8 * np.hypot(0, 1), 0.25))


def test_nothing_found_and_nothing_there():
    row, hits = rows.judged(square(100, (20, 20, 5)), droplets())
    assert (row["f1"], row["recall"], hits) == (0, 0, set())
    assert "bias" not in row
    assert rows.pooled([row])["f1"] == 0
    assert rows.judged(square(), droplets())[0]["true"] == 0
    assert rows.pooled([])["images"] == 0


def test_rows_are_pooled():
    rng = np.random.default_rng(0)
    of_images = []
    for image in range(20):
        place = np.stack([*rng.uniform(10, 380, (2, 60)), np.full(60, 4.0)], -1)
        case = square(400, *place)
        shift = 0.2 * rng.standard_normal((60, 3))
        found = droplets(
            *(place + shift), **{f"{k}_sd": np.full(60, 0.2) for k in rows.QUANTITIES}, p_present=np.full(60, 0.95)
        )
        wide = 60 + (5 if image < 1 else 1)
        of_images.append(rows.judged(case, found, (wide, 2.0))[0] | {"stopped": "settled", "noise_sd": 0.01})
    out = rows.pooled(of_images)
    assert out["x68"] == pytest.approx(0.683, abs=0.03)
    assert out["radius95"] == pytest.approx(0.95, abs=0.02)
    assert out["count95"] == pytest.approx(0.95)
    assert out["count_sd"] == pytest.approx(2 / 61)
    assert out["ece"] == pytest.approx(0.05, abs=0.03)
    assert (out["settled"], out["noise_sd"], out["images"]) == pytest.approx((1, 0.01, 20))
    assert out["abs_bias"] > abs(out["bias"])
    # rows that have been kept as text say the same
    again = json.loads(json.dumps(of_images))
    assert rows.pooled(again) == out


def test_detection_and_fit_of_one_image(monkeypatch):
    case = square(100, (20, 20, 5), (50, 50, 10), (80, 20, 5))
    one, other = droplets((20, 20, 5), (50, 50, 10)), droplets((50, 50, 10), (80, 20, 5))
    monkeypatch.setattr(rows, "detect_all", lambda image: SimpleNamespace(droplets=one, count_mean=None, count_sd=None))
    summary = {"count_mean": 2.0, "count_sd": 1.0, "noise_sd": 0.01, "steps": 9, "stopped": "settled"}
    fit = SimpleNamespace(droplets=other, summary=summary | {"seconds": {"total": 3.0}})
    monkeypatch.setattr(nd, "fit", lambda image, **settings: fit)
    row = rows.compared(case)
    assert (row["lost"], row["won"]) == (1, 1)
    assert row["fit"]["seconds"] == 3
    assert "count" not in row["detect"]

    def fails(image, **settings):
        raise nd.InputError("no droplets found")

    monkeypatch.setattr(nd, "fit", fails)
    assert rows.compared(case)["fit"]["f1"] == 0
    assert rows.compared(case)["failed"]


def test_compositions_are_compared_after_a_map():
    rng = np.random.default_rng(0)
    truth = droplets(*np.stack([*rng.uniform(0, 3999, (2, 1500)), np.full(1500, 2.0)], -1))
    truth = replace(truth, composition=rng.dirichlet(np.ones(3), 1500))
    rotation = np.array([[0.2, 0.5, 0.1], [0.4, 0.1, 0.1], [0.1, 0.1, 0.6]])
    right = truth.composition @ rotation + 0.1
    found = replace(
        truth, composition=right + 0.01 * rng.standard_normal(right.shape), composition_sd=np.full(right.shape, 0.01)
    )
    samples = found.composition + 0.01 * rng.standard_normal((200, *right.shape))
    fit = SimpleNamespace(droplets=found, sample=lambda n: {"composition": samples})
    score, z = rows.composition_errors(truth, fit)
    assert 0.9 < score < 1
    n, within, wide = rows.covered(z)
    assert (within / n, wide / n) == pytest.approx((0.683, 0.95), abs=0.03)


def test_drawn_images_are_those_of_their_number():
    one, other = data.own_discs(3), data.own_discs(4)
    assert one.image.shape[:2] == (256, 256)
    assert (data.own_discs(3).image.pixels == one.image.pixels).all()
    assert len(one.truth) != len(other.truth) or not np.allclose(one.truth, other.truth)
    pixels = np.random.default_rng(0).random((20, 30), np.float32)
    case = data.case_of("gray", pixels, np.zeros((0, 3)))
    assert (case.image.shape, len(case.truth)) == ((20, 30, 1), 0)


# composition and classes


def test_colors_of_discs():
    pixels = np.full((40, 60, 3), 0.8, np.float32)
    v, u = np.mgrid[:40, :60]
    pixels[np.hypot(u - 20, v - 20) <= 6] = [0.2, 0.4, 0.6]
    means = dyes.disc_means(pixels, droplets((20, 20, 6), (20.4, 20.4, 0.1), (-0.6, 0, 0.3)))
    np.testing.assert_allclose(means, [[0.2, 0.4, 0.6], [0.2, 0.4, 0.6], [0.8, 0.8, 0.8]], rtol=1e-6)
    many = droplets((20, 20, 6), (50, 30, 3))
    forms = dyes.colors(pixels, many)
    np.testing.assert_allclose(forms["log mean color"], np.log(forms["mean color"]))
    np.testing.assert_allclose(
        forms["absorbance per radius"][0], np.log(0.8 / np.array([0.2, 0.4, 0.6])) / (6 / 4.5), rtol=0.02
    )


def test_explained_variance_by_group():
    """Species that a map explains in the first image, and in the others but for large droplets."""
    rng = np.random.default_rng(0)
    n = 400
    about = pd.DataFrame(
        {
            "image": np.repeat(range(4), n // 4),
            "radius": np.tile([3.0, 5.0], n // 2),
            "gap": np.tile([5.0, 5.0, 0.0, -3.0], n // 4),
            "size": np.tile(["small", "large"], n // 2),
        }
    )
    truth = rng.dirichlet(np.ones(3), n)
    features = truth @ rng.standard_normal((3, 3)) + 1
    wrong = ((about["image"] > 0) & (about["size"] == "large")).to_numpy()
    features[wrong] = rng.standard_normal((wrong.sum(), 3))
    table = dyes.squared_errors(about, features, truth)
    sums = {kind: dyes.by_group(table[table["map"] == kind]) for kind in ("first", "all")}
    first, both = dyes.explained([{"sums": {"fit": sums}}] * 2)["fit"].values()
    assert dyes.explained([]) == {}
    assert first["image 1"] == pytest.approx(1)
    assert first["small"] == pytest.approx(1)
    assert both["image 1"] < 0.99
    assert both["all"] > first["all"]
    assert first["overlapping"] < first["touching"] == pytest.approx(1)
    assert first["alone"] < 1
    assert np.isnan(first["medium"])
    masks = dyes.groups(about)
    assert [int(masks[k].sum()) for k in ("alone", "touching", "overlapping")] == [200, 100, 100]


def test_classes_are_compared_over_matched_droplets():
    rows = [(20 * i, 10, 5) for i in range(6)]
    authors = pd.DataFrame(rows, columns=["x", "y", "radius"]).assign(label=["c0", "c0", "c1", "c1", "c2", "c2"])
    labels = {"class": np.array([2, 2, 0, 0, 1, 0, 7]), "class_p": np.array([1, 1, 1, 0.95, 1, 0.5, 1.0])}
    found = droplets(*rows, (10, 90, 5), labels=labels)
    agreed = dyes.agreement(authors, found)
    assert agreed["matched"] == 6
    assert agreed["table"] == [[0, 0, 2], [2, 0, 0], [1, 1, 0]]
    assert agreed["rand"] < 1
    assert (agreed["rand_certain"], agreed["certain"]) == (1, 5)
    nothing = dyes.agreement(authors, found[:0])
    assert nothing["matched"] == 0
    assert np.isnan(nothing["rand"])
    assert dyes.agreement(authors, droplets(*rows)) == {"matched": 6}


# seconds


def test_watch_notes_the_first_time(monkeypatch):
    clock = iter([10.0, 11.0, 12.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    watch = timing.Watch()
    for loss in (float("nan"), 3.0, -9e5, -9.5e5):
        watch(SimpleNamespace(loss=loss))
    assert watch.reached == 1.0


def test_cold_runs_are_medians_each_with_a_cache_of_its_own(monkeypatch, tmp_path):
    (tmp_path / "data" / "seed").mkdir(parents=True)
    (tmp_path / "data" / "seed" / timing.SMALL).touch()
    caches, took = [], iter([14.0, 5.0, 20.0, 6.0, 15.0, 4.0])

    def own(path, cache, noise, until=None):
        caches.append(cache)
        return {"reached": next(took)}

    monkeypatch.setattr(timing, "in_own_process", own)
    assert timing.cold(tmp_path) == {"cold": 15, "cached": 5}
    assert [caches[i] == caches[i + 1] for i in range(5)] == [True, False, True, False, True]


def test_programs_are_timed_in_turns():
    calls = []
    took = timing.in_turns({name: lambda name=name: calls.append(name) or 0.0 for name in "ab"})
    assert calls == ["a", "b"] * (1 + timing.PASSES)
    assert set(took) == {"a", "b"}


def test_the_bare_network_has_gradients_to_weights_and_inputs():
    value, (weights, inputs, composition) = timing.bare_network(64, 3, 2)()
    assert value.shape == ()
    assert inputs.shape == (6, 64)
    assert composition.shape == (2, 64)
    assert np.abs(weights["Dense_0.kernel"]).max() > 0


def test_every_measure_has_a_row():
    assert set(timing.TARGETS) == set(timing.MEASURES)


def test_one_fit_stops_at_the_loss(monkeypatch, capsys):
    seen = []

    def fit(image, callback, **settings):
        seen.append((image, settings, [callback(SimpleNamespace(loss=loss)) for loss in (np.nan, 5.0, -2.0)]))
        return SimpleNamespace(
            table=range(3), summary={"loss": -2.0, "stopped": "cancelled", "seconds": {"total": 1.0}}
        )

    monkeypatch.setattr(nd, "fit", fit)
    monkeypatch.setattr("sys.argv", ["fit_once.py", "a.png", "--noise=0.05", "--until=-1"])
    once.main()
    assert seen == [("a.png", {"noise": 0.05}, [None, None, False])]
    result = json.loads(capsys.readouterr().out)
    assert result["done"] >= result["reached"] > 1.7e9
    assert (result["droplets"], result["loss"]) == (3, -2.0)
    assert result["memory_mb"] > 20


# tables and the script


def test_quantities_are_met_or_not():
    of = judges.Quantity("f1", "F1", low=0.985, better=1)
    assert of.line("a", {"f1": 0.98}, {"f1": 0.99}) == ["a", "F1", "≥ 0.985", "0.980", "0.990", "yes"]
    assert of.line("a", {"f1": 0.98}, {"f1": 0.97})[-1] == "no"
    assert of.line("a", {"f1": 1.0}, {"f1": 0.99})[-1] == "worse"
    assert of.line("a", {"f1": 0.991}, {"f1": 0.99})[-1] == "yes"
    assert of.line("a", {}, {})[3:] == ["–", "–", "–"]
    bias = judges.percent("bias", "bias", -0.02, 0.02, -1)
    assert bias.target == "± 2.0%"
    lines = [bias.line("a", {"bias": 0.01}, {"bias": b})[-1] for b in (0.005, -0.011, -0.015, -0.03)]
    assert lines == ["yes", "yes", "worse", "no"]
    assert judges.CENTER.target == "no worse"
    assert judges.percent("count95", "count", 0.93, 0.97).target == "93.0% to 97.0%"
    assert judges.percent("settled", "settled").line("a", {}, {"settled": 1.0})[2:] == ["–", "–", "100.0%", "–"]


@pytest.fixture
def kept():
    """Small rows of every part, as they are kept."""
    row, _ = rows.judged(square(100, (20, 20, 5)), droplets((20, 20, 5), p_present=[0.9]), (1.0, 0.05))
    fit = row | {"noise_sd": 0.0105, "steps": 9, "stopped": "settled", "seconds": 2.0}
    image = {"detect": row, "fit": fit, "lost": 0, "won": 1, "commit": "abc"}
    groups = {g: [1.0, 10.0, 5.0] for g in ("all", "alone", "touching", "overlapping")}
    known = {k: [4, 4.0, 4.0, 4.84] for k in limit.OPTICS}
    known |= {f"{k}, typical": [1.0, 1.0, 1.05] for k in limit.OPTICS}
    figures = {key: 0.5 for those in timing.TARGETS.values() for key in those}
    return {
        "discs": {"white on black, sharp 0": image, "tiny 0": image, "tiny 1": image},
        "physical": {"0": image, "1": image | {"failed": True}},
        "random_optics": {"0": image},
        "simulate": {"0": image},
        "noise": {"0.01 0": image | {"noise_true": 0.01}},
        "tiles": {"example.jpg": image, "example_down4.png": image},
        "real": {"paper_aerosol/one": image, "bubbles_zerog/two": image},
        "bound": {"0.02 0": known, "0.02 1": known},
        "composition": {"0": {"sums": {"mean color": {"first": groups, "all": groups}}}},
        "classes": {"one": {"matched": 50, "poor_masks": True, "rand": 0.75}},
        "time": dict.fromkeys(timing.MEASURES, figures),
    }


def test_page_of_all_parts(kept):
    text = judges.markdown(kept)
    assert "Measured at abc." in text
    assert "Not run" not in text
    assert text.count("| discs, tiny, 2 images |") == 1
    assert "| images without a fit | 0 | – | 1 | no |" in text
    assert "| told over true, 0.01 | 0.900 to 1.100 | – | 1.050 | yes |" in text
    assert "| radius, noise 0.02 | ≤ 1.10 | – | 1.10 | yes |" in text
    assert "| radius, noise 0.02, 68 % quantile | – | – | 1.05 | – |" in text
    assert "| x, noise 0.02 | ≤ 1.50 | – | 1.00 | yes |" in text
    assert "| mean color | – | – | all 0.900, alone 0.900, touching 0.900, overlapping 0.900 | – |" in text
    assert "| one (poor masks) | – | – | 0.75 of 50, certain ones – | – |" in text
    assert "| bubbles_zerog/two | 1 | 1 ± 0 | 1 ± 0 | 0.90 | 0, 1 |" in text
    assert "| refit after 3 corrections | ≤ 1.0 s | – | 0.5 s | yes |" in text
    for part in judges.PARTS:
        assert judges.PARTS[part].lines({}) == []


def test_rows_survive_the_page(kept, tmp_path):
    page = tmp_path / "deep" / "results.md"
    kept["physical"]["0"]["fit"]["r2"] = float("nan")
    pages.write(page, kept, "text\n")
    assert judges.markdown(pages.read(page)) == judges.markdown(kept)
    assert pages.read(tmp_path / "none.md") == {}


def test_a_split_run_comes_together(tmp_path, monkeypatch, kept):
    page = tmp_path / "results.md"
    measured = []

    def compared(case, **settings):
        measured.append(case.name)
        return dict(kept["physical"]["0"])

    monkeypatch.setattr(judges, "compared", compared)
    monkeypatch.setattr(judges, "commit", lambda: "one")
    monkeypatch.setattr(judges.fit_data, "physical", lambda n: SimpleNamespace(name=str(n)))
    options = ["--only", "physical", "--write", str(page)]
    judges.main([*options, "--images", "2"])
    judges.main([*options, "--images", "2", "--first", "1"])
    assert measured == ["0", "1", "2"]
    assert list(json.loads(page.with_suffix(".json").read_text())["physical"]) == ["0", "1", "2"]
    assert "refracting droplets, 3 images" in page.read_text()
    judges.main([*options, "--images", "1", "--again"])
    monkeypatch.setattr(judges, "commit", lambda: "two")
    judges.main([*options, "--images", "1"])
    assert measured[3:] == ["0", "0"]
    assert "Measured at one, two." in page.read_text()


def test_main_says_what_is_absent(tmp_path, capsys):
    page = tmp_path / "results.md"
    absent = [f"--only={part}" for part in ("discs", "random_optics", "tiles", "real", "classes")]
    assert judges.main([*absent, "--shared", str(tmp_path), "--write", str(page)]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("skipped") == 5
    assert "there is no discs.py in the shared folder/judge; see --shared" in printed.out
    assert str(tmp_path) not in page.read_text()
    assert "Nothing has been measured yet." in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "-1"], "not be negative"),
        (["--first", "-1"], "must be 0 to"),
        (["--write", "results.txt"], "must end in .md"),
        (["--only", "all"], "all"),
    ],
)
def test_wrong_use(arguments, message, capsys):
    with pytest.raises(SystemExit):
        judges.parse(arguments)
    assert message in capsys.readouterr().err


# ablation


@pytest.mark.parametrize("name", ablation.CORRECTIONS)
def test_what_is_left_out_comes_back(name):
    from napari_droplets.inference import calibration, loop, prepare
    from napari_droplets.inference.steps import droplet_step, gauss_newton, optics_step

    def state():
        names = [(loop, "outline_trust"), (prepare, "GLOW_FROM")]
        names += [(calibration, n) for n in ("calibrated", "discrepancy", "systematic", "presence", "count_sd")]
        names += [(m, "COMMON_SD") for m in (droplet_step, optics_step)]
        return [getattr(*n) for n in names] + [gauss_newton.Evidence.of]

    before = state()
    with ablation.without(name) as settings:
        changed = sum(a != b for a, b in zip(before, state(), strict=True))
    assert changed == len(ablation.CORRECTIONS[name].changes)
    assert state() == before
    assert bool(settings) + bool(changed) == (name != ablation.ALL)
    nd.Settings(**settings)


def test_what_is_left_out_does_nothing():
    from napari_droplets.inference import calibration, loop
    from napari_droplets.inference.steps import gauss_newton

    n = 3
    sums = gauss_newton.Sums(
        np.ones((n, 2, 2)), np.ones((n, 2)), np.ones(n), np.ones(n), np.full(n, 900.0), np.ones(n), np.ones(n)
    )
    assert gauss_newton.Evidence.of(sums, 0.1, 1.0, 3).inflation.min() > 1
    with ablation.without("inflation"):
        assert gauss_newton.Evidence.of(sums, 0.1, 1.0, 3).inflation.tolist() == [1, 1, 1]
    with ablation.without("outline trust"):
        assert loop.outline_trust(float("nan"), 0.5) == 1
    covariance = np.array([[[4.0, 1.0, 0, 0], [1, 9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]])
    with ablation.without("calibration of each droplet"):
        np.testing.assert_allclose(
            calibration.calibrated(covariance)[0] @ calibration.calibrated(covariance)[0].T, covariance[0]
        )
    with ablation.without("common error told"):
        assert not calibration.systematic(0.0, 0.5, 4.0, (0.1, 0.1)).any()
    with ablation.without("calibration of presence"):
        assert calibration.count(np.full(4, 0.5)) == (2, 1)


def test_ablation_tables(tmp_path, monkeypatch, capsys, kept):
    image = kept["physical"]["0"]
    fitted = []

    def compared(case, **settings):
        fitted.append(settings)
        return image

    monkeypatch.setattr(ablation, "compared", compared)
    options = ["--only", "second droplet", "--kind", "discs", "--images", "2", "--json", str(tmp_path / "kept.json")]
    ablation.main(options)
    assert fitted == [{}, {}, {"renderer": "nearest"}, {"renderer": "nearest"}]
    ablation.main(options)
    assert len(fitted) == 4
    text = capsys.readouterr().out
    assert "### discs, 2 images" in text
    assert "| before the fit | 1.000 |" in text
    assert "| without second droplet | 1.000 |" in text
