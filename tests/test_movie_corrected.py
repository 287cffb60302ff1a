"""A frame of a movie fitted again after it was edited."""

import numpy as np
import pytest

from napari_droplets.errors import InputError
from napari_droplets.movies.corrected import refit_frame
from napari_droplets.movies.footage import footage_of
from napari_droplets.settings import Settings


def result(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def test_what_was_moved_stays_and_what_is_far_is_left(simulated, fitted):
    frames = np.stack([simulated[0], simulated[0]])
    settings = Settings(steps=100)
    table = fitted.table.set_axis(fitted.table.index + 7, axis=0)
    table["frame"] = 1
    alone = int(table.index[5])
    moved = table.copy()
    moved.loc[alone, "x"] += 2.0
    moved.loc[alone, "composition_0"] = np.nan
    rows = result(refit_frame(footage_of(frames, settings), fitted.optics, settings, 1, moved, table.index[[5]]))
    assert rows.loc[alone, "x"] == moved.loc[alone, "x"]
    assert rows.loc[alone, "radius"] == moved.loc[alone, "radius"]
    assert 0 <= rows.loc[alone, "composition_0"] <= 1
    x, y, radius = table.loc[alone, ["x", "y", "radius"]]
    away = np.hypot(rows["x"] - x, rows["y"] - y)
    assert (away < 2 + 3 * radius + rows["radius"]).all()
    assert len(rows) < len(table) / 2
    assert (rows["frame"] == 1).all()


def test_a_droplet_outside_of_the_frame_is_told(simulated, fitted):
    frames = np.stack([simulated[0], simulated[0]])
    table = fitted.table.iloc[:3].copy()
    table.loc[0, "x"] = -500.0
    settings = Settings(steps=20)
    with pytest.raises(InputError, match=r"outside|image"):
        result(refit_frame(footage_of(frames, settings), fitted.optics, settings, 0, table, table.index[[0]]))
