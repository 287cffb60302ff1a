"""Where fits start: the light is found, and compositions follow the dyes before the first step."""

import jax
import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.inference import start
from napari_droplets.inference.posterior import stick_breaking
from napari_droplets.inference.prepare import form_of, prepare
from napari_droplets.inference.svi import unpack
from napari_droplets.model.optics import weight_shapes
from napari_droplets.settings import Settings
from napari_droplets.simulate import LUMA, spectra


def started(image, droplets, optics=None, **settings):
    image = nd.Image(image if image.ndim == 3 else image[..., None])
    form = form_of(image.shape[2], Settings(**settings))
    point = start.starting_point(image, droplets, optics, form, float(np.median(droplets.radius)), 0)
    return point, compositions(point.composition, form.composition)


def compositions(logits, kind):
    """Compositions (N, K) of unconstrained ones."""
    return stick_breaking(logits) if kind == "simplex" else 1 / (1 + np.exp(-logits))


def found(truth):
    """The true places without the rest of the truth."""
    return nd.Droplets(truth.x, truth.y, truth.radius)


def explained(truth, made_of):
    """Part of the variance of `truth` that an affine map of compositions explains."""
    design = np.column_stack([made_of, np.ones(len(made_of))])
    left = truth - design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    return 1 - left.var(0).sum() / truth.var(0).sum()


@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_the_direction_of_the_light_is_found(angle, gray):
    """The start draws droplets with their bright side where the light of the simulation puts it."""
    image, truth = nd.simulate((128, 128), 40, radius=6, light_angle=angle, gray=gray, seed=angle)
    point, made_of = started(image, found(truth), types=2)
    offset = start._grid(0.9, 15)
    ground = np.median(image, (0, 1)).reshape(-1)
    look = start._rendered(point.weights, ground, offset, np.ones(1), made_of.mean(0, keepdims=True))[0].mean(-1)
    toward = (look - look.mean()) @ offset
    got = np.degrees(np.arctan2(toward[1], toward[0]))
    assert abs((got - angle + 180) % 360 - 180) < 25
    assert look.min() < ground.mean() - 0.1


@pytest.fixture(scope="module")
def dyed():
    return nd.simulate((160, 160), 70, radius=6, types=3, seed=3)


# types, composition, and the least part of the variance that a start explains in color and in gray; components that can
# become any others while the fit runs start rough, and five dyes at once leave hardly any light
KINDS = [
    (1, "free", 0.95, 0.6),
    (2, "free", 0.9, 0.8),
    (3, "free", 0.65, 0.8),
    (5, "free", 0.65, 0.25),
    (2, "simplex", 0.95, 0.9),
    (3, "simplex", 0.95, 0.85),
    (4, "simplex", 0.95, 0.85),
]


@pytest.mark.parametrize(("types", "composition", "color", "gray"), KINDS)
@pytest.mark.parametrize("channels", [3, 1])
def test_compositions_follow_the_dyes_from_the_start(types, composition, color, gray, channels):
    """As far as components and channels can hold them: what a unit of liquid absorbs, up to an affine map."""
    kind = {"types": types, "composition": composition}
    image, truth = nd.simulate((160, 160), 70, radius=6, seed=3, gray=channels == 1, **kind)
    setup = prepare(nd.Image(image.reshape(160, 160, channels)), found(truth), None, Settings(**kind))
    absorbed = truth.composition @ spectra(types)
    absorbed = absorbed @ LUMA[:, None] if channels == 1 else absorbed
    mean = jax.device_get(setup.state.parameters.mean)
    made_of = compositions(mean.droplets[:70, 3:], composition)
    assert made_of.shape == (70, types)
    assert 0 < made_of.min() < made_of.max() < 1
    np.testing.assert_allclose(made_of.sum(1), 1 if composition == "simplex" else made_of.sum(1), rtol=1e-5)
    assert explained(absorbed, made_of) > (gray if channels == 1 else color)
    shared = unpack(mean.shared, setup.form)
    assert {k: w.shape for k, w in shared.optics.items()} == weight_shapes(channels, types)
    assert np.isfinite(mean.shared).all()


