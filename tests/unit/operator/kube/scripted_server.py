"""An HTTP server that answers what a test scripted, for faults that a real API server does not show on demand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

#: What to do with one request: answer, or close the connection with None.
Step = Callable[[web.Request], web.StreamResponse | None]


def status(code: int, reason: str, message: str, *, name: str | None = "x", **headers: str) -> Step:
    """An answer as the API server writes errors."""
    body: dict[str, Any] = {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}
    if name:
        body["details"] = {"name": name}
    return lambda _: web.json_response(body, status=code, headers=headers)


def plain(code: int, text: str) -> Step:
    """An answer of something else, e.g. of a proxy."""
    return lambda _: web.Response(status=code, text=text)


def ok(body: Any) -> Step:
    """A good answer."""
    return lambda _: web.json_response(body)


def dropped(_: web.Request) -> None:
    """The request is taken, then the connection breaks: the reply is lost."""


@dataclass
class ScriptedServer:
    """Runs one step per request, the last one for ever."""

    steps: list[Step] = field(default_factory=list)
    seen: list[tuple[str, str, dict[str, str], Any]] = field(default_factory=list)
    hang: asyncio.Event | None = None
    url: str = ""

    def then(self, *steps: Step) -> None:
        self.steps[:] = steps

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        self.seen.append((request.method, request.path_qs, dict(request.headers), json.loads(text) if text else None))
        if self.hang is not None:
            await self.hang.wait()
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        answer = step(request)
        if answer is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return answer
