"""Droplets found without a fit: what `detect` does, and where fits start."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from ..droplets import Droplets, beyond_border, with_border
from ..errors import InputError
from ..images import Image, as_image
from ..settings import Settings


class Detection(NamedTuple):
    """What a detector says of an image."""

    droplets: Droplets
    """Those with p_present of at least `min_probability`; all where presence is not known, as of blobs."""
    count_mean: float | None
    """Expected number of droplets with their center in the image: the sum of p_present over all candidates there, the
    unlikely ones too."""
    count_sd: float | None
    """Standard deviation of that number, calibrated: candidates of one image err together."""
    candidates: Droplets
    """All that the detector reports, from the smallest p_present on that it reports."""
    region: dict[str, Any] | None = None
    """What summary.json says of the region, where one is asked for."""


def detect(image: Any, **settings: Any) -> Droplets:
    """Find droplets without fitting.

    Parameters
    ----------
    image : array-like, path or napari Image layer
        (H, W) or (H, W, 3|4); see `as_image`.
    **settings
        See `Settings`; used are `detector`, `weights`, `min_probability`, `diameter`, `scale`, `region` and those that
        say how the image is read: `channels`, `pixel_size_um`, `frames`, `planes`, `scene`, `intensity_range`.

    Returns
    -------
    Droplets
        x, y, radius in pixels of the image given, from the network also their standard deviations and p_present; may be
        empty.

    Raises
    ------
    InputError
        An image or a setting that cannot be used.
    """
    return detect_all(image, **settings).droplets


def detect_all(image: Any, **settings: Any) -> Detection:
    """`detect` with the expected number of droplets and all candidates, the improbable ones too."""
    chosen = Settings.of(**settings)
    picture = image_of(image, chosen)
    region = None
    if chosen.region is None:
        candidates = find_candidates(picture, chosen)
    else:
        from .local.part import Part, in_region

        part = Part.of(picture, chosen)
        candidates = find_candidates(part.image, chosen)
        candidates = part.back(candidates[in_region(part.image, candidates)])
        region = part.record()
    p = candidates.p_present
    if p is None:
        return Detection(candidates, None, None, candidates, region)
    from ..detection.scales import count_sd

    p = p[beyond_border(candidates.x, candidates.y, picture.shape) == 0]
    return Detection(probable(candidates, chosen), float(p.sum()), count_sd(p, chosen.weights), candidates, region)


def image_of(image: Any, settings: Settings) -> Image:
    """Read as the settings say."""
    return as_image(image, **settings.reading)


def propose(image: Image, settings: Settings) -> Droplets:
    """Where a fit starts: the probable ones of the candidates."""
    return probable(find_candidates(image, settings), settings)


def probable(candidates: Droplets, settings: Settings) -> Droplets:
    """Those whose presence is probable enough; all where it is not known."""
    p = candidates.p_present
    return candidates if p is None else candidates[p >= settings.min_probability]


def find_candidates(image: Image, settings: Settings) -> Droplets:
    """All that the detector reports, in pixels of `image`.

    Detectors see the image as it is, whatever the scale at which it is fitted: they choose their scales themselves, and
    of half an image the network tells centers and radii less exactly.
    """
    if settings.diameter is not None and settings.diameter > min(image.shape[:2]):
        h, w, _ = image.shape
        raise InputError(
            f"{image.name}: diameter={settings.diameter:g} is larger than the image ({w} x {h} pixels); "
            f"give the typical diameter in pixels"
        )
    part, left, top = image.seen()
    if settings.detector == "blobs":
        from ..detection.blobs import detect_blobs

        found = detect_blobs(part, settings.diameter)
    else:
        from ..detection.scales import detect_droplets

        found = detect_droplets(part, settings.diameter, weights=settings.weights)
    return with_border(image.visible(replace(found, x=found.x + left, y=found.y + top)), image.shape)
