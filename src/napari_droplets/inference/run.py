"""From starting droplets to a Fit: prepare, optimise, and bring the posterior back to pixels of the image given."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from .. import __version__
from ..composition.anchors import known_compositions
from ..composition.classes import Classes, classify, same_classes
from ..droplets import Droplets, Fit, Optics
from ..images import Image
from ..model.assignment import Tiles, cut
from ..model.generative import Prior
from ..progress import Clock, Progress
from ..settings import Settings
from . import posterior, svi
from .api import Steps
from .calibration import Reported, count, image_misfit, reported
from .optimize import Outcome, iterate_chunks
from .population import pinned_rows
from .prepare import Setup, prepare

CLASS_DRAWS = 200
"""Samples of the posterior that classes are found from."""


def run(image: Image, start: Droplets, optics: Optics | None, settings: Settings, clock: Clock) -> Steps:
    """Fit the model to an image from starting droplets, both in pixels of the image given."""
    setup = prepare(image.rescaled(settings.scale), start.scaled(settings.scale), optics, settings)
    clock.lap("fit")
    frame = Frame(setup, image, settings, start, None if settings.learn_optics else optics)
    outcome = yield from iterate_chunks(setup, settings, clock, image.name, frame.snapshot)
    loss = outcome.losses[-1][1] if outcome.losses else float("nan")
    step = int(outcome.losses[-1][0]) if outcome.losses else 0
    snapshot = partial(frame.snapshot, outcome.parameters, outcome.present)
    yield Progress("posterior", step, step, loss, float("nan"), int(outcome.present.sum()), snapshot)
    return frame.result(outcome, settings, clock)


class Frame:
    """A fit seen in pixels of the image given: the anchors, prior and tiles for rendering there."""

    def __init__(
        self,
        setup: Setup,
        image: Image,
        settings: Settings,
        start: Droplets | None = None,
        held: Optics | None = None,
    ) -> None:
        """`start` is what the fit starts from, where droplets may be left out of its result; it gives their labels.

        With optics that are `held` classes are those found together with them.
        """
        scale = settings.scale
        self.classes = None if held is None else held.classes
        self.form, self.image, self.start, self.least = setup.form, image, start, settings.min_probability
        h, w, _ = image.shape
        self.work_prior, self.work_anchor = setup.prior, setup.anchor
        free = setup.free.droplets > 0
        self.pinned = free.any(1) & ~free[:, :3].any(1)
        self.anchored = free.any(1) & ~free[:, 3:].any(1)
        anchor = setup.anchor.copy()
        anchor[:, :2] = (anchor[:, :2] + 0.5) / scale - 0.5
        anchor[:, 2] /= scale
        self.anchor = anchor
        size, length = np.array([w, h], np.float32), np.float32(setup.prior.length / scale)
        self.prior: Prior = setup.prior._replace(size=size, length=length)
        self.tiles: Tiles = cut(image.pixels)

    def kept(self, parameters: svi.Variational, present: np.ndarray, p: np.ndarray | None = None) -> np.ndarray:
        """Probable droplets that pixels hold: placed to better than their radius, with a pixel in their disc."""
        if self.start is None:
            return present
        loc, log_sd = parameters.mean.droplets, parameters.log_sd.droplets
        center = self.anchor[:, :2] + self.anchor[:, 2:] * loc[:, :2]
        radius = self.anchor[:, 2] * np.exp(loc[:, 2])
        nearest = np.clip(center, 0, self.prior.size - 1)
        held = self.anchor[:, 2] * np.exp(log_sd[:, :2].max(1)) < radius
        held &= np.hypot(*(center - nearest).T) < radius
        pinned = svi.pad(pinned_rows(self.start), len(present))
        return present & (pinned | (held & (p is None or p >= self.least)))

    def guide(
        self, parameters: svi.Variational, kept: np.ndarray, told: Reported | None = None
    ) -> dict[str, np.ndarray]:
        """The posterior's parameters as `Fit.guide` holds them."""
        mean, log_sd = parameters
        sd = np.exp(log_sd.droplets[kept])
        tril = sd[:, None] * np.eye(sd.shape[1]) if told is None else told.tril[kept]
        tril[self.pinned[kept], :3] = 0  # where the user put it
        tril[self.anchored[kept], 3:] = 0  # … and what it is known to be made of
        means = mean.droplets if told is None else told.mean
        shared, shared_log_sd = svi.unpack(mean.shared, self.form), svi.unpack(log_sd.shared, self.form)
        return {
            "anchor": self.anchor[kept],
            "droplets": mean.droplets[kept],
            "droplets_log_sd": log_sd.droplets[kept],
            "droplets_told": means[kept].astype(np.float32),
            "droplets_tril": tril.astype(np.float32),
            "background": shared.background,
            "background_log_sd": shared_log_sd.background,
            "log_noise": shared.log_noise,
            "log_noise_log_sd": shared_log_sd.log_noise,
        }

    def droplets(self, guide: dict[str, np.ndarray]) -> Droplets:
        """Posterior means and standard deviations."""
        return posterior.droplets(guide, self.form.composition, self.image.pixel_size_um)

    def composition(self, droplets: Droplets, kept: np.ndarray) -> np.ndarray | None:
        """Known compositions as they were given, the others as found; unconstrained ones cannot be quite 0 or 1."""
        if self.start is None or droplets.composition is None:
            return droplets.composition
        known = known_compositions(self.start, self.form.types, self.form.composition)[kept[: len(self.start)]]
        return np.where(np.isfinite(known), known, droplets.composition)

    def snapshot(self, parameters: svi.Variational, present: np.ndarray) -> tuple[Droplets, np.ndarray]:
        """Droplets and the rendering of the posterior's means."""
        latents = posterior.mean_latents(parameters, self.anchor, self.form)
        kept = self.kept(parameters, present)
        picture = posterior.render_image(latents, self.tiles, self.prior._replace(present=kept), self.form)
        return self.droplets(self.guide(parameters, kept)), picture

    def optics(self, parameters: svi.Variational, settings: Settings) -> Optics:
        """Learned optics."""
        mean, log_sd = (svi.unpack(guide.shared, self.form) for guide in parameters)
        return Optics(
            weights=mean.optics,
            weights_sd={name: np.exp(v) for name, v in log_sd.optics.items()},
            types=self.form.types,
            channels=self.form.channels,
            length=float(self.prior.length),
            composition=self.form.composition,
            renderer=self.form.renderer,
            noise_sd=settings.noise or float(np.exp(mean.log_noise)),
        )

    def result(self, outcome: Outcome, settings: Settings, clock: Clock) -> Fit:
        """The Fit, its reconstruction averaged over the posterior."""
        parameters, p = outcome.parameters, outcome.probability
        self.form = outcome.form
        kept = self.kept(parameters, outcome.present, p)
        reconstruction = posterior.mean_reconstruction(
            settings.seed, parameters, self.anchor, self.tiles, self.prior._replace(present=kept), self.form
        )
        told = None
        if outcome.belief is not None and outcome.evidence is not None:
            told = reported(outcome.belief, outcome.evidence, self.work_prior, self.work_anchor)
        guide = self.guide(parameters, kept, told)
        droplets, optics = self.droplets(guide), self.optics(parameters, settings)
        droplets = replace(droplets, composition=self.composition(droplets, kept))
        labels = {} if self.start is None else {k: np.asarray(v)[kept[: len(v)]] for k, v in self.start.labels.items()}
        if outcome.evidence is not None:
            labels["misfit"] = outcome.evidence.misfit[kept]
        droplets = replace(droplets, labels=labels, p_present=None if p is None else p[kept])
        classes = None
        if self.start is not None and len(droplets):
            draws = posterior.sample_droplets(guide, self.form.composition, CLASS_DRAWS, settings.seed)["composition"]
            classes = self._classes(draws, droplets.p_present, settings)
            optics = replace(optics, classes=classes.parameters)
            labels |= {"class": classes.label, "class_p": classes.p}
            droplets = replace(droplets, labels=labels)
        clock.lap("posterior")
        summary = _summary(self.image, droplets, optics, reconstruction, outcome, settings, clock)
        if classes is not None:
            summary |= {"classes": classes.proportions, "class_mixture": classes.parameters}
        losses = np.asarray(outcome.losses, float).reshape(-1, 3)
        return Fit(droplets, reconstruction, optics, losses, summary, guide, self.image)

    def _classes(self, draws: np.ndarray, p: np.ndarray | None, settings: Settings) -> Classes:
        """Those of the series, where it has as many as are asked for; else found anew."""
        known = self.classes
        if known is not None and settings.classes in (None, len(known["weight"])):
            return same_classes(known, draws, p)
        return classify(draws, p, settings.classes)


