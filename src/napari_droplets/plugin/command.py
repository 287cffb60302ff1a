"""The command that does what a button does, for the file that an image layer shows."""

from __future__ import annotations

import shlex
from typing import Any

from ..region import URI
from ..settings import Settings

MASK = "MASK"
"""Stands for the file that a region which is no box is saved to."""


def command_text(layer: Any, plane: tuple[int, ...], settings: dict[str, Any], *, detect_only: bool) -> str:
    """A line for the terminal, with what differs from the defaults; empty where no file is behind the layer.

    Parameters
    ----------
    layer : napari Image layer
    plane : tuple of int
        Index of the plane along the leading axes of a stack.
    settings : dict
        Of `Settings`.
    detect_only : bool
        Whether droplets are only detected.
    """
    from ..cli.options import SETTINGS

    path = getattr(getattr(layer, "source", None), "path", None)
    if path is None:
        return ""
    parts = ["napari-droplets", "fit", str(path), "-o", "OUT"]
    if detect_only:
        parts.append("--detect-only")
    chosen, usual = Settings(**settings), Settings()
    for option, name, *_ in SETTINGS:
        value = getattr(chosen, name)
        if value != getattr(usual, name) and not (detect_only and name not in OF_DETECTION):
            parts += [option, _text(value)]
    for option, index in zip(("--frames", "--planes") if len(plane) < 3 else (), plane, strict=False):
        parts += [option, str(index)]
    return shlex.join(parts)


OF_DETECTION = (
    *("diameter", "detector", "weights", "min_probability", "scale", "region"),
    *("pixel_size_um", "channels", "frames", "planes", "scene", "intensity_range"),
)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ",".join(f"{v:.12g}" if isinstance(v, float) else str(v) for v in value)
    return MASK if str(value).startswith(URI) else str(value)
