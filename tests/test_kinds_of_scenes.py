"""Scenes of every kind: images with a truth, and what is particular about each."""

import numpy as np
import pytest

from napari_droplets.training.scenes import KINDS, RADII, mix
from napari_droplets.training.scenes.camera import Noise, draw_noise, grain, photographed
from napari_droplets.training.scenes.clutter import add_clutter
from napari_droplets.training.scenes.kinds.foam import _additive_distances, _cells, _packing
from napari_droplets.training.scenes.kinds.smears import _chains

SIDE = 64


@pytest.mark.parametrize("name", KINDS)
def test_every_scene_is_an_image_with_a_truth(name):
    draw = KINDS[name][1]
    count = 0
    for seed in range(12):
        image, truth = draw(np.random.default_rng([3, seed]), SIDE)
        again, same = draw(np.random.default_rng([3, seed]), SIDE)
        np.testing.assert_array_equal(image, again)
        np.testing.assert_array_equal(truth, same)
        assert image.shape == (SIDE, SIDE, 3)
        assert truth.shape == (len(truth), 3)
        assert image.dtype == truth.dtype == np.float32
        assert 0 <= image.min() <= image.max() <= 1
        assert np.all((truth[:, 2] >= RADII[0]) & (truth[:, 2] <= RADII[1]))
        outside = np.maximum(-0.5 - truth[:, :2], truth[:, :2] - (SIDE - 0.5)).max(1, initial=-1)
        assert np.all(outside < truth[:, 2])
        count += len(truth)
    assert (count == 0) == (name == "empty")


def test_shares_are_shares_and_all_kinds_are_drawn(monkeypatch):
    assert sum(share for share, _ in KINDS.values()) == pytest.approx(1)
    drawn = []
    fake = {name: (share, lambda rng, side, name=name: drawn.append(name)) for name, (share, _) in KINDS.items()}
    monkeypatch.setattr(mix, "KINDS", fake)
    rng = np.random.default_rng(0)
    for _ in range(2000):
        mix.scene(rng, SIDE)
    for name, (share, _) in KINDS.items():
        assert drawn.count(name) / 2000 == pytest.approx(share, abs=0.035)


def test_a_sharp_disc_has_the_area_that_its_radius_says():
    """Of single discs well inside of the image: the share of their contrast, added up, against pi r^2."""
    ratios = []
    for seed in range(500):  # the median's standard error is 0.003
        image, truth = KINDS["discs"][1](np.random.default_rng([8, seed]), 96)
        light = image.mean(-1).astype(float)
        ground = np.median(light)
        for x, y, r in truth.tolist():
            apart = np.hypot(truth[:, 0] - x, truth[:, 1] - y) - truth[:, 2]
            apart[np.argmin(np.hypot(truth[:, 0] - x, truth[:, 1] - y))] = np.inf
            reach = 1.6 * r + 2
            if apart.min(initial=np.inf) < reach or min(x, y, 95 - x, 95 - y) < reach or r < 3:
                continue
            v, u = np.mgrid[:96, :96]
            d = np.hypot(u - x, v - y)
            contrast = np.median(light[d < 0.5 * r]) - ground
            if abs(contrast) > 0.3:
                ratios.append((light - ground)[d < reach].sum() / contrast / (np.pi * r * r))
    assert len(ratios) > 20
    assert np.median(ratios) == pytest.approx(1, abs=0.01)


def test_cells_over_each_other_are_all_in_the_truth():
    deep = 0
    for seed in range(40):
        _, truth = KINDS["smears"][1](np.random.default_rng([5, seed]), 128)
        apart = np.hypot(*(truth[:, None, :2] - truth[None, :, :2]).transpose(2, 0, 1)) + 1e3 * np.eye(len(truth))
        deep += int((apart < 0.75 * (truth[:, None, 2] + truth[None, :, 2])).sum()) // 2
    assert deep > 60


def test_in_a_chain_each_cell_lies_over_the_one_before():
    rng = np.random.default_rng(2)
    chain = _chains(rng, 400, np.full(5, 10.0), 0.8)
    step = np.hypot(*np.diff(chain[:, :2], axis=0).T)
    assert np.sum((step > 11.9) & (step < 14.6)) >= 2


