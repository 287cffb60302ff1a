"""Simulated movies of droplets with known truth: identities, events, sizes and compositions in every frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..droplets import Droplets, beyond_border
from ..errors import InputError
from ..simulate import MAX_TYPES, absorbances, check, checked_shape, illumination, photograph
from .world import Laws, World

EVENT_COLUMNS = ["frame", "kind", "track_id", "parent_ids"]
GLOW = 1.5
"""Radii from a center to where a droplet's light is no longer seen."""


class Movie(NamedTuple):
    """A simulated movie and the truth about it."""

    images: np.ndarray | None
    """(T, H, W, 3) float32 in 0..1, (T, H, W) in gray; None where no pictures were asked for."""
    droplets: pd.DataFrame
    """A row for each droplet with its center in the image, in each frame: frame, time_s, track_id, x, y, radius,
    composition_0 ..."""
    events: pd.DataFrame
    """frame in which what came of it is first there, kind (merge or split), track_id of that, and parent_ids separated
    by spaces; a row for each of the two droplets of a split."""

    @property
    def tables(self) -> list[pd.DataFrame]:
        """The droplets of each frame."""
        return [part for _, part in self.droplets.groupby("frame", sort=True)]


def simulate_movie(
    shape: tuple[int, int],
    n: int,
    frames: int = 30,
    *,
    types: int = 3,
    radius: float = 5.0,
    radius_spread: float = 0.3,
    seed: int = 0,
    drift: tuple[float, float] = (0.0, 0.0),
    drift_jitter: float = 0.0,
    brownian: float = 0.5,
    flow: float = 0.0,
    growth: float = 0.0,
    growth_spread: float = 0.2,
    coalescence: bool = True,
    splitting: float = 0.0,
    exponent: float = 3.0,
    persistence: float = 0.0,
    focus_drift: float = 0.0,
    gray: bool = False,
    noise: float = 0.02,
    blur: float | None = None,
    unevenness: float = 0.1,
    composition: str = "simplex",
    interval_s: float = 1.0,
    pictures: bool = True,
) -> Movie:
    """Simulate a movie of droplets that move, evaporate or grow, merge and split, enter and leave.

    The same arguments give the same movie. Droplets are drawn as by `simulate`.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the images in pixels.
    n : int
        Number of droplets in the first frame, about; as many live beyond the border, to the area, and enter.
    frames : int
        Number of frames T.
    types, radius, radius_spread, seed, gray, noise, unevenness, composition
        As for `simulate`.
    drift : (float, float)
        Motion of all droplets, pixels a frame, to the right and down.
    drift_jitter : float
        Standard deviation of what is added to the drift in each frame: a shaking stage.
    brownian : float
        Standard deviation of each droplet's own motion in x and in y, pixels a frame, of a droplet of the typical
        radius; of others in proportion to 1 / sqrt(radius).
    flow : float
        Speed to the right in the middle of a channel that lies along the image, pixels a frame.
    growth : float
        Change of the squared radius, pixels² a frame: negative for evaporation, positive for condensation.
    growth_spread : float
        Relative standard deviation of `growth` from droplet to droplet.
    coalescence : bool
        Whether droplets that touch become one, with the volume of all and the mean composition by volume.
    splitting : float
        Probability that a large droplet splits in two, a frame.
    exponent : float
        Volume goes with the radius to this power: 3 for spheres and caps, 2 for discs in a flat channel.
    persistence : float
        Part of a droplet's own motion that goes on in the next frame, 0 to less than 1: droplets that swim.
    focus_drift : float
        Growth of the blur, pixels a frame.
    blur : float, optional
        Of the first frame, as for `simulate`.
    interval_s : float
        Seconds from frame to frame.
    pictures : bool
        Whether to draw; without, only the truth is made, at once.

    Returns
    -------
    Movie

    Raises
    ------
    InputError
        An argument cannot be used, or `n` droplets do not fit.

    Examples
    --------
    >>> movie = simulate_movie((96, 128), 20, frames=4, seed=1)
    >>> movie.images.shape, sorted(movie.droplets.columns)[:3]
    ((4, 96, 128, 3), ['composition_0', 'composition_1', 'composition_2'])
    """
    height, width = checked_shape(shape)
    check("n", n, 0, 1_000_000, whole=True)
    check("frames", frames, 1, 1_000_000, whole=True)
    check("types", types, 1, MAX_TYPES, whole=True)
    check("radius", radius, 0.5, max(height, width))
    check("radius_spread", radius_spread, 0, 2)
    check("seed", seed, 0, 2**32 - 1, whole=True)
    if len(drift) != 2:
        raise InputError(f"drift={drift!r}: must be two numbers, pixels a frame to the right and down")
    for name, value, low, high in (
        ("drift", drift[0], -1e4, 1e4),
        ("drift", drift[1], -1e4, 1e4),
        ("drift_jitter", drift_jitter, 0, 1e4),
        ("brownian", brownian, 0, 1e4),
        ("flow", flow, -1e4, 1e4),
        ("growth", growth, -1e4, 1e4),
        ("growth_spread", growth_spread, 0, 10),
        ("splitting", splitting, 0, 1),
        ("exponent", exponent, 1, 3),
        ("persistence", persistence, 0, 0.999),
        ("focus_drift", focus_drift, -10, 10),
        ("noise", noise, 0, 1),
        ("unevenness", unevenness, 0, 1),
        ("interval_s", interval_s, 1e-9, 1e9),
    ):
        check(name, value, low, high)
    if composition not in ("simplex", "free"):
        raise InputError(f"composition={composition!r}: must be 'simplex' or 'free'")
    world_rng, light_rng, noise_rng = np.random.default_rng(seed).spawn(3)
    laws = Laws(
        drift, drift_jitter, brownian, flow, growth, growth_spread, coalescence, splitting, exponent, persistence
    )
    simplex = composition == "simplex" and types > 1
    world = World.of((height, width), n, types, radius, radius_spread, laws, simplex, world_rng)
    slide = illumination(height, width, unevenness, light_rng)
    first_blur = 0.3 + 0.1 * radius if blur is None else blur
    images, tables = [], []
    for frame, droplets, seen in _frames(world, frames):
        if pictures:
            sd = max(first_blur + focus_drift * frame, 0.0)
            drawn = droplets[beyond_border(droplets.x, droplets.y, (height, width)) < GLOW * droplets.radius]
            images.append(photograph(slide, drawn, absorbances(drawn, radius), sd, noise, noise_rng, gray=gray))
        table = droplets[seen].to_dataframe()
        rest = [c for c in table.columns if c != "track_id"]
        table = table.assign(frame=frame, time_s=frame * interval_s)[["frame", "time_s", "track_id", *rest]]
        tables.append(table)
    events = pd.DataFrame(world.events, columns=EVENT_COLUMNS)
    droplets_ = pd.concat(tables, ignore_index=True)
    return Movie(np.stack(images) if pictures else None, droplets_, _seen_events(events, droplets_))


def _frames(world: World, count: int) -> Iterator[tuple[int, Droplets, np.ndarray]]:
    for frame in range(count):
        if frame:
            world.step()
        droplets = Droplets(
            world.x, world.y, world.radius, composition=world.composition, labels={"track_id": world.track_id.copy()}
        )
        yield frame, droplets, world.seen


def _seen_events(events: pd.DataFrame, droplets: pd.DataFrame) -> pd.DataFrame:
    """Those of which what came of it is in the image."""
    there = set(zip(droplets["frame"], droplets["track_id"], strict=True))
    seen = [(f, i) in there for f, i in zip(events["frame"], events["track_id"], strict=True)]
    return events[np.array(seen, bool)].reset_index(drop=True)
