"""Liveness, readiness and metrics on a port of their own."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

#: A check returns what is wrong, or an empty text.
Check = Callable[[], str]


class Heartbeat:
    """Measures by how much the event loop is late.

    Parameters
    ----------
    period
        Seconds between beats.
    report
        Told of the worst lag among the last ``memory`` beats.
    """

    def __init__(self, *, period: float = 0.5, memory: int = 60, report: Callable[[float], None]) -> None:
        self._period, self._report = period, report
        self._lags: deque[float] = deque([0.0], maxlen=memory)

    @property
    def lag(self) -> float:
        """Seconds by which the last beat was late."""
        return self._lags[-1]

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            due = time.monotonic() + self._period
            await asyncio.sleep(self._period)
            self._lags.append(max(0.0, time.monotonic() - due))
            self._report(max(self._lags))


class ProbeServer:
    """HTTP server with ``/livez``, ``/readyz`` and ``/metrics``.

    Parameters
    ----------
    live, ready
        Checks by name; a failed one makes the answer 503 and is named in it.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        registry: CollectorRegistry,
        live: dict[str, Check],
        ready: dict[str, Check],
    ) -> None:
        self._host, self._port, self._registry = host or None, port, registry
        app = web.Application()
        app.router.add_get("/livez", _answer(live))
        app.router.add_get("/readyz", _answer(ready))
        app.router.add_get("/metrics", self._metrics)
        # Idle connections of probing clients must not hold up the exit.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)

    async def start(self) -> int:
        """Listen; returns the port.

        Raises
        ------
        OSError
            If the port is taken.
        """
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self._port).start()
        return int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Close every connection."""
        await self._runner.cleanup()

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(checks: dict[str, Check]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def answer(_: web.Request) -> web.StreamResponse:
        wrong = {name: text for name, check in checks.items() if (text := check())}
        lines = [f"[-] {name}: {text}" for name, text in wrong.items()]
        lines += [f"[+] {name}" for name in checks if name not in wrong]
        return web.Response(status=503 if wrong else 200, text="\n".join(lines) + "\n")

    return answer
