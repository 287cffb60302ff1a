"""Proposals without a network."""

import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.detection import blobs
from napari_droplets.image_statistics import background_surface, contrast


@pytest.mark.parametrize("radius", [2.5, 5, 12])
def test_diameter_is_estimated(radius):
    image, truth = nd.simulate((256, 256), int(9000 / radius**2 / 3), radius=radius, seed=1)
    got = blobs.estimate_diameter(image)
    assert 0.5 < got / (2 * np.median(truth.radius)) < 2  # sizes of a third to three times are looked for


@pytest.mark.parametrize("sign", [-1, 1])
def test_dark_and_bright_blobs_are_found(sign):
    v, u = np.mgrid[:80, :100]
    centers = np.array([[20, 20], [60, 30], [80, 60], [30, 55.0]])
    image = np.full((80, 100), 0.5)
    for x, y in centers:
        image += sign * 0.3 * ((u - x) ** 2 + (v - y) ** 2 <= 5.5**2)
    image += 0.01 * np.random.default_rng(0).standard_normal(image.shape)
    found = nd.detect(image.clip(0, 1), detector="blobs")
    assert len(found) == 4
    away = np.hypot(found.x[:, None] - centers[:, 0], found.y[:, None] - centers[:, 1])
    assert (away.min(0) < 1).all()
    np.testing.assert_allclose(found.radius, 5.5, rtol=0.2)


def touched(truth, found):
    """Share of droplets with a proposal inside: where a fit can start. Blobs are off center under oblique light."""
    away = np.hypot(truth.x[:, None] - found.x, truth.y[:, None] - found.y)
    return np.mean(away.min(1) < truth.radius)


def test_most_simulated_droplets_have_a_proposal():
    image, truth = nd.simulate((256, 256), 100, radius=5, seed=4)
    assert touched(truth, nd.detect(image, detector="blobs")) > 0.95


def test_results_stay_in_pixels_of_the_image_given():
    image, truth = nd.simulate((160, 160), 30, radius=8, seed=5)
    assert touched(truth, nd.detect(image, detector="blobs", scale=0.5, diameter=16)) > 0.9


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_found_in_noise_on_uneven_light(seed):
    v, u = np.mgrid[:128, :128] / 128
    noise = 0.02 * np.random.default_rng(seed).standard_normal((128, 128, 3))
    image = (0.4 + 0.2 * u + 0.1 * v**2)[..., None] + noise
    assert len(nd.detect(image, detector="blobs")) <= 1
    assert len(nd.detect(image, detector="blobs", diameter=10)) <= 1


def test_background_is_found_under_droplets():
    v, u = np.mgrid[:100, :120]
    surface = (0.5 + 0.002 * u - 0.001 * v)[..., None] * [1.0, 0.9, 0.8]
    image = surface.copy()
    for x, y in np.random.default_rng(0).uniform(5, 95, (25, 2)):
        image[(u - x) ** 2 + (v - y) ** 2 < 25] *= 0.5
    np.testing.assert_allclose(background_surface(image.astype(np.float32)), surface, atol=0.02)


def test_noise_is_read_off_the_pixels():
    image = 0.5 + 0.03 * np.random.default_rng(0).standard_normal((200, 200, 3)).astype(np.float32)
    assert contrast(image)[1] == pytest.approx(0.03, rel=0.05)


def test_nothing_to_estimate_a_diameter_from():
    flat = 0.5 + 0.01 * np.random.default_rng(0).standard_normal((64, 64, 1)).astype(np.float32)
    with pytest.raises(nd.InputError, match="diameter="):
        blobs.estimate_diameter(nd.Image(flat, name="empty.png"))


def test_micrometres_are_those_of_the_image():
    image, _ = nd.simulate((160, 160), 20, radius=12, seed=7)
    table = nd.detect(image, detector="blobs", pixel_size_um=0.5).to_dataframe()
    np.testing.assert_allclose(table["radius_um"], table["radius"] / 2)


def test_diameter_larger_than_the_image_is_named():
    image, _ = nd.simulate((64, 80), 8, seed=1)
    with pytest.raises(nd.InputError, match=r"diameter=500 .*80 x 64"):
        nd.detect(image, diameter=500)
