"""What the widget says: of its buttons, while it works, and of what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ..inference.fit import Detection, Progress

STAGES = {
    "estimate": "Estimating the diameter",
    "detect": "Looking for droplets",
    "compile": "Preparing the fit",
    "fit": "Fitting",
    "posterior": "Computing uncertainties",
}


TIPS = {
    "detect": "Find droplets without fitting: positions and sizes in seconds, no composition.\n"
    "Takes the place of the last detection, never of a fit or of points that you edited.",
    "run": "Find the droplets anew and fit positions, sizes and compositions, with uncertainties.\n"
    "To start from points that you detected and corrected, press Refit instead.",
    "refit": "After Run: fit again around the points you added, moved or deleted; your corrections stay.\n"
    "After Detect, or of an opened table: fit the whole image from the points shown; they may move.",
    "cancel": "Stop soon and keep what was found; while droplets are looked for, stop at once and change nothing",
}


def progress_text(progress: Progress) -> str:
    """Where the work is."""
    parts = [STAGES.get(progress.stage, progress.stage)]
    if progress.step:
        parts[0] += f": step {progress.step:,} of {progress.steps:,}"
    if np.isfinite(progress.loss):
        parts.append(f"loss {progress.loss:,.0f}")
    if progress.n_droplets:
        parts.append(f"{progress.n_droplets:,} droplets")
    if np.isfinite(progress.seconds_left) and progress.stage == "fit":
        parts.append(f"{progress.seconds_left:.0f} s left")
    return line(parts)


def count_text(detection: Detection, shown: int) -> list[str]:
    """What a detection says of the number of droplets, beside how many are shown."""
    parts = []
    if hidden := len(detection.candidates) - shown:
        parts.append(f"{hidden:,} less probable hidden")
    if detection.count_mean is not None:
        parts.append(f"expected {detection.count_mean:,.1f} ± {detection.count_sd:,.1f}")
    return parts


def line(parts: list[str]) -> str:
    """Facts in a row that wraps between them, not within."""
    return " · ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)
