"""What is shown of a comparison of detectors: Markdown tables made from the figures, and pictures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from detection_data import CLASSES, MARGIN, RECALL_ONLY, SIDE, Case, class_name, inside
from detection_reliability import LEVELS, LIKELY

import napari_droplets as nd
from napari_droplets.compare import match

SCORES = ("recall", "precision", "F1", "radius bias", "radius spread", "center")
CLASS_NAMES = [class_name(low, high) for low, high in itertools.pairwise(CLASSES)]
HIT, EXTRA, MISS, IGNORED = "#2ca02c", "#ff7f0e", "#d62728", "#7f7f7f"

Figures = dict[str, dict[str, Any]]
"""By part, then by the detector's label; a detector that could not run has only `cannot_run`, the reason."""


def markdown(figures: Figures) -> str:
    """The page: a section per part that was run, each with its tables."""
    parts = {"real": _real, "simulated": _simulated, "empty": _empty, "reliability": _reliability, "time": _time}
    return "\n\n".join(parts[name](figures[name]) for name in parts if figures.get(name)) + "\n"


def _real(part: dict[str, Any]) -> str:
    sets = _keys(part)
    rows, single = [], []
    for name in sets:
        recall_only = name in RECALL_ONLY
        for label, result in part.items():
            rows.append([name, label, *_cells(result, lambda r, n=name, o=recall_only: scores(r[n]["mean"], o), 6)])
        images = dict.fromkeys(i for r in part.values() for i in r.get(name, {}).get("images", {}))
        key = "recall" if recall_only else "f1"
        for image in images:
            values = [r[name]["images"][image][key] if name in r else np.nan for r in part.values()]
            single.append([name, image, *map(two, values)])
    return "\n\n".join(
        [
            "### Real images",
            "None was seen in training. Means over the images of a set; of the published image, at full size and at a "
            "quarter of it, two checked tiles together (radius at least 4.8 pixels of the full size). Of "
            f"{', '.join(RECALL_ONLY)} the truth is another method's segmentation, which misses droplets: only recall "
            "counts. In blood_rbc_wbc cells cut by the border are neither required nor false. Detectors that need a "
            "diameter are told the true median of each image. Errors of the center are medians, in radii.",
            table(["set", "detector", *SCORES], rows),
            "Each image, F1 (paper_aerosol: recall):",
            table(["set", "image", *part], single),
            *_excuses(part),
        ]
    )


def _simulated(part: dict[str, Any]) -> str:
    rows, classes = [], []
    for name in _keys(part):
        for label, result in part.items():
            rows.append([name, label, *_cells(result, lambda r, n=name: scores(r[n]["all"]), 6)])
            f1 = _cells(result, lambda r, n=name: [two(r[n][c]["f1"]) for c in CLASS_NAMES], len(CLASS_NAMES))
            classes.append([name, label, *f1])
    detail = [
        [label, c, str(result["scenes"][c]["n_true"]), *scores(result["scenes"][c])]
        for label, result in part.items()
        if label.startswith("network") and "scenes" in result
        for c in CLASS_NAMES
    ]
    return "\n\n".join(
        [
            "### Simulated images",
            f"{SIDE} x {SIDE} pixels, held out: *scenes* are drawn by the simulator of training, with looks drawn anew "
            "for each; the others by `napari_droplets.simulate`, at three median radii. All droplets of a set pooled. "
            "Required are droplets of a radius of at least 2 pixels that the border does not cut; found ones that are "
            "smaller and belong to none are not counted as false, nor are those as large as the few that scenes show "
            "but do not list (from 25 pixels).",
            table(["set", "detector", *SCORES], rows),
            "F1 by radius in pixels; what is falsely found counts where the radius it was found with belongs:",
            table(["set", "detector", *CLASS_NAMES], classes),
            *(["Scenes, by radius:", table(["detector", "radius", "droplets", *SCORES], detail)] if detail else []),
            *_excuses(part),
        ]
    )


def _empty(part: dict[str, Any]) -> str:
    kinds = _keys(part)

    def cells(result: dict[str, Any]) -> list[str]:
        known = [result.get(k, {"images": 0, "clean": 0}) for k in kinds]  # a kind may be newer than a result
        total, clean = (sum(r[key] for r in known) for key in ("images", "clean"))
        return [*(f"{r['clean']} of {r['images']}" if r["images"] else "–" for r in known), f"{clean / total:.0%}"]

    rows = [[label, *_cells(result, cells, len(kinds) + 1)] for label, result in part.items()]
    return "\n\n".join(
        [
            "### Empty images",
            "Images in which rightly nothing was found: no droplet of p_present above 0.5; for detectors without "
            "probabilities, none at all.",
            table(["detector", *kinds, "together"], rows),
            *_excuses(part),
        ]
    )


