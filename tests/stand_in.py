"""A quick stand-in for the fit, for tests of what surrounds it."""

from dataclasses import replace

import imageio.v3 as iio
import numpy as np

from napari_droplets.droplets import Droplets, Fit, Optics
from napari_droplets.images import as_image
from napari_droplets.inference.api import Detection
from napari_droplets.inference.composite import Taught
from napari_droplets.progress import Progress
from napari_droplets.settings import Settings


def write_image(path, seed=0, shape=(24, 32, 3)):
    path.parent.mkdir(parents=True, exist_ok=True)
    iio.imwrite(path, np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8))
    return path


def some_droplets(image, n, types, pixel_size_um=None):
    rng = np.random.default_rng(n)
    return Droplets(
        rng.uniform(0, 30, n),
        rng.uniform(0, 20, n),
        rng.uniform(1, 3, n),
        composition=rng.uniform(0, 1, (n, types)),
        pixel_size_um=pixel_size_um,
    )


class StandIn:
    """In place of `fit`, `learn` and `detect_all`: three chunks, as many droplets as were fits before, plus one."""

    def __init__(self):
        self.fitted = []
        self.given = []  # to the fits: optics and settings
        self.lessons = 0  # that several images have taught
        self.fail = {}  # file name: exception
        self.n_candidates = 7  # that are detected; five of them probable

    def fit(self, image, droplets=None, optics=None, *, callback=None, **settings):
        chosen = Settings(**settings)
        picture = as_image(image, channels=chosen.channels, pixel_size_um=chosen.pixel_size_um)
        if picture.name in self.fail:
            raise self.fail[picture.name]
        self.fitted.append(picture.name)
        self.given.append((optics, settings))
        found = some_droplets(picture, len(self.fitted), chosen.types, chosen.pixel_size_um)
        stopped = "steps"
        for step in (50, 100, 150):
            progress = Progress("fit", step, 150, -1000.0 - step, 3.0, len(found), lambda: (found, picture.pixels))
            if callback is not None and callback(progress) is False:
                stopped = "cancelled"
                break
        summary = {
            "n_droplets": len(found),
            "loss_per_value": -1.5,
            "rmse": 0.01,
            "stopped": stopped,
            "seconds": {"total": 0.5, "import": 0.0},
            "settings": chosen.__dict__,
            "image": {"path": picture.path, "shape": list(picture.shape), "sha256": picture.sha256},
        }
        learned = Optics({"w": np.zeros(3, np.float32)}, {}, chosen.types, 3, 2.0, "free", "layered", 0.05, 0.7)
        losses = np.array([[50.0, -1.0, 0.1]])
        anchor = np.column_stack([found.x, found.y, found.radius])
        guide = {"anchor": anchor, "droplets": np.zeros((len(found), 3))}
        return Fit(found, picture.pixels, learned, losses, summary, guide, picture)

    def learn(self, images, number, settings, optics=None):
        """Takes the place of `composite.learn`; images that fail teach nothing."""
        taught = []
        for at, load in images:
            reply = yield Progress("optics", 0, 150, np.nan, np.nan, 0, lambda: None)
            if reply is False:
                return None
            if len(taught) < number and load().name not in self.fail:
                taught.append(at)
        if len(taught) < 2:
            return None
        self.lessons += 1
        weights = {"w": np.array(taught, np.float32)}
        learned = Optics(weights, {}, settings.types, 3, 2.0, "free", "layered", 0.05, 0.7)
        return Taught(learned, 10.0, tuple(taught))

    def detect_all(self, image, **settings):
        p = np.array([0.1, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0])[: self.n_candidates]
        found = replace(some_droplets(as_image(image), len(p), 0), composition=None, p_present=p)
        return Detection(found[p >= 0.5], float(p.sum()), 0.93, found)
