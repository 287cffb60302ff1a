"""What `report`, and the end of `batch`, do on the command line."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError

INTERVAL = 5.0
"""Seconds between two lines that tell how far it is."""


def check_report(args: argparse.Namespace, images: Sequence[Path], settings: Any) -> None:
    """Find out what cannot be reported in the end before the first fit.

    Raises
    ------
    InputError
        Names that do not match, a table that lacks an image, or names of classes that images will not share.
    """
    from ..samples.api import checked_names
    from ..samples.compare import group_names
    from ..samples.groups import groups_of

    if args.no_report and (args.groups or args.samples or args.class_names or args.reference):
        raise InputError("--no-report: samples are compared in the report; leave out one of them")
    checked_names(args.class_names, getattr(settings, "classes", None))
    held = args.same_optics or (args.optics is not None and not settings.learn_optics)
    if args.class_names and len(images) > 1 and not held:
        raise InputError(
            "--class-names: classes are the same in all images only where these share their optics; add --same-optics, "
            "or --optics with --learn-optics no"
        )
    groups = groups_of([path.name for path in images], args.groups or args.samples)
    if args.reference is not None and args.reference not in (names := group_names(groups)[0]):
        raise InputError(
            f"--reference {args.reference}: no such condition or sample; there are {', '.join(dict.fromkeys(names))}"
        )


def write_report(args: argparse.Namespace) -> int:
    """Write the report that the options ask for; the exit code."""
    from ..reports.api import note_command, page_of
    from .commands import DONE, FAILED, _print, _say, _trace

    if getattr(args, "no_report", False):
        return DONE
    last, stage = time.monotonic(), ""

    def watch(what: str, number: int, of: int) -> None:
        nonlocal last, stage
        if not args.quiet and (what.split()[0] != stage or time.monotonic() - last > INTERVAL):
            _say(f"report: {what}{f' {number + 1} of {of}' if of > 1 else ''}")
            last, stage = time.monotonic(), what.split()[0]

    classes = getattr(args, "classes", None)
    options = {"class_names": args.class_names, "classes": classes, "reference": args.reference, "watch": watch}
    try:
        if args.command == "batch":
            note_command(args.output, shlex.join(["napari-droplets", *args.argv]))
        page = page_of(args.output, args.groups or args.samples, **options)
    except InputError as error:
        if args.command == "report":
            raise
        _say(f"error: no report: {error}; the results of the images are in their folders")
        _trace(args, error)
        return FAILED
    if args.command == "batch":  # on stdout are the images, one a line
        if not args.quiet:
            _say(f"report: {page.path}")
    else:
        _print(str(page.path))
        for problem in page.problems:  # a batch has told them
            _say(f"error: {problem}")
    return FAILED if page.problems else DONE
