"""The page about fits: targets first, then the tables of every part."""

from __future__ import annotations

from typing import Any

import numpy as np
from detection_reliability import LEVELS
from detection_report import CLASS_NAMES, SCORES, scores, table, two
from fit_data import SETTLED_LOSS
from fit_targets import EXAMPLES, QUANTITIES, Figures, targets
from reference import PUBLISHED_LOSS, PUBLISHED_STEPS

STARTS = {
    "network": "network",
    "blobs": "blobs",
    "table": "the network's table given",
    "points": "a user's points",
}


def markdown(figures: Figures) -> str:
    """The page: the table of targets, then a section per part that was run, in its order."""
    sections = {
        "time": _time,
        "step": _step,
        "tiles": _tiles,
        "simulated": _simulated,
        "bound": _bound,
        "composition": _composition,
        "renderers": _renderers,
        "classes": _classes,
    }
    parts = [
        "\n\n".join([f"### {name.capitalize()}", *(_absent(part) if "absent" in part else section(part))])
        for name, section in sections.items()
        if (part := figures.get(name))
    ]
    return "\n\n".join(["### Targets", targets(figures), *parts]) + "\n"


def _absent(part: dict[str, Any]) -> list[str]:
    return [f"Not run: {part['absent']}."]


def noise_words(noise: float) -> str:
    """The noise of fits in words."""
    return f"noise {noise:g}" if np.isfinite(noise) else "noise learned"


def _time(part: dict[str, Any]) -> list[str]:
    names = {
        "warm": "warm: third image of the process",
        "cached": "cold, compiled programs on disk",
        "cold": "cold, nothing on disk",
    }
    rows = [[text, two(part["loss"][k]), _list(part["runs"].get(k, []))] for k, text in names.items()]
    head = ["fit", f"s to {PUBLISHED_LOSS:,}", f"s to {SETTLED_LOSS:,}", "s in all", "loss", "of the pixels", "steps"]
    numbers = ("loss", "unexplained", "steps")
    warm = {"settled fit": part["settled"]} | {f"with the optics {k}": run for k, run in part["next"].items()}
    fits = [
        [name, *(two(run[k]) for k in ("published", "settled", "seconds")), *(f"{run[k]:,.0f}" for k in numbers)]
        for name, run in warm.items()
    ]
    example = [
        [names[k], two(run["seconds"], 1), two(run["done"], 1), f"{run['memory_mb']:,.0f}", f"{run['droplets']:,}",
         ", ".join(f"{k} {v:.1f}" for k, v in run["parts"].items() if k != "total")]
        for k in ("cold", "cached")
        if (run := part[f"example_{k}"])
    ]  # fmt: skip
    hours = part["reference"] * PUBLISHED_STEPS / 3600
    return [
        f"Published image at 507 x 380 pixels, {noise_words(part['noise'])}. Seconds until the loss first is "
        f"{PUBLISHED_LOSS:,}, the published final loss: cold from the start of a new process, imports included, the "
        "median of the runs behind.",
        table(["", "seconds", "runs"], rows),
        f"The published form takes {part['reference']:.3f} s a step in the same run, {hours:.1f} h for "
        f"{PUBLISHED_STEPS:,} steps (extrapolated): {part['ratio']:,.0f} times as long as ours, warm, until that "
        "loss.",
        "The whole fit, warm, and the same image again as if it were the next of a series: with the optics that it "
        "had itself, which is the easiest case, and with those of its left half. *Of the pixels*: negative log "
        "likelihood of the image under the reconstruction; what the loss holds besides is the cost of droplets and "
        "optics.",
        table(head, fits),
        "example.jpg, 2028 x 1520 pixels, in a process of its own: seconds until the process has ended, until the "
        "table was there, the most memory it held in MB.",
        table(["", "seconds", "table", "memory", "droplets", "seconds by part"], example),
    ]


def _step(part: dict[str, Any]) -> list[str]:
    bare = part["steps"]["network"]
    rows = []
    for n, each in part["steps"].items():
        whole = part["loop"].get(n, np.nan)
        name = f"fit, {int(n):,} droplets" if n.isdigit() else n
        rows.append([name, two(1e3 * each), two(each / bare), two(1e3 * whole)])
    growth = part["steps"]["8000"] / part["steps"]["800"]
    return [
        f"Milliseconds per step of {part['pixels']:,} pixels, medians of chunks run in turns: the program of the "
        "fit, and forward and backward pass of the bare network on as many pixels (gradients to its weights and "
        "inputs, as in the fit; and to its weights alone). *In the loop*: mean over a whole fit, with all that "
        "happens between chunks.",
        table(["", "ms", "over the network", "in the loop"], rows),
        f"8,000 droplets cost {growth:.2f} times the step of 800.",
    ]


