"""The command `track`: movies and tables of frames, droplets followed through them."""

from __future__ import annotations

import argparse
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .terminal import Interrupt

if TYPE_CHECKING:
    from ..movies.movie import FrameResult
    from ..progress import Progress

EXPORTS = ("geff", "trackmate")
INTERVAL = 5.0  # seconds between lines where there is no terminal


def add_track(commands: Any, add_settings: Any, optics_option: Any) -> argparse.ArgumentParser:
    """The options of the command."""
    command = commands.add_parser(
        "track",
        help="follow droplets through a movie, or through a table with frames",
        description="Fit the frames of a movie and follow its droplets: which is which, which merge, which split, how "
        "fast each grows. For each movie a folder OUT/NAME with droplets.csv (all frames; frame, time_s, track_id), "
        "tracks.csv (a row for each track, rates with 95 % intervals), events.csv (merges and splits with their "
        "probabilities), tracks.png, optics.safetensors and summary.json; at the end OUT/report.html. Of a table with "
        "columns frame, x, y, radius the droplets are followed without pictures.",
    )
    command.add_argument(
        "movies", nargs="+", metavar="MOVIE", help="stack, folder or quoted pattern of images, or table of droplets"
    )
    command.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")
    command.add_argument(
        "--interval", type=_seconds, metavar="SECONDS", help="from frame to frame (default: what the file says)"
    )
    command.add_argument(
        "--geometry",
        choices=("sphere", "cap", "disc"),
        default="sphere",
        help="how volume goes with the radius: disc for droplets pressed flat in a channel, r^2; else r^3",
    )
    command.add_argument(
        "--max-gap",
        type=int,
        default=2,
        metavar="N",
        help="frames in which a droplet may be missed and still be the same (default: 2)",
    )
    command.add_argument(
        "--shape", type=_shape, metavar="H,W", help="height and width of the images, where only a table is given"
    )
    command.add_argument(
        "--export",
        dest="track_exports",  # `export` are tables of single images, which a plan of a series takes
        action="extend",
        type=_exports,
        default=[],
        metavar="KINDS",
        help="write besides: geff (graph), trackmate (file for TrackMate), separated by commas",
    )
    command.add_argument("--no-plots", action="store_true", help="do not draw tracks.png")
    command.add_argument("--no-report", action="store_true", help="do not write OUT/report.html at the end")
    command.add_argument(
        "--resume", action="store_true", help="go on where an interrupted run of the same movie and settings stopped"
    )
    optics_option(command)
    add_settings(command)
    command.add_argument("--quiet", action="store_true", help="no progress, only results and errors")
    command.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    return command


def run_track(args: argparse.Namespace, plan_of: Any, say: Any, show: Any, trace: Any) -> int:
    """Follow the droplets of all movies and tables; 0 done, 1 some failed, 130 stopped."""
    from ..movies.runs import Plan, is_table, stem_of
    from ..series.batch import check_output

    wanted = plan_of(args)
    exports = (*args.track_exports, *(() if args.no_plots else ("plots",)))
    if "geff" in exports:
        from importlib.util import find_spec

        if find_spec("geff") is None:
            raise InputError("--export geff: pip install 'napari-droplets[geff]'")
    plan = Plan(args.interval, args.geometry, args.max_gap, args.shape, exports)
    names = [stem_of(m) for m in args.movies]
    if twice := {n for n in names if names.count(n) > 1}:
        raise InputError(f"{sorted(twice)[0]}: two movies of this name; their results would share a folder")
    missing = [m for m in args.movies if "*" not in m and not Path(m).exists()]
    if len(missing) == len(args.movies):
        raise InputError(f"{missing[0]}: no such file or folder")
    out = check_output(args.output, names)
    failed = written = 0
    for given, name in zip(args.movies, names, strict=True):
        try:
            if given in missing:
                raise InputError(f"{given}: no such file or folder")
            if is_table(given):
                from ..movies.runs import track_table_file

                outcome = track_table_file(Path(given), out / name, plan)
                stopped = False
            else:
                outcome, stopped = _movie(args, given, out / name, plan, wanted, say)
            for number, error in outcome.unreadable.items():
                say(f"{given}: frame {number} was left out: {error}")
            if outcome.tracks is not None:
                written += 1
                show(_line(given, outcome.summary, outcome.folder))
                if "time_s" not in outcome.tracks.droplets:
                    say(f"{given}: times are not known, so rates are a frame; give --interval SECONDS")
            failed += bool(outcome.unreadable)
            if stopped:
                say("stopped; --resume goes on from here")
                return 130
        except Exception as error:
            failed += 1
            text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            say(f"error: {text if Path(given).name in text else f'{given}: {text}'}")
            trace(args, error)
    if not args.no_report and written:
        failed += not _reported(args, out, say, trace)
    return 1 if failed else 0


