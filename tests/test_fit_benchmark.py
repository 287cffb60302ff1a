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


scores, data, limit, truth_part, dyes = (
    module(f"fit_{name}") for name in ("scores", "data", "bound", "truth", "composition")
)
goals, report, timing, once, layers = (
    module(f"fit_{name}") for name in ("targets", "report", "time", "once", "renderers")
)
script, pages, detection_data = module("fit"), module("pages"), module("detection_data")


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


def test_coverage():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((20_000, 2))
    z[::2] = np.nan
    assert scores.coverage(z) == pytest.approx([0.68, 0.95], abs=0.01)
    assert scores.coverage(2 * z) == pytest.approx([0.381, 0.673], abs=0.015)  # normal within 0.994 / 2 and 1.96 / 2
    assert np.isnan(scores.coverage(np.full(3, np.nan))).all()
    radius = np.r_[np.full(10_000, 4.0), np.full(10_000, 6.0)]
    covered = scores.coverage_by_size(radius, {"x": np.where(radius < 5, 0.5, 1.5), "composition": z})
    assert covered["r 3–5"]["x"] == [1, 1]
    assert covered["r 5–9"]["x"] == [0, 1]
    assert covered["all"]["x"] == [0.5, 1]
    assert (covered["all"]["n"], covered["r > 16"]["n"]) == (20_000, 0)


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
    assert scores.coverage((mapped - truth) / mapped_sd) == pytest.approx([0.68, 0.95], abs=0.03)


def test_count_coverage():
    rng = np.random.default_rng(0)
    mean = rng.uniform(50, 500, 5000)
    count = scores.count_coverage(list(mean + 3 * rng.standard_normal(5000)), list(mean), [3.0] * 5000)
    assert count["covered"] == pytest.approx([0.68, 0.95], abs=0.02)
    assert count["z"] == pytest.approx(1, abs=0.03)
    off = scores.count_coverage([100, 100], [104, 108], [2.0, 4.0])
    assert (off["covered"], off["images"]) == ([0, 0], 2)
    assert (off["bias"], off["sd"], off["z"]) == pytest.approx((0.06, 3, 2))


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


def test_difference_in_error_bars():
    one = droplets((0, 0, 5), x_sd=[3.0], y_sd=[1.0], radius_sd=[1.0])
    other = droplets((5, 2, 5), x_sd=[4.0], y_sd=[1.0], radius_sd=[1.0])
    apart = scores.difference(one, other)
    assert [apart[k][0] for k in ("x", "y", "radius")] == pytest.approx([np.sqrt(2), 2, 0])
    assert np.isnan(scores.difference(one, droplets((5, 2, 5)))["x"]).all()


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
    scene = limit.draw(optics, np.array([0.5, 0.6, 0.4]), classes, np.random.default_rng(0))
    assert scene.image.shape == (64, 128, 3)
    np.testing.assert_allclose(scene.image[:3].reshape(-1, 3), np.tile(1 / (1 + np.exp([-0.5, -0.6, -0.4])), (384, 1)))
    v, u = np.mgrid[:64, :128]
    changed = np.abs(scene.image - scene.image[0, 0]).max(-1) > 1e-3
    near = np.min(np.hypot(u[..., None] - scene.truth.x, v[..., None] - scene.truth.y) / scene.truth.radius, -1)
    assert changed[near < 0.5].all()
    assert not changed[near > 3].any()

    state = np.array([[24.3, 38.1, 7.0, 0, 0, 0]])
    render = limit.cells(optics, np.array([0.5, 0.6, 0.4]), limit.directions(optics))
    picture, (slope,) = render(state, classes)
    v, u = np.nonzero(np.abs(picture - picture[0, 0]).max(-1).reshape(64, 64) > 1e-3)
    assert (u.mean(), v.mean()) == pytest.approx((24.3, 38.1), abs=3)
    step = 1e-2
    # the edges of the network's pieces and of its reach have no derivative: compare means
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
    unknown, known = (np.linalg.lstsq(jacobian[:, :k], noise)[0].std(1)[:3] for k in (5, 3))
    information = (jacobian.T @ jacobian)[None]
    np.testing.assert_allclose(limit.cramer_rao(information, 0.3)[0], unknown, rtol=0.02)
    np.testing.assert_allclose(limit.cramer_rao(information, 0.3, nuisance=False)[0], known, rtol=0.02)
    assert unknown[0] > 1.2 * known[0]
    blind = np.pad(information, ((0, 0), (0, 1), (0, 1)))
    np.testing.assert_allclose(limit.cramer_rao(blind, 0.3)[0], unknown, rtol=0.02)


