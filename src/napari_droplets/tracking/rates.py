"""How fast each droplet grows, shrinks and changes: straight lines through its frames, with honest intervals.

The scatter of a droplet's measurements is judged from how far each lies off the line between its neighbors in time, so
that a bent curve (radii of evaporating droplets) is no error; droplets of like size lend one another what few frames
cannot say. Where errors of measurement last over several frames, the scatter around a parabola is larger than that
and correlated from frame to frame; both widen the intervals. What lasts as long as the track itself cannot be told from
growth. What frames have in common is an error of every rate too: of the scale of radii, as the table states it, of how
radii respond to the true ones, and, for a small part, of what changes of it from droplet to droplet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from .events import GEOMETRIES
from .response import response_error

if TYPE_CHECKING:
    from .tracks import Tracks

LEVEL = 0.95
PRIOR_FREEDOM = 6.0
"""Degrees of freedom that the scatter of like droplets counts for each."""
WIDTH = 0.3
"""Droplets are alike within this difference of log radii."""
LEAST_ERROR = 1e-3
"""Relative: nobody measures a radius better than that. For a component of a composition as such."""
SMOOTH_FROM = 8
"""Frames of a track from which a parabola shows whether errors last over several frames."""
TELLING = 5
"""Tracks of so many frames that say so together."""
LEAST_ALIKE = 0.1
"""Autocorrelation of errors from which on they last."""
LEAST = 0.02
"""Quantile of the stated deviations above which no error that all measurements have in common can be."""
LEAST_TOLD, MOST_TOLD = 0.3, 10.0
"""Own deviations count for no less than this part of what is usually stated, and no more than so many usual ones."""
RESPONSE = 1.5
"""Deviation of the power with which radii respond to true ones, in common relative errors of radii, before merges say
more. In fits of small simulated movies (benchmarks/movies.py) slopes are off by 8 %, radii by 4.4 % as stated."""
WANDERING = 0.05
"""Part of the common error of radii by which that of one droplet changes over its track, whatever its length: as it
comes near to others and to other light. In the fits of the same movies by 0.2 % of the radius."""
AT_BORDER = 1.5
"""A track that begins or ends nearer to the border than so many radii came from there, or left."""


def track_table(tracks: Tracks) -> pd.DataFrame:
    """A row for each track; see the documentation of tracks.csv."""
    table = tracks.droplets
    time = table["time_s" if "time_s" in table else "frame"].to_numpy(float)
    order = np.lexsort((time, table["track_id"].to_numpy()))
    ids, starts = np.unique(table["track_id"].to_numpy()[order], return_index=True)
    groups = np.split(order, starts[1:])
    radius = table["radius"].to_numpy(float)
    quantities = {"dr": radius, "dr2": radius**2}
    components = [c for c in table.columns if c.startswith("composition_") and c.removeprefix("composition_").isdigit()]
    quantities |= {f"d{c}": table[c].to_numpy(float) for c in components}
    frame = table["frame"].to_numpy()
    rows: dict[str, Any] = {
        "track_id": ids,
        "birth": [int(frame[g].min()) for g in groups],
        "death": [int(frame[g].max()) for g in groups],
    }
    if "time_s" in table:
        rows |= {"birth_s": [time[g].min() for g in groups], "death_s": [time[g].max() for g in groups]}
    rows["n_frames"] = [len(g) for g in groups]
    for name in ("x", "y", "radius", *components):
        values = table[name].to_numpy(float)
        rows[name] = [float(values[g].mean()) for g in groups]
    log_radius = np.array([np.log(radius[g].mean()) for g in groups])
    spans = np.array([np.ptp(time[g]) or np.inf for g in groups])
    same = np.ones(len(table))
    events = (*tracks.merges, *tracks.splits)
    exponent = GEOMETRIES[tracks.options.get("geometry", "sphere")]
    for name, values in quantities.items():
        power = {"dr": 1, "dr2": 2}.get(name, 0)
        size = np.array([np.abs(values[g]).mean() for g in groups]) if power else np.ones(len(groups))
        noise, freedom = _scatter(values, time, groups, log_radius, same)
        unit, shared, wandering = same, 0.0, 0.0
        column = "radius_sd" if power else f"{name.removeprefix('d')}_sd"
        if column in table:
            stated = table[column].to_numpy(float) / (radius if power else same)
            common = _shared(stated, noise / (max(power, 1) * size))
            unit = _units(stated, common)
            noise, freedom = _scatter(values, time, groups, log_radius, unit)
            if power:
                shared = np.hypot(power * common, response_error(events, radius, exponent, RESPONSE * common))
                wandering = WANDERING * power * common
        slope, sd = _slopes(values, time, groups, np.maximum(noise, LEAST_ERROR * size), unit)
        sd = np.sqrt(sd**2 + (np.abs(slope) * shared) ** 2 + (wandering * size / spans) ** 2)
        half = student.ppf(0.5 + LEVEL / 2, freedom) * sd
        label = f"{name}_dt"
        rows |= {label: slope, f"{label}_sd": sd, f"{label}_low": slope - half, f"{label}_high": slope + half}
    found = pd.DataFrame(rows)
    return found.assign(**_origins(tracks, found, groups))


def _units(stated: np.ndarray, common: float) -> np.ndarray:
    """(R,) deviation of each measurement over the usual one, without the part that all have in common."""
    known = np.isfinite(stated) & (stated > 0)
    if not known.any():
        return np.ones(len(stated))
    common = min(common, float(np.quantile(stated[known], LEAST)))
    least = LEAST_TOLD * float(np.median(stated[known]))
    own = np.sqrt(np.maximum(np.where(known, stated, 0) ** 2 - common**2, least**2))
    return np.where(known, np.minimum(own / float(np.median(own[known])), MOST_TOLD), 1.0)


def _scatter(
    values: np.ndarray, time: np.ndarray, groups: list[np.ndarray], log_radius: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Standard deviation of one usual measurement for each track, and its degrees of freedom."""
    own, weight = np.full(len(groups), np.nan), np.zeros(len(groups))
    near, smooth, left_over = [], [], []
    for k, g in enumerate(groups):
        if len(g) < 3:
            continue
        t, v, u = time[g], values[g], unit[g]
        left = (t[2:] - t[1:-1]) / (t[2:] - t[:-2])
        away = v[1:-1] - left * v[:-2] - (1 - left) * v[2:]
        factor = u[1:-1] ** 2 + (left * u[:-2]) ** 2 + ((1 - left) * u[2:]) ** 2
        own[k] = np.mean(away**2 / factor)
        weight[k] = (len(g) - 2) * 2 / 3  # neighbors share measurements: fewer degrees of freedom than differences
        if len(g) >= SMOOTH_FROM:
            scaled = (t - t.mean()) / np.ptp(t)
            parabola = np.polynomial.polynomial.polyfit(scaled, v, 2, w=1 / u)
            rest = (v - np.polynomial.polynomial.polyval(scaled, parabola)) / u
            near.append(own[k])
            smooth.append(np.sum(rest**2) / (len(g) - 3))
            left_over.append(rest)
    lasting = 1.0
    if len(near) >= TELLING:
        lasting = max(1.0, float(np.median(np.array(smooth) / np.maximum(near, 1e-30)))) * _lasting(left_over)
    known = np.isfinite(own)
    pooled = np.full(len(groups), np.nan)
    for k in range(len(groups)):
        alike = np.exp(-0.5 * ((log_radius[known] - log_radius[k]) / WIDTH) ** 2) * weight[known]
        if alike.sum() > 0:
            # outliers, as tracks that swapped, do not rule: a weighted median, for one degree of freedom in many
            pooled[k] = _weighted_median(own[known], alike)
    freedom = weight + PRIOR_FREEDOM
    variance = (weight * np.where(known, own, 0) + PRIOR_FREEDOM * pooled) / freedom
    return np.sqrt(variance * lasting), freedom


