"""Images of one series, fitted with one optics."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..droplets import Droplets, Fit, Optics
from ..images import in_one_scale, read_images
from ..images.choose import ALL
from ..images.series import SeriesScale
from ..progress import Progress
from ..settings import OPTICS_FROM, Settings, check_optics_from
from .api import Callback, drive, fit, held, iterate

if TYPE_CHECKING:
    from .composite import Taught


def fit_series(
    images: Iterable[Any],
    optics: Optics | None = None,
    *,
    optics_from: int = OPTICS_FROM,
    callback: Callback | None = None,
    **settings: Any,
) -> Iterator[Fit]:
    """Fit the images of one series with one optics: compositions and classes mean the same in all of them.

    Parameters
    ----------
    images : iterable or path
        Images, each as in `fit`, taken under the same light; or a file with several pictures, all of them or the
        `frames` and `planes` chosen.
    optics : Optics, optional
        Where learning starts; with `learn_optics=False` they are those of all images.
    optics_from : int
        Number of images, evenly spread over a list, tuple, array or file, that optics are learned on together before
        the first is fitted. With 1, and of any other iterable, the first image teaches; it should hold droplets of all
        kinds then.
    callback, **settings
        As in `fit`. While optics are learned the stage is 'optics'; stopped then, no image is fitted.

    Yields
    ------
    Fit
        Of each image, as soon as it is done, so that none is lost when a later one fails.

    Raises
    ------
    InputError
        As in `fit`, at the image that cannot be used; `optics_from` is no whole number, at least 1.

    Examples
    --------
    >>> import napari_droplets as nd
    >>> slides = [nd.simulate((96, 96), 15, seed=seed)[0] for seed in (1, 2)]
    >>> tables = [fit.table for fit in nd.fit_series(slides, steps=100)]
    >>> len(tables)
    2
    """
    check_optics_from(optics_from)
    reading = Settings.of(**settings).reading
    if isinstance(images, (str, Path)):
        images = read_images(images, **reading | {k: ALL for k in ("frames", "planes") if reading[k] is None})
    candidates: Mapping[str, Droplets] = {}
    at_hand = hasattr(images, "__len__") and hasattr(images, "__getitem__")  # in any order, and more than once
    if at_hand and settings.get("learn_optics", True):
        stopped = False

        def watch(progress: Progress) -> bool | None:
            nonlocal stopped
            said = callback(progress) if callback else None
            stopped = stopped or said is False
            return said

        taught = _learned(images, optics, optics_from, watch, settings)
        if stopped:
            return
        if taught is not None:
            optics, candidates = taught.optics, taught.candidates
            settings |= held(optics)
    for image in in_one_scale(images, **reading):
        known = candidates.get(image.sha256) if candidates else None
        if known is None:
            result = fit(image, optics=optics, callback=callback, **settings)
        else:
            result = drive(iterate(image, optics=optics, candidates=known, **settings), callback)
        if settings.get("learn_optics", True):
            optics = result.optics
            settings |= held(optics)
        yield result


def _learned(
    images: Sequence[Any], optics: Optics | None, number: int, callback: Callback, settings: dict[str, Any]
) -> Taught | None:
    """What several of the images teach; None where one alone can."""
    from .composite import learn, spread

    if min(number, len(images)) < 2:
        return None
    chosen = Settings.of(**settings)
    scale = SeriesScale(images, **chosen.reading)
    order = spread(len(images), number)
    return drive(learn(((i, partial(scale.image, images[i])) for i in order), number, chosen, optics), callback)