def test_ratios_of_errors_to_bounds():
    rng = np.random.default_rng(0)
    radius, bound = rng.uniform(4, 10, 5000), rng.uniform(0.01, 0.02, (5000, 3))
    error = 1.2 * bound * rng.standard_normal((5000, 3))
    shift = np.array([0.01, -0.02, 0.05])
    sd = np.full((5000, 3), np.nan)
    good = limit.ratios(limit.Errors(error, bound, bound / 2, bound, radius))
    assert good["ratio"] == pytest.approx([1.2] * 3, rel=0.03)
    assert good["ratio_known"] == pytest.approx([2.4] * 3, rel=0.03)
    assert good["typical"] == pytest.approx([1.2] * 3, rel=0.03)
    assert good["stated"] == [1] * 3
    off = limit.ratios(limit.Errors(error + shift * radius[:, None], bound, bound, sd, radius))
    assert min(off["ratio"]) > 4
    assert off["ratio_common_out"] == pytest.approx([1.2] * 3, rel=0.03)
    assert off["common"] == pytest.approx(shift, abs=1e-3)
    groups = np.array(good["points"]["y"])
    assert groups.shape == (limit.BINS, 2)
    np.testing.assert_allclose(groups[:, 1] / groups[:, 0], 1.2, rtol=0.1)


def test_errors_of_found_droplets():
    scene = limit.Scene(droplets((10, 10, 5), (40, 40, 8)), np.zeros((1, 1, 3)), np.stack([np.eye(4), 4 * np.eye(4)]))
    found = limit.errors(scene, droplets((41, 40, 7.5), x_sd=[2.0], y_sd=[3.0], radius_sd=[4.0]), 0.5)
    np.testing.assert_allclose(found.error, [[1, 0, -0.5]])
    np.testing.assert_allclose(found.bound, [[0.25] * 3])
    np.testing.assert_allclose(found.sd, [[2, 3, 4]])
    np.testing.assert_allclose(found.radius, [8])


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


def fake_fit(truth, rng, *, p_present=None, misfit=False, count=None):
    """A fit with errors that its error bars tell of, and compositions turned and shifted."""
    n = len(truth)
    off = rng.standard_normal((3, n))
    rotation = np.array([[0.2, 0.5, 0.1], [0.4, 0.1, 0.1], [0.1, 0.1, 0.6]])
    composition = truth.composition @ rotation + 0.1
    found = nd.Droplets(
        truth.x + 0.1 * off[0],
        truth.y + 0.2 * off[1],
        truth.radius + 0.3 * off[2],
        *(np.full(n, sd) for sd in (0.1, 0.2, 0.3)),
        p_present=p_present,
        composition=composition + 0.01 * rng.standard_normal(composition.shape),
        composition_sd=np.full(composition.shape, 0.01),
        labels={"misfit": np.full(n, 1.0)} if misfit else {},
    )
    mean, sd = count or (None, None)
    return SimpleNamespace(
        droplets=found,
        summary={"count_mean": mean, "count_sd": sd, "seconds": {"total": 3.0}},
        sample=lambda s: {"composition": found.composition + 0.01 * rng.standard_normal((s, *composition.shape))},
    )


