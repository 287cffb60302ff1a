"""Where a fit starts: the empty slide, compositions from the colors of droplets, and optics that draw these colors."""

from __future__ import annotations

from functools import reduce
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import logit
from scipy.stats import theilslopes

from ..compiling import jit, tracing
from ..composition.components import compositions_of
from ..lazy import Block, LazyPixels, Pixels, blocks
from ..model.background import SplineGrid
from ..model.optics import HIDDEN, Weights, color_change, initial_weights
from ..model.outline import glow_basis
from ..model.priors import BRIGHTEST
from ..model.problem import Form
from ..model.rendering import EDGE, Shared
from ..model.tiles import TiledGrid
from ..transforms import constrained, unconstrained

DISC = 0.6
"""Radii around the center whose mean color says what a droplet is made of."""
START_EDGE = 0.05
"""Compositions start so far from 0 and 1, where their logits are flat."""
SPACINGS = (4.0, 2.0)
"""Knots of the background are at least so many typical diameters, and so many of the largest, apart …"""
LEAST_SPACING, MOST_KNOTS = 48.0, 24
"""… at least so many pixels, and no more of them to a side."""
OUTLIERS = 3.0
"""Robust standard deviations from which a pixel of the empty slide counts as dust or as a droplet not found."""
FITTED_ANEW = 3
"""Fits of the background at the start, each without the pixels that stand out from the one before."""
MEDIAN_OF = 50_000
"""Pixels, about, that tell how much they usually differ from it."""
RIDGE = 5e-5
"""Of that fit, for each pixel: keeps the last layer from large weights that cancel."""
THICKNESS_DROPLETS, THICKNESS_RADIUS = 500, 4.0
"""Droplets, at most, that tell how what they absorb grows with their size, and their least radius in pixels: what the
middles of smaller ones show is dimmed by any blur."""
SAMPLED = 20_000
"""Pixels inside of droplets that the first optics are fitted to, at most."""
PALETTE, SIZES = 512, 4
"""Compositions tried where optics are given, at each of so many radii."""
INITIAL_BLUR = 0.7
"""Standard deviation of the blur to start from, pixels."""
RING = (1.25, 1.7)
"""Radii between which light outside of droplets is looked for."""
KNOWN_GLOW = 0.1
"""Parts of a glow that are seen so much less than the best seen one are taken to be dark."""


def grid_of(
    shape: tuple[int, int], radius: np.ndarray, background: str, tiles: tuple[Block, ...] = ()
) -> SplineGrid | TiledGrid:
    """The background's grid: so coarse that it cannot become a droplet; one for each of the `tiles`."""
    if tiles:
        own = grid_of(tiles[0].shape, radius, background)
        assert isinstance(own, SplineGrid)
        return TiledGrid(own, tiles, shape)
    h, w = shape
    if background == "uniform":
        return SplineGrid.of(h, w, np.inf)
    typical, largest = 2 * np.median(radius), 2 * np.quantile(radius, 0.98)
    spacing = max(SPACINGS[0] * typical, SPACINGS[1] * largest, LEAST_SPACING, max(h, w) / MOST_KNOTS)
    return SplineGrid.of(h, w, float(spacing))


class Ground(NamedTuple):
    """The empty slide: its color at every pixel (H, W, C), coefficients and their deviations."""

    field: Pixels
    coefficients: np.ndarray
    deviations: np.ndarray
    empty: np.ndarray
    """(H, W) bool, where nothing covers it."""
    squares: float = 0.0
    """Sum of the squares of what it leaves of the image there."""


def empty_slide(
    image: Pixels,
    grid: SplineGrid | TiledGrid,
    covered: np.ndarray,
    noise: float,
    counted: np.ndarray | None = None,
    before: Pixels | None = None,
    hidden: np.ndarray | None = None,
) -> Ground:
    """Fit the background to the pixels that are not `hidden` (H, W), without those that stand out.

    Empty are those that are not `covered` (H, W); by default these are fitted. What stands out is told from the field
    `before`, or else by fitting repeatedly.
    """
    some = True if counted is None else counted
    empty, read = ~covered & some, ~(covered if hidden is None else hidden) & some
    seen = bool(read.any())
    field = before
    for _ in range(FITTED_ANEW if before is None and seen else 1):
        coefficients, deviations = grid.fit(image, _weights(image, field, read, noise), noise)
        field = field_of(image, grid, coefficients)
    assert field is not None
    left = (np.sum((image[b.slices] - field[b.slices])[empty[b.slices]] ** 2) for b in blocks(image.shape))
    return Ground(field, coefficients, deviations, empty, float(sum(left)))


