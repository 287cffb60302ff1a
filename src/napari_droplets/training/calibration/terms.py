"""The numbers of a fit's calibration, from errors that fits of simulated images noted.

What is noted of each candidate is said where it is gathered, in `fits.gathered`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from ...inference import calibration
from ...model.problem import PLACE

WILD = 0.5
"""Radii; what is further off is another droplet."""
PENALTY = 1.0
"""On squared coefficients of the logistic regression of presence."""
SLOPE = 0.2
"""Of a sigmoid about the middle of its range: changes of a fraction for one of its logit."""
AS_DRAWN = ("simulated", "discs")
"""Kinds whose droplets are drawn much as the model draws them."""
DISCREPANCIES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5)
"""Tried, in radii."""
ENOUGH = 4
"""Droplets that tell the common error of an image, at least."""

Part = dict[str, np.ndarray]


def learn(parts: dict[str, Part]) -> dict[str, Any]:
    """The calibration's numbers from what was noted on several kinds of images, each kind counting alike."""
    kinds = [_images(part) for part in parts.values()]
    others = [kind for name, kind in zip(parts, kinds, strict=True) if name not in AS_DRAWN]
    discrepancy = _discrepancy(others or kinds)
    kinds = [[with_discrepancy(image, discrepancy) for image in kind] for kind in kinds]
    images = [image for kind in kinds for image in kind]
    own, laplace, weight = _own_errors(kinds)
    numbers: dict[str, Any] = {
        "discrepancy": discrepancy,
        "place": _factor((own / laplace)[:, :2], weight),
        "radius": _factor((own / laplace)[:, 2:], weight),
        "systematic": _systematic(kinds),
        "composition": [1.0, 0.05],
        "presence": _presence(kinds),
    }
    dyed = [image for image in images if np.isfinite(image["composition_error"]).any()]
    if dyed:
        numbers["composition"] = _composition(dyed)
    alike = np.concatenate([np.full(len(kind), 1 / len(kind) / len(kinds)) for kind in kinds])
    numbers["count"] = _count(images, numbers["presence"], alike)
    return {k: _rounded(v) for k, v in numbers.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, float):
        return round(value, 4)
    return [round(float(v), 4) for v in value]


def _images(part: Part) -> list[Part]:
    return [{k: v[part["image"] == n] for k, v in part.items()} for n in np.unique(part["image"])]


def _found(image: Part) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.asarray((np.abs(image["error"]) < WILD).all(1))


def _common(image: Part) -> np.ndarray:
    """Error (3,) that the droplets of an image have in common."""
    return np.median(image["error"][_found(image)], 0)


def _known(image: Part) -> dict[str, Any]:
    """What the fit of an image knew of its common error, see `calibration.systematic`."""
    names = {
        "trust": "trust",
        "unexplained": "unexplained",
        "radius": "typical",
        "doubt": "doubt",
        "asymmetry": "asymmetry",
    }
    return {name: image[column][0] for name, column in names.items()}


