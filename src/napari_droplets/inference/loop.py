"""One fit: its state, the steps that better it, and when to stop.

Droplets and what they share take turns: some stochastic steps of optics, blur and glow, then a natural-gradient step of
all droplets, each with the other held. All of them raise the same ELBO, and the fit stops when it has settled.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np

from ..compiling import tracing
from ..model.assignment import AT_ONCE, Pixels, covered, covered_pixels
from ..model.outline import GLOW_TERMS
from ..model.problem import LEAST_ROWS, MOST_ROWS, Form, Rows, rows_of, some_rows
from ..model.rendering import Shared
from ..storage.memory import give_back
from .start import Ground, empty_slide
from .state import Setup, State, circles
from .steps import optics_step
from .steps.droplet_step import Guide, Prior, common_offset, divergence, moved, step
from .steps.evidence import alone, counted, look, padded
from .steps.gauss_newton import LEAST_NOISE, Evidence
from .steps.optics_step import Learned

LEARNING_RATE = 0.02
"""Of Adam, at the start of a cycle of rounds …"""
CYCLE = 8
"""… of so many rounds, in which it falls to zero; the next cycle starts with half of it."""
WARMING = 40
"""Steps over which it rises from nothing: Adam's first steps are of full length whatever the gradient."""
CHUNKS = 2
"""Calls of stochastic steps between two steps of the droplets."""
SETTLED_GAIN = 0.02
"""Nats per intensity: the ELBO has settled when the last round of a cycle gains less."""
STILL = 0.25
"""Posterior standard deviations: a droplet that moves less in one step is still, and is not looked at again."""
MOST_PASSES = 8
"""Steps of the droplets at most under optics that are given, before these are learned on …"""
HELD_PASSES = 2
"""… and before it is decided who is a droplet, where they are held: the background follows after the first."""
DAMPING = (0.1, 0.01)
"""Of steps of droplets, while optics are learned and at the end; see `droplet_step.step`."""
RELIST = 3
"""Rounds after which background and lists of pixels follow the droplets."""
MOST_HIDDEN = 0.9
"""Part of the pixels that count that may lie within reach of glows: in a crowd the background is read between outlines
instead."""
MOST_LISTED = 50_000
"""Pixels inside of droplets from which a fit learns; where there are more, a part of each droplet's …"""
LEAST_LISTED = 24
"""… but so many of each at least."""


HALF_LIGHT, HALF_UNEXPLAINED, STEEPNESS = 0.03, 0.05, 6.0
"""Light outside of droplets, and part left unexplained, at which outline and proposals are believed alike, and the
power of either that the odds fall with …"""
HIDDEN_UNEXPLAINED = 0.003
"""… and the part left unexplained where no light outside could be seen."""


NO_PIXELS = Pixels(*np.zeros((6, 0)), 0, 0)
"""An empty list."""


class Info(NamedTuple):
    """What a step of the droplets found."""

    loss: float
    """Negative ELBO …"""
    settling: float
    """… and with the likeliest noise."""
    moving: np.ndarray
    """(N,) bool, droplets that are not still."""


def init(setup: Setup, mean: np.ndarray, present: np.ndarray, shared: Shared, ground: Ground, noise: float) -> State:
    """The first state; its lists are made."""
    trust = outline_trust(setup.light) if setup.learning else 0.0  # optics that are held have decided
    state = State(mean, present, optics_step.init(shared), ground, NO_PIXELS, None, noise, trust=trust)
    return listed(setup, state, complete=False)


def grounded(setup: Setup, state: State) -> State:
    """Fit the background to the pixels that droplets leave empty where they are now.

    A step of its own, so that whoever calls it can let go of the background before: of 12 megapixels in color it has
    150 MB, as the image has.
    """
    x, y, radius = (a[state.present] for a in circles(setup, state.mean))
    shape = setup.image.shape[:2]
    reached = covered(x, y, radius, shape, state.blur, setup.reach)
    crowd = np.mean(reached if setup.counted is None else reached[setup.counted]) > MOST_HIDDEN
    hidden = covered(x, y, radius, shape, state.blur) if crowd else reached
    slide = empty_slide(setup.image, setup.grid, reached, state.noise, setup.counted, state.ground.field, hidden)
    return state._replace(ground=slide)


