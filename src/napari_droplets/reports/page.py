"""The page itself: figures, tables and thumbnails put into its template."""

from __future__ import annotations

import base64
import os
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from .. import __version__
from ..samples.api import Watch
from ..samples.compare import Comparison
from ..samples.results import Result
from ..storage.atomic import write_whole
from .figures import Drawn
from .montage import WIDTHS, thumbnail, thumbnail_width
from .quality import Quality

SHOWN = ("density", "D50", "D32", "mean", "cv", "span", "area_fraction")
"""Quantities in the table of the page; samples.csv has all."""
SAID = {"density": "density", "D32": "D[3,2]", "cv": "CV", "area_fraction": "area fraction"}
MOST_ROWS = 60
"""Of tables of samples and differences on the page."""
VALUES = 3
"""Values of a setting that are told where images differ."""
PACKAGES = ("numpy", "scipy", "pandas", "jax", "numpyro", "matplotlib")


def write_page(
    path: Path,
    pictures: Sequence[Result],
    comparison: Comparison,
    drawn: Sequence[tuple[Drawn, str]],
    quality: Sequence[Quality],
    commands: Sequence[str],
    watch: Watch | None = None,
) -> Path:
    """Write the page.

    Parameters
    ----------
    path : Path
        Of the page; links lead from there to the folders of the results.
    pictures : sequence of Result
    comparison : Comparison
        Of these pictures.
    drawn : sequence of (Drawn, str)
        The figures and their SVG.
    quality : sequence of Quality
        Of each picture.
    commands : sequence of str
        That made the results.
    watch : callable, optional
        Told which thumbnail is made.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    n, droplets = len(pictures), sum(len(p.droplets) for p in pictures)
    headline = f"{n:,} image{'' if n == 1 else 's'}, {droplets:,} droplets"
    if flagged := sum(bool(q.flags) for q in quality):
        headline += f", {flagged} image{'' if flagged == 1 else 's'} with flags"
    text = rendered(
        name=path.parent.resolve().name,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        headline=headline,
        notes=comparison.notes,
        figures=[
            {
                "name": figure.name,
                "title": figure.title,
                "about": figure.about,
                "svg": svg_uri(svg),
            }
            for figure, svg in drawn
        ],
        tables=[t for t in (_statistics(comparison), _proportions(comparison), _differences(comparison)) if t],
        cards=_cards(path.parent, pictures, quality, watch),
        cards_title="Images",
        cards_about="The worst fits first. Click a picture for its overlay.",
        left_out=max(0, len(pictures) - WIDTHS[-1][0]),
        settings=settings_told([p.summary for p in pictures]),
        commands=commands,
        versions=versions_told([p.summary for p in pictures]),
    )
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))
    return path


def rendered(**parts: Any) -> str:
    """The template with what a page says put in."""
    from jinja2 import Environment

    template = resources.files(__package__).joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(template).render(**parts)


def svg_uri(svg: str) -> str:
    """A figure as part of a page."""
    return "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()


def _cards(
    out: Path, pictures: Sequence[Result], quality: Sequence[Quality], watch: Watch | None
) -> list[dict[str, Any]]:
    """What is said of each image, the worst first."""
    order = sorted(range(len(pictures)), key=lambda i: -quality[i].badness)[: WIDTHS[-1][0]]
    width = thumbnail_width(len(order))
    cards = []
    for number, i in enumerate(order):
        if watch is not None:
            watch("thumbnails", number, len(order))
        picture, summary = pictures[i], pictures[i].summary
        overlay = picture.folder / "overlay.png"
        facts = [f"{len(picture.droplets):,} droplets"]
        if summary.get("rmse") is not None:
            facts.append(f"RMSE {summary['rmse']:.3g}")
        if summary.get("unexplained") is not None:
            facts.append(f"{summary['unexplained']:.1%} unexplained")
        cards.append(
            {
                "name": picture.name,
                "flags": quality[i].flags,
                "facts": ", ".join(facts),
                "thumbnail": thumbnail(overlay, width, fitted="rmse" in summary),
                "link": _link(overlay, out) if overlay.exists() else None,
                "width": width,
            }
        )
    return cards


def _link(path: Path, out: Path) -> str:
    return quote(Path(os.path.relpath(path, out)).as_posix())


def _number(value: Any) -> str:
    return "" if not np.isfinite(value) else f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{_number(value)} ({_number(low)} to {_number(high)})"


def _statistics(comparison: Comparison) -> dict[str, Any] | None:
    """Sizes and densities of conditions and samples: a row for each, a column for each quantity."""
    table = comparison.table
    rows = table[(table["level"] != "image") & table["quantity"].isin(SHOWN)]
    if rows.empty:
        return None
    quantities = [q for q in SHOWN if (rows["quantity"] == q).any()]
    units = rows.drop_duplicates("quantity").set_index("quantity")["unit"]
    heads = [f"{SAID.get(q, q)}{f', {units[q]}' if units[q] else ''}" for q in quantities]
    keys = ["level", "condition", "sample"]
    lines = []
    for (level, condition, sample), part in rows.groupby(keys, dropna=False, sort=False):
        known = part.set_index("quantity")
        told = [_interval(*known.loc[q, ["value", "low", "high"]]) if q in known.index else "" for q in quantities]
        first = known.iloc[0]
        lines.append([str(level), str(sample if level == "sample" else condition), str(first["images"]), *told])
    about = f"Intervals of 95 %. {_held(rows)} All quantities are in"
    return _table("Statistics", ["", "", "images", *heads], lines, about, "samples.csv")


def _proportions(comparison: Comparison) -> dict[str, Any] | None:
    levels = [(level, comparison.proportions(level)) for level in ("condition", "sample")]
    classes = comparison.classes.names
    lines = [
        [
            level,
            str(group),
            *(_interval(*part.set_index("class").loc[c, ["proportion", "low", "high"]]) for c in classes),
        ]
        for level, rows in levels
        for group, part in rows.groupby("group", sort=False)
    ]
    if not lines:
        return None
    rows = comparison.table[comparison.table["quantity"] == "proportion"]
    about = f"Part of the droplets, with intervals of 95 %. {_held(rows)}"
    return _table("Proportions", ["", "", *classes], lines, about, "samples.csv")


def _differences(comparison: Comparison) -> dict[str, Any] | None:
    table = comparison.differences
    if table.empty:
        return None
    table = table[table["quantity"].isin((*SHOWN, "proportion"))]
    lines = [
        [
            f"{SAID.get(row['quantity'], row['quantity'])} {row['class']}".strip(),
            f"{row['group']} − {row['reference']}",
            f"{_interval(row['difference'], row['low'], row['high'])} {row['unit'] or ''}".strip(),
            _interval(row["ratio"], row["ratio_low"], row["ratio_high"]),
            f"{row['p_larger']:.3g}",
        ]
        for row in table.to_dict("records")
    ]
    heads = ["", "", "difference", "ratio", "probability that it is larger"]
    about = f"Intervals of 95 %. They hold what is uncertain about {_listed(table['holds'].iloc[0])}."
    return _table("Differences", heads, lines, about, "differences.csv")


def _held(rows: pd.DataFrame) -> str:
    """What the intervals of each level hold."""
    held = rows[rows["level"] != "image"].drop_duplicates("level")
    return " ".join(
        f"Those of a {level} hold what is uncertain about {_listed(what)}."
        for level, what in zip(held["level"], held["holds"], strict=True)
    )


def _listed(what: str) -> str:
    """Droplets, images and samples, in words."""
    parts = what.split(", ")
    said = {"droplets": "droplets", "images": "differences between images", "samples": "between samples"}
    return " and ".join(said[part] for part in parts)


def _table(title: str, heads: list[str], lines: list[list[str]], about: str, file: str) -> dict[str, Any]:
    return {
        "title": title,
        "heads": heads,
        "lines": lines[:MOST_ROWS],
        "about": about,
        "file": file,
        "more": max(0, len(lines) - MOST_ROWS),
    }


def settings_told(summaries: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Each setting, with the values that it has among the results."""
    told: dict[str, dict[str, None]] = {}
    for summary in summaries:
        for name, value in (summary.get("settings") or {}).items():
            text = str(value)
            told.setdefault(name, {})[text if len(text) < 80 else f"{text[:60]}…"] = None
    return [
        (name, " / ".join([*list(values)[:VALUES], *(["…"] if len(values) > VALUES else [])]))
        for name, values in told.items()
    ]


def versions_told(summaries: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the results and the page were made with."""
    made = ", ".join(sorted({str(s.get("version")) for s in summaries}))
    found = [("napari-droplets, of the results", made), ("napari-droplets, of this page", __version__)]
    for package in PACKAGES:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return [*found, ("Python", platform.python_version()), ("system", platform.platform())]
