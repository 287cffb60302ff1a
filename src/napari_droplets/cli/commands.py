"""The command line: fit, batch, demo, statistics, track and train."""

from __future__ import annotations

import time

START = time.perf_counter()  # seconds are counted from here, before anything slow is imported

import argparse  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from contextlib import closing, contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from ..errors import InputError, printable  # noqa: E402
from .options import SETTINGS, parser  # noqa: E402

if TYPE_CHECKING:
    from ..series.batch import Plan
    from ..series.tables import Outcome

DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130  # 130: what shells give for Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done; 1 some inputs or tables failed, each named, the others done; 2 wrong use, found out before any fit, or
    no input can be found; 130 stopped.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a name that the terminal cannot show is no reason to end
            stream.reconfigure(errors="backslashreplace")
    try:
        given = _file_names(sys.argv[1:] if argv is None else argv)
        args = parser().parse_args(given, argparse.Namespace(argv=given))
    except SystemExit as end:  # argparse has said what is wrong, or has helped
        return int(end.code or 0)
    commands = {
        "fit": _fit,
        "batch": _batch,
        "demo": _demo,
        "train": _train,
        "statistics": _statistics,
        "report": _report,
        "track": _track,
    }
    try:
        with _warnings():
            return commands[args.command](args)
    except InputError as error:
        _say(f"error: {error}")
        _trace(args, error)
        return MISUSED
    except KeyboardInterrupt:
        _say("stopped; nothing of the running image was kept")
        return STOPPED


def _file_names(argv: Sequence[str]) -> list[str]:
    """Arguments in which files whose names begin with a dash are no options."""
    return [f"./{a}" if a.startswith("-") and len(a) > 1 and Path(a).is_file() else a for a in argv]


