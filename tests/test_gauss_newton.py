"""What the pixels say of droplets, against numbers that were found the long way."""

import jax
import numpy as np
import pytest
from drawn import FORM, NOISE, apart, crowd, scene, sums_of

from napari_droplets.inference.steps.gauss_newton import (
    LEAST_NOISE,
    MISFIT_PIXELS,
    Evidence,
    anchors_of,
    blocks_of,
    measure,
    white_noise,
)
from napari_droplets.model.outline import GLOW_REACH
from napari_droplets.model.problem import BLOCK, FAR, Form

H = 0.001
D = FORM.dimensions


def moved(scene, k, d, by):
    raw = scene.raw.copy()
    raw[k, d] += by
    return raw


@pytest.mark.parametrize("made", [apart, crowd])
def test_gradient_and_information_are_those_of_finite_differences(made):
    """Alone and with neighbors: of the pixels listed for a droplet, with all others where they are."""
    case = made()
    case.raw[: case.size, :3] += np.random.default_rng(1).normal(0, 0.03, (case.size, 3)).astype(np.float32)
    sums, _ = sums_of(case)
    row, weight = np.asarray(case.rows.row), np.asarray(case.rows.weight, float)[..., None]
    for k in range(case.size):
        slopes, gradient = [], []
        for d in range(D):
            (low, low_colors), (high, high_colors) = (sums_of(case, moved(case, k, d, by)) for by in (-H, H))
            gradient.append((low.squares[k] - high.squares[k]) / (4 * H))
            slopes.append(((high_colors - low_colors) / (2 * H))[row == k])
        jacobian = np.stack(slopes)
        information = np.einsum("arsc,brsc->ab", jacobian * weight[row == k], jacobian)
        scale = np.sqrt(np.diag(information))
        assert scale.min() > 0.01
        np.testing.assert_allclose(
            sums.information[k] / np.outer(scale, scale), information / np.outer(scale, scale), atol=0.015
        )
        np.testing.assert_allclose(sums.gradient[k] / scale, np.array(gradient) / scale, atol=0.015)


@pytest.mark.parametrize("made", [apart, crowd])
def test_sums_are_those_of_the_residuals(made):
    case = made()
    sums, colors = sums_of(case)
    row, weight = np.asarray(case.rows.row), np.asarray(case.rows.weight, float)
    residual = np.asarray(case.rows.values, float) - colors
    for k in range(case.size):
        mine = row == k
        listed = weight[mine] > 0
        assert sums.squares[k] == pytest.approx(np.sum(weight[mine][..., None] * residual[mine] ** 2), rel=1e-4)
        assert sums.listed[k] == 3 * listed.sum()
        blocks = np.sum((residual[mine] * listed[..., None]).sum(1) ** 2)
        assert sums.blocks[k] == pytest.approx(blocks, rel=1e-3)
        gone = case.raw.copy()
        gone[k, :2] = -2000  # radii away
        without = np.asarray(case.rows.values, float) - sums_of(case, gone)[1]
        assert sums.removed[k] == pytest.approx(np.sum(weight[mine][..., None] * without[mine] ** 2), rel=1e-3)


def test_truth_is_where_gradients_are_those_of_noise():
    """At the truth each gradient has the variance that its information says."""
    sums, _colors = sums_of(apart(noise=NOISE))
    z = sums.gradient / NOISE / np.sqrt(np.einsum("nii->ni", sums.information))
    assert np.abs(z).max() < 3.6
    assert z.std() == pytest.approx(1, abs=0.35)


def evidence(case, residual):
    """What is said where the image is the one drawn plus this."""
    _, colors = sums_of(case)
    rows = case.rows._replace(values=np.float32(colors + residual))
    sums, _ = sums_of(case._replace(rows=rows))
    return Evidence.of(sums, NOISE, float(np.sum(sums.squares)), FORM.channels)


LARGE = {"x": [32, 96], "y": [30, 32], "radius": [22, 24], "shape": (64, 128)}


def test_white_noise_counts_in_full():
    case = scene(**LARGE, noise=0)
    found = evidence(case, NOISE * np.random.default_rng(0).standard_normal(case.rows.values.shape))
    np.testing.assert_allclose(found.inflation, 1, atol=0.2)
    np.testing.assert_allclose(found.misfit, 1, atol=0.03)
    assert found.unexplained.max() < 0.01


def test_what_neighbors_share_counts_once_for_a_row_of_them():
    case = scene(**LARGE, noise=0)
    rng = np.random.default_rng(1)
    shared = rng.standard_normal((len(case.rows.row), 1, 3)) * np.ones((1, 16, 1))
    found = evidence(case, NOISE * shared)
    np.testing.assert_allclose(found.inflation, 16, rtol=0.2)
    np.testing.assert_allclose(found.misfit, 1, atol=0.12)
    half = evidence(case, NOISE * np.sqrt(0.5) * (shared + rng.standard_normal(case.rows.values.shape)))
    np.testing.assert_allclose(half.inflation, 8.5, rtol=0.2)


def test_small_droplets_are_as_inflated_as_the_image():
    case = scene([32, 96], [30, 32], [24, 1.5], shape=(64, 128), noise=0)
    rng = np.random.default_rng(2)
    residual = rng.standard_normal(case.rows.values.shape)
    residual[np.asarray(case.rows.row) == 0] = rng.standard_normal(((np.asarray(case.rows.row) == 0).sum(), 1, 3))
    found = evidence(case, NOISE * residual)
    assert found.inflation[0] == pytest.approx(16, rel=0.2)
    listed = (np.asarray(case.rows.weight)[np.asarray(case.rows.row) == 1] > 0).sum()
    assert listed < 0.5 * MISFIT_PIXELS
    assert found.inflation[1] > 10


