"""The options of the command line, with their help."""

from __future__ import annotations

import argparse
from typing import Any

DEMO_FOLDER = "napari-droplets-demo"


def _channels(text: str) -> list[int | str]:
    chosen = _names(text)
    if len(chosen) not in (1, 3) or any(isinstance(c, int) and c < 0 for c in chosen):
        raise argparse.ArgumentTypeError(
            f"{text!r}: give one or three numbers from 0 on or names, as 0 or 0,1,2 or DAPI"
        )
    return chosen


def _names(text: str) -> list[int | str]:
    return [int(part) if part.lstrip("-").isdigit() else part for part in map(str.strip, text.split(",")) if part]


def _measure(text: str) -> list[int | str] | str:
    return text if text == "all" else _names(text)


def _numbers(text: str) -> list[int] | str:
    """Frames or planes: all, or numbers and ranges of them, as 0,2,5-9."""
    if text.strip() == "all":
        return "all"
    chosen: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdigit() or (dash and not last.isdigit()):
            raise argparse.ArgumentTypeError(f"{text!r}: give all, or numbers from 0 on, as 0,2 or 0-4")
        chosen += range(int(first), int(last or first) + 1)
    return chosen


def _range(text: str) -> tuple[float, float]:
    from ..errors import InputError
    from ..images import checked_range

    try:
        return checked_range(text.split(","))
    except InputError:
        raise argparse.ArgumentTypeError(f"{text!r}: give two numbers, the larger one last, as 0,4095") from None


def _size(text: str) -> float | tuple[float, ...]:
    try:
        sides = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give a number, or width,height") from None
    return sides[0] if len(sides) == 1 else sides


def _exports(text: str) -> list[str]:
    from ..tables import EXPORTS

    chosen = [part.strip() for part in text.split(",")]
    if wrong := [part for part in chosen if part not in EXPORTS]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r}: choose of {', '.join(EXPORTS)}")
    return chosen


