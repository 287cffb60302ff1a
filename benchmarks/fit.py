"""Measure fits against their targets: seconds, truth, error bars, physical limit, composition, classes.

    python benchmarks/fit.py [--only PART] [--count N] [--write docs/fit_results.md] [--plots docs/images]

Prints a table of targets and Markdown tables of every part; with --write they and all figures (JSON) go to files, where
parts that are not run now, or cannot be, keep the figures they have there. What is not at hand is said to be so.
"""

from __future__ import annotations

import argparse
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pages
from fit_bound import bound, draw_figure
from fit_composition import classes, composition
from fit_data import Absent
from fit_renderers import renderers
from fit_report import markdown
from fit_targets import Figures
from fit_time import seconds, step
from fit_truth import simulated, tiles

REPOSITORY = Path(__file__).parents[1]
NOISE = 0.05  # of the published form, in all fits of its image
PARTS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "time": seconds,
    "step": step,
    "tiles": tiles,
    "simulated": simulated,
    "bound": bound,
    "composition": composition,
    "renderers": renderers,
    "classes": classes,
}


def measure(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """Figures of one part, or the reason why there are none: one part does not end the others."""
    print(f"{part} …", file=sys.stderr, flush=True)
    try:
        return PARTS[part](options)
    except Absent as reason:
        print(f"{part}: skipped, {reason}", file=sys.stderr)
        return {"absent": str(reason).replace(f"{options.shared}/", "")}
    except Exception as error:
        traceback.print_exc()
        return {"absent": f"{type(error).__name__}: {error}", "failed": True}


def merged(old: Figures, new: Figures) -> Figures:
    """Figures with new parts in the place of old ones, in order; those that could not run replace nothing."""
    fresh = {part: figures for part, figures in new.items() if "absent" not in figures or part not in old}
    both = old | fresh
    return {part: both[part] for part in PARTS if part in both}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Arguments of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; may be given several times")
    parser.add_argument(
        "--shared",
        type=Path,
        default=REPOSITORY.parent / "shared",
        metavar="FOLDER",
        help="with data/ and score/; default: beside the repository",
    )
    parser.add_argument(
        "--count", type=int, metavar="N", help="fewer images, series, or repetitions of a part, to try it"
    )
    parser.add_argument("--steps", type=int, metavar="N", help="fewer steps of every fit, to try it")
    parser.add_argument(
        "--noise",
        type=lambda text: None if text == "learned" else float(text),
        default=NOISE,
        metavar="SD",
        help="of the fits of the published photograph, or `learned`; default: %(default)s",
    )
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="write the tables there, the figures beside it")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw errors against the physical limit")
    options = parser.parse_args(arguments)
    for name in ("count", "steps"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name} {value}: must be at least 1")
    if options.write and options.write.suffix != ".md":
        parser.error(f"--write {options.write}: must end in .md")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the parts; 1 where one failed."""
    options = parse(arguments)
    figures: Figures = {}
    for part in PARTS:
        if options.only is not None and part not in options.only:
            continue
        figures[part] = measure(part, options)
        if options.write:  # now: all together take long, and may be stopped
            together = merged(pages.read(options.write), figures)
            pages.write(options.write, together, markdown(together))
    print(markdown(figures))
    if options.plots and "rows" in figures.get("bound", {}):
        draw_figure(figures["bound"], options.plots / "fit_bound.png")
    return int(any("failed" in part for part in figures.values()))


if __name__ == "__main__":
    sys.exit(main())
