"""The network as it is shipped, on images of the other simulator, which it was not trained on."""

import jax
import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.compare import compare
from napari_droplets.detection import scales
from napari_droplets.detection.network import read_weights


@pytest.fixture(scope="module")
def scene():
    return nd.simulate((300, 380), 160, radius=5.0, noise=0.02, seed=11)


@pytest.fixture(scope="module")
def found(scene):
    return nd.detect(scene[0])


def test_the_weights_are_small_and_say_where_they_come_from():
    assert scales.WEIGHTS.stat().st_size <= 4e6
    about = read_weights(scales.WEIGHTS)[1]
    assert {"seed", "steps", "scenes", "calibration"} <= set(about)


def test_droplets_are_found_with_place_size_and_probability(scene, found):
    result = compare(scene[1], found)
    assert result.f1 > 0.95
    assert result.center_error < 0.1
    assert abs(result.radius_bias) < 0.05
    for name in ("x_sd", "y_sd", "radius_sd"):
        assert np.all(getattr(found, name) > 0)
    assert np.all((found.p_present >= 0.5) & (found.p_present <= 1))


def test_all_candidates_are_reported_when_asked_for(scene, found):
    every = nd.detect(scene[0], min_probability=0.0)
    assert len(every) > len(found)
    assert every.p_present.min() < 0.2


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_the_scale_of_the_image_does_not_matter(scene, found, factor):
    from napari_droplets.images import resampled

    again = nd.detect(resampled(scene[0], factor)).scaled(1 / factor)
    large = scene[1].radius > 3
    result = compare(scene[1][large], again[again.radius > 2.4])
    assert result.n_matched / result.n_true > 0.93
    assert abs(result.radius_bias) < 0.06


def test_the_rounding_of_pixels_does_not_move_droplets(scene, found):
    again = nd.detect(scene[0].astype(np.float16).astype(np.float32))
    assert len(again) == len(found)
    away = np.hypot(*(np.subtract.outer(a, b) for a, b in ((again.x, found.x), (again.y, found.y)))).min(1)
    assert away.max() < 0.05


def test_scales_are_those_of_a_ladder():
    typical = np.geomspace(3, 60, 500)
    finest = np.array([scales._finest_scale(radius) for radius in typical])
    assert len(np.unique(finest)) == 1 + round(scales.RUNGS * np.log2(typical[-1] / 3.5))
    shown = typical * finest / scales.WORKING_RADIUS
    assert np.abs(np.log2(shown[finest < scales.FINEST])).max() < 0.5 / scales.RUNGS + 1e-9
    assert scales._finest_scale(scales.WORKING_RADIUS) == 1
    assert scales._finest_scale(0.5) == scales.FINEST == finest.max()


def test_the_diameter_is_estimated_or_given(scene, found):
    typical = 2 * np.median(scene[1].radius)
    assert nd.estimate_diameter(scene[0]) == pytest.approx(typical, rel=0.25)
    given = nd.detect(scene[0], diameter=typical)
    assert compare(found, given).f1 > 0.95


def test_tiles_do_not_show(scene, found, monkeypatch):
    monkeypatch.setattr(scales, "TILE", 256)
    tiled = nd.detect(scene[0])
    result = compare(found, tiled)
    assert result.f1 > 0.98
    assert result.center_error < 0.03


def test_gray_and_color_are_alike(scene):
    gray, truth = nd.simulate((200, 200), 60, radius=5.0, seed=3, gray=True)
    assert compare(truth, nd.detect(gray)).f1 > 0.9
    np.testing.assert_allclose(nd.detect(gray).x, nd.detect(np.stack([gray] * 3, -1)).x, atol=1e-3)


def test_sizes_far_apart_are_seen_at_several_scales():
    small, few = nd.simulate((512, 512), 300, radius=4.0, radius_spread=0.2, overlap=0.0, seed=5)
    large, one = nd.simulate((512, 512), 1, radius=60, radius_spread=0.0, seed=8)
    v, u = np.mgrid[:512, :512]
    image = np.where(np.hypot(u - one.x[0], v - one.y[0])[..., None] < 1.3 * one.radius[0], large, small)
    hidden = np.hypot(few.x - one.x[0], few.y - one.y[0]) < one.radius[0] + 0.3 * one.radius[0] + 2 * few.radius
    found = nd.detect(image)
    assert compare(few[~hidden], found[found.radius < 15]).n_matched > 0.93 * (~hidden).sum()
    big = found[found.radius > 30]
    assert len(big) == 1
    assert np.hypot(big.x[0] - one.x[0], big.y[0] - one.y[0]) < 12
    assert big.radius[0] == pytest.approx(60, rel=0.15)


@pytest.mark.parametrize("sd", [0.001, 0.02])
def test_nothing_is_found_where_there_is_nothing(sd):
    noisy = (0.5 + sd * np.random.default_rng(0).standard_normal((200, 240, 3))).clip(0, 1)
    assert len(nd.detect(noisy)) == 0
    with pytest.raises(nd.InputError, match="no droplets"):
        nd.estimate_diameter(noisy)


def test_another_image_of_the_bucket_compiles_nothing(scene):
    nd.detect(scene[0], diameter=9.0)
    compiled = scales._outputs._cache_size()
    nd.detect(scene[0][:290, :370], diameter=9.0)
    assert scales._outputs._cache_size() == compiled
    jax.clear_caches()


def test_missing_weights_are_named(scene):
    with pytest.raises(nd.InputError, match=r"nowhere\.safetensors"):
        scales.detect_droplets(nd.Image(scene[0]), weights="nowhere.safetensors")
