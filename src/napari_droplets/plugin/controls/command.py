"""The command that does what a button does, for the file that an image layer shows."""

from __future__ import annotations

import shlex
from typing import Any

from ...errors import InputError
from ...images.readers.arrays import facts_of
from ...images.region import URI
from ...images.scenes import stored_in
from ...settings import Settings

MASK = "MASK"
"""Stands for the file that a region which is no box is saved to."""


def command_text(
    layer: Any, plane: tuple[int, ...], settings: dict[str, Any], *, detect_only: bool, every_plane: bool = False
) -> str:
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
    every_plane : bool
        Whether all planes of a stack are worked on.
    """
    from ...cli.options import SETTINGS

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
    first = (0,) * (layer.ndim - 2) if every_plane else plane
    return shlex.join([*parts, *_picture(layer, str(path), first, settings, every_plane=every_plane)])


def _picture(
    layer: Any, path: str, plane: tuple[int, ...], settings: dict[str, Any], *, every_plane: bool = False
) -> list[str]:
    """Options that choose what the layer shows among the pictures and channels of the file."""
    facts = facts_of(layer)
    places = [(n, i) for n, i in zip(_finest_shape(layer), plane, strict=False) if n > 1]
    if not places and facts.scene is None and facts.channel is None:  # the file is not read for that
        return []
    try:
        stored = stored_in(path, scene=facts.scene)
    except InputError:
        return []
    options = [] if facts.scene is None else ["--scene", str(facts.scene)]
    channel = facts.channel
    sizes = [n for _, n in stored.axes]
    if len(places) == len(sizes) + 1:  # napari's own readers make an axis of the channels
        without = [k for k in range(len(places)) if [n for n, _ in places[:k] + places[k + 1 :]] == sizes]
        of_channels = [k for k in without if places[k][0] == len(stored.channels)]
        if not of_channels:
            return options
        channel = places.pop(of_channels[-1])[1]
    if channel is not None and settings.get("channels") is None:
        options += ["--channels", str(channel)]
    if [n for n, _ in places] != sizes:
        return options
    free = [role for role in ("frame", "plane") if role not in dict(stored.axes)]
    for (axis, _), (_, index) in zip(stored.axes, places, strict=True):
        role = axis if axis in ("frame", "plane") else free.pop(0) if free else None
        options += [f"--{role}s", "all" if every_plane else str(index)] if role else []
    return options


def _finest_shape(layer: Any) -> tuple[int, ...]:
    return tuple((layer.data[0] if layer.multiscale else layer.data).shape)


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
