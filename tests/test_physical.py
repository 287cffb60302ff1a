"""Simulated micrographs by the laws of optics, and plain discs: each law against its closed form."""

import numpy as np
import pytest

from napari_droplets.training.scenes import discs, physical

AIR = physical.Look(
    shape="sphere",
    contact_angle=np.pi / 2,
    rim=3.0,
    index_ratio=1.0,
    dispersion=np.ones(3),
    lamp=0.2,
    objective=0.3,
    tilt=(0.0, 0.0),
    defocus=0.0,
    dyes=np.array([[0.02, 0.05, 0.0]]),
    medium=np.zeros(3),
    stray=0.0,
)


def one(look, x=20.3, y=18.8, radius=9.4, concentration=1.0, size=40):
    x, y, radius = (np.array([value]) for value in (x, y, radius))
    return physical.render(look, x, y, radius, np.array([[concentration]]), size, size)


def distance(x=20.3, y=18.8, size=40):
    return np.hypot(np.arange(size) - x, np.arange(size)[:, None] - y)


@pytest.mark.parametrize("draw", [physical.physical_image, discs.disc_image])
@pytest.mark.parametrize("seed", range(12))
def test_images_and_truth(draw, seed):
    image, truth = draw(np.random.default_rng(seed), 60, 84)
    again, same = draw(np.random.default_rng(seed), 60, 84)
    np.testing.assert_array_equal(image, again)
    np.testing.assert_array_equal(truth.x, same.x)
    assert image.dtype == np.float32
    assert image.shape in {(60, 84, 1), (60, 84, 3)}
    assert 0 <= image.min() < image.max() <= 1
    assert len(truth) > 0
    low, high = (2, 40) if draw is physical.physical_image else (1.5, 60)
    assert truth.radius.min() >= low
    assert truth.radius.max() <= high
    for at, side in ((truth.x, 84), (truth.y, 60)):
        outside = np.maximum(-0.5 - at, at - (side - 0.5))
        assert np.all(outside <= 0.5 * truth.radius)
    if truth.composition is not None:
        assert truth.composition.shape == (len(truth), truth.types)
        assert 1 <= truth.types <= 4
        assert 0 <= truth.composition.min() <= truth.composition.max() <= 1


def test_both_kinds_of_cameras_and_droplets_occur():
    drawn = [physical.physical_image(np.random.default_rng(seed), 48, 48) for seed in range(30)]
    assert {image.shape[-1] for image, _ in drawn} == {1, 3}
    assert {0, 1} < {truth.types for _, truth in drawn}


@pytest.mark.parametrize("degrees", [20, 60, 90, 120])
def test_a_cap_has_the_height_and_volume_of_a_cap(degrees):
    angle = np.radians(degrees)
    d = (np.arange(200_000) + 0.5) / 200_000
    sine, thickness, both = physical.cap_profile(d, angle)
    sphere = 1 / np.sin(angle) if degrees < 90 else 1.0
    np.testing.assert_allclose(thickness[0], sphere * (1 - np.cos(angle)), rtol=1e-6)
    volume = np.mean(2 * np.pi * d * thickness)
    np.testing.assert_allclose(
        volume, np.pi / 3 * sphere**3 * (2 + np.cos(angle)) * (1 - np.cos(angle)) ** 2, rtol=1e-4
    )
    np.testing.assert_allclose(sine[-1], min(np.sin(angle), 1) if degrees < 90 else 1, rtol=1e-4)
    np.testing.assert_allclose(both.mean(), 1 - np.sin(angle) if degrees > 90 else 0, atol=1e-4)


def test_a_slab_is_flat_up_to_its_rim():
    sine, thickness, both = physical.slab_profile(np.array([0.0, 0.79, 0.9, 1.0]), 0.2)
    np.testing.assert_allclose(sine, [0, 0, 0.5, 1], atol=1e-12)
    np.testing.assert_allclose(thickness, [0.4, 0.4, 0.4 * np.sqrt(0.75), 0], atol=1e-7)
    assert both.all()


