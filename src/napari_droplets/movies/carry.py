"""What one frame says of the next: candidates brought along, and what time decides of those that are not sure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree

from ..droplets import Droplets, beyond_border
from ..inference.candidates import LIKELY, POSSIBLE
from ..tracking.frames import frames_of
from ..tracking.motion import Step, common_step
from ..tracking.paths import Paths

SURE = 0.5
"""Droplets at least so probable are there without a word from other frames."""
KNOWN = 0.9
"""A droplet so probable in the last frame is looked for where it is expected, even if the network does not see it."""
SAME = 0.7
"""A detection nearer than this to where a droplet is expected, in its radii, is that droplet."""
ALIKE = 0.35
"""Difference of log radii up to which a detection may be the droplet expected, or the one that fills a gap."""
MEETS = 3.0
"""Standard deviations of a displacement within which a candidate fills a gap."""
FLASH = 0.95
"""A droplet seen in one frame alone, in the middle of a movie, is kept where it is so probable by itself."""


class Carried(NamedTuple):
    """What the fit of a frame leaves for the next one, besides its droplets."""

    background: np.ndarray
    """Coefficients of its empty slide, float32."""
    shape: tuple[int, int]
    """Of the frame, pixels."""
    diameter: float | None
    """Typical, pixels: the scale that later frames are looked through at."""

    def slide(self, shape: tuple[int, ...]) -> np.ndarray | None:
        """(H, W, C) float32, the empty slide, for a frame of this shape; None for one of another."""
        from ..model.background import SplineGrid

        if self.shape != tuple(shape[:2]) or self.background.shape[-1] != shape[2]:
            return None
        return SplineGrid.for_coefficients(*self.shape, self.background).field(self.background)


def brought_along(before: Droplets | None, fresh: Droplets) -> Droplets:
    """Candidates for a frame: its fresh detection, and droplets of the last frame that it has not found again.

    Those found again start from the composition that they had.

    Parameters
    ----------
    before : Droplets or None
        The fit of the last frame.
    fresh : Droplets
        All candidates of the network, with p_present.
    """
    assert fresh.p_present is not None
    fresh = fresh[fresh.p_present >= POSSIBLE]
    if before is None or not len(before):
        return fresh
    step = _common(before, fresh)
    expected = step.moved(np.stack([before.x, before.y], 1))
    p = np.ones(len(before)) if before.p_present is None else np.asarray(before.p_present)
    near, which = _same(expected, before.radius, fresh)
    if near.sum() >= 3:
        expected = expected + np.median(np.stack([fresh.x, fresh.y], 1)[which[near]] - expected[near], axis=0)
        near, which = _same(expected, before.radius, fresh)
    composition = None
    if before.composition is not None:
        composition = np.full((len(fresh), before.types), np.nan)
        composition[which[near]] = before.composition[near]
    covered = _covered(expected, before.radius, fresh) if len(fresh) else np.zeros(len(before), bool)
    lost = ~near & ~covered & (p >= KNOWN)
    here = replace(fresh, composition=composition, composition_sd=None, labels={})
    if not lost.any():
        return here
    spread = np.full(int(lost.sum()), max(step.spread, 0.5))
    more = Droplets(
        expected[lost, 0],
        expected[lost, 1],
        before.radius[lost],
        spread,
        spread,
        0.1 * before.radius[lost],
        np.full(int(lost.sum()), LIKELY),
        composition=None if before.composition is None else before.composition[lost],
    )
    return _both(here, more)


def in_image(droplets: Droplets, shape: tuple[int, ...]) -> Droplets:
    """Those of which a part is in an image of this shape (H, W, ...)."""
    return droplets[beyond_border(droplets.x, droplets.y, shape) < droplets.radius]


def _common(before: Droplets, fresh: Droplets) -> Step:
    sure = np.asarray(fresh.p_present) >= SURE
    if sure.sum() < 3:
        return Step(np.zeros((6, 2)), 1.0, 0.0)
    tables = [d.to_dataframe()[["x", "y", "radius"]] for d in (before, fresh[sure])]
    a, b = frames_of(tables).frames
    return common_step(a, b, None)


def _same(expected: np.ndarray, radius: np.ndarray, fresh: Droplets) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool, which droplets have a detection that is theirs, and (N,) its row."""
    if not len(fresh):
        return np.zeros(len(radius), bool), np.zeros(len(radius), int)
    places = np.stack([fresh.x, fresh.y], 1)
    distance, which = (np.asarray(a) for a in cKDTree(places).query(expected))
    back = np.asarray(cKDTree(expected).query(places)[1])
    mutual = back[which] == np.arange(len(expected))
    alike = np.abs(np.log(fresh.radius[which] / radius)) < ALIKE
    return mutual & alike & (distance < SAME * radius), which