def random_truth(rng, n=150, side=400):
    place = rng.uniform(0, side - 1, (2, n))
    truth = nd.Droplets(*place, rng.uniform(4, 8, n), composition=rng.dirichlet(np.ones(3), n))
    table = truth.to_dataframe()[["x", "y", "radius"]]
    return detection_data.simulated_case("case", np.zeros((side, side, 3), np.float32), table), truth


def test_pooled_figures_of_simulated_images():
    rng = np.random.default_rng(0)
    results = truth_part.Simulated()
    for _ in range(20):
        case, truth = random_truth(rng)
        fit = fake_fit(truth, rng, p_present=np.full(len(truth), 0.9), misfit=True, count=(152.0, 2.0))
        image = results.add(case, truth, fit)
        assert image["r2"] > 0.9
    failed = results.add(case, truth, "no droplets found")
    assert (failed["f1"], failed["failed"]) == (0, "no droplets found")
    figures = results.figures()
    covered = figures["coverage"]["all"]
    assert covered["n"] + figures["coverage"]["cut or tiny"]["n"] == pytest.approx(3000, rel=0.02)
    for name in ("x", "y", "radius", "composition"):
        assert covered[name] == pytest.approx([0.68, 0.95], abs=0.04)
    # one image in 21 without anything found, the others right up to matching
    assert figures["scores"]["all"]["recall"] == pytest.approx(20 / 21, abs=0.01)
    assert figures["count"]["covered"] == pytest.approx([0, 20 / 21])  # 2 off: just outside of 68 %, 0.994 times 2
    assert figures["presence"]["ece"] == pytest.approx(0.1, abs=0.02)
    assert figures["misfit"]["right"]["median"] == 1
    assert (figures["seconds"], len(figures["images"])) == (3, 21)
    text = "\n".join(report._simulated(figures))
    assert "case: no droplets found" in text
    assert "Absent" not in text


def test_what_fits_do_not_say_is_absent():
    rng = np.random.default_rng(0)
    results = truth_part.Simulated()
    case, truth = random_truth(rng)
    results.add(case, truth, fake_fit(truth, rng))
    figures = results.figures()
    assert not {"count", "presence", "misfit"} & set(figures)
    assert "Absent from these fits: count_mean, p_present, misfit." in report._simulated(figures)
    rows = {t.what: t.row({"simulated": figures}) for t in goals.TARGETS if t.part == "simulated"}
    assert rows["true count in its 95 % interval"][2:] == ["absent", "no"]
    assert rows["ECE of p_present"][2:] == ["absent", "no"]
    assert rows["simulated images: F1"][2] == "1.000"


def test_species_of_different_numbers_are_pooled():
    results, rng = truth_part.Simulated(), np.random.default_rng(0)
    for types in (2, 4):
        z = {k: np.zeros(10) for k in ("x", "y", "radius")} | {"composition": rng.standard_normal((10, types)) / 10}
        results.rows.append((np.full(10, 4.0), np.ones(10, bool), z))
    covered = results._coverage()["all"]
    assert (covered["n"], covered["composition"]) == (10 * 2, [1, 1])


def test_results_of_two_starts_compared_in_the_tiles():
    case = detection_data.Case("case", None, None, 4.0, boxes=((0, 0, 100, 100),))
    sd = {k: np.ones(3) for k in ("x_sd", "y_sd", "radius_sd")}
    one = droplets((5, 5, 3), (15, 15, 3), (80, 80, 3), **sd)
    other = droplets((6, 5, 3), (22, 22, 3), (80, 81, 3), **sd)
    apart = truth_part.apart(case, one, other)
    assert apart["shared"] == 0.5
    assert [apart[k] for k in ("x", "y", "radius")] == [[1, 1], [0, 0], [0, 0]]


