"""The snapshots that are held in memory: what answers, what answered before, what may answer next."""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import Any

from viridian_model.publication.head import Sequence
from viridian_server.failure import LoadFailure
from viridian_server.revision import Revision
from viridian_server.snapshot import Snapshot


class Phase(StrEnum):
    """Phases of a load, in order; the words of the contract."""

    FETCHING = "Fetching"
    VERIFYING = "Verifying"
    LOADING = "Loading"
    WARMING_UP = "WarmingUp"
    READY = "Ready"
    FAILED = "Failed"


class Staged:
    """A revision that is being loaded, or was, beside what answers."""

    def __init__(self, revision: Revision) -> None:
        self.revision = revision
        self.phase = Phase.FETCHING
        self.failure: LoadFailure | None = None
        self.snapshot: Snapshot | None = None
        self.given_up = threading.Event()

    @property
    def loading(self) -> bool:
        """Whether it is neither ready nor failed yet."""
        return self.phase not in (Phase.READY, Phase.FAILED)

    def finish(self, snapshot: Snapshot) -> None:
        """Be ready to answer."""
        self.snapshot, self.phase = snapshot, Phase.READY

    def fail(self, failure: LoadFailure) -> None:
        """Record why it can never answer."""
        self.failure, self.phase = failure, Phase.FAILED


class Residents:
    """What is held in memory, at most three versions. A swap is one assignment; readers need no lock."""

    def __init__(self) -> None:
        self._held: tuple[Snapshot, ...] = ()
        self.staged: Staged | None = None

    @property
    def current(self) -> Snapshot | None:
        """What answers now."""
        return self._held[0] if self._held else None

    @property
    def previous(self) -> Snapshot | None:
        """What answered before; stays in memory, so that going back needs no network."""
        return self._held[1] if len(self._held) > 1 else None

    def hold(self, held: tuple[Snapshot, ...]) -> None:
        """Let the first of ``held`` answer from the next request on, and keep the others."""
        self._held = held

    def swap(self, snapshot: Snapshot) -> None:
        """Let ``snapshot`` answer from the next request on; what answered until now is the previous one."""
        self.hold((snapshot, *self._held[:1]))

    def flip(self, digest: str) -> bool:
        """Let the verified resident ``digest`` answer; False if there is none.

        Asking for what answers already changes nothing.
        """
        current, previous = self.current, self.previous
        staged = self.staged.snapshot if self.staged else None
        if staged is not None and staged.digest == digest:
            self.swap(staged)
            self.staged = None
        elif current is not None and current.digest == digest:
            return True
        elif previous is not None and previous.digest == digest:
            self.swap(previous)
        else:
            return False
        return True

    def holds(self, version: str, digest: str) -> bool:
        """Whether a snapshot that answers or answered is this one."""
        return any((each.version, each.digest) == (version, digest) for each in self._held)

    def to_json(self) -> list[dict[str, Any]]:
        """Return ``residents`` of the identity."""
        entries = [
            _entry("Previous" if place else "Current", each.version, each.digest, each.sequence)
            for place, each in enumerate(self._held)
        ]
        if staged := self.staged:
            wanted = staged.revision
            entries.append(_entry("Staged", wanted.version, wanted.digest, None, staged.phase, staged.failure))
        return entries


def _entry(
    role: str,
    version: str,
    digest: str,
    sequence: Sequence | None,
    phase: Phase = Phase.READY,
    failure: LoadFailure | None = None,
) -> dict[str, Any]:
    return {
        "role": role,
        "version": version,
        "digest": digest,
        "sequence": None if sequence is None else str(sequence),
        "phase": str(phase),
        "error": failure.to_json() if failure else None,
    }
