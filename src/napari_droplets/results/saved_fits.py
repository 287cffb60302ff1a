"""What the files of a fit must hold before anything is computed from them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..droplets import Optics
from ..errors import InputError
from ..settings import MAX_TYPES

PLACE = 3  # numbers of a droplet before its composition: x, y, radius
GUIDE: dict[str, tuple[int | str, ...]] = {
    "anchor": ("N", PLACE),
    "droplets": ("N", "D"),
    "droplets_tril": ("N", "D", "D"),
    "systematic": (PLACE,),
    "prior_mean": ("N", PLACE),
    "prior_sd": ("N", PLACE),
    "background": ("rows", "columns", "C"),
    "background_sd": ("rows", "columns"),
}
"""Shapes of the parameters of the posterior; the same letter stands for the same number."""


def checked_optics(about: Mapping[str, Any], tensors: Mapping[str, np.ndarray], path: Path) -> Optics:
    """Optics from the values and arrays in a file.

    Raises
    ------
    InputError
        A value is none that optics can have.
    """
    types = about.get("types")
    wanted: dict[str, Callable[[Any], bool]] = {
        "types": lambda v: _whole(v) and 1 <= v <= MAX_TYPES,
        "channels": lambda v: _whole(v) and v in (1, 3),
        "length": lambda v: _number(v) and v > 0,
        "composition": lambda v: v in ("free", "simplex"),
        "renderer": lambda v: v in ("layered", "nearest"),
        "noise_sd": lambda v: _number(v) and v >= 0,
        "blur_px": lambda v: _number(v) and v >= 0,
        "classes": lambda v: v is None or _classes(v, types),
        "systematic": lambda v: v is None or (_numbers(v) and len(v) == PLACE and min(v) >= 0),
    }
    for name, holds in wanted.items():
        if not holds(about.get(name)):
            raise InputError(
                f"{path}: damaged optics: {name} is {_short(about.get(name))}; put back the file as it was"
            )

    def part(prefix: str) -> dict[str, np.ndarray]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    weights, deviations = part("mean/"), part("sd/")
    for name, value in (*weights.items(), *deviations.items()):
        if value.dtype.kind != "f" or not np.isfinite(value).all():
            raise InputError(
                f"{path}: damaged optics: {name} is not made of finite numbers; put back the file as it was"
            )
    return Optics(weights, deviations, **{name: about.get(name) for name in wanted})  # type: ignore[arg-type]


def check_guide(guide: Mapping[str, np.ndarray], path: Path) -> None:
    """See that the arrays of a posterior belong together, whichever there are.

    Raises
    ------
    InputError
        They do not, or are not finite.
    """
    sizes: dict[str, int] = {}
    for name, shape in GUIDE.items():
        if (value := guide.get(name)) is None:
            continue
        known = tuple(sizes.get(n) if isinstance(n, str) else n for n in shape)
        fits = value.ndim == len(shape) and all(k in (None, n) for k, n in zip(known, value.shape, strict=True))
        if not fits or value.dtype.kind != "f" or not np.isfinite(value).all():
            raise InputError(
                f"{path}: damaged posterior: {name} has the shape {value.shape} and type {value.dtype}, wanted are "
                f"finite numbers of shape ({', '.join(map(str, shape))}); put back the file as it was"
            )
        sizes |= {n: size for n, size in zip(shape, value.shape, strict=True) if isinstance(n, str)}
    if sizes.get("D", PLACE) < PLACE:
        raise InputError(f"{path}: damaged posterior: {sizes['D']} numbers for a droplet; put back the file as it was")


def check_whole(guide: Mapping[str, np.ndarray], components: int, what: str) -> None:
    """See that there is all of a posterior that a computation wants.

    `components` are the numbers that a composition takes in `guide["droplets"]`.

    Raises
    ------
    InputError
        Something is missing, or of other droplets than the optics.
    """
    missing = [name for name in GUIDE if name not in guide]
    if missing or guide["droplets"].shape[1] != PLACE + components:
        lacks = f"lacks {', '.join(missing)}" if missing else "is of another number of components than its optics"
        raise InputError(f"{what}: the posterior of this fit {lacks}; fit the image anew")


def checked_summary(summary: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What summary.json says, where all that is used of it is of the right kind.

    Raises
    ------
    InputError
        It is not.
    """
    image, region, errors = (_inner(summary, name, path) for name in ("image", "region", "systematic"))
    settings = _inner(summary, "settings", path)
    wanted: tuple[tuple[str, Any, Callable[[Any], bool]], ...] = (
        ("count_mean", summary.get("count_mean"), _number),
        ("count_sd", summary.get("count_sd"), _number),
        ("systematic radius_percent", errors.get("radius_percent"), _number),
        ("image path", image.get("path"), lambda v: isinstance(v, str) and "\0" not in v),
        ("image shape", image.get("shape"), lambda v: _numbers(v) and len(v) in (2, 3) and min(v) > 0),
        ("image visible", image.get("visible"), lambda v: _number(v) and 0 < v <= 1),
        ("region mask", region.get("mask"), lambda v: isinstance(v, str)),
        ("settings region", settings.get("region"), lambda v: isinstance(v, str) or (_numbers(v) and len(v) == 4)),
        ("pictures", summary.get("pictures"), _pictures),
    )
    for name, value, holds in wanted:
        if value is not None and not holds(value):
            raise InputError(f"{path}: damaged summary: {name} is {_short(value)}; put back the file as it was")
    return dict(summary)


def _inner(summary: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    value = summary.get(name)
    if value is not None and not isinstance(value, dict):
        raise InputError(f"{path}: damaged summary: {name} is {_short(value)}; put back the file as it was")
    return value or {}


def _pictures(value: Any) -> bool:
    """Entries of pictures of a stack, each with a folder in that of the stack, or none."""
    if not isinstance(value, list) or not all(isinstance(p, dict) for p in value):
        return False
    folders = [p.get("folder") for p in value]
    return all(
        f is None or (isinstance(f, str) and f not in ("", ".", "..") and not set(f) & set("/\\:\0")) for f in folders
    )


def _classes(value: Any, types: Any) -> bool:
    try:
        weight, mean, covariance = (np.asarray(value[k], float) for k in ("weight", "mean", "covariance"))
    except (TypeError, ValueError, KeyError, IndexError):
        return False
    n, k = len(np.atleast_1d(weight)), types
    shapes = (weight.shape, mean.shape, covariance.shape) == ((n,), (n, k), (n, k, k))
    return n > 0 and shapes and all(np.isfinite(a).all() for a in (weight, mean, covariance))


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return (
        isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and math.isfinite(value)
    )


def _numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(map(_number, value))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
