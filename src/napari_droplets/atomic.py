"""Files that are written whole or not at all, and folders that can be written to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import InputError


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make the file beside its place, then move it there: a failed write leaves the last one whole.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    partial = path.with_name(f".partial-{path.name}")  # the suffix stays: writers choose formats by it
    try:
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error
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
    except OSError as error:
        raise InputError(
            f"{folder}: not a folder that can be written to ({error.strerror}); choose another output folder"
        ) from error
    return folder
