"""Two-phase hot swap: load and verify beside what answers, then let it answer by one assignment."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

from viridian_server.background import start_loading
from viridian_server.failure import LoadFailure
from viridian_server.loading import Report, load
from viridian_server.metrics import Metrics
from viridian_server.residents import Phase, Staged
from viridian_server.revision import Revision
from viridian_server.settings import Settings
from viridian_server.snapshot import Snapshot
from viridian_server.state import ServerState

log = logging.getLogger(__name__)

_STOP_SECONDS = 5.0


class Stager:
    """Stages, flips and gives up; everything but the load itself happens on the event loop."""

    def __init__(self, state: ServerState, metrics: Metrics, settings: Settings) -> None:
        self._state, self._metrics, self._settings = state, metrics, settings
        self._one_load = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    def stage(self, revision: Revision) -> bool:
        """Begin to load ``revision``; False while another digest is being loaded.

        Nothing is begun if it is a resident already; one that failed is tried again.
        """
        residents = self._state.residents
        staged = residents.staged
        if residents.holds(revision.version, revision.digest):
            return True
        if staged is not None and staged.phase is not Phase.FAILED and _same(staged.revision, revision):
            return True
        if staged is not None and staged.loading:
            return False
        residents.staged = fresh = Staged(revision)
        task = asyncio.create_task(self._load(fresh))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def flip(self, digest: str) -> bool:
        """Let the verified resident ``digest`` answer; False if there is none."""
        began, before = time.perf_counter(), self._state.snapshot
        if not self._state.residents.flip(digest):
            return False
        snapshot = self._state.snapshot
        if snapshot is not None and snapshot is not before:
            self._metrics.swap_seconds.observe(time.perf_counter() - began)
            self._metrics.serve(snapshot)
            log.info("flipped", extra={"version": snapshot.version, "digest": snapshot.digest})
        return True

    def unstage(self) -> None:
        """Give up what is staged, loaded or not."""
        if staged := self._state.residents.staged:
            staged.given_up.set()
            self._state.residents.staged = None
            log.info("unstaged", extra={"digest": staged.revision.digest})

    async def close(self) -> None:
        """Give up, and wait a little for a load to notice."""
        self.unstage()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)

    async def _load(self, staged: Staged) -> None:
        # One that was given up keeps its memory until its thread ends: the next one waits for that.
        async with self._one_load:
            if staged.given_up.is_set():
                return

            def entered(phase: Phase) -> None:
                staged.phase = phase

            beside = self._state.snapshot

            def work(report: Report, stop: threading.Event) -> Snapshot:
                return load(staged.revision, self._settings, report, stop, beside)

            try:
                snapshot = await start_loading(work, entered, staged.given_up)
            except LoadFailure as failure:
                staged.fail(failure)
                log.error("cannot be staged", extra={"digest": staged.revision.digest, **failure.to_json()})
            else:
                staged.finish(snapshot)
                log.info("staged", extra={"version": snapshot.version, "digest": snapshot.digest})


def _same(one: Revision, other: Revision) -> bool:
    return (one.version, one.digest) == (other.version, other.digest)
