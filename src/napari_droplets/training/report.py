"""What a training says of itself while it runs: a line of the log now and then, in figures and in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """One line of the log.

    Attributes
    ----------
    step : int
        Updates so far.
    seconds : float
        Since the beginning of the training, over all runs.
    loss : float
        Mean since the last line.
    rate : float
        Learning rate.
    waiting : float
        Share of the time since the last line in which nothing could be computed for want of scenes.
    skipped : int
        Steps since the last line without effect, because the gradient was not finite.
    held_out_loss : float
        Of the averaged weights.
    f1, precision, recall : float or None
        Of the droplets found in the held-out images, at p_present 0.5; None where they are not looked for.
    """

    step: int
    seconds: float
    loss: float
    rate: float
    waiting: float
    skipped: int
    held_out_loss: float
    f1: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class Progress:
    """What a callback is told after each step: where the training is, a new line of the log, and anything to say.

    It is told once more when calibration begins, of which nothing is kept before its end.
    """

    step: int
    share: float
    line: Line | None = None
    message: str = ""
    calibrating: bool = False


def describe(progress: Progress) -> str:
    """The new line of the log in words; empty where there is none."""
    line = progress.line
    if line is None:
        return ""
    minutes = int(line.seconds // 60)
    parts = [f"loss {line.loss:.3f}", f"held-out {line.held_out_loss:.3f}"]
    if line.f1 is not None:
        parts.append(f"F1 {line.f1:.4f} (precision {line.precision:.4f}, recall {line.recall:.4f})")
    parts += [f"rate {line.rate:.2g}", f"{line.waiting:.0%} of the time waiting for scenes"]
    if line.skipped:
        parts.append(f"{line.skipped} steps without a finite gradient")
    return f"step {line.step} ({progress.share:.0%}, {minutes // 60}:{minutes % 60:02d} h): {', '.join(parts)}"
