"""From the guide to results: droplets with their deviations, joint samples, and the Fit."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import numpy as np

from .. import __version__
from ..composition.anchors import known_compositions
from ..composition.classes import Classes, classify, measured_of, same_classes
from ..composition.draws import compositions, draws_for_classes
from ..droplets import Droplets, Fit, Optics, beyond_border
from ..images import Image, PixelSize, resampled
from ..images.region import centers_in
from ..lazy import SIDE, LazyPixels, Pixels, blocks
from ..model.background import SplineGrid
from ..model.picture import lazily_drawn
from ..model.problem import PLACE
from ..model.rendering import Shared
from ..progress import Clock
from ..settings import Settings
from ..transforms import constrained, sigmoid_moments
from . import calibration
from .candidates import LIKELY
from .run import Outcome
from .state import Setup, State, circles

JOINING = 0.7
"""Least probability of a droplet that the network thought unlikely: real images hold clutter that no simulator draws.
On the images that calibration is learned from it costs next to nothing: F1 of scenes, physical images and discs 0.894,
0.962 and 0.964, at 0.5 it is 0.894, 0.964 and 0.969."""
SIMPLEX_DRAWS = 400
"""Samples for the moments of a simplex, which have no quadrature: a standard error of 1/20 of the deviation."""


def droplets_of(guide: dict[str, np.ndarray], composition: str, pixel_size_um: PixelSize | None = None) -> Droplets:
    """Posterior means and standard deviations, each droplet's own and common ones together; NaN for what is pinned."""
    x0, y0, r0 = guide["anchor"].astype(float).T
    mean, tril = guide["droplets"].astype(float), guide["droplets_tril"].astype(float)
    own = np.sqrt(np.sum(tril**2, -1))
    relative = np.exp(mean[:, 2])
    common = guide["systematic"] * np.stack([relative, relative, np.ones_like(relative)], -1)
    sd = np.where(own[:, :PLACE] > 0, np.hypot(own[:, :PLACE], common), np.nan)
    fractions, fractions_sd = _composition_moments(guide, composition)
    radius = r0 * relative
    return Droplets(
        x=x0 + r0 * mean[:, 0],
        y=y0 + r0 * mean[:, 1],
        radius=radius,
        x_sd=r0 * sd[:, 0],
        y_sd=r0 * sd[:, 1],
        radius_sd=radius * np.sqrt(np.expm1(sd[:, 2] ** 2)),
        composition=fractions,
        composition_sd=fractions_sd,
        pixel_size_um=pixel_size_um,
    )


def _composition_moments(guide: dict[str, np.ndarray], composition: str) -> tuple[np.ndarray, np.ndarray]:
    """Means and standard deviations (N, K)."""
    mean, tril = (guide[name][:, PLACE:].astype(float) for name in ("droplets", "droplets_tril"))
    if composition != "simplex":
        return sigmoid_moments(mean, np.sqrt(np.sum(tril**2, -1)))
    sums = np.zeros((2, len(mean), mean.shape[1] + 1))
    for drawn in compositions(guide, composition, SIMPLEX_DRAWS, seed=0):
        sums += drawn, drawn**2
    first, second = sums / SIMPLEX_DRAWS
    return first, np.sqrt(np.maximum(second - first**2, 0))


def sample_droplets(guide: dict[str, np.ndarray], composition: str, n: int, seed: int) -> dict[str, np.ndarray]:
    """Draw n joint samples of all droplets: x, y, radius (n, N), composition (n, N, K).

    The error that all droplets share is drawn once for each sample.
    """
    rng = np.random.default_rng(seed)
    x0, y0, r0 = guide["anchor"].astype(float).T
    mean, tril = guide["droplets"], guide["droplets_tril"]
    draw_ = mean + np.einsum("nij,snj->sni", tril, rng.standard_normal((n, *mean.shape)))
    common = guide["systematic"] * rng.standard_normal((n, 1, PLACE))
    common = np.where(np.sum(tril[:, :PLACE] ** 2, -1) > 0, common, 0)  # what is pinned stays
    relative = np.exp(mean[:, 2])
    made_of = constrained(np.moveaxis(draw_[..., PLACE:], -1, 0), composition)
    return {
        "x": x0 + r0 * (draw_[..., 0] + relative * common[..., 0]),
        "y": y0 + r0 * (draw_[..., 1] + relative * common[..., 1]),
        "radius": r0 * np.exp(draw_[..., 2] + common[..., 2]),
        "composition": np.moveaxis(made_of, 0, -1),
    }


def classes_of(
    guide: dict[str, np.ndarray],
    composition: str,
    seed: int,
    p: np.ndarray | None,
    known: dict[str, Any] | None,
    number: int | None = None,
) -> Classes:
    """The `known` classes, unless another `number` of them is asked for; else they are found anew."""
    measured = measured_of(draws_for_classes(guide, composition, seed), p)
    if known is not None and number in (None, len(known["weight"])):
        return same_classes(known, measured)
    return classify(measured, number)