def _tiles(part: dict[str, Any]) -> list[str]:
    rows, apart = [], []
    for image, size in EXAMPLES.items():
        for start, row in part[image].items():
            for stage in ("proposed", "fitted"):
                label = f"{STARTS[start]}, {stage}"
                rows.append([size, label, *scores(row[stage]["tiles together"]), _single(row[stage])])
            bars = [_list(row["apart"][k]) for k in QUANTITIES]
            apart.append([size, STARTS[start], f"{row['loss']:,.0f}", f"{row['apart']['shared']:.1%}", *bars])
    return [
        "Two checked tiles of the published photograph together, radius at least 4.8 pixels of the full size; "
        f"{noise_words(part['noise'])}. *A user's points*: the checked circles, centers and radii off by a fifth of "
        "the radius, no error bars. The last column has F1 of tile A and D alone.",
        table(["image", "start", *SCORES, "F1 each"], rows),
        "How far results differ from that of the network: droplets in the tiles that both have, and distances of "
        "those in units of their error bars, median and 95 % quantile.",
        table(["image", "start", "loss", "shared", *QUANTITIES], apart),
    ]


def _single(row: dict[str, dict[str, float]]) -> str:
    return ", ".join(two(row[name]["f1"], 3) for name in row if name != "tiles together")


def _simulated(part: dict[str, Any]) -> list[str]:
    failed = [f"{i['name']}: {i['failed']}" for i in part["images"] if "failed" in i]
    sizes = [
        [name, str(part["scores"][name]["n_true"]), *scores(part["scores"][name])] for name in ("all", *CLASS_NAMES)
    ]
    text = [
        f"{len(part['images'])} images of `napari_droplets.simulate`, 256 to 320 pixels a side, radii of 2 to 15 "
        "pixels, two to four dyes, noise, light, overlap and crowding drawn anew for each; the number of dyes is "
        f"told. Median of {part['seconds']:.1f} s a fit. F1, bias and intervals are of droplets of at least 2 pixels "
        "that the border does not cut.",
        table(["radius", "droplets", *SCORES], sizes),
    ]
    levels = " and ".join(f"{level:.0%}" for level in LEVELS)
    if "coverage" in part:
        kinds = (*QUANTITIES, "composition")
        rows = [[name, f"{c['n']:,}", *(_percent(c[k]) for k in kinds)] for name, c in part["coverage"].items()]
        text += [
            f"Percent of true values in the {levels} interval, of droplets found. Compositions are brought to the "
            f"true dyes by one affine map per image (median R2 {two(part['r2'], 3)}), standard deviations by joint "
            "samples; four dyes are left out, for three channels cannot tell them apart.",
            table(["radius", "droplets", "x", "y", "radius covered", "composition"], rows),
        ]
    if "count" in part:
        c = part["count"]
        text.append(
            f"Number of droplets with their center in the image: in the {levels} interval of `count_mean` and "
            f"`count_sd` in {_percent(c['covered'])} % of {c['images']} images (the standard error of the second is "
            f"{100 * np.sqrt(0.95 * 0.05 / c['images']):.1f} points); bias {c['bias']:+.2%}, mean standard deviation "
            f"{c['sd']:.2f}, root mean square error {c['z']:.2f} standard deviations."
        )
    if "presence" in part:
        text.append(f"ECE of p_present over {part['presence']['n']:,} candidates: {part['presence']['ece']:.4f}.")
    if "misfit" in part:
        misfits = part["misfit"].items()
        rows = [[k, f"{m['n']:,}", *(two(m[key]) for key in ("median", "q95", "poor"))] for k, m in misfits]
        text += ["Misfit of droplets:", table(["droplets", "number", "median", "95 %", "share above 2"], rows)]
    missing = {"count": "count_mean", "presence": "p_present", "misfit": "misfit"}
    lacking = [word for key, word in missing.items() if key not in part]
    return text + ([f"Absent from these fits: {', '.join(lacking)}."] if lacking else []) + failed


