"""The whole fit against simulated truth, its contract, and what it says of bad input."""

import json
from dataclasses import asdict, replace
from types import SimpleNamespace

import jax
import numpy as np
import pandas as pd
import pytest
from drawn import discs, lattice, vacant
from scipy.stats import norm

import napari_droplets as nd
from napari_droplets.compare import compare, match
from napari_droplets.inference import ahead, loop
from napari_droplets.inference.loop import CYCLE, LEARNING_RATE, Schedule
from napari_droplets.inference.prepare import prepare
from napari_droplets.inference.steps import evidence
from napari_droplets.model import rendering
from napari_droplets.training.scenes.physical import physical_image

PLACES = ["x", "y", "radius"]
SDS = ["x_sd", "y_sd", "radius_sd", *(f"composition_{k}_sd" for k in range(3))]


def errors(truth, found):
    """Shift (2,) in pixels, bias of radii, distances and offsets (N, 2) of centers in radii, of droplets matched."""
    i, j = match(truth, found)
    off = np.stack([found.x[j] - truth.x[i], found.y[j] - truth.y[i]], -1)
    bias = np.median(found.radius[j] / truth.radius[i]) - 1
    relative = off / truth.radius[i, None]
    return np.median(off, 0), bias, np.hypot(*relative.T), relative


def check_places(truth, fit, scatter=0.035):
    """Light from one side hides where centers are: their common error is as told, and the rest is small."""
    i, j = match(truth, fit.droplets)
    off = np.stack([fit.droplets.x[j] - truth.x[i], fit.droplets.y[j] - truth.y[i]], -1) / truth.radius[i, None]
    common = np.median(off, 0)
    assert np.abs(common).max() < 2.5 * fit.summary["systematic"]["shift_radii"]
    assert np.median(np.hypot(*(off - common).T)) < scatter


# plain discs: their truth is exact


@pytest.mark.parametrize(("inside", "outside"), [(0.9, 0.05), (0.3, 0.75)])
def test_plain_discs_are_as_large_as_they_are(inside, outside):
    truth = lattice((112, 112), [4.0, 6.0, 9.0], seed=1)
    image = discs(truth.x, truth.y, truth.radius, (112, 112), inside, outside, noise=0.01)
    result = nd.fit(image, steps=250)
    shift, bias, away, _ = errors(truth, result.droplets)
    assert len(result.droplets) == len(truth) == len(away)
    assert abs(bias) <= 0.005
    assert np.abs(shift).max() <= 0.03
    assert np.quantile(away, 0.9) < 0.02
    assert result.summary["noise_sd"] == pytest.approx(0.01, rel=0.1)
    assert result.summary["outline_trust"] > 0.9


@pytest.mark.parametrize("seed", [1, 2])
def test_droplets_that_refract_and_absorb_are_where_they_are(seed):
    """Drawn by a simulator that knows no optics network."""
    image, truth = physical_image(np.random.default_rng(seed), 128, 128)
    clear = nd.detect(image)
    result = nd.fit(image, steps=250)
    _, _, away, _ = errors(truth, result.droplets)
    assert compare(truth, result.droplets).f1 >= compare(truth, clear).f1 - 1e-9
    assert np.median(away) <= 0.02


# an ordinary image, fitted as it comes


def test_all_droplets_are_found_and_none_that_is_not_there(simulated, fitted):
    score = compare(simulated[1], fitted.droplets)
    assert score.recall == 1
    assert score.precision == 1
    assert len(fitted.droplets) >= len(nd.detect(simulated[0]))
    _, bias, *_ = errors(simulated[1], fitted.droplets)
    assert abs(bias) < 0.02
    check_places(simulated[1], fitted)


def test_it_settles(fitted):
    assert fitted.summary["stopped"] == "settled"


def test_the_fit_is_no_worse_than_the_proposals(simulated, fitted):
    """Light from one side hides where centers are: there the common error is that of the proposals."""
    proposed, found = (errors(simulated[1], d) for d in (nd.detect(simulated[0]), fitted.droplets))
    assert abs(found[1]) < abs(proposed[1]) + 0.01
    scatter = [np.median(np.hypot(*(off - np.median(off, 0)).T)) for *_, off in (proposed, found)]
    assert scatter[1] < scatter[0]


