"""Lists of pixels: each covered one counted once, with the two droplets that are nearest there."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_droplets.model import assignment
from napari_droplets.model.assignment import REACH, ROW, SEEN, covered, covered_pixels, touching
from napari_droplets.model.outline import PIXEL_VARIANCE
from napari_droplets.model.problem import LEAST_ROWS, rows_of

SHAPE = (40, 56)
BLUR = 0.8
EDGE = np.hypot(BLUR, PIXEL_VARIANCE**0.5)


def circles(seed, n, radii=(1.0, 9.0)):
    """Droplets anywhere in the image and around it, no two pixels in a tie."""
    rng = np.random.default_rng(seed)
    return rng.uniform(-8, SHAPE[1] + 8, n), rng.uniform(-8, SHAPE[0] + 8, n), rng.uniform(*radii, n)


def distances(x, y, radius):
    v, u = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(u[..., None] - x, v[..., None] - y)


def reach_of(radius, reach=REACH):
    return np.maximum(reach * radius, radius + SEEN * EDGE)


@pytest.mark.parametrize("reach", [REACH, 1.9])
@given(seed=st.integers(0, 10_000), n=st.integers(1, 25))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_every_covered_pixel_counts_once_with_its_nearest_two(reach, seed, n):
    """Against all distances at once."""
    x, y, radius = circles(seed, n)
    away = distances(x, y, radius)
    near = away <= reach_of(radius, reach)
    place = np.where(near, away / radius, np.inf)
    order = np.argsort(place, -1)
    pixels = covered_pixels(x, y, radius, SHAPE, blur=BLUR, reach=reach)
    used = pixels.weight > 0
    subject = np.broadcast_to(pixels.row[:, None], used.shape)
    counted = np.zeros(SHAPE, int)
    np.add.at(counted, (pixels.y[used], pixels.x[used]), (pixels.own[used] > 0).astype(int))
    np.testing.assert_array_equal(counted, near.any(-1))
    np.testing.assert_array_equal(covered(x, y, radius, SHAPE, BLUR, reach), near.any(-1))
    listed = np.zeros((*SHAPE, n), int)
    np.add.at(listed, (pixels.y[used], pixels.x[used], subject[used]), 1)
    np.testing.assert_array_equal(listed, near)  # each one with every droplet that it is in reach of
    for k, px, py, other, own in zip(
        subject[used], pixels.x[used], pixels.y[used], pixels.other[used], pixels.own[used], strict=True
    ):
        first = order[py, px, 0]
        assert (own > 0) == (k == first)
        if own > 0:
            second = order[py, px, 1] if n > 1 else k
            partner = second if second != k and near[py, px, second] else n
        else:
            partner = first
        visible = partner < n and away[py, px, partner] < radius[partner] + SEEN * EDGE
        assert other == (partner if visible else n)


def test_rows_hold_one_droplet_each_and_those_with_others_come_first():
    x, y, radius = circles(3, 20)
    pixels = covered_pixels(x, y, radius, SHAPE, blur=BLUR)
    n = len(x)
    assert pixels.x.shape == pixels.y.shape == pixels.own.shape == pixels.other.shape == (len(pixels.row), ROW)
    assert 0 < pixels.crowded < len(pixels.row)
    beside = (pixels.other < n) & (pixels.weight > 0)
    assert beside[: pixels.crowded].all(1).sum() > 0
    assert (beside[: pixels.crowded] == (pixels.weight[: pixels.crowded] > 0)).all()
    assert not beside[pixels.crowded :].any()
    away = np.hypot(pixels.x - x[pixels.row, None], pixels.y - y[pixels.row, None])
    assert (away <= reach_of(radius)[pixels.row, None] + 1e-9)[pixels.weight > 0].all()
    for part in np.split(pixels.row, [pixels.crowded, pixels.within]):
        assert (np.diff(part) >= 0).all()
    empty = (pixels.weight == 0).sum(1)
    assert (empty < ROW).all()
    assert (pixels.own[pixels.weight == 0] == 0).all()


def test_thinned_lists_stand_for_the_whole_area():
    x, y, radius = np.array([30.0, 90, 150, 220]), np.array([30.0, 40, 95, 180]), np.array([4.0, 20, 33, 50])
    shape = (260, 300)
    whole = covered_pixels(x, y, radius, shape, blur=BLUR)
    thin = covered_pixels(x, y, radius, shape, blur=BLUR, most=300)
    assert (thin.weight > 0).sum() < 0.3 * (whole.weight > 0).sum()
    for k in range(4):
        areas = [pixels.weight[pixels.row == k].sum() for pixels in (whole, thin)]
        assert areas[1] == pytest.approx(areas[0], rel=0.06)
        assert areas[0] == pytest.approx(np.pi * reach_of(radius)[k] ** 2, rel=0.02)
        assert (thin.weight[thin.row == k] > 0).sum() < 450
    small = thin.weight[thin.row == 0]
    assert small.max() == 1
    assert (np.sqrt(np.unique(thin.weight)) % 1 == 0).all()


@pytest.mark.parametrize("most", [np.inf, 300])
def test_large_droplets_listed_one_by_one_are_listed_as_all_others(monkeypatch, most):
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-10, 310, 40), rng.uniform(-10, 270, 40)
    radius = np.where(np.arange(40) % 8 == 0, rng.uniform(45, 90, 40), rng.uniform(3, 12, 40))
    shape, mask = (260, 300), rng.random((260, 300)) < 0.002
    wanted = rng.random(40) < 0.7

    def lists():
        some = [covered_pixels(x, y, radius, shape, blur=BLUR, most=most, wanted=w) for w in (None, wanted)]
        return [*some[0], *some[1], covered(x, y, radius, shape, BLUR), touching(x, y, radius, mask)]

    before = lists()
    monkeypatch.setattr(assignment, "WIDE", 40)
    monkeypatch.setattr(assignment, "AT_ONCE", 30_000)
    for one, other in zip(before, lists(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_some_droplets_are_only_seen_beside_others():
    x, y, radius = circles(5, 12)
    wanted = np.arange(12) % 3 == 0
    pixels = covered_pixels(x, y, radius, SHAPE, blur=BLUR, wanted=wanted)
    whole = covered_pixels(x, y, radius, SHAPE, blur=BLUR)
    assert set(pixels.row) <= set(np.flatnonzero(wanted))
    assert not wanted[np.unique(pixels.other[pixels.other < 12])].all()
    for k in np.flatnonzero(wanted):
        parts = [
            sorted(
                zip(
                    *(getattr(p, name)[p.row == k].ravel() for name in ("x", "y", "other", "own", "weight")),
                    strict=True,
                )
            )
            for p in (pixels, whole)
        ]
        assert parts[0] == parts[1]


@pytest.mark.parametrize("where", [[], [-500.0]])
def test_nothing_to_list(where):
    """No droplets, or one that is in no image."""
    at = np.array(where)
    pixels = covered_pixels(at, at, np.full(len(at), 4.0), SHAPE, blur=BLUR)
    assert len(pixels.row) == pixels.crowded == 0
    assert pixels.x.shape == (0, ROW)
    assert not covered(at, at, np.full(len(at), 4.0), SHAPE, BLUR).any()
    rows = rows_of(pixels, np.zeros((*SHAPE, 3), np.float32), np.zeros((*SHAPE, 3), np.float32), 16)
    assert rows.values.shape == (LEAST_ROWS, ROW, 3)
    assert (rows.row == 15).all()
    assert (rows.weight == 0).all()


def test_rows_bring_their_intensities():
    rng = np.random.default_rng(0)
    image, ground = (rng.random((*SHAPE, 3)).astype(np.float32) for _ in range(2))
    x, y, radius = circles(1, 8)
    pixels = covered_pixels(x, y, radius, SHAPE, blur=BLUR)
    rows = rows_of(pixels, image, ground, 16)
    n = len(pixels.row)
    np.testing.assert_array_equal(rows.values[:n], image[pixels.y, pixels.x])
    np.testing.assert_array_equal(rows.ground[:n], ground[pixels.y, pixels.x])
    assert (rows.other[:n] == pixels.other).all()  # number 8 of the padded ones is none
    assert (rows.weight[n:] == 0).all()
    assert (rows.other[n:] == 15).all()
