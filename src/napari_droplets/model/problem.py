"""An image as inference sees it: arrays of fixed sizes, so that one compiled program serves all images of a kind."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..lazy import Pixels as Image
from ..transforms import PLACE, constrained, unconstrained_size
from .assignment import ROW, Pixels
from .rendering import Droplet

FAR = -1e4
"""Coordinate, in pixels, of what is in no image."""
LEAST_DROPLETS, LEAST_ROWS = 8192, 16384
"""Sizes of arrays at least, so that most images, and refits, are fitted by the same compiled program."""
GROWTH = 4
"""Larger ones grow by this factor …"""
MOST_ROWS = 65536
"""… up to so many rows of pixels, 46 MB in color; more of them are passed over in parts of `LEAST_ROWS`."""
BLOCK = 512
"""Rows that a program works on at a time, which bounds its memory."""


class Form(NamedTuple):
    """What decides the shape of a program; hashable."""

    channels: int
    types: int
    composition: str = "free"

    @property
    def dimensions(self) -> int:
        """Unconstrained numbers of a droplet."""
        return PLACE + unconstrained_size(self.types, self.composition)


class Rows(NamedTuple):
    """Rows of `ROW` pixels of one droplet each, see `assignment.Pixels`; padded rows weigh nothing."""

    row: Int[Array, " R"]
    other: Int[Array, "R S"]
    x: Float[Array, "R S"]
    y: Float[Array, "R S"]
    weight: Float[Array, "R S"]
    own: Float[Array, "R S"]
    values: Float[Array, "R S C"]
    ground: Float[Array, "R S C"]
    """Color of the empty slide there."""


def bucket(n: int, least: int) -> int:
    """The next larger size for padding."""
    size = least
    while size < n:
        size *= GROWTH
    return size


def pad(array: np.ndarray, n: int, value: float = 0) -> np.ndarray:
    """Fill the first axis up to n."""
    return np.pad(array, [(0, n - len(array))] + [(0, 0)] * (array.ndim - 1), constant_values=value)


class _Colors:
    """Colors of the pixels of many rows, looked up in the image (H, W, C) when some of the rows are asked for."""

    def __init__(self, image: np.ndarray, pixels: Pixels) -> None:
        self.image, self.x, self.y = image, pixels.x, pixels.y
        self.shape = (*pixels.x.shape, image.shape[2])

    def __getitem__(self, which: slice | np.ndarray) -> Float[np.ndarray, "R S C"]:
        return self.image[self.y[which], self.x[which]]


def rows_of(pixels: Pixels, image: Image, ground: Image, droplets: int) -> Rows:
    """Rows with their intensities for arrays of so many droplets (the last one is none).

    They are padded, unless there are more than `MOST_ROWS`: these are made of the list of pixels and the image, without
    copies, when `some_rows` asks for a part of them.
    """
    many = len(pixels.row) > MOST_ROWS
    values, behind = (
        _Colors(source, pixels) if many and isinstance(source, np.ndarray) else source[pixels.y, pixels.x]
        for source in (image, ground)
    )
    rows = Rows(pixels.row, pixels.other, pixels.x, pixels.y, pixels.weight, pixels.own, values, behind)
    return rows if many else filled(rows, droplets)


def filled(rows: Rows, droplets: int, least: int = LEAST_ROWS) -> Rows:
    """Rows padded to one of the sizes that programs are compiled for, and in the types that these take."""
    total, none = bucket(max(len(rows.row), 1), least), droplets - 1
    row, other, *rest = rows
    numbers = pad(row, total, none), pad(np.minimum(other, none).astype(np.int32), total, none)
    return Rows(*numbers, *(pad(a.astype(np.float32, copy=False), total) for a in rest))


def some_rows(rows: Rows, which: slice | np.ndarray, droplets: int) -> Rows:
    """Some of the rows, padded; few rows as all of them are, for the same program."""
    least = len(rows.row) if len(rows.row) <= MOST_ROWS else LEAST_ROWS
    return filled(Rows(*(a[which] for a in rows)), droplets, least)


def placed(raw: Float[Array, "D P"], anchor: Float[Array, "3 P"], form: Form) -> Droplet:
    """Droplets of unconstrained numbers: offsets in radii of the anchor, log radius relative to it, composition."""
    x, y, r = anchor
    made_of = constrained(raw[PLACE:], form.composition, jnp)
    return Droplet(x + r * raw[0], y + r * raw[1], r * jnp.exp(raw[2]), made_of)


def columns(array: Float[Array, "R S K"]) -> Float[Array, "K P"]:
    """Rows of pixels as columns, pixels last."""
    return jnp.moveaxis(array, -1, 0).reshape(array.shape[-1], -1)


def spread(array: Float[Array, "R K"]) -> Float[Array, "K P"]:
    """What belongs to a row, for each of its pixels."""
    return jnp.repeat(array.T, ROW, 1, total_repeat_length=array.shape[0] * ROW)
