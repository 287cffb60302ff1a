"""Droplets of a frame fitted again after they were edited, with the optics of their movie."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict

import pandas as pd

from ..droplets import Optics
from ..errors import InputError
from ..inference import api
from ..progress import Progress
from ..settings import Settings
from .footage import Footage

PLACE = ["x", "y", "radius"]


def refit_frame(
    footage: Footage, optics: Optics, settings: Settings, number: int, table: pd.DataFrame, edited: pd.Index
) -> Generator[Progress, bool | None, pd.DataFrame]:
    """Fit a frame from its table, with optics held, and around what was edited, which stays where it is.

    A movie keeps no fit of its frames, so that the frame is fitted as a whole first; of that nothing is taken over but
    what the edits change.

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
        Its droplets, by any index.
    edited : Index
        Those that were added, moved or resized.

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
    start = table[PLACE].reset_index(drop=True)
    fit = yield from api.iterate(footage.load(number), start, optics, **chosen)
    if len(fit.droplets) != len(table):
        raise InputError(f"frame {number}: a droplet lies outside of the image or its region; move or delete it")
    before = fit.table.set_axis(table.index, axis=0)
    wanted = before.assign(pinned=table.index.isin(edited))
    wanted.loc[edited, PLACE] = table.loc[edited, PLACE]
    new = yield from api.iterate_refit(fit, wanted.reset_index(drop=True), proportions=False)
    after = new.table.set_axis(table.index, axis=0)
    differs = (before[PLACE].to_numpy() != after[PLACE].to_numpy()).any(1) | table.index.isin(edited)
    rows = table[differs].copy()
    for column in map(str, after):
        if column in rows and column != "p_present":
            rows[column] = after.loc[differs, column]
    return rows
