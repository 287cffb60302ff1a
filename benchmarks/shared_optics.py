"""What a series gains when its optics are learned on several images together instead of on the first alone.

    python benchmarks/shared_optics.py [--series 3] [--images 5] [--side 320] [--from 1 4]

Simulated series of droplets with two dyes, each image with a lamp and an exposure of its own. Of the series `one dye
first` the first image has droplets of one dye alone. Prints, for optics from so many images: R2 of compositions through
one affine map for all images, and that of the others alone; the bias of radii; how many of the true radii and places
the 68 % and 95 % intervals hold, over the images after the first; droplets found; and seconds of the processor.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import numpy as np
from fit_scores import affine, mapped, r2

import napari_droplets as nd
from napari_droplets.compare import match
from napari_droplets.simulate import absorbances, illumination, photograph, place

RADIUS, SPREAD, COVERED = 6.0, 0.3, 0.1
NOISE, BLUR, OVERLAP, UNEVENNESS = 0.015, 0.9, 0.5, 0.15
EXPOSURE = 0.08
"""Standard deviation of the logarithm of the light of an image."""
LEVELS = (0.68, 0.95)
SERIES = {"one dye first": True, "both dyes in all": False}


class Slide(NamedTuple):
    """One simulated image."""

    pixels: np.ndarray
    truth: nd.Droplets


def slide(side: int, seed: int, *, one_dye: bool) -> Slide:
    """An image whose droplets hold two dyes, of each any amount, or the first one alone."""
    radii_rng, place_rng, dye_rng, light_rng, noise_rng = np.random.default_rng(seed).spawn(5)
    n = round(COVERED * side**2 / RADIUS**2)
    radius = RADIUS * np.exp(SPREAD * radii_rng.standard_normal(n))
    x, y = place(radius, side, side, OVERLAP, place_rng)
    dyes = dye_rng.random((n, 2)) * (np.array([1, 0]) if one_dye else 1)
    truth = nd.Droplets(x, y, radius, composition=dyes)
    light = illumination(side, side, UNEVENNESS, light_rng) * np.exp(EXPOSURE * light_rng.standard_normal())
    pixels = photograph(light.astype(np.float32), truth, absorbances(truth, RADIUS), BLUR, NOISE, noise_rng)
    return Slide(pixels, truth)


def figures(slides: list[Slide], number: int) -> dict[str, float]:
    """Fit a series with optics from so many images, and compare with the truth."""
    begun = time.process_time()
    options = {"types": 2, "intensity_range": (0, 1), "optics_from": number}
    fits = list(nd.fit_series([s.pixels for s in slides], **options))
    seconds = time.process_time() - begun
    made, right, image, ratio, off, radius_off, found = [], [], [], [], [], [], 0
    for k, (fit, one) in enumerate(zip(fits, slides, strict=True)):
        i, j = match(one.truth, fit.droplets)
        made.append(fit.droplets.composition[j])
        right.append(one.truth.composition[i])
        image.append(np.full(len(i), k))
        found += len(i)
        if k:
            d, t = fit.droplets, one.truth
            ratio.append(d.radius[j] / t.radius[i])
            radius_off.append(np.abs(d.radius[j] - t.radius[i]) / d.radius_sd[j])
            off.append(np.abs(d.x[j] - t.x[i]) / d.x_sd[j])
    made, right, image = (np.concatenate(a) for a in (made, right, image))
    estimate = mapped(affine(made, right), made)
    z = np.array([1.0, 1.96])
    cover = [(np.concatenate(a)[:, None] <= z).mean(0) for a in (radius_off, off)]
    return {
        "R2": r2(right, estimate),
        "R2 after the first": r2(right[image > 0], estimate[image > 0]),
        "radius bias": float(np.median(np.concatenate(ratio)) - 1),
        "radii in 68 %": cover[0][0],
        "radii in 95 %": cover[0][1],
        "x in 68 %": cover[1][0],
        "x in 95 %": cover[1][1],
        "found": found / sum(len(s.truth) for s in slides),
        "CPU seconds": seconds,
    }


def main() -> None:
    """Run it and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=3, help="of each kind")
    parser.add_argument("--images", type=int, default=5, help="of each series")
    parser.add_argument("--side", type=int, default=320, help="of the images, pixels")
    parser.add_argument("--from", type=int, nargs="+", default=[1, 4], dest="numbers", help="images that teach")
    options = parser.parse_args()
    nd.fit(slide(options.side, 999, one_dye=False).pixels, types=2, steps=50)  # compiled before anything is timed
    header = None
    for name, one_dye in SERIES.items():
        rows: dict[int, list[dict[str, float]]] = {n: [] for n in options.numbers}
        for k in range(options.series):
            seeds = [1000 * (k + 1) + i for i in range(options.images)]
            slides = [slide(options.side, s, one_dye=one_dye and i == 0) for i, s in enumerate(seeds)]
            for number in options.numbers:
                rows[number].append(figures(slides, number))
        for number, those in rows.items():
            if header is None:
                header = list(those[0])
                print("| series | optics from | " + " | ".join(header) + " |")
                print("|---" * (len(header) + 2) + "|")
            mean = {key: float(np.mean([row[key] for row in those])) for key in header}
            cells = [f"{v:+.1%}" if k == "radius bias" else f"{v:.3f}" for k, v in mean.items()]
            print(f"| {name} | {number} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