def _bound(part: dict[str, Any]) -> list[str]:
    rows = []
    for row in part["rows"]:
        columns = ("ratio", "ratio_common_out", "ratio_known", "typical", "stated")
        common = ", ".join(f"{c:+.2%}" for c in row["common"])
        found = f"{row['found']} of {row['drawn']}"
        rows.append([f"{row['noise']:g}", row["optics"], found, *(_list(row[c]) for c in columns), common])
    head = [
        "noise",
        "optics",
        "found",
        "error",
        "common part out",
        "composition known",
        "typical",
        "stated",
        "common part",
    ]
    return [
        "Isolated droplets drawn from the model itself, radii of 4 to 10 pixels, white noise; each cell has x, y "
        "and radius. Optics are held, given and learned on, or unknown. *Error*: root mean square over the "
        "Cramér–Rao bound with the composition unknown. *Common part*: shift and growth, in radii, that all "
        "droplets share, which optics may trade for their own; the next column is without it. *Composition known*: "
        "over the bound with known composition. *Typical*: 68 % quantile of errors over bounds. *Stated*: median of "
        "the standard deviations of the fit over bounds.",
        table(head, rows),
    ]


def _composition(part: dict[str, Any]) -> list[str]:
    text = [
        f"{part['series']} series of four simulated images of three dyes under oblique light. The first image of a "
        "series is fitted, the others with its optics, learned on or held as they are. R2 of the fractions of the "
        "dyes over the droplets of all series (found by all fits, whole), after one affine map per series: made on "
        "its first image and applied to all, or made on all. Colors are means over the true circles; *absorbance "
        "per radius* has ground and thickness taken out by the law that the simulator follows. *Touching* droplets "
        "have an edge within a pixel, *overlapping* ones another that reaches in by a quarter of their radius.",
    ]
    names = list(part["droplets"])
    for kind, words in (("first", "Map made on the first image:"), ("all", "Map made on all four:")):
        rows = [[method, *(two(maps[kind][g], 3) for g in names)] for method, maps in part["r2"].items()]
        text += [words, table(["", *names], [["droplets", *(f"{n:,}" for n in part["droplets"].values())], *rows])]
    return text


def _renderers(part: dict[str, Any]) -> list[str]:
    rows = []
    for overlap, those in part["rows"].items():
        for name, row in those.items():
            ended = "" if name != "auto" else f" ({', '.join(row['ended'])})"
            cells = [two(row[k], 3) for k in ("f1", "center_error", "r2", "r2_overlapping")]
            spread = f"{row['radius_bias']:+.1%}, {row['radius_spread']:.1%}"
            rows.append([overlap, name + ended, two(row["residual"]), *cells, spread, two(row["seconds"], 1)])
    head = ["overlap", "renderer", "residual", "F1", "center", "R2", "overlapping", "radius bias, spread", "s"]
    return [
        f"{part['images']} images of each overlap (at most, in radii of the smaller droplet), three dyes, simplex. "
        "`nearest`, `layered` and `blended` throughout; `auto`: nearest while optics are learned, and in the end "
        "whichever of nearest and layered leaves less (in brackets). *Residual*: root mean square, over the camera's "
        "noise. *Overlapping*: R2 of droplets that another one reaches into by a quarter of their radius. Compiling "
        "counts in the seconds.",
        table(head, rows),
    ]


def _classes(part: dict[str, Any]) -> list[str]:
    rows, circles = [], []
    for name, image in part["images"].items():
        label = f"{name} (poor masks)" if image["poor_masks"] else name
        certain = f"{two(image['rand_certain'])} of {image['certain']}" if "certain" in image else "–"
        confusion = "; ".join(" ".join(map(str, line)) for line in image.get("table", [])) or "–"
        rand = two(image["rand"]) if "rand" in image else "absent"
        rows.append([label, str(image["matched"]), rand, certain, confusion])
        for stage in ("proposed", "fitted"):
            s = image[stage]
            signs = [f"{s['radius_bias']:+.1%}", f"{s['radius_spread']:.1%}", two(s["center_error"], 3)]
            circles.append([label, stage, two(s["recall"], 3), *signs])
    return [
        "Published aerosol images: adjusted Rand index of the classes of the authors and those of the fit over "
        "matched droplets, of those with class_p of at least 0.9, and how many have each pair of classes (a row per "
        "class of the authors).",
        table(["image", "matched", "Rand index", "certain", "table"], rows),
        "Circles of the authors' segmentation, which misses droplets: only recall counts.",
        table(["image", "", "recall", "radius bias", "radius spread", "center"], circles),
    ]


def _list(values: list[float]) -> str:
    return ", ".join(two(v) for v in values) or "–"


def _percent(shares: list[float]) -> str:
    return ", ".join(two(100 * s, 1) for s in shares)
