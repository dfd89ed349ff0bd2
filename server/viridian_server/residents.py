"""The snapshots that are held in memory: what answers, what answered before, what may answer next."""

from __future__ import annotations

import threading
from enum import StrEnum
from typing import Any

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
    """At most three snapshots. A swap is one assignment; readers need no lock, writers share the event loop."""

    def __init__(self) -> None:
        self._pair: tuple[Snapshot | None, Snapshot | None] = (None, None)
        self.staged: Staged | None = None

    @property
    def current(self) -> Snapshot | None:
        """What answers now."""
        return self._pair[0]

    @property
    def previous(self) -> Snapshot | None:
        """What answered before; stays in memory, so that going back needs no network."""
        return self._pair[1]

    def swap(self, snapshot: Snapshot) -> None:
        """Let ``snapshot`` answer from the next request on; what answered until now is the previous one."""
        self._pair = (snapshot, self._pair[0])

    def flip(self, digest: str) -> bool:
        """Let the verified resident ``digest`` answer; False if there is none.

        Asking for what answers already changes nothing.
        """
        current, previous = self._pair
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
        return any(each and (each.version, each.digest) == (version, digest) for each in self._pair)

    def to_json(self) -> list[dict[str, Any]]:
        """Return ``residents`` of the identity."""
        roles = zip(("Current", "Previous"), self._pair, strict=True)
        entries = [_entry(role, each.version, each.digest, Phase.READY) for role, each in roles if each]
        if staged := self.staged:
            wanted = staged.revision
            entries.append(_entry("Staged", wanted.version, wanted.digest, staged.phase, staged.failure))
        return entries


def _entry(role: str, version: str, digest: str, phase: Phase, failure: LoadFailure | None = None) -> dict[str, Any]:
    error = failure.to_json() if failure else None
    return {"role": role, "version": version, "digest": digest, "sequence": None, "phase": str(phase), "error": error}
