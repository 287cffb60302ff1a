"""The part of an image that a region asks for: cut out, worked on as an image of its own, and put back."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d

from ...droplets import Droplets, Fit, with_border
from ...errors import InputError
from ...images import Image
from ...images.region import bounds, centers_in, record, region_mask
from ...lazy import Block, Pixels, is_large
from ...model.assignment import covered, touching
from ...progress import Progress, retold
from ...settings import Settings
from ..candidates import likely
from ..start import INITIAL_BLUR
from .surroundings import patched

MARGIN = 64.0
"""Pixels around a region that the network sees, at least: as far as tiles see into their neighbors …"""
MARGIN_RADII = 4.0
"""… at least so many typical radii, so that larger droplets are whole, too …"""
LEAST_SIDE = 256
"""… and so many that the part has this side in pixels: the network works on no smaller one."""
RANGE = (0.005, 0.995)
"""Quantiles of the region's intensities to which those outside are clipped …"""
RANGE_SAMPLE = 100_000
"""… told from so many pixels."""
SURROUNDINGS = 1.5
"""Radii around droplets in the region whose pixels a fit looks at: outlines have room to move, and ground around."""


class Part(NamedTuple):
    """A part of an image that holds a region with its surroundings."""

    whole: Image
    image: Image
    """The part; its `region` tells where droplets are looked for, and what is far from it is hidden."""
    left: int
    top: int
    settings: Settings

    @classmethod
    def of(cls, whole: Image, settings: Settings) -> Part:
        """Cut out the region that the settings ask for, with so much around it as its droplets need."""
        inside = _inside(whole, settings)
        left, top, right, bottom = bounds(inside)

        def grown(margin: float) -> Part:
            h, w = inside.shape
            by = int(np.ceil(margin))
            box = max(0, left - by), max(0, top - by), min(w, right + by), min(h, bottom + by)
            return cls.at(whole, settings, box, inside)

        least = max(MARGIN, (LEAST_SIDE - min(right - left, bottom - top)) / 2)
        radius = _typical_radius(grown(least).image, settings) if settings.diameter is None else settings.diameter / 2
        margin = max(least, MARGIN_RADII * radius)
        part = grown(margin)
        region = part.image.region
        assert region is not None
        size = 2 * round(margin) + 1
        far = ~maximum_filter1d(maximum_filter1d(region, size, 0, mode="constant"), size, 1, mode="constant")
        if not far.any():
            return part
        pixels = np.array(part.image.pixels)
        pixels[far] = np.median(pixels[region], 0)
        hidden = far if part.image.hidden is None else far | part.image.hidden
        return part._replace(image=replace(part.image, pixels=pixels, hidden=hidden))

    @classmethod
    def at(
        cls, whole: Image, settings: Settings, box: tuple[int, int, int, int], inside: np.ndarray | None = None
    ) -> Part:
        """The part of these columns and rows: first and one beyond the last, left, top, right, bottom."""
        inside = _inside(whole, settings) if inside is None else inside
        left, top, right, bottom = box
        if is_large((bottom - top, right - left)):
            raise InputError(
                f"{whole.name}: the region with its surroundings is {right - left} x {bottom - top} pixels, more than "
                "are looked at whole; give a smaller one, or leave it out: large images are worked on in blocks"
            )
        whole = replace(whole, region=inside)
        image = whole.cropped(np.s_[top:bottom, left:right])
        return cls(whole, replace(image, pixels=_clipped(image)), left, top, settings)

    @classmethod
    def of_fit(cls, fit: Fit, settings: Settings, after: Droplets) -> Part:
        """The part that a fit was made of, for a refit to the droplets `after`."""
        assert fit.image is not None
        part = cls.at(fit.image, settings, tuple(fit.summary["region"]["part"]))
        return part._replace(image=looked_at(part.image, part.here(after)))

    def here(self, droplets: Droplets) -> Droplets:
        """Droplets of the whole image in pixels of the part."""
        return replace(droplets, x=droplets.x - self.left, y=droplets.y - self.top)

    def back(self, droplets: Droplets) -> Droplets:
        """Droplets of the part in pixels of the whole image."""
        moved = replace(droplets, x=droplets.x + self.left, y=droplets.y + self.top)
        return with_border(moved, self.whole.shape)

    def fit_here(self, fit: Fit) -> Fit:
        """A fit of the whole image as one of the part."""
        h, w, _ = self.image.shape
        box = np.s_[self.top : self.top + h, self.left : self.left + w]
        return replace(
            fit,
            droplets=self.here(fit.droplets),
            reconstruction=fit.reconstruction[box],
            guide=self._moved(fit.guide, -1),
            image=self.image,
        )

    def fit_back(self, fit: Fit) -> Fit:
        """A fit of the part as one of the whole image."""
        h, w, _ = self.image.shape
        region = self.record() | {"part": [self.left, self.top, self.left + w, self.top + h]}
        return replace(
            fit,
            droplets=self.back(fit.droplets),
            reconstruction=self.picture(fit.reconstruction, fit.droplets),
            guide=self._moved(fit.guide, 1),
            summary=fit.summary | {"region": region, "image": self.whole.record()},
            image=self.whole,
        )

    def picture(self, drawn: Pixels, droplets: Droplets) -> Pixels:
        """What is drawn of the part in its place: in the region and where its droplets reach; elsewhere the image."""
        assert self.image.region is not None
        h, w, _ = self.image.shape
        shown = self.image.region | covered(droplets.x, droplets.y, droplets.radius, (h, w), INITIAL_BLUR)
        return patched(self.whole.pixels, Block(self.top, self.top + h, self.left, self.left + w), drawn, shown)

    def run(self, steps: Generator[Progress, bool | None, Fit]) -> Generator[Progress, bool | None, Fit]:
        """Steps of a fit of the part as those of a fit of the whole image."""

        def of_whole(progress: Progress) -> Progress:
            def snapshot() -> tuple[Droplets, Pixels | None]:
                droplets, drawn = progress.snapshot()
                return self.back(droplets), None if drawn is None else self.picture(drawn, droplets)

            return progress._replace(snapshot=snapshot)

        return self.fit_back((yield from retold(steps, of_whole)))

    def record(self) -> dict[str, Any]:
        """What summary.json says of the region."""
        assert self.whole.region is not None
        return record(self.settings.region, self.whole.region, path=self.whole.path, visible=self.whole.counted())

    def _moved(self, guide: dict[str, np.ndarray], sign: int) -> dict[str, np.ndarray]:
        anchor = guide["anchor"] + sign * np.array([self.left, self.top, 0], guide["anchor"].dtype)
        return guide | {"anchor": anchor}


