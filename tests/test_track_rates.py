"""Rates of tracks: their intervals hold the truth as often as they say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_droplets.tracking.events import Event
from napari_droplets.tracking.rates import RESPONSE, WANDERING, track_table
from napari_droplets.tracking.tracks import Tracks, with_ids


def followed(radius, time=None, **columns):
    """Tracks of droplets with radii (N, T) at fixed places."""
    n, t = radius.shape
    frame = np.tile(np.arange(t), n)
    table = pd.DataFrame({"frame": frame, "x": 50.0, "y": 50.0, "radius": radius.ravel(), **columns})
    if time is not None:
        table["time_s"] = time[frame]
    rows = np.arange(n * t).reshape(n, t)
    links = np.stack([rows[:, :-1].ravel(), rows[:, 1:].ravel()], 1)
    return with_ids(Tracks(table, links, options={"shape": (100, 100)}))


@pytest.mark.parametrize("frames", [5, 12, 30])
@pytest.mark.parametrize("law", ["straight", "evaporation"])
def test_intervals_hold_the_slope(frames, law):
    rng = np.random.default_rng(frames)
    start = rng.uniform(6, 12, (600, 1))
    steps = np.arange(frames)
    truth = start + 0.03 * steps if law == "straight" else np.sqrt(start**2 - 25 / frames * steps)
    found = track_table(followed(truth * np.exp(0.02 * rng.standard_normal(truth.shape))))
    slope = np.polyfit(steps, truth.T, 1)[0]
    held = (found["dr_dt_low"] <= slope) & (slope <= found["dr_dt_high"])
    assert 0.91 <= held.mean() <= 0.985
    squares = np.polyfit(steps, truth.T**2, 1)[0]
    assert 0.91 <= ((found["dr2_dt_low"] <= squares) & (squares <= found["dr2_dt_high"])).mean() <= 0.99


def test_errors_that_last_widen_the_intervals():
    rng = np.random.default_rng(1)
    truth = np.full((300, 30), 8.0)
    noise = 0.1 * rng.standard_normal((300, 34))
    lasting = sum(noise[:, k : k + 30] for k in range(5)) / 5**0.5
    narrow, wide = (track_table(followed(truth + e))["dr_dt_sd"].median() for e in (noise[:, :30], lasting))
    true = np.polyfit(np.arange(30), (truth + lasting).T, 1)[0].std()
    assert wide > 1.2 * narrow
    assert narrow < wide < 1.1 * true


def test_rates_are_in_seconds_where_times_are_known():
    radius = 5 + 0.1 * np.arange(6)[None] + np.zeros((3, 1))
    assert track_table(followed(radius))["dr_dt"].to_numpy() == pytest.approx(0.1)
    assert track_table(followed(radius, np.arange(6) * 2.0))["dr_dt"].to_numpy() == pytest.approx(0.05)


def test_a_scale_that_may_be_wrong_is_an_error_of_every_rate():
    rng = np.random.default_rng(2)
    radius = 20 - 0.3 * np.arange(30) + 0.01 * rng.standard_normal((50, 30))
    alone = track_table(followed(radius))["dr_dt_sd"].median()
    tracks = followed(radius, radius_sd=0.04 * radius.ravel())
    shared = track_table(tracks)["dr_dt_sd"].median()
    both = 0.3 * 0.04 * np.hypot(1, RESPONSE)  # of the scale, and of the response
    assert shared == pytest.approx(np.hypot(alone, both), rel=0.1)
    # merges tell how radii respond: two alike give 2^(1/3) of one ...
    right = Event(30, (0, 60), -1, 1.0, 0.0, 0.06, 0.0, 0.0)
    told = track_table(replace(tracks, merges=(right,) * 30))["dr_dt_sd"].median()
    assert told == pytest.approx(np.hypot(alone, 0.3 * 0.04), rel=0.1)
    # ... or less, by a tenth: 2^(0.9 / 3)
    less = replace(right, volume_residual=2**-0.1 - 1)
    told = track_table(replace(tracks, merges=(less,) * 30))["dr_dt_sd"].median()
    assert told == pytest.approx(0.3 * np.hypot(0.04, 0.1), rel=0.1)


def test_errors_of_droplets_that_change_over_their_tracks_are_counted():
    rng = np.random.default_rng(4)
    wandering = WANDERING * 0.04 * rng.standard_normal((600, 1)) * np.linspace(-0.5, 0.5, 30)  # seen by no scatter
    radius = 20 * (1 + wandering + 1e-4 * rng.standard_normal((600, 30)))
    for stated, low, high in ((None, 0.0, 0.7), (0.04 * radius.ravel(), 0.91, 0.985)):
        found = track_table(followed(radius, **({} if stated is None else {"radius_sd": stated})))
        assert low <= ((found["dr_dt_low"] <= 0) & (found["dr_dt_high"] >= 0)).mean() <= high


def test_measurements_that_are_worse_than_others_count_as_such():
    rng = np.random.default_rng(3)
    worse = np.where(np.arange(15) > 11, 8.0, 1.0)  # in the last frames, as of droplets that leave the image
    error = 0.05 * worse * rng.standard_normal((500, 15))
    stated = np.broadcast_to(0.05 * worse, error.shape).ravel()
    true = np.polyfit(np.arange(15), error.T, 1)[0]
    told, untold = track_table(followed(8 + error, radius_sd=stated)), track_table(followed(8 + error))
    assert told["dr_dt_sd"].median() == pytest.approx(true.std(), rel=0.15)
    assert untold["dr_dt_sd"].median() < 0.8 * true.std()
    assert 0.91 <= ((told["dr_dt_low"] <= 0) & (told["dr_dt_high"] >= 0)).mean() <= 0.985


def test_one_frame_gives_no_rate():
    found = track_table(followed(np.full((4, 1), 5.0)))
    assert found["dr_dt"].isna().all()
    assert found["n_frames"].tolist() == [1] * 4


def test_components_change_at_rates_too():
    change = np.tile(0.2 + 0.02 * np.arange(10), 5)
    found = track_table(followed(np.full((5, 10), 5.0), composition_0=change, composition_1=1 - change))
    np.testing.assert_allclose(found["dcomposition_0_dt"], 0.02)
    np.testing.assert_allclose(found["dcomposition_1_dt"], -0.02)
