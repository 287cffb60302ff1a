"""What other weights find in images, and what they find no more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..compare import compare, match
from ..detection.scales import within
from ..droplets import Droplets
from ..errors import InputError
from ..images import Image, as_image
from ..inference.detect import detect
from ..results.files import image_of, read_summary, read_table
from .micrographs import corrected_table, is_corrected


@dataclass(frozen=True)
class Compared:
    """One image, looked at with two sets of weights.

    Attributes
    ----------
    name : str
        Of the image.
    before, after : Droplets
        Found by the one and by the other.
    new, gone : ndarray
        Indices into `after` of what the first ones did not find, and into `before` of what the others do not.
    truth : Droplets or None
        All that there are, where that is known.
    """

    name: str
    before: Droplets
    after: Droplets
    new: np.ndarray
    gone: np.ndarray
    truth: Droplets | None = None

    def record(self) -> dict[str, Any]:
        """Numbers, and recall and precision where the truth is known, as JSON can hold them."""
        record: dict[str, Any] = {
            "image": self.name,
            "before": len(self.before),
            "after": len(self.after),
            "new": len(self.new),
            "gone": len(self.gone),
        }
        if self.truth is not None:
            for when in ("before", "after"):
                judged = compare(self.truth, getattr(self, when))
                record |= {f"recall_{when}": judged.recall, f"precision_{when}": judged.precision}
        return record


def compare_weights(
    images: Iterable[Any],
    after: str | Path,
    before: str | Path | None = None,
    **settings: Any,
) -> Iterator[Compared]:
    """Look for droplets with two sets of weights, image by image.

    Parameters
    ----------
    images : list
        Of each: an image, an array or a file, and its true droplets where a pair is given; or the folder of a result,
        whose image it is. Where the result was corrected, or a table of the same name lies beside a file, that is the
        truth.
    after, before : path
        Weights; by default the first ones are those of the package.
    **settings
        Of `detect`.

    Yields
    ------
    Compared

    Raises
    ------
    InputError
        An image or weights that cannot be read.
    """
    for one in images:
        image, truth = _image_and_truth(one)
        first, then = (detect(image, **settings | {"weights": weights}) for weights in (before, after))
        i, j = match(first, then)
        new, gone = np.setdiff1d(np.arange(len(then)), j), np.setdiff1d(np.arange(len(first)), i)
        if truth is not None:
            truth = truth[within(truth, image.pixels)]
        yield Compared(image.name, first, then, new, gone, truth)


def _image_and_truth(one: Any) -> tuple[Image, Droplets | None]:
    if isinstance(one, tuple):
        return as_image(one[0]), one[1]
    if not isinstance(one, (str, Path)):
        return as_image(one), None
    path = Path(one)
    if (path / "summary.json").exists():
        image = image_of(read_summary(path))
        if image is None:
            raise InputError(f"{path}: its image is not where it was, or is another one now; put it back")
        return image, read_table(corrected_table(path)) if is_corrected(path) else None
    table = path.with_suffix(".csv")
    return as_image(path), read_table(table) if table.exists() else None


def table_text(compared: Iterable[dict[str, Any]]) -> str:
    """Records of `Compared.record` as lines of text."""
    lines = [f"{'image':24} {'before':>7} {'after':>7} {'new':>6} {'gone':>6}  recall         precision"]
    for r in compared:
        known = "recall_before" in r
        judged = "  ".join(f"{r[f'{k}_before']:.2f} -> {r[f'{k}_after']:.2f}" for k in ("recall", "precision") if known)
        lines.append(
            f"{r['image'][:24]:24} {r['before']:7,} {r['after']:7,} {r['new']:6,} {r['gone']:6,}  {judged}".rstrip()
        )
    return "\n".join(lines)
