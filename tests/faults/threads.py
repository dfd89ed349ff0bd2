"""A server of the test's own process, in a thread and an event loop of its own."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Self

from aiohttp import web


class ThreadedServer(ABC):
    """Runs ``_serve`` until it is left."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10), f"{type(self).__name__} did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._stop.set)
        self._thread.join(10)

    def call(self, function: Callable[[], object]) -> None:
        """Run ``function`` in the server's thread."""
        self._loop.call_soon_threadsafe(function)

    async def _main(self) -> None:
        await self._serve()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    @abstractmethod
    async def _serve(self) -> None:
        """Set ``_ready``, and return after ``_stop``."""

    async def _listen(self, handler: Callable[[web.Request], object], host: str) -> tuple[web.AppRunner, int]:
        """Everything on a free port of ``host`` goes to ``handler``."""
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, host, 0).start()
        return runner, int(runner.addresses[0][1])


def abort(request: web.Request) -> web.Response:
    """Cut the connection: no answer, no farewell."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
