"""Files that are written whole or not at all, and folders that can be written to."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import InputError
from .paths import shortened

FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
"""What the system says where a disk, or the part of it that a user has, is full, or a file may be no larger."""


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make the file beside its place, then move it there: a failed write leaves the last one whole.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    if "\0" in str(path):
        raise InputError(f"{path}: a name with a zero byte, which no file can have")
    partial = path.with_name(f".partial-{path.name}")  # the suffix stays: writers choose formats by it
    try:
        partial.unlink(missing_ok=True)  # left by a process that was killed, or a link that leads elsewhere
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({_reason(error)})") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def replace_folder(new: Path, place: Path) -> None:
    """Put a folder in the place of one that may be there: of two the old one goes last."""
    old = place.with_name(f".old-{place.name}")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        os.replace(place, old)
    os.replace(new, place)
    shutil.rmtree(old, ignore_errors=True)


def writable_folder(folder: str | Path) -> Path:
    """Make `folder` where needed and prove that it can be written to, before hours of work depend on it.

    Raises
    ------
    InputError
        It is a file, cannot be made, or cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".napari-droplets-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{shortened(folder)}: not a folder that can be written to ({_reason(error)}); choose another output folder"
        ) from error
    return folder


def _reason(error: Exception) -> str:
    """What went wrong, and where there is no space what to do."""
    number = getattr(error, "errno", None)
    text = os.strerror(number) if number else str(error)
    return f"{text}: free some space, or choose another disk" if number in FULL else text