def test_starts_of_a_tile(monkeypatch):
    found = droplets((5, 5, 1.5), (20, 20, 2), x_sd=[1.0, 1.0])
    monkeypatch.setattr(nd, "detect", lambda image, detector="network": found if detector == "network" else found[:1])
    truth = pd.DataFrame({"x": [30.0, 50.0, 95.0], "y": [30.0, 50.0, 30.0], "radius": [8.0, 8.0, 8.0]})
    case = detection_data.Case("case", None, truth, 4.0, boxes=((0, 0, 60, 60),))
    made = truth_part.starts(case)
    assert [len(made[k]) for k in ("network", "blobs", "table", "points")] == [2, 1, 2, 3]
    points = made["points"]
    assert points.x_sd is None
    assert points.x[0] == 20
    np.testing.assert_allclose(points.x[1:], [7.1, 12.1], atol=1.5)


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
    first, both = (dyes.by_group(table[table["map"] == kind]) for kind in ("first", "all"))
    assert first["image 1"] == pytest.approx(1)
    assert first["small"] == pytest.approx(1)
    assert both["image 1"] < 0.99
    assert both["all"] > first["all"]
    assert first["overlapping"] < first["touching"] == pytest.approx(1)
    assert first["alone"] < 1
    assert np.isnan(first["medium"])
    masks = dyes.groups(about)
    assert [int(masks[k].sum()) for k in ("alone", "touching", "overlapping")] == [200, 100, 100]


def test_renderers_pool_the_droplets_of_all_images():
    truth = droplets((10, 10, 4), (16, 10, 4), (40, 40, 4), (60, 20, 4), (20, 60, 4))
    truth = replace(truth, composition=np.array([[1, 0], [0, 1], [0.5, 0.5], [0.9, 0.1], [0.2, 0.8]]))
    table = truth.to_dataframe()[["x", "y", "radius"]].assign(ignore=[0, 0, 0, 0, 1])
    found = replace(truth, composition=0.5 * truth.composition)
    fit = SimpleNamespace(droplets=found, summary={"rmse": 0.03, "seconds": {"total": 2.0}, "renderer": "layered"})
    pairs = detection_data.Pairs(table, found, np.arange(5), np.arange(5))
    run = layers.one(pairs, truth, fit, 0.02)
    assert run["over"].tolist() == [True, True, False, False]
    figures = layers.pooled([run, run | {"residual": 2.5, "ended": "nearest"}])
    assert figures["residual"] == pytest.approx(2.0)
    assert figures["ended"] == ["layered", "nearest"]
    assert figures["r2"] == pytest.approx(1)  # half of the truth is an affine map away from it
    assert figures["overlapping"] == 4
    wrong = replace(found, composition=np.roll(truth.composition, 1, 0))
    again = layers.one(pairs, truth, SimpleNamespace(droplets=wrong, summary=fit.summary), 0.02)
    assert layers.pooled([again])["r2"] < 0.9


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
    assert dyes.circles(authors, found[:3])["recall"] == 0.5


# seconds


def test_watch_notes_the_first_time(monkeypatch):
    clock = iter([10.0, 11.0, 12.0, 13.0])
    monkeypatch.setattr(timing.time, "perf_counter", lambda: next(clock))
    watch = timing.Watch(-5.0, -9.0)
    for loss in (float("nan"), 3.0, -6.0, -4.0, -10.0):
        watch(SimpleNamespace(loss=loss))
    assert watch.seconds == {-5.0: 1.0, -9.0: 2.0}


