"""How many components an image needs."""

import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.inference.number_of_components import (
    BLOCK,
    HELD_OUT,
    Trial,
    _split,
    candidates,
    choose_types,
    compared,
    resolved,
)
from napari_droplets.progress import Clock
from napari_droplets.settings import AUTO, Settings


def trial(types, gain, seed=0, blocks=40, values=10_000.0):
    """A trial that is better than nothing by so much per value, the same luck for all of a seed."""
    luck = np.random.default_rng(seed).normal(0, 5, blocks)
    return Trial(types, gain * values / blocks + luck, values, 2.0)


def test_the_smallest_number_as_good_as_the_best_is_chosen():
    trials = [trial(1, 1.0), trial(2, 1.8), trial(3, 1.801)]
    chosen, rows = compared(trials)
    assert [row["types"] for row in rows] == [1, 2, 3]
    np.testing.assert_allclose([row["short"] for row in rows], [0.801, 0.001, 0], atol=1e-9)
    assert chosen == 2
    assert compared([trial(1, 1.0), trial(2, 1.5), trial(3, 1.8)])[0] == 3
    assert compared([trial(1, 1.8), trial(2, 1.79)])[0] == 1


def test_what_is_within_the_error_is_as_good():
    """The same lead in all blocks is sure, one that comes and goes from block to block is not."""
    sure = [trial(1, 1.95), trial(2, 1.97)]
    assert compared(sure)[0] == 2
    luck = [trial(1, 1.95, seed=1), trial(2, 1.97, seed=2)]
    luck = [t._replace(blocks=t.blocks * (1 + 0.5 * np.sin(t.types * np.arange(40)))) for t in luck]
    chosen, rows = compared(luck)
    assert max(row["short_error"] for row in rows) > max(row["short"] for row in rows)
    assert chosen == 1


def test_colors_tell_as_many_apart_as_there_are_channels():
    assert candidates(3, "free") == [1, 2, 3]
    assert candidates(3, "simplex") == [2, 3, 4]
    assert candidates(1, "free") == [1]
    assert candidates(1, "simplex") == [2]


def test_pixels_held_out_are_a_part_of_every_other_block():
    seen, judged = _split((128, 160), 0)
    assert not (seen & judged).any()
    assert (seen | judged).all()
    assert judged.mean() == pytest.approx(HELD_OUT / 2, abs=0.01)
    assert seen[:BLOCK, BLOCK : 2 * BLOCK].all()
    np.testing.assert_array_equal(judged, _split((128, 160), 0)[1])
    assert (judged != _split((128, 160), 1)[1]).any()


def answer(generator):
    """What a generator returns, and what it yields."""
    said = []
    while True:
        try:
            said.append(next(generator))
        except StopIteration as end:
            return end.value, said


def test_given_optics_and_known_compositions_have_their_number():
    image, start = nd.Image(np.zeros((8, 8, 3), np.float32)), nd.Droplets([3.0], [3.0], [2.0])
    automatic = Settings(types=AUTO)
    optics = nd.Optics({}, {}, 4, 3, 5.0, "free", "layered", 0.01, 0.7)
    assert answer(resolved(image, start, optics, automatic, Clock()))[0][0].types == 4
    known = nd.pure(start, 0, types=2)
    assert answer(resolved(image, known, None, automatic, Clock()))[0][0].types == 2
    given = Settings(types=5)
    assert answer(resolved(image, start, None, given, Clock())) == ((given, None), [])


def test_a_grey_image_has_one_component():
    """A whole trial: the table says how well pixels that were held out are foretold."""
    image, truth = nd.simulate((96, 96), 20, radius=6, seed=8, noise=0.02, gray=True)
    start = nd.Droplets(truth.x, truth.y, truth.radius)
    (types, tried), said = answer(
        choose_types(nd.Image(image[..., None]), start, Settings(types=AUTO, steps=50), Clock())
    )
    assert types == 1
    assert [row["types"] for row in tried] == [1]
    assert tried[0]["short"] == 0
    assert {p.stage for p in said} == {"types"}
    best = -np.log(0.02) - 0.5 - 0.5 * np.log(2 * np.pi)
    assert tried[0]["log_likelihood"] == pytest.approx(best, abs=1.0)
