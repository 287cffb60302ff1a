"""Hashes by which a resumed batch knows images and optics again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from ..droplets import Optics


def file_hash(path: Path) -> str:
    """Hash of a file's bytes, or of all files of a folder."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def optics_hash(optics: Optics) -> str:
    """Hash of their weights."""
    digest = hashlib.sha256()
    for name, value in sorted(optics.weights.items()):
        digest.update(name.encode() + np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()