def test_snell():
    small, flat, curved = np.array([1e-4]), np.array([False]), np.array([True])
    for ratio in (0.9, 1.33):  # a prism, and two
        np.testing.assert_allclose(physical.deflection(small, ratio, flat)[0], (ratio - 1) * 1e-4, rtol=1e-6)
        np.testing.assert_allclose(physical.deflection(small, ratio, curved)[0], 2 * (1 - 1 / ratio) * 1e-4, rtol=1e-6)
    angle, lost = physical.deflection(np.array([0.5, 0.76]), 1.33, np.array([False, False]))
    np.testing.assert_allclose(np.sin(angle[0] + np.radians(30)), 1.33 * 0.5)
    assert lost.tolist() == [False, True]
    assert physical.deflection(np.array([0.86, 0.84]), 0.85, np.array([True, True]))[1].tolist() == [True, False]


def test_overlap_of_discs():
    overlap = physical.disc_overlap(np.array([0.0, 0.5, 5.0, 9.0]), 1.0, 3.0)
    np.testing.assert_allclose(overlap, [np.pi, np.pi, 0, 0], atol=1e-6)
    d = 1.2
    lens = 2 * np.arccos(d / 2) - d / 2 * np.sqrt(4 - d * d)
    np.testing.assert_allclose(physical.disc_overlap(np.array(d), 1.0, 1.0), lens)


def test_a_sphere_absorbs_by_its_thickness():
    image, d = one(AIR, concentration=0.7), distance()
    path = 2 * np.sqrt(np.maximum(9.4**2 - d**2, 0))
    expected = np.exp(-0.7 * path[..., None] * AIR.dyes[0])
    np.testing.assert_allclose(image[d < 8], expected[d < 8], atol=0.01)
    np.testing.assert_allclose(image[d < 5], expected[d < 5], atol=0.001)
    np.testing.assert_allclose(image[d > 10.2], 1, atol=1e-6)
    # thin droplets: the light lost in all is that of the volume
    faint = one(AIR._replace(dyes=1e-4 * np.ones((1, 3))))
    np.testing.assert_allclose((1 - faint).sum((0, 1)), 1e-4 * 4 / 3 * np.pi * 9.4**3, rtol=0.01)


def test_droplets_in_a_dyed_medium_are_brighter():
    image = one(AIR._replace(medium=np.array([0.04, 0.05, 0.05])))
    assert image[19, 20, 0] > 1.3
    np.testing.assert_allclose(image[19, 20, 1], 1, atol=1e-4)


def test_refraction_darkens_the_rim_and_oblique_light_has_two_sides():
    image, d = one(AIR._replace(index_ratio=1.1, dyes=np.zeros((1, 3))))[..., 0], distance()
    np.testing.assert_allclose(image[d < 2], 1, atol=1e-6)
    assert image[(d > 8) & (d < 9)].max() < 0.6
    oblique = one(AIR._replace(index_ratio=1.1, dyes=np.zeros((1, 3)), tilt=(0.3, 0.0)))[..., 0]
    row = oblique[19]
    assert min(row[15:19].mean(), row[23:27].mean()) < 0.8
    assert max(row[15:19].mean(), row[23:27].mean()) > 1.2
    np.testing.assert_allclose(oblique[0], 1, atol=1e-6)
    dark_field = one(AIR._replace(index_ratio=1.1, dyes=np.zeros((1, 3)), tilt=(0.6, 0.0), stray=0.1))[..., 0]
    np.testing.assert_allclose(dark_field[[0, 19], [0, 20]], 1, atol=1e-5)  # rays that go straight miss the objective
    assert dark_field.max() > 3


def test_out_of_focus_light_gathers_and_none_is_lost():
    rng = np.random.default_rng(0)
    light, moving = rng.random((2, 30, 40)), rng.random((30, 40)) < 0.4
    shifts = rng.normal(0, 3, (2, moving.sum()))
    moved = physical.refocus(light, moving, *shifts)
    np.testing.assert_allclose(moved.sum((1, 2)), light.sum((1, 2)))
    still = physical.refocus(light, moving, *np.zeros_like(shifts))
    np.testing.assert_allclose(still, light)
    lens = AIR._replace(index_ratio=1.05, dyes=np.zeros((1, 3)), objective=0.5)
    sharp, soft = one(lens)[..., 0], one(lens._replace(defocus=30.0))[..., 0]
    assert soft[18:21, 19:22].mean() > 1.5 * sharp[18:21, 19:22].mean()


