"""Memory: whether this machine has what a picture takes by its header, asked before it is decoded; and given back.

A file of a few kilobytes may say that it holds a picture of a million by a million pixels, and a large one may be
meant. Either is refused before anything is decoded, as the system would otherwise end the process with all it has done.
"""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError

SHARE = 0.5  # of the memory of the machine that the pixels of what is read may take
CONVERTED = 12  # bytes that a value takes besides while it becomes an intensity: one of 64 bits, one of 32
OVERRIDE = "NAPARI_DROPLETS_MEMORY"
"""Environment variable: bytes, or with K, M, G, T after the number, that may be taken instead."""
CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def check_memory(
    shape: Sequence[int], dtype: np.dtype[Any], name: str, *, what: str = "its pixels", more: int = CONVERTED
) -> None:
    """See that values of this shape and type can be held, with so many bytes `more` for each.

    Raises
    ------
    InputError
        They would take more than `SHARE` of the memory; the message says how much, and how to go on.
    """
    needed = math.prod(int(n) for n in shape) * (int(dtype.itemsize) + more)
    if needed > allowed():
        size = " x ".join(map(str, shape))
        raise InputError(f"{name}: {what}, {size} of type {dtype}, {_too_much(needed)}")


def check_size(path: Path, factor: float) -> None:
    """See that a file that grows by `factor` when it is read can be held.

    Raises
    ------
    InputError
        It cannot.
    """
    needed = os.path.getsize(path) * factor
    if needed > allowed():
        raise InputError(f"{path}: as a table it {_too_much(needed)}")


def allowed() -> float:
    """Bytes that the pixels of what is read may take.

    Raises
    ------
    InputError
        The environment variable is no number of bytes.
    """
    text = os.environ.get(OVERRIDE, "").strip().upper()
    if not text:
        return SHARE * total()
    number, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "")
    try:
        return float(number) * 2.0 ** UNITS[unit]
    except ValueError:
        raise InputError(f"{OVERRIDE}={text}: give a number of bytes, as 64G") from None


def total() -> int:
    """Bytes of memory that this process can have: those of the machine, or fewer in a container or under a limit."""
    import psutil

    limits = [int(psutil.virtual_memory().total)]
    for file in CGROUPS:
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # none, or "max"
            continue
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        limits += [soft] if soft != resource.RLIM_INFINITY else []
    except ImportError:  # Windows
        pass
    return min(limits)


def give_back() -> None:
    """Hand memory that is free back to the system, which the C library else keeps for this process.

    Arrays of some megabytes leave it in pieces that larger ones cannot use. Only with the library of most Linux systems
    (glibc); others do it by themselves, or not at all.
    """
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)


def in_words(size: float) -> str:
    """A number of bytes as it is told."""
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 / 10 else f"{size / 2**20:,.1f} MB"


def _too_much(needed: float) -> str:
    text = f"would take {in_words(needed)} of memory, and no more than {in_words(allowed())} may be taken"
    text += "; if the file is whole, give a smaller copy or a part of it"
    if needed < total():
        text += f", or let more be taken: set the environment variable {OVERRIDE}={math.ceil(needed / 2**30)}G"
    return text
