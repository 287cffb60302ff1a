"""What to look at before an image is trusted: flags, and which images are the worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..droplets import marked
from ..samples.results import Result

FEW = 10
"""Droplets, below which an image says little about a distribution."""
UNEXPLAINED = 0.1
"""Part of what droplets change in the image: calibrated images of the package's simulators stay below."""
UNSURE = 0.2
"""Standard deviation of the count over the count."""
CUT = 0.5
"""Part of the droplets that the border cuts."""
ODD = 4.0
"""Robust standard deviations from the other images of the series."""
LEAST_IMAGES = 5
"""Of a series, to say what is odd in it."""
RUNNING_OUT = {
    "steps": "stopped when all steps were made, before it settled",
    "time": "stopped by the time limit, before it settled",
    "cancelled": "stopped by hand",
    "not finite": "the fit broke off (loss not finite)",
}


class Quality(NamedTuple):
    """Of one image."""

    flags: list[str]
    badness: float
    """Larger is worse: what is unexplained, in units of what is worth a flag."""


def qualities(pictures: Sequence[Result]) -> list[Quality]:
    """Flags of each picture, and how bad its fit is."""
    rmse = np.array([_number(p.summary.get("rmse")) for p in pictures])
    odd = _odd(rmse)
    found = []
    for picture, deviation in zip(pictures, odd, strict=True):
        summary = picture.summary
        unexplained = _number(summary.get("unexplained"))
        flags = []
        if (stopped := summary.get("stopped")) in RUNNING_OUT:
            flags.append(RUNNING_OUT[stopped])
        n = len(picture.droplets)
        if n < FEW:
            flags.append(f"{n} droplets" if n != 1 else "1 droplet")
        if unexplained > UNEXPLAINED:
            flags.append(f"{unexplained:.0%} of what droplets change is unexplained")
        if deviation > ODD:
            flags.append("reconstruction worse than that of the other images")
        mean, sd = _number(summary.get("count_mean")), _number(summary.get("count_sd"))
        if mean > 0 and sd / mean > UNSURE:
            flags.append(f"number uncertain: {mean:.0f} ± {sd:.0f}")
        if n and marked(picture.droplets, "cut_by_border").mean() > CUT:
            flags.append("most droplets are cut by the border")
        flags += [str(note) for note in (summary.get("image") or {}).get("notes") or ()]
        bad = np.nansum([unexplained / UNEXPLAINED, max(deviation, 0) / ODD])
        found.append(Quality(flags, float(bad) + len(flags)))
    return found


def _odd(values: np.ndarray) -> np.ndarray:
    """Deviations from the median in robust standard deviations; 0 where there are too few to tell."""
    known = values[np.isfinite(values)]
    if len(known) < LEAST_IMAGES:
        return np.zeros(len(values))
    middle = np.median(known)
    spread = max(1.4826 * float(np.median(np.abs(known - middle))), 0.05 * float(middle), 1e-9)
    return np.nan_to_num((values - middle) / spread)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)
