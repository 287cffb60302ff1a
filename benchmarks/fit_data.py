"""What fits are measured on: the real images, and simulated ones with seeds that nothing is developed on."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from detection_data import Case, simulated_case

import napari_droplets as nd

SETTLED_LOSS = -1_095_000
"""Of a good fit of the published image at a quarter of its size, noise 0.05."""
FIRST_SEED = {"simulated": 77_000, "bound": 78_000, "composition": 79_000, "renderers": 80_000}
"""Of the whole-number seeds that are drawn upwards from there, by part."""
RADII = (2.0, 15.0)
"""Pixels, within which nearly all radii of the simulated images lie."""
MEDIANS = (2.3, 13.0)
"""Pixels, of the median radius of an image."""
SPREAD = 0.4
"""Most standard deviation of the log radius."""
COVERED = (0.03, 0.12)
"""Droplets times radius squared over the area of the image, from a few to a crowd."""


class Absent(Exception):
    """Something that a part needs is not at hand."""


def photograph(shared: Path, name: str) -> Path:
    """The published photograph, or its quarter.

    Raises
    ------
    Absent
        It is not there.
    """
    path = shared / "data" / "seed" / name
    if not path.exists():
        raise Absent(f"there is no {path.name} in {path.parent}; see --shared")
    return path


def fit_settings(options: argparse.Namespace, *, noise: bool = True) -> dict[str, Any]:
    """Settings of every fit from the options; `noise` only where it is to be the same in all comparisons."""
    settings: dict[str, Any] = {} if options.steps is None else {"steps": options.steps}
    return settings | ({"noise": options.noise} if noise and options.noise is not None else {})


def look(index: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """Shape and arguments of `napari_droplets.simulate` for one of the simulated images."""
    rng = np.random.default_rng([FIRST_SEED["simulated"], index])
    h, w = (int(side) for side in rng.integers(256, 321, 2))
    radius = float(np.exp(rng.uniform(*np.log(MEDIANS))))
    # all but a twentieth of the radii within RADII, two standard deviations to either side
    spread = float(min(SPREAD, np.log(radius / RADII[0]) / 2, np.log(RADII[1] / radius) / 2))
    n = round(rng.uniform(*COVERED) * h * w / (radius**2 * np.exp(2 * spread**2)))
    return (h, w), {
        "n": n,
        "types": int(rng.integers(2, 5)),
        "radius": radius,
        "radius_spread": spread,
        "overlap": float(rng.uniform(0, 0.5)),
        "noise": float(rng.uniform(0.005, 0.04)),
        "unevenness": float(rng.uniform(0, 0.3)),
        "light_angle": float(rng.uniform(-180, 180)),
        "seed": FIRST_SEED["simulated"] + index,
    }


def simulation(shape: tuple[int, int], arguments: dict[str, Any]) -> tuple[Case, nd.Droplets]:
    """A simulated image as a case, and the truth with its compositions."""
    pixels, truth = nd.simulate(shape, **arguments)
    table = truth.to_dataframe()[["x", "y", "radius"]]
    return simulated_case(f"seed {arguments['seed']}", pixels, table), truth
