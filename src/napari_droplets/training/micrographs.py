"""Training images cut from the user's own micrographs, whose droplets are known from corrected tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import InputError
from ..images import IMAGE_SUFFIXES, read_image, resampled
from ..lazy import Pixels
from ..results.files import image_of, read_summary, read_table
from .feed import Drawn
from .scenes import RADII

CORRECTED = "corrected.csv"
"""In the folder of a result: the table as corrected, beside that of the fit."""
TABLES = (".csv", ".parquet", ".xlsx")
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
    micrographs = []
    for path in _images_in(Path(folder)):
        micrograph = _beside(path)
        if not len(micrograph.truth):
            raise InputError(
                f"{path.with_suffix('.csv')}: no droplets in the image {path.name}; take both out of the folder"
            )
        micrographs.append(micrograph)
    return micrographs


def read_corrected(given: Iterable[str | Path | tuple[np.ndarray, np.ndarray]]) -> list[Micrograph]:
    """Read images that were corrected, each with all of its droplets; an image may have none, if another one has some.

    Parameters
    ----------
    given : list
        Of each: an image with a table of the same name beside it; such a table; a folder of them; the folder of a
        result of `fit` or `batch`, with the corrected table in it as corrected.csv, or in place of droplets.csv; a
        folder of such folders, of which those that were corrected are taken; or pixels (H, W, 1 or 3) in 0..1 and
        droplets (N, 3): x, y, radius in pixels.

    Raises
    ------
    InputError
        Something is missing, or nothing was corrected.
    """
    found: list[Micrograph] = []
    for one in given:
        if isinstance(one, tuple):
            found.append(_micrograph(*one, "corrected"))
            continue
        path = Path(one)
        if path.is_file():
            found.append(_beside(path))
        elif (path / "summary.json").exists():
            found.append(_of_result(path))
        elif results := sorted(p.parent for p in path.glob("*/summary.json")):
            corrected = [p for p in results if is_corrected(p)]
            if not corrected:
                raise InputError(f"{path}: none of its results was corrected; save a table as {CORRECTED} in a folder")
            found += map(_of_result, corrected)
        else:
            found += map(_beside, _images_in(path))
    if not any(len(micrograph.truth) for micrograph in found):
        raise InputError("corrected: no droplets in any of the images; correct one that shows some")
    return found


def _images_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give one with images and a table of their droplets beside each")
    paths = sorted(p for p in folder.iterdir() if _is_image(p))
    if not paths:
        raise InputError(f"{folder}: no images ({', '.join(IMAGE_SUFFIXES)})")
    return paths


def is_corrected(folder: Path) -> bool:
    """Whether the folder of a result holds a corrected table."""
    if (folder / CORRECTED).exists():
        return True
    labels = read_table(folder / "droplets.csv").labels
    return bool("edited" in labels and np.equal(labels["edited"], True).any())


def corrected_table(folder: Path) -> Path:
    """The table of a result, the corrected one where there is one."""
    return folder / CORRECTED if (folder / CORRECTED).exists() else folder / "droplets.csv"


def _of_result(folder: Path) -> Micrograph:
    image = image_of(read_summary(folder))
    if image is None:
        raise InputError(f"{folder}: its image is not where it was, or is another one now; put it back")
    droplets = read_table(corrected_table(folder))
    return _micrograph(image.pixels, np.stack([droplets.x, droplets.y, droplets.radius], -1), str(folder))


def _beside(path: Path) -> Micrograph:
    """Of an image and the table beside it, either of which is given."""
    if path.suffix.lower() in TABLES:
        images = [p for p in sorted(path.parent.glob("*")) if p.stem == path.stem and _is_image(p)]
        if not images:
            raise InputError(f"{path}: no image {path.stem}.* beside it ({', '.join(IMAGE_SUFFIXES)})")
        image, table = images[0], path
    else:
        image, table = path, path.with_suffix(".csv")
    if not table.exists():
        raise InputError(
            f"{image}: no table {table.name} beside it; put the corrected droplets (x, y, radius) there, or take "
            f"the image out of the folder"
        )
    droplets = read_table(table)
    truth = np.stack([droplets.x, droplets.y, droplets.radius], -1)
    return _micrograph(read_image(image).pixels, truth, str(table))


def _micrograph(pixels: Pixels, truth: np.ndarray, name: str) -> Micrograph:
    droplets = np.asarray(truth, np.float32).reshape(-1, 3)
    if not (np.isfinite(droplets).all() and (droplets[:, 2] > 0).all()):
        raise InputError(f"{name}: positions and radii must be finite, radii above 0")
    whole = np.asarray(pixels).astype(np.float16)
    return Micrograph(whole, _inside(droplets, whole.shape[1], whole.shape[0]))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def cut(micrograph: Micrograph, rng: np.random.Generator, side: int, factor: float | None = None) -> Drawn:
    """A random piece of a micrograph, resized, turned and mirrored at random.

    Parameters
    ----------
    micrograph : Micrograph
    rng : Generator
    side : int
        Of the piece, pixels.
    factor : float, optional
        By which the micrograph is resized; larger where it would not fill the piece otherwise. By default the median
        radius of its droplets becomes log-uniform in `MEDIAN_RADIUS`.

    Returns
    -------
    image : ndarray
        (side, side, 3) float32 in 0..1.
    truth : ndarray
        (N, 3) float32: x, y, radius of the droplets with centers in the piece and sizes that scenes have.
    """
    pixels, truth = micrograph
    h, w = pixels.shape[:2]
    if factor is None:
        factor = float(np.exp(rng.uniform(*np.log(MEDIAN_RADIUS))) / np.median(truth[:, 2]))
    factor = max(factor, side / min(h, w))
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
