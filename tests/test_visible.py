"""The one rule of what has to be found, and that both kinds of scenes go by it."""

import numpy as np
from test_fitted import made

from napari_droplets.training import fitted, scenes, visible
from napari_droplets.training.fitted import FittedScenes


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
    seen = visible.visible(contrast, [around] * len(rims), np.array(unhidden), noise)
    assert dict(zip(rims, seen.tolist(), strict=True)) == dict(zip(rims, expected, strict=True))
    outside = [np.zeros(0)]
    assert visible.visible(outside, [np.zeros(0, int)], np.ones(1), noise).tolist() == [False]
    # noise hides what would be strong enough
    weak = [np.full(48, 1.6 * noise), np.full(48, 1.4 * noise)]
    assert visible.visible(weak, [around] * 2, np.ones(2), noise).tolist() == [True, False]
    assert visible.visible([], [], np.zeros(0), noise).shape == (0,)


def test_octants_part_the_circle_evenly():
    turn = np.linspace(0, 2 * np.pi, 800, endpoint=False) + 1e-3
    where = visible.octant(np.cos(turn), np.sin(turn))
    assert np.bincount(where).tolist() == [100] * 8
    assert (np.diff(where) != 0).sum() == 7 + (where[0] == where[-1])


def test_both_kinds_of_scenes_go_by_the_rule(monkeypatch):
    def none(contrast, direction, unhidden, noise):
        assert len(contrast) == len(direction) == len(unhidden)
        assert noise > 0
        return np.zeros(len(unhidden), bool)

    look = FittedScenes.of([made()])
    for module, draw in ((scenes, scenes.scene), (fitted, look)):
        before = [draw(np.random.default_rng(i), 64) for i in range(4)]
        with monkeypatch.context() as patched:
            patched.setattr(module, "visible", none)
            after = [draw(np.random.default_rng(i), 64) for i in range(4)]
        assert sum(len(truth) for _, truth in before) > 10
        assert sum(len(truth) for _, truth in after) == 0
        for (image, _), (same, _) in zip(before, after, strict=True):
            np.testing.assert_array_equal(image, same)
