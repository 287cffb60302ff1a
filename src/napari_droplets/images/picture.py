"""One image as everything else takes it: float32 intensities with a name, a pixel size, and how they were read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..errors import InputError
from ..lazy import Block, LazyPixels, Pixels, blocks, in_pieces
from .pixel_size import PixelSize, divided

if TYPE_CHECKING:
    from ..droplets import Droplets

MIN_SIDE = 16  # pixels; below this no droplet with its surroundings fits in
ROWS_HASHED = 512  # at a time
PIECE = 2048  # pixels; squares of this side are resized at a time …
SMALL = 4_000_000  # pixels; … and of what is read by parts the result is kept whole where it has no more


class ImageWarning(UserWarning):
    """Something about an image that its user should know: pixels left out, a file that holds more."""


@dataclass(frozen=True)
class Image:
    """One image, checked and converted.

    Attributes
    ----------
    pixels : ndarray or LazyPixels
        (H, W, C) float32 in 0..1, C = 1 (grey) or 3 (RGB); of a large image read by parts.
    name : str
        What the user calls it: used in messages, file and layer names.
    path : str or None
        The file it was read from.
    pixel_size_um : float, (float, float) or None
        Side of a pixel in micrometres, where known; width and height where they differ.
    channels : tuple of str
        Names of the channels.
    intensity_range : (float, float) or None
        What 0 and 1 are in the values of the file.
    frame, plane, scene : int or None
        Which picture of the file it is, counted from 0, where it holds several.
    hidden : ndarray or None
        (H, W) bool, true where there is no picture: transparent, not finite, no data. Filled in `pixels`.
    region : ndarray or None
        (H, W) bool, where droplets are looked for; None: everywhere.
    chosen : tuple or None
        The channels asked for when it was read, by which it is known that they need not be chosen again.
    notes : tuple of str
        What was done that the user should know of.
    """

    pixels: Pixels
    name: str = "image"
    path: str | None = None
    pixel_size_um: PixelSize | None = None
    channels: tuple[str, ...] = ()
    intensity_range: tuple[float, float] | None = None
    frame: int | None = None
    plane: int | None = None
    scene: int | None = None
    hidden: np.ndarray | None = None
    region: np.ndarray | None = None
    chosen: tuple[int | str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""
        h, w, c = self.pixels.shape
        return h, w, c

    @property
    def sha256(self) -> str:
        """Hash of the converted intensities: tells whether two results are of one image."""
        return _sha256(self.pixels)

    def record(self) -> dict[str, Any]:
        """What summary.json says of the image."""
        size = self.pixel_size_um
        entry: dict[str, Any] = {
            "path": self.path,
            "name": self.name,
            "shape": list(self.shape),
            "sha256": self.sha256,
            "channels": list(self.channels) or None,
            "intensity_range": None if self.intensity_range is None else list(self.intensity_range),
            "pixel_size_um": list(size) if isinstance(size, tuple) else size,
        }
        entry |= {k: getattr(self, k) for k in ("frame", "plane", "scene") if getattr(self, k) is not None}
        entry |= {} if self.hidden is None else {"visible": 1 - float(self.hidden.mean())}
        return entry | ({"notes": list(self.notes)} if self.notes else {})

    def counted(self, among: np.ndarray | None = None) -> np.ndarray | None:
        """Which pixels (H, W), of those `among`, say something: where there is a picture; None for all."""
        if self.hidden is None:
            return among
        return ~self.hidden if among is None else among & ~self.hidden

    def rmse(self, picture: Pixels) -> float:
        """Root mean square of what `picture` (H, W, C) leaves, where there is a picture, in the region."""
        counted = self.counted(self.region)
        squares = count = 0.0
        for block in blocks(self.shape):
            left = self.pixels[block.slices] - picture[block.slices]
            left = left if counted is None else left[counted[block.slices]]
            squares, count = squares + float(np.sum(left**2)), count + left.size
        return float(np.sqrt(squares / max(count, 1)))

    def visible(self, droplets: Droplets) -> Droplets:
        """The droplets whose center is where there is a picture."""
        if self.hidden is None or not len(droplets):
            return droplets
        h, w, _ = self.shape
        row = np.clip(np.rint(droplets.y), 0, h - 1).astype(int)
        column = np.clip(np.rint(droplets.x), 0, w - 1).astype(int)
        return droplets[~self.hidden[row, column]]

    def seen(self) -> tuple[Image, int, int]:
        """The part in which there is a picture, and its first column and row: without frames, bars, clear margins."""
        if self.hidden is None:
            return self, 0, 0
        rows, columns = (np.flatnonzero(~self.hidden.all(axis)) for axis in (1, 0))
        if min(np.ptp(rows), np.ptp(columns)) + 1 < MIN_SIDE:
            return self, 0, 0
        part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return self.cropped(part), int(columns[0]), int(rows[0])

    def cropped(self, part: tuple[slice, slice]) -> Image:
        """Some rows and columns of it."""
        hidden, region = (None if mask is None else mask[part] for mask in (self.hidden, self.region))
        return replace(self, pixels=self.pixels[part], hidden=hidden, region=region)

    def rescaled(self, factor: float) -> Image:
        """The image resized by `factor` in both directions, anti-aliased when it shrinks."""
        if factor == 1:
            return self
        pixels = resampled(self.pixels, factor)
        if min(pixels.shape[:2]) < MIN_SIDE:
            raise InputError(
                f"{self.name}: scale {factor:g} leaves {pixels.shape[1]} x {pixels.shape[0]} pixels; use a larger scale"
            )
        hidden, region = (
            None if mask is None else resampled(mask[..., None].astype(np.float32), factor)[..., 0] > 0.5
            for mask in (self.hidden, self.region)
        )
        size = divided(self.pixel_size_um, factor)
        return replace(self, pixels=pixels, pixel_size_um=size, hidden=hidden, region=region)


@overload
def resampled(pixels: np.ndarray, factor: float) -> np.ndarray: ...
@overload
def resampled(pixels: Pixels, factor: float) -> Pixels: ...
def resampled(pixels: Pixels, factor: float) -> Pixels:
    """Resize (H, W, C) by exactly `factor`: a point x of the result is (x + 0.5) / factor - 0.5 of the image.

    Linear interpolation, over as many pixels as one of the result covers where it shrinks. Resizing to a whole number
    of pixels would round the factor instead, and shift positions by up to half a pixel. It is done in pieces, so that
    the result is the same to the last bit where only a part is asked for: of pixels that are read by parts it is made
    so, too, where it is large.
    """
    h, w = (max(1, round(side * factor)) for side in pixels.shape[:2])
    resized = in_pieces((h, w, pixels.shape[2]), lambda b: _resized(pixels, factor, b), int(PIECE * min(factor, 1)))
    return resized if isinstance(pixels, LazyPixels) and h * w > SMALL else resized[:]


def _resized(pixels: Pixels, factor: float, block: Block) -> np.ndarray:
    """A block (h, w, C) of the resized image, from the pixels that it needs."""
    from PIL import Image as Picture

    margin = int(np.ceil(max(1 / factor, 1))) + 1  # the interpolation reaches no further
    spans, pads = [], []
    for first, last, n in zip(block[::2], block[1::2], pixels.shape[:2], strict=True):
        begin = max(0, int(np.floor(first / factor)) - margin)
        end = int(np.ceil(last / factor))
        spans.append(slice(begin, min(end + margin, n)))
        pads.append((0, max(0, end - n)))
    source = np.pad(pixels[spans[0], spans[1]], [*pads, (0, 0)], mode="edge").astype(np.float32, copy=False)
    (top, left), (h, w) = (s.start for s in spans), block.shape
    x, y = block.left / factor - left, block.top / factor - top
    box = (x, y, x + w / factor, y + h / factor)
    channels = (Picture.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(source, -1, 0))
    resized = [np.asarray(c.resize((w, h), Picture.Resampling.BILINEAR, box=box)) for c in channels]
    return np.clip(np.stack(resized, -1), 0, 1)


def _sha256(pixels: Pixels) -> str:
    """Hash of all pixels, row by row, some rows at a time."""
    if isinstance(pixels, LazyPixels) and pixels.sha256:
        return pixels.sha256
    digest = hashlib.sha256()
    for top in range(0, pixels.shape[0], ROWS_HASHED):
        digest.update(np.ascontiguousarray(pixels[top : top + ROWS_HASHED]).data)
    if isinstance(pixels, LazyPixels):
        pixels.sha256 = digest.hexdigest()
    return digest.hexdigest()
