"""Frames of a movie with its droplets, as small pictures: read again from the movie, else circles on white."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..droplets import Droplets
from ..plot.colors import droplet_colors
from ..tracking.tracks import Tracks

FRAMES = 12
"""Of a montage, spread over the movie."""
WIDTH = 320
"""Pixels of a small picture."""
QUALITY = 75


class FramePicture(NamedTuple):
    """A frame of the montage."""

    number: int
    droplets: int
    picture: str
    """A data URI."""
    pixels: np.ndarray
    """(h, w, 3) bytes."""


Load = Callable[[int], np.ndarray]
"""Pixels (H, W, C) in 0 to 1 of a frame, by its number."""


def loader(summary: dict[str, Any]) -> Load | None:
    """What reads the frames of the movie that results are of; None where it is no longer there, or was an array."""
    from ..errors import InputError
    from ..movies.footage import footage_of
    from ..settings import READING, Settings

    path = summary.get("movie")
    if not path or not (Path(path).exists() or "*" in path):
        return None
    known = {k: v for k, v in (summary.get("settings") or {}).items() if k in READING}
    with suppress(InputError, OSError, TypeError):
        footage = footage_of(path, Settings.of(**known))
        return lambda number: np.asarray(footage.load(number).pixels)
    return None


def montage(tracks: Tracks, load: Load | None) -> list[FramePicture]:
    """Frames spread over the movie, each with its droplets in the colors of their compositions."""
    table = tracks.droplets
    frames = np.unique(table["frame"].to_numpy())
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).round().astype(int))]
    colors = droplet_colors(Droplets.from_dataframe(table))
    shape = tracks.options.get("shape") or (int(table["y"].max()) + 2, int(table["x"].max()) + 2)
    found = []
    for number in chosen:
        rows = np.flatnonzero(table["frame"].to_numpy() == number)
        pixels = None
        if load is not None:
            with suppress(Exception):  # a frame that cannot be read is shown as circles
                pixels = load(int(number))
        if pixels is None:
            pixels = np.ones((*shape, 3), np.float32)
        drawn = _drawn(pixels, table.iloc[rows][["x", "y", "radius"]].to_numpy(float), colors[rows])
        found.append(FramePicture(int(number), len(rows), _uri(drawn), np.asarray(drawn)))
    return found


def _drawn(pixels: np.ndarray, circles: np.ndarray, colors: np.ndarray) -> Any:
    from PIL import Image, ImageDraw

    rgb = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., :3]
    height, width = rgb.shape[:2]
    factor = max(WIDTH / width, 0.02)
    picture = Image.fromarray((255 * np.clip(rgb, 0, 1)).astype(np.uint8))
    picture = picture.resize((WIDTH, max(1, round(height * factor))))
    pen = ImageDraw.Draw(picture)
    for (x, y, radius), color in zip(circles, colors, strict=True):
        cx, cy, r = ((x + 0.5) * factor, (y + 0.5) * factor, radius * factor)
        ink = tuple(int(255 * c) for c in color[:3])
        pen.ellipse((cx - r, cy - r, cx + r, cy + r), outline=ink)
    return picture


def _uri(picture: Any) -> str:
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


def sheet(frames: Sequence[FramePicture], across: int = 4) -> np.ndarray:
    """All frames as one picture (H, W, 3) of bytes."""
    height, width = (max(f.pixels.shape[k] for f in frames) for k in (0, 1))
    down = -(-len(frames) // across)
    whole = np.full((down * height, min(across, len(frames)) * width, 3), 255, np.uint8)
    for k, frame in enumerate(frames):
        top, left = (k // across) * height, (k % across) * width
        h, w = frame.pixels.shape[:2]
        whole[top : top + h, left : left + w] = frame.pixels
    return whole
