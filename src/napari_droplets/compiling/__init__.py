"""Compiled programs: kept on disk, and made one at a time, also ahead of need."""

from .service import tracing as tracing
