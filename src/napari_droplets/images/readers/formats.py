"""What a file is, told by its content rather than its name, and who reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...errors import InputError
from ...storage.memory import check_memory
from ...storage.paths import check_file
from ..stored import Stored, of_axes

IMAGE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".jp2", ".pgm", ".ppm", ".pnm"),
    *(".czi", ".nd2", ".lif", ".lsm", ".zarr"),
)
PHOTOS = ("png", "jpeg", "bmp", "gif", "webp", "pnm", "jp2")
MICROSCOPES = (".czi", ".nd2", ".lif", ".oib", ".oif", ".vsi", ".ims")
OTHERS = (
    (b"version https://git-lfs", "a pointer of Git LFS, not the picture itself; fetch it with `git lfs pull`"),
    (b"\0\5\26\7", "notes of macOS about another file, no picture; delete it, or leave out files that begin with ._"),
    (b"%PDF", "a PDF document; export the picture from it"),
    (b"PK\3\4", "a ZIP archive; unpack it first"),
)


def is_zarr(path: Path) -> bool:
    """Whether a folder is a Zarr store."""
    marks = (".zgroup", ".zattrs", ".zarray", "zarr.json")
    return os.path.isdir(path) and any(os.path.exists(path / name) for name in marks)


def stored(path: Path) -> list[Stored]:
    """The scenes of an image file.

    Raises
    ------
    InputError
        No such file, or none that can be read; the message names it and says what it is instead, where it can be told.
    """
    if is_zarr(path):
        from .ome_zarr import read_ome_zarr

        return _tried(path, read_ome_zarr)
    check_file(path, wanted="an image", instead="use `batch` for folders")
    try:
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    kind = _kind(head)
    if not head:
        raise InputError(f"{path}: cannot be read as an image (the file is empty); is it a PNG, JPEG or TIFF file?")
    if kind == "tiff":
        from .tiff import read_tiff

        return _tried(path, read_tiff)
    if path.suffix.lower() in MICROSCOPES:
        from .microscopes import read_microscope

        return _tried(path, read_microscope)
    if kind in PHOTOS:
        from .photos import read_photo

        return _tried(path, lambda p: [read_photo(p)])
    if head.startswith(b"\x93NUMPY"):
        return _tried(path, _read_npy)
    for start, what in OTHERS:
        if head.startswith(start):
            raise InputError(f"{path}: cannot be read as an image: it is {what}")
    if head.lstrip()[:1] == b"<":
        raise InputError(f"{path}: cannot be read as an image: it is a web page or other text; download it again")
    raise InputError(
        f"{path}: cannot be read as an image (its content is of no known format); is it a PNG, JPEG or TIFF file?"
    )


def _kind(head: bytes) -> str:
    if head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "tiff"
    signs = {
        b"\x89PNG\r\n\x1a\n": "png",
        b"\xff\xd8\xff": "jpeg",
        b"BM": "bmp",
        b"GIF8": "gif",
        b"\0\0\0\x0cjP  ": "jp2",
        b"\xff\x4f\xff\x51": "jp2",
    }
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace():
        return "pnm"
    return next((kind for sign, kind in signs.items() if head.startswith(sign)), "")


def _tried(path: Path, read: Callable[[Path], list[Stored]]) -> list[Stored]:
    try:
        return read(path)
    except InputError:
        raise
    except Exception as error:  # readers raise anything on a broken file
        raise broken(path, error) from error


def broken(path: Path | str, error: Exception) -> InputError:
    """What to say where a library failed: one line."""
    text = str(error).strip()
    reason = text.splitlines()[0][:200] if text else type(error).__name__
    return InputError(f"{path}: cannot be read as an image ({reason}); is it a PNG, JPEG or TIFF file, and whole?")


def _read_npy(path: Path) -> list[Stored]:
    from .arrays import axes_of

    lazy = np.load(path, mmap_mode="r", allow_pickle=False)  # nothing is read, but the size of the file must fit
    check_memory(lazy.shape, lazy.dtype, path.name)
    array = np.load(path, allow_pickle=False)
    return [of_axes(array, axes_of(array, path.name), path.name, path=str(path.resolve()))]
