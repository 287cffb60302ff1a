"""What decides the result of a fit besides the image."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from .errors import InputError

MAX_TYPES = 16
MAX_CLASSES = 16
AUTO = "auto"
OPTICS_FROM = 4
"""Images of a series that optics are learned on together: a quarter of each makes an image of their size."""
MIN_DIAMETER = 1.5  # pixels


CHOICES = {
    "detector": ("network", "blobs"),
    "composition": ("free", "simplex"),
    "background": ("smooth", "uniform"),
    "population": ("inferred", "given"),
    "renderer": ("layered", "nearest"),
}
"""The settings that are one of a few words."""

READING = ("channels", "pixel_size_um", "frames", "planes", "scene", "intensity_range")
"""The settings that say how an image is read."""


def _setting(default: Any, about: str, none: str = "") -> Any:
    """Make a field that says what it is, and what None stands for; options, tips and documentation show it."""
    return field(default=default, metadata={"about": about, "none": none})


@dataclass(frozen=True)
class Settings:
    """All that decides the result of a fit besides the image; saved with it in `summary.json`."""

    types: int | str = _setting(
        3,
        "number of components that describe what a droplet is made of, 1 to 16, or auto: as many, up to 5, as pixels "
        "want that short fits were not shown, which takes longer",
    )
    diameter: float | None = _setting(
        None, "typical diameter of the droplets in pixels of the image", "estimated from the image"
    )
    detector: str = _setting(
        "network",
        "what proposes droplets. network: trained on simulated images, tells how probable each is; "
        "blobs: whatever stands out from the background",
    )
    weights: str | None = _setting(
        None, "weights file of the network, as `napari-droplets train` writes it", "those of the package"
    )
    min_probability: float = _setting(
        0.5, "droplets that are less probable (p_present) are left out, 0 to 1; blobs have no probability"
    )
    seed: int = _setting(0, "of all random numbers: the same seed gives the same result")
    composition: str = _setting(
        "free", "free: each component on its own, 0 to 1; simplex: fractions of two or more that sum to one"
    )
    background: str = _setting("smooth", "smooth: follows uneven light; uniform: one color")
    population: str = _setting(
        "inferred",
        "inferred: droplets may join and leave by what the pixels say; given: exactly those that the fit starts from",
    )
    renderer: str = _setting(
        "layered",
        "layered: where two droplets meet the smaller lies over the larger; nearest: only the nearest is seen",
    )
    learn_optics: bool = _setting(
        True,
        "whether optics that a fit is given are learned on, or stay, so that compositions mean the same as there; "
        "without any they are learned in any case",
    )
    classes: int | None = _setting(
        None,
        "number of classes that droplets are sorted into by composition",
        "as many, up to 6, as can be told apart",
    )
    noise: float | None = _setting(
        None, "standard deviation of the noise, intensities from 0 to 1", "learned from the image"
    )
    steps: int = _setting(600, "most optimization steps; a fit that has settled stops sooner")
    max_seconds: float | None = _setting(
        None, "most seconds for one image; the result is what was reached by then", "no limit"
    )
    scale: float = _setting(
        1.0, "fit the image resized by this factor: less is faster; results stay in pixels of the image given"
    )
    region: Any = _setting(  # noqa: RUF009
        None,
        "where droplets are looked for and counted: a box x0, y0, x1, y1 in pixels of the image, or a mask, an image "
        "of the same size that is not zero there; a droplet is inside if its center is",
        "the whole image",
    )
    pixel_size_um: float | tuple[float, float] | None = _setting(
        None,
        "side of a pixel in micrometres, or width and height; adds columns in micrometres",
        "what the file or layer says, if it does",
    )
    channels: list[int | str] | None = _setting(  # noqa: RUF009 (makes a field)
        None, "which one or three channels to use, by number from 0 or by name", "all"
    )
    frames: int | list[int] | str | None = _setting(  # noqa: RUF009
        None,
        "which frames of a stack, counted from 0, or all: each is an image of one series",
        "the file must hold one",
    )
    planes: int | list[int] | str | None = _setting(  # noqa: RUF009
        None, "which planes of a stack, likewise", "the file must hold one"
    )
    scene: int | str | None = _setting(
        None, "which of several pictures of different kinds in a file, by number or name", "the file must hold one"
    )
    intensity_range: tuple[float, float] | None = _setting(
        None,
        "the two values of the file that count as 0 and 1",
        "what the file says, else estimated from the values of the whole series",
    )

    def __post_init__(self) -> None:
        from .images.region import checked_region

        object.__setattr__(self, "region", checked_region(self.region))
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


Settings.__doc__ = f"{Settings.__doc__}\n\nAttributes\n----------\n" + "\n".join(
    f"{f.name} : {f.type}\n    {f.metadata['about']}" + (f"; None: {none}" if (none := f.metadata["none"]) else "")
    for f in fields(Settings)
)


def check_optics_from(number: int) -> None:
    """Whether optics can be learned on so many images.

    Raises
    ------
    InputError
        They cannot.
    """
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise InputError(f"optics_from={number!r}: must be a whole number of images, at least 1")
