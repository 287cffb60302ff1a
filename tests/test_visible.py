"""The one rule of what has to be found, and that scenes of all kinds go by it."""

import numpy as np
from test_fitted import made

from napari_droplets.training import fitted
from napari_droplets.training.fitted import FittedScenes
from napari_droplets.training.scenes import KINDS, visible
from napari_droplets.training.scenes.kinds import any_look


def test_what_can_be_seen_has_to_be_found():
    noise, strong = 0.02, 0.6
    around = np.arange(48) % 8  # directions
    rims = {
        "clear": (np.full(48, strong), 1.0, True),
        "a little hidden": (np.full(48, strong), 0.41, True),
        "hidden": (np.full(48, strong), 0.39, False),
        "a thin ring": (np.where(np.arange(48) < 8, strong, 0), 1.0, True),
        "half of the outline": (np.where(around < 4, strong, 0), 1.0, True),
        "less than half": (np.where(around < 3, strong, 0), 1.0, False),
        "faint": (np.full(48, 1.1 * 0.08 * strong), 1.0, True),
        "fainter": (np.full(48, 0.9 * 0.08 * strong), 1.0, False),
    }
    contrast, unhidden, expected = zip(*rims.values(), strict=True)
    seen = visible.visible(contrast, [around] * len(rims), np.array(unhidden), noise, np.full(len(rims), 7.0))
    assert dict(zip(rims, seen.tolist(), strict=True)) == dict(zip(rims, expected, strict=True))
    outside = [np.zeros(0)]
    assert visible.visible(outside, [np.zeros(0, int)], np.ones(1), noise, np.ones(1)).tolist() == [False]
    # noise hides what would be strong enough, unless it is averaged over a large area
    for radius, least in ((2.5, 1.152), (7.0, 0.504), (20.0, 0.176)):
        weak = [np.full(48, 1.05 * least * noise), np.full(48, 0.95 * least * noise)]
        seen = visible.visible(weak, [around] * 2, np.ones(2), noise, np.full(2, radius))
        assert seen.tolist() == [True, False]
    assert visible.visible([], [], np.zeros(0), noise, np.zeros(0)).shape == (0,)


def test_octants_part_the_circle_evenly():
    turn = np.linspace(0, 2 * np.pi, 800, endpoint=False) + 1e-3
    where = visible.octant(np.cos(turn), np.sin(turn))
    assert np.bincount(where).tolist() == [100] * 8
    assert (np.diff(where) != 0).sum() == 7 + (where[0] == where[-1])


def test_all_kinds_of_scenes_go_by_the_rule(monkeypatch):
    def none(contrast, direction, unhidden, noise, radius):
        assert len(contrast) == len(direction) == len(unhidden) == len(radius)
        assert noise > 0
        return np.zeros(len(unhidden), bool)

    look = FittedScenes.of([made()])
    for module, draw in ((any_look, KINDS["any"][1]), (visible, KINDS["smears"][1]), (fitted, look)):
        before = [draw(np.random.default_rng(i), 64) for i in range(4)]
        with monkeypatch.context() as patched:
            patched.setattr(module, "visible", none)
            after = [draw(np.random.default_rng(i), 64) for i in range(4)]
        assert sum(len(truth) for _, truth in before) > 10
        assert sum(len(truth) for _, truth in after) == 0
        for (image, _), (same, _) in zip(before, after, strict=True):
            np.testing.assert_array_equal(image, same)


def test_a_droplet_stands_out_by_what_it_changes_of_the_ground():
    v, u = np.mgrid[:150, :150]
    ground = np.full((150, 150, 1), 0.5)
    light = ground + 0.1 * (np.hypot(u - 12, v - 12) < 6)[..., None]
    circles = np.array([[12, 12, 6], [28, 28, 6], [170, 170, 6]])
    assert visible.stands_out(light, ground, circles, 0.05).tolist() == [True, False, False]
    assert visible.stands_out(light, ground, circles, 0.5).tolist() == [False] * 3
    # what is brighter than a camera can tell is not seen
    white = np.ones((150, 150, 1))
    assert not visible.stands_out(white + light - ground, white, circles, 0.01).any()
