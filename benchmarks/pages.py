"""Results on disk: a page of tables, and beside it all figures as JSON, to which later runs add theirs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def read(page: Path) -> dict[str, Any]:
    """The figures beside a page; none where there is no page yet."""
    beside = page.with_suffix(".json")
    return _mapped(json.loads(beside.read_text(encoding="utf-8")), _nan) if beside.exists() else {}


def write(page: Path, figures: dict[str, Any], text: str) -> None:
    """Write the page and the figures beside it."""
    page.parent.mkdir(parents=True, exist_ok=True)
    page.with_suffix(".json").write_text(_lines(_mapped(figures, _null)) + "\n", encoding="utf-8")
    page.write_text(text, encoding="utf-8")


def _lines(figures: dict[str, Any]) -> str:
    """JSON with a line for each image or detector of each part."""
    parts = []
    for part, rows in figures.items():
        lines = [f"  {json.dumps(name)}: {json.dumps(row, allow_nan=False)}" for name, row in rows.items()]
        parts.append(f" {json.dumps(part)}: {{\n" + ",\n".join(lines) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}"


def _null(value: Any) -> Any:
    """For JSON, which knows no NaN; six digits are enough."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _nan(value: Any) -> Any:
    return float("nan") if value is None else value


def _mapped(value: Any, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {k: _mapped(v, leaf) for k, v in value.items()}
    return [_mapped(v, leaf) for v in value] if isinstance(value, list) else leaf(value)
