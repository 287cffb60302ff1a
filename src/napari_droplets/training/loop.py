"""Training of the recognition network: feed, step, validate, keep the best, go on after an interruption."""

from __future__ import annotations

import hashlib
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from .. import __version__
from ..compiling.disk import keep_compiled
from ..detection.network import STRIDE, write_weights
from ..errors import InputError
from ..results.files import writable_folder, write_whole
from .checkpoint import Record, read_checkpoint, write_checkpoint
from .exam import Exam, Found, droplets_in, prepared
from .feed import Drawn, Feed, Mixed, Scene
from .report import Line, Progress
from .step import fresh, update

RATE = 1.5e-3  # learning rate
WARM_UP = 200  # steps until it is reached
DECAY = 0.4  # last share of the budget, in which it falls to zero
KEEP = 0.999  # share of the average of the weights that a step leaves
N_HELD_OUT = 64
EVERY_SECONDS, EVERY_STEPS = 180.0, 500  # between two validations, at most


def train(
    output: str | Path,
    *,
    minutes: float = 120.0,
    steps: int | None = None,
    seed: int = 0,
    images: str | Path | None = None,
    side: int = 128,
    batch: int = 8,
    rate: float = RATE,
    warm_up: int = WARM_UP,
    start: str | Path | None = None,
    scene: Scene | None = None,
    others: Scene | None = None,
    held_out: Scene | None = None,
    workers: int = 1,
    restart: bool = False,
    every: float | None = None,
    n_held_out: int = N_HELD_OUT,
    found: Found | None = droplets_in,
    callback: Callable[[Progress], bool | None] | None = None,
) -> Path:
    """Train the recognition network, or go on with a training that was interrupted; nothing is calibrated.

    Users call `recipe.train`, which says what the files beside `output` are and what all parameters are but these:

    Parameters
    ----------
    scene : callable, optional
        `scene(rng, side) -> (image, truth)`, picklable: image (side, side, 3) float32 in 0..1, truth (N, 3): x, y,
        radius in pixels. `scenes.scene` by default.
    others : callable, optional
        As `scene`: where a quarter of the training images come from, but no held-out ones.
    held_out : callable, optional
        As `scene`: where the held-out images come from; from `scene` by default.
    found : callable, optional
        Droplets in the outputs (side / 2, side / 2, 7) of the network for an image; None to leave out
        what they say of precision and recall.

    Returns
    -------
    path
        The weights file.

    Raises
    ------
    InputError
        Arguments that cannot be, a checkpoint that does not fit them, files that cannot be read or written.
    """
    if scene is None:
        from .scenes import scene as scene_of_all_kinds

        scene = scene_of_all_kinds
    keep_compiled()
    output = Path(output)
    record = Record(seed, side, batch, budget=minutes if steps is None else steps, counted=steps is not None)
    record.scenes = getattr(scene, "sha256", "")
    _check(record, output, start, workers, rate)
    training = scene if others is None else Mixed(scene, others)
    if images is not None:
        from .micrographs import Pieces, read_micrographs

        training = Mixed(training, Pieces(read_micrographs(images)))
    run = _Training(output, record, start, restart, rate, warm_up, callback)
    if not run.finished:
        with closing(Feed({"training": training, "held-out": held_out or scene}, side, workers)) as feed:
            run.go(feed, Exam(feed, n_held_out, found), every)
    return output


