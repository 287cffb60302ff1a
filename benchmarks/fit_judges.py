"""Judge fits: one row of a table for each target, with what was detected beside what was fitted.

    python benchmarks/fit_judges.py [--only PART] [--images N] [--first K] [--write docs/fit_results.md]

With --write every image is kept as JSON beside the page as soon as it is done, and what is kept from the same commit is
not measured again: a long run can be stopped and split. What is not at hand is said to be so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fit_bound
import fit_composition
import fit_data
import fit_time
import numpy as np
import pages
from detection_data import MARGIN, RECALL_ONLY, real_sets
from detection_report import table, two
from fit_rows import Row, compared, pooled

REPOSITORY = Path(__file__).parents[1]
Rows = dict[str, Row]
"""Of one part, by image."""
Wanted = Callable[[str], bool]
Measured = Iterator[tuple[str, Row]]

NOISES = (0.003, 0.01, 0.03)
CLEAR = ("paper_aerosol", "example_down4.png", "example.jpg")
"""Real sets whose droplets are clear."""
TILES = ("example_down4.png", "example.jpg")
LEAST_F1, MOST_SCATTER = 0.985, 0.04
TINY = "tiny"
"""The kind of discs with radii below 3 pixels."""


class Quantity(NamedTuple):
    """A figure of `fit_rows.pooled`: its name in words, where it is right, and whether more (1) or less (-1) is better.

    A fit is worse than the detection where it is so by more than `slack`.
    """

    key: str
    words: str
    low: float = -np.inf
    high: float = np.inf
    better: int = 0
    form: str = "{:.3f}"
    slack: float = 0.002

    @property
    def target(self) -> str:
        """In words."""
        low, high = (self.form.format(b) for b in (self.low, self.high))
        if np.isfinite(self.low) and self.low == -self.high:
            return f"± {high}"
        if np.isfinite(self.low):
            return f"{low} to {high}" if np.isfinite(self.high) else f"≥ {low}"
        return f"≤ {high}" if np.isfinite(self.high) else "no worse" if self.better else "–"

    def line(self, judge: str, before: dict[str, float], after: dict[str, float]) -> list[str]:
        """Cells: judge, what, target, detection, fit, whether it is met."""
        old, new = before.get(self.key, np.nan), after.get(self.key, np.nan)
        cells = [self.form.format(v) if np.isfinite(v) else "–" for v in (old, new)]
        return [judge, self.words, self.target, *cells, self._met(old, new)]

    def _met(self, old: float, new: float) -> str:
        if self.target == "–" or not np.isfinite(new):
            return "–"
        if not self.low <= new <= self.high:
            return "no"
        gain = self.better * (new - old) if self.better > 0 else abs(old) - abs(new)
        return "worse" if self.better and gain < -self.slack else "yes"


def percent(key: str, words: str, low: float = -np.inf, high: float = np.inf, better: int = 0) -> Quantity:
    """A quantity in percent."""
    return Quantity(key, words, low, high, better, "{:.1%}")


F1 = Quantity("f1", "F1", better=1)
CENTER = Quantity("center", "centers, radii", better=-1)
SPREAD = percent("spread", "spread of radii", better=-1)
BIAS = percent("bias", "common bias of radii", better=-1)
COUNT_SD = percent("count_sd", "deviation of the count over the count, median")


def coverage(names: tuple[str, ...], of_68: tuple[float, float], of_95: tuple[float, float]) -> list[Quantity]:
    """Of the intervals of these, with the part of the true values that they should hold."""
    return [
        percent(f"{name}{level}", f"{name} in its {level} % interval", *within)
        for name in names
        for level, within in (("68", of_68), ("95", of_95))
    ]


REFRACTING = [
    Quantity("f1", "F1", low=LEAST_F1, better=1),
    percent("abs_bias", "common bias of radii, mean of absolutes", high=0.02, better=-1),
    CENTER,
    SPREAD,
    *coverage(("x", "y", "radius"), (0.58, 0.80), (0.91, 0.99)),
    Quantity("ece", "ECE of p_present", high=0.03),
    percent("count95", "count in its 95 % interval", low=0.85),
    COUNT_SD,
    percent("settled", "fits that settled"),
]
SIMULATED = [
    Quantity("f1", "F1", low=0.9995, better=1, form="{:.4f}"),
    percent("worst_size_bias", "common bias of radii, worst class of sizes", high=0.005),
    CENTER,
    *coverage(("x", "y", "radius", "composition"), (0.65, 0.71), (0.92, 0.98)),
    Quantity("r2", "R2 of compositions, up to three dyes", low=0.98),
    Quantity("ece", "ECE of p_present"),
    percent("count95", "count in its 95 % interval", low=0.93, high=0.97),
    percent("settled", "fits that settled"),
]


class Part(NamedTuple):
    """What is measured, image by image, and the table's rows from what is kept."""

    measure: Callable[[argparse.Namespace, Wanted], Measured]
    lines: Callable[[Rows], list[list[str]]]


