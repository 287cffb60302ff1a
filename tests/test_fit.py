"""The whole fit against simulated truth, its contract, and what it says of bad input."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from drawn import vacant

import napari_droplets as nd
from napari_droplets.compare import compare, match

STEPS = 600
SDS = ["x_sd", "y_sd", "radius_sd", *(f"composition_{k}_sd" for k in range(3))]


@pytest.fixture(scope="module")
def simulated():
    return nd.simulate((96, 112), 26, radius=5, types=3, seed=11)


@pytest.fixture(scope="module")
def result(simulated):
    return nd.fit(simulated[0], steps=STEPS)


@pytest.fixture(scope="module")
def from_blobs(simulated):
    return nd.fit(simulated[0], steps=STEPS, detector="blobs")


@pytest.fixture(scope="module")
def from_points(simulated):
    """Started where a user may have clicked: near the droplets, two of them forgotten, and one where there is none."""
    truth, rng = simulated[1], np.random.default_rng(0)
    off = rng.normal(0, 0.15, (2, len(truth))) * truth.radius
    points = nd.Droplets(truth.x + off[0], truth.y + off[1], truth.radius * np.exp(rng.normal(0, 0.1, len(truth))))
    table = points[2:].to_dataframe()
    table.loc[len(table)] = [*vacant(truth, (96, 112)), 3.0]
    return nd.fit(simulated[0], table, steps=STEPS)


def test_droplets_are_those_simulated(simulated, result):
    score = compare(simulated[1], result.droplets)
    assert score.recall > 0.9
    assert score.precision > 0.9
    assert abs(score.radius_bias) < 0.1


@pytest.mark.parametrize("start", ["from_blobs", "from_points"])
def test_droplets_do_not_depend_on_the_start(simulated, result, start, request):
    other = request.getfixturevalue(start).droplets
    first = result.droplets
    i, j = match(first, other)
    assert len(i) == len(first) == len(other)
    for name in ("x", "y", "radius"):
        off = getattr(first, name)[i] - getattr(other, name)[j]
        sd = np.hypot(getattr(first, name + "_sd")[i], getattr(other, name + "_sd")[j])
        assert np.median(np.abs(off / sd)) < 1
        assert np.quantile(np.abs(off / sd), 0.9) < 3


def spread(truth, found):
    """Bias and spread of log radii, and the median error of centers in radii."""
    i, j = match(truth, found)
    ratio = np.log(found.radius[j] / truth.radius[i])
    away = np.hypot(found.x[j] - truth.x[i], found.y[j] - truth.y[i]) / truth.radius[i]
    return abs(np.median(ratio)), np.median(np.abs(ratio - np.median(ratio))), np.median(away)


@pytest.mark.parametrize(("start", "detector"), [("result", "network"), ("from_blobs", "blobs")])
def test_the_fit_is_no_worse_than_the_proposals(simulated, start, detector, request):
    truth = simulated[1]
    proposed = spread(truth, nd.detect(simulated[0], detector=detector))
    fitted = spread(truth, request.getfixturevalue(start).droplets)
    assert fitted[0] < max(proposed[0], 0.05)
    assert fitted[1] < proposed[1]
    assert fitted[2] < proposed[2]


def test_presence_and_misfit(result):
    table = result.table
    assert table["p_present"].between(0.5, 1).all()
    assert table["misfit"].between(0.5, 5).all()
    assert table["misfit"].median() < 2
    count = result.summary["count_mean"]
    assert count >= table["p_present"].sum() - 1e-6
    assert count == pytest.approx(len(table), abs=2)
    assert 0 <= result.summary["count_sd"] < 2


def test_min_probability_decides_who_is_reported(simulated):
    """More and fewer of the same candidates; the expected number is that of all of them."""
    few, many = (nd.fit(simulated[0], steps=50, min_probability=p) for p in (0.99, 0.1))
    assert (few.table["p_present"] >= 0.99).all()
    assert (many.table["p_present"] >= 0.1).all()
    assert len(few.table) < len(many.table)
    assert few.summary["count_mean"] == pytest.approx(many.summary["count_mean"])


def test_given_droplets_are_those_of_the_result(simulated):
    """Whatever the pixels say: one where there is nothing, and two on one droplet, stay as well."""
    truth = simulated[1]
    nothing, twin = vacant(truth, (96, 112)), (truth.x[0] + 0.5, truth.y[0])
    x, y = (np.append(getattr(truth, name), [nothing[k], twin[k]]) for k, name in enumerate("xy"))
    n = len(x)
    labels = {"note": np.arange(n).astype(str), "pinned": np.arange(n) == 3}
    given = nd.Droplets(x, y, np.append(truth.radius, [3.0, truth.radius[0]]), labels=labels)
    fit = nd.fit(simulated[0], given, population="given", steps=100)
    assert fit.droplets.p_present is None
    assert "p_present" not in fit.table
    assert fit.summary["count_mean"] is fit.summary["count_sd"] is None
    assert fit.table["note"].tolist() == labels["note"].tolist()
    np.testing.assert_array_equal(match(truth, fit.droplets[:-2]), [np.arange(n - 2)] * 2)
    loose = np.delete(fit.droplets.x_sd / fit.droplets.radius, 3)
    assert loose[-2] > 2 * np.median(loose)  # nothing holds it there


def test_pinned_droplets_stay_where_they_are(simulated):
    """One on a droplet, off its center, and one where there is none."""
    truth = simulated[1]
    off = pd.DataFrame({"x": [truth.x[0] + 1], "y": [truth.y[0] - 1], "radius": [truth.radius[0] * 0.8]})
    x, y = vacant(truth, (96, 112))
    nowhere = pd.DataFrame({"x": [x], "y": [y], "radius": [2.5]})
    table = pd.concat([off, nowhere], ignore_index=True)
    table["pinned"] = True
    fit = nd.fit(simulated[0], table, steps=100)
    places = ["x", "y", "radius"]
    np.testing.assert_allclose(fit.table.loc[:1, places], table[places], rtol=1e-6)
    assert fit.table.loc[:1, [f"{name}_sd" for name in places]].isna().all().all()
    for name, drawn in fit.sample(3).items():
        assert (np.ptp(drawn[:, :2], axis=0) == 0).all() == (name in places)
    assert fit.table.loc[:1, "p_present"].min() > 0.99
    assert fit.table["pinned"].tolist() == [True, True] + [False] * (len(fit.table) - 2)
    assert len(fit.table) > 20


def test_reconstruction_explains_the_image(simulated, result):
    assert result.reconstruction.shape == (96, 112, 3)
    assert result.reconstruction.dtype == np.float32
    assert result.summary["rmse"] < 0.04
    np.testing.assert_allclose(result.residual, simulated[0] - result.reconstruction, atol=1e-6)
    assert result.optics.noise_sd == pytest.approx(result.summary["rmse"], rel=0.3)


def test_composition_follows_the_dyes(simulated, result):
    """Components are arbitrary in order and scale: a linear map of them must give the dyes back."""
    from scipy.spatial import cKDTree

    truth, found = simulated[1], result.droplets
    away, match = cKDTree(np.stack([found.x, found.y], -1)).query(np.stack([truth.x, truth.y], -1))
    ok = away < truth.radius / 2
    known, got = truth.composition[ok], found.composition[match[ok]]
    design = np.column_stack([got, np.ones(len(got))])
    left = known - design @ np.linalg.lstsq(design, known, rcond=None)[0]
    assert 1 - left.var() / known.var() > 0.7


def test_table_has_the_columns_of_the_contract(result):
    want = ["x", "y", "radius", "x_sd", "y_sd", "radius_sd", "p_present"]
    want += [*(f"composition_{k}{s}" for s in ("", "_sd") for k in range(3))]
    want += ["class", "class_p", "misfit"]
    assert list(result.table.columns) == want
    assert (result.table.filter(like="_sd") > 0).all().all()
    assert result.table["composition_0"].between(0, 1).all()


def test_summary_is_plain_and_complete(result):
    summary = json.loads(json.dumps(result.summary, allow_nan=False))
    assert summary["n_droplets"] == len(result.table)
    assert set(summary["seconds"]) >= {"total", "import", "compile", "detect", "fit"}
    assert summary["settings"]["types"] == 3
    assert summary["image"]["shape"] == [96, 112, 3]
    parts = sum(v for k, v in summary["seconds"].items() if k != "total")
    assert parts == pytest.approx(summary["seconds"]["total"], abs=0.5)


def test_loss_falls(result):
    step, loss, seconds = result.losses.T
    assert step[-1] <= STEPS
    assert loss[-1] < loss[0]
    assert loss[-3:].mean() < loss[len(loss) // 2 :][:3].mean()
    assert (np.diff(seconds) > 0).all()


def test_samples_have_the_moments_of_the_table(result):
    draws = result.sample(4000, seed=1)
    np.testing.assert_allclose(draws["x"].mean(0), result.droplets.x, atol=0.1)
    np.testing.assert_allclose(draws["radius"].std(0), result.droplets.radius_sd, rtol=0.15)


def test_same_seed_same_result(simulated):
    first, second = (nd.fit(simulated[0], steps=100, seed=4).table for _ in range(2))
    pd.testing.assert_frame_equal(first, second)


def test_saved_and_read_back(result, tmp_path, simulated):
    result.save(tmp_path)
    back = nd.read(tmp_path)
    pd.testing.assert_frame_equal(back.table, result.table)
    for name, values in result.sample(3, seed=2).items():
        np.testing.assert_array_equal(back.sample(3, seed=2)[name], values)
    with pytest.raises(nd.InputError, match="not at hand"):
        _ = back.residual
    again = nd.read(tmp_path, image=simulated[0])
    np.testing.assert_allclose(again.residual, result.residual, atol=1e-6)
    assert nd.refit(again, again.table.drop(index=0), steps=50).summary["refit"]["removed"] == 1


def test_stopped_by_the_callback_keeps_what_was_reached(simulated):
    seen = []

    def stop(progress):
        seen.append(progress)
        return progress.step < 100

    result = nd.fit(simulated[0], steps=STEPS, callback=stop)
    assert result.summary["stopped"] == "cancelled"
    assert result.summary["steps"] == 100
    assert len(result.table) > 10
    assert [p.stage for p in seen][:2] == ["detect", "compile"]
    fits = [p for p in seen if p.stage == "fit"]
    assert np.isfinite([p.loss for p in fits]).all()
    assert fits[-1].seconds_left > 0
    assert fits[-1].n_droplets > 10


@pytest.mark.parametrize("moment", range(5))
def test_stopped_at_any_moment(simulated, moment):
    """While detecting, before the first step, after one or two chunks, before the posterior: always with error bars."""
    seen = []

    def stop(progress):
        seen.append(progress)
        return len(seen) - 1 != moment  # said once

    result = nd.fit(simulated[0], steps=50, callback=stop)
    done = [0, 0, 25, 50, 50][moment]
    assert result.summary["steps"] == done
    assert result.summary["stopped"] == ("cancelled" if done < 50 else "steps")
    table = result.table
    assert len(table) > 10
    assert (table[SDS] > 0).all().all()
    assert np.isfinite(table.to_numpy(float)).all()
    assert table["p_present"].between(0.5, 1).all()
    assert len(result.sample(2)["x"][0]) == len(table)


def test_snapshots_show_the_fit_as_it_is(simulated):
    shots = []

    def look(progress):
        if progress.stage == "fit" and progress.step in (50, 300):
            shots.append(progress.snapshot())

    nd.fit(simulated[0], steps=300, callback=look)
    errors = [float(np.sqrt(np.mean((picture - simulated[0]) ** 2))) for _, picture in shots]
    assert errors[1] < errors[0]
    assert len(shots[0][0]) > 10


def test_time_limit(simulated):
    result = nd.fit(simulated[0], steps=100_000, max_seconds=4)
    assert result.summary["stopped"] == "time"
    assert result.summary["steps"] < 100_000


def test_start_and_optics_of_an_earlier_fit(simulated, result):
    again = nd.fit(simulated[0], droplets=result.table[["x", "y", "radius"]], optics=result.optics, steps=100)
    fresh = nd.fit(simulated[0], steps=100)
    assert again.losses[-1, 1] < fresh.losses[-1, 1]


def test_grey_image_at_another_scale():
    image, truth = nd.simulate((128, 128), 30, radius=8, seed=6, gray=True)
    result = nd.fit((image * 4095).astype(np.uint16), steps=400, scale=0.5, types=1, noise=0.05, pixel_size_um=0.5)
    assert result.reconstruction.shape == (128, 128, 1)
    assert compare(truth, result.droplets).recall > 0.8
    np.testing.assert_allclose(result.table["x_um"], result.table["x"] / 2)
    assert result.optics.noise_sd == 0.05


def test_light_and_blur_are_looked_for_even_if_optics_are_not_learned():
    """Shipped optics of the wrong light and blur would shift all centers, and change all radii."""
    pixels, truth = nd.simulate((220, 220), 60, radius=5, noise=0.01, light_angle=47.0, blur=1.3, seed=11)
    found = nd.fit(pixels, learn_optics=False, steps=100).droplets
    i, j = match(truth, found)
    assert len(i) >= 58
    off = [(getattr(found, k)[j] - getattr(truth, k)[i]) / truth.radius[i] for k in ("x", "y", "radius")]
    assert np.abs(np.median(off, 1)).max() < 0.006


@pytest.mark.parametrize("renderer", ["blended", "layered"])
def test_other_renderers_fit_as_well(simulated, renderer):
    result = nd.fit(simulated[0], steps=300, renderer=renderer, types=4, composition="simplex", background="uniform")
    np.testing.assert_allclose(result.droplets.composition.sum(1), 1, atol=1e-3)
    assert result.losses[-1, 1] < result.losses[0, 1]
    unexplained = float(np.std(simulated[0] - np.median(simulated[0], (0, 1))))
    assert result.summary["rmse"] < 0.7 * unexplained


@pytest.fixture(scope="module")
def overlapping():
    """Droplets well over one another, and a fit of them."""
    image, truth = nd.simulate((96, 96), 26, radius=7, radius_spread=0.2, overlap=0.6, noise=0.01, seed=4)
    return image, truth, nd.fit(image, steps=200)


def test_overlap_ends_in_layers_because_they_explain_more(overlapping):
    image, truth, result = overlapping
    assert result.summary["renderer"] == "layered"
    assert result.optics.renderer == "layered"
    nearest = nd.fit(image, steps=200, renderer="nearest")
    assert nearest.summary["renderer"] == "nearest"
    assert result.summary["rmse"] < 0.97 * nearest.summary["rmse"]
    off, off_nearest = (compare(truth, fit.droplets).center_error for fit in (result, nearest))
    assert off < 1.1 * off_nearest


def test_what_follows_a_fit_keeps_its_renderer(overlapping, tmp_path):
    image, _, result = overlapping
    result.save(tmp_path)
    again = nd.refit(nd.read(tmp_path, image=image), result.table.drop(index=0), steps=25)
    assert again.summary["renderer"] == "layered"
    lone = nd.simulate((96, 96), 4, radius=7, overlap=0, seed=4)[0]
    held = nd.fit(lone, optics=result.optics, learn_optics=False, steps=25)
    assert held.summary["renderer"] == "layered"  # as on the image that these optics were learned on


def edited(result):
    """One droplet moved, one removed, one added."""
    table = result.table.drop(index=3).reset_index(drop=True)
    table.loc[0, ["x", "y"]] += 1.5
    return pd.concat([table, pd.DataFrame({"x": [56.0], "y": [48.0], "radius": [4.0]})], ignore_index=True)


def test_refit_keeps_what_was_edited(result):
    table = edited(result)
    again = nd.refit(result, table)
    assert len(again.table) == len(table)
    for row in (0, len(table) - 1):
        assert again.table.loc[row, ["x", "y", "radius"]].tolist() == table.loc[row, ["x", "y", "radius"]].tolist()
        assert again.table.loc[row, "pinned"]
        assert again.table.loc[row, "p_present"] == 1
        assert np.isfinite(again.table.loc[row, "misfit"])
        assert again.table.loc[row, "misfit"] != table.loc[row, "misfit"]
    assert again.table["pinned"].sum() == 2
    assert np.isfinite(again.table.loc[len(table) - 1, "composition_0"])
    assert again.summary["refit"]["edited"] == 2
    assert again.summary["refit"]["removed"] == 2  # the moved droplet is no longer where it was


def test_refit_sorts_what_it_touched_into_the_classes_of_the_fit(result):
    table = edited(result)
    chosen = table.index[table["class"].notna()][-1]  # by the user, against what the fit says
    table["class"] = table["class"].astype(object)
    table.loc[chosen, "class"] = 99
    again = nd.refit(result, table, steps=50)
    assert (again.table["class"] == 99).sum() == 1
    assert again.table["class"].isin([99, *range(len(result.summary["classes"]))]).all()
    assert again.table["class_p"].between(0, 1).all()
    assert len(again.summary["classes"]) == len(result.summary["classes"])
    assert sum(c["proportion"] for c in again.summary["classes"]) == pytest.approx(1)
    bare = nd.refit(result, table[["x", "y", "radius"]], steps=50).table
    assert bare["class"].isin(range(len(result.summary["classes"]))).all()


def test_refit_leaves_the_rest_alone(result):
    table = edited(result)
    again = nd.refit(result, table)
    untouched = np.hypot(table["x"] - 56, table["y"] - 48) > 40
    moved = np.hypot(table["x"] - table.loc[0, "x"], table["y"] - table.loc[0, "y"]) > 40
    gone = result.table.loc[3]
    removed = np.hypot(table["x"] - gone["x"], table["y"] - gone["y"]) > 40
    far = untouched & moved & removed
    assert far.sum() > 0
    columns = list(result.table.columns)
    pd.testing.assert_frame_equal(again.table.loc[far, columns], table.loc[far, columns].astype({"class": int}))
    assert again.optics.weights.keys() == result.optics.weights.keys()
    for name, weight in again.optics.weights.items():
        np.testing.assert_array_equal(weight, result.optics.weights[name])
    rows, draws = np.flatnonzero(far), again.sample(2000)
    np.testing.assert_allclose(draws["x"].std(0)[rows], table.loc[far, "x_sd"], rtol=0.1)
    np.testing.assert_allclose(draws["radius"].mean(0)[rows], table.loc[far, "radius"], rtol=0.02)


def test_a_refit_can_be_saved_and_read(result, tmp_path):
    again = nd.refit(result, edited(result), steps=50)
    again.save(tmp_path)
    pd.testing.assert_frame_equal(nd.read(tmp_path).table, again.table)


def test_refit_in_a_region(result):
    x0, y0 = result.table["x"].min(), result.table["y"].min()
    region = (x0 - 1, y0 - 1, x0 + 40, y0 + 40)
    again = nd.refit(result, result.table, region)
    t, columns = result.table, ["x", "y", "radius"]
    outside = ~(t["x"].between(region[0], region[2]) & t["y"].between(region[1], region[3]))
    pd.testing.assert_frame_equal(again.table.loc[outside, columns], t.loc[outside, columns])
    assert (again.table.loc[~outside, "x"] != t.loc[~outside, "x"]).all()
    with pytest.raises(nd.InputError, match="region"):
        nd.refit(result, result.table, (500, 500, 600, 600))


BAD_SETTINGS = {
    "types": [0, 17, 2.5, "3"],
    "diameter": [0, -3, 0.5, float("nan")],
    "seed": [-1, 0.5],
    "composition": ["mixed"],
    "background": [None],
    "population": ["grown"],
    "min_probability": [-0.1, 1.5],
    "renderer": ["farthest"],
    "noise": [0, 2],
    "steps": [0, -5],
    "max_seconds": [0, float("inf")],
    "scale": [0, 100],
    "pixel_size_um": [0, -1],
    "channels": [[0, 1], [0.5], "rgb", []],
    "typos": [1],
}


@pytest.mark.parametrize(("name", "value"), [(k, v) for k, values in BAD_SETTINGS.items() for v in values])
def test_bad_settings_are_named(simulated, name, value):
    with pytest.raises(nd.InputError, match=name):
        nd.fit(simulated[0], **{name: value})


def test_numpy_numbers_are_settings():
    from napari_droplets.settings import Settings

    chosen = Settings(types=np.int64(3), noise=np.float32(0.5), channels=np.array([0, 1, 2]))
    assert json.loads(json.dumps(asdict(chosen))) == asdict(Settings(types=3, noise=0.5, channels=[0, 1, 2]))


def test_refit_may_not_change_what_the_droplets_mean(result):
    with pytest.raises(nd.InputError, match="background"):
        nd.refit(result, result.table, background="uniform")


def test_simplex_needs_two_types(simulated):
    with pytest.raises(nd.InputError, match="types"):
        nd.fit(simulated[0], types=1, composition="simplex")


def test_bad_images_are_named():
    for image, says in [
        (np.zeros((64, 64)), "constant"),
        (np.full((64, 64), np.nan), "NaN"),
        (np.zeros((1, 1)), "small"),
        (np.zeros((0, 5)), "empty"),
        (np.zeros((4, 64, 64, 3)), "dimensions"),
        (np.random.default_rng(0).random((64, 64, 5)), "channels"),
    ]:
        with pytest.raises(nd.InputError, match=says):
            nd.fit(image)


@pytest.mark.parametrize("chosen", [{}, {"detector": "blobs"}, {"population": "given"}])
def test_no_droplets_found(chosen):
    image = 0.5 + 0.01 * np.random.default_rng(0).standard_normal((64, 64, 3))
    with pytest.raises(nd.InputError, match="no droplets found"):
        nd.fit(image, **chosen)


def test_droplets_cut_by_the_corner_can_be_refitted():
    """A small one there sees no whole tile of the image."""
    image, truth = nd.simulate((60, 60), 8, radius=4, seed=2)
    fit = nd.fit(image, truth.to_dataframe()[["x", "y", "radius"]], population="given", steps=50)
    table = pd.concat([fit.table, pd.DataFrame({"x": [59.0], "y": [59.0], "radius": [0.8]})], ignore_index=True)
    again = nd.refit(fit, table, region=(58, 58, 60, 60), steps=50)
    assert again.summary["refit"]["refitted"] == 1
    assert np.isfinite(again.table["misfit"]).all()


def test_bad_starts_are_named(simulated, result):
    image = simulated[0]
    with pytest.raises(nd.InputError, match="no column radius"):
        nd.fit(image, pd.DataFrame({"x": [1.0], "y": [1.0]}))
    with pytest.raises(nd.InputError, match="empty"):
        nd.fit(image, pd.DataFrame({"x": [], "y": [], "radius": []}))
    with pytest.raises(nd.InputError, match=r"row 1 .* outside"):
        nd.fit(image, pd.DataFrame({"x": [1.0, 900.0], "y": [1.0, 5.0], "radius": [3.0, 3.0]}))
    with pytest.raises(nd.InputError, match="x in row 0"):
        nd.fit(image, nd.Droplets([np.nan], [5.0], [3.0]))
    with pytest.raises(nd.InputError, match="x_sd in row 0"):
        nd.fit(image, nd.Droplets([9.0], [5.0], [3.0], x_sd=[0.0], radius_sd=[0.1]))
    with pytest.raises(nd.InputError, match="types=3"):
        nd.fit(image, optics=result.optics, types=2)
    with pytest.raises(nd.InputError, match="channels"):
        nd.fit(image[..., 0], optics=result.optics)
    with pytest.raises(nd.InputError, match="not at hand"):
        nd.refit(replace(result, image=None), result.table)


def test_a_series_shares_optics_and_classes():
    """The second image has the first one's optics and classes; what is done is there when a later image fails."""
    slides = [nd.simulate((96, 96), 16, types=2, radius=5, seed=seed)[0] for seed in (3, 4)]
    series = nd.fit_series([*slides, "missing.png"], types=2, classes=2, steps=50)
    first, second = next(series), next(series)
    with pytest.raises(nd.InputError, match=r"missing\.png"):
        next(series)
    for name, weights in first.optics.weights.items():
        np.testing.assert_array_equal(second.optics.weights[name], weights)
    assert first.optics.classes == first.summary["class_mixture"]
    for key in ("mean", "covariance"):
        assert second.summary["class_mixture"][key] == first.summary["class_mixture"][key]
    assert second.summary["class_mixture"]["weight"] != first.summary["class_mixture"]["weight"]
    assert not second.summary["settings"]["learn_optics"]
    table = first.table
    table.loc[0, "x"] += 1
    assert nd.refit(first, table, steps=25).optics.classes == first.optics.classes
