"""Fit one image in a process of its own; print as JSON when the loss was low enough, when all was done, and memory.

    python benchmarks/fit_once.py IMAGE [--noise SD] [--steps N] [--until LOSS]

Little is imported here, so that seconds counted from the start of the process are those of a user's script.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import napari_droplets as nd


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("--noise", type=float, help="learned by default")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--until", type=float, metavar="LOSS", help="stop when the loss is as low")
    options = parser.parse_args()
    settings: dict[str, Any] = {k: v for k in ("noise", "steps") if (v := getattr(options, k)) is not None}
    reached: list[float] = []

    def callback(progress: nd.Progress) -> bool | None:
        if options.until is None or not progress.loss <= options.until:
            return None
        reached.append(time.time())
        return False

    fit = nd.fit(options.image, callback=callback, **settings)
    n = len(fit.table)
    result = {
        "reached": reached[0] if reached else None,
        "done": time.time(),
        "droplets": n,
        "loss": fit.summary["loss"],
        "stopped": fit.summary["stopped"],
        "parts": fit.summary["seconds"],
        "memory_mb": peak_memory(),
    }
    print(json.dumps(result))


def peak_memory() -> float:
    """The most memory that this process has held, MB.

    On Linux `getrusage` would also count what the process that started this one held at that moment.
    """
    try:
        return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 2**10
    except OSError:
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