def _covered(expected: np.ndarray, radius: np.ndarray, fresh: Droplets) -> np.ndarray:
    """(N,) bool, which droplets a detection overlaps so far that they may have become part of it."""
    places = np.stack([fresh.x, fresh.y], 1)
    found = cKDTree(places).query_ball_point(expected, radius + fresh.radius.max())
    covered = np.zeros(len(radius), bool)
    for k, others in enumerate(found):
        rows = np.asarray(others, int)
        gap = np.hypot(*(places[rows] - expected[k]).T) - fresh.radius[rows]
        covered[k] = bool((gap < 0.5 * radius[k]).any())
    return covered


def _both(first: Droplets, second: Droplets) -> Droplets:
    names = ("x", "y", "radius", "x_sd", "y_sd", "radius_sd", "p_present", "composition")
    values: dict[str, Any] = {}
    for name in names:
        a, b = getattr(first, name), getattr(second, name)
        values[name] = None if a is None or b is None else np.concatenate([a, b])
    return replace(first, **values, labels={})


def filled(table: pd.DataFrame, unsure: pd.DataFrame, paths: Paths, max_gap: int) -> np.ndarray:
    """Rows of `unsure` that fill a gap: a droplet that was seen surely before and after is there in between.

    Parameters
    ----------
    table : DataFrame
        The droplets that `paths` are of.
    unsure : DataFrame
        Candidates with frame, x, y, radius.
    """
    chosen: list[int] = []
    frames = table["frame"].to_numpy()
    by_frame = {int(str(n)): part for n, part in unsure.groupby("frame")}
    for row in np.flatnonzero(paths.after >= 0):
        other = paths.after[row]
        k, m = paths.when[row], paths.when[other]
        for between in range(k + 1, m):
            number = int(frames[paths.by_frame[between][0]])
            part = by_frame.get(number)
            if part is None:
                continue
            share = (between - k) / (m - k)
            place = (1 - share) * paths.place[row] + share * paths.place[other]
            radius = (1 - share) * paths.radius[row] + share * paths.radius[other]
            away = np.hypot(part["x"] - place[0], part["y"] - place[1]).to_numpy()
            alike = np.abs(np.log(part["radius"].to_numpy() / radius)) < ALIKE
            reach = MEETS * paths.spread[k] + 0.5 * radius
            fits = alike & (away < reach)
            if fits.any():
                chosen.append(int(part.index.to_numpy()[int(np.argmin(np.where(fits, away, np.inf)))]))
    return np.unique(np.array(chosen, int))


def flashes(table: pd.DataFrame, ids: np.ndarray, used: set[int]) -> np.ndarray:
    """(R,) bool, droplets that are seen in one frame alone, between others, and are not sure by themselves."""
    if "p_present" not in table:
        return np.zeros(len(table), bool)
    count = pd.Series(ids).map(pd.Series(ids).value_counts()).to_numpy()
    frame = table["frame"].to_numpy()
    middle = (frame > frame.min()) & (frame < frame.max())
    cut = table["cut_by_border"].to_numpy(bool) if "cut_by_border" in table else np.zeros(len(table), bool)
    free = ~np.isin(np.arange(len(table)), list(used))
    return (count == 1) & middle & ~cut & free & (table["p_present"].to_numpy() < FLASH)
