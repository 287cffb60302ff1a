"""One writer at a time in a folder of results: a batch, or what reads all of its results and adds to them."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..errors import InputError
from .atomic import write_whole

LOCK, OWNER = ".batch.lock", ".batch.owner.json"
BATCH = "another batch"
"""What a batch is called where it is in the way."""
LOOK_EVERY = 0.5
"""Seconds between two looks for the owner of a folder."""


class FolderBusy(InputError):
    """Another process writes to the folder."""


@contextmanager
def sole_writer(out: Path, what: str = BATCH, warn: Callable[[Exception], None] | None = None) -> Iterator[str]:
    """Hold a folder; yields a name for this run.

    The lock is one of the operating system on an open file: it ends with the process, however that ends.

    Parameters
    ----------
    out : Path
        The folder.
    what : str
        What others are told of who writes there. Only a batch takes the folder over from the last one: what is merely
        added between two batches, or on a disk without locks beside one, leaves it to that.
    warn : callable, optional
        Told where the disk has no locks.

    Raises
    ------
    FolderBusy
        Another process is writing there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        other = ", or choose another output folder" if what == BATCH else ""
        raise FolderBusy(f"{out}: {_owner(out)} writes there; wait for it{other}") from None
    except (NotImplementedError, OSError) as error:  # some network disks have no locks
        if warn is not None:
            warn(InputError(f"{out}: cannot be locked ({error}); see that no other batch writes there"))
    run = uuid.uuid4().hex if what == BATCH else str(_noted(out).get("run", ""))
    owner = {"run": run, "what": what, "process": os.getpid(), "host": socket.gethostname(), "since": now()}
    try:
        write_whole(out / OWNER, lambda p: p.write_text(json.dumps(owner) + "\n", encoding="utf-8"))
        yield run
    finally:
        lock.release()


def in_use(out: Path) -> bool:
    """Whether another process is writing to a folder."""
    from filelock import FileLock, Timeout

    if not (out / LOCK).exists():
        return False
    try:
        with FileLock(out / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except (NotImplementedError, OSError):  # some network disks have no locks
        return False


def still_sole(out: Path, run: str, patience: float = 0.0) -> bool:
    """Whether no other batch has taken the folder over since that run began; network disks may need some patience."""
    end = time.monotonic() + patience
    while True:
        if _noted(out).get("run") == run:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK_EVERY)


def now() -> str:
    """The time, as files of ours note it: ISO 8601, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _noted(out: Path) -> dict[str, Any]:
    """What the last writer noted of itself; empty where it cannot be read."""
    try:
        noted = json.loads((out / OWNER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _owner(out: Path) -> str:
    noted = _noted(out)
    try:
        return f"{noted.get('what', BATCH)} (process {noted['process']} on {noted['host']}, since {noted['since']})"
    except KeyError:
        return BATCH
