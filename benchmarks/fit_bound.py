"""Errors of a fit against the Cramer-Rao bound: isolated droplets drawn from the model itself.

Each droplet lies alone in a cell of the image so large that no other reaches into it, on an even ground, under white
noise. What the pixels can tell of its x, y and radius follows from the Jacobian of the package's own renderer.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fit_data import FIRST_SEED, fit_settings
from fit_scores import jittered

import napari_droplets as nd
from napari_droplets.compare import match

CELL = 64  # pixels, a side: six of the largest radii and room for a shift
GRID = (8, 10)  # cells of an image
RADII = (4.0, 10.0)  # pixels
SHIFT = 2.0  # pixels by which a center may be off the middle of its cell, at most
NOISES = (0.01, 0.02, 0.05)
CLASSES = 3  # compositions that droplets have
N_IMAGES = 3  # of each noise
JITTER = 0.2  # radii, of the droplets that the fit starts from
BINS = 6  # points of each noise in the figure
QUANTITIES = ("x", "y", "radius")
OPTICS = ("held", "given", "unknown")
"""What a fit knows of the optics that the image was drawn with: all, where to start, or nothing."""


class Scene(NamedTuple):
    """Droplets drawn from the model: truth, noise-free (H, W, C) image, and what pixels tell.

    `information` (N, D, D) is the Fisher information of x, y, radius and the free directions of the composition, for
    noise of standard deviation one.
    """

    truth: nd.Droplets
    image: np.ndarray
    information: np.ndarray


class Errors(NamedTuple):
    """Of matched droplets (M, 3), x, y and radius in pixels: errors, bounds with and without knowing the composition.

    `sd` are the standard deviations that the fit states; `radius` (M,) is the true one.
    """

    error: np.ndarray
    bound: np.ndarray
    bound_known: np.ndarray
    sd: np.ndarray
    radius: np.ndarray


def bound(options: argparse.Namespace) -> dict[str, Any]:
    """Ratios of errors to bounds by noise and by what is known of the optics; points of the figure."""
    settings = fit_settings(options, noise=False)
    optics, background, classes = learned(settings)
    result: dict[str, Any] = {"rows": []}
    count = options.count or N_IMAGES
    for level, noise in enumerate(NOISES):
        gathered: dict[str, list[Errors]] = {known: [] for known in OPTICS}
        drawn = 0
        for index in range(count):
            seed = FIRST_SEED["bound"] + 100 * (level + 1) + index
            rng = np.random.default_rng(seed)
            scene = draw(optics, background, classes, rng)
            pixels = scene.image + noise * rng.standard_normal(scene.image.shape)
            image = nd.Image(pixels.astype(np.float32), f"noise {noise:g}, {index}")  # not clipped to 0..1: white noise
            start = jittered(scene.truth, JITTER, rng)
            drawn += len(start)
            for known, those in gathered.items():
                told = None if known == "unknown" else optics
                form = {"types": optics.types, "composition": optics.composition, "learn_optics": known != "held"}
                fit = nd.fit(image, start, told, **form, **settings)
                those.append(errors(scene, fit.droplets, noise))
            print(f"bound: noise {noise:g}, {index + 1} of {count}", file=sys.stderr, flush=True)
        for known, those in gathered.items():
            together = Errors(*(np.concatenate(parts) for parts in zip(*those, strict=True)))
            figures = {"noise": noise, "optics": known, "drawn": drawn, "found": len(together.error)}
            result["rows"].append(figures | ratios(together))
    return result


def learned(settings: dict[str, Any]) -> tuple[nd.Optics, np.ndarray, np.ndarray]:
    """Optics, (C,) background in logit space and (CLASSES, K) compositions, from the fit of a simulated image."""
    from scipy.cluster.vq import kmeans2

    pixels, _ = nd.simulate((256, 256), 90, radius=6.5, radius_spread=0.3, noise=0.01, seed=FIRST_SEED["bound"])
    fit = nd.fit(pixels, **settings)
    assert fit.droplets.composition is not None
    classes, _ = kmeans2(fit.droplets.composition, CLASSES, minit="++", seed=0)
    return fit.optics, fit.guide["background"][0], classes


def draw(optics: nd.Optics, background: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> Scene:
    """Draw one image with a droplet in every cell."""
    n = GRID[0] * GRID[1]
    radius = np.exp(rng.uniform(*np.log(RADII), n))
    center = (CELL - 1) / 2 + rng.uniform(-SHIFT, SHIFT, (n, 2))
    composition = classes[rng.integers(len(classes), size=n)]
    states = np.column_stack([center, radius, np.zeros((n, optics.types))])
    basis = directions(optics)
    values, jacobian = cells(optics, background, basis)(states[:, : 3 + basis.shape[0]], composition)
    row, column = np.divmod(np.arange(n), GRID[1])
    truth = nd.Droplets(center[:, 0] + CELL * column, center[:, 1] + CELL * row, radius, composition=composition)
    image = values.reshape(*GRID, CELL, CELL, -1).swapaxes(1, 2).reshape(GRID[0] * CELL, GRID[1] * CELL, -1)
    return Scene(truth, image, np.einsum("npd,npe->nde", jacobian, jacobian))


def directions(optics: nd.Optics) -> np.ndarray:
    """(D, K) orthonormal directions in which a composition may change: all, or those that keep the sum."""
    k = optics.types
    if optics.composition != "simplex":
        return np.eye(k)
    return np.linalg.svd(np.ones((1, k)))[2][1:]


def cells(
    optics: nd.Optics, background: np.ndarray, basis: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Renderer of single droplets in cells, and its Jacobian.

    The function returned takes states (N, 3 + D), x, y, radius in pixels of the cell and changes of the composition
    along `basis`, and compositions (N, K); gives values (N, P, C) and their derivatives (N, P C, 3 + D).
    """
    import jax
    import jax.numpy as jnp

    from napari_droplets.model.optics import OpticsNetwork, unflatten
    from napari_droplets.model.rendering import Local, render

    network = OpticsNetwork(optics.channels)
    side = jnp.arange(CELL, dtype=jnp.float32)
    position = jnp.stack(jnp.meshgrid(side, side), -1).reshape(1, -1, 2)
    ground = jnp.broadcast_to(jnp.asarray(background, jnp.float32), (1, CELL**2, optics.channels))

    def cell(state: jax.Array, composition: jax.Array) -> jax.Array:
        x, y, radius = state[:3, None, None]
        local = Local(x, y, radius, (composition + state[3:] @ basis)[None, None])
        apply = lambda inputs: network.apply({"params": unflatten(optics.weights)}, inputs)  # noqa: E731
        return render(optics.renderer, apply, local, position, ground, jnp.float32(optics.length))[0]

    @jax.jit
    def one(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        state, composition = pair
        tangents = jnp.eye(len(state))
        derivative = jax.vmap(lambda t: jax.jvp(lambda s: cell(s, composition), (state,), (t,))[1])(tangents)
        return cell(state, composition), derivative.reshape(len(state), -1).T

    def all_cells(states: np.ndarray, composition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, jacobian = jax.lax.map(one, (states.astype(np.float32), composition.astype(np.float32)))
        return np.asarray(values, float), np.asarray(jacobian, float)

    return all_cells


def cramer_rao(information: np.ndarray, noise: float, *, nuisance: bool = True) -> np.ndarray:
    """(N, 3) smallest standard deviations of x, y and radius of any unbiased estimate.

    Parameters
    ----------
    information : ndarray
        (N, D, D) Fisher information for noise of one, x, y and radius first.
    noise : float
        Standard deviation.
    nuisance : bool
        The other parameters are unknown as well.
    """
    wanted = information[:, :3, :3]
    if nuisance:
        mixed, others = information[:, :3, 3:], information[:, 3:, 3:]
        # a direction that no pixel shows takes nothing from the others: hence the pseudo-inverse
        wanted = wanted - mixed @ np.linalg.pinv(others, rcond=1e-9, hermitian=True) @ mixed.swapaxes(1, 2)
    return noise * np.sqrt(np.diagonal(np.linalg.inv(wanted), axis1=1, axis2=2))


def errors(scene: Scene, found: nd.Droplets, noise: float) -> Errors:
    """Errors of the droplets that were found."""
    i, j = match(scene.truth, found)
    columns = [[getattr(d, name)[k] for name in QUANTITIES] for d, k in ((found, j), (scene.truth, i))]
    sds = [getattr(found, f"{name}_sd") for name in QUANTITIES]
    sd = np.stack([np.full(len(j), np.nan) if s is None else s[j] for s in sds], -1)
    bounds = [cramer_rao(scene.information, noise, nuisance=nuisance)[i] for nuisance in (True, False)]
    return Errors(np.subtract(*columns).T, *bounds, sd, scene.truth.radius[i])


def ratios(e: Errors) -> dict[str, Any]:
    """Root mean square errors over bounds of x, y and radius, raw and after what is common to all has been taken out.

    Common to all are shifts and growth in units of the radius, which the optics of a fit may trade for their own.
    """
    relative, weight = e.error / e.radius[:, None], (e.radius[:, None] / e.bound) ** 2
    common = np.sum(weight * relative, 0) / np.sum(weight, 0)
    rest = e.error - common * e.radius[:, None]
    figures = {
        "ratio": rms(e.error / e.bound),
        "ratio_known": rms(e.error / e.bound_known),
        "ratio_common_out": rms(rest / e.bound),
        "typical": (np.quantile(np.abs(e.error / e.bound), 0.6827, 0) if len(e.error) else np.full(3, np.nan)),
        "common": common,
        "stated": np.median(e.sd / e.bound, 0),
    }
    return {name: values.tolist() for name, values in figures.items()} | {"points": points(e)}


def rms(values: np.ndarray) -> np.ndarray:
    """Root mean square of each column."""
    return np.sqrt(np.mean(values**2, 0))


def points(e: Errors) -> dict[str, list[list[float]]]:
    """For the figure: by quantity, [bound, error] of groups of droplets of like bound, root mean squares."""
    result = {}
    for column, name in enumerate(QUANTITIES):
        order = np.argsort(e.bound[:, column])
        groups = [part for part in np.array_split(order, BINS) if len(part)]
        result[name] = [[float(rms(a[g, column])) for a in (e.bound, e.error)] for g in groups]
    return result


def draw_figure(figures: dict[str, Any], path: Path) -> None:
    """Errors against bounds, both logarithmic, of fits with the optics held (filled) and unknown (open)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    figure = Figure(figsize=(13, 4), layout="constrained")
    for ax, name in zip(figure.subplots(1, 3), QUANTITIES, strict=True):
        for row in figures["rows"]:
            if row["optics"] == "given":
                continue
            color, held = f"C{NOISES.index(row['noise'])}", row["optics"] == "held"
            label = f"noise {row['noise']:g}" + ("" if held else ", optics unknown")
            x, y = np.transpose(row["points"][name])
            ax.plot(x, y, "o", color=color, markersize=5, fillstyle="full" if held else "none", label=label)
        ends = np.array(ax.get_xlim())
        ax.plot(ends, ends, color="0.5", zorder=0, label="bound")
        ax.plot(ends, 1.3 * ends, "--", color="0.5", zorder=0, label="1.3 times the bound")
        ax.set(xscale="log", yscale="log", title=name, xlabel="Cramér–Rao bound, pixels", xlim=ends)
        ax.xaxis.set_minor_formatter(NullFormatter())
    figure.axes[0].set_ylabel("root mean square error, pixels")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
