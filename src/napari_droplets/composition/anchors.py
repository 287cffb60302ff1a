"""Droplets of known composition, which tie the components of a fit to real quantities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from ..droplets import Droplets
from ..errors import InputError

PREFIX = "known_composition_"
"""Columns of a table: with the number of the component, from 0 on."""
SUM = 1e-3
"""By what known fractions may miss one."""


def pure(droplets: Droplets | pd.DataFrame, component: int, types: int) -> Droplets:
    """Say that droplets hold nothing but one component, as all of a reference slide do.

    Parameters
    ----------
    droplets : Droplets or DataFrame
        With x, y and radius, as `detect` finds them.
    component : int
        Which one, from 0 on.
    types : int
        Number of components K of the fit.

    Returns
    -------
    Droplets
        With the columns `known_composition_0` to `known_composition_{K-1}`, 1 for the component and 0 for the others.

    Raises
    ------
    InputError
        There is no such component.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> slide = nd.Droplets(x=[5.0], y=[7.0], radius=[3.0])
    >>> nd.pure(slide, 1, types=2).to_dataframe().iloc[0].tolist()
    [5.0, 7.0, 3.0, 0.0, 1.0]
    """
    if not 0 <= component < types:
        raise InputError(f"component={component}: there are components 0 to {types - 1} with types={types}")
    if isinstance(droplets, pd.DataFrame):
        droplets = Droplets.from_dataframe(droplets, name="droplets")
    columns = {f"{PREFIX}{k}": np.full(len(droplets), float(k == component)) for k in range(types)}
    return replace(droplets, labels={**droplets.labels, **columns})


def known_compositions(droplets: Droplets, types: int, composition: str) -> np.ndarray:
    """Known compositions (N, K), checked; NaN in rows of droplets whose composition is to be found."""
    names = [f"{PREFIX}{k}" for k in range(types)]
    given = [str(name) for name in droplets.labels if str(name).startswith(PREFIX)]
    if not given:
        return np.full((len(droplets), types), np.nan)
    if wrong := sorted(set(given) ^ set(names)):
        what = "no component" if wrong[0] in given else "no column"
        raise InputError(
            f"droplets: {what} {wrong[0]} with types={types}; known compositions are in columns "
            f"{names[0]} to {names[-1]}, empty where unknown"
        )
    try:
        known = np.stack([np.asarray(droplets.labels[name], float) for name in names], -1)
    except (TypeError, ValueError) as error:
        raise InputError(f"droplets: a column of {PREFIX}* is not numeric ({error})") from error

    def check(bad: np.ndarray, why: str) -> None:
        if bad.any():
            row, k = (int(i) for i in np.argwhere(bad)[0])
            raise InputError(f"droplets: {names[k]} in row {row} is {known[row, k]:g}: {why}")

    there = np.isfinite(known)
    check(~there & there.any(1, keepdims=True), "give all components of a droplet, or leave all empty")
    check(there & ((known < 0) | (known > 1)), "compositions are from 0 to 1")
    if composition == "simplex":
        off = there.all(1) & (np.abs(known.sum(1) - 1) > SUM)
        last = off[:, None] & (np.arange(types) == types - 1)
        check(last, "fractions of a simplex sum to one, those of this row do not")
    return known


def anchored(droplets: Droplets) -> int | None:
    """The number of components that known compositions speak of; None where there are none."""
    numbers = [str(name).removeprefix(PREFIX) for name in droplets.labels if str(name).startswith(PREFIX)]
    return 1 + max((int(k) for k in numbers if k.isdigit()), default=-1) or None
