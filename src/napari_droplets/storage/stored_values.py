"""Files of ours, read as if a stranger had written them: JSON and safetensors, of bounded size, checked before use."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .memory import check_size
from .paths import check_file

JSON_GROWS = 30  # times its size is what JSON may take while it is read: a list of empty lists takes most
TYPES = ("F16", "F32", "F64", "I32", "I64", "U32", "BOOL")
"""Of numbers in our files, as safetensors calls them."""


def read_json(path: Path, what: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises
    ------
    InputError
        It is not there, cannot be read, or holds no object; the message calls it `what`.
    """
    check_file(path)
    check_size(path, JSON_GROWS)
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not {what} in JSON ({error})") from error


def parsed(text: str) -> dict[str, Any]:
    """The object that a text in JSON is.

    Raises
    ------
    ValueError
        It is none, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def read_tensors(
    path: Path, problem: str, types: Collection[str] = TYPES
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file by their names, and the texts about them.

    The library sees to it that the sizes in the heading are those of the file, and nothing in it can run.

    Raises
    ------
    InputError
        It is not there, cannot be read, or holds other types of numbers; the message says the `problem` and the reason.
    """
    from safetensors import SafetensorError, safe_open

    check_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            for name in names:
                if (kind := file.get_slice(name).get_dtype()) not in types:
                    raise ValueError(f"{name} is of type {kind}")
            return {name: file.get_tensor(name) for name in names}, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {problem} ({error})") from error
