"""Seconds of a fit: until a loss is reached, from start to end, warm and cold, and of a single step."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import reference
from fit_data import SETTLED_LOSS, fit_settings, photograph

import napari_droplets as nd

REPEATS = 3  # of cold runs
REFERENCE_STEPS, REFERENCE_SECONDS = 40, 60.0  # enough to time a step of the published algorithm
STEP_SIZES = (800, 3000, 8000)  # droplets
STEP_SHAPE = (760, 1014)  # pixels of the image whose steps are timed
STEP_RADIUS = 3.0
STEP_ROUNDS = 15  # chunks of each program that are timed, in turns
LOOP_STEPS = 400  # of a whole fit, whose steps hold all that happens between them too


def seconds(options: argparse.Namespace) -> dict[str, Any]:
    """All seconds but those of single steps."""
    small, large = (photograph(options.shared, name) for name in ("example_down4.png", "example.jpg"))
    image = nd.read_image(small)
    result: dict[str, Any] = {"noise": options.noise, "runs": cold_to_loss(small, options)} | warm(image, options)
    result["loss"] |= {name: float(np.median(runs)) for name, runs in result["runs"].items()}
    result["reference"] = published = reference.run(
        image.pixels, steps=REFERENCE_STEPS, seconds=REFERENCE_SECONDS, final_samples=1
    ).seconds_per_step
    result["ratio"] = published * reference.PUBLISHED_STEPS / result["loss"]["warm"]
    with tempfile.TemporaryDirectory() as cache:
        for name in ("cold", "cached"):
            result[f"example_{name}"] = in_own_process(large, Path(cache), options.noise, options.steps)
    return result


def cold_to_loss(path: Path, options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds until the published loss, from the start of a process, without and with compiled programs on disk."""
    runs: dict[str, list[float]] = {"cold": [], "cached": []}
    for _ in range(min(REPEATS, options.count or REPEATS)):
        with tempfile.TemporaryDirectory() as cache:
            for values in runs.values():
                run = in_own_process(path, Path(cache), options.noise, options.steps, reference.PUBLISHED_LOSS)
                values.append(run["reached"])
    return runs


def in_own_process(
    path: Path, cache: Path, noise: float | None, steps: int | None, until: float | None = None
) -> dict[str, Any]:
    """Fit by `fit_once.py` with a cache folder of its own; its moments as seconds since the process was started."""
    command = [sys.executable, str(Path(__file__).with_name("fit_once.py")), str(path)]
    for name, value in (("noise", noise), ("steps", steps), ("until", until)):
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


class Watch:
    """Callback of a fit that notes after how many seconds the loss first was as low as each mark."""

    def __init__(self, *marks: float) -> None:
        self.start = time.perf_counter()
        self.seconds = dict.fromkeys(marks, float("nan"))

    def __call__(self, progress: nd.Progress) -> None:
        """Look at one report."""
        for mark, known in self.seconds.items():
            if np.isnan(known) and progress.loss <= mark:
                self.seconds[mark] = time.perf_counter() - self.start