def test_fits_place_centers_better_than_they_were_proposed():
    """With their common error."""
    away = []
    for seed in range(3):
        image, truth = nd.simulate((128, 128), 24, radius=6, seed=40 + seed)
        found = nd.detect(image), nd.fit(image).droplets
        away.append([np.median(errors(truth, droplets)[2]) for droplets in found])
    proposed, fitted = np.mean(away, 0)
    assert fitted < proposed


def test_the_noise_is_told(simulated, fitted):
    """That of the simulation, and all that the reconstruction leaves."""
    assert fitted.summary["noise_sd"] == pytest.approx(0.02, rel=0.1)
    assert fitted.optics.noise_sd == fitted.summary["noise_sd"]
    assert fitted.summary["rmse"] < 1.25 * fitted.summary["noise_sd"]


def test_presence_and_count(fitted):
    p, count, sd = fitted.table["p_present"], fitted.summary["count_mean"], fitted.summary["count_sd"]
    assert p.min() > 0.8
    assert p.median() > 0.95
    inside = 1.0  # a center at the border counts by the chance that it is in the image
    for name, size in (("x", 112), ("y", 96)):
        center, own = fitted.table[[name, f"{name}_sd"]].to_numpy().T
        inside = inside * (norm.cdf((size - 0.5 - center) / own) - norm.cdf((-0.5 - center) / own))
    assert count == pytest.approx((p * inside).sum(), rel=1e-4)
    assert abs(count - 26) < 2 * sd + 0.1
    assert sd < 0.08 * 26
    assert fitted.table["misfit"].between(0.7, 2.5).all()


def test_reconstruction_explains_the_image(simulated, fitted):
    assert fitted.reconstruction.shape == (96, 112, 3)
    assert fitted.reconstruction.dtype == np.float32
    np.testing.assert_allclose(fitted.residual, simulated[0] - fitted.reconstruction, atol=1e-6)


def test_reconstruction_shows_the_droplets_of_the_table_and_no_others(simulated):
    image, truth = simulated
    unsure = nd.Droplets(truth.x, truth.y, truth.radius, p_present=np.full(len(truth), 0.6))
    everyone = nd.fit(image, droplets=unsure, steps=50, min_probability=0.0)
    limit = everyone.table["p_present"].quantile(0.3)
    result = nd.fit(image, droplets=unsure, steps=50, min_probability=limit)
    some = everyone.table[(everyone.table["p_present"] < limit) & ~everyone.table["cut_by_border"]]
    assert len(some) > 3
    assert len(result.table) < len(everyone.table)
    here = some["y"].round().astype(int), some["x"].round().astype(int)
    assert np.abs(everyone.residual[here]).max() < 0.1
    assert np.abs(result.residual[here]).max(-1).min() > 0.1


def test_composition_follows_the_dyes(simulated, fitted):
    """Components are arbitrary in order and scale: a linear map of them must give the dyes back."""
    i, j = match(simulated[1], fitted.droplets)
    known, got = simulated[1].composition[i], fitted.droplets.composition[j]
    design = np.column_stack([got, np.ones(len(got))])
    left = known - design @ np.linalg.lstsq(design, known, rcond=None)[0]
    assert 1 - left.var() / known.var() > 0.75


def test_table_has_the_columns_of_the_contract(fitted):
    want = [*PLACES, "x_sd", "y_sd", "radius_sd", "p_present"]
    want += [*(f"composition_{k}{s}" for s in ("", "_sd") for k in range(3))]
    want += ["class", "class_p", "misfit", "cut_by_border"]
    assert list(fitted.table.columns) == want
    assert (fitted.table.filter(like="_sd") > 0).all().all()
    assert fitted.table["composition_0"].between(0, 1).all()


def test_summary_is_plain_and_complete(fitted):
    summary = json.loads(json.dumps(fitted.summary, allow_nan=False))
    assert summary["n_droplets"] == len(fitted.table)
    assert set(summary["seconds"]) >= {"total", "import", "compile", "detect", "fit"}
    assert summary["settings"]["types"] == 3
    assert summary["image"]["shape"] == [96, 112, 3]
    parts = sum(v for k, v in summary["seconds"].items() if k != "total")
    assert parts == pytest.approx(summary["seconds"]["total"], abs=0.5)