def field_of(image: Pixels, grid: SplineGrid | TiledGrid, coefficients: np.ndarray) -> Pixels:
    """Color of the empty slide at every pixel; made where it is asked for if the image is read so."""
    if isinstance(image, LazyPixels) and isinstance(grid, SplineGrid):
        return grid.lazy_field(coefficients)
    return grid.field(coefficients)


def _weights(image: Pixels, field: Pixels | None, empty: np.ndarray, noise: float) -> LazyPixels:
    """How much each pixel (H, W, 1) says of the slide: 1 where it is empty and does not stand out from the field."""
    shape = (*empty.shape, 1)
    if not empty.any():
        return LazyPixels(shape, lambda b: np.full((*b.shape, 1), 1e-3, np.float32))  # between droplets, if at all
    if field is None:
        return LazyPixels(shape, lambda b: empty[b.slices][..., None].astype(np.float32))
    step = max(1, int(np.sqrt(empty.size / MEDIAN_OF)))
    off = _difference(image[::step, ::step], field[::step, ::step])[empty[::step, ::step]]
    limit = OUTLIERS * max(1.4826 * float(np.median(off)) if len(off) else 0.0, noise)

    def agreeing(block: Block) -> np.ndarray:
        off = _difference(image[block.slices], field[block.slices])
        return (empty[block.slices] & (off <= limit))[..., None].astype(np.float32)

    return LazyPixels(shape, agreeing)


def _difference(image: np.ndarray, field: np.ndarray) -> np.ndarray:
    """(H, W) of the channel that differs most; channel by channel, which is faster than along a short last axis."""
    off = np.abs(image - field)
    return reduce(np.maximum, [off[..., c] for c in range(off.shape[2])])