def _reliability(part: dict[str, Any]) -> str:
    rows, counts = [], []
    for label, result in part.items():
        if "cannot_run" in result:
            continue
        for name, cover in result["coverage"].items():
            shares = [", ".join(two(100 * s, 1) for s in cover[k]) for k in ("x", "y", "radius")]
            rows.append([label, name, f"{cover['n']:,}", *shares])
        count = result["count"]
        both = [", ".join(f"{100 * s:.1f}" for s in count[k]) for k in ("reported", "independent")]
        errors = [f"{result[k]:.4f}" for k in ("ece", "ece_likely")]
        counts.append([label, f"{result['n']:,}", *errors, *both, f"{count['bias']:+.1%}", f"{count['sd']:.2f}"])
    levels = " and ".join(f"{level:.0%}" for level in LEVELS)
    return "\n\n".join(
        [
            "### Reliability",
            f"On the same held-out scenes. Percent of matched droplets whose true value lies in the {levels} interval:",
            table(["detector", "radius", "droplets", "x", "y", "radius covered"], rows),
            "Expected calibration error of p_present (15 bins of equally many candidates each), of all candidates and "
            "of those that are not very unlikely; and percent of images whose number of droplets lies in its "
            f"{levels} interval around the expected number, with the standard deviation reported, and with that of "
            "independent candidates. Bias and mean standard deviation are those of the expected number.",
            table(
                ["detector", "candidates", "ECE", f"p ≥ {LIKELY:g}", *("reported", "independent"), "bias", "mean sd"],
                counts,
            ),
            *_excuses(part),
        ]
    )


