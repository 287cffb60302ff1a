"""OME-Zarr folders, versions 0.4 and 0.5, by the zarr library of the extra `[zarr]`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from ...storage.memory import check_memory
from ..pixel_size import micrometres, pixel_size
from ..stored import Stored, of_axes

LETTERS = {"t": "T", "c": "C", "z": "Z", "y": "Y", "x": "X"}


def read_ome_zarr(path: Path) -> list[Stored]:
    """The multiscale images of a folder, at their finest level; read when they are asked for.

    Raises
    ------
    InputError
        The library is not installed, or the folder holds no image of a kind that is known.
    """
    try:
        import zarr
    except ImportError:
        raise InputError(
            f"{path}: an OME-Zarr folder; to read it install zarr: pip install 'napari-droplets[zarr]'"
        ) from None
    group: Any = zarr.open(path, mode="r")
    attributes: dict[str, Any] = dict(group.attrs)
    about = attributes.get("ome", attributes)
    images = about.get("multiscales")
    if not images:
        raise InputError(
            f"{path}: a Zarr folder without multiscales; give the folder of one image of OME-Zarr 0.4 or 0.5"
        )
    return [_image(path, group, one, about) for one in images]


def _image(path: Path, group: Any, about: dict[str, Any], whole: dict[str, Any]) -> Stored:
    axes = [a if isinstance(a, dict) else {"name": a} for a in about.get("axes", [])]
    finest = about["datasets"][0]
    array = group[finest["path"]]
    _check_array(path, array)
    axes = axes or [{"name": n} for n in "tczyx"[-array.ndim :]]
    names = [str(a["name"]).lower() for a in axes]
    scale = [1.0] * array.ndim
    for place in (finest, about):
        for step in place.get("coordinateTransformations", []):
            if step.get("type") == "scale":
                scale = [a * float(b) for a, b in zip(scale, step["scale"], strict=True)]

    def side(axis: str) -> float | None:
        i = names.index(axis)
        factor = micrometres(axes[i].get("unit"))
        return None if factor is None else factor * scale[i]

    channels = [c.get("label", str(i)) for i, c in enumerate(whole.get("omero", {}).get("channels", []))]
    letters = "".join(LETTERS.get(n, "I") for n in names)
    size = pixel_size(side("x"), side("y"))
    more: dict[str, Any] = {"pixel_size_um": size, "path": str(path.resolve()), "title": str(about.get("name", ""))}
    return of_axes(array, letters, path.name, channels=channels, **more)


def _check_array(path: Path, array: Any) -> None:
    """See that what is read of an array cannot run anything, and that its blocks can be held.

    Raises
    ------
    InputError
        It is no array, its values are Python objects, or one block is larger than the memory.
    """
    if not hasattr(array, "chunks"):
        raise InputError(f"{path}: the finest level is no array; is the folder whole?")
    about = array.metadata
    codecs = [
        *(getattr(about, "filters", None) or ()),
        getattr(about, "compressor", None),
        *getattr(about, "codecs", ()),
    ]
    names = {str(getattr(c, "codec_id", getattr(c, "codec_name", ""))) for c in codecs}
    if array.dtype.kind == "O" or any("pickle" in name for name in names):
        raise InputError(f"{path}: holds Python objects, which may be programs, instead of numbers; it is not read")
    check_memory(array.chunks, array.dtype, path.name, what="one of its blocks", more=0)
