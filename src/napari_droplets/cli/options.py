"""The options of the command line, with their help."""

from __future__ import annotations

import argparse
from dataclasses import fields
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


def _region(text: str) -> tuple[float, ...] | str:
    """A box, or the name of a file, folder or pattern."""
    parts = text.split(",")
    try:
        box = tuple(float(part) for part in parts)
    except ValueError:
        return text
    if len(box) != 4 or not (box[0] < box[2] and box[1] < box[3]):
        raise argparse.ArgumentTypeError(f"{text!r}: give X0,Y0,X1,Y1 with X0 < X1 and Y0 < Y1, or a mask's file")
    return box


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: give a whole number, at least 1")
    return int(text)


def _types(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _yes_no(text: str) -> bool:
    if text.lower() not in ("yes", "no", "true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}: say yes or no")
    return text.lower() in ("yes", "true")


# Option, field of Settings, how to read it, and what the help calls it. All else is in Settings alone: an option not
# given is not passed on.
SETTINGS: tuple[tuple[str, str, Any, str], ...] = (
    ("--types", "types", _types, "K"),
    ("--diameter", "diameter", float, "PX"),
    ("--detector", "detector", str, ""),
    ("--weights", "weights", str, "FILE"),
    ("--min-probability", "min_probability", float, "P"),
    ("--pixel-size", "pixel_size_um", _size, "UM|W,H"),
    ("--composition", "composition", str, ""),
    ("--background", "background", str, ""),
    ("--population", "population", str, ""),
    ("--renderer", "renderer", str, ""),
    ("--learn-optics", "learn_optics", _yes_no, "yes|no"),
    ("--classes", "classes", int, "G"),
    ("--noise", "noise", float, "SD"),
    ("--steps", "steps", int, "N"),
    ("--max-seconds", "max_seconds", float, "T"),
    ("--scale", "scale", float, "F"),
    ("--region", "region", _region, "X0,Y0,X1,Y1|MASK"),
    ("--seed", "seed", int, "S"),
    ("--channels", "channels", _channels, "0,1,2"),
    ("--frames", "frames", _numbers, "all|0,2,5-9"),
    ("--planes", "planes", _numbers, "all|0,2,5-9"),
    ("--scene", "scene", str, "N|NAME"),
    ("--intensity-range", "intensity_range", _range, "LOW,HIGH"),
)
MORE = {
    "intensity_range": "with a negative one as --intensity-range=-100,4095",
    "region": "for several images also a folder or quoted pattern of masks, each named like its image: a_mask.png or "
    "a.png for a.tif",
}
"""What concerns the command line alone."""


def parser() -> argparse.ArgumentParser:
    """What reads the command line; `command` names the command."""
    from .. import __version__
    from ..settings import OPTICS_FROM, READING

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
        "...), reconstruction.tif, overlay.png, optics.safetensors and summary.json. Images of more than 32 megapixels "
        "are worked on in blocks, and have reconstruction.ome.zarr."
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
        help="learn the optics once and keep them for all images, so that compositions and classes mean the same in "
        "the whole series",
    )
    batch.add_argument(
        "--optics-from",
        type=_count,
        metavar="N",
        help="with --same-optics: images, evenly spread over the series, that optics are learned on together, else "
        f"pictures of each stack (default: {OPTICS_FROM}; 1: the first alone)",
    )
    batch.add_argument(
        "--workers",
        type=_count,
        metavar="N",
        help="processes of this machine that work at the same time, each with its share of cores and memory (default: "
        "one image after another in this process, which a few small images are done by sooner)",
    )
    batch.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="work on a dask cluster instead: address of its scheduler, as tcp://node7:8786, or its scheduler file",
    )
    batch.add_argument(
        "--memory-limit",
        metavar="SIZE",
        help="memory of each of the --workers, as 4GB; one that takes more is ended, and its image tried again "
        "(default: equal shares of the machine's)",
    )
    _add_samples(batch)
    batch.add_argument("--no-report", action="store_true", help="do not write OUT/report.html at the end")

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
    _add_settings(demo, without=READING)
    for command in (fit, batch, demo):
        command.add_argument("--no-overlay", action="store_true", help="do not draw overlay.png")
        command.add_argument("--quiet", action="store_true", help="no progress, only results and errors")

    from .track import add_track
    from .training import add_train

    _add_statistics(commands)
    _add_report(commands)
    add_track(commands, _add_settings, _add_optics)
    train = add_train(commands)
    train.add_argument("--quiet", action="store_true", help="no progress, only errors")
    for command in (fit, batch, demo, train):
        command.add_argument("--debug", action="store_true", help="show where in the program an error arose")
    return program


