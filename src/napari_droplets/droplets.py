"""Droplets and Fit: the tables and files that every part speaks in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .errors import InputError
from .images import Image, PixelSize
from .images.pixel_size import divided, mean_side, pixel_size, width_height
from .lazy import LazyPixels, Pixels

SCALAR_COLUMNS = ("x", "y", "radius", "x_sd", "y_sd", "radius_sd", "p_present")
LABEL_COLUMNS = ("class", "class_p", "frame", "plane", "track_id", "pinned", "edited")
GUIDE_BY_ROW = ("anchor", "droplets", "droplets_tril", "prior_mean", "prior_sd")
"""What `Fit.guide` holds for each droplet; the rest is of the image."""


@dataclass(frozen=True)
class Droplets:
    """A set of N droplets, in pixels of the image given (x right, y down, pixel centres at integers).

    A quantity that does not apply is None, and its columns are absent from the table.

    Attributes
    ----------
    x, y, radius : ndarray
        (N,) float, pixels.
    x_sd, y_sd, radius_sd : ndarray, optional
        (N,) posterior standard deviations, pixels.
    p_present : ndarray, optional
        (N,) probability that there is a droplet.
    composition, composition_sd : ndarray, optional
        (N, K) posterior means and standard deviations.
    labels : dict
        Further columns by name: class, class_p, frame, track_id, pinned, edited, cut_by_border, or the user's own.
    pixel_size_um : float or (float, float), optional
        Side of a pixel, or width and height where they differ: with it the table also has x_um, y_um, radius_um, the
        last of a circle of the same area.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    x_sd: np.ndarray | None = None
    y_sd: np.ndarray | None = None
    radius_sd: np.ndarray | None = None
    p_present: np.ndarray | None = None
    composition: np.ndarray | None = None
    composition_sd: np.ndarray | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)
    pixel_size_um: PixelSize | None = None

    def __post_init__(self) -> None:
        n = np.size(self.x)
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name in ("labels", "pixel_size_um") or value is None:
                continue
            value = np.asarray(value, float)
            ndim = 2 if f.name.startswith("composition") else 1
            if value.ndim != ndim or len(value) != n:
                raise InputError(f"droplets: {f.name} has shape {value.shape}; {n} droplets expected")
            object.__setattr__(self, f.name, value)
        for column, label in self.labels.items():
            if np.shape(label)[:1] != (n,):
                raise InputError(f"droplets: {column} has shape {np.shape(label)}; {n} droplets expected")

    def __len__(self) -> int:
        return len(self.x)

    @property
    def types(self) -> int:
        """Number of composition components, 0 where composition is unknown."""
        return 0 if self.composition is None else self.composition.shape[1]

    def __getitem__(self, index: Any) -> Droplets:
        """The droplets chosen by a mask, slice or index array."""
        chosen: dict[str, Any] = {
            f.name: getattr(self, f.name)[index]
            for f in fields(self)
            if f.name not in ("labels", "pixel_size_um") and getattr(self, f.name) is not None
        }
        return replace(self, **chosen, labels={k: np.asarray(v)[index] for k, v in self.labels.items()})

    def scaled(self, factor: float) -> Droplets:
        """The same droplets in pixels of the image resized by `factor` (pixel centres at integers)."""

        def times(a: np.ndarray | None) -> np.ndarray | None:
            return None if a is None else a * factor

        return replace(
            self,
            x=(self.x + 0.5) * factor - 0.5,
            y=(self.y + 0.5) * factor - 0.5,
            radius=self.radius * factor,
            x_sd=times(self.x_sd),
            y_sd=times(self.y_sd),
            radius_sd=times(self.radius_sd),
            pixel_size_um=divided(self.pixel_size_um, factor),
        )

    def to_dataframe(self) -> pd.DataFrame:
        """The droplets table; columns in the order of the documentation, absent ones left out."""
        columns: dict[str, Any] = {
            name: getattr(self, name) for name in SCALAR_COLUMNS if getattr(self, name) is not None
        }
        for suffix, values in (("", self.composition), ("_sd", self.composition_sd)):
            if values is not None:
                columns |= {f"composition_{k}{suffix}": values[:, k] for k in range(values.shape[1])}
        columns |= {k: self.labels[k] for k in LABEL_COLUMNS if k in self.labels}
        columns |= {k: v for k, v in self.labels.items() if k not in LABEL_COLUMNS}
        if self.pixel_size_um is not None:
            columns |= self.in_micrometres()
        return pd.DataFrame(columns)

    def in_micrometres(self) -> dict[str, np.ndarray]:
        """x_um, y_um, radius_um; none where the size of a pixel is not known."""
        if self.pixel_size_um is None:
            return {}
        width, height = width_height(self.pixel_size_um)
        return {
            "x_um": self.x * width,
            "y_um": self.y * height,
            "radius_um": self.radius * mean_side(self.pixel_size_um),
        }

    @classmethod
    def from_dataframe(cls, table: pd.DataFrame, *, name: str = "table") -> Droplets:
        """Read a droplets table; only x, y and radius are required.

        Raises
        ------
        InputError
            A required column is missing, a position is not finite or a radius not positive.
        """
        missing = [c for c in ("x", "y", "radius") if c not in table]
        if missing:
            raise InputError(
                f"{name}: no column {', '.join(missing)}; a droplets table has x, y and radius in pixels; "
                f"its columns are {', '.join(map(str, table.columns))}"
            )

        def numbers(column: str) -> np.ndarray:
            try:
                return table[column].to_numpy(float)
            except (TypeError, ValueError) as error:
                raise InputError(f"{name}: column {column} is not numeric ({error})") from error

        values: dict[str, Any] = {column: numbers(column) for column in SCALAR_COLUMNS if column in table}
        for column in ("x", "y", "radius"):
            wrong = ~np.isfinite(values[column]) | (values[column] <= 0 if column == "radius" else False)
            if wrong.any():
                row = int(np.flatnonzero(wrong)[0])
                what = "a positive number" if column == "radius" else "a finite number"
                raise InputError(f"{name}: {column} in row {row} is {values[column][row]}, not {what}")
        k = 1 + max((i for i in range(table.shape[1]) if f"composition_{i}" in table), default=-1)
        for suffix in ("", "_sd"):
            names = [f"composition_{i}{suffix}" for i in range(k)]
            present = [c in table for c in names]
            if any(present) and not all(present):
                raise InputError(f"{name}: no column {names[present.index(False)]}; give all {k} components or none")
            if any(present):
                values[f"composition{suffix}"] = np.stack([numbers(c) for c in names], axis=1)
        known = set(SCALAR_COLUMNS) | {f"composition_{i}{s}" for i in range(k) for s in ("", "_sd")}
        size = _pixel_size({c: numbers(c) for c in ("x_um", "y_um", "radius_um") if c in table}, values)
        labels = {
            c: table[c].to_numpy() for c in table.columns if c not in known and c not in ("x_um", "y_um", "radius_um")
        }
        return cls(**values, labels=labels, pixel_size_um=size)


