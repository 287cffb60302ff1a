"""Sample data for File > Open Sample: simulated, so that everything can be tried without images of one's own."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]

SERIES = {"start": 0.15, "middle": 0.5, "end": 0.85}
"""Part of the droplets that have reacted, in each image of the series."""


def sample() -> list[LayerData]:
    """The sample that the documentation speaks of."""
    from ...simulate import sample as simulated

    image, _ = simulated()
    return [(image, {"name": "sample", "rgb": True}, "image")]


def slide() -> list[LayerData]:
    """A slide with a known size of the pixels, uneven light, and droplets from tiny to large."""
    from ...simulate import simulate

    image, _ = simulate((540, 720), 420, radius=7.0, radius_spread=0.55, noise=0.015, unevenness=0.25, seed=17)
    return [(image, {"name": "slide", "rgb": True, **_scaled(0.5)}, "image")]


def series() -> list[LayerData]:
    """Three images of one series: the same two kinds of droplets, of which one becomes more frequent."""
    import numpy as np

    from ...droplets import Droplets
    from ...simulate import absorbances, illumination, photograph, place

    found: list[LayerData] = []
    for k, (name, reacted) in enumerate(SERIES.items()):
        rng = np.random.default_rng([23, k])
        shape, n = (240, 320), 120
        radius = 6.0 * np.exp(0.3 * rng.standard_normal(n))
        x, y = place(radius, *shape, 0.2, rng)
        after = rng.random(n) < reacted
        share = np.where(after, 0.85, 0.15) + 0.05 * rng.standard_normal(n)
        composition = np.column_stack([share, 1 - share]).clip(0, 1)
        droplets = Droplets(x, y, radius, composition=composition)
        empty = illumination(*shape, 0.1, rng)
        image = photograph(empty, droplets, absorbances(droplets, 6.0), 0.9, 0.015, rng)
        found.append(
            (image, {"name": f"series {k + 1} {name}", "rgb": True, "visible": k == 0, **_scaled(0.5)}, "image")
        )
    return found


def timelapse() -> list[LayerData]:
    """A movie of droplets that move, grow and merge."""
    from ...movies.simulated import simulate_movie

    movie = simulate_movie((200, 260), 60, 12, radius=6.0, brownian=1.2, drift=(0.8, 0.0), seed=5)
    attributes = {"name": "time-lapse", "rgb": True, "axis_labels": ("frame", "y", "x")}
    scale = {"scale": (1.0, 0.5, 0.5), "units": ("pixel", "um", "um")}
    return [(movie.images, attributes | scale, "image")]


def _scaled(pixel_um: float) -> dict[str, Any]:
    return {"scale": (pixel_um, pixel_um), "units": ("um", "um")}
