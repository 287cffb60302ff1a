"""Learning in a process of its own, for the panel.

`python -m napari_droplets.training.child` is asked for `output`, `corrected` and `compare` (paths), `start` (weights or
null), `restart`, `options` of `train`, `settings` of `detect`, and `tables`, the folder for the droplets found. It
tells the events `progress` and `compared`, and at its end `done`, `stopped` or `error`. Asked to stop it ends after the
step, keeping what is trained.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from ..child_process import Tell, received
from ..errors import InputError


def main() -> int:
    """Do one job."""
    training = threading.Event()

    def stopped(tell: Tell) -> None:
        if not training.is_set():  # but for the steps of training there is nothing to be kept, or it is kept
            tell("stopped")
            os._exit(0)

    order, tell, stop = received(stopped)
    try:
        return _work(order, tell, stop, training)
    except InputError as error:
        tell("error", message=str(error))
        return 1


def _work(job: dict[str, Any], tell: Tell, stop: threading.Event, training: threading.Event) -> int:
    from ..storage.atomic import writable_folder
    from ..tables import save_table
    from .compared import compare_weights
    from .recipe import train
    from .report import Progress, describe

    def watch(progress: Progress) -> bool:
        tell(
            "progress",
            step=progress.step,
            share=progress.share,
            text=progress.message or describe(progress),
            calibrating=progress.calibrating,
        )
        if progress.calibrating:
            training.clear()
        return not stop.is_set()

    training.set()
    output = train(
        job["output"],
        corrected=job["corrected"],
        start=job.get("start"),
        restart=bool(job.get("restart")),
        callback=watch,
        **job.get("options", {}),
    )
    training.clear()
    if stop.is_set():
        tell("stopped")
        return 0
    tables = writable_folder(Path(job["tables"]))
    settings = job.get("settings", {})
    for i, compared in enumerate(compare_weights(job["compare"], output, job.get("start"), **settings)):
        for name, droplets in (("before", compared.before), ("after", compared.after)):
            save_table(droplets, tables / f"{i}_{name}.csv")
        tell("compared", **compared.record(), new_rows=compared.new.tolist(), gone_rows=compared.gone.tolist())
    tell("done", output=str(output))
    return 0


if __name__ == "__main__":
    sys.exit(main())
