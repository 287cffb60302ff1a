"""Training images of all kinds, each with the droplets in it: `scene` draws one, `KINDS` has them by name."""

from .camera import RADII, SURELY_TRUE
from .mix import KINDS, scene

__all__ = ["KINDS", "RADII", "SURELY_TRUE", "scene"]
