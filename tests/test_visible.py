"""The one rule of what has to be found, and that both kinds of scenes go by it."""

import numpy as np
from test_fitted import made

from napari_droplets.training import fitted, scenes, visible
from napari_droplets.training.fitted import FittedScenes


def test_what_can_be_seen_has_to_be_found():
    noise, strong = 0.02, 0.6
    rims = {
        "clear": (np.full(50, strong), 1.0, True),
        "a little hidden": (np.full(50, strong), 0.41, True),
        "hidden": (np.full(50, strong), 0.39, False),
        "half of the outline": (np.r_[np.full(26, strong), np.zeros(24)], 1.0, True),
        "less than half": (np.r_[np.full(24, strong), np.zeros(26)], 1.0, False),
        "faint": (np.full(50, 1.1 * 0.08 * strong), 1.0, True),
        "fainter": (np.full(50, 0.9 * 0.08 * strong), 1.0, False),
        "out of the image": (np.zeros(0), 1.0, False),
    }
    contrast, unhidden, expected = zip(*rims.values(), strict=True)
    seen = visible.visible(contrast, np.array(unhidden), noise)
    assert dict(zip(rims, seen.tolist(), strict=True)) == dict(zip(rims, expected, strict=True))
    # noise hides what would be strong enough
    weak = [np.full(50, 1.6 * noise), np.full(50, 1.4 * noise)]
    assert visible.visible(weak, np.ones(2), noise).tolist() == [True, False]
    assert visible.visible([], np.zeros(0), noise).shape == (0,)


def test_both_kinds_of_scenes_go_by_the_rule(monkeypatch):
    def none(contrast, unhidden, noise):
        assert len(contrast) == len(unhidden)
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
