"""Compiled programs are kept on disk, so that the next process need not compile them again."""

from __future__ import annotations

import hashlib
import platform
import threading
from contextlib import suppress
from pathlib import Path

import jax
from platformdirs import user_cache_path

MOST = 2**28  # bytes; beyond, a process that begins deletes the programs longest unused
# small programs are kept too, as an image needs a dozen of them: option, its default, and what it is set to
SMALL_TOO = (
    ("jax_persistent_cache_min_compile_time_secs", 1.0, 0.0),
    ("jax_persistent_cache_min_entry_size_bytes", 0, -1),
)
_one_at_a_time = threading.Lock()


def keep_compiled() -> None:
    """Let JAX keep compiled programs in the user's cache folder, in a part of it for machines like this one.

    Called before a program is used, not when a module is imported: an import changes nothing of JAX. Where JAX has such
    a folder already (JAX_COMPILATION_CACHE_DIR), that one is used as it is; where none can be written, or
    JAX_ENABLE_COMPILATION_CACHE is false, nothing is kept. Programs that cannot be read are compiled again.
    """
    with _one_at_a_time:
        if _folder_of_jax() is not None or not jax.config.jax_enable_compilation_cache:  # type: ignore[attr-defined]
            return
        folder = user_cache_path("napari-droplets", appauthor=False) / f"compiled-{_machine()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "writable").touch()
        except OSError:
            return
        with suppress(OSError):  # another process trims at the same time
            _trim(folder)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        for name, usual, value in SMALL_TOO:
            if getattr(jax.config, name) == usual:  # else somebody chose it
                jax.config.update(name, value)


def _trim(folder: Path) -> None:
    """Delete what was unused for longest until the rest fits.

    JAX can bound the folder itself, but then takes a lock for each program that it reads or writes, and looks at all
    of them: with several processes at work each waited for the others, up to ten seconds at a time.
    """
    files = sorted((max(s.st_atime, s.st_mtime), s.st_size, path) for path in folder.iterdir() for s in [path.stat()])
    excess = sum(size for _, size, _ in files) - MOST
    for _, size, path in files:
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= size


def _folder_of_jax() -> str | None:
    folder: str | None = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return folder


def _machine() -> str:
    """Stands for the processor: what is compiled for one may not run on another that shares the home folder."""
    described = [platform.machine(), platform.processor()]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    described += sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))})
    return hashlib.sha256("\n".join(described).encode()).hexdigest()[:12]