def _lasting(left_over: list[np.ndarray]) -> float:
    """Factor of the variance of a slope by errors that are alike in successive frames: 1 + 2 sum of r_k."""
    total = sum(float(e @ e) for e in left_over)
    factor = 1.0
    for lag in range(1, min(map(len, left_over)) // 2):
        alike = sum(float(e[lag:] @ e[:-lag]) for e in left_over) / max(total, 1e-30)
        if alike < LEAST_ALIKE:
            break
        factor += 2 * alike
    return factor


def _weighted_median(values: np.ndarray, weight: np.ndarray) -> float:
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    return float(values[order][np.searchsorted(below, below[-1] / 2)])


def _slopes(
    values: np.ndarray, time: np.ndarray, groups: list[np.ndarray], noise: np.ndarray, unit: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Slope of each track, each frame counting alike so that it is the mean one of a bent curve; and its deviation."""
    slope, sd = np.full(len(groups), np.nan), np.full(len(groups), np.nan)
    for k, g in enumerate(groups):
        if len(g) < 2:
            continue
        t = time[g] - time[g].mean()
        square = t @ t
        slope[k] = t @ values[g] / square
        sd[k] = noise[k] * np.sqrt(np.sum((t * unit[g]) ** 2)) / square
    return slope, sd


def _shared(stated: np.ndarray, scatter: np.ndarray) -> float:
    """Relative error of all radii by what frames have in common: a scale that is wrong.

    That is the part of the stated deviations of the radius that does not scatter from frame to frame.
    """
    stated, scatter = stated[np.isfinite(stated)], scatter[np.isfinite(scatter)]
    if not len(stated) or not len(scatter):
        return 0.0
    return float(np.sqrt(max(np.median(stated**2) - np.median(scatter**2), 0)))


def _origins(tracks: Tracks, found: pd.DataFrame, groups: list[np.ndarray]) -> dict[str, list[str]]:
    """How each track began and ended, and of and to which others."""
    table = tracks.droplets
    ids, frame = table["track_id"].to_numpy(), table["frame"].to_numpy()
    x, y, radius = (table[name].to_numpy(float) for name in ("x", "y", "radius"))
    shape = tracks.options.get("shape") or (y.max() + 1, x.max() + 1)
    first, last = frame.min(), frame.max()
    begun: dict[int, str] = {}
    ended: dict[int, str] = {}
    for kind, events in (("merge", tracks.merges), ("split", tracks.splits)):
        for e in events:
            one, several = [ids[e.one]], [ids[r] for r in e.several]
            for i in one if kind == "merge" else several:
                begun[i] = kind
            for i in several if kind == "merge" else one:
                ended[i] = kind
    origin, fate = [], []
    for i, g in zip(found["track_id"], groups, strict=True):
        a, b = g[0], g[-1]

        def at_border(k: int) -> bool:
            reach = AT_BORDER * radius[k]
            return bool(min(x[k], y[k]) < reach or x[k] > shape[1] - 1 - reach or y[k] > shape[0] - 1 - reach)

        seen_first = "first frame" if frame[a] == first else "border" if at_border(a) else "appeared"
        seen_last = "last frame" if frame[b] == last else "border" if at_border(b) else "vanished"
        origin.append(begun.get(i, seen_first))
        fate.append(ended.get(i, seen_last))
    return {"origin": origin, "fate": fate}
