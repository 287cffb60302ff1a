"""Numbers that describe all droplets of an image: how many, how large, how widely spread, each with an interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ..droplets import Droplets, Fit
from ..errors import InputError
from .size_draws import DRAWS, Frame, drawn_sizes

LEVEL = 0.95


@dataclass(frozen=True)
class Statistics:
    """What `statistics` found.

    Attributes
    ----------
    table : DataFrame
        A row for each quantity: value, low, high (the interval), unit.
    classes : dict
        The same for each class, with its shares of number, area and volume.
    border : str
        What was done with droplets that the border cuts.
    """

    table: pd.DataFrame
    classes: dict[str, pd.DataFrame] = field(default_factory=dict)
    border: str = ""

    def __getitem__(self, quantity: str) -> float:
        """The value of a quantity."""
        return float(self.table.loc[quantity, "value"])  # type: ignore[arg-type]

    def record(self) -> dict[str, Any]:
        """As JSON holds it: [value, low, high] of each quantity, null where it is not known."""

        def plain(table: pd.DataFrame) -> dict[str, Any]:
            rows = table[["value", "low", "high"]].to_numpy(float).tolist()
            return {
                str(name): [None if not np.isfinite(v) else float(f"{v:.6g}") for v in row]
                for name, row in zip(table.index, rows, strict=True)
            }

        units = {str(k): str(v) for k, v in self.table["unit"].items() if v}
        classes = {name: plain(table) for name, table in self.classes.items()}
        return {**plain(self.table), "units": units, "border": self.border} | ({"classes": classes} if classes else {})

    def __str__(self) -> str:
        """A line for each quantity."""
        lines = [
            f"{name:16s} {row['value']:10.4g}  ({row['low']:.4g} to {row['high']:.4g}) {row['unit']}".rstrip()
            for name, row in self.table.iterrows()
        ]
        return "\n".join([*lines, f"border: {self.border}"])


def statistics(
    droplets: Droplets | pd.DataFrame | Fit,
    *,
    shape: tuple[int, int] | None = None,
    region: Any = None,
    border: str = "corrected",
    count: tuple[float, float] | None = None,
    radius_percent: float = 0.0,
    depth_um: float | None = None,
    visible: float = 1.0,
    population: bool = False,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> Statistics:
    """Number, density, sizes and their spread, fractions of area and volume, each with an interval.

    Parameters
    ----------
    droplets : Droplets, DataFrame or Fit
        Of one image; diameters are in micrometres where the table has radius_um, else in pixels. A fit knows `shape`,
        `count`, `radius_percent` and `visible` itself.
    shape : (int, int), optional
        Height and width of the image in pixels: for density, fractions and the border.
    region : (x0, y0, x1, y1), array (H, W) or path, optional
        A box in pixels of the image, or a mask of its `shape`: droplets whose center is outside are left out, density
        and fractions are of its area.
    border : {'corrected', 'left out', 'kept'}
        Droplets that the border cuts. 'corrected': they are left out, and every other one counts H W / ((H - 2r)
        (W - 2r)) times, as large ones are cut more often (Miles and Lantuejoul). Without a `shape` they are left out
        where a column `cut_by_border` tells them, else kept. Only the border of the image cuts droplets, that of a
        region does not: droplets with their center in it count, whole.
    count : (float, float), optional
        Expected number of droplets and its standard deviation, `count_mean` and `count_sd` of a summary; by default
        from p_present, each droplet for itself.
    radius_percent : float
        The part of the errors of radii that all droplets share, as in the summary.
    depth_um : float, optional
        Depth of what was looked into, for the volume fraction.
    visible : float
        Share of the image, or of its region, in which there is a picture, where parts of it are hidden.
    population : bool
        Whether intervals are those of the population that the droplets are a sample of (Bayesian bootstrap), or of the
        droplets of this image.
    level : float
        Of the intervals.
    draws : int
        From the posterior, for the intervals.
    seed : int
        Of the draws.

    Returns
    -------
    Statistics
        number, density (per mm², or per 1000² pixels), mean, sd, cv, D10, D50, D90, span = (D90 - D10) / D50 by number;
        DV10, DV50, DV90 and span_volume by volume; D32 (Sauter: sum d³ / sum d²), D43 (sum d⁴ / sum d³), area_fraction,
        volume_per_area and, with a depth, volume_fraction. Diameters, not radii.

    Raises
    ------
    InputError
        No droplets, a choice that there is not, or a region that cannot be used.

    Notes
    -----
    Values are of the posterior means, droplets weighted by p_present. Intervals have the spread of draws of sizes and
    presence around them. Volumes are those of spheres.

    Examples
    --------
    >>> droplets = Droplets(x=[50.0, 90.0], y=[50.0, 90.0], radius=[5.0, 10.0])
    >>> found = statistics(droplets, border="kept")
    >>> found["mean"], round(found["D32"], 2)
    (15.0, 18.0)
    """
    if isinstance(droplets, Fit):
        told = known_of(droplets.summary)
        shape, count = shape or told["shape"], count or told["count"]
        radius_percent = radius_percent or told["radius_percent"]
        region = told["region"] if region is None else region
        visible = told["visible"] if visible == 1 else visible
        droplets = droplets.droplets
    if isinstance(droplets, pd.DataFrame):
        droplets = Droplets.from_dataframe(droplets)
    sizes = drawn_sizes(
        droplets,
        shape=shape,
        region=region,
        border=border,
        radius_percent=radius_percent,
        depth_um=depth_um,
        visible=visible,
        population=population,
        draws=draws,
        seed=seed,
    )
    frame, diameter, p, weigh = sizes.frame, sizes.diameter, sizes.p, sizes.weigh
    number = count or sizes.number
    z = float(np.sqrt(2) * _erfinv(level))
    ends = (1 - level) / 2, (1 + level) / 2

    def table(members: np.ndarray) -> pd.DataFrame:
        value = _quantities(diameter[members], (p * weigh(diameter))[members], frame)
        drawn = [_quantities(d[members], (w * weigh(d))[members], frame) for d, w in sizes.draws]
        rows = {}
        for name, v in value.items():
            spread = np.array([one[name] for one in drawn])
            spread = spread[np.isfinite(spread)]
            low, middle, high = np.quantile(spread, [ends[0], 0.5, ends[1]]) if len(spread) else [np.nan] * 3
            rows[name] = (v, v * low / middle if middle else low, v * high / middle if middle else high)
        return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high"])

    found = table(np.ones(len(diameter), bool))
    first = pd.DataFrame([[number[0], max(0.0, number[0] - z * number[1]), number[0] + z * number[1]]], ["number"])
    first.columns = found.columns
    if count is not None and number[0] > 0 and "density" in found.index:  # the error of the count, not of each droplet
        found.loc["density", ["low", "high"]] = (
            found.loc["density", "value"] * first[["low", "high"]].to_numpy()[0] / number[0]
        )
    found = pd.concat([first, found])
    found["unit"] = [_unit(str(name), frame.unit) for name in found.index]
    return Statistics(found, _by_class(sizes.droplets, table, frame.unit), sizes.border)


def known_of(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a summary says of the options of `statistics`: shape, region, count, radius_percent, visible."""
    image, region = summary.get("image") or {}, (summary.get("settings") or {}).get("region")
    mask = (summary.get("region") or {}).get("mask")  # chosen among several it is noted with its own name
    mean, sd = summary.get("count_mean"), summary.get("count_sd")
    return {
        "shape": tuple(image.get("shape") or ())[:2] or None,
        "region": region if region is None or mask in (None, "given") else mask,
        "count": None if mean is None or sd is None else (mean, sd),
        "radius_percent": (summary.get("systematic") or {}).get("radius_percent") or 0.0,
        "visible": image.get("visible", 1.0),
    }


