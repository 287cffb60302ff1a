"""Seconds by part of a fit, and the time that is left."""

from __future__ import annotations

import time


class Clock:
    """Stop watch whose laps add up to the `seconds` of a summary."""

    def __init__(self, max_seconds: float | None = None) -> None:
        self.start = self._last = time.perf_counter()
        self.max_seconds = max_seconds
        self.seconds: dict[str, float] = {}

    def lap(self, name: str) -> float:
        """Book the time since the last lap under `name`; returns it."""
        now = time.perf_counter()
        passed, self._last = now - self._last, now
        self.seconds[name] = self.seconds.get(name, 0.0) + passed
        return passed

    def move(self, seconds: float, origin: str, to: str) -> None:
        """Book seconds of one part under another."""
        self.seconds[origin] = self.seconds.get(origin, 0.0) - seconds
        self.seconds[to] = self.seconds.get(to, 0.0) + seconds

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        """Seconds until the limit."""
        return float("inf") if self.max_seconds is None else self.max_seconds - self.total
