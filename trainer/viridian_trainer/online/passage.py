"""What was trained on since a champion ended: the window of the next anchor, and the proof that it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from viridian_model.canonical import canonical_json
from viridian_trainer.eventlog import Entry, Offset
from viridian_trainer.eventlog.ledger import TrainedEntries
from viridian_trainer.training.learner import Counts

#: Where the batches of an anchor stand among the artifacts of its run.
FOLDER, FILE = "online", "batches.json"
_COUNTED = ("trained", "duplicates", "late", "rejected")


@dataclass
class Passage:
    """The entries behind ``start``: a running ledger of those that were used, and where each batch ended.

    Within a batch entries are in the order of `viridian_trainer.eventlog.read`; between batches in that of training. So
    anybody who has the ends of the batches can read the same sequence from the event log again.
    """

    start: dict[str, Offset]
    before: dict[str, int]
    batches: list[dict[str, Offset]] = field(default_factory=list)
    ledger: TrainedEntries = field(default_factory=TrainedEntries)

    @classmethod
    def begin(cls, start: Mapping[str, Offset], counts: Counts) -> Self:
        """Begin at ``start``, when so much was counted."""
        return cls(dict(start), {name: getattr(counts, name) for name in _COUNTED})

    def add(self, used: Iterable[Entry], moved: Mapping[str, Offset]) -> None:
        """Count a batch: the entries that were trained on, and the new offsets of the partitions that it read."""
        for entry in used:
            self.ledger.add(entry)
        self.batches.append(dict(moved))

    def events(self, counts: Counts) -> dict[str, int]:
        """What became of its entries, if so much is counted now."""
        return {name: getattr(counts, name) - self.before[name] for name in _COUNTED}

    def encode(self) -> bytes:
        """The batches as a file; equal passages give equal bytes."""
        return canonical_json({"from": self.start, "batches": self.batches})

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hex."""
        return hashlib.sha256(self.encode()).hexdigest()

    def wire(self) -> dict[str, Any]:
        """State for a checkpoint."""
        return {
            "start": self.start,
            "before": self.before,
            "batches": self.batches,
            "ledger": self.ledger.hexdigest,
        }

    @classmethod
    def load(cls, wire: Mapping[str, Any]) -> Self:
        """Go on from what `wire` gave."""
        return cls(dict(wire["start"]), dict(wire["before"]), list(wire["batches"]), TrainedEntries(wire["ledger"]))
