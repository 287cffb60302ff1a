"""Optics learned on several images together: parts of them, laid side by side, are fitted as one image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from ..droplets import Droplets, Optics, beyond_border
from ..errors import InputError
from ..images import Image
from ..lazy import Block
from ..model.outline import GLOW_REACH
from ..progress import Clock, Progress, retold
from ..settings import Settings
from .api import compiled_ahead, iterate_from, start_of, waiting
from .candidates import likely
from .start import disc_colors, logit_change

SHORTEST, LONGEST = 192, 1024
"""Pixels of a part's side: shorter ones hold too few whole droplets, longer ones more than optics are learned from."""
LOOKED_AT = 2
"""Lengths of a part that are looked through, to each side of a larger image."""
PLACES = 4
"""Steps of a part's length in which places for it are tried."""
LARGEST = 0.25
"""Radius, in lengths of a part's side, of the largest droplets taken: hardly any larger one would be whole."""
NOTHING_KNOWN = 1e-3
"""Droplets of unit absorbance that every color is known from beforehand: keeps determinants from being zero."""
MOST_TRIED = 3
"""Images that are looked through, for each that is wanted: where there are no droplets nothing is learned."""
MARGIN = 4
"""Pixels around a part at least, for the blur."""

EVERYTHING = slice(None), slice(None)

Load = Callable[[], Image]


class Taught(NamedTuple):
    """What was learned, and on what."""

    optics: Optics
    diameter: float
    """Typical, pixels."""
    images: tuple[int, ...]
    """Their numbers."""
    candidates: Mapping[str, Droplets] = MappingProxyType({})
    """Of images that were looked through as they are, by their `sha256`: what their own fits start from."""


class Part(NamedTuple):
    """A part of an image, and the candidates of it, in its pixels."""

    image: Image
    droplets: Droplets


def spread(n: int, number: int) -> list[int]:
    """The order in which n images are asked to teach: so many evenly spread ones, then the others."""
    first = np.linspace(0, n - 1, min(number, n)).round().astype(int).tolist()
    return [*first, *sorted(set(range(n)) - set(first))]


def learn(
    images: Iterable[tuple[int, Load]], number: int, settings: Settings, optics: Optics | None = None
) -> Generator[Progress, bool | None, Taught | None]:
    """Learn optics on parts of several images, each with a background of its own; `optics` are where to start.

    `images` are numbers and what reads them, in the order in which they are asked until `number` of them can be learned
    from. One that cannot be read, holds no droplets or has other channels than the first is passed over. Progress is of
    the stage 'optics', and ``send(False)`` stops; None then, and where fewer than two of the images hold droplets.
    """
    parts: dict[int, Part] = {}
    seen = Seen()
    with ExitStack() as ahead:
        for tried, (at, load) in enumerate(images):
            if len(parts) == number or tried == MOST_TRIED * number:
                break
            if (yield waiting("optics", settings)) is False:
                return None
            try:
                image = load()
                if parts and image.shape[2] != next(iter(parts.values())).image.shape[2]:
                    continue
                if tried == 0:
                    ahead.enter_context(compiled_ahead(image.shape[2], settings))
                parts[at] = seen.part_of(image, settings)
            except (InputError, OSError):
                continue
    if len(parts) < 2:
        return None
    taught = yield from _fitted(parts, settings, optics)
    return None if taught is None else taught._replace(candidates=seen.candidates)


class Seen:
    """Which colors of droplets the parts chosen so far show.

    A part is placed where it and those before tell most of how droplets of all colors look: where the determinant of
    the information about a function linear in their absorbance is largest (a D-optimal design, chosen one by one).
    """

    def __init__(self) -> None:
        self.information: np.ndarray | None = None
        self.candidates: dict[str, Droplets] = {}
        """See `Taught`."""

    def part_of(self, image: Image, settings: Settings) -> Part:
        """The part of an image that tells most; an `InputError` where there are no droplets."""
        if settings.region is not None:
            from .local.part import Part as Region

            image = Region.of(image, settings).image
        whole, part = image, _eventful(image)
        piece = whole.cropped(part)
        start = start_of(piece, None, settings)
        if settings.region is None and settings.scale == 1 and part == EVERYTHING:
            self.candidates[whole.sha256] = start
        image, start = piece.rescaled(settings.scale), start.scaled(settings.scale)
        if image.region is not None:
            from .local.part import focused

            image, start = focused(image, start)
        height, width = (_length(n) for n in image.shape[:2])
        start = start[start.radius <= LARGEST * min(height, width)]
        sure = start[likely(start)]
        if not len(sure):
            raise InputError(f"{image.name}: no droplets found")
        design = _design(image, sure)
        before = np.eye(design.shape[1]) * NOTHING_KNOWN if self.information is None else self.information
        corners = itertools.product(_places(image.shape[0], height), _places(image.shape[1], width))
        places = [Block(top, top + height, left, left + width) for top, left in corners]
        told = [design[place.owns(sure.x, sure.y, image.shape)] for place in places]
        information = np.array([before + some.T @ some for some in told])
        best = int(np.argmax(np.linalg.slogdet(information)[1]))
        self.information, place = information[best], places[best]
        moved = replace(start, x=start.x - place.left, y=start.y - place.top, labels={}, pixel_size_um=None)
        inside = beyond_border(moved.x, moved.y, place.shape) < moved.radius
        return Part(image.cropped(place.slices), moved[inside])


