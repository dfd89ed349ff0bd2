"""Loads that run in a thread of their own while the event loop answers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from viridian_server.failure import LoadFailure
from viridian_server.loading import Report
from viridian_server.registry import Stopped
from viridian_server.residents import Phase
from viridian_server.snapshot import Snapshot

log = logging.getLogger(__name__)

Load = Callable[[Report, threading.Event], Snapshot]


def start_loading(load: Load, entered: Report, stop: threading.Event) -> asyncio.Future[Snapshot]:
    """Run ``load``; ``entered`` is called on the running loop for every phase.

    The future fails with `LoadFailure` only. Once ``stop`` is set, the load ends at its next phase.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Snapshot] = loop.create_future()

    def report(phase: Phase) -> None:
        if stop.is_set():
            raise Stopped
        loop.call_soon_threadsafe(entered, phase)

    def work() -> None:
        try:
            snapshot = load(report, stop)
        except BaseException as problem:
            loop.call_soon_threadsafe(_settle, future, None, _failure(problem))
        else:
            loop.call_soon_threadsafe(_settle, future, snapshot, None)

    # A daemon: the import of a library cannot be interrupted, and must not hold up the end of the process.
    threading.Thread(target=work, name="loading", daemon=True).start()
    return future


def _settle(future: asyncio.Future[Snapshot], snapshot: Snapshot | None, failure: LoadFailure | None) -> None:
    if future.cancelled():
        return
    if snapshot is not None:
        future.set_result(snapshot)
    elif failure is not None:
        future.set_exception(failure)


def _failure(problem: BaseException) -> LoadFailure:
    if isinstance(problem, LoadFailure):
        return problem
    if isinstance(problem, Stopped):
        return LoadFailure("RegistryUnreachable", "told to stop while loading")
    log.error("load failed", exc_info=problem)
    return LoadFailure("BadBundle", f"the load failed: {type(problem).__name__}: {problem}")