def test_seconds_of_all_kinds_come_together(monkeypatch, tmp_path):
    """Cold runs are medians with a cache of their own, warm fits come after others, optics are those of fits before."""
    folder = tmp_path / "data" / "seed"
    folder.mkdir(parents=True)
    for name in goals.EXAMPLES:
        (folder / name).touch()
    caches, fits, took = [], [], iter([14.0, 5.0, 20.0, 6.0, 15.0, 4.0, 39.0, 30.0])

    def own(path, cache, noise, steps, until=None):
        caches.append(cache)
        one = next(took)
        return {"reached": one, "seconds": one, "done": one, "memory_mb": 1.0, "droplets": 1, "parts": {}}

    def fit(pixels, optics=None, callback=None, **settings):
        fits.append((pixels.shape, optics, settings))
        callback(SimpleNamespace(loss=-1e6))
        residual, summary = np.zeros(3), {"loss": -1e6, "steps": 1, "stopped": "", "seconds": {}, "noise_sd": 0.05}
        return SimpleNamespace(optics=len(fits), droplets=[], summary=summary, residual=residual)

    monkeypatch.setattr(timing, "in_own_process", own)
    monkeypatch.setattr(nd, "fit", fit)
    monkeypatch.setattr(nd, "read_image", lambda path: nd.Image(np.zeros((20, 30, 3), np.float32)))
    monkeypatch.setattr(timing.reference, "run", lambda *_, **__: SimpleNamespace(seconds_per_step=0.5))
    figures = timing.seconds(script.parse(["--shared", str(tmp_path)]))
    assert (figures["loss"]["cold"], figures["loss"]["cached"]) == (15, 5)
    assert [caches[i] == caches[i + 1] for i in range(7)] == [True, False] * 3 + [True]
    assert figures["ratio"] == 0.5 * 100_000 / figures["loss"]["warm"]
    assert [shape for shape, *_ in fits] == [(20, 15, 3), (16, 26, 3)] + 3 * [(20, 30, 3)]
    assert [optics for _, optics, _ in fits] == [None, None, None, 3, 1]
    assert all(settings == {"noise": 0.05} for *_, settings in fits)
    assert "| with the optics of its left half |" in "\n".join(report._time(figures))
    assert np.isnan(figures["settled"]["settled"])
    assert figures["example_cold"]["seconds"] == 39


def test_likelihood_of_a_reconstruction():
    from scipy.stats import norm

    residual = np.random.default_rng(0).normal(0, 0.1, (5, 6, 3)).astype(np.float32)
    fit = SimpleNamespace(summary={"noise_sd": 0.05}, residual=residual)
    assert timing.negative_log_likelihood(fit) == pytest.approx(-norm.logpdf(residual, 0, 0.05).sum())


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


def test_targets_are_met_or_not():
    target = goals.Target("time", "seconds", lambda p: p["s"], low=0.93, high=0.97, form="{:.0%}")
    assert target.row({"time": {"s": 0.95}}) == ["seconds", "93% to 97%", "95%", "yes"]
    assert [target.row({"time": {"s": s}})[3] for s in (0.90, 0.99)] == ["no", "no"]
    assert target.row({"time": {"s": float("nan")}})[2:] == ["not reached", "no"]
    assert target.row({"time": {}})[2:] == ["absent", "no"]
    assert target.row({})[2:] == ["not run", "–"]
    assert target.row({"time": {"absent": "no image"}})[2:] == ["not run", "–"]
    assert goals.Target("time", "", lambda p: 3.0).row({"time": {}})[1:] == ["–", "3.00", "–"]


def score(**changed):
    names = ("n_true", "n_found", "recall", "precision", "f1", "radius_bias", "radius_spread", "center_error")
    return dict.fromkeys(names, 0.5) | changed


