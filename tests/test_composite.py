"""Optics learned on several images: where parts are cut out, how they lie, and what each keeps for itself."""

from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import tifffile
from stand_in import StandIn

import napari_droplets as nd
from napari_droplets.droplets import Droplets
from napari_droplets.errors import InputError
from napari_droplets.images import Image
from napari_droplets.inference import composite, series
from napari_droplets.inference.api import start_of
from napari_droplets.inference.composite import Part, Seen, learn, side_by_side, spread
from napari_droplets.inference.start import empty_slide, grid_of
from napari_droplets.lazy import Block
from napari_droplets.model.assignment import covered
from napari_droplets.model.outline import GLOW_REACH
from napari_droplets.settings import Settings

GROUND, RED, BLUE = (0.7, 0.7, 0.6), (0.6, 0.2, 0.2), (0.2, 0.3, 0.6)


def found(x, y, radius=4.0):
    n = len(x)
    sd = np.full(n, 0.2)
    return Droplets(np.array(x, float), np.array(y, float), np.full(n, radius), sd, sd, sd, np.ones(n))


def painted(shape, droplets, colors):
    """Discs of these colors on an even ground."""
    pixels = np.empty((*shape, 3), np.float32)
    pixels[:] = GROUND
    v, u = np.indices(shape)
    for x, y, r, color in zip(droplets.x, droplets.y, droplets.radius, colors, strict=True):
        pixels[np.hypot(u - x, v - y) <= r] = color
    return pixels


def test_teachers_are_spread_and_the_others_stand_by():
    assert spread(9, 4) == [0, 3, 5, 8, 1, 2, 4, 6, 7]
    assert spread(3, 4) == [0, 1, 2]
    assert spread(1, 4) == [0]


def test_parts_are_cut_out_where_colors_are_that_none_has_shown(monkeypatch):
    """Red droplets are everywhere, six blue ones in a corner."""
    x, y = (a.ravel() for a in np.meshgrid(np.arange(12, 400, 24), np.arange(12, 400, 24)))
    droplets = found(x, y)
    blue = (x > 340) & (y < 60)
    assert blue.sum() == 6
    image = Image(painted((400, 400), droplets, [BLUE if b else RED for b in blue]))
    monkeypatch.setattr(composite, "start_of", lambda *_: droplets)
    seen = Seen()
    part = seen.part_of(image, Settings())
    assert part.image.shape == (200, 200, 3)
    assert np.isclose(part.image.pixels, BLUE, atol=1e-6).all(-1).any()
    inside = part.droplets
    at = np.rint(inside.y).astype(int), np.rint(inside.x).astype(int)
    assert len(inside) > 50
    colors = part.image.pixels[at[0].clip(0, 199), at[1].clip(0, 199)]
    assert (np.isclose(colors, RED, atol=1e-6) | np.isclose(colors, BLUE, atol=1e-6)).all()


def test_where_there_is_no_droplet_nothing_is_cut_out(monkeypatch):
    monkeypatch.setattr(composite, "start_of", lambda *_: found([50], [50], 60.0))  # larger than any part
    with pytest.raises(InputError, match="no droplets"):
        Seen().part_of(Image(np.zeros((200, 200, 3), np.float32)), Settings())


def test_side_by_side_no_droplet_reaches_from_one_part_into_another():
    parts = [
        Part(Image(np.full((60, 50, 3), level, np.float32)), found([0, 49, 25, 49 + radius], [0, 59, 30, 20], radius))
        for level, radius in ((0.2, 3.0), (0.5, 8.0), (0.8, 5.0))
    ]
    image, droplets, tiles = side_by_side(parts)
    assert len(tiles) == 3
    assert len({tile.shape for tile in tiles}) == 1
    for i, (tile, level) in enumerate(zip(tiles, (0.2, 0.5, 0.8), strict=True)):
        own = droplets[4 * i : 4 * i + 4]
        reached = covered(own.x, own.y, own.radius, image.shape[:2], 0.7, GLOW_REACH) & ~image.hidden
        assert reached[tile.slices].any()
        reached[tile.slices] = False
        assert not reached.any()
        seen = image.pixels[tile.slices][~image.hidden[tile.slices]]
        assert len(seen) == 60 * 50
        assert (seen == np.float32(level)).all()
    assert image.hidden[tiles[-1].top :, tiles[-1].right :].all()


def test_each_tile_has_a_background_of_its_own():
    tiles = (Block(0, 80, 0, 90), Block(0, 80, 90, 180))
    rng = np.random.default_rng(0)
    pixels = np.full((80, 180, 3), 0.6, np.float32)
    pixels[:, 90:] = 0.3  # a step that no smooth field could follow
    noisy = (pixels + 0.01 * rng.standard_normal(pixels.shape)).astype(np.float32)
    for background in ("smooth", "uniform"):
        grid = grid_of((80, 180), np.array([5.0]), background, tiles)
        ground = empty_slide(noisy, grid, np.zeros((80, 180), bool), 0.01)
        assert np.abs(ground.field - pixels).max() < 0.01