def _types(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _yes_no(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}: say yes or no")
    return text.lower() in ("yes", "true")


# The fields of Settings: option, field, how to read it, what the help calls it, help, and what None stands for. Values,
# words to choose from and defaults are those of Settings alone: an option not given is not passed on.
SETTINGS: tuple[tuple[str, str, Any, str, str, str], ...] = (
    ("--types", "types", _types, "K",
     "number of composition components, 1 to 16, or auto: as many as pixels that were held out want", ""),
    ("--diameter", "diameter", float, "PX", "typical droplet diameter in pixels", "estimated from the image"),
    ("--detector", "detector", str, "",
     "what finds droplets, to start a fit or with --detect-only: the trained network, or blobs that stand out", ""),
    ("--weights", "weights", str, "FILE",
     "weights of the network, as `napari-droplets train` writes them", "those of the package"),
    ("--min-probability", "min_probability", float, "P",
     "droplets that the network gives a smaller probability are left out, 0 to 1", ""),
    ("--pixel-size", "pixel_size_um", _size, "UM",
     "side of a pixel in micrometres, or width,height; adds columns in micrometres", "what the file says, if it does"),
    ("--composition", "composition", str, "",
     "components independent in 0 to 1, or fractions that sum to one", ""),
    ("--background", "background", str, "", "a smooth surface for uneven light, or one color", ""),
    ("--population", "population", str, "",
     "whether droplets may join and leave a fit by what the pixels say, or are those that it starts from", ""),
    ("--renderer", "renderer", str, "",
     "how droplets share a pixel: only the nearest counts, the nearest few are mixed, or one lies over the other; "
     "auto: the nearest while optics are learned, one over the other in the end where that explains more", ""),
    ("--learn-optics", "learn_optics", _yes_no, "yes|no",
     "whether optics given with --optics are learned on, or stay, so that compositions mean the same", ""),
    ("--classes", "classes", int, "G", "number of classes that droplets are sorted into by composition",
     "as many as can be told apart"),
    ("--noise", "noise", float, "SD", "standard deviation of the noise, intensities 0 to 1", "learned"),
    ("--steps", "steps", int, "N", "most optimization steps; a fit that has settled stops sooner", ""),
    ("--max-seconds", "max_seconds", float, "T",
     "most seconds for one image; the result is what was reached by then", "no limit"),
    ("--scale", "scale", float, "F",
     "work on the image resized by this factor; results stay in pixels of the image given", ""),
    ("--seed", "seed", int, "S", "seed of all random numbers", ""),
    ("--channels", "channels", _channels, "0,1,2",
     "which one or three channels of the image to use, by number from 0 or by name", "all"),
    ("--frames", "frames", _numbers, "all|0,2,5-9",
     "which frames of a stack, counted from 0: each is an image of one series", "the file must hold one"),
    ("--planes", "planes", _numbers, "all|0,2,5-9", "which planes of a stack, likewise", "the file must hold one"),
    ("--scene", "scene", str, "N|NAME", "which of several pictures of different kinds in a file",
     "the file must hold one"),
    ("--intensity-range", "intensity_range", _range, "LOW,HIGH",
     "the values of the file that count as 0 and 1; with a negative one as --intensity-range=-100,4095",
     "what the file says, else estimated for the whole series"),
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """What reads the command line; `command` names the command."""
    from .. import __version__

    program = argparse.ArgumentParser(
        prog="napari-droplets",
        description="Find droplets in microscope images: where they are, how large, made of what, and how sure.",
        epilog="`napari-droplets COMMAND --help` lists the options of a command. Exit codes: 0 done; 1 some inputs or "
        "tables failed (each is named, the others are done); 2 wrong use. Results go to stdout, messages to stderr.",
    )
    program.add_argument("--version", action="version", version=f"napari-droplets {__version__}")
    commands = program.add_subparsers(dest="command", required=True, metavar="COMMAND")

    results = (
        "For each image a folder OUT/NAME with droplets.csv (x, y, radius, their standard deviations, composition, "
        "...), reconstruction.tif, overlay.png, optics.safetensors and summary.json."
    )
    fit = commands.add_parser("fit", help="fit one or several images", description=f"Fit images. {results}")
    fit.add_argument("images", nargs="+", metavar="IMAGE", help="PNG, JPEG, TIFF or other image file, OME-Zarr folder")
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
    batch.add_argument(
        "--same-optics",
        action="store_true",
        help="learn the optics on the first image and keep them for all others, so that compositions and classes mean "
        "the same in the whole series",
    )

    demo = commands.add_parser(
        "demo",
        help="fit the sample image that comes with the package",
        description="Fit the simulated sample image, and compare what was found with the truth.",
    )
    demo.add_argument(
        "-o", "--output", default=DEMO_FOLDER, metavar="OUT", help=f"folder for the results (default: {DEMO_FOLDER})"
    )

    for command in (fit, batch):
        _add_choices(command)
        _add_settings(command)
    _add_settings(demo, without=("channels", "pixel_size_um", "frames", "planes", "scene", "intensity_range"))
    for command in (fit, batch, demo):
        command.add_argument("--no-overlay", action="store_true", help="do not draw overlay.png")
        command.add_argument("--quiet", action="store_true", help="no progress, only results and errors")

    _add_statistics(commands)
    train = _add_train(commands)
    train.add_argument("--quiet", action="store_true", help="no progress, only errors")
    for command in (fit, batch, demo, train):
        command.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    return program


def _add_choices(command: argparse.ArgumentParser) -> None:
    """Options of commands that take the user's own images."""
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
    command.add_argument(
        "--measure",
        type=_measure,
        metavar="all|NAMES",
        help="measure droplets in further channels, by number or name: mean, background, what is above it in all",
    )
    command.add_argument(
        "--export",
        type=_exports,
        default=[],
        metavar="KINDS",
        help="write besides: xlsx, labels (label image), roi (ImageJ), geojson (QuPath), separated by commas",
    )


def _add_statistics(commands: Any) -> None:
    command = commands.add_parser(
        "statistics",
        help="number, density and sizes of the droplets of results or tables",
        description="Number, density, mean size, CV, D10, D50, D90, span, Sauter and De Brouckere diameters, fractions "
        "of area, each with a 95 %% interval, by class too; of result folders of `fit`, or of tables. Droplets that "
        "the border cuts are left out, and the others count more the larger they are.",
    )
    command.add_argument("tables", nargs="+", metavar="RESULT", help="result folder, or table of droplets")
    command.add_argument(
        "--shape",
        type=_shape,
        metavar="H,W",
        help="height and width of the image in pixels, where only a table is given",
    )
    command.add_argument("--border", choices=("corrected", "left out", "kept"), default="corrected")
    command.add_argument("--debug", action="store_true", help="show where in the program an error arose")


def _shape(text: str) -> tuple[int, int]:
    try:
        height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give height,width in pixels") from None
    return height, width


def _add_settings(command: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """An option for each field of Settings."""
    from ..settings import CHOICES, Settings

    defaults = Settings()
    settings = command.add_argument_group("settings")
    for option, name, kind, values, text, none in SETTINGS:
        if name in without:
            continue
        value = getattr(defaults, name)
        default = none if value is None else "yes" if value is True else value
        settings.add_argument(
            option,
            dest=name,
            type=kind,
            default=argparse.SUPPRESS,
            help=f"{text} (default: {default})",
            **({"choices": CHOICES[name]} if name in CHOICES else {"metavar": values}),
        )


def _add_train(commands: Any) -> argparse.ArgumentParser:
    train = commands.add_parser(
        "train",
        help="train the network that finds droplets",
        description="Train the recognition network on simulated images, drawn anew for every step. For -o "
        "weights.safetensors, the weights with the best F1 on held-out images are kept there, a line of figures every "
        "few minutes in weights.log.csv, and the state of the training in weights.checkpoint.safetensors, from which "
        "the same command goes on after an interruption of any kind. The learning rate falls over the last two fifths "
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
    return train