class Frame:
    """A fit seen in pixels of the image given, while it runs and in the end."""

    def __init__(self, image: Image, settings: Settings, start: Droplets | None, optics: Optics | None = None) -> None:
        """`start` is what the fit starts from; it gives the labels. With optics that are held classes are theirs."""
        self.image, self.settings, self.start = image, settings, start
        self.inherited = None if optics is None else optics.systematic
        self.classes = None if optics is None or settings.learn_optics else optics.classes

    def probable(self, setup: Setup, state: State, p: np.ndarray | None = None) -> np.ndarray:
        """Droplets present that are probable enough; a local refit keeps all."""
        if setup.moving is not None or p is None:
            return state.present
        assert setup.probability is not None
        pinned = ~setup.free[:, :PLACE].any(1)
        ok = (p >= self.settings.min_probability) & ((p >= JOINING) | (setup.probability >= LIKELY))
        return state.present & (pinned | ok)

    def kept(self, setup: Setup, state: State, p: np.ndarray | None = None) -> np.ndarray:
        """Those of them of which a part is in the image, and the center in its region."""
        probable = self.probable(setup, state, p)
        if setup.moving is not None:
            return probable
        x, y, radius = circles(setup, state.mean)
        pinned = ~setup.free[:, :PLACE].any(1)
        return probable & (pinned | (beyond_border(x, y, setup.image.shape) < radius)) & self.inside(setup, state)

    def inside(self, setup: Setup, state: State) -> np.ndarray:
        """(N,) bool, droplets whose center is in the region of the image."""
        if self.image.region is None:
            return np.ones(setup.size, bool)
        return centers_in(self.image.region, *self._given(*circles(setup, state.mean))[:2])

    def _within(self, setup: Setup, state: State, common: np.ndarray) -> np.ndarray:
        """(N,) probability that the center of each candidate is in the image."""
        assert state.guide is not None
        x, y, radius = circles(setup, state.mean)
        own = np.sqrt(np.sum(calibration.calibrated(state.guide.covariance)[:, :2] ** 2, -1))
        sd = np.hypot(own * setup.anchor[: setup.size, 2:], radius[:, None] * common[:2])
        return calibration.within(x, y, *sd.T, setup.image.shape)

    def _given(self, x: np.ndarray, y: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Circles in pixels of the image given."""
        scale = self.settings.scale
        return (x + 0.5) / scale - 0.5, (y + 0.5) / scale - 0.5, radius / scale

    def guide(self, setup: Setup, state: State, kept: np.ndarray, systematic: np.ndarray) -> dict[str, np.ndarray]:
        """The posterior's parameters as `Fit.guide` holds them."""
        assert state.guide is not None
        tril = calibration.calibrated(state.guide.covariance[kept])
        tril = np.where(setup.free[kept][:, :, None], tril, 0)
        common = state.common if setup.moving is None else np.zeros(PLACE)
        prior_mean = setup.prior.mean + np.where(setup.prior.recognized[:, None], common, 0)
        anchor = np.stack(self._given(*setup.anchor[: setup.size].astype(float).T), -1)
        return {
            "anchor": anchor[kept].astype(np.float32),
            "droplets": state.mean[kept].astype(np.float32),
            "droplets_tril": tril.astype(np.float32),
            "systematic": systematic.astype(np.float32),
            "prior_mean": prior_mean[kept].astype(np.float32),
            "prior_sd": setup.prior.sd[kept].astype(np.float32),
            "background": state.ground.coefficients.astype(np.float32),
            "background_sd": state.ground.deviations.astype(np.float32),
        }

    def snapshot(self, setup: Setup, state: State) -> tuple[Droplets, Pixels]:
        """Droplets as they are now, and what is drawn of them."""
        kept = self.kept(setup, state)
        guide = self.guide(setup, state, kept, np.zeros(PLACE))
        droplets = droplets_of(guide, setup.form.composition, self.image.pixel_size_um)
        return droplets, self.picture(setup, state)

    def picture(self, setup: Setup, state: State) -> Pixels:
        """The image drawn (H, W, C) float32, at the size of the image given; of a large one when it is asked for."""
        large = isinstance(self.image.pixels, LazyPixels)
        h, w, _ = self.image.shape
        ground = state.ground.field
        if large:
            grid = SplineGrid.for_coefficients(h, w, state.ground.coefficients)
            ground = grid.lazy_field(state.ground.coefficients)
        elif self.settings.scale != 1:
            ground = np.asarray(resampled(ground, 1 / self.settings.scale))
            missing = [(0, max(0, n - m)) for n, m in zip((h, w), ground.shape, strict=False)]
            ground = np.pad(ground, [*missing, (0, 0)], mode="edge")[:h, :w]
        drawn = lazily_drawn(*self._all(setup, state), ground, self._shared(state), setup.renderer)
        if large:
            return drawn
        picture = np.empty(drawn.shape, np.float32)
        for block in blocks(drawn.shape, SIDE):  # lists of all pixels at once would need more memory than the fit
            picture[block.slices] = drawn.read(block)
        return picture

    def _all(self, setup: Setup, state: State) -> tuple[np.ndarray, ...]:
        """x, y, radius and composition of the droplets present, in pixels of the image given."""
        here = state.present
        composition = constrained(state.mean[here, PLACE:].T, setup.form.composition).T
        return *(a[here] for a in self._given(*circles(setup, state.mean))), composition

    def _shared(self, state: State) -> Shared:
        """What droplets share, in pixels of the image given."""
        scale, shared = self.settings.scale, state.shared
        return shared._replace(log_blur=shared.log_blur - np.log(scale), length=shared.length / scale)

    def optics(self, setup: Setup, state: State) -> Optics:
        """Learned optics."""
        shared, scale, form = state.shared, self.settings.scale, setup.form
        return Optics(
            weights={name: np.asarray(value) for name, value in (*shared.optics.items(), ("glow", shared.glow))},
            weights_sd={},
            types=form.types,
            channels=form.channels,
            length=float(shared.length) / scale,
            composition=form.composition,
            renderer=setup.renderer,
            noise_sd=self.settings.noise or state.noise,
            blur_px=state.blur / scale,
        )

    def result(self, outcome: Outcome, clock: Clock) -> Fit:
        """The Fit."""
        setup, state, settings = outcome.setup, outcome.state, self.settings
        assert state.evidence is not None
        p: np.ndarray | None = None
        count: tuple[float | None, float | None] = (None, None)
        if setup.probability is not None and outcome.census is not None:
            p = np.asarray(setup.probability)
            if outcome.stopped != "cancelled":  # else optics are not learned: what the network said is all there is
                p = calibration.presence(p, calibration.presence_features(p, *outcome.census[:4]))
            p = np.where(state.present | outcome.census.tried, p, 0)
        kept = self.kept(setup, state, p)
        unexplained = state.evidence.unexplained_of(kept)
        typical = float(np.median(circles(setup, state.mean)[2][kept])) if kept.any() else 1.0
        # where neither proposals nor earlier optics have a common error, pixels alone decide
        alone = self.inherited is None and not setup.prior.recognized.any()
        trust, doubt = 1.0 if alone else state.trust, setup.doubt(kept)
        common = calibration.systematic(trust, unexplained, typical, doubt, state.asymmetry, self.inherited)
        if p is not None:  # of a count only droplets whose center is in the image give a density
            count = calibration.count(p * self.inside(setup, state) * self._within(setup, state, common))
        guide = self.guide(setup, state, kept, common)
        droplets = droplets_of(guide, setup.form.composition, self.image.pixel_size_um)
        optics = replace(self.optics(setup, state), systematic=common.tolist())
        labels: dict[str, Any] = {}
        if self.start is not None:
            labels = {k: np.asarray(v)[kept] for k, v in self.start.labels.items()}
            known = known_compositions(self.start, setup.form.types, setup.form.composition)[kept]
            droplets = replace(droplets, composition=np.where(np.isfinite(known), known, droplets.composition))
        labels["misfit"] = state.evidence.misfit[kept]
        droplets = replace(droplets, labels=labels, p_present=None if p is None else p[kept])
        classes = None
        if self.start is not None and len(droplets):  # those of the series, where it has as many as are asked for
            composition, seed = setup.form.composition, settings.seed
            classes = classes_of(guide, composition, seed, droplets.p_present, self.classes, settings.classes)
        if classes is not None:
            optics = replace(optics, classes=classes.parameters)
            labels |= classes.columns
            droplets = replace(droplets, labels=labels)
        picture = self.picture(setup, state._replace(present=self.probable(setup, state, p)))
        clock.lap("posterior")
        loss = outcome.losses[-1][1] if outcome.losses else None
        names = ("import", "compile", "detect", "fit", "posterior")
        summary: dict[str, Any] = {
            "n_droplets": len(droplets),
            "count_mean": count[0],
            "count_sd": count[1],
            "loss": loss,
            "loss_per_value": None if loss is None else loss / max(outcome.values, 1),
            "rmse": self.image.rmse(picture),
            "noise_sd": optics.noise_sd,
            "blur_px": optics.blur_px,
            "systematic": {
                "shift_radii": float(np.sqrt(np.mean(common[:2] ** 2))),
                "radius_percent": 100 * float(common[2]),
            },
            "outline_trust": trust,
            "unexplained": unexplained,
            "steps": int(outcome.losses[-1][0]) if outcome.losses else 0,
            "stopped": outcome.stopped,
            "renderer": setup.renderer,
            "seconds": {"total": round(clock.total, 3)} | {n: round(clock.seconds.get(n, 0.0), 3) for n in names},
            "settings": asdict(settings),
            "version": __version__,
            "image": self.image.record(),
        }
        if classes is not None:
            summary |= {"classes": classes.proportions, "class_mixture": classes.parameters}
        losses = np.asarray(outcome.losses, float).reshape(-1, 3)
        return Fit(droplets, picture, optics, losses, summary, guide, self.image)
