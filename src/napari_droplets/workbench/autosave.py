"""Autosave: the session kept on disk after each step by a thread, and what is left where a program did not end well."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from ..errors import InputError
from ..storage.atomic import write_whole
from .storing import INDEX, Moment, Store

log = logging.getLogger(__name__)

DATA = "NAPARI_DROPLETS_DATA"
"""Environment variable with the folder that is used in place of the user's data folder."""
OWNER = "owner"
"""File that says which program a folder is of."""
OLDEST = 30 * 24 * 3600.0
"""Seconds after which what is left of a session is no longer offered, but removed."""
LAST_SECONDS = 20.0
"""How long the end of the program waits for the last step to be written."""


class Left(NamedTuple):
    """What is left of a session."""

    folder: Path
    when: float
    """Seconds since 1970, of its last step."""
    text: str
    """What is in it: images and numbers of droplets and edits."""


def data_folder() -> Path:
    """The user's data folder, or that of the environment."""
    if os.environ.get(DATA):
        return Path(os.environ[DATA])
    from platformdirs import user_data_path

    return Path(user_data_path("napari-droplets", appauthor=False))


def sessions_folder() -> Path:
    """Where sessions are kept while they are worked on."""
    return data_folder() / "sessions"


class Autosave:
    """Keeps the last moment that it was told; a thread writes it, so that nobody waits.

    Parameters
    ----------
    failed : callable, optional
        Called, in that thread, with what went wrong; once until it goes well again.
    """

    def __init__(self, failed: Callable[[str], None] | None = None) -> None:
        self.folder = sessions_folder() / uuid4().hex
        self._store = Store(self.folder)
        self._failed = failed or (lambda _: None)
        self._next: Moment | None = None
        self._wanted = threading.Condition()
        self._writing = self._ended = False
        self._thread: threading.Thread | None = None

    def keep(self, moment: Moment) -> None:
        """Write this moment as soon as possible; an earlier one that is not yet written is left out."""
        with self._wanted:
            if self._ended:
                return
            self._next = moment
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="napari-droplets autosave", daemon=True)
                self._thread.start()
            self._wanted.notify_all()

    @property
    def unused(self) -> bool:
        """Whether nothing was ever kept."""
        return self._thread is None

    @property
    def written(self) -> bool:
        """Whether all is on disk."""
        with self._wanted:
            return self._next is None and not self._writing

    def close(self, *, keep: bool) -> None:
        """Write what is left to write and end; what was kept is offered at the next start, or removed."""
        with self._wanted:
            self._ended = True
            if not keep:
                self._next = None
            self._wanted.notify_all()
        if self._thread is not None:
            self._thread.join(LAST_SECONDS)
        with suppress(OSError):
            if keep:
                (self.folder / OWNER).unlink(missing_ok=True)
            else:
                shutil.rmtree(self.folder)

    def _work(self) -> None:
        bad = False
        while True:
            with self._wanted:
                self._wanted.wait_for(lambda: self._next is not None or self._ended)
                moment, self._next = self._next, None
                if moment is None:
                    return
                self._writing = True
            try:
                if not (self.folder / OWNER).exists():
                    _own(self.folder)
                self._store.write(moment)
                bad = False
            except Exception as error:
                log.warning("work could not be kept", exc_info=True)
                if not bad:
                    self._failed(str(error))
                bad = True
            finally:
                with self._wanted:
                    self._writing = False
                    self._wanted.notify_all()


def left_over() -> list[Left]:
    """What is left of sessions whose program has ended without saving them, the last one first."""
    found = []
    try:
        folders = [path for path in sessions_folder().iterdir() if path.is_dir()]
    except OSError:
        return []
    for folder in folders:
        if _owned(folder):
            continue
        try:
            record = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            when, text = float(record["when"]), _text(record)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if time.time() - when > OLDEST:
            discard(folder)
        elif text:
            found.append(Left(folder, when, text))
    return sorted(found, key=lambda left: -left.when)


def discard(folder: Path) -> None:
    """Remove what is left of a session.

    Raises
    ------
    InputError
        It is none.
    """
    if folder.parent != sessions_folder() or not (folder / INDEX).exists():
        raise InputError(f"{folder}: nothing that was kept of a session")
    shutil.rmtree(folder, ignore_errors=True)


def _text(record: dict[str, Any]) -> str:
    parts = []
    for sheet in record["sheets"]:
        n, edits = int(sheet["droplets"]), int(sheet["edits"])
        parts.append(f"{sheet['image']['name']}: {n:,} droplets" + (f", {edits:,} edits" if edits else ""))
    return "; ".join(parts)


def _own(folder: Path) -> None:
    """Note whose folder it is, so that nobody else takes it while this program runs."""
    import psutil

    folder.mkdir(parents=True, exist_ok=True)
    owner = {"pid": os.getpid(), "started": psutil.Process().create_time()}
    write_whole(folder / OWNER, lambda path: path.write_text(json.dumps(owner), encoding="utf-8"))


def _owned(folder: Path) -> bool:
    """Whether the program that a folder is of still runs."""
    import psutil

    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        process = psutil.Process(int(owner["pid"]))
        return abs(process.create_time() - float(owner["started"])) < 1
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False
