"""What each correction of the fit is worth: it is left out, and the same images are fitted again.

    python benchmarks/ablation.py [--only CORRECTION] [--images N] [--first K] [--json FILE]

Images are refracting droplets, `napari_droplets.simulate` and plain discs, from seeds that calibration does not draw.
The judges beside the repository take no part, so that nothing is chosen by them. With --json what is measured is kept,
and a run can be stopped and split.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import fit_data
import numpy as np
from detection_report import table
from fit_rows import compared, pooled

INFERENCE = "napari_droplets.inference"
ALL = "nothing"
"""The fit as it is."""


class Change(NamedTuple):
    """A name of a module in another form: `make` gets what is there and returns what to put in its place."""

    module: str
    name: str
    make: Callable[[Any], Any]


class Correction(NamedTuple):
    """What is left out: by changes of the code, or by settings of the fit."""

    changes: tuple[Change, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    compiled: bool = False
    """Whether compiled programs hold it."""


class _White:
    """`Evidence` with pixels that all count in full."""

    @staticmethod
    def of(original: Any) -> Any:
        """The same class method, without inflation."""

        def of(*args: Any) -> Any:
            evidence = original(*args)
            return evidence._replace(inflation=np.ones_like(evidence.inflation))

        return of


def _plain_cholesky(original: Any) -> Any:
    return np.linalg.cholesky


def _no_common_error(original: Any) -> Any:
    return lambda *args: np.zeros(3)


CORRECTIONS = {
    ALL: Correction(),
    "outline trust": Correction((Change(f"{INFERENCE}.loop", "outline_trust", lambda _: lambda *args: 1.0),)),
    "discrepancy": Correction((Change(f"{INFERENCE}.calibration", "discrepancy", lambda _: lambda: 0.0),)),
    "inflation": Correction((Change(f"{INFERENCE}.steps.gauss_newton.Evidence", "of", _White.of),)),
    "glow": Correction((Change(f"{INFERENCE}.prepare", "GLOW_FROM", lambda _: np.inf),)),
    "common prior": Correction(
        tuple(
            Change(f"{INFERENCE}.steps.{m}", "COMMON_SD", lambda _: (1e-5, 1e-5, 1e-5))
            for m in ("droplet_step", "optics_step")
        ),
        compiled=True,
    ),
    "background splines": Correction(settings=(("background", "uniform"),)),
    "second droplet": Correction(settings=(("renderer", "nearest"),)),
    "calibration of each droplet": Correction((Change(f"{INFERENCE}.calibration", "calibrated", _plain_cholesky),)),
    "common error told": Correction((Change(f"{INFERENCE}.calibration", "systematic", _no_common_error),)),
    "calibration of presence": Correction(
        (
            Change(f"{INFERENCE}.calibration", "presence", lambda _: lambda probability, features: probability),
            Change(f"{INFERENCE}.calibration", "count_sd", lambda _: lambda variance, terms: np.sqrt(variance)),
        )
    ),
}
SHOWN = {
    "f1": ("F1", "{:.3f}"),
    "center": ("centers, radii", "{:.4f}"),
    "abs_bias": ("common bias", "{:.2%}"),
    "spread": ("spread of radii", "{:.2%}"),
    "x68": ("x, 68 %", "{:.0%}"),
    "x95": ("x, 95 %", "{:.0%}"),
    "radius68": ("radius, 68 %", "{:.0%}"),
    "radius95": ("radius, 95 %", "{:.0%}"),
    "ece": ("ECE", "{:.3f}"),
    "count95": ("count, 95 %", "{:.0%}"),
    "seconds": ("s", "{:.1f}"),
}


@contextmanager
def without(name: str) -> Iterator[dict[str, Any]]:
    """Leave a correction out within this block, which gets the settings of its fits."""
    correction = CORRECTIONS[name]
    with ExitStack() as stack:
        if correction.compiled:
            _forget()
            stack.callback(_forget)
        for change in correction.changes:
            try:
                owner: Any = importlib.import_module(change.module)
            except ModuleNotFoundError:  # a class in a module
                module, _, of_class = change.module.rpartition(".")
                owner = getattr(importlib.import_module(module), of_class)
            stack.enter_context(mock.patch.object(owner, change.name, change.make(getattr(owner, change.name))))
        yield dict(correction.settings)


def _forget() -> None:
    """Drop compiled programs: constants are part of them."""
    import jax

    from napari_droplets.compiling import service

    with service._lock:
        service._made.clear()
        jax.clear_caches()


def _simulate(n: int) -> tuple[Any, dict[str, Any]]:
    shape, arguments = fit_data.look(n)
    return fit_data.simulation(shape, arguments)[0], {"types": arguments["types"]}


KINDS: dict[str, Callable[[int], tuple[Any, dict[str, Any]]]] = {
    "physical": lambda n: (fit_data.physical(n), {}),
    "simulate": _simulate,
    "discs": lambda n: (fit_data.own_discs(n), {}),
}
"""An image by its number, with settings of its fits."""


def markdown(kept: dict[str, Any]) -> str:
    """A table for each kind of images: what each correction is worth on the images that all were measured on."""
    parts = []
    for kind in KINDS:
        rows = {name: kept[name][kind] for name in CORRECTIONS if kept.get(name, {}).get(kind)}
        if not rows:
            continue
        same = set.intersection(*(set(images) for images in rows.values()))
        lines = [_cells("before the fit", pooled(next(iter(rows.values()))[n]["detect"] for n in same))]
        for name, images in rows.items():
            label = "the fit" if name == ALL else f"without {name}"
            lines.append(_cells(label, pooled(images[n]["fit"] for n in same)))
        parts += [f"### {kind}, {len(same)} images", table([""] + [words for words, _ in SHOWN.values()], lines)]
    return "\n\n".join(parts)


def _cells(name: str, figures: dict[str, float]) -> list[str]:
    return [name, *(form.format(figures[k]) if k in figures else "–" for k, (_, form) in SHOWN.items())]


def main(arguments: list[str] | None = None) -> int:
    """Run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CORRECTIONS, action="append", help="leave out this one; default: all in turn")
    parser.add_argument("--kind", choices=KINDS, action="append", help="images of this kind; default: all")
    parser.add_argument("--images", type=int, default=10, metavar="N", help="of each kind; default: %(default)s")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="number of the first image")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="keep what is measured there, measure what is missing"
    )
    options = parser.parse_args(arguments)
    kept: dict[str, Any] = {}
    if options.json and options.json.exists():
        kept = json.loads(options.json.read_text(encoding="utf-8"))
    for name in [ALL, *(n for n in options.only or CORRECTIONS if n != ALL)]:
        with without(name) as settings:
            for kind in options.kind or KINDS:
                images = kept.setdefault(name, {}).setdefault(kind, {})
                for n in range(options.first, options.first + options.images):
                    if str(n) in images:
                        continue
                    case, own = KINDS[kind](n)
                    images[str(n)] = compared(case, **(own | settings))
                    print(f"without {name}: {kind} {n}", file=sys.stderr, flush=True)
                    if options.json:
                        options.json.write_text(json.dumps(kept), encoding="utf-8")
    print(markdown(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
