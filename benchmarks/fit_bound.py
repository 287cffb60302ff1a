"""Errors of a fit against the Cramer-Rao bound: isolated droplets drawn from the model itself.

Each droplet lies alone in a cell of the image so large that no other reaches into it, on an even ground, under white
noise. What the pixels can tell of its x, y and radius follows from the Jacobian of the package's own forward model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from fit_data import FIRST_SEED
from fit_scores import jittered

import napari_droplets as nd
from napari_droplets.compare import match

CELL = 64  # pixels, a side: six of the largest radii and room for a shift
GRID = (8, 10)  # cells of an image
RADII = (4.0, 10.0)  # pixels
SHIFT = 2.0  # pixels by which a center may be off the middle of its cell, at most
NOISES = (0.01, 0.02, 0.05)
CLASSES = 3  # compositions that droplets have
JITTER = 0.2  # radii, of the droplets that the fit starts from
QUANTITIES = ("x", "y", "radius")
OPTICS = ("held", "given")
"""What a fit knows of the optics that the image was drawn with: all, or where to start."""


class Scene(NamedTuple):
    """Droplets drawn from the model: truth, noise-free (H, W, C) image, and what pixels tell.

    `information` (N, D, D) is the Fisher information of x, y, radius and the free directions of the composition, for
    noise of standard deviation one.
    """

    truth: nd.Droplets
    image: np.ndarray
    information: np.ndarray


def bound(noise: float, number: int, model: tuple[nd.Optics, np.ndarray, np.ndarray] | None = None) -> dict[str, Any]:
    """One image with this noise: by what is known of the optics, sums of squared errors over bounds (x, y, radius).

    `model` is what `learned` returns.
    """
    optics, ground, classes = model or learned()
    rng = np.random.default_rng(FIRST_SEED["bound"] + 100 * (NOISES.index(noise) + 1) + number)
    scene = draw(optics, ground, classes, rng)
    pixels = scene.image + noise * rng.standard_normal(scene.image.shape)
    image = nd.Image(pixels.astype(np.float32), f"noise {noise:g}, {number}")  # not clipped to 0..1: white noise
    start = jittered(scene.truth, JITTER, rng)
    form = {"types": optics.types, "composition": optics.composition, "population": "given"}
    row: dict[str, Any] = {"drawn": len(start)}
    for known in OPTICS:
        fit = nd.fit(image, start, optics, learn_optics=known != "held", **form)
        z = errors(scene, fit.droplets, noise)
        row[known] = [len(z), *np.sum(z**2, 0).tolist()]
        row[f"{known}, typical"] = np.quantile(np.abs(z), 0.6827, 0).tolist()
    return row


def ratios(rows: list[dict[str, Any]], known: str) -> list[float]:
    """Root mean square errors over bounds of x, y and radius."""
    n, *squares = np.sum([row[known] for row in rows], 0)
    return np.sqrt(np.array(squares) / max(n, 1)).tolist()


def typical(rows: list[dict[str, Any]], known: str) -> list[float]:
    """The 68 % quantile of errors over bounds, mean of images: few droplets in a wrong place do not count here."""
    return np.mean([row[f"{known}, typical"] for row in rows], 0).tolist()


def learned() -> tuple[nd.Optics, np.ndarray, np.ndarray]:
    """Optics without light outside, (C,) color of the slide and (CLASSES, K) compositions, of a simulated image."""
    from dataclasses import replace

    from scipy.cluster.vq import kmeans2

    pixels, _ = nd.simulate((256, 256), 90, radius=6.5, radius_spread=0.3, noise=0.01, seed=FIRST_SEED["bound"])
    fit = nd.fit(pixels)
    assert fit.droplets.composition is not None
    classes, _ = kmeans2(fit.droplets.composition, CLASSES, minit="++", seed=0)
    optics = replace(fit.optics, weights=fit.optics.weights | {"glow": 0 * np.asarray(fit.optics.weights["glow"])})
    return optics, np.median(pixels, (0, 1)), classes


def draw(optics: nd.Optics, ground: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> Scene:
    """Draw one image with a droplet in every cell."""
    n = GRID[0] * GRID[1]
    radius = np.exp(rng.uniform(*np.log(RADII), n))
    center = (CELL - 1) / 2 + rng.uniform(-SHIFT, SHIFT, (n, 2))
    composition = classes[rng.integers(len(classes), size=n)]
    states = np.column_stack([center, radius, np.zeros((n, optics.types))])
    basis = directions(optics)
    values, jacobian = cells(optics, ground, basis)(states[:, : 3 + basis.shape[0]], composition)
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
    optics: nd.Optics, ground: np.ndarray, basis: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What draws single droplets in cells, and its Jacobian.

    The function returned takes states (N, 3 + D), x, y, radius in pixels of the cell and changes of the composition
    along `basis`, and compositions (N, K); gives values (N, P, C) and their derivatives (N, P C, 3 + D).
    """
    import jax
    import jax.numpy as jnp

    from napari_droplets.inference.prepare import shared_of
    from napari_droplets.model.rendering import Droplet, layer

    shared = shared_of(optics, 1.0)
    side = jnp.arange(CELL, dtype=jnp.float32)
    position = jnp.stack(jnp.meshgrid(side, side)).reshape(2, -1)
    beneath = jnp.broadcast_to(jnp.asarray(ground, jnp.float32)[:, None], (optics.channels, CELL**2))
    along = jnp.asarray(basis, jnp.float32)

    @jax.jit
    def one(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        state, composition = (jnp.broadcast_to(a[:, None], (len(a), CELL**2)) for a in pair)

        def draw(state: jax.Array) -> jax.Array:
            x, y, radius, *change = state
            droplet = Droplet(x, y, radius, composition + along.T @ jnp.stack(change))
            return layer(beneath, droplet, position, shared)

        colors, pull = jax.vjp(draw, state)  # a pixel depends on its own copy of the state alone
        slopes = jnp.stack([pull(jnp.zeros_like(colors).at[c].set(1.0))[0] for c in range(len(colors))])
        return colors.T, slopes.transpose(2, 0, 1).reshape(-1, len(state))

    def all_cells(states: np.ndarray, composition: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        values, jacobian = jax.lax.map(one, (states.astype(np.float32), composition.astype(np.float32)))
        return np.asarray(values, float), np.asarray(jacobian, float)

    return all_cells


def cramer_rao(information: np.ndarray, noise: float) -> np.ndarray:
    """(N, 3) smallest standard deviations of x, y and radius of any unbiased estimate, composition unknown.

    `information` (N, D, D) is for noise of one, x, y and radius first.
    """
    mixed, others = information[:, :3, 3:], information[:, 3:, 3:]
    # a direction that no pixel shows takes nothing from the others: hence the pseudo-inverse
    known = mixed @ np.linalg.pinv(others, rcond=1e-9, hermitian=True) @ mixed.swapaxes(1, 2)
    return noise * np.sqrt(np.diagonal(np.linalg.inv(information[:, :3, :3] - known), axis1=1, axis2=2))


def errors(scene: Scene, found: nd.Droplets, noise: float) -> np.ndarray:
    """(M, 3) errors of the droplets that were found, over their bounds."""
    i, j = match(scene.truth, found)
    off = [getattr(found, name)[j] - getattr(scene.truth, name)[i] for name in QUANTITIES]
    return np.stack(off, -1) / cramer_rao(scene.information, noise)[i]
