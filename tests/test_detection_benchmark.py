"""What the comparison of detectors says follows from truth and found droplets, and no failure looks like a result."""

import importlib
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import napari_droplets as nd

REPOSITORY = Path(__file__).parents[1]
SHARED = REPOSITORY.parent / "shared"


def module(name):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(REPOSITORY / "benchmarks")  # scripts, not a package
        return importlib.import_module(name)


data, report, rely = (module(f"detection_{name}") for name in ("data", "report", "reliability"))
detection, detectors = module("detection"), module("detectors")

needs_score = pytest.mark.skipif(
    not (SHARED / "score" / "score.py").exists(), reason="score.py is not beside the repository"
)


def droplets(*rows, **more):
    """Droplets from rows x, y, radius."""
    return nd.Droplets(*np.reshape(rows, (-1, 3)).T.astype(float), **more)


def table(*rows):
    return pd.DataFrame(np.reshape(rows, (-1, 3)).astype(float), columns=["x", "y", "radius"])


def image(side=100):
    return np.random.default_rng(0).random((side, side, 3), np.float32)


def random_case(seed, side=100):
    """Many droplets and imperfect finding: some missed, some moved too far, some invented."""
    rng = np.random.default_rng(seed)
    rows = np.column_stack([rng.uniform(0, side, (60, 2)), rng.uniform(1, 8, 60)])
    found = rows[rng.random(60) < 0.8].copy()
    found[:, :2] += rng.normal(0, 1, (len(found), 2))
    found[:, 2] *= np.exp(rng.normal(0, 0.2, len(found)))
    extra = np.column_stack([rng.uniform(0, side, (15, 2)), rng.uniform(1, 8, 15)])
    return data.simulated_case("case", image(side), table(*rows)), droplets(*found, *extra)


def test_border_and_tiny_droplets_are_not_required():
    case = data.simulated_case("case", image(), table((50, 50, 5), (4, 50, 5), (50, 96, 5), (30, 30, 1.5)))
    assert case.truth["ignore"].tolist() == [0, 1, 1, 1]
    assert case.diameter == 10
    assert data.simulated_case("none", image(), table()).diameter == data.EMPTY_DIAMETER


def test_diameter_is_in_pixels_of_the_image():
    truth = table((50, 50, 8), (60, 60, 8), (300, 300, 40))
    case = data.Case("case", nd.Image(image()), truth, scale=4.0, boxes=((0, 0, 100, 100),))
    assert case.diameter == 4


def test_scores_by_size():
    case = data.simulated_case("case", image(), table((20, 20, 4), (60, 20, 4), (20, 60, 6), (1, 80, 6)))
    found = droplets((21, 20, 5), (20, 60, 6), (1, 80, 6), (80, 80, 7), (90, 20, 1.5))
    scores = data.pooled_scores([data.Pairs.of(case, found)])
    # one of two found; the true one at the border and the tiny false one count neither way
    assert scores["r 3–5"] | {"radius_spread": 0} == pytest.approx(
        {"n_true": 2, "n_found": 1, "recall": 0.5, "precision": 1, "f1": 2 / 3}
        | {"radius_bias": 0.25, "radius_spread": 0, "center_error": 0.25}
    )
    assert (scores["r 5–9"]["recall"], scores["r 5–9"]["precision"]) == (1, 0.5)
    assert scores["all"]["f1"] == pytest.approx(2 * 2 / (3 + 3))
    assert np.isnan(scores["r > 16"]["f1"])


@needs_score
@pytest.mark.parametrize("seed", range(5))
def test_own_scores_are_those_of_score_py(seed):
    case, found = random_case(seed)
    ours = data.pooled_scores([data.Pairs.of(case, found)])["all"]
    theirs = data.Scorer(SHARED)(case, found)["case"]
    assert 0.3 < theirs["f1"] < 0.95
    assert ours == pytest.approx(theirs)


