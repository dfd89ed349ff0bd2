"""What every answer has in common: identity headers, JSON errors, metrics, the close of kept connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from viridian_server.metrics import Metrics
from viridian_server.snapshot import Snapshot
from viridian_server.state import ServerState

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

SNAPSHOT: web.RequestKey[Snapshot | None] = web.RequestKey("snapshot", object)  # type: ignore[arg-type]
"""The one reference that a request holds: its headers and its body come from the same model."""


def error(status: int, message: str, *, retry_after: int | None = None) -> web.Response:
    """Return ``{"error": message}``."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.json_response({"error": message}, status=status, headers=headers)


def identified(state: ServerState) -> Middleware:
    """Give a middleware that fixes the snapshot of a request and marks the answer with it."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        snapshot = request[SNAPSHOT] = state.snapshot
        response = await _caught(request, handler)
        if snapshot is not None:
            response.headers.update(snapshot.headers)
        if state.closes_connections:
            response.force_close()
        return response

    return middleware


def measured(metrics: Metrics) -> Middleware:
    """Give a middleware that counts inference requests; probes and scrapes are not traffic."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.endswith("/infer"):
            return await handler(request)
        started, code = time.perf_counter(), "499"  # the client went away
        metrics.in_flight.inc()
        try:
            response = await handler(request)
            code = str(response.status)
        finally:
            metrics.in_flight.dec()
            metrics.requests.labels(code).inc()
            metrics.seconds.observe(time.perf_counter() - started)
        return response

    return middleware


async def _caught(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPException as problem:
        answer = error(problem.status, _explained(problem))
        if "Allow" in problem.headers:
            answer.headers["Allow"] = problem.headers["Allow"]
        return answer
    except Exception:
        log.exception("request failed", extra={"path": request.path})
        return error(500, "internal error; the log of the server has the cause")


def _explained(problem: web.HTTPException) -> str:
    if isinstance(problem, web.HTTPRequestEntityTooLarge):
        return f"{problem.text}; send fewer examples per request"
    return problem.reason
