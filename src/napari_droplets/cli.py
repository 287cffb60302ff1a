"""The command line: fit, batch, demo and train."""

from __future__ import annotations

import time

START = time.perf_counter()  # seconds are counted from here, before anything slow is imported

import argparse  # noqa: E402
import sys  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from contextlib import closing  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from .errors import InputError  # noqa: E402

if TYPE_CHECKING:
    from .series.batch import Plan
    from .series.tables import Outcome

DONE, FAILED, MISUSED, STOPPED = 0, 1, 2, 130  # 130: what shells give for Ctrl-C
DEMO_FOLDER = "napari-droplets-demo"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0 done; 1 some inputs or tables failed, each named, the others done; 2 wrong use, found out before any fit, or
    no input can be found; 130 stopped.
    """
    try:
        args = _parser().parse_args(argv)
    except SystemExit as end:  # argparse has said what is wrong, or has helped
        return int(end.code or 0)
    try:
        return {"fit": _fit, "batch": _batch, "demo": _demo, "train": _train}[args.command](args)
    except InputError as error:
        _say(f"error: {error}")
        _trace(args, error)
        return MISUSED
    except KeyboardInterrupt:
        _say("stopped; nothing of the running image was kept")
        return STOPPED


def _fit(args: argparse.Namespace) -> int:
    from .series.batch import find_images

    paths: list[Path] = []
    missing: list[InputError] = []
    for given in args.images:
        if Path(given).is_dir():
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
    from .series.batch import find_images

    return _run(args, find_images(args.folder), _plan(args), combine=True, resume=args.resume)


def _demo(args: argparse.Namespace) -> int:
    import tifffile

    from .compare import compare
    from .files import read_table, save_table, write_whole
    from .series.batch import check_output
    from .simulate import sample

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


def _train(args: argparse.Namespace) -> int:
    from .progress import Interrupt
    from .training.recipe import train
    from .training.report import Progress, describe

    given = {name: getattr(args, name) for name in ("minutes", "steps") if getattr(args, name) is not None}
    with Interrupt("the steps since the last line") as interrupt:

        def watch(progress: Progress) -> bool:
            text = progress.message or describe(progress)
            if text and not args.quiet:
                _say(text)
            return not interrupt.asked

        path = train(
            args.output,
            **given,
            seed=args.seed,
            images=args.images,
            from_fit=args.from_fit,
            start=args.start,
            workers=args.workers,
            restart=args.restart,
            callback=watch,
        )
    if interrupt.asked:
        _say("stopped; the same command goes on from here")
        return STOPPED
    print(path)
    return DONE


def _plan(args: argparse.Namespace) -> Plan:
    """What the options ask for; wrong ones are found out here."""
    from .inference.settings import Settings
    from .series.batch import Plan

    given = {name: getattr(args, name) for _, name, *_ in SETTINGS if hasattr(args, name)}
    optics = None
    if getattr(args, "optics", None):
        from .files import read_optics

        optics = read_optics(args.optics)
        given = {"types": optics.types, "composition": optics.composition} | given
    settings = Settings.of(**given)
    if settings.weights is not None:
        from .inference.network import read_weights

        read_weights(settings.weights)
    if optics is not None:
        wanted = {"types": settings.types, "composition": settings.composition}
        if settings.channels is not None:
            wanted["channels"] = len(settings.channels)
        for name, value in wanted.items():
            if (have := getattr(optics, name)) != value:
                raise InputError(
                    f"{args.optics}: learned with {name} {have}, but --{name} asks for {value}; "
                    f"leave out --{name} or give other optics"
                )
    return Plan(settings, optics, getattr(args, "detect_only", False), not args.no_overlay)


def _run(args: argparse.Namespace, paths: Sequence[Path], plan: Plan, **options: Any) -> int:
    from .progress import Interrupt, ProgressLines
    from .series.batch import check_output, name_results, run
    from .series.tables import message

    names = name_results(paths)
    out = check_output(args.output, list(names.values()))
    shown = ProgressLines(len(names), quiet=args.quiet)
    failed = 0
    with Interrupt() as interrupt:

        def watch(path: Path, progress: Any) -> bool:
            if progress is None:
                shown.begin(path.name)
            else:
                shown.update(progress)
            return not interrupt.asked

        def warn(error: Exception) -> None:
            shown.end()
            _say(f"{message(error)}; going on, and trying again later")

        outcomes = run(list(names), out, plan, watch=watch, since=START, warn=warn, **options)
        done = 0
        try:
            with closing(outcomes):
                for outcome in outcomes:
                    done += 1
                    shown.end(skipped=outcome.skipped)
                    if outcome.summary:
                        print(_line(outcome), flush=True)
                    if outcome.error is not None:
                        failed += 1
                        _say(f"error: {_named(outcome, message(outcome.error))}")
                        _trace(args, outcome.error)
        except InputError as error:  # the tables of all images, at the end
            failed += 1
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
    from .series.batch import CANCELLED

    summary = outcome.summary
    n = summary["n_droplets"]
    parts = [f"{n} droplet{'' if n == 1 else 's'}"]
    if summary.get("count_mean") is not None:
        parts.append(f"expected {summary['count_mean']:.1f} ± {summary['count_sd']:.1f}")
    if summary.get("loss_per_value") is not None:
        parts += [f"loss {summary['loss_per_value']:.4f} per value", f"RMSE {summary['rmse']:.4f}"]
    parts.append(f"{summary['seconds']['total']:.1f} s")
    if outcome.skipped:
        parts.append("was there already")
    if summary.get("stopped") == CANCELLED:
        parts.append("stopped early")
    return f"{outcome.image}: {', '.join(parts)} -> {outcome.folder}"


def _say(text: str) -> None:
    print(f"napari-droplets: {text}", file=sys.stderr, flush=True)


def _trace(args: argparse.Namespace, error: Exception) -> None:
    if args.debug:
        import traceback

        traceback.print_exception(error)


def _channels(text: str) -> list[int]:
    try:
        chosen = [int(part) for part in text.split(",")]
    except ValueError:
        chosen = []
    if len(chosen) not in (1, 3) or min(chosen) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: give one or three numbers from 0 on, as 0 or 0,1,2")
    return chosen


# The fields of Settings: option, field, how to read it, what the help calls it, help, and what None stands for. Values,
# words to choose from and defaults are those of Settings alone: an option not given is not passed on.
SETTINGS: tuple[tuple[str, str, Any, str, str, str], ...] = (
    ("--types", "types", int, "K", "number of composition components, 1 to 16", ""),
    ("--diameter", "diameter", float, "PX", "typical droplet diameter in pixels", "estimated from the image"),
    ("--detector", "detector", str, "",
     "what finds droplets, to start a fit or with --detect-only: the trained network, or blobs that stand out", ""),
    ("--weights", "weights", str, "FILE",
     "weights of the network, as `napari-droplets train` writes them", "those of the package"),
    ("--min-probability", "min_probability", float, "P",
     "droplets that the network gives a smaller probability are left out, 0 to 1", ""),
    ("--pixel-size", "pixel_size_um", float, "UM",
     "side of a pixel in micrometres; adds columns in micrometres", "what the file says, if it does"),
    ("--composition", "composition", str, "",
     "components independent in 0 to 1, or fractions that sum to one", ""),
    ("--background", "background", str, "", "a smooth surface for uneven light, or one color", ""),
    ("--renderer", "renderer", str, "",
     "how droplets share a pixel: only the nearest counts, the nearest few are mixed, or one lies over the other", ""),
    ("--noise", "noise", float, "SD", "standard deviation of the noise, intensities 0 to 1", "learned"),
    ("--steps", "steps", int, "N", "most optimization steps; a fit that has settled stops sooner", ""),
    ("--max-seconds", "max_seconds", float, "T",
     "most seconds for one image; the result is what was reached by then", "no limit"),
    ("--scale", "scale", float, "F",
     "work on the image resized by this factor; results stay in pixels of the image given", ""),
    ("--seed", "seed", int, "S", "seed of all random numbers", ""),
    ("--channels", "channels", _channels, "0,1,2",
     "which one or three channels of the image to use, counted from 0", "all"),
)  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    from . import __version__
    from .inference.settings import CHOICES, Settings

    defaults = Settings()
    parser = argparse.ArgumentParser(
        prog="napari-droplets",
        description="Find droplets in microscope images: where they are, how large, made of what, and how sure.",
        epilog="`napari-droplets COMMAND --help` lists the options of a command. Exit codes: 0 done; 1 some inputs or "
        "tables failed (each is named, the others are done); 2 wrong use. Results go to stdout, messages to stderr.",
    )
    parser.add_argument("--version", action="version", version=f"napari-droplets {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    results = (
        "For each image a folder OUT/NAME with droplets.csv (x, y, radius, their standard deviations, composition, "
        "...), reconstruction.tif, overlay.png, optics.safetensors and summary.json."
    )
    fit = commands.add_parser("fit", help="fit one or several images", description=f"Fit images. {results}")
    fit.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, TIFF or BMP file")
    fit.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")

    batch = commands.add_parser(
        "batch",
        help="fit all images of a folder",
        description=f"Fit all images of a folder, or all that match a pattern. {results} OUT/droplets.csv and "
        "OUT/summary.csv hold the droplets of all images and one row per image.",
    )
    batch.add_argument("folder", metavar="FOLDER_OR_GLOB", help="a folder, or a quoted pattern as 'slides/*.tif'")
    batch.add_argument("-o", "--output", required=True, metavar="OUT", help="folder for the results")
    batch.add_argument(
        "--resume", action="store_true", help="skip images whose result is there already, made with the same settings"
    )

    demo = commands.add_parser(
        "demo",
        help="fit the sample image that comes with the package",
        description="Fit the simulated sample image, and compare what was found with the truth.",
    )
    demo.add_argument(
        "-o", "--output", default=DEMO_FOLDER, metavar="OUT", help=f"folder for the results (default: {DEMO_FOLDER})"
    )

    train = commands.add_parser(
        "train",
        help="train the network that finds droplets",
        description="Train the recognition network on simulated images, drawn anew for every step. For -o "
        "weights.safetensors, the weights with the best F1 on held-out images are kept there, a line of figures every "
        "few minutes in weights.log.csv, and the state of the training in weights.checkpoint.safetensors, from which "
        "the same command goes on after an interruption of any kind. The learning rate falls over the last quarter "
        "of the budget; the state before is kept in weights.stable.safetensors, from which the same command goes on "
        "when it is given more minutes. At the end probabilities and standard deviations are calibrated.",
    )
    train.add_argument("-o", "--output", required=True, metavar="WEIGHTS", help="weights file to write, .safetensors")
    budget = train.add_mutually_exclusive_group()
    budget.add_argument(
        "--minutes", type=float, metavar="M", help="train so long, over all runs (default: 120; with --from-fit 2)"
    )
    budget.add_argument(
        "--steps", type=int, metavar="N", help="make so many steps instead: gives the same weights on any day"
    )
    train.add_argument("--seed", type=int, default=0, metavar="S", help="seed of weights and scenes (default: 0)")
    train.add_argument(
        "--images",
        metavar="FOLDER",
        help="your own images, with a corrected table <name>.csv (x, y, radius) beside each: a quarter of the "
        "training images is cut from them",
    )
    train.add_argument(
        "--from-fit",
        nargs="+",
        default=(),
        metavar="FOLDER",
        help="train the weights of the package further for images like those fitted: result folders of `fit`, or one "
        "of `batch`; three quarters of the training images are drawn from the models fitted",
    )
    train.add_argument(
        "--start",
        metavar="WEIGHTS",
        help="begin from these weights (default: fresh ones; with --from-fit those of the package)",
    )
    train.add_argument(
        "--workers", type=int, default=1, metavar="W", help="processes that draw scenes (default: 1; 0: none)"
    )
    train.add_argument("--restart", action="store_true", help="begin anew, even if a checkpoint is there")
    train.add_argument("--quiet", action="store_true", help="no progress, only errors")
    train.add_argument("--debug", action="store_true", help="show where in the program an error arose")

    for command in (fit, batch, demo):
        if command is not demo:
            command.add_argument(
                "--optics",
                metavar="FILE",
                help="start from optics learned before: optics.safetensors, or the result folder it is in; types and "
                "composition are then theirs",
            )
            command.add_argument(
                "--detect-only",
                action="store_true",
                help="find droplets without fitting: fast; writes droplets.csv, overlay.png and summary.json",
            )
        settings = command.add_argument_group("settings")
        for option, name, kind, values, text, none in SETTINGS:
            if command is demo and name in ("channels", "pixel_size_um"):
                continue
            default = none if getattr(defaults, name) is None else getattr(defaults, name)
            settings.add_argument(
                option,
                dest=name,
                type=kind,
                default=argparse.SUPPRESS,
                help=f"{text} (default: {default})",
                **({"choices": CHOICES[name]} if name in CHOICES else {"metavar": values}),
            )
        command.add_argument("--no-overlay", action="store_true", help="do not draw overlay.png")
        command.add_argument("--quiet", action="store_true", help="no progress, only results and errors")
        command.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    return parser
