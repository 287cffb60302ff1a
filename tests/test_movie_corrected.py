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


def test_what_was_moved_stays_what_was_around_the_deleted_changes_and_what_is_far_is_left(simulated, fitted):
    frames = np.stack([simulated[0], simulated[0]])
    settings = Settings(steps=100)
    table = fitted.table.set_axis(fitted.table.index + 7, axis=0)
    table["frame"] = 1
    alone = int(table.index[5])

    def away(number, rows=table):
        return np.hypot(rows["x"] - table["x"][number], rows["y"] - table["y"][number])

    far = table.index[away(alone) > 8 * table["radius"][alone]]
    deleted = min(far, key=lambda number: np.sort(away(number))[2])  # with two others near
    pinned = away(deleted).drop(deleted).idxmin()  # was corrected before
    moved = table.drop(index=deleted).assign(pinned=lambda t: t.index == pinned)
    moved.loc[alone, "x"] += 2.0
    moved.loc[alone, "composition_0"] = np.nan
    edits = moved, table.index[[5]], table.loc[[deleted]]
    rows = result(refit_frame(footage_of(frames, settings), fitted.optics, settings, 1, *edits))
    assert rows.loc[alone, "x"] == moved.loc[alone, "x"]
    assert rows.loc[alone, "radius"] == moved.loc[alone, "radius"]
    assert 0 <= rows.loc[alone, "composition_0"] <= 1
    near = {n: away(n, rows) < 2 + 3 * table["radius"][n] + rows["radius"] for n in (alone, deleted)}
    assert (near[alone] | near[deleted]).all()
    assert near[deleted].any()
    assert deleted not in rows.index
    assert pinned not in rows.index
    assert len(rows) < len(table) / 2
    assert (rows["frame"] == 1).all()


def test_a_droplet_outside_of_the_frame_is_told(simulated, fitted):
    frames = np.stack([simulated[0], simulated[0]])
    table = fitted.table.iloc[:3].copy()
    table.loc[0, "x"] = -500.0
    settings = Settings(steps=20)
    edits = table, table.index[[0]], table.iloc[:0]
    with pytest.raises(InputError, match=r"outside|image"):
        result(refit_frame(footage_of(frames, settings), fitted.optics, settings, 0, *edits))
