"""Seconds of a fit: warm, cold, with optics held, after corrections, of large images, and of one pass over the pixels.

Part `time` of `fit_judges.py`. Close other programs before.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import reference
from fit_data import present

import napari_droplets as nd

Figures = dict[str, Any]

NOISE = reference.NOISE_SD
"""Of the published algorithm, in all fits of its image."""
EDITS = 3
"""Droplets that are corrected, by `EDIT` radii, before the refit that is timed."""
EDIT = 0.3
REPEATS = 3
"""Of cold runs."""
LARGE, LARGE_DROPLETS, LARGE_RADIUS = (3040, 4056), 5000, 12.0
"""The image of a large camera, drawn by `napari_droplets.simulate`."""
PASSES = 15
"""Of each program, in turns."""
SMALL, WHOLE = "example_down4.png", "example.jpg"


class Watch:
    """Callback of a fit that notes after how many seconds the loss first was as low as the published one."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.reached = float("nan")

    def __call__(self, progress: nd.Progress) -> None:
        """Look at one report."""
        if np.isnan(self.reached) and progress.loss <= reference.PUBLISHED_LOSS:
            self.reached = time.perf_counter() - self.start


def timed(image: Any, **settings: Any) -> tuple[nd.Fit, Figures]:
    """A fit and its seconds."""
    watch = Watch()
    fit = nd.fit(image, callback=watch, **settings)
    took = time.perf_counter() - watch.start
    summary = fit.summary
    return fit, {"seconds": took, "reached": watch.reached} | {k: summary[k] for k in ("loss", "steps", "stopped")}


def warm(shared: Path) -> Figures:
    """The published image in a process that has fitted before; then with its own optics held; then corrected."""
    from napari_droplets.inference.api import held

    pixels = nd.read_image(present(shared / "data" / "seed" / SMALL)).pixels
    nd.fit(pixels[4:, 4:], noise=NOISE)  # another image of nearly that size
    fit, figures = timed(pixels, noise=NOISE)
    again = {"noise": NOISE} | held(fit.optics)
    for _ in range(2):  # the first may compile
        figures["held"] = timed(pixels, optics=fit.optics, **again)[1]["seconds"]
    table = fit.table.copy()
    rows = np.linspace(0, len(table) - 1, EDITS + 2).astype(int)[1:-1]
    table.loc[rows, "x"] += EDIT * table.loc[rows, "radius"]
    for _ in range(2):
        begun = time.perf_counter()
        nd.refit(fit, table)
        figures["refit"] = time.perf_counter() - begun
    return figures


def series(shared: Path) -> Figures:
    """The second slide of an aerosol with the optics of the first held, the second time."""
    from napari_droplets.inference.api import held

    first, second = sorted(present(shared / "data" / "paper_aerosol" / "images").glob("*.png"))[:2]
    optics = nd.fit(first).optics
    return [timed(second, optics=optics, **held(optics))[1] for _ in range(2)][-1]


def cold(shared: Path) -> Figures:
    """New processes, without and with compiled programs on disk, until the published loss; medians."""
    path = present(shared / "data" / "seed" / SMALL)
    runs: dict[str, list[float]] = {"cold": [], "cached": []}
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as cache:
            for values in runs.values():
                values.append(in_own_process(path, Path(cache), NOISE, reference.PUBLISHED_LOSS)["reached"])
    return {name: float(np.median(values)) for name, values in runs.items()}


def whole(shared: Path) -> Figures:
    """The photograph at full size, nothing on disk."""
    with tempfile.TemporaryDirectory() as cache:
        return in_own_process(present(shared / "data" / "seed" / WHOLE), Path(cache), NOISE)


def large(shared: Path) -> Figures:
    """A simulated image of a large camera, nothing on disk."""
    import tifffile

    with tempfile.TemporaryDirectory() as folder:
        pixels, _ = nd.simulate(LARGE, LARGE_DROPLETS, radius=LARGE_RADIUS, seed=1)
        path = Path(folder) / "large.tif"
        tifffile.imwrite(path, (pixels * 255).round().astype(np.uint8))
        del pixels
        return in_own_process(path, Path(folder), None)


def in_own_process(path: Path, cache: Path, noise: float | None, until: float | None = None) -> Figures:
    """Fit by `fit_once.py` with a cache folder of its own; its moments as seconds since the process was started."""
    command = [sys.executable, str(Path(__file__).with_name("fit_once.py")), str(path)]
    for name, value in (("noise", noise), ("until", until)):
        command += [] if value is None else [f"--{name}={value}"]
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    begun = time.time()
    answer = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env=environment | {"XDG_CACHE_HOME": str(cache)}
    ).stdout
    ended = time.time()
    result = json.loads(answer.splitlines()[-1])
    reached = float("nan") if result["reached"] is None else result["reached"] - begun
    return result | {"reached": reached, "done": result["done"] - begun, "seconds": ended - begun}


