"""Where fits start: compositions follow the dyes, optics draw the colors seen, light outside of droplets is told."""

import jax
import numpy as np
import pytest
from drawn import discs, lattice

import napari_droplets as nd
from napari_droplets.inference import start
from napari_droplets.inference.loop import HALF_LIGHT, HALF_UNEXPLAINED, outline_trust
from napari_droplets.inference.prepare import prepare
from napari_droplets.model.assignment import covered
from napari_droplets.model.optics import weight_shapes
from napari_droplets.model.picture import draw
from napari_droplets.model.problem import PLACE
from napari_droplets.settings import Settings
from napari_droplets.transforms import constrained


def places(truth):
    """The true places without the rest of the truth."""
    return nd.Droplets(truth.x, truth.y, truth.radius)


def started(image, droplets, optics=None, **settings):
    """What a fit of the droplets starts from, and their compositions (N, K)."""
    chosen = Settings(**settings)
    pixels = image if image.ndim == 3 else image[..., None]
    setup, state = prepare(nd.Image(np.float32(pixels)), droplets, optics, chosen)
    return setup, state, constrained(state.mean[:, PLACE:].T, chosen.composition).T


def rendered(setup, state, made_of, droplets):
    return draw(droplets.x, droplets.y, droplets.radius, made_of, state.ground.field, state.shared)


def explained(truth, made_of):
    """Part of the variance of `truth` that an affine map of compositions explains."""
    design = np.column_stack([made_of, np.ones(len(made_of))])
    left = truth - design @ np.linalg.lstsq(design, truth, rcond=None)[0]
    return 1 - left.var(0).sum() / truth.var(0).sum()


@pytest.fixture(scope="module")
def dyed():
    return nd.simulate((160, 160), 70, radius=6, types=3, seed=3)


# types, composition, channels, and the least part of the variance that a start explains
KINDS = [
    (1, "free", 3, 0.6),
    (3, "free", 3, 0.95),
    (2, "simplex", 1, 0.9),
    (3, "simplex", 3, 0.7),
    (4, "simplex", 3, 0.9),
]


@pytest.mark.parametrize(("types", "composition", "channels", "least"), KINDS)
def test_compositions_follow_the_colors_from_the_start(types, composition, channels, least):
    """As far as components and channels can hold them: what the middles of droplets absorb, up to an affine map."""
    kind = {"types": types, "composition": composition}
    image, truth = nd.simulate((160, 160), 70, radius=6, seed=3, gray=channels == 1, **kind)
    _setup, state, made_of = started(image, places(truth), **kind)
    circles = truth.x, truth.y, truth.radius
    pixels = image.reshape(160, 160, channels)
    behind = start.disc_colors(state.ground.field, *circles)
    absorbed = -start.logit_change(start.disc_colors(pixels, *circles), behind)
    power = start.thickness(absorbed, truth.radius, np.ones(70, bool))
    absorbed = absorbed / truth.radius[:, None] ** power
    assert made_of.shape == (70, types)
    assert 0 < made_of.min() < made_of.max() < 1
    if composition == "simplex":
        np.testing.assert_allclose(made_of.sum(1), 1, rtol=1e-5)
    assert explained(absorbed, made_of) > least
    assert {k: w.shape for k, w in state.shared.optics.items()} == weight_shapes(channels, types)
    assert all(np.isfinite(w).all() for w in state.shared.optics.values())
    assert (state.mean[:, :PLACE] == 0).all()


def test_the_start_draws_the_colors_seen(dyed):
    """Before the first step most of what droplets change in the image is there, the bright side of each too."""
    image, truth = dyed
    setup, state, made_of = started(image, places(truth))
    before = np.mean((image - state.ground.field) ** 2)
    assert np.mean((image - rendered(setup, state, made_of, truth)) ** 2) < 0.35 * before


def test_known_compositions_are_where_their_droplets_start_and_are_held(dyed):
    image, truth = dyed
    known = {f"known_composition_{k}": np.where(np.arange(70) < 10, truth.composition[:, k], np.nan) for k in range(3)}
    given = nd.Droplets(truth.x, truth.y, truth.radius, labels=known)
    kind = {"types": 3, "composition": "simplex"}
    total = truth.composition.sum(1, keepdims=True)
    known = {k: v / total[:, 0] for k, v in known.items()}
    given = nd.Droplets(truth.x, truth.y, truth.radius, labels=known)
    setup, _, made_of = started(image, given, **kind)
    np.testing.assert_allclose(made_of[:10], (truth.composition / total)[:10], atol=2e-3)
    assert not setup.free[:10, PLACE:].any()
    assert setup.free[10:].all()
    assert setup.free[:, :PLACE].all()


def test_compositions_under_given_optics_are_those_the_image_was_drawn_with(dyed):
    image, truth = dyed
    setup, state, made_of = started(image, places(truth))
    drawn = np.float32(rendered(setup, state, made_of, truth))
    weights = dict(state.shared.optics)
    learned = nd.Optics(weights, {}, 3, 3, float(state.shared.length), "free", "layered", 0.01, 0.7)
    setup, again, same = started(drawn, places(truth), learned, learn_optics=False)
    for name, weight in again.shared.optics.items():
        np.testing.assert_array_equal(weight, weights[name])
    assert not setup.learning
    left = np.mean((drawn - rendered(setup, again, same, truth)) ** 2)
    assert left < 0.07 * np.mean((drawn - again.ground.field) ** 2)


def test_compositions_of_a_table_are_taken_up(dyed):
    image, truth = dyed
    told = nd.Droplets(truth.x, truth.y, truth.radius, composition=np.full((70, 3), 0.3))
    setup, _, made_of = started(image, told)
    np.testing.assert_allclose(made_of, 0.3, atol=1e-6)
    assert setup.free.all()