@needs_score
@pytest.mark.parametrize("seed", range(5))
def test_boxes_together(seed):
    case, found = random_case(seed, 300)
    box, other = (10.0, 10.0, 140.0, 290.0), (160.0, 10.0, 290.0, 290.0)
    scorer = data.Scorer(SHARED)

    def score(*boxes):
        whole = data.Case("case", case.image, case.truth[["x", "y", "radius"]], min_radius=2.0, boxes=boxes)
        return scorer.together(whole, found.to_dataframe())

    single = [
        scorer._score(case.truth[["x", "y", "radius"]], found.to_dataframe(), b, data.MARGIN, 2.0) for b in (box, other)
    ]
    assert [score(box), score(other)] == [pytest.approx(s) for s in single]
    both = score(box, other)
    assert both["n_true"] == sum(s["n_true"] for s in single)
    assert both["n_found"] == sum(s["n_found"] for s in single)


def test_large_droplets_that_no_truth_lists():
    case = data.simulated_case("case", image(), table((50, 50, 24)), max_radius=20)
    found = droplets((10, 10, 24), (50, 50, 24), (90, 90, 5))
    assert data.without_unlisted(case, found).x.tolist() == [50, 90]


def test_empty_images():
    pictures = {kind: [c.image.pixels for c in data.empty_images(kind, 2)] for kind in data.EMPTY_KINDS}
    for one in itertools.chain(*pictures.values()):
        assert one.shape == (data.SIDE, data.SIDE, 3)
        assert one.dtype == np.float32
        assert 0 <= one.min() < one.max() <= 1
    assert not np.array_equal(*pictures["plain"])
    np.testing.assert_array_equal(pictures["dust"][1], data.empty_images("dust", 2)[1].image.pixels)
    spread = {kind: np.mean([one.std((0, 1)).mean() for one in some]) for kind, some in pictures.items()}
    assert min(spread, key=spread.get) == "plain"


def test_improbable_candidates_take_nothing_from_probable_ones():
    truth = droplets((50, 50, 10), (80, 80, 10))
    found = droplets((50, 50, 10), (53, 50, 10), (81, 80, 10), p_present=np.array([0.1, 0.9, 0.2]))
    i, j = rely.match_probable_first(truth, found)
    assert dict(zip(i.tolist(), j.tolist(), strict=True)) == {0: 1, 1: 2}


def test_calibration_error():
    rng = np.random.default_rng(0)
    p = rng.random(60_000)
    present = rng.random(len(p)) < p
    assert rely.calibration_error(rely.equal_mass_bins(p, present)) < 0.01
    assert rely.calibration_error(rely.equal_mass_bins(0.8 * p, present)) == pytest.approx(0.1, abs=0.01)
    few = rely.equal_mass_bins(np.array([0.25, 0.75]), np.array([False, True]))
    np.testing.assert_array_equal(few, [[0.25, 0, 1], [0.75, 1, 1]])
    assert np.isnan(rely.calibration_error(rely.equal_mass_bins(np.zeros(0), np.zeros(0, bool))))


def test_interval_coverage():
    rng = np.random.default_rng(0)
    rows = np.column_stack([np.full(20_000, 4.0), rng.standard_normal((20_000, 3)) * [1, 2, 0.5]])
    cover = rely.interval_coverage(rows)
    assert cover["all"] == cover["r 3–5"]
    assert cover["all"]["x"] == pytest.approx([0.68, 0.95], abs=0.01)
    assert cover["all"]["y"] == pytest.approx([0.381, 0.673], abs=0.015)  # normal within 0.994 / 2 and 1.96 / 2
    assert cover["all"]["radius"] == pytest.approx([0.953, 1.0], abs=0.01)
    assert cover["r 5–9"]["n"] == 0


def test_count_coverage():
    rng = np.random.default_rng(0)
    p = [rng.random(300) for _ in range(4000)]
    sd = [2 * np.sqrt(np.sum(q * (1 - q))) for q in p]
    count = rely.count_coverage([int((rng.random(300) < q).sum()) for q in p], p, sd)
    assert count["independent"] == pytest.approx([0.68, 0.95], abs=0.03)  # numbers are whole
    assert count["reported"] == pytest.approx([0.953, 1.0], abs=0.02)  # normal within 2 sd
    assert count["bias"] == pytest.approx(0, abs=0.01)
    assert rely.count_coverage([300] * 4000, p, sd)["reported"][1] < 0.01


