"""Pixels that are read by parts against the arrays that they stand for, and the rule that divides droplets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_droplets import lazy
from napari_droplets.images import resampled
from napari_droplets.lazy import Block, LazyPixels, blocks, in_pieces, means
from napari_droplets.model.background import SplineGrid

ARRAY = np.random.default_rng(0).random((71, 53, 3), np.float32)


def read_by_parts(array, seen=None):
    def read(block):
        if seen is not None:
            seen.append(block)
        return array[block.slices]

    return LazyPixels(array.shape, read)


KEYS = [
    np.s_[:],
    np.s_[::3],
    np.s_[::11, ::7],
    np.s_[5, 3:9],
    np.s_[3:9, 5, 1],
    np.s_[..., 0],
    np.s_[..., 2:],
    np.s_[-5:, :-3],
    np.s_[4, 5, 1],
    np.s_[-1],
    np.s_[10:20:2, 3:40:9, :2],
    np.s_[30:10],
]


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_slices_are_those_of_an_array(key, monkeypatch):
    monkeypatch.setattr(lazy, "SIDE", 16)
    pixels = read_by_parts(ARRAY)
    for _ in range(2):  # the second time thinned copies are at hand
        np.testing.assert_array_equal(pixels[key], ARRAY[key])


def test_pairs_of_index_arrays_are_those_of_an_array_and_read_each_block_once(monkeypatch):
    monkeypatch.setattr(lazy, "SIDE", 16)
    rng = np.random.default_rng(1)
    y, x = rng.integers(0, 71, (9, 40)), rng.integers(0, 53, (9, 40))
    seen = []
    pixels = read_by_parts(ARRAY, seen)
    np.testing.assert_array_equal(pixels[y, x], ARRAY[y, x])
    assert len({(b.top // 16, b.left // 16) for b in seen}) == len(seen) == 5 * 4
    np.testing.assert_array_equal(pixels[y, x, 1], ARRAY[y, x, 1])
    np.testing.assert_array_equal(np.asarray(pixels), ARRAY)


@pytest.mark.parametrize("key", [np.s_[71], np.s_[::-1], np.s_[0, 0, 0, 0], (np.array([80]), np.array([0]))], ids=str)
def test_what_is_not_there_is_refused(key):
    with pytest.raises(IndexError):
        read_by_parts(ARRAY)[key]


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_each_droplet_has_one_block(height, width, side, seed):
    """Those beyond the border too, and those on a seam."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-20, width + 20, 50), rng.uniform(-20, height + 20, 50)
    x[:20], y[:20] = np.rint(2 * x[:20]) / 2, np.rint(2 * y[:20]) / 2
    owners = sum(b.owns(x, y, (height, width)).astype(int) for b in blocks((height, width), side))
    assert (owners == 1).all()


def test_blocks_cover_an_image_once():
    seen = np.zeros((71, 53), int)
    for block in blocks(seen.shape, 16):
        seen[block.slices] += 1
    assert (seen == 1).all()


def test_reached_are_those_within_reach():
    block = Block(10, 20, 30, 50)
    x, y = np.array([29.0, 25.0, 40.0, 54.5]), np.array([15.0, 15.0, 7.5, 15.0])
    assert block.reached(x, y, 5).tolist() == [True, True, True, False]
    assert block.reached(x, y, np.array([0.5, 6, 2, 6])).tolist() == [False, True, False, True]


def test_means_of_squares():
    wanted = ARRAY[:70, :49].reshape(10, 7, 7, 7, 3).mean((1, 3))
    np.testing.assert_allclose(means(read_by_parts(ARRAY), 7), wanted, rtol=1e-6)


def test_pieces_are_made_once_and_are_the_same_whatever_is_asked_for():
    made = []

    def make(block):
        made.append(block)
        return ARRAY[block.slices] + block.top  # depends on the piece

    pixels = in_pieces(ARRAY.shape, make, 32)
    whole = pixels[:]
    assert len(made) == 6
    np.testing.assert_array_equal(pixels[40:71, 20:50], whole[40:71, 20:50])


@pytest.mark.parametrize("step", [3, 9])
def test_each_piece_is_made_once_for_a_thinned_copy(step):
    """Of large images a row has more pieces than are at hand: looked at row by row, they were made again for each."""
    made = []

    def make(block):
        made.append(block)
        return ARRAY[block.slices]

    pixels = in_pieces(ARRAY.shape, make, 20, kept=2).map(lambda part: part + 1)
    np.testing.assert_array_equal(pixels[::step, 1:-1:step], ARRAY[::step, 1:-1:step] + 1)
    assert len(made) == len(set(made)) == len(list(blocks(ARRAY.shape, 20)))


@pytest.mark.parametrize("factor", [2, 1.3, 0.7, 0.25, 0.11])
def test_resizing_is_the_same_to_the_last_bit_by_parts(factor, monkeypatch):
    from napari_droplets.images import picture

    monkeypatch.setattr(picture, "SMALL", 0)
    monkeypatch.setattr(picture, "PIECE", 20)
    by_parts, whole = resampled(read_by_parts(ARRAY), factor), resampled(ARRAY, factor)
    assert isinstance(by_parts, LazyPixels)
    np.testing.assert_array_equal(by_parts[1:, 2:], whole[1:, 2:])
    monkeypatch.undo()
    np.testing.assert_allclose(whole, resampled(ARRAY, factor), atol=1e-5)  # as in one piece


@pytest.mark.parametrize("spacing", [20.0, 1000.0, np.inf])
def test_background_is_the_same_to_the_last_bit_by_parts(spacing):
    grid = SplineGrid.of(71, 53, spacing)
    a, b = (m.shape[1] for m in grid)
    coefficients = np.random.default_rng(2).random((a, b, 3))
    whole = grid.field(coefficients)
    np.testing.assert_allclose(whole, np.einsum("ha,abc,wb->hwc", grid.rows, coefficients, grid.columns), atol=1e-6)
    np.testing.assert_array_equal(grid.lazy_field(coefficients)[13:40, 7:31], whole[13:40, 7:31])
