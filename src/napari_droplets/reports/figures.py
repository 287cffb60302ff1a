"""The figures of a report, and the numbers behind each."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ..measures.size_statistics import Statistics, known_of
from ..plot.proportions import proportions
from ..plot.samples import differences, samples
from ..plot.simplex import simplex
from ..plot.sizes import draw, edges_of, histogram_of_images
from ..plot.style import color
from ..samples.compare import Comparison
from ..samples.results import Result
from ..storage.atomic import write_whole

PANELS = 6
"""Conditions that have a panel, or a line, of their own; of more all are drawn together."""
MOST_POINTS = 20_000
"""Droplets of a panel in its CSV file, as many as are drawn."""
DPI = 150
LARGEST = 0.999
"""Part of the droplets that the axis of sizes reaches to: one huge droplet would leave the others no room."""


class Drawn(NamedTuple):
    """One figure."""

    name: str
    """Of its files."""
    title: str
    about: str
    figure: Figure
    numbers: pd.DataFrame


def figures(pictures: Sequence[Result], comparison: Comparison) -> Iterator[Drawn]:
    """All figures that these results have."""
    groups = _groups(comparison)
    for make in (_sizes, _quantities, _proportions, _compositions, _class_probabilities, _differences):
        made = make(pictures, comparison, groups)
        if made is not None:
            yield made


def save(drawn: Drawn, folder: Path) -> str:
    """Write a figure as SVG and PNG, and its numbers as CSV; the SVG as text.

    Raises
    ------
    InputError
        A file cannot be written.
    """
    if (layout := drawn.figure.get_layout_engine()) is not None:
        layout.execute(drawn.figure)
        drawn.figure.set_layout_engine("none")  # both files have the same: to find it takes longer than to draw
    content = io.StringIO()
    drawn.figure.savefig(content, format="svg", dpi=DPI, metadata={"Date": None})
    text = content.getvalue()
    write_whole(folder / f"{drawn.name}.svg", lambda p: p.write_text(text, encoding="utf-8"))
    write_whole(folder / f"{drawn.name}.png", lambda p: drawn.figure.savefig(p, dpi=DPI))
    write_whole(folder / f"{drawn.name}.csv", lambda p: drawn.numbers.to_csv(p, index=False))
    return text


def _groups(comparison: Comparison) -> dict[str, np.ndarray]:
    """Pictures of each condition, or sample, in the order of the tables; all together where there are many."""
    column = comparison.groups[comparison.top]
    names = comparison.table.loc[comparison.table["level"] == comparison.top, comparison.top]
    order = list(dict.fromkeys([*names, *column]))
    if len(order) > PANELS:
        return {f"all of {len(order)} {comparison.top}s": np.arange(len(column))}
    return {name: np.flatnonzero(column == name) for name in order}


Groups = dict[str, np.ndarray]


def _sizes(pictures: Sequence[Result], comparison: Comparison, groups: Groups) -> Drawn | None:
    known = any(len(p.droplets) and p.droplets.pixel_size_um is not None for p in pictures)
    usable = [p if len(p.droplets) and (p.droplets.pixel_size_um is not None) == known else None for p in pictures]
    diameters = [2 * p.droplets.radius * _side(p) for p in usable if p is not None]
    if not diameters:
        return None
    every = np.concatenate(diameters)
    edges = edges_of(np.quantile(every, [LARGEST]), len(every) / len(groups))
    figure, axes = _panels(1, 1, 7.0, 4.2)
    rows = []
    for i, (name, members) in enumerate(groups.items()):
        images = [(p.droplets, _options(p)) for p in (usable[m] for m in members) if p is not None]
        found = histogram_of_images(images, edges)
        if found is None:
            continue
        draw(axes[0], found, _told(comparison, name), label=name, color=color((4, 1, 2, 3, 0, 5)[i % 6]))
        columns = {"low": found.low, "high": found.high, "unit": found.unit}
        rows.append(
            pd.DataFrame({"group": name, "from": edges[:-1], "to": edges[1:], "density": found.density} | columns)
        )
    about = "Part of the droplets per unit of diameter. Bands: 95 %, of droplets and images."
    return Drawn("sizes", "Sizes", about, figure, pd.concat(rows)) if rows else None


def _quantities(pictures: Sequence[Result], comparison: Comparison, groups: Groups) -> Drawn | None:
    table = comparison.table
    names = [q for q in ("density", "D50", "D32") if (table["quantity"] == q).any()]
    if not names:
        return None
    figure, axes = _panels(1, len(names), 3.4 * len(names), 3.6)
    for ax, name in zip(axes, names, strict=True):
        samples(comparison, name, ax)
    about = f"Each {comparison.top} with its interval of 95 %, over a gray dot for each image."
    return Drawn("quantities", "Density and size", about, figure, table[table["quantity"].isin(names)])


def _proportions(pictures: Sequence[Result], comparison: Comparison, groups: Groups) -> Drawn | None:
    levels = [level for level in ("condition", "sample") if len(comparison.proportions(level))]
    if not levels:
        return None
    most = max(len(comparison.proportions(level)["group"].unique()) for level in levels)
    figure, axes = _panels(len(levels), 1, float(np.clip(2 + 0.9 * most, 5, 14)), 3.6 * len(levels))
    for ax, level in zip(axes, levels, strict=True):
        proportions(None, comparison.proportions(level), ax)
        ax.set_title(f"by {level}", fontsize=10, loc="left")
    table = comparison.table
    about = (
        "Intervals of 95 % hold the doubt about each droplet and, where there are several, differences between images."
    )
    return Drawn("proportions", "Classes", about, figure, table[table["quantity"] == "proportion"])


def _compositions(pictures: Sequence[Result], comparison: Comparison, groups: Groups) -> Drawn | None:
    def panel(ax: Any, droplets: pd.DataFrame) -> None:
        simplex(droplets, ax=ax)

    wanted = "composition_"
    about = "What each droplet is made of, colored by its class."
    return _clouds(pictures, groups, "composition", "Composition", about, wanted, panel)


def _class_probabilities(pictures: Sequence[Result], comparison: Comparison, groups: Groups) -> Drawn | None:
    names = comparison.classes.names
    if len(names) < 2:
        return None
    columns = [f"class_p_{name}" for name in names]
    with_them = []
    for i, picture in enumerate(pictures):
        table = picture.droplets.to_dataframe()
        if i in comparison.classes.classes:
            table[columns] = comparison.classes.classes[i].probabilities
        with_them.append(table)

    def panel(ax: Any, droplets: pd.DataFrame) -> None:
        simplex(droplets, ax=ax, of="classes", probabilities=droplets[columns].to_numpy(float), class_names=names)

    about = "How probable each class is for each droplet: in the corners they are certain."
    return _clouds(pictures, groups, "class_probability", "Class probability", about, "class_p_", panel, with_them)


def _clouds(
    pictures: Sequence[Result],
    groups: Groups,
    name: str,
    title: str,
    about: str,
    prefix: str,
    panel: Callable[[Any, pd.DataFrame], None],
    tables: Sequence[pd.DataFrame] | None = None,
) -> Drawn | None:
    """A panel for each group, with as many droplets as its CSV holds."""
    rng = np.random.default_rng(0)
    parts = {}
    for group, members in groups.items():
        of_images = [
            (tables[m] if tables is not None else pictures[m].droplets.to_dataframe()).assign(image=pictures[m].name)
            for m in members
        ]
        some = [t for t in of_images if len(t) and any(str(c).startswith(prefix) for c in t)]
        if some:
            table = pd.concat(some, ignore_index=True)
            chosen = rng.choice(len(table), MOST_POINTS, replace=False) if len(table) > MOST_POINTS else slice(None)
            parts[group] = table.iloc[chosen].reset_index(drop=True)
    if not parts:
        return None
    across = min(3, len(parts))
    down = -(-len(parts) // across)
    figure, axes = _panels(down, across, 4.2 * across, 4.0 * down)
    numbers = []
    for ax, (group, table) in zip(axes, parts.items(), strict=False):
        panel(ax, table)
        if len(parts) > 1:
            ax.set_title(group, fontsize=10, loc="left")
        kept = [c for c in table if str(c).startswith((prefix, "class")) or c in ("image", "x", "y", "radius")]
        numbers.append(table[kept].assign(group=group))
    for ax in axes[len(parts) :]:
        ax.axis("off")
    return Drawn(name, title, about, figure, pd.concat(numbers))


def _differences(pictures: Sequence[Result], comparison: Comparison, groups: Groups) -> Drawn | None:
    table = comparison.differences
    if table.empty:
        return None
    shown = int(table["quantity"].isin(("density", "D50", "D32", "proportion")).sum())
    if not shown:
        return None
    figure, axes = _panels(1, 1, 7.0, float(np.clip(1.2 + 0.28 * shown, 2.5, 30)))
    differences(comparison, axes[0])
    about = f"How many times more or less, with intervals of 95 %. Left of the line the {comparison.top} has less."
    return Drawn("differences", "Differences", about, figure, table)


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False).ravel()


def _side(picture: Result) -> float:
    from ..images.pixel_size import mean_side

    size = picture.droplets.pixel_size_um
    return 1.0 if size is None else mean_side(size)


def _options(picture: Result) -> dict[str, Any]:
    options = known_of(picture.summary)
    del options["count"]
    return options


def _told(comparison: Comparison, group: str) -> Statistics | None:
    """The statistics of a group, as a figure tells them; None where all groups are drawn together."""
    table = comparison.table
    rows = table[(table["level"] == comparison.top) & (table[comparison.top] == group) & (table["class"] == "")]
    return Statistics(rows.set_index("quantity")[["value", "low", "high", "unit"]]) if len(rows) else None