def _summary(
    image: Image,
    droplets: Droplets,
    optics: Optics,
    reconstruction: np.ndarray,
    outcome: Outcome,
    settings: Settings,
    clock: Clock,
) -> dict[str, Any]:
    """What summary.json holds; a count has no error bar where presence is not inferred, so that it is null."""
    p = outcome.probability
    loss = outcome.losses[-1][1] if outcome.losses else None
    mean, sd = None, None
    if p is not None:
        seen = outcome.evidence
        mean, sd = count(p, 1.0 if seen is None else image_misfit(seen, outcome.present))
    names = ("import", "compile", "detect", "fit", "posterior")
    parts = {name: round(clock.seconds.get(name, 0.0), 3) for name in names}
    return {
        "n_droplets": len(droplets),
        "count_mean": mean,
        "count_sd": sd,
        "loss": loss,
        "loss_per_value": None if loss is None else loss / outcome.values,
        "rmse": float(np.sqrt(np.mean((image.pixels - reconstruction) ** 2))),
        "noise_sd": optics.noise_sd,
        "steps": int(outcome.losses[-1][0]) if outcome.losses else 0,
        "stopped": outcome.stopped,
        "renderer": outcome.form.renderer,
        "seconds": {"total": round(clock.total, 3), **parts},
        "settings": asdict(settings),
        "version": __version__,
        "image": {"path": image.path, "name": image.name, "shape": list(image.shape), "sha256": image.sha256},
    }