def listed(setup: Setup, state: State, *, complete: bool) -> State:
    """List the pixels around droplets where they are now.

    Not all pixels of large droplets are listed unless the list shall be `complete`. Of an image that is read by parts
    there is no complete list of all droplets: it is made block by block, see `evidence.look`.
    """
    x, y, radius = circles(setup, state.mean)
    here = np.flatnonzero(state.present)
    shape = setup.image.shape[0], setup.image.shape[1]
    there = x[here], y[here], radius[here]
    if complete and setup.in_blocks and setup.moving is None:
        seen = covered(*there, shape, state.blur, setup.reach)
        seen = seen if setup.counted is None else seen & setup.counted
        return state._replace(pixels=NO_PIXELS, rows=None, seen=None, listed_at=state.mean, listed=float(seen.sum()))
    area = np.pi * radius[here] ** 2
    most = np.inf if complete or area.sum() <= MOST_LISTED else max(LEAST_LISTED, MOST_LISTED / max(len(here), 1))
    wanted = None if setup.moving is None else setup.moving[here]
    found = covered_pixels(*there, shape, blur=state.blur, reach=setup.reach, wanted=wanted, most=most)
    if area.sum() > AT_ONCE:
        give_back()  # what it took to list so many pixels
    pixels = found._replace(row=here[found.row].astype(np.int32), other=np.append(here, setup.size)[found.other])
    if setup.renderer == "nearest":  # a pixel sees one droplet alone
        pixels = alone(pixels, setup.size)
    pixels = counted(setup, pixels)
    rows = rows_of(pixels, setup.image, state.ground.field, len(setup.anchor))
    if len(rows.row) <= MOST_ROWS:
        rows = jax.device_put(rows)
    return state._replace(pixels=pixels, rows=rows, seen=None, listed=float((pixels.own * pixels.weight).sum()))


def steps_of(
    state: optics_step.State,
    rates: Learned,
    rate: np.ndarray,
    order: np.ndarray,
    raw: np.ndarray,
    anchor: np.ndarray,
    rows: Rows,
    precision: np.ndarray,
    total: float,
    droplets: float,
    form: Form,
) -> tuple[optics_step.State, Any]:
    """`optics_step.chunk`."""
    with tracing(("chunk", form, len(raw), len(rows.row))):
        return optics_step.chunk(
            state,
            rates,
            rate.astype(np.float32),
            order.astype(np.int32),
            raw,
            anchor,
            rows,
            precision,
            np.float32(total),
            np.float32(droplets),
            form,
        )


def move_droplets(
    setup: Setup, state: State, damping: float, *, learned: bool = False, some: np.ndarray | None = None
) -> tuple[State, Info]:
    """A natural-gradient step of all droplets, of which `some` (N,) are looked at, or all.

    The log likelihood of the others is the quadratic that was seen of them last. Once what droplets share is `learned`,
    what is left unexplained counts against the circles that pixels show; before, it says that optics are not learned
    yet.
    """
    evidence, seen = look(setup, state, some)
    here = state.present if setup.moving is None else state.present & setup.moving
    guide, common = step(
        state.mean, evidence, setup.prior, setup.free & here[:, None], setup.form, damping, learned=learned
    )
    loss, settling = _loss(setup, state, evidence, guide._replace(mean=state.mean), here)
    mean = guide.mean
    if setup.learning and setup.moving is None:
        off = offset(setup, mean, here) - state.offset
        mean = moved(mean, -(1 - state.trust) * off, setup.free & here[:, None])
        common = offset(setup, mean, here)
    deviation = np.sqrt(np.einsum("nii->ni", guide.covariance))
    move = mean - state.mean
    if some is not None and state.move is not None:
        back = np.sum(move * state.move / deviation**2, 1) < 0
        move[back] /= 2  # or droplets that step too far go to and fro, alone or with a neighbor
    moving = here & (np.abs(move) > STILL * deviation).any(1)
    mean = state.mean + move
    guide, seen = guide._replace(mean=mean), seen.moved(move)
    state = state._replace(mean=mean, move=move, guide=guide, evidence=evidence, seen=seen, noise=evidence.noise)
    return state._replace(common=common), Info(loss, settling, moving)


