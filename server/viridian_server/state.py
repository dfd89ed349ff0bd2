"""What the server knows about itself; written by the loader and by admin calls, read by every handler."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from viridian_server.failure import LoadFailure
from viridian_server.faults import Faults
from viridian_server.residents import Phase, Residents
from viridian_server.revision import Revision
from viridian_server.snapshot import Snapshot

if TYPE_CHECKING:
    from viridian_server.online.following import Following

#: Seconds with memory that cannot be repaired until the process says that it should be ended.
REPLACED_AFTER = 60.0


class ServerState:
    """State of one process."""

    def __init__(self, revision: Revision, faults: Faults | None) -> None:
        self.revision = revision
        self.residents = Residents()
        self.phase = Phase.FETCHING
        self.failure: LoadFailure | None = None
        self._failed_at = 0.0
        self.following: Following | None = None
        self.consistency: dict[str, Any] | None = None
        self.retired = False
        self.draining = False
        self._faults = faults
        self._ready_since = 0.0

    @property
    def snapshot(self) -> Snapshot | None:
        """What answers now, None while the first model is loaded."""
        return self.residents.current

    @property
    def ready(self) -> bool:
        """Whether new traffic is welcome."""
        if self.phase is not Phase.READY or self.draining or self.failure:
            return False
        return self._faults is None or not self._faults.unready(self._ready_for())

    @property
    def alive(self) -> bool:
        """Whether there is hope for this process; one that cannot repair its memory for long is to be replaced."""
        return self.failure is None or time.monotonic() - self._failed_at < REPLACED_AFTER

    @property
    def closes_connections(self) -> bool:
        """Whether clients are asked to open another connection, which may lead elsewhere."""
        return self.retired or self.draining

    @property
    def injected_status(self) -> int | None:
        """Status that a fault wants inference to fail with."""
        return self._faults.failing_status(self._ready_for()) if self._faults else None

    @property
    def injected_delay(self) -> float:
        """Seconds that a fault adds to every inference."""
        return self._faults.slow if self._faults else 0.0

    def fail(self, failure: LoadFailure | None) -> None:
        """Be ready no longer, or again."""
        if failure is not None and self.failure is None:
            self._failed_at = time.monotonic()
        self.failure = failure

    def serve(self, snapshot: Snapshot) -> None:
        """Let ``snapshot`` answer."""
        self.residents.swap(snapshot)
        self._ready_since = time.monotonic()
        self.phase = Phase.READY
        if self._faults:
            self._faults.start()

    def identity(self) -> dict[str, Any]:
        """Return the answer of ``/viridian/v1/identity``: what is served, before that what is wanted."""
        snapshot, wanted = self.snapshot, self.revision
        return {
            "model": wanted.model,
            "version": snapshot.version if snapshot else wanted.version,
            "digest": snapshot.digest if snapshot else wanted.digest,
            "sequence": str(snapshot.sequence) if snapshot and snapshot.sequence else None,
            "merkleRoot": snapshot.root if snapshot else None,
            "token": snapshot.token if snapshot else None,
            "eventTime": snapshot.event_time if snapshot else wanted.event_time,
            "ready": self.ready,
            "retired": self.retired,
            "phase": str(self.phase),
            "error": self.failure.to_json() if self.failure else None,
            "residents": self.residents.to_json(),
            "consistency": self.consistency,
        }

    def _ready_for(self) -> float:
        return time.monotonic() - self._ready_since
