"""How much faster a batch gets with a second worker, each of one core.

    python benchmarks/workers.py [--images 16] [--side 160]

Simulated images are fitted by one worker and by two, each held to a core of its own, after both have fitted some to be
warm. Prints a Markdown table: seconds, images per minute, CPU seconds of the workers for an image, and the ratio of the
two throughputs. Close other programs before; where that is not possible, CPU seconds say what a second worker costs the
first one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

import napari_droplets as nd
from napari_droplets.series.engine import available_cores, connected

COVERED, RADIUS = 0.1, 5.0  # droplets times radius squared over the area; pixels
STEPS = 100
TARGET = 1.8


class Row(NamedTuple):
    """Of one number of workers."""

    workers: int
    seconds: float
    cpu: float


def simulated(folder: Path, number: int, side: int) -> Path:
    """Images of droplets in a new folder."""
    folder.mkdir()
    for i in range(number):
        pixels, _ = nd.simulate((side, side), round(COVERED * side**2 / RADIUS**2), radius=RADIUS, seed=i)
        tifffile.imwrite(folder / f"{i:03d}.tif", (255 * pixels).round().astype(np.uint8), photometric="rgb")
    return folder


def pin(core: int) -> None:
    """Hold a worker to one core; called before it has any thread that computes."""
    os.sched_setaffinity(0, {core})


def measured(workers: int, warming: Path, images: Path, out: Path) -> Row:
    """Seconds of the batch, and CPU seconds of its workers."""
    cores = sorted(os.sched_getaffinity(0))
    with connected(workers) as client:
        for address, core in zip(client.nthreads(), cores, strict=False):
            client.run(pin, core, workers=[address])
        for turn in range(2):  # each worker gets some of them
            nd.batch(warming, out / f"warm{turn}", scheduler=client, steps=STEPS)
        before = sum(client.run(time.process_time).values())
        start = time.perf_counter()
        table = nd.batch(images, out / "measured", scheduler=client, steps=STEPS)
        seconds = time.perf_counter() - start
        assert table["error"].isna().all(), table["error"]
        return Row(workers, seconds, sum(client.run(time.process_time).values()) - before)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--side", type=int, default=160, help="of the images, pixels")
    options = parser.parse_args()
    if available_cores() < 2:
        raise SystemExit("needs two cores")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        where: Any = Path(folder)
        warming, images = (simulated(where / name, n, options.side) for name, n in (("w", 2), ("i", options.images)))
        for workers in (1, 2):
            rows.append(measured(workers, warming, images, where / f"out{workers}"))
    print("| workers | seconds | images a minute | CPU seconds an image |\n|---|---|---|---|")
    for row in rows:
        rate = 60 * options.images / row.seconds
        print(f"| {row.workers} | {row.seconds:.1f} | {rate:.1f} | {row.cpu / options.images:.2f} |")
    ratio = rows[0].seconds / rows[1].seconds
    print(f"\nTwo workers do {ratio:.2f} times as much as one (target: {TARGET}).")


if __name__ == "__main__":  # workers read this file again
    main()
