"""What fits are judged on: images from seeds that nothing is developed on, and those beside the repository."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from detection_data import HELD_OUT, Case, simulated_case

import napari_droplets as nd
from napari_droplets.images import as_image

SHARED = Path(__file__).parents[2] / "shared"
"""Images, truth and simulators that are not part of the project, beside the repository."""
FIRST_SEED = {"simulate": 77_000, "bound": 78_000, "composition": 79_000, "noise": 81_000}
"""Of the whole-number seeds that are drawn upwards from there, by part."""
PHYSICAL, DISCS = 2, 3
"""Second words of the seeds of images drawn by `training.scenes.physical` and `.discs`; calibration has others."""
SIDE = 256
"""Pixels of an image."""
BORDER, SMALLEST = 4.0, 1.5
"""Droplets nearer to the border or smaller than that, in pixels, are not required."""
RADII = (2.0, 15.0)
"""Pixels, within which nearly all radii of the images of `look` lie."""
MEDIANS = (2.3, 13.0)
"""Pixels, of the median radius of an image."""
SPREAD = 0.4
"""Most standard deviation of the log radius."""
COVERED = (0.03, 0.12)
"""Droplets times radius squared over the area of the image, from a few to a crowd."""


class Absent(Exception):
    """Something that a part needs is not at hand."""


def present(path: Path) -> Path:
    """The path.

    Raises
    ------
    Absent
        There is nothing.
    """
    if not path.exists():
        raise Absent(f"there is no {path.name} in {path.parent}; see --shared")
    return path


@cache
def simulator(path: Path) -> ModuleType:
    """A script of the judges, as a module."""
    spec = importlib.util.spec_from_file_location(f"judge_{path.stem}", present(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def case_of(name: str, pixels: np.ndarray, circles: np.ndarray) -> Case:
    """A drawn image with its (N, 3) circles; those near the border are not required."""
    truth = pd.DataFrame(np.asarray(circles, float).reshape(-1, 3), columns=["x", "y", "radius"])
    gray = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    h, w = pixels.shape[:2]
    box = (BORDER, BORDER, w - 1 - BORDER, h - 1 - BORDER)
    return Case(name, as_image(gray), truth, 1.0, SMALLEST, boxes=(box,))


def plain_discs(shared: Path, kind: str, number: int) -> Case:
    """Plain discs of exact radius, one of the kinds of `discs.py`."""
    judge = simulator(shared / "judge" / "discs.py")
    return case_of(f"{kind} {number}", *judge.simulate(np.random.default_rng(number), kind=kind))


def disc_kinds(shared: Path) -> list[str]:
    """Kinds of plain discs."""
    return list(simulator(shared / "judge" / "discs.py").KINDS)


def random_optics(shared: Path, number: int) -> Case:
    """Droplets with random optics, of a simulator that nothing here has seen; seeds 0 to 99."""
    judge = simulator(shared / "judge" / "random_optics.py")
    return case_of(f"{number}", *judge.simulate(np.random.default_rng(number), SIDE, SIDE)[:2])


def physical(number: int) -> Case:
    """Refracting, absorbing droplets under a lamp."""
    from napari_droplets.training.scenes.physical import physical_image

    return _drawn(number, physical_image(np.random.default_rng([HELD_OUT, PHYSICAL, number]), SIDE, SIDE))


def own_discs(number: int) -> Case:
    """Plain discs as the package draws them itself: the judge's are not there to choose by."""
    from napari_droplets.training.scenes.discs import disc_image

    return _drawn(number, disc_image(np.random.default_rng([HELD_OUT, DISCS, number]), SIDE, SIDE))


def _drawn(number: int, both: tuple[np.ndarray, nd.Droplets]) -> Case:
    pixels, truth = both
    return case_of(f"{number}", pixels, np.stack([truth.x, truth.y, truth.radius], -1))


def look(index: int) -> tuple[tuple[int, int], dict[str, Any]]:
    """Shape and arguments of `napari_droplets.simulate` for one of the simulated images."""
    rng = np.random.default_rng([FIRST_SEED["simulate"], index])
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
        "seed": FIRST_SEED["simulate"] + index,
    }


def simulation(shape: tuple[int, int], arguments: dict[str, Any]) -> tuple[Case, nd.Droplets]:
    """A simulated image as a case, and the truth with its compositions."""
    pixels, truth = nd.simulate(shape, **arguments)
    table = truth.to_dataframe()[["x", "y", "radius"]]
    return simulated_case(f"seed {arguments['seed']}", pixels, table), truth


def told_noise(level: float, number: int) -> tuple[Case, float]:
    """A simulated image with noise, and its true root mean square: half of the variance grows with the light."""
    arguments = {"n": 60, "radius": 6.0, "unevenness": 0.1, "seed": FIRST_SEED["noise"] + number}
    case, _ = simulation((SIDE, SIDE), arguments | {"noise": level})
    clean, _ = simulation((SIDE, SIDE), arguments | {"noise": 0.0})
    return case, float(np.std(np.asarray(case.image.pixels) - np.asarray(clean.image.pixels)))
