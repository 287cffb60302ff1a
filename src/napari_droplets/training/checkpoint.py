"""The state of a training on disk: whole or not at all, and nothing in it that could run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..results.files import write_whole
from ..storage.stored_values import parsed

KEY = "napari-droplets training"


@dataclass
class Record:
    """What a checkpoint knows beside the arrays.

    Attributes
    ----------
    step : int
        Updates made.
    seconds : float
        Spent on them, over all runs.
    seed, side, batch : int
        As given to `train`.
    start : str
        SHA-256 of the weights begun from; empty for fresh ones.
    scenes : str
        SHA-256 of the fits whose look is trained on; empty for scenes of all kinds.
    held_out : str
        SHA-256 of the held-out scenes.
    decaying : bool
        Whether the learning rate had begun to fall.
    budget : float
        Minutes, or steps where `counted`.
    counted : bool
        Whether the budget is steps.
    best : list or None
        F1 (or None), loss and step of the weights kept, all held-out.
    log : list of dict
        One entry per validation.
    """

    seed: int
    side: int
    batch: int
    start: str = ""
    scenes: str = ""
    step: int = 0
    seconds: float = 0.0
    held_out: str = ""
    decaying: bool = False
    budget: float = 0.0
    counted: bool = False
    best: list[Any] | None = None
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of the budget that is spent."""
        return (self.step if self.counted else self.seconds / 60) / self.budget


USUAL = {f.name: f.default for f in fields(Record) if isinstance(f.default, (int, float, str))}
"""Values that say of which type they are."""


def write_checkpoint(path: Path, state: Any, record: Record) -> None:
    """Save the arrays of a tree, exactly, and the record."""
    from safetensors.numpy import save

    content = save({k: np.asarray(v) for k, v in _named(state).items()}, metadata={KEY: json.dumps(asdict(record))})
    write_whole(path, lambda p: p.write_bytes(content))


def read_checkpoint(path: Path, like: Any) -> tuple[Any, Record]:
    """Arrays in a tree shaped like `like`, and the record.

    Raises
    ------
    InputError
        Not a checkpoint, or one of another network.
    """
    import jax
    from safetensors import SafetensorError, safe_open

    hint = "begin anew with --restart, or give another output"
    try:
        with safe_open(path, "numpy") as file:
            record = _record(parsed((file.metadata() or {})[KEY]))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a checkpoint of this version of napari-droplets ({error}); {hint}") from error
    wanted = _named(like)
    if {k: (v.shape, v.dtype) for k, v in arrays.items()} != {k: (v.shape, v.dtype) for k, v in wanted.items()}:
        raise InputError(f"{path}: a checkpoint of another network or optimizer; {hint}")
    return jax.tree.unflatten(jax.tree.structure(like), [jax.numpy.asarray(arrays[name]) for name in wanted]), record


def _record(values: dict[str, Any]) -> Record:
    """The record with these values.

    Raises
    ------
    TypeError
        One is missing, unknown, or of another type.
    """
    record = Record(**values)
    for name, kind in (("seed", int), ("side", int), ("batch", int), *((k, type(v)) for k, v in USUAL.items())):
        value = getattr(record, name)
        if not isinstance(value, (int, float) if kind is float else kind):
            raise TypeError(f"{name} is {value!r}")
    return record


def _named(tree: Any) -> dict[str, Any]:
    """The leaves by their place in the tree, in its order."""
    import jax

    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
