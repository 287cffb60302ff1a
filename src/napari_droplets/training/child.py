"""Learning in a process of its own, for the panel: a job in, lines of JSON out; it ends when nobody listens any more.

`python -m napari_droplets.training.child` reads one line of JSON, the job, from its input: `output`, `corrected` and
`compare` (paths), `start` (weights or null), `restart`, `options` of `train`, `settings` of `detect`, and `tables`, the
folder for the droplets found. Any further line, or the end of the input, asks it to stop: it ends after the step,
keeping what is trained. It writes lines that say `kind`: "progress", "compared", "done", "stopped" or "error".
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from ..errors import InputError

KINDER = 5
"""By which its priority is lowered: whoever works in the window comes first."""


def main() -> int:
    """Do one job."""
    job = json.loads(sys.stdin.readline())
    stop, training = threading.Event(), threading.Event()
    threading.Thread(target=_listen, args=(stop, training), daemon=True).start()
    if hasattr(os, "nice"):
        os.nice(KINDER)
    try:
        return _work(job, stop, training)
    except InputError as error:
        _tell(kind="error", message=str(error))
        return 1


def _listen(stop: threading.Event, training: threading.Event) -> None:
    """Wait until somebody asks to stop. But for the steps of training there is nothing to be kept, or it is kept."""
    sys.stdin.readline()
    stop.set()
    if not training.is_set():
        _tell(kind="stopped")
        os._exit(0)


def _work(job: dict[str, Any], stop: threading.Event, training: threading.Event) -> int:
    from ..storage.atomic import writable_folder
    from ..tables import save_table
    from .compared import compare_weights
    from .recipe import train
    from .report import Progress, describe

    def watch(progress: Progress) -> bool:
        _tell(
            kind="progress",
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
        _tell(kind="stopped")
        return 0
    tables = writable_folder(Path(job["tables"]))
    settings = job.get("settings", {})
    for i, compared in enumerate(compare_weights(job["compare"], output, job.get("start"), **settings)):
        for name, droplets in (("before", compared.before), ("after", compared.after)):
            save_table(droplets, tables / f"{i}_{name}.csv")
        _tell(kind="compared", **compared.record(), new_rows=compared.new.tolist(), gone_rows=compared.gone.tolist())
    _tell(kind="done", output=str(output))
    return 0


def _tell(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    sys.exit(main())
