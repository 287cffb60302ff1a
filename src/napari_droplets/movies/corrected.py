"""Droplets of a frame fitted again after they were edited, with the optics of their movie."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict

import numpy as np
import pandas as pd

from ..droplets import Optics
from ..errors import InputError
from ..inference import api
from ..progress import Progress
from ..settings import Settings
from .footage import Footage

PLACE = ["x", "y", "radius"]


def refit_frame(
    footage: Footage,
    optics: Optics,
    settings: Settings,
    number: int,
    table: pd.DataFrame,
    edited: pd.Index,
    gone: pd.DataFrame,
) -> Generator[Progress, bool | None, pd.DataFrame]:
    """Fit a frame from its table, with optics held, and around what was edited, which stays where it is, or deleted.

    A movie keeps no fit of its frames, so that the frame is fitted as a whole first, what was deleted included; of that
    nothing is taken over but what the edits change.

    Parameters
    ----------
    footage : Footage
    optics : Optics
        Of the movie.
    settings : Settings
        Of the movie.
    number : int
        Of the frame.
    table : DataFrame
        Its droplets, by any index; those with `pinned` true stay where they are.
    edited : Index
        Those that were added, moved or resized.
    gone : DataFrame
        x, y and radius of those that were deleted, by an index of their own.

    Returns
    -------
    DataFrame
        Rows of the droplets that are others by that.

    Raises
    ------
    InputError
        The frame cannot be read, or a droplet is not in it.
    """
    own = {"population": "given", "frames": None, "planes": None, "scene": None}
    chosen = asdict(settings) | api.held(optics) | own
    changed = table.index.isin(edited)
    pinned = table["pinned"].eq(True).to_numpy() if "pinned" in table else np.zeros(len(table), bool)
    start = pd.concat([table[PLACE].assign(pinned=pinned & ~changed), gone[PLACE].assign(pinned=False)])
    fit = yield from api.iterate(footage.load(number), start.reset_index(drop=True), optics, **chosen)
    if len(fit.droplets) != len(start):
        raise InputError(f"frame {number}: a droplet lies outside of the image or its region; move or delete it")
    before = fit.table.set_axis(start.index, axis=0).loc[table.index]
    wanted = before.assign(pinned=pinned | changed)
    wanted.loc[edited, PLACE] = table.loc[edited, PLACE]
    new = yield from api.iterate_refit(fit, wanted.reset_index(drop=True), proportions=False)
    after = new.table.set_axis(table.index, axis=0)
    differs = (before[PLACE].to_numpy() != after[PLACE].to_numpy()).any(1) | changed
    rows = table[differs].copy()
    for column in map(str, after):
        if column in rows and column != "p_present":
            rows[column] = after.loc[differs, column]
    return rows
