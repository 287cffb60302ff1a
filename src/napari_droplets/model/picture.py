"""Whole images drawn by the forward model, without their noise."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Array, Float

from ..compiling import jit, tracing
from ..lazy import Block, LazyPixels, Pixels
from .assignment import REACH, covered_pixels, edge_reach
from .outline import GLOW_REACH
from .problem import FAR
from .rendering import Droplet, Shared, color, layer

BATCH = 2**14
"""Pixels drawn at a time."""


@jit
def _colors(first: Droplet, second: Droplet, ground: Array, position: Array, shared: Shared, crowded: Array) -> Array:
    """What `color` draws; where no pixel is `crowded` the second droplet is not looked at."""
    return jax.lax.cond(
        crowded,
        lambda: color(first, second, ground, position, shared)[0],
        lambda: layer(ground, first, position, shared),
    )


def draw(
    x: Float[np.ndarray, " N"],
    y: Float[np.ndarray, " N"],
    radius: Float[np.ndarray, " N"],
    composition: Float[np.ndarray, "N K"],
    ground: Float[np.ndarray, "H W C"],
    shared: Shared,
    renderer: str = "layered",
) -> Float[np.ndarray, "H W C"]:
    """Draw droplets, in pixels, over the empty slide; float32 in 0..1. Of the renderers see `Settings`."""
    picture = np.array(ground, np.float32)
    if not len(x):
        return picture
    blur = float(np.exp(shared.log_blur))
    pixels = covered_pixels(x, y, radius, ground.shape[:2], blur=blur, reach=_reach(shared))
    own = (pixels.own > 0) & (pixels.weight > 0)
    px, py = pixels.x[own], pixels.y[own]
    first = np.broadcast_to(pixels.row[:, None], own.shape)[own]
    second = pixels.other[own] if renderer == "layered" else np.full(len(px), len(x))
    crowded = int(np.sum(own[: pixels.crowded])) if renderer == "layered" else 0  # these come first
    columns = np.concatenate([np.stack([x, y, radius]), np.asarray(composition).T]).astype(np.float32)
    none = np.concatenate([[FAR, FAR, 1.0], np.full(len(columns) - 3, 0.5)]).astype(np.float32)
    columns = np.concatenate([columns, none[:, None]], 1)
    for begin in range(0, len(px), BATCH):
        some = np.arange(begin, begin + BATCH) % len(px)
        of = [Droplet(*columns[:3, which[some]], columns[3:, which[some]]) for which in (first, second)]
        at = py[some], px[some]
        position = np.stack([px[some], py[some]]).astype(np.float32)
        with tracing(("colors", ground.shape[2], len(columns))):
            drawn = np.asarray(_colors(*of, ground[at].T, position, shared, np.bool_(begin < crowded))).T
        last = min(BATCH, len(px) - begin)
        picture[at[0][:last], at[1][:last]] = drawn[:last]
    return np.clip(picture, 0, 1)


def lazily_drawn(
    x: np.ndarray,
    y: np.ndarray,
    radius: np.ndarray,
    composition: np.ndarray,
    ground: Pixels,
    shared: Shared,
    renderer: str = "layered",
) -> LazyPixels:
    """The same block by block, each when it is asked for."""
    far = edge_reach(radius, float(np.exp(shared.log_blur)), _reach(shared))

    def part(block: Block) -> np.ndarray:
        near = block.reached(x, y, far)
        place = x[near] - block.left, y[near] - block.top, radius[near]
        return draw(*place, composition[near], ground[block.slices], shared, renderer)

    return LazyPixels(ground.shape, part)


def _reach(shared: Shared) -> float:
    """Radii up to which droplets leave a trace."""
    return GLOW_REACH if np.any(np.asarray(shared.glow)) else REACH
