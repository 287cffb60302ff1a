"""Race `napari_droplets.fit` against the published algorithm on one image: seconds per step, loss and RMSE over time.

Both start with their libraries imported; the seconds of both include all else: initialisation, detection, compilation.
What the race itself adds (rendering at the marks to measure the RMSE) is left out of both.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import reference

import napari_droplets as nd
from napari_droplets.simulate import sample

MARKS = (1, 2, 5, 10, 20, 30, 60, 120, 300)
"""Seconds at which both are looked at."""
SEED_IMAGE = Path(__file__).parents[2] / "shared" / "data" / "seed" / "example_down4.png"
SEED_SHA256 = "bc02ed5b7f3c8ac1f237365e7926eaff4b41d15ae89b5597bc47710d9baaebb8"
"""Of the converted intensities of the image that the published loss belongs to."""


class Curve(NamedTuple):
    """How one method fared on one image."""

    losses: np.ndarray
    """(S, 3): step, seconds, negative ELBO; one row per step or chunk of steps."""
    evaluations: dict[float, float]
    """RMSE by mark in seconds."""
    seconds: float
    """Total."""
    rmse: float
    """Of the final reconstruction."""

    @property
    def startup(self) -> float:
        """Seconds until the first step or chunk was done."""
        return float(self.losses[0, 1])

    @property
    def seconds_per_step(self) -> float:
        """Median, without the first step or chunk, which compiles."""
        steps, seconds = np.diff(self.losses[:, :2], axis=0).T
        return float(np.median(seconds / steps)) if len(steps) else float("nan")

    def at(self, mark: float) -> tuple[int, float, float] | None:
        """Step, loss and RMSE (NaN where it was not measured) at a mark; None where not running then."""
        done = self.losses[self.losses[:, 1] <= mark]
        if len(done) == 0 or mark > self.seconds:
            return None
        return int(done[-1, 0]), float(done[-1, 2]), self.evaluations.get(mark, float("nan"))

    def passes(self, loss: float) -> str:
        """When the loss is first as low, in words."""
        low = self.losses[self.losses[:, 2] <= loss]
        return f"after {low[0, 1]:.1f} s, {low[0, 0]:,.0f} steps" if len(low) else "not reached"


def run_reference(pixels: np.ndarray, n_droplets: int, steps: int, seconds: float, seed: int) -> Curve:
    """Run the published algorithm on (H, W, C) intensities, for so many steps or seconds, whatever ends first."""
    result = reference.run(pixels, n_droplets, steps, seconds, seed, marks=MARKS)
    evaluations = {float(mark): float(error) for mark, _, _, _, error in result.evaluations}
    return Curve(result.losses, evaluations, float(result.losses[-1, 1]), result.rmse)


def run_fit(pixels: np.ndarray, seed: int, steps: int | None = None) -> Curve:
    """Run `napari_droplets.fit` on (H, W, C) intensities with the noise of the published algorithm."""
    marks, losses, evaluations = reference.Marks(MARKS), [], {}
    start, paused = time.perf_counter(), 0.0

    def callback(progress: nd.Progress) -> None:
        nonlocal paused
        stopped = time.perf_counter()
        if progress.stage == "fit" and np.isfinite(progress.loss):
            elapsed = stopped - start - paused
            losses.append((progress.step, elapsed, progress.loss))
            mark = marks.due(elapsed)
            if mark is not None:
                evaluations[float(mark)] = reference.rmse(pixels, progress.snapshot()[1])
        paused += time.perf_counter() - stopped

    settings: dict[str, Any] = {} if steps is None else {"steps": steps}
    result = nd.fit(pixels, seed=seed, noise=reference.NOISE_SD, callback=callback, **settings)
    seconds = time.perf_counter() - start - paused
    return Curve(np.array(losses), evaluations, seconds, reference.rmse(pixels, result.reconstruction))


def table(published: Curve, ours: Curve) -> str:
    """Loss and RMSE of both at the marks and at the end."""

    def cells(state: tuple[int, float, float] | None) -> str:
        if state is None:
            return f"{'–':>8}{'–':>13}{'–':>8}"
        step, loss, error = state
        return f"{step:>8,}{loss:>13,.0f}{'–' if np.isnan(error) else f'{error:.4f}':>8}"

    head = f"{'step':>8}{'loss':>13}{'RMSE':>8}"
    lines = [f"{'':>9} |{'published':^29} |{'napari_droplets.fit':^29}", f"{'seconds':>9} |{head} |{head}"]
    for mark in MARKS:
        states = published.at(mark), ours.at(mark)
        if any(states):
            lines.append(f"{mark:>9} |{cells(states[0])} |{cells(states[1])}")
    ends = [cells((int(c.losses[-1, 0]), float(c.losses[-1, 2]), c.rmse)) for c in (published, ours)]
    lines.append(f"{'end':>9} |{ends[0]} |{ends[1]}")
    return "\n".join(lines)


def report(title: str, published: Curve, ours: Curve) -> str:
    """All that is printed about one image."""
    best = float(published.losses[-len(published.losses) // 10 :, 2].mean())
    ratio = published.seconds_per_step / ours.seconds_per_step
    return "\n".join(
        [
            title,
            table(published, ours),
            f"total: published {published.seconds:.1f} s, ours {ours.seconds:.1f} s",
            f"first step or chunk done: published {published.startup:.1f} s, ours {ours.startup:.1f} s",
            f"a step: published {published.seconds_per_step * 1e3:.1f} ms (every pixel), "
            f"ours {ours.seconds_per_step * 1e3:.1f} ms (a random part of the pixels); published / ours = {ratio:.1f}",
            f"loss {best:,.0f} (published, mean of its last tenth here): ours {ours.passes(best)}",
        ]
    )


def published_loss(published: Curve, ours: Curve) -> str:
    """When the loss that was published is reached; for the published algorithm, an extrapolation."""
    hours = reference.PUBLISHED_STEPS * published.seconds_per_step / 3600
    return (
        f"published final loss {reference.PUBLISHED_LOSS:,}: ours {ours.passes(reference.PUBLISHED_LOSS)}; published "
        f"{reference.PUBLISHED_STEPS:,} steps, {hours:.1f} h at the speed measured here (extrapolated)"
    )


def plot(races: dict[str, tuple[int, Curve, Curve]], path: Path) -> None:
    """Loss per value and RMSE against seconds; `races` are (values, published, ours) by title."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(races), 7), layout="constrained")
    axes = figure.subplots(2, len(races), squeeze=False)
    for column, (title, (values, *curves)) in enumerate(races.items()):
        above, below = axes[:, column]
        for curve, label in zip(curves, ("published", "napari_droplets.fit"), strict=True):
            above.plot(curve.losses[:, 1], curve.losses[:, 2] / values, label=label)
            errors = curve.evaluations | {curve.seconds: curve.rmse}
            below.plot(list(errors), list(errors.values()), "o-", label=label)
        above.set_title(title.replace(", ", "\n"), fontsize="medium")
        above.set(xscale="log", xlabel="seconds", ylabel="loss per value")
        above.set_yscale("symlog", linthresh=1)
        below.set(xscale="log", yscale="log", xlabel="seconds", ylabel="RMSE of the reconstruction")
        above.legend()
    figure.savefig(path, dpi=150)