def sampled(image: Pixels, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Colors (..., C) at places, linear between pixels; beyond the border that of the border."""
    h, w = image.shape[:2]
    x, y = np.clip(x, 0, w - 1), np.clip(y, 0, h - 1)
    left, top = (np.clip(np.floor(a), 0, max(n - 2, 0)).astype(int) for a, n in ((x, w), (y, h)))
    right, bottom = np.minimum(left + 1, w - 1), np.minimum(top + 1, h - 1)
    across, down = (x - left)[..., None], (y - top)[..., None]
    # all at once: blocks of a large image are read once
    corners = image[np.stack([top, top, bottom, bottom]), np.stack([left, right, left, right])]
    above, below = ((1 - across) * corners[i] + across * corners[i + 1] for i in (0, 2))
    return (1 - down) * above + down * below


def disc_points(reach: float, n: int) -> np.ndarray:
    """Places (G, 2) in radii, x and y, on a square grid within a disc."""
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-reach, reach, n)]), -1).reshape(-1, 2)
    return grid[np.hypot(*grid.T) <= reach + 1e-9]


def disc_colors(image: Pixels, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Mean color (N, C) of the middle of each droplet."""
    offset = disc_points(DISC, 5)
    at_x, at_y = (c[:, None] + radius[:, None] * o for c, o in zip((x, y), offset.T, strict=True))
    return sampled(image, at_x, at_y).mean(1)


class Light(NamedTuple):
    """Light that droplets leave on the empty slide around them, over what they change inside of their outline.

    Root mean squares over `RING`; NaN where droplets are too small, or too close, for their surroundings to be seen.
    """

    there: float
    """That of the glow which fits what is seen: next to small droplets the blurred outline hides the inner part."""
    seen: float
    """What is hidden counts as dark."""


UNSEEN = Light(float("nan"), float("nan"))


def light_outside(
    image: Pixels, ground: Ground, x: np.ndarray, y: np.ndarray, radius: np.ndarray, blur: float
) -> Light:
    """The light around the median droplet, where its surroundings are empty."""
    large = radius * (RING[0] - 1) > blur  # else the blurred edge is taken for light
    if large.sum() < 3:
        return UNSEEN
    angle = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    distance = np.linspace(*RING, 3)
    dx, dy = (np.outer(distance, f(angle)).ravel() for f in (np.cos, np.sin))
    at_x, at_y = x[large, None] + radius[large, None] * dx, y[large, None] + radius[large, None] * dy
    ix, iy = np.rint(at_x).astype(int), np.rint(at_y).astype(int)
    inside = (ix >= 0) & (iy >= 0) & (ix < image.shape[1]) & (iy < image.shape[0])
    ix, iy = np.where(inside, ix, 0), np.where(inside, iy, 0)
    inside &= ground.empty[iy, ix]
    light = np.where(inside[..., None], image[iy, ix] - ground.field[iy, ix], np.nan)
    seen = inside.sum(0) >= max(3, 0.05 * large.sum())
    if seen.sum() < 12:
        return UNSEEN
    usual = np.nanmedian(light[:, seen], 0)
    basis = np.asarray(glow_basis(dx, dy)).T
    fitted = basis @ np.linalg.pinv(basis[seen], rcond=KNOWN_GLOW)
    doubt = 0.5 * np.pi * np.nanvar(light[:, seen], 0) / inside.sum(0)[seen, None]  # variance of a median
    square = (fitted @ usual) ** 2 - fitted**2 @ doubt
    change = disc_colors(image, x, y, radius) - _ground_at(ground, (x, y, radius))
    inside_of_it = max(float(np.sqrt(np.mean(change**2))), 1e-6)
    return Light(*(max(float(np.mean(s)), 0.0) ** 0.5 / inside_of_it for s in (square, square * seen[:, None])))


def first_compositions(
    image: Pixels,
    ground: Ground,
    circles: tuple[np.ndarray, np.ndarray, np.ndarray],
    form: Form,
    seed: int,
    known: np.ndarray,
    sure: np.ndarray,
    length: float,
) -> tuple[np.ndarray, float]:
    """Unconstrained compositions (N, d) from the light that the middles of droplets absorb, and their `thickness`.

    What components stand for is decided by the `sure` (N,) ones, and by `known` compositions (N, K), NaN elsewhere.
    """
    absorbed = -logit_change(disc_colors(image, *circles), _ground_at(ground, circles))
    power = thickness(absorbed, circles[2], sure)
    absorbed = absorbed / (circles[2] / length)[:, None] ** power
    use = sure | np.isfinite(known).all(1)
    if use.sum() <= form.types:
        use = np.ones(len(use), bool)
    return unconstrained(compositions_of(absorbed, form, seed, known, use), form.composition, START_EDGE), power


def thickness(absorbed: np.ndarray, radius: np.ndarray, sure: np.ndarray) -> float:
    """The power of the radius, from 0 to 1, with which the light (N, C) grows that droplets absorb."""
    size = np.log(radius)
    strength = 0.5 * np.log(np.mean(absorbed**2, 1) + 1e-6)
    clear = np.flatnonzero(sure & (radius >= THICKNESS_RADIUS))
    some = clear[:: max(1, len(clear) // THICKNESS_DROPLETS)]
    if len(some) < 3 or np.ptp(size[some]) < 0.1:
        return 0.0
    return float(np.clip(theilslopes(strength[some], size[some])[0], 0, 1))


def logit_change(color: np.ndarray, ground: np.ndarray) -> np.ndarray:
    """What a droplet of this color adds to the logit of the ground, see `priors.BRIGHTEST`."""
    before, after = (logit(np.clip(a, EDGE, 1 - EDGE) / BRIGHTEST) for a in (ground, color))
    return after - before


def _ground_at(ground: Ground, circles: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    h, w = ground.field.shape[:2]
    return ground.field[np.rint(circles[1]).astype(int).clip(0, h - 1), np.rint(circles[0]).astype(int).clip(0, w - 1)]


def first_optics(
    image: Pixels,
    ground: Ground,
    circles: tuple[np.ndarray, np.ndarray, np.ndarray],
    composition: np.ndarray,
    form: Form,
    length: float,
    power: float,
    seed: int,
) -> dict[str, np.ndarray]:
    """Random weights but for the last layer, which is fitted to pixels inside of droplets by least squares.

    Droplets have unconstrained compositions (N, d); `power` is that of `thickness`.
    """
    x, y, radius = circles
    rng = np.random.default_rng(seed)
    i = rng.integers(0, len(x), SAMPLED)
    distance, angle = 0.95 * np.sqrt(rng.random(len(i))), rng.uniform(0, 2 * np.pi, len(i))
    px = np.rint(x[i] + radius[i] * distance * np.cos(angle)).astype(int)
    py = np.rint(y[i] + radius[i] * distance * np.sin(angle)).astype(int)
    ok = (px >= 0) & (py >= 0) & (px < image.shape[1]) & (py < image.shape[0])
    px, py = np.where(ok, px, 0), np.where(ok, py, 0)
    behind = ground.field[py, px]
    made_of = constrained(composition[i].T, form.composition).T
    offset = np.stack([(px - x[i]) / radius[i], (py - y[i]) / radius[i], radius[i] / length], -1)
    weights = initial_weights(seed, form.channels, form.types) | {"thickness": np.array([power], np.float32)}
    last, width = f"Dense_{len(HIDDEN)}", HIDDEN[-1]
    bare = weights | {f"{last}.kernel": np.eye(width, dtype=np.float32), f"{last}.bias": np.zeros(width, np.float32)}
    hidden = _change(bare, np.concatenate([behind, offset], 1), made_of[:, :0]).T
    hidden = np.c_[hidden, offset[:, -1] ** power] * ok[:, None]
    mixture = np.c_[np.ones(len(made_of)), made_of]
    design = (mixture[:, :, None] * hidden[:, None, :]).reshape(len(hidden), -1)
    ridge = RIDGE * len(design) * np.eye(design.shape[1])
    wanted = design.T @ logit_change(image[py, px], behind)
    solved = np.linalg.solve(design.T @ design + ridge, wanted)
    solved = solved.reshape(mixture.shape[1], width + 1, -1).transpose(1, 0, 2).reshape(width + 1, -1)
    return weights | {f"{last}.kernel": solved[:-1].astype(np.float32), f"{last}.bias": solved[-1].astype(np.float32)}


_jitted = jit(color_change)


def _change(weights: Weights, inputs: np.ndarray, composition: np.ndarray) -> np.ndarray:
    """(C, P) of inputs (P, F) and compositions (P, K)."""
    with tracing(("change", inputs.shape, composition.shape)):
        return np.asarray(_jitted(weights, inputs.T.astype(np.float32), composition.T.astype(np.float32)))


def compositions_under(
    shared: Shared,
    image: Pixels,
    ground: Ground,
    circles: tuple[np.ndarray, np.ndarray, np.ndarray],
    form: Form,
    seed: int,
) -> np.ndarray:
    """Unconstrained compositions (N, d) with which given optics come nearest to the colors of droplets."""
    rng = np.random.default_rng(seed)
    if form.composition == "simplex":
        fractions = rng.dirichlet(np.ones(form.types), PALETTE)
    else:
        fractions = rng.uniform(START_EDGE, 1 - START_EDGE, (PALETTE, form.types))
    raw = unconstrained(fractions, form.composition, START_EDGE)
    wanted = logit_change(disc_colors(image, *circles), _ground_at(ground, circles))
    step = max(1, int(np.sqrt(np.prod(ground.field.shape[:2]) / MEDIAN_OF)))
    middle = np.median(ground.field[::step, ::step], (0, 1))
    radius = circles[2] / float(shared.length)
    edges = np.quantile(radius, np.linspace(0, 1, SIZES + 1))
    size = np.clip(np.searchsorted(edges, radius, side="right") - 1, 0, SIZES - 1)
    offset = disc_points(DISC, 5)
    found = np.empty((len(radius), raw.shape[1]))
    for k in np.unique(size):
        here = size == k
        one = np.c_[np.tile(middle, (len(offset), 1)), offset, np.full(len(offset), np.median(radius[here]))]
        inputs = np.tile(one, (PALETTE, 1))
        change = _change(shared.optics, inputs, np.repeat(fractions, len(offset), axis=0))
        looks = change.T.reshape(PALETTE, len(offset), -1).mean(1)
        found[here] = raw[cKDTree(looks).query(wanted[here])[1]]
    return found
