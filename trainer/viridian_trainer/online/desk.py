"""Beside the training: an anchor is registered, and its verdict asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

from viridian_model.store import Store, StoreUnavailable
from viridian_trainer.environment import VersionRef
from viridian_trainer.errors import Unreachable
from viridian_trainer.online.anchors import Anchors, Written
from viridian_trainer.online.judging import Judge, Judgement
from viridian_trainer.registry import Registry, VersionMissing

#: Seconds between two questions for a verdict, and after a failure.
ASK_SECONDS, RETRY_SECONDS = 1.0, 5.0
_log = logging.getLogger(__name__)

#: An anchor with its version, or the verdict on it.
Answer = Written | Judgement


class Desk:
    """One errand at a time; a service that does not answer is asked again, and never holds up the training."""

    def __init__(self, anchors: Anchors, store: Store, versions: Registry, judge: Judge) -> None:
        self._anchors, self._store, self._versions, self._judge = anchors, store, versions, judge
        self._thread = ThreadPoolExecutor(1, "desk")
        self._running: Future[Answer | None] | None = None
        self._next = time.monotonic()

    def ask(self, pending: Written, champion: VersionRef) -> Answer | None:
        """How it stands with an anchor: registered, judged, or nothing new."""
        if self._running is not None:
            return self._taken() if self._running.done() else None
        if time.monotonic() < self._next:
            return None
        if not pending.version:
            self._begin(lambda: self._register(pending))
        elif self._judge.waits:
            self._begin(lambda: self._judge.verdict(pending, champion))
        else:
            return self._say(lambda: self._judge.verdict(pending, champion))
        return None

    def forget(self) -> None:
        """Wait for what is under way; its outcome is of no interest any more."""
        if self._running is not None:
            self._running.exception()
        self._running = None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _begin(self, errand: Callable[[], Answer | None]) -> None:
        self._running = self._thread.submit(errand)

    def _taken(self) -> Answer | None:
        running, self._running = self._running, None
        return self._say(running.result) if running is not None else None

    def _say(self, answer: Callable[[], Answer | None]) -> Answer | None:
        self._next = time.monotonic() + ASK_SECONDS
        try:
            return answer()
        except (Unreachable, StoreUnavailable) as error:
            _log.warning("asked again in a while: %s", error)
            self._next = time.monotonic() + RETRY_SECONDS
        except VersionMissing as error:
            return Judgement("Inconclusive", f"the version of the anchor is gone: {error}")
        return None

    def _register(self, pending: Written) -> Written:
        found, _ = self._anchors.register(pending, self._store, self._versions)
        _log.info("anchor registered", extra={"version": found.version, "digest": pending.digest})
        return replace(pending, version=found.version)
