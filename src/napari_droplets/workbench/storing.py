"""A session on disk: a folder of JSON and safetensors, or the same as one file, `NAME.droplets`."""

from __future__ import annotations

import json
import operator
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from .. import __version__
from ..errors import InputError
from ..lazy import Pixels
from ..storage.atomic import write_whole
from .encoding import fit_of, fit_tensors, reference_of, reference_record, rows_of, rows_text, step_text, steps_of
from .fits import Fits, Numbered
from .journal import Journal, Step
from .movies.ties import Ties, ties_of, ties_record
from .session import Session
from .sheet import ImageReference, Sheet

SUFFIX = ".droplets"
INDEX = "session.json"
FORMAT, VERSION = "napari-droplets session", 1
MOST_BYTES = 8 * 2**30
"""Of one part of a session that is read: more than a fit of the largest image takes."""
PICTURE_SECONDS = 30.0
"""Between two pictures of a fit that are kept while work goes on: they are large, and follow from the rest."""

Name = str
Part = Callable[[], bytes]


class Kept(NamedTuple):
    """A sheet at a moment: references to what is never changed in place."""

    key: int
    name: str
    image: ImageReference
    detected: bool
    next_number: int
    table: pd.DataFrame
    steps: tuple[Step, ...]
    done: int
    fits: Fits
    place: dict[str, Any]
    ties: Ties | None = None


class Moment(NamedTuple):
    """A session at a moment, to be written by another thread."""

    settings: dict[str, Any]
    filters: dict[str, Any]
    sheets: tuple[Kept, ...]
    when: float

    @property
    def edits(self) -> int:
        """How many edits hold."""
        return sum(step.is_edit for kept in self.sheets for step in kept.steps[: kept.done])


class Stored(NamedTuple):
    """A session that was read."""

    settings: dict[str, Any]
    filters: dict[str, Any]
    sheets: list[Sheet]
    places: list[dict[str, Any]]
    """Where the image of each sheet lay."""
    when: float


def moment_of(session: Session, place_of: Callable[[Sheet], dict[str, Any]] = lambda _: {}) -> Moment:
    """The session as it is now; takes no time.

    Parameters
    ----------
    session : Session
    place_of : callable
        What JSON can say of where the layer of a sheet lies.
    """
    kept = [
        Kept(
            id(s),
            s.name,
            s.image,
            s.detected,
            s.next_number,
            s.table,
            s.journal.steps,
            s.journal.done,
            dict(s.fits),
            place_of(s),
            s.ties,
        )
        for s in session.sheets
        if not s.running
    ]
    return Moment(dict(session.settings), dict(session.filters), tuple(kept), time.time())


class Store:
    """A folder that a session is kept in; only what has changed is written.

    Other parts get other names, and the index that names them is replaced last, so that a crash at any moment leaves
    the session as it was before or as it is now.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[tuple[Any, ...], tuple[Any, Name, float]] = {}
        self._count = 0

    def write(self, moment: Moment, *, pictures: bool = False) -> None:
        """Write what has changed, `pictures` even where one was written a moment ago.

        Raises
        ------
        InputError
            The folder cannot be written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made ({error.strerror})") from error
        record, parts, known = index_and_parts(moment, self._known, self._named, pictures=pictures)
        for name, make in parts.items():
            content = make()
            write_whole(self.folder / name, partial(_put, content))
        text = json.dumps(record)
        write_whole(self.folder / INDEX, partial(_put, text.encode()))
        self._known = known
        used = {name for _, name, _ in known.values()} | {INDEX}
        for path in self.folder.iterdir():
            if path.name not in used and path.suffix in (".json", ".safetensors"):
                path.unlink(missing_ok=True)

    def _named(self, kind: str, suffix: str) -> Name:
        self._count += 1
        return f"{kind}-{self._count}{suffix}"


