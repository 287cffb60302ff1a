"""What decides the result of a fit besides the image."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

MAX_TYPES = 16
MAX_CLASSES = 16
AUTO = "auto"
MIN_DIAMETER = 1.5  # pixels


CHOICES = {
    "detector": ("network", "blobs"),
    "composition": ("free", "simplex"),
    "background": ("smooth", "uniform"),
    "population": ("inferred", "given"),
    "renderer": (AUTO, "nearest", "blended", "layered"),
}
"""The settings that are one of a few words."""

READING = ("channels", "pixel_size_um", "frames", "planes", "scene", "intensity_range")
"""The settings that say how an image is read."""


@dataclass(frozen=True)
class Settings:
    """All that decides the result of a fit besides the image; saved with it in `summary.json`.

    Attributes
    ----------
    types : int or 'auto'
        Number of composition components K, 1 to 16. 'auto': as many as held-out pixels want, up to 5, which takes some
        short fits more; where optics or known compositions are given, as many as they have.
    diameter : float, optional
        Typical droplet diameter in pixels of the image given; estimated by default.
    detector : {'network', 'blobs'}
        What proposes droplets: the recognition network, or blobs that stand out from the background.
    weights : path, optional
        Weights file of the network, as `napari-droplets train` writes; those of the package by default.
    min_probability : float
        Candidates of the network with a smaller p_present are no droplets, 0 to 1; blobs have no p_present.
    seed : int
        Of all random numbers.
    composition : {'free', 'simplex'}
        Components independent in 0..1, or fractions of K species that sum to one (K >= 2).
    background : {'smooth', 'uniform'}
        A low-order surface, or one color.
    population : {'inferred', 'given'}
        Whether droplets may join and leave a fit by what the pixels say, or are those that it starts from.
    renderer : {'auto', 'nearest', 'blended', 'layered'}
        Which droplets a pixel sees. 'auto': the nearest one while optics are learned; in the end, where that explains
        the image better, the two nearest, the smaller one over the larger.
    learn_optics : bool
        Whether optics are learned on, or stay those that the fit is given, so that compositions mean the same as there.
    classes : int, optional
        Number of classes that droplets are sorted into by composition; by default as many, up to 6, as can be told
        apart.
    noise : float, optional
        Standard deviation of the noise (intensities 0..1); learned by default.
    steps : int
        Most optimisation steps; the fit stops sooner when the loss has settled.
    max_seconds : float, optional
        Most seconds for the whole fit, as far as compiling and two chunks of steps leave any; the result is what was
        reached by then.
    scale : float
        Work on the image resized by this factor; results stay in pixels of the image given.
    pixel_size_um : float or (float, float), optional
        Side of a pixel in micrometres, or its width and height.
    channels : list of int or str, optional
        Which one or three channels of the image to use, by number or name.
    frames, planes : int, list of int or 'all', optional
        Which pictures of a stack, counted from 0; `fit` and `detect` take one.
    scene : int or str, optional
        Which of several pictures of different kinds in a file, by number or name.
    intensity_range : (float, float), optional
        The values of the file that are 0 and 1; what the file says, or estimated from its values, by default.
    """

    types: int | str = 3
    diameter: float | None = None
    detector: str = "network"
    weights: str | None = None
    min_probability: float = 0.5
    seed: int = 0
    composition: str = "free"
    background: str = "smooth"
    population: str = "inferred"
    renderer: str = AUTO
    learn_optics: bool = True
    classes: int | None = None
    noise: float | None = None
    steps: int = 600
    max_seconds: float | None = None
    scale: float = 1.0
    pixel_size_um: float | tuple[float, float] | None = None
    channels: list[int | str] | None = None
    frames: int | list[int] | str | None = None
    planes: int | list[int] | str | None = None
    scene: int | str | None = None
    intensity_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # NumPy's numbers and arrays cannot be written as JSON
            if isinstance(value, (np.generic, np.ndarray)):
                object.__setattr__(self, name, value.tolist())
        if isinstance(self.weights, Path):
            object.__setattr__(self, "weights", str(self.weights))

        def check(ok: bool, name: str, want: str) -> None:
            if not ok:
                raise InputError(f"{name}={getattr(self, name)!r}: must be {want}")

        def number(value: Any, low: float, high: float, *, whole: bool = False, strict: bool = False) -> bool:
            kind = int if whole else (int, float)
            ok = isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high
            return bool(ok and not (strict and value == low))

        check(
            self.types == AUTO or number(self.types, 1, MAX_TYPES, whole=True),
            "types",
            f"a whole number from 1 to {MAX_TYPES}, or {AUTO!r}",
        )
        check(
            self.diameter is None or number(self.diameter, MIN_DIAMETER, 1e5),
            "diameter",
            f"pixels, at least {MIN_DIAMETER}, or None to estimate it",
        )
        check(number(self.seed, 0, 2**32 - 1, whole=True), "seed", "a whole number from 0 to 4294967295")
        check(number(self.min_probability, 0, 1), "min_probability", "a probability, 0 to 1")
        check(
            self.weights is None or (isinstance(self.weights, str) and self.weights != ""),
            "weights",
            "the path of a weights file, or None for those of the package",
        )
        for name, words in CHOICES.items():
            check(getattr(self, name) in words, name, " or ".join(map(repr, words)))
        check(not (self.composition == "simplex" and self.types == 1), "types", "at least 2 for a simplex")
        check(isinstance(self.learn_optics, bool), "learn_optics", "True or False")
        check(
            self.classes is None or number(self.classes, 1, MAX_CLASSES, whole=True),
            "classes",
            f"a whole number from 1 to {MAX_CLASSES}, or None for as many as can be told apart",
        )
        check(self.noise is None or number(self.noise, 0, 1, strict=True), "noise", "between 0 and 1, or None")
        check(number(self.steps, 1, 10_000_000, whole=True), "steps", "a whole number, at least 1")
        check(
            self.max_seconds is None or number(self.max_seconds, 0, 1e9, strict=True),
            "max_seconds",
            "positive and finite, or None",
        )
        check(number(self.scale, 0, 8, strict=True), "scale", "positive, at most 8")
        size = self.pixel_size_um
        if isinstance(size, list):
            object.__setattr__(self, "pixel_size_um", tuple(size))
        sides = size if isinstance(size, (list, tuple)) and len(size) == 2 else [size]
        check(
            size is None or all(number(side, 0, 1e9, strict=True) for side in sides),
            "pixel_size_um",
            "a positive number of micrometres, or two, width and height",
        )

        chosen = self.channels
        if isinstance(chosen, tuple):
            object.__setattr__(self, "channels", list(chosen))
        known = isinstance(chosen, (list, tuple)) and all(
            number(c, 0, 1e6, whole=True) or (isinstance(c, str) and c != "") for c in chosen
        )
        check(chosen is None or (known and len(chosen) in (1, 3)), "channels", "one or three numbers or names, or None")
        for name in ("frames", "planes"):
            value = getattr(self, name)
            several = list(value) if isinstance(value, (list, tuple)) else [value]
            object.__setattr__(self, name, several if isinstance(value, tuple) else value)
            ok = value in (None, "all") or (several and all(number(v, 0, 1e9, whole=True) for v in several))
            check(bool(ok), name, "whole numbers from 0, 'all', or None")
        ok = self.scene is None or isinstance(self.scene, str) or number(self.scene, 0, 1e9, whole=True)
        check(ok, "scene", "a number from 0, a name, or None")
        if self.intensity_range is not None:
            from .images import checked_range

            object.__setattr__(self, "intensity_range", checked_range(self.intensity_range))

    @property
    def reading(self) -> dict[str, Any]:
        """Those that say how an image is read, for `as_image`."""
        return {name: getattr(self, name) for name in READING}

    @property
    def components(self) -> int:
        """Number of components, once it is known.

        Raises
        ------
        InputError
            It is still to be found out.
        """
        if isinstance(self.types, str):
            raise InputError(f"types={self.types!r}: the number of components is not known yet; give it")
        return self.types

    @classmethod
    def of(cls, **values: Any) -> Settings:
        """Settings by keyword, as `fit` takes them.

        Raises
        ------
        InputError
            A name that is no setting, or a value out of range.
        """
        names = [f.name for f in fields(cls)]
        if unknown := sorted(set(values) - set(names)):
            raise InputError(f"{', '.join(unknown)}: no such setting; there are {', '.join(names)}")
        return cls(**values)
