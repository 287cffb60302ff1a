"""Which droplets deserve a look: those that the model explains badly, and those that may not be there, worst first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from .filters import by_hand

POOR_FACTOR, POOR_LEAST = 2.0, 1.5
"""Droplets are poorly explained whose misfit is above this multiple of the image's median, and above this."""
LIKELY = 0.8
"""Droplets that are less probable may not be there: one in five of these is none."""


class Doubt(NamedTuple):
    """Droplets that deserve a look, the worst first."""

    numbers: list[int]
    """Of the rows of the table: its index."""
    reasons: list[str]
    """Why, in words."""


def doubtful(table: pd.DataFrame, shown: np.ndarray | None = None) -> Doubt:
    """Find the droplets that deserve a look.

    First come those that are poorly explained, by their misfit; then those that may not be there, the least probable
    first. Droplets that somebody has corrected or confirmed (`pinned`) are no longer in doubt.

    Parameters
    ----------
    table : DataFrame
        All droplets of an image, with misfit and p_present where they are known.
    shown : ndarray, optional
        (N,) bool: those looked at; what is hidden still tells what a usual misfit is.

    Examples
    --------
    >>> table = pd.DataFrame({"misfit": [1.0, 1.0, 4.0, 1.0], "p_present": [1.0, 0.6, 1.0, 1.0]})
    >>> doubtful(table)
    Doubt(numbers=[2, 1], reasons=['poorly explained: misfit 4, usual is 1', 'may not be there: probability 0.6'])
    """
    n = len(table)
    open_to_doubt = ~by_hand(table)
    if shown is not None:
        open_to_doubt &= shown
    misfit = numbers(table, "misfit")
    limit, usual = poor_from(misfit), np.nanmedian(misfit) if np.isfinite(misfit).any() else np.nan
    probability = numbers(table, "p_present")
    poor = np.flatnonzero(open_to_doubt & (misfit > limit))
    poor = poor[np.argsort(-misfit[poor], kind="stable")]
    unlikely = np.flatnonzero(open_to_doubt & (probability < LIKELY) & ~np.isin(np.arange(n), poor))
    unlikely = unlikely[np.argsort(probability[unlikely], kind="stable")]
    reasons = [f"poorly explained: misfit {misfit[i]:.2g}, usual is {usual:.2g}" for i in poor]
    reasons += [f"may not be there: probability {probability[i]:.2g}" for i in unlikely]
    return Doubt([int(table.index[i]) for i in (*poor, *unlikely)], reasons)


def poor_from(misfit: np.ndarray) -> float:
    """The misfit above which droplets of an image count as poorly explained."""
    known = misfit[np.isfinite(misfit)]
    return max(POOR_LEAST, POOR_FACTOR * float(np.median(known))) if len(known) else POOR_LEAST


def numbers(table: pd.DataFrame, column: str) -> np.ndarray:
    """(N,) values of a column; NaN where it is missing, or says none."""
    if column not in table:
        return np.full(len(table), np.nan)
    return pd.to_numeric(table[column], errors="coerce").to_numpy(float)


def following(numbers: list[int], now: int | None, step: int) -> int | None:
    """The number after (step 1) or before (-1) the one looked at now, around the ends; None where there are none.

    Where what was looked at has left the list, as it was corrected, the list starts anew.
    """
    if not numbers:
        return None
    if now not in numbers:
        return numbers[0 if step > 0 else -1]
    return numbers[(numbers.index(now) + step) % len(numbers)]