def offset(setup: Setup, mean: np.ndarray, some: np.ndarray) -> np.ndarray:
    """(3,) what `some` droplets (N,) have in common against their proposals, see `common_offset`."""
    return common_offset(mean[some], Prior(*(a[some] for a in setup.prior)))


def outline_trust(light: float, unexplained: float | None = None) -> float:
    """How far the pixels decide on the common error of all proposals.

    Where an outline is the edge of all that a droplet changes, and the model explains what is seen, pixels show it.
    Where light leaves the droplet, what belongs to it is a convention that pixels do not know and the network was
    taught; and where much is left unexplained, as droplets that are no circles leave it, circles and optics make up for
    each other. The odds of believing the pixels fall with a power of either. Where neighbors or blur hide the
    surroundings, only a model that leaves next to nothing is believed. `unexplained` is None until optics are learned.
    """
    if np.isnan(light):
        return 0.5 if unexplained is None else 1 / (1 + (unexplained / HIDDEN_UNEXPLAINED) ** 2)
    seen = 1 / (1 + (light / HALF_LIGHT) ** STEEPNESS)
    return seen if unexplained is None else seen / (1 + (unexplained / HALF_UNEXPLAINED) ** STEEPNESS)


def asymmetry(setup: Setup, state: State) -> np.ndarray:
    """(2,) how much the looks of droplets differ from side to side, in x and y.

    The first moment of the light that droplets change, over its absolute sum, in radii: 0 where opposite sides look
    alike, 0.4 for a disc that is bright on one side and dark on the other.
    """
    if state.seen is None or state.rows is None or not state.present.any():
        return np.zeros(2)
    used = len(state.pixels.row)
    some = slice(0, used, max(1, used // LEAST_ROWS))
    pixels, behind = state.pixels, state.rows.ground
    ground = behind[some] if used > MOST_ROWS else np.asarray(behind)[some]
    change = state.seen.colors[some] - ground
    x, y, radius = (a[pixels.row[some], None] for a in circles(setup, state.mean))
    u, v = (pixels.x[some] - x) / radius, (pixels.y[some] - y) / radius
    inside = (u**2 + v**2 <= 1) * pixels.own[some] * pixels.weight[some]
    moments = np.einsum("krs,rsc->kc", np.stack([u, v]) * inside, change)
    return np.abs(moments).sum(1) / max(float(np.sum(np.abs(change) * inside[..., None])), 1e-9)


def intensities(setup: Setup, state: State) -> float:
    """Intensities that the loss counts."""
    empty = float(state.ground.empty.sum()) if setup.moving is None else 0.0
    return setup.form.channels * (state.listed + empty)


def _loss(setup: Setup, state: State, evidence: Evidence, guide: Guide, here: np.ndarray) -> tuple[float, ...]:
    """Negative ELBO at the guide's mean, expected squares to second order; and the same at the likeliest noise.

    The first has the noise that is told. That is read off what changes from pixel to pixel, and falls while the model
    gets better, so that rounds are compared by the second.
    """
    left = state.ground.squares if setup.moving is None else 0.0
    count = intensities(setup, state)
    squares = evidence.squares + left
    some = Guide(*(a[here] for a in guide))
    doubt = 0.5 * np.einsum("nij,nji->n", evidence.information[here], some.covariance)
    apart = divergence(some, Prior(*(a[here] for a in setup.prior)), setup.form)
    rest = float(np.sum(doubt / evidence.inflation[here] + apart))
    rest -= float(optics_step.log_prior(jax.tree.map(np.asarray, state.optics.learned), np.float32(here.sum())))
    told, likeliest = evidence.noise**2, max(squares / max(count, 1), LEAST_NOISE**2)
    return tuple(
        squares / (2 * variance) + 0.5 * count * np.log(2 * np.pi * variance) + rest for variance in (told, likeliest)
    )


def learn_shared(setup: Setup, state: State, rate: float) -> State:
    """A call of stochastic steps of what droplets share."""
    assert state.evidence is not None
    assert state.rows is not None
    rows, crowded = len(state.pixels.row), state.pixels.crowded
    # pixels that one droplet alone covers; in a crowd without any, those of all
    order = np.arange(crowded, rows) if rows - crowded >= optics_step.ROWS_PER_STEP // 4 else np.arange(rows)
    rng = np.random.default_rng([setup.seed, state.step])
    wanted = optics_step.STEPS * optics_step.ROWS_PER_STEP
    chosen = np.concatenate([rng.permutation(order) for _ in range(-(-wanted // len(order)))])[:wanted]
    listed, chosen = state.rows, chosen.reshape(optics_step.STEPS, -1)
    if len(listed.row) > MOST_ROWS:
        listed = some_rows(listed, chosen.ravel(), len(setup.anchor))
        chosen = np.arange(chosen.size).reshape(chosen.shape)
    learned = state.optics.learned
    rates = jax.tree.map(lambda a: 1.0, learned)
    rates = Learned(rates.shared._replace(length=0.0, glow=float(setup.glow)), state.trust)
    precision = np.zeros(len(setup.anchor), np.float32)
    precision[: setup.size] = 1 / (state.noise**2 * state.evidence.inflation)
    optics, losses = steps_of(
        state.optics,
        rates,
        rate * np.minimum(1, (state.step + 1 + np.arange(optics_step.STEPS)) / WARMING),
        chosen,
        padded(len(setup.anchor), state.mean),
        setup.anchor,
        listed,
        precision,
        len(order) / optics_step.ROWS_PER_STEP,
        float(state.present.sum()),
        setup.form,
    )
    if not np.isfinite(np.asarray(losses)).all():
        return state  # the last sound ones are kept
    if not all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(optics.learned)):
        return state
    common = np.asarray(optics.learned.common, float)
    optics = optics._replace(learned=optics.learned._replace(common=optics.learned.common * 0))
    mean = moved(state.mean, common, setup.free & state.present[:, None])
    return state._replace(optics=optics, mean=mean, step=state.step + optics_step.STEPS)


def empty_glow(channels: int) -> np.ndarray:
    """No light outside of droplets."""
    return np.zeros((GLOW_TERMS, channels), np.float32)


class Schedule:
    """Learning rates of rounds, and whether the fit has settled.

    The rate falls linearly to zero over a cycle of rounds. Where the last round of a cycle still gained, another cycle
    follows at half the rate. A round that leaves the model worse than it was before anything was learned has diverged:
    the best state is gone back to, and the rate is halved at once.
    """

    def __init__(self, rate: float = LEARNING_RATE, cycle: int = CYCLE) -> None:
        self.first, self.cycle, self.round, self.best = rate, cycle, 0, np.inf
        self.state: State | None = None
        self.start = np.inf

    def begin(self, state: State, told: float) -> None:
        """Note the state before the first round, and its loss as it is told."""
        if self.state is None:
            self.start, self.state = told, state

    @property
    def rate(self) -> float:
        """Of the coming round."""
        done, within = divmod(self.round, self.cycle)
        return self.first * 0.5**done * (1 - within / self.cycle)

    def observe(self, setup: Setup, state: State, loss: float, told: float) -> tuple[State, bool]:
        """Note the loss of a round by which rounds are compared, and the one that is told, see `Info`.

        Returns the best state at the end of a cycle, and whether the fit has settled.
        """
        self.round += 1
        gain, settled = self.best - loss, SETTLED_GAIN * intensities(setup, state)
        if self.state is not None and told > self.start + settled:
            self.first /= 2
            state, gain = self.state._replace(step=state.step), 0.0
        elif gain > 0 or self.state is None:
            self.best, self.state = loss, state
        if self.round % self.cycle:
            return state, False
        return self.state._replace(step=state.step), gain < settled