@pytest.fixture
def figures(tmp_path):
    """Small figures of every part."""
    fit = {"loss": -1.1e6, "steps": 900, "stopped": "settled", "droplets": 9, "parts": {"total": 9.0, "fit": 8.0}}
    fit |= {"seconds": 9.0, "unexplained": -1.15e6, "published": 1.5, "settled": 7.0}
    own = {"seconds": 30.0, "done": 29.0, "memory_mb": 1500.0, "droplets": 3500, "parts": {"fit": 20.0}}
    tiles = {
        image: {
            start: {
                "proposed": {"tile A": score(), "tile D": score(), "tiles together": score()},
                "fitted": {"tile A": score(f1=0.99), "tile D": score(f1=1), "tiles together": score(f1=f1)},
                "loss": -1.0,
                "seconds": 2.0,
                "apart": {"shared": 1.0, "x": [0.1, 0.4], "y": [0.3, 0.9], "radius": [0.2, 0.5]},
            }
            for start, f1 in (("network", 0.995), ("blobs", 0.975))
        }
        for image in goals.EXAMPLES
    }
    rng = np.random.default_rng(0)
    case, truth = random_truth(rng)
    simulated = truth_part.Simulated()
    simulated.add(case, truth, fake_fit(truth, rng, misfit=True, count=(150.0, 1.0)))
    bounds = np.full((12, 3), 0.01)
    errors = limit.Errors(1.25 * bounds, bounds, bounds, bounds, np.linspace(4, 10, 12))
    rows = [{"noise": 0.02, "optics": k, "drawn": 12, "found": 12} | limit.ratios(errors) for k in limit.OPTICS]
    names = ["all", "small", "medium", "large", "alone", "touching", "overlapping"]
    names_of_renderers = ["f1", "center_error", "radius_bias", "radius_spread", "residual", "seconds", "r2"]
    names_of_renderers.append("r2_overlapping")
    r2 = {
        goals.SERIES: 0.99,
        "fit, free": 0.98,
        "mean color": 0.9,
        "log mean color": 0.95,
        "absorbance per radius": 0.97,
    }
    dye = {k: {kind: dict.fromkeys(names, v) for kind in ("first", "all")} for k, v in r2.items()}
    circles = {"recall": 0.9, "radius_bias": 0.01, "radius_spread": 0.1, "center_error": 0.1}
    image = {"matched": 50, "poor_masks": False, "proposed": circles, "fitted": circles}
    return {
        "time": {
            "noise": 0.05,
            "loss": {"warm": 1.5, "cold": 15.0, "cached": 5.0},
            "runs": {"cold": [14.0, 15.0, 16.0], "cached": [5.0]},
            "settled": fit,
            "next": {"its own": fit | {"settled": 1.0}, "of its left half": fit | {"settled": float("nan")}},
            "reference": 0.4,
            "ratio": 26_000.0,
            "example_cold": own,
            "example_cached": own,
        },
        "step": {
            "pixels": 8192,
            "steps": {"800": 0.008, "3000": 0.0084, "8000": 0.01, "network": 0.004, "network, weights alone": 0.0039},
            "loop": {"800": 0.009, "3000": 0.01, "8000": 0.012},
        },
        "tiles": {"noise": 0.05} | tiles,
        "simulated": simulated.figures(),
        "bound": {"rows": rows},
        "composition": {"series": 1, "droplets": dict.fromkeys(names, 1000), "r2": dye},
        "renderers": {
            "images": 1,
            "rows": {"0.4": {"auto": dict.fromkeys(names_of_renderers, 0.5) | {"ended": ["layered", "nearest"]}}},
        },
        "classes": {
            "images": {"one": image | {"rand": 0.75, "table": [[1, 2], [3, 4]]}, "two": image | {"poor_masks": True}}
        },
    }


