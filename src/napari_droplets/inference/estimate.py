"""Where the fit of one image stands, and what betters it between and after the stochastic steps."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from ..image_statistics import pixel_noise
from ..model.assignment import TILE
from . import posterior, svi
from .calibration import Trial, image_misfit, presence
from .gauge import Tie, regauge, trust, wanted
from .laplace import Belief, Evidence, polish, prior_belief
from .population import POSSIBLE, reconsidered
from .prepare import NOISE_RANGE, Setup
from .retie import retied
from .thinning import spacing, thinned
from .view import look, part_of

PLACE_RATE, OPTICS_RATE = 0.0, 0.1
"""Parts of the learning rate for places and radii, and for the optics, which start near where they belong: the noise of
faster steps would move droplets along with their optics, and make them shrink."""
FIRST_POLISH, LAST_POLISH = 2, 2
"""Gauss-Newton steps before the stochastic ones, after a first one that judges the optics (with those of an earlier
image one is enough), and after them."""
MOST_POLISH = 6
"""Those after them, at most, as long as more than MOVING of the droplets still move by more than STILL of their
standard deviations: where a candidate on top of a droplet has left, that has far to go."""
MOVING, STILL = 0.01, 0.5
WHOLE_POLISH = 1
"""Those with all pixels of a large image, after some with part of them."""
ENDING_POLISH = 2
"""Gauss-Newton steps by which renderers are compared, on part of the image."""
PROMISING = 0.2
"""Optics that leave no larger part unexplained at first sight, with droplets where proposed, are looked at again once
these have moved, and other blurs are tried; the others have to be learned first."""


class Believed(NamedTuple):
    """Parameters that a fit ends with, what is believed of droplets and was seen of them, and who is there."""

    parameters: svi.Variational
    belief: Belief
    evidence: Evidence
    probability: np.ndarray | None
    trial: Trial | None = None


class Estimate:
    """The parameters of one fit so far, NumPy; large images are seen by part of their pixels until the end."""

    def __init__(self, whole: Setup, seed: int) -> None:
        every = spacing(whole)
        setup = thinned(whole, every, seed) if every > 1 else whole
        self.whole = whole if every > 1 else None
        self.form, self.problem, self.prior, self.anchor, self.tiles = setup[:5]
        self.state, self.free, self.probability, self.looks, self.at, self.endings = setup[5:]
        self.seed = seed
        self.step = 0
        self.parameters: svi.Variational = jax.device_get(self.state.parameters)
        self.values = float(np.sum(self.tiles.weight)) * self.form.channels
        tiles = self.tiles.values.reshape(-1, TILE, self.form.channels)
        self.noise = float(np.clip(pixel_noise(tiles), *NOISE_RANGE))
        self.learning = bool(np.any(self.free.shared[svi.optics_part(self.form)]))
        self.tie: Tie | None = None
        pace = np.where(np.arange(self.free.droplets.shape[1]) < 3, PLACE_RATE, 1).astype(np.float32)
        self.rates = svi.Guide(self.free.droplets * pace, self.free.shared * np.float32(OPTICS_RATE))

    @property
    def present(self) -> np.ndarray:
        """(N,) bool, droplets that take part."""
        return np.asarray(self.prior.present)

    def begin(self) -> None:
        """First steps of the droplets under the optics to start from, and what ties places and radii from here on."""
        self.parameters, belief, seen = self._polished(1)
        self.tie = Tie(belief.mean, self.parameters.mean.shared, trust(seen))
        if seen.unexplained < PROMISING:  # droplets may be the matter
            focused, belief, seen = self._focused(FIRST_POLISH if len(self.looks) > 1 else 1)
            if trust(seen) > 0:  # else the optics have to be learned first
                self.parameters = focused
                self.tie = Tie(belief.mean, focused.mean.shared, trust(seen))
        self._tie_down()
        self._upload()

    def refresh(self) -> None:
        """Gauss-Newton steps of all droplets, and which of them each tile may see."""
        if self.step and np.any(self.free.shared):
            self.parameters = self._polished(1)[0]
            self._tie_down()
            self._upload()
        self.problem = self._viewed(self.parameters.mean.droplets, self.present)

    def advance(self, rate: float) -> float:
        """Run a chunk of stochastic steps and return its mean loss; parameters stay if it is not finite."""
        numbers = np.float32(rate), np.uint32(self.seed), np.uint32(self.step)
        self.state, losses = svi.chunk(self.state, self.problem, self.rates, *numbers, self.form)
        loss = float(np.mean(np.asarray(losses)))
        if np.isfinite(loss):
            self.parameters = jax.device_get(self.state.parameters)
            self.step += svi.STEPS_PER_CHUNK
        return loss

    def finish(self, *, stopped_short: bool, compare: bool) -> Believed:
        """Last Gauss-Newton steps, and before them, unless the fit was stopped short, renderer, light and population.

        Renderers are compared if that is wanted, which takes time, or if there is but one.
        """
        self._tie_down()
        if stopped_short:
            self.problem = self._viewed(self.parameters.mean.droplets, self.present)
            return Believed(*self._polished(1), self.probability)
        if compare or len(self.endings) == 1:
            self._choose_renderer()
            self._look_again()
        trial = None if self.probability is None else self._reconsider(self.probability)
        steps = LAST_POLISH
        if self.whole is not None:
            self.prior = self.whole.prior._replace(present=self.present)
            self.problem, self.anchor, self.tiles = self.whole.problem, self.whole.anchor, self.whole.tiles
            steps = WHOLE_POLISH
        self.problem = self._viewed(self.parameters.mean.droplets, self.present)
        final, belief, seen = self._polished(steps)
        if trial is None:
            return Believed(final, belief, seen, self.probability)
        here = self.present & (self.free.droplets[:, :3] > 0).any(1)
        for _ in range(MOST_POLISH - steps if self.whole is None else 0):
            if not _moving(belief, self.parameters, here):
                break
            self.parameters = final
            final, belief, seen = self._polished(1)
        assert self.probability is not None
        p = presence(self.probability, trial, image_misfit(seen, self.present))
        return Believed(final, belief, seen, p, trial)

    def _viewed(self, droplets: np.ndarray, present: np.ndarray) -> svi.Problem:
        there = self.parameters._replace(mean=self.parameters.mean._replace(droplets=droplets))
        located = posterior.mean_latents(there, self.anchor, self.form)
        view = look(located, present, self.tiles, len(self.problem.corner), self.seed + self.step)
        return self.problem._replace(view=jax.device_put(view))

    def _polish(self, droplets: np.ndarray, problem: svi.Problem, steps: int) -> tuple[Belief, Evidence]:
        shared = self.parameters.mean.shared
        return polish(droplets, shared, problem, self.noise, self.form, self.free.droplets, steps)

    def _polished(self, steps: int) -> tuple[svi.Variational, Belief, Evidence]:
        belief, seen = self._polish(self.parameters.mean.droplets, self.problem, steps)
        return _with_belief(self.parameters, belief, self.free.droplets), belief, seen

    def _upload(self) -> None:
        self.state = self.state._replace(parameters=jax.device_put(self.parameters))

    def _tie_down(self) -> None:
        if self.tie is None:
            return
        move = wanted(self.parameters, self.anchor, self.prior, self.tie)
        moved = regauge(self.parameters, move, self.form)
        droplets = np.where(self.free.droplets > 0, moved.mean.droplets, self.parameters.mean.droplets)
        self.parameters = moved._replace(mean=moved.mean._replace(droplets=droplets))

    def _focused(self, steps: int) -> tuple[svi.Variational, Belief, Evidence]:
        """Optics of another blur where they explain the image better: proposals off center look like blur."""
        parameters, belief, seen = self._polished(steps)
        shared = svi.unpack(parameters.mean.shared, self.form)
        begun, free = self.at, self.free.droplets
        for way in (-1, 1):
            while self.at * way >= begun * way and 0 <= self.at + way < len(self.looks):
                other = svi.pack(shared._replace(optics=self.looks[self.at + way]))
                tried, fit = polish(belief.mean, other, self.problem, self.noise, self.form, free, 2)
                if fit.left(seen.plain) >= seen.left(seen.plain):
                    break
                parameters = _with_belief(parameters, tried, free)
                parameters = parameters._replace(mean=parameters.mean._replace(shared=other))
                belief, seen = tried, fit
                self.at += way
        return parameters, belief, seen

    def _choose_renderer(self) -> None:
        """Go on with the renderer that explains the image best from where the steps have led."""
        mean, begun = self.parameters.mean, self.form
        if len(self.endings) > 1:
            some, whole = part_of(self.problem)
            forms, move = [begun._replace(renderer=name) for name in self.endings], self.free.droplets * whole[:, None]
            seen = [
                polish(mean.droplets, mean.shared, some, self.noise, form, move, ENDING_POLISH)[1] for form in forms
            ]
            plain = np.all([one.plain for one in seen], 0)
            self.form = forms[int(np.argmin([one.left(plain) for one in seen]))]
        else:
            self.form = begun._replace(renderer=self.endings[0])
        if self.form != begun:
            self.parameters = self._polished(1)[0]

    def _look_again(self) -> None:
        """Find light and blur as they are seen now: what ties droplets, or the optics themselves if they are held."""
        held = self.tie is None and len(self.looks) > 1  # shipped optics that are not learned
        mean = self.parameters.mean
        tie = Tie(mean.droplets, mean.shared, 1.0) if held else self.tie
        if tie is None or tie.trust == 0:
            return
        tie = retied(tie, self.looks, self.at, self.problem, self.noise, self.form, self.free.droplets)
        if held:
            self.parameters = self.parameters._replace(mean=mean._replace(shared=tie.shared))
        else:
            self.tie = tie
            self._tie_down()

    def _reconsider(self, probability: np.ndarray) -> Trial:
        """Let droplets leave and candidates join."""
        waiting = ~self.present & (probability >= POSSIBLE)
        mean = self.parameters.mean
        census = reconsidered(
            mean.droplets,
            self.present,
            probability,
            waiting,
            self._viewed,
            self._polish,
            lambda droplets, problem: prior_belief(problem, droplets, self.form, self.free.droplets),
        )
        self.prior = self.prior._replace(present=census.present)
        self.parameters = self.parameters._replace(mean=mean._replace(droplets=census.droplets.astype(np.float32)))
        return census.trial


def _moving(belief: Belief, before: svi.Variational, here: np.ndarray) -> bool:
    """Whether too many of the droplets that are `here` were not yet where they are believed to be."""
    if not here.any():
        return False
    sd = np.sqrt(np.einsum("nii->ni", belief.covariance[here]))
    step = np.abs(belief.mean[here] - before.mean.droplets[here]) / sd
    return bool(np.mean((step > STILL).any(1)) > MOVING)


def _with_belief(parameters: svi.Variational, belief: Belief, free: np.ndarray) -> svi.Variational:
    """Parameters with means and deviations of what is believed, where droplets may move."""
    mean, log_sd = parameters
    sd = 0.5 * np.log(np.einsum("nii->ni", belief.covariance))
    return svi.Variational(
        mean._replace(droplets=np.where(free > 0, belief.mean, mean.droplets).astype(np.float32)),
        log_sd._replace(droplets=np.where(free > 0, sd, log_sd.droplets).astype(np.float32)),
    )