def in_region(image: Image, droplets: Droplets) -> np.ndarray:
    """Which droplets (N,) have their center in the image's region; all where it has none."""
    if image.region is None:
        return np.ones(len(droplets), bool)
    return centers_in(image.region, droplets.x, droplets.y)


def focused(image: Image, start: Droplets) -> tuple[Image, Droplets]:
    """What a fit of a region looks at, and the candidates that it needs.

    Pixels of the region count, and those around its droplets; of the candidates outside those that reach there. Where
    there are no droplets in the region that is an `InputError`.
    """
    inside = in_region(image, start)
    sure = inside & likely(start)
    if not sure.any():
        raise InputError(
            f"{image.name}: no droplets found in the region; give a larger one, or their typical diameter in pixels"
        )
    image = looked_at(image, start[sure])
    assert image.hidden is not None
    return image, start[inside | touching(start.x, start.y, start.radius, ~image.hidden)]


def looked_at(image: Image, droplets: Droplets) -> Image:
    """The image with all hidden but its region and the surroundings of these droplets."""
    assert image.region is not None
    shape = image.shape[:2]
    near = covered(droplets.x, droplets.y, droplets.radius, shape, INITIAL_BLUR, SURROUNDINGS)
    beyond = ~(image.region | near)
    return replace(image, hidden=beyond if image.hidden is None else beyond | image.hidden)


def _inside(image: Image, settings: Settings) -> np.ndarray:
    inside = region_mask(settings.region, image.shape, name=image.name, path=image.path)
    if image.hidden is not None and not (inside & ~image.hidden).any():
        raise InputError(f"{image.name}: there is no picture in the region, only pixels that are left out")
    return inside


def _clipped(image: Image) -> np.ndarray:
    """The pixels, those outside of the region no darker or brighter than it: else a wall around it hides droplets."""
    assert image.region is not None
    some = image.pixels[image.region]
    low, high = np.quantile(some[:: max(1, len(some) // RANGE_SAMPLE)], RANGE, axis=0)
    clipped = np.clip(image.pixels, low.astype(np.float32), high.astype(np.float32))
    clipped[image.region] = some
    return clipped


def _typical_radius(image: Image, settings: Settings) -> float:
    """Of the droplets in and around the region, pixels; 0 where none are found."""
    if settings.detector == "blobs":
        from ...detection.blobs import estimate_diameter

        try:
            return estimate_diameter(image) / 2
        except InputError:
            return 0.0
    from ...detection.scales import typical_radius

    return typical_radius(image, settings.weights) or 0.0
