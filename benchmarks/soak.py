"""Whether a long batch in one process stays as it is: memory, compiled programs and seconds from image to image.

    python benchmarks/soak.py [--images 300] [--steps 50] [--detect-only]

Simulated images of several sizes are worked on one after another as `batch` does, each with its results and overlay
written, and the optics learned anew. Prints a line every ten images, and at the end a Markdown table: memory (resident)
and compiled programs after the tenth image, at most, and at the end, and the median CPU seconds of an image in each
third of the batch, which hang less on what else the machine does than seconds on the clock.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import tifffile

import napari_droplets as nd
from napari_droplets.series.batch import Plan, run

SIDES = (96, 112, 128, 144)
"""Pixels of the images; sizes of arrays are padded, so that a few programs serve all."""
COVERED = 0.1  # droplets times radius squared over the area
RADIUS = 5.0
WARM = 10  # images after which nothing should grow any more
ALLOWED = 0.05  # growth of memory that the target allows


class Row(NamedTuple):
    """After one image."""

    megabytes: float
    programs: int
    cpu: float
    seconds: float


def simulated(folder: Path, number: int) -> list[Path]:
    """Images of droplets, no two the same."""
    folder.mkdir()
    paths = []
    for i in range(number):
        side = SIDES[i % len(SIDES)]
        pixels, _ = nd.simulate((side, side), round(COVERED * side**2 / RADIUS**2), radius=RADIUS, seed=i)
        paths.append(folder / f"{i:04d}.tif")
        tifffile.imwrite(paths[-1], (255 * pixels).round().astype(np.uint8), photometric="rgb")
    return paths


def soak(paths: list[Path], out: Path, plan: Plan) -> Iterator[Row]:
    """Work on them, and look at this process after each."""
    import jax

    process = psutil.Process()
    client = jax.devices()[0].client
    cpu, clock = time.process_time(), time.perf_counter()
    for outcome in run(paths, out, plan, combine=True):
        if outcome.error is not None:
            raise outcome.error
        now = time.process_time(), time.perf_counter()
        memory = process.memory_info().rss / 1e6
        yield Row(memory, len(client.live_executables()), now[0] - cpu, now[1] - clock)
        cpu, clock = now
        shutil.rmtree(outcome.folder)  # the disk is not what is measured


def report(rows: list[Row]) -> None:
    """The table."""
    after = rows[WARM:]
    memory = [r.megabytes for r in after]
    grown = max(memory) / rows[WARM - 1].megabytes - 1
    thirds = [float(np.median(part)) for part in np.array_split([r.cpu for r in after], 3)]
    print(f"\n| {len(rows)} images | after the {WARM}th | most | at the end |\n|---|---|---|---|")
    first, last = rows[WARM - 1], rows[-1]
    print(f"| memory, MB | {first.megabytes:.0f} | {max(memory):.0f} (+{grown:.1%}) | {last.megabytes:.0f} |")
    print(f"| compiled programs | {first.programs} | {max(r.programs for r in after)} | {last.programs} |")
    print("\n| median of an image | first third | second | last |\n|---|---|---|---|")
    print("| CPU seconds | " + " | ".join(f"{t:.2f}" for t in thirds) + " |")
    print(f"\nMemory {'is' if grown <= ALLOWED else 'is NOT'} flat within {ALLOWED:.0%} after image {WARM}.")


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--steps", type=int, default=50, help="of each fit, at most")
    parser.add_argument("--detect-only", action="store_true", help="without fits")
    options = parser.parse_args()
    plan = Plan.of(detect_only=options.detect_only, steps=options.steps)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        paths = simulated(Path(folder) / "in", options.images)
        out = Path(folder) / "out"
        out.mkdir()
        for row in soak(paths, out, plan):
            rows.append(row)
            if len(rows) % 10 == 0:
                recent = rows[-10:]
                cpu, seconds = (np.median([getattr(r, name) for r in recent]) for name in ("cpu", "seconds"))
                print(
                    f"{len(rows)}: {row.megabytes:.0f} MB, {row.programs} programs, {cpu:.2f} CPU seconds "
                    f"({seconds:.2f} on the clock) an image",
                    flush=True,
                )
    report(rows)


if __name__ == "__main__":
    main()