def numbers(options: argparse.Namespace, most: int | None = None) -> range:
    """Of the images asked for."""
    last = options.first + options.images
    return range(options.first, last if most is None else min(last, most))


def both(rows: Rows, quantities: list[Quantity], judge: str) -> list[list[str]]:
    """Rows of the table for images of one judge, and one for droplets that the fit lost and won."""
    if not rows:
        return []
    before, after = (pooled([row[k] for row in rows.values()]) for k in ("detect", "fit"))
    judge = f"{judge}, {len(rows)} images" if len(rows) > 1 else judge
    lines = [q.line(judge, before, after) for q in quantities]
    failed = sum("failed" in row for row in rows.values())
    lost, won = (sum(row.get(k, 0) for row in rows.values()) for k in ("lost", "won"))
    lines.append([judge, "droplets lost and won by the fit", "–", "–", f"{lost:,} and {won:,}", "–"])
    return lines + ([[judge, "images without a fit", "0", "–", str(failed), "no"]] if failed else [])


def _discs(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for kind in fit_data.disc_kinds(options.shared):
        for n in numbers(options, 100):
            if wanted(f"{kind} {n}"):
                yield f"{kind} {n}", compared(fit_data.plain_discs(options.shared, kind, n))


def _disc_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for kind in dict.fromkeys(key.rsplit(" ", 1)[0] for key in rows):
        most = 0.02 if kind == TINY else 0.005
        lines += both(
            {k: row for k, row in rows.items() if k.rsplit(" ", 1)[0] == kind},
            [
                F1,
                Quantity("bias", "common bias of radii", -most, most, -1, "{:.2%}", 0.001),
                Quantity("shift_px", "common shift, pixels", high=0.03, better=-1),
                CENTER,
            ],
            f"discs, {kind}",
        )
    return lines


def _physical(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for n in numbers(options):
        if wanted(str(n)):
            yield str(n), compared(fit_data.physical(n))


def _random_optics(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for n in numbers(options, 100):
        if wanted(str(n)):
            yield str(n), compared(fit_data.random_optics(options.shared, n))


def _simulate(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for n in numbers(options):
        if wanted(str(n)):
            shape, arguments = fit_data.look(n)
            case, truth = fit_data.simulation(shape, arguments)
            yield str(n), compared(case, truth=truth, types=arguments["types"], seed=n)


def _real(options: argparse.Namespace, wanted: Wanted) -> Measured:
    fit_data.present(options.shared / "data")
    for name, cases in real_sets(options.shared).items():
        for case in cases if name not in TILES else ():
            if wanted(f"{name}/{case.name}"):
                yield f"{name}/{case.name}", compared(case)


def _real_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for name in dict.fromkeys(key.split("/")[0] for key in rows):
        found = F1 if name not in RECALL_ONLY else F1._replace(key="recall", words="recall")
        count = COUNT_SD._replace(high=0.08) if name in CLEAR else COUNT_SD
        more = [] if name in RECALL_ONLY else [percent("count95", "count in its 95 % interval")]
        p = Quantity("p_median", "median of p_present")
        of_set = {k: row for k, row in rows.items() if k.split("/")[0] == name}
        lines += both(of_set, [found, CENTER, BIAS, SPREAD, count, *more, p], name)
    return lines


def _tiles(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for name in TILES:
        fit_data.present(options.shared / "data" / "seed" / name)
        if wanted(name):
            yield name, compared(next(real_sets(options.shared)[name]), margin=MARGIN)


def _tile_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for name, row in rows.items():
        quantities = [
            F1._replace(low=LEAST_F1),
            BIAS,
            SPREAD._replace(high=0.06 if name == TILES[0] else 0.045),
            CENTER,
            Quantity("scatter", "centers about their common shift, radii", high=MOST_SCATTER, better=-1),
            COUNT_SD._replace(high=0.08),
            Quantity("p_median", "median of p_present"),
            Quantity("seconds", "seconds", form="{:.1f}"),
        ]
        lines += both({name: row}, quantities, f"tiles A and D, {name}")
    return lines


def _noise(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for level in NOISES:
        for n in numbers(options):
            if wanted(f"{level:g} {n}"):
                case, true = fit_data.told_noise(level, n)
                yield f"{level:g} {n}", compared(case) | {"noise_true": true}


def _noise_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for level in NOISES:
        of_level = [row for key, row in rows.items() if key.split()[0] == f"{level:g}"]
        ratios = [row["fit"]["noise_sd"] / row["noise_true"] for row in of_level if "noise_true" in row]
        if ratios:
            of = Quantity("ratio", f"told over true, {level:g}", 0.9, 1.1)
            lines.append(of.line(f"noise, {len(ratios)} images", {}, {"ratio": float(np.mean(ratios))}))
    return lines


def _bound(options: argparse.Namespace, wanted: Wanted) -> Measured:
    model = None
    for noise in fit_bound.NOISES:
        for n in numbers(options):
            if wanted(f"{noise:g} {n}"):
                model = model or fit_bound.learned()
                yield f"{noise:g} {n}", fit_bound.bound(noise, n, model)


def _bound_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for known, most in (("held", 1.1), ("given", 1.5)):
        for noise in fit_bound.NOISES:
            some = [row for key, row in rows.items() if key.split()[0] == f"{noise:g}"]
            words = {"held": "optics held", "given": "optics given and learned on"}[known]
            if not some:
                continue
            judge = f"error over the Cramér–Rao bound, {words}"
            usual = fit_bound.typical(some, known)
            for name, ratio, quantile in zip(fit_bound.QUANTITIES, fit_bound.ratios(some, known), usual, strict=True):
                of = Quantity("ratio", f"{name}, noise {noise:g}", high=most, form="{:.2f}")
                lines.append(of.line(judge, {}, {"ratio": ratio}))
                lines.append([judge, f"{name}, noise {noise:g}, 68 % quantile", "–", "–", two(quantile), "–"])
    return lines


def _composition(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for n in numbers(options):
        if wanted(str(n)):
            yield str(n), fit_composition.composition(n)


def _composition_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for method, maps in fit_composition.explained(list(rows.values())).items():
        for kind, words in (("first", "map made on the first image"), ("all", "map made on all")):
            r2 = maps[kind]
            cells = ", ".join(f"{g} {two(r2[g], 3)}" for g in ("all", "alone", "touching", "overlapping"))
            lines.append([f"R2 of dyes, {len(rows)} series, {words}", method, "–", "–", cells, "–"])
    return lines


def _classes(options: argparse.Namespace, wanted: Wanted) -> Measured:
    folder = fit_data.present(options.shared / "data" / "paper_aerosol" / "images")
    for path in sorted(folder.glob("*.png")):
        if wanted(path.stem):
            yield path.stem, fit_composition.classes(path)


def _class_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for name, row in rows.items():
        every, certain = (two(row.get(key, np.nan)) for key in ("rand", "rand_certain"))
        words = f"{name} (poor masks)" if row["poor_masks"] else name
        agreed = f"{every} of {row['matched']}, certain ones {certain}"
        lines.append(["Rand index with the authors' classes", words, "–", "–", agreed, "–"])
    return lines


def _time(options: argparse.Namespace, wanted: Wanted) -> Measured:
    for name, measure in fit_time.MEASURES.items():
        if wanted(name):
            yield name, measure(options.shared)


def _time_lines(rows: Rows) -> list[list[str]]:
    lines = []
    for name, row in rows.items():
        for key, (words, most, form) in fit_time.TARGETS[name].items():
            lines.append(Quantity(key, words, high=most, form=form).line("seconds", {}, row))
    return lines


PARTS = {
    "discs": Part(_discs, _disc_lines),
    "physical": Part(_physical, lambda rows: both(rows, REFRACTING, "refracting droplets")),
    "random_optics": Part(_random_optics, lambda rows: both(rows, REFRACTING, "random optics")),
    "simulate": Part(_simulate, lambda rows: both(rows, SIMULATED, "simulate")),
    "noise": Part(_noise, _noise_lines),
    "tiles": Part(_tiles, _tile_lines),
    "real": Part(_real, _real_lines),
    "bound": Part(_bound, _bound_lines),
    "composition": Part(_composition, _composition_lines),
    "classes": Part(_classes, _class_lines),
    "time": Part(_time, _time_lines),
}
DEFAULT_IMAGES = {"discs": 3, "physical": 40, "random_optics": 40, "simulate": 100, "noise": 3, "bound": 3}
"""Images of a part (of each kind of discs, of each noise), or series."""


def markdown(kept: dict[str, Rows], absent: dict[str, str] | None = None) -> str:
    """The page: what was measured where, and the table."""
    absent = absent or {}
    lines = [line for part in PARTS for line in PARTS[part].lines(kept.get(part, {}))]
    commits = sorted({row["commit"] for rows in kept.values() for row in rows.values() if "commit" in row})
    text = [f"Measured at {', '.join(commits)}." if commits else "Nothing has been measured yet."]
    if lines:
        text.append(table(["judge", "what", "target", "detection", "fit", "met"], lines))
    missing = [part for part in PARTS if not kept.get(part) and part not in absent]
    if missing:
        text.append(f"Not run: {', '.join(missing)}.")
    text += [f"{part}: {reason}." for part, reason in absent.items()]
    clear = _counts({k: v for part in ("tiles", "real") for k, v in kept.get(part, {}).items()})
    return "\n\n".join([*text, *clear]) + "\n"


def _counts(rows: Rows) -> list[str]:
    """A table of the numbers of droplets told on real images."""

    def count(row: Row) -> str:
        return f"{row['count'][1]:.0f} ± {row['count'][2]:.0f}" if "count" in row else "–"

    cells = []
    for name, row in rows.items():
        p, moved = two(row["fit"].get("p_median", np.nan)), f"{row.get('lost', 0)}, {row.get('won', 0)}"
        cells.append([name, str(row["fit"]["true"]), count(row["detect"]), count(row["fit"]), p, moved])
    head = ["image", "marked by people", "count, detection", "count, fit", "median of p", "lost, won"]
    return [table(head, cells)] if cells else []


def commit() -> str:
    """Of the package that is measured, with a mark where its files differ from it."""

    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)

    told = git("log", "-1", "--format=%h", "--", "src").stdout.strip() or "unknown"
    return told + ("+" if git("diff", "--quiet", "HEAD", "--", "src").returncode else "")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Arguments of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=PARTS, action="append", help="run this part; may be given several times")
    parser.add_argument("--images", type=int, metavar="N", help=f"of each part; default: {DEFAULT_IMAGES}, else 3")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="number of the first image")
    parser.add_argument("--again", action="store_true", help="measure what is kept from this commit once more")
    parser.add_argument(
        "--shared",
        type=Path,
        default=fit_data.SHARED,
        metavar="FOLDER",
        help="with data/ and judge/; default: beside the repository",
    )
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="write the page there, what is kept beside it")
    options = parser.parse_args(arguments)
    if options.images is not None and options.images < 0:
        parser.error(f"--images {options.images}: must not be negative")
    if not 0 <= options.first < 10_000:
        parser.error(f"--first {options.first}: must be 0 to 9,999")
    if options.write and options.write.suffix != ".md":
        parser.error(f"--write {options.write}: must end in .md")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the parts, print the table."""
    options = parse(arguments)
    asked, here = options.images, commit()
    kept: dict[str, Rows] = pages.read(options.write) if options.write else {}
    absent: dict[str, str] = {}
    for part in PARTS if asked != 0 else ():
        if options.only is not None and part not in options.only:
            continue
        options.images = DEFAULT_IMAGES.get(part, 3) if asked is None else asked
        done = {k for k, row in kept.get(part, {}).items() if row.get("commit") == here and not options.again}
        try:
            for key, row in PARTS[part].measure(options, lambda key, done=done: key not in done):
                row["commit"] = here
                if options.write:  # anew: another run may have added its own
                    kept = pages.read(options.write)
                kept.setdefault(part, {})[key] = row
                if options.write:
                    pages.write(options.write, kept, markdown(kept))
                print(f"{part} {key}: {brief(row)}", file=sys.stderr, flush=True)
        except fit_data.Absent as reason:
            print(f"{part}: skipped, {reason}", file=sys.stderr)
            absent[part] = f"skipped, {reason}".replace(f"{options.shared}", "the shared folder")
    if options.write:
        pages.write(options.write, kept, markdown(kept))
    print(markdown(kept, absent))
    return 0


def brief(row: Row) -> Any:
    """A few words on one image."""
    if "fit" not in row:
        return {k: v for k, v in row.items() if isinstance(v, int | float)}
    keys = ("f1", "bias", "center")
    return " -> ".join(str({k: round(row[how].get(k, np.nan), 4) for k in keys}) for how in ("detect", "fit"))


if __name__ == "__main__":
    sys.exit(main())
