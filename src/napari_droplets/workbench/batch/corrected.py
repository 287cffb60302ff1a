"""Results of a batch opened for correction, corrections written back into them, and the tables of all made anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ...droplets import GUIDE_BY_ROW, Droplets, Fit
from ...errors import InputError
from ...images import Image, as_image
from ...results.files import read, read_optics, read_summary, write_whole
from ...series.manifest import MANIFEST, read_manifest
from ...series.one_file import write_result
from ...series.plan import Plan
from ...series.stacks import write_stack
from ...series.tables import Outcome, Tables, WorkerError
from ...settings import READING, Settings
from ...storage.lock import sole_writer
from ...tables import EXPORTS
from ..fits import Numbered
from ..rows import changed_rows
from ..session import Session
from ..sheet import PLACE, Sheet
from ..storing import Kept, Moment, moment_of, read_session, save_session

SESSION = "corrections.droplets"
"""In the folder of a result: the session with its corrections, so that they can be undone later."""
MADE_WITH = (
    *("settings", "version", "detect_only", "measure", "optics_sha256", "weights_sha256", "region_sha256", "image"),
)
"""What a summary says of how a result was made: a refit must not change it, or `--resume` would do it again."""


class Opened(NamedTuple):
    """A result as it is looked at."""

    result: Fit | Droplets
    image: Image | None
    """None where its file is gone or another one."""
    sheet: Sheet | None
    """With the corrections of before; None where there are none."""
    same_pixels: bool
    """Whether the image, taken as a picture of numbers from 0 to 1, is the one that was fitted."""


def open_result(folder: Path) -> Opened:
    """Read the result of an image, and what was corrected in it before; takes some time.

    Raises
    ------
    InputError
        It is not there, or damaged.
    """
    summary = read_summary(folder)
    result = read(folder)
    image = result.image if isinstance(result, Fit) else _image_of(summary)
    corrections, sheet = summary.get("corrections") or {}, None
    if corrections and (folder / SESSION).exists():
        stored = read_session(folder / SESSION)
        if stored.when == corrections.get("when") and len(stored.sheets) == 1:
            [sheet] = stored.sheets
            sheet.fits = {p: f._replace(fit=replace(f.fit, image=image)) for p, f in sheet.fits.items()}
    return Opened(result, image, sheet, image is not None and _same_pixels(image, summary))


def moment_of_sheet(sheet: Sheet) -> Moment:
    """The sheet as it is now, to be written by another thread."""
    session = Session()
    session.sheets = [sheet]
    return moment_of(session)


def save_corrections(folder: Path, moment: Moment, stack: Path | None = None) -> int:
    """Write corrected droplets, and the fit around them, into the folder of a result; returns how many edits there are.

    The result is replaced as a whole. `stack` is the folder of the stack that it is a picture of.

    Raises
    ------
    InputError
        Droplets were edited that are not refitted yet, the image is gone, or the folder cannot be written to.
    """
    [kept] = moment.sheets
    before = read_summary(folder)
    edits = sum(step.is_edit for step in kept.steps[: kept.done])
    summary: dict[str, Any] = {}
    if not kept.fits or _is_refit(next(iter(kept.fits.values())).fit, folder):
        summary = {k: before[k] for k in MADE_WITH if k in before}
    summary["corrections"] = {"edits": edits, "when": moment.when}
    plan = Plan(
        Settings(),
        detect_only=not kept.fits,
        overlay=(folder / "overlay.png").exists(),
        exports=tuple(kind for kind, name in EXPORTS.items() if (folder / name).exists()),
    )
    found: Any
    if kept.fits:
        fit = _corrected_fit(kept)
        found, summary = fit, fit.summary | summary
    else:
        from ...measures.size_statistics import record_of

        image = _image_of(before)
        if image is None:
            raise InputError(f"{folder}: the image of this result is gone; put it back to save corrections")
        droplets = Droplets.from_dataframe(kept.table.rename_axis(None), name=str(folder))
        found = image, replace(droplets, pixel_size_um=image.pixel_size_um)
        summary = before | summary | {"n_droplets": len(droplets)}
        summary["statistics"] = record_of(found[1], summary)
    write_result(found, summary, folder, plan)
    save_session(moment, folder / SESSION)
    if stack is not None:
        write_stack(stack)
    return edits


def tables_of(out: Path) -> Tables:
    """The tables of all images of a batch, from their folders as they are now.

    Raises
    ------
    InputError
        No batch was run there.
    """
    entries = entries_of(out)
    labels = labels_of(entries)
    tables = Tables(out, None, [Path(e["path"]) for e in entries.values()])
    for name, entry in entries.items():
        error: Exception | None = None if entry.get("error") is None else WorkerError(entry["error"])
        try:
            summary = read_summary(out / name) if entry.get("state") in ("done", "stopped") else {}
        except InputError as problem:
            summary, error = {}, error or problem
        if summary or error is not None:
            tables.take(Outcome(Path(entry["path"]), labels[name], out / name, summary, error))
    return tables


def write_tables(out: Path) -> None:
    """Write OUT/droplets.csv, OUT/summary.csv and the counts in OUT/batch.json anew, with all corrections.

    Raises
    ------
    InputError
        A batch is writing there, none was run there, or the tables cannot be written.
    """
    with sole_writer(out, "corrections"):
        tables = tables_of(out)
        tables.write()
        manifest = read_manifest(out)
        for name, entry in manifest["images"].items():
            row = tables.rows.get(Path(entry["path"]))
            if row is not None and row["folder"] == name:
                entry["n_droplets"] = row["n_droplets"]
        _write_json(out / MANIFEST, manifest)


def export_table(out: Path, path: Path) -> int:
    """Write the droplets of all images, with all corrections, as CSV, Parquet or Excel; returns how many.

    Raises
    ------
    InputError
        No batch was run there, or the file cannot be written.
    """
    table = tables_of(out).merged()
    kind = path.suffix.lower()
    if kind == ".parquet":
        write: Callable[[Path], Any] = lambda p: table.to_parquet(p, index=False)  # noqa: E731
    elif kind == ".xlsx":
        write = lambda p: table.to_excel(p, index=False, sheet_name="droplets")  # noqa: E731
    else:
        write = lambda p: table.to_csv(p, index=False)  # noqa: E731
    try:
        write_whole(path, write)
    except (ImportError, ValueError) as error:  # no openpyxl; more rows than Excel holds
        raise InputError(f"{path}: cannot be written ({error}); write CSV or Parquet") from None
    return len(table)


def entries_of(out: Path) -> dict[str, dict[str, Any]]:
    """What OUT/batch.json says of each image, by the name of its folder.

    Raises
    ------
    InputError
        It is not there, or damaged.
    """
    entries = read_manifest(out).get("images")
    good = isinstance(entries, dict) and all(
        isinstance(e, dict) and isinstance(e.get("path"), str) and Path(n).name == n for n, e in entries.items()
    )
    if not isinstance(entries, dict) or not good:
        raise InputError(f"{out}: no batch was run there ({MANIFEST} is missing or damaged)")
    return entries


def labels_of(entries: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What images are called in the tables, by the names of their folders."""
    files = {name: Path(entry["path"]).name for name, entry in entries.items()}
    unique = len(set(files.values())) == len(files)
    return files if unique else {name: name for name in entries}


