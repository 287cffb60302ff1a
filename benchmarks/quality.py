"""How right a fit is: blobs and fit against the truth of simulated images and of real ones beside the repository.

    python benchmarks/quality.py [--steps N] [--no-real]

One line an image, blobs first and the fit after them. Simulated images use seeds that nothing was developed on. Of
paper_aerosol the truth is another method's segmentation, which misses droplets: only recall counts there.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

import napari_droplets as nd
from napari_droplets.compare import compare, match

DATA = Path(__file__).parents[2] / "shared" / "data"
RADII = (2.5, 4.0, 8.0)
SIDE = 256
SMALLEST = 4.8  # pixels of example.jpg from which its checked circles are complete
MARGIN = 10  # pixels inside a checked tile before a found droplet without a true one counts as false
TILES = {"A": (800, 600, 1120, 920), "D": (150, 1150, 470, 1470)}


def line(name: str, truth: nd.Droplets, found: nd.Droplets, precision: float | None = None) -> str:
    """Print-ready scores; radii of matched pairs give bias and spread."""
    score = compare(truth, found)
    i, j = match(truth, found)
    ratio = np.log(found.radius[j] / truth.radius[i])
    spread = np.ptp(np.quantile(ratio, [0.16, 0.84])) / 2
    precision = score.precision if precision is None else precision
    f1 = 2 * precision * score.recall / max(precision + score.recall, 1e-9)
    return (
        f"{name:44s} {score.n_true:6d} {score.n_found:6d} {score.recall:7.3f} {precision:10.3f} {f1:6.3f} "
        f"{score.radius_bias:+8.3f} {spread:7.3f} {score.center_error:7.3f}"
    )


def tile(name: str, found: nd.Droplets, box: tuple[int, int, int, int]) -> str:
    """Score inside one checked tile; droplets too small for the truth to be complete are neither right nor wrong."""
    everything = nd.Droplets.from_dataframe(pd.read_csv(DATA / "seed" / "truth_tiles_A_D.csv")[["x", "y", "radius"]])

    def inside(d: nd.Droplets, margin: float) -> np.ndarray:
        x0, y0, x1, y1 = box
        return (d.x >= x0 + margin) & (d.x <= x1 - margin) & (d.y >= y0 + margin) & (d.y <= y1 - margin)

    hit = np.zeros(len(found), bool)
    hit[match(everything, found)[1]] = True
    truth = everything[inside(everything, 0) & (everything.radius >= SMALLEST)]
    false = int((~hit & inside(found, MARGIN) & (found.radius >= SMALLEST)).sum())
    right = compare(truth, found).n_matched
    near = found[inside(found, -MARGIN)]
    return line(name, truth, near, precision=right / max(right + false, 1))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--no-real", action="store_true")
    args = parser.parse_args()
    settings = {"steps": args.steps} if args.steps else {}
    print(f"{'':44s}   true  found  recall  precision     F1   r bias  spread  center")
    for radius in RADII:
        for seed in (101, 102):
            count = int(0.08 * SIDE**2 / radius**2)
            image, truth = nd.simulate((SIDE, SIDE), count, radius=radius, seed=seed)
            blobs = nd.detect(image)
            print(line(f"simulated, radius {radius:g}, seed {seed}: blobs", truth, blobs))
            result = nd.fit(image, droplets=blobs, **settings)
            print(line("  fit", truth, result.droplets), f"RMSE {result.summary['rmse']:.4f}", flush=True)
    if args.no_real or not DATA.exists():
        return
    for name, scale in (("example_down4.png", 4.0), ("example.jpg", 1.0)):
        path = DATA / "seed" / name
        result = nd.fit(path, noise=0.05, **settings)
        for which, box in TILES.items():
            print(tile(f"{name}, tile {which}: blobs", nd.detect(path).scaled(scale), box))
            print(tile("  fit", result.droplets.scaled(scale), box))
        summary = result.summary
        print(f"  loss {summary['loss']:,.0f}, RMSE {summary['rmse']:.4f}, seconds {summary['seconds']}", flush=True)
    for path in sorted((DATA / "paper_aerosol" / "images").glob("ZCY*.png")):
        masks = pd.read_csv(DATA / "paper_aerosol" / "csv" / f"{path.stem}.csv")
        truth = nd.Droplets.from_dataframe(masks[["x", "y", "radius"]])
        result = nd.fit(path, **settings)
        print(line(f"{path.stem[:36]}: blobs", truth, nd.detect(path)))
        print(line("  fit", truth, result.droplets), f"{result.summary['seconds']['total']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
