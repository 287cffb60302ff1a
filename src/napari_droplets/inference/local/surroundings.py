"""What a local refit looks at: droplets around those that may change, and the piece of the image that holds them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...droplets import Droplets, Fit
from ...images import Image
from ...lazy import Block, LazyPixels, Pixels
from ...model.assignment import SEEN
from ...model.outline import GLOW_REACH, PIXEL_VARIANCE

MARGIN = 4
"""Pixels around circles: droplets may move a little, and positions are rounded."""
DRAWN_RADII, DRAWN_MORE = 2.0, 3.0
"""Radii, and pixels more, around what changed within which the picture is drawn anew."""


class Surroundings(NamedTuple):
    """A piece of an image with the droplets that a refit needs there."""

    near: np.ndarray
    """(N,) bool, droplets that may change, and those that share pixels with them."""
    image: Image
    """The piece."""
    box: tuple[slice, slice]
    """Its rows and columns."""
    drawn: np.ndarray
    """(h, w) bool, pixels of the piece that are drawn anew."""
    whole: bool
    """Whether it is the whole image."""

    @property
    def left(self) -> int:
        """First column."""
        return int(self.box[1].start)

    @property
    def top(self) -> int:
        """First row."""
        return int(self.box[0].start)

    @classmethod
    def of(cls, fit: Fit, after: Droplets, gone: np.ndarray, active: np.ndarray, *, whole: bool) -> Surroundings:
        """The surroundings of `active` droplets (N,) of an edited table, and of those of the fit that are `gone`."""
        assert fit.image is not None
        h, w = fit.image.shape[:2]
        edge = float(np.hypot(fit.optics.blur_px, PIXEL_VARIANCE**0.5))
        changed = _circles(after, active), _circles(fit.droplets, gone)
        near = np.ones(len(after), bool)
        box = np.s_[0:h, 0:w]
        if not whole:
            near = active | _within(_circles(after, np.ones(len(after), bool)), changed[0], edge)
            box = _box((_circles(after, near), changed[1]), (h, w), edge)
        others = _circles(after, near & ~active)
        drawn = _drawn(changed, others, box, edge)
        return cls(near, fit.image.cropped(box), box, drawn, whole)

    def patched(self, picture: Pixels, piece: Pixels) -> Pixels:
        """A picture (H, W, C) with what was drawn anew of the piece (h, w, C); read by parts if it was."""
        box = Block(*(edge for part in self.box for edge in (part.start, part.stop)))

        def read(block: Block) -> np.ndarray:
            out = np.array(picture[block.slices])
            if (common := block.common(box)) is not None:
                here, inside = common.within(block).slices, common.within(box).slices
                out[here] = np.where(self.drawn[inside][..., None], piece[inside], out[here])
            return out

        h, w, c = picture.shape
        return LazyPixels((h, w, c), read) if isinstance(picture, LazyPixels) else read(Block(0, h, 0, w))


def _circles(droplets: Droplets, chosen: np.ndarray) -> np.ndarray:
    """(n, 3) x, y, radius."""
    return np.column_stack([droplets.x[chosen], droplets.y[chosen], droplets.radius[chosen]])


def _looked_at(circles: np.ndarray, edge: float) -> np.ndarray:
    """Radii (n,) within which pixels of droplets are looked at."""
    return np.maximum(GLOW_REACH * circles[:, 2], circles[:, 2] + SEEN * edge) + MARGIN


def _within(circles: np.ndarray, active: np.ndarray, edge: float) -> np.ndarray:
    """Which circles (n,) have pixels in common with one of the active ones."""
    reach, near = _looked_at(circles, edge), np.zeros(len(circles), bool)
    for (x, y, _), own in zip(active, _looked_at(active, edge), strict=True):
        near |= np.hypot(circles[:, 0] - x, circles[:, 1] - y) < reach + own
    return near


def _box(groups: tuple[np.ndarray, ...], shape: tuple[int, int], edge: float) -> tuple[slice, slice]:
    """Rows and columns that hold all that is looked at of some circles."""
    circles = np.concatenate(groups)
    reach = np.maximum(_looked_at(circles, edge), DRAWN_RADII * circles[:, 2] + DRAWN_MORE)
    h, w = shape
    left, top = ((circles[:, i] - reach).min() for i in (0, 1))
    right, bottom = ((circles[:, i] + reach).max() for i in (0, 1))
    # a droplet may lie outside of the image
    left, top = int(np.clip(np.floor(left), 0, w - 1)), int(np.clip(np.floor(top), 0, h - 1))
    right, bottom = int(np.clip(np.ceil(right), left, w - 1)), int(np.clip(np.ceil(bottom), top, h - 1))
    return slice(top, bottom + 1), slice(left, right + 1)


def _drawn(changed: tuple[np.ndarray, ...], others: np.ndarray, box: tuple[slice, slice], edge: float) -> np.ndarray:
    """Pixels around what changed, but for those that belong to another droplet."""
    rows, columns = box
    shape = rows.stop - rows.start, columns.stop - columns.start
    drawn, own, other = np.zeros(shape, bool), np.full(shape, np.inf), np.full(shape, np.inf)

    def near(circle: np.ndarray, reach: float) -> tuple[tuple[slice, slice], np.ndarray]:
        x, y = circle[0] - columns.start, circle[1] - rows.start
        sides = ((y, shape[0]), (x, shape[1]))
        window = tuple(slice(max(0, int(c - reach)), min(n, max(0, int(c + reach) + 2))) for c, n in sides)
        v, u = np.ogrid[window]
        return (window[0], window[1]), np.hypot(u - x, v - y)

    for circle in np.concatenate(changed):
        reach = DRAWN_RADII * circle[2] + DRAWN_MORE
        window, distance = near(circle, reach)
        drawn[window] |= distance <= reach
    for circles, place in ((changed[0], own), (others, other)):
        for circle in circles:
            reach = circle[2] + SEEN * edge
            window, distance = near(circle, reach)
            inside = np.where(distance < reach, distance / circle[2], np.inf)
            place[window] = np.minimum(place[window], inside)
    return drawn & ~(other < own)
