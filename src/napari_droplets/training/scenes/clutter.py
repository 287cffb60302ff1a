"""What lies over images and is no droplet: letters, bars, frames, channel walls, fibers, needles, corners."""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter

from .looks import Array

COVERED = 0.5  # of a disc; a droplet that clutter covers further is not to be found
SYMBOLS = string.ascii_letters + string.digits + "%().,:-+=µ"
ROUND = "0689oOQCGDSabcdegpq@"  # what is most easily taken for a droplet
UNITS = ("µm", "um", "mm", "nm")
STYLES = ("", "-Bold", "-Oblique", "-BoldOblique")
FONTS = (
    *(f"DejaVu{kind}{style}" for kind in ("Sans", "SansMono") for style in STYLES),
    *(f"DejaVuSerif{style}" for style in ("", "-Bold", "-Italic")),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "cmr10", "cmb10", "cmss10", "cmtt10"),
)  # those that come with matplotlib


def add_clutter(rng: np.random.Generator, light: Array, truth: Array) -> tuple[Array, Array]:
    """Draw one to three such things over (H, W, C) light; of the truth (N, 3) those not mostly covered are left."""
    kinds: list[Callable[[np.random.Generator, int], Array]] = [
        _letters, _scale_bar, _frame, _info_bar, _walls, _fibers, _threads, _needles, _corner,
    ]  # fmt: skip
    side = len(light)
    cover = np.zeros((side, side), np.float32)
    shares = np.array([5, 3, 1.5, 2, 1, 1, 1, 1, 1.5])
    number = int(rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
    for k in rng.choice(len(kinds), number, replace=False, p=shares / shares.sum()):
        opaque = kinds[k](rng, side)
        shade = float(rng.choice([0.0, 1.0, rng.random()], p=[0.4, 0.4, 0.2]))
        colored = rng.random() < 0.15
        color: Array = rng.random((light.shape[-1],)) if colored else np.full(light.shape[-1], shade)
        if kinds[k] is _info_bar:
            text = _letters(rng, side, within=opaque)
            light = light * (1 - opaque[..., None]) + opaque[..., None] * color
            opaque_text = text * (opaque > 0.5)
            light = light * (1 - opaque_text[..., None]) + opaque_text[..., None] * (1 - np.round(color))
        elif kinds[k] is _corner:
            light = light * (1 - opaque[..., None] * rng.uniform(0.85, 1))
        else:
            light = light * (1 - opaque[..., None]) + opaque[..., None] * color
        cover = np.maximum(cover, opaque)
    return light.astype(np.float32), truth[_covered(cover, truth) < COVERED]


def _covered(cover: Array, truth: Array) -> Array:
    """(N,) mean of the cover over each disc, as far as it is in the image."""
    height, width = cover.shape
    shares = np.ones(len(truth))
    for i, (x, y, r) in enumerate(truth.tolist()):
        y0, y1 = max(0, math.floor(y - r)), min(height, math.ceil(y + r) + 1)
        x0, x1 = max(0, math.floor(x - r)), min(width, math.ceil(x + r) + 1)
        inside = (np.arange(x0, x1) - x)[None] ** 2 + (np.arange(y0, y1) - y)[:, None] ** 2 <= max(r, 0.8) ** 2
        if inside.any():
            shares[i] = cover[y0:y1, x0:x1][inside].mean()
    return shares


@lru_cache(maxsize=256)
def _font_of(name: str, size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}.ttf", size)


def _font(rng: np.random.Generator, size: int) -> ImageFont.FreeTypeFont:
    return _font_of(str(rng.choice(FONTS)), size)


def _canvas(side: int) -> tuple[Picture.Image, ImageDraw.ImageDraw]:
    picture = Picture.new("L", (side, side))
    return picture, ImageDraw.Draw(picture)


def _mask(picture: Picture.Image) -> Array:
    return np.asarray(picture, np.float32) / 255


def _text(rng: np.random.Generator) -> str:
    """Letters of any kind, round ones, a number with its unit, a time, or the letter of a panel."""

    def some(of: str, least: int, most: int) -> str:
        return "".join(rng.choice(list(of), rng.integers(least, most + 1)))

    match int(rng.integers(5)):
        case 0:
            return some(SYMBOLS, 1, 9)
        case 1:
            return some(ROUND + " ", 2, 10)
        case 2:
            number = f"{rng.choice([1, 2, 5, 8]) * 10.0 ** rng.integers(-1, 4):g}"
            return f"{some(string.ascii_letters, 0, 5)} {number} {rng.choice([*UNITS, 'kV', 's', 'x', '%'])}"
        case 3:
            return rng.choice([":", "-", "."]).join(f"{n:02d}" for n in rng.integers(0, 60, rng.integers(2, 5)))
        case _:
            return f"({rng.choice(list('abcdefghABCD'))})"


def _letters(rng: np.random.Generator, side: int, within: Array | None = None) -> Array:
    picture, pen = _canvas(side)
    rows = np.flatnonzero(within.max(1)) if within is not None else np.arange(side)
    for _ in range(int(rng.integers(1, 4))):
        size = int(np.exp(rng.uniform(np.log(7), np.log(48))))
        if within is not None:
            size = max(6, min(size, int(0.8 * len(rows))))
        text = _text(rng)
        at = rng.uniform(-0.05, 0.8) * side, rows[0] + rng.uniform(0, 0.9) * max(len(rows) - size, 1)
        pen.text(at, text, fill=255, font=_font(rng, size))
    return _mask(picture)


def _scale_bar(rng: np.random.Generator, side: int) -> Array:
    picture, pen = _canvas(side)
    length, thick = side * rng.uniform(0.1, 0.6), max(1.0, side * rng.uniform(0.005, 0.04))
    x, y = rng.uniform(0, side - length), side * rng.choice([rng.uniform(0.02, 0.3), rng.uniform(0.7, 0.97)])
    pen.rectangle((x, y, x + length, y + thick), fill=255)
    if rng.random() < 0.3:
        for end in (x, x + length):
            pen.rectangle((end - thick / 2, y - 2 * thick, end + thick / 2, y + 3 * thick), fill=255)
    if rng.random() < 0.75:
        size = int(rng.uniform(0.05, 0.14) * side) + 3
        text = f"{rng.choice([1, 2, 5, 10, 20, 25, 50, 100, 200, 500])} {rng.choice(UNITS)}"
        above = y - 1.3 * size if y > side / 2 else y + thick + 1
        pen.text((x + length * rng.uniform(0, 0.3), above), text, fill=255, font=_font(rng, size))
    return _mask(picture)


def _frame(rng: np.random.Generator, side: int) -> Array:
    """A frame around the image, or the gap between two pictures."""
    mask = np.zeros((side, side), np.float32)
    wide = int(rng.uniform(0.01, 0.15) * side) + 1
    for edge in range(4):
        if rng.random() < 0.6:
            part = np.rot90(mask, edge)  # a view
            part[:wide] = 1
    if rng.random() < 0.3:
        at = int(rng.uniform(0.1, 0.9) * side)
        (mask if rng.random() < 0.5 else mask.T)[at : at + wide] = 1
    return mask


def _info_bar(rng: np.random.Generator, side: int) -> Array:
    mask = np.zeros((side, side), np.float32)
    high = int(rng.uniform(0.08, 0.25) * side) + 1
    if rng.random() < 0.8:
        mask[-high:] = 1
    else:
        mask[:high] = 1
    return mask


def _line_distance(rng: np.random.Generator, side: int, through: tuple[float, float]) -> Array:
    """Signed distance of each pixel from a straight line."""
    v, u = np.mgrid[:side, :side].astype(np.float32)
    turn = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)], p=[0.3, 0.3, 0.4])
    return np.cos(turn) * (u - through[0]) + np.sin(turn) * (v - through[1])


