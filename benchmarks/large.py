"""Seconds, cores' seconds and peak memory of a fit of a large image by the command line, and what a droplet costs.

    python benchmarks/large.py [--side 10000] [--droplets 40000] [--folder FOLDER] [--detect-only]

The image is simulated (`large_data.py`) where it is not in the folder yet. The fit is a process of its own, so that its
memory is that of a user's command. Seconds of the processor, of all cores together, depend less than seconds of the
clock on what else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import large_data

CORES = 1000
MILLION = 1_000_000
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from fit_once import peak_memory
from napari_droplets.cli import main
code = main(sys.argv[2:])
print(f"memory {peak_memory():.0f}", flush=True)
raise SystemExit(code)
"""


def main() -> None:
    """Simulate, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=10_000, help="of the image, pixels")
    parser.add_argument("--droplets", type=int, default=40_000)
    parser.add_argument("--folder", type=Path, default=Path("large"), help="for image and results")
    parser.add_argument("--detect-only", action="store_true")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    name = f"{options.side}_{options.droplets}"
    image = options.folder / f"{name}.zarr"
    if not image.exists():
        large_data.write(image, options.side, options.droplets)
    more = ["--detect-only"] if options.detect_only else []
    begun, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, str(Path(__file__).parent), "fit", str(image), "-o", str(options.folder), *more],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    memory = float(answer.split("memory")[-1])
    summary = json.loads((options.folder / name / "summary.json").read_text())
    n = summary["n_droplets"]
    print(f"image          {options.side} x {options.side} pixels, {options.droplets} droplets; found {n}")
    print(f"seconds        {seconds:.0f} on {os.cpu_count()} cores, {used:.0f} of the processor")
    print("  parts        " + ", ".join(f"{k} {v:.0f}" for k, v in summary["seconds"].items()))
    print(f"peak memory    {memory:.0f} MB")
    print(f"per droplet    {1e3 * used / n:.1f} ms of one core, {used / options.side**2 * 1e6:.2f} s per megapixel")
    every = MILLION * used / n
    print(f"a million      {every / 3600:.1f} hours of one core, {every / CORES:.0f} s of {CORES} cores")


if __name__ == "__main__":
    main()
