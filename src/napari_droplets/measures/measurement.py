"""How bright each droplet is in further channels: mean, background around it, and what it has in all above that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..droplets import Droplets
from ..errors import InputError
from ..images.choose import ALL, Where, channel_numbers, one_picture
from ..images.opened import Opened, opened
from ..images.scenes import loaded

GAP, RING = 1.25, 0.5  # radii; the ring of background begins at GAP and is RING wide …
BLUR = 1.0  # pixels; what is above the background is summed up this far beyond the outline
LEAST = 2.0  # pixels; … but no less than this
EDGE = 1.15  # radii; pixels within this of another droplet are no background


def measure(
    droplets: Droplets | pd.DataFrame, image: Any, channels: Sequence[int | str] | str = ALL, **reading: Any
) -> pd.DataFrame:
    """Measure droplets in the channels of an image, whichever they were found in.

    Parameters
    ----------
    droplets : Droplets or DataFrame
        x, y, radius in pixels of the image.
    image : path, array-like or napari Image layer
        See `as_image`.
    channels : list of int or str, or 'all'
        Which, by number or name.
    **reading
        Of `as_image`: frames, planes, scene, axes.

    Returns
    -------
    DataFrame
        The droplets table with, for each channel, NAME_mean over the droplet, NAME_background, the median of a ring
        around it without other droplets, and NAME_integrated, the sum over the droplet and its
        blurred edge of what is above the background; in the values of the file. NaN where there is no such pixel.
        Channels without a name of their own are channel_0, channel_1 ...

    Raises
    ------
    InputError
        The image or a channel cannot be used.

    Examples
    --------
    >>> import numpy as np
    >>> droplets = Droplets(x=[20.0], y=[20.0], radius=[5.0])
    >>> v, u = np.mgrid[:40, :40]
    >>> image = np.where(np.hypot(u - 20, v - 20) < 5, 7.0, 2.0)
    >>> measure(droplets, image)[["channel_0_mean", "channel_0_background"]].round(1).to_numpy().tolist()
    [[6.4, 2.0]]
    """
    table = droplets if isinstance(droplets, pd.DataFrame) else droplets.to_dataframe()
    found = opened(image, channels=[0], **reading)
    where = one_picture(found.stored, reading.get("frames"), reading.get("planes"))
    return measured(Droplets.from_dataframe(table), found, where, channels).to_dataframe()


def measured(droplets: Droplets, source: Opened, where: Where, channels: Sequence[int | str] | str) -> Droplets:
    """The droplets with columns for these channels of a picture that is opened.

    Raises
    ------
    InputError
        There is no such channel.
    """
    names = source.stored.channels
    numbers = channels_of(source, channels)
    values = loaded(source.stored, where.at).values
    columns: dict[str, np.ndarray] = {}
    regions = _regions(droplets, values.shape[:2])
    for number in numbers:
        unique = names.count(names[number]) == 1 and not names[number].isdigit()
        name = names[number] if unique else f"channel_{number}"
        parts = [_of_one(values[..., number], *region) for region in regions]
        for suffix, column in zip(
            ("mean", "background", "integrated"), np.array(parts, float).reshape(-1, 3).T, strict=True
        ):
            columns[f"{name}_{suffix}"] = column
    return replace(droplets, labels=dict(droplets.labels) | columns)


def channels_of(source: Opened, channels: Sequence[int | str] | str) -> list[int]:
    """Numbers of the channels to measure.

    Raises
    ------
    InputError
        There is no such channel.
    """
    count = len(source.stored.channels)
    return list(range(count)) if channels == ALL else [_number(source, c) for c in channels]


def _number(source: Opened, channel: int | str) -> int:
    chosen = channel_numbers(source.stored, [channel])
    if chosen is None:
        raise InputError(f"{source.stored.name}: no channel {channel!r}")
    return chosen[0]


def _regions(droplets: Droplets, shape: tuple[int, int]) -> list[tuple[Any, np.ndarray, np.ndarray]]:
    """For each droplet a window of the picture, how much of each pixel it covers, and where its background is."""
    from scipy.spatial import cKDTree

    h, w = shape
    places = np.stack([droplets.x, droplets.y], -1)
    largest = float(droplets.radius.max(initial=0.0))
    tree = cKDTree(places) if len(places) else None
    regions = []
    for x, y, r in zip(droplets.x, droplets.y, droplets.radius, strict=True):
        inner = GAP * r
        outer = inner + max(LEAST, RING * r)
        top, bottom = max(0, int(np.floor(y - outer))), min(h, int(np.ceil(y + outer)) + 1)
        left, right = max(0, int(np.floor(x - outer))), min(w, int(np.ceil(x + outer)) + 1)
        v, u = np.mgrid[top : max(top, bottom), left : max(left, right)]
        distance = np.hypot(u - x, v - y)
        inside = r + 0.5 - distance  # how much of a pixel is covered, once it is kept within 0 and 1
        ring = (distance >= inner) & (distance <= outer)
        near = tree.query_ball_point((x, y), outer + EDGE * largest) if tree is not None else []
        for i in near:
            ring &= np.hypot(u - droplets.x[i], v - droplets.y[i]) > EDGE * droplets.radius[i]
        regions.append((np.s_[top : max(top, bottom), left : max(left, right)], inside, ring))
    return regions


def _of_one(values: np.ndarray, window: Any, inside: np.ndarray, ring: np.ndarray) -> tuple[float, float, float]:
    """Mean, background, integrated."""
    here = values[window].astype(float)
    known = np.isfinite(here)
    weight = np.where(known, np.clip(inside, 0, 1), 0)
    around = np.where(known, np.clip(inside + BLUR, 0, 1), 0)
    here = np.nan_to_num(here, posinf=0, neginf=0)
    if weight.sum() == 0:
        return np.nan, np.nan, np.nan
    mean = float((here * weight).sum() / weight.sum())
    background = float(np.median(here[ring])) if ring.any() else np.nan
    return mean, background, float((around * (here - background)).sum())