def test_size_is_not_composition(dyed):
    """Larger droplets of a dye are darker, yet of the same composition."""
    image, truth = dyed
    _, made_of = started(image, found(truth), types=3)
    design = np.column_stack([truth.composition, np.ones(70)])
    rest = made_of - design @ np.linalg.lstsq(design, made_of, rcond=None)[0]
    assert explained(rest, np.log(truth.radius)[:, None]) < 0.3


def test_known_compositions_are_where_their_droplets_start(dyed):
    image, truth = dyed
    known = np.full((70, 3), np.nan)
    known[:10] = truth.composition[:10]
    given = nd.Droplets(truth.x, truth.y, truth.radius, composition=known)
    _, made_of = started(image, given, types=3, composition="simplex")
    np.testing.assert_allclose(made_of[:10], truth.composition[:10], atol=0.01)
    free = started(image, found(truth), types=3, composition="simplex")[1]
    np.testing.assert_allclose(made_of[10:], free[10:])
    assert np.abs(made_of[:10] - free[:10]).max() > 0.1


def test_optics_learned_before_are_where_the_next_fit_starts(dyed):
    image, truth = dyed
    point, made_of = started(image, found(truth), types=3)
    weights = point.weights
    learned = nd.Optics(weights, weights, 3, 3, 6.0, "free", "nearest", 0.031)
    again, same = started(image, found(truth), learned, types=3)
    assert again.noise == 0.031
    for name, weight in again.weights.items():
        np.testing.assert_array_equal(weight, weights[name])
    assert explained(truth.composition, same) > 0.7
    assert np.corrcoef(made_of[:, 0], same[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("composition", ["free", "simplex"])
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_droplets_are_enough(n, composition):
    image, truth = nd.simulate((48, 48), n, radius=6, seed=5)
    point, made_of = started(image, found(truth), types=3, composition=composition)
    assert made_of.shape == (n, 3)
    assert np.isfinite(point.composition).all()
    assert all(np.isfinite(w).all() for w in point.weights.values())


@pytest.mark.parametrize(("types", "composition"), [(1, "free"), (3, "free"), (3, "simplex"), (5, "simplex")])
def test_droplets_of_the_same_color(types, composition):
    """Discs all alike have one composition, and optics are finite."""
    image = np.full((96, 96, 3), 0.8, np.float32)
    v, u = np.mgrid[:96, :96]
    x, y = (a.ravel() for a in np.meshgrid([16.0, 48, 80], [16.0, 48, 80]))
    for a, b in zip(x, y, strict=True):
        image[np.hypot(u - a, v - b) < 6] = [0.3, 0.4, 0.6]
    point, made_of = started(image, nd.Droplets(x, y, np.full(9, 6.0)), types=types, composition=composition)
    assert np.isfinite(point.composition).all()
    assert all(np.isfinite(w).all() for w in point.weights.values())
    assert np.ptp(made_of, axis=0).max() < 0.1


def test_discs_of_one_color_are_no_dyed_lenses():
    """What looks otherwise starts from plain discs: no side of a droplet is darker than the other."""
    rng = np.random.default_rng(1)
    image = np.full((128, 128, 3), 0.2, np.float32)
    v, u = np.mgrid[:128, :128]
    x, y = (a.ravel() for a in np.meshgrid(np.arange(16.0, 128, 24), np.arange(16.0, 128, 24)))
    for a, b in zip(x, y, strict=True):
        image[np.hypot(u - a, v - b) < 7] = rng.uniform(0.5, 0.9, 3)
    image += 0.01 * rng.standard_normal(image.shape, np.float32)
    point, made_of = started(image, nd.Droplets(x, y, np.full(25, 7.0)))
    offset = start._grid(0.8, 9)
    look = start._rendered(point.weights, np.full(3, 0.2), offset, np.ones(25), made_of)
    assert np.abs(look - look.mean(1, keepdims=True)).mean() < 0.03
    seen = image[np.int32(y), np.int32(x)]
    assert np.abs(look.mean(1) - seen).mean() < 0.08
