"""Images of one series on one scale of intensities, so that the same droplet has the same values in all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..errors import InputError
from . import intensities
from .convert import as_image
from .intensities import Levels, Range
from .opened import Opened, opened, tell
from .picture import Image

Kind = tuple[np.dtype[Any], int | None]
BEYOND = 1.02  # times full scale; brighter images of a series are told


def in_one_scale(images: Iterable[Any], **reading: Any) -> Iterator[Image]:
    """The images of a series, each as `as_image` takes it, those of the same type and depth on one scale.

    A list or tuple is looked through first, for the scale of all; of any other iterable the first image says it.

    Parameters
    ----------
    images : iterable
    **reading
        See `as_image`.

    Yields
    ------
    Image

    Raises
    ------
    InputError
        At the image that cannot be used.
    """
    scale = SeriesScale(images, **reading)
    for image in images:
        yield scale.image(image)


class SeriesScale:
    """The scale of intensities of a series.

    A list or tuple is looked through for it; of another iterable the first image says it.
    """

    def __init__(self, images: Iterable[Any], **reading: Any) -> None:
        self.reading = reading
        self.looked_through = isinstance(images, (list, tuple))
        given = reading.get("intensity_range") is not None
        self.ranges = common_ranges(images, **reading) if self.looked_through and not given else {}

    def image(self, image: Any) -> Image:
        """One of the images, as `as_image` takes it, on the scale of all."""
        if isinstance(image, Image) or self.reading.get("intensity_range") is not None:
            return as_image(image, **self.reading)
        options = {k: v for k, v in self.reading.items() if k not in ("pixel_size_um", "intensity_range")}
        found = opened(image, **options)
        known = found.kind in self.ranges
        scale = self.ranges.setdefault(found.kind, found.range()) if not known else self.ranges[found.kind]
        if known and not self.looked_through and _brighter(found, scale):
            tell(f"{found.stored.name}: brighter than the first image of the series allows; give intensity_range")
        return found.image(found.where[0], self.reading.get("pixel_size_um"), scale)


def common_ranges(images: Iterable[Any], **reading: Any) -> dict[Kind, Range]:
    """For each type and depth of the images the range of all of them; images that cannot be used do not count."""
    options = {k: v for k, v in reading.items() if k not in ("pixel_size_um", "intensity_range")}
    seen: dict[Kind, Levels] = {}
    for image in images:
        if isinstance(image, Image):
            continue
        try:
            found = opened(image, several=True, **options)
            if intensities.stated(*found.kind) is None:
                levels = found.levels()
                seen[found.kind] = seen[found.kind].joined(levels) if found.kind in seen else levels
        except Exception:  # told when its turn comes
            continue
    return {kind: intensities.range_of(kind[0], levels) for kind, levels in seen.items()}


def _brighter(found: Opened, scale: Range) -> bool:
    if intensities.stated(*found.kind) is not None:
        return False
    try:
        return found.levels().high > BEYOND * scale[1]
    except InputError:
        return False
