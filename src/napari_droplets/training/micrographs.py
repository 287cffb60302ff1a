"""Training images cut from the user's own micrographs, whose droplets are known from corrected tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..images import IMAGE_SUFFIXES, read_image, resampled
from ..results.files import read_table
from .feed import Drawn
from .scenes import RADII

MEDIAN_RADIUS = (2.0, 8.0)  # pixels, of the droplets of a cut-out: log-uniform between


class Micrograph(NamedTuple):
    """One image and its droplets."""

    pixels: np.ndarray
    """(H, W, 1 or 3) float16 in 0..1: large ones go to every worker."""
    truth: np.ndarray
    """(N, 3) float32: x, y, radius in pixels."""


@dataclass(frozen=True)
class Pieces:
    """Scenes that are pieces of micrographs.

    Attributes
    ----------
    micrographs : list of Micrograph
    """

    micrographs: list[Micrograph]

    def __call__(self, rng: np.random.Generator, side: int) -> Drawn:
        """Draw one image and its droplets."""
        return cut(self.micrographs[rng.integers(len(self.micrographs))], rng, side)


def read_micrographs(folder: str | Path) -> list[Micrograph]:
    """Read all images of a folder, with the table `<stem>.csv` beside each: columns x, y, radius, in pixels.

    Raises
    ------
    InputError
        No such folder, no image in it, an image without a table, or a table without droplets in the image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with images and a table of their droplets beside each")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))
    if not paths:
        raise InputError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)})")
    micrographs = []
    for path in paths:
        table = path.with_suffix(".csv")
        if not table.exists():
            raise InputError(
                f"{path}: no table {table.name} beside it; put the corrected droplets (x, y, radius) there, or take "
                f"the image out of the folder"
            )
        pixels, droplets = read_image(path).pixels, read_table(table)
        truth = np.stack([droplets.x, droplets.y, droplets.radius], -1).astype(np.float32)
        if not len(_inside(truth, pixels.shape[1], pixels.shape[0])):
            raise InputError(f"{table}: no droplets in the image {path.name}; take both out of the folder")
        if not (np.isfinite(truth).all() and (truth[:, 2] > 0).all()):
            raise InputError(f"{table}: positions and radii must be finite, radii above 0")
        micrographs.append(Micrograph(np.asarray(pixels).astype(np.float16), truth))
    return micrographs


def cut(micrograph: Micrograph, rng: np.random.Generator, side: int) -> Drawn:
    """A random piece of a micrograph, resized, turned and mirrored at random.

    The median radius of the micrograph's droplets becomes log-uniform in `MEDIAN_RADIUS`, or larger where the
    micrograph would not fill the piece otherwise.

    Returns
    -------
    image : ndarray
        (side, side, 3) float32 in 0..1.
    truth : ndarray
        (N, 3) float32: x, y, radius of the droplets with centers in the piece and sizes that scenes have.
    """
    pixels, truth = micrograph
    h, w = pixels.shape[:2]
    wanted = np.exp(rng.uniform(*np.log(MEDIAN_RADIUS)))
    factor = max(wanted / float(np.median(truth[:, 2])), side / min(h, w))
    size = min(int(np.ceil(side / factor)), h, w)
    left, top = rng.integers(w - size + 1), rng.integers(h - size + 1)
    image = resampled(pixels[top : top + size, left : left + size].astype(np.float32), factor)[:side, :side]
    corner, half = np.array([left, top, 0]), np.array([0.5, 0.5, 0])  # pixel (0, 0) has its center at 0, 0
    truth = ((truth - corner + half) * factor - half).astype(np.float32)
    truth = _inside(truth, side, side)
    truth = truth[(truth[:, 2] >= RADII[0]) & (truth[:, 2] <= RADII[1])]
    if rng.random() < 0.5:
        image, truth = image.swapaxes(0, 1), truth[:, [1, 0, 2]]
    for axis in (0, 1):
        if rng.random() < 0.5:
            image = np.flip(image, 1 - axis)
            truth[:, axis] = side - 1 - truth[:, axis]
    return np.ascontiguousarray(np.broadcast_to(image, (side, side, 3))), truth


def _inside(truth: np.ndarray, width: int, height: int) -> np.ndarray:
    """Those whose centers are in the image."""
    x, y = truth[:, 0], truth[:, 1]
    return truth[(x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)]
