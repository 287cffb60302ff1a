"""How many droplets with their center beyond the border are found, by the width of the ring around what is seen.

Windows are cut from larger simulated images, so that droplets beyond them are known. `python
benchmarks/detection_border.py` prints the table of docs/detection.md.
"""

from __future__ import annotations

import numpy as np

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.detection import scales
from napari_droplets.droplets import Droplets, beyond_border

RINGS = (0, 2, 4, 8)  # pixels
SIDE, WINDOWS = 224, 12
RADII, OVERLAPS = (4.0, 7.0, 12.0, 5.0), (0.3, 0.0, 0.6)


def windows() -> list[tuple[np.ndarray, Droplets]]:
    """Windows of simulated images, each with all droplets of which a part is in it."""
    cut = []
    for seed in range(WINDOWS):
        radius, overlap = RADII[seed % len(RADII)], OVERLAPS[seed % len(OVERLAPS)]
        margin = int(4 * radius)
        whole = SIDE + 2 * margin
        count = int(0.35 * whole**2 / (3.14 * radius**2 * 1.2))
        pixels, truth = nd.simulate(
            (whole, whole), count, radius=radius, radius_spread=0.3, seed=100 + seed, overlap=overlap
        )
        truth = Droplets(truth.x - margin, truth.y - margin, truth.radius)
        pixels = pixels[margin:-margin, margin:-margin]
        cut.append((pixels, truth[beyond_border(truth.x, truth.y, pixels.shape) < truth.radius]))
    return cut


def row(ring: int, images: list[tuple[np.ndarray, Droplets]]) -> str:
    """Recall outside; reported outside: all, right, on a droplet that no other is on, and none; recall inside."""
    scales.RING = ring
    true, matched = np.zeros(2), np.zeros(2)  # inside, outside
    right = near = none = 0
    for pixels, truth in images:
        found = nd.detect(pixels)
        i, j = match(truth, found)
        outside = beyond_border(truth.x, truth.y, pixels.shape) > 0
        true += [(~outside).sum(), outside.sum()]
        matched += [(~outside[i]).sum(), outside[i].sum()]
        for k in np.flatnonzero(beyond_border(found.x, found.y, pixels.shape)):
            away = np.hypot(truth.x - found.x[k], truth.y - found.y[k]) / truth.radius
            nearest = int(np.argmin(away))
            right += k in j
            near += k not in j and away[nearest] < 1 and nearest not in i
            none += k not in j and not (away[nearest] < 1 and nearest not in i)
    inside, beyond = matched / true
    return f"| {ring} | {beyond:.2f} | {right + near + none} | {right} | {near} | {none} | {inside:.4f} |"


def main() -> None:
    """Print the table."""
    images = windows()
    print("| ring, pixels | recall outside | reported outside | right | near | none there | recall inside |")
    print("|---|---|---|---|---|---|---|")
    for ring in RINGS:
        print(row(ring, images), flush=True)


if __name__ == "__main__":
    main()
