"""Whether the result of an image is there already: whole, of the same pixels and of the same plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..images import Image
from ..images.region import mask_hash
from ..results.files import read_table
from ..tables import EXPORTS
from .hashes import file_hash
from .plan import Plan
from .source import Ranges, Source

CANCELLED = "cancelled"
"""What summary.json says of a fit that was stopped on demand."""


def complete(
    folder: Path, path: Path, plan: Plan, ranges: Ranges | None = None, known: str | None = None
) -> dict[str, Any] | None:
    """The summary of a whole result of this image and plan, None where there is none.

    `known` is the hash of the file that the result was made from, where a manifest tells it: then the image need not be
    read.
    """
    try:
        summary = _whole_result(folder, path, plan)
        if summary is None:
            return None
        if "pictures" in summary:
            same = summary["image"]["sha256"] == file_hash(path)
            return summary if same and summary["optics_from"] == plan.pictures_to_learn_from else None
        source = Source.of(path, plan.settings, ranges or {})
        if known is not None and known == file_hash(path):
            same = list(source.scale) == summary["image"]["intensity_range"]
        else:
            same = source.image(source.opened.where[0]).sha256 == summary["image"]["sha256"]
        return summary if same else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):  # whatever it is, it is no result of ours
        return None


def complete_picture(folder: Path, image: Image, plan: Plan) -> bool:
    """Whether there is a whole result of this picture of a stack."""
    try:
        summary = _whole_result(folder, image.path, plan)
        return summary is not None and bool(summary["image"]["sha256"] == image.sha256)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False


def _whole_result(folder: Path, path: Path | str | None, plan: Plan) -> dict[str, Any] | None:
    """The summary of a result of this plan with all of its files, of whatever image; None where there is none."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    wanted = plan.record()
    if plan.settings.region is not None:
        wanted["region_sha256"] = mask_hash(plan.settings.region, path)
    if summary.get("stopped") == CANCELLED or any(summary.get(name) != value for name, value in wanted.items()):
        return None
    needed = [
        name
        for name, wanted in (
            ("overlay.png", plan.overlay),
            ("optics.safetensors", not plan.detect_only),
            *((EXPORTS[kind], True) for kind in plan.exports),
        )
        if wanted
    ]
    if "pictures" not in summary and not all((folder / name).exists() for name in needed):
        return None
    read_table(folder / "droplets.csv")  # deleted, or saved anew by another program with other separators?
    return dict(summary)
