"""Simulated micrographs of any size, written block by block as OME-Zarr, with known droplets.

    python benchmarks/large_data.py OUT.zarr [--side 10000] [--droplets 40000] [--seed 0]

Droplets look as those of `napari_droplets.simulate`. Every block has its own, and those near a seam reach over it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

import napari_droplets as nd
from napari_droplets.lazy import Block, blocks
from napari_droplets.results.pyramid import write_pyramid
from napari_droplets.simulate import ABSORBANCE, GROUND, _draw, simulate, spectra

TYPES, RADIUS, SPREAD, OVERLAP = 3, 4.0, 0.4, 0.3
NOISE, BLUR, UNEVENNESS = 0.02, 0.7, 0.1
REACH = 40
"""Pixels around a block from which droplets, their glow and blur may reach into it."""
SIDE = 1024


def write(path: Path, side: int, droplets: int, seed: int = 0) -> nd.Droplets:
    """Write the image, 8 bits, and give the truth."""
    density = droplets / side**2
    parts = list(blocks((side, side), SIDE))
    across = -(-side // SIDE)

    @cache
    def born(number: int) -> nd.Droplets:
        """Droplets whose centers are in a block."""
        h, w = parts[number].shape
        return simulate(
            (h, w), round(density * h * w), types=TYPES, radius=RADIUS, radius_spread=SPREAD, seed=seed + number,
            overlap=OVERLAP, unevenness=0, noise=0,
        )[1]  # fmt: skip

    def near(number: int) -> Iterator[nd.Droplets]:
        row, column = divmod(number, across)
        for i in range(max(0, row - 1), min(len(parts) // across, row + 2)):
            for j in range(max(0, column - 1), min(across, column + 2)):
                other, here = parts[i * across + j], born(i * across + j)
                yield nd.Droplets(here.x + other.left, here.y + other.top, here.radius, composition=here.composition)

    def values(block: Block) -> np.ndarray:
        number = parts.index(block)
        there = Block(block.top - REACH, block.bottom + REACH, block.left - REACH, block.right + REACH)
        image = _ground(there, side)
        for found in near(number):
            some = found[there.reached(found.x, found.y, 0)]
            some = nd.Droplets(some.x - there.left, some.y - there.top, some.radius, composition=some.composition)
            absorbance = ABSORBANCE * some.composition @ spectra(TYPES)
            absorbance = absorbance * (some.radius / RADIUS)[:, None]
            _draw(image, some, absorbance.astype(np.float32), np.pi / 2)
        image = gaussian_filter(image, (BLUR, BLUR, 0))[REACH:-REACH, REACH:-REACH]
        rng = np.random.default_rng([seed, number])
        strength = NOISE * np.sqrt(0.5 + np.clip(image, 0, 1))
        image = image + strength * rng.standard_normal(image.shape, np.float32)
        return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)

    write_pyramid(path, (side, side, 3), values, np.uint8)
    truth = [(born(k), part) for k, part in enumerate(parts)]
    columns = [np.concatenate(c) for c in zip(*((d.x + b.left, d.y + b.top, d.radius) for d, b in truth), strict=True)]
    return nd.Droplets(*columns)


def _ground(block: Block, side: int) -> np.ndarray:
    """(h, w, 3) float32: the empty slide, a quadratic surface over the whole image."""
    v, u = (2 * np.arange(a, b) / side - 1 for a, b in ((block.top, block.bottom), (block.left, block.right)))
    surface = 0.4 * u[None] - 0.3 * v[:, None] - 0.5 * (u[None] ** 2 + v[:, None] ** 2) + 0.3 * np.outer(v, u)
    return (GROUND * np.exp(UNEVENNESS * surface)[..., None]).astype(np.float32)


def main() -> None:
    """Write an image, and its truth beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--droplets", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    truth = write(options.out, options.side, options.droplets, options.seed)
    table = options.out.with_suffix(".truth.csv")
    truth.to_dataframe().to_csv(table, index=False)
    print(f"{options.out}: {options.side} x {options.side} pixels, {len(truth)} droplets, the truth in {table}")


if __name__ == "__main__":
    main()
