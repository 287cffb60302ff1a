"""A stand-in for the fit that yields progress like it and takes its time, for tests of the widget."""

import threading
import time
import warnings
from dataclasses import replace

import numpy as np

from napari_droplets.droplets import Droplets, Fit, Optics
from napari_droplets.inference import api as fitting

FOUND = 12


def found(n=FOUND, types=3, shift=0.0):
    rng = np.random.default_rng(0)
    return Droplets(
        rng.uniform(5, 35, n) + shift,
        rng.uniform(5, 25, n),
        rng.uniform(2, 4, n),
        x_sd=np.full(n, 0.1),
        p_present=np.ones(n),
        composition=rng.uniform(size=(n, types)),
        composition_sd=np.full((n, types), 0.1),
    )


class FakeFit:
    """Stands in for `iterate`, `iterate_refit` and `detect_all`: yields Progress like them, and takes its time."""

    def __init__(self):
        self.chunks = 4
        self.seconds = 0.02  # a chunk
        self.n = FOUND
        self.found_first = False  # tells where the fit starts
        self.error = None
        self.warning = None
        self.labels = {}  # columns of the result
        self.summary = {}
        self.calls = []
        self.snapshot_threads = []
        self.chunks_done = 0

    def result(self, image, droplets, done, settings):
        droplets = replace(droplets, labels={**droplets.labels, **self.labels})
        weights = {"Dense_0.kernel": np.zeros((2, 2), np.float32)}
        optics = Optics(weights, weights, droplets.types, image.shape[-1], 3.0, "free", "layered", 0.05, 0.7)
        summary = {"seconds": {"total": 1.0}, "settings": settings, "image": {"path": None, "sha256": image.sha256}}
        summary |= self.summary
        losses = np.array([[done * 100, -1000.0 * done, 0.1]])
        return Fit(
            droplets,
            np.full(image.shape, 0.5, np.float32),
            optics,
            losses,
            summary,
            {
                "anchor": np.stack([droplets.x, droplets.y, droplets.radius], 1),
                "droplets": np.zeros((len(droplets), 3)),
            },
            image,
        )

    def _steps(self, image, droplets, settings):
        fitting.Settings(**settings)

        def snapshot():
            self.snapshot_threads.append(threading.current_thread())
            return droplets, np.full(image.shape, 0.1 * self.chunks_done, np.float32)

        yield fitting.Progress("detect", 0, settings.get("steps", 1), np.nan, np.nan, 0, snapshot)
        self.chunks_done = 0
        if self.found_first:
            yield fitting.found(droplets, fitting.Settings())
        if self.warning:
            warnings.warn(self.warning, stacklevel=1)
        for i in range(self.chunks):
            time.sleep(self.seconds)
            self.chunks_done = i + 1
            if self.error and i >= 1:
                raise self.error
            steps = self.chunks * 100
            reply = yield fitting.Progress("fit", (i + 1) * 100, steps, -1000.0 * i, 1.0, len(droplets), snapshot)
            if reply is False:
                break
        return self.result(image, droplets, self.chunks_done, settings)

    def iterate(self, image, droplets=None, optics=None, *, candidates=None, ahead=True, **settings):
        image = fitting.image_of(image, fitting.Settings(**settings))
        self.calls.append(("iterate", image, droplets, settings))
        start = found(self.n, settings.get("types", 3)) if droplets is None else Droplets.from_dataframe(droplets)
        return (yield from self._steps(image, start, settings))

    def iterate_refit(self, fit, edited_table, region=None, *, proportions=True, **settings):
        self.calls.append(("refit", fit.image, edited_table, settings))
        return (yield from self._steps(fit.image, Droplets.from_dataframe(edited_table), settings))

    def detect_all(self, image, **settings):
        """As many candidates as are found, the first three of them improbable; with blobs nobody knows."""
        chosen = fitting.Settings(**settings)
        self.calls.append(("detect", fitting.image_of(image, chosen), None, settings))
        time.sleep(self.seconds)
        x, y, radius = (getattr(found(self.n), name) for name in ("x", "y", "radius"))
        if chosen.detector == "blobs":
            return fitting.Detection(Droplets(x, y, radius), None, None, Droplets(x, y, radius))
        p = np.append([0.1, 0.2, 0.4], np.linspace(0.7, 1, max(self.n - 3, 0)))[: self.n]
        sd = np.full(self.n, 0.1)
        candidates = Droplets(x, y, radius, sd, sd, sd, p)
        return fitting.Detection(fitting.probable(candidates, chosen), float(p.sum()), 0.9, candidates)
