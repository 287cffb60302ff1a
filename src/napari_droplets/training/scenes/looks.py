"""How droplets may look: a broad prior over optics, drawn anew for every training image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FEATURES = 6  # of the random smooth optics
SHAPE_WAVES = (2, 3, 4)  # lobes of an outline that is not a circle
ABSORBING = (0.0, 0.25, 0.5, 0.5, 0.75)  # slab, flat drop, sphere, cap
EMITTING = (0.0, 0.15, 0.3, 0.5)  # cells are flat; a sphere that glows looks smaller than it is
DEEPEST = 3.5  # natural-log change of the light at most

Array = np.ndarray


@dataclass(frozen=True)
class Look:
    """One way of looking: how strong each optical effect is, in natural-log units of light, and where it acts.

    Colors are (3,) float32; an effect that is absent has strength zero. `dyes` is (K, 3), one row per species.
    """

    dyes: Array
    path_power: float  # path length through the liquid is (1 - d^2)^power: 0 a slab, 0.5 a sphere
    light: tuple[float, float]  # where oblique light goes to, a unit vector
    cap: Array  # darkening of the side away from the light …
    cap_at: float
    cap_width: float
    crescent: Array  # … and brightening of the other
    crescent_at: float
    crescent_width: float
    slope: Array  # linear shading along the light
    rims: tuple[tuple[Array, float, float], ...]  # rings: color, where (radii), width (radii)
    spot: Array  # light focused by the droplet
    spot_at: float
    spot_width: float
    highlight: Array  # reflection of a lamp: a small bright dot
    highlight_at: tuple[float, float]
    halo: Array  # glow (+) or shadow (-) around the droplet
    halo_length: float
    halo_lean: float  # 0 all around, 1 only towards the light
    halo_dye: float  # how much of a droplet's color its glow carries: light that came through the droplet
    fringe: float  # rings of diffraction in the halo, waves per radius
    smooth: Array  # (FEATURES, 3) random smooth optics
    smooth_in: Array  # (FEATURES, 4 + K) what each depends on
    texture: float
    additive: bool  # emits light (fluorescence) instead of changing it

    @property
    def reach(self) -> float:
        """Radii beyond which the light is unchanged."""
        return 1.25 + (3.0 * self.halo_length if np.any(self.halo) else 0.0)


def draw_look(rng: np.random.Generator) -> Look:
    """Draw a look from the prior."""
    additive = bool(rng.random() < 0.15)
    species = int(rng.integers(1, 6))
    color = rng.random() < 0.75  # else the light keeps its color

    def tint(strength: float, variety: float = 0.5) -> Array:
        parts = 1 + variety * rng.standard_normal(3) if color else np.ones(3)
        return (strength * parts).astype(np.float32)

    def chance(p: float, strength: float, variety: float = 0.5) -> Array:
        return tint(strength * rng.gamma(2, 0.5), variety) if rng.random() < p else np.zeros(3, np.float32)

    kind = rng.choice(["dyed", "clear", "solid", "shaded"], p=[0.4, 0.15, 0.2, 0.25])
    amount = {"dyed": 0.9, "clear": 0.0, "solid": 1.2, "shaded": 0.35}[kind] * rng.gamma(3, 1 / 3)
    dyes = -amount * np.abs(
        rng.normal(0.5, 0.6, (species, 3)) if color else rng.gamma(2, 0.4, (species, 1)).repeat(3, 1)
    )
    if rng.random() < 0.25:  # brighter than the ground, all or some of them
        dyes[rng.random(species) < rng.choice([0.5, 1.0])] *= -0.8
    if kind == "dyed" and species > 1 and rng.random() < 0.3:
        dyes[0] = 0  # a colorless species
    angle = rng.uniform(0, 2 * np.pi)
    light = float(np.cos(angle)), float(np.sin(angle))
    oblique = {"dyed": 0.5, "clear": 0.4, "solid": 0.2, "shaded": 1.0}[kind]
    both = rng.random() < oblique
    rims: list[tuple[Array, float, float]] = []
    for i in range(3):
        if rng.random() < {"dyed": 0.25, "clear": 1.0 if i == 0 else 0.4, "solid": 0.25, "shaded": 0.3}[kind]:
            width = float(np.exp(rng.uniform(np.log(0.04), np.log(0.3))))
            sign = rng.choice([-1.3, 0.8], p=[0.7, 0.3]) if i == 0 else rng.choice([-0.7, 0.7])
            at = 1 - width * rng.uniform(0, 1.5) if i == 0 else rng.uniform(0.5, 1.08)
            rims.append((tint(sign * rng.gamma(2, 0.5), 0.25), float(at), width))
    smooth_on = rng.random() < 0.4
    return Look(
        dyes=dyes.astype(np.float32),
        path_power=float(rng.choice(EMITTING if additive else ABSORBING) * rng.uniform(0.6, 1.4)),
        light=light,
        cap=-np.abs(tint(rng.gamma(2, 0.5))) * both,
        cap_at=float(rng.uniform(-0.1, 0.6)),
        cap_width=float(rng.uniform(0.1, 0.5)),
        crescent=tint(0.7 * rng.gamma(2, 0.5), 0.7) * (both and rng.random() < 0.85),
        crescent_at=float(rng.uniform(-0.1, 0.7)),
        crescent_width=float(rng.uniform(0.1, 0.5)),
        slope=chance(0.4 * oblique + 0.1, 0.5),
        rims=tuple(rims),
        spot=chance(0.3 if kind != "clear" else 0.5, rng.choice([0.9, -0.4]), 0.3),
        spot_at=float(rng.uniform(-0.4, 0.4) * (rng.random() < 0.5)),
        spot_width=float(rng.uniform(0.1, 0.5)),
        highlight=chance(0.2, 1.5, 0.1),
        highlight_at=(float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.6, 0.6))),
        halo=chance(0.75, rng.choice([0.35, -0.3], p=[0.75, 0.25])) if both else chance(0.4, rng.choice([0.35, -0.3])),
        halo_length=float(rng.uniform(0.06, 0.35)),
        halo_lean=float(rng.choice([0.0, rng.uniform(0, 1)], p=[0.2, 0.8] if both else [0.5, 0.5])),
        halo_dye=float(rng.uniform(0, 0.6) * (both and rng.random() < 0.6)),
        fringe=float(rng.uniform(1.0, 4.0) if rng.random() < 0.15 else 0),
        smooth=(rng.normal(0, 0.35, (FEATURES, 3)) * smooth_on).astype(np.float32),
        smooth_in=rng.normal(0, 1.2, (FEATURES, 4 + species)).astype(np.float32),
        texture=float(rng.uniform(0.1, 0.6) if rng.random() < 0.2 else 0),
        additive=additive,
    )


def change(
    look: Look, u: Array, v: Array, d: Array, radius: Array, edge: Array, mixture: Array, vigor: Array, texture: Array
) -> tuple[Array, Array]:
    """What droplets do to the light, pixel by pixel.

    Parameters
    ----------
    look : Look
    u, v : (n, h, w) float32
        Place relative to the droplet's centre, radii.
    d : (n, h, w) float32
        Distance from the centre, 1 at the outline.
    radius, edge : (n,) float32
        Pixels; the width over which its outline is blurred, radii.
    mixture : (n, K) float32
        Fractions of the species.
    vigor : (n,) float32
        How strong the droplet's effects are relative to the look's.
    texture : (n, h, w) float32
        Smooth noise, standard deviation 1.

    Returns
    -------
    cover : (n, h, w) float32
        How much of the pixel the droplet covers.
    light : (n, h, w, 3) float32
        Natural log of the factor on the light behind it; with `additive` the light emitted, in units of 1.
    """
    soft = edge[:, None, None]
    cover = _step((1 - d) / soft)
    along = u * look.light[0] + v * look.light[1]
    path = np.clip(1 - d * d, 0, None) ** look.path_power if look.path_power else np.ones_like(d)
    if look.texture:
        path = path * (1 + look.texture * texture)
    density = (mixture @ look.dyes)[:, None, None, :]
    if look.additive:
        glow = (
            path
            * vigor[:, None, None]
            * (0.2 + mixture @ np.linspace(1, 0.4, mixture.shape[1], dtype=np.float32))[:, None, None]
        )
        tint = np.abs(density) + 0.15
        inside = glow[..., None] * tint / tint.max(-1, keepdims=True)
    else:
        inside = path[..., None] * density
    shade = np.zeros((*d.shape, 3), np.float32)
    if np.any(look.cap):
        shade += _step((-along - look.cap_at) / (look.cap_width + soft))[..., None] * look.cap
    if np.any(look.crescent):
        shade += _step((along - look.crescent_at) / (look.crescent_width + soft))[..., None] * look.crescent
    if np.any(look.slope):
        shade += along[..., None] * look.slope
    for color, at, width in look.rims:
        wide = np.sqrt(width**2 + (0.6 * soft) ** 2)
        shade += (np.exp(-0.5 * ((d - at) / wide) ** 2) * width / wide)[..., None] * color
    if np.any(look.spot):
        wide = np.sqrt(look.spot_width**2 + soft**2)
        away = d * d - 2 * look.spot_at * along + look.spot_at**2
        shade += (np.exp(-0.5 * away / wide**2) * (look.spot_width / wide) ** 2)[..., None] * look.spot
    if np.any(look.highlight):
        away = (u - look.highlight_at[0]) ** 2 + (v - look.highlight_at[1]) ** 2
        size = np.maximum(0.1, 0.8 / radius)[:, None, None]
        shade += np.exp(-0.5 * away / size**2)[..., None] * look.highlight
    if np.any(look.smooth):
        known = np.concatenate([np.ones((len(radius), 1), np.float32), mixture], 1) @ look.smooth_in[:, 3:].T
        for k, weights in enumerate(look.smooth):
            a, b, c = look.smooth_in[k, :3]
            shade += np.tanh(a * u + b * v + c * d + known[:, k, None, None])[..., None] * weights
    shade *= vigor[:, None, None, None]
    if look.additive:
        return cover, inside * np.exp(np.clip(0.6 * shade, -2, 1)) * cover[..., None]
    inside = inside * vigor[:, None, None, None] + shade
    if not np.any(look.halo):
        light = inside * cover[..., None]
    else:
        outward = np.maximum(d - 1, 0)
        fade = np.exp(-outward / (look.halo_length + 0.5 * soft))
        if look.halo_lean:
            fade = fade * (1 - look.halo_lean + look.halo_lean * np.maximum(along, 0) / np.maximum(d, 1e-3))
        if look.fringe:
            fade = fade * np.cos(2 * np.pi * look.fringe * outward)
        around = fade[..., None] * ((look.halo + look.halo_dye * density) * vigor[:, None, None, None])
        light = around + cover[..., None] * (inside - around)
    return cover, np.clip(light, -DEEPEST, DEEPEST)


def outline(u: Array, v: Array, waves: Array) -> Array:
    """Distance from the centre in units of the outline's, (n, h, w); `waves` (n, 3, 2) cosine and sine amplitudes."""
    d = np.sqrt(u * u + v * v)
    if not waves.any():
        return d
    turn = (u + 1j * v) / np.maximum(d, 1e-6)
    wave: Array = np.ones_like(d)
    for k, n in enumerate(SHAPE_WAVES):
        power = turn**n
        wave += waves[:, k, 0, None, None] * power.real + waves[:, k, 1, None, None] * power.imag
    # an outline of mean 1 and small waves encloses pi (1 + half their squares)
    return (d / (wave / np.sqrt(1 + 0.5 * (waves**2).sum((1, 2)))[:, None, None])).astype(np.float32)


def _step(x: Array) -> Array:
    """A smooth step from 0 to 1 around 0."""
    return 0.5 + 0.5 * np.tanh(x)
