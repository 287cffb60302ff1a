"""The targets of a fit beside what was measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from detection_reliability import LEVELS
from detection_report import table
from fit_data import SETTLED_LOSS
from reference import PUBLISHED_LOSS

Figures = dict[str, dict[str, Any]]
"""By part; one that could not run has only `absent`, the reason."""
QUANTITIES = ("x", "y", "radius")
EXAMPLES = {"example_down4.png": "a quarter of the size", "example.jpg": "full size"}
"""Of the published photograph."""
SERIES = "fit, simplex, optics held"
"""How a series is fitted so that compositions mean the same in all of it."""
COLORS = ("mean color", "log mean color")
SIZES = ("small", "medium", "large")


class Target(NamedTuple):
    """A row of the table of targets: which figure of a part, and from where to where it is right."""

    part: str
    what: str
    value: Callable[[dict[str, Any]], float]
    low: float = -np.inf
    high: float = np.inf
    form: str = "{:.2f}"

    @property
    def want(self) -> str:
        """The target in words."""
        low, high = (self.form.format(b) for b in (self.low, self.high))
        if np.isfinite(self.low):
            return f"{low} to {high}" if np.isfinite(self.high) else f"≥ {low}"
        return f"≤ {high}" if np.isfinite(self.high) else "–"

    def row(self, figures: Figures) -> list[str]:
        """Cells: what, target, measured, whether it is met."""
        part = figures.get(self.part, {"absent": ""})
        if "absent" in part:
            return [self.what, self.want, "not run", "–"]
        try:
            value = self.value(part)
        except KeyError:  # fits do not say this
            return [self.what, self.want, "absent", "no"]
        if not np.isfinite(value):
            return [self.what, self.want, "not reached" if self.part == "time" else "unknown", "no"]
        met = "yes" if self.low <= value <= self.high else "no"
        return [self.what, self.want, self.form.format(value), "–" if self.want == "–" else met]


def targets(figures: Figures) -> str:
    """The table."""
    return table(["what", "target", "measured", "met"], (target.row(figures) for target in TARGETS))


def worst(part: dict[str, Any], image: str, value: Callable[[dict[str, Any]], float]) -> float:
    """The largest value over the starts of an image."""
    return max(value(row) for row in part[image].values())


def together(row: dict[str, Any], key: str) -> float:
    """A score of both tiles after a fit."""
    return row["fitted"]["tiles together"][key]


def farthest(part: dict[str, Any], image: str) -> float:
    """Median distance of the results of two starts, in error bars: the largest."""
    return max(row["apart"][k][0] for row in part[image].values() for k in QUANTITIES)


def off_level(part: dict[str, Any], quantities: tuple[str, ...]) -> float:
    """Largest distance, in points, of the coverage of all droplets from the level it should have."""
    return 100 * max(
        abs(share - level) for k in quantities for share, level in zip(part["coverage"]["all"][k], LEVELS, strict=True)
    )


def gain(part: dict[str, Any], groups: tuple[str, ...], over: tuple[str, ...] = COLORS) -> float:
    """By how much R2 of the fit exceeds that of the best of other methods: the least over groups."""
    r2 = {method: maps["all"] for method, maps in part["r2"].items()}
    return min(r2[SERIES][g] - max(r2[method][g] for method in over) for g in groups)


def bound_ratio(part: dict[str, Any], key: str, optics: str) -> float:
    """Largest ratio over noises and quantities."""
    return max(max(row[key]) for row in part["rows"] if row["optics"] == optics)


def step_ratio(part: dict[str, Any]) -> float:
    """A step of the fit over forward and backward pass of the bare network."""
    return part["steps"]["3000"] / part["steps"]["network"]


def median_rand(part: dict[str, Any]) -> float:
    """Over images whose masks are not poor."""
    return float(np.median([r["rand"] for r in part["images"].values() if not r["poor_masks"]]))


def _tile_targets(image: str, size: str) -> list[Target]:
    def spread(key: str, sign: float = 1) -> Callable[[dict[str, Any]], float]:
        return lambda p: sign * worst(p, image, lambda r: sign * together(r, key))

    name = f"tiles, {size}, worst of the starts"
    return [
        Target("tiles", f"{name}: F1", spread("f1", -1), low=0.985, form="{:.3f}"),
        Target(
            "tiles",
            f"{name}: radius bias, absolute",
            lambda p: worst(p, image, lambda r: abs(together(r, "radius_bias"))),
            high=0.02,
            form="{:.2%}",
        ),
        Target("tiles", f"{name}: radius spread", spread("radius_spread"), high=0.05, form="{:.2%}"),
        Target("tiles", f"{name}: center error, radii", spread("center_error"), high=0.06, form="{:.3f}"),
        Target("tiles", f"{name}: from the network's result, error bars, median", lambda p: farthest(p, image), high=1),
    ]


SECONDS = "{:.1f} s"
TARGETS = [
    Target("time", f"loss {PUBLISHED_LOSS:,}, warm", lambda p: p["loss"]["warm"], high=2, form=SECONDS),
    Target("time", "the same, cold, compiled on disk", lambda p: p["loss"]["cached"], high=6, form=SECONDS),
    Target("time", "the same, cold, nothing on disk", lambda p: p["loss"]["cold"], high=14, form=SECONDS),
    Target("time", "published form over ours, warm, to that loss", lambda p: p["ratio"], form="{:,.0f}"),
    Target("time", "settled fit, loss", lambda p: p["settled"]["loss"], high=SETTLED_LOSS, form="{:,.0f}"),
    Target("time", "settled fit, warm", lambda p: p["settled"]["seconds"], high=12, form=SECONDS),
    Target("time", "that loss with its own optics", lambda p: p["next"]["its own"]["settled"], high=2, form=SECONDS),
    Target(
        "time", "with those of its left half", lambda p: p["next"]["of its left half"]["settled"], high=2, form=SECONDS
    ),
    Target("time", "example.jpg, cold, nothing on disk", lambda p: p["example_cold"]["seconds"], high=40, form=SECONDS),
    Target("time", "the same, most memory", lambda p: p["example_cold"]["memory_mb"], high=2000, form="{:,.0f} MB"),
    Target("step", "step over the bare network, 3,000 droplets", step_ratio, high=2),
    Target("step", "the same with all between chunks of steps", lambda p: p["loop"]["3000"] / p["steps"]["network"]),
    Target("step", "step of 8,000 droplets over 800", lambda p: p["steps"]["8000"] / p["steps"]["800"], high=1.2),
    *(target for image, size in EXAMPLES.items() for target in _tile_targets(image, size)),
    Target("simulated", "simulated images: F1", lambda p: p["scores"]["all"]["f1"], low=0.98, form="{:.3f}"),
    Target(
        "simulated",
        "true count in its 95 % interval",
        lambda p: p["count"]["covered"][1],
        low=0.93,
        high=0.97,
        form="{:.0%}",
    ),
    Target(
        "simulated", "coverage of x, y, radius, points off", lambda p: off_level(p, QUANTITIES), high=2, form="{:.1f}"
    ),
    Target("simulated", "of composition, points off", lambda p: off_level(p, ("composition",)), high=2, form="{:.1f}"),
    Target("simulated", "ECE of p_present", lambda p: p["presence"]["ece"], high=0.02, form="{:.4f}"),
    Target("bound", "error over the bound, optics held, worst", lambda p: bound_ratio(p, "ratio", "held"), high=1.3),
    Target("bound", "optics given and learned on, worst", lambda p: bound_ratio(p, "ratio", "given")),
    Target("bound", "optics unknown, common part out, worst", lambda p: bound_ratio(p, "ratio_common_out", "unknown")),
    Target(
        "composition",
        "dyes: R2 by the first image's map",
        lambda p: p["r2"][SERIES]["first"]["all"],
        low=0.98,
        form="{:.3f}",
    ),
    Target(
        "composition",
        "R2 above mean and log mean color, least of sizes",
        lambda p: gain(p, SIZES),
        low=0,
        form="{:+.3f}",
    ),
    Target("composition", "where droplets touch", lambda p: gain(p, ("touching",)), low=0, form="{:+.3f}"),
    Target("composition", "where they overlap", lambda p: gain(p, ("overlapping",)), low=0, form="{:+.3f}"),
    Target("composition", "where they are alone", lambda p: gain(p, ("alone",)), form="{:+.3f}"),
    Target(
        "composition",
        "above colors with ground, thickness and the simulator's law known",
        lambda p: gain(p, ("all",), ("absorbance per radius",)),
        form="{:+.3f}",
    ),
    Target("classes", "adjusted Rand index, median of the images", median_rand, form="{:.2f}"),
]
