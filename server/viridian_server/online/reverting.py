"""Reverts that this pod was asked for: at once in memory, then in the store, so that they outlive restarts."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace

from viridian_model.publication.head import Head, HeadError
from viridian_model.publication.links import BrokenLink
from viridian_model.publication.reverting import revert
from viridian_model.store import Store, StoreError
from viridian_server.metrics import Metrics
from viridian_server.online.residents import ChainResidents

log = logging.getLogger(__name__)

_REACH_SECONDS = 60.0


@dataclass(frozen=True)
class Owed:
    """A revert that answers already, while the head known here is not yet its own; ``epoch`` is what it leaves."""

    to: str
    reason: str
    epoch: int
    recorded: bool = False


class Reverter:
    """Reverts by pointer where it can, and owes the record until the store has it."""

    def __init__(self, store: Store, chain: str, residents: ChainResidents, metrics: Metrics) -> None:
        self._store, self._chain, self._residents, self._metrics = store, chain, residents, metrics
        self._recording = threading.Lock()
        self._owed: Owed | None = None

    def revert(self, to: str, reason: str) -> bool:
        """Let an older state answer and make it the head; false if the store does not answer and is told later.

        A state that is not in memory is made from the store, by whoever follows the head.

        Raises:
            ValueError: ``to`` is neither ``anchor`` nor a sequence.
            HeadError, BrokenLink: nothing leads there.
            StoreError: it is not in memory, and the store does not answer.
        """
        with self._residents.writing:
            target, current = self._residents.find(to), self._residents.current
            if target is not None:
                self._owed = Owed(to, reason, current.sequence.epoch if current.sequence else 0)
                self._residents.swap(target)
        self._metrics.reverts.inc()
        if target is None:
            self._reached(revert(self._store, self._chain, to, reason))
            return True
        return self.record()

    def holds_back(self, head: Head) -> bool:
        """Say whether ``head`` is one that a revert of this pod left; tries to record that revert then."""
        owed = self._owed
        if owed is None or head.epoch > owed.epoch:
            self._owed = None
            return False
        try:
            self.record()
        except (HeadError, BrokenLink) as problem:
            log.error("a revert cannot be recorded, the head counts", extra={"to": owed.to, "error": str(problem)})
            return False
        return True

    def record(self) -> bool:
        """Write the revert that is owed into the store; false if the store does not answer.

        Raises:
            HeadError, BrokenLink: the store has nothing that leads there; nothing is owed any more.
        """
        with self._recording:
            owed = self._owed
            if owed is None or owed.recorded:
                return True
            try:
                revert(self._store, self._chain, owed.to, owed.reason)
            except StoreError as error:
                log.warning("a revert is not recorded yet", extra={"to": owed.to, "error": str(error)})
                return False
            except (HeadError, BrokenLink):
                self._owed = None
                raise
            self._owed = replace(owed, recorded=True)
            return True

    def _reached(self, head: Head) -> None:
        deadline = time.monotonic() + _REACH_SECONDS
        while time.monotonic() < deadline:
            sequence = self._residents.current.sequence
            if sequence is not None and sequence >= head.sequence:
                return
            time.sleep(0.01)
        raise HeadError(f"the head is {head.sequence} now, but this pod could not follow; its log says why")
