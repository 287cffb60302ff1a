"""The report's page of movies: what `report` writes for a folder of `track`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ..results.files import writable_folder
from ..samples.api import Watch
from ..storage.atomic import write_whole
from ..tracking.reading import has_tracks, read_tracks
from ..tracking.tracks import Tracks
from .figures import Drawn, save
from .movie_figures import movie_figures, number_text
from .movie_montage import FramePicture, loader, montage, sheet
from .page import MOST_ROWS, rendered, settings_told, svg_uri, versions_told

RATES = {"dr_dt": "dr/dt", "dr2_dt": "d(r²)/dt"}
EVENT_HEADS = ("frame", "kind", "track_id", "parent_ids", "p_merge", "p_split", "volume_residual")


def movies_in(out: str | Path) -> list[Path]:
    """Folders of results of `track`: this one, or those in it, by name."""
    out = Path(out)
    if has_tracks(out):
        return [out]
    return sorted(p for p in out.iterdir() if p.is_dir() and has_tracks(p)) if out.is_dir() else []


def write_movie_page(
    out: Path, movies: Sequence[Path], page: str, figures: str, commands: Sequence[str], watch: Watch | None = None
) -> Path:
    """Write OUT/`page` and the figures of all movies into OUT/`figures`.

    Raises
    ------
    InputError
        Tables that cannot be used, or a file that cannot be written.
    """
    folder = writable_folder(out / figures)
    drawn: list[dict[str, Any]] = []
    tables: list[dict[str, Any]] = []
    cards: list[dict[str, Any]] = []
    notes: list[str] = []
    summaries = []
    droplets = tracks_n = 0
    for number, movie in enumerate(movies):
        if watch is not None:
            watch(f"drawing {movie.name}", number, len(movies))
        tracks, summary = read_tracks(movie), _summary(movie)
        summaries.append(summary)
        droplets, tracks_n = droplets + len(tracks.droplets), tracks_n + len(tracks)
        several = len(movies) > 1
        before, title = (f"{movie.name}_", f"{movie.name}: ") if several else ("", "")
        for figure in movie_figures(tracks):
            named = figure._replace(name=before + figure.name, title=title + figure.title)
            drawn.append(_figure(named, save(named, folder)))
        pictures = montage(tracks, loader(summary))
        _save_montage(pictures, folder / f"{before}montage.png")
        cards += [_card(picture, title) for picture in pictures]
        tables += _tables(tracks, title, movie.relative_to(out))
        notes += _notes(summary, title)
    path = out / page
    text = rendered(
        name=path.parent.resolve().name,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        headline=f"{len(movies)} movie{'' if len(movies) == 1 else 's'}, {tracks_n:,} tracks, {droplets:,} droplets",
        notes=notes,
        figures=drawn,
        tables=tables,
        cards=cards,
        cards_title="Frames",
        cards_about="Frames spread over the movie, with the droplets found in the colors of their compositions.",
        left_out=0,
        settings=settings_told(summaries),
        commands=commands,
        versions=versions_told(summaries),
    )
    write_whole(path, lambda p: p.write_text(text, encoding="utf-8"))
    return path


def _figure(figure: Drawn, svg: str) -> dict[str, Any]:
    return {"name": figure.name, "title": figure.title, "about": figure.about, "svg": svg_uri(svg)}


def _card(picture: FramePicture, title: str) -> dict[str, Any]:
    return {
        "name": f"{title}frame {picture.number}",
        "flags": [],
        "facts": f"{picture.droplets:,} droplets",
        "thumbnail": picture.picture,
        "link": None,
        "width": picture.pixels.shape[1],
    }


def _save_montage(pictures: Sequence[FramePicture], path: Path) -> None:
    from PIL import Image

    whole = Image.fromarray(sheet(pictures))
    write_whole(path, lambda p: whole.save(p, "PNG"))


def _tables(tracks: Tracks, title: str, folder: Path) -> list[dict[str, Any]]:
    events, lines = tracks.events, tracks.tracks
    heads = [c for c in EVENT_HEADS if c in events and not events[c].isna().all()]
    found = []
    if len(events):
        about = "Merges and splits by volume and composition, in the order of time. All columns are in"
        found.append(_table(f"{title}Events", heads, events[heads], about, folder / "events.csv"))
    if len(lines):
        longest = lines.sort_values("n_frames", ascending=False, kind="stable")
        rates = [name for name in RATES if name in longest]
        shown = longest[["track_id", "birth", "death", "n_frames", "radius"]].copy()
        for name in rates:
            values = longest[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
            shown[RATES[name]] = [
                f"{number_text(v)} ({number_text(a)} to {number_text(b)})" if a == a else number_text(v)
                for v, a, b in values
            ]
        shown = shown.assign(origin=longest["origin"], fate=longest["fate"])
        unit = "second" if "birth_s" in longest else "frame"
        about = f"The longest first. Rates are per {unit}, with intervals of 95 %; radii in pixels. All are in"
        found.append(_table(f"{title}Tracks", [str(c) for c in shown], shown, about, folder / "tracks.csv"))
    return found


def _table(title: str, heads: list[str], rows: pd.DataFrame, about: str, file: Path) -> dict[str, Any]:
    lines = [[number_text(v) for v in row] for row in rows[:MOST_ROWS].itertuples(index=False, name=None)]
    more = max(0, len(rows) - MOST_ROWS)
    return {"title": title, "heads": heads, "lines": lines, "about": about, "file": file.as_posix(), "more": more}


def _notes(summary: dict[str, Any], title: str) -> list[str]:
    notes = [f"{title}frame {n} was left out: {why}" for n, why in (summary.get("unreadable") or {}).items()]
    if summary.get("stopped"):
        notes.append(f"{title}the run was stopped before its end; `napari-droplets track … --resume` goes on")
    if summary.get("time_unit") == "frame":
        notes.append(f"{title}times are not known: rates are per frame; give --interval SECONDS")
    return notes


def _summary(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "summary.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
