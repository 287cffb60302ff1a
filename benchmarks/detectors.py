"""The detectors that are compared: this package's, with and without a diameter, and the usual ones of other libraries.

    python benchmarks/detectors.py DETECTOR IMAGE [--diameter PX]

finds the droplets of one image in this process alone and prints their number and the process's peak memory as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import napari_droplets as nd

# Settings that a user would choose who knows the typical radius r. The levels are the round values with the best F1 on
# six images of `napari_droplets.simulate` that are in no comparison; nothing was fitted to any real image.
SIZE_RANGE = 2.5  # droplets of r / SIZE_RANGE to r * SIZE_RANGE are looked for
SCALES = 10  # sizes tried in that range
FAINT = 0.1  # contrast that is not stretched any further: the noise of an empty image stays noise
BLOB_LEVEL = 0.25  # least response of a blob; the strongest contrast of an image is about 1
FEATURE_LEVEL = 0.03  # trackpy: least contrast of a feature
HOUGH_LEVEL = 0.55  # scikit-image: fraction of a circle whose edge must be seen
VOTES = 4  # OpenCV: edge pixels that must agree on a center, and one more per pixel of r
HOUGH_RADIUS = 8.0  # pixels; images with a larger r are shrunk to it: what is not quite round has no one center else
EDGE_BLUR = 0.25  # standard deviation of the blur before edges are looked for, in r
APART = 1.0  # least distance of two Hough circles, in r

Find = Callable[[nd.Image, float | None], nd.Droplets]


@dataclass(frozen=True)
class Detector:
    """A way to find droplets."""

    name: str
    """What the option `--detectors` calls it; those that differ only in the diameter share it."""
    label: str
    """What the tables call it."""
    find: Find
    """Image and typical diameter in pixels -> droplets."""
    knows_diameter: bool = True
    """Whether it is told the true median diameter of the image."""

    def __call__(self, image: nd.Image, diameter: float) -> nd.Droplets:
        """Find the droplets of an image."""
        return self.find(image, diameter if self.knows_diameter else None)


def network(image: nd.Image, diameter: float | None) -> nd.Droplets:
    """All candidates of the recognition network, those with a small p_present too."""
    return nd.detect(image, detector="network", diameter=diameter, min_probability=0.0)


def blobs(image: nd.Image, diameter: float | None) -> nd.Droplets:
    """Blobs as this package finds them where it has no weights."""
    return nd.detect(image, detector="blobs", diameter=diameter)


def gray(image: nd.Image) -> np.ndarray:
    """Luminance (H, W) in 0..1."""
    from skimage.color import rgb2gray

    return image.pixels[..., 0] if image.shape[2] == 1 else rgb2gray(image.pixels)


def contrast(image: nd.Image) -> np.ndarray:
    """|gray - median| (H, W), which makes dark and bright droplets alike, stretched until the strongest are about 1."""
    values = gray(image)
    off = np.abs(values - np.median(values))
    return off / max(float(np.quantile(off, 0.99)), FAINT)


def blob_log(image: nd.Image, diameter: float | None) -> nd.Droplets:
    """Laplacian of Gaussian, scikit-image."""
    from skimage.feature import blob_log

    low, high = _sigmas(diameter)
    return _from_blobs(blob_log(contrast(image), low, high, SCALES, threshold=BLOB_LEVEL, log_scale=True))


def blob_dog(image: nd.Image, diameter: float | None) -> nd.Droplets:
    """Difference of Gaussians, scikit-image."""
    from skimage.feature import blob_dog

    low, high = _sigmas(diameter)
    ratio = (high / low) ** (1 / SCALES)
    # the response of a difference grows with the ratio; divided by it, it is that of the Laplacian
    return _from_blobs(blob_dog(contrast(image), low, high, ratio, threshold=BLOB_LEVEL))


def hough_skimage(image: nd.Image, diameter: float | None) -> nd.Droplets:
    """Hough transform of Canny edges, scikit-image."""
    from skimage.feature import canny
    from skimage.transform import hough_circle, hough_circle_peaks

    values, r, factor = _for_hough(image, diameter)
    radii = _radii(r)
    space = hough_circle(canny(values, sigma=EDGE_BLUR * r), radii)
    apart = max(1, round(APART * r))
    _, x, y, found = hough_circle_peaks(
        space, radii, min_xdistance=apart, min_ydistance=apart, threshold=HOUGH_LEVEL, total_num_peaks=np.inf
    )
    return nd.Droplets(x, y, found).scaled(1 / factor)


def hough_opencv(image: nd.Image, diameter: float | None) -> nd.Droplets:
    """Hough gradient transform, OpenCV."""
    import cv2

    values, r, factor = _for_hough(image, diameter)
    radii = _radii(r)
    smooth = cv2.GaussianBlur(np.round(255 * values).astype(np.uint8), (0, 0), EDGE_BLUR * r)
    votes = round(VOTES + r)
    circles = cv2.HoughCircles(
        smooth, cv2.HOUGH_GRADIENT, 1, max(APART * r, 1.0), None, 100, votes, int(radii[0]), int(radii[-1])
    )
    # OpenCV gives None or (1, N, 3)
    x, y, found = np.zeros((3, 0)) if circles is None else np.asarray(circles, float).reshape(-1, 3).T
    return nd.Droplets(x, y, found).scaled(1 / factor)


def trackpy_locate(image: nd.Image, diameter: float | None) -> nd.Droplets:
    """Crocker-Grier centroids, trackpy; the radius of the disc with the same radius of gyration."""
    import trackpy

    size = max(2 * round(_radius(diameter)) + 1, 3)  # odd
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Image is completely black")  # then there is nothing, rightly
        table = trackpy.locate(contrast(image), size, threshold=FEATURE_LEVEL)
    table = table[table["size"] > 0]  # a single pixel has none
    return nd.Droplets(table["x"], table["y"], np.sqrt(2) * table["size"])


DETECTORS = (
    Detector("network", "network", network, knows_diameter=False),
    Detector("network", "network, diameter given", network),
    Detector("blobs", "blobs", blobs, knows_diameter=False),
    Detector("blobs", "blobs, diameter given", blobs),
    Detector("log", "LoG, scikit-image", blob_log),
    Detector("dog", "DoG, scikit-image", blob_dog),
    Detector("hough-skimage", "Hough, scikit-image", hough_skimage),
    Detector("hough-opencv", "Hough, OpenCV", hough_opencv),
    Detector("trackpy", "trackpy", trackpy_locate),
)
NAMES = tuple(dict.fromkeys(d.name for d in DETECTORS))


def trouble(detector: Detector) -> str | None:
    """Why a detector cannot run, found out on a small image; None where it can."""
    image, truth = nd.simulate((64, 64), 8, radius=4.0, seed=1)
    try:
        detector(nd.Image(image), 2 * float(np.median(truth.radius)))
    except ModuleNotFoundError as error:
        return f"no module {error.name}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def _radius(diameter: float | None) -> float:
    if diameter is None:
        raise ValueError("this detector needs a diameter")
    return diameter / 2


def _for_hough(image: nd.Image, diameter: float | None) -> tuple[np.ndarray, float, float]:
    """Gray values stretched to 0..1, as thresholds of edges are fixed; r in their pixels; by what they were resized."""
    r = _radius(diameter)
    factor = min(1.0, HOUGH_RADIUS / r)
    values = gray(image.rescaled(factor))
    low, high = np.quantile(values, [0.01, 0.99])
    return np.clip((values - low) / max(high - low, FAINT), 0, 1), r * factor, factor


def _sigmas(diameter: float | None) -> tuple[float, float]:
    """Of the Gaussians that answer most to the smallest and the largest disc."""
    r = _radius(diameter)
    return max(r / SIZE_RANGE, 0.7) / np.sqrt(2), r * SIZE_RANGE / np.sqrt(2)


def _radii(r: float) -> np.ndarray:
    """Whole radii, pixels, no more than some SCALES of them."""
    low, high = max(1, round(r / SIZE_RANGE)), max(2, round(r * SIZE_RANGE))
    return np.unique(np.round(np.geomspace(low, high, SCALES + 2)).astype(int))


def _from_blobs(found: np.ndarray) -> nd.Droplets:
    y, x, sigma = found.T
    return nd.Droplets(x, y, np.sqrt(2) * sigma)


def main() -> None:
    """Find once, print number and peak memory."""
    import resource

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("detector", choices=[d.label for d in DETECTORS], metavar="DETECTOR")
    parser.add_argument("image")
    parser.add_argument("--diameter", type=float)
    options = parser.parse_args()
    detector = next(d for d in DETECTORS if d.label == options.detector)
    found = detector(nd.read_image(options.image), options.diameter)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"n": len(found), "memory_mb": peak / (2**20 if sys.platform == "darwin" else 2**10)}))


if __name__ == "__main__":
    main()