def test_reliability_of_candidates():
    case = data.simulated_case("case", image(), table((20, 20, 5), (60, 60, 5), (-1, 80, 5)))
    sd = np.ones(4)
    p = np.array([0.75, 0.25, 0.02, 1.0])
    found = droplets(
        *((20.5, 20, 5.5), (60, 60, 5), (80, 20, 5), (0, 80, 5)),
        **{"x_sd": sd, "y_sd": sd, "radius_sd": np.array([0.1, 1, 1, 1]), "p_present": p},
    )
    figures = rely.reliability([case], [found])
    assert figures["n"] == 4
    assert figures["bins"] == [[0.25, 1, 1], [0.75, 1, 1], [1, 1, 1]]
    assert figures["ece_likely"] == pytest.approx((0.75 + 0.25) / 3)
    assert figures["ece"] == pytest.approx((0.75 + 0.25 + 0.02) / 4)
    assert figures["coverage"]["all"] == {"n": 1, "x": [1, 1], "y": [1, 1], "radius": [0, 0]}
    assert figures["count"]["bias"] == pytest.approx(2.02 / 2 - 1)  # one true center is outside


@pytest.mark.parametrize("name", ["log", "dog", "hough-skimage", "hough-opencv", "trackpy"])
@pytest.mark.parametrize("bright", [True, False])
def test_other_detectors_find_discs(name, bright):
    if package := {"hough-opencv": "cv2", "trackpy": "trackpy"}.get(name):
        pytest.importorskip(package)
    truth = droplets((30, 30, 8), (90, 40, 8), (50, 95, 8))
    v, u = np.mgrid[:120, :130]
    discs = sum(np.clip(8.5 - np.hypot(u - x, v - y), 0, 1) for x, y in zip(truth.x, truth.y, strict=True))
    pixels = np.repeat((discs * 0.5 + 0.2 if bright else 0.8 - discs * 0.5)[..., None], 3, -1).astype(np.float32)
    detector = next(d for d in detectors.DETECTORS if d.name == name)
    found = detector(nd.Image(pixels), 16.0)
    assert sorted(zip(found.x.round(-1), found.y.round(-1), strict=True)) == [(30, 30), (50, 100), (90, 40)]
    np.testing.assert_allclose(found.radius, 8, rtol=0.25)


def bench(tmp_path, *arguments):
    return detection.Bench(detection.parse(["--empty", "1", "--shared", str(tmp_path), *arguments]))


def found_by(name, find):
    return detectors.Detector(name, name, find)


def test_failures_are_no_zeros(tmp_path):
    def missing(image, diameter):
        raise ModuleNotFoundError("…", name="some_package")

    def fragile(image, diameter):
        if image.shape[0] == data.SIDE:
            raise ValueError("too large")
        return droplets()

    found = [found_by("missing", missing), found_by("fragile", fragile), found_by("blind", lambda *_: droplets())]
    figures = detection.compare(bench(tmp_path), ["empty"], found)
    assert figures["empty"]["missing"] == {"cannot_run": "no module some_package"}
    assert figures["empty"]["fragile"] == {"cannot_run": "ValueError: too large"}
    assert figures["empty"]["blind"]["dust"] == {"images": 1, "clean": 1}
    lines = {line.split("|")[1].strip(): line for line in report.markdown(figures).splitlines() if "|" in line}
    assert lines["missing"] == "| missing | cannot run | – | – | – | – | – |"
    assert lines["blind"] == "| blind | 1 of 1 | 1 of 1 | 1 of 1 | 1 of 1 | 1 of 1 | 100% |"
    assert "- fragile cannot run: ValueError: too large" in report.markdown(figures)