def warm(image: nd.Image, options: argparse.Namespace) -> dict[str, Any]:
    """Fits of a process that has fitted images before: the settled fit, and further images with its optics.

    The next image of a series is, for want of one, the same image with its own optics, which says least, and with
    those of its left half: half of it is new to them.
    """
    settings = fit_settings(options)

    def fit(pixels: np.ndarray, optics: nd.Optics | None = None) -> tuple[nd.Fit, dict[str, Any]]:
        watch = Watch(reference.PUBLISHED_LOSS, SETTLED_LOSS)
        result = nd.fit(pixels, optics=optics, callback=watch, **settings)
        total = time.perf_counter() - watch.start
        return result, {
            "loss": result.summary["loss"],
            "unexplained": negative_log_likelihood(result),
            "steps": result.summary["steps"],
            "stopped": result.summary["stopped"],
            "droplets": len(result.droplets),
            "parts": result.summary["seconds"],
            "seconds": total,
            "published": watch.seconds[reference.PUBLISHED_LOSS],
            "settled": watch.seconds[SETTLED_LOSS],
        }

    pixels = image.pixels
    half, _ = fit(pixels[:, : pixels.shape[1] // 2])
    fit(pixels[4:, 4:])  # another image of nearly that size, as the first of a series
    own, settled = fit(pixels)
    nexts = {"its own": fit(pixels, own.optics)[1], "of its left half": fit(pixels, half.optics)[1]}
    return {"settled": settled, "next": nexts, "loss": {"warm": settled["published"]}}


def negative_log_likelihood(fit: nd.Fit) -> float:
    """Of the image under its reconstruction: what the loss holds besides is what droplets and optics cost."""
    sd, off = fit.summary["noise_sd"], fit.residual.astype(float)
    return float(np.sum(off**2) / (2 * sd**2) + off.size * np.log(sd * np.sqrt(2 * np.pi)))


def step(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds per step of a fit with few and many droplets, and of the bare network, measured in turns."""
    image = nd.Image(nd.simulate(STEP_SHAPE, 500, radius=STEP_RADIUS, seed=1)[0])
    tables = {n: random_circles(n) for n in STEP_SIZES}
    programs: dict[str, Callable[[], float]] = {str(n): chunks(image, table) for n, table in tables.items()}
    pixels, steps = batch()
    programs |= {name: bare(pixels, steps, name) for name in ("network", "network, weights alone")}
    rounds = min(STEP_ROUNDS, options.count or STEP_ROUNDS)
    runs: dict[str, list[float]] = {name: [] for name in programs}
    for run in range(1 + rounds):
        for name, program in programs.items():
            took = program()
            if run:  # the first compiles
                runs[name].append(took)
    result: dict[str, Any] = {"pixels": pixels, "steps": {n: float(np.median(t)) for n, t in runs.items()}, "loop": {}}
    for n, table in tables.items():
        for _ in range(2):  # the first compiles
            losses = nd.fit(image, table, noise=0.05, steps=min(LOOP_STEPS, options.steps or LOOP_STEPS)).losses
        done, _, moments = losses.T
        result["loop"][str(n)] = float(np.ptp(moments) / np.ptp(done)) if len(done) > 1 else float("nan")
    return result


def random_circles(n: int) -> nd.Droplets:
    """A table of droplets anywhere, with error bars as the network gives them."""
    rng = np.random.default_rng(n)
    h, w = STEP_SHAPE
    sd = np.full(n, 0.1 * STEP_RADIUS)
    return nd.Droplets(rng.uniform(0, w - 1, n), rng.uniform(0, h - 1, n), np.full(n, STEP_RADIUS), sd, sd, sd)


def batch() -> tuple[int, int]:
    """Pixels that a step of the fit sees, and steps of a chunk."""
    from napari_droplets.inference import svi
    from napari_droplets.model.assignment import TILE

    return svi.TILES_PER_STEP * TILE**2, svi.STEPS_PER_CHUNK


def chunks(image: nd.Image, start: nd.Droplets) -> Callable[[], float]:
    """The fit's own program: each call runs a chunk of steps, returns seconds per step."""
    import jax

    from napari_droplets.inference import optimize, prepare, svi

    setup = prepare.prepare(image, start, None, nd.Settings(noise=0.05))
    all_free = jax.tree.map(np.ones_like, jax.device_get(setup.state.parameters.mean))

    def runs() -> Iterator[float]:
        state, first = setup.state, 0
        while True:
            begun = time.perf_counter()
            rate, number = np.float32(optimize.LEARNING_RATE), np.uint32(first)
            state, losses = svi.chunk(state, setup.problem, all_free, rate, np.uint32(0), number, setup.form)
            jax.block_until_ready((state, losses))
            first += svi.STEPS_PER_CHUNK
            yield (time.perf_counter() - begun) / svi.STEPS_PER_CHUNK

    return partial(next, runs())


def bare(pixels: int, steps: int, kind: str) -> Callable[[], float]:
    """Forward and backward pass of the network alone on as many pixels; in the fit, gradients reach its inputs too."""
    import jax
    import jax.numpy as jnp

    from napari_droplets.model.optics import OpticsNetwork, initial_weights, input_size, unflatten

    channels, types = 3, nd.Settings().types
    network, inputs_too = OpticsNetwork(channels), kind == "network"

    def loss(carried: tuple[Any, jax.Array]) -> jax.Array:
        weights, inputs = carried
        inputs = inputs if inputs_too else jax.lax.stop_gradient(inputs)
        return jnp.mean(network.apply({"params": unflatten(weights)}, inputs) ** 2)

    @jax.jit
    def program(carried: tuple[Any, jax.Array]) -> Any:
        def one(carried: Any, _: None) -> tuple[Any, jax.Array]:
            value, gradient = jax.value_and_grad(loss)(carried)
            # all gradients are used: the compiler would leave out what is not
            return jax.tree.map(lambda a, g: a - 1e-3 * g, carried, gradient), value

        return jax.lax.scan(one, carried, None, length=steps)

    inputs = np.random.default_rng(0).standard_normal((pixels, input_size(channels, types))).astype(np.float32)

    def runs() -> Iterator[float]:
        carried = jax.device_put((initial_weights(0, channels, types), inputs))
        while True:
            begun = time.perf_counter()
            carried, _ = jax.block_until_ready(program(carried))
            yield (time.perf_counter() - begun) / steps

    return partial(next, runs())