def reading(images):
    """What `learn` takes, and which of them were read."""
    read = []

    def load(i):
        read.append(i)
        if isinstance(images[i], Exception):
            raise images[i]
        return images[i]

    return [(i, lambda i=i: load(i)) for i in range(len(images))], read


def test_teachers_that_cannot_teach_give_way(monkeypatch):
    color, gray = (Image(np.zeros((200, 200, c), np.float32)) for c in (3, 1))
    monkeypatch.setattr(composite, "start_of", lambda image, *_: found([99], [99]))
    monkeypatch.setattr(composite, "compiled_ahead", lambda *_: nullcontext())
    taught = []

    def fitted(parts, *_):
        taught.append(tuple(parts))
        yield from ()

    monkeypatch.setattr(composite, "_fitted", fitted)
    images, read = reading([color, InputError("no"), gray, OSError("gone"), color, color])
    steps = learn(images, 2, Settings())
    assert {p.stage for p in steps} == {"optics"}
    assert taught == [(0, 4)]
    assert read == [0, 1, 2, 3, 4]
    images, read = reading([color] + 20 * [InputError("empty")])
    list(learn(images, 2, Settings()))
    assert taught == [(0, 4)]  # one alone does not teach
    assert len(read) == composite.MOST_TRIED * 2


def test_what_was_looked_through_whole_need_not_be_looked_through_again():
    """Candidates of a teacher are what its own fit starts from, to the last digit."""
    image = Image(nd.simulate((96, 112), 12, seed=3)[0], "a")
    seen = composite.Seen()
    seen.part_of(image, Settings())
    known, again = seen.candidates[image.sha256].to_dataframe(), start_of(image, None, Settings()).to_dataframe()
    pd.testing.assert_frame_equal(known, again, check_exact=True)
    for settings in (Settings(scale=0.5), Settings(region=(0, 0, 96, 96))):
        seen = composite.Seen()
        seen.part_of(image, settings)
        assert not seen.candidates  # of other pixels


def test_candidates_of_teachers_are_what_their_fits_start_from(monkeypatch):
    images = [Image(nd.simulate((64, 64), 5, seed=seed)[0], str(seed)) for seed in range(3)]
    given = []

    def learned(*arguments):
        taught = yield from StandIn().learn(*arguments)
        return taught._replace(candidates={images[1].sha256: "candidates"})

    def iterate(image, candidates, **options):
        given.append((image.name, candidates))
        yield from ()

    monkeypatch.setattr(composite, "learn", learned)
    monkeypatch.setattr(series, "fit", lambda image, **options: given.append((image.name, None)))
    monkeypatch.setattr(series, "iterate", iterate)
    list(nd.fit_series(images, learn_optics=True))
    assert given == [("0", None), ("1", "candidates"), ("2", None)]


def test_pictures_of_a_file_and_of_an_array_teach_together(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 24, 32), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, imagej=True, metadata={"axes": "TYX"})
    stand_in = StandIn()
    monkeypatch.setattr(composite, "learn", stand_in.learn)
    monkeypatch.setattr(series, "fit", stand_in.fit)
    for images in (tmp_path / "a.tif", pixels):
        assert len(list(nd.fit_series(images))) == 3
        assert [optics.weights["w"].tolist() for optics, _ in stand_in.given[-3:]] == [[0, 1, 2]] * 3
    assert len(list(nd.fit_series(tmp_path / "a.tif", frames=[0, 2]))) == 2
    assert stand_in.given[-1][0].weights["w"].tolist() == [0, 1]


def test_stopped_while_images_are_looked_through(monkeypatch):
    images, read = reading(3 * [Image(np.zeros((200, 200, 3), np.float32))])
    steps = learn(images, 3, Settings())
    next(steps)
    with pytest.raises(StopIteration) as end:
        steps.send(False)
    assert end.value.value is None
    assert read == []


def test_images_of_a_generator_are_not_read_ahead(monkeypatch):
    """The first one teaches, so that it is fitted before the second has to be there."""
    asked = []
    monkeypatch.setattr(
        "napari_droplets.inference.series.fit", lambda image, **settings: asked.append(settings) or 1 / 0
    )
    rng = np.random.default_rng(0)
    series = nd.fit_series(rng.random((20, 20, 3), np.float32) for _ in range(3))
    with pytest.raises(ZeroDivisionError):
        next(series)
    assert asked[0]["optics"] is None
