"""Batches of training images drawn ahead by worker processes; each depends on its own number alone."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from typing import Any

import numpy as np

Drawn = tuple[np.ndarray, np.ndarray]  # image (side, side, 3) float32 in 0..1; droplets (N, 3): x, y, radius in pixels
AHEAD = 4  # batches drawn before they are needed, and one more for each worker
SHARE = 0.25  # of the training images, for scenes mixed in
Scene = Callable[[np.random.Generator, int], Drawn]

_scenes: dict[str, Scene] = {}  # of a worker process, sent to it once


@dataclass(frozen=True)
class Mixed:
    """Scenes, a share of them others.

    Attributes
    ----------
    scene, others : callable
        `scene(rng, side) -> (image, truth)`.
    share : float
        Of the others.
    """

    scene: Scene
    others: Scene
    share: float = SHARE

    @property
    def sha256(self) -> str:
        """Tells whether two trainings are on the same scenes, where these know."""
        parts = [getattr(scene, "sha256", "") for scene in (self.scene, self.others)]
        return hashlib.sha256("".join(parts).encode()).hexdigest() if any(parts) else ""

    def __call__(self, rng: np.random.Generator, side: int) -> Drawn:
        """Draw one image and its droplets."""
        return (self.scene if rng.random() >= self.share else self.others)(rng, side)


class Feed:
    """Draws images of several kinds of scenes in worker processes.

    Parameters
    ----------
    scenes : dict of callables
        By name, `scene(rng, side) -> (image, truth)`; must be picklable unless `workers` is 0.
    side : int
        Of the images, pixels.
    workers : int
        Processes. With 0 images are drawn in this one, when they are asked for.
    """

    def __init__(self, scenes: dict[str, Scene], side: int, workers: int = 1) -> None:
        self._scenes, self.side = scenes, side
        self.ahead = AHEAD + workers if workers else 0
        # never forked: the parent runs threads of the compiler
        self._pool = (
            ProcessPoolExecutor(workers, get_context("spawn"), initializer=_begin, initargs=(scenes,))
            if workers
            else None
        )

    def ask(self, name: str, seed: int, key: tuple[int, ...], count: int) -> Future[list[Drawn]]:
        """`count` images of the scenes of that name, from the stream of random numbers `key` of `seed`."""
        if self._pool is not None:
            with _spawning():
                return self._pool.submit(_draw, None, name, self.side, seed, key, count)
        answer: Future[list[Drawn]] = Future()
        try:
            answer.set_result(_draw(self._scenes, name, self.side, seed, key, count))
        except Exception as error:
            answer.set_exception(error)
        return answer

    def close(self) -> None:
        """End the workers; what they have not drawn yet is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)


def _draw(
    scenes: dict[str, Scene] | None, name: str, side: int, seed: int, key: tuple[int, ...], count: int
) -> list[Drawn]:
    scene = (_scenes if scenes is None else scenes)[name]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    return [scene(rng, side) for _ in range(count)]


def _begin(scenes: dict[str, Scene]) -> None:
    """In a new worker: learn the scenes, leave Ctrl-C to the parent, and end when the parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _scenes.update(scenes)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _spawning() -> Iterator[None]:
    """Processes started within ignore Ctrl-C from their first moment on, and compute on the CPU with few threads."""
    changed: dict[str, Any] = {}
    wanted = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    for name, value in (wanted | {"JAX_PLATFORMS": "cpu"}).items():
        changed[name] = os.environ.get(name)
        os.environ[name] = value
    main = threading.current_thread() is threading.main_thread()
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, previous)
        for name, value in changed.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
