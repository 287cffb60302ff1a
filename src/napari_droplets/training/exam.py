"""How good a network is on images held out from training."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from ..compare import compare
from ..detection.cells import CERTAIN, cells_of, merged
from ..detection.network import Params, apply, normalized
from ..detection.scales import RING
from ..droplets import Droplets
from .feed import Drawn, Feed
from .loss import Targets, loss, targets

SEED = 250_077_003_391  # of the held-out images: the same ones in every training
CHUNK = 8  # images computed at once
JITTER = 0.4  # of contrast (logarithm) and of the middle (in units of contrast), standard deviation

Found = Callable[[np.ndarray], Droplets]


def droplets_in(outputs: np.ndarray) -> Droplets:
    """Droplets that are likelier there than not, by the outputs (h, w, 7) of the network alone."""
    found = merged(cells_of(outputs))
    found = found[found.p > CERTAIN]
    return Droplets(found.x, found.y, found.radius, p_present=found.p)


class Exam:
    """The held-out images, drawn while the first steps run."""

    def __init__(self, feed: Feed, count: int, found: Found | None) -> None:
        sizes = [min(CHUNK, count - first) for first in range(0, count, CHUNK)]
        self._drawn = [feed.ask("held-out", SEED, (i,), n) for i, n in enumerate(sizes)]
        self._side, self._found = feed.side, found
        self.sha256 = ""

    def sit(self, params: Params) -> tuple[float, dict[str, float | None]]:
        """Loss, and F1, precision and recall."""
        drawn = [future.result() for future in self._drawn]
        if not self.sha256:
            content = (part.tobytes() for chunk in drawn for pair in chunk for part in map(np.asarray, pair))
            self.sha256 = hashlib.sha256(b"".join(content)).hexdigest()
        losses, n_true, n_found, n_matched = [], 0, 0, 0
        for chunk in drawn:
            value, outputs = _examined(params, *prepared(chunk, self._side))
            losses.append(float(value) * len(chunk))
            if self._found is None:
                continue
            for (_, truth), output in zip(chunk, np.asarray(outputs), strict=True):
                found = self._found(output)
                found = found[_shown(found.x, found.y, self._side)]
                result = compare(_droplets(truth, self._side), found)
                n_true, n_found, n_matched = (
                    n_true + result.n_true,
                    n_found + result.n_found,
                    n_matched + result.n_matched,
                )
        loss_of_all = sum(losses) / sum(map(len, drawn))
        if self._found is None:
            return loss_of_all, {"f1": None, "precision": None, "recall": None}
        return loss_of_all, {
            "f1": 2 * n_matched / max(n_true + n_found, 1),
            "precision": n_matched / max(n_found, 1),
            "recall": n_matched / max(n_true, 1),
        }


@jax.jit
def _examined(params: Params, inputs: Any, truth: Targets) -> tuple[Any, Any]:
    """Loss and outputs; the compiler computes what both share once."""
    return loss(params, inputs, truth), apply(params, inputs)


def _droplets(truth: np.ndarray, side: int) -> Droplets:
    """Those with their center in what is shown."""
    truth = np.asarray(truth, float).reshape(-1, 3)
    return Droplets(*truth[_shown(truth[:, 0], truth[:, 1], side)].T)


def _shown(x: np.ndarray, y: np.ndarray, side: int) -> np.ndarray:
    """Which places are inside of the ring that `prepared` makes."""
    low, high = RING - 0.5, side - RING - 0.5
    return (x >= low) & (x < high) & (y >= low) & (y < high)


def prepared(drawn: list[Drawn], side: int, jitter: np.random.Generator | None = None) -> tuple[np.ndarray, Targets]:
    """What the loss takes; with `jitter` as if each image were cut from a larger one of other color and contrast.

    The outermost pixels are hidden behind a ring in which the border is repeated, as around images that are looked at:
    the cells of the ring learn of centers beyond the border.
    """
    inner = slice(RING, -RING)
    inputs = np.stack([normalized(image[inner, inner]) for image, _ in drawn])
    inputs = np.pad(inputs, [(0, 0), (RING, RING), (RING, RING), (0, 0)], mode="edge")
    if jitter is not None:
        n = len(inputs)
        shift = JITTER * jitter.standard_normal((n, 1, 1, 1)) + 0.3 * JITTER * jitter.standard_normal((n, 1, 1, 3))
        inputs = ((inputs + shift) * np.exp(JITTER * jitter.standard_normal((n, 1, 1, 1)))).astype(np.float32)
    return inputs, targets([truth for _, truth in drawn], side)
