"""Files that are written whole or not at all, and folders that can be written to."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
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
    partial = partial_of(path)
    try:
        removed(partial)
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({_reason(error)})") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def partial_of(path: Path, attempt: str = "") -> Path:
    """Where a file or folder is written before it is moved to its place; the suffix of files stays.

    Writers choose formats by the suffix. `attempt` tells several apart that work on the same at a time.
    """
    return path.with_name(f".partial-{path.name}" + (f"-{attempt}" if attempt else ""))


def new_partial_folder(path: Path, attempt: str = "") -> Path:
    """An empty folder beside `path`, to be moved there when it is whole.

    What has its name is removed, a link too, and never followed: it was left by a process that was killed, or leads
    elsewhere.

    Raises
    ------
    OSError
        It cannot be made.
    """
    partial = partial_of(path, attempt)
    partial.parent.mkdir(parents=True, exist_ok=True)
    removed(partial)
    partial.mkdir()  # fails where anything has come there meanwhile
    return partial


@contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """The same, for as long as it is written: where it was not moved away it goes at the end.

    Raises
    ------
    InputError
        It cannot be made, or cannot be written.
    """
    try:
        partial = new_partial_folder(path)
        try:
            yield partial
        finally:
            with suppress(OSError):
                removed(partial)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({_reason(error)})") from error


def removed(path: Path) -> None:
    """See that nothing is at a place: a file, a folder, or a link, but not what that leads to.

    Raises
    ------
    OSError
        It cannot be removed.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def replace_folder(new: Path, place: Path) -> None:
    """Put a folder in the place of what may be there: of two folders the old one goes last.

    Raises
    ------
    OSError
        It cannot be moved, or the old one not be removed.
    """
    old = place.with_name(f".old-{place.name}")
    removed(old)
    if os.path.lexists(place):
        os.replace(place, old)
    os.replace(new, place)
    with suppress(OSError):
        removed(old)


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
        with NamedTemporaryFile(dir=folder, prefix=".napari-droplets-"):
            pass
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