def test_loss_falls(fitted):
    step, loss, seconds = fitted.losses.T
    assert step[-1] == fitted.summary["steps"] <= 600
    assert loss[-1] < loss[0]
    assert loss[-1] <= loss[:-1].min() + 0.1 * np.ptp(loss)  # going back to the proposals on the average costs a little
    assert (np.diff(seconds) > 0).all()


def test_deviations_hold_the_common_error_and_agree_with_the_guide(fitted):
    guide, told = fitted.guide, fitted.summary["systematic"]
    assert np.sqrt(np.mean(guide["systematic"][:2] ** 2)) == pytest.approx(told["shift_radii"], rel=1e-5)
    assert guide["systematic"][2] == pytest.approx(told["radius_percent"] / 100, rel=1e-5)
    own = np.sqrt(np.sum(guide["droplets_tril"].astype(float) ** 2, -1))
    radius = fitted.droplets.radius
    for k, name in enumerate(["x_sd", "y_sd"]):
        expected = np.hypot(own[:, k] * guide["anchor"][:, 2], guide["systematic"][k] * radius)
        np.testing.assert_allclose(getattr(fitted.droplets, name), expected, rtol=1e-4)
    expected = radius * np.hypot(own[:, 2], told["radius_percent"] / 100)
    np.testing.assert_allclose(fitted.droplets.radius_sd, expected, rtol=0.01)
    where = guide["anchor"][:, :2] + guide["anchor"][:, 2:] * guide["droplets"][:, :2]
    np.testing.assert_allclose(where, fitted.table[["x", "y"]], atol=1e-4)


def test_samples_have_the_moments_of_the_table_and_share_an_error(fitted):
    """Two droplets of one draw err together as much as the common part says."""
    draws = fitted.sample(6000, seed=1)
    for name in PLACES:
        mean, sd = getattr(fitted.droplets, name), getattr(fitted.droplets, name + "_sd")
        np.testing.assert_allclose(draws[name].mean(0), mean, atol=0.08 * sd.max() + 0.01)
        np.testing.assert_allclose(draws[name].std(0), sd, rtol=0.06)
    np.testing.assert_allclose(draws["composition"].mean(0), fitted.droplets.composition, atol=0.02)
    radius, common = np.log(draws["radius"]), fitted.guide["systematic"][2]
    own = np.sqrt(np.sum(fitted.guide["droplets_tril"][:, 2] ** 2, -1))
    share = common**2 / np.sqrt(np.outer(common**2 + own**2, common**2 + own**2))
    apart = ~np.eye(len(share), dtype=bool)
    np.testing.assert_allclose(np.corrcoef(radius.T)[apart], share[apart], atol=0.06)
    assert share[apart].mean() > 0.3


def test_saved_and_read_back(fitted, tmp_path, simulated):
    fitted.save(tmp_path)
    back = nd.read(tmp_path)
    pd.testing.assert_frame_equal(back.table, fitted.table)
    for name, values in fitted.sample(3, seed=2).items():
        np.testing.assert_array_equal(back.sample(3, seed=2)[name], values)
    with pytest.raises(nd.InputError, match="not at hand"):
        _ = back.residual
    np.testing.assert_allclose(nd.read(tmp_path, image=simulated[0]).residual, fitted.residual, atol=1e-6)


# optics held: a few passes over the pixels, and nothing is traced again


@pytest.fixture
def traced(monkeypatch):
    """A list that grows by one each time that the model is traced."""
    times, change = [], rendering.color_change

    def noted(weights, inputs, composition):
        times.append(inputs.shape)
        return change(weights, inputs, composition)

    monkeypatch.setattr(rendering, "color_change", noted)
    return times


def test_held_optics_take_a_few_passes(fitted, traced, monkeypatch):
    """On the next image of a series."""
    image, truth = nd.simulate((112, 96), 24, radius=5, types=3, seed=12)
    passes, steps = [], []
    measure, chunk = evidence.pass_over, loop.steps_of
    monkeypatch.setattr(evidence, "pass_over", lambda *a: passes.append(0) or measure(*a))
    monkeypatch.setattr(loop, "steps_of", lambda *a: steps.append(0) or chunk(*a))
    result = nd.fit(image, optics=fitted.optics, learn_optics=False)
    assert not traced
    assert len(passes) <= 18
    assert not steps
    assert result.summary["stopped"] == "settled"
    assert compare(truth, result.droplets).f1 == 1
    for name, weights in result.optics.weights.items():
        np.testing.assert_array_equal(weights, fitted.optics.weights[name])
    assert result.optics.classes == fitted.optics.classes
    assert result.optics.systematic == fitted.optics.systematic  # what is wrong with them is so here
    assert result.guide["systematic"] == pytest.approx(fitted.optics.systematic)
    _, bias, *_ = errors(truth, result.droplets)
    assert abs(bias) < 2 * result.summary["systematic"]["radius_percent"] / 100
    check_places(truth, result)