def save_session(moment: Moment, path: Path) -> Path:
    """Write a session as one file; returns its path, which ends in .droplets.

    Raises
    ------
    InputError
        It cannot be written.
    """
    path = path if path.suffix.lower() == SUFFIX else path.with_name(path.name + SUFFIX)
    if not path.parent.is_dir():
        raise InputError(f"{path}: no folder {path.parent}")
    count = iter(range(10**9))
    record, parts, _ = index_and_parts(moment, {}, lambda kind, suffix: f"{kind}-{next(count)}{suffix}", pictures=True)

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
            for name, make in parts.items():
                file.writestr(name, make())
            file.writestr(INDEX, json.dumps(record))

    write_whole(path, write)
    return path


def index_and_parts(
    moment: Moment,
    known: dict[tuple[Any, ...], tuple[Any, Name, float]],
    named: Callable[[str, str], Name],
    *,
    pictures: bool,
) -> tuple[dict[str, Any], dict[Name, Part], dict[tuple[Any, ...], tuple[Any, Name, float]]]:
    """What the index says of a session, the parts to write, and what is known then of those that are there.

    `known` are parts by what they are of: the object that was written, the name, and when.
    """
    parts: dict[Name, Part] = {}
    now: dict[tuple[Any, ...], tuple[Any, Name, float]] = {}

    def part(key: tuple[Any, ...], thing: Any, suffix: str, make: Part, *, every: float = 0.0) -> Name:
        old = known.get(key)
        if old is None or not (_same(old[0], thing) or time.monotonic() - old[2] < every):
            old = thing, named(str(key[1]), suffix), time.monotonic()
            parts[old[1]] = make
        now[key] = old
        return old[1]

    sheets = []
    for kept in moment.sheets:
        fits = []
        for plane, fit in kept.fits.items():
            own = (kept.key, "fit", plane)
            tensors, rest = fit_tensors(fit)
            picture = fit.fit.reconstruction
            fits.append(
                rest
                | {
                    "plane": list(plane),
                    "pixel_size_um": fit.fit.droplets.pixel_size_um,
                    "arrays": part(own, fit, ".safetensors", partial(_tensors, tensors)),
                    "droplets": part((kept.key, "droplets", plane), fit, ".json", partial(_fitted_text, fit)),
                    "picture": part(
                        (kept.key, "picture", plane),
                        picture,
                        ".safetensors",
                        partial(_picture, picture),
                        every=0.0 if pictures else PICTURE_SECONDS,
                    ),
                }
            )
        steps = (*kept.steps, kept.done)
        sheets.append(
            {"name": kept.name, "image": reference_record(kept.image), "detected": kept.detected}
            | {
                "droplets": len(kept.table),
                "edits": sum(step.is_edit for step in kept.steps[: kept.done]),
                "next_number": kept.next_number,
                "place": kept.place,
                "ties": ties_record(kept.ties),
                "table": part((kept.key, "table"), kept.table, ".json", partial(_table_text, kept.table)),
                "journal": part((kept.key, "journal"), steps, ".json", partial(_journal_text, kept)),
                "fits": fits,
            }
        )
    record = {"format": FORMAT, "version": VERSION, "written_by": __version__, "when": moment.when}
    return record | {"settings": moment.settings, "filters": moment.filters, "sheets": sheets}, parts, now


def journal_text(steps: Any, done: int) -> str:
    """A journal as JSON: its steps, and how many of them hold."""
    return f'{{"done": {done}, "steps": [{", ".join(step_text(step) for step in steps)}]}}'