def test_page_of_all_parts(figures, tmp_path):
    text = report.markdown(figures)
    rows = {}
    for first, *others in (line.strip("| ").split(" | ") for line in text.splitlines() if " | " in line):
        rows.setdefault(first, others)
    assert rows["loss -854,501, warm"] == ["≤ 2.0 s", "1.5 s", "yes"]
    assert rows["the same, cold, nothing on disk"] == ["≤ 14.0 s", "15.0 s", "no"]
    assert rows["with those of its left half"] == ["≤ 2.0 s", "not reached", "no"]
    assert rows["settled fit, loss"] == ["≤ -1,095,000", "-1,100,000", "yes"]
    assert rows["step over the bare network, 3,000 droplets"] == ["≤ 2.00", "2.10", "no"]
    assert rows["the same with all between chunks of steps"] == ["–", "2.50", "–"]
    assert rows["step of 8,000 droplets over 800"] == ["≤ 1.20", "1.25", "no"]
    assert rows["tiles, full size, worst of the starts: F1"] == ["≥ 0.985", "0.975", "no"]
    assert rows["tiles, full size, worst of the starts: radius bias, absolute"] == ["≤ 2.00%", "50.00%", "no"]
    assert rows["tiles, full size, worst of the starts: from the network's result, error bars, median"][1] == "0.30"
    assert rows["true count in its 95 % interval"][1] == "100%"
    assert rows["ECE of p_present"][1] == "absent"
    assert rows["error over the bound, optics held, worst"] == ["≤ 1.30", "1.25", "yes"]
    assert rows["dyes: R2 by the first image's map"][1:] == ["0.990", "yes"]
    assert rows["where they overlap"][1:] == ["+0.040", "yes"]
    assert rows["above colors with ground, thickness and the simulator's law known"][1:] == ["+0.020", "–"]
    assert rows["adjusted Rand index, median of the images"][1:] == ["0.75", "–"]
    assert rows["0.4"][0] == "auto (layered, nearest)"
    assert rows["two (poor masks)"][:3] == ["50", "absent", "–"]
    assert "not run" not in text
    limit.draw_figure(figures["bound"], tmp_path / "bound.png")
    assert (tmp_path / "bound.png").stat().st_size > 10_000


def test_figures_survive_the_page(figures, tmp_path):
    page = tmp_path / "deep" / "results.md"
    pages.write(page, figures, "text\n")
    again = pages.read(page)
    assert np.isnan(again["time"]["next"]["of its left half"]["settled"])
    assert report.markdown(again) == report.markdown(figures)
    assert pages.read(tmp_path / "none.md") == {}


def test_parts_that_cannot_run_replace_nothing():
    old, fresh, no = {"pixels": 1}, {"pixels": 2}, {"absent": "reason"}
    assert script.merged({"step": old}, {"step": no, "time": no}) == {"time": no, "step": old}
    assert script.merged({"step": old, "time": no}, {"step": fresh}) == {"time": no, "step": fresh}


def test_main_says_what_is_absent_and_what_failed(tmp_path, monkeypatch, capsys):
    page = tmp_path / "results.md"
    options = ["--shared", str(tmp_path), "--write", str(page)]
    real = [f"--only={part}" for part in ("time", "tiles", "classes")]
    assert script.main([*real, *options]) == 0
    printed = capsys.readouterr()
    assert printed.err.count("skipped") == 3
    assert "Not run: there is no example_down4.png in data/seed; see --shared." in page.read_text()
    assert page.read_text().strip() == printed.out.strip()

    def fails(options):
        raise ValueError("on the way")

    monkeypatch.setitem(script.PARTS, "bound", fails)
    assert script.main(["--only", "bound", *options, "--plots", str(tmp_path)]) == 1
    assert "Not run: ValueError: on the way." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--count", "0"], "at least 1"), (["--write", "results.txt"], "must end in .md"), (["--only", "all"], "all")],
)
def test_wrong_use(arguments, message, capsys):
    with pytest.raises(SystemExit):
        script.parse(arguments)
    assert message in capsys.readouterr().err


def test_noise_may_be_learned():
    assert script.parse([]).noise == 0.05
    assert script.parse(["--noise", "learned"]).noise is None
    assert data.fit_settings(script.parse(["--noise", "learned"])) == {}
    assert data.fit_settings(script.parse(["--steps", "5"])) == {"steps": 5, "noise": 0.05}
    assert data.fit_settings(script.parse(["--steps", "5"]), noise=False) == {"steps": 5}
