"""Compiled programs: kept on disk, and made one at a time, also ahead of need."""

from .service import jit as jit
from .service import tracing as tracing
