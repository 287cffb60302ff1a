"""One lock for whatever is traced and compiled for the first time.

Programs are asked for by several threads: one that compiles ahead, one that runs a fit, another fit beside it. Whoever
comes first makes a program while the others wait, so that none is made twice, and nothing is ever traced in two threads
at once (NumPyro's stack of handlers is one for all of them).
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

_lock = threading.RLock()
_made: set[Hashable] = set()


def jit(function: Callable[..., Any], **how: Any) -> Any:
    """`jax.jit` of a function that is never traced while another one is.

    A program may have to be traced again although it was made before: where a setting of JAX has changed since, or its
    caches were cleared.
    """
    import jax

    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:  # JAX calls it to trace it, and never afterwards
        with _lock:
            return function(*args, **kwargs)

    return jax.jit(traced, **how)


@contextmanager
def tracing(key: Hashable) -> Iterator[None]:
    """Run a program within this block: alone the first time, freely once that has gone well.

    The `key` is what decides the program: its name, and the shapes and static arguments it is called with.
    """
    if key in _made:
        yield
        return
    from .disk import keep_compiled

    with _lock:
        keep_compiled()
        yield
        _made.add(key)


@contextmanager
def meanwhile(make: Callable[[Callable[[], bool]], None]) -> Iterator[None]:
    """Call `make` in another thread while the block runs; on leaving it is asked to stop, and not waited for.

    `make` gets a function that says whether to go on. A failure is logged once and harms nothing: the fit makes what it
    needs itself.
    """
    from .disk import keep_compiled

    keep_compiled()
    stopped = threading.Event()

    def work() -> None:
        try:
            make(lambda: not stopped.is_set())
        except Exception:
            log.warning("programs could not be compiled ahead", exc_info=True)

    thread = threading.Thread(target=work, name="napari-droplets compiling", daemon=False)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
