"""The pictures of one image file of a series, opened on the scale of intensities that the series has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..images import Image
from ..images.intensities import Range, stated
from ..images.opened import Opened, opened
from ..settings import Settings

if TYPE_CHECKING:
    from ..images.choose import Where

Ranges = Mapping[Any, Range]
"""What 0 and 1 are in images of each type and depth of a series."""


@dataclass(frozen=True)
class Source:
    """The pictures of a file that are asked for, on the scale of their series."""

    opened: Opened
    scale: Range
    pixel_size_um: Any

    @classmethod
    def of(cls, path: Path, settings: Settings, ranges: Ranges) -> Source:
        """Open a file; nothing but what its scale needs is read.

        Raises
        ------
        InputError
            It cannot be read, or holds several pictures and nothing is said of which.
        """
        reading = settings.reading
        size, scale = reading.pop("pixel_size_um"), reading.pop("intensity_range")
        found = opened(path, several=True, **reading)
        known = scale or stated(*found.kind) or ranges.get(found.kind)
        return cls(found, known or found.range(), size)

    def image(self, where: Where) -> Image:
        """One of the pictures."""
        return self.opened.image(where, self.pixel_size_um, self.scale)