def test_optics_of_an_earlier_fit_are_where_the_next_one_starts(simulated, fitted):
    again = nd.fit(simulated[0], droplets=fitted.table[PLACES], optics=fitted.optics, steps=50)
    for step in (0, 50):  # droplets have settled when optics are learned on
        mine, others = (losses[losses[:, 0] == step, 1].min() for losses in (again.losses, fitted.losses))
        assert mine < others
    assert compare(simulated[1], again.droplets).f1 == 1


def test_a_droplet_far_off_its_place_finds_it_although_all_others_are_still(simulated, fitted):
    table = fitted.table[PLACES].copy()
    table.loc[5, "x"] += 0.7 * table.radius[5]
    table.loc[5, "radius"] *= 2.2
    result = nd.fit(simulated[0], table, optics=fitted.optics, learn_optics=False, population="given")
    moved, stayed = result.table.loc[5], fitted.table.loc[5]
    assert np.hypot(moved.x - stayed.x, moved.y - stayed.y) < stayed.x_sd
    assert moved.radius == pytest.approx(stayed.radius, rel=0.03)


def test_optics_that_are_learned_on_do_not_follow_droplets_that_are_not_in_place_yet(fitted):
    rng = np.random.default_rng(0)
    pixels = fitted.reconstruction + rng.normal(0, 0.01, fitted.reconstruction.shape).astype(np.float32)
    pixels = pixels.clip(0, 1)
    table = fitted.table[PLACES].copy()
    radius = table.radius.to_numpy()
    table[["x", "y"]] += 0.2 * radius[:, None] * rng.standard_normal((len(table), 2))
    table["radius"] *= np.exp(0.15 * rng.standard_normal(len(table)))
    again = nd.fit(pixels, table, optics=fitted.optics, population="given", steps=100)
    shift, bias, _, relative = errors(fitted.droplets, again.droplets)
    assert np.abs(shift).max() < 0.03 * np.median(radius)
    assert abs(bias) < 0.02
    assert np.median(np.abs(relative - np.median(relative, 0))) < 0.005


def test_a_table_of_a_fit_does_not_count_its_pixels_twice(simulated, fitted):
    """Its deviations came from these very pixels: as a prior they would make the next ones smaller."""
    held = {"optics": fitted.optics, "learn_optics": False, "population": "given"}
    plain = nd.fit(simulated[0], fitted.table[PLACES], **held)
    again = nd.fit(simulated[0], fitted.table, **held)
    for k in range(3):
        first, second = (np.sqrt(np.sum(f.guide["droplets_tril"][:, k] ** 2, -1)) for f in (plain, again))
        assert np.median(second / first) > 0.95
    assert np.median(again.guide["prior_sd"][:, 0] / again.guide["droplets_tril"][:, 0, 0]) > 3


# who is in it


