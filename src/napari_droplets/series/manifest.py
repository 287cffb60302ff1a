"""What a batch is and how far it has come, kept in its folder; and that only one batch at a time writes there."""

from __future__ import annotations

import json
import os
import platform
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..results.files import write_whole

if TYPE_CHECKING:
    from .one_file import Plan

MANIFEST = "batch.json"
LOCK, OWNER = ".batch.lock", ".batch.owner.json"
FORMAT = 1
COMPUTING = ("numpy", "scipy", "jax", "jaxlib", "numpyro", "flax")
"""Libraries whose versions may move the last digits of a result."""
MOST_OF_THE_TIME = 0.05
"""Part of a batch's time at most that goes into writing the manifest, which holds a line for each image."""

LOOK_EVERY = 0.5
"""Seconds between two looks for the owner of a folder."""

State = Literal["waiting", "running", "done", "failed", "stopped"]


class FolderBusy(InputError):
    """Another batch writes to the folder."""


@dataclass
class Entry:
    """How far one image is."""

    path: str
    state: State = "waiting"
    sha256: str | None = None
    """Of the file's bytes, when its result was made."""
    attempts: int = 0
    worker: str | None = None
    n_droplets: int | None = None
    error: str | None = None
    changed: str | None = None
    """When the state last changed, UTC."""


@contextmanager
def sole_batch(out: Path, warn: Callable[[Exception], None] | None = None) -> Iterator[str]:
    """Hold a folder for one batch; yields a name for this run of it.

    The lock is one of the operating system on an open file: it ends with the process, however that ends.

    Raises
    ------
    FolderBusy
        Another batch is writing there.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise FolderBusy(f"{out}: {_owner(out)} writes there; wait for it, or choose another output folder") from None
    except (NotImplementedError, OSError) as error:  # some network disks have no locks
        if warn is not None:
            warn(InputError(f"{out}: cannot be locked ({error}); see that no other batch writes there"))
    run = uuid.uuid4().hex
    owner = {"run": run, "process": os.getpid(), "host": socket.gethostname(), "since": _now()}
    try:
        write_whole(out / OWNER, lambda p: p.write_text(json.dumps(owner) + "\n", encoding="utf-8"))
        yield run
    finally:
        lock.release()


def still_sole(out: Path, run: str, patience: float = 0.0) -> bool:
    """Whether no other batch has taken the folder over since that run began; network disks may need some patience."""
    end = time.monotonic() + patience
    while True:
        try:
            if json.loads((out / OWNER).read_text(encoding="utf-8"))["run"] == run:
                return True
        except (OSError, ValueError, KeyError, TypeError):
            pass
        if time.monotonic() >= end:
            return False
        time.sleep(LOOK_EVERY)


def _owner(out: Path) -> str:
    try:
        owner = json.loads((out / OWNER).read_text(encoding="utf-8"))
        return f"another batch (process {owner['process']} on {owner['host']}, since {owner['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another batch"


class Manifest:
    """The state of each image of a batch, in OUT/batch.json.

    Parameters
    ----------
    out : Path
        The results' folder.
    run : str
        Of `sole_batch`.
    images : mapping of str to Path
        The result folder's name and the file of each image.
    plan : Plan
        What is done with each.
    same_optics : bool
        Whether the first image's optics serve all.
    """

    def __init__(self, out: Path, run: str, images: Mapping[str, Path], plan: Plan, *, same_optics: bool) -> None:
        self.path = out / MANIFEST
        before = read_manifest(out)
        self.known = _hashes(before)
        self.before: dict[str, str] = before.get("versions", {})
        """Versions that the last batch in this folder noted."""
        self.head: dict[str, Any] = {
            "format": FORMAT,
            "run": run,
            "began": _now(),
            "versions": versions(),
            "plan": plan.record() | {"same_optics": same_optics, "overlay": plan.overlay, "exports": plan.exports},
        }
        self.entries = {name: Entry(str(path), sha256=self.known.get(name)) for name, path in images.items()}
        self.cost = self.last = 0.0
        self.error: InputError | None = None
        self.write()

    def begin(self, name: str, worker: str | None = None) -> None:
        """An image is begun, perhaps anew."""
        entry = self.entries[name]
        entry.state, entry.worker, entry.changed = "running", worker, _now()
        entry.sha256 = entry.error = entry.n_droplets = None
        entry.attempts += 1
        self._write_if_due()

    def end(self, name: str, state: State, *, n_droplets: int | None, sha256: str | None, error: str | None) -> None:
        """What became of an image."""
        entry = self.entries[name]
        entry.state, entry.n_droplets, entry.error, entry.changed = state, n_droplets, error, _now()
        entry.sha256 = sha256
        self._write_if_due()

    def _write_if_due(self) -> None:
        if time.perf_counter() - self.last > self.cost / MOST_OF_THE_TIME:
            self.write()

    def write(self) -> None:
        """Write it; where that fails `error` says so, and the next write may succeed."""
        start = time.perf_counter()
        content = self.head | {"images": {name: asdict(entry) for name, entry in self.entries.items()}}
        try:
            write_whole(self.path, lambda p: p.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))
            self.error = None
        except InputError as error:
            self.error = error
        self.last = time.perf_counter()
        self.cost = self.last - start


def in_use(out: Path) -> bool:
    """Whether a batch is writing to a folder."""
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


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of the last batch; empty where there is none that can be read."""
    try:
        content = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _hashes(manifest: dict[str, Any]) -> dict[str, str]:
    """By result folder's name, the hash of the file that its result was made from."""
    try:
        return {n: e["sha256"] for n, e in manifest["images"].items() if e["sha256"] and e["state"] == "done"}
    except (KeyError, TypeError, AttributeError):
        return {}


def versions() -> dict[str, str]:
    """Of Python, of this package, and of the libraries that compute."""
    found = {"python": platform.python_version()}
    for name in ("napari-droplets", *COMPUTING):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout on the path, not installed
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
