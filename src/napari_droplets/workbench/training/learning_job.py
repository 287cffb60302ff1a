"""A training on corrected images as files: what it reads, and whether it goes on where the last one was stopped."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from ...images import Image
from ...lazy import Pixels
from ...storage.atomic import writable_folder, write_whole

Role = Literal["learn", "check", "compare", "leave"]
JOB, SAID = "job.json", "messages.txt"
CORRECTED, OTHERS, TABLES = "corrected", "others", "tables"
"""Folders of a job: images to learn from; those to look at; what is found in these."""
PLACE = ["x", "y", "radius"]


@dataclass(frozen=True, eq=False)
class LearningImage:
    """An image that can be learned from, or looked at.

    Attributes
    ----------
    name : str
    read : callable
        Gives the `Image`; called in another thread.
    droplets : DataFrame or None
        x, y, radius of all droplets in it, in pixels, where the image was corrected.
    role : str
        "learn" from it; "check" with it, as it was corrected, too; "compare" what is found in it; "leave" it out.
    """

    name: str
    read: Callable[[], Image]
    droplets: pd.DataFrame | None
    role: Role


def write_images(images: Sequence[LearningImage], folder: Path, stopped: Callable[[], bool]) -> list[str]:
    """Write the images of a job with their tables; files of those to look at.

    Raises
    ------
    InputError
        An image cannot be read, or written.
    """
    for name in (CORRECTED, OTHERS, TABLES):
        shutil.rmtree(folder / name, ignore_errors=True)
    looked_at = []
    for i, image in enumerate(images):
        if image.role == "leave" or stopped():
            continue
        learned = image.role == "learn"
        part = writable_folder(folder / (CORRECTED if learned else OTHERS))
        path = part / f"{_safe(image.name)}_{i}.tif"
        _write_picture(image.read().pixels, path)
        if image.droplets is not None and image.role != "compare":
            image.droplets[PLACE].to_csv(path.with_suffix(".csv"), index=False)
        if not learned:
            looked_at.append(str(path))
    return looked_at


def goes_on(job: dict[str, Any], folder: Path) -> bool:
    """Note what is learned from; whether it is the same as the last time, so that a training can go on."""
    content = hashlib.sha256()
    for path in sorted((folder / CORRECTED).iterdir()):
        content.update(path.read_bytes())
    record = {"corrected": content.hexdigest(), "start": job["start"]}
    same = last_job(folder) == record
    write_whole(folder / JOB, lambda path: path.write_text(json.dumps(record), encoding="utf-8"))
    return same


def last_job(folder: Path) -> dict[str, Any]:
    """What was learned from the last time; empty where nothing was."""
    with suppress(OSError, ValueError):
        record = json.loads((folder / JOB).read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    return {}


def _write_picture(pixels: Pixels, path: Path) -> None:
    import tifffile

    values = np.rint(np.asarray(pixels[:], np.float32) * np.iinfo(np.uint16).max).astype(np.uint16)
    kind: Any = "rgb" if values.shape[-1] == 3 else "minisblack"
    values = values if values.shape[-1] == 3 else values[..., 0]
    write_whole(path, lambda p: tifffile.imwrite(p, values, photometric=kind))


def _safe(name: str) -> str:
    """A name as a file may have it."""
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)[:60] or "image"