def test_given_droplets_stay_pinned_ones_in_place_and_known_compositions_as_they_are(simulated):
    """Whatever the pixels say: one where there is nothing, and two on one droplet, stay as well."""
    truth = simulated[1]
    nothing, twin = vacant(truth, (96, 112)), (truth.x[0] + 0.5, truth.y[0])
    x, y = (np.append(getattr(truth, name), [nothing[k], twin[k]]) for k, name in enumerate("xy"))
    n = len(x)
    known = {f"known_composition_{k}": np.where(np.arange(n) < 4, [0.2, 0.5, 0.9][k], np.nan) for k in range(3)}
    labels = {"note": np.arange(n).astype(str), "pinned": np.arange(n) == 3, **known}
    given = nd.Droplets(x, y, np.append(truth.radius, [3.0, truth.radius[0]]), labels=labels)
    result = nd.fit(simulated[0], given, population="given", steps=50)
    assert result.droplets.p_present is None
    assert result.summary["count_mean"] is result.summary["count_sd"] is None
    assert result.table["note"].tolist() == labels["note"].tolist()
    table = result.table
    np.testing.assert_allclose(table.loc[3, PLACES].astype(float), [x[3], y[3], given.radius[3]], rtol=1e-6)
    assert table.loc[3, ["x_sd", "y_sd", "radius_sd"]].isna().all()
    assert np.ptp(result.sample(3)["x"][:, 3]) == 0
    assert np.ptp(result.sample(3)["x"][:, 4]) > 0
    made_of = result.droplets.composition
    np.testing.assert_allclose(made_of[:4], np.tile([0.2, 0.5, 0.9], (4, 1)), atol=1e-9)
    assert (np.abs(made_of[4:] - [0.2, 0.5, 0.9]) > 1e-3).any(1).all()
    loose = np.delete(result.droplets.x_sd / result.droplets.radius, 3)
    assert loose[-2] > 2 * np.median(loose)  # nothing holds it there


def test_common_error_of_held_optics_is_told_of_points_without_deviations(simulated, fitted):
    points = nd.Droplets(simulated[1].x, simulated[1].y, simulated[1].radius)
    held = nd.fit(simulated[0], points, fitted.optics, population="given", learn_optics=False)
    np.testing.assert_allclose(held.optics.systematic, fitted.optics.systematic, rtol=1e-6)
    assert held.summary["outline_trust"] == 0


def test_points_of_a_user_are_brought_together_with_those_detected(simulated, fitted):
    """Clicked near the droplets, two of them forgotten, and one where there is none."""
    truth, rng = simulated[1], np.random.default_rng(0)
    off = rng.normal(0, 0.15, (2, len(truth))) * truth.radius
    points = nd.Droplets(truth.x + off[0], truth.y + off[1], truth.radius * np.exp(rng.normal(0, 0.1, len(truth))))
    table = points[2:].to_dataframe()
    table.loc[len(table)] = [*vacant(truth, (96, 112)), 3.0]
    result = nd.fit(simulated[0], table, optics=fitted.optics, learn_optics=False)
    score = compare(truth, result.droplets)
    assert score.recall == score.precision == 1


def test_min_probability_decides_who_is_reported(simulated, fitted):
    held = {"optics": fitted.optics, "learn_optics": False}
    few, many = (nd.fit(simulated[0], min_probability=p, **held) for p in (0.9995, 0.001))
    assert (few.table["p_present"] >= 0.9995).all()
    assert len(few.table) < len(many.table)
    assert few.summary["count_mean"] == pytest.approx(many.summary["count_mean"])


@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_droplets(n):
    truth = nd.Droplets([24.3, 50.2][:n], [20.7, 40.1][:n], [9.0, 6.0][:n])
    image = discs(truth.x, truth.y, truth.radius, (60, 72), 0.3, 0.7, noise=0.01)
    result = nd.fit(image, steps=50)
    assert len(result.droplets) == n
    assert np.isfinite(result.table[[*PLACES, *SDS]].to_numpy()).all()
    assert np.abs(result.droplets.x - truth.x).max() < 0.3


# stopping


@pytest.mark.parametrize("moment", [0, 1, 2, 4])
def test_stopped_at_any_moment_it_keeps_what_was_found(simulated, moment):
    """While detecting, when droplets are detected, before the first step, in the middle: always with error bars."""
    seen = []

    def stop(progress):
        seen.append(progress)
        return len(seen) - 1 != moment  # said once

    result = nd.fit(simulated[0], steps=150, callback=stop)
    assert result.summary["stopped"] == "cancelled"
    assert result.summary["steps"] == (0 if moment < 4 else 100)
    assert [p.stage for p in seen][:3] == ["detect", "detect", "compile"]
    assert [p.n_droplets for p in seen][:2] == [0, 26]
    assert len(seen[1].snapshot()[0]) == 26  # where the fit starts
    table = result.table
    assert len(table) == 26
    assert (table[SDS] > 0).all().all()
    assert np.isfinite(table.to_numpy(float)).all()
    fits = [p for p in seen if p.stage == "fit"]
    assert all(np.isfinite(p.loss) and p.n_droplets == 26 and p.seconds_left >= 0 for p in fits)