class _Training:
    """One run: the state and the record of it, and the files they go to."""

    def __init__(
        self,
        output: Path,
        record: Record,
        start: str | Path | None,
        restart: bool,
        rate: float,
        warm_up: int,
        callback: Callable[[Progress], bool | None] | None,
    ) -> None:
        self.output, self.record, self.rate, self.callback = output, record, rate, callback
        self.warm_up = warm_up
        self.checkpoint, self.stable, self.log = (
            output.with_suffix(ending) for ending in (".checkpoint.safetensors", ".stable.safetensors", ".log.csv")
        )
        if start is not None:
            try:
                record.start = hashlib.sha256(Path(start).read_bytes()).hexdigest()
            except OSError as error:
                raise InputError(f"{start}: cannot be read as weights to start from ({error.strerror})") from error
        if self.checkpoint.exists() and not restart:
            self._resume()
            return
        self.state = fresh(record.seed, start)
        for path in (self.checkpoint, self.stable, self.log):
            path.unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        return self.record.share >= 1 and self.record.best is not None

    def _tell(self, line: Line | None = None, message: str = "") -> bool:
        """Whether to go on."""
        if self.callback is None:
            return True
        return self.callback(Progress(self.record.step, self.record.share, line, message)) is not False

    def _resume(self) -> None:
        """Take up the checkpoint, or the state before its decay where the budget has grown since."""
        asked, origin = self.record, self.checkpoint
        like = jax.eval_shape(lambda: fresh(0, None))
        self.state, record = read_checkpoint(origin, like)
        for name in ("seed", "side", "batch", "start", "scenes"):
            was, now = getattr(record, name), getattr(asked, name)
            if was != now:
                other = {"start": "begun from other weights", "scenes": "on other scenes or fits"}
                what = other.get(name, f"with {name} {was}, not {now}")
                raise InputError(
                    f"{origin}: of a training {what}; give the same to go on with it, another output, "
                    f"or --restart to begin anew"
                )
        best, spent = record.best if self.output.exists() else None, record.share
        record.budget, record.counted = asked.budget, asked.counted
        if record.decaying and record.share < spent and self.stable.exists():
            origin = self.stable
            self.state, record = read_checkpoint(origin, like)
            record.budget, record.counted = asked.budget, asked.counted
        record.best, self.record = best, record
        done = f"{record.step} steps and {record.seconds / 60:.1f} minutes"
        if self.finished:
            message = f"{self.output} is trained already, for {done}; give more minutes or steps to go on"
        else:
            message = f"going on from {origin.name}, after {done}"
        self._tell(message=message)

    def go(self, feed: Feed, exam: Exam, every: float | None) -> None:
        """Step until the budget is spent or the callback wants no more."""
        record = self.record
        every = every or _interval(record)
        batches = _batches(feed, record)
        begun, last = time.perf_counter() - record.seconds, record.seconds
        losses: list[Any] = []  # since the last line; the newest may still be computing
        waited, going = 0.0, True
        line = self._line(exam, [], 0.0, last) if record.share >= 1 else None  # trained, but its weights are gone
        while going and record.share < 1:
            if not record.decaying and record.share >= 1 - DECAY:
                write_checkpoint(self.stable, self.state, record)
                record.decaying = True
            drawn = next(batches)
            if not drawn.done():
                jax.block_until_ready(losses[-1:])  # as long as a step is computing, waiting costs nothing
                since = time.perf_counter()
                wait([drawn])
                waited += time.perf_counter() - since
            jitter = np.random.default_rng([record.seed, record.step])
            inputs, truth = prepared(self._received(drawn), record.side, jitter)
            keep = min(KEEP, (1 + record.step) / (10 + record.step))
            self.state, value = update(self.state, inputs, truth, self._rate(), keep)
            jax.block_until_ready(losses[-1:])  # one step computes while the next is prepared, no more
            losses.append(value)
            record.step += 1
            record.seconds = time.perf_counter() - begun
            line = None
            due = record.step % every == 0 if record.counted else record.seconds - last >= every
            if due or record.share >= 1:
                line = self._line(exam, losses, waited, last)
                losses, waited, last = [], 0.0, record.seconds
            going = self._tell(line)
        if line is None:  # stopped between two lines
            write_checkpoint(self.checkpoint, self.state, record)

    def _rate(self) -> float:
        """Learning rate of the coming step."""
        decay = max(0.0, (self.record.share - (1 - DECAY)) / DECAY)
        return self.rate * min(1.0, (self.record.step + 1) / self.warm_up) * (1 - math.sqrt(min(1.0, decay)))

    def _received(self, drawn: Future[list[Drawn]]) -> list[Drawn]:
        try:
            return drawn.result()
        except BrokenProcessPool as error:
            write_checkpoint(self.checkpoint, self.state, self.record)
            raise InputError(
                f"{self.output}: a process that draws scenes was ended from outside (is the memory full?); "
                f"the same command goes on from step {self.record.step}"
            ) from error
        except Exception as error:
            error.add_note(f"in the scenes of step {self.record.step}, seed {self.record.seed}")
            raise

    def _line(self, exam: Exam, losses: list[Any], waited: float, last: float) -> Line:
        """Validate, write the log, the weights if they are the best so far, and the checkpoint."""
        record = self.record
        values = np.array([float(value) for value in losses])
        finite = values[np.isfinite(values)]
        rate = self._rate()
        held_out_loss, figures = exam.sit(self.state.average)
        if exam.sha256 != record.held_out:
            if record.best is not None:
                self._tell(message="the held-out scenes are others than before; the best weights are chosen anew")
            record.held_out, record.best = exam.sha256, None
        line = Line(
            step=record.step,
            seconds=round(record.seconds, 1),
            loss=float(finite.mean()) if len(finite) else math.nan,
            rate=rate,
            waiting=waited / max(record.seconds - last, 1e-9),
            skipped=len(values) - len(finite),
            held_out_loss=held_out_loss,
            **figures,
        )
        record.log.append(asdict(line))
        if record.best is None or held_out_loss < record.best[1]:
            record.best = [line.f1, held_out_loss, record.step]
            write_weights(self.state.average, self.output, _about(record, line))
        write_checkpoint(self.checkpoint, self.state, record)
        write_whole(self.log, lambda p: pd.DataFrame(record.log).to_csv(p, index=False))
        if len(values) and not len(finite):
            raise InputError(f"{self.output}: the gradient was not finite in {len(values)} steps; lower the rate")
        return line


