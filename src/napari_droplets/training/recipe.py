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
from .calibration.network import calibrate
from .feed import Mixed, Scene
from .report import Progress
from .scenes import SURELY_TRUE

SERIES_MINUTES = 2.0  # weights that are good already learn one look soon …
CORRECTED_STEPS = 300  # on corrected images; see benchmarks/corrections.py
SERIES: dict[str, Any] = {"rate": 3e-4, "warm_up": 20, "n_held_out": 32}  # … and are changed a little
VALIDATIONS = 4  # in so short a training
OTHERS_CALIBRATED = 0.5  # share of scenes of all kinds among the images to calibrate on after corrections
N_CALIBRATED, N_SERIES_CALIBRATED = 600, 150  # images; those of one look differ less
N_CORRECTED_CALIBRATED = 80  # of few corrected images more pieces say nothing more


def train(
    output: str | Path,
    *,
    from_fit: Iterable[Fit | str | Path] = (),
    corrected: Iterable[Any] = (),
    minutes: float | None = None,
    start: str | Path | None = None,
    callback: Callable[[Progress], bool | None] | None = None,
    n_calibrated: int | None = None,
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
        Of a folder with a corrected table (corrected.csv) droplets are drawn as they are in that.
    corrected : list, optional
        Images that were corrected, with all of their droplets, see `micrographs.read_corrected`: three quarters of the
        training images are cut from them, half of these where fits are given, too. Trained further are the weights of
        the package. A quarter of what was corrected is held out where there is enough.
    minutes : float, optional
        Budget, over all runs: 120 by default, 2 from fits. Of corrected images it is 300 steps by default.
    start : path, optional
        Weights to begin from; by default fresh ones, from fits and corrected images those of the package.
    callback : callable, optional
        Called with `report.Progress` after each step and before calibration; returning False ends the run, with a
        checkpoint.
    n_calibrated : int, optional
        Images that probabilities are calibrated on: 600 by default, 150 from fits, 80 from corrected images.
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
    series, calibrated_on = None, None
    from_fit, corrected = list(from_fit), list(corrected)
    if from_fit or corrected:
        from .scenes import scene as scene_of_all_kinds

        if start is None and not scales.WEIGHTS.exists():
            raise InputError(f"{scales.WEIGHTS}: no weights to begin from; give some with start=... (--start)")
        series, calibrated_on, held_out = _series(from_fit, corrected)
        options = (
            SERIES
            | {"others": scene_of_all_kinds, "scene": series, "held_out": held_out, "start": start or scales.WEIGHTS}
            | options
        )
        if minutes is None and options.get("steps") is None:
            if corrected:
                options["steps"] = CORRECTED_STEPS
            else:
                minutes = SERIES_MINUTES
        if minutes is not None:
            options = {"every": 60 * minutes / VALIDATIONS} | options
        elif corrected:
            options = {"every": max(1, options["steps"] // VALIDATIONS)} | options
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
        usual = N_CORRECTED_CALIBRATED if corrected else N_SERIES_CALIBRATED if from_fit else N_CALIBRATED
        known: dict[str, Any] = {"largest": SURELY_TRUE} if corrected else {}
        calibrate(path, n_calibrated or usual, calibrated_on, **known)
    except InputError as error:
        if callback is None:
            warnings.warn(str(error), stacklevel=2)
        else:
            watch(replace(last, line=None, message=f"not calibrated: {error}"))
    return path


def _series(from_fit: list[Any], corrected: list[Any]) -> tuple[Scene, Scene, Scene | None]:
    """Scenes to train on; to calibrate on; and to judge by, None for those to train on."""
    fitted: Scene | None = None
    if from_fit:
        from .fitted import FittedScenes

        fitted = FittedScenes.of(from_fit)
        if not corrected:
            return fitted, fitted, None
    from .corrected import CorrectedScenes, split
    from .micrographs import read_corrected
    from .scenes import scene as scene_of_all_kinds

    parts = split(read_corrected(corrected))
    pieces, held_out = CorrectedScenes.of(parts.training), CorrectedScenes.of(parts.held_out)
    # few droplets were held out: scenes of all kinds keep probabilities from being as sure as these few make them
    calibrated_on = Mixed(held_out, scene_of_all_kinds, OTHERS_CALIBRATED)
    return pieces if fitted is None else Mixed(pieces, fitted, 0.5), calibrated_on, held_out
