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
from viridian_server.background import start_loading
from viridian_server.failure import LoadFailure
from viridian_server.loading import Report, load
from viridian_server.metrics import Metrics
from viridian_server.residents import Phase
from viridian_server.revision import Revision, read_revision
from viridian_server.settings import Settings
from viridian_server.snapshot import Snapshot
from viridian_server.state import ServerState

log = logging.getLogger(__name__)

_IN_FLIGHT_SECONDS = 30.0
_STOP_LOADING_SECONDS = 5.0
# Longer than clients and proxies keep a connection, so that it is they who close it.
_KEEP_ALIVE_SECONDS = 120.0


class Server:
    """One process that serves one revision."""

    def __init__(self, settings: Settings, revision: Revision) -> None:
        self._settings = settings
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
            await self._serve()
        finally:
            # Closes the socket first, then waits for what is in flight.
            await runner.cleanup()
            if self._state.following is not None:
                await asyncio.to_thread(self._state.following.close)
            log.info("stopped")

    async def _listen(self, runner: web.AppRunner) -> None:
        try:
            await web.TCPSite(runner, self._settings.host, self._settings.port, backlog=1024).start()
        except OSError as problem:
            raise LoadFailure("BadConfig", f"cannot listen on VIRIDIAN_PORT: {problem}") from problem
        log.info("listening", extra={"addresses": [str(address) for address in runner.addresses]})

    async def _serve(self) -> None:
        stopped = asyncio.create_task(self._signals.get())
        snapshot = await self._first_snapshot(stopped)
        if snapshot is None:
            return
        self._enter(Phase.READY)
        self._state.serve(snapshot)
        self._metrics.serve(snapshot)
        if self._state.following is not None:
            self._state.following.start()
        log.info("ready", extra={"version": snapshot.version, "digest": snapshot.digest})
        await stopped
        await self._drain()

    async def _first_snapshot(self, stopped: asyncio.Future[Any]) -> Snapshot | None:
        """Load what ``revision.json`` says when the load has ended; None if told to stop."""
        while True:
            loading = start_loading(self._load, self._enter, self._stop_loading)
            await asyncio.wait([stopped, loading], return_when=asyncio.FIRST_COMPLETED)
            if not loading.done():
                log.info("told to stop while loading")
                self._stop_loading.set()
                await asyncio.wait([loading], timeout=_STOP_LOADING_SECONDS)
                return None
            snapshot = loading.result()
            # A hot swap may have changed the file since this pod read it.
            wanted = read_revision(self._settings.revision_directory)
            if wanted.follow or (wanted.version, wanted.digest) == (snapshot.version, snapshot.digest):
                return snapshot
            log.info("another version is wanted by now", extra={"version": wanted.version, "digest": wanted.digest})
            self._state.revision = wanted

    def _load(self, report: Report, stop: threading.Event) -> Snapshot:
        revision = self._state.revision
        if not revision.follow:
            return load(revision, self._settings, report, stop)
        if not self._settings.chain_store:
            raise LoadFailure("BadConfig", "revision.json says follow: set VIRIDIAN_STORE to the store to be followed")
        from viridian_server.online.following import Following  # brings torch, after the port answers

        self._state.following = Following(revision, self._state, self._metrics, self._settings)
        return self._state.following.load(revision, report, stop)

    def _enter(self, phase: Phase) -> None:
        moment = time.monotonic()
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
