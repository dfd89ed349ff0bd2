"""An HTTP proxy before the API server that logs every request and disturbs those that a test names."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from faults.calls import Call, read_call
from faults.mischief import Do, Fault, WatchFault
from faults.threads import ThreadedServer, abort
from faults.upstream import Upstream, read_upstream, write_kubeconfig
from faults.watching import relay

_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "content-encoding", "accept-encoding"})


class Proxy(ThreadedServer):
    """Serves on a free loopback port in a thread of its own, until it is left.

    Parameters
    ----------
    kubeconfig
        Leads to the API server; ``self.kubeconfig`` leads to the proxy.
    """

    def __init__(self, kubeconfig: Path, scratch: Path) -> None:
        super().__init__()
        self._upstream: Upstream = read_upstream(kubeconfig, scratch)
        self._answers: dict[str, bytes] = {}
        self._watches: list[web.Request] = []
        self._away = False
        #: set when the proxy ends
        self.gone = threading.Event()
        self.calls: list[Call] = []
        self.faults: list[Fault] = []
        self.watch_faults: list[WatchFault] = []
        self.phase = ""
        self.kubeconfig = scratch / "proxy-kubeconfig"

    def __exit__(self, *_: object) -> None:
        self.gone.set()
        for fault in self.faults:
            fault.released.set()
        super().__exit__()

    def steps(self, since: int = 0) -> list[Call]:
        """Writes of updates from the call number ``since`` on."""
        return [call for call in self.calls[since:] if call.step]

    @contextmanager
    def disturbed(self, *faults: Fault | WatchFault) -> Iterator[None]:
        """Faults that are there for a while."""
        plain = [fault for fault in faults if isinstance(fault, Fault)]
        self.faults = plain
        self.watch_faults = [fault for fault in faults if isinstance(fault, WatchFault)]
        try:
            yield
        finally:
            self.faults, self.watch_faults = [], []
            for fault in plain:
                fault.released.set()

    @contextmanager
    def away(self) -> Iterator[None]:
        """The API server cannot be reached: nothing is answered, watches break."""
        self._away = True
        self.call(self.cut_watches)
        try:
            yield
        finally:
            self._away = False

    def cut_watches(self) -> None:
        """Break every open watch; called in the proxy's thread."""
        for request in list(self._watches):
            abort(request)

    async def _serve(self) -> None:
        connector = aiohttp.TCPConnector(limit=0, ssl=self._upstream.context)
        async with aiohttp.ClientSession(
            connector=connector, headers=self._upstream.headers, auto_decompress=False, read_bufsize=2**21
        ) as self._session:
            runner, port = await self._listen(self._handle, "127.0.0.1")
            write_kubeconfig(f"http://127.0.0.1:{port}", self.kubeconfig)
            self._ready.set()
            await self._stop.wait()
            self.cut_watches()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = read_call(len(self.calls), request.method, request.path, request.query, self.phase, time.time())
        self.calls.append(call)
        if self._away:
            return abort(request)
        if call.verb == "watch":
            return await self._watch(request, call)
        fault = next((each for each in self.faults if each.takes(call)), None)
        return await (self._send(request, call) if fault is None else self._disturb(request, call, fault))

    async def _disturb(self, request: web.Request, call: Call, fault: Fault) -> web.StreamResponse:
        match fault.do:
            case Do.DELAY:
                await asyncio.sleep(fault.seconds)
                answer: web.StreamResponse = await self._send(request, call)
            case Do.ANSWER:
                answer = _refusal(fault)
            case Do.CUT:
                answer = abort(request)
            case Do.STALE:
                known = self._answers.get(call.url)
                stale = known is not None and not call.write
                answer = _json(known) if stale else await self._send(request, call)
            case Do.LOSE_REPLY | Do.HOLD:
                await self._send(request, call)
                fault.happened.set()
                if fault.do is Do.HOLD:
                    await asyncio.to_thread(fault.released.wait)
                answer = abort(request)
        fault.happened.set()
        return answer

    async def _send(self, request: web.Request, call: Call) -> web.Response:
        body = await request.read()
        async with self._session.request(
            request.method, self._upstream.url + request.raw_path, data=body or None, headers=_forwarded(request)
        ) as answer:
            text = await answer.read()
            if not call.write and answer.status == 200:
                self._answers[call.url] = text
            self._note_phase(call, answer.status, body)
            headers = {key: value for key, value in answer.headers.items() if key.lower() not in _HOP}
            return web.Response(status=answer.status, body=text, headers=headers)

    def _note_phase(self, call: Call, status: int, body: bytes) -> None:
        if call.resource == "modelupdates" and call.subresource == "status" and call.write and status < 300:
            self.phase = json.loads(body).get("status", {}).get("phase", "")

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        self._watches.append(request)
        try:
            url = self._upstream.url + request.raw_path
            async with self._session.get(url, headers=_forwarded(request), timeout=aiohttp.ClientTimeout()) as stream:
                return await relay(request, stream, lambda: self._event_fault(call.resource))
        finally:
            self._watches.remove(request)

    def _event_fault(self, resource: str) -> str:
        return next((str(each.do) for each in self.watch_faults if each.takes(resource, self.phase)), "")


def _forwarded(request: web.Request) -> dict[str, str]:
    return {key: value for key, value in request.headers.items() if key.lower() not in _HOP}


def _json(body: bytes | None) -> web.Response:
    return web.Response(body=body, content_type="application/json")


def _refusal(fault: Fault) -> web.Response:
    reasons = {403: "Forbidden", 409: "Conflict", 422: "Invalid", 429: "TooManyRequests", 503: "ServiceUnavailable"}
    status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": fault.code}
    status |= {"reason": reasons.get(fault.code, "InternalError"), "message": "the proxy says so"}
    headers = {"Retry-After": "1"} if fault.code == 429 else {}
    return web.json_response(status, status=fault.code, headers=headers)
