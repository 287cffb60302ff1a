"""A batch in a process of its own, for the window.

`python -m napari_droplets.series.child` tells the events `images`, `begin`, `progress`, `image`, `warning` and, last,
`end`. Asked to stop it keeps what the running image has reached.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import Any

from ..child_process import Tell, received

TELL_EVERY = 0.5
"""Seconds between two lines about how far an image is."""


def main() -> int:
    """Do what is asked for: `images`, `out` and `settings`, and options of `batch` and `Plan.of`."""
    order, tell, stop = received()
    from .tables import message

    error = None
    try:
        _work(order, tell, stop)
    except Exception as problem:
        error = message(problem)
    tell("end", error=error, stopped=stop.is_set())
    return 0


def _work(order: dict[str, Any], tell: Tell, stop: threading.Event) -> None:
    from .batch import Plan, check_output, find_images, name_results, run, state_of, without_masks
    from .tables import message

    plan = Plan.of(
        detect_only=bool(order.get("detect_only")),
        overlay=bool(order.get("overlay", True)),
        measure=order.get("measure"),
        exports=order.get("exports", ()),
        **order["settings"],
    )
    given = order["images"]
    found = [path for one in ([given] if isinstance(given, str) else given) for path in find_images(one)]
    names = name_results(without_masks(found, plan.settings.region))
    out = check_output(order["out"], list(names.values()))
    tell("images", names={name: str(path) for path, name in names.items()})
    told = 0.0

    def watch(path: Path, progress: Any) -> bool:
        nonlocal told
        if progress is None:
            tell("begin", name=names[path])
        elif time.monotonic() - told > TELL_EVERY:
            told = time.monotonic()
            tell("progress", name=names[path], stage=progress.stage, step=progress.step, steps=progress.steps)
        return not stop.is_set()

    outcomes = run(
        list(names),
        out,
        plan,
        resume=bool(order.get("resume", True)),
        combine=True,
        same_optics=bool(order.get("same_optics")),
        watch=watch,
        warn=lambda error: tell("warning", text=message(error)),
        wanted=lambda: not stop.is_set(),
    )
    for outcome in outcomes:
        error = None if outcome.error is None else message(outcome.error)
        tell("image", name=names[outcome.path], state=state_of(outcome), error=error)


if __name__ == "__main__":
    sys.exit(main())
