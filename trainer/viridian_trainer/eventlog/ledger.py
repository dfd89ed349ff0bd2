"""Which entries a training used, as one running digest that anybody can compute again from the event log."""

from __future__ import annotations

import hashlib

from viridian_trainer.eventlog.merge import Entry


class TrainedEntries:
    """SHA-256 chain over the entries trained on, in the order of training.

    ``digest(n) = SHA-256(digest(n-1) + partition NUL offset NUL event id)``, from 32 zero bytes. It resumes
    from its hex value, so that it is part of a checkpoint.
    """

    def __init__(self, digest: str = "00" * 32) -> None:
        self._digest = bytes.fromhex(digest)

    def add(self, entry: Entry) -> None:
        """Count ``entry`` as trained on; it must hold an event."""
        if entry.event is None:
            raise ValueError("an entry without an event cannot be trained on")
        line = f"{entry.partition}\0{entry.offset_after}\0{entry.event.id}"
        self._digest = hashlib.sha256(self._digest + line.encode()).digest()

    @property
    def hexdigest(self) -> str:
        """The digest so far."""
        return self._digest.hex()
