"""Life of the process: listen, load, serve, drain, end."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import time
from typing import Any

from aiohttp import web

from viridian_server.application import make_application
from viridian_server.failure import LoadFailure
from viridian_server.loading import load
from viridian_server.metrics import Metrics
from viridian_server.registry import Stopped
from viridian_server.revision import Revision
from viridian_server.settings import Settings
from viridian_server.snapshot import Snapshot
from viridian_server.state import Phase, ServerState

log = logging.getLogger(__name__)

_IN_FLIGHT_SECONDS = 30.0
_STOP_LOADING_SECONDS = 5.0
# Longer than clients and proxies keep a connection, so that it is they who close it.
_KEEP_ALIVE_SECONDS = 120.0


class Server:
    """One process that serves one revision."""

    def __init__(self, settings: Settings, revision: Revision) -> None:
        self._settings, self._revision = settings, revision
        self._state, self._metrics = ServerState(revision, settings.faults), Metrics()
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._stop_loading = threading.Event()
        self._phase_since = time.monotonic()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            LoadFailure: the revision cannot be served, or the port cannot be listened on.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        runner = web.AppRunner(
            make_application(self._state, self._metrics, self._settings),
            access_log=None,
            handle_signals=False,
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            shutdown_timeout=_IN_FLIGHT_SECONDS,
        )
        await runner.setup()
        try:
            await self._listen(runner)
            await self._serve(loop)
        finally:
            # Closes the socket first, then waits for what is in flight.
            await runner.cleanup()
            log.info("stopped")

    async def _listen(self, runner: web.AppRunner) -> None:
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.port, backlog=1024).start()
        except OSError as problem:
            raise LoadFailure("BadConfig", f"cannot listen on VIRIDIAN_PORT: {problem}") from problem
        log.info("listening", extra={"addresses": [str(address) for address in runner.addresses]})

    async def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        stopped = asyncio.create_task(self._signals.get())
        loading = self._start_loading(loop)
        waiting: list[asyncio.Future[Any]] = [stopped, loading]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not loading.done():
            log.info("told to stop while loading")
            self._stop_loading.set()
            await asyncio.wait([loading], timeout=_STOP_LOADING_SECONDS)
            return
        snapshot = loading.result()
        self._state.serve(snapshot)
        self._metrics.serve(snapshot)
        log.info("ready", extra={"version": snapshot.version, "digest": snapshot.digest})
        await stopped
        await self._drain()

    def _start_loading(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[Snapshot]:
        future: asyncio.Future[Snapshot] = loop.create_future()

        def work() -> None:
            try:
                snapshot = load(self._revision, self._settings, report, self._stop_loading)
            except BaseException as problem:
                loop.call_soon_threadsafe(future.set_exception, self._failed(problem))
            else:
                report(Phase.READY)
                loop.call_soon_threadsafe(future.set_result, snapshot)

        def report(phase: Phase) -> None:
            loop.call_soon_threadsafe(self._enter, phase, time.monotonic())

        # A daemon: the import of a library cannot be interrupted, and must not hold up the end of the process.
        threading.Thread(target=work, name="loading", daemon=True).start()
        return future

    def _failed(self, problem: BaseException) -> LoadFailure:
        if isinstance(problem, LoadFailure):
            return problem
        if isinstance(problem, Stopped):
            return LoadFailure("RegistryUnreachable", "told to stop while loading")
        log.error("load failed", exc_info=problem)
        return LoadFailure("BadBundle", f"the load failed: {type(problem).__name__}: {problem}")

    def _enter(self, phase: Phase, moment: float) -> None:
        before, seconds = self._state.phase, moment - self._phase_since
        if phase is not before:
            self._metrics.load_seconds.labels(str(before)).set(seconds)
            log.info("load phase ended", extra={"phase": str(before), "seconds": round(seconds, 3)})
            self._phase_since = moment
        if phase is not Phase.READY:  # ready is declared together with the snapshot
            self._state.phase = phase

    async def _drain(self) -> None:
        """Be not ready, but serve, until load balancers have noticed; a second signal cuts that short."""
        self._state.draining = True
        log.info("draining", extra={"seconds": self._settings.drain_seconds})
        try:
            await asyncio.wait_for(self._signals.get(), self._settings.drain_seconds)
        except TimeoutError:
            return