def beyond_border(x: np.ndarray, y: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Distances (N,) in pixels of centers from an image of this shape (H, W, ...); 0 in it."""
    h, w = shape[:2]
    return np.hypot(x - np.clip(x, -0.5, w - 0.5), y - np.clip(y, -0.5, h - 0.5))


def cut_by_border(droplets: Droplets, shape: tuple[int, ...]) -> np.ndarray:
    """Which droplets (N,) the border of an image of this shape (H, W, ...) cuts: a part of each circle is beyond."""
    h, w = shape[:2]
    x, y, r = droplets.x, droplets.y, droplets.radius
    return (x - r < -0.5) | (y - r < -0.5) | (x + r > w - 0.5) | (y + r > h - 0.5)


def with_border(droplets: Droplets, shape: tuple[int, ...]) -> Droplets:
    """The droplets with the column `cut_by_border`, the last one."""
    others = {name: label for name, label in droplets.labels.items() if name != "cut_by_border"}
    return replace(droplets, labels=others | {"cut_by_border": cut_by_border(droplets, shape)})


def marked(droplets: Droplets, column: str) -> np.ndarray:
    """(N,) bool, a column of truth values; missing values are false."""
    if column not in droplets.labels:
        return np.zeros(len(droplets), bool)
    return np.array([str(v).lower() in ("true", "1", "1.0") for v in droplets.labels[column]], bool)


def _pixel_size(um: dict[str, np.ndarray], px: dict[str, np.ndarray]) -> PixelSize | None:
    """Size of a pixel from columns in both units; the medians, as rows that were edited may disagree."""

    def ratio(name: str) -> float | None:
        known = np.isfinite(um.get(f"{name}_um", np.nan)) & (np.abs(px[name]) > 1e-6)
        return float(np.median((um[f"{name}_um"] / np.where(known, px[name], 1))[known])) if known.any() else None

    both, x, y = (ratio(name) for name in ("radius", "x", "y"))
    if both is None:
        return None
    sides = pixel_size(x, y)
    # radii are exact where positions may have been moved: positions say no more than that the sides differ
    if isinstance(sides, tuple) and np.isclose(mean_side(sides), both, rtol=1e-3):
        return sides
    return both


@dataclass(frozen=True)
class Optics:
    """Learned neural optics: how a droplet of given size and composition looks.

    Attributes
    ----------
    weights, weights_sd : dict
        Posterior means and standard deviations of the network's weights by name, as `Dense_0.kernel`, the power
        `thickness` of the radius with which looks grow, and the coefficients `glow` of the light outside of droplets,
        float32.
    types, channels : int
        Composition components K and image channels C that the network was made for.
    length : float
        The radius, in pixels, that radii are measured in where looks grow with them (typical one of the first image).
    composition : str
        'free' or 'simplex'.
    renderer : str
        'layered' or 'nearest'.
    noise_sd : float
        Standard deviation of the noise, intensities 0..1.
    blur_px : float
        Standard deviation of the image's blur, pixels.
    classes : dict, optional
        The classes found among the droplets that these optics were learned on, `Fit.summary["class_mixture"]`: images
        fitted with these optics as they are sort their droplets into the same ones.
    systematic : list of float, optional
        Standard deviations (3) of the error that these optics give to all circles: x and y in radii, and log radius.
    """

    weights: dict[str, np.ndarray]
    weights_sd: dict[str, np.ndarray]
    types: int
    channels: int
    length: float
    composition: str
    renderer: str
    noise_sd: float
    blur_px: float
    classes: dict[str, list[Any]] | None = None
    systematic: list[float] | None = None


@dataclass(frozen=True)
class Fit:
    """What a fit found, and all that is needed to continue from it.

    Attributes
    ----------
    droplets : Droplets
        Posterior means and standard deviations.
    reconstruction : ndarray or LazyPixels
        (H, W, C) float32 in 0..1: the posterior mean of the rendered image. Of a large image it is drawn where it is
        asked for: index it as an array.
    optics : Optics
        The learned neural optics; give it to the next `fit` of the series.
    losses : ndarray
        (n_chunks, 3): step, mean loss (negative ELBO) of the chunk that ends there, seconds since the start.
    summary : dict
        What `summary.json` holds, but for `statistics`, which are made of the droplets when they are saved, and by
        `nd.statistics(fit)`.
    guide : dict
        Parameters of the posterior: `anchor` (N, 3) x, y, radius; `droplets` (N, D), means of the offset from the
        anchor in radii (2), the log radius relative to it and the composition in logits, and `droplets_tril` (N, D, D),
        Cholesky factors of their covariances; `systematic` (3,), deviations of what all droplets err together (shift in
        radii, log radius); `prior_mean` and `prior_sd` (N, 3); `background` and `background_sd`, coefficients of the
        B-spline surface and their deviations.
    image : Image, optional
        The image fitted; None when its file is gone after `read`.
    """

    droplets: Droplets
    reconstruction: Pixels
    optics: Optics
    losses: np.ndarray
    summary: dict[str, Any]
    guide: dict[str, np.ndarray]
    image: Image | None = None

    @property
    def table(self) -> pd.DataFrame:
        """The droplets table."""
        return self.droplets.to_dataframe()

    @property
    def residual(self) -> Pixels:
        """(H, W, C) float32, image minus reconstruction; of a large image made where it is asked for.

        Raises
        ------
        InputError
            The image is not at hand (read from a folder and its file is gone or changed).
        """
        if self.image is None:
            where = self.summary.get("image", {}).get("path") or "unknown"
            raise InputError(f"residual: the image of this fit is not at hand ({where}); use read(folder, image=...)")
        pixels, drawn = self.image.pixels, self.reconstruction
        if isinstance(pixels, LazyPixels) or isinstance(drawn, LazyPixels):
            return LazyPixels(self.image.shape, lambda block: pixels[block.slices] - drawn[block.slices])
        return pixels - drawn

    def sample(self, n: int, *, seed: int = 0) -> dict[str, np.ndarray]:
        """Draw joint samples of all droplets from the posterior.

        Returns
        -------
        dict
            x, y, radius (n, N) in pixels, composition (n, N, K).

        Raises
        ------
        InputError
            Parts of the posterior are missing: the fit was read from a folder that is not whole.
        """
        from .inference.posterior import sample_droplets
        from .results.saved_fits import check_whole
        from .transforms import unconstrained_size

        check_whole(self.guide, unconstrained_size(self.optics.types, self.optics.composition), "sample")
        return sample_droplets(self.guide, self.optics.composition, n, seed)

    def to_arviz(self, n: int = 500, *, seed: int = 0) -> Any:
        """N joint samples of the posterior as ArviZ takes them; see `napari_droplets.interop.to_arviz`.

        Raises
        ------
        InputError
            ArviZ is not installed.
        """
        from .interop import to_arviz

        return to_arviz(self, n, seed=seed)

    def save(self, folder: str | Path) -> Path:
        """Write droplets.csv, droplets.parquet, reconstruction.tif, optics.safetensors and summary.json.

        The reconstruction of a large image is written block by block as a pyramid, reconstruction.ome.zarr. Returns the
        folder.

        Raises
        ------
        InputError
            The folder cannot be written to.
        """
        from .results.files import save_fit

        return save_fit(self, folder)
