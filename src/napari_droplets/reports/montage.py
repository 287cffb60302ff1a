"""Thumbnails of the overlays, small enough for a page of a thousand."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from ..plot.overlay import image_panel

WIDTHS = ((60, 400), (250, 300), (1000, 200))
"""Up to so many images, thumbnails so many pixels wide: the page stays below some 12 MB."""
QUALITY = 70


def thumbnail_width(n: int) -> int:
    """Width in pixels of each of n thumbnails."""
    return next((width for most, width in WIDTHS if n <= most), WIDTHS[-1][1])


def thumbnail(overlay: Path, width: int, *, fitted: bool) -> str | None:
    """The image with its circles, cut from an overlay picture, as a data URI; None where there is none.

    Parameters
    ----------
    overlay : Path
        overlay.png of a result.
    width : int
        Pixels.
    fitted : bool
        Whether it is of a fit or of a detection, which are laid out differently.
    """
    from PIL import Image, ImageChops

    try:
        with Image.open(overlay) as picture:
            panel = picture.crop(image_panel(picture.size, fitted=fitted)).convert("RGB")
        panel = panel.crop(ImageChops.invert(panel.convert("L")).getbbox())  # without the white around it
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    panel.thumbnail((width, width))
    content = io.BytesIO()
    panel.save(content, "WEBP", quality=QUALITY)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"
