"""Sample data for File > Open Sample."""

from __future__ import annotations

from typing import Any


def sample() -> list[tuple[Any, dict[str, Any], str]]:
    """A simulated micrograph, so that everything can be tried without an image of one's own."""
    from ...simulate import sample as simulated

    image, _ = simulated()
    return [(image, {"name": "sample", "rgb": True}, "image")]
