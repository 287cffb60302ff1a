"""Classes of many images, found on all of their droplets together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..errors import InputError
from .classes import TINY, Classes, Data, Measured, classify, same_classes

MOST_DROPLETS = 8_000
"""Droplets that the mixture is fitted to, chosen at random of more: their errors are far below those of images."""


class Pooled(NamedTuple):
    """Classes that mean the same in all images."""

    parameters: dict[str, Any]
    """Of the mixture, as `same_classes` takes them."""
    shared_variance: np.ndarray
    """(G,) variance of logits of proportions that all images have in common, as nobody knows where classes end."""
    images: list[Classes]
    """The droplets of each image sorted into them."""


def classify_pooled(
    images: Sequence[Measured],
    classes: int | None = None,
    names: Sequence[str] | None = None,
    before: Mapping[str, Any] | None = None,
) -> Pooled:
    """Sort the droplets of many images, fitted with the same optics, into classes found on all of them.

    There are as many classes as names, as are asked for, or as can be told apart. Names are told from the most frequent
    class on. With `before`, `Pooled.parameters` of an earlier run, classes keep the order, and with it the names, that
    they had there.
    """
    if names is not None and classes is not None and classes != len(names):
        raise InputError(f"{len(names)} names for {classes} classes; give as many names as classes")
    classes = len(names) if names is not None else classes
    some = [one for one in images if len(one.data.weight)]
    if not some:
        raise InputError("classes: no droplets in any of the images")
    if len({(one.components, one.simplex) for one in some}) > 1:
        raise InputError("classes: images with other numbers of components; fit all of them with the same optics")
    everything = _joined(some)
    found = classify(everything, classes)
    if names is not None and len(found.parameters["weight"]) != len(names):
        raise InputError(
            f"{len(names)} names, but no more than {len(found.parameters['weight'])} classes can be made of the "
            f"droplets"
        )
    order = _order(before, found.parameters)
    parameters: dict[str, Any] = {key: [values[g] for g in order] for key, values in found.parameters.items()}
    if names is None and before is not None and len(before["weight"]) == len(order):
        names = before.get("names")
    parameters |= {} if names is None else {"names": list(names)}
    weight = np.asarray(parameters["weight"])
    sure = same_classes(parameters, everything).weight_sd  # as if the classes were known exactly
    shared = np.maximum(found.weight_sd[order] ** 2 - sure**2, 0) / np.maximum(weight * (1 - weight), TINY) ** 2
    return Pooled(parameters, shared, [same_classes(parameters, one) for one in images])


def _joined(images: Sequence[Measured]) -> Measured:
    y, s, weight = (np.concatenate([one.data[i] for one in images], -1) for i in range(3))
    if len(weight) > MOST_DROPLETS:
        chosen = np.random.default_rng(0).choice(len(weight), MOST_DROPLETS, replace=False)
        y, s, weight = y[..., chosen], s[..., chosen], weight[chosen]
    return Measured(Data(y, s, weight), np.ones(len(weight), bool), images[0].simplex)


def _order(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> list[int]:
    """The classes of now in the order that they had before, by their means; as they are where they are others."""
    mean = np.asarray(now["mean"])
    if before is None or np.shape(before["mean"]) != mean.shape:
        return list(range(len(mean)))
    away = np.linalg.norm(np.asarray(before["mean"])[:, None] - mean, axis=-1)
    return [int(g) for g in linear_sum_assignment(away)[1]]
