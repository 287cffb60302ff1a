"""What detectors are compared on, and how they are scored: real images, simulated ones, and images without droplets."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

import napari_droplets as nd
from napari_droplets.compare import match

Box = tuple[float, float, float, float]
Score = dict[str, float]

SIDE = 256  # pixels of simulated and of empty images
HELD_OUT = 2**31  # first word of seeds, and offset of whole-number seeds, that training never draws
N_SCENES = 200
PLAIN_RADII = (2.5, 4.0, 8.0)
N_PLAIN = 10  # images of `napari_droplets.simulate` per radius
COVERED = 0.08  # droplets times radius squared over the area of those images: crowded, but they fit
SMALLEST = 2.0  # pixels; smaller droplets of a simulated image need not be found
NEARLY = (
    0.9  # of the largest radius in the truth of scenes: found ones may be of larger, unlisted droplets from there on
)
CLASSES = (2.0, 3.0, 5.0, 9.0, 16.0, np.inf)  # radii, pixels
EMPTY_DIAMETER = 10.0  # pixels; told of images without droplets to detectors that want one, since none is true
N_EMPTY = 25  # of each kind
EMPTY_KINDS = ("plain", "uneven light", "noise", "dust", "letters")
LABELS = ("50 um", "200 um", "(a)", "x400", "HV 10.00 kV", "Sample 08 b", "2023-08-21 17:23:52", "mag 500 x  WD 8.0 mm")

TILES: dict[str, Box] = {"tile A": (800, 600, 1120, 920), "tile D": (150, 1150, 470, 1470)}
MARGIN = 10.0  # pixels inside a checked tile before a found droplet without a true one counts as false
UNCUT = 0.8  # radii around the center that are in the image, of droplets found that do not count as cut by its border
CHECKED_RADIUS = 4.8  # pixels of example.jpg from which the checked circles are complete


@dataclass(frozen=True)
class Case:
    """One image and the truth about it."""

    name: str
    image: nd.Image
    truth: pd.DataFrame
    """x, y, radius, and `ignore` (1) where some are neither required nor false; pixels of the image times `scale`."""
    scale: float = 1.0
    min_radius: float = 0.0
    """Found droplets without a true one count as false from this radius on …"""
    max_radius: float = np.inf
    """… to this one: there are larger droplets in the image, and none of them is in the truth."""
    boxes: tuple[Box, ...] = ()
    """Where the truth is complete, pixels of the truth; everywhere by default."""
    visible: bool = False
    """The truth are circles of what is visible: those of droplets cut by the border are at the wrong place, and left
    out on either side; `detection_border.py` looks at such droplets."""

    def comparable(self, found: nd.Droplets) -> nd.Droplets:
        """Those found, in pixels of the image, of which the truth could have circles."""
        if not self.visible:
            return found
        circles = pd.DataFrame({"x": found.x, "y": found.y, "radius": UNCUT * np.asarray(found.radius)})
        return found[~touches_border(circles, self.image.shape)]

    @property
    def diameter(self) -> float:
        """The true median, in pixels of the image: what detectors that need one are told."""
        truth = self.truth
        if len(self.boxes):
            truth = truth[inside(truth, self.boxes)]
        return 2 * float(truth["radius"].median()) / self.scale if len(truth) else EMPTY_DIAMETER


def real_sets(shared: Path) -> dict[str, Iterator[Case]]:
    """The real images by data set, read when they are asked for."""
    data = shared / "data"
    return {
        "example.jpg": _tiles(data / "seed", "example.jpg", 1.0),
        "example_down4.png": _tiles(data / "seed", "example_down4.png", 4.0),
        "paper_aerosol": _folder(data / "paper_aerosol", leave_out="ZL-48a"),  # its masks are too poor to compare with
        "bubbles_zerog": _folder(data / "bubbles_zerog"),
        "blood_rbc_wbc": _folder(data / "blood_rbc_wbc"),
        "bbbc039_nuclei": _folder(data / "bbbc039_nuclei"),
    }


RECALL_ONLY = ("paper_aerosol",)
"""Sets whose truth misses droplets: what is found besides says nothing."""


def scenes(count: int = N_SCENES) -> list[Case]:
    """Held-out images of the simulator that training draws from."""
    from napari_droplets.training.scenes import RADII, scene

    cases = []
    for i in range(count):
        pixels, rows = scene(np.random.default_rng([HELD_OUT, i]), SIDE)
        truth = pd.DataFrame(np.asarray(rows, float).reshape(-1, 3), columns=["x", "y", "radius"])
        cases.append(simulated_case(f"scene {i}", pixels, truth, NEARLY * RADII[1]))
    return cases


def plain_simulations(radius: float, count: int = N_PLAIN) -> list[Case]:
    """Images of `napari_droplets.simulate`, whose look is not that of training."""
    n = round(COVERED * SIDE**2 / radius**2)
    cases = []
    for i in range(count):
        pixels, droplets = nd.simulate((SIDE, SIDE), n, radius=radius, seed=HELD_OUT + i)
        cases.append(simulated_case(f"radius {radius:g}, {i}", pixels, droplets.to_dataframe()[["x", "y", "radius"]]))
    return cases


def simulated_case(name: str, pixels: np.ndarray, truth: pd.DataFrame, max_radius: float = np.inf) -> Case:
    """A case of (H, W, C) pixels; droplets that are tiny or cut by the border are not required."""
    ignore = touches_border(truth, pixels.shape) | (truth["radius"].to_numpy() < SMALLEST)
    return Case(name, nd.Image(pixels, name), truth.assign(ignore=ignore.astype(int)), 1.0, SMALLEST, max_radius)


def empty_images(kind: str, count: int = N_EMPTY) -> list[Case]:
    """Images with nothing to be found, one of `EMPTY_KINDS`."""
    nothing = pd.DataFrame({"x": [], "y": [], "radius": []}, dtype=float)
    cases = []
    for i in range(count):
        pixels = _empty(kind, np.random.default_rng([HELD_OUT, EMPTY_KINDS.index(kind), i]))
        cases.append(Case(f"{kind} {i}", nd.Image(pixels, f"{kind} {i}"), nothing))
    return cases


def touches_border(truth: pd.DataFrame, shape: tuple[int, ...]) -> np.ndarray:
    """Which circles reach beyond the pixels of an image (H, W, …); (N,) bool."""
    h, w = shape[:2]
    x, y, r = truth[["x", "y", "radius"]].to_numpy(float).T
    return (x - r < -0.5) | (y - r < -0.5) | (x + r > w - 0.5) | (y + r > h - 0.5)


def without_unlisted(case: Case, found: nd.Droplets) -> nd.Droplets:
    """What was found but droplets so large that the truth does not list them."""
    small = found.radius <= case.max_radius
    if small.all():
        return found
    small[match(nd.Droplets.from_dataframe(case.truth), found)[1]] = True
    return found[small]


class Scorer:
    """`score.py` of the shared folder, which says what a right and a false droplet is.

    Parameters
    ----------
    shared : Path
        Holds `score/score.py`.
    """

    def __init__(self, shared: Path) -> None:
        spec = importlib.util.spec_from_file_location("score", shared / "score" / "score.py")
        assert spec is not None
        assert spec.loader is not None
        self._module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(self._module)

    def __call__(self, case: Case, found: nd.Droplets) -> dict[str, Score]:
        """Scores by name of the case, or by those of its tiles and of all together."""
        found = case.comparable(found)
        table = found.scaled(case.scale).to_dataframe()[["x", "y", "radius"]]
        if not case.boxes:
            return {case.name: self._score(case.truth, table, min_radius=case.min_radius)}
        names = {box: name for name, box in TILES.items()}
        scores = {
            names[box]: self._score(case.truth, table, box=box, margin=MARGIN, min_radius=case.min_radius)
            for box in case.boxes
        }
        return scores | {"tiles together": self.together(case, table)}

    def together(self, case: Case, table: pd.DataFrame) -> Score:
        """Several boxes at once, which score.py does not know: what counts in none of them is taken out before."""
        hit = np.isin(np.arange(len(table)), self._module.match(case.truth, table)[1])
        kept = table[hit | inside(table, case.boxes, MARGIN)]
        truth = case.truth.assign(ignore=1 - inside(case.truth, case.boxes).astype(int))
        return self._score(truth, kept, min_radius=case.min_radius)

    def _score(self, *args: Any, **options: Any) -> Score:
        score = self._module.score(*args, **options)
        return {
            "n_true": score["n_true"],
            "n_found": score["n_found"],
            "recall": score["recall"],
            "precision": score["precision"],
            "f1": score["f1"],
            "radius_bias": score.get("radius_bias", np.nan),
            "radius_spread": score.get("radius_spread", np.nan),
            "center_error": score.get("position_median_r", np.nan),
        }


@dataclass
class Pairs:
    """Which true and found droplets of one simulated image belong together, by the rules of score.py."""

    truth: pd.DataFrame
    found: nd.Droplets
    i: np.ndarray
    """(M,) rows of the truth."""
    j: np.ndarray
    """(M,) indices of the found."""

    @classmethod
    def of(cls, case: Case, found: nd.Droplets) -> Pairs:
        """Match one case."""
        return cls(case.truth, found, *match(nd.Droplets.from_dataframe(case.truth), found))


def pooled_scores(pairs: list[Pairs]) -> dict[str, Score]:
    """Scores over the droplets of many simulated images: `all`, and by class of radius.

    A true droplet belongs to the class of its own radius, a false one to that of the radius it was found with.
    """
    rows, extras = [], []
    for p in pairs:
        t, f = p.truth[["x", "y", "radius"]].to_numpy(float), p.found
        partner = np.full((len(t), 3), np.nan)  # of a droplet that was not found there is none
        partner[p.i] = np.column_stack([f.x, f.y, f.radius])[p.j]
        error = np.hypot(*(partner[:, :2] - t[:, :2]).T) / t[:, 2]
        rows.append(np.column_stack([t[:, 2], p.truth["ignore"], np.log(partner[:, 2] / t[:, 2]), error]))
        extras.append(np.delete(f.radius, p.j))
    size, ignore, ratio, error = np.concatenate(rows).T
    required, hit, extra = ignore == 0, np.isfinite(error), np.concatenate(extras)

    def score(low: float, high: float) -> Score:
        of = required & (size >= low) & (size < high)
        right, n = int((of & hit).sum()), int(of.sum())
        false = int(((extra >= low) & (extra < high)).sum())
        low_q, median, high_q = np.quantile(ratio[of & hit], [0.16, 0.5, 0.84]) if right else 3 * [np.nan]
        return {
            "n_true": n,
            "n_found": right + false,
            "recall": right / n if n else np.nan,
            "precision": right / (right + false) if right + false else np.nan,
            "f1": 2 * right / (n + right + false) if n else np.nan,
            "radius_bias": float(np.expm1(median)),
            "radius_spread": float(high_q - low_q) / 2,
            "center_error": float(np.median(error[of & hit])) if right else np.nan,
        }

    classes = itertools.pairwise(CLASSES)
    return {"all": score(SMALLEST, np.inf)} | {class_name(low, high): score(low, high) for low, high in classes}


def class_name(low: float, high: float) -> str:
    """In words of a table."""
    return f"r {low:g}–{high:g}" if np.isfinite(high) else f"r > {low:g}"


def inside(table: pd.DataFrame, boxes: tuple[Box, ...], margin: float = 0.0) -> np.ndarray:
    within = np.zeros(len(table), bool)
    for x0, y0, x1, y1 in boxes:
        within |= (
            table["x"].between(x0 + margin, x1 - margin) & table["y"].between(y0 + margin, y1 - margin)
        ).to_numpy()
    return within


def _tiles(folder: Path, name: str, scale: float) -> Iterator[Case]:
    truth = pd.read_csv(folder / "truth_tiles_A_D.csv")[["x", "y", "radius"]]
    image = nd.read_image(folder / name)
    yield Case(name, image, truth, scale, CHECKED_RADIUS, boxes=tuple(TILES.values()))


def _folder(folder: Path, *, leave_out: str = "-") -> Iterator[Case]:
    for path in sorted((folder / "images").iterdir()):
        if path.name.startswith(leave_out):
            continue
        image = nd.read_image(path)
        truth = pd.read_csv(folder / "csv" / f"{path.stem}.csv")[["x", "y", "radius"]]
        truth["ignore"] = touches_border(truth, image.shape).astype(int)
        yield Case(path.stem, image, truth, visible=True)


def _empty(kind: str, rng: np.random.Generator) -> np.ndarray:
    """(SIDE, SIDE, 3) float32 in 0..1."""
    image = np.ones((SIDE, SIDE, 3)) * rng.uniform(0.05, 0.95, 1 if rng.random() < 0.3 else 3)
    noise: float = rng.uniform(0.002, 0.015)
    if kind == "uneven light":
        v, u = np.meshgrid(*2 * [np.linspace(-1, 1, SIDE)], indexing="ij")
        # light falls off by itself, its color drifts a little with it
        surface = sum((rng.normal(0, 0.3) + rng.normal(0, 0.06, 3)) * t[..., None] for t in (u, v, u * v))
        vignette = rng.uniform(0, 0.6) * ((u - rng.uniform(-0.5, 0.5)) ** 2 + (v - rng.uniform(-0.5, 0.5)) ** 2)
        image = image * np.exp(np.asarray(surface) - vignette[..., None])
    elif kind == "noise":
        noise = rng.uniform(0.03, 0.12)
    elif kind == "dust":
        image *= 1 - rng.uniform(0.3, 0.9) * _dust(rng)[..., None]
    elif kind == "letters":
        image = _annotated(image, rng)
    grain = rng.standard_normal(image.shape)
    if kind == "noise":  # cameras and JPEG leave noise that is not independent from pixel to pixel
        blur = rng.uniform(0, 1)
        grain = ndimage.gaussian_filter(grain, (blur, blur, 0))
        grain /= grain.std()
    return np.clip(image + noise * grain, 0, 1).astype(np.float32)


def _annotated(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image with what programs of microscopes write on it: labels, a scale bar, a bar below or a frame around.

    In Pillow's own font, which training scenes do not have.
    """
    from PIL import Image, ImageDraw, ImageFont

    ink = 0 if image.mean() > 0.5 else 255
    picture = Image.fromarray((image * 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    around = rng.choice(["frame", "bar", "nothing"], p=[0.25, 0.35, 0.4])
    if around == "frame":
        pen.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=(ink,) * 3, width=int(rng.integers(3, 20)))
    elif around == "bar":
        pen.rectangle((0, SIDE - 40, SIDE, SIDE), fill=(0,) * 3)
        pen.text((8, SIDE - 32), str(rng.choice(LABELS)), fill=(255,) * 3, font=ImageFont.load_default(16))
    for _ in range(rng.integers(1, 4)):
        at, size = rng.uniform(0, 0.7 * SIDE, 2), int(rng.integers(9, 40))
        pen.text((at[0], at[1]), str(rng.choice(LABELS)), fill=(ink,) * 3, font=ImageFont.load_default(size))
    left, top, long = rng.uniform(0, 0.6 * SIDE), rng.uniform(0.6, 0.8) * SIDE, rng.uniform(0.1, 0.4) * SIDE
    pen.rectangle((left, top, left + long, top + rng.integers(2, 8)), fill=(ink,) * 3)
    return np.asarray(picture, float) / 255


def _dust(rng: np.random.Generator) -> np.ndarray:
    """Fibres, scratches and splinters, (SIDE, SIDE) in 0..1: long or angular, none that could be called a droplet."""
    from skimage.draw import polygon

    dust = np.zeros((SIDE, SIDE))
    for _ in range(rng.integers(2, 8)):  # fibres, which bend, and scratches, which do not
        steps = rng.integers(100, 400)
        bend = rng.choice([0.0, 0.03])
        angle = rng.uniform(0, 2 * np.pi) + np.cumsum(bend * rng.standard_normal(steps))
        x, y = rng.uniform(0, SIDE) + np.cumsum(np.cos(angle)) / 2, rng.uniform(0, SIDE) + np.cumsum(np.sin(angle)) / 2
        within = (x >= 0) & (y >= 0) & (x < SIDE - 1) & (y < SIDE - 1)
        dust[y[within].astype(int), x[within].astype(int)] = rng.uniform(0.3, 1)
    dust = np.minimum(1, 2 * ndimage.gaussian_filter(dust, 0.7))
    for _ in range(rng.integers(2, 10)):  # splinters, at least four times as long as wide
        length, angle = rng.uniform(6, 24), rng.uniform(0, 2 * np.pi)
        along = length * np.array([-0.5, rng.uniform(-0.3, 0.3), 0.5, rng.uniform(-0.3, 0.3)])
        across = length * np.array([0, rng.uniform(0.04, 0.125), 0, -rng.uniform(0.04, 0.125)])
        x = rng.uniform(0, SIDE) + along * np.cos(angle) - across * np.sin(angle)
        y = rng.uniform(0, SIDE) + along * np.sin(angle) + across * np.cos(angle)
        dust[polygon(y, x, dust.shape)] = rng.uniform(0.3, 1)
    return ndimage.gaussian_filter(dust, rng.uniform(0.4, 1))
