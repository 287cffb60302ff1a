"""What the widget says: of its buttons, while it works, and of what it found."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from ...droplets import Droplets
from ...errors import InputError

if TYPE_CHECKING:
    from ...droplets import Fit
    from ...inference.api import Detection
    from ...progress import Progress
    from ...workbench.journal import Step
    from ...workbench.sheet import Sheet

PANEL_DRAWS = 100  # a tenth of a second for thousands of droplets
STAGES = {
    "estimate": "Estimating the diameter",
    "detect": "Looking for droplets",
    "optics": "Learning optics",
    "types": "Looking for the number of components",
    "compile": "Preparing the fit",
    "fit": "Fitting",
    "posterior": "Computing uncertainties",
    "tracks": "Following droplets",
    "classes": "Sorting droplets into classes",
}


DONE = {
    "add": "added",
    "move": "moved",
    "resize": "resized",
    "delete": "deleted",
    "merge": "merged",
    "split": "split",
    "class": "sorted into a class",
    "pin": "pinned",
    "change": "changed",
    "link": "linked",
    "cut": "cut apart",
    "event": "joined by an event:",
    "refit": "refitted",
    "relink": "linked anew",
}
MOST_FAILED = 3
"""Planes that are told by name when they could not be used."""
Z = 1.96
"""Standard deviations on either side that hold 95 %."""

TIPS = {
    "detect": "Find droplets without fitting: positions and sizes in seconds, no composition.\n"
    "Takes the place of the last detection, never of a fit or of points that you edited.",
    "run": "Find the droplets anew and fit positions, sizes and compositions, with uncertainties.\n"
    "To start from points that you detected and corrected, press Refit instead.",
    "refit": "After Run: fit again around the points you added, moved or deleted; your corrections stay.\n"
    "After Detect, or of an opened table: fit the whole image from the points shown; they may move.",
    "save": "Save the points as they are now, with your corrections, as a table (CSV, Parquet, Excel).\n"
    "What the slider hides is left out.",
    "undo": "Take back the last edit, and what was refitted since (Ctrl-Z on the layer)",
    "redo": "Do again what was undone (Ctrl-Shift-Z)",
    "merge": "Make one droplet, of the same area, of those selected",
    "split": "Make two droplets of each one selected, side by side",
    "pin": "Keep the droplets selected where they are when their surroundings are refitted",
    "refit_edits": "When a droplet was added, moved, resized or deleted, fit its surroundings in the background.\n"
    "What you have edited stays where you put it.",
    "replay": "After a new Run: repeat the edits of the droplets that were corrected before, told by place",
    "session": "Save all that you work on as one file (.droplets), with settings, edits and undo, or open one.\n"
    "It is kept in the background, too, and offered after a crash.",
    "cancel": "Stop soon and keep what was found; while droplets are looked for, stop at once and change nothing",
    "estimate": "Estimate the diameter from the image",
    "command": "What does the same in a terminal, for the file behind the image; OUT is the folder for the results,\n"
    "MASK an image of the region, which must be saved first where it is no upright rectangle",
    "planes": "Of a stack: the plane that is shown, or all of them, with what is learned on the first one.\n"
    "Where the first axis has three entries, they may also be the channels of one picture.",
    "region": "Where droplets are looked for and counted: what is drawn in a Shapes layer (rectangles, ellipses,\n"
    "polygons), all of it together, or painted in a Labels layer. A droplet is inside if its center is.\n"
    "A refit after Run keeps the region of the run.",
    "color": "What the colors of rings tell. Own color: that which the droplet has in the image.\n"
    "Misfit: residuals of a droplet (root mean square) over the noise, about 1 where the model explains the pixels.\n"
    "Component 1 is the column composition_0 of the table, and so on.",
    "uncertain": "The rim of the droplet is within its ring with a probability of 95 %: a wide ring is an unsure one",
}


def progress_text(progress: Progress) -> str:
    """Where the work is."""
    parts = [STAGES.get(progress.stage, progress.stage)]
    if progress.step:
        parts[0] += f": step {progress.step:,} of {progress.steps:,}"
    if progress.n_droplets:
        parts.append(f"{progress.n_droplets:,} droplets")
    if np.isfinite(progress.seconds_left) and progress.stage == "fit":
        parts.append(f"{progress.seconds_left:.0f} s left")
    return line([progress.part, *parts] if progress.part else parts)


def detection_text(detection: Detection, shown: int, plane: tuple[int, ...] = ()) -> str:
    """What was detected, in a line; `shown` droplets are on the screen."""
    count = detection.count_mean, detection.count_sd
    parts = found_text(detection.droplets, shown, count, 0, regional=detection.region is not None)
    if hidden := len(detection.candidates) - shown:
        parts.append(f"{hidden:,} less probable hidden")
    return plane_text(plane) + line(parts)


def fit_text(fit: Fit, poor: int, plane: tuple[int, ...] = (), *, cancelled: bool) -> str:
    """What a fit found, in a line; another one of its classes. It explains `poor` droplets badly."""
    summary = fit.summary
    count = summary.get("count_mean"), summary.get("count_sd")
    parts = found_text(fit.droplets, len(fit.droplets), count, poor, regional="region" in summary)
    text = ("Stopped: " if cancelled else "") + plane_text(plane) + line(parts)
    classes = summary.get("classes") or []
    if len(classes) > 1:  # one class is none
        text += "\n" + line([class_text(one) for one in classes])
    return text


def found_text(
    droplets: Droplets, n: int, count: tuple[float | None, float | None], poor: int, *, regional: bool
) -> list[str]:
    """How many droplets with the 95 % interval of their number, how large, how many of them somebody should look at."""
    number = f"{n:,} droplet{'' if n == 1 else 's'}{' in the region' if regional else ''}"
    mean, sd = count
    if mean is not None and sd is not None:
        low, high = max(0.0, mean - Z * sd), mean + Z * sd
        number += f" ({low:,.0f}-{high:,.0f})"
    parts = [number]
    if len(droplets):
        columns = droplets.in_micrometres()
        diameter, unit = 2 * columns.get("radius_um", droplets.radius), "µm" if columns else "px"
        parts.append(f"diameter {_with_spread(diameter)} {unit}")
    if poor:
        parts.append(f"{poor:,} to look at")
    return parts


def stack_text(droplets: Droplets, planes: int, failed: Mapping[Any, str], *, cancelled: bool) -> str:
    """What was found on the planes of a stack; why some could not be used."""
    parts = found_text(droplets, len(droplets), (None, None), 0, regional=False)
    text = ("Stopped: " if cancelled else "") + f"{planes:,} planes: " + line(parts)
    for plane, why in list(failed.items())[:MOST_FAILED]:
        text += f"\n{plane_text(plane)}{why}"
    more = len(failed) - MOST_FAILED
    return text + (f"\nand {more:,} more planes" if more > 0 else "")


def sheet_text(sheet: Sheet, poor: int) -> str:
    """What there is after edits, in a line: as of the fit or the detection, with how much was edited."""
    summary = {} if sheet.fit is None else sheet.fit.summary
    mean, sd = summary.get("count_mean"), summary.get("count_sd")
    droplets = Droplets.from_dataframe(sheet.table.rename_axis(None), name=sheet.name)
    if sheet.fit is not None and mean is not None:
        mean += len(droplets) - len(sheet.fit.table)  # edits that no fit counts yet
    parts = found_text(droplets, len(droplets), (mean, sd), poor, regional="region" in summary)
    edits = len(sheet.journal.edits)
    return plane_text(sheet.image.plane) + line(parts + [f"{edits:,} edit{'' if edits == 1 else 's'}"] * bool(edits))


def step_text(step: Step) -> str:
    """What was done, in words."""
    n = len(step.numbers)
    return f"{DONE[step.kind]} {n:,} droplet{'' if n == 1 else 's'}"


def plane_text(plane: tuple[int, ...]) -> str:
    """Which plane of a stack is spoken of; empty for a single image."""
    if not plane:
        return ""
    return f"{'Frame' if len(plane) == 1 else 'Plane'} {', '.join(map(str, plane))}: "


def _with_spread(values: np.ndarray) -> str:
    """Mean and standard deviation, to two digits of the latter."""
    mean, sd = float(np.mean(values)), float(np.std(values))
    if len(values) < 2 or sd <= 0:
        return f"{mean:.3g}"
    digits = max(0, 1 - int(np.floor(np.log10(sd))))
    return f"{mean:,.{digits}f} ± {sd:,.{digits}f}"


def sizes_text(result: Fit | Droplets, shape: tuple[int, int] | None, region: Any = None) -> tuple[str, str]:
    """Sizes and density of droplets in a line, and all statistics as rich text; nothing where there are no droplets."""
    from ...measures.size_statistics import statistics

    try:
        found = statistics(result, shape=shape, region=region, draws=PANEL_DRAWS)
    except InputError:
        return "", ""
    unit = str(found.table.loc["D50", "unit"])
    parts = [f"D50 {found['D50']:.3g} {unit}", f"D[3,2] {found['D32']:.3g} {unit}", f"CV {found['cv']:.0%}"]
    if unit != "px" and "density" in found.table.index:
        parts.append(f"{found['density']:,.4g} per mm²")
    return line(parts), f"<pre>{escape(str(found))}</pre>"


def stored_text(kind: str) -> str:
    """That a layer holds the numbers of a file, not its picture."""
    return f"The file has {kind}, this layer its bare numbers: open it by File > IO Utilities to have the picture"


def class_text(one: dict[str, Any]) -> str:
    """How frequent droplets of a class are, with the 95 % interval."""
    share, low, high = (100 * one[name] for name in ("proportion", "low", "high"))
    return f"class {one.get('name', one['class'])}: {share:.0f} % ({low:.0f} to {high:.0f} %)"


def regrouped_text(classes: list[dict[str, Any]], by_hand: int) -> str:
    """The classes that droplets were sorted into, and how many stay where they were put by hand."""
    text = f"{len(classes)} class{'' if len(classes) == 1 else 'es'}; Ctrl-Z takes it back"
    text += f"\n{by_hand:,} sorted by hand stay as they are" if by_hand else ""
    return text + "\n" + line([class_text(one) for one in classes])


def legend_text(legend: list[tuple[tuple[float, ...] | None, str]]) -> str:
    """Colors and what they mean, as rich text that breaks between them."""
    parts = []
    for color, word in legend:
        if color is None:
            parts.append(escape(word))
        else:
            parts.append(f'<font color="{_hex(color)}">■</font>&nbsp;{escape(word).replace(" ", "&nbsp;")}')
    return "&nbsp;&nbsp; ".join(parts)


def _hex(color: tuple[float, ...]) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color)


def line(parts: list[str]) -> str:
    """Facts in a row that wraps between them, not within."""
    return "\N{NO-BREAK SPACE}· ".join(part.replace(" ", "\N{NO-BREAK SPACE}") for part in parts)
