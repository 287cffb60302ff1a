"""What an image file holds before anything of it is chosen: its scenes, and what it says of itself."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ..errors import InputError
from .pixel_size import PixelSize
from .readers import formats
from .stored import Raster, Stored, check_type


def stored_in(path: str | Path, *, scene: int | str | None = None) -> Stored:
    """What an image file holds, before anything of it is chosen.

    Raises
    ------
    InputError
        It cannot be read, holds no numbers, or pictures of several kinds and nothing is said of which.
    """
    path = Path(path)
    stored = _scene(formats.stored(path), scene, path.name)
    check_type(stored.dtype, stored.name)
    return stored


def scenes_in(path: str | Path) -> list[Stored]:
    """All scenes of an image file; each knows its number where there are several.

    Raises
    ------
    InputError
        It cannot be read, or holds no numbers.
    """
    path = Path(path)
    scenes = formats.stored(path)
    for scene in scenes:
        check_type(scene.dtype, scene.name)
    return [replace(s, scene=i if len(scenes) > 1 else None) for i, s in enumerate(scenes)]


def loaded(stored: Stored, index: tuple[int, ...]) -> Raster:
    """One of the pictures of a file, as it is stored.

    Raises
    ------
    InputError
        It cannot be read; the message names the file.
    """
    try:
        return stored.load(index)
    except InputError as error:
        raise error if stored.name in str(error) else InputError(f"{stored.name}: {error}") from error
    except Exception as error:
        raise formats.broken(stored.path or stored.name, error) from error


@lru_cache(maxsize=64)
def size_in_file(path: str, shape: tuple[int, int]) -> PixelSize | None:
    """Size of a pixel that a file states, if it holds one scene of pictures of this shape."""
    try:
        scenes = formats.stored(Path(path))
    except InputError:
        return None
    return scenes[0].pixel_size_um if len(scenes) == 1 and scenes[0].shape in (None, shape) else None


@lru_cache(maxsize=64)
def converted_in(path: str) -> str:
    """What the numbers of a file are, where they are not those of the picture; empty where it cannot be read."""
    try:
        return formats.stored(Path(path))[0].converted
    except InputError:
        return ""


def _scene(scenes: list[Stored], chosen: int | str | None, name: str) -> Stored:
    if chosen is None:
        if len(scenes) == 1:
            return scenes[0]
        shown = [f"{i}: {_described(s)}" for i, s in enumerate(scenes[:8])]
        more = ", ..." if len(scenes) > 8 else ""
        raise InputError(
            f"{name}: {len(scenes)} pictures of different kinds in one file ({', '.join(shown)}{more}); choose one: "
            f"scene=0, on the command line --scene 0"
        )
    by_name = [i for i, s in enumerate(scenes) if s.title and str(chosen).casefold() == s.title.casefold()]
    number = by_name[0] if len(by_name) == 1 else int(chosen) if str(chosen).isdigit() else -1
    if not 0 <= number < len(scenes):
        raise InputError(f"{name}: scene={chosen!r}; there are {len(scenes)}, counted from 0")
    return replace(scenes[number], scene=number if len(scenes) > 1 else None)


def _described(scene: Stored) -> str:
    size = f"{scene.shape[1]} x {scene.shape[0]} pixels" if scene.shape else ""
    return scene.title or " of ".join(filter(None, (scene.described, size))) or "a picture"