@pytest.mark.parametrize("composition", ["free", "simplex"])
@pytest.mark.parametrize("n", [1, 2])
def test_one_or_two_droplets_are_enough(n, composition):
    image, truth = nd.simulate((48, 48), n, radius=6, seed=5)
    _, state, made_of = started(image, places(truth), types=3, composition=composition)
    assert made_of.shape == (n, 3)
    assert np.isfinite(state.mean).all()
    assert all(np.isfinite(w).all() for w in state.shared.optics.values())


@pytest.mark.parametrize(("types", "composition"), [(1, "free"), (3, "free"), (3, "simplex")])
def test_droplets_of_the_same_color(types, composition):
    """Discs all alike have one composition, and optics are finite."""
    droplets = lattice((96, 96), [6.0])
    image = discs(droplets.x, droplets.y, droplets.radius, (96, 96), 0.4, 0.8)
    _, state, made_of = started(image, droplets, types=types, composition=composition)
    assert all(np.isfinite(w).all() for w in state.shared.optics.values())
    assert np.ptp(made_of, axis=0).max() < 0.1


def test_light_outside_is_none_around_discs_and_some_around_lenses():
    """The more of it, the less the outline is trusted."""
    droplets = lattice((128, 128), [8.0])
    circles = droplets.x, droplets.y, droplets.radius
    plain = discs(*circles, (128, 128), 0.3, 0.7, noise=0.01)
    v, u = np.mgrid[:128, :128]
    beyond = np.min(np.hypot(u[..., None] - droplets.x, v[..., None] - droplets.y) - 8, -1)
    shining = plain + np.float32(0.16 * np.exp(-np.maximum(beyond, 0) / 2) * (beyond > 0))[..., None]
    lights = []
    for image in (plain, shining):
        grid = start.grid_of((128, 128), droplets.radius, "uniform")
        ground = start.empty_slide(image, grid, covered(*circles, (128, 128), 0.7), 0.01)
        lights.append(start.light_outside(image, ground, *circles, 0.7).there)
    assert lights[0] < 0.01
    assert lights[1] > 0.03
    assert outline_trust(lights[0], 0.0) > 0.98
    assert outline_trust(lights[1], 0.0) < 0.5


@pytest.mark.parametrize("gray", [False, True])
def test_light_outside_is_the_same_of_the_same_image_at_half_the_size(gray):
    """Although the blurred outline hides the inner part of the ring then."""
    image, truth = nd.simulate((128, 128), 24, radius=6, seed=6, gray=gray)
    half = nd.Image(np.float32(np.atleast_3d(image))).rescaled(0.5).pixels
    whole, smaller = (started(a, d)[0].light for a, d in ((image, places(truth)), (half, places(truth).scaled(0.5))))
    assert smaller == pytest.approx(whole, rel=0.35)


def test_nothing_is_compiled_anew_where_less_of_the_surroundings_is_seen():
    """Else each image of a long batch may bring programs of its own."""
    droplets = lattice((128, 128), [8.0])
    circles = droplets.x, droplets.y, droplets.radius
    image = discs(*circles, (128, 128), 0.3, 0.7, noise=0.01)
    grid = start.grid_of((128, 128), droplets.radius, "uniform")
    ground = start.empty_slide(image, grid, covered(*circles, (128, 128), 0.7), 0.01)
    start.light_outside(image, ground, *circles, 0.7)
    client = jax.devices()[0].client
    before = len(client.live_executables())
    v, u = np.mgrid[:128, :128]
    nearest = np.argmin(np.hypot(u[..., None] - droplets.x, v[..., None] - droplets.y), -1)
    half = ground._replace(empty=ground.empty & (u < droplets.x[nearest]))
    assert np.isfinite(start.light_outside(image, half, *circles, 0.7).there)
    assert len(client.live_executables()) <= before


def test_light_that_cannot_be_seen_is_not_a_number():
    """Droplets so small that their blurred edge fills the surroundings."""
    droplets = lattice((64, 64), [2.0])
    circles = droplets.x, droplets.y, droplets.radius
    image = discs(*circles, (64, 64), 0.3, 0.7)
    ground = start.empty_slide(
        image, start.grid_of((64, 64), droplets.radius, "uniform"), covered(*circles, (64, 64), 0.7), 0.01
    )
    assert np.isnan(start.light_outside(image, ground, *circles, 0.7).there)


def test_pixels_are_trusted_where_they_show_the_edge_of_all():
    assert outline_trust(0.0, 0.0) == 1
    assert outline_trust(HALF_LIGHT, 0.0) == 0.5
    assert outline_trust(0.0, HALF_UNEXPLAINED) == 0.5
    assert outline_trust(np.nan, 0.0) == 1
    assert outline_trust(np.nan, HALF_UNEXPLAINED) < 0.02
    assert outline_trust(0.2, 0.2) < 1e-3


def test_deviations_of_y_are_its_own(dyed):
    image, truth = dyed
    some = places(truth)[:3]
    told = nd.Droplets(some.x, some.y, some.radius, np.full(3, 0.3), np.full(3, 0.9), np.full(3, 0.2))
    prior = started(image, told)[0].prior
    np.testing.assert_allclose(prior.sd * some.radius[:, None], np.tile([0.3, 0.9, 0.2], (3, 1)))
    same = nd.Droplets(some.x, some.y, some.radius, np.full(3, 0.3), None, np.full(3, 0.2))
    prior = started(image, same)[0].prior
    np.testing.assert_allclose(prior.sd * some.radius[:, None], np.tile([0.3, 0.3, 0.2], (3, 1)))
