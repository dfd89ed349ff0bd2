"""The write-ahead journal: which batches were begun since the last checkpoint, in a file that is only appended to.

A batch is written before it is trained on, and is on disk before anything that was trained on it is published. So a
trainer that was killed can make the same steps once more.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from viridian_model.storage import sync
from viridian_trainer.eventlog import Offset


@dataclass(frozen=True)
class Batch:
    """The partitions that a batch read, and how far."""

    to: dict[str, Offset]


@dataclass(frozen=True)
class Mark:
    """An anchor was made of the weights here, under this sequence."""

    anchor: str


class StepJournal:
    """The journal behind the checkpoint of one generation; those of earlier ones are removed."""

    def __init__(self, folder: Path, generation: int) -> None:
        self._folder, self._path = folder, folder / f"steps-{generation:012d}.jsonl"
        self.entries = _read(self._path)
        self._file = self._path.open("ab")
        for other in folder.glob("steps-*.jsonl"):
            if other != self._path:
                other.unlink(missing_ok=True)

    def batch(self, to: Mapping[str, Offset]) -> None:
        """Write a batch that is trained on next."""
        self._append({"to": dict(to)})

    def anchor(self, sequence: str) -> None:
        """Write, durably, that an anchor is made here."""
        self._append({"anchor": sequence})
        self.sync()

    def sync(self) -> None:
        """Return when everything is on disk."""
        os.fsync(self._file.fileno())
        sync(self._folder)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _append(self, line: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


def _read(path: Path) -> list[Batch | Mark]:
    """The entries of a journal; a last line that was cut short by a kill was followed by no step, and is cut off."""
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return [_entry(json.loads(line)) for line in whole.splitlines()]


def _entry(line: Mapping[str, Any]) -> Batch | Mark:
    return Mark(line["anchor"]) if "anchor" in line else Batch(line["to"])
