"""The images of a batch: found in a folder, and a name for the results of each."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import InputError
from ..images import IMAGE_SUFFIXES
from ..images.readers.formats import is_zarr
from ..images.region import ENDINGS, URI, Region, mask_files
from ..results.files import writable_folder
from ..storage.paths import matching
from .manifest import MANIFEST
from .one_file import WRITTEN
from .tables import RESERVED


def find_images(where: str | Path) -> list[Path]:
    """Image files of a folder (not of folders in it) or matching a glob, in natural order; a single file is itself.

    Hidden files, and pictures among results of this package, are left out.

    Raises
    ------
    InputError
        There is none.
    """
    path = Path(where)
    if path.is_file() or is_zarr(path):
        return [path]
    if path.is_dir():
        found = list(path.iterdir())
    elif glob.has_magic(str(where)):
        found = matching(str(where))
    else:
        raise InputError(f"{where}: no such file or folder")
    kinds = ", ".join(s.removeprefix(".") for s in IMAGE_SUFFIXES)
    images = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and (p.is_file() or is_zarr(p)) and not _ours(p)]
    images.sort(key=natural)
    if not images:
        raise InputError(f"{where}: no images ({kinds}) there")
    return images


def without_masks(images: Sequence[Path], region: Region | None) -> list[Path]:
    """The images that are no masks of the region.

    Raises
    ------
    InputError
        None is left.
    """
    if not isinstance(region, str) or region.startswith(URI):
        return list(images)
    masks = {p.resolve() for p in mask_files(region)}
    if Path(region).is_dir():  # that of the images, perhaps: there masks are told by their names
        stems = {p.stem for p in images}
        masks = {m for m in masks if any(e and m.stem.endswith(e) and m.stem.removesuffix(e) in stems for e in ENDINGS)}
    left = [p for p in images if p.resolve() not in masks]
    if not left:
        raise InputError(f"region={region!r}: all of the images are masks of it")
    return left


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts frame_2 before frame_10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(p), 0, p) if p.isdecimal() else (0, 1, p) for p in parts]


def _ours(path: Path) -> bool:
    result = path.name in WRITTEN and (path.parent / "summary.json").exists()
    return result or path.name.startswith(".")


def name_results(paths: Sequence[Path]) -> dict[Path, str]:
    """A result folder's name for each image: its stem; where two share it, with suffix or folder.

    Raises
    ------
    InputError
        Two images would still share a folder.
    """
    paths = list({p.resolve(): p for p in paths}.values())  # each file once
    inside = _inside(paths)
    candidates: tuple[Callable[[Path], str], ...] = (
        lambda p: p.stem,
        lambda p: p.name,
        lambda p: "_".join(inside[p].with_suffix("").parts),
        lambda p: "_".join(inside[p].parts),
    )
    names: dict[Path, str] = {}
    left = paths
    for candidate in candidates:
        # upper and lower case are one on some disks
        count = Counter(
            [candidate(p).casefold() for p in left] + [n.casefold() for n in (*names.values(), *RESERVED, MANIFEST)]
        )
        names |= {p: candidate(p) for p in left if count[candidate(p).casefold()] == 1}
        left = [p for p in left if p not in names]
    if left:
        raise InputError(f"{left[0]} and {left[1]}: their results would share a folder; rename one")
    return {p: names[p] for p in paths}


def _inside(paths: Sequence[Path]) -> dict[Path, Path]:
    """Paths below the folder that all share; with the drive's name where they are on several."""
    whole = {p: p.resolve() for p in paths}
    try:
        base = os.path.commonpath([p.parent for p in whole.values()]) if paths else ""
    except ValueError:  # drives of Windows have nothing in common
        return {p: Path(re.sub(r"\W+", "_", w.drive).strip("_"), *w.parts[1:]) for p, w in whole.items()}
    return {p: w.relative_to(base) for p, w in whole.items()}


def check_output(out: str | Path, names: Sequence[str]) -> Path:
    """Make the output folder where needed and see that every result can be put there.

    Raises
    ------
    InputError
        It, or a result folder in it, is a file or cannot be written to.
    """
    out = writable_folder(out)
    for name in names:
        if os.path.lexists(out / name):
            writable_folder(out / name)
    return out