def center(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """The middle of an image."""
    h, w = pixels.shape[:2]
    height, width = min(height, h), min(width, w)
    top, left = (h - height) // 2, (w - width) // 2
    return pixels[top : top + height, left : left + width]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Arguments of the script."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", help="image file; default: the published one if at hand, else the sample")
    parser.add_argument("--steps", type=int, help="most steps of napari_droplets.fit; default: its own")
    parser.add_argument("--reference-steps", type=int, default=200, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--reference-seconds", type=float, default=150, metavar="S", help="at most; default: %(default)s"
    )
    parser.add_argument(
        "--warm", action="store_true", help="fit once before, as in a series: ours compiles nothing then"
    )
    parser.add_argument("--droplets", type=int, default=reference.N_DROPLETS, help="of the published algorithm, N")
    parser.add_argument("--crop", type=int, nargs=2, default=(128, 96), metavar=("W", "H"), help="of the second race")
    parser.add_argument("--crop-steps", type=int, default=1000, metavar="N", help="published steps on the crop")
    parser.add_argument("--seed", type=int, default=0, help="of both; default: %(default)s")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write loss and RMSE against seconds")
    options = parser.parse_args(arguments)
    for name in ("steps", "reference_steps", "crop_steps", "droplets"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} {value}: must be at least 1")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the races and print what came out."""
    options = parse(arguments)
    try:
        if options.image is None and not SEED_IMAGE.exists():
            image = nd.Image(sample()[0], "sample")
        else:
            image = nd.read_image(options.image or SEED_IMAGE)
    except nd.InputError as error:
        print(error, file=sys.stderr)
        return 2
    crop = center(image.pixels, *options.crop)
    share = crop.size / image.pixels.size
    plans = {
        "image": (image.pixels, options.droplets, options.reference_steps),
        "crop": (crop, max(1, round(options.droplets * share)), options.crop_steps),
    }
    races = {}
    jax.devices()  # starting JAX counts for neither
    for what, (pixels, n, steps) in plans.items():
        h, w, _ = pixels.shape
        title = f"{image.name}, {what} of {w} x {h} pixels, published with N = {n}"
        print(f"{title} …", file=sys.stderr)
        published = run_reference(pixels, n, steps, options.reference_seconds, options.seed)
        if options.warm:
            run_fit(pixels, options.seed, steps=1)
        curves = published, run_fit(pixels, options.seed, options.steps)
        races[title] = (pixels.size, *curves)
        print(report(title, *curves), flush=True)
        if what == "image" and image.sha256 == SEED_SHA256:
            print(published_loss(*curves))
        print()
    if options.plot:
        plot(races, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
