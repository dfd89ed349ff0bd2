"""A reverse proxy before MLflow that can be away, slow, or refuse everybody."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web

from faults.threads import ThreadedServer, abort

_DROPPED = frozenset({"host", "connection", "content-length", "transfer-encoding"})
DOWN, SLOW, UNAUTHORIZED = "down", "slow", "401"


class RegistryProxy(ThreadedServer):
    """Serves at ``host`` on a free port, where operator and pods reach it."""

    def __init__(self, upstream: str, host: str, *, slowness: float = 2.0) -> None:
        super().__init__()
        self._upstream, self._host, self._slowness = upstream, host, slowness
        self._mode = ""
        self.uri = ""
        self.refused = 0

    @contextmanager
    def being(self, mode: str) -> Iterator[None]:
        """In that mode for a while."""
        self._mode, self.refused = mode, 0
        try:
            yield
        finally:
            self._mode = ""

    async def _serve(self) -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            runner, port = await self._listen(self._handle, self._host)
            self.uri = f"http://{self._host}:{port}"
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.refused += bool(self._mode)
        if self._mode == DOWN:
            return abort(request)
        if self._mode == UNAUTHORIZED:
            return web.json_response({"error_code": "UNAUTHENTICATED", "message": "who are you?"}, status=401)
        if self._mode == SLOW:
            await asyncio.sleep(self._slowness)
        body = await request.read()
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _DROPPED}
        url = self._upstream + request.raw_path
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _DROPPED}
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)