def _add_choices(command: argparse.ArgumentParser) -> None:
    """Options of commands that take the user's own images."""
    _add_optics(command)
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
        action="extend",
        type=_exports,
        default=[],
        metavar="KINDS",
        help="write besides: xlsx, labels (label image), roi (ImageJ), geojson (QuPath), separated by commas",
    )


def _add_optics(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--optics",
        metavar="FILE",
        help="start from optics learned before: optics.safetensors, or the result folder it is in; types and "
        "composition are then theirs",
    )


def _add_statistics(commands: Any) -> None:
    command = commands.add_parser(
        "statistics",
        help="number, density and sizes of the droplets of results or tables",
        description="Number, density, mean size, CV, D10, D50, D90, span, Sauter and De Brouckere diameters, fractions "
        "of area, each with a 95 % interval, by class too, for each image of results or tables. Droplets that the "
        "border cuts are left out, and the others count more the larger they are.",
    )
    said = "folder of a result, or of several, or table of droplets"
    command.add_argument("tables", nargs="+", metavar="RESULT", help=said)
    command.add_argument(
        "--shape",
        type=shape_of,
        metavar="H,W",
        help="height and width of the image in pixels, where only a table is given",
    )
    command.add_argument("--border", choices=("corrected", "left out", "kept"), default="corrected")
    command.add_argument("--debug", action="store_true", help="show where in the program an error arose")


def _add_report(commands: Any) -> None:
    command = commands.add_parser(
        "report",
        help="show the results of a folder on one page, and compare samples and conditions",
        description="Write OUT/report.html, one page that needs no other file: overlays of all images, the worst fits "
        "first, size distributions, compositions and classes, statistics with 95 % intervals, differences between "
        "conditions, flags, settings and versions; its figures as SVG, PNG and CSV into OUT/figures; and the tables "
        "samples.csv and differences.csv. Classes are found on the droplets of all images together, where these were "
        "fitted with the same optics, and written into their tables. Of a folder of `track` the page shows movies.",
    )
    command.add_argument("output", metavar="OUT", help="folder of results of `batch`, `fit` or `track`")
    _add_samples(command)
    command.add_argument("--classes", type=int, metavar="G", help="number of classes (default: as many as can be told)")
    command.add_argument("--quiet", action="store_true", help="no progress, only errors")
    command.add_argument("--debug", action="store_true", help="show where in the program an error arose")


def _add_samples(command: argparse.ArgumentParser) -> None:
    """Options that tell samples and classes."""
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--groups",
        metavar="PATTERN",
        help="read sample, condition and time off the names of images, as '{condition}_{sample}_*'; * stands for "
        "anything (default: those of the last time, or all images are one sample)",
    )
    which.add_argument(
        "--samples",
        metavar="TABLE",
        help="a table (CSV, Excel) with a column image and one or more of sample, condition and time",
    )
    command.add_argument(
        "--class-names",
        type=_class_names,
        metavar="A,B,C",
        help="names of the classes, from the most frequent on; as many classes are found",
    )
    command.add_argument(
        "--reference",
        metavar="NAME",
        help="condition, or sample, that the others are compared with (default: all pairs)",
    )


def _class_names(text: str) -> list[str]:
    names = [part.strip() for part in text.split(",")]
    if not all(names) or len(set(names)) < len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: give each class a name of its own, separated by commas")
    return names


def shape_of(text: str) -> tuple[int, int]:
    """Height and width of an image."""
    try:
        height, width = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: give height,width in pixels") from None
    return height, width


def _add_settings(command: argparse.ArgumentParser, without: tuple[str, ...] = ()) -> None:
    """An option for each field of Settings."""
    from ..presets import PRESETS
    from ..settings import CHOICES, Settings

    said = {field.name: field for field in fields(Settings)}
    settings = command.add_argument_group("settings")
    settings.add_argument(
        "--preset", choices=PRESETS, help="settings to begin with for a kind of image; those given beside it win"
    )
    for option, name, kind, values in SETTINGS:
        if name in without:
            continue
        value, about = said[name].default, said[name].metadata
        default = about["none"] if value is None else "yes" if value is True else value
        said_of_it = "; ".join(filter(None, (about["about"], MORE.get(name))))
        settings.add_argument(
            option,
            dest=name,
            type=kind,
            default=argparse.SUPPRESS,
            help=f"{said_of_it} (default: {default})",
            **({"choices": CHOICES[name]} if name in CHOICES else {"metavar": values}),
        )