def _reported(args: argparse.Namespace, out: Path, say: Any, trace: Any) -> bool:
    """Write the report of the folder; whether it could be written."""
    import shlex

    from ..reports.api import note_command, page_of

    try:
        note_command(out, shlex.join(["napari-droplets", *args.argv]))
        page = page_of(out)
    except InputError as error:
        say(f"error: no report: {error}; the results of the movies are in their folders")
        trace(args, error)
        return False
    if not args.quiet:
        say(f"report: {page.path}")
    return True


def _movie(args: argparse.Namespace, given: str, folder: Path, plan: Any, wanted: Any, say: Any) -> tuple[Any, bool]:
    from ..movies.movie import movie_fit
    from ..movies.runs import track_movie

    state = movie_fit(given, optics=wanted.optics, **vars(wanted.settings))
    lines = FrameLines(Path(given).name, len(state.footage), quiet=args.quiet)
    with Interrupt("this frame") as interrupt:

        def watch(number: int, progress: Progress | None) -> bool:
            lines.update(number, progress)
            return not interrupt.asked

        def seen(result: FrameResult) -> None:
            lines.done(result)

        try:
            outcome = track_movie(state, folder, plan, resume=args.resume, watch=watch, seen=seen)
        finally:
            lines.close()
    return outcome, state.stopped


class FrameLines:
    """A bar on a terminal; elsewhere a line every few seconds: how many frames are done, how long the others take."""

    def __init__(self, name: str, n_frames: int, *, quiet: bool = False) -> None:
        self.name, self.n_frames, self.quiet = name, n_frames, quiet
        self.count = self.fitted = 0
        self.began = self.last = time.monotonic()
        self.first: float | None = None
        self.bar: Any = None
        if not quiet and sys.stderr.isatty():
            from tqdm import tqdm

            self.bar = tqdm(total=n_frames, desc=name, unit="frame", leave=False)

    def update(self, number: int, progress: Progress | None) -> None:
        """A frame goes on; optics are learned before the first one."""
        if progress is None or self.quiet:
            return
        if self.bar is not None:
            self.bar.set_postfix_str(progress.stage if self.count else "learning optics")
        elif not self.count and time.monotonic() - self.last > INTERVAL:
            self._say("learning optics")

    def done(self, result: FrameResult) -> None:
        """A frame is done."""
        self.count += 1
        now = time.monotonic()
        if not result.skipped:
            self.fitted += 1
            self.first = self.first or now
        if self.bar is not None:
            self.bar.update()
        elif not self.quiet and (now - self.last > INTERVAL or self.count == self.n_frames):
            left = math.nan
            if self.fitted > 1 and self.first is not None:
                left = (now - self.first) / (self.fitted - 1) * (self.n_frames - self.count)
            n = "" if result.droplets is None else f", {len(result.droplets)} droplets"
            more = f", {left:.0f} s left" if math.isfinite(left) and left > 0 else ""
            self._say(f"frame {self.count} of {self.n_frames}{n}{more}")

    def close(self) -> None:
        """Nothing more comes."""
        if self.bar is not None:
            self.bar.close()

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        print(f"{self.name}: {text}", file=sys.stderr, flush=True)


def _line(given: str, summary: dict[str, Any], folder: Path) -> str:
    counts = [(summary[f"n_{name}"], name) for name in ("frames", "droplets", "tracks", "merges", "splits")]
    parts = [f"{n} {name if n != 1 else name[:-1]}" for n, name in counts] + [f"{summary['seconds']['total']:.1f} s"]
    return f"{Path(given).name}: {', '.join(parts)} -> {folder}"


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: give a positive number of seconds")
    return value


def _shape(text: str) -> tuple[int, int]:
    from .options import shape_of

    return shape_of(text)


def _exports(text: str) -> tuple[str, ...]:
    chosen = tuple(part.strip() for part in text.split(","))
    if wrong := [part for part in chosen if part not in EXPORTS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r}: choose of {', '.join(EXPORTS)}")
    return chosen