def _design(image: Image, droplets: Droplets) -> np.ndarray:
    """(N, C + 1): one, and the light that the middle of each droplet absorbs."""
    color = disc_colors(image.pixels, droplets.x, droplets.y, droplets.radius)
    usual = np.median(image.pixels, (0, 1))
    return np.c_[np.ones(len(color)), logit_change(color, np.broadcast_to(usual, color.shape))]


def _length(side: int) -> int:
    """Of a part along a side of an image."""
    return min(side, max(SHORTEST, min(LONGEST, side // 2)))


def _places(side: int, length: int) -> np.ndarray:
    """Where a part may begin along a side."""
    return np.linspace(0, side - length, 1 + -(-PLACES * (side - length) // length)).round().astype(int)


def _eventful(image: Image) -> tuple[slice, slice]:
    """All but of large images; of these some lengths of a part."""
    from ..detection.scales import eventful

    longest = LOOKED_AT * LONGEST
    if max(image.shape[:2]) <= longest:
        return EVERYTHING
    return eventful(image.pixels, longest, image.region)


def _at_working_scale(settings: Settings) -> Settings:
    """Settings for an image that is resized already."""
    diameter = None if settings.diameter is None else settings.diameter * settings.scale
    return replace(settings, scale=1, diameter=diameter)


def _fitted(
    parts: dict[int, Part], settings: Settings, optics: Optics | None
) -> Generator[Progress, bool | None, Taught | None]:
    """Optics by a fit of the parts, which are at the working scale; None where it was stopped."""
    from .number_of_components import resolved

    image, start, tiles = side_by_side(list(parts.values()))
    scale = settings.scale
    settings = replace(_at_working_scale(settings), region=None, learn_optics=True)
    if optics is not None:
        optics = replace(optics, length=optics.length * scale, blur_px=optics.blur_px * scale)
    clock = Clock(settings.max_seconds)

    def staged(progress: Progress) -> Progress:
        return progress._replace(stage="optics")

    settings, _ = yield from retold(resolved(image, start, optics, settings, clock, tiles), staged)
    fit = yield from retold(iterate_from(image, start, optics, settings, clock, tiles=tiles), staged)
    if fit.summary["stopped"] == "cancelled":
        return None
    learned = replace(fit.optics, length=fit.optics.length / scale, blur_px=fit.optics.blur_px / scale)
    radius = fit.droplets.radius if len(fit.droplets) else start.radius
    return Taught(learned, 2 * float(np.median(radius)) / scale, tuple(parts))


def side_by_side(parts: list[Part]) -> tuple[Image, Droplets, tuple[Block, ...]]:
    """One image of all parts, their candidates in it, and where each part lies, all in tiles of one size.

    Between them is so much room that no droplet reaches from one into another; it does not count.
    """
    reach = max(float(p.droplets.radius.max(initial=0)) for p in parts)
    margin = int(np.ceil((1 + GLOW_REACH) * reach / 2)) + MARGIN  # centers lie up to a radius outside
    height, width = (2 * margin + max(p.image.shape[axis] for p in parts) for axis in (0, 1))
    across = int(np.ceil(np.sqrt(len(parts))))
    down = -(-len(parts) // across)
    pixels = np.empty((down * height, across * width, parts[0].image.shape[2]), np.float32)
    pixels[:] = np.median(parts[0].image.pixels, (0, 1))
    hidden = np.ones(pixels.shape[:2], bool)
    tiles, droplets = [], []
    for i, (image, found) in enumerate(parts):
        top, left = (i // across) * height, (i % across) * width
        tile = Block(top, top + height, left, left + width)
        h, w, _ = image.shape
        beyond = [(margin, height - margin - h), (margin, width - margin - w)]
        pixels[tile.slices] = np.pad(image.pixels, [*beyond, (0, 0)], mode="edge")
        hidden[tile.slices] = np.pad(
            np.zeros((h, w), bool) if image.hidden is None else image.hidden, beyond, constant_values=True
        )
        tiles.append(tile)
        droplets.append(replace(found, x=found.x + left + margin, y=found.y + top + margin))
    name = f"optics of {len(parts)} images"
    return Image(pixels, name, channels=parts[0].image.channels, hidden=hidden), together(droplets), tuple(tiles)


def together(droplets: list[Droplets]) -> Droplets:
    """The droplets of all, with what all of them tell."""
    names = ("x", "y", "radius", "x_sd", "y_sd", "radius_sd", "p_present")
    columns = {name: [getattr(d, name) for d in droplets] for name in names}
    return Droplets(**{k: np.concatenate(v) for k, v in columns.items() if all(a is not None for a in v)})
