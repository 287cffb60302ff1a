"""Cells become droplets: those that see the same one are merged, with probabilities added up and calibrated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import expit, logit

from .network import CELL

FAINT = 0.02  # probability below which a droplet is not reported
FAINTEST = 0.002  # … and a cell is not looked at
CERTAIN = 0.5
LEAST_P, MOST_P = 1e-3, 1 - 1e-3  # probabilities are kept within, for their logits
LEAST_SLOPE = 0.1  # of a calibrated logit: what looks likelier stays likelier
SOME_DOUBT = 0.3  # droplets; added to what is doubtful in an image, so that there is always some
UNCHANGED: dict[str, list] = {"logit": [0, 1, 0, 0], "p": [[0, 0], [1, 1]], "sd": [1, 1, 1], "count": [1, 0]}
SAME_PLACE = 0.6  # two cells see the same droplet if its places differ by less than this many radii …
SAME_SIZE = 0.6  # … and the logarithms of its radii by less than this


@dataclass(frozen=True)
class Cells:
    """Cells, or the droplets they are merged to; arrays of equal length, lengths in pixels."""

    cell_x: np.ndarray
    cell_y: np.ndarray
    p: np.ndarray
    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    x_sd: np.ndarray
    y_sd: np.ndarray
    radius_sd: np.ndarray

    def __len__(self) -> int:
        return len(self.p)

    def __getitem__(self, chosen: np.ndarray) -> Cells:
        return Cells(*(getattr(self, f.name)[chosen] for f in fields(self)))

    def scaled(self, factor: float) -> Cells:
        """In pixels of the image resized by `factor`."""
        places = {name: (getattr(self, name) + 0.5) * factor - 0.5 for name in ("cell_x", "cell_y", "x", "y")}
        return replace(
            self, **places, **{n: getattr(self, n) * factor for n in ("radius", "x_sd", "y_sd", "radius_sd")}
        )

    def moved(self, dx: float, dy: float) -> Cells:
        """In pixels of an image in which this one begins at (dx, dy)."""
        return replace(self, cell_x=self.cell_x + dx, x=self.x + dx, cell_y=self.cell_y + dy, y=self.y + dy)

    @staticmethod
    def together(parts: Sequence[Cells]) -> Cells:
        """One after the other."""
        return Cells(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Cells)))


def cells_of(outputs: np.ndarray) -> Cells:
    """Cells with any chance of a droplet, from the network's outputs (h, w, 7)."""
    row, column = np.nonzero(outputs[..., 0] > np.log(FAINTEST / (1 - FAINTEST)))
    logit, dx, dy, log_r, *log_sd = outputs[row, column].astype(float).T
    x, y = (CELL * index + (CELL - 1) / 2 for index in (column, row))
    x_sd, y_sd, log_r_sd = np.exp(log_sd)
    radius = np.exp(log_r)
    return Cells(x, y, 1 / (1 + np.exp(-logit)), x + dx, y + dy, radius, x_sd, y_sd, radius * log_r_sd)


def merged(cells: Cells) -> Cells:
    """One entry per droplet: each cell joins the likeliest of its neighbors that sees the same droplet.

    Places and radii are the means of the mixture of a droplet's cells, standard deviations those of the mixture.
    """
    if not len(cells):
        return cells
    i, j = _alike(cells)
    rank = np.empty(len(cells), int)
    rank[np.argsort(cells.p, kind="stable")] = np.arange(len(cells))  # no two are equal
    order = np.argsort(rank[j])
    leader = np.arange(len(cells))
    stronger = rank[j[order]] > rank[i[order]]
    leader[i[order][stronger]] = j[order][stronger]  # the last written is the likeliest
    while (leader[leader] != leader).any():
        leader = leader[leader]
    roots, group = np.unique(leader, return_inverse=True)
    total = np.bincount(group, cells.p)
    share = cells.p / total[group]

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(group, share * values)

    def spread(sd: np.ndarray, values: np.ndarray, center: np.ndarray) -> np.ndarray:
        return np.sqrt(mean(sd**2 + (values - center[group]) ** 2))

    x, y, log_r = mean(cells.x), mean(cells.y), mean(np.log(cells.radius))
    log_r_sd = spread(cells.radius_sd / cells.radius, np.log(cells.radius), log_r)
    result = Cells(
        cells.cell_x[roots],
        cells.cell_y[roots],
        np.minimum(total, 1),
        x,
        y,
        np.exp(log_r),
        spread(cells.x_sd, cells.x, x),
        spread(cells.y_sd, cells.y, y),
        np.exp(log_r) * log_r_sd,
    )
    return result[result.p >= FAINT]


