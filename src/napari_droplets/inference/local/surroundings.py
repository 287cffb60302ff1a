"""What a local refit looks at: droplets around those that may change, and the piece of the image that holds them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...droplets import Droplets, Fit
from ...images import Image
from ...lazy import Block, LazyPixels, Pixels
from ...model.assignment import covered, covered_pixels, edge_reach
from ...model.outline import GLOW_REACH

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
    box: Block
    """Where it lies."""
    drawn: np.ndarray
    """(h, w) bool, pixels of the piece that are drawn anew."""
    whole: bool
    """Whether it is the whole image."""

    @classmethod
    def of(cls, fit: Fit, after: Droplets, gone: np.ndarray, active: np.ndarray, *, whole: bool) -> Surroundings:
        """The surroundings of `active` droplets (N,) of an edited table, and of those of the fit that are `gone`."""
        assert fit.image is not None
        h, w = fit.image.shape[:2]
        blur = fit.optics.blur_px
        everyone = _circles(after)
        changed = np.concatenate([everyone[active], _circles(fit.droplets)[gone]])
        near, box = np.ones(len(after), bool), Block(0, h, 0, w)
        if not whole:
            reach, near = _looked_at(everyone, blur), active.copy()
            for (x, y, _), own in zip(everyone[active], reach[active], strict=True):
                near |= np.hypot(everyone[:, 0] - x, everyone[:, 1] - y) < reach + own
            box = _box(np.concatenate([everyone[near], changed]), (h, w), blur)
        begin = np.array([box.left, box.top, 0])
        x, y, radius = (changed - begin).T
        edge = edge_reach(np.zeros(1), 0, 1)  # which `covered` adds
        drawn = covered(x, y, DRAWN_RADII * radius + DRAWN_MORE - edge, box.shape, 0, 1)
        x, y, radius = (everyone[near] - begin).T
        others = covered_pixels(x, y, radius, box.shape, blur=blur, reach=1, wanted=~active[near])
        theirs = others.own > 0
        drawn[others.y[theirs], others.x[theirs]] = False
        return cls(near, fit.image.cropped(box.slices), box, drawn, whole)

    def patched(self, picture: Pixels, piece: Pixels) -> Pixels:
        """A picture (H, W, C) with what was drawn anew of the piece (h, w, C)."""
        return patched(picture, self.box, piece, self.drawn)


def patched(picture: Pixels, place: Block, piece: Pixels, shown: np.ndarray) -> Pixels:
    """A picture (H, W, C) with what is `shown` (h, w) of a piece (h, w, C) in its place; read by parts if it was."""

    def read(block: Block) -> np.ndarray:
        out = np.array(picture[block.slices])
        if (common := block.common(place)) is not None:
            here, there = common.within(block).slices, common.within(place).slices
            out[here] = np.where(shown[there][..., None], piece[there], out[here])
        return out

    h, w, c = picture.shape
    return LazyPixels((h, w, c), read) if isinstance(picture, LazyPixels) else read(Block(0, h, 0, w))


def _circles(droplets: Droplets) -> np.ndarray:
    """(N, 3) x, y, radius."""
    return np.column_stack([droplets.x, droplets.y, droplets.radius])


def _looked_at(circles: np.ndarray, blur: float) -> np.ndarray:
    """Radii (n,) within which pixels of droplets are looked at."""
    return edge_reach(circles[:, 2], blur, GLOW_REACH) + MARGIN


def _box(circles: np.ndarray, shape: tuple[int, int], blur: float) -> Block:
    """The part of an image that holds all that is looked at of some circles, which may lie outside of it."""
    reach = np.maximum(_looked_at(circles, blur), DRAWN_RADII * circles[:, 2] + DRAWN_MORE)
    (left, right), (top, bottom) = (
        np.clip([np.floor((c - reach).min()), np.ceil((c + reach).max())], 0, n - 1).astype(int).tolist()
        for c, n in ((circles[:, 0], shape[1]), (circles[:, 1], shape[0]))
    )
    return Block(top, bottom + 1, left, right + 1)
