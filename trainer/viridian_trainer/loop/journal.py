"""What the loop decided, one small file per update: the only state it has beside the registry.

A record is written before its training begins (window, parent and kind are fixed then) and once more when
its verdict is known. A process that is killed in between finds the record without a verdict and does the
same update again; training and registration give the same version.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from viridian_model.storage import write_file
from viridian_trainer.environment import VersionRef
from viridian_trainer.errors import BadData, BadUsage
from viridian_trainer.eventlog import Offset, Window


class UpdateRecord(BaseModel):
    """One update; offsets by partition. ``verdict`` is absent until the update has ended.

    ``look`` counts from 1 the evaluations in a row that began at the same parent without a decision.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int
    kind: Literal["Full", "Incremental"]
    start: dict[str, Offset]
    end: dict[str, Offset]
    fresh: dict[str, Offset]
    parent: VersionRef | None = None
    look: int = 1
    candidate: VersionRef | None = None
    trained_to: dict[str, Offset] = {}
    verdict: Literal["Pass", "Reject", "Inconclusive", "Failed"] | None = None
    reason: str = ""
    message: str = ""

    @property
    def window(self) -> Window:
        """What the update may read."""
        return Window(self.start, self.end)

    def ended(self, **found: Any) -> UpdateRecord:
        """The record with its outcome."""
        return self.model_copy(update=found)


class Journal:
    """Records in ``<registry>/<model>/journal``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir(parents=True, exist_ok=True)
        self.records = self._all()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out, and see what they did before; the lock ends with the process, however it ends.

        Raises
        ------
        BadUsage
            If another loop works in this folder.
        """
        with (self._folder / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BadUsage(f"another loop works in {self._folder.parent}; stop it first") from None
            self.records = self._all()
            yield

    @property
    def last(self) -> UpdateRecord | None:
        """The newest record."""
        return self.records[-1] if self.records else None

    @property
    def champion(self) -> UpdateRecord | None:
        """The newest update that passed."""
        return next((record for record in reversed(self.records) if record.verdict == "Pass"), None)

    @property
    def anchor(self) -> UpdateRecord | None:
        """The newest Full update that passed: the reference against creeping losses."""
        passed = (r for r in reversed(self.records) if r.verdict == "Pass" and r.kind == "Full")
        return next(passed, None)

    def write(self, record: UpdateRecord) -> None:
        """Add ``record``, or put it in the place of the last one of the same number."""
        write_file(self._folder / f"{record.number:08d}.json", record.model_dump_json(indent=1).encode())
        if self.records and self.records[-1].number == record.number:
            self.records.pop()
        self.records.append(record)

    def _all(self) -> list[UpdateRecord]:
        return [self._read(path) for path in sorted(self._folder.glob("*.json"))]

    def _read(self, path: Path) -> UpdateRecord:
        try:
            return UpdateRecord.model_validate(json.loads(path.read_bytes()))
        except (ValueError, ValidationError) as error:
            raise BadData(f"{path} is no record of an update: {str(error)[:200]}") from None