def _walls(rng: np.random.Generator, side: int) -> Array:
    """Walls of a channel: one to three parallel lines or bands."""
    distance = _line_distance(rng, side, tuple(rng.uniform(0, side, 2)))
    mask = np.zeros((side, side), np.float32)
    at, soft = 0.0, rng.uniform(0.4, 1.5)
    for _ in range(int(rng.integers(1, 4))):
        half = rng.uniform(0.5, 4) if rng.random() < 0.7 else rng.uniform(4, 0.15 * side)
        mask = np.maximum(mask, 1 / (1 + np.exp(np.clip((np.abs(distance - at) - half) / soft, -20, 20))))
        at += rng.uniform(4, 0.5 * side) + half
    return mask * rng.uniform(0.4, 1)


def _fibers(rng: np.random.Generator, side: int) -> Array:
    picture, pen = _canvas(side)
    for _ in range(int(rng.integers(1, 4))):
        t = np.linspace(0, 1, 40)[:, None]
        a, b, c = rng.uniform(-0.3 * side, 1.3 * side, (3, 2))
        points = (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c
        pen.line([tuple(p) for p in points.tolist()], fill=255, width=int(rng.integers(1, 5)))
    soft = rng.uniform(0.3, 1.5)
    return gaussian_filter(_mask(picture), soft) * rng.uniform(0.4, 1)


def _threads(rng: np.random.Generator, side: int) -> Array:
    """Thin threads that bend and curl, without closed loops."""
    picture, pen = _canvas(side)
    for _ in range(int(rng.integers(1, 7))):
        steps = int(rng.uniform(0.2, 1.5) * side)
        wander = np.cumsum(rng.choice([0.0, 0.02, 0.06]) * rng.standard_normal(steps))
        curl = rng.choice([0.0, rng.uniform(-1.2, 1.2) * np.pi]) * np.linspace(0, 1, steps)  # not once around
        turn = rng.uniform(0, 2 * np.pi) + wander + curl
        points = rng.uniform(0, side, 2) + np.cumsum(np.stack([np.cos(turn), np.sin(turn)], -1), 0)
        pen.line([tuple(p) for p in points.tolist()], fill=int(rng.uniform(80, 255)), width=int(rng.integers(1, 3)))
    return gaussian_filter(_mask(picture), rng.uniform(0.3, 1.2)) * rng.uniform(0.4, 1)


def _needles(rng: np.random.Generator, side: int) -> Array:
    """Crystals and chips: straight, pointed or blunt, three to eight times as long as wide."""
    picture, pen = _canvas(side)
    for _ in range(int(rng.integers(1, 15))):
        length = math.exp(rng.uniform(math.log(4), math.log(30)))
        width = length / rng.uniform(3, 8)
        turn, blunt = rng.uniform(0, 2 * np.pi), rng.random()
        along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
        ends = [
            (-1, blunt),
            (-1, -blunt),
            (rng.uniform(-0.5, 0.5), -1),
            (1, -blunt),
            (1, blunt),
            (rng.uniform(-0.5, 0.5), 1),
        ]
        at = rng.uniform(0, side, 2)
        corners = [at + 0.5 * (length * a * along + width * b * across) for a, b in ends]
        pen.polygon([tuple(p) for p in corners], fill=int(rng.uniform(80, 255)))
    return gaussian_filter(_mask(picture), rng.uniform(0.3, 1.0)) * rng.uniform(0.4, 1)


def _corner(rng: np.random.Generator, side: int) -> Array:
    """What the tube of a microscope hides: one corner or all, round or straight."""
    v, u = np.mgrid[:side, :side].astype(np.float32)
    if rng.random() < 0.5:
        at = rng.uniform(0.2, 0.8, 2) * side
        distance = np.hypot(u - at[0], v - at[1]) - rng.uniform(0.55, 0.95) * side
    else:
        distance = u + v - 2 * side + rng.uniform(0.2, 0.8) * side
        distance = np.rot90(distance, int(rng.integers(0, 4)))
    soft = np.exp(rng.uniform(np.log(0.4), np.log(10)))
    return (1 / (1 + np.exp(np.clip(-distance / soft, -20, 20)))).astype(np.float32)