def _corrected_fit(kept: Kept) -> Fit:
    """The fit with the marks and classes that the user has set; its numbers of droplets are those of the table."""
    from ...inference.local.refit import with_proportions

    [found] = kept.fits.values()
    table = kept.table
    if found.fit.image is None:
        raise InputError(f"{kept.image.name}: its image is gone or another one; put it back to save corrections")
    if not len(table):  # nothing is left to refit
        found = Numbered(_emptied(found.fit), found.numbers[:0])
    elif len(changed_rows(found.table[PLACE], table[PLACE])) or len(found.numbers) != len(table):
        raise InputError(f"{kept.image.name}: edits are not refitted yet; press Refit, then save")
    rows = table.loc[found.numbers].rename_axis(None)
    size = found.fit.droplets.pixel_size_um
    droplets = replace(Droplets.from_dataframe(rows, name=kept.name), pixel_size_um=size)
    fit = replace(found.fit, droplets=droplets)
    fit = replace(fit, summary=fit.summary | {"n_droplets": len(droplets)})
    return with_proportions(fit) if len(droplets) else fit


def _is_refit(fit: Fit, folder: Path) -> bool:
    """Whether a fit was made from the one in a folder by refits, which learn no optics, and not by another run."""
    import numpy as np

    was = read_optics(folder).weights
    now = fit.optics.weights
    return was.keys() == now.keys() and all(np.array_equal(was[k], now[k]) for k in was)


def _emptied(fit: Fit) -> Fit:
    return replace(fit, guide={k: v[:0] if k in GUIDE_BY_ROW else v for k, v in fit.guide.items()})


def _image_of(summary: dict[str, Any]) -> Image | None:
    """The image of a detection, where its file is still the same."""
    said, settings = summary.get("image") or {}, summary.get("settings") or {}
    known = {name: settings[name] for name in READING if settings.get(name) is not None}
    known |= {f"{k}s": said[k] for k in ("frame", "plane") if said.get(k) is not None}
    known |= {k: said[k] for k in ("scene", "intensity_range") if said.get(k) is not None}
    try:
        image = as_image(said["path"], **known)
    except (InputError, KeyError):
        return None
    return image if image.sha256 == said.get("sha256") else None


def _same_pixels(image: Image, summary: dict[str, Any]) -> bool:
    """Whether a layer of these pixels would be read as this image; large ones are not looked at."""
    import numpy as np

    was = summary.get("settings") or {}
    if not isinstance(image.pixels, np.ndarray):
        return False
    pixels = image.pixels if image.pixels.shape[-1] == 3 else image.pixels[..., 0]
    try:
        read_again = as_image(pixels, **{k: was[k] for k in READING if k in was})
    except InputError:
        return False
    return bool(read_again.sha256 == image.sha256)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    import json

    write_whole(path, lambda p: p.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8"))