def single_pass(shared: Path) -> Figures:
    """One pass over the pixels of the sample against forward and backward pass of the bare network on as many."""
    from napari_droplets.images import as_image
    from napari_droplets.inference.api import start_of
    from napari_droplets.inference.prepare import prepare
    from napari_droplets.inference.state import circles
    from napari_droplets.inference.steps import evidence
    from napari_droplets.simulate import sample

    image, settings = as_image(sample()[0]), nd.Settings()
    setup, state = prepare(image, start_of(image, None, settings), None, settings)
    rows, ends = len(state.pixels.row), (state.pixels.crowded, state.pixels.within)
    raw = evidence.padded(len(setup.anchor), state.mean)

    def measure() -> Any:
        return evidence.pass_over(raw, setup.anchor, state.shared, state.rows, rows, ends, setup.form)

    # as many pixels as droplets cover: neither those listed twice nor the rim that lists have around droplets
    radius = circles(setup, state.mean)[2]
    pixels = int(np.sum(np.pi * radius[state.present] ** 2))
    both = in_turns({"pass": measure, "network": bare_network(pixels, setup.form.channels, setup.form.types)})
    return {k: 1e3 * v for k, v in both.items()} | {"pixels": pixels, "over": both["pass"] / both["network"]}


def in_turns(programs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Median seconds of a call of each; the first call of each is left out."""
    import jax

    runs: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(1 + PASSES):
        for name, program in programs.items():
            begun = time.perf_counter()
            jax.block_until_ready(program())
            runs[name].append(time.perf_counter() - begun)
    return {name: float(np.median(seconds[1:])) for name, seconds in runs.items()}


def bare_network(pixels: int, channels: int, types: int) -> Callable[[], Any]:
    """Forward and backward pass, to weights and inputs, of the network alone."""
    import jax
    import jax.numpy as jnp

    from napari_droplets.model.optics import color_change, initial_weights

    program = jax.jit(
        jax.value_and_grad(
            lambda weights, inputs, composition: jnp.sum(color_change(weights, inputs, composition) ** 2), (0, 1, 2)
        )
    )
    rng = np.random.default_rng(0)
    inputs, composition = (rng.standard_normal((n, pixels)).astype(np.float32) for n in (channels + 3, types))
    inputs[-1] = np.exp(inputs[-1])  # radii
    weights = jax.device_put(initial_weights(0, channels, types))
    return lambda: program(weights, inputs, composition)


MEASURES: dict[str, Callable[[Path], Figures]] = {
    "warm": warm,
    "series": series,
    "cold": cold,
    "whole": whole,
    "large": large,
    "pass": single_pass,
}
_SECONDS, _MB = "{:.1f} s", "{:,.0f} MB"
TARGETS: dict[str, dict[str, tuple[str, float, str]]] = {
    "warm": {
        "seconds": (f"settled fit of {SMALL}, warm", 6, _SECONDS),
        "reached": (f"loss {reference.PUBLISHED_LOSS:,} as published, warm", np.inf, _SECONDS),
        "loss": (f"loss of {SMALL}, noise {NOISE:g}", -1_124_444, "{:,.0f}"),
        "held": ("the same image with its optics held", 3, _SECONDS),
        "refit": (f"refit after {EDITS} corrections", 1, _SECONDS),
    },
    "series": {"seconds": ("next slide of an aerosol, optics held", 2, _SECONDS)},
    "cold": {
        "cached": ("published loss, new process, compiled programs on disk", 6, _SECONDS),
        "cold": ("published loss, new process, nothing on disk", np.inf, _SECONDS),
    },
    "whole": {
        "seconds": (f"{WHOLE}, new process, nothing on disk", 20, _SECONDS),
        "memory_mb": ("the same, most memory", np.inf, _MB),
    },
    "large": {
        "seconds": ("4056 x 3040 pixels, 5,000 droplets, nothing on disk", 35, _SECONDS),
        "memory_mb": ("the same, most memory", 2200, _MB),
    },
    "pass": {"over": ("pass over the pixels, over the bare network", 1.5, "{:.2f}")},
}
"""By measure: which of its figures are in the table, in words, and what they should be at most."""
