"""Paths that a user gives: whether there is a file to be read, found out before anything is opened."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path

from ..errors import InputError


def check_file(path: str | Path, *, wanted: str = "a file", instead: str = "give a file in it") -> Path:
    """See that a path is that of an ordinary file: pipes and devices may never end, and links may lead in circles.

    Parameters
    ----------
    path : path
    wanted, instead : str
        What to say of a folder: what it should be, and what to do.

    Raises
    ------
    InputError
        It is not.
    """
    path = Path(path)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        what = "a link that leads to no file" if os.path.islink(path) else "no such file"
        raise InputError(f"{path}: {what}") from None
    except (OSError, ValueError) as error:  # names that are too long or hold a zero; folders that nobody may look into
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{shortened(path)}: cannot be read ({reason})") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: a folder, not {wanted}; {instead}")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: a pipe or a device, not a file; write its content to a file first")
    return path


def matching(pattern: str) -> list[Path]:
    """Files and folders whose names match a pattern; `**` goes through no links, which may lead in circles.

    As `glob.glob`, hidden ones are only found where the pattern says so.
    """
    if "**" not in pattern:
        return [Path(p) for p in glob.glob(pattern)]
    whole = Path(pattern)
    rest = whole.relative_to(whole.anchor)
    found = Path(whole.anchor).glob(str(rest))
    asked = any(part.startswith(".") for part in rest.parts)
    return [p for p in found if asked or not any(part.startswith(".") for part in p.relative_to(whole.anchor).parts)]


def shortened(path: str | Path, most: int = 200) -> str:
    """A path as it is said in messages: of names longer than any system takes, the beginning."""
    text = str(path)
    return text if len(text) <= most else f"{text[:most]}..."
