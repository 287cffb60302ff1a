"""How far a fit is: what it tells while it runs, the seconds of its parts, and the time that is left."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from .droplets import Droplets
    from .lazy import Pixels


class Progress(NamedTuple):
    """Where a running fit is; one per chunk of steps, and one at the start of each stage."""

    stage: str
    """'detect', 'types', 'compile', 'fit' or 'posterior'; 'optics' while these are learned for a series."""
    step: int
    steps: int
    """Planned steps; the fit may settle and stop sooner."""
    loss: float
    """Negative ELBO, mean of the last chunk; NaN before the first."""
    seconds_left: float
    """At most, estimated from the last chunks; NaN while unknown."""
    n_droplets: int
    """0 while detecting."""
    snapshot: Callable[[], tuple[Droplets, Pixels | None]]
    """Droplets and (H, W, C) reconstruction at this moment, computed when called, from the thread that runs the
    fit; takes some tenths of a second. During 'detect' there is nothing until `n_droplets` are told; those are where
    the fit starts, and of them nothing is drawn yet (None)."""
    part: str = ""
    """Which of several pictures it is, in words."""


T = TypeVar("T")


def retold(
    steps: Generator[Progress, bool | None, T], change: Callable[[Progress], Progress]
) -> Generator[Progress, bool | None, T]:
    """The same steps, which tell another form of their progress."""
    reply: bool | None = None
    while True:
        try:
            progress = steps.send(reply)
        except StopIteration as end:
            return end.value
        reply = yield change(progress)


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