@contextmanager
def _warnings() -> Iterator[None]:
    """Say what an image warns of on one line, once."""
    import warnings

    with warnings.catch_warnings():
        usual, said = warnings.showwarning, set[str]()

        def show(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
            if category.__name__ != "ImageWarning":
                usual(message, category, *where, **more)
            elif str(message) not in said:
                said.add(str(message))
                _say(f"warning: {message}")

        warnings.showwarning = show  # put back at the end of the context
        yield


def _fit(args: argparse.Namespace) -> int:
    from ..images.readers.formats import is_zarr
    from ..series.batch import find_images

    paths: list[Path] = []
    missing: list[InputError] = []
    for given in args.images:
        if Path(given).is_dir() and not is_zarr(Path(given)):
            missing.append(InputError(f"{given}: a folder, not an image; use `napari-droplets batch {given}`"))
            continue
        try:
            paths += find_images(given)
        except InputError as error:
            missing.append(error)
    if not paths:
        raise InputError("; ".join(map(str, missing)))
    plan = _plan(args)
    for problem in missing:
        _say(f"error: {problem}")
    return max(_run(args, paths, plan), FAILED if missing else DONE)


def _batch(args: argparse.Namespace) -> int:
    from ..series.batch import cluster, find_images, without_masks
    from ..settings import OPTICS_FROM
    from .reporting import check_report, write_report

    if args.same_optics and args.detect_only:
        raise InputError("--same-optics: there are no optics with --detect-only; leave out one of them")
    options = {"resume": args.resume, "same_optics": args.same_optics, "combine": True}
    options["optics_from"] = args.optics_from or OPTICS_FROM
    plan = _plan(args)
    stacks = plan.settings.frames is not None or plan.settings.planes is not None
    if args.optics_from is not None and not args.same_optics and not stacks:
        raise InputError("--optics-from: optics are learned on several images with --same-optics; add it")
    images = without_masks(find_images(args.folder), plan.settings.region)
    check_report(args, images, plan.settings)
    with cluster(args.workers, args.scheduler, args.memory_limit) as client:
        if client is not None and not args.quiet:
            _say(f"dashboard: {client.dashboard_link}")
        code = _run(args, images, plan, client=client, **options)
    return code if code == STOPPED else max(code, write_report(args))


def _demo(args: argparse.Namespace) -> int:
    import tifffile

    from ..compare import compare
    from ..results.files import read_table, save_table, write_whole
    from ..series.batch import check_output
    from ..simulate import sample

    plan = _plan(args)
    image, truth = sample()
    out = check_output(args.output, ["sample"])
    write_whole(out / "sample.tif", lambda p: tifffile.imwrite(p, image, photometric="rgb"))
    save_table(truth, out / "truth.csv")
    code = _run(args, [out / "sample.tif"], plan)
    if code == DONE:
        result = compare(truth, read_table(out / "sample" / "droplets.csv"))
        print(f"droplets      {result.n_found} found, {result.n_true} true, {result.n_matched} of them found")
        print(f"precision     {result.precision:.3f}")
        print(f"recall        {result.recall:.3f}")
        print(f"F1            {result.f1:.3f}")
        print(f"center error  {result.center_error:.3f} radii (median)")
        print(f"radius bias   {result.radius_bias:+.1%} (median)")
        print(f"The image, the truth and the result are in {out}; look at {out / 'sample' / 'overlay.png'}")
    return code


def _statistics(args: argparse.Namespace) -> int:
    from ..measures.size_statistics import statistics
    from .results import results

    failed = 0
    for given in args.tables:
        try:
            for name, droplets, options in results(given, args.shape):
                found = statistics(droplets, border=args.border, **options)
                _print(f"{name}\n{found}")
                for label, table in found.classes.items():
                    value = table["value"]
                    shares = ", ".join(f"{value[f'{s}_share']:.0%} of {s}" for s in ("number", "area", "volume"))
                    _print(f"class {label}: {shares}, D50 {value['D50']:.4g}, D32 {value['D32']:.4g}")
        except (InputError, OSError, ValueError) as error:
            failed += 1
            _say(f"error: {error if given in str(error) else f'{given}: {error}'}")
            _trace(args, error)
    return FAILED if failed else DONE


def _report(args: argparse.Namespace) -> int:
    from .reporting import write_report

    return write_report(args)


def _track(args: argparse.Namespace) -> int:
    from .track import run_track

    return run_track(args, _plan, _say, _print, _trace)


def _train(args: argparse.Namespace) -> int:
    from .training import run_train

    return run_train(args, _say, _print)


def _plan(args: argparse.Namespace) -> Plan:
    """What the options ask for; wrong ones are found out here."""
    from ..series.batch import Plan

    given = {name: getattr(args, name) for _, name, *_ in SETTINGS if hasattr(args, name)}
    optics = None
    if getattr(args, "optics", None):
        from ..results.files import read_optics

        optics = read_optics(args.optics)
    if getattr(args, "preset", None):
        from ..presets import preset_settings

        of_optics = () if optics is None else ("types", "composition")  # which they decide
        given = {k: v for k, v in preset_settings(args.preset).items() if k not in of_optics} | given
    measure, exports = getattr(args, "measure", None), getattr(args, "export", ())
    return Plan.of(
        optics, getattr(args, "detect_only", False), not getattr(args, "no_overlay", False), measure, exports, **given
    )


def _run(args: argparse.Namespace, paths: Sequence[Path], plan: Plan, **options: Any) -> int:
    from ..series.batch import check_output, name_results, run
    from ..series.tables import message
    from ..storage.lock import FolderBusy
    from .terminal import Interrupt, ProgressLines
    from .together import ProgressOfMany

    names = name_results(paths)
    out = check_output(args.output, list(names.values()))
    parallel = options.get("client") is not None
    shown = (ProgressOfMany if parallel else ProgressLines)(len(names), quiet=args.quiet)
    failed = 0
    with Interrupt("the running images" if parallel else "this image") as interrupt:

        def watch(path: Path, progress: Any) -> bool:
            if progress is None:
                shown.begin(printable(path.name))
            else:
                shown.update(progress, path.name)
            return not interrupt.asked

        def wanted() -> bool:
            shown.refresh()
            return not interrupt.asked

        def warn(error: Exception) -> None:
            shown.end()
            _say(f"{message(error)}; going on, and trying again later")

        outcomes = run(list(names), out, plan, watch=watch, since=START, warn=warn, wanted=wanted, **options)
        done = 0
        try:
            with closing(outcomes):
                for outcome in outcomes:
                    done += 1
                    shown.end(outcome.path.name, skipped=outcome.skipped)
                    if outcome.summary:
                        _print(_line(outcome))
                    if outcome.error is not None:
                        failed += 1
                        _say(f"error: {_named(outcome, message(outcome.error))}")
                        _trace(args, outcome.error)
        except InputError as error:
            if isinstance(error, FolderBusy):
                raise
            failed += 1  # the tables of all images, at the end; no space, no scheduler
            _say(f"error: {error}; the results of the images are in their folders")
            _trace(args, error)
        finally:
            shown.end()
    if interrupt.asked:
        _say(f"stopped: {done} of {len(names)} images were worked on")
        return STOPPED
    return FAILED if failed else DONE


def _named(outcome: Outcome, text: str) -> str:
    """The message, with the file's name where it does not say it."""
    return text if outcome.path.name in text else f"{outcome.path}: {text}"


def _line(outcome: Outcome) -> str:
    """The result of one image on one line."""
    from ..series.batch import CANCELLED

    summary = outcome.summary
    n = summary["n_droplets"]
    parts = [f"{n} droplet{'' if n == 1 else 's'}"]
    if summary.get("count_mean") is not None:
        parts.append(f"expected {summary['count_mean']:.1f} ± {summary['count_sd']:.1f}")
    if summary.get("loss_per_value") is not None:
        parts += [f"loss {summary['loss_per_value']:.4f} per value", f"RMSE {summary['rmse']:.4f}"]
    if sizes := summary.get("statistics"):
        unit = sizes["units"]["D50"]
        parts.append(f"D50 {sizes['D50'][0]:.3g} {unit}, D[3,2] {sizes['D32'][0]:.3g} {unit}")
        if unit != "px" and sizes.get("density"):
            parts.append(f"{sizes['density'][0]:.4g} per mm²")
    if "pictures" in summary:
        parts.append(f"{len(summary['pictures'])} pictures")
    parts.append(f"{summary['seconds']['total']:.1f} s")
    if outcome.skipped:
        parts.append("was there already")
    if summary.get("stopped") == CANCELLED:
        parts.append("stopped early")
    return f"{outcome.image}: {', '.join(parts)} -> {outcome.folder}"


PLAIN = {"±": "+/-", "µ": "u", "²": "^2", "×": "x", "…": "...", "’": "'"}


def _print(text: str) -> None:
    print(_plain(text, sys.stdout), flush=True)


def _say(text: str) -> None:
    print(_plain(f"napari-droplets: {text}", sys.stderr), file=sys.stderr, flush=True)


def _plain(text: str, stream: Any) -> str:
    """The text without signs that steer the terminal, and with others where it has only ASCII."""
    text = "\n".join(map(printable, text.split("\n")))
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
        return text
    except (UnicodeEncodeError, LookupError):
        return "".join(PLAIN.get(c, c) for c in text)


def _trace(args: argparse.Namespace, error: Exception) -> None:
    if args.debug:
        import traceback

        traceback.print_exception(error)