def _alike(cells: Cells) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (i, j), both ways, of cells that see the same droplet."""
    scale = np.log(cells.radius) / SAME_SIZE
    # distances in radii differ from droplet to droplet: look in bands of like size, each with the next larger
    floor = np.floor(scale)
    pairs = []
    for band in np.unique(floor):
        some = np.flatnonzero((floor == band) | (floor == band + 1))
        reach = SAME_PLACE * np.exp(SAME_SIZE * (band + 1))  # of the smaller of the two
        found = cKDTree(np.stack([cells.x[some], cells.y[some]], -1)).query_pairs(reach, output_type="ndarray")
        found = some[found]
        pairs.append(found[(floor[found] == band).any(1)])
    i, j = np.concatenate(pairs).T
    apart = np.hypot(cells.x[i] - cells.x[j], cells.y[i] - cells.y[j])
    near = apart < SAME_PLACE * np.minimum(cells.radius[i], cells.radius[j])
    near &= np.abs(np.log(cells.radius[i] / cells.radius[j])) < SAME_SIZE
    i, j = i[near], j[near]
    return np.concatenate([i, j]), np.concatenate([j, i])


def without_repeats(droplets: Cells, level: np.ndarray) -> Cells:
    """Of droplets seen at several scales, only the likelier."""
    if not len(droplets):
        return droplets
    i, j = _alike(droplets)
    rank = np.empty(len(droplets), int)
    rank[np.lexsort((-level, droplets.p))] = np.arange(len(droplets))  # of equals the finer scale is kept
    weaker = (level[i] != level[j]) & (rank[i] < rank[j])
    keep = np.ones(len(droplets), bool)
    keep[i[weaker]] = False
    return droplets[keep]


@dataclass(frozen=True)
class Marginal:
    """How to turn what the network says into what holds on simulated images held out from its training.

    Probabilities are calibrated in two steps: their logits change linearly, otherwise in images where much is doubtful,
    in which all is more often wrong than it says; then an increasing map makes shares right.

    Attributes
    ----------
    logit : (4,) ndarray
        Calibrated logit: constant, factor of the logit, factor of the `doubt` of the image, factor of their product.
    p : (n, 2) ndarray
        Probabilities after that, increasing, and the true share among droplets of that probability.
    sd : (3,) ndarray
        Factors of the standard deviations of x, y and radius.
    count : (2,) ndarray
        Of the number of droplets in an image: factor of the standard deviation that independent candidates would have,
        and standard deviation of the shift that the logits of all probabilities of an image have in common.
    """

    logit: np.ndarray
    p: np.ndarray
    sd: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, about: dict[str, str]) -> Marginal:
        """From what a weights file says; nothing is changed where it says nothing."""
        values = UNCHANGED | json.loads(about.get("calibration", "{}"))
        return cls(*(np.array(values[f.name], float) for f in fields(cls)))

    def text(self) -> str:
        """As the weights file keeps it."""
        return json.dumps({f.name: np.round(getattr(self, f.name), 5).tolist() for f in fields(self)})

    def count_sd(self, p: np.ndarray) -> float:
        """Standard deviation of the number of droplets among candidates of one image with calibrated probabilities."""
        return float(count_sd(np.sum(p * (1 - p)), self.count))


def count_sd(variance: np.ndarray | float, count: np.ndarray) -> np.ndarray | float:
    """Standard deviation of a number of droplets that has this variance where candidates are independent.

    A small shift that all logits share changes the sum of p by as much as the sum of p (1 - p): by the variance.
    """
    factor, shift = count
    return np.sqrt(factor**2 * variance + (shift * variance) ** 2)


def doubt(p: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(N,) how doubtful the image of each candidate is: log of the share of its droplets that may be none.

    `p` (N,) as added up, `image` (N,) number of each one's image.
    """
    droplets, doubtful = (np.bincount(image, weights) for weights in (p, p * (1 - p)))
    return np.log((doubtful + SOME_DOUBT) / (droplets + 1))[image]


def calibrated(droplets: Cells, marginal: Marginal, image: np.ndarray | None = None) -> Cells:
    """Probabilities and standard deviations that hold, for all candidates of an image, or of several by number."""
    x_sd, y_sd, radius_sd = (
        getattr(droplets, f"{n}_sd") * f for n, f in zip(("x", "y", "radius"), marginal.sd, strict=True)
    )
    unsure = doubt(droplets.p, np.zeros(len(droplets), int) if image is None else image)
    constant, slope, by_doubt, slope_by_doubt = marginal.logit
    slope = np.maximum(slope + slope_by_doubt * unsure, LEAST_SLOPE)
    p = expit(constant + by_doubt * unsure + slope * logits(droplets.p))
    return replace(droplets, p=np.interp(p, *marginal.p.T), x_sd=x_sd, y_sd=y_sd, radius_sd=radius_sd)


def logits(p: np.ndarray) -> np.ndarray:
    """Logits of probabilities that may be 0 or 1."""
    return logit(np.clip(p, LEAST_P, MOST_P))
