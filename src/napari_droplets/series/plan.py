"""What is to be done with every image of a batch, and whether that goes together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from .. import __version__
from ..droplets import Droplets, Optics
from ..errors import InputError
from ..images.region import check_files
from ..settings import OPTICS_FROM, Settings
from ..tables import EXPORTS
from .hashes import optics_hash


class Ticket(NamedTuple):
    """What entitles one attempt at one image to write its result; see `storage.lock.sole_writer`."""

    out: Path
    """The batch's folder."""
    run: str
    """The run of the batch."""
    attempt: str
    """A name that no other attempt has."""


@dataclass(frozen=True)
class Plan:
    """What to do with every image."""

    settings: Settings
    optics: Optics | None = None
    detect_only: bool = False
    overlay: bool = True
    measure: Sequence[int | str] | str | None = None
    """Channels in which droplets are measured, or 'all'."""
    exports: tuple[str, ...] = ()
    """What is written besides, of `tables.EXPORTS`."""
    ticket: Ticket | None = None
    """Where several processes work on one batch."""
    optics_from: int = OPTICS_FROM
    """Pictures of a stack that its optics are learned on together, where they are learned on it."""
    candidates: Mapping[str, Droplets] = field(default_factory=dict)
    """Of pictures that have taught, see `composite.Taught`."""

    @classmethod
    def of(
        cls,
        optics: Optics | None = None,
        detect_only: bool = False,
        overlay: bool = True,
        measure: Sequence[int | str] | str | None = None,
        exports: Sequence[str] = (),
        **settings: Any,
    ) -> Plan:
        """A plan whose parts go together; types and composition are those of the optics unless given.

        Raises
        ------
        InputError
            They do not, or a file or library that is needed is not there.
        """
        if optics is not None:
            settings = {"types": optics.types, "composition": optics.composition} | settings
        chosen = Settings.of(**settings)
        check_files(chosen.region)
        if chosen.weights is not None:
            from ..detection.network import read_weights

            read_weights(chosen.weights)
        if optics is not None:
            wanted = {"types": chosen.types, "composition": chosen.composition}
            if chosen.channels is not None:
                wanted["channels"] = len(chosen.channels)
            for name, value in wanted.items():
                if (have := getattr(optics, name)) != value:
                    raise InputError(
                        f"optics: learned with {name} {have}, but {name} {value} is asked for; leave that out or give "
                        "other optics"
                    )
        if unknown := [kind for kind in exports if kind not in EXPORTS]:
            raise InputError(f"export {unknown[0]!r}: choose of {', '.join(EXPORTS)}")
        if "xlsx" in exports and find_spec("openpyxl") is None:
            raise InputError("export xlsx: to write Excel tables: pip install 'napari-droplets[excel]'")
        return cls(chosen, optics, detect_only, overlay, measure, tuple(exports))

    @property
    def learning(self) -> bool:
        """Whether optics are learned on what is worked on next."""
        return self.settings.learn_optics and not self.detect_only

    @property
    def pictures_to_learn_from(self) -> int | None:
        """Of a stack; None where nothing is learned."""
        return self.optics_from if self.learning else None

    def taught(self, optics: Optics, candidates: Mapping[str, Droplets] | None = None) -> Plan:
        """The same with optics that are kept as they are."""
        from ..inference.api import held

        settings = replace(self.settings, **held(optics))
        return replace(self, optics=optics, settings=settings, candidates=candidates or {})

    def record(self) -> dict[str, Any]:
        """What decides the result besides the image, as it is found in summary.json."""
        optics = weights = None
        if self.optics is not None:
            optics = optics_hash(self.optics)
        if self.settings.weights is not None:
            weights = hashlib.sha256(Path(self.settings.weights).read_bytes()).hexdigest()
        return json.loads(
            json.dumps(
                {
                    "settings": asdict(self.settings),
                    "version": __version__,
                    "detect_only": self.detect_only,
                    "measure": self.measure,
                    "optics_sha256": optics,
                    "weights_sha256": weights,
                }
            )
        )
