"""Proposals without a network: blobs of |image - background| at the droplets' scale."""

from __future__ import annotations

from ..images import Image


def estimate_diameter(image: Image) -> float:
    """Typical droplet diameter in pixels of the image."""
    raise NotImplementedError
