"""The command `train`: its options, and what it does."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

DONE, STOPPED = 0, 130


def run_train(args: argparse.Namespace, say: Callable[[str], None], show: Callable[[str], None]) -> int:
    """Train, and show what is found before and after in images that are to be compared."""
    from ..training.recipe import train
    from ..training.report import Progress, describe
    from .terminal import Interrupt

    given = {name: getattr(args, name) for name in ("minutes", "steps", "rate") if getattr(args, name) is not None}
    with Interrupt("the steps since the last line") as interrupt:

        def watch(progress: Progress) -> bool:
            text = progress.message or describe(progress)
            if text and not args.quiet:
                say(text)
            if progress.calibrating:
                interrupt.at_once()
            return not interrupt.asked

        try:
            path = train(
                args.output,
                **given,
                seed=args.seed,
                images=args.images,
                from_fit=args.from_fit,
                corrected=args.corrected,
                start=args.start,
                workers=args.workers,
                restart=args.restart,
                callback=watch,
            )
        except KeyboardInterrupt:
            say("stopped; the weights are trained but not calibrated, which is all that the same command does now")
            return STOPPED
    if interrupt.asked:
        say("stopped; the same command goes on from here")
        return STOPPED
    if args.compare:
        from ..training.compared import compare_weights, table_text

        show(table_text(c.record() for c in compare_weights(args.compare, path, args.start)))
    print(path)
    return DONE


def add_train(commands: Any) -> argparse.ArgumentParser:
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
        "--minutes",
        type=float,
        metavar="M",
        help="train so long, over all runs (default: 120; with --from-fit 2; with --corrected 300 steps)",
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
        "of `batch`; three quarters of the training images are drawn from the models fitted. Of a folder with a "
        "corrected table, corrected.csv, droplets are drawn as they are in that",
    )
    train.add_argument(
        "--corrected",
        nargs="+",
        default=(),
        metavar="PATH",
        help="train the weights of the package further on images that you corrected, with all of their droplets: "
        "images or tables of the same name beside each other, folders of them, or result folders with the corrected "
        "table as corrected.csv (of a folder of `batch` those that were corrected); three quarters of the training "
        "images are cut from them",
    )
    train.add_argument(
        "--compare",
        nargs="+",
        default=(),
        metavar="IMAGE",
        help="images, or result folders, to look at before and after: prints how many droplets are found, what is new "
        "and what is gone, and recall and precision where a corrected table lies beside the image",
    )
    train.add_argument(
        "--start",
        metavar="WEIGHTS",
        help="begin from these weights (default: fresh ones; with --from-fit and --corrected those of the package)",
    )
    train.add_argument(
        "--rate",
        type=float,
        metavar="R",
        help="learning rate before it falls (default: 0.0015; with --from-fit and --corrected 0.0003); with --start a "
        "lower one unlearns less",
    )
    train.add_argument(
        "--workers", type=int, default=1, metavar="W", help="processes that draw scenes (default: 1; 0: none)"
    )
    train.add_argument("--restart", action="store_true", help="begin anew, even if a checkpoint is there")
    return train
