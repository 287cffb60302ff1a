"""Weights ready for use: which scenes to train on, from where and how long, and calibrated at the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..detection import scales
from ..detection.network import read_weights
from ..droplets import Fit
from ..errors import InputError
from . import loop
from .calibration import calibrate
from .feed import Scene
from .report import Progress

SERIES_MINUTES = 2.0  # weights that are good already learn one look soon …
SERIES: dict[str, Any] = {"rate": 3e-4, "warm_up": 20, "n_held_out": 32}  # … and are changed a little
VALIDATIONS = 4  # in so short a training
N_CALIBRATED, N_SERIES_CALIBRATED = 600, 150  # images; those of one look differ less


def train(
    output: str | Path,
    *,
    from_fit: Iterable[Fit | str | Path] = (),
    minutes: float | None = None,
    start: str | Path | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    **options: Any,
) -> Path:
    """Train the network that finds droplets, for images of all kinds or for those of one series, and calibrate it.

    The same call goes on with a training that was interrupted. Beside `output`, for weights.safetensors:
    weights.log.csv; weights.checkpoint.safetensors, from which it goes on; weights.stable.safetensors, the state before
    the learning rate fell, from which a call with a larger budget goes on. The weights kept are those with the least
    held-out loss so far. With a budget of steps the result depends on the arguments alone, whatever the number of
    workers and interruptions.

    Parameters
    ----------
    output : path
        Weights file to write, .safetensors; give it to `detect` and `fit` as `weights`.
    from_fit : list of Fit or path, optional
        Fits, or the folders they were saved in: three quarters of the training images, and all that the weights are
        judged by and calibrated on, are drawn from the models fitted. Trained further are the weights of the package.
    minutes : float, optional
        Budget, over all runs: 120 by default, 2 from fits.
    start : path, optional
        Weights to begin from; by default fresh ones, from fits those of the package.
    callback : callable, optional
        Called with `report.Progress` after each step and before calibration; returning False ends the run, with a
        checkpoint.
    **options
        Of the training itself:

        - `steps`: budget in updates, over all runs, in place of `minutes`;
        - `seed`: of weights and scenes; 0 by default;
        - `images`: folder of the user's own micrographs with corrected tables, see `micrographs.read_micrographs`; a
          quarter of the training images are then cut from them;
        - `workers`: processes that draw scenes, 1 by default, 0 for none; a script that trains with some needs the
          usual `if __name__ == "__main__":`;
        - `restart`: begin anew even if there is a checkpoint;
        - `side`, `batch`: pixels, a multiple of 16, and number of the images of a step;
        - `rate`: learning rate between warm-up and decay; `warm_up`: steps until it is reached;
        - `every`: seconds, or steps for a budget of steps, between validations;
        - `n_held_out`: number of held-out images;
        - `scene`, `others`, `found`: where images come from, and what reads droplets off them; see `loop.train`.

    Returns
    -------
    path
        The weights file.

    Raises
    ------
    InputError
        Arguments that cannot be, a checkpoint that does not fit them, files that cannot be read or written.
    """
    scene: Scene | None = None
    from_fit = list(from_fit)
    if from_fit:
        from .fitted import FittedScenes
        from .scenes import scene as scene_of_all_kinds

        if start is None and not scales.WEIGHTS.exists():
            raise InputError(f"{scales.WEIGHTS}: no weights to begin from; give some with start=... (--start)")
        scene = FittedScenes.of(from_fit)
        options = SERIES | {"others": scene_of_all_kinds, "scene": scene, "start": start or scales.WEIGHTS} | options
        if options.get("steps") is None:
            minutes = minutes or SERIES_MINUTES
            options = {"every": 60 * minutes / VALIDATIONS} | options
    else:
        options["start"] = start
    if minutes is not None:
        options["minutes"] = minutes
    last = Progress(0, 0.0)
    going = True

    def watch(progress: Progress) -> bool:
        nonlocal last, going
        last = progress
        going = callback is None or callback(progress) is not False
        return going

    path = loop.train(output, callback=watch, **options)
    if not going or "calibration" in read_weights(path)[1]:
        return path
    message = "calibrating probabilities and standard deviations"
    if not watch(replace(last, line=None, message=message, calibrating=True)):
        return path
    try:
        calibrate(path, N_SERIES_CALIBRATED if from_fit else N_CALIBRATED, scene)
    except InputError as error:
        if callback is None:
            warnings.warn(str(error), stacklevel=2)
        else:
            watch(replace(last, line=None, message=f"not calibrated: {error}"))
    return path