def _batches(feed: Feed, record: Record) -> Iterator[Future[list[Drawn]]]:
    """The batch of each step from that of the record on, some of them asked for ahead."""
    asked: deque[Future[list[Drawn]]] = deque()
    for step in itertools.count(record.step):
        asked.append(feed.ask("training", record.seed, (step,), record.batch))
        if len(asked) > feed.ahead:
            yield asked.popleft()


def _interval(record: Record) -> float:
    """Seconds or steps between validations: at least ten of them."""
    if record.counted:
        return min(EVERY_STEPS, max(1, record.budget // 10))
    return min(EVERY_SECONDS, 60 * record.budget / 10)


def _about(record: Record, line: Line) -> dict[str, str]:
    """What the weights file says about its making."""
    about = {
        "version": __version__,
        "steps": record.step,
        "seconds": line.seconds,
        "scenes": record.step * record.batch,
        "seed": record.seed,
        "side": record.side,
        "batch": record.batch,
        "start": record.start or "fresh",
        "held_out_loss": f"{line.held_out_loss:.5g}",
    }
    about |= {name: f"{v:.4f}" for name in ("f1", "precision", "recall") if (v := getattr(line, name)) is not None}
    return {name: str(value) for name, value in about.items()}


def _check(record: Record, output: Path, start: str | Path | None, workers: int, rate: float) -> None:
    """Find out wrong arguments before hours of work.

    Raises
    ------
    InputError
        Names the argument.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: name the weights with the ending .safetensors")
    if output.is_dir():
        raise InputError(f"{output}: a folder; give the name of a file in it")
    writable_folder(output.parent)
    if not record.budget > 0 or not math.isfinite(record.budget):
        raise InputError(f"{'steps' if record.counted else 'minutes'}: {record.budget}; give a number above 0")
    if not 0 < rate < math.inf:
        raise InputError(f"rate: {rate}; give a number above 0")
    if record.seed < 0:
        raise InputError(f"seed: {record.seed}; give 0 or above")
    if workers < 0:
        raise InputError(f"workers: {workers}; give 0 or above")
    if record.batch < 1:
        raise InputError(f"batch: {record.batch}; give 1 or above")
    if record.side < STRIDE or record.side % STRIDE:
        raise InputError(f"side: {record.side} pixels; give a multiple of {STRIDE}")
    if start is not None and Path(start).resolve() == output.resolve():
        raise InputError(f"{output}: would overwrite the weights to start from; give another output")
