"""Results on disk: tables, TIFF reconstruction, safetensors optics, JSON summary; nothing pickled."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..droplets import Droplets, Fit, Optics
from ..errors import InputError
from ..images import Image, as_image
from ..lazy import LazyPixels, Pixels
from ..model.priors import BRIGHTEST
from ..settings import READING
from ..storage.atomic import writable_folder as writable_folder
from ..storage.atomic import write_whole as write_whole
from ..storage.stored_values import parsed, read_json, read_tensors
from ..tables import read_table as read_table
from ..tables import save_table as save_table
from .saved_fits import check_guide, checked_optics, checked_summary

OPTICS = "optics.safetensors"
RECONSTRUCTION, LARGE_RECONSTRUCTION = "reconstruction.tif", "reconstruction.ome.zarr"
"""Where the reconstruction is, and where that of a large image."""


def save_summary(summary: dict[str, Any], path: Path) -> None:
    """Write summary.json."""
    write_whole(path, lambda p: p.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8"))


def save_fit(fit: Fit, folder: str | Path, statistics: dict[str, Any] | None = None) -> Path:
    """Write all of a fit but the overlay; see `Fit.save`. `statistics` are those of it where they are known."""
    from ..measures.size_statistics import record_of

    folder = writable_folder(folder)
    save_table(fit.droplets, folder / "droplets.csv")
    save_table(fit.droplets, folder / "droplets.parquet")
    _save_reconstruction(fit, folder)
    extra = {f"guide/{k}": np.ascontiguousarray(v) for k, v in fit.guide.items()}
    extra["losses"] = np.asarray(fit.losses, np.float64)
    save_optics(fit.optics, folder / "optics.safetensors", extra=extra)
    # not those of a fit that this one was made from
    statistics = record_of(fit.droplets, fit.summary) if statistics is None else statistics
    save_summary(fit.summary | {"statistics": statistics}, folder / "summary.json")
    return folder


def _save_reconstruction(fit: Fit, folder: Path) -> None:
    """As a TIFF file, that of a large image as OME-Zarr; one that is there in the other form goes."""
    import tifffile

    drawn, small, large = fit.reconstruction, folder / RECONSTRUCTION, folder / LARGE_RECONSTRUCTION
    if isinstance(drawn, LazyPixels):
        from .pyramid import write_pyramid

        write_pyramid(large, drawn.shape, drawn.read, pixel_size_um=fit.droplets.pixel_size_um)
        small.unlink(missing_ok=True)
        return
    picture = drawn if drawn.shape[-1] > 1 else drawn[..., 0]
    kind = "rgb" if picture.ndim == 3 else "minisblack"
    write_whole(small, lambda p: tifffile.imwrite(p, picture, photometric=kind, compression="zlib"))
    shutil.rmtree(large, ignore_errors=True)


def _read_reconstruction(folder: Path) -> Pixels:
    path = folder / RECONSTRUCTION
    if not path.exists() and (folder / LARGE_RECONSTRUCTION).exists():
        from .pyramid import read_pyramid

        return read_pyramid(folder / LARGE_RECONSTRUCTION)
    return _read_picture(path)


def save_optics(optics: Optics, path: str | Path, *, extra: dict[str, np.ndarray] | None = None) -> Path:
    """Write optics as safetensors, their settings in its metadata.

    Raises
    ------
    InputError
        The file cannot be written.
    """
    from safetensors.numpy import save

    path = Path(path)
    tensors = {f"mean/{k}": np.ascontiguousarray(v) for k, v in optics.weights.items()}
    tensors |= {f"sd/{k}": np.ascontiguousarray(v) for k, v in optics.weights_sd.items()}
    about = {name: getattr(optics, name) for name in _optics_settings()} | {"brightest": BRIGHTEST}
    metadata = {"napari-droplets": json.dumps(about)}
    content = save(tensors | (extra or {}), metadata=metadata)
    write_whole(path, lambda p: p.write_bytes(content))
    return path


def read_optics(path: str | Path) -> Optics:
    """Read optics that `save_optics` or `Fit.save` wrote; a result folder serves too.

    Raises
    ------
    InputError
        No such file, or not one of ours.
    """
    path = Path(path)
    path = path / "optics.safetensors" if os.path.isdir(path) else path
    return _read_optics(path)[0]


def read_posterior(folder: str | Path, droplets: Droplets) -> tuple[Optics, dict[str, np.ndarray]]:
    """Optics and `Fit.guide` of a result folder, without its pictures.

    Raises
    ------
    InputError
        Files are missing or damaged, or the droplets are no longer those of the fit.
    """
    folder = Path(folder)
    optics, tensors = _read_optics(folder / "optics.safetensors")
    guide = {k.removeprefix("guide/"): v for k, v in tensors.items() if k.startswith("guide/")}
    if not _same_rows(droplets, guide):
        raise _other_rows(folder)
    if missing := {"droplets_tril", "systematic"} - set(guide):
        raise InputError(f"{folder / 'optics.safetensors'}: no {', '.join(sorted(missing))} of a posterior in it")
    return optics, guide


def replace_classes(folder: Path, parameters: dict[str, Any]) -> None:
    """Let the optics of a result folder bring other classes to the images that are fitted with them later."""
    path = folder / "optics.safetensors"
    optics, tensors = _read_optics(path)
    extra = {k: v for k, v in tensors.items() if not k.startswith(("mean/", "sd/"))}
    save_optics(replace(optics, classes=parameters), path, extra=extra)


def _other_rows(folder: Path) -> InputError:
    return InputError(
        f"{folder / 'droplets.csv'}: its rows are no longer those of the fit; put back the table that was saved "
        f"(droplets.parquet holds it), and give edited rows to refit in a table of their own"
    )


def _optics_settings() -> list[str]:
    return [f.name for f in fields(Optics) if not f.name.startswith("weights")]


def _read_optics(path: Path) -> tuple[Optics, dict[str, np.ndarray]]:
    tensors, texts = read_tensors(path, "not a safetensors file")
    about: dict[str, Any] = {}
    with suppress(ValueError):
        about = parsed(texts.get("napari-droplets", ""))
    if set(about) | {"classes"} != {*_optics_settings(), "brightest"} or about["brightest"] != BRIGHTEST:
        raise InputError(f"{path}: not optics of this version of napari-droplets; fit the image again")
    return checked_optics(about, tensors, path), tensors


def read(path: str | Path, *, image: Any = None) -> Fit | Droplets:
    """Read what `Fit.save` or the command line wrote: a folder gives a Fit, a table Droplets.

    Parameters
    ----------
    path : path
        A folder with summary.json, or a CSV or Parquet table.
    image : array-like or path, optional
        The image of the fit; by default the file named in the summary, if it is still the same.

    Raises
    ------
    InputError
        Something is missing or cannot be read; the message names the file.
    """
    path = Path(path)
    if not os.path.isdir(path):
        return read_table(path)
    if not (path / "summary.json").exists():
        raise InputError(f"{path}: no summary.json; not a folder written by napari-droplets")
    summary = read_summary(path)
    droplets = read_table(path / "droplets.csv")
    if "pictures" in summary or not (path / OPTICS).exists():  # of a stack, or written by --detect-only
        return droplets
    reconstruction = _read_reconstruction(path)
    optics, tensors = _read_optics(path / "optics.safetensors")
    guide = {k.removeprefix("guide/"): v for k, v in tensors.items() if k.startswith("guide/")}
    check_guide(guide, path / "optics.safetensors")
    if "losses" not in tensors:
        raise InputError(f"{path / 'optics.safetensors'}: optics alone, not those of this fit; use read_optics")
    if not _same_rows(droplets, guide):
        raise _other_rows(path)
    original = None
    if image is not None:
        known, whole = _reading(summary), isinstance(image, (str, Path))
        # of arrays the picture is given, with its channels at most
        original = as_image(image, **{k: v for k, v in known.items() if whole or k in ("channels", "pixel_size_um")})
        if original.shape != reconstruction.shape:
            raise InputError(f"{path}: its fit is of {reconstruction.shape}, the image given of {original.shape}")
    else:
        original = image_of(summary)
        if original is not None and original.shape != reconstruction.shape:
            original = None
    return Fit(droplets, reconstruction, optics, tensors["losses"], summary, guide, original)


def image_of(summary: dict[str, Any]) -> Image | None:
    """The image that a summary is of; None where its file is gone or another one now."""
    entry, original = summary.get("image") or {}, None
    if entry.get("path"):
        with suppress(InputError):  # gone or no image any more
            original = as_image(entry["path"], **_reading(summary))
    return original if original is not None and original.sha256 == entry.get("sha256") else None


def _reading(summary: dict[str, Any]) -> dict[str, Any]:
    """How the image of a summary was read."""
    entry, settings = summary.get("image") or {}, summary.get("settings") or {}
    known = {name: settings[name] for name in READING if settings.get(name) is not None}
    # which picture of a stack, and on which scale of its series
    known |= {f"{k}s": entry[k] for k in ("frame", "plane") if entry.get(k) is not None}
    return known | {k: entry[k] for k in ("scene", "intensity_range") if entry.get(k) is not None}


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary of a result folder.

    Raises
    ------
    InputError
        It is not there, cannot be read, or says what no summary says; the message names the file.
    """
    path = folder / "summary.json"
    return checked_summary(read_json(path, "a summary"), path)


def _read_picture(path: Path) -> np.ndarray:
    """(H, W, C) float32, as `save_fit` writes it."""
    from ..images.scenes import loaded, stored_in

    stored = stored_in(path)
    if stored.axes or len(stored.channels) not in (1, 3):
        raise InputError(f"{path}: not the reconstruction of a fit; put back the file as it was")
    return loaded(stored, ()).values.astype(np.float32)


def _same_rows(droplets: Droplets, guide: dict[str, np.ndarray]) -> bool:
    """Whether a table still has the rows of the posterior, in their order; pinned ones keep the digits of the user."""
    if not {"anchor", "droplets"} <= set(guide) or len(guide["anchor"]) != len(droplets):
        return False
    x, y, radius = guide["anchor"].T
    offset = guide["droplets"]
    away = np.hypot(x + radius * offset[:, 0] - droplets.x, y + radius * offset[:, 1] - droplets.y)
    return bool((away < 0.01 * radius + 1e-3).all())
