"""A fit made ready to run: what it is of, and where it starts."""

from __future__ import annotations

import numpy as np

from ..composition.anchors import known_compositions
from ..droplets import Droplets, Optics
from ..errors import InputError
from ..image_statistics import pixel_noise
from ..images import Image
from ..lazy import Block
from ..model.assignment import covered
from ..model.optics import weight_shapes
from ..model.problem import LEAST_DROPLETS, PLACE, Form, bucket
from ..model.rendering import Shared
from ..settings import Settings
from ..transforms import unconstrained
from .candidates import likely, pinned_rows
from .loop import empty_glow, init
from .start import (
    INITIAL_BLUR,
    UNSEEN,
    compositions_under,
    empty_slide,
    first_compositions,
    first_optics,
    grid_of,
    light_outside,
)
from .state import Setup, State
from .steps.droplet_step import prior_of
from .steps.gauss_newton import LEAST_NOISE, anchors_of

GLOW_FROM = 0.02
"""Light that is seen outside of droplets, over what they change inside, from which it is drawn."""


def form_of(channels: int, settings: Settings) -> Form:
    """The shape of the program for an image and settings."""
    return Form(channels, settings.components, settings.composition)


def check_optics(optics: Optics, form: Form, name: str) -> None:
    """Raise `InputError` where optics of an earlier image are of another kind, or their weights of another network."""
    for field, want in (("types", form.types), ("channels", form.channels), ("composition", form.composition)):
        if (have := getattr(optics, field)) != want:
            raise InputError(f"optics: learned with {field}={have}, but {name} is fitted with {field}={want}")
    shapes = {name: np.shape(value) for name, value in optics.weights.items()}
    glow = empty_glow(optics.channels).shape
    if shapes.pop("glow", glow) != glow or shapes != weight_shapes(optics.channels, optics.types):
        raise InputError(f"optics: weights of another network than {name} is fitted with; learn them anew")


def shared_of(optics: Optics, scale: float) -> Shared:
    """What droplets share, as learned before, for an image resized by `scale`."""
    blur = np.log(max(optics.blur_px * scale, 1e-3))
    weights = {name: np.asarray(value, np.float32) for name, value in optics.weights.items() if name != "glow"}
    glow = np.asarray(optics.weights.get("glow", empty_glow(optics.channels)), np.float32)
    return Shared(weights, glow, np.float32(blur), np.float32(optics.length * scale))


def free_to_change(
    mean: np.ndarray, known: np.ndarray, pinned: np.ndarray, form: Form
) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, D) with `known` compositions (N, K), and which numbers may change: no known, and no `pinned` place."""
    held = np.isfinite(known).all(1)
    mean, free = mean.copy(), np.ones(mean.shape, bool)
    mean[held, PLACE:] = unconstrained(known[held], form.composition)
    free[held, PLACE:] = False
    free[pinned, :PLACE] = False
    return mean, free


def prepare(
    work: Image,
    start: Droplets,
    optics: Optics | None,
    settings: Settings,
    counted: np.ndarray | None = None,
    slide: np.ndarray | None = None,
    tiles: tuple[Block, ...] = (),
) -> tuple[Setup, State]:
    """Build the setup and the first state; `work` and `start` at the working scale.

    `counted` (H, W) is False for pixels that do not count; nor do those where there is no picture. The empty `slide`
    (H, W, C) of a frame before, where it is at hand, tells what stands out of it. `tiles` of one size are different
    pictures, each with a background of its own.
    """
    image = work.pixels
    counted = work.counted(counted)
    form = form_of(work.shape[2], settings)
    if optics is not None:
        check_optics(optics, form, work.name)
    n = len(start)
    present = likely(start)
    place = start.x, start.y, start.radius
    here = tuple(a[present] for a in place)
    noise = settings.noise or max(pixel_noise(image, counted), LEAST_NOISE)
    grid = grid_of(image.shape[:2], here[2], settings.background, tiles)
    if slide is not None and slide.shape != image.shape:
        slide = None
    ground = empty_slide(image, grid, covered(*here, image.shape[:2], INITIAL_BLUR), noise, counted, slide)
    known = known_compositions(start, form.types, form.composition)
    recognized = np.isfinite(start.x_sd) if start.x_sd is not None else np.zeros(n, bool)
    learning = settings.learn_optics or optics is None
    # of use only where optics are learned
    light = light_outside(image, ground, *here, INITIAL_BLUR) if learning else UNSEEN
    if optics is None:
        length = float(np.median(here[2]))  # of those that take part: the others depend on what found them
        composition, power = first_compositions(image, ground, place, form, settings.seed, known, present, length)
        weights = first_optics(image, ground, here, composition[present], form, length, power, settings.seed)
        shared = Shared(weights, empty_glow(form.channels), np.float32(np.log(INITIAL_BLUR)), np.float32(length))
        glow = light.seen > GLOW_FROM
    else:
        shared = shared_of(optics, settings.scale)
        composition = compositions_under(shared, image, ground, place, form, settings.seed)
        glow = bool(np.any(shared.glow))
    mean = np.concatenate([np.zeros((n, PLACE)), composition], -1)
    if start.composition is not None and start.types == form.types:
        told = np.isfinite(start.composition).all(1)
        mean[told, PLACE:] = unconstrained(start.composition[told], form.composition, 0.01)
    mean, free = free_to_change(mean, known, pinned_rows(start), form)
    sd = start.x_sd, start.x_sd if start.y_sd is None else start.y_sd, start.radius_sd
    setup = Setup(
        image,
        counted,
        form,
        anchors_of(*place, bucket(n + 1, LEAST_DROPLETS)),
        prior_of(start.radius, sd, recognized),
        start.p_present,
        free,
        grid,
        learning,
        settings.noise,
        light.there,
        glow,
        settings.seed,
        given=optics is not None,
        renderer=settings.renderer,
    )
    return setup, init(setup, mean, present, shared, ground, noise)