def test_a_time_limit_is_kept(simulated, monkeypatch):
    monkeypatch.setattr(loop, "SETTLED_GAIN", -np.inf)  # it never settles by itself
    result = nd.fit(simulated[0], steps=100_000, max_seconds=4)
    assert result.summary["stopped"] == "time"
    assert result.summary["seconds"]["total"] < 8
    assert len(result.table) == 26


def test_snapshots_show_the_fit_as_it_is(simulated):
    shots = []

    def look(progress):
        if progress.stage in ("fit", "posterior"):
            shots.append(progress.snapshot())

    nd.fit(simulated[0], steps=150, callback=look, scale=1.0)
    left = [float(np.sqrt(np.mean((drawn - simulated[0]) ** 2))) for _, drawn in shots]
    assert len(left) == 4
    assert left[-1] < left[0]
    assert all(len(droplets) == 26 for droplets, _ in shots)


class Reached(SimpleNamespace):
    """Stands for the state of a fit whose droplets are all as the model has them."""

    def _replace(self, **changes):
        return Reached(**vars(self) | changes)


@pytest.mark.parametrize("beside", [0, 150])
def test_in_a_crowd_that_glows_the_background_is_read_between_outlines(beside):
    """Nothing of it lies beyond the reach of glows, and from nothing it would fall for the color of droplets."""
    shape = (145, 145)
    truth = lattice(shape, [9.0], gap=1.15)
    image = discs(truth.x, truth.y, truth.radius, shape, 0.35, 0.8, noise=0.01)
    settings = nd.Settings(types=1)
    start = nd.Droplets(truth.x, truth.y, truth.radius, p_present=np.ones(len(truth)))
    image = np.pad(image, [(0, 0), (0, beside), (0, 0)])  # what is beside it does not count
    counted = np.arange(image.shape[1]) < 145 if beside else None
    counted = counted if counted is None else np.broadcast_to(counted, image.shape[:2])
    setup, state = prepare(nd.Image(image), start, None, settings, counted)
    setup = setup._replace(glow=True)
    wrong = state.ground._replace(field=np.full_like(state.ground.field, 0.8) - 0.02)
    ground = loop.grounded(setup, state._replace(ground=wrong)).ground
    assert np.abs(ground.field[:, :145] - 0.8).max() < 0.02
    covered = np.min(
        np.hypot(*(np.mgrid[:145, : 145 + beside][..., None] - np.stack([truth.y, truth.x])[:, None, None])), -1
    )
    assert ground.empty.mean() < 0.02  # what counts as empty is beyond the glows all the same
    assert not ground.empty[covered < 1.8 * 9].any()


def test_radii_proposed_too_large_for_small_droplets_and_too_small_for_large_ones_do_not_stay_so():
    """Looks that may depend on the radius in any way make up for it: with them a trend of -0.087 is left."""
    image, truth = nd.simulate((256, 256), 90, radius=6, radius_spread=0.4, types=2, seed=4)
    radius = truth.radius * (truth.radius / 6) ** -0.1
    sd = dict.fromkeys(("x_sd", "y_sd", "radius_sd"), 0.05 * radius)
    start = nd.Droplets(truth.x, truth.y, radius, p_present=np.full(len(truth), 0.99), **sd)
    found = nd.fit(image, droplets=start, types=2, population="given").droplets
    i, j = match(truth, found)
    assert len(i) == 90
    trend = np.polyfit(np.log(truth.radius[i]), np.log(found.radius[j] / truth.radius[i]), 1)[0]
    assert abs(trend) < 0.07  # 0.056


def test_the_rate_falls_over_a_cycle_and_the_fit_has_settled_if_its_last_round_gained_little(monkeypatch):
    monkeypatch.setattr(loop, "intensities", lambda *_: 10.0)
    schedule = Schedule()
    rates, settled = [], []
    for k in range(2 * CYCLE):
        rates.append(schedule.rate)
        loss = -1000.0 * min(k, CYCLE + 3)  # gains to the end of the first cycle, not to that of the second
        settled.append(schedule.observe(None, Reached(step=k), loss, loss)[1])
    assert rates[0] == LEARNING_RATE == 2 * rates[CYCLE]
    assert (np.diff(rates[:CYCLE]) < 0).all()
    assert rates[CYCLE - 1] == pytest.approx(LEARNING_RATE / CYCLE)
    assert np.flatnonzero(settled).tolist() == [2 * CYCLE - 1]