def _put(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _table_text(table: pd.DataFrame) -> bytes:
    return rows_text(table).encode()


def _fitted_text(fit: Numbered) -> bytes:
    return rows_text(fit.table).encode()


def _journal_text(kept: Kept) -> bytes:
    return journal_text(kept.steps, kept.done).encode()


def _same(one: Any, other: Any) -> bool:
    """Whether a part is of the same object; a journal, of the same steps and as many done."""
    if type(one) is tuple and type(other) is tuple:
        return len(one) == len(other) and one[-1] == other[-1] and all(map(operator.is_, one[:-1], other[:-1]))
    return one is other


def _picture(picture: Pixels) -> bytes:
    return _tensors({"picture": np.asarray(picture)})


def _tensors(arrays: dict[str, np.ndarray]) -> bytes:
    from safetensors.numpy import save

    return save({k: np.ascontiguousarray(v) for k, v in arrays.items()})


# read


def read_session(path: str | Path) -> Stored:
    """Read a session: a file that `save_session` wrote, or a folder that a `Store` wrote.

    Raises
    ------
    InputError
        It is no session, of a later version, or damaged; the message says which part.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file")
    with _opened(path) as get:
        record = _json(get, INDEX, path)
        if not isinstance(record, dict) or record.get("format") != FORMAT:
            raise InputError(f"{path}: not a session of napari-droplets")
        if record.get("version") != VERSION:
            raise InputError(f"{path}: a session of another version ({record.get('version')}); update napari-droplets")
        try:
            sheets = [_sheet(get, one, path) for one in record["sheets"]]
            places = [dict(one.get("place") or {}) for one in record["sheets"]]
            settings, filters = dict(record["settings"]), dict(record["filters"])
            return Stored(settings, filters, sheets, places, float(record["when"]))
        except InputError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: a session that is damaged ({type(error).__name__}: {error})") from None


def is_session(path: Path) -> bool:
    """Whether a file or folder is a session."""
    return (path / INDEX).is_file() if path.is_dir() else path.suffix.lower() == SUFFIX and zipfile.is_zipfile(path)


Get = Callable[[Name], bytes]


@contextmanager
def _opened(path: Path) -> Iterator[Get]:
    if path.is_dir():

        def read(name: Name) -> bytes:
            part = path / name
            if part.stat().st_size > MOST_BYTES:
                raise InputError(f"{part}: too large")
            return part.read_bytes()

        yield _checked(read, path)
        return
    try:
        with zipfile.ZipFile(path) as file:

            def unpack(name: Name) -> bytes:
                if file.getinfo(name).file_size > MOST_BYTES:
                    raise InputError(f"{path}: {name} is too large")
                return file.read(name)

            yield _checked(unpack, path)
    except zipfile.BadZipFile as error:
        raise InputError(f"{path}: not a session of napari-droplets ({error})") from None


def _checked(read: Get, path: Path) -> Get:
    def get(name: Name) -> bytes:
        if not isinstance(name, str) or Path(name).name != name or name.startswith("."):
            raise InputError(f"{path}: names a part outside of the session ({name!r})")
        try:
            return read(name)
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: {name} is missing or damaged ({error})") from None

    return get


def _json(get: Get, name: Name, path: Path) -> Any:
    try:
        return json.loads(get(name))
    except ValueError as error:
        raise InputError(f"{path}: {name} is not JSON ({error})") from None


def _arrays(get: Get, name: Name, path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return dict(load(get(name)))
    except (SafetensorError, ValueError, TypeError) as error:
        raise InputError(f"{path}: {name} is damaged ({error})") from None


def _sheet(get: Get, record: dict[str, Any], path: Path) -> Sheet:
    table = rows_of(_json(get, record["table"], path), f"{path}: {record['table']}")
    fits: Fits = {}
    for one in record["fits"]:
        where = f"{path}: {one['arrays']}"
        droplets = rows_of(_json(get, one["droplets"], path), f"{path}: {one['droplets']}")
        picture = _arrays(get, one["picture"], path).get("picture")
        plane = tuple(int(i) for i in one["plane"])
        fits[plane] = fit_of(_arrays(get, one["arrays"], path), one, droplets, picture, where)
    journal = _json(get, record["journal"], path)
    steps, done = steps_of(list(journal["steps"]), fits, int(journal["done"]), f"{path}: {record['journal']}")
    return Sheet(
        str(record["name"]),
        table,
        reference_of(record["image"]),
        bool(record["detected"]),
        Journal(steps, done),
        fits,
        int(record["next_number"]),
        ties_of(record.get("ties")),
    )