def test_gain_is_what_pixels_lose_without_a_droplet():
    case = apart()
    found = evidence(case, NOISE * np.random.default_rng(3).standard_normal(case.rows.values.shape))
    assert (found.gain > 100).all()
    assert (found.gain < found.removed).all()
    blank = evidence(case, np.asarray(case.rows.ground) - sums_of(case)[1])
    assert (blank.gain < -100).all()


def test_what_is_left_unexplained_is_told():
    """Half of what one of the droplets changes is not drawn; noise alone is nothing unexplained."""
    case = apart(noise=0)
    change = sums_of(case)[1] - np.asarray(case.rows.ground)
    residual = np.where((np.asarray(case.rows.row) == 1)[:, None, None], -0.5 * change, 0)
    residual = residual + NOISE * np.random.default_rng(4).standard_normal(residual.shape)
    found = evidence(case, residual)
    # it would leave the other half without it: as much
    assert found.unexplained[1] == pytest.approx(1, abs=0.15)
    others = np.arange(case.size) != 1
    assert found.unexplained[others].max() < 0.05
    assert found.unexplained_of(others) < 0.02
    assert found.unexplained_of(~others) == pytest.approx(found.unexplained[1])


NOISES = [0.003, 0.01, 0.03]


@pytest.mark.parametrize("bits", [None, 8])
@pytest.mark.parametrize("noise", NOISES)
def test_white_noise_is_told_within_a_tenth(noise, bits):
    """On a ground that is uneven, with edges that nothing explains, some of it unknown, and as cameras write it."""
    rng = np.random.default_rng(0)
    v, u = np.mgrid[:150, :200]
    image = 0.5 + 0.2 * np.sin(u / 30)[..., None] * np.cos(v / 40)[..., None] + np.zeros(3)
    image[(u - 60) ** 2 + (v - 70) ** 2 < 900] += 0.2
    image += noise * rng.standard_normal(image.shape)
    if bits:
        image = np.round(image * 255) / 255
    image[100:120, 30:60] = np.nan
    assert white_noise(image) == pytest.approx(noise, rel=0.1)


def test_no_noise_and_no_pixels_are_the_least():
    assert white_noise(np.full((9, 9, 3), np.nan)) == LEAST_NOISE
    assert white_noise(np.zeros((9, 9, 3))) == LEAST_NOISE
    assert white_noise(np.zeros((4, 2, 3))) == LEAST_NOISE


def test_another_image_of_like_size_traces_nothing():
    first = sums_of(apart())[0]
    before = measure._cache_size()
    again = sums_of(crowd(noise=0.05))[0]
    third = sums_of(scene([20, 60, 100, 31], [20, 50, 30, 70], [9, 8, 7, 5], shape=(80, 120)))[0]
    assert measure._cache_size() == before
    assert first.squares.shape == again.squares.shape == (6,)
    assert np.isfinite(third.information).all()


def test_precisions_do_not_mix():
    case = apart()
    with jax.numpy_dtype_promotion("strict"):
        measure.trace(case.raw, case.anchor, case.shared, case.rows, blocks_of(9), blocks_of(1), blocks_of(5), FORM)


def test_padded_rows_and_droplets_say_nothing():
    case = apart()
    some = gathered(case, blocks_of(len(case.pixels.row)))
    whole = gathered(case, len(case.rows.row) // BLOCK)
    for a, b in zip(some, whole, strict=True):
        np.testing.assert_allclose(a[: case.size], b[: case.size], rtol=1e-5)
        assert np.isfinite(b).all()
        assert not np.any(b[case.size :])


def gathered(case, blocks):
    ends = blocks_of(case.pixels.crowded), blocks_of(case.pixels.within)
    found, _ = measure(case.raw, case.anchor, case.shared, case.rows, np.int32(blocks), *ends, FORM)
    return jax.device_get(found)


def test_where_nothing_but_a_glow_is_seen_the_network_is_not_asked():
    case = scene([30, 90], [30, 32], [14, 11], shape=(64, 128), glow=0.03, reach=GLOW_REACH)
    rows, within = len(case.pixels.row), case.pixels.within
    assert 0.3 * rows < within < 0.6 * rows
    outside = (np.arange(len(case.rows.row)) >= within)[:, None]
    seen = case.rows._replace(weight=case.rows.weight * outside)
    glow, whole = (
        measure(case.raw, case.anchor, case.shared, seen, blocks_of(rows), np.int32(0), blocks_of(last), FORM)
        for last in (0, rows)
    )
    assert np.abs(glow[1][:within] - whole[1][:within]).max() > 0.05  # inside a droplet is more than its glow
    np.testing.assert_allclose(glow[1][within:rows], whole[1][within:rows], atol=LEAST_NOISE / 4)
    for name in ("information", "squares", "removed"):
        found, wanted = (np.asarray(getattr(sums, name))[:2] for sums, _ in (glow, whole))
        np.testing.assert_allclose(found, wanted, atol=0.02 * np.abs(wanted).max(), err_msg=name)
    information = sums_of(case)[0].information  # of all pixels
    deviation = NOISE * np.sqrt(np.einsum("nii->ni", information)[:, :3])  # of the gradient, by noise alone
    assert (np.abs(glow[0].gradient - whole[0].gradient)[:2, :3] < 0.01 * deviation).all()


def test_anchors_of_nothing_lie_in_no_image():
    anchor = anchors_of(np.array([3.0]), np.array([4.0]), np.array([2.0]), 4)
    assert anchor.dtype == np.float32
    np.testing.assert_array_equal(anchor, [[3, 4, 2]] + [[FAR, FAR, 1]] * 3)
    assert Form(3, 3).dimensions == 6