def test_worst_images_are_drawn(tmp_path):
    def anything(image, diameter):
        return droplets(*[(9, 9, 5)] * (image.shape[0] == data.SIDE))

    folder = tmp_path / "worst"
    detection.empty(bench(tmp_path, "--worst", str(folder)), found_by("a, b", anything))
    assert len(list((folder / "a_b").glob("*.png"))) == len(data.EMPTY_KINDS)
    assert (folder / "a_b" / "empty_dust_1_dust_0.png").stat().st_size > 1000


def test_written_figures_are_kept_unless_new(tmp_path):
    page = tmp_path / "results.md"
    old = {kind: {"images": 4, "clean": 1} for kind in data.EMPTY_KINDS}
    new = {kind: {"images": 4, "clean": 3} for kind in data.EMPTY_KINDS}
    detection.write({"empty": {"trackpy": old, "blobs": old}, "time": {"blobs": {"megapixel": float("nan")}}}, page)
    assert json.loads(page.with_suffix(".json").read_text())["time"] == {"blobs": {"megapixel": None}}
    detection.write({"empty": {"blobs": new}}, page)
    both = json.loads(page.with_suffix(".json").read_text())
    assert both["empty"] == {"blobs": new, "trackpy": old}
    assert list(both["empty"]) == ["blobs", "trackpy"]
    text = page.read_text()
    assert "| blobs | 3 of 4 |" in text
    assert "| trackpy | 1 of 4 |" in text
    assert "| blobs | – | – | – | – |" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--detectors", "network,eyes"], "eyes"),
        (["--worst", str(REPOSITORY / "docs")], "another folder"),
        (["--write", "results.txt"], "must end in .md"),
        (["--images", "0"], "at least 1"),
    ],
)
def test_wrong_use(arguments, message, capsys):
    with pytest.raises(SystemExit):
        detection.parse(arguments)
    assert message in capsys.readouterr().err


def test_a_kind_of_empty_images_that_is_newer_than_a_result_is_left_open():
    old = {"dust": {"images": 4, "clean": 1}}
    text = report.markdown({"empty": {"old": old, "new": {**old, "letters": {"images": 4, "clean": 4}}}})
    assert "| old | 1 of 4 | – | 25% |" in text
    assert "| new | 1 of 4 | 4 of 4 | 62% |" in text


def test_report_of_all_parts(tmp_path):
    case, found = random_case(0)
    pooled = data.pooled_scores([data.Pairs.of(case, found)])
    some = pooled["all"] | {"radius_bias": float("nan")}
    sets = {"paper_aerosol": {"images": {"one": some}, "mean": some}, "other": {"images": {"two": some}, "mean": some}}
    ones = np.ones(len(found))
    probable = nd.Droplets(found.x, found.y, found.radius, ones, ones, ones, p_present=0.9 * ones)
    figures = {
        "real": {"blobs": sets},
        "simulated": {"network": {"scenes": pooled}},
        "reliability": {"network": rely.reliability([case], [probable])},
        "time": {"blobs": {"megapixel": 0.5}},
    }
    text = report.markdown(figures)
    recall, f1 = f"{some['recall']:.3f}", f"{some['f1']:.3f}"
    assert f"| paper_aerosol | blobs | {recall} | – | – | – |" in text
    assert f"| other | blobs | {recall} | {some['precision']:.3f} | {f1} | – |" in text
    assert f"| paper_aerosol | one | {some['recall']:.2f} |" in text
    assert "| blobs | 0.50 | – | – | – |" in text
    report.save_reliability(figures["reliability"], tmp_path / "reliability.png")
    report.save_examples([case], [found], tmp_path / "examples.png")
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in ("reliability", "examples"))


def test_main_writes_what_it_prints(tmp_path, capsys):
    page = tmp_path / "results.md"
    options = ["--only", "empty", "--only", "real", "--empty", "1", "--detectors", "log", "--shared", str(tmp_path)]
    assert detection.main([*options, "--write", str(page)]) == 0
    printed = capsys.readouterr()
    assert "real: skipped" in printed.err
    assert "| LoG, scikit-image | 1 of 1 |" in page.read_text()
    assert page.read_text().strip() == printed.out.strip()
