"""Pixels without a picture: a fit does not look there, whatever they are filled with."""

import numpy as np
import pytest

import napari_droplets as nd
from napari_droplets.inference.prepare import prepare
from napari_droplets.settings import Settings

SETTINGS = {"population": "given", "types": 2, "noise": 0.02, "steps": 50}


def partly_hidden(fill):
    """An image (64, 80) whose last 24 columns are no picture, with values of `fill` there, and droplets in the rest."""
    pixels, truth = nd.simulate((64, 80), 12, radius=5, seed=2)
    hidden = np.zeros((64, 80), bool)
    hidden[:, 56:] = True
    pixels = np.array(pixels, np.float32)
    pixels[hidden] = fill(np.random.default_rng(0).random((hidden.sum(), pixels.shape[2])))
    image = nd.Image(pixels, hidden=hidden)
    return image, truth[truth.x + truth.radius < 52]


def test_they_do_not_count():
    image, truth = partly_hidden(lambda noise: 0)
    among = np.random.default_rng(1).random((64, 80)) < 0.5
    for scale in (1.0, 0.5):
        work = image.rescaled(scale)
        start = nd.Droplets(truth.x, truth.y, truth.radius).scaled(scale)
        for wanted in (None, among[: len(work.pixels), : work.shape[1]]):
            setup, state = prepare(work, start, None, Settings(scale=scale, types=2), wanted)
            assert not setup.counted[work.hidden].any()
            np.testing.assert_array_equal(setup.counted[~work.hidden], True if wanted is None else wanted[~work.hidden])
            assert not state.ground.empty[work.hidden].any()
            assert not state.pixels.weight[work.hidden[state.pixels.y, state.pixels.x]].any()


@pytest.mark.parametrize("again", [False, True])
def test_what_fills_them_changes_nothing(again):
    results = []
    for fill in (lambda noise: 0, lambda noise: noise):
        image, truth = partly_hidden(fill)
        result = nd.fit(image, nd.Droplets(truth.x, truth.y, truth.radius), **SETTINGS)
        if again:
            table = result.table
            table.loc[0, "x"] += 0.5
            result = nd.refit(result, table)
        results.append(result)
    one, other = results
    assert len(one.droplets) >= 3
    for name in ("x", "y", "radius", "composition", "x_sd"):
        np.testing.assert_allclose(getattr(one.droplets, name), getattr(other.droplets, name), rtol=1e-4)
    assert one.summary["rmse"] == pytest.approx(other.summary["rmse"], rel=1e-3)
    assert one.summary["loss"] == pytest.approx(other.summary["loss"], rel=1e-4)


def test_a_droplet_given_there_stays_as_told():
    image, truth = partly_hidden(lambda noise: noise)
    start = nd.Droplets(np.append(truth.x, 70), np.append(truth.y, 30), np.append(truth.radius, 4))
    result = nd.fit(image, start, **SETTINGS)
    np.testing.assert_allclose(
        [result.droplets.x[-1], result.droplets.y[-1], result.droplets.radius[-1]], [70, 30, 4], rtol=0.1
    )
    assert result.droplets.x_sd[-1] > 3 * np.median(result.droplets.x_sd[:-1])