def _time(part: dict[str, Any]) -> str:
    def cells(result: dict[str, Any]) -> list[str]:
        seconds = [two(result.get(k, np.nan)) for k in ("megapixel", "example", "cold")]
        return [*seconds, f"{result['memory_mb']:,.0f}" if "memory_mb" in result else "–"]

    rows = [[label, *_cells(result, cells, 4)] for label, result in part.items()]
    return "\n\n".join(
        [
            "### Seconds and memory",
            "A simulated image of one megapixel and example.jpg (3.1 megapixels), warm: the median of several runs in "
            "one process after a first one. Cold: a new process that reads example.jpg and ends when it has found its "
            "droplets, imports included, compiled programs on disk from earlier ones, the median of three. Memory is "
            "the most that process held, in MB.",
            table(["detector", "1 megapixel", "example.jpg", "example.jpg, cold", "memory"], rows),
            *_excuses(part),
        ]
    )


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; a first cell that repeats the one above is left empty."""
    lines = [list(head)]
    lines.append(["---"] * len(lines[0]))
    above = ""
    for first, *others in rows:
        lines.append(["" if first == above else first, *others])
        above = first
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def scores(score: dict[str, float], recall_only: bool = False) -> list[str]:
    """The cells of `SCORES`."""
    recall, precision, f1 = (two(score[k], 3) for k in ("recall", "precision", "f1"))
    bias = f"{score['radius_bias']:+.1%}" if np.isfinite(score["radius_bias"]) else "–"
    spread = f"{score['radius_spread']:.1%}" if np.isfinite(score["radius_spread"]) else "–"
    return [recall, *(["–", "–"] if recall_only else [precision, f1]), bias, spread, two(score["center_error"], 3)]


def two(value: float, digits: int = 2) -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "–"


def _keys(part: dict[str, Any]) -> list[str]:
    """Sets of any detector that could run, in order."""
    return list(dict.fromkeys(k for result in part.values() if "cannot_run" not in result for k in result))


def _cells(result: dict[str, Any], cells: Any, count: int) -> list[str]:
    return ["cannot run", *(count - 1) * ["–"]] if "cannot_run" in result else cells(result)


def _excuses(part: dict[str, Any]) -> list[str]:
    """Notes on detectors that are no result."""
    reasons = {label: r["cannot_run"] for label, r in part.items() if "cannot_run" in r}
    return ["\n".join(f"- {label} cannot run: {why}" for label, why in reasons.items())] if reasons else []


def save_reliability(part: dict[str, Any], path: Path) -> None:
    """Draw share present against p_present, and coverage by radius, of all detectors that have probabilities."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], color="0.7", zorder=0)
    for level in LEVELS:
        right.axhline(level, color="0.7", zorder=0)
    for row, (label, result) in enumerate(part.items()):
        if "cannot_run" in result:
            continue
        p, share, _ = np.transpose(result["bins"])
        left.plot(p, share, "o-", markersize=4, label=f"{label} (error {result['ece_likely']:.3f})")
        names = [c for c in CLASS_NAMES if result["coverage"][c]["n"]]
        for k, marker in zip(("x", "y", "radius"), "<^o", strict=True):
            shares = np.array([result["coverage"][c][k] for c in names])
            at = np.repeat(np.arange(len(names))[:, None], len(LEVELS), 1) + 0.15 * row
            right.plot(
                at, shares, marker, color=f"C{row}", markersize=5, alpha=0.8, label=[k, *(len(LEVELS) - 1) * ["_"]]
            )
        right.set_xticks(range(len(names)), names)
    left.set(xlabel="p_present", ylabel="share that is a droplet", title="presence")
    right.set(ylabel="share of true values in the interval", ylim=(0, 1.02), title="68 % and 95 % intervals")
    left.legend(fontsize="small")
    right.legend(fontsize="small", loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def save_examples(cases: list[Case], found: list[nd.Droplets], path: Path) -> None:
    """Draw what was found in some images, side by side."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(cases), 5.3), layout="constrained")
    axes = figure.subplots(1, len(cases), squeeze=False)[0]
    for ax, case, droplets in zip(axes, cases, found, strict=True):
        _draw(ax, case, droplets)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def save_overlay(case: Case, found: nd.Droplets, title: str, path: Path) -> None:
    """Draw one image, or each checked tile of it, with hits, extras and misses."""
    from matplotlib.figure import Figure

    boxes = case.boxes or (None,)
    figure = Figure(figsize=(12 * len(boxes), 12), layout="constrained")
    for ax, box in zip(figure.subplots(1, len(boxes), squeeze=False)[0], boxes, strict=True):
        _draw(ax, case, found, box)
    figure.suptitle(title)
    figure.legend(handles=_legend(), loc="outside lower center", ncols=4)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _draw(ax: Any, case: Case, found: nd.Droplets, box: Any = None) -> None:
    """True and found circles in pixels of the truth, by what they are."""
    from matplotlib.collections import EllipseCollection

    h, w, c = case.image.shape
    pixels = case.image.pixels[..., 0] if c == 1 else case.image.pixels
    edges = -0.5, w * case.scale - 0.5, h * case.scale - 0.5, -0.5
    ax.imshow(pixels, cmap="gray", extent=edges, interpolation="nearest")
    found, truth = found.scaled(case.scale), nd.Droplets.from_dataframe(case.truth)
    i, j = match(truth, found)
    hit, met = np.zeros(len(found), bool), np.zeros(len(truth), bool)
    hit[j] = met[i] = True
    ignore = truth.radius < case.min_radius
    if "ignore" in case.truth:
        ignore |= case.truth["ignore"].to_numpy(bool)
    uncounted = ~hit & (found.radius < case.min_radius)
    if case.boxes:
        uncounted |= ~hit & ~inside(found.to_dataframe(), case.boxes, MARGIN)
    groups = [
        (found[hit], HIT, "-"),
        (found[~hit & ~uncounted], EXTRA, "-"),
        (truth[~met & ~ignore], MISS, "--"),
        (truth[~met & ignore], IGNORED, "--"),
        (found[uncounted], IGNORED, "-"),
    ]
    for droplets, color, style in groups:
        width = 2 * droplets.radius
        places = np.column_stack([droplets.x, droplets.y])
        look = {"facecolors": "none", "edgecolors": color, "linestyles": style, "linewidths": 1.2}
        circles = EllipseCollection(
            width, width, 0 * width, units="xy", offsets=places, offset_transform=ax.transData, **look
        )
        ax.add_collection(circles)
    x0, y0, x1, y1 = box or (edges[0], edges[3], edges[1], edges[2])
    ax.set(xlim=(x0, x1), ylim=(y1, y0), xticks=[], yticks=[], title=case.name)


def _legend() -> list[Any]:
    """What the colors mean."""
    from matplotlib.lines import Line2D

    kinds = {HIT: "found", EXTRA: "found, not true", MISS: "missed", IGNORED: "neither required nor false"}
    return [Line2D([], [], color=color, label=text) for color, text in kinds.items()]
