"""What a batch is and how far it has come, kept in its folder."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..errors import InputError
from ..storage.atomic import write_whole
from ..storage.lock import now

if TYPE_CHECKING:
    from .plan import Plan

MANIFEST = "batch.json"
FORMAT = 1
COMPUTING = ("numpy", "scipy", "jax", "jaxlib", "numpyro", "flax")
"""Libraries whose versions may move the last digits of a result."""
MOST_OF_THE_TIME = 0.05
"""Part of a batch's time at most that goes into writing the manifest, which holds a line for each image."""

State = Literal["waiting", "running", "done", "failed", "stopped"]


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


class Manifest:
    """The state of each image of a batch, in OUT/batch.json.

    Parameters
    ----------
    out : Path
        The results' folder.
    run : str
        Of `sole_writer`.
    images : mapping of str to Path
        The result folder's name and the file of each image.
    plan : Plan
        What is done with each.
    same_optics : bool
        Whether optics learned once serve all.
    optics_from : int
        Images that they are learned on.
    """

    def __init__(
        self, out: Path, run: str, images: Mapping[str, Path], plan: Plan, *, same_optics: bool, optics_from: int = 1
    ) -> None:
        self.path = out / MANIFEST
        before = read_manifest(out)
        self.known = _hashes(before)
        self.before: dict[str, str] = before.get("versions", {})
        """Versions that the last batch in this folder noted."""
        self.learned_before: Any = before.get("optics")
        """What it noted of optics learned on several images, see `lesson.Lesson.record`."""
        self.head: dict[str, Any] = {
            "format": FORMAT,
            "run": run,
            "began": now(),
            "versions": versions(),
            "plan": plan.record()
            | {
                "same_optics": same_optics,
                "optics_from": optics_from,
                "overlay": plan.overlay,
                "exports": plan.exports,
            },
        }
        self.entries = {name: Entry(str(path), sha256=self.known.get(name)) for name, path in images.items()}
        self.cost = self.last = 0.0
        self.error: InputError | None = None
        self.write()

    def learned(self, record: dict[str, Any]) -> None:
        """Optics for all images are there."""
        self.head["optics"] = record
        self.write()

    def begin(self, name: str, worker: str | None = None) -> None:
        """An image is begun, perhaps anew."""
        entry = self.entries[name]
        entry.state, entry.worker, entry.changed = "running", worker, now()
        entry.sha256 = entry.error = entry.n_droplets = None
        entry.attempts += 1
        self._write_if_due()

    def end(self, name: str, state: State, *, n_droplets: int | None, sha256: str | None, error: str | None) -> None:
        """What became of an image."""
        entry = self.entries[name]
        entry.state, entry.n_droplets, entry.error, entry.changed = state, n_droplets, error, now()
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