def _own_errors(kinds: list[list[Part]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Errors of droplets without the common one, Laplace's deviations, and weights: a crowd counts by its root."""
    rows = []
    for kind in kinds:
        good = [found for image in kind if (found := _found(image)).sum() >= ENOUGH]
        total = sum(g.sum() ** 0.5 for g in good)
        for image in kind:
            found = _found(image)
            if (n := found.sum()) >= ENOUGH:
                off = (image["error"][found] - _common(image)) / np.sqrt(1 - 1 / n)
                rows.append((off, image["laplace"][found], np.full(n, n**-0.5 / total)))
    own, laplace, weight = (np.concatenate(column) for column in zip(*rows, strict=True))
    return own, laplace, weight


def _quantile(values: np.ndarray, weight: np.ndarray, q: float) -> float:
    order = np.argsort(values)
    total = np.cumsum(weight[order])
    return float(values[order][min(np.searchsorted(total, q * total[-1]), len(values) - 1)])


def _factor(z: np.ndarray, weight: np.ndarray) -> float:
    """By what deviations (N, D) must grow, that of errors z in their units 68 and 95 % are within one and two."""
    size, weight = np.abs(z).ravel(), np.repeat(weight, z.shape[1])
    return float(np.sqrt(_quantile(size, weight, 0.683) * _quantile(size, weight, 0.954) / 2))


def _deviations(error: np.ndarray, laplace: np.ndarray, weight: np.ndarray) -> list[float]:
    """Factor and floor of compositions with which 68 and 95 % intervals hold, for good and bad ones alike."""
    error, laplace = error.ravel(), laplace.ravel()
    edges = np.quantile(laplace, [0.25, 0.5, 0.75])
    kind = np.digitize(laplace, edges)

    def off(log_terms: np.ndarray) -> float:
        factor, floor = np.exp(log_terms)
        z = np.abs(error) / np.hypot(factor * laplace, floor)
        miss = 0.0
        for k in range(4):
            some = kind == k
            for q, want in ((0.683, 1.0), (0.954, 2.0)):
                miss += np.log(_quantile(z[some], weight[some], q) / want) ** 2
        return float(miss)

    starts = ((1.0, 0.005), (2.0, 0.01), (1.0, 0.03))
    found = [minimize(off, np.log(s), method="Nelder-Mead") for s in starts]
    return list(np.exp(min(found, key=lambda r: r.fun).x))


def _composition(images: list[Part]) -> list[float]:
    """Factor, and floor in logits, of fractions about the middle of their range."""
    rows = [np.isfinite(i["composition_error"]) for i in images]
    error, sd = (
        np.concatenate([i[name][r] for i, r in zip(images, rows, strict=True)])
        for name in ("composition_error", "composition_sd")
    )
    weight = np.concatenate([np.full(r.sum(), r.sum() ** -0.5) for r in rows])
    factor, floor = _deviations(error, np.maximum(sd, 1e-6), weight)
    return [factor, floor / SLOPE]


def _systematic(kinds: list[list[Part]]) -> dict[str, list[float]]:
    """Most likely terms of common errors, see `calibration.systematic`."""
    some = [[i for i in kind if _found(i).sum() >= ENOUGH] for kind in kinds]
    weight = np.concatenate([np.full(len(kind), 1 / max(len(kind), 1)) for kind in some])
    images = [image for kind in some for image in kind]
    common = np.array([_common(i) for i in images])
    known = [_known(image) for image in images]
    found: dict[str, list[float]] = {"shift": [0.1, 0.1, 1.0], "radius": [0.1, 0.05, 0.2]}
    for name, columns in (("shift", slice(0, 2)), ("radius", slice(2, 3))):
        error = common[:, columns]

        def deviation(terms: np.ndarray, name: str = name, columns: slice = columns) -> np.ndarray:
            told = found | {name: list(terms)}
            return np.array([calibration.systematic(**k, terms=told)[columns] for k in known])

        def surprise(log_terms: np.ndarray, error: np.ndarray = error) -> float:
            sd = deviation(np.exp(log_terms))
            # a t distribution with four degrees of freedom: a few images are out of all proportion
            return float(weight @ np.mean(np.log(sd) + 2.5 * np.log1p((error / sd) ** 2 / 4), 1))

        terms = np.exp(minimize(surprise, np.log(found[name]), method="Nelder-Mead").x)
        found[name] = list(terms * _factor(error / deviation(terms), weight))
    return found


def _presence(kinds: list[list[Part]]) -> np.ndarray:
    images = [image for kind in kinds for image in kind]
    roots = [[max(image["tried"].sum(), 1) ** 0.5 for image in kind] for kind in kinds]
    total = sum(map(sum, roots))
    shares = [root * total / len(kinds) / sum(kind) for kind in roots for root in kind]
    features = np.concatenate([i["features"][i["tried"]] for i in images])
    right = np.concatenate([np.isfinite(i["error"][i["tried"], 0]) for i in images]).astype(float)
    counts = [int(i["tried"].sum()) for i in images]
    weight = np.concatenate([np.full(n, share / max(n, 1)) for n, share in zip(counts, shares, strict=True)])

    def surprise(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
        z = features @ coefficients
        slope = features.T @ (weight * (expit(z) - right)) + PENALTY * coefficients
        value = weight @ np.logaddexp(0, np.where(right > 0, -z, z)) + PENALTY / 2 * coefficients @ coefficients
        return float(value), slope

    return minimize(surprise, np.zeros(features.shape[1]), jac=True).x


def _count(images: list[Part], presence: np.ndarray, weight: np.ndarray) -> list[float]:
    told = [(expit(np.clip(i["features"] @ presence, -9, 9)) * i["inside"])[i["tried"]] for i in images]
    there = np.array([i["there"][0] for i in images])
    off = np.abs(there - np.array([p.sum() for p in told]))
    variance = np.array([np.sum(p * (1 - p)) for p in told])

    def deviation(terms: np.ndarray) -> np.ndarray:
        return np.hypot(calibration.count_sd(variance, list(terms)), 0.3)

    def surprise(log_terms: np.ndarray) -> float:
        sd = deviation(np.exp(log_terms))
        return float(weight @ (np.log(sd) + 2.5 * np.log1p((off / sd) ** 2 / 4)))

    terms = np.exp(minimize(surprise, np.log([1.0, 0.1]), method="Nelder-Mead").x)
    return list(terms * _factor((off / deviation(terms))[:, None], weight))


def held(part: Part, numbers: dict[str, Any]) -> dict[str, float]:
    """How numbers hold on images of one kind: parts inside of 68 and 95 % intervals, calibration error, counts."""
    z: list[np.ndarray] = []
    p, right, count = [], [], []
    for image in (with_discrepancy(i, numbers["discrepancy"]) for i in _images(part)):
        good = _found(image)
        common = calibration.systematic(**_known(image), terms=numbers["systematic"])
        factors = np.array([numbers["place"], numbers["place"], numbers["radius"]])
        z.append(np.abs(image["error"][good]) / np.hypot(factors * image["laplace"][good], common))
        told = expit(np.clip(image["features"][image["tried"]] @ np.array(numbers["presence"]), -9, 9))
        p.append(told)
        right.append(np.isfinite(image["error"][image["tried"], 0]))
        told = told * image["inside"][image["tried"]]
        sd = float(calibration.count_sd(np.sum(told * (1 - told)), numbers["count"]))
        count.append(abs(image["there"][0] - told.sum()) <= 1.96 * sd)
    z_all, p_all, r_all = np.concatenate(z), np.concatenate(p), np.concatenate(right)
    bins = np.clip((p_all * 10).astype(int), 0, 9)
    ece = sum(
        abs(p_all[bins == b].mean() - r_all[bins == b].mean()) * np.mean(bins == b)
        for b in range(10)
        if (bins == b).any()
    )
    out = {"ece": float(ece), "count95": float(np.mean(count))}
    for k, name in enumerate(("x", "y", "radius")):
        out |= {f"{name}68": float(np.mean(z_all[:, k] < 1)), f"{name}95": float(np.mean(z_all[:, k] < 1.96))}
    return out


def with_discrepancy(image: Part, discrepancy: float) -> Part:
    """What was noted of an image, as if it had been fitted with this discrepancy: errors but for the common one."""
    scatter = discrepancy**2 * image["left"][:, None, None] * np.eye(PLACE)
    information = np.linalg.inv(np.linalg.inv(image["information"]) + scatter)
    weight = image["proposed_sd"] ** -2
    precision = information + weight[:, :, None] * np.eye(PLACE)
    pull = information @ image["shown"][..., None] + (weight * image["proposed"])[..., None]
    move = np.linalg.solve(precision, pull)[..., 0]
    move[:, :2] /= image["relative"][:, None]
    deviation = np.sqrt(np.einsum("nii->ni", np.linalg.inv(precision)))
    deviation[:, :2] /= image["relative"][:, None]
    found = _found(image)
    if found.any():
        move = move - np.median(move[found], 0)
    return image | {"error": image["error"] + move, "laplace": deviation}


def _discrepancy(kinds: list[list[Part]]) -> float:
    """The discrepancy with which errors, and what is told of them, are likeliest.

    It is learned on images of kinds that the model does not draw as they are.
    """

    def surprise(value: float) -> float:
        seen = [[with_discrepancy(image, value) for image in kind] for kind in kinds]
        own, laplace, weight = _own_errors(seen)
        place, radius = (_factor((own / laplace)[:, some], weight) for some in (slice(0, 2), slice(2, 3)))
        sd = laplace * np.array([place, place, radius])
        return float(weight @ np.mean(np.log(sd) + 2.5 * np.log1p((own / sd) ** 2 / 4), 1))

    return min(DISCREPANCIES, key=surprise)