def test_a_cycle_ends_with_its_best_state(monkeypatch):
    monkeypatch.setattr(loop, "intensities", lambda *_: 10.0)
    schedule = Schedule()
    losses = [-100.0, -900.0, *[50.0] * (CYCLE - 2)]
    states = [schedule.observe(None, Reached(step=k, name=k), loss, loss)[0] for k, loss in enumerate(losses)]
    assert [s.name for s in states] == [*range(CYCLE - 1), 1]
    assert states[-1].step == CYCLE - 1  # random numbers go on


def test_a_round_that_diverged_is_taken_back_and_the_rate_is_halved(monkeypatch):
    monkeypatch.setattr(loop, "intensities", lambda *_: 10.0)
    schedule = Schedule()
    schedule.begin(Reached(step=0, name="start"), -100.0)
    assert schedule.observe(None, Reached(step=1, name="better"), -300.0, -250.0)[0].name == "better"
    rate = schedule.rate
    lost = 5000.0  # worse than before the first round
    state, settled = schedule.observe(None, Reached(step=2, name="lost"), lost, lost)
    assert (state.name, state.step, settled) == ("better", 2, False)
    assert schedule.rate < rate / 2
    worse, _ = schedule.observe(None, Reached(step=3, name="worse"), -200.0, -200.0)  # rounds go up and down
    assert worse.name == "worse"


# NaN never costs the fit


def test_optics_that_go_astray_do_not_cost_the_fit(simulated, monkeypatch):
    """A step whose losses are finite and whose last update is not; what was learned before is kept."""
    whole, calls = loop.steps_of, []

    def astray(*arguments):
        state, losses = whole(*arguments)
        calls.append(0)
        if len(calls) == 3:
            state = state._replace(learned=jax.tree.map(lambda a: a * np.float32(np.nan), state.learned))
        return state, losses

    monkeypatch.setattr(loop, "steps_of", astray)
    with jax.debug_nans(False):
        result = nd.fit(simulated[0], steps=150)
    assert len(result.table) == 26
    assert np.isfinite(result.table[[*PLACES, *SDS]].to_numpy()).all()
    assert np.isfinite(result.reconstruction).all()
    assert result.summary["rmse"] < 0.1


@pytest.mark.parametrize("fails", [4, 7])
def test_a_pass_without_numbers_does_not_cost_the_fit(simulated, monkeypatch, fails):
    """One pass in the middle, or one of the last, says nothing but NaN."""
    whole, calls = evidence.pass_over, []

    def blind(*arguments):
        sums, drawn = whole(*arguments)
        calls.append(0)
        if len(calls) == fails:
            sums, drawn = jax.tree.map(lambda a: np.full(a.shape, np.nan), (sums, drawn))
        return sums, drawn

    monkeypatch.setattr(evidence, "pass_over", blind)
    result = nd.fit(simulated[0], steps=100)
    assert len(result.table) == 26
    assert np.isfinite(result.table[[*PLACES, *SDS]].to_numpy()).all()
    assert np.isfinite(result.reconstruction).all()


# kinds of images and settings


def test_fractions_sum_to_one_and_programs_made_ahead_are_those_of_the_fit(simulated, traced):
    """A form that no other test fits: two species, on one color."""
    settings = {"types": 2, "composition": "simplex", "background": "uniform"}
    ahead.make(ahead.Form(3, 2, "simplex"), ahead.usual_size())
    made = len(traced)
    result = nd.fit(simulated[0], steps=50, **settings)
    assert made > 3
    assert len(traced) == made
    np.testing.assert_allclose(result.droplets.composition.sum(1), 1, atol=1e-3)
    assert result.guide["background"].shape == (1, 1, 3)
    assert result.losses[-1, 1] < result.losses[0, 1]
    draws = result.sample(5)["composition"]
    np.testing.assert_allclose(draws.sum(-1), 1, rtol=1e-6)


