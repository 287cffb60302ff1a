"""Compositions drawn from the posterior of a fit, which classes are found from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..transforms import PLACE, constrained

CLASS_DRAWS = 200
"""Samples of the posterior that classes are found from."""
MOST_DRAWN, LEAST_DRAWS = 2_000_000, 20
"""… fewer than these of many droplets, each of which takes some 200 bytes for every sample; and so many at least."""


def compositions(guide: dict[str, np.ndarray], composition: str, n: int, seed: int) -> Iterator[np.ndarray]:
    """Joint samples (N, K), one at a time: together, those of many droplets would need gigabytes."""
    rng = np.random.default_rng(seed)
    mean, tril = guide["droplets"], guide["droplets_tril"]
    for _ in range(n):
        raw = mean[:, PLACE:] + np.einsum("nij,nj->ni", tril[:, PLACE:], rng.standard_normal(mean.shape))
        yield constrained(raw.T, composition).T


def sample_compositions(guide: dict[str, np.ndarray], composition: str, n: int, seed: int) -> np.ndarray:
    """The compositions (n, N, K) that `sample_droplets` draws, and nothing besides: a tenth of the memory."""
    return np.array(list(compositions(guide, composition, n, seed)))


def draws_for_classes(guide: dict[str, np.ndarray], composition: str, seed: int) -> np.ndarray:
    """The compositions (n, N, K) that classes are found from."""
    n = int(np.clip(MOST_DRAWN // max(len(guide["droplets"]), 1), LEAST_DRAWS, CLASS_DRAWS))
    return sample_compositions(guide, composition, n, seed)