def test_bubbles_of_a_foam_are_told_from_gaps():
    """Circles that do not touch: each cell has the area of its circle, what lies between belongs to none."""
    circles = np.array([[20.3, 19.8, 9.1], [45.2, 24.4, 12.2], [23.7, 46.1, 7.3]])
    first, second, owner = _additive_distances(circles, 0.0, 0, 64)
    depth = np.minimum(0.5 * (second - first), -first)
    owner = np.where(depth > 0, owner, -1)
    assert (owner == -1).sum() == pytest.approx(64**2 - np.pi * (9.1**2 + 12.2**2 + 7.3**2), rel=0.01)
    np.testing.assert_allclose(_cells(owner, 3), circles, atol=0.1)


def test_grown_bubbles_share_the_wall_between_them():
    circles = np.array([[20.0, 30.0, 8.0], [44.0, 30.0, 8.0]])
    first, second, owner = _additive_distances(circles, 2.0, 0, 64)
    depth = np.minimum(0.5 * (second - first), 16 - first)
    assert np.all(owner[30, 20:32] == 0)
    assert np.all(owner[30, 33:44] == 1)
    assert depth[30, 32] == pytest.approx(0, abs=1e-5)
    assert depth[30, 28] == pytest.approx(4, abs=1e-5)


def test_packed_circles_do_not_overlap():
    circles = _packing(np.random.default_rng(0), 100, 10.0, 2.0, 20.0)
    apart = np.hypot(*(circles[:, None, :2] - circles[None, :, :2]).transpose(2, 0, 1)) + 1e3 * np.eye(len(circles))
    assert np.min(apart - circles[:, 2] - circles[:, None, 2]) > -1e-9
    assert circles[:, 2].max() > 4 * circles[:, 2].min()


def test_what_clutter_covers_is_not_to_be_found():
    left = shown = 0
    for seed in range(60):
        light = np.full((SIDE, SIDE, 1), 0.5, np.float32)
        v, u = np.mgrid[2:SIDE:6, 2:SIDE:6].reshape(2, -1)
        truth = np.stack([u, v, np.full(u.shape, 2.0)], -1).astype(float)
        image, kept = add_clutter(np.random.default_rng(seed), light, truth)
        changed = np.abs(image - light).max(-1) > 0.2
        assert changed.any() or len(kept) == len(truth) or seed
        for x, y, _ in kept:
            shown += bool(changed[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].all())
        left += len(kept)
    assert 0.3 < left / (60 * len(truth)) < 0.98
    assert shown < 0.03 * left


@pytest.mark.parametrize("manner", ["white", "blurred", "demosaiced", "denoised", "enlarged"])
def test_noise_has_its_level_and_is_shared_by_neighbors(manner):
    field = grain(np.random.default_rng(1), (160, 160, 3), Noise(manner, 0.1, 0.8, 0.0))
    assert field.shape == (160, 160, 3)
    assert field.std() == pytest.approx(1, abs=0.02)
    alike = np.mean(field[:, 1:] * field[:, :-1])
    assert (alike > 0.2) == (manner != "white")


def test_a_share_of_the_noise_is_shared():
    rng = np.random.default_rng(0)
    drawn = [draw_noise(rng) for _ in range(500)]
    assert np.mean([noise.manner != "white" for noise in drawn]) == pytest.approx(0.4, abs=0.06)
    assert {noise.manner for noise in drawn} == {"white", "blurred", "demosaiced", "denoised", "enlarged"}
    assert all(noise.alike >= noise.level for noise in drawn)


def test_positions_hold_at_every_scale():
    """A camera with more or fewer pixels sees the same place."""
    from napari_droplets.training.scenes.camera import Sketch

    def draw(rng, side, scale, noise):
        v, u = np.mgrid[:side, :side]
        x, y, r = ((20.0 + 0.5) * scale - 0.5, (33.0 + 0.5) * scale - 0.5, 9.0 * scale)
        inside = np.clip(0.5 + r - np.hypot(u - x, v - y), 0, 1)
        return Sketch(inside[..., None], np.array([[x, y, r]]))

    v, u = np.mgrid[:SIDE, :SIDE]
    for seed in range(30):
        image, truth = photographed(np.random.default_rng([1, seed]), SIDE, draw)
        if not len(truth):  # under clutter
            continue
        np.testing.assert_allclose(truth, [[20, 33, 9]], atol=0.2)
        inside = np.hypot(u - 20, v - 33) < 8
        outside = np.abs(np.hypot(u - 20, v - 33) - 11.5) < 1.5
        assert np.median(image[inside]) - np.median(image[outside]) > 0.5
