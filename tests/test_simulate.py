import subprocess
import sys

import numpy as np
import pytest

from napari_droplets import InputError
from napari_droplets.simulate import sample, simulate


def gaps(truth):
    """Over all pairs: how far two droplets overlap, in radii of the smaller one (negative: apart)."""
    i, j = np.triu_indices(len(truth), 1)
    distance = np.hypot(truth.x[i] - truth.x[j], truth.y[i] - truth.y[j])
    return (truth.radius[i] + truth.radius[j] - distance) / np.minimum(truth.radius[i], truth.radius[j])


def alone(**changed):
    """One droplet of radius 12 on an even, noiseless, unblurred slide; its darkness (positive) in every pixel."""
    settings = {"radius": 12.0, "radius_spread": 0, "noise": 0, "blur": 0, "unevenness": 0} | changed
    for seed in range(100):
        image, truth = simulate((100, 100), 1, seed=seed, **settings)
        if 30 < truth.x[0] < 70 and 30 < truth.y[0] < 70:
            return image[0, 0] - image, truth
    raise AssertionError("no droplet near the middle in a hundred images")


def test_shapes_types_and_range():
    image, truth = simulate((60, 90), 20, types=4, pixel_size_um=0.5)
    assert image.shape == (60, 90, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1
    assert truth.composition.shape == (20, 4)
    assert truth.pixel_size_um == 0.5
    assert truth.x_sd is None
    assert truth.p_present is None
    gray, same = simulate((60, 90), 20, types=4, gray=True)
    assert gray.shape == (60, 90)
    assert gray.dtype == np.float32
    np.testing.assert_array_equal(same.x, truth.x)


def test_same_arguments_same_image():
    first, truth = simulate((64, 64), 15, seed=3)
    again, truth_again = simulate((64, 64), 15, seed=3)
    other, truth_other = simulate((64, 64), 15, seed=4)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(truth.composition, truth_again.composition)
    assert np.abs(first - other).mean() > 0.01
    assert not np.isin(truth.x, truth_other.x).any()


def test_same_in_another_process():
    code = "from napari_droplets.simulate import sample; image, truth = sample(); print(truth.x[0].hex(), image.sum())"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    image, truth = sample()
    assert printed.split() == [truth.x[0].hex(), str(image.sum())]


def test_noise_leaves_the_droplets_where_they_are():
    _, quiet = simulate((64, 64), 15, noise=0)
    _, noisy = simulate((64, 64), 15, noise=0.1, unevenness=0.5, light_angle=0)
    np.testing.assert_array_equal(quiet.to_dataframe(), noisy.to_dataframe())


def test_centers_are_uniform_on_the_image():
    _, truth = simulate((100, 200), 2000, overlap=2)
    for values, side in ((truth.x, 200), (truth.y, 100)):
        assert values.min() >= -0.5
        assert values.max() <= side - 0.5
        counts = np.histogram(values, 10, (-0.5, side - 0.5))[0]
        assert np.abs(counts - 200).max() < 4.5 * np.sqrt(200 * 0.9)


def test_radii_are_log_normal():
    _, truth = simulate((64, 64), 4000, radius=5, radius_spread=0.5, overlap=2)
    logs = np.log(truth.radius)
    assert abs(logs.mean() - np.log(5)) < 4 * 0.5 / np.sqrt(4000)
    assert abs(logs.std() - 0.5) < 4 * 0.5 / np.sqrt(8000)
    assert np.mean(truth.radius < 5) == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("overlap", [0, 0.3, 1.5])
def test_overlap_is_limited(overlap):
    _, truth = simulate((200, 200), 200, overlap=overlap, seed=2)
    largest = gaps(truth).max()
    assert largest <= overlap + 1e-9
    assert largest > overlap - 0.3  # and used where droplets are dense


def test_some_droplets_are_cut_by_the_border():
    _, truth = simulate((200, 200), 200)
    assert ((truth.x < truth.radius) | (truth.y < truth.radius)).any()


def test_too_many_droplets_names_how_many_fit():
    with pytest.raises(InputError, match=r"n=500: only \d+ droplets fit into 64 x 64 pixels"):
        simulate((64, 64), 500, radius=6)


def test_composition_simplex_and_free():
    _, simplex = simulate((300, 300), 200)
    np.testing.assert_allclose(simplex.composition.sum(1), 1)
    assert 0 <= simplex.composition.min() < 0.02
    _, free = simulate((300, 300), 200, composition="free")
    assert free.composition.mean() == pytest.approx(0.5, abs=0.06)
    assert free.composition.sum(1).std() > 0.2
    assert simulate((64, 64), 5, types=1, composition="free")[1].types == 1


def test_composition_decides_the_color():
    """Yellow takes away blue, magenta green, the third dye red: seen in the pixels at the centers."""
    image, truth = simulate((400, 400), 500, radius=5, noise=0, unevenness=0)
    slide, _ = simulate((16, 16), 0, noise=0, unevenness=0)
    lost = slide[0, 0] / image[np.rint(truth.y).astype(int).clip(0, 399), np.rint(truth.x).astype(int).clip(0, 399)]
    for dye, channel in ((0, 2), (1, 1), (2, 0)):
        pure = truth.composition[:, dye] > 0.9
        assert pure.sum() > 5
        assert (lost[pure].argmax(1) == channel).all()


def test_larger_droplets_absorb_more():
    image, truth = simulate((300, 300), 100, types=1, composition="free", radius=6, noise=0, unevenness=0, gray=True)
    center = image[np.rint(truth.y).astype(int).clip(0, 299), np.rint(truth.x).astype(int).clip(0, 299)]
    assert np.corrcoef(truth.radius * truth.composition[:, 0], center)[0, 1] < -0.8


@pytest.mark.parametrize("light_angle", [0.0, 90.0, 180.0, -45.0])
def test_darkness_is_centered_across_the_light_and_leans_away_along_it(light_angle):
    darkness, truth = alone(light_angle=light_angle)
    v, u = np.mgrid[:100, :100].astype(float)
    u, v = u - truth.x[0], v - truth.y[0]
    weight = np.where(np.hypot(u, v) < 12, darkness.mean(-1), 0)
    x, y = (weight * u).sum() / weight.sum() / 12, (weight * v).sum() / weight.sum() / 12
    c, s = np.cos(np.radians(light_angle)), np.sin(np.radians(light_angle))
    assert abs(-x * s + y * c) < 0.02
    assert -0.9 < x * c + y * s < -0.1


def test_dark_cap_bright_crescent_and_glow():
    darkness, truth = alone()
    x, y = round(truth.x[0]), round(truth.y[0])
    red = darkness[..., 0]
    assert red[y - 10, x] > 0.2  # the cap, on top
    assert red[y + 10, x] < red[y - 10, x] - 0.2
    assert red[y + 14, x] < -0.03  # brighter than the slide below the droplet
    assert red[y - 14, x] > red[y + 14, x]
    assert abs(red[y + 30, x]) < 0.005  # and nothing far from it


def test_a_droplet_touches_only_its_surroundings():
    empty, _ = simulate((100, 100), 0, noise=0, unevenness=0)
    assert np.ptp(empty, axis=(0, 1)).max() == 0
    darkness, truth = alone()
    v, u = np.mgrid[:100, :100]
    far = np.hypot(u - truth.x[0], v - truth.y[0]) > 40
    assert np.abs(darkness[far]).max() < 1e-6


def test_later_droplets_lie_over_earlier_ones():
    """Where two overlap, the image is closer to that of the later one alone."""
    from importlib import import_module

    from napari_droplets import Droplets

    module = import_module("napari_droplets.simulate")
    ground = np.full((60, 80, 3), 0.6, np.float32)
    absorbance = np.array([[2.0, 0, 0], [0, 0, 2.0]], np.float32)  # takes red, takes blue
    pair = Droplets(x=[35, 41], y=[30, 30], radius=[10, 10])

    def drawn(index):
        image = ground.copy()
        module._draw(image, pair[index], absorbance[index], np.pi / 2)
        return image[30, 38]

    over, under = drawn([0, 1]), drawn([1, 0])
    assert over[2] < over[0]
    assert under[0] < under[2]


def test_unevenness_and_noise_are_as_asked():
    even, _ = simulate((200, 200), 0, noise=0.03, unevenness=0)
    shares = even.std((0, 1)) / (0.03 * np.sqrt(0.5 + even.mean((0, 1))))
    np.testing.assert_allclose(shares, 1, atol=0.02)
    uneven, _ = simulate((200, 200), 0, noise=0, unevenness=0.1)
    assert uneven.std((0, 1)).min() > 0.01
    assert np.abs(np.diff(uneven, axis=0)).max() < 0.01  # smooth


def test_blur_softens():
    sharp, _ = simulate((100, 100), 20, blur=0, noise=0)
    soft, _ = simulate((100, 100), 20, blur=2, noise=0)
    assert np.abs(np.diff(soft, axis=0)).max() < 0.5 * np.abs(np.diff(sharp, axis=0)).max()


@pytest.mark.parametrize("radius", [0.5, 1.0, 40.0, 300.0])
def test_extreme_sizes(radius):
    image, truth = simulate((100, 300), 1, radius=radius, radius_spread=0)
    assert np.isfinite(image).all()
    assert len(truth) == 1


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"shape": (64,)}, "shape"),
        ({"shape": 64}, "shape"),
        ({"shape": (64, 8)}, "shape"),
        ({"shape": (64.0, 64)}, "shape"),
        ({"n": -1}, "n"),
        ({"n": 2.5}, "n"),
        ({"n": True}, "n"),
        ({"types": 0}, "types"),
        ({"types": 17}, "types"),
        ({"types": 1}, "types"),
        ({"radius": 0}, "radius"),
        ({"radius": float("nan")}, "radius"),
        ({"radius": "4"}, "radius"),
        ({"radius_spread": -0.1}, "radius_spread"),
        ({"seed": -1}, "seed"),
        ({"overlap": -0.1}, "overlap"),
        ({"overlap": 2.1}, "overlap"),
        ({"noise": -0.1}, "noise"),
        ({"blur": -1}, "blur"),
        ({"unevenness": 2}, "unevenness"),
        ({"light_angle": float("inf")}, "light_angle"),
        ({"composition": "pure"}, "composition"),
        ({"pixel_size_um": 0}, "pixel_size_um"),
    ],
)
def test_wrong_arguments_are_named(changed, named):
    arguments = {"shape": (64, 64), "n": 3} | changed
    with pytest.raises(InputError, match=rf"^{named}="):
        simulate(**arguments)


def test_sample():
    image, truth = sample()
    assert image.shape == (300, 400, 3)
    assert len(truth) == 300
    assert np.median(truth.radius) == pytest.approx(4.5, rel=0.1)
    assert gaps(truth).max() <= 0.3 + 1e-9
    hue_spread = (image - image.mean(-1, keepdims=True)).reshape(-1, 3).std(0)
    assert hue_spread.min() > 0.02  # colored


def test_name_of_module_and_function_coexist():
    """`napari_droplets.simulate` stays the function after the module of that name was imported."""
    code = "from napari_droplets.simulate import sample; import napari_droplets as nd; nd.simulate((32, 32), 1)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_needs_neither_jax_nor_napari():
    code = (
        "import sys; from napari_droplets.simulate import sample; sample(); "
        "sys.exit(str([m for m in ('jax', 'napari', 'qtpy') if m in sys.modules] or ''))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""