def record_of(droplets: Droplets, summary: Mapping[str, Any]) -> dict[str, Any] | None:
    """The statistics that belong into a summary; None of no droplets."""
    try:
        return statistics(droplets, **known_of(summary)).record()
    except InputError:
        return None


def _quantities(d: np.ndarray, weight: np.ndarray, frame: Frame) -> dict[str, float]:
    """All that is told, of diameters and how often each counts."""
    total = weight.sum()
    order = np.argsort(d)
    d, weight = d[order], weight[order]
    nan = float("nan")
    with np.errstate(all="ignore"):
        mean = (weight * d).sum() / total
        effective = total**2 / (weight**2).sum()
        spread = (weight * (d - mean) ** 2).sum() / total
        sd = np.sqrt(spread * effective / (effective - 1)) if effective > 1 + 1e-9 else nan
        second, third, fourth = ((weight * d**k).sum() for k in (2, 3, 4))
        d10, d50, d90 = _quantiles(d, weight)
        v10, v50, v90 = _quantiles(d, weight * d**3)
        found = {
            **{"density": total / frame.area * 1e6, "mean": mean, "sd": sd, "cv": sd / mean},
            **{"D10": d10, "D50": d50, "D90": d90, "span": (d90 - d10) / d50},
            **{"DV10": v10, "DV50": v50, "DV90": v90, "span_volume": (v90 - v10) / v50},
            **{"D32": third / second, "D43": fourth / third},
            **{"area_fraction": np.pi / 4 * second / frame.area, "volume_per_area": np.pi / 6 * third / frame.area},
        }
        if frame.depth is not None:
            found["volume_fraction"] = found["volume_per_area"] / frame.depth
    if not np.isfinite(frame.area):
        found = {
            k: v
            for k, v in found.items()
            if k not in ("density", "area_fraction", "volume_per_area", "volume_fraction")
        }
    return {k: float(v) for k, v in found.items()}


def _quantiles(d: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Diameters below which a tenth, half and nine tenths of the weight lie; `d` is sorted."""
    total = weight.sum()
    if not total > 0:
        return np.full(3, np.nan)
    some = weight > 0
    middle = (np.cumsum(weight[some]) - weight[some] / 2) / total
    return np.interp([0.1, 0.5, 0.9], middle, d[some])


def _by_class(droplets: Droplets, table: Any, unit: str) -> dict[str, pd.DataFrame]:
    labels = droplets.labels.get("class")
    if labels is None:
        return {}
    labels = pd.Series(labels)
    names = list(pd.unique(labels.dropna()))
    if len(names) < 2:
        return {}
    found = {}
    volume = droplets.radius**3
    for name in sorted(names, key=str):
        members = (labels == name).to_numpy()
        part = table(members)
        for share, weight in (("number", volume**0), ("area", droplets.radius**2), ("volume", volume)):
            part.loc[f"{share}_share"] = [weight[members].sum() / weight.sum(), np.nan, np.nan]
        part["unit"] = [_unit(str(q), unit) for q in part.index]
        found[str(name)] = part
    return found


def _unit(quantity: str, unit: str) -> str:
    if quantity == "density":
        return "per mm²" if unit == "µm" else "per 1000 x 1000 px"
    lengths = ("mean", "sd", "D10", "D50", "D90", "DV10", "DV50", "DV90", "D32", "D43", "volume_per_area")
    return unit if quantity in lengths else ""


def _erfinv(level: float) -> float:
    from scipy.special import erfinv

    return float(erfinv(level))
