"""Training images from micrographs that the user has corrected: pieces at the scale at which images are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..image_statistics import weighted_median
from .feed import Drawn
from .micrographs import Micrograph, cut

CLOSENESS_SD = 0.35
"""Standard deviation of the logarithm of the scale, around that at which images are looked at: the network has to see
droplets at other scales, too, to find out which is right."""
CLOSEST, FARTHEST = 2.0, 0.3
"""Times that scale, at most and at least."""
FEWEST = 10
"""Droplets that tell how large those of a micrograph are; of fewer, those of all micrographs tell."""
IN_A_ROW = (1, 2, 4)
"""Pieces side by side in an image, where a micrograph is too small to fill it."""
HELD_OUT_SHARE = 4
"""One of so many micrographs is held out, or one of so many equal parts of each …"""
FEWEST_IMAGES = 4
"""… where there are fewer than these …"""
WIDE = 8.0
"""… and the part is at least so many radii wide: in a narrower one most droplets are cut."""


@dataclass(frozen=True)
class CorrectedScenes:
    """Scenes as `scenes.scene`: pieces of micrographs, beside each other where these are small.

    Attributes
    ----------
    micrographs : tuple of Micrograph
    typical : tuple of float
        Radius of the droplets of each, pixels; see `FEWEST`.
    """

    micrographs: tuple[Micrograph, ...]
    typical: tuple[float, ...]

    @classmethod
    def of(cls, micrographs: Sequence[Micrograph]) -> CorrectedScenes:
        """Scenes of micrographs of one series, one of which at least has droplets."""
        together = _typical(np.concatenate([m.truth[:, 2] for m in micrographs]))
        own = (_typical(m.truth[:, 2]) if len(m.truth) >= FEWEST else together for m in micrographs)
        return cls(tuple(micrographs), tuple(own))

    @property
    def sha256(self) -> str:
        """Tells whether two trainings are on the same micrographs and corrections."""
        content = hashlib.sha256()
        for micrograph in self.micrographs:
            for values in micrograph:
                content.update(np.ascontiguousarray(values).tobytes())
        return content.hexdigest()

    def __call__(self, rng: np.random.Generator, side: int) -> Drawn:
        """Draw one image, (side, side, 3) float32 in 0..1, and its droplets, (N, 3) x, y, radius with centers in it."""
        first = int(rng.integers(len(self.micrographs)))
        closeness = float(np.clip(np.exp(CLOSENESS_SD * rng.standard_normal()), FARTHEST, CLOSEST))
        view = min(self.micrographs[first].pixels.shape[:2]) * self._factor(first, closeness)
        row = next((n for n in IN_A_ROW if side / n <= view), IN_A_ROW[-1])
        part = side // row
        image, truth = np.empty((side, side, 3), np.float32), []
        for top in range(0, side, part):
            for left in range(0, side, part):
                i = int(rng.integers(len(self.micrographs))) if top or left else first
                piece, droplets = cut(self.micrographs[i], rng, part, self._factor(i, closeness))
                image[top : top + part, left : left + part] = piece
                truth.append(droplets + np.array([left, top, 0], np.float32))
        return image, np.concatenate(truth)

    def _factor(self, i: int, closeness: float) -> float:
        from ..detection.scales import FINEST, WORKING_RADIUS

        return closeness * min(WORKING_RADIUS / self.typical[i], FINEST)


class Split(NamedTuple):
    """Micrographs to train on, and those that the weights are judged by and calibrated on."""

    training: list[Micrograph]
    held_out: list[Micrograph]


def split(micrographs: Sequence[Micrograph]) -> Split:
    """Hold out a quarter: whole micrographs where there are enough, else a part of each.

    Where even that would be too narrow for its droplets, all is trained on and nothing is held out: the held-out
    micrographs are then the same.
    """
    n = len(micrographs)
    if n >= FEWEST_IMAGES:
        out = set(range(HELD_OUT_SHARE - 1, n, HELD_OUT_SHARE))
        parts = Split([m for i, m in enumerate(micrographs) if i not in out], [micrographs[i] for i in sorted(out)])
        return parts if all(any(len(m.truth) for m in part) for part in parts) else Split(*2 * [list(micrographs)])
    typical = CorrectedScenes.of(micrographs).typical
    training, held_out = [], []
    for micrograph, radius in zip(micrographs, typical, strict=True):
        h, w = micrograph.pixels.shape[:2]
        length = max(h, w)
        border = length - length // HELD_OUT_SHARE
        if length - border < WIDE * radius:
            return Split(*2 * [list(micrographs)])
        training.append(_part(micrograph, 0, border))
        held_out.append(_part(micrograph, border, length))
    enough = all(any(len(m.truth) for m in part) for part in (training, held_out))
    return Split(training, held_out) if enough else Split(*2 * [list(micrographs)])


def _part(micrograph: Micrograph, first: int, last: int) -> Micrograph:
    """A part along the longer side."""
    pixels, truth = micrograph
    axis = 0 if pixels.shape[0] > pixels.shape[1] else 1
    place = truth[:, 1 - axis]
    inside = (place >= first - 0.5) & (place < last - 0.5)
    corner = np.zeros(3, np.float32)
    corner[1 - axis] = first
    window = (slice(None),) * axis + (slice(first, last),)
    return Micrograph(np.ascontiguousarray(pixels[window]), truth[inside] - corner)


def _typical(radius: np.ndarray) -> float:
    """Median radius, large droplets counting more, as where images are looked at."""
    return weighted_median(radius, radius)