def test_grey_image_at_half_the_size():
    image, truth = nd.simulate((128, 128), 20, radius=8, seed=6, gray=True)
    result = nd.fit((image * 4095).astype(np.uint16), steps=100, scale=0.5, types=1, noise=0.05, pixel_size_um=0.5)
    assert result.reconstruction.shape == (128, 128, 1)
    assert compare(truth, result.droplets).f1 == 1
    proposed, found = (errors(truth, d) for d in (nd.detect(image), result.droplets))
    assert np.abs(found[0]).max() < np.abs(proposed[0]).max() + 0.1
    assert abs(found[1]) < 0.04
    np.testing.assert_allclose(result.table["x_um"], result.table["x"] / 2)
    assert result.optics.noise_sd == 0.05


def test_twice_the_size():
    truth = lattice((56, 56), [4.0, 5.0])
    image = discs(truth.x, truth.y, truth.radius, (56, 56), 0.3, 0.7, noise=0.01)
    result = nd.fit(image, steps=100, scale=2)
    assert result.reconstruction.shape == image.shape
    assert compare(truth, result.droplets).f1 == 1
    shift, bias, *_ = errors(truth, result.droplets)
    assert np.abs(shift).max() < 0.1
    assert abs(bias) < 0.02
    assert np.sqrt(np.mean(result.residual**2)) < 0.03


def test_same_seed_same_result(simulated):
    first, second, third = (nd.fit(simulated[0], steps=50, seed=seed).table for seed in (4, 4, 5))
    pd.testing.assert_frame_equal(first, second)
    assert (first["x"] != third["x"]).any()


def test_which_droplets_a_pixel_sees_is_a_setting():
    """Where two lie over one another both are seen, or the nearest alone."""
    image, _ = nd.simulate((64, 64), 14, radius=7, radius_spread=0.2, overlap=0.6, noise=0.01, seed=4)
    layered, nearest = (nd.fit(image, steps=50, renderer=r) for r in ("layered", "nearest"))
    assert nearest.summary["renderer"] == nearest.optics.renderer == "nearest"
    assert layered.optics.renderer == "layered"
    assert not np.array_equal(layered.reconstruction, nearest.reconstruction)


def test_a_series_shares_optics_and_classes():
    """The second image has the first one's optics and classes; what is done is there when a later image fails."""
    slides = [nd.simulate((72, 72), 9, types=3, radius=5, seed=seed)[0] for seed in (3, 4)]
    series = nd.fit_series([*slides, "missing.png"], classes=2, steps=50)
    first, second = next(series), next(series)
    with pytest.raises(nd.InputError, match=r"missing\.png"):
        next(series)
    for name, weights in first.optics.weights.items():
        np.testing.assert_array_equal(second.optics.weights[name], weights)
    assert first.optics.classes == first.summary["class_mixture"]
    for key in ("mean", "covariance"):
        assert second.summary["class_mixture"][key] == first.summary["class_mixture"][key]
    assert not second.summary["settings"]["learn_optics"]


# bad input


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
    "region": [(1, 2, 3), (5, 0, 1, 9), np.zeros((4, 4)), "nowhere.png"],
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


def test_simplex_needs_two_types(simulated):
    with pytest.raises(nd.InputError, match="types"):
        nd.fit(simulated[0], types=1, composition="simplex")


def test_bad_images_are_named():
    for image, says in [
        (np.zeros((64, 64)), "constant"),
        (np.full((64, 64), np.nan), "NaN"),
        (np.zeros((1, 1)), "small"),
        (np.zeros((0, 5)), "empty"),
        (np.zeros((4, 64, 64, 3)), "a stack of 4 pages"),
        (np.random.default_rng(0).random((64, 64, 5)), "channels"),
    ]:
        with pytest.raises(nd.InputError, match=says):
            nd.fit(image)


@pytest.mark.parametrize("chosen", [{}, {"detector": "blobs"}, {"population": "given"}])
def test_no_droplets_found(chosen):
    image = 0.5 + 0.01 * np.random.default_rng(0).standard_normal((64, 64, 3))
    with pytest.raises(nd.InputError, match="no droplets found"):
        nd.fit(image, **chosen)


def test_bad_starts_are_named(simulated, fitted):
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
        nd.fit(image, optics=fitted.optics, types=2)
    with pytest.raises(nd.InputError, match="channels"):
        nd.fit(image[..., 0], optics=fitted.optics)
    with pytest.raises(nd.InputError, match="not at hand"):
        nd.refit(replace(fitted, image=None), fitted.table)