@pytest.mark.parametrize("radius", [1.5, 2.2, 5.7, 18.3, 60.0])
def test_the_edge_of_a_disc_is_where_the_truth_says(radius):
    size = int(2 * radius + 10)
    x, y = size / 2 - 0.2, size / 2 + 0.37
    cover = discs.disc_cover(np.array([x]), np.array([y]), np.array([radius]), size, size)
    np.testing.assert_allclose(np.sqrt(cover.sum() / np.pi), radius, atol=0.01)
    at = np.arange(size)
    np.testing.assert_allclose([cover.sum(0) @ at, cover.sum(1) @ at] / cover.sum(), [x, y], atol=0.02)
    opaque = AIR._replace(shape="slab", rim=1e-3, dyes=1e5 * np.ones((1, 3)))
    dark = 1 - one(opaque, x, y, radius, size=size)[..., 0]
    np.testing.assert_allclose(np.sqrt(dark.sum() / np.pi), radius, atol=0.05)
    np.testing.assert_allclose([dark.sum(0) @ at, dark.sum(1) @ at] / dark.sum(), [x, y], atol=0.05)


@pytest.mark.parametrize("seed", range(15))
def test_circles_overlap_by_no_more_than_allowed(seed):
    x, y, radius = discs.crowd(np.random.default_rng(seed), 150, 120, (2.0, 40.0))
    assert 2 <= radius.min() <= radius.max() <= 40
    apart = np.hypot(x - x[:, None], y - y[:, None]) + 1e9 * np.eye(len(x))
    assert np.all(apart >= radius + radius[:, None] - 0.6 * np.minimum(radius, radius[:, None]) - 1e-6)


def test_noise_hides_no_droplets():
    rng, radius = np.random.default_rng(0), np.full(50, 8.0)
    faint = [discs.noise_level(rng, np.full(50, 0.03), radius) for _ in range(200)]
    strong = [discs.noise_level(rng, np.full(50, 0.9), radius) for _ in range(200)]
    assert max(faint) <= 0.01
    assert 0.05 < max(strong) <= 0.06
    assert min(faint + strong) >= 0.002
    ground = np.full((40, 40, 1), 0.5)
    cover = discs.disc_cover(np.array([12.0]), np.array([15.0]), np.array([6.0]), 40, 40)[..., None]
    x, y, radius = np.array([[12.0, 30.0], [15.0, 30.0], [6.0, 5.0]])
    outline, whole = discs.outline_contrast(ground + 0.2 * cover, ground, x, y, radius)
    np.testing.assert_allclose(outline, [0.2, 0], atol=1e-6)
    np.testing.assert_allclose(whole, [0.2, 0], atol=1e-6)
    spot = discs.disc_cover(x[:1], y[:1], radius[:1] - 2, 40, 40)[..., None]
    outline, whole = discs.outline_contrast(ground + 0.2 * spot, ground, x, y, radius)
    assert outline[0] < 0.05 < whole[0]


def test_camera():
    light = np.full((64, 61, 3), 0.5)
    noisy = discs.camera(np.random.default_rng(1), light, 0.02, eight_bit=True)
    np.testing.assert_allclose(noisy * 255, np.round(noisy * 255), atol=1e-4)
    assert 0.01 < noisy.std() < 0.025
    rough = light + np.random.default_rng(2).normal(0, 0.02, light.shape)
    np.testing.assert_allclose(discs.jpeg_like(rough, 1e-9), rough, atol=1e-7)
    smooth = discs.jpeg_like(rough, 0.04)
    assert np.diff(smooth, axis=0).std() < 0.8 * np.diff(rough, axis=0).std()
    assert smooth.shape == rough.shape
