"""What ties the droplets of frames together besides their track numbers: merges, splits, links set and cut by hand."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple, get_args

TieKind = Literal["merge", "split", "linked", "cut"]
KINDS: tuple[str, ...] = get_args(TieKind)
OPTIONS = ("shape", "max_gap", "geometry", "interval_s", "times_s")
"""How droplets are followed, as `track` takes it."""


class Tie(NamedTuple):
    """Droplets that belong together, by their numbers; numbers that are not known are None."""

    kind: str
    """Of an event, 'merge' or 'split'; of two droplets 'linked' or 'cut' by hand."""
    one: int
    """The droplet after a merge or before a split; the earlier one of two."""
    several: tuple[int, ...]
    """Those that merge or come of a split; the later one of two."""
    continued: int | None = None
    p: float | None = None
    volume_residual: float | None = None
    volume_residual_sd: float | None = None
    composition_residual: float | None = None
    composition_residual_sd: float | None = None


class Ties(NamedTuple):
    """How the droplets of a sheet are followed, and what ties them."""

    options: dict[str, Any]
    """`OPTIONS`, as JSON can hold them."""
    all: frozenset[Tie] = frozenset()


class TieChange(NamedTuple):
    """What a step changed of them."""

    gone: frozenset[Tie]
    come: frozenset[Tie]
    options: tuple[dict[str, Any] | None, dict[str, Any] | None]
    """Before and after; None where droplets were, or are, not followed."""

    @classmethod
    def between(cls, before: Ties | None, after: Ties | None) -> TieChange:
        """From one to the other."""
        old, new = (frozenset() if ties is None else ties.all for ties in (before, after))
        options = before and before.options, after and after.options
        return cls(old - new, new - old, options)

    def forth(self, ties: Ties | None) -> Ties | None:
        """The ties with it done."""
        return _changed(ties, self.gone, self.come, self.options[1])

    def back(self, ties: Ties | None) -> Ties | None:
        """The ties as they were before."""
        return _changed(ties, self.come, self.gone, self.options[0])


def ties_record(ties: Ties | None) -> Any:
    """Ties for JSON."""
    return None if ties is None else {"options": ties.options, "ties": sorted(map(_row, ties.all), key=json.dumps)}


def ties_of(record: Any) -> Ties | None:
    """Ties of what `ties_record` gave.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is not that.
    """
    return None if record is None else Ties(_options(record["options"]), frozenset(map(_tie, record["ties"])))


def change_record(change: TieChange | None) -> Any:
    """A change for JSON."""
    if change is None:
        return None
    sides = {name: sorted(map(_row, getattr(change, name)), key=json.dumps) for name in ("gone", "come")}
    return sides | {"options": list(change.options)}


def change_of(record: Any) -> TieChange | None:
    """A change of what `change_record` gave; raises as `ties_of`."""
    if record is None:
        return None
    before, after = (None if o is None else _options(o) for o in record["options"])
    return TieChange(frozenset(map(_tie, record["gone"])), frozenset(map(_tie, record["come"])), (before, after))


def _changed(ties: Ties | None, gone: frozenset[Tie], come: frozenset[Tie], options: Any) -> Ties | None:
    if options is None:
        return None
    return Ties(options, ((frozenset() if ties is None else ties.all) - gone) | come)


def _row(tie: Tie) -> list[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in tie]


def _tie(row: Any) -> Tie:
    kind, one, several, continued, *numbers = row
    if kind not in KINDS or len(numbers) != 5:
        raise ValueError(f"a tie of kind {kind}")
    known = [None if v is None else float(v) for v in numbers]
    return Tie(kind, int(one), tuple(int(n) for n in several), None if continued is None else int(continued), *known)


def _options(record: Any) -> dict[str, Any]:
    if not isinstance(record, dict) or not set(record) <= set(OPTIONS):
        raise ValueError("options of tracking")
    return {k: tuple(v) if k == "shape" and v is not None else v for k, v in record.items()}
